/* SPDX-License-Identifier: Apache-2.0
 *
 * graph.c: models, graphs and values.
 *
 * Values know their uses. A use is (node, input index), or (no node, graph, output index) for the
 * outputs of a graph; a subgraph's nodes that read an outer value are uses of it like any other, so a
 * pass that asks "who reads this?" needs no walk of the bodies. The list is in the order in which
 * the uses were made, which keeps everything that iterates over it deterministic.
 *
 * Names stay unique in the whole model, subgraphs included: the second "x" becomes "x.1". The map of
 * names holds the next suffix to try, so a file with a thousand equal names does not cost a
 * million look-ups.
 */
#include "ir/graph.h"
#include "ir/graph_internal.h"
#include "ir/infer.h"

#include <string.h>

tm_model *tm_model_create(tm_arena *arena, tm_diagnostics *diagnostics, const char *file) {
    tm_model *model = TM_NEW(arena, tm_model);
    model->arena = arena;
    model->diagnostics = diagnostics;
    model->dims = tm_dims_create(arena);
    model->mappings = TM_NEW(arena, tm_mappings);
    model->file = file != NULL ? tm_arena_string(arena, file) : NULL;
    tm_map_init(&model->names, arena);
    model->main = tm_graph_create(model, "main", NULL);
    return model;
}

tm_graph *tm_graph_create(tm_model *model, const char *name, tm_graph *outer) {
    tm_graph *graph = TM_NEW(model->arena, tm_graph);
    graph->model = model;
    graph->name = tm_arena_string(model->arena, name != NULL ? name : "graph");
    graph->outer = outer;
    return graph;
}

bool tm_graph_contains(const tm_graph *graph, const tm_graph *inner) {
    while (inner != NULL && inner != graph)
        inner = inner->outer;
    return inner != NULL;
}

static const char *unique_name(tm_model *model, const char *wish) {
    uintptr_t suffix = (uintptr_t)tm_map_get(&model->names, wish);
    if (suffix == 0) {
        tm_map_set(&model->names, wish, (void *)(uintptr_t)1);
        return tm_arena_string(model->arena, wish);
    }
    const char *name = NULL;
    do
        name = tm_arena_format(model->arena, "%s.%zu", wish, (size_t)suffix++);
    while (tm_map_has(&model->names, name));
    tm_map_set(&model->names, wish, (void *)suffix);
    tm_map_set(&model->names, name, (void *)(uintptr_t)1);
    return name;
}

tm_value *tm_value_create(tm_graph *graph, const char *name) {
    tm_model *model = graph->model;
    tm_value *value = TM_NEW(model->arena, tm_value);
    value->id = model->value_count++;
    value->kind = TAMIS_KIND_TENSOR;
    value->rank = -1;
    value->declared_rank = -1;
    value->output_index = -1;
    value->graph = graph;
    value->name = unique_name(
        model, name != NULL && name[0] != 0 ? name : tm_arena_format(model->arena, "%d", value->id));
    tm_push(model->arena, &model->values, value);
    return value;
}

void tm_value_set_tensor(tm_value *value, tamis_type type, int rank, const tm_dim *dims) {
    tm_arena *arena = value->graph->model->arena;
    tm_dim *copy = TM_NEW_ARRAY(arena, tm_dim, rank > 0 ? rank : 1);
    if (rank > 0)
        memcpy(copy, dims, (size_t)rank * sizeof *dims);
    value->kind = TAMIS_KIND_TENSOR;
    value->item = TAMIS_KIND_NONE;
    value->type = type;
    value->key = TAMIS_TYPE_UNDEFINED;
    value->rank = rank;
    value->dims = copy;
}

void tm_value_set_handle(tm_value *value, tamis_kind kind, tamis_type type, int rank, const tm_dim *dims) {
    tm_value_set_tensor(value, type, rank, dims);
    value->kind = kind;
    value->item = kind == TAMIS_KIND_TENSOR ? TAMIS_KIND_NONE : TAMIS_KIND_TENSOR;
    value->elements = NULL;
    value->element_count = 0;
}

