/* SPDX-License-Identifier: Apache-2.0
 *
 * expand_quantized_operators.c: with --integers=float, quantised operators are those of floats between
 * quantisers.
 *
 *     QLinearMatMul(%q, s, z, %v, r, t, u, w)   ->  QuantizeLinear(MatMul(DequantizeLinear(%q, s, z),
 *                                                                         DequantizeLinear(%v, r, t)), u, w)
 *     QLinearConv likewise
 *
 *     %q, %s, %z = DynamicQuantizeLinear(%x)
 *     %i = MatMulInteger(%q, %v: s8 const, %z, t)   ->  %y = MatMul(%x, Mul(Sub(Cast(%v), Cast(t)), r))
 *     %y = Mul(Cast(%i), Mul(%s, r))                    ConvInteger likewise
 *
 * and constants of bytes that are dequantised are floats, also those that would stay packed. So what comes is
 * one form, whose pairs of quantisers drop_quantizers takes off.
 *
 * Not bit-exact: a value that was quantised dynamically is not any more, and sums are rounded.
 */
#include "ir/evaluate.h"
#include "ir/infer.h"
#include "passes/match.h"
#include "passes/rewrite.h"

static bool are_float(tm_value *const *inputs, int a, int b, int c) {
    return inputs[a]->type == TAMIS_TYPE_FLOAT && inputs[b]->type == TAMIS_TYPE_FLOAT &&
           inputs[c]->type == TAMIS_TYPE_FLOAT;
}

/* Parameters along an axis; `inputs` are the integers, their scale and zero point. */
static tm_code dequantized(tm_node *before, tm_value *const *inputs, int64_t axis, tm_value **out) {
    tm_node *node = tm_node_create(before->graph, before, TM_OP_DequantizeLinear, NULL,
                                   inputs[2] != NULL ? 3 : 2, inputs);
    tm_node_set_int(node, "axis", axis);
    *out = tm_node_add_output(node, NULL);
    return tm_infer_node(before->graph->model, node);
}

static tm_code quantized(tm_node *node, tm_value *value, tm_value *scale, tm_value *zero) {
    tm_value *inputs[3] = {value, scale, zero};
    TM_TRY(tm_match_make(node, TM_OP_QuantizeLinear, 3, inputs, &value));
    tm_match_replace(node, value->producer);
    return TM_OK;
}

/* One number, or one for each position of the last dim. */
static bool is_along_columns(const tm_value *parameter) {
    return tm_match_is_single(parameter) || parameter->rank == 1;
}

static tm_code expand_product(tm_pass_context *context, tm_node *node) {
    tm_value *const *x = node->inputs, *factors[2], *result;
    if (!are_float(x, 1, 4, 6) || !tm_match_is_single(x[1]) || !tm_match_is_single(x[2]) ||
        !is_along_columns(x[4]) || !is_along_columns(x[5]) || !tm_match_is_single(x[6]) ||
        !tm_match_is_single(x[7]) || !tm_pass_allow(context))
        return TM_OK;
    TM_TRY(dequantized(node, x, 1, &factors[0]));
    TM_TRY(dequantized(node, x + 3, x[3]->rank - 1, &factors[1]));
    TM_TRY(tm_match_make(node, TM_OP_MatMul, 2, factors, &result));
    return quantized(node, result, x[6], x[7]);
}

static tm_code expand_convolution(tm_pass_context *context, tm_node *node) {
    tm_value *const *x = node->inputs, *inputs[3] = {NULL}, *bias = tm_infer_input(node, 8), *result;
    if (!are_float(x, 1, 4, 6) || !tm_match_is_single(x[1]) || !tm_match_is_single(x[2]) ||
        !tm_match_is_single(x[6]) || !tm_match_is_single(x[7]) || !tm_pass_allow(context))
        return TM_OK;
    TM_TRY(dequantized(node, x, 1, &inputs[0]));
    TM_TRY(dequantized(node, x + 3, 0, &inputs[1]));
    if (bias != NULL) {
        tm_value *scale;
        TM_TRY(tm_match_make_pair(node, TM_OP_Mul, x[1], x[4], &scale));
        TM_TRY(tm_match_make_pair(node, TM_OP_Mul, tm_match_make_cast(node, bias, TAMIS_TYPE_FLOAT), scale,
                                  &inputs[2]));
    }
    TM_TRY(tm_rewrite_convolution(node, TM_OP_Conv, bias != NULL ? 3 : 2, inputs, &result));
    return quantized(node, result, x[6], x[7]);
}

/* ---- dynamic ---- */

