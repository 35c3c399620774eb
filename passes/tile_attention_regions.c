/* SPDX-License-Identifier: Apache-2.0
 *
 * tile_attention_regions.c: with --precision=bf16, attention may round what its two products read.
 *
 *     Region {kind = "attention"}   ->   Region {kind = "attention_tiles"}
 *
 * where heads are whole steps of tiles: 32, 64, 96 or 128 columns. Levels without matrix units run both kinds
 * alike, in float32; the other kind is a permission to round, not a demand.
 */
#include "passes/passes.h"

#include "ir/tiles.h"

#include <string.h>

#define LARGEST_HEAD 128

static bool whole_steps(const tm_node *attention, const tm_value *value, const char *heads) {
    int64_t size = value->dims[value->rank - 1]->constant;
    if (value->rank == 3)
        size /= tm_node_int(attention, heads);
    return size % tm_tile_depth(TAMIS_TYPE_BFLOAT16) == 0 && size <= LARGEST_HEAD;
}

static bool is_candidate(const tm_node *region) {
    if (region->op != TM_OP_Region || strcmp(tm_node_string(region, "kind"), "attention") != 0)
        return false;
    const tm_graph *body = tm_node_graph(region, "body");
    const tm_node *attention = body->first;
    return attention != NULL && attention == body->last && attention->op == TM_OP_Attention &&
           region->outputs[0]->type == TAMIS_TYPE_FLOAT &&
           whole_steps(attention, attention->inputs[0], "q_num_heads") &&
           whole_steps(attention, attention->inputs[2], "kv_num_heads");
}

static void mark(tm_pass_context *context, tm_graph *graph) {
    for (tm_node *node = graph->first; node != NULL; node = node->next) {
        for (int i = 0; i < tm_node_subgraph_count(node) && node->op != TM_OP_Region; i++)
            mark(context, tm_node_subgraph(node, i));
        if (is_candidate(node) && tm_pass_allow(context))
            tm_node_set_string(node, "kind", "attention_tiles");
    }
}

tm_code tm_pass_tile_attention_regions(tm_pass_context *context) {
    if (context->options->factors == TAMIS_TYPE_BFLOAT16)
        mark(context, context->model->main);
    return TM_OK;
}
