/* SPDX-License-Identifier: Apache-2.0
 *
 * dead_code.c: drops the nodes that no output needs, and outputs that nobody reads.
 *
 * Needed is what can be reached backwards from the outputs of the model. Dims count as readers: if a needed
 * value has a dim that is a symbol, whatever binds that symbol is needed too, also when no node reads it
 * any more:
 *
 *     dim n : load %k[0]
 *     %k: i64[1] = ...                 needed: the size of %y is read from it
 *     %y: f32[n] = Reshape(%x)
 *
 * Nodes are then removed from the end, bodies of control flow included, so that the readers of a value
 * are gone before its producer. An optional output without readers becomes omitted, which lets
 * kernels skip its computation; outputs of control flow and of ops that count them stay.
 *
 * Why marking and not counting uses: equal in result, but marking also sees through the dims.
 */
#include "ir/dim_internal.h"
#include "passes/passes.h"

typedef struct marker {
    tm_model *model;
    bool *needed;  /* by value id */
    bool *symbols; /* by symbol number: mentioned by a needed value */
    size_t symbol_count;
    TM_VECTOR(tm_value *) queue;
} marker;

static void need(marker *m, tm_value *value) {
    if (value == NULL || m->needed[value->id])
        return;
    m->needed[value->id] = true;
    tm_push(m->model->arena, &m->queue, value);
}

static void need_dim(marker *m, tm_dim dim) {
    if (dim == NULL || !dim->late)
        return;
    if (dim->kind == TM_DIM_SYMBOL) {
        need(m, dim->symbol->value);
        return;
    }
    bool *mentioned = TM_NEW_ARRAY(m->model->arena, bool, m->symbol_count + 1);
    tm_dim_mark_symbols(dim, mentioned);
    for (size_t i = 0; i < m->symbol_count; i++)
        if (mentioned[i] && !m->symbols[i]) {
            m->symbols[i] = true;
            need(m, tm_dims_symbol_at(m->model->dims, i)->value);
        }
}

static void need_graph(marker *m, const tm_graph *graph) {
    for (size_t i = 0; i < graph->inputs.count; i++)
        need(m, graph->inputs.items[i]);
    for (size_t i = 0; i < graph->outputs.count; i++)
        need(m, graph->outputs.items[i]);
}

static bool is_live(const marker *m, const tm_node *node) {
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL && m->needed[node->outputs[i]->id])
            return true;
    return false;
}

static void need_node(marker *m, const tm_node *node) {
    for (int i = 0; i < node->input_count; i++)
        need(m, node->inputs[i]);
    for (int i = 0; i < node->output_count; i++)
        for (int k = 0; node->outputs[i] != NULL && k < node->outputs[i]->rank; k++)
            need_dim(m, node->outputs[i]->dims[k]);
    for (int i = 0; i < tm_node_subgraph_count(node); i++)
        need_graph(m, tm_node_subgraph(node, i));
}

static void drain(marker *m) {
    while (m->queue.count > 0) {
        tm_value *value = m->queue.items[--m->queue.count];
        for (int i = 0; i < value->rank; i++)
            need_dim(m, value->dims[i]);
        if (value->producer != NULL)
            need_node(m, value->producer);
    }
}

/* The checks that inference left for run time read dims too. */
static void mark(marker *m) {
    const tm_model *model = m->model;
    bool *done = TM_NEW_ARRAY(model->arena, bool, model->constraints.count + 1), changed = true;
    need_graph(m, model->main);
    while (changed) {
        drain(m);
        changed = false;
        for (size_t i = 0; i < model->constraints.count; i++) {
            const tm_constraint *constraint = &model->constraints.items[i];
            if (done[i] || constraint->node == NULL || !is_live(m, constraint->node))
                continue;
            done[i] = changed = true;
            need_dim(m, constraint->a);
            need_dim(m, constraint->b);
        }
    }
}

/* ---- sweeping ---- */

static bool may_omit(const tm_node *node, int index) {
    const tm_op_info *info = tm_op_get(node->op);
    return index >= info->outputs_min && info->outputs_max != TM_MANY && (info->traits & TM_CONTROL) == 0;
}

static void omit_outputs(tm_pass_context *context, const marker *m, tm_node *node) {
    for (int i = 0; i < node->output_count; i++) {
        tm_value *value = node->outputs[i];
        if (value == NULL || !tm_value_unused(value) || m->needed[value->id] || !may_omit(node, i) ||
            !tm_pass_allow(context))
            continue;
        tm_node_set_output(node, i, NULL);
        value->graph = NULL;
    }
    while (node->output_count > tm_op_get(node->op)->outputs_min && node->output_count > 0 &&
           node->outputs[node->output_count - 1] == NULL)
        node->output_count--;
}

static void sweep(tm_pass_context *context, const marker *m, tm_graph *graph) {
    tm_node *previous = NULL;
    for (tm_node *node = graph->last; node != NULL; node = previous) {
        previous = node->previous;
        if (is_live(m, node)) {
            for (int i = 0; i < tm_node_subgraph_count(node); i++)
                sweep(context, m, tm_node_subgraph(node, i));
            omit_outputs(context, m, node);
            continue;
        }
        bool unused = true; /* a reader may have stayed because the limit of rewrites was reached */
        for (int i = 0; i < node->output_count; i++)
            unused = unused && (node->outputs[i] == NULL || tm_value_unused(node->outputs[i]));
        if (unused && tm_pass_allow(context))
            tm_node_remove(node);
    }
}

tm_code tm_pass_dead_code(tm_pass_context *context) {
    tm_model *model = context->model;
    marker m = {.model = model, .symbol_count = tm_dims_symbol_count(model->dims)};
    m.needed = TM_NEW_ARRAY(model->arena, bool, (size_t)model->value_count + 1);
    m.symbols = TM_NEW_ARRAY(model->arena, bool, m.symbol_count + 1);
    mark(&m);
    sweep(context, &m, model->main);
    return TM_OK;
}
