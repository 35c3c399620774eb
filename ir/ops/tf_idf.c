/* SPDX-License-Identifier: Apache-2.0
 *
 * tf_idf.c: inference of TfIdfVectorizer: tokens [C] or [N, C] become counts [D] or [N, D], where D is
 * one more than the largest of ngram_indexes.
 */
#include "ir/infer.h"

#include <string.h>

tm_code tm_infer_tf_idf(tm_infer_context *context, tm_node *node) {
    static const tamis_type allowed[] = {TAMIS_TYPE_INT32, TAMIS_TYPE_INT64, TAMIS_TYPE_STRING, 0};
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(node, 0, allowed));
    const tm_value *x = tm_infer_input(node, 0);
    if (x->rank < 1 || x->rank > 2)
        return tm_infer_fail(node, TM_E_SHAPE, "the input has rank %d, expected 1 or 2", x->rank);
    const tm_attribute *indexes = tm_node_attribute(node, "ngram_indexes");
    const tm_attribute *pool =
        tm_node_attribute(node, x->type == TAMIS_TYPE_STRING ? "pool_strings" : "pool_int64s");
    const char *mode = tm_node_string(node, "mode");
    if (!indexes->present || !pool->present || !tm_node_has_attribute(node, "ngram_counts") || mode == NULL ||
        !tm_node_has_attribute(node, "max_gram_length") || !tm_node_has_attribute(node, "min_gram_length") ||
        !tm_node_has_attribute(node, "max_skip_count"))
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "a required attribute is missing");
    if (strcmp(mode, "TF") != 0 && strcmp(mode, "IDF") != 0 && strcmp(mode, "TFIDF") != 0)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "mode must be TF, IDF or TFIDF");
    int64_t width = 0;
    for (int64_t i = 0; i < indexes->count; i++) {
        if (indexes->ints[i] < 0 || indexes->ints[i] >= INT32_MAX)
            return tm_infer_fail(node, TM_E_ATTRIBUTE, "ngram_indexes has an entry out of range");
        width = indexes->ints[i] >= width ? indexes->ints[i] + 1 : width;
    }
    tm_dim dims[2] = {x->dims[0], tm_infer_const(context, width)};
    tm_infer_set(node, 0, TAMIS_TYPE_FLOAT, x->rank, x->rank == 2 ? dims : dims + 1);
    return TM_OK;
}
