/* SPDX-License-Identifier: Apache-2.0
 *
 * sort.c: puts nodes into an order in which each follows the nodes that it reads.
 *
 * ONNX demands sorted graphs, but exporters and editors do not always deliver them. Most files are
 * sorted, and then the order stays exactly as it is. Otherwise this is Kahn's algorithm with a heap
 * by file index: of the nodes that are ready, the first in the file comes next, so the result is the
 * same every time and as near to the file as can be.
 *
 * A control flow node reads what its bodies capture, at any depth:
 *
 *     0: y = If(c) { then: t = Add(a, x) }      1: a = Relu(x)      ->   order 1, 0
 */
#include "frontend/importer.h"

#include <string.h>

/* ---- captured names ---- */

static void collect_graph(tm_arena *arena, const Onnx__GraphProto *graph, tm_map *free_names);

static void note(const tm_map *defined, tm_map *free_names, const char *name) {
    if (name[0] != 0 && (defined == NULL || !tm_map_has(defined, name)))
        tm_map_set(free_names, name, NULL);
}

/* Names that a node reads: its inputs and what its bodies do not define themselves. */
static void collect_node(tm_arena *arena, const Onnx__NodeProto *node, const tm_map *defined,
                         tm_map *free_names) {
    for (size_t i = 0; i < node->n_input; i++)
        note(defined, free_names, node->input[i]);
    for (size_t i = 0; i < node->n_attribute; i++) {
        const Onnx__AttributeProto *attribute = node->attribute[i];
        if (attribute->g == NULL && attribute->n_graphs == 0)
            continue;
        tm_map inner;
        tm_map_init(&inner, arena);
        if (attribute->g != NULL)
            collect_graph(arena, attribute->g, &inner);
        for (size_t k = 0; k < attribute->n_graphs; k++)
            collect_graph(arena, attribute->graphs[k], &inner);
        for (size_t k = 0; k < inner.count; k++)
            note(defined, free_names, inner.entries[k].key);
    }
}

static void define(tm_map *defined, const char *name) {
    if (name != NULL)
        tm_map_set(defined, name, NULL);
}

static void collect_graph(tm_arena *arena, const Onnx__GraphProto *graph, tm_map *free_names) {
    tm_map defined;
    tm_map_init(&defined, arena);
    for (size_t i = 0; i < graph->n_input; i++)
        define(&defined, graph->input[i]->name);
    for (size_t i = 0; i < graph->n_initializer; i++)
        define(&defined, graph->initializer[i]->name);
    for (size_t i = 0; i < graph->n_sparse_initializer; i++)
        if (graph->sparse_initializer[i]->values != NULL)
            define(&defined, graph->sparse_initializer[i]->values->name);
    for (size_t i = 0; i < graph->n_node; i++)
        for (size_t k = 0; k < graph->node[i]->n_output; k++)
            define(&defined, graph->node[i]->output[k]);
    for (size_t i = 0; i < graph->n_node; i++)
        collect_node(arena, graph->node[i], &defined, free_names);
    for (size_t i = 0; i < graph->n_output; i++)
        if (graph->output[i]->name != NULL)
            note(&defined, free_names, graph->output[i]->name);
}

/* ---- order ---- */

typedef TM_VECTOR(size_t) index_list;

typedef struct sorter {
    tm_arena *arena;
    Onnx__NodeProto *const *nodes;
    size_t count;
    index_list *reads;   /* nodes that a node reads */
    index_list *readers; /* the reverse */
    size_t *heap;
    size_t heap_count;
} sorter;

static void heap_push(sorter *s, size_t node) {
    size_t at = s->heap_count++;
    for (; at > 0 && s->heap[(at - 1) / 2] > node; at = (at - 1) / 2)
        s->heap[at] = s->heap[(at - 1) / 2];
    s->heap[at] = node;
}

static size_t heap_pop(sorter *s) {
    size_t top = s->heap[0];
    size_t node = s->heap[--s->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= s->heap_count)
            break;
        if (child + 1 < s->heap_count && s->heap[child + 1] < s->heap[child])
            child++;
        if (s->heap[child] >= node)
            break;
        s->heap[at] = s->heap[child];
        at = child;
    }
    s->heap[at] = node;
    return top;
}

