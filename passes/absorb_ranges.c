/* SPDX-License-Identifier: Apache-2.0
 *
 * absorb_ranges.c: a region finds the range of what it makes, for the quantiser that wants it.
 *
 *     %y = Region(..) {kind = "tiles": .., Gelu}
 *     %s, %z, %i = tamis.DynamicScale(%y)
 *  ->
 *     %y, %l, %h = Region(..) {kind = "tiles": .., Gelu, ReduceMin, ReduceMax}
 *     %s, %z, %i = tamis.DynamicScale(%l, %h)
 *
 * A pass over memory less, which would be one of the longest around such a product. Products of bytes and
 * norms do that (codegen/llvm/region_range.c).
 */
#include "passes/passes.h"

#include "ir/infer.h"

#include <string.h>

#define MOST_OUTPUTS 6

static bool finds_ranges(const tm_node *region) {
    if (region == NULL || region->op != TM_OP_Region || region->output_count + 2 > MOST_OUTPUTS)
        return false;
    const char *kind = tm_node_string(region, "kind");
    if (strcmp(kind, "tiles") == 0)
        return true;
    bool norm = false;
    for (const tm_node *node = tm_node_graph(region, "body")->first; node != NULL; node = node->next)
        norm = norm || node->op == TM_OP_LayerNormalization || node->op == TM_OP_RMSNormalization;
    return strcmp(kind, "row") == 0 && norm;
}

/* Appends the extreme of an output's elements to the region, or finds it there. */
static tm_code add_extreme(tm_node *region, int output, tm_op op, tm_value **out) {
    tm_graph *body = tm_node_graph(region, "body");
    tm_value *value = body->outputs.items[output];
    for (size_t i = 0; i < body->outputs.count; i++) {
        const tm_node *maker = body->outputs.items[i]->producer;
        *out = region->outputs[i];
        if (maker != NULL && maker->op == op && maker->inputs[0] == value)
            return TM_OK;
    }
    tm_node *node = tm_node_create(body, NULL, op, NULL, 1, &value);
    tm_node_set_int(node, "keepdims", 0);
    tm_value *extreme = tm_node_add_output(node, NULL);
    TM_TRY(tm_infer_node(body->model, node));
    tm_graph_add_output(body, extreme);
    *out = tm_node_add_output(region, NULL);
    return tm_infer_node(body->model, region);
}

static tm_code absorb_in_graph(tm_pass_context *context, tm_graph *graph) {
    for (tm_node *node = graph->first; node != NULL; node = node->next) {
        for (int i = 0; i < tm_node_subgraph_count(node) && node->op != TM_OP_Region; i++)
            TM_TRY(absorb_in_graph(context, tm_node_subgraph(node, i)));
        if (node->op != TM_OP_DynamicScale || node->input_count != 1)
            continue;
        tm_node *maker = node->inputs[0]->producer;
        if (!finds_ranges(maker) || maker->graph != graph || !tm_pass_allow(context))
            continue;
        tm_value *least, *most;
        int output = node->inputs[0]->output_index;
        TM_TRY(add_extreme(maker, output, TM_OP_ReduceMin, &least));
        TM_TRY(add_extreme(maker, output, TM_OP_ReduceMax, &most));
        tm_node_set_input(node, 0, least);
        tm_node_set_input(node, 1, most);
    }
    return TM_OK;
}

tm_code tm_pass_absorb_ranges(tm_pass_context *context) {
    return absorb_in_graph(context, context->model->main);
}
