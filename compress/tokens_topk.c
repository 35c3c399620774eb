/* SPDX-License-Identifier: Apache-2.0
 *
 * tokens_topk.c: attention of one query, as a decoder's step has it, reads the values of the keys with the
 * largest scores only.
 *
 *     %p = Softmax(%scores)                      %s, %i = TopK(%scores, min(keys, 64))
 *     %y = MatMul(%p, %v)               ->       %p = Softmax(%s)
 *                                                %y = MatMul(%p, GatherND(%v, %i) {batch_dims = 2})
 *
 * All keys are still read, so at best half of the memory is saved. With many queries each would gather values
 * of its own, which is more work than all of them: those stay.
 */
#include "compress/tokens_internal.h"

#include "ir/infer.h"
#include "passes/match.h"
#include "passes/match_attention.h"
#include "passes/rewrite.h"

/* The softmax whose result is `p`, maybe behind a guard of rows without any key; NULL: there is none. */
static tm_node *softmax_of(const tm_value *p, bool *out_guarded) {
    tm_node *node = p->producer;
    *out_guarded = node != NULL && node->op == TM_OP_Where;
    if (*out_guarded)
        node = node->inputs[2]->producer;
    int64_t axis = node != NULL && node->op == TM_OP_Softmax ? tm_node_int(node, "axis") : 0;
    return axis == -1 || (axis > 0 && axis == p->rank - 1) ? node : NULL;
}

static tm_code take_largest(tm_node *before, tm_value *scores, int64_t keys, tm_value **out_scores,
                            tm_value **out_indices) {
    tm_graph *graph = before->graph;
    tm_value *count;
    TM_TRY(tm_tokens_shape(before, scores, scores->rank - 1, scores->rank, &count));
    TM_TRY(tm_match_make_pair(before, TM_OP_Min, count, tm_tokens_integers(graph, 1, &keys), &count));
    tm_node *top = tm_node_create(graph, before, TM_OP_TopK, NULL, 2, (tm_value *[]){scores, count});
    tm_node_set_int(top, "axis", scores->rank - 1);
    *out_scores = tm_node_add_output(top, NULL);
    *out_indices = tm_node_add_output(top, NULL);
    return tm_infer_node(graph->model, top);
}

static tm_code rewrite(tm_node *root, tm_node *softmax, bool guarded, int64_t keys, tm_value **out_y) {
    tm_value *v = root->inputs[1], *scores, *indices, *p, *y;
    const int rank = v->rank;
    tm_dim dims[TAMIS_MAX_RANK];
    TM_TRY(take_largest(root, softmax->inputs[0], keys, &scores, &indices));
    p = scores;
    TM_TRY(tm_rewrite_copy_over(root, softmax, &p));
    if (guarded) {
        tm_value *none, *zero = root->inputs[0]->producer->inputs[1];
        TM_TRY(tm_match_make(root, TM_OP_IsNaN, 1, &p, &none));
        TM_TRY(tm_match_make(root, TM_OP_Where, 3, (tm_value *[]){none, zero, p}, &p));
    }
    for (int i = 0; i < rank; i++)
        dims[i] = indices->dims[i < rank - 2 ? i : 2 * rank - 3 - i];
    indices = tm_match_view(root, indices, rank, dims);
    tm_node *gather = tm_node_create(root->graph, root, TM_OP_GatherND, NULL, 2, (tm_value *[]){v, indices});
    tm_node_set_int(gather, "batch_dims", rank - 2);
    v = tm_node_add_output(gather, NULL);
    TM_TRY(tm_infer_node(root->graph->model, gather));
    TM_TRY(tm_match_make_pair(root, TM_OP_MatMul, p, v, &y));
    y->producer->name = root->name;
    tm_rewrite_replace(root->outputs[0], y);
    tm_node_remove(root);
    *out_y = y;
    return TM_OK;
}

/* ---- what to measure by ---- */

typedef TM_VECTOR(tm_value *) value_list;

/* By id: is the value made of one of `changed`? A node with bodies,
 * which may read any, counts as if it were. */
static const bool *dependents(const tm_model *model, const value_list *changed) {
    bool *depends = TM_NEW_ARRAY(model->arena, bool, model->value_count + 1);
    for (size_t i = 0; i < changed->count; i++)
        depends[changed->items[i]->id] = true;
    for (const tm_node *node = model->main->first; node != NULL; node = node->next) {
        bool any = tm_node_subgraph_count(node) > 0;
        for (int i = 0; i < node->input_count && !any; i++)
            any = node->inputs[i] != NULL && depends[node->inputs[i]->id];
        for (int i = 0; i < node->output_count && any; i++)
            if (node->outputs[i] != NULL)
                depends[node->outputs[i]->id] = true;
    }
    return depends;
}

/* An input that was lengthened. Its rows are no answers:
 * nobody asks which of their elements is the largest. */
static bool is_cache(const tm_value *output) {
    const tm_node *node = output->producer;
    const tm_value *past = node != NULL && node->op == TM_OP_Concat ? node->inputs[0] : NULL;
    return past != NULL && past->producer == NULL && past->constant == NULL;
}

static const bool *measured(const tm_model *model, const value_list *changed) {
    const tm_graph *graph = model->main;
    const bool *depends = dependents(model, changed);
    bool *out = TM_NEW_ARRAY(model->arena, bool, graph->outputs.count + 1), any = false;
    for (size_t i = 0; i < graph->outputs.count; i++) {
        out[i] = depends[graph->outputs.items[i]->id] && !is_cache(graph->outputs.items[i]);
        any = any || out[i];
    }
    for (size_t i = 0; i < graph->outputs.count && !any; i++)
        out[i] = depends[graph->outputs.items[i]->id];
    return out;
}

/* ---- all attentions ---- */

tm_code tm_tokens_topk(tm_model *model, int64_t keys, tm_tokens_report *report, const bool **out_measured) {
    value_list changed = {0};
    report->attentions = report->changed = 0;
    for (tm_node *node = model->main->first, *next; node != NULL; node = next) {
        tm_attention_form form;
        bool guarded;
        next = node->next;
        if (node->op != TM_OP_MatMul || !tm_attention_find(node, false, &form))
            continue;
        const tm_value *p = node->inputs[0], *v = node->inputs[1];
        tm_node *softmax = softmax_of(p, &guarded);
        tm_dim length = p->dims[p->rank - 1];
        report->attentions++;
        if (softmax == NULL || p->rank != v->rank || p->rank < 3 || !tm_dim_is(p->dims[p->rank - 2], 1) ||
            !tm_match_same_dims(p, 0, v, 0, p->rank - 2) || length->high <= keys)
            continue;
        tm_value *y;
        report->changed++;
        TM_TRY(rewrite(node, softmax, guarded, keys, &y));
        tm_push(model->arena, &changed, y);
    }
    *out_measured = measured(model, &changed);
    return TM_OK;
}
