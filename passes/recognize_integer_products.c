/* SPDX-License-Identifier: Apache-2.0
 *
 * recognize_integer_products.c: products of quantised values by quantised weights are products of integers.
 *
 *     %x = DequantizeLinear(%q: u8, s, z)               %i: i32 = MatMulInteger(%q, %v, z, t)
 *     %w = DequantizeLinear(%v: s8 const, r, t)    ->   %f: f32 = Cast(%i)
 *     %y = MatMul(%x, %w)                               %y = Mul(%f, s * r)
 *
 *     QLinearMatMul(%q, s, z, %v, r, t, u, w)      ->   %y: u8 = QuantizeLinear(Mul(%f, s * r / u), 1, w)
 *
 * One form for all that exporters write, which form_integer_regions turns into loops; it is the arithmetic of
 * the integer operators, exact until the one multiplication. The scale of the left side is one number, or one
 * for each row: a block of the length of the row; then there are two multiplications, by columns and by rows.
 * That of the weights is one number or one for each column; in which integers and scales they are stored, and
 * what moves the weights before they are multiplied, is the matter of quantized.c. Gemm, its transposed
 * weights and its bias are taken along. A QLinearMatMul of two computed matrices becomes a MatMul between
 * quantisers, which may be a part of attention. Not bit-exact for the first form, whose sums were rounded in
 * float32, or to the type of the scales, nor for the last, whose sums are now.
 */
#include "ir/infer.h"
#include "passes/match.h"
#include "passes/quantized.h"

/* What a product multiplies: MatMul, or a Gemm that is one. */
typedef struct product {
    bool turned; /* the weights lie as [n, k] */
    double alpha, beta;
    tm_value *bias; /* or NULL */
} product;

static bool read_product(const tm_node *node, product *out) {
    *out = (product){.alpha = 1, .beta = 1};
    if (node->op == TM_OP_MatMul)
        return true;
    if (node->op != TM_OP_Gemm)
        return false;
    out->turned = tm_node_int(node, "transB") != 0;
    out->bias = tm_infer_input(node, 2);
    out->alpha = tm_node_float(node, "alpha");
    out->beta = tm_node_float(node, "beta");
    return tm_node_int(node, "transA") == 0;
}

/* Mul(Cast(MatMulInteger(..)), scale). A lone zero point of rank 1 may stay as it is. */
static tm_code integer_product(tm_node *before, tm_value *a, tm_value *a_zero, tm_value *b, tm_value *b_zero,
                               tm_value *scale, tm_value **out) {
    tm_value *inputs[4] = {a, b, a_zero, b_zero}, *sums;
    TM_TRY(tm_match_make(before, TM_OP_MatMulInteger,
                         b_zero != NULL   ? 4
                         : a_zero != NULL ? 3
                                          : 2,
                         inputs, &sums));
    return tm_match_make_pair(before, TM_OP_Mul, tm_match_make_cast(before, sums, TAMIS_TYPE_FLOAT), scale,
                              out);
}

/* value * number */
static tm_code scaled(tm_node *before, tm_value **value, double number) {
    if (number == 1)
        return TM_OK;
    tm_constant *factor = tm_constant_create_scalar(before->graph->model->arena, TAMIS_TYPE_FLOAT, number);
    return tm_match_make_pair(before, TM_OP_Mul, *value,
                              tm_value_create_constant(before->graph, NULL, factor), value);
}

/* A matrix behind dims of one, which the other factor need not have. */
static bool is_matrix(const tm_value *weights, const tm_value *left) {
    bool matrix = weights->rank >= 2 && weights->rank <= left->rank;
    for (int i = 0; matrix && i < weights->rank - 2; i++)
        matrix = tm_dim_is(weights->dims[i], 1);
    return matrix;
}