/* A product of what a DynamicQuantizeLinear made, as float; NULL: the value is none. */
static tm_node *dynamic_product(const tm_value *value, const tm_graph *graph) {
    const tm_node *cast = value->producer;
    if (cast == NULL || cast->op != TM_OP_Cast || cast->graph != graph || value->type != TAMIS_TYPE_FLOAT ||
        tm_value_single_user(value) == NULL || tm_value_single_user(cast->inputs[0]) != cast)
        return NULL;
    tm_node *node = cast->inputs[0]->producer;
    if (node == NULL || node->graph != graph ||
        (node->op != TM_OP_MatMulInteger && node->op != TM_OP_ConvInteger) ||
        node->inputs[1]->constant == NULL)
        return NULL;
    const tm_node *maker = node->inputs[0]->producer;
    bool dynamic = maker != NULL && maker->op == TM_OP_DynamicQuantizeLinear &&
                   maker->outputs[0] == node->inputs[0] && tm_infer_input(node, 2) == maker->outputs[2];
    return dynamic ? node : NULL;
}

/* What the scale of the left side is multiplied by; *found: is it a factor? NULL: by nothing. */
static tm_value *other_factor(tm_value *factors, const tm_value *scale, bool *found) {
    const tm_node *mul = factors->producer;
    *found = factors == scale;
    for (int i = 0; mul != NULL && mul->op == TM_OP_Mul && i < 2; i++)
        if (mul->inputs[i] == scale) {
            *found = true;
            return mul->inputs[1 - i];
        }
    return NULL;
}

static tm_code weights_of(const tm_node *product, tm_node *before, tm_value **out) {
    tm_value *zero = tm_infer_input(product, 3), *weights = product->inputs[1];
    tm_dim dims[TAMIS_MAX_RANK];
    *out = tm_match_make_cast(before, weights, TAMIS_TYPE_FLOAT);
    if (zero == NULL)
        return TM_OK;
    if (product->op == TM_OP_ConvInteger && !tm_match_is_single(zero)) {
        for (int i = 0; i < weights->rank; i++)
            dims[i] = i == 0 ? zero->dims[0] : tm_dim_constant(before->graph->model->dims, 1);
        zero = tm_match_view(before, zero, weights->rank, dims);
    }
    return tm_match_make_pair(before, TM_OP_Sub, *out, tm_match_make_cast(before, zero, TAMIS_TYPE_FLOAT),
                              out);
}

static tm_dim last_dim(const tm_value *value) {
    return value->dims[value->rank - 1];
}

/* Can the factor of the result be one of the weights, as they lie? Those of one axis have rows only. */
static bool scales_weights(const tm_node *product, const tm_value *factor) {
    const tm_value *weights = product->inputs[1];
    return factor->constant != NULL &&
           (tm_match_is_single(factor) || (product->op == TM_OP_MatMulInteger && weights->rank > 1 &&
                                           factor->rank == 1 && factor->dims[0] == last_dim(weights)));
}

static tm_code expand_dynamic(tm_pass_context *context, tm_node *node) {
    for (int i = 0; i < 2; i++) {
        tm_node *product = dynamic_product(node->inputs[i], node->graph);
        const tm_node *maker = product != NULL ? product->inputs[0]->producer : NULL;
        bool found = false;
        tm_value *rest = maker != NULL ? other_factor(node->inputs[1 - i], maker->outputs[1], &found) : NULL;
        if (!found || !tm_pass_allow(context))
            continue;
        tm_value *factors[2] = {maker->inputs[0], NULL}, *result;
        TM_TRY(weights_of(product, product, &factors[1]));
        if (rest != NULL && scales_weights(product, rest)) {
            TM_TRY(tm_match_make_pair(product, TM_OP_Mul, factors[1], rest, &factors[1]));
            rest = NULL;
        }
        if (product->op == TM_OP_MatMulInteger)
            TM_TRY(tm_match_make(product, TM_OP_MatMul, 2, factors, &result));
        else
            TM_TRY(tm_rewrite_convolution(product, TM_OP_Conv, 2, factors, &result));
        if (rest != NULL)
            TM_TRY(tm_match_make_pair(node, TM_OP_Mul, result, rest, &result));
        tm_match_replace(node, result->producer);
        return TM_OK;
    }
    return TM_OK;
}

/* ---- constants ---- */

static tm_code fold(tm_pass_context *context, tm_node *node) {
    const tm_constant *folded[1] = {NULL};
    for (int i = 0; i < node->input_count; i++)
        if (node->inputs[i] != NULL && node->inputs[i]->constant == NULL)
            return TM_OK;
    if (!tm_match_is_byte(node->inputs[0]) || tm_evaluate_node(context->model, node, true, folded) != TM_OK ||
        folded[0] == NULL)
        return TM_OK;
    tm_value *result = tm_value_create_constant(node->graph, NULL, folded[0]);
    if (!tm_rewrite_can_replace(node->outputs[0], result) || !tm_pass_allow(context))
        return TM_OK;
    tm_rewrite_replace(node->outputs[0], result);
    tm_node_remove(node);
    return TM_OK;
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    if (!context->options->without_integers)
        return TM_OK;
    switch (node->op) {
    case TM_OP_QLinearMatMul:
        return expand_product(context, node);
    case TM_OP_QLinearConv:
        return expand_convolution(context, node);
    case TM_OP_Mul:
        return expand_dynamic(context, node);
    case TM_OP_DequantizeLinear:
        return fold(context, node);
    default:
        return TM_OK;
    }
}

tm_code tm_pass_expand_quantized_operators(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
