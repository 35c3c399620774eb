/* SPDX-License-Identifier: Apache-2.0
 *
 * movement_window.c: inference of Slice, Pad and CenterCropPad: ops that cut out or frame a window.
 *
 * The length of a slice of a dim n, in ONNX's rules, with s and e brought into range first:
 *
 *     step > 0:  s, e in 0..n       length = max(0, ceildiv(e - s, step))
 *     step < 0:  s in 0..n-1, e in -1..n-1   the same formula
 *
 * Starts and ends may be INT64_MAX or INT64_MIN ("to the end"), so n is added to negative ones only.
 * The common forms x[c:], x[:c], x[-c:], x[:-c] have shorter formulas, such as max(n - c, 0), which
 * later ops can simplify.
 */
#include "ir/ops/movement.h"

#include <string.h>

typedef struct slice_range {
    tm_dim start, end, step;
} slice_range;

/* x < 0 ? x + n : x, without overflow. */
static tm_dim from_the_end(tm_infer_context *context, tm_dim x, tm_dim n) {
    tm_dims *dims = context->dims;
    tm_dim zero = tm_infer_const(context, 0);
    return tm_dim_select(dims, tm_dim_less(dims, x, zero), tm_dim_add(dims, tm_dim_min(dims, x, zero), n), x);
}

/* Lengths of the common forms with step 1, or NULL. */
static tm_dim short_length(tm_infer_context *context, const slice_range *range, tm_dim n) {
    tm_dims *dims = context->dims;
    tm_dim zero = tm_infer_const(context, 0);
    if (!tm_dim_is(range->step, 1) || !tm_dim_is_constant(range->start))
        return NULL;
    const int64_t start = range->start->constant;
    const bool to_the_end =
        tm_dim_same(range->end, n) || (tm_dim_is_constant(range->end) && range->end->constant >= n->high);
    if (to_the_end && start >= 0)
        return tm_dim_max(dims, tm_dim_sub(dims, n, range->start), zero);
    if (to_the_end && start > INT64_MIN)
        return tm_dim_min(dims, n, tm_infer_const(context, -start));
    if (start == 0 && tm_dim_is_constant(range->end))
        return range->end->constant >= 0 ? tm_dim_min(dims, n, range->end)
                                         : tm_dim_max(dims, tm_dim_add(dims, n, range->end), zero);
    return NULL;
}

/* A step longer than any tensor picks one element, whatever its length; ceildiv needs room to add n to it. */
static tm_dim bounded_step(tm_infer_context *context, tm_dim step) {
    const int64_t most = INT64_C(1) << 62;
    if (!tm_dim_is_constant(step) || (step->constant >= -most && step->constant <= most))
        return step;
    return tm_infer_const(context, step->constant < 0 ? -most : most);
}

static tm_dim slice_length(tm_infer_context *context, const slice_range *range, tm_dim n) {
    tm_dims *dims = context->dims;
    tm_dim simple = short_length(context, range, n);
    if (simple != NULL)
        return simple;
    tm_dim zero = tm_infer_const(context, 0), minus_one = tm_infer_const(context, -1);
    tm_dim last = tm_dim_sub(dims, n, tm_infer_const(context, 1));
    tm_dim start = from_the_end(context, range->start, n), end = from_the_end(context, range->end, n);
    tm_dim step = bounded_step(context, range->step);
    tm_dim up = tm_dim_ceildiv(
        dims, tm_dim_sub(dims, tm_dim_clamp(dims, end, zero, n), tm_dim_clamp(dims, start, zero, n)),
        step);
    tm_dim down = tm_dim_ceildiv(
        dims,
        tm_dim_sub(dims, tm_dim_clamp(dims, end, minus_one, last), tm_dim_clamp(dims, start, zero, last)),
        step);
    tm_dim length = tm_dim_select(dims, tm_dim_less(dims, step, zero), down, up);
    return tm_dim_max(dims, length, zero);
}

