/* SPDX-License-Identifier: Apache-2.0
 *
 * cost.c: flops and bytes of a node.
 *
 * A rule says how an operator's flops are counted; operators without one count an operation for
 * each element of their first output, or none when they only move bytes. A region counts the nodes of its
 * body, a Scan in it as often as its sequence is long.
 */
#include "codegen/cost.h"

typedef enum rule {
    ELEMENTS,
    NOTHING,
    PRODUCT,
    GEMM,
    CONV,
    CONV_TRANSPOSED,
    RECURRENT,
    ATTENTION,
    NORM,
    SOFTMAX,
    READS
} rule;

enum { NORM_FLOPS = 8, SOFTMAX_FLOPS = 5 };

static rule rule_of(const tm_node *node) {
    switch (node->op) {
    case TM_OP_MatMul:
    case TM_OP_MatMulInteger:
    case TM_OP_QLinearMatMul:
    case TM_OP_MatMulNBits:
        return PRODUCT;
    case TM_OP_Gemm:
        return GEMM;
    case TM_OP_Conv:
    case TM_OP_ConvInteger:
    case TM_OP_QLinearConv:
        return CONV;
    case TM_OP_ConvTranspose:
        return CONV_TRANSPOSED;
    case TM_OP_LSTM:
    case TM_OP_GRU:
    case TM_OP_RNN:
        return RECURRENT;
    case TM_OP_Attention:
        return ATTENTION;
    case TM_OP_LayerNormalization:
    case TM_OP_RMSNormalization:
    case TM_OP_InstanceNormalization:
    case TM_OP_GroupNormalization:
        return NORM;
    case TM_OP_Softmax:
    case TM_OP_LogSoftmax:
        return SOFTMAX;
    case TM_OP_ReduceSum:
    case TM_OP_ReduceMean:
    case TM_OP_ReduceMax:
    case TM_OP_ReduceMin:
    case TM_OP_ReduceProd:
    case TM_OP_ReduceL1:
    case TM_OP_ReduceL2:
    case TM_OP_ReduceSumSquare:
    case TM_OP_ReduceLogSum:
    case TM_OP_ReduceLogSumExp:
    case TM_OP_GlobalAveragePool:
    case TM_OP_GlobalMaxPool:
        return READS;
    case TM_OP_Gather:
    case TM_OP_GatherElements:
    case TM_OP_GatherND:
    case TM_OP_Copy:
        return NOTHING;
    default:
        if (tm_op_has(node->op, TM_MOVE) || tm_op_has(node->op, TM_VIEW) || tm_op_has(node->op, TM_HANDLE))
            return NOTHING;
        return ELEMENTS;
    }
}

static const tm_value *input(const tm_node *node, int i) {
    const tm_value *value = i < node->input_count ? node->inputs[i] : NULL;
    return value != NULL && value->kind == TAMIS_KIND_TENSOR && value->rank >= 0 ? value : NULL;
}

/* 0 for what is omitted, no tensor, or of unknown rank. */
static tm_dim elements(tm_dims *dims, const tm_value *value) {
    if (value == NULL || value->kind != TAMIS_KIND_TENSOR || value->rank < 0)
        return tm_dim_constant(dims, 0);
    return tm_dim_product(dims, value->dims, value->rank);
}

static tm_dim times(tm_dims *dims, int64_t factor, tm_dim dim) {
    return tm_dim_mul(dims, tm_dim_constant(dims, factor), dim);
}

static tm_dim last_dim(tm_dims *dims, const tm_value *value) {
    return value == NULL || value->rank == 0 ? tm_dim_constant(dims, 1) : value->dims[value->rank - 1];
}

/* Elements of a filter that meet in one sum, or that one element is spread to: all but its first dim. */
static tm_dim filter(tm_dims *dims, const tm_value *weights) {
    return weights == NULL || weights->rank == 0 ? tm_dim_constant(dims, 1)
                                                 : tm_dim_product(dims, weights->dims + 1, weights->rank - 1);
}

/* Scores and their product with the values: the query and the output meet each key, past ones too. */
static tm_dim attention_flops(tm_dims *dims, const tm_node *node, tm_dim out) {
    const tm_value *query = input(node, 0), *key = input(node, 1), *past = input(node, 4);
    if (query == NULL || key == NULL || key->rank < 3)
        return out;
    tm_dim length = key->dims[key->rank - 2];
    if (past != NULL && past->rank == 4)
        length = tm_dim_add(dims, length, past->dims[2]);
    return times(dims, 2, tm_dim_mul(dims, length, tm_dim_add(dims, elements(dims, query), out)));
}

