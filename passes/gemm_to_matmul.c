/* SPDX-License-Identifier: Apache-2.0
 *
 * gemm_to_matmul.c: Gemm becomes a product and a sum, the form in which passes and code generation know both.
 *
 *     %y = Gemm(%x, %w, %b) {transB = 1}    ->    %t = Transpose(%w); %m = MatMul(%x, %t); %y = Add(%m, %b)
 *
 * The transpose and the factors alpha and beta are put on the weights and the bias, where constant folding
 * takes care of them; with operands that are not constant only the plain form is rewritten, and the transpose
 * of a slot, which bind_slots puts on the weights too. A transposed first operand stays a Gemm. For float32
 * and float64.
 *
 * Not bit-exact: the factors are rounded on the operands, and the bias is added after the sum is rounded.
 */
#include "ir/infer.h"
#include "passes/match.h"

static tm_code scale(tm_node *before, double factor, tm_value **value) {
    if (factor == 1)
        return TM_OK;
    tm_graph *graph = before->graph;
    const tm_constant *number = tm_constant_create_scalar(graph->model->arena, (*value)->type, factor);
    tm_value *inputs[2] = {*value, tm_value_create_constant(graph, NULL, number)};
    return tm_match_make(before, TM_OP_Mul, 2, inputs, value);
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    if (node->op != TM_OP_Gemm || !tm_match_is_real(node->outputs[0]) || tm_node_int(node, "transA") != 0)
        return TM_OK;
    tm_value *weights = node->inputs[1], *bias = node->input_count > 2 ? node->inputs[2] : NULL, *product;
    double alpha = tm_node_float(node, "alpha"), beta = tm_node_float(node, "beta");
    bool transposed = tm_node_int(node, "transB") != 0;
    bool plain_weights = alpha == 1 && !transposed, plain_bias = bias == NULL || beta == 1;
    bool turned_slot = weights->slot != NULL && alpha == 1; /* packed as its transpose */
    if ((!plain_weights && weights->constant == NULL && !turned_slot) ||
        (!plain_bias && bias->constant == NULL) || !tm_pass_allow(context))
        return TM_OK;
    if (transposed)
        TM_TRY(tm_match_make_transpose(node, weights, (const int64_t[]){1, 0}, &weights));
    TM_TRY(scale(node, alpha, &weights));
    tm_value *factors[2] = {node->inputs[0], weights};
    if (bias == NULL) {
        tm_match_replace(node, tm_node_create(node->graph, node, TM_OP_MatMul, NULL, 2, factors));
        return TM_OK;
    }
    TM_TRY(tm_match_make(node, TM_OP_MatMul, 2, factors, &product));
    TM_TRY(scale(node, beta, &bias));
    tm_match_replace(node,
                     tm_node_create(node->graph, node, TM_OP_Add, NULL, 2, (tm_value *[]){product, bias}));
    return TM_OK;
}

tm_code tm_pass_gemm_to_matmul(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
