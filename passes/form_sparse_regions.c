/* SPDX-License-Identifier: Apache-2.0
 *
 * form_sparse_regions.c: products by constant bytes that are mostly zero read only the others.
 *
 *     %y = Region(%t: u8, %W: s8, ..) {kind = "tiles": MatMulInteger(%t, %W), ..}
 *  ->
 *     %u: u8 = Region(%t) {kind = "turn": Identity}
 *     %y = Region(%u, %W, ..) {kind = "sparse": MatMulInteger(%u, %W), ..}
 *
 * Zeros are found by looking at the weights: how they came there, and whether the file says so, does not
 * matter. They count in groups of 4 terms of a column, which is what ir/sparse.h leaves out. Sums of integers
 * are exact, so the answer stays the same. The tiles are turned once for all products that read them; what a
 * sparse product makes for others is stored turned at once where that is possible (ir/sparse.h).
 *
 * Which products gain was measured, on vectors of 8 and of 16 lanes: a sparse one takes the time of a dense
 * one at a bit more than half of the groups, so the bound leaves a margin for other machines. A vector holds
 * as many rows as it has lanes: from 8 rows on a sparse one gains at 8 and at 16 lanes, so products of fewer
 * known rows stay dense.
 */
#include "passes/passes.h"
#include "passes/region_build.h"

#include "ir/infer.h"
#include "ir/sparse.h"
#include "passes/match.h"

#include <string.h>

#define MOST_FILLED 0.5 /* of the groups */
#define LEAST_ROWS 8

static bool is_region(const tm_node *node, const char *kind) {
    return node != NULL && node->op == TM_OP_Region && strcmp(tm_node_string(node, "kind"), kind) == 0;
}

static bool is_candidate(const tm_node *node) {
    if (!is_region(node, "tiles"))
        return false;
    const tm_node *product = tm_body_product(tm_node_graph(node, "body"));
    return product != NULL && product->op == TM_OP_MatMulInteger;
}

static int input_of(const tm_node *region, const tm_value *factor) {
    const tm_graph *body = tm_node_graph(region, "body");
    for (int i = 0; i < region->input_count; i++)
        if (body->inputs.items[i] == factor)
            return i;
    return -1;
}

static bool has_few_rows(const tm_value *left) {
    int64_t rows = 1;
    for (int i = 0; i + 1 < left->rank; i++) {
        if (!tm_dim_is_constant(left->dims[i]) || rows >= LEAST_ROWS)
            return false;
        rows *= left->dims[i]->constant;
    }
    return rows < LEAST_ROWS;
}

/* Are the weights of all products of the region together mostly zero? */
static bool is_sparse(const tm_node *region) {
    int64_t groups = 0, filled = 0;
    for (const tm_node *node = tm_node_graph(region, "body")->first; node != NULL; node = node->next) {
        if (node->op != TM_OP_MatMulInteger)
            continue;
        int left = input_of(region, node->inputs[0]), right = input_of(region, node->inputs[1]);
        if (left < 0 || right < 0 || !tm_value_is_constant(region->inputs[right]) ||
            region->inputs[right]->constant->slot != NULL || has_few_rows(region->inputs[left]))
            return false;
        groups += tm_sparse_groups(region->inputs[right]->constant);
        filled += tm_sparse_filled_groups(region->inputs[right]->constant);
    }
    return groups > 0 && (double)filled <= MOST_FILLED * (double)groups;
}

/* The turned form of tiles: one that stands before the region, or a new one. */
static tm_code turn(tm_model *model, tm_node *region, tm_value *tiles, tm_value **out) {
    for (size_t i = 0; i < tiles->uses.count; i++) {
        const tm_node *user = tiles->uses.items[i].node;
        if (is_region(user, "turn") && user->graph == region->graph) {
            *out = user->outputs[0];
            return TM_OK;
        }
    }
    tm_node *node = tm_node_create(region->graph, region, TM_OP_Identity, NULL, 1, &tiles), *turned;
    tm_value_set_tensor(tm_node_add_output(node, NULL), tiles->type, tiles->rank, tiles->dims);
    TM_TRY(tm_region_build(model, "turn", &node, 1, &turned));
    *out = turned->outputs[0];
    return TM_OK;
}

static tm_value *pack(tm_node *region, const tm_value *weights) {
    tm_constant packed = *weights->constant;
    packed.stored = TAMIS_TYPE_INT8;
    packed.panel = TM_TILE_PANEL;
    packed.sparse = tm_sparse_pack(region->graph->model->arena, weights->constant);
    return tm_region_packed(region->graph, weights->name, &packed);
}

static tm_code form(tm_pass_context *context, tm_node *region) {
    for (const tm_node *node = tm_node_graph(region, "body")->first; node != NULL; node = node->next) {
        if (node->op != TM_OP_MatMulInteger)
            continue;
        int left = input_of(region, node->inputs[0]), right = input_of(region, node->inputs[1]);
        tm_value *turned = region->inputs[left];
        if (!tm_value_is_turned(turned)) {
            TM_TRY(turn(context->model, region, turned, &turned));
            tm_node_set_input(region, left, turned);
        }
        if (region->inputs[right]->constant->sparse == NULL)
            tm_node_set_input(region, right, pack(region, region->inputs[right]));
    }
    tm_node_set_string(region, "kind", "sparse");
    return TM_OK;
}

static tm_code form_in_graph(tm_pass_context *context, tm_graph *graph) {
    for (tm_node *node = graph->first; node != NULL; node = node->next) {
        for (int i = 0; i < tm_node_subgraph_count(node) && node->op != TM_OP_Region; i++)
            TM_TRY(form_in_graph(context, tm_node_subgraph(node, i)));
        if (!is_candidate(node) || !is_sparse(node))
            continue;
        if (!tm_pass_allow(context))
            return TM_OK;
        TM_TRY(form(context, node));
    }
    return TM_OK;
}

/* What only a turn reads of a sparse product that can store it turned, is not turned. */
static void drop_turns(tm_graph *graph) {
    for (tm_node *node = graph->first, *next; node != NULL; node = next) {
        next = node->next;
        for (int i = 0; i < tm_node_subgraph_count(node) && node->op != TM_OP_Region; i++)
            drop_turns(tm_node_subgraph(node, i));
        if (!is_region(node, "turn"))
            continue;
        tm_value *tiles = node->inputs[0];
        if (tiles->uses.count != 1 || !is_region(tiles->producer, "sparse") ||
            tiles->producer->output_count > 1 || !tm_sparse_keeps_turned(tiles->producer))
            continue;
        tm_value_replace(node->outputs[0], tiles);
        tm_node_remove(node);
    }
}

tm_code tm_pass_form_sparse_regions(tm_pass_context *context) {
    TM_TRY(form_in_graph(context, context->model->main));
    drop_turns(context->model->main);
    return TM_OK;
}
