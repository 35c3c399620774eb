/* SPDX-License-Identifier: Apache-2.0
 *
 * recognize_quantized_factors.c: elementwise products of bytes, scaled behind, are products of dequantised
 * values.
 *
 *     %a = Sub(Cast(%p: u8), Cast(%z))  to int32
 *     %b = Sub(Cast(%q: u8), Cast(%t))                       %a = DequantizeLinear(%p, s, %z)
 *     %y = Mul(Cast(Mul(%a, %b)), Mul(s, r))            ->   %b = DequantizeLinear(%q, r, %t)
 *                                                            %y = Mul(%a, %b)
 *
 * QLinearMul arrives so. Between quantisers the floats show what the product is a part of: the scale of
 * attention, the row of a norm. Not bit-exact: two products are rounded instead of one.
 */
#include "passes/match.h"

typedef struct factor {
    tm_value *bytes, *zero; /* zero: NULL, there is none */
} factor;

static tm_value *widened(tm_match *match, const tm_value *value) {
    tm_node *cast = tm_match_op(match, value, TM_OP_Cast);
    return cast != NULL && value->type == TAMIS_TYPE_INT32 && tm_match_is_byte(cast->inputs[0])
               ? cast->inputs[0]
               : NULL;
}

static bool find_factor(tm_match *match, const tm_value *value, factor *out) {
    const tm_node *sub = tm_match_op(match, value, TM_OP_Sub);
    *out = (factor){.bytes = widened(match, sub != NULL ? sub->inputs[0] : value)};
    if (sub != NULL)
        out->zero = widened(match, sub->inputs[1]);
    return out->bytes != NULL && (sub == NULL || (out->zero != NULL && tm_match_is_single(out->zero) &&
                                                  out->zero->type == out->bytes->type));
}

static bool is_scale(const tm_value *value) {
    return value->type == TAMIS_TYPE_FLOAT && tm_match_is_single(value);
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    tm_match match = {.graph = node->graph};
    factor factors[2];
    const tm_pass_options *options = context->options;
    bool exact = !options->without_integers && (options->strict_math || options->onnx_forms);
    if (node->op != TM_OP_Mul || node->outputs[0]->type != TAMIS_TYPE_FLOAT || exact)
        return TM_OK;
    const tm_node *cast = tm_match_op(&match, node->inputs[0], TM_OP_Cast);
    const tm_node *product = cast != NULL ? tm_match_op(&match, cast->inputs[0], TM_OP_Mul) : NULL;
    tm_match others = {.graph = node->graph};
    const tm_node *scale = tm_match_op(&others, node->inputs[1], TM_OP_Mul);
    if (product == NULL || scale == NULL || node->outputs[0]->rank != product->outputs[0]->rank ||
        !is_scale(scale->inputs[0]) || !is_scale(scale->inputs[1]) ||
        !find_factor(&others, product->inputs[0], &factors[0]) ||
        !find_factor(&others, product->inputs[1], &factors[1]) || !tm_match_closed(&match, node) ||
        !tm_pass_allow(context))
        return TM_OK;
    tm_value *reals[2];
    for (int i = 0; i < 2; i++) {
        tm_value *inputs[3] = {factors[i].bytes, scale->inputs[i], factors[i].zero};
        TM_TRY(tm_match_make(node, TM_OP_DequantizeLinear, inputs[2] != NULL ? 3 : 2, inputs, &reals[i]));
    }
    tm_value *result;
    TM_TRY(tm_match_make_pair(node, TM_OP_Mul, reals[0], reals[1], &result));
    tm_match_replace(node, result->producer);
    return TM_OK;
}

tm_code tm_pass_recognize_quantized_factors(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
