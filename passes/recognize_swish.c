/* SPDX-License-Identifier: Apache-2.0
 *
 * recognize_swish.c: x * Sigmoid(alpha * x), also known as SiLU (alpha 1) and quick GELU (alpha 1.702).
 *
 *     %s: f32[n] = Sigmoid(%x)
 *     %y: f32[n] = Mul(%x, %s)          ->          %y: f32[n] = Swish(%x)
 *
 * Only when nobody else reads the sigmoid, as a gated unit with two products of it does. For float32 and
 * float64.
 */
#include "passes/match.h"

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    if (node->op != TM_OP_Mul || !tm_match_is_real(node->outputs[0]))
        return TM_OK;
    for (int i = 0; i < 2; i++) {
        tm_match match = {.graph = node->graph};
        tm_match_product argument;
        tm_value *x = node->inputs[i];
        tm_node *sigmoid = tm_match_op(&match, node->inputs[1 - i], TM_OP_Sigmoid);
        if (sigmoid == NULL)
            continue;
        if (sigmoid->inputs[0] == x)
            argument = (tm_match_product){1, {x}, 1};
        else if (!tm_match_flatten(&match, sigmoid->inputs[0], &argument))
            continue;
        if (argument.count != 1 || argument.factors[0] != x || !tm_match_closed(&match, node) ||
            x->rank != node->outputs[0]->rank || !tm_pass_allow(context))
            continue;
        tm_node *made = tm_node_create(node->graph, node, TM_OP_Swish, NULL, 1, &x);
        if (argument.constant != 1)
            tm_node_set_float(made, "alpha", argument.constant);
        tm_match_replace(node, made);
        return TM_OK;
    }
    return TM_OK;
}

tm_code tm_pass_recognize_swish(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