/* Each step of each sequence meets the weights of its direction once: x [T, B, I], w [directions, gates, I].
 */
static tm_dim recurrent_flops(tm_dims *dims, const tm_node *node) {
    const tm_value *x = input(node, 0);
    tm_dim weights = tm_dim_add(dims, elements(dims, input(node, 1)), elements(dims, input(node, 2)));
    if (x == NULL || x->rank != 3)
        return tm_dim_constant(dims, 0);
    return times(dims, 2, tm_dim_mul(dims, weights, tm_dim_mul(dims, x->dims[0], x->dims[1])));
}

static tm_dim graph_flops(tm_dims *dims, const tm_graph *graph) {
    tm_dim sum = tm_dim_constant(dims, 0);
    for (const tm_node *node = graph->first; node != NULL; node = node->next)
        sum = tm_dim_add(dims, sum, tm_cost_flops(dims, node));
    return sum;
}

/* Rounds of a Scan; other control flow is not within a region. */
static tm_dim rounds(tm_dims *dims, const tm_node *node) {
    int64_t scanned = node->op == TM_OP_Scan ? tm_node_int(node, "num_scan_inputs") : 0;
    const tm_value *first = scanned > 0 ? input(node, node->input_count - (int)scanned) : NULL;
    if (first == NULL || first->rank == 0)
        return tm_dim_constant(dims, 1);
    return first->dims[tm_scan_axis(node, "scan_input_axes", 0, first->rank)];
}

tm_dim tm_cost_flops(tm_dims *dims, const tm_node *node) {
    if (tm_node_subgraph_count(node) > 0)
        return tm_dim_mul(dims, rounds(dims, node), graph_flops(dims, tm_node_subgraph(node, 0)));
    tm_dim out = elements(dims, node->output_count > 0 ? node->outputs[0] : NULL);
    const tm_value *x = input(node, 0);
    switch (rule_of(node)) {
    case NOTHING:
        return tm_dim_constant(dims, 0);
    case PRODUCT:
        return times(dims, 2, tm_dim_mul(dims, out, last_dim(dims, x)));
    case GEMM:
        if (x == NULL || x->rank != 2)
            return out;
        return times(dims, 2, tm_dim_mul(dims, out, x->dims[tm_node_int(node, "transA") != 0 ? 0 : 1]));
    case CONV:
        return times(dims, 2,
                     tm_dim_mul(dims, out, filter(dims, input(node, node->op == TM_OP_QLinearConv ? 3 : 1))));
    case CONV_TRANSPOSED:
        return times(dims, 2, tm_dim_mul(dims, elements(dims, x), filter(dims, input(node, 1))));
    case RECURRENT:
        return recurrent_flops(dims, node);
    case ATTENTION:
        return attention_flops(dims, node, out);
    case NORM:
        return times(dims, NORM_FLOPS, out);
    case SOFTMAX:
        return times(dims, SOFTMAX_FLOPS, out);
    case READS:
        return elements(dims, x);
    case ELEMENTS:
    default:
        return out;
    }
}

static tm_dim value_bytes(tm_dims *dims, const tm_value *value, const tm_value *type) {
    tm_dim bits = times(dims, tm_type_bits(type->type), elements(dims, value));
    return tm_dim_ceildiv(dims, bits, tm_dim_constant(dims, 8));
}

tm_dim tm_cost_bytes(tm_dims *dims, const tm_node *node) {
    tm_dim sum = tm_dim_constant(dims, 0);
    bool gathers = node->op == TM_OP_Gather || node->op == TM_OP_GatherElements ||
                   node->op == TM_OP_GatherND || node->op == TM_OP_Slice;
    for (int i = 0; i < node->input_count; i++) {
        bool again = false;
        for (int k = 0; k < i; k++)
            again = again || node->inputs[k] == node->inputs[i];
        if (input(node, i) == NULL || again)
            continue;
        /* of a table, only the rows that are taken */
        const tm_value *read = gathers && i == 0 ? node->outputs[0] : node->inputs[i];
        sum = tm_dim_add(dims, sum, value_bytes(dims, read, node->inputs[i]));
    }
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL)
            sum = tm_dim_add(dims, sum, value_bytes(dims, node->outputs[i], node->outputs[i]));
    return sum;
}
