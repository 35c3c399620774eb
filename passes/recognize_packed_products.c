/* SPDX-License-Identifier: Apache-2.0
 *
 * recognize_packed_products.c: a product by dequantised constants unpacks them where it uses them.
 *
 *     %w: f32[k, n] = DequantizeLinear(%q, %s, %z) {axis = 0, block_size = 32}    %q: u4[k, n]
 *     %y = MatMul(%x, %w)
 *       ->   %t: u4[n, k] = Transpose(%q), and so the scales and zero points
 *            %y = com.microsoft.MatMulNBits(%x, %t, %s', %z') {block_size = 32}
 *
 * The weights of 2, 4 or 8 bits are constants that folding has left packed. Dequantised on their own, they
 * would take eight times the room and the time of writing and reading it at each run. The transposes of
 * constants fold in the next round. The scales are one for all, one for each column of the product, or for
 * each block along the sum.
 *
 * Also found: Gemm, transposed weights, a Reshape of blocks [n, blocks, block] to [n, k]. Views that make
 * rows of x and undo that behind the product go: what follows it sees the dims of x. Data of float16 and
 * bfloat16 are multiplied in float32 and rounded once.
 *
 * Not bit-exact: the sums have another order.
 */
#include "ir/infer.h"
#include "passes/match.h"
#include "passes/packed_weights.h"
#include "passes/rewrite.h"

#include <string.h>

/* The one element, for each of n columns. */
static tm_value *repeated(tm_node *before, const tm_value *value, int64_t n) {
    tm_arena *arena = before->graph->model->arena;
    const tm_constant *one = value->constant;
    int64_t dims[2] = {n, 1}, bytes = 0;
    int bits = tm_type_bits(one->type);
    (void)tm_type_size(one->type, n, &bytes);
    uint8_t *data = tm_arena_alloc_array(arena, (size_t)bytes + 16, 1);
    int element = *(const uint8_t *)one->data & ((1 << bits % 8) - 1), filled = 0;
    for (int shift = 0; bits < 8 && shift < 8; shift += bits)
        filled |= element << shift;
    for (int64_t i = 0; i < bytes; i += bits < 8 ? 1 : bits / 8)
        if (bits < 8)
            data[i] = (uint8_t)filled;
        else
            memcpy(data + i, one->data, (size_t)bits / 8);
    return tm_value_create_constant(before->graph, NULL, tm_constant_create(arena, one->type, 2, dims, data));
}

/* The value as [n, columns], turned if it lies as [columns, n], and cut where it was filled up. */
static tm_code laid_out(tm_node *before, const tm_packed_weights *w, int64_t columns, int64_t kept,
                        tm_value **value) {
    tm_model *model = before->graph->model;
    tm_dim n = tm_dim_constant(model->dims, w->n), other = tm_dim_constant(model->dims, columns);
    bool turn = w->turned && (*value)->rank == 2;
    *value = tm_match_view(before, *value, 2, turn ? (tm_dim[]){other, n} : (tm_dim[]){n, other});
    if (turn)
        return tm_match_make_transpose(before, *value, (const int64_t[]){1, 0}, value);
    if (kept == columns)
        return TM_OK;
    tm_value *inputs[4] = {*value};
    const int64_t one_dim = 1, list[3] = {0, kept, 1};
    for (int i = 0; i < 3; i++)
        inputs[1 + i] = tm_value_create_constant(before->graph, NULL,
                                                 tm_constant_create_i64(model->arena, 1, &one_dim, &list[i]));
    return tm_match_make(before, TM_OP_Slice, 4, inputs, value);
}

static tm_code parameter(tm_node *before, const tm_packed_weights *w, tm_value **value) {
    if (*value == NULL)
        return TM_OK;
    if (w->single) {
        *value = repeated(before, *value, w->n);
        return TM_OK;
    }
    int64_t blocks = (w->whole + w->block - 1) / w->block;
    return laid_out(before, w, blocks, blocks, value);
}

/* The view behind the product that gives it back the dims which the view before it took from x: then *x is
 * what x was made of. */
static tm_node *undone_view(tm_node *product, tm_value **x) {
    const tm_node *view = (*x)->producer;
    tm_node *behind = tm_value_single_user(product->outputs[0]);
    if (view == NULL || view->op != TM_OP_Reshape || behind == NULL || behind->op != TM_OP_Reshape ||
        behind->graph != product->graph)
        return NULL;
    tm_value *from = view->inputs[0];
    const tm_value *to = behind->outputs[0];
    int last = from->rank - 1;
    if (last < 1 || to->rank != from->rank || from->dims[last] != (*x)->dims[(*x)->rank - 1] ||
        to->dims[last] != product->outputs[0]->dims[product->outputs[0]->rank - 1] ||
        !tm_match_same_dims(from, 0, to, 0, last))
        return NULL;
    *x = from;
    return behind;
}

