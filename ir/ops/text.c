/* SPDX-License-Identifier: Apache-2.0
 *
 * text.c: inference of StringConcat, StringSplit, StringNormalizer and RegexFullMatch.
 *
 * Only the number of parts that StringSplit finds and of words that StringNormalizer leaves depend on the
 * strings; without stop words the latter is the number of words.
 */
#include "ir/infer.h"

#include <string.h>

static const tamis_type text_types[] = {TAMIS_TYPE_STRING, 0};

static tm_code need_text(tm_node *node, int input) {
    TM_TRY(tm_infer_need(node, input, -1));
    return tm_infer_need_type(node, input, text_types);
}

tm_code tm_infer_string_concat(tm_infer_context *context, tm_node *node) {
    TM_TRY(need_text(node, 0));
    TM_TRY(need_text(node, 1));
    return tm_infer_broadcast(context, node);
}

tm_code tm_infer_string_split(tm_infer_context *context, tm_node *node) {
    TM_TRY(need_text(node, 0));
    const tm_value *x = tm_infer_input(node, 0);
    tm_dim dims[TAMIS_MAX_RANK];
    if (x->rank >= TAMIS_MAX_RANK)
        return tm_infer_fail(node, TM_E_SHAPE, "the result's rank is above %d", TAMIS_MAX_RANK);
    for (int i = 0; i < x->rank; i++)
        dims[i] = x->dims[i];
    dims[x->rank] = tm_infer_free(context, node, 0, x->rank, "parts");
    tm_infer_set(node, 0, TAMIS_TYPE_STRING, x->rank + 1, dims);
    tm_infer_set_like(node, 1, TAMIS_TYPE_INT64, x);
    return TM_OK;
}

tm_code tm_infer_string_normalizer(tm_infer_context *context, tm_node *node) {
    TM_TRY(need_text(node, 0));
    const tm_value *x = tm_infer_input(node, 0);
    const char *action = tm_node_string(node, "case_change_action");
    if (x->rank != 1 && x->rank != 2)
        return tm_infer_fail(node, TM_E_SHAPE, "the input has rank %d, expected 1 or 2", x->rank);
    if (x->rank == 2)
        TM_TRY(tm_infer_equal(context, node, x->dims[0], tm_infer_const(context, 1), "first dim and 1"));
    if (strcmp(action, "NONE") != 0 && strcmp(action, "UPPER") != 0 && strcmp(action, "LOWER") != 0)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "case_change_action is neither NONE, LOWER nor UPPER");
    const tm_attribute *stopwords = tm_node_attribute(node, "stopwords");
    tm_dim dims[2] = {tm_infer_const(context, 1), x->dims[x->rank - 1]};
    if (stopwords->present && stopwords->count > 0)
        dims[1] = tm_infer_free(context, node, 0, x->rank - 1, "words");
    tm_infer_set(node, 0, TAMIS_TYPE_STRING, x->rank, x->rank == 2 ? dims : dims + 1);
    return TM_OK;
}

tm_code tm_infer_regex_full_match(tm_infer_context *context, tm_node *node) {
    (void)context;
    TM_TRY(need_text(node, 0));
    if (!tm_node_has_attribute(node, "program"))
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "the pattern has no program");
    tm_infer_set_like(node, 0, TAMIS_TYPE_BOOL, tm_infer_input(node, 0));
    return TM_OK;
}
