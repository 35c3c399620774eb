/* SPDX-License-Identifier: Apache-2.0
 *
 * channels_last.c: float32 convolutions, and what lies between them, with channels last.
 *
 *     %c: f32[n, 32, 28, 28] = Conv(%x, %w, %b)           %t = Transpose(%x) {perm = [0, 2, 3, 1]}
 *     %r = Relu(%c)                                 ->    %i = Transpose(%t) {perm = [0, 3, 1, 2]}
 *                                                         %c = Conv(%i, %w)
 *                                                         %o = Transpose(%c) {perm = [0, 2, 3, 1]}
 *                                                         %a = Add(%o, %b)
 *                                                         %r = Relu(%a)
 *                                                         %y = Transpose(%r) {perm = [0, 3, 1, 2]}
 *
 * With channels last, a kernel of one is a product by a constant matrix, other kernels are products of rows
 * that lie in the image as they are, and depthwise kernels and pools run in vectors over channels for any
 * stride. A Conv between the two Transposes is what form_convolution_regions looks for. Elementwise nodes,
 * pools, reductions over space, Concat, Split, Slice, Pad, Resize and views follow their operands, so that
 * the transposes stay at the edges; the first layer of an image reads its few channels as they are. A pool
 * with one window that sees all of the image is a reduction.
 *
 * Padding of dense convolutions becomes a Pad of its own, and so does that of depthwise ones whose weights
 * hold an infinity or NaN: zeros there count, 0 * infinity is NaN.
 *
 * Only for constant weights. Not bit-exact: the bias is added after the sum, not before.
 */
#include "ir/infer.h"
#include "ir/ops/window.h"
#include "passes/layout.h"
#include "passes/match.h"
#include "passes/match_range.h"
#include "passes/quantized.h"
#include "passes/region_build.h"
#include "passes/rewrite.h"
#include "passes/window_form.h"
#include "passes/window_rows.h"

#include <math.h>

#define FEW_POSITIONS 4
/* Channels: positions so many apart share a set of the first cache, and products copy their rows. */
#define SHARED_SET 512
#define FEW_CHANNELS 4 /* so many are read where they are */

static tm_code done(tm_layout *layout, tm_node *node, tm_value *twin) {
    if (twin != NULL)
        tm_layout_set_twin(layout, node->outputs[0], twin);
    tm_push(layout->model->arena, &layout->replaced, node);
    return TM_OK;
}

static tm_value *integers(tm_graph *graph, const int64_t *values, int64_t count) {
    return tm_value_create_constant(graph, NULL,
                                    tm_constant_create_i64(graph->model->arena, 1, &count, values));
}

static void copy_attributes(tm_node *to, const tm_node *from) {
    for (int i = 0; i < tm_op_get(from->op)->attribute_count; i++)
        to->attributes[i] = from->attributes[i];
}

/* A copy of `node` over other inputs, with as many outputs. */
static tm_code copy_node(tm_node *node, int count, tm_value *const *inputs, tm_node **out_copy) {
    *out_copy = tm_node_create(node->graph, node, node->op, node->name, count, inputs);
    copy_attributes(*out_copy, node);
    for (int i = 0; i < node->output_count; i++)
        (void)tm_node_add_output(*out_copy, NULL);
    return tm_infer_node(node->graph->model, *out_copy);
}

/* ---- convolutions and pools ---- */

/* Transpose, `node` with explicit pads, Transpose. */
static tm_code between_transposes(tm_node *node, tm_value *x, bool last, tm_value *weights,
                                  const int64_t *pads, tm_value **out) {
    int spatial = node->inputs[0]->rank - 2;
    tm_value *inputs[2] = {x, weights};
    if (last) {
        int64_t perm[TAMIS_MAX_RANK];
        for (int i = 0; i < spatial + 2; i++)
            perm[i] = tm_layout_axis(i, spatial + 2);
        TM_TRY(tm_match_make_transpose(node, x, perm, &inputs[0]));
    }
    tm_node *copy = tm_node_create(node->graph, node, node->op, node->name, weights != NULL ? 2 : 1, inputs);
    copy_attributes(copy, node);
    tm_node_set_string(copy, "auto_pad", "NOTSET");
    tm_node_set_ints(copy, "pads", pads, 2 * (int64_t)spatial);
    tm_value *result = tm_node_add_output(copy, NULL);
    TM_TRY(tm_infer_node(node->graph->model, copy));
    int64_t perm[TAMIS_MAX_RANK];
    for (int i = 0; i < spatial + 2; i++)
        perm[tm_layout_axis(i, spatial + 2)] = i;
    return tm_match_make_transpose(node, result, perm, out);
}