static tm_code rewrite_product(tm_pass_context *context, tm_node *node) {
    tm_packed_product found;
    if (!tm_packed_product_find(node, &found) || !tm_pass_allow(context))
        return TM_OK;
    tm_packed_weights *w = &found.weights;
    tm_value *x = node->inputs[0], *bias = found.bias, *y;
    tamis_type type = x->type;
    bool half = type != TAMIS_TYPE_FLOAT;
    tm_node *root = undone_view(node, &x);
    bool row_bias = bias != NULL && bias->rank == 1 && tm_dim_is(bias->dims[0], w->n);
    root = root != NULL && (bias == NULL || row_bias) ? root : node;
    x = root == node ? node->inputs[0] : x;
    TM_TRY(laid_out(root, w, w->whole, w->k, &w->packed));
    TM_TRY(parameter(root, w, &w->scale));
    TM_TRY(parameter(root, w, &w->zero));
    x = half ? tm_match_make_cast(root, x, TAMIS_TYPE_FLOAT) : x;
    bias = half && bias != NULL ? tm_match_make_cast(root, bias, TAMIS_TYPE_FLOAT) : bias;
    tm_value *inputs[6] = {x, w->packed, w->scale, w->zero, NULL, row_bias ? bias : NULL};
    int count = row_bias ? 6 : w->zero != NULL ? 4 : 3;
    tm_node *made = tm_node_create(root->graph, root, TM_OP_MatMulNBits, NULL, count, inputs);
    tm_node_set_int(made, "block_size", w->block < w->k ? w->block : w->k);
    bool added = bias != NULL && !row_bias;
    if (half || added) {
        y = tm_node_add_output(made, NULL);
        TM_TRY(tm_infer_node(root->graph->model, made));
        if (added)
            TM_TRY(tm_match_make_pair(root, TM_OP_Add, y, bias, &y));
        y = half ? tm_match_make_cast(root, y, type) : y;
        made = y->producer;
    }
    tm_match_replace(root, made);
    return TM_OK;
}

static tm_code gathered(tm_node *node, int axis, tm_value **value) {
    tm_value *inputs[2] = {*value, node->inputs[1]};
    tm_node *gather = tm_node_create(node->graph, node, TM_OP_Gather, node->name, 2, inputs);
    tm_node_set_int(gather, "axis", axis);
    *value = tm_node_add_output(gather, NULL);
    return tm_infer_node(node->graph->model, gather);
}

/* DequantizeLinear(Gather(q), scales of what is gathered) */
static tm_code rewrite_gather(tm_pass_context *context, tm_node *node) {
    tm_packed_table table;
    if (!tm_packed_table_find(node, &table) || !tm_pass_allow(context))
        return TM_OK;
    const tm_node *dequantize = table.dequantize;
    tm_value *parts[3] = {dequantize->inputs[0], dequantize->inputs[1],
                          dequantize->input_count > 2 ? dequantize->inputs[2] : NULL};
    int64_t axis = tm_node_int(dequantize, "axis"), block = tm_node_int(dequantize, "block_size");
    axis += axis < 0 ? parts[0]->rank : 0;
    if (table.scales == TM_TABLE_ALONG) { /* blocks as long as the other axis */
        tm_dim one = tm_dim_constant(node->graph->model->dims, 1), length = parts[0]->dims[table.axis];
        axis = 1 - table.axis;
        block = parts[0]->dims[axis]->constant;
        for (int i = 1; i < 3 && parts[i] != NULL; i++)
            parts[i] = tm_match_view(node, parts[i], 2,
                                     table.axis == 0 ? (tm_dim[]){length, one} : (tm_dim[]){one, length});
    }
    bool rows = table.scales == TM_TABLE_ALONG || table.scales == TM_TABLE_BLOCKS;
    for (int i = 0; i < (rows ? 3 : 1) && parts[i] != NULL; i++)
        TM_TRY(gathered(node, table.axis, &parts[i]));
    axis += axis > table.axis ? node->inputs[1]->rank - 1 : 0;
    tm_node *made = tm_rewrite_copy(node->graph, node, dequantize, parts[2] != NULL ? 3 : 2, parts);
    if (table.scales != TM_TABLE_SINGLE) {
        tm_node_set_int(made, "axis", axis);
        tm_node_set_int(made, "block_size", block);
    }
    tm_match_replace(node, made);
    return TM_OK;
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    TM_TRY(rewrite_product(context, node));
    return node->graph != NULL && node->op == TM_OP_Gather ? rewrite_gather(context, node) : TM_OK;
}

tm_code tm_pass_recognize_packed_products(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
