/* SPDX-License-Identifier: Apache-2.0
 *
 * form_row_regions.c: normalisations over the last dims take the elementwise nodes around them along.
 *
 *     %s = Add(%x, %r)                                       %y, %s = Region(%x, %r, %g, %b) {kind = "row",
 *     %n = LayerNormalization(%s, %g, %b)          ->            body = Add, LayerNormalization, Relu }
 *     %y = Relu(%n)                 %s has other readers
 *
 * Softmax, LogSoftmax, LayerNormalization and RMSNormalization of f32. What follows grows forwards as long as
 * one value is left that others read; what comes before grows backwards like a map region, but up to two of
 * its values may have other readers and become outputs: a residual sum is stored by the region that
 * normalises it. All values have the same dims; operands walk along the row or repeat in it.
 *
 * A node alone becomes a region too: a row of known length is then walked without leaving the registers.
 */
#include "passes/passes.h"
#include "passes/region_build.h"

#define MOST_NODES 32
#define MOST_INPUTS 24
#define MOST_OUTPUTS 3
#define MOST_READERS 32
#define FAR 256 /* nodes looked at in each direction */

typedef struct group {
    tm_node *norm;
    int axis;
    tm_node *nodes[MOST_NODES]; /* in execution order */
    int count, before;          /* nodes before the norm */
    int inputs;
    tm_value *outputs[MOST_OUTPUTS]; /* the last node's, then those of nodes before the norm */
    int output_count;
} group;

/* ---- which nodes ---- */

/* Along the dims of the row, the operand walks along all or repeats in all. */
static bool row_fits(const group *g, const tm_value *operand) {
    const tm_value *out = g->norm->outputs[0];
    bool all = true, none = true;
    if (!tm_region_broadcasts(operand, out))
        return false;
    for (int i = g->axis; i < out->rank; i++) {
        int own = i - (out->rank - operand->rank);
        if (tm_dim_is(out->dims[i], 1))
            continue;
        bool walks = own >= 0 && !tm_dim_is(operand->dims[own], 1);
        all = all && walks;
        none = none && !walks;
    }
    return all || none;
}

static bool operands_fit(const group *g, const tm_node *node) {
    for (int i = 0; i < node->input_count; i++) {
        const tm_value *input = node->inputs[i];
        if (input != NULL && !(tm_region_is_scalar(input) && input->rank <= g->norm->outputs[0]->rank) &&
            !row_fits(g, input))
            return false;
    }
    return true;
}

static bool may_join(const group *g, const tm_node *node) {
    return node->graph == g->norm->graph && g->count < MOST_NODES &&
           g->inputs + node->input_count <= MOST_INPUTS && !tm_region_is_among(g->nodes, g->count, node) &&
           tm_region_can_hold(node) && tm_region_same_dims(node->outputs[0], g->norm->outputs[0]) &&
           operands_fit(g, node);
}

static bool is_row_axis(const tm_node *node, int axis) {
    if (node->op != TM_OP_Softmax && node->op != TM_OP_LogSoftmax)
        return true;
    for (int i = axis + 1; i < node->inputs[0]->rank; i++)
        if (!tm_dim_is(node->inputs[0]->dims[i], 1))
            return false;
    return true;
}

static bool is_candidate(tm_node *node, group *g) {
    if (node->op != TM_OP_Softmax && node->op != TM_OP_LogSoftmax && node->op != TM_OP_LayerNormalization &&
        node->op != TM_OP_RMSNormalization)
        return false;
    for (int i = 0; i < node->input_count; i++)
        if (node->inputs[i] != NULL && node->inputs[i]->type != TAMIS_TYPE_FLOAT)
            return false;
    for (int i = 1; i < node->output_count; i++)
        if (node->outputs[i] != NULL && node->outputs[i]->uses.count > 0)
            return false;
    int rank = node->inputs[0]->rank;
    int64_t axis = tm_node_int(node, "axis");
    *g = (group){.norm = node,
                 .axis = (int)(axis < 0 ? axis + rank : axis),
                 .nodes = {node},
                 .count = 1,
                 .inputs = node->input_count};
    return rank >= 1 && !tm_value_is_constant(node->inputs[0]) && is_row_axis(node, g->axis) &&
           operands_fit(g, node);
}

/* ---- growing ---- */

static bool reads_group(const group *g, const tm_node *node) {
    for (int i = 0; i < node->input_count; i++)
        if (node->inputs[i] != NULL && node->inputs[i]->producer != NULL &&
            tm_region_is_among(g->nodes, g->count, node->inputs[i]->producer))
            return true;
    return false;
}

/* Do others read only the last node's value, and is it f32 (the row is kept in it)? */
static bool is_closed(const group *g) {
    for (int i = 0; i + 1 < g->count; i++)
        if (tm_region_is_read_outside(g->nodes, g->count, g->nodes[i]->outputs[0]))
            return false;
    return g->nodes[g->count - 1]->outputs[0]->type == TAMIS_TYPE_FLOAT;
}