/* Zeros around x, which lies channels first or last. */
static tm_code pad(tm_node *node, tm_value **x, bool last, int64_t *pads) {
    int rank = (*x)->rank;
    int64_t all[2 * TAMIS_MAX_RANK] = {0};
    bool any = false;
    for (int i = 0; i < rank - 2; i++) {
        int axis = last ? 1 + i : 2 + i;
        all[axis] = pads[i];
        all[rank + axis] = pads[rank - 2 + i];
        any = any || pads[i] != 0 || pads[rank - 2 + i] != 0;
        pads[i] = pads[rank - 2 + i] = 0;
    }
    if (!any)
        return TM_OK;
    tm_value *inputs[2] = {*x, integers(node->graph, all, 2 * (int64_t)rank)};
    return tm_match_make(node, TM_OP_Pad, 2, inputs, x);
}

/* A kernel of one with steps of one: weights [M, C, 1...] as a matrix [C, M]. */
static tm_code product(tm_node *node, tm_value *x, tm_value **out) {
    const tm_constant *weights = node->inputs[1]->constant;
    tm_constant matrix = *weights;
    matrix.rank = 2;
    tm_value *inputs[2] = {x, tm_layout_transposed_constant(node->graph, &matrix, (const int64_t[]){1, 0})};
    return tm_match_make(node, TM_OP_MatMul, 2, inputs, out);
}

/* So few positions that a product has better tiles for them. */
static bool is_small(const tm_value *out) {
    int64_t positions = 1;
    for (int i = 0; i < out->rank; i++) {
        if (i == 1)
            continue;
        if (!tm_dim_is_constant(out->dims[i]))
            return tm_layout_is_point(out);
        positions *= out->dims[i]->constant;
    }
    return positions <= FEW_POSITIONS;
}

static tm_code convolution(tm_layout *layout, tm_node *node) {
    tm_window_form form;
    if (!tm_window_form_convolution(node, &form) || !tm_pass_allow(layout->context))
        return TM_OK;
    tm_value *x = node->inputs[0], *weights = node->inputs[1], *result;
    const tm_constant *constant = weights->constant;
    bool last =
        tm_layout_twin(layout, x) != NULL || constant->dims[1] > FEW_CHANNELS || form.depthwise || form.point;
    if (last)
        TM_TRY(tm_layout_need_twin(layout, node, x, &x));
    if (form.point && (is_small(node->outputs[0]) || constant->dims[1] % SHARED_SET == 0)) {
        TM_TRY(product(node, x, &result));
    } else {
        if (!form.depthwise || !tm_match_is_bounded(weights, INFINITY))
            TM_TRY(pad(node, &x, last, form.pads));
        TM_TRY(between_transposes(node, x, last, weights, form.pads, &result));
    }
    if (node->input_count > 2 && node->inputs[2] != NULL)
        TM_TRY(tm_match_make(node, TM_OP_Add, 2, (tm_value *[]){result, node->inputs[2]}, &result));
    return done(layout, node, result);
}

static tm_code integer_convolution(tm_layout *layout, tm_node *node) {
    tm_window_form form;
    if (!tm_window_form_integer(node, node->inputs[1], &form) || !tm_pass_allow(layout->context))
        return TM_OK;
    tm_value *inputs[4] = {NULL}, *x, *result;
    for (int i = 2; i < node->input_count; i++)
        inputs[i] = node->inputs[i];
    TM_TRY(tm_layout_need_twin(layout, node, node->inputs[0], &x));
    const int64_t *dims = node->inputs[1]->constant->dims;
    int axes = x->rank - 2;
    int64_t dilation = tm_window_item(node, "dilations", axes - 1, 1);
    tm_windows_runs runs = tm_windows_runs_of(dims + 2, axes, dilation, dims[1]);
    if (form.point)
        runs.bytes = dims[1]; /* the image itself */
    else
        TM_TRY(tm_windows_rows(node, x, inputs[2], form.pads, &x));
    inputs[0] = x;
    inputs[1] = tm_windows_weights(node, &runs);
    TM_TRY(tm_match_make(node, TM_OP_MatMulInteger, node->input_count, inputs, &result));
    return done(layout, node, result);
}

