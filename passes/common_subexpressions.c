/* SPDX-License-Identifier: Apache-2.0
 *
 * common_subexpressions.c: what is computed twice is computed once.
 *
 *     %a: f32[4] = Exp(%x)                  %a: f32[4] = Exp(%x)
 *     %b: f32[4] = Exp(%x)        ->        %y: f32[4] = Add(%a, %a)
 *     %y: f32[4] = Add(%a, %b)
 *
 * One walk in execution order; each node is looked up among the nodes before it by a hash of op, inputs,
 * attributes and result types, and compared in full. A node of a body finds nodes of the graphs around
 * it, but not those of a branch that is over: the earlier node's graph must contain the later one's.
 * Constants with equal type, dims and bytes are merged before, which exporters make necessary: they write
 * the same axes and scales hundreds of times.
 *
 * Random ops and control flow are left alone. Result types are compared since a view without a target takes
 * its dims from its result.
 */
#include "passes/passes.h"
#include "passes/rewrite.h"

#include <string.h>

#define SAMPLE_BYTES 64
#define SAMPLES 16

typedef struct entry {
    struct entry *next;
    uint64_t hash;
    tm_node *node;
    tm_value *constant;
} entry;

typedef struct table {
    tm_arena *arena;
    entry **buckets;
    size_t size; /* a power of two */
} table;

static table make_table(tm_arena *arena, size_t count) {
    table t = {arena, NULL, 64};
    while (t.size < count)
        t.size *= 2;
    t.buckets = TM_NEW_ARRAY(arena, entry *, t.size);
    return t;
}

static void insert(table *t, uint64_t hash, tm_node *node, tm_value *constant) {
    entry *e = TM_NEW(t->arena, entry);
    *e = (entry){t->buckets[hash & (t->size - 1)], hash, node, constant};
    t->buckets[hash & (t->size - 1)] = e;
}

static uint64_t mix(uint64_t hash, int64_t value) {
    return tm_hash_bytes(&value, sizeof value, hash);
}

/* ---- constants ---- */

/* Samples only: large weights are compared in full, but not read in full to be hashed. */
static uint64_t hash_constant(const tm_constant *c, uint64_t hash) {
    hash = mix(mix(hash, c->type), c->rank);
    for (int i = 0; i < c->rank; i++)
        hash = mix(hash, c->dims[i]);
    if (c->bytes <= SAMPLE_BYTES * SAMPLES)
        return tm_hash_bytes(c->data, (size_t)c->bytes, hash);
    for (int64_t i = 0; i < SAMPLES; i++)
        hash = tm_hash_bytes((const char *)c->data + (c->bytes - SAMPLE_BYTES) / (SAMPLES - 1) * i,
                             SAMPLE_BYTES, hash);
    return hash;
}

static bool equal_constants(const tm_constant *a, const tm_constant *b) {
    if (a->type != b->type || a->rank != b->rank || a->bytes != b->bytes)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i])
            return false;
    return a->data == b->data || a->bytes == 0 || memcmp(a->data, b->data, (size_t)a->bytes) == 0;
}

static void merge_constants(tm_pass_context *context) {
    tm_model *model = context->model;
    size_t count = model->values.count;
    table t = make_table(model->arena, count);
    for (size_t i = 0; i < count; i++) {
        tm_value *value = model->values.items[i];
        if (value->constant == NULL || value->graph == NULL || tm_value_unused(value) ||
            value->constant->type == TAMIS_TYPE_STRING)
            continue;
        uint64_t hash = hash_constant(value->constant, 1);
        bool replaced = false;
        for (entry *e = t.buckets[hash & (t.size - 1)]; e != NULL && !replaced; e = e->next) {
            if (e->hash != hash || !equal_constants(e->constant->constant, value->constant))
                continue;
            /* The one in the outer graph stays. */
            bool turned = !tm_graph_contains(e->constant->graph, value->graph);
            tm_value *from = turned ? e->constant : value, *to = turned ? value : e->constant;
            if (!tm_rewrite_is_output(from) && tm_rewrite_can_replace(from, to) && tm_pass_allow(context)) {
                tm_rewrite_replace(from, to);
                e->constant = to;
                replaced = true;
            }
        }
        if (!replaced)
            insert(&t, hash, NULL, value);
        tm_mappings_note_read(model->mappings, (size_t)value->constant->bytes); /* samples touch most pages */
    }
}

/* ---- attributes ---- */

static uint64_t hash_attribute(const tm_attribute *a, tm_attribute_kind kind, uint64_t hash) {
    hash = mix(hash, a->count);
    switch (kind) {
    case TM_ATTRIBUTE_INT:
        return mix(hash, a->i);
    case TM_ATTRIBUTE_FLOAT:
        return tm_hash_bytes(&a->f, sizeof a->f, hash);
    case TM_ATTRIBUTE_STRING:
        return tm_hash_bytes(a->s, (size_t)a->s_size, hash);
    case TM_ATTRIBUTE_INTS:
        return tm_hash_bytes(a->ints, (size_t)a->count * sizeof *a->ints, hash);
    case TM_ATTRIBUTE_FLOATS:
        return tm_hash_bytes(a->floats, (size_t)a->count * sizeof *a->floats, hash);
    case TM_ATTRIBUTE_STRINGS:
        for (int64_t i = 0; i < a->count; i++)
            hash = tm_hash_bytes(a->strings[i], strlen(a->strings[i]) + 1, hash);
        return hash;
    case TM_ATTRIBUTE_TENSOR:
        return hash_constant(a->tensor, hash);
    case TM_ATTRIBUTE_GRAPH:
        break;
    }
    return hash;
}

