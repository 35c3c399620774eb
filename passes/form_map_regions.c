/* SPDX-License-Identifier: Apache-2.0
 *
 * form_map_regions.c: chains of elementwise nodes over the same dims become one map region.
 *
 *     Mul, Add, Sigmoid, Mul over f32[n, 64]  ->  one Region: one pass over memory instead of four
 *
 * A group grows upwards from its last node: a producer joins when it is elementwise, has the same dims, and
 * is read by the group only. Its other operands must walk along the dims or repeat, known at compile time.
 * Single nodes stay with their kernels, where a region of one gains nothing and costs code: not quantisers,
 * whose kernels serve all types and layouts of scales, nor those that read short rows again and again.
 */
#include "passes/passes.h"
#include "passes/region_build.h"

#define MOST_NODES 48
#define MOST_INPUTS 24
#define MOST_OPERANDS 16 /* of one node that a region can hold */
#define SHORT_ROW 64

typedef struct group {
    const tm_node *sink;
    tm_node *nodes[MOST_NODES];
    int count;
    int inputs;
} group;

/* Positions of nodes in their graphs, by the id of their first output. Nodes made later have none. */
typedef struct positions {
    int64_t *of;
    int32_t count;
} positions;

static void number_nodes(positions *at, const tm_graph *graph) {
    int64_t position = 0;
    for (const tm_node *node = graph->first; node != NULL; node = node->next) {
        if (node->output_count > 0 && node->outputs[0] != NULL)
            at->of[node->outputs[0]->id] = position++;
        for (int i = 0; node->op != TM_OP_Region && i < tm_node_subgraph_count(node); i++)
            number_nodes(at, tm_node_subgraph(node, i));
    }
}

static int64_t position_of(const positions *at, const tm_node *node) {
    int32_t id = node->outputs[0]->id;
    return id < at->count ? at->of[id] : -1;
}

static bool operands_fit(const tm_node *node, const tm_value *out) {
    for (int i = 0; i < node->input_count; i++) {
        const tm_value *input = node->inputs[i];
        if (input != NULL && !(tm_region_is_scalar(input) && input->rank <= out->rank) &&
            !tm_region_broadcasts(input, out))
            return false;
    }
    return true;
}

static bool read_by_group_only(const group *g, const tm_value *value) {
    for (size_t i = 0; i < value->uses.count; i++)
        if (value->uses.items[i].node == NULL ||
            !tm_region_is_among(g->nodes, g->count, value->uses.items[i].node))
            return false;
    return true;
}

/* The producer of the input if it stands in the group's graph and may ever join: what it is and its dims do
 * not change while the group grows. */
static tm_node *candidate(const group *g, const tm_value *input) {
    tm_node *node = input != NULL ? input->producer : NULL;
    bool fits = node != NULL && node->graph == g->sink->graph && tm_region_can_hold(node) &&
                tm_region_same_dims(node->outputs[0], g->sink->outputs[0]);
    return fits && operands_fit(node, g->sink->outputs[0]) ? node : NULL;
}

/* Joins producers until none fits, the latest in the order of execution first, so that all readers of a node
 * are decided before the node. */
static void grow(group *g, const positions *at) {
    tm_node *waiting[MOST_NODES * MOST_OPERANDS];
    int count = 0;
    const tm_node *joined = g->sink;
    while (joined != NULL && g->count < MOST_NODES && g->inputs < MOST_INPUTS) {
        for (int i = 0; i < joined->input_count; i++) {
            tm_node *node = candidate(g, joined->inputs[i]);
            if (node != NULL && !tm_region_is_among(waiting, count, node))
                waiting[count++] = node;
        }
        joined = NULL;
        while (joined == NULL && count > 0) {
            int latest = 0;
            for (int i = 1; i < count; i++)
                if (position_of(at, waiting[i]) > position_of(at, waiting[latest]))
                    latest = i;
            tm_node *node = waiting[latest];
            waiting[latest] = waiting[--count];
            if (!read_by_group_only(g, node->outputs[0]))
                continue;
            g->nodes[g->count++] = node;
            g->inputs += node->input_count - 1;
            joined = node;
        }
    }
}

/* Is a region of this node alone faster than its kernel? */
static bool gains_alone(const tm_node *node) {
    const tm_value *out = node->outputs[0];
    if (node->op == TM_OP_QuantizeLinear || node->op == TM_OP_DequantizeLinear)
        return true;
    if (out->rank < 2 || !tm_dim_is_constant(out->dims[out->rank - 1]) ||
        out->dims[out->rank - 1]->constant > SHORT_ROW)
        return false;
    bool repeats = false;
    for (int i = 0; i < node->input_count; i++) {
        const tm_value *x = node->inputs[i];
        repeats = repeats || (x != NULL && !tm_region_is_scalar(x) && !tm_region_same_dims(x, out));
    }
    return repeats;
}

static void sort(group *g) { /* collected backwards: execution order is the reverse */
    for (int i = 0; i < g->count / 2; i++) {
        tm_node *other = g->nodes[i];
        g->nodes[i] = g->nodes[g->count - 1 - i];
        g->nodes[g->count - 1 - i] = other;
    }
}

static tm_code form_in_graph(tm_pass_context *context, tm_graph *graph, const positions *at) {
    for (tm_node *node = graph->last; node != NULL;) {
        for (int i = 0; i < tm_node_subgraph_count(node) && node->op != TM_OP_Region; i++)
            TM_TRY(form_in_graph(context, tm_node_subgraph(node, i), at));
        tm_node *previous = node->previous;
        group g = {.sink = node, .nodes = {node}, .count = 1, .inputs = node->input_count};
        if (tm_region_can_hold(node) && operands_fit(node, node->outputs[0])) {
            grow(&g, at);
            sort(&g);
            if (g.count >= 2 || gains_alone(node)) {
                if (!tm_pass_allow(context))
                    return TM_OK;
                tm_node *region;
                TM_TRY(tm_region_build(context->model, "map", g.nodes, g.count, &region));
                previous = region->previous;
            }
        }
        node = previous;
    }
    return TM_OK;
}

tm_code tm_pass_form_map_regions(tm_pass_context *context) {
    tm_model *model = context->model;
    positions at = {TM_NEW_ARRAY(model->arena, int64_t, model->value_count + 1), model->value_count};
    number_nodes(&at, model->main);
    return form_in_graph(context, model->main, &at);
}
