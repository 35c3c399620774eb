/* SPDX-License-Identifier: Apache-2.0
 *
 * tiles.c: which values are kept as tiles, and how large they are; see tiles.h.
 *
 * Being tiled is no mark on a value, so that no rewrite can lose it: a pass that adds another reader makes
 * the value a plain tensor again for all that ask, and code that makes it and code that reads it ask the same
 * question.
 */
#include "ir/tiles.h"

#include "ir/sparse.h"

#include <string.h>

bool tm_op_is_product(tm_op op) {
    return op == TM_OP_MatMul || op == TM_OP_MatMulInteger;
}

bool tm_op_is_norm(tm_op op) {
    return op == TM_OP_Softmax || op == TM_OP_LogSoftmax || op == TM_OP_LayerNormalization ||
           op == TM_OP_RMSNormalization || op == TM_OP_ReduceMax;
}

const tm_node *tm_body_product(const tm_graph *body) {
    for (const tm_node *node = body->first; node != NULL; node = node->next)
        if (tm_op_is_product(node->op))
            return node;
    return NULL;
}

const tm_value *tm_outer_factor(const tm_value *factor) {
    while (factor->producer != NULL && factor->producer->op == TM_OP_Cast)
        factor = factor->producer->inputs[0];
    return factor;
}

static bool is_region(const tm_node *node, const char *kind) {
    return node != NULL && node->op == TM_OP_Region && strcmp(tm_node_string(node, "kind"), kind) == 0;
}

/* Does the use read the value as the left operand of a region's product, converted to float32 if that needs
 * it, or turn it for one? */
static bool reads_tiles(const tm_use *use) {
    const tm_node *region = use->node;
    if (is_region(region, "turn"))
        return true;
    if (!is_region(region, "tiles") && !is_region(region, "sparse"))
        return false;
    const tm_graph *body = tm_node_graph(region, "body");
    const tm_node *product = tm_body_product(body);
    return product != NULL && tm_outer_factor(product->inputs[0]) == body->inputs.items[use->index];
}

bool tm_value_is_turned(const tm_value *value) {
    if (is_region(value->producer, "turn"))
        return true;
    if (!is_region(value->producer, "sparse") || value->producer->output_count > 1 ||
        !tm_sparse_keeps_turned(value->producer))
        return false;
    for (size_t i = 0; i < value->uses.count; i++)
        if (!is_region(value->uses.items[i].node, "sparse") || !reads_tiles(&value->uses.items[i]))
            return false;
    return value->uses.count > 0;
}

bool tm_value_is_tiled(const tm_value *value) {
    bool narrow = value->type == TAMIS_TYPE_BFLOAT16 || value->type == TAMIS_TYPE_UINT8;
    if (!narrow || value->rank < 1 || value->constant != NULL)
        return false;
    for (size_t i = 0; i < value->uses.count; i++)
        if (!reads_tiles(&value->uses.items[i]))
            return false;
    return value->uses.count > 0;
}

static tm_dim fill_up(tm_dims *dims, tm_dim dim, int64_t multiple) {
    tm_dim unit = tm_dim_constant(dims, multiple);
    return tm_dim_mul(dims, tm_dim_ceildiv(dims, dim, unit), unit);
}

tm_dim tm_value_stored_count(const tm_value *value) {
    tm_dims *dims = value->graph->model->dims;
    if (!tm_value_is_tiled(value))
        return tm_dim_product(dims, value->dims, value->rank);
    tm_dim rows = tm_dim_product(dims, value->dims, value->rank - 1);
    return tm_dim_mul(dims, fill_up(dims, rows, tm_value_is_turned(value) ? TM_SPARSE_ROWS : TM_TILE_ROWS),
                      fill_up(dims, value->dims[value->rank - 1], tm_tile_depth(value->type)));
}
