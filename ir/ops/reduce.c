/* SPDX-License-Identifier: Apache-2.0
 *
 * Inference of reductions, arg-reductions and running sums.
 *
 * The axes of a reduction are an input and may be known only when the model runs, even their number. The dims
 * remain expressions: with r[d] = 1 where some axis equals d,
 *
 *     keepdims:  out[d] = select(r[d], 1, in[d])
 *     else:      out[o] = sum over d of  (1 - r[d]) * (d - r[0] - ... - r[d-1] == o) * in[d]
 *
 * which folds to plain dims as soon as the axes are constants. ReduceSum, ReduceProd, ReduceMax and
 * ReduceMin of known elements give known elements: sizes computed in the graph go through them.
 */
#include "ir/ops/movement.h"

static const tamis_type reduce_types[] = {TAMIS_TYPE_FLOAT,    TAMIS_TYPE_DOUBLE, TAMIS_TYPE_FLOAT16,
                                          TAMIS_TYPE_BFLOAT16, TAMIS_TYPE_INT32,  TAMIS_TYPE_INT64,
                                          TAMIS_TYPE_UINT32,   TAMIS_TYPE_UINT64, 0};
static const tamis_type extremum_types[] = {TAMIS_TYPE_FLOAT,    TAMIS_TYPE_DOUBLE, TAMIS_TYPE_FLOAT16,
                                            TAMIS_TYPE_BFLOAT16, TAMIS_TYPE_INT32,  TAMIS_TYPE_INT64,
                                            TAMIS_TYPE_UINT32,   TAMIS_TYPE_UINT64, TAMIS_TYPE_INT8,
                                            TAMIS_TYPE_UINT8,    TAMIS_TYPE_BOOL,   0};
static const tamis_type axis_types[] = {TAMIS_TYPE_INT64, TAMIS_TYPE_INT32, 0};

/* Sets reduced[d] to 0, 1 or an expression that is one of them, and *out_count to their sum. */
static tm_code reduced_flags(tm_infer_context *context, tm_node *node, int rank, tm_dim *reduced,
                             tm_dim *out_count) {
    tm_dims *dims = context->dims;
    const bool all = tm_node_int(node, "noop_with_empty_axes") == 0;
    tm_dim zero = tm_infer_const(context, 0), axes[TAMIS_MAX_RANK];
    tm_shape_list list = {NULL, zero, 0};
    if (tm_infer_input(node, 1) != NULL) {
        TM_TRY(tm_infer_need(node, 1, -1));
        TM_TRY(tm_infer_need_type(node, 1, axis_types));
        TM_TRY(tm_movement_axes(context, node, 1, rank, axes, &list));
    }
    tm_dim every = all ? tm_dim_equal(dims, list.length, zero) : zero, sum = zero;
    for (int d = 0; d < rank; d++) {
        reduced[d] = every;
        for (int i = 0; i < tm_shape_list_bound(&list); i++)
            reduced[d] =
                tm_dim_max(dims, reduced[d], tm_dim_equal(dims, axes[i], tm_infer_const(context, d)));
        sum = tm_dim_add(dims, sum, reduced[d]);
    }
    *out_count = tm_dim_select(dims, every, tm_infer_const(context, rank), list.length);
    return tm_infer_equal(context, node, *out_count, sum, "the number of axes and of dims that are reduced");
}

/* The d-th dim that is not reduced, when reduced dims are dropped. */
static tm_dim dropped_dim(tm_infer_context *context, const tm_value *data, const tm_dim *reduced,
                          int output) {
    tm_dims *dims = context->dims;
    tm_dim result = tm_infer_const(context, 0), one = tm_infer_const(context, 1);
    tm_dim before = tm_infer_const(context, 0);
    for (int d = 0; d < data->rank; d++) {
        tm_dim at = tm_dim_sub(dims, tm_infer_const(context, d), before);
        tm_dim here = tm_dim_mul(dims, tm_dim_sub(dims, one, reduced[d]),
                                 tm_dim_equal(dims, at, tm_infer_const(context, output)));
        result = tm_dim_add(dims, result, tm_dim_mul(dims, here, data->dims[d]));
        before = tm_dim_add(dims, before, reduced[d]);
    }
    return result;
}

/* Known elements of a whole 0- or 1-D integer tensor reduced to one. */
static void reduce_elements(tm_infer_context *context, tm_node *node, tm_value *data, const tm_dim *reduced) {
    const tm_dim *elements;
    int64_t count;
    if (data->rank > 1 || !tm_infer_known_elements(context, data, &elements, &count))
        return;
    if (data->rank == 0 || tm_dim_is(reduced[0], 0)) {
        tm_infer_set_elements(context, node, 0, elements, count);
        return;
    }
    if (!tm_dim_is(reduced[0], 1) || count == 0)
        return;
    tm_dim result = elements[0];
    for (int64_t i = 1; i < count; i++) {
        switch (node->op) {
        case TM_OP_ReduceSum:
            result = tm_dim_add(context->dims, result, elements[i]);
            break;
        case TM_OP_ReduceProd:
            result = tm_dim_mul(context->dims, result, elements[i]);
            break;
        case TM_OP_ReduceMax:
            result = tm_dim_max(context->dims, result, elements[i]);
            break;
        case TM_OP_ReduceMin:
            result = tm_dim_min(context->dims, result, elements[i]);
            break;
        default:
            return;
        }
    }
    tm_infer_set_elements(context, node, 0, &result, 1);
}

