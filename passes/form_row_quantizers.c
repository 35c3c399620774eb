/* SPDX-License-Identifier: Apache-2.0
 *
 * form_row_quantizers.c: a scale for each row, from its largest magnitude, and the row quantised by it.
 *
 *     %a = Abs(%x)
 *     %m: f32[n, 1] = ReduceMax(%a, [-1])               %y, %s = Region(%x) {kind = "row", body =
 *     %s = Max(Mul(%m, 1 / 127), tiny)          ->          Abs, ReduceMax, Mul, Max, Reciprocal, Mul }
 *     %y = Mul(%x, Reciprocal(%s))
 *
 * The row is near when it is read again, and absorb_packs lets the region store bytes. What is computed of
 * the largest number may have other readers: the scale, which the product behind needs.
 */
#include "passes/match.h"
#include "passes/passes.h"
#include "passes/region_build.h"

#define MOST_NODES 16
#define MOST_OUTPUTS 3
#define FAR 64 /* nodes looked at behind the maximum */

typedef struct group {
    tm_node *nodes[MOST_NODES]; /* in execution order */
    int count;
    tm_value *outputs[MOST_OUTPUTS]; /* the row first */
    int output_count;
} group;

/* The largest number of each row of the last axis. */
static bool is_maximum(const tm_node *node) {
    int64_t axes[TAMIS_MAX_RANK];
    int count = 0;
    if (node->op != TM_OP_ReduceMax || node->input_count < 2 || node->inputs[1] == NULL ||
        node->inputs[0]->type != TAMIS_TYPE_FLOAT || tm_node_int(node, "keepdims") == 0 ||
        tm_value_is_constant(node->inputs[0]) || !tm_match_ints(node->inputs[1], axes, &count) || count != 1)
        return false;
    int rank = node->inputs[0]->rank;
    return rank >= 1 && (axes[0] == -1 || axes[0] == rank - 1) &&
           !tm_dim_is(node->inputs[0]->dims[rank - 1], 1);
}

static bool is_inside(const group *g, const tm_value *value) {
    return value->producer != NULL && tm_region_is_among(g->nodes, g->count, value->producer);
}

/* Reads the group, and else numbers and the row. */
static bool may_join(const group *g, const tm_node *node, const tm_value *row) {
    bool reads = false;
    if (!tm_region_can_hold(node))
        return false;
    for (int i = 0; i < node->input_count; i++) {
        const tm_value *input = node->inputs[i];
        if (input == NULL || tm_region_is_scalar(input))
            continue;
        if (is_inside(g, input))
            reads = true;
        else if (input != row)
            return false;
    }
    return reads;
}

/* Follows what is computed of the maximum, to the first value that is a row again. False where there is none,
 * or where something between reads what the region, which stands there, will give. */
static bool grow(group *g, tm_node *maximum, const tm_value *row) {
    const tm_value *number = maximum->outputs[0];
    int steps = 0;
    for (tm_node *node = maximum->next; node != NULL && steps < FAR; node = node->next, steps++) {
        bool reads = false;
        for (int i = 0; i < node->input_count; i++)
            reads = reads || (node->inputs[i] != NULL && is_inside(g, node->inputs[i]));
        if (!reads && tm_node_subgraph_count(node) == 0)
            continue;
        if (!reads || g->count == MOST_NODES || !may_join(g, node, row))
            return false;
        g->nodes[g->count++] = node;
        if (tm_region_same_dims(node->outputs[0], row))
            return true;
        if (!tm_region_same_dims(node->outputs[0], number) || node->outputs[0]->type != TAMIS_TYPE_FLOAT)
            return false;
    }
    return false;
}

static bool find(tm_node *maximum, group *g) {
    *g = (group){.count = 0};
    if (!is_maximum(maximum))
        return false;
    tm_value *row = maximum->inputs[0];
    tm_node *size = row->producer;
    if (size != NULL && size->op == TM_OP_Abs && size->graph == maximum->graph &&
        tm_value_single_user(row) == maximum) {
        g->nodes[g->count++] = size;
        row = size->inputs[0];
    }
    g->nodes[g->count++] = maximum;
    if (!grow(g, maximum, row))
        return false;
    g->outputs[g->output_count++] = g->nodes[g->count - 1]->outputs[0];
    for (int i = 0; i + 1 < g->count; i++) {
        tm_value *value = g->nodes[i]->outputs[0];
        if (!tm_region_is_read_outside(g->nodes, g->count, value))
            continue;
        if (g->output_count == MOST_OUTPUTS || tm_region_same_dims(value, row))
            return false;
        g->outputs[g->output_count++] = value;
    }
    return true;
}

static tm_code form_in_graph(tm_pass_context *context, tm_graph *graph) {
    for (tm_node *node = graph->first; node != NULL; node = node->next) {
        for (int i = 0; i < tm_node_subgraph_count(node) && node->op != TM_OP_Region; i++)
            TM_TRY(form_in_graph(context, tm_node_subgraph(node, i)));
        group g;
        if (!find(node, &g))
            continue;
        if (!tm_pass_allow(context))
            return TM_OK;
        TM_TRY(tm_region_build_outputs(context->model, "row", g.nodes, g.count, g.outputs, g.output_count,
                                       g.nodes[g.count - 1], &node));
    }
    return TM_OK;
}

tm_code tm_pass_form_row_quantizers(tm_pass_context *context) {
    return form_in_graph(context, context->model->main);
}
