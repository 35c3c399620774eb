/* SPDX-License-Identifier: Apache-2.0
 *
 * packed_weights.c: finds products by dequantised constants, and gathers from them; see packed_weights.h.
 *
 * From the operand of the product the search goes up through a Transpose, a Slice that cuts off what fills up
 * the last block, and a Reshape of blocks [n, blocks, block], to the DequantizeLinear.
 */
#include "passes/packed_weights.h"

#include "passes/match.h"
#include "passes/rewrite.h"

#define MOST_STEPS 4
#define SMALL_BLOCK 32
#define MANY_ROWS 32

static bool known_dims(const tm_value *value) {
    for (int i = 0; i < value->rank; i++)
        if (!tm_dim_is_constant(value->dims[i]))
            return false;
    return value->rank >= 0;
}

static bool is_packed(const tm_value *value) {
    switch (value->type) {
    case TAMIS_TYPE_UINT2:
    case TAMIS_TYPE_INT2:
    case TAMIS_TYPE_UINT4:
    case TAMIS_TYPE_INT4:
    case TAMIS_TYPE_UINT8:
    case TAMIS_TYPE_INT8:
        return value->constant != NULL && known_dims(value);
    default:
        return false;
    }
}

static const tm_node *dequantizer(const tm_value *value) {
    const tm_node *node = value->producer;
    if (node == NULL || node->op != TM_OP_DequantizeLinear || !is_packed(node->inputs[0]) ||
        !tm_value_is_constant(node->inputs[1]) || tm_constant_count(node->inputs[0]->constant) == 0)
        return NULL;
    return node->input_count < 3 || node->inputs[2] == NULL || tm_value_is_constant(node->inputs[2]) ? node
                                                                                                     : NULL;
}

/* Blocks [n, blocks, block] with float zero points, written out: Mul(Sub(Cast(q), z), s). */
static bool read_written_out(const tm_value *value, tm_packed_weights *w) {
    const tm_node *mul = value->producer, *sub = NULL, *cast = NULL;
    if (mul != NULL && mul->op == TM_OP_Mul)
        sub = mul->inputs[0]->producer;
    if (sub != NULL && sub->op == TM_OP_Sub)
        cast = sub->inputs[0]->producer;
    if (cast == NULL || cast->op != TM_OP_Cast || !is_packed(cast->inputs[0]) || cast->inputs[0]->rank != 3 ||
        value->type != TAMIS_TYPE_FLOAT || !tm_value_is_constant(sub->inputs[1]) ||
        !tm_value_is_constant(mul->inputs[1]))
        return false;
    const tm_value *x = cast->inputs[0];
    w->packed = cast->inputs[0];
    w->zero = sub->inputs[1];
    w->scale = mul->inputs[1];
    w->n = x->dims[0]->constant;
    w->block = x->dims[2]->constant;
    w->whole = x->dims[1]->constant * w->block;
    w->k = w->k > 0 ? w->k : w->whole;
    int64_t bits = tm_type_bits(x->type), scales = w->n * x->dims[1]->constant;
    return !w->turned && scales > 0 && tm_constant_count(w->scale->constant) == scales &&
           tm_constant_count(w->zero->constant) == scales && w->scale->rank == 3 && w->zero->rank == 3 &&
           tm_dim_is(w->scale->dims[2], 1) && tm_dim_is(w->zero->dims[2], 1) && w->block > 0 &&
           w->k <= w->whole && w->whole - w->k < w->block && w->k * bits % 8 == 0 &&
           (w->block >= w->k || w->block * bits % 8 == 0);
}

static int64_t axis_of(const tm_node *dequantize) {
    int64_t axis = tm_node_int(dequantize, "axis");
    return axis < 0 ? axis + dequantize->inputs[0]->rank : axis;
}

/* The node dequantises a matrix [n, k] ([k, n]: turned) with parameters along its rows of k; blocks may be a
 * dim. */
static bool read_dequantize(const tm_node *node, tm_packed_weights *w) {
    const tm_value *x = node->inputs[0];
    int64_t axis = axis_of(node), block = tm_node_int(node, "block_size"), whole = 0;
    w->packed = node->inputs[0];
    w->scale = node->inputs[1];
    w->zero = node->input_count > 2 ? node->inputs[2] : NULL;
    int64_t scales = tm_constant_count(w->scale->constant);
    w->single = scales == 1;
    if (x->rank == 3) { /* [n, blocks, block] */
        w->n = x->dims[0]->constant;
        whole = x->dims[1]->constant * x->dims[2]->constant;
        w->block = x->dims[2]->constant;
        if (w->turned || axis != 2 || block != w->block)
            return false;
    } else if (x->rank == 2) {
        int along = w->turned ? 0 : 1;
        w->n = x->dims[1 - along]->constant;
        whole = x->dims[along]->constant;
        w->block = block != 0 ? block : whole;
        if (!w->single && axis != (block != 0 ? along : 1 - along))
            return false;
    } else {
        return false;
    }
    w->k = w->k > 0 ? w->k : whole;
    w->whole = whole;
    w->block = w->single ? whole : w->block;
    int64_t bits = tm_type_bits(x->type), blocks = (whole + w->block - 1) / w->block;
    return w->n > 0 && w->k > 0 && w->k <= whole && whole - w->k < w->block &&
           (w->single || scales == w->n * blocks) &&
           (w->zero == NULL || tm_constant_count(w->zero->constant) == scales) && w->k * bits % 8 == 0 &&
           (w->block >= w->k || w->block * bits % 8 == 0);
}

static bool single_int(const tm_value *value, int64_t *out) {
    return tm_value_is_constant(value) && tm_constant_count(value->constant) == 1 &&
           tm_constant_int(value->constant, 0, out);
}

