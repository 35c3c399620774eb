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
 * That of the weights is one number or one for each column. Gemm, its transposed weights and its bias are
 * taken along. Not bit-exact for the first form: its sums were rounded in float32.
 */
#include "ir/infer.h"
#include "passes/match.h"

#include <string.h>

/* The weights of a product: integers [k, n], turned if they lie as [n, k]. */
typedef struct weights {
    tm_value *integers, *scale, *zero; /* zero: or NULL */
    bool turned;
} weights;

/* A parameter of the weights is one number or lies along the columns of the product. */
static bool is_along_columns(const tm_value *parameter, const tm_value *integers, int column_axis,
                             int64_t axis) {
    if (tm_match_is_single(parameter))
        return true;
    axis += axis < 0 ? integers->rank : 0;
    return parameter->rank == 1 && axis == column_axis;
}

static bool find_weights(const tm_value *value, bool turned, weights *out) {
    const tm_node *node = value->producer;
    int64_t perm[TAMIS_MAX_RANK];
    while (node != NULL && node->op == TM_OP_Transpose && value->rank == 2) {
        const tm_attribute *list = tm_node_attribute(node, "perm");
        perm[0] = list->present ? list->ints[0] : 1;
        turned = perm[0] == 1 ? !turned : turned;
        value = node->inputs[0];
        node = value->producer;
    }
    if (node == NULL || node->op != TM_OP_DequantizeLinear || tm_node_int(node, "block_size") != 0)
        return false;
    *out =
        (weights){node->inputs[0], node->inputs[1], node->input_count > 2 ? node->inputs[2] : NULL, turned};
    int64_t axis = tm_node_int(node, "axis");
    const tm_value *v = out->integers;
    return v->constant != NULL && v->rank == 2 && tm_match_is_byte(v) && out->scale->constant != NULL &&
           out->scale->type == TAMIS_TYPE_FLOAT && (out->zero == NULL || out->zero->constant != NULL) &&
           is_along_columns(out->scale, v, turned ? 0 : 1, axis) &&
           is_along_columns(out->zero, v, turned ? 0 : 1, axis);
}

/* MatMul, or Gemm that is one with a bias of one row. */
static bool is_product(const tm_node *node, bool *out_turned, tm_value **out_bias) {
    *out_bias = NULL;
    *out_turned = false;
    if (node->op == TM_OP_MatMul)
        return true;
    if (node->op != TM_OP_Gemm)
        return false;
    *out_turned = tm_node_int(node, "transB") != 0;
    *out_bias = node->input_count > 2 ? node->inputs[2] : NULL;
    return tm_node_int(node, "transA") == 0 && tm_node_float(node, "alpha") == 1 &&
           (*out_bias == NULL || tm_node_float(node, "beta") == 1);
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

/* Bytes with one scale, or with a scale for each row and no zero point. */
static bool is_left_side(const tm_node *node, bool *out_by_row) {
    if (node == NULL || node->op != TM_OP_DequantizeLinear || !tm_match_is_byte(node->inputs[0]) ||
        node->inputs[0]->constant != NULL || node->inputs[0]->rank < 2 ||
        node->inputs[1]->type != TAMIS_TYPE_FLOAT)
        return false;
    *out_by_row = tm_match_is_row_scale(node) && tm_infer_input(node, 2) == NULL;
    return *out_by_row || (tm_node_int(node, "block_size") == 0 && tm_match_is_single(node->inputs[1]));
}

static tm_code rewrite_dequantized(tm_pass_context *context, tm_node *node) {
    bool turned, by_row;
    tm_value *bias, *product, *scale;
    weights w;
    if (!is_product(node, &turned, &bias) || node->inputs[0]->type != TAMIS_TYPE_FLOAT)
        return TM_OK;
    const tm_node *left = node->inputs[0]->producer;
    if (!is_left_side(left, &by_row) || !find_weights(node->inputs[1], turned, &w) || !tm_pass_allow(context))
        return TM_OK;
    if (w.turned)
        TM_TRY(tm_match_make_transpose(node, w.integers, (const int64_t[]){1, 0}, &w.integers));
    scale = w.scale;
    if (!by_row)
        TM_TRY(tm_match_make_pair(node, TM_OP_Mul, left->inputs[1], w.scale, &scale));
    TM_TRY(integer_product(node, left->inputs[0], tm_infer_input(left, 2), w.integers, w.zero, scale, &product));
    if (by_row)
        TM_TRY(tm_match_make_pair(node, TM_OP_Mul, product, left->inputs[1], &product));
    tm_node *last = product->producer;
    if (bias != NULL) {
        TM_TRY(tm_match_make_pair(node, TM_OP_Add, product, bias, &product));
        last = product->producer;
    }
    tm_match_replace(node, last);
    return TM_OK;
}

/* The scales are multiplied and divided in this order by the operator's kernel, too. */
static tm_code rewrite_qlinear(tm_pass_context *context, tm_node *node) {
    tm_value *const *x = node->inputs;
    if (x[3]->constant == NULL || x[3]->rank != 2 || x[0]->rank < 2 || !tm_match_is_byte(x[0]) ||
        !tm_match_is_byte(x[3]) || !tm_match_is_single(x[1]) || !tm_match_is_single(x[2]) ||
        !tm_match_is_single(x[6]) || !tm_match_is_single(x[7]) || x[4]->rank > 1 ||
        x[1]->type != TAMIS_TYPE_FLOAT || x[4]->type != TAMIS_TYPE_FLOAT || x[6]->type != TAMIS_TYPE_FLOAT ||
        !tm_pass_allow(context))
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
    if (node->op == TM_OP_QLinearMatMul)
        return rewrite_qlinear(context, node);
    return context->options->strict_math ? TM_OK : rewrite_dequantized(context, node);
}

tm_code tm_pass_recognize_integer_products(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
