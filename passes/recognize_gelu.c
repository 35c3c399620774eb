/* SPDX-License-Identifier: Apache-2.0
 *
 * recognize_gelu.c: Gelu spelled out, with erf or with tanh.
 *
 *     0.5 * x * (1 + erf(x / sqrt(2)))
 *     0.5 * x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 * x^3)))
 *
 * The products may be grouped and ordered in any way, divide instead of multiply, and have the 0.5 inside the
 * sum. The argument of tanh is read as a polynomial in x, so x*(1 + 0.044715*x*x) with the factor anywhere is
 * the same to this pass. Constants may differ from the exact ones as float32 does. For float32 and float64.
 *
 * Not bit-exact: products are rounded in another order.
 */
#include "passes/match.h"

#include <math.h>

#define ROOT_HALF 0.70710678118654752
#define ROOT_2_BY_PI 0.79788456080286536
#define CUBIC 0.044715

/* The power of x that the factors are together; -1: something else is among them. */
static int power_of(tm_match *match, const tm_match_product *product, const tm_value *x) {
    int power = 0;
    for (int i = 0; i < product->count; i++) {
        tm_value *base;
        double exponent;
        if (product->factors[i] == x) {
            power++;
            continue;
        }
        if (tm_match_with_number(match, product->factors[i], TM_OP_Pow, &base, &exponent) == NULL ||
            base != x || (exponent != 2 && exponent != 3))
            return -1;
        power += (int)exponent;
    }
    return power;
}

/* value = sqrt(2/pi) * (x + 0.044715 * x^3): the coefficients of x and x^3. */
static bool is_tanh_argument(tm_match *match, tm_value *value, const tm_value *x) {
    tm_match_product outer, term;
    tm_node *sum = NULL;
    if (!tm_match_flatten(match, value, &outer))
        return false;
    for (int i = 0; i < outer.count && sum == NULL; i++)
        if (outer.factors[i] != x && (sum = tm_match_op(match, outer.factors[i], TM_OP_Add)) != NULL)
            outer.factors[i] = outer.factors[--outer.count];
    int power = power_of(match, &outer, x);
    if (sum == NULL || power < 0)
        return false;
    double coefficient[4] = {0};
    for (int i = 0; i < 2; i++) {
        if (sum->inputs[i] == x)
            term = (tm_match_product){1, {sum->inputs[i]}, 1};
        else if (!tm_match_flatten(match, sum->inputs[i], &term))
            return false;
        int own = power_of(match, &term, x);
        if (own < 0 || own + power > 3)
            return false;
        coefficient[own + power] += term.constant * outer.constant;
    }
    return coefficient[0] == 0 && coefficient[2] == 0 && tm_match_near(coefficient[1], ROOT_2_BY_PI) &&
           tm_match_near(coefficient[3], ROOT_2_BY_PI * CUBIC);
}

/* gate = c + c * f(argument of x), f being erf or tanh. */
static bool match_gate(tm_match *match, tm_value *gate, const tm_value *x, double *out_constant,
                       bool *out_tanh) {
    tm_value *rest;
    tm_match_product product;
    if (tm_match_with_number(match, gate, TM_OP_Add, &rest, out_constant) == NULL ||
        !tm_match_flatten(match, rest, &product) || product.count != 1 ||
        !tm_match_near(product.constant, *out_constant))
        return false;
    tm_node *tanh = tm_match_op(match, product.factors[0], TM_OP_Tanh);
    *out_tanh = tanh != NULL;
    if (tanh != NULL)
        return is_tanh_argument(match, tanh->inputs[0], x);
    tm_node *erf = tm_match_op(match, product.factors[0], TM_OP_Erf);
    return erf != NULL && tm_match_flatten(match, erf->inputs[0], &product) && product.count == 1 &&
           product.factors[0] == x && tm_match_near(product.constant, ROOT_HALF);
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    tm_match_product product;
    if ((node->op != TM_OP_Mul && node->op != TM_OP_Div) || !tm_match_is_real(node->outputs[0]))
        return TM_OK;
    for (int i = 0; i < 2; i++) {
        tm_match match = {.graph = node->graph};
        double inside = 0;
        bool is_tanh = false;
        if (!tm_match_flatten(&match, node->outputs[0], &product) || product.count != 2)
            return TM_OK;
        tm_value *x = product.factors[i];
        if (!match_gate(&match, product.factors[1 - i], x, &inside, &is_tanh) ||
            !tm_match_near(product.constant * inside, 0.5) || x->rank != node->outputs[0]->rank ||
            !tm_match_closed(&match, node))
            continue;
        if (!tm_pass_allow(context))
            return TM_OK;
        tm_node *made = tm_node_create(node->graph, node, TM_OP_Gelu, NULL, 1, &x);
        if (is_tanh)
            tm_node_set_string(made, "approximate", "tanh");
        tm_match_replace(node, made);
        return TM_OK;
    }
    return TM_OK;
}

tm_code tm_pass_recognize_gelu(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