static tm_code reduce_space(tm_layout *layout, tm_node *node, tm_op op, bool keep);

/* Is there one window, and does it see all of the image and no padding? */
static bool sees_all(const tm_node *node) {
    const tm_value *x = node->inputs[0], *out = node->outputs[0];
    const tm_attribute *kernel = tm_node_attribute(node, "kernel_shape");
    int64_t pads[2 * TM_WINDOW_FORM_AXES];
    int axes = x->rank - 2;
    if (axes < 1 || axes > TM_WINDOW_FORM_AXES || !kernel->present ||
        (node->output_count > 1 && node->outputs[1] != NULL) ||
        !tm_window_form_pads(node, kernel->ints, pads))
        return false;
    for (int i = 0; i < axes; i++)
        if (!tm_dim_is_constant(x->dims[2 + i]) || x->dims[2 + i]->constant > kernel->ints[i] ||
            x->dims[2 + i]->constant == 0 || !tm_dim_is(out->dims[2 + i], 1) || pads[i] != 0 ||
            pads[axes + i] != 0 || tm_window_item(node, "dilations", i, 1) != 1)
            return false;
    return true;
}

/* The byte that a pool of maxima of bytes gives is one of them: quantising by one gives it back. */
static tm_code pool_of_bytes(tm_layout *layout, tm_node *node, tm_value *x, const int64_t *pads) {
    tm_value *result, *inputs[3];
    tamis_type type = x->type;
    x = tm_match_make_cast(node, x, TAMIS_TYPE_FLOAT);
    TM_TRY(between_transposes(node, x, true, NULL, pads, &inputs[0]));
    tm_arena *arena = layout->model->arena;
    inputs[1] = tm_value_create_constant(node->graph, NULL,
                                         tm_constant_create_scalar(arena, TAMIS_TYPE_FLOAT, 1));
    inputs[2] = tm_value_create_constant(node->graph, NULL, tm_constant_create_scalar(arena, type, 0));
    TM_TRY(tm_match_make(node, TM_OP_QuantizeLinear, 3, inputs, &result));
    return done(layout, node, result);
}

/* The mean of (q - z) * s is s times that of q - z, whose sum is exact. */
static tm_code mean_of_bytes(tm_layout *layout, tm_node *node, const tm_node *back, const int64_t *pads) {
    tm_value *x = tm_match_make_cast(node, back->inputs[0], TAMIS_TYPE_FLOAT), *result;
    const tm_value *zero = tm_infer_input(back, 2);
    double z = 0;
    if (zero != NULL && tm_constant_double(zero->constant, 0, &z) && z != 0) {
        tm_constant *number = tm_constant_create_scalar(layout->model->arena, TAMIS_TYPE_FLOAT, z);
        TM_TRY(tm_match_make_pair(node, TM_OP_Sub, x, tm_value_create_constant(node->graph, NULL, number),
                                  &x));
    }
    TM_TRY(between_transposes(node, x, true, NULL, pads, &result));
    tm_value *scale = tm_match_view(node, back->inputs[1], 0, NULL);
    TM_TRY(tm_match_make_pair(node, TM_OP_Mul, result, scale, &result));
    return done(layout, node, result);
}

/* The node that makes floats of bytes for a mean, by a zero point that is known. */
static const tm_node *bytes_before(const tm_layout *layout, const tm_node *node, const tm_value *x) {
    const tm_node *back = x->producer;
    const tm_value *zero = back != NULL ? tm_infer_input(back, 2) : NULL;
    return node->op == TM_OP_AveragePool && !layout->context->options->strict_math && back != NULL &&
                   back->op == TM_OP_DequantizeLinear && back->graph == node->graph &&
                   tm_match_is_byte(back->inputs[0]) && x->type == TAMIS_TYPE_FLOAT &&
                   tm_quantized_same(back, back) && (zero == NULL || zero->constant != NULL)
               ? back
               : NULL;
}