tm_code tm_infer_reduce(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    bool extremum = node->op == TM_OP_ReduceMax || node->op == TM_OP_ReduceMin;
    TM_TRY(tm_infer_need_type(node, 0, extremum ? extremum_types : reduce_types));
    tm_value *data = tm_infer_input(node, 0);
    tm_dim reduced[TAMIS_MAX_RANK], dims[TAMIS_MAX_RANK];
    tm_dim axis_count;
    TM_TRY(reduced_flags(context, node, data->rank, reduced, &axis_count));
    int rank = data->rank;
    if (tm_node_int(node, "keepdims") != 0) {
        for (int d = 0; d < rank; d++)
            dims[d] = tm_dim_select(context->dims, reduced[d], tm_infer_const(context, 1), data->dims[d]);
    } else {
        int dropped = 0;
        TM_TRY(tm_shape_list_decide_rank(context, node, axis_count, "axes", -1, data->rank, &dropped));
        rank -= dropped;
        for (int o = 0; o < rank; o++)
            dims[o] = dropped_dim(context, data, reduced, o);
    }
    tm_infer_set(node, 0, data->type, rank, dims);
    if (tm_type_is_integer(data->type) &&
        (extremum || node->op == TM_OP_ReduceSum || node->op == TM_OP_ReduceProd))
        reduce_elements(context, node, data, reduced);
    return TM_OK;
}

tm_code tm_infer_arg_reduce(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    tm_value *data = tm_infer_input(node, 0);
    if (!tm_type_is_integer(data->type) && !tm_type_is_float(data->type))
        return tm_infer_fail(node, TM_E_TYPE, "%s is not a number type", tm_type_text(data->type));
    int axis;
    TM_TRY(tm_infer_axis(node, tm_node_int(node, "axis"), data->rank, &axis));
    if (tm_dim_is(data->dims[axis], 0))
        return tm_infer_fail(node, TM_E_SHAPE, "axis %d is empty: there is no largest or smallest element",
                             axis);
    bool keep = tm_node_int(node, "keepdims") != 0;
    tm_dim dims[TAMIS_MAX_RANK];
    int rank = 0;
    for (int d = 0; d < data->rank; d++) {
        if (d != axis)
            dims[rank++] = data->dims[d];
        else if (keep)
            dims[rank++] = tm_infer_const(context, 1);
    }
    tm_infer_set(node, 0, TAMIS_TYPE_INT64, rank, dims);
    return TM_OK;
}

/* Running sum of the known elements of a 1-D tensor, as exporters compute offsets of segments. */
static void cumulative_elements(tm_infer_context *context, tm_node *node, tm_value *data) {
    const tm_dim *elements;
    int64_t count;
    if (data->rank != 1 || !tm_infer_known_elements(context, data, &elements, &count))
        return;
    bool sum = node->op == TM_OP_CumSum;
    bool exclusive = tm_node_int(node, "exclusive") != 0, reverse = tm_node_int(node, "reverse") != 0;
    tm_dim *out = TM_NEW_ARRAY(context->arena, tm_dim, count > 0 ? count : 1);
    tm_dim state = tm_infer_const(context, sum ? 0 : 1);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = reverse ? count - 1 - i : i;
        tm_dim next = sum ? tm_dim_add(context->dims, state, elements[at])
                          : tm_dim_mul(context->dims, state, elements[at]);
        out[at] = exclusive ? state : next;
        state = next;
    }
    tm_infer_set_elements(context, node, 0, out, count);
}

tm_code tm_infer_cumulative(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need(node, 1, -1));
    TM_TRY(tm_infer_need_type(node, 0, reduce_types));
    TM_TRY(tm_infer_need_type(node, 1, axis_types));
    tm_value *data = tm_infer_input(node, 0);
    if (data->rank == 0)
        return tm_infer_fail(node, TM_E_SHAPE, "the input has no dims");
    const tm_value *axis_input = tm_infer_input(node, 1);
    if (axis_input->rank > 1)
        return tm_infer_fail(node, TM_E_SHAPE, "the axis must be a scalar");
    if (axis_input->rank == 1)
        TM_TRY(tm_infer_equal(context, node, axis_input->dims[0], tm_infer_const(context, 1),
                              "elements of the axis"));
    int64_t axis, count;
    if (tm_infer_constant_elements(context, tm_infer_input(node, 1), &axis, 1, &count) && count == 1) {
        int at;
        TM_TRY(tm_infer_axis(node, axis, data->rank, &at));
    }
    tm_infer_set_like(node, 0, data->type, data);
    if (tm_type_is_integer(data->type))
        cumulative_elements(context, node, data);
    return TM_OK;
}