static void grow_after(group *g) {
    int closed = 1, steps = 0, inputs = g->inputs;
    for (tm_node *node = g->norm->next; node != NULL && steps < FAR; node = node->next, steps++) {
        if (!reads_group(g, node) || !may_join(g, node))
            continue;
        g->nodes[g->count++] = node;
        g->inputs += node->input_count;
        if (is_closed(g)) {
            closed = g->count;
            inputs = g->inputs;
        }
    }
    g->count = closed;
    g->inputs = inputs;
}

static void put_in_front(group *g, tm_node *node) {
    for (int i = g->count; i > 0; i--)
        g->nodes[i] = g->nodes[i - 1];
    g->nodes[0] = node;
    g->count++;
    g->before++;
    g->inputs += node->input_count;
}

/* Walking backwards sees every use of a node before the node. */
static void grow_before(group *g, bool with_outputs) {
    g->outputs[0] = g->nodes[g->count - 1]->outputs[0];
    g->output_count = 1;
    int steps = 0;
    for (tm_node *node = g->norm->previous; node != NULL && steps < FAR; node = node->previous, steps++) {
        if (node->output_count != 1 || node->outputs[0] == NULL || !may_join(g, node))
            continue;
        bool used = false;
        for (size_t i = 0; i < node->outputs[0]->uses.count; i++)
            used |= node->outputs[0]->uses.items[i].node != NULL &&
                    tm_region_is_among(g->nodes, g->count, node->outputs[0]->uses.items[i].node);
        bool outside = tm_region_is_read_outside(g->nodes, g->count, node->outputs[0]);
        if (!used || (outside && (!with_outputs || g->output_count == MOST_OUTPUTS)))
            continue;
        put_in_front(g, node);
        if (outside)
            g->outputs[g->output_count++] = node->outputs[0];
    }
}

/* ---- place ---- */

typedef struct readers {
    const tm_node *nodes[MOST_READERS]; /* in the group's graph; of the outputs but the first */
    int count;
    bool too_many;
} readers;

static void find_readers(const group *g, readers *r) {
    for (int o = 1; o < g->output_count; o++)
        for (size_t i = 0; i < g->outputs[o]->uses.count; i++) {
            const tm_node *node = g->outputs[o]->uses.items[i].node;
            const tm_graph *graph = g->outputs[o]->uses.items[i].graph;
            if (node == NULL && graph == g->norm->graph)
                continue;
            if (node == NULL)
                node = graph->owner;
            while (node->graph != g->norm->graph)
                node = node->graph->owner;
            if (tm_region_is_among(g->nodes, g->count, node))
                continue;
            if (r->count == MOST_READERS)
                r->too_many = true;
            else
                r->nodes[r->count++] = node;
        }
}

static bool is_reader(const readers *r, const tm_node *node) {
    for (int i = 0; i < r->count; i++)
        if (r->nodes[i] == node)
            return true;
    return false;
}

static bool feeds(const tm_node *node, const group *g) {
    for (int i = 0; i < node->output_count; i++)
        for (size_t u = 0; node->outputs[i] != NULL && u < node->outputs[i]->uses.count; u++)
            if (node->outputs[i]->uses.items[u].node != NULL &&
                tm_region_is_among(g->nodes, g->count, node->outputs[i]->uses.items[u].node))
                return true;
    return false;
}

/* Before the last node, or before the first reader of another output; NULL if what the group reads comes
 * later. */
static tm_node *find_place(const group *g) {
    readers r = {.count = 0};
    find_readers(g, &r);
    if (r.too_many)
        return NULL;
    tm_node *place = NULL, *last = g->nodes[g->count - 1];
    for (tm_node *node = g->nodes[0]; node != last; node = node->next) {
        if (tm_region_is_among(g->nodes, g->count, node))
            continue;
        if (place == NULL && is_reader(&r, node))
            place = node;
        if (place != NULL && feeds(node, g))
            return NULL;
    }
    return place != NULL ? place : last;
}

static tm_code form(tm_pass_context *context, group *g, tm_node **out_region) {
    grow_after(g);
    group alone = *g;
    grow_before(g, true);
    tm_node *place = find_place(g);
    if (place == NULL) {
        *g = alone;
        grow_before(g, false);
        place = find_place(g);
    }
    return tm_region_build_outputs(context->model, "row", g->nodes, g->count, g->outputs, g->output_count,
                                   place, out_region);
}

static tm_code form_in_graph(tm_pass_context *context, tm_graph *graph) {
    for (tm_node *node = graph->first; node != NULL; node = node->next) {
        for (int i = 0; i < tm_node_subgraph_count(node) && node->op != TM_OP_Region; i++)
            TM_TRY(form_in_graph(context, tm_node_subgraph(node, i)));
        group g;
        if (!is_candidate(node, &g))
            continue;
        if (!tm_pass_allow(context))
            return TM_OK;
        TM_TRY(form(context, &g, &node));
    }
    return TM_OK;
}

tm_code tm_pass_form_row_regions(tm_pass_context *context) {
    return form_in_graph(context, context->model->main);
}
