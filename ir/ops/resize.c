/* SPDX-License-Identifier: Apache-2.0
 *
 * resize.c: inference of Resize.
 *
 * With sizes, the dims are the elements of sizes. With scales, a dim is floor(dim * scale): a product and
 * a floordiv where the scale is a small multiple of a power of two (2.0, 0.5, 1.75), a number where
 * the dim is a constant (in float32, as runtimes compute it), and otherwise known only to the
 * kernel: the dim is a FREE symbol. Scales are often a Concat of constants for batch and channels with
 * computed ones behind, so constants are looked for through Concat.
 */
#include "ir/ops/movement.h"

#include <math.h>
#include <string.h>

static tm_code check_attributes(tm_node *node) {
    static const struct {
        const char *attribute;
        const char *allowed[8];
    } rules[] = {
        {"mode", {"nearest", "linear", "cubic"}},
        {"coordinate_transformation_mode",
         {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
          "tf_crop_and_resize", "tf_half_pixel_for_nn"}},
        {"nearest_mode", {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}},
        {"keep_aspect_ratio_policy", {"stretch", "not_larger", "not_smaller"}},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const char *value = tm_node_string(node, rules[i].attribute);
        int k = 0;
        while (k < 8 && rules[i].allowed[k] != NULL && strcmp(value, rules[i].allowed[k]) != 0)
            k++;
        if (k == 8 || rules[i].allowed[k] == NULL)
            return tm_infer_fail(node, TM_E_ATTRIBUTE, "%s has an unknown value", rules[i].attribute);
    }
    if (tm_node_int(node, "antialias") != 0 && strcmp(tm_node_string(node, "mode"), "nearest") == 0)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "antialias does not go with mode nearest");
    return TM_OK;
}

/* Element i of a float tensor, if it is a constant. */
static bool constant_float(const tm_value *value, int64_t i, double *out) {
    if (value->constant != NULL)
        return tm_constant_double(value->constant, i, out);
    const tm_node *producer = value->producer;
    if (producer == NULL || producer->op != TM_OP_Concat)
        return false;
    for (int k = 0; k < producer->input_count; k++) {
        const tm_value *part = producer->inputs[k];
        if (part->rank != 1 || !tm_dim_is_constant(part->dims[0]))
            return false;
        if (i < part->dims[0]->constant)
            return constant_float(part, i, out);
        i -= part->dims[0]->constant;
    }
    return false;
}

/* floor(dim * scale), or NULL when only the kernel can tell. */
static tm_dim scaled_dim(tm_infer_context *context, tm_dim dim, double scale) {
    if (tm_dim_is_constant(dim)) {
        const double size = floor((double)((float)dim->constant * (float)scale));
        return size >= 0 && size < 0x1p53 ? tm_infer_const(context, (int64_t)size) : NULL;
    }
    for (int64_t divisor = 1; divisor <= 256; divisor *= 2) {
        const double times = scale * (double)divisor;
        if (times == floor(times) && times >= 1 && times <= 4096)
            return tm_dim_floordiv(context->dims,
                                   tm_dim_mul(context->dims, dim, tm_infer_const(context, (int64_t)times)),
                                   tm_infer_const(context, divisor));
    }
    return NULL;
}

/* Sizes under a policy keep the ratio of the input: one scale, the least or the greatest. */
static void keep_ratio(tm_infer_context *context, tm_node *node, const int *axes, int count, tm_dim *out) {
    const tm_value *data = tm_infer_input(node, 0);
    const bool larger = strcmp(tm_node_string(node, "keep_aspect_ratio_policy"), "not_smaller") == 0;
    double scale = 0;
    bool known = true;
    for (int i = 0; i < count; i++) {
        const int axis = axes[i];
        known = known && tm_dim_is_constant(out[axis]) && tm_dim_is_constant(data->dims[axis]) &&
                data->dims[axis]->constant > 0;
        if (!known)
            break;
        const double own = (double)out[axis]->constant / (double)data->dims[axis]->constant;
        scale = i == 0 || (larger ? own > scale : own < scale) ? own : scale;
    }
    for (int i = 0; i < count; i++)
        out[axes[i]] =
            known ? tm_infer_const(context, (int64_t)(scale * (double)data->dims[axes[i]]->constant + 0.5))
                  : tm_infer_free(context, node, 0, axes[i], "resized");
}

static bool is_given(const tm_value *value) {
    return value != NULL && !(value->rank == 1 && tm_dim_is(value->dims[0], 0));
}

tm_code tm_infer_resize(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(check_attributes(node));
    if (tm_infer_input(node, 0)->type == TAMIS_TYPE_STRING &&
        strcmp(tm_node_string(node, "mode"), "nearest") != 0)
        return tm_infer_fail(node, TM_E_TYPE, "strings have no values in between; mode must be nearest");
    const tm_value *data = tm_infer_input(node, 0), *scales = tm_infer_input(node, 2);
    tm_value *sizes = tm_infer_input(node, 3);
    const tm_attribute *wanted = tm_node_attribute(node, "axes");
    const int count = wanted->present ? (int)wanted->count : data->rank;
    int axes[TAMIS_MAX_RANK];
    if (count > data->rank)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "%d axes for a tensor of rank %d", count, data->rank);
    for (int i = 0; i < count; i++)
        TM_TRY(tm_infer_axis(node, wanted->present ? wanted->ints[i] : i, data->rank, &axes[i]));
    if (is_given(scales) == is_given(sizes))
        return tm_infer_fail(node, TM_E_ARITY, "exactly one of scales and sizes must be given");
    const int given = is_given(sizes) ? 3 : 2;
    TM_TRY(tm_infer_need(node, given, 1));
    TM_TRY(tm_infer_equal(context, node, tm_infer_input(node, given)->dims[0], tm_infer_const(context, count),
                          "the number of scales or sizes and of axes"));
    const bool crop =
        strcmp(tm_node_string(node, "coordinate_transformation_mode"), "tf_crop_and_resize") == 0;
    if (crop && !is_given(tm_infer_input(node, 1)))
        return tm_infer_fail(node, TM_E_ARITY, "tf_crop_and_resize needs roi");
    tm_dim out[TAMIS_MAX_RANK];
    for (int i = 0; i < data->rank; i++)
        out[i] = data->dims[i];
    for (int i = 0; i < count; i++) {
        const int axis = axes[i];
        double scale = 0;
        if (given == 3)
            out[axis] = tm_infer_element(context, sizes, i);
        else if (constant_float(scales, i, &scale) && !(scale > 0))
            return tm_infer_fail(node, TM_E_SHAPE, "scale %d is not positive", i);
        else
            out[axis] = scale > 0 ? scaled_dim(context, data->dims[axis], scale) : NULL;
        if (out[axis] == NULL)
            out[axis] = tm_infer_free(context, node, 0, axis, "resized");
    }
    if (given == 3 && strcmp(tm_node_string(node, "keep_aspect_ratio_policy"), "stretch") != 0)
        keep_ratio(context, node, axes, count, out);
    tm_infer_set(node, 0, data->type, data->rank, out);
    return TM_OK;
}
