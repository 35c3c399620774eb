/* SPDX-License-Identifier: Apache-2.0
 *
 * movement_common.c: helpers of the inference of shape and movement ops.
 *
 * Axes are nearly always constants, but ONNX lets them be tensors that exist only when the model
 * runs. Both cases take one path here: "the start that belongs to axis 2" is
 *
 *     select(axes[0] == 2, starts[0], select(axes[1] == 2, starts[1], 0))
 *
 * and with constant axes the simplifying constructors leave just the right start.
 */
#include "ir/ops/movement.h"

tm_code tm_movement_axis(tm_infer_context *context, tm_node *node, tm_dim axis, int rank, tm_dim *out_axis) {
    if (tm_dim_is_constant(axis)) {
        int normal = 0;
        TM_TRY(tm_infer_axis(node, axis->constant, rank, &normal));
        *out_axis = tm_infer_const(context, normal);
        return TM_OK;
    }
    tm_dims *dims = context->dims;
    tm_dim zero = tm_infer_const(context, 0);
    *out_axis =
        tm_dim_select(dims, tm_dim_less(dims, axis, zero),
                      tm_dim_add(dims, tm_dim_min(dims, axis, zero), tm_infer_const(context, rank)), axis);
    return TM_OK;
}

tm_code tm_movement_axes(tm_infer_context *context, tm_node *node, int input, int rank, tm_dim *out_axes,
                         tm_shape_list *out_list) {
    if (tm_infer_input(node, input) == NULL) {
        for (int i = 0; i < rank; i++)
            out_axes[i] = tm_infer_const(context, i);
        *out_list = (tm_shape_list){NULL, tm_infer_const(context, rank), rank};
        return TM_OK;
    }
    TM_TRY(tm_shape_list_open(context, node, input, "axes", rank, out_list));
    tm_dim none = tm_infer_const(context, -1);
    int64_t count = tm_shape_list_bound(out_list);
    for (int64_t i = 0; i < count; i++) {
        tm_dim there = tm_dim_less(context->dims, tm_infer_const(context, i), out_list->length);
        TM_TRY(tm_movement_axis(context, node, tm_infer_element(context, out_list->value, i), rank,
                                &out_axes[i]));
        for (int64_t j = 0; j < i; j++)
            if (tm_dim_same(out_axes[i], out_axes[j]))
                return tm_infer_fail(node, TM_E_ATTRIBUTE, "axes has the same axis twice");
        out_axes[i] = tm_dim_select(context->dims, there, out_axes[i], none);
    }
    return TM_OK;
}

tm_dim tm_movement_pick(tm_infer_context *context, const tm_dim *axes, const tm_dim *list, int count,
                        int axis, tm_dim otherwise) {
    tm_dim number = tm_infer_const(context, axis);
    tm_dim result = otherwise;
    for (int i = 0; i < count; i++)
        result = tm_dim_select(context->dims, tm_dim_equal(context->dims, axes[i], number), list[i], result);
    return result;
}

bool tm_movement_strides(int rank, const tm_dim *dims, int64_t *out_strides, int64_t *out_count) {
    int64_t count = 1;
    for (int i = rank - 1; i >= 0; i--) {
        if (!tm_dim_is_constant(dims[i]) || dims[i]->constant < 0)
            return false;
        out_strides[i] = count;
        if (!tm_mul_i64(count, dims[i]->constant, &count) || count > TM_MAX_ELEMENTS)
            return false;
    }
    *out_count = count;
    return true;
}

void tm_movement_carry(tm_infer_context *context, tm_node *node, int output, tm_value *from, int64_t offset,
                       const int64_t *strides) {
    const tm_value *to = tm_infer_output(node, output);
    const tm_dim *known = NULL;
    int64_t known_count = 0, count = 0, dense[TAMIS_MAX_RANK];
    if (to == NULL || !tm_movement_strides(to->rank, to->dims, dense, &count) ||
        !tm_infer_known_elements(context, from, &known, &known_count))
        return;
    tm_dim *elements = TM_NEW_ARRAY(context->arena, tm_dim, count + 1);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = offset, rest = i;
        for (int axis = 0; axis < to->rank; axis++) {
            at += rest / dense[axis] * strides[axis];
            rest %= dense[axis];
        }
        elements[i] = known[at];
    }
    tm_infer_set_elements(context, node, output, elements, count);
}
