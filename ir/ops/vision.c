/* SPDX-License-Identifier: Apache-2.0
 *
 * vision.c: inference of GridSample, AffineGrid, RoiAlign, MaxRoiPool, MaxUnpool, Col2Im.
 *
 * Ops on images [n, channels, space...] whose output is not a plain window of the input: its space comes
 * from a grid, from boxes (one output row for each), or from a shape tensor.
 */
#include "ir/ops/movement.h"

#include <string.h>

static const tamis_type float_types[] = {TAMIS_TYPE_FLOAT16, TAMIS_TYPE_BFLOAT16, TAMIS_TYPE_FLOAT,
                                         TAMIS_TYPE_DOUBLE, 0};
static const tamis_type int64_only[] = {TAMIS_TYPE_INT64, 0};

static bool is_one_of(const char *text, const char *a, const char *b, const char *c) {
    return strcmp(text, a) == 0 || strcmp(text, b) == 0 || (c != NULL && strcmp(text, c) == 0);
}

tm_code tm_infer_grid_sample(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    const tm_value *data = tm_infer_input(node, 0);
    const int spatial = data->rank - 2;
    if (spatial < 1)
        return tm_infer_fail(node, TM_E_SHAPE, "the input has rank %d, at least 3 is needed", data->rank);
    TM_TRY(tm_infer_need(node, 1, data->rank));
    TM_TRY(tm_infer_need_type(node, 1, float_types));
    const char *mode = tm_node_string(node, "mode");
    if (!is_one_of(mode, "linear", "nearest", "cubic") || (strcmp(mode, "cubic") == 0 && spatial > 3))
        return tm_infer_fail(node, TM_E_ATTRIBUTE,
                             "mode is none of linear, nearest, cubic, or not for this rank");
    if (data->type == TAMIS_TYPE_STRING && strcmp(mode, "nearest") != 0)
        return tm_infer_fail(node, TM_E_TYPE, "strings have no values in between; mode must be nearest");
    if (!is_one_of(tm_node_string(node, "padding_mode"), "zeros", "border", "reflection"))
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "padding_mode is none of zeros, border, reflection");
    const tm_value *grid = tm_infer_input(node, 1);
    TM_TRY(tm_infer_equal(context, node, grid->dims[0], data->dims[0], "batches of input and grid"));
    TM_TRY(tm_infer_equal(context, node, grid->dims[data->rank - 1], tm_infer_const(context, spatial),
                          "the last dim of the grid and the number of spatial dims"));
    tm_dim out[TAMIS_MAX_RANK] = {data->dims[0], data->dims[1]};
    for (int i = 0; i < spatial; i++)
        out[2 + i] = grid->dims[1 + i];
    tm_infer_set(node, 0, data->type, data->rank, out);
    return TM_OK;
}

tm_code tm_infer_affine_grid(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, 3));
    TM_TRY(tm_infer_need_type(node, 0, float_types));
    tm_shape_list size;
    TM_TRY(tm_shape_list_open_ranked(context, node, 1, "dims of the image", 1, 0, &size));
    const int length = size.most;
    if (length != 4 && length != 5)
        return tm_infer_fail(node, TM_E_SHAPE, "size has %d entries where 4 or 5 are needed", length);
    const int spatial = length - 2;
    const tm_value *theta = tm_infer_input(node, 0);
    TM_TRY(tm_infer_equal(context, node, theta->dims[1], tm_infer_const(context, spatial), "rows of theta"));
    TM_TRY(tm_infer_equal(context, node, theta->dims[2], tm_infer_const(context, spatial + 1),
                          "columns of theta"));
    TM_TRY(tm_infer_equal(context, node, tm_infer_element(context, size.value, 0), theta->dims[0],
                          "batches of theta and size"));
    tm_dim out[5] = {theta->dims[0]};
    for (int i = 0; i < spatial; i++)
        out[1 + i] = tm_infer_element(context, size.value, 2 + i);
    out[1 + spatial] = tm_infer_const(context, spatial);
    tm_infer_set(node, 0, theta->type, spatial + 2, out);
    return TM_OK;
}