static tm_code pool(tm_layout *layout, tm_node *node) {
    tm_value *x = tm_layout_twin(layout, node->inputs[0]), *result;
    tm_window_form form;
    if (x != NULL && sees_all(node))
        return reduce_space(layout, node, node->op == TM_OP_AveragePool ? TM_OP_ReduceMean : TM_OP_ReduceMax,
                            true);
    if (x == NULL || !tm_window_form_pool(node, &form) || !tm_pass_allow(layout->context))
        return TM_OK;
    if (tm_match_is_byte(x))
        return pool_of_bytes(layout, node, x, form.pads);
    const tm_node *back = bytes_before(layout, node, x);
    if (back != NULL)
        return mean_of_bytes(layout, node, back, form.pads);
    TM_TRY(between_transposes(node, x, true, NULL, form.pads, &result));
    return done(layout, node, result);
}

/* ---- reductions over space ---- */

static tm_code reduce_space(tm_layout *layout, tm_node *node, tm_op op, bool keep) {
    tm_value *x = tm_layout_twin(layout, node->inputs[0]);
    if (x == NULL || !tm_pass_allow(layout->context))
        return TM_OK;
    int64_t axes[TAMIS_MAX_RANK];
    for (int i = 0; i + 2 < x->rank; i++)
        axes[i] = 1 + i;
    tm_value *inputs[2] = {x, integers(node->graph, axes, x->rank - 2)};
    tm_node *reduce = tm_node_create(node->graph, node, op, node->name, 2, inputs);
    tm_node_set_int(reduce, "keepdims", keep);
    tm_value *result = tm_node_add_output(reduce, NULL);
    TM_TRY(tm_infer_node(layout->model, reduce));
    if (keep)
        return done(layout, node, result);
    tm_rewrite_replace(node->outputs[0], result);
    return done(layout, node, NULL);
}

/* Does a reduction run over all spatial dims and no other? */
static bool is_over_space(const tm_node *node) {
    int64_t axes[TAMIS_MAX_RANK];
    int count, rank = node->inputs[0]->rank;
    bool seen[TAMIS_MAX_RANK] = {false};
    if (rank < 3 || node->input_count < 2 || node->inputs[1] == NULL ||
        !tm_match_ints(node->inputs[1], axes, &count) || count != rank - 2)
        return false;
    for (int i = 0; i < count; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + rank : axes[i];
        if (axis < 2 || axis >= rank || seen[axis])
            return false;
        seen[axis] = true;
    }
    return true;
}

/* ---- elementwise ---- */

static bool all_ones(const tm_value *value) {
    for (int i = 0; i < value->rank; i++)
        if (!tm_dim_is(value->dims[i], 1))
            return false;
    return true;
}

/* An operand of an elementwise node with results of `rank` dims. */
static tm_code operand(tm_layout *layout, tm_node *node, tm_value *value, int rank, tm_value **out) {
    *out = value;
    if (value == NULL || (all_ones(value) && tm_layout_twin(layout, value) == NULL))
        return TM_OK;
    if (value->rank < rank) {
        tm_dim dims[TAMIS_MAX_RANK];
        int missing = rank - value->rank;
        for (int i = 0; i < rank; i++)
            dims[i] = i < missing ? tm_dim_constant(layout->model->dims, 1) : value->dims[i - missing];
        if (value->constant != NULL) {
            tm_constant *wide = tm_arena_copy(layout->model->arena, value->constant, sizeof(*wide));
            int64_t *sizes = TM_NEW_ARRAY(layout->model->arena, int64_t, rank);
            for (int i = 0; i < rank; i++)
                sizes[i] = i < missing ? 1 : value->constant->dims[i - missing];
            wide->dims = sizes;
            wide->rank = rank;
            value = tm_value_create_constant(node->graph, NULL, wide);
        } else {
            value = tm_match_view(node, value, rank, dims);
        }
    }
    return tm_layout_need_twin(layout, node, value, out);
}

