/* SPDX-License-Identifier: Apache-2.0
 *
 * convolution_to_matmul.c: a convolution with a kernel of one, of data that lie channels last, is a product.
 *
 *     %t: f32[n, 2, 100] = Transpose(%x)                    %w2: f32[2, 32] of %w: f32[32, 2, 1]
 *     %c: f32[n, 32, 100] = Conv(%t, %w, %b)       ->       %m: f32[n, 100, 32] = MatMul(%x, %w2)
 *                                                           %a: f32[n, 100, 32] = Add(%m, %b)
 *                                                           %c: f32[n, 32, 100] = Transpose(%a)
 *
 * Frameworks that keep channels last write a dense layer over a sequence this way, and transpose back right
 * after: the two transposes then meet and vanish (simplify_shapes). Only for constant weights of float32 or
 * float64, one group, strides of one, no padding, and when nobody else reads the transposed data.
 *
 * Not bit-exact: the bias is added after the sum, not before.
 */
#include "ir/infer.h"
#include "passes/match.h"
#include "passes/rewrite.h"

#include <string.h>

static bool all_are(const tm_node *node, const char *attribute, int64_t value) {
    const tm_attribute *list = tm_node_attribute(node, attribute);
    for (int64_t i = 0; list->present && i < list->count; i++)
        if (list->ints[i] != value)
            return false;
    return true;
}

static bool is_pointwise(const tm_node *node) {
    if (node->op != TM_OP_Conv)
        return false;
    const tm_value *weights = node->inputs[1];
    if (!tm_match_is_real(node->outputs[0]) || weights->constant == NULL ||
        weights->rank < 3 || tm_node_int(node, "group") != 1 || !all_are(node, "strides", 1))
        return false;
    for (int i = 2; i < weights->rank; i++)
        if (weights->constant->dims[i] != 1)
            return false;
    return strcmp(tm_node_string(node, "auto_pad"), "NOTSET") != 0 || all_are(node, "pads", 0);
}

/* The Transpose that brings the last dim of x to the front of the spatial ones. */
static const tm_node *channels_first(const tm_node *node) {
    const tm_node *transpose = node->inputs[0]->producer;
    int64_t perm[TAMIS_MAX_RANK];
    if (transpose == NULL || transpose->op != TM_OP_Transpose ||
        tm_value_single_user(node->inputs[0]) != node)
        return NULL;
    tm_rewrite_permutation(transpose, perm);
    int rank = node->inputs[0]->rank;
    for (int i = 0; i < rank; i++)
        if (perm[i] != (i == 0 ? 0 : i == 1 ? rank - 1 : i - 1))
            return NULL;
    return transpose;
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    const tm_node *transpose = is_pointwise(node) ? channels_first(node) : NULL;
    if (transpose == NULL || !tm_pass_allow(context))
        return TM_OK;
    tm_value *weights = node->inputs[1], *bias = node->input_count > 2 ? node->inputs[2] : NULL, *result;
    int64_t perm[TAMIS_MAX_RANK];
    int rank = node->inputs[0]->rank;
    tm_rewrite_permutation(transpose, perm);
    weights = tm_match_view(node, weights, 2, weights->dims);
    TM_TRY(tm_match_make_transpose(node, weights, (const int64_t[]){1, 0}, &weights));
    TM_TRY(tm_match_make(node, TM_OP_MatMul, 2, (tm_value *[]){transpose->inputs[0], weights}, &result));
    if (bias != NULL)
        TM_TRY(tm_match_make(node, TM_OP_Add, 2, (tm_value *[]){result, bias}, &result));
    tm_node *back = tm_node_create(node->graph, node, TM_OP_Transpose, NULL, 1, &result);
    tm_node_set_ints(back, "perm", perm, rank);
    tm_match_replace(node, back);
    return TM_OK;
}

tm_code tm_pass_convolution_to_matmul(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