tm_code tm_infer_roi_align(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, 4));
    TM_TRY(tm_infer_need(node, 1, 2));
    TM_TRY(tm_infer_need(node, 2, 1));
    TM_TRY(tm_infer_need_type(node, 0, float_types));
    TM_TRY(tm_infer_same_type(node, 0, 1));
    TM_TRY(tm_infer_need_type(node, 2, int64_only));
    const tm_value *data = tm_infer_input(node, 0), *rois = tm_infer_input(node, 1);
    if (!is_one_of(tm_node_string(node, "mode"), "avg", "max", NULL))
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "mode is neither avg nor max");
    if (!is_one_of(tm_node_string(node, "coordinate_transformation_mode"), "half_pixel", "output_half_pixel",
                   NULL))
        return tm_infer_fail(node, TM_E_ATTRIBUTE,
                             "coordinate_transformation_mode is neither half_pixel nor output_half_pixel");
    const int64_t height = tm_node_int(node, "output_height"), width = tm_node_int(node, "output_width");
    if (height < 1 || width < 1 || tm_node_int(node, "sampling_ratio") < 0)
        return tm_infer_fail(node, TM_E_ATTRIBUTE,
                             "output_height and output_width must be positive, sampling_ratio not negative");
    TM_TRY(tm_infer_equal(context, node, rois->dims[1], tm_infer_const(context, 4),
                          "numbers of a region and 4"));
    TM_TRY(tm_infer_equal(context, node, rois->dims[0], tm_infer_input(node, 2)->dims[0],
                          "regions and batch indices"));
    const tm_dim out[4] = {rois->dims[0], data->dims[1], tm_infer_const(context, height),
                           tm_infer_const(context, width)};
    tm_infer_set(node, 0, data->type, 4, out);
    return TM_OK;
}

tm_code tm_infer_max_roi_pool(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, 4));
    TM_TRY(tm_infer_need(node, 1, 2));
    TM_TRY(tm_infer_need_type(node, 0, float_types));
    TM_TRY(tm_infer_same_type(node, 0, 1));
    const tm_value *data = tm_infer_input(node, 0), *rois = tm_infer_input(node, 1);
    const tm_attribute *shape = tm_node_attribute(node, "pooled_shape");
    if (!shape->present || shape->count != 2 || shape->ints[0] < 1 || shape->ints[1] < 1)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "pooled_shape must be two positive numbers");
    TM_TRY(tm_infer_equal(context, node, rois->dims[1], tm_infer_const(context, 5),
                          "numbers of a region and 5"));
    const tm_dim out[4] = {rois->dims[0], data->dims[1], tm_infer_const(context, shape->ints[0]),
                           tm_infer_const(context, shape->ints[1])};
    tm_infer_set(node, 0, data->type, 4, out);
    return TM_OK;
}

/* A list attribute for the spatial axes, or NULL for its default; checked for length and least value. */
static tm_code spatial_list(tm_node *node, const char *name, int length, int64_t least,
                            const int64_t **out_list) {
    const tm_attribute *list = tm_node_attribute(node, name);
    *out_list = NULL;
    if (!list->present)
        return TM_OK;
    if (list->count != length)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "%s has %lld entries, not %d", name,
                             (long long)list->count, length);
    for (int i = 0; i < length; i++)
        if (list->ints[i] < least || list->ints[i] > INT32_MAX)
            return tm_infer_fail(node, TM_E_ATTRIBUTE, "%s has the entry %lld", name,
                                 (long long)list->ints[i]);
    *out_list = list->ints;
    return TM_OK;
}

tm_code tm_infer_max_unpool(tm_infer_context *context, tm_node *node) {
    tm_dims *dims = context->dims;
    TM_TRY(tm_infer_need(node, 0, -1));
    const tm_value *data = tm_infer_input(node, 0);
    const int spatial = data->rank - 2;
    if (spatial < 1)
        return tm_infer_fail(node, TM_E_SHAPE, "the input has rank %d, at least 3 is needed", data->rank);
    TM_TRY(tm_infer_need_type(node, 0, float_types));
    TM_TRY(tm_infer_need(node, 1, data->rank));
    TM_TRY(tm_infer_need_type(node, 1, int64_only));
    const int64_t *kernel = NULL, *pads = NULL, *strides = NULL;
    TM_TRY(spatial_list(node, "kernel_shape", spatial, 1, &kernel));
    TM_TRY(spatial_list(node, "pads", 2 * spatial, 0, &pads));
    TM_TRY(spatial_list(node, "strides", spatial, 1, &strides));
    if (kernel == NULL)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "kernel_shape is missing");
    for (int i = 0; i < data->rank; i++)
        TM_TRY(tm_infer_equal(context, node, data->dims[i], tm_infer_input(node, 1)->dims[i],
                              "dims of input and indices"));
    tm_value *shape = tm_infer_input(node, 2);
    tm_dim out[TAMIS_MAX_RANK];
    if (shape != NULL) {
        tm_shape_list list;
        TM_TRY(tm_shape_list_open_exact(context, node, 2, "dims of output_shape", data->rank, &list));
        for (int i = 0; i < data->rank; i++)
            out[i] = tm_infer_element(context, shape, i);
    } else {
        out[0] = data->dims[0];
        out[1] = data->dims[1];
        for (int i = 0; i < spatial; i++) {
            tm_dim steps = tm_dim_sub(dims, data->dims[2 + i], tm_infer_const(context, 1));
            const int64_t frame = kernel[i] - (pads != NULL ? pads[i] + pads[spatial + i] : 0);
            steps = tm_dim_mul(dims, steps, tm_infer_const(context, strides != NULL ? strides[i] : 1));
            out[2 + i] = tm_dim_add(dims, steps, tm_infer_const(context, frame));
        }
    }
    tm_infer_set(node, 0, data->type, data->rank, out);
    return TM_OK;
}