/* Known elements: every range must be constant and so must be the dims. */
static void slice_elements(tm_infer_context *context, tm_node *node, tm_value *data,
                           const slice_range *ranges) {
    int64_t strides[TAMIS_MAX_RANK], count = 0, offset = 0;
    if (!tm_movement_strides(data->rank, data->dims, strides, &count))
        return;
    for (int axis = 0; axis < data->rank; axis++) {
        const slice_range *range = &ranges[axis];
        if (!tm_dim_is_constant(range->start) || !tm_dim_is_constant(range->step))
            return;
        const int64_t n = data->dims[axis]->constant, step = range->step->constant;
        const int64_t last = step < 0 ? n - 1 : n;
        int64_t start = range->start->constant;
        start += start < 0 ? n : 0;
        start = start < 0 ? 0 : start > last ? last : start;
        offset += start * strides[axis];
        strides[axis] = step < -n ? -n * strides[axis] : step > n ? n * strides[axis] : step * strides[axis];
    }
    tm_movement_carry(context, node, 0, data, offset, strides);
}

/* The lists of a Slice, of one length. Where there are no axes, entry i is that of axis i. */
static tm_code slice_lists(tm_infer_context *context, tm_node *node, tm_shape_list *lists, tm_dim *axes) {
    static const char *const names[] = {"data", "starts", "ends", "axes", "steps"};
    const int rank = tm_infer_input(node, 0)->rank;
    TM_TRY(tm_movement_axes(context, node, 3, rank, axes, &lists[3]));
    for (int i = 1; i <= 4; i++) {
        lists[i].value = i == 3 ? lists[i].value : tm_infer_input(node, i);
        if (i == 3 || (i == 4 && lists[i].value == NULL))
            continue;
        TM_TRY(tm_shape_list_open(context, node, i, names[i], rank, &lists[i]));
    }
    TM_TRY(tm_shape_list_same_length(context, node, &lists[1], &lists[2], "the numbers of starts and ends"));
    if (lists[3].value != NULL)
        TM_TRY(
            tm_shape_list_same_length(context, node, &lists[1], &lists[3], "the numbers of starts and axes"));
    if (lists[4].value != NULL)
        TM_TRY(tm_shape_list_same_length(context, node, &lists[1], &lists[4],
                                         "the numbers of starts and steps"));
    return TM_OK;
}

tm_code tm_infer_slice(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    tm_value *data = tm_infer_input(node, 0);
    tm_shape_list lists[5];
    tm_dim axes[TAMIS_MAX_RANK], starts[TAMIS_MAX_RANK], ends[TAMIS_MAX_RANK], steps[TAMIS_MAX_RANK];
    tm_dim zero = tm_infer_const(context, 0), one = tm_infer_const(context, 1);
    TM_TRY(slice_lists(context, node, lists, axes));
    const int count = tm_shape_list_bound(&lists[1]);
    for (int i = 0; i < count; i++) {
        starts[i] = tm_shape_list_entry(context, &lists[1], i, zero);
        ends[i] = tm_shape_list_entry(context, &lists[2], i, data->dims[i]);
        steps[i] = lists[4].value != NULL ? tm_shape_list_entry(context, &lists[4], i, one) : one;
        if (tm_dim_is(steps[i], 0))
            return tm_infer_fail(node, TM_E_SHAPE, "step %d is 0", i);
    }
    tm_dim out[TAMIS_MAX_RANK];
    slice_range ranges[TAMIS_MAX_RANK];
    for (int axis = 0; axis < data->rank; axis++) {
        ranges[axis].start = tm_movement_pick(context, axes, starts, count, axis, zero);
        ranges[axis].end = tm_movement_pick(context, axes, ends, count, axis, data->dims[axis]);
        ranges[axis].step = tm_movement_pick(context, axes, steps, count, axis, one);
        out[axis] = slice_length(context, &ranges[axis], data->dims[axis]);
    }
    tm_infer_set(node, 0, data->type, data->rank, out);
    slice_elements(context, node, data, ranges);
    return TM_OK;
}

