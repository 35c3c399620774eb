/* SPDX-License-Identifier: Apache-2.0
 *
 * merge_numbers.c: chains of factors or of addends that are single constants become one.
 *
 *     Div(Mul(Mul(%x, 0.5), 3), 4)     ->  Mul(%x, 0.375)
 *     Add(Add(%x, 1), 2)               ->  Add(%x, 3)
 *     Mul(%x, 1)                       ->  %x
 *
 * Only when nobody reads between, and when all numbers are far from the ends of float32: a mask of -3.4e38
 * times 2 is minus infinity, and must not come out of numbers that were none. For float32 and float64. It
 * runs after the forms whose factors mean something have been recognised.
 *
 * Not bit-exact: one rounding takes the place of several.
 */
#include "passes/match.h"
#include "passes/rewrite.h"

#include <math.h>

#define LARGEST 1e18
#define SMALLEST 1e-18

static bool is_moderate(double number) {
    return fabs(number) <= LARGEST && fabs(number) >= SMALLEST;
}

static void replace(tm_node *node, tm_op op, tm_value *x, double number) {
    tm_graph *graph = node->graph;
    const tm_constant *constant = tm_constant_create_scalar(graph->model->arena, x->type, number);
    tm_value *inputs[2] = {x, tm_value_create_constant(graph, NULL, constant)};
    tm_match_replace(node, tm_node_create(graph, node, op, NULL, 2, inputs));
}

/* value = x * number or x / number, both moderate. */
static tm_value *scaled(tm_match *match, const tm_value *value, double *factor) {
    double number;
    tm_value *x;
    if (tm_match_with_number(match, value, TM_OP_Mul, &x, &number) != NULL)
        *factor *= number;
    else if (tm_match_with_number(match, value, TM_OP_Div, &x, &number) != NULL)
        *factor /= number;
    else
        return NULL;
    return is_moderate(number) && is_moderate(*factor) ? x : NULL;
}

static void merge_factors(tm_pass_context *context, tm_node *node) {
    tm_match match = {.graph = node->graph};
    double factor = 1;
    tm_value *inner = scaled(&match, node->outputs[0], &factor);
    if (inner == NULL)
        return;
    if (factor == 1 && tm_rewrite_same_type(inner, node->outputs[0]) &&
        tm_rewrite_can_replace(node->outputs[0], inner)) {
        if (tm_pass_allow(context))
            tm_rewrite_replace(node->outputs[0], inner);
        return;
    }
    tm_value *x = scaled(&match, inner, &factor);
    if (x != NULL && tm_match_closed(&match, node) && tm_pass_allow(context))
        replace(node, TM_OP_Mul, x, factor);
}

static void merge_addends(tm_pass_context *context, tm_node *node) {
    tm_match match = {.graph = node->graph};
    double outer, own;
    tm_value *inner, *x;
    if (tm_match_with_number(&match, node->outputs[0], TM_OP_Add, &inner, &outer) != NULL &&
        tm_match_with_number(&match, inner, TM_OP_Add, &x, &own) != NULL && fabs(outer) <= LARGEST &&
        fabs(own) <= LARGEST && tm_match_closed(&match, node) && tm_pass_allow(context))
        replace(node, TM_OP_Add, x, own + outer);
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    if ((node->op != TM_OP_Mul && node->op != TM_OP_Div && node->op != TM_OP_Add) ||
        !tm_match_is_real(node->outputs[0]))
        return TM_OK;
    if (node->op == TM_OP_Add)
        merge_addends(context, node);
    else
        merge_factors(context, node);
    return TM_OK;
}

tm_code tm_pass_merge_numbers(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