/* Slice(x, 0, k, 1): cuts columns off. */
static bool is_cut(const tm_node *node) {
    int64_t start, axis = 0, step = 1;
    return node->input_count >= 4 && node->inputs[0]->rank == 2 && single_int(node->inputs[1], &start) &&
           start == 0 && single_int(node->inputs[3], &axis) && (axis == 1 || axis == -1) &&
           (node->input_count < 5 || node->inputs[4] == NULL ||
            (single_int(node->inputs[4], &step) && step == 1));
}

static bool is_transpose(const tm_node *node) {
    int64_t perm[TAMIS_MAX_RANK];
    if (node->op != TM_OP_Transpose || node->inputs[0]->rank != 2)
        return false;
    tm_rewrite_permutation(node, perm);
    return perm[0] == 1;
}

/* From the operand of the product up to the node that dequantises. `turned`: the operand is [k, n]. */
static bool find_weights(const tm_value *value, bool turned, tm_packed_weights *w) {
    *w = (tm_packed_weights){.turned = turned};
    for (int step = 0; step < MOST_STEPS; step++) {
        const tm_node *node = value->producer, *dequantize = dequantizer(value);
        if (dequantize != NULL)
            return value->rank == 2 && read_dequantize(dequantize, w);
        if (node == NULL || value->rank != 2 || !known_dims(value))
            return false;
        if (is_transpose(node)) {
            w->turned = !w->turned;
        } else if (node->op == TM_OP_Slice && !w->turned && is_cut(node)) {
            w->k = value->dims[1]->constant;
        } else if (node->op == TM_OP_Reshape && !w->turned) {
            dequantize = dequantizer(node->inputs[0]);
            return node->inputs[0]->rank == 3 &&
                   (dequantize != NULL ? read_dequantize(dequantize, w)
                                       : read_written_out(node->inputs[0], w)) &&
                   value->dims[0]->constant == w->n && value->dims[1]->constant == w->whole;
        } else {
            return false;
        }
        value = node->inputs[0];
    }
    return false;
}

static bool is_float(const tm_value *value) {
    return value->type == TAMIS_TYPE_FLOAT || value->type == TAMIS_TYPE_FLOAT16 ||
           value->type == TAMIS_TYPE_BFLOAT16;
}

/* Rows that are known to be many by bytes in small blocks: each block has its own scale to be multiplied, and
 * floats are faster. Fewer bits are meant to be small. */
static bool is_slower(const tm_value *x, const tm_packed_weights *w) {
    int64_t rows = 1;
    for (int i = 0; i + 1 < x->rank; i++)
        rows *= tm_dim_is_constant(x->dims[i]) ? x->dims[i]->constant : 0;
    return tm_type_bits(w->packed->type) == 8 && w->block < w->k && w->block <= SMALL_BLOCK &&
           rows >= MANY_ROWS;
}

bool tm_packed_product_find(const tm_node *node, tm_packed_product *out) {
    bool turned = true;
    *out = (tm_packed_product){.bias = NULL};
    if ((node->op != TM_OP_MatMul && node->op != TM_OP_Gemm) || !is_float(node->inputs[0]) ||
        tm_value_is_constant(node->inputs[0]) || node->inputs[0]->rank < 1 || node->inputs[1]->rank != 2)
        return false;
    if (node->op == TM_OP_Gemm) {
        turned = tm_node_int(node, "transB") == 0;
        out->bias = node->input_count > 2 ? node->inputs[2] : NULL;
        if (tm_node_int(node, "transA") != 0 || tm_node_float(node, "alpha") != 1 ||
            (out->bias != NULL && tm_node_float(node, "beta") != 1))
            return false;
    }
    return find_weights(node->inputs[1], turned, &out->weights) && !is_slower(node->inputs[0], &out->weights);
}

bool tm_packed_table_find(const tm_node *node, tm_packed_table *out) {
    if (node->op != TM_OP_Gather || tm_value_is_constant(node->inputs[1]))
        return false;
    const tm_node *dequantize = dequantizer(node->inputs[0]);
    if (dequantize == NULL || node->inputs[0]->rank < 1)
        return false;
    int64_t axis = tm_node_int(node, "axis"), along = axis_of(dequantize);
    axis += axis < 0 ? node->inputs[0]->rank : 0;
    *out = (tm_packed_table){.dequantize = dequantize, .axis = (int)axis, .scales = TM_TABLE_SINGLE};
    if (tm_constant_count(dequantize->inputs[1]->constant) == 1)
        return true;
    if (tm_node_int(dequantize, "block_size") != 0)
        out->scales = TM_TABLE_BLOCKS;
    else
        out->scales = along == axis ? TM_TABLE_ALONG : TM_TABLE_ACROSS;
    return out->scales == TM_TABLE_ALONG ? node->inputs[0]->rank == 2 : along != axis;
}

static bool reads_packed(const tm_use *use) {
    const tm_node *node = use->node;
    tm_packed_product product;
    tm_packed_table table;
    if (node == NULL)
        return false;
    if (node->op == TM_OP_Transpose || node->op == TM_OP_Reshape || node->op == TM_OP_Slice)
        return use->index == 0 && tm_packed_only(node->outputs[0]);
    return (use->index == 1 && tm_packed_product_find(node, &product)) ||
           (use->index == 0 && tm_packed_table_find(node, &table));
}

bool tm_packed_only(const tm_value *value) {
    for (size_t i = 0; i < value->uses.count; i++)
        if (!reads_packed(&value->uses.items[i]))
            return false;
    return value->uses.count > 0;
}