/* Pads stand as the heads of all axes, then their tails: with n axes, sum i is that of entries i and n + i.
 */
static tm_code pad_sums(tm_infer_context *context, tm_node *node, tm_shape_list *axes, tm_dim *out_sums) {
    tm_dims *dims = context->dims;
    tm_dim zero = tm_infer_const(context, 0);
    tm_shape_list pads;
    TM_TRY(tm_shape_list_open(context, node, 1, "pads", 2 * axes->most, &pads));
    if (tm_dim_is_constant(pads.length) && !tm_dim_is_constant(axes->length))
        axes->length = tm_dim_floordiv(dims, pads.length, tm_infer_const(context, 2));
    tm_dim both = tm_dim_add(dims, axes->length, axes->length);
    TM_TRY(tm_infer_equal(context, node, pads.length, both, "the number of pads and twice that of axes"));
    pads.length = both;
    const int count = tm_shape_list_bound(axes);
    for (int i = 0; i < count; i++) {
        tm_dim tail = zero;
        for (int n = i + 1; n <= count; n++)
            tail = tm_dim_select(dims, tm_dim_equal(dims, axes->length, tm_infer_const(context, n)),
                                 tm_shape_list_entry(context, &pads, n + i, zero), tail);
        out_sums[i] = tm_dim_add(dims, tm_shape_list_entry(context, &pads, i, zero), tail);
    }
    return TM_OK;
}

tm_code tm_infer_pad(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    tm_dims *dims = context->dims;
    tm_value *data = tm_infer_input(node, 0);
    const char *mode = tm_node_string(node, "mode");
    if (strcmp(mode, "constant") != 0 && strcmp(mode, "reflect") != 0 && strcmp(mode, "edge") != 0 &&
        strcmp(mode, "wrap") != 0)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "mode is none of constant, reflect, edge, wrap");
    tm_dim axes[TAMIS_MAX_RANK], sums[TAMIS_MAX_RANK], out[TAMIS_MAX_RANK];
    tm_shape_list list;
    TM_TRY(tm_movement_axes(context, node, 3, data->rank, axes, &list));
    TM_TRY(pad_sums(context, node, &list, sums));
    if (tm_infer_input(node, 2) != NULL) {
        TM_TRY(tm_infer_need_one(context, node, 2, "constant_value must have one element"));
        TM_TRY(tm_infer_same_type(node, 0, 2));
    }
    tm_dim zero = tm_infer_const(context, 0);
    for (int axis = 0; axis < data->rank; axis++) {
        tm_dim sum = tm_movement_pick(context, axes, sums, tm_shape_list_bound(&list), axis, zero);
        out[axis] = tm_dim_add(dims, data->dims[axis], sum);
        if (tm_dim_is_constant(out[axis]) && out[axis]->constant < 0)
            return tm_infer_fail(node, TM_E_SHAPE, "the pads of axis %d remove more than there is", axis);
    }
    tm_infer_set(node, 0, data->type, data->rank, out);
    return TM_OK;
}

tm_code tm_infer_center_crop_pad(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    const tm_value *data = tm_infer_input(node, 0);
    const tm_attribute *axes = tm_node_attribute(node, "axes");
    const int length = axes->present ? (int)axes->count : data->rank;
    tm_shape_list shape;
    TM_TRY(tm_shape_list_open_exact(context, node, 1, "dims of the shape and axes", length, &shape));
    tm_dim out[TAMIS_MAX_RANK];
    for (int i = 0; i < data->rank; i++)
        out[i] = data->dims[i];
    for (int i = 0; i < length; i++) {
        int axis = 0;
        TM_TRY(tm_infer_axis(node, axes->present ? axes->ints[i] : i, data->rank, &axis));
        out[axis] = tm_infer_element(context, shape.value, i);
        if (tm_dim_is_constant(out[axis]) && out[axis]->constant < 0)
            return tm_infer_fail(node, TM_E_SHAPE, "dim %d of the shape is negative", i);
    }
    tm_infer_set(node, 0, data->type, data->rank, out);
    return TM_OK;
}
