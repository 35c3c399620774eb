/* SPDX-License-Identifier: Apache-2.0
 *
 * tokens_evict.c: caches of keys and values that do not grow beyond a number of keys. Those go that have had
 * the least attention so far; the newest half stays in any case (heavy hitters, H2O).
 *
 *     %k = Concat(%past_k, %new)  %p = Softmax(%scores)  %y = MatMul(%p, %v)  return %k, %v
 *
 * gets, for each such attention, an input of what each key had before, and an output of what it has now:
 *
 *     %w = ReduceSum(%p, NaN as 0) + Concat(%past_k.weights, 0)      of each key, over queries and heads
 *     %i = TopK(Where(newest, 1e30, 0) + %w, min(keys, 1024))        in ascending order
 *     return GatherND(%k, %i), GatherND(%v, %i), GatherElements(%w, %i)
 *
 * A step's own answers are those of the model that it was: all keys that it is given take part.
 */
#include "compress/tokens_internal.h"

#include "ir/infer.h"
#include "passes/match.h"
#include "passes/match_attention.h"
#include "passes/rewrite.h"

#include <string.h>

#define NEWEST 1e30 /* more attention than any key has had */

/* The Concat of a past, which is an input, with new rows, which is an output, that an operand is made of. */
static tm_node *cache_of(const tm_value *value) {
    for (int depth = 0; depth < 12; depth++) {
        tm_node *node = value->producer;
        if (node == NULL)
            return NULL;
        const tm_value *past = node->inputs[0];
        if (node->op == TM_OP_Concat && node->input_count == 2 && value->rank == 4 &&
            (tm_node_int(node, "axis") == 2 || tm_node_int(node, "axis") == -2))
            return past->producer == NULL && past->constant == NULL && past->graph->outer == NULL &&
                           tm_rewrite_is_output(value)
                       ? node
                       : NULL;
        bool factor = node->op == TM_OP_Mul || node->op == TM_OP_Div;
        if (!factor && !tm_op_has(node->op, TM_VIEW) && node->op != TM_OP_Transpose &&
            node->op != TM_OP_Expand)
            return NULL;
        value = factor && past->constant != NULL ? node->inputs[1] : past;
    }
    return NULL;
}

static tm_code sum(tm_node *before, tm_value *x, tm_value **out) {
    tm_node *node = tm_node_create(before->graph, before, TM_OP_ReduceSum, NULL, 2,
                                   (tm_value *[]){x, tm_tokens_integers(before->graph, 1, &(int64_t){2})});
    tm_node_set_int(node, "keepdims", 0);
    *out = tm_node_add_output(node, NULL);
    return tm_infer_node(before->graph->model, node);
}

static tm_code with_axis(tm_node *before, tm_op op, tm_value *a, tm_value *b, int axis, tm_value **out) {
    tm_node *node = tm_node_create(before->graph, before, op, NULL, 2, (tm_value *[]){a, b});
    tm_node_set_int(node, op == TM_OP_GatherND ? "batch_dims" : "axis", axis);
    *out = tm_node_add_output(node, NULL);
    return tm_infer_node(before->graph->model, node);
}

/* Zeros as wide as `like`: a product with 0 would be NaN where that is. */
static tm_code zeros(tm_node *before, tm_value *like, tm_value **out) {
    tm_value *shape;
    TM_TRY(tm_match_make(before, TM_OP_Shape, 1, &like, &shape));
    TM_TRY(tm_match_make_pair(before, TM_OP_Expand, tm_tokens_scalar(before->graph, TAMIS_TYPE_FLOAT, 0),
                              shape, out));
    *out = tm_match_view(before, *out, like->rank, like->dims);
    return TM_OK;
}