static tm_code elementwise(tm_layout *layout, tm_node *node) {
    const tm_value *out = node->output_count == 1 ? node->outputs[0] : NULL;
    bool leads = false;
    if (out == NULL || out->rank < 3 || node->input_count > 16)
        return TM_OK;
    for (int i = 0; i < node->input_count; i++) {
        const tm_value *x = node->inputs[i];
        leads = leads || (x != NULL && tm_layout_twin(layout, x) != NULL && tm_region_same_dims(x, out));
        if (x != NULL &&
            (x->kind != TAMIS_KIND_TENSOR || x->rank > out->rank || x->type == TAMIS_TYPE_STRING))
            return TM_OK;
    }
    if (!leads || !tm_pass_allow(layout->context))
        return TM_OK;
    tm_value *inputs[16];
    for (int i = 0; i < node->input_count; i++)
        TM_TRY(operand(layout, node, node->inputs[i], out->rank, &inputs[i]));
    tm_node *copy;
    TM_TRY(copy_node(node, node->input_count, inputs, &copy));
    return done(layout, node, copy->outputs[0]);
}

/* Quantisers with one scale, or one for each channel. Of a dynamic one the scale and zero point stay. */
static tm_code quantizer(tm_layout *layout, tm_node *node) {
    tm_value *x = tm_layout_twin(layout, node->inputs[0]), *inputs[3] = {x};
    bool dynamic = node->op == TM_OP_DynamicQuantizeLinear;
    if (x == NULL || (!dynamic && tm_node_int(node, "block_size") != 0))
        return TM_OK;
    bool one = true;
    for (int i = 1; i < node->input_count; i++) {
        inputs[i] = node->inputs[i];
        one = one && (inputs[i] == NULL || all_ones(inputs[i]));
    }
    int64_t axis = dynamic ? 0 : tm_node_int(node, "axis");
    axis += axis < 0 ? x->rank : 0;
    if (axis < 0 || axis >= x->rank || !tm_pass_allow(layout->context))
        return TM_OK;
    tm_node *copy;
    TM_TRY(copy_node(node, node->input_count, inputs, &copy));
    if (!one)
        tm_node_set_int(copy, "axis", tm_layout_axis((int)axis, x->rank));
    for (int i = 1; i < node->output_count; i++)
        tm_rewrite_replace(node->outputs[i], copy->outputs[i]);
    return done(layout, node, copy->outputs[0]);
}

/* ---- movement ---- */

static bool normal_axis(const tm_node *node, int rank, int *out_axis) {
    int64_t axis = tm_node_int(node, "axis");
    *out_axis = (int)(axis < 0 ? axis + rank : axis);
    return *out_axis >= 0 && *out_axis < rank;
}

static tm_code concat(tm_layout *layout, tm_node *node) {
    int rank = node->outputs[0]->rank, axis, twins = 0;
    for (int i = 0; i < node->input_count; i++)
        twins += tm_layout_twin(layout, node->inputs[i]) != NULL;
    if (2 * twins <= node->input_count || !normal_axis(node, rank, &axis) || !tm_pass_allow(layout->context))
        return TM_OK;
    tm_value **inputs = TM_NEW_ARRAY(layout->model->arena, tm_value *, node->input_count);
    for (int i = 0; i < node->input_count; i++)
        TM_TRY(tm_layout_need_twin(layout, node, node->inputs[i], &inputs[i]));
    tm_node *copy = tm_node_create(node->graph, node, node->op, node->name, node->input_count, inputs);
    tm_node_set_int(copy, "axis", tm_layout_axis(axis, rank));
    tm_value *result = tm_node_add_output(copy, NULL);
    TM_TRY(tm_infer_node(layout->model, copy));
    return done(layout, node, result);
}

static tm_code split(tm_layout *layout, tm_node *node) {
    tm_value *x = tm_layout_twin(layout, node->inputs[0]);
    int axis;
    if (x == NULL || !normal_axis(node, x->rank, &axis) || !tm_pass_allow(layout->context))
        return TM_OK;
    tm_value *inputs[2] = {x, node->input_count > 1 ? node->inputs[1] : NULL};
    tm_node *copy = tm_node_create(node->graph, node, node->op, node->name, node->input_count, inputs);
    copy_attributes(copy, node);
    tm_node_set_int(copy, "axis", tm_layout_axis(axis, x->rank));
    for (int i = 0; i < node->output_count; i++)
        (void)tm_node_add_output(copy, NULL);
    TM_TRY(tm_infer_node(layout->model, copy));
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL)
            tm_layout_set_twin(layout, node->outputs[i], copy->outputs[i]);
    return done(layout, node, NULL);
}

