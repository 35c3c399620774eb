/* SPDX-License-Identifier: Apache-2.0
 *
 * shape_fill.c: inference of Range, ConstantOfShape, EyeLike and OneHot: ops that make a tensor out of
 * little more than its dims.
 *
 * Range of integers has max(0, ceildiv(limit - start, delta)) elements. Exporters write float ranges
 * too, mostly as Range(0.0, Cast(n), 1.0): where all three are whole numbers by their form, the
 * same formula holds. Other float ranges are TM_DYNAMIC: the kernel finds the length.
 */
#include "ir/ops/movement.h"

/* A scalar that is a whole number by its form, or NULL. */
static tm_dim whole_number(tm_infer_context *context, tm_value *value) {
    double number = 0;
    const tm_dim *elements = NULL;
    int64_t count = 0;
    if (tm_type_is_integer(value->type))
        return tm_infer_element(context, value, 0);
    if (value->constant != NULL) {
        if (!tm_constant_double(value->constant, 0, &number) || !(number > -0x1p53 && number < 0x1p53) ||
            number != (double)(int64_t)number)
            return NULL;
        return tm_infer_const(context, (int64_t)number);
    }
    if (value->producer != NULL && value->producer->op == TM_OP_Cast &&
        (value->type == TAMIS_TYPE_FLOAT || value->type == TAMIS_TYPE_DOUBLE) &&
        tm_infer_known_elements(context, tm_infer_input(value->producer, 0), &elements, &count) && count == 1)
        return elements[0];
    return NULL;
}

tm_code tm_infer_range(tm_infer_context *context, tm_node *node) {
    static const tamis_type allowed[] = {
        TAMIS_TYPE_FLOAT16, TAMIS_TYPE_BFLOAT16, TAMIS_TYPE_FLOAT, TAMIS_TYPE_DOUBLE,
        TAMIS_TYPE_INT16,   TAMIS_TYPE_INT32,    TAMIS_TYPE_INT64, 0};
    tm_dims *dims = context->dims;
    tm_dim bounds[3];
    bool known = true;
    for (int i = 0; i < 3; i++) {
        TM_TRY(tm_infer_need_one(context, node, i, "start, limit and delta must be scalars"));
        TM_TRY(tm_infer_need_type(node, i, allowed));
        TM_TRY(tm_infer_same_type(node, 0, i));
        bounds[i] = whole_number(context, tm_infer_input(node, i));
        known = known && bounds[i] != NULL;
    }
    const tamis_type type = tm_infer_input(node, 0)->type;
    if (!known) {
        tm_infer_set(node, 0, type, 1, (tm_dim[1]){tm_infer_free(context, node, 0, 0, "range")});
        return TM_OK;
    }
    if (tm_dim_is(bounds[2], 0))
        return tm_infer_fail(node, TM_E_SHAPE, "delta is 0");
    tm_dim length = tm_dim_ceildiv(dims, tm_dim_sub(dims, bounds[1], bounds[0]), bounds[2]);
    length = tm_dim_max(dims, length, tm_infer_const(context, 0));
    tm_infer_set(node, 0, type, 1, &length);
    if (!tm_type_is_integer(type) || !tm_dim_is_constant(length) || length->constant > TM_MAX_ELEMENTS)
        return TM_OK;
    tm_dim *elements = TM_NEW_ARRAY(context->arena, tm_dim, length->constant + 1);
    for (int64_t i = 0; i < length->constant; i++)
        elements[i] = tm_dim_add(dims, bounds[0], tm_dim_mul(dims, bounds[2], tm_infer_const(context, i)));
    tm_infer_set_elements(context, node, 0, elements, length->constant);
    return TM_OK;
}

tm_code tm_infer_constant_of_shape(tm_infer_context *context, tm_node *node) {
    tm_shape_list shape;
    TM_TRY(tm_shape_list_open_ranked(context, node, 0, "dims of the shape", 1, 0, &shape));
    const int rank = shape.most;
    const tm_attribute *value = tm_node_attribute(node, "value");
    if (value->present && tm_constant_count(value->tensor) != 1)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "value must have one element");
    tm_dim out[TAMIS_MAX_RANK];
    int64_t strides[TAMIS_MAX_RANK], count = 0, number = 0;
    for (int i = 0; i < rank; i++) {
        out[i] = tm_infer_element(context, shape.value, i);
        if (tm_dim_is_constant(out[i]) && out[i]->constant < 0)
            return tm_infer_fail(node, TM_E_SHAPE, "dim %d of the shape is negative", i);
    }
    const tamis_type type = value->present ? value->tensor->type : TAMIS_TYPE_FLOAT;
    tm_infer_set(node, 0, type, rank, out);
    if ((tm_type_is_integer(type) || type == TAMIS_TYPE_BOOL) &&
        tm_movement_strides(rank, out, strides, &count) && tm_constant_int(value->tensor, 0, &number)) {
        tm_dim *elements = TM_NEW_ARRAY(context->arena, tm_dim, count + 1);
        for (int64_t i = 0; i < count; i++)
            elements[i] = tm_infer_const(context, number);
        tm_infer_set_elements(context, node, 0, elements, count);
    }
    return TM_OK;
}

tm_code tm_infer_eye_like(tm_infer_context *context, tm_node *node) {
    (void)context;
    TM_TRY(tm_infer_need(node, 0, 2));
    const tm_value *like = tm_infer_input(node, 0);
    const int64_t wanted = tm_node_int(node, "dtype");
    const int64_t type = wanted == TM_NO_DEFAULT ? (int64_t)like->type : wanted;
    if (type <= TAMIS_TYPE_UNDEFINED || type >= TAMIS_TYPE_COUNT || type == TAMIS_TYPE_STRING ||
        tm_type_bits((tamis_type)type) < 8)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "dtype %lld is not a numeric type for EyeLike",
                             (long long)type);
    tm_infer_set_like(node, 0, (tamis_type)type, like);
    return TM_OK;
}

tm_code tm_infer_one_hot(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_one(context, node, 1, "depth must be a scalar"));
    TM_TRY(tm_infer_need(node, 2, 1));
    TM_TRY(tm_infer_equal(context, node, tm_infer_input(node, 2)->dims[0], tm_infer_const(context, 2),
                          "values must be [off, on]"));
    const tm_value *indices = tm_infer_input(node, 0);
    const int rank = indices->rank + 1;
    int axis = 0;
    TM_TRY(tm_infer_axis(node, tm_node_int(node, "axis"), rank, &axis));
    if (rank > TAMIS_MAX_RANK)
        return tm_infer_fail(node, TM_E_UNSUPPORTED_FORM, "rank %d is above %d", rank, TAMIS_MAX_RANK);
    tm_dim depth = whole_number(context, tm_infer_input(node, 1));
    tm_dim out[TAMIS_MAX_RANK];
    for (int i = 0; i < rank; i++)
        out[i] = i < axis ? indices->dims[i] : i > axis ? indices->dims[i - 1] : depth;
    if (depth == NULL)
        out[axis] = tm_infer_free(context, node, 0, axis, "depth");
    tm_infer_set(node, 0, tm_infer_input(node, 2)->type, rank, out);
    return TM_OK;
}
