/* SPDX-License-Identifier: Apache-2.0
 *
 * Inference of NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss: scores [n, classes, space...] and class
 * numbers [n, space...] give one loss for each class number (reduction none) or a scalar.
 */
#include "ir/infer.h"

#include <string.h>

static const tamis_type float_types[] = {TAMIS_TYPE_FLOAT, TAMIS_TYPE_DOUBLE, TAMIS_TYPE_FLOAT16,
                                         TAMIS_TYPE_BFLOAT16, 0};
static const tamis_type index_types[] = {TAMIS_TYPE_INT64, TAMIS_TYPE_INT32, 0};

tm_code tm_infer_loss(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(node, 0, float_types));
    tm_value *scores = tm_infer_input(node, 0);
    if (scores->rank < 2)
        return tm_infer_fail(node, TM_E_SHAPE, "the scores have %d dims; samples and classes are needed",
                             scores->rank);
    TM_TRY(tm_infer_need(node, 1, scores->rank - 1));
    TM_TRY(tm_infer_need_type(node, 1, index_types));
    tm_value *labels = tm_infer_input(node, 1);
    for (int i = 0; i < labels->rank; i++)
        TM_TRY(tm_infer_equal(context, node, labels->dims[i], scores->dims[i == 0 ? 0 : i + 1],
                              "dims of scores and class numbers"));
    tm_value *weights = tm_infer_input(node, 2);
    if (weights != NULL) {
        TM_TRY(tm_infer_need(node, 2, 1));
        TM_TRY(tm_infer_same_type(node, 0, 2));
        TM_TRY(tm_infer_equal(context, node, weights->dims[0], scores->dims[1], "weights and classes"));
    }
    const char *reduction = tm_node_string(node, "reduction");
    if (strcmp(reduction, "none") == 0)
        tm_infer_set(node, 0, scores->type, labels->rank, labels->dims);
    else if (strcmp(reduction, "mean") == 0 || strcmp(reduction, "sum") == 0)
        tm_infer_set(node, 0, scores->type, 0, NULL);
    else
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "reduction is neither none, mean nor sum");
    if (node->op == TM_OP_SoftmaxCrossEntropyLoss)
        tm_infer_set_like(node, 1, scores->type, scores);
    return TM_OK;
}