/* The axes that input `number` names, all of 0..count-1 when it is omitted, as axes of the twin. */
static tm_value *mapped_axes(const tm_node *node, int number, int count, int rank) {
    int64_t axes[TAMIS_MAX_RANK];
    if (node->input_count <= number || node->inputs[number] == NULL) {
        for (int i = 0; i < count; i++)
            axes[i] = i;
    } else if (!tm_match_ints(node->inputs[number], axes, &count)) {
        return NULL;
    }
    for (int i = 0; i < count; i++) {
        if (axes[i] < -rank || axes[i] >= rank)
            return NULL;
        axes[i] = tm_layout_axis((int)(axes[i] < 0 ? axes[i] + rank : axes[i]), rank);
    }
    return integers(node->graph, axes, count);
}

/* Slice and Pad: the same operands, with axes that are named. */
static tm_code along_axes(tm_layout *layout, tm_node *node, int axes_input, int64_t named) {
    tm_value *x = tm_layout_twin(layout, node->inputs[0]), *inputs[5] = {x};
    if (x == NULL || named < 0 || named > x->rank)
        return TM_OK;
    tm_value *axes = mapped_axes(node, axes_input, (int)named, x->rank);
    if (axes == NULL || !tm_pass_allow(layout->context))
        return TM_OK;
    int count = node->input_count > axes_input + 1 ? node->input_count : axes_input + 1;
    for (int i = 1; i < count; i++)
        inputs[i] = i == axes_input ? axes : i < node->input_count ? node->inputs[i] : NULL;
    tm_node *copy;
    TM_TRY(copy_node(node, count, inputs, &copy));
    return done(layout, node, copy->outputs[0]);
}

static int64_t known_length(const tm_node *node, int input) {
    const tm_value *value = node->input_count > input ? node->inputs[input] : NULL;
    return value != NULL && value->rank == 1 && tm_dim_is_constant(value->dims[0]) ? value->dims[0]->constant
                                                                                   : -1;
}

/* Numbers for each axis, by input or for the axes that are named. */
static tm_code resize(tm_layout *layout, tm_node *node) {
    tm_value *x = tm_layout_twin(layout, node->inputs[0]), *inputs[4] = {x};
    if (x == NULL || (node->input_count > 1 && node->inputs[1] != NULL && known_length(node, 1) != 0))
        return TM_OK;
    int64_t axes[TAMIS_MAX_RANK];
    const tm_attribute *named = tm_node_attribute(node, "axes");
    int count = named->present && named->count > 0 ? (int)named->count : x->rank;
    for (int i = 0; i < count; i++) {
        int64_t axis = count == x->rank && !named->present ? i : named->ints[i];
        axes[i] = tm_layout_axis((int)(axis < 0 ? axis + x->rank : axis), x->rank);
    }
    if (!tm_pass_allow(layout->context))
        return TM_OK;
    for (int i = 1; i < node->input_count; i++)
        inputs[i] = node->inputs[i];
    tm_node *copy = tm_node_create(node->graph, node, node->op, node->name, node->input_count, inputs);
    copy_attributes(copy, node);
    tm_node_set_ints(copy, "axes", axes, count);
    tm_value *result = tm_node_add_output(copy, NULL);
    TM_TRY(tm_infer_node(layout->model, copy));
    return done(layout, node, result);
}

static tm_code transpose(tm_layout *layout, tm_node *node) {
    tm_value *x = tm_layout_twin(layout, node->inputs[0]), *result = x;
    int64_t perm[TAMIS_MAX_RANK];
    if (x == NULL) /* a result that has a twin by that: the node goes when nobody else reads it */
        return tm_layout_is_to_first(node) ? done(layout, node, NULL) : TM_OK;
    if (!tm_pass_allow(layout->context))
        return TM_OK;
    tm_rewrite_permutation(node, perm);
    bool same = true;
    for (int i = 0; i < x->rank; i++) {
        perm[i] = tm_layout_axis((int)perm[i], x->rank);
        same = same && perm[i] == i;
    }
    if (!same)
        TM_TRY(tm_match_make_transpose(node, x, perm, &result));
    if (!tm_rewrite_can_replace(node->outputs[0], result))
        TM_TRY(tm_match_make(node, TM_OP_Identity, 1, &result, &result));
    tm_rewrite_replace(node->outputs[0], result);
    return done(layout, node, NULL);
}

