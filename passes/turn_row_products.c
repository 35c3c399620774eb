/* SPDX-License-Identifier: Apache-2.0
 *
 * turn_row_products.c: a row times a transposed matrix is the matrix times a column.
 *
 *     %t: f32[k, n] = Transpose(%b) {perm = [1, 0]}        %c: f32[k, 1] = Reshape(%x)
 *     %y: f32[1, n] = MatMul(%x, %t)                 ->    %p: f32[n, 1] = MatMul(%b, %c)
 *                                                          %y: f32[1, n] = Reshape(%p)
 *
 * Both Reshapes are views, and the copy of %b, which costs several times the product, is gone: its rows are
 * summed where they lie. For computed matrices only; constants are transposed when they are folded. Last,
 * since attention is looked for in the form that exporters write.
 *
 * Not bit-exact: the sums have another order.
 */
#include "passes/match.h"
#include "passes/rewrite.h"

static bool swaps_last_two(const tm_node *transpose) {
    int64_t axes[TAMIS_MAX_RANK];
    int rank = transpose->outputs[0]->rank;
    tm_rewrite_permutation(transpose, axes);
    for (int i = 0; i < rank - 2; i++)
        if (axes[i] != i)
            return false;
    return rank >= 2 && axes[rank - 1] == rank - 2;
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    if (node->op != TM_OP_MatMul || !tm_match_is_real(node->outputs[0]))
        return TM_OK;
    tm_value *row = node->inputs[0], *out = node->outputs[0];
    tm_match match = {.graph = node->graph};
    tm_node *transpose = tm_match_op(&match, node->inputs[1], TM_OP_Transpose);
    if (transpose == NULL || transpose->inputs[0]->constant != NULL || !swaps_last_two(transpose) ||
        row->rank < 2 || !tm_dim_is(row->dims[row->rank - 2], 1) || !tm_match_closed(&match, node) ||
        !tm_pass_allow(context))
        return TM_OK;
    tm_dim dims[TAMIS_MAX_RANK];
    for (int i = 0; i < row->rank; i++)
        dims[i] = row->dims[i];
    dims[row->rank - 2] = row->dims[row->rank - 1];
    dims[row->rank - 1] = row->dims[row->rank - 2];
    tm_value *factors[2] = {transpose->inputs[0], tm_match_view(node, row, row->rank, dims)}, *product;
    TM_TRY(tm_match_make(node, TM_OP_MatMul, 2, factors, &product));
    tm_match_replace(node, tm_match_view(node, product, out->rank, out->dims)->producer);
    return TM_OK;
}

tm_code tm_pass_turn_row_products(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