void tm_value_set_form(tm_value *value, const tm_value *from, int rank, const tm_dim *dims) {
    tm_value_set_handle(value, from->kind, from->type, rank, dims);
    value->item = from->item;
    value->key = from->key;
}

bool tm_value_same_form(const tm_value *a, const tm_value *b) {
    return a->kind == b->kind && a->item == b->item && a->type == b->type && a->key == b->key;
}

tm_value *tm_value_create_constant(tm_graph *graph, const char *name, const tm_constant *constant) {
    tm_model *model = graph->model;
    tm_value *value = tm_value_create(graph, name);
    tm_dim *dims = TM_NEW_ARRAY(model->arena, tm_dim, constant->rank > 0 ? constant->rank : 1);
    for (int i = 0; i < constant->rank; i++)
        dims[i] = tm_dim_constant(model->dims, constant->dims[i]);
    value->type = constant->type;
    value->rank = constant->rank;
    value->dims = dims;
    value->constant = constant;
    int64_t count = tm_constant_count(constant);
    bool whole = tm_type_is_integer(constant->type) || constant->type == TAMIS_TYPE_BOOL;
    if (!whole || count > TM_MAX_ELEMENTS)
        return value;
    value->element_count = count;
    value->elements = TM_NEW_ARRAY(model->arena, tm_dim, count > 0 ? count : 1);
    for (int64_t i = 0; i < count; i++) {
        int64_t element = 0;
        (void)tm_constant_int(constant, i, &element);
        value->elements[i] = tm_dim_constant(model->dims, element);
    }
    return value;
}

/* ---- uses ---- */

void tm_use_add(tm_value *value, tm_node *node, tm_graph *graph, int index) {
    if (value != NULL)
        tm_push(graph->model->arena, &value->uses, (tm_use){node, graph, index});
}

void tm_use_drop(tm_value *value, tm_node *node, tm_graph *graph, int index) {
    if (value == NULL)
        return;
    for (size_t i = value->uses.count; i-- > 0;) {
        tm_use *use = &value->uses.items[i];
        if (use->node == node && use->graph == graph && use->index == index) {
            memmove(use, use + 1, (value->uses.count - i - 1) * sizeof *use);
            value->uses.count--;
            return;
        }
    }
}

void tm_graph_add_input(tm_graph *graph, tm_value *value) {
    tm_push(graph->model->arena, &graph->inputs, value);
}

void tm_graph_add_output(tm_graph *graph, tm_value *value) {
    tm_use_add(value, NULL, graph, (int)graph->outputs.count);
    tm_push(graph->model->arena, &graph->outputs, value);
}

void tm_graph_set_output(tm_graph *graph, int index, tm_value *value) {
    tm_use_drop(graph->outputs.items[index], NULL, graph, index);
    graph->outputs.items[index] = value;
    tm_use_add(value, NULL, graph, index);
}

void tm_graph_clear_outputs(tm_graph *graph) {
    for (size_t i = 0; i < graph->outputs.count; i++)
        tm_use_drop(graph->outputs.items[i], NULL, graph, (int)i);
    graph->outputs.count = 0;
}

/* Symbols that `from` binds are bound by `to`, which holds the same data. */
static void move_symbols(tm_value *from, tm_value *to) {
    for (size_t i = 0; i < from->symbols.count; i++) {
        from->symbols.items[i]->value = to;
        tm_push(to->graph->model->arena, &to->symbols, from->symbols.items[i]);
    }
    from->symbols.count = 0;
}

void tm_value_replace(tm_value *from, tm_value *to) {
    if (from == to)
        return;
    for (size_t i = 0; i < from->uses.count; i++) {
        tm_use use = from->uses.items[i];
        if (use.node != NULL)
            use.node->inputs[use.index] = to;
        else
            use.graph->outputs.items[use.index] = to;
        tm_push(to->graph->model->arena, &to->uses, use);
    }
    from->uses.count = 0;
    move_symbols(from, to);
}

tm_node *tm_value_single_user(const tm_value *value) {
    return value->uses.count == 1 ? value->uses.items[0].node : NULL;
}
