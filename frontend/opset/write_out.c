/* SPDX-License-Identifier: Apache-2.0
 *
 * write_out.c: helper nodes in one line each; see write_out.h.
 *
 * Operators of ONNX Runtime are written out in twenty and more standard ones. What is arithmetic on shapes in
 * there becomes dim expressions, and what is constant folds, so nothing here tries to save nodes.
 */
#include "frontend/opset/write_out.h"

#include "frontend/opset/opset.h"

tm_value *tm_write_unary(tm_draft *draft, tm_op op, tm_value *x) {
    return tm_draft_emit(draft, op, 1, &x);
}

tm_value *tm_write_binary(tm_draft *draft, tm_op op, tm_value *a, tm_value *b) {
    return tm_draft_emit(draft, op, 2, (tm_value *[]){a, b});
}

tm_value *tm_write_add(tm_draft *draft, tm_value *a, tm_value *b) {
    if (a == NULL || b == NULL)
        return a == NULL ? b : a;
    return tm_write_binary(draft, TM_OP_Add, a, b);
}

tm_value *tm_write_where(tm_draft *draft, tm_value *condition, tm_value *a, tm_value *b) {
    return tm_draft_emit(draft, TM_OP_Where, 3, (tm_value *[]){condition, a, b});
}

tm_value *tm_write_cast(tm_draft *draft, tm_value *x, tamis_type to) {
    tm_node *node = tm_draft_emit_node(draft, TM_OP_Cast, 1, &x);
    tm_node_set_int(node, "to", to);
    return tm_draft_add_output(draft, node);
}

tm_value *tm_write_number(tm_draft *draft, double value, tm_value *like) {
    tm_value *number = NULL;
    return tm_draft_constant_like(draft, value, like, &number) == TM_OK ? number : NULL;
}

tm_value *tm_write_reshape(tm_draft *draft, tm_value *x, int count, const int64_t *dims) {
    return tm_write_binary(draft, TM_OP_Reshape, x, tm_draft_constant_ints(draft, dims, count));
}

tm_value *tm_write_reshape_to(tm_draft *draft, tm_value *x, tm_value *shape) {
    tm_node *node = tm_draft_emit_node(draft, TM_OP_Reshape, 2, (tm_value *[]){x, shape});
    tm_node_set_int(node, "allowzero", 1);
    return tm_draft_add_output(draft, node);
}

tm_value *tm_write_transpose(tm_draft *draft, tm_value *x, int rank, const int64_t *permutation) {
    tm_node *node = tm_draft_emit_node(draft, TM_OP_Transpose, 1, &x);
    tm_node_set_ints(node, "perm", permutation, rank);
    return tm_draft_add_output(draft, node);
}

tm_value *tm_write_unsqueeze(tm_draft *draft, tm_value *x, int count, const int64_t *axes) {
    return tm_write_binary(draft, TM_OP_Unsqueeze, x, tm_draft_constant_ints(draft, axes, count));
}

tm_value *tm_write_entry(tm_draft *draft, tm_value *x, int axis, int64_t index) {
    tm_node *node =
        tm_draft_emit_node(draft, TM_OP_Gather, 2, (tm_value *[]){x, tm_draft_constant_int(draft, index)});
    tm_node_set_int(node, "axis", axis);
    return tm_draft_add_output(draft, node);
}

tm_value *tm_write_concat(tm_draft *draft, int axis, int count, tm_value *const *parts) {
    tm_node *node = tm_draft_emit_node(draft, TM_OP_Concat, count, parts);
    tm_node_set_int(node, "axis", axis);
    return tm_draft_add_output(draft, node);
}

tm_value *tm_write_slice(tm_draft *draft, tm_value *x, int axis, tm_value *start, tm_value *end) {
    int64_t at = axis, last = INT64_MAX;
    if (end == NULL)
        end = tm_draft_constant_ints(draft, &last, 1);
    return tm_draft_emit(draft, TM_OP_Slice, 4,
                         (tm_value *[]){x, start, end, tm_draft_constant_ints(draft, &at, 1)});
}

void tm_write_split(tm_draft *draft, tm_value *x, int axis, int count, const int64_t *sizes, tm_value **out) {
    tm_value *inputs[2] = {x, sizes != NULL ? tm_draft_constant_ints(draft, sizes, count) : NULL};
    tm_node *node = tm_draft_emit_node(draft, TM_OP_Split, sizes != NULL ? 2 : 1, inputs);
    tm_node_set_int(node, "axis", axis);
    if (sizes == NULL)
        tm_node_set_int(node, "num_outputs", count);
    for (int i = 0; i < count; i++)
        out[i] = tm_draft_add_output(draft, node);
}

tm_value *tm_write_dims(tm_draft *draft, tm_value *x, int axis, int count) {
    tm_node *node = tm_draft_emit_node(draft, TM_OP_Shape, 1, &x);
    tm_node_set_int(node, "start", axis);
    if (axis + count != 0) /* else up to the last */
        tm_node_set_int(node, "end", axis + count);
    return tm_draft_add_output(draft, node);
}

tm_value *tm_write_one(tm_draft *draft, tm_value *x) {
    return tm_write_cast(draft, tm_write_reshape(draft, x, 1, (int64_t[]){1}), TAMIS_TYPE_INT64);
}

tm_value *tm_write_range(tm_draft *draft, tm_value *count) {
    tm_value *scalar =
        tm_write_binary(draft, TM_OP_Squeeze, count, tm_draft_constant_ints(draft, (int64_t[]){0}, 1));
    return tm_draft_emit(
        draft, TM_OP_Range, 3,
        (tm_value *[]){tm_draft_constant_int(draft, 0), scalar, tm_draft_constant_int(draft, 1)});
}

tm_value *tm_write_zeros(tm_draft *draft, tm_value *shape, tm_value *like) {
    return tm_write_binary(draft, TM_OP_Expand, tm_write_number(draft, 0, like), shape);
}

tm_code tm_write_bind(tm_draft *draft, size_t index, tm_value *value) {
    draft->finished = true;
    if (!tm_draft_has_output(draft, index))
        return TM_OK;
    tm_node *node;
    return tm_opset_emit_output(draft, index, TM_OP_Identity, 1, &value, &node);
}

tm_code tm_write_refuse_input(tm_draft *draft, size_t index, const char *name, const char *why) {
    if (tm_draft_input(draft, index) == NULL)
        return TM_OK;
    return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM, "%s with %s: %s", draft->op, name, why);
}

int64_t tm_write_last_dim(tm_draft *draft, tm_value *x) {
    int rank;
    if (!tm_draft_known_rank(draft, x, &rank) || x->dims == NULL || x->rank < 1)
        return 0;
    tm_dim last = x->dims[x->rank - 1];
    return tm_dim_is_constant(last) ? last->constant : 0;
}