static bool equal_bytes(const void *a, const void *b, size_t bytes) {
    return bytes == 0 || memcmp(a, b, bytes) == 0;
}

static bool equal_attributes(const tm_attribute *a, const tm_attribute *b, tm_attribute_kind kind) {
    if (a->present != b->present || a->count != b->count)
        return false;
    if (!a->present)
        return true;
    switch (kind) {
    case TM_ATTRIBUTE_INT:
        return a->i == b->i;
    case TM_ATTRIBUTE_FLOAT:
        return equal_bytes(&a->f, &b->f, sizeof a->f);
    case TM_ATTRIBUTE_STRING:
        return a->s_size == b->s_size && equal_bytes(a->s, b->s, (size_t)a->s_size);
    case TM_ATTRIBUTE_INTS:
        return equal_bytes(a->ints, b->ints, (size_t)a->count * sizeof *a->ints);
    case TM_ATTRIBUTE_FLOATS:
        return equal_bytes(a->floats, b->floats, (size_t)a->count * sizeof *a->floats);
    case TM_ATTRIBUTE_STRINGS:
        for (int64_t i = 0; i < a->count; i++)
            if (strcmp(a->strings[i], b->strings[i]) != 0)
                return false;
        return true;
    case TM_ATTRIBUTE_TENSOR:
        return a->tensor->type != TAMIS_TYPE_STRING && equal_constants(a->tensor, b->tensor);
    case TM_ATTRIBUTE_GRAPH:
        break;
    }
    return false;
}

/* ---- nodes ---- */

/* The inputs in the order to compare them: of a commutative op, by id. */
static void ordered_inputs(const tm_node *node, const tm_value **out_first, const tm_value **out_second) {
    *out_first = node->input_count > 0 ? node->inputs[0] : NULL;
    *out_second = node->input_count > 1 ? node->inputs[1] : NULL;
    if (tm_op_has(node->op, TM_COMMUTATIVE) && *out_first != NULL && *out_second != NULL &&
        (*out_first)->id > (*out_second)->id) {
        const tm_value *swap = *out_first;
        *out_first = *out_second;
        *out_second = swap;
    }
}

static uint64_t hash_node(const tm_node *node) {
    const tm_op_info *info = tm_op_get(node->op);
    const tm_value *first, *second;
    ordered_inputs(node, &first, &second);
    uint64_t hash = mix(mix(2, node->op), node->input_count);
    for (int i = 0; i < node->input_count; i++) {
        const tm_value *input = i == 0 ? first : i == 1 ? second : node->inputs[i];
        hash = mix(hash, input == NULL ? -1 : input->id);
    }
    for (int i = 0; i < info->attribute_count; i++)
        if (node->attributes[i].present)
            hash = hash_attribute(&node->attributes[i], info->attributes[i].kind, mix(hash, i));
    return hash;
}

static bool equal_nodes(const tm_node *a, const tm_node *b) {
    const tm_op_info *info = tm_op_get(a->op);
    const tm_value *first_a, *second_a, *first_b, *second_b;
    if (a->op != b->op || a->input_count != b->input_count || a->output_count != b->output_count)
        return false;
    ordered_inputs(a, &first_a, &second_a);
    ordered_inputs(b, &first_b, &second_b);
    if (first_a != first_b || second_a != second_b)
        return false;
    for (int i = 2; i < a->input_count; i++)
        if (a->inputs[i] != b->inputs[i])
            return false;
    for (int i = 0; i < info->attribute_count; i++)
        if (!equal_attributes(&a->attributes[i], &b->attributes[i], info->attributes[i].kind))
            return false;
    return true;
}

/* Dims that depend on data are symbols of their own for each node, though they will be equal. */
static bool can_merge(const tm_node *from, const tm_node *to) {
    bool dynamic = tm_op_has(from->op, TM_DYNAMIC);
    for (int i = 0; i < from->output_count; i++) {
        const tm_value *a = from->outputs[i], *b = to->outputs[i];
        if (a == NULL)
            continue;
        if (b == NULL || !tm_rewrite_can_replace(a, b) || (!dynamic && !tm_rewrite_same_type(a, b)))
            return false;
    }
    return true;
}

static void visit_graph(tm_pass_context *context, table *t, tm_graph *graph) {
    for (tm_node *node = graph->first, *next; node != NULL; node = next) {
        next = node->next;
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            visit_graph(context, t, tm_node_subgraph(node, i));
        if (tm_op_has(node->op, TM_RANDOM | TM_CONTROL) || tm_node_subgraph_count(node) > 0)
            continue;
        uint64_t hash = hash_node(node);
        entry *found = t->buckets[hash & (t->size - 1)];
        while (found != NULL && (found->hash != hash || !tm_graph_contains(found->node->graph, graph) ||
                                 !equal_nodes(node, found->node) || !can_merge(node, found->node)))
            found = found->next;
        if (found == NULL) {
            insert(t, hash, node, NULL);
            continue;
        }
        if (!tm_pass_allow(context))
            return;
        for (int i = 0; i < node->output_count; i++)
            if (node->outputs[i] != NULL)
                tm_rewrite_replace(node->outputs[i], found->node->outputs[i]);
        tm_node_remove(node);
    }
}

static size_t count_nodes(const tm_graph *graph) {
    size_t count = (size_t)graph->node_count;
    for (const tm_node *node = graph->first; node != NULL; node = node->next)
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            count += count_nodes(tm_node_subgraph(node, i));
    return count;
}

tm_code tm_pass_common_subexpressions(tm_pass_context *context) {
    merge_constants(context);
    table t = make_table(context->model->arena, count_nodes(context->model->main));
    visit_graph(context, &t, context->model->main);
    return TM_OK;
}