/* `p` with 0 in rows that see no key, whose softmax is NaN and would stay in the sums. */
static tm_code without_nan(tm_node *before, tm_value *p, tm_value **out) {
    tm_value *none;
    const tm_node *guard = p->producer;
    *out = p;
    if (guard != NULL && guard->op == TM_OP_Where && guard->inputs[0]->producer != NULL &&
        guard->inputs[0]->producer->op == TM_OP_IsNaN)
        return TM_OK;
    TM_TRY(tm_match_make(before, TM_OP_IsNaN, 1, &p, &none));
    tm_value *choice[] = {none, tm_tokens_scalar(before->graph, TAMIS_TYPE_FLOAT, 0), p};
    return tm_match_make(before, TM_OP_Where, 3, choice, out);
}

/* The attention that each key has had, this step's included: [batch, heads of keys, keys]. */
static tm_code make_weights(tm_node *before, const tm_node *cache, tm_value *p, tm_value **out) {
    tm_graph *graph = before->graph;
    tm_dims *dims = graph->model->dims;
    tm_value *past = cache->inputs[0], *had, *fresh, *start;
    const tm_value *all = cache->outputs[0];
    int64_t group = p->dims[1]->constant / all->dims[1]->constant;
    TM_TRY(without_nan(before, p, &p));
    TM_TRY(sum(before, p, out));
    if (group > 1) {
        const tm_dim four[] = {p->dims[0], all->dims[1], tm_dim_constant(dims, group), p->dims[3]};
        TM_TRY(sum(before, tm_match_view(before, *out, 4, four), out));
    }
    had = tm_value_create(graph, tm_arena_format(graph->model->arena, "%s.weights", past->name));
    tm_value_set_tensor(had, TAMIS_TYPE_FLOAT, 3, past->dims);
    tm_graph_add_input(graph, had);
    TM_TRY(tm_tokens_shape(before, past, 2, 3, &start));
    tm_value *part[] = {*out, start, tm_tokens_integers(graph, 1, &(int64_t){INT64_MAX}),
                        tm_tokens_integers(graph, 1, &(int64_t){2})};
    TM_TRY(tm_match_make(before, TM_OP_Slice, 4, part, &fresh));
    TM_TRY(zeros(before, fresh, &fresh));
    TM_TRY(with_axis(before, TM_OP_Concat, had, fresh, 2, &had));
    return tm_match_make_pair(before, TM_OP_Add, *out, tm_match_view(before, had, 3, (*out)->dims), out);
}

/* Which keys stay, in ascending order: [batch, heads, min(keys, length)]. */
static tm_code choose(tm_node *before, tm_value *weights, tm_value *length, int64_t keys, tm_value **out) {
    tm_graph *graph = before->graph;
    tm_value *all, *limit, *newest, *extra, *score, *count,
        *bounds[] = {tm_tokens_scalar(graph, TAMIS_TYPE_INT64, 0), tm_match_view(before, length, 0, NULL),
                     tm_tokens_scalar(graph, TAMIS_TYPE_INT64, 1)};
    TM_TRY(tm_match_make(before, TM_OP_Range, 3, bounds, &all));
    TM_TRY(tm_match_make_pair(before, TM_OP_Sub, length,
                              tm_tokens_integers(graph, 1, &(int64_t){(keys + 1) / 2}), &limit));
    TM_TRY(tm_match_make_pair(before, TM_OP_GreaterOrEqual, all, limit, &newest));
    tm_value *choice[] = {newest, tm_tokens_scalar(graph, TAMIS_TYPE_FLOAT, NEWEST),
                          tm_tokens_scalar(graph, TAMIS_TYPE_FLOAT, 0)};
    TM_TRY(tm_match_make(before, TM_OP_Where, 3, choice, &extra));
    TM_TRY(tm_match_make_pair(before, TM_OP_Add, weights, tm_match_view(before, extra, 1, &weights->dims[2]),
                              &score));
    TM_TRY(tm_match_make_pair(before, TM_OP_Min, length, tm_tokens_integers(graph, 1, &(int64_t){keys}),
                              &count));
    for (int turn = 0; turn < 2; turn++) { /* the largest, then their places from the first on */
        tm_node *top = tm_node_create(graph, before, TM_OP_TopK, NULL, 2, (tm_value *[]){score, count});
        tm_node_set_int(top, "axis", 2);
        tm_node_set_int(top, "largest", turn == 0);
        tm_value *values = tm_node_add_output(top, NULL), *places = tm_node_add_output(top, NULL);
        TM_TRY(tm_infer_node(graph->model, top));
        score = turn == 0 ? places : values;
    }
    *out = score;
    return TM_OK;
}

