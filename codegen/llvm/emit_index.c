/* SPDX-License-Identifier: Apache-2.0
 *
 * emit_index.c: what belongs to a node or value, found without walking the model's lists.
 *
 *     node  -> its number in the table of names, the constraints to check before it
 *     value -> the symbols that are bound when it stands
 *
 * Nodes are sorted by address and searched; the order of emission never depends on it. A constraint that
 * inference found inside a region's body belongs to the region. Why an index: each list is as long as the
 * model, so looking through one at every node takes time by the square of the model.
 */
#include "codegen/llvm/emit.h"

#include <stdlib.h>
#include <string.h>

static int compare_nodes(const void *a, const void *b) {
    uintptr_t x = (uintptr_t)((const tm_emit_index_node *)a)->node;
    uintptr_t y = (uintptr_t)((const tm_emit_index_node *)b)->node;
    return (x > y) - (x < y);
}

static tm_emit_index_node *find(const tm_emit *e, const tm_node *node) {
    tm_emit_index_node key = {.node = node};
    return e->index.node_count == 0 ? NULL
                                    : bsearch(&key, e->index.nodes, e->index.node_count, sizeof(key),
                                              compare_nodes);
}

typedef struct node_list {
    TM_VECTOR(tm_emit_index_node) rows;
} node_list;

static void collect(tm_emit *e, const tm_graph *graph, node_list *list) {
    for (const tm_node *node = graph->first; node != NULL; node = node->next) {
        tm_push(e->arena, &list->rows, (tm_emit_index_node){.node = node, .name = -1});
        for (int i = 0; node->op != TM_OP_Region && i < tm_node_subgraph_count(node); i++)
            collect(e, tm_node_subgraph(node, i), list);
    }
}

/* The node that is emitted for `node`. */
static const tm_node *emitted(const tm_node *node) {
    const tm_node *owner = node->graph != NULL ? node->graph->owner : NULL;
    return owner != NULL && owner->op == TM_OP_Region ? owner : node;
}

bool tm_emit_constraint_is_early(const tm_emit *e, const tm_constraint *constraint) {
    const tm_node *node = emitted(constraint->node);
    bool in_body = node->graph != NULL && node->graph != e->model->main;
    return !constraint->a->late && !constraint->b->late && !in_body;
}

static void index_constraints(tm_emit *e) {
    const tm_model *model = e->model;
    size_t count = model->constraints.count;
    tm_emit_index_node **rows = TM_NEW_ARRAY(e->arena, tm_emit_index_node *, count + 1);
    for (size_t i = 0; i < count; i++) {
        const tm_constraint *c = &model->constraints.items[i];
        rows[i] = tm_emit_constraint_is_early(e, c) ? NULL : find(e, emitted(c->node));
        if (rows[i] != NULL)
            rows[i]->constraint_count++;
    }
    size_t at = 0;
    for (size_t i = 0; i < e->index.node_count; i++) {
        e->index.nodes[i].first_constraint = at;
        at += e->index.nodes[i].constraint_count;
        e->index.nodes[i].constraint_count = 0;
    }
    e->index.constraints = TM_NEW_ARRAY(e->arena, const tm_constraint *, at + 1);
    for (size_t i = 0; i < count; i++)
        if (rows[i] != NULL)
            e->index.constraints[rows[i]->first_constraint + rows[i]->constraint_count++] =
                &model->constraints.items[i];
}

static void index_symbols(tm_emit *e) {
    const tm_model *model = e->model;
    size_t count = tm_dims_symbol_count(model->dims);
    e->index.first_symbol = TM_NEW_ARRAY(e->arena, int32_t, model->value_count + 1);
    e->index.next_symbol = TM_NEW_ARRAY(e->arena, int32_t, count + 1);
    for (int32_t i = 0; i < model->value_count; i++)
        e->index.first_symbol[i] = -1;
    for (size_t i = count; i-- > 0;) { /* backwards, so that lists are in ascending order */
        const tm_symbol *symbol = tm_dims_symbol_at(model->dims, i);
        if (symbol->value == NULL || symbol->origin == TM_SYMBOL_INPUT)
            continue;
        e->index.next_symbol[i] = e->index.first_symbol[symbol->value->id];
        e->index.first_symbol[symbol->value->id] = (int32_t)i;
    }
}

void tm_emit_index_create(tm_emit *e) {
    node_list list = {0};
    collect(e, e->model->main, &list);
    e->index.nodes = list.rows.items;
    e->index.node_count = list.rows.count;
    if (list.rows.count > 0)
        qsort(e->index.nodes, e->index.node_count, sizeof(*e->index.nodes), compare_nodes);
    index_constraints(e);
    index_symbols(e);
}

const tm_constraint *const *tm_emit_node_constraints(const tm_emit *e, const tm_node *node,
                                                     size_t *out_count) {
    const tm_emit_index_node *row = find(e, node);
    *out_count = row != NULL ? row->constraint_count : 0;
    return row != NULL ? e->index.constraints + row->first_constraint : NULL;
}

int32_t tm_emit_node_number(tm_emit *e, const tm_node *node) {
    if (node == NULL)
        return -1;
    tm_emit_index_node *row = find(e, emitted(node));
    if (row != NULL && row->name >= 0)
        return row->name;
    tm_push(e->arena, &e->node_names, tm_node_text(e->arena, emitted(node)));
    int32_t number = (int32_t)e->node_names.count - 1;
    if (row != NULL)
        row->name = number;
    return number;
}
