/* SPDX-License-Identifier: Apache-2.0
 *
 * form_map_regions.c: chains of elementwise nodes over the same dims become one map region.
 *
 *     Mul, Add, Sigmoid, Mul over f32[n, 64]  ->  one Region: one pass over memory instead of four
 *
 * A group grows upwards from its last node: a producer joins when it is elementwise, has the same dims, and
 * is read by the group only. Its other operands must walk along the dims or repeat, known at compile time.
 * Single nodes stay with their kernels: a region of one gains nothing and costs code.
 */
#include "passes/passes.h"
#include "passes/region_build.h"

#define MOST_NODES 48
#define MOST_INPUTS 24

typedef struct group {
    const tm_node *sink;
    tm_node *nodes[MOST_NODES];
    int count;
    int inputs;
} group;

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

static bool may_join(const group *g, const tm_node *node) {
    return node != NULL && node->graph == g->sink->graph && !tm_region_is_among(g->nodes, g->count, node) &&
           tm_region_can_hold(node) && tm_region_same_dims(node->outputs[0], g->sink->outputs[0]) &&
           operands_fit(node, g->sink->outputs[0]) && read_by_group_only(g, node->outputs[0]);
}

/* Joins producers until none fits; walking backwards in order sees every use of a node before it. */
static void grow(group *g) {
    for (tm_node *node = g->sink->previous; node != NULL && g->count < MOST_NODES && g->inputs < MOST_INPUTS;
         node = node->previous)
        if (node->output_count == 1 && node->outputs[0] != NULL && node->outputs[0]->uses.count > 0 &&
            may_join(g, node)) {
            g->nodes[g->count++] = node;
            g->inputs += node->input_count - 1;
        }
}

static void sort(group *g) { /* collected backwards: execution order is the reverse */
    for (int i = 0; i < g->count / 2; i++) {
        tm_node *other = g->nodes[i];
        g->nodes[i] = g->nodes[g->count - 1 - i];
        g->nodes[g->count - 1 - i] = other;
    }
}

static tm_code form_in_graph(tm_pass_context *context, tm_graph *graph) {
    for (tm_node *node = graph->last; node != NULL;) {
        for (int i = 0; i < tm_node_subgraph_count(node) && node->op != TM_OP_Region; i++)
            TM_TRY(form_in_graph(context, tm_node_subgraph(node, i)));
        tm_node *previous = node->previous;
        group g = {.sink = node, .nodes = {node}, .count = 1, .inputs = node->input_count};
        if (tm_region_can_hold(node) && operands_fit(node, node->outputs[0])) {
            grow(&g);
            sort(&g);
            if (g.count >= 2) {
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
    return form_in_graph(context, context->model->main);
}