/* Fills reads and readers. True when the file's order will do. */
static bool find_edges(sorter *s, const tm_scope *scope) {
    tm_map producers;
    tm_map_init(&producers, s->arena);
    for (size_t i = 0; i < s->count; i++)
        for (size_t k = 0; k < s->nodes[i]->n_output; k++) {
            const char *name = s->nodes[i]->output[k];
            if (name[0] != 0 && !tm_map_has(&producers, name) && !tm_map_has(&scope->names, name))
                tm_map_set(&producers, name, (void *)(uintptr_t)(i + 1));
        }
    bool sorted = true;
    for (size_t i = 0; i < s->count; i++) {
        tm_map names;
        tm_map_init(&names, s->arena);
        collect_node(s->arena, s->nodes[i], NULL, &names);
        for (size_t k = 0; k < names.count; k++) {
            size_t producer = (size_t)(uintptr_t)tm_map_get(&producers, names.entries[k].key);
            if (producer == 0)
                continue;
            tm_push(s->arena, &s->reads[i], producer - 1);
            tm_push(s->arena, &s->readers[producer - 1], i);
            sorted = sorted && producer - 1 < i;
        }
    }
    return sorted;
}

static const char *node_label(const Onnx__NodeProto *node) {
    if (node->name != NULL && node->name[0] != 0)
        return node->name;
    return node->n_output != 0 ? node->output[0] : node->op_type;
}

/* Walks back along nodes that never became ready until one comes twice: that is a cycle. */
static tm_code report_cycle(tm_importer *importer, const sorter *s, const tm_scope *scope,
                            const size_t *waiting) {
    size_t node = 0;
    while (waiting[node] == 0)
        node++;
    bool *seen = TM_NEW_ARRAY(s->arena, bool, s->count);
    index_list walk = {0};
    while (!seen[node]) {
        seen[node] = true;
        tm_push(s->arena, &walk, node);
        size_t k = 0;
        while (waiting[s->reads[node].items[k]] == 0)
            k++;
        node = s->reads[node].items[k];
    }
    tm_text text;
    tm_text_init(&text, s->arena);
    size_t shown = 0;
    for (size_t i = walk.count; i-- > 0;) {
        const char *label = node_label(s->nodes[walk.items[i]]);
        if (shown++ < 8) {
            tm_text_add(&text, "'");
            tm_text_add_escaped(&text, label, strlen(label));
            tm_text_add(&text, "' -> ");
        }
        if (walk.items[i] == node)
            break;
    }
    const char *first = node_label(s->nodes[walk.items[walk.count - 1]]);
    tm_text_add(&text, shown > 8 ? "... -> '" : "'");
    tm_text_add_escaped(&text, first, strlen(first));
    tm_place place = {.file = importer->model->file,
                      .path = scope->path,
                      .node_index = (int64_t)node,
                      .op = s->nodes[node]->op_type,
                      .node = s->nodes[node]->name};
    return tm_report(importer->diagnostics, TM_E_CYCLE, &place, NULL,
                     "nodes read each other in a circle: %s'", tm_text_get(&text));
}

tm_code tm_sort_nodes(tm_importer *importer, const tm_scope *scope, Onnx__NodeProto *const *nodes,
                      size_t count, size_t **out_order) {
    tm_arena *arena = importer->scratch;
    sorter s = {.arena = arena, .nodes = nodes, .count = count};
    size_t *order = TM_NEW_ARRAY(arena, size_t, count);
    s.reads = tm_arena_alloc_array(arena, count, sizeof *s.reads);
    s.readers = tm_arena_alloc_array(arena, count, sizeof *s.readers);
    *out_order = order;
    if (find_edges(&s, scope)) {
        for (size_t i = 0; i < count; i++)
            order[i] = i;
        return TM_OK;
    }
    size_t *waiting = TM_NEW_ARRAY(arena, size_t, count); /* producers not placed yet */
    s.heap = TM_NEW_ARRAY(arena, size_t, count);
    for (size_t i = 0; i < count; i++) {
        waiting[i] = s.reads[i].count;
        if (waiting[i] == 0)
            heap_push(&s, i);
    }
    size_t placed = 0;
    while (s.heap_count > 0) {
        size_t node = heap_pop(&s);
        order[placed++] = node;
        for (size_t k = 0; k < s.readers[node].count; k++)
            if (--waiting[s.readers[node].items[k]] == 0)
                heap_push(&s, s.readers[node].items[k]);
    }
    return placed == count ? TM_OK : report_cycle(importer, &s, scope, waiting);
}
