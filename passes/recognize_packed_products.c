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
 * constants fold in the next round. The scales are one for each column of the product, or for each block
 * along the sum.
 *
 * Also found: Gemm with a bias of one row, transposed weights, a Reshape of blocks [n, blocks, block] to [n,
 * k]. Only for float32 data.
 *
 * Not bit-exact: the sums have another order.
 */
#include "ir/infer.h"
#include "passes/match.h"

/* What multiplies: the weights as the transpose of a matrix [n, k]. */
typedef struct weights {
    tm_value *packed, *scale, *zero; /* zero: or NULL */
    int64_t n, k, block;
    bool turned; /* they lie as [k, n] */
} weights;

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
        return value->constant != NULL;
    default:
        return false;
    }
}

static int64_t elements(const tm_value *value) {
    int64_t count = 1;
    for (int i = 0; i < value->rank; i++)
        count *= value->dims[i]->constant;
    return count;
}

/* The node dequantises a matrix [n, k] ([k, n]: turned) with parameters along its rows of k; blocks may be a
 * dim. */
static bool read_dequantize(const tm_node *node, weights *w) {
    const tm_value *x = node->inputs[0], *scale = node->inputs[1];
    int64_t axis = tm_node_int(node, "axis"), block = tm_node_int(node, "block_size");
    axis += axis < 0 ? x->rank : 0;
    *w = (weights){.packed = node->inputs[0], .scale = node->inputs[1], .turned = w->turned};
    w->zero = node->input_count > 2 ? node->inputs[2] : NULL;
    if (!is_packed(x) || scale->constant == NULL || (w->zero != NULL && w->zero->constant == NULL) ||
        !known_dims(x) || !known_dims(scale))
        return false;
    if (x->rank == 3) { /* [n, blocks, block] */
        w->n = x->dims[0]->constant;
        w->k = x->dims[1]->constant * x->dims[2]->constant;
        w->block = x->dims[2]->constant;
        if (w->turned || axis != 2 || block != w->block)
            return false;
    } else if (x->rank == 2) {
        int along = w->turned ? 0 : 1;
        w->n = x->dims[1 - along]->constant;
        w->k = x->dims[along]->constant;
        w->block = block != 0 ? block : w->k;
        if (axis != (block != 0 ? along : 1 - along))
            return false;
    } else {
        return false;
    }
    int64_t bits = tm_type_bits(x->type);
    return w->n > 0 && w->k > 0 && elements(scale) == w->n * ((w->k + w->block - 1) / w->block) &&
           (w->zero == NULL || elements(w->zero) == elements(scale)) && w->k * bits % 8 == 0 &&
           (w->block >= w->k || w->block * bits % 8 == 0);
}

/* From the operand of the product up to the node that dequantises. `turned`: the operand is [k, n]. */
static bool find_weights(const tm_value *value, bool turned, weights *w) {
    const tm_node *node = value->producer;
    int64_t perm[TAMIS_MAX_RANK];
    if (node != NULL && node->op == TM_OP_Transpose) {
        const tm_attribute *list = tm_node_attribute(node, "perm");
        for (int i = 0; i < value->rank; i++)
            perm[i] = list->present ? list->ints[i] : value->rank - 1 - i;
        if (value->rank != 2 || perm[0] != 1)
            return false;
        turned = !turned;
        node = node->inputs[0]->producer;
    }
    if (node != NULL && node->op == TM_OP_Reshape) {
        const tm_node *before = node->inputs[0]->producer;
        if (before == NULL || before->op != TM_OP_DequantizeLinear || before->inputs[0]->rank != 3 ||
            !known_dims(node->outputs[0]))
            return false;
        w->turned = turned;
        return read_dequantize(before, w) && node->outputs[0]->rank == 2 &&
               node->outputs[0]->dims[0]->constant == w->n;
    }
    w->turned = turned;
    return node != NULL && node->op == TM_OP_DequantizeLinear && node->inputs[0]->rank == 2 &&
           read_dequantize(node, w);
}

/* The value as [n, columns], turned if it lies as [columns, n]. */
static tm_code laid_out(tm_node *before, const weights *w, tm_value **value, int64_t columns) {
    tm_dims *dims = before->graph->model->dims;
    tm_dim n = tm_dim_constant(dims, w->n), other = tm_dim_constant(dims, columns);
    bool turn = w->turned && (*value)->rank == 2;
    *value = tm_match_view(before, *value, 2, turn ? (tm_dim[]){other, n} : (tm_dim[]){n, other});
    return turn ? tm_match_make_transpose(before, *value, (const int64_t[]){1, 0}, value) : TM_OK;
}

static bool is_product(const tm_node *node, bool *out_turned, tm_value **out_bias) {
    *out_bias = NULL;
    *out_turned = true;
    if ((node->op != TM_OP_MatMul && node->op != TM_OP_Gemm) || node->inputs[0]->type != TAMIS_TYPE_FLOAT ||
        node->inputs[1]->rank != 2)
        return false;
    if (node->op == TM_OP_MatMul)
        return true;
    *out_turned = tm_node_int(node, "transB") == 0;
    *out_bias = node->input_count > 2 ? node->inputs[2] : NULL;
    return tm_node_int(node, "transA") == 0 && tm_node_float(node, "alpha") == 1 &&
           (*out_bias == NULL ||
            (tm_node_float(node, "beta") == 1 && (*out_bias)->rank == 1 && known_dims(*out_bias)));
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    bool turned;
    tm_value *bias;
    weights w;
    if (!is_product(node, &turned, &bias) || !find_weights(node->inputs[1], turned, &w) ||
        (bias != NULL && bias->dims[0]->constant != w.n) || !tm_pass_allow(context))
        return TM_OK;
    int64_t blocks = (w.k + w.block - 1) / w.block;
    TM_TRY(laid_out(node, &w, &w.packed, w.k));
    TM_TRY(laid_out(node, &w, &w.scale, blocks));
    if (w.zero != NULL)
        TM_TRY(laid_out(node, &w, &w.zero, blocks));
    tm_value *inputs[6] = {node->inputs[0], w.packed, w.scale, w.zero, NULL, bias};
    int count = bias != NULL ? 6 : w.zero != NULL ? 4 : 3;
    tm_node *made = tm_node_create(node->graph, node, TM_OP_MatMulNBits, NULL, count, inputs);
    tm_node_set_int(made, "block_size", w.block);
    tm_match_replace(node, made);
    return TM_OK;
}

tm_code tm_pass_recognize_packed_products(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