/* Views that merge or cut the spatial dims keep a twin; those of a point are views of it. */
static tm_code view(tm_layout *layout, tm_node *node) {
    const tm_value *old = node->inputs[0];
    tm_value *x = tm_layout_twin(layout, old), *out = node->outputs[0], *result;
    if (x == NULL || old->type == TAMIS_TYPE_STRING)
        return TM_OK;
    bool spatial = out->rank >= 3 && tm_match_same_dims(old, 0, out, 0, 2);
    if ((!spatial && !tm_layout_is_point(old)) || !tm_pass_allow(layout->context))
        return TM_OK;
    tm_dim dims[TAMIS_MAX_RANK];
    for (int i = 0; i < out->rank; i++)
        dims[spatial ? tm_layout_axis(i, out->rank) : i] = out->dims[i];
    tm_node *reshape = tm_node_create(node->graph, node, TM_OP_Reshape, node->name, 1, &x);
    result = tm_node_add_output(reshape, NULL);
    tm_value_set_tensor(result, x->type, out->rank, dims);
    if (spatial)
        return done(layout, node, result);
    tm_rewrite_replace(out, result);
    return done(layout, node, NULL);
}

/* ---- the walk ---- */

static tm_code visit(tm_layout *layout, tm_node *node) {
    bool keep = true;
    switch (node->op) {
    case TM_OP_Conv:
        return convolution(layout, node);
    case TM_OP_ConvInteger:
        return integer_convolution(layout, node);
    case TM_OP_QuantizeLinear:
    case TM_OP_DequantizeLinear:
    case TM_OP_DynamicQuantizeLinear:
        return quantizer(layout, node);
    case TM_OP_MaxPool:
    case TM_OP_AveragePool:
        return pool(layout, node);
    case TM_OP_GlobalAveragePool:
        return reduce_space(layout, node, TM_OP_ReduceMean, true);
    case TM_OP_GlobalMaxPool:
        return reduce_space(layout, node, TM_OP_ReduceMax, true);
    case TM_OP_ReduceMean:
    case TM_OP_ReduceSum:
    case TM_OP_ReduceMax:
    case TM_OP_ReduceMin:
        keep = tm_node_int(node, "keepdims") != 0;
        return is_over_space(node) ? reduce_space(layout, node, node->op, keep) : TM_OK;
    case TM_OP_Concat:
        return concat(layout, node);
    case TM_OP_Split:
        return split(layout, node);
    case TM_OP_Slice:
        return along_axes(layout, node, 3, known_length(node, 1));
    case TM_OP_Pad:
        return along_axes(layout, node, 3, known_length(node, 1) / 2);
    case TM_OP_Resize:
        return resize(layout, node);
    case TM_OP_Transpose:
        return transpose(layout, node);
    case TM_OP_Reshape:
    case TM_OP_Flatten:
    case TM_OP_Squeeze:
    case TM_OP_Unsqueeze:
        return view(layout, node);
    default:
        return tm_op_has(node->op, TM_ELEMENTWISE) ? elementwise(layout, node) : TM_OK;
    }
}

static tm_code walk(tm_layout *layout, tm_graph *graph) {
    for (tm_node *node = graph->first, *next; node != NULL; node = next) {
        next = node->next;
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            TM_TRY(walk(layout, tm_node_subgraph(node, i)));
        if (node->output_count > 0 && node->outputs[0] != NULL && node->outputs[0]->kind == TAMIS_KIND_TENSOR)
            TM_TRY(visit(layout, node));
    }
    return TM_OK;
}

/* Floats of bytes that no mean reads any more. */
static void remove_unread(tm_graph *graph) {
    for (tm_node *node = graph->first, *next; node != NULL; node = next) {
        next = node->next;
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            remove_unread(tm_node_subgraph(node, i));
        if (node->op == TM_OP_DequantizeLinear && tm_value_unused(node->outputs[0]))
            tm_node_remove(node);
    }
}

tm_code tm_pass_channels_last(tm_pass_context *context) {
    tm_layout layout;
    tm_layout_begin(&layout, context);
    TM_TRY(walk(&layout, context->model->main));
    TM_TRY(tm_layout_end(&layout));
    remove_unread(context->model->main);
    return TM_OK;
}
