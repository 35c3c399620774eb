/* SPDX-License-Identifier: Apache-2.0
 *
 * form_tile_regions.c: products by constant weights whose factors are bfloat16, with what follows them.
 *
 *     %y: f32 = MatMul(%x: f32, %W: f32)          %t: bf16 = Region(%x) {kind = "pack": Cast to bf16}
 *     Add bias, Gelu                        ->    %y: f32 = Region(%t, %W, %bias) {kind = "tiles":
 *                                                     Cast(%t), Cast(Cast(%W)), MatMul, Add, Gelu}
 *
 * for models of float32 compiled with --precision=bf16, and always for products that are bfloat16 in the
 * model; their result is rounded to bfloat16 in the region. The weights become a constant of their own, which
 * is rounded and packed when it is written; %x is packed once for all its products. Depth and width below a
 * tile's stay with the plain products: most of a tile would be padding.
 */
#include "passes/passes.h"
#include "passes/region_build.h"

#include "ir/infer.h"
#include "ir/tiles.h"
#include "passes/match.h"

#include <string.h>

#define MOST_NODES 24
#define LEAST_DEPTH 32
#define LEAST_COLUMNS 16

static bool is_weights(const tm_value *value) {
    return tm_value_is_constant(value) && value->rank == 2 && value->constant->panel == 0 &&
           value->constant->slot == NULL && value->constant->dims[0] >= LEAST_DEPTH &&
           value->constant->dims[1] >= LEAST_COLUMNS;
}

static bool is_candidate(const tm_pass_context *context, const tm_node *node) {
    if (node->op != TM_OP_MatMul)
        return false;
    const tm_value *x = node->inputs[0];
    bool narrow = x->type == TAMIS_TYPE_BFLOAT16 ||
                  (x->type == TAMIS_TYPE_FLOAT && context->options->factors == TAMIS_TYPE_BFLOAT16);
    return narrow && x->rank >= 2 && !tm_value_is_constant(x) && is_weights(node->inputs[1]);
}

/* The tiles of x: those of an earlier product in the same graph, or new ones. */
static tm_code tiles_of(tm_model *model, tm_node *product, tm_value **out_tiles) {
    tm_value *x = product->inputs[0];
    for (size_t i = 0; i < x->uses.count; i++) {
        const tm_node *user = x->uses.items[i].node;
        if (user != NULL && user->graph == product->graph && user->op == TM_OP_Region &&
            strcmp(tm_node_string(user, "kind"), "pack") == 0) {
            *out_tiles = user->outputs[0];
            return TM_OK;
        }
    }
    tm_node *node = tm_match_make_cast(product, x, TAMIS_TYPE_BFLOAT16)->producer, *region;
    TM_TRY(tm_region_build(model, "pack", &node, 1, &region));
    *out_tiles = region->outputs[0];
    return TM_OK;
}

static tm_code form(tm_pass_context *context, tm_node *product, tm_node **out_region) {
    tm_model *model = context->model;
    tamis_type type = product->inputs[0]->type;
    tm_value *tiles,
        *weights = tm_region_tile_weights(product->graph, product->inputs[1], TAMIS_TYPE_BFLOAT16);
    TM_TRY(tiles_of(model, product, &tiles));
    tm_node *nodes[MOST_NODES] = {tm_match_make_cast(product, tiles, TAMIS_TYPE_FLOAT)->producer};
    int count = 1;
    if (type == TAMIS_TYPE_FLOAT) {
        nodes[count] = tm_match_make_cast(product, weights, TAMIS_TYPE_BFLOAT16)->producer;
        weights = nodes[count++]->outputs[0];
    }
    nodes[count] = tm_match_make_cast(product, weights, TAMIS_TYPE_FLOAT)->producer;
    tm_node_set_input(product, 0, nodes[0]->outputs[0]);
    tm_node_set_input(product, 1, nodes[count]->outputs[0]);
    nodes[++count] = product;
    count++;
    if (type == TAMIS_TYPE_BFLOAT16) {
        tm_value *result = product->outputs[0];
        tm_node_set_output(product, 0, tm_value_create(product->graph, NULL));
        tm_value_set_tensor(product->outputs[0], TAMIS_TYPE_FLOAT, result->rank, result->dims);
        tm_value *sums = product->outputs[0];
        nodes[count] = tm_node_create(product->graph, product->next, TM_OP_Cast, NULL, 1, &sums);
        tm_node_set_int(nodes[count], "to", TAMIS_TYPE_BFLOAT16);
        tm_node_set_output(nodes[count++], 0, result);
    }
    count = tm_region_epilogue(nodes, count, MOST_NODES);
    return tm_region_build(model, "tiles", nodes, count, out_region);
}

static tm_code form_in_graph(tm_pass_context *context, tm_graph *graph) {
    for (tm_node *node = graph->first; node != NULL; node = node->next) {
        for (int i = 0; i < tm_node_subgraph_count(node) && node->op != TM_OP_Region; i++)
            TM_TRY(form_in_graph(context, tm_node_subgraph(node, i)));
        if (!is_candidate(context, node))
            continue;
        if (!tm_pass_allow(context))
            return TM_OK;
        TM_TRY(form(context, node, &node));
    }
    return TM_OK;
}

tm_code tm_pass_form_tile_regions(tm_pass_context *context) {
    return form_in_graph(context, context->model->main);
}