/* The number of spatial dims: whatever tells it of the two lists, the attributes and the declared rank. */
static tm_code col2im_spatial(tm_infer_context *context, tm_node *node, int *out_spatial) {
    tm_shape_list image, block;
    TM_TRY(tm_shape_list_open(context, node, 1, "dims of the image", TAMIS_MAX_RANK - 2, &image));
    TM_TRY(tm_shape_list_open(context, node, 2, "dims of the block", TAMIS_MAX_RANK - 2, &block));
    TM_TRY(tm_shape_list_same_length(context, node, &image, &block, "the dims of image and block"));
    const tm_attribute *strides = tm_node_attribute(node, "strides"),
                       *dilations = tm_node_attribute(node, "dilations");
    tm_dim number = image.length;
    if (strides->present || dilations->present) {
        number = tm_infer_const(context, strides->present ? strides->count : dilations->count);
        TM_TRY(
            tm_infer_equal(context, node, image.length, number, "the dims of the image and the attributes"));
    }
    TM_TRY(tm_shape_list_decide_rank(context, node, number, "dims of the image", 1, 2, out_spatial));
    return *out_spatial >= 1 ? TM_OK : tm_infer_fail(node, TM_E_SHAPE, "image_shape has no entries");
}

tm_code tm_infer_col2im(tm_infer_context *context, tm_node *node) {
    tm_dims *dims = context->dims;
    TM_TRY(tm_infer_need(node, 0, 3));
    const tm_value *data = tm_infer_input(node, 0);
    const int64_t *dilations = NULL, *pads = NULL, *strides = NULL;
    int spatial = 0;
    TM_TRY(col2im_spatial(context, node, &spatial));
    TM_TRY(spatial_list(node, "dilations", spatial, 1, &dilations));
    TM_TRY(spatial_list(node, "pads", 2 * spatial, 0, &pads));
    TM_TRY(spatial_list(node, "strides", spatial, 1, &strides));
    tm_dim one = tm_infer_const(context, 1), block = one, positions = one;
    tm_dim out[TAMIS_MAX_RANK] = {data->dims[0]};
    for (int i = 0; i < spatial; i++) {
        tm_dim side = tm_infer_element(context, tm_infer_input(node, 2), i);
        out[2 + i] = tm_infer_element(context, tm_infer_input(node, 1), i);
        block = tm_dim_mul(dims, block, side);
        /* floordiv(image + pads - dilation*(side - 1) - 1, stride) + 1 */
        tm_dim reach = tm_dim_mul(dims, tm_dim_sub(dims, side, one),
                                  tm_infer_const(context, dilations != NULL ? dilations[i] : 1));
        tm_dim room = tm_dim_add(
            dims, out[2 + i], tm_infer_const(context, (pads != NULL ? pads[i] + pads[spatial + i] : 0) - 1));
        room = tm_dim_floordiv(dims, tm_dim_sub(dims, room, reach),
                               tm_infer_const(context, strides != NULL ? strides[i] : 1));
        positions = tm_dim_mul(dims, positions, tm_dim_add(dims, room, one));
    }
    out[1] = tm_dim_floordiv(dims, data->dims[1], tm_dim_max(dims, block, one));
    TM_TRY(tm_infer_equal(context, node, tm_dim_mul(dims, out[1], block), data->dims[1],
                          "channels and a multiple of the block"));
    TM_TRY(tm_infer_equal(context, node, positions, data->dims[2], "columns and positions of the block"));
    tm_infer_set(node, 0, data->type, 2 + spatial, out);
    return TM_OK;
}