static tm_code rewrite_dequantized(tm_pass_context *context, tm_node *node) {
    product p;
    tm_quantized left, right;
    if (!read_product(node, &p) || !tm_quantized_find(node->inputs[0], &left) || node->inputs[0]->rank < 2 ||
        !is_matrix(node->inputs[1], node->inputs[0]))
        return TM_OK;
    tm_value *weights = node->inputs[1], *result, *scale;
    int rank = weights->rank;
    tamis_type type = node->outputs[0]->type;
    if (!tm_quantized_weights(node, weights, p.turned ? rank - 2 : rank - 1, &right) ||
        !tm_pass_allow(context))
        return TM_OK;
    tm_quantized_widen(node, &left);
    right.integers = tm_match_view(node, right.integers, 2, weights->dims + rank - 2);
    if (p.turned)
        TM_TRY(tm_match_make_transpose(node, right.integers, (const int64_t[]){1, 0}, &right.integers));
    scale = right.scale;
    if (!left.by_row)
        TM_TRY(tm_match_make_pair(node, TM_OP_Mul, left.scale, right.scale, &scale));
    TM_TRY(scaled(node, &scale, p.alpha));
    TM_TRY(integer_product(node, left.integers, left.zero, right.integers, right.zero, scale, &result));
    if (left.by_row)
        TM_TRY(tm_match_make_pair(node, TM_OP_Mul, result, left.scale, &result));
    if (p.bias != NULL) {
        tm_value *bias =
            type == TAMIS_TYPE_FLOAT ? p.bias : tm_match_make_cast(node, p.bias, TAMIS_TYPE_FLOAT);
        TM_TRY(scaled(node, &bias, p.beta));
        TM_TRY(tm_match_make_pair(node, TM_OP_Add, result, bias, &result));
    }
    if (type != TAMIS_TYPE_FLOAT)
        result = tm_match_make_cast(node, result, type);
    tm_match_replace(node, result->producer);
    return TM_OK;
}

/* Two computed matrices: the product that other passes know, between quantisers. */
static tm_code rewrite_computed(tm_pass_context *context, tm_node *node) {
    tm_value *const *x = node->inputs, *factors[2], *result;
    bool fits = x[0]->constant == NULL && !context->options->strict_math && tm_match_is_byte(x[0]) &&
                tm_match_is_byte(x[3]);
    for (int i = 1; i < 8; i++)
        fits = fits && (i == 3 || tm_match_is_single(x[i]));
    if (!fits || x[1]->type != TAMIS_TYPE_FLOAT || x[4]->type != TAMIS_TYPE_FLOAT ||
        x[6]->type != TAMIS_TYPE_FLOAT || !tm_pass_allow(context))
        return TM_OK;
    for (int i = 0; i < 2; i++)
        TM_TRY(tm_match_make(node, TM_OP_DequantizeLinear, 3, &x[3 * i], &factors[i]));
    TM_TRY(tm_match_make(node, TM_OP_MatMul, 2, factors, &result));
    TM_TRY(tm_match_make(node, TM_OP_QuantizeLinear, 3, (tm_value *[]){result, x[6], x[7]}, &result));
    tm_match_replace(node, result->producer);
    return TM_OK;
}

/* The scales are multiplied and divided in this order by the operator's kernel, too. */
static tm_code rewrite_qlinear(tm_pass_context *context, tm_node *node) {
    tm_value *const *x = node->inputs;
    if (x[3]->constant == NULL)
        return rewrite_computed(context, node);
    if (x[3]->rank != 2 || x[0]->rank < 2 || !tm_match_is_byte(x[0]) || !tm_match_is_byte(x[3]) ||
        !tm_match_is_single(x[1]) || !tm_match_is_single(x[2]) || !tm_match_is_single(x[6]) ||
        !tm_match_is_single(x[7]) || x[4]->rank > 1 || x[1]->type != TAMIS_TYPE_FLOAT ||
        x[4]->type != TAMIS_TYPE_FLOAT || x[6]->type != TAMIS_TYPE_FLOAT || !tm_pass_allow(context))
        return TM_OK;
    tm_value *scale, *product;
    TM_TRY(tm_match_make_pair(node, TM_OP_Mul, x[1], x[4], &scale));
    TM_TRY(tm_match_make_pair(node, TM_OP_Div, scale, x[6], &scale));
    TM_TRY(integer_product(node, x[0], x[2], x[3], x[5], scale, &product));
    tm_value *one = tm_value_create_constant(
        node->graph, NULL, tm_constant_create_scalar(context->model->arena, TAMIS_TYPE_FLOAT, 1));
    tm_value *inputs[3] = {product, one, x[7]};
    TM_TRY(tm_match_make(node, TM_OP_QuantizeLinear, 3, inputs, &product));
    tm_match_replace(node, product->producer);
    return TM_OK;
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    if (context->options->without_integers)
        return TM_OK;
    if (node->op == TM_OP_QLinearMatMul)
        return rewrite_qlinear(context, node);
    return context->options->strict_math ? TM_OK : rewrite_dequantized(context, node);
}

tm_code tm_pass_recognize_integer_products(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