/* The output that `from` is, of that name, is `to` from now on. */
static void set_output(tm_graph *graph, tm_value *from, tm_value *to) {
    const char *name = from->name;
    for (size_t i = 0; i < graph->outputs.count; i++)
        if (graph->outputs.items[i] == from)
            tm_graph_set_output(graph, (int)i, to);
    from->name = to->name;
    to->name = name;
}

static int index_of(tm_value *const *values, size_t count, const tm_value *value) {
    for (size_t i = 0; i < count; i++)
        if (values[i] == value)
            return (int)i;
    return -1;
}

static tm_code evict(tm_node *before, tm_node *caches[2], tm_value *p, int64_t keys, tm_evictions *out) {
    tm_graph *graph = before->graph;
    tm_value *weights, *length, *stay, *kept;
    const size_t first = out->count;
    TM_TRY(make_weights(before, caches[0], p, &weights));
    TM_TRY(tm_tokens_shape(before, caches[0]->outputs[0], 2, 3, &length));
    TM_TRY(choose(before, weights, length, keys, &stay));
    const tm_dim rows[] = {stay->dims[0], stay->dims[1], stay->dims[2],
                           tm_dim_constant(graph->model->dims, 1)};
    tm_value *places = tm_match_view(before, stay, 4, rows);
    for (int i = 0; i < 2; i++) {
        tm_value *all = caches[i]->outputs[0];
        if (i == 1 && caches[1] == caches[0])
            continue; /* keys are the values too, of one cache */
        tm_eviction e = {index_of(graph->inputs.items, graph->inputs.count, caches[i]->inputs[0]),
                         index_of(graph->outputs.items, graph->outputs.count, all), 0};
        TM_TRY(with_axis(before, TM_OP_GatherND, all, places, 2, &kept));
        set_output(graph, all, kept);
        tm_push(graph->model->arena, out, e);
    }
    TM_TRY(with_axis(before, TM_OP_GatherElements, weights, stay, 2, &weights));
    const tm_eviction keys_of = out->items[first];
    const char *name = graph->outputs.items[keys_of.present]->name;
    tm_value *named = tm_value_create(graph, tm_arena_format(graph->model->arena, "%s.weights", name));
    const char *fresh = weights->name;
    weights->name = named->name;
    named->name = fresh;
    tm_graph_add_output(graph, weights);
    tm_eviction e = {(int)graph->inputs.count - 1, (int)graph->outputs.count - 1, keys_of.past};
    tm_push(graph->model->arena, out, e);
    return TM_OK;
}

tm_code tm_tokens_evict(tm_model *model, int64_t keys, tm_tokens_report *report, tm_evictions *out) {
    *out = (tm_evictions){0};
    for (tm_node *node = model->main->first, *next; node != NULL; node = next) {
        tm_attention_form form;
        next = node->next;
        if (node->op != TM_OP_MatMul || !tm_attention_find(node, false, &form))
            continue;
        tm_node *caches[2] = {cache_of(form.kt), cache_of(form.v)};
        tm_value *p = node->inputs[0];
        report->attentions++;
        if (caches[0] == NULL || caches[1] == NULL || p->rank != 4 || p->type != TAMIS_TYPE_FLOAT)
            continue;
        const tm_value *k = caches[0]->outputs[0], *v = caches[1]->outputs[0];
        if (!tm_match_same_dims(k, 0, v, 0, 3) || !tm_dim_is_constant(k->dims[1]) ||
            !tm_dim_is_constant(p->dims[1]) || k->dims[1]->constant < 1 ||
            p->dims[1]->constant % k->dims[1]->constant != 0 || k->dims[2]->high <= keys)
            continue;
        report->changed++;
        TM_TRY(evict(node, caches, p, keys, out));
    }
    return TM_OK;
}
