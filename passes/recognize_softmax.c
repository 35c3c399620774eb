/* SPDX-License-Identifier: Apache-2.0
 *
 * recognize_softmax.c: Softmax spelled out.
 *
 *     e = exp(x - max(x));  y = e / sum(e)          maximum and sum over the same single axis, kept
 *
 * The quotient may be a product by the reciprocal. Without the maximum it is not the same: exp overflows
 * where Softmax does not. For float32 and float64; not bit-exact, since the kernel multiplies by the inverse
 * of the sum.
 */
#include "passes/match.h"

/* value = op of `x` over one axis, kept. */
static bool match_reduction(tm_match *match, const tm_value *value, tm_op op, const tm_value *x,
                            int64_t *out_axis) {
    int64_t axes[TAMIS_MAX_RANK];
    int count = 0;
    tm_node *node = tm_match_op(match, value, op);
    if (node == NULL || node->inputs[0] != x || tm_node_int(node, "keepdims") != 1 || node->input_count < 2 ||
        !tm_match_ints(node->inputs[1], axes, &count) || count != 1)
        return false;
    *out_axis = axes[0] < 0 ? axes[0] + x->rank : axes[0];
    return true;
}

static bool match_softmax(tm_match *match, const tm_node *node, tm_value *exponentials, tm_value *divisor,
                          tm_value **out_x, int64_t *out_axis) {
    int64_t axis;
    if (node->op == TM_OP_Mul) {
        tm_node *reciprocal = tm_match_op(match, divisor, TM_OP_Reciprocal);
        divisor = reciprocal != NULL ? reciprocal->inputs[0] : NULL;
    }
    if (divisor == NULL || !match_reduction(match, divisor, TM_OP_ReduceSum, exponentials, out_axis))
        return false;
    tm_node *exp = tm_match_op(match, exponentials, TM_OP_Exp);
    tm_node *sub = exp != NULL ? tm_match_op(match, exp->inputs[0], TM_OP_Sub) : NULL;
    if (sub == NULL || !match_reduction(match, sub->inputs[1], TM_OP_ReduceMax, sub->inputs[0], &axis))
        return false;
    *out_x = sub->inputs[0];
    return axis == *out_axis;
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    if ((node->op != TM_OP_Div && node->op != TM_OP_Mul) || !tm_match_is_real(node->outputs[0]))
        return TM_OK;
    for (int i = 0; i < (node->op == TM_OP_Mul ? 2 : 1); i++) {
        tm_match match = {.graph = node->graph};
        tm_value *x;
        int64_t axis;
        if (!match_softmax(&match, node, node->inputs[i], node->inputs[1 - i], &x, &axis) ||
            !tm_match_closed(&match, node) || !tm_pass_allow(context))
            continue;
        tm_node *made = tm_node_create(node->graph, node, TM_OP_Softmax, NULL, 1, &x);
        tm_node_set_int(made, "axis", axis == x->rank - 1 ? -1 : axis);
        tm_match_replace(node, made);
        return TM_OK;
    }
    return TM_OK;
}

tm_code tm_pass_recognize_softmax(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
