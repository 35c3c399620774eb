/* SPDX-License-Identifier: Apache-2.0
 *
 * fold_batch_normalization.c: at inference, BatchNormalization is a factor and an offset for each channel.
 *
 *     f = scale / sqrt(variance + epsilon);  y = x * f + (bias - mean * f)
 *
 * If x comes out of a convolution or a product with constant weights, the factor goes into the weights and
 * the offset into the bias, and nothing is left of it. Else it becomes a Mul and an Add by constants, which
 * fuse with their neighbours. The four parameters must be constant; float32 only.
 *
 * Factor and offset are computed in double here. Not bit-exact: weights are rounded after they are scaled.
 */
#include "ir/infer.h"
#include "passes/match.h"

#include <math.h>

typedef struct affine {
    int64_t channels;
    double *factor, *offset;
} affine;

static bool read_row(const tm_value *value, int64_t count, double *out) {
    if (value == NULL || value->constant == NULL || value->type != TAMIS_TYPE_FLOAT || value->rank < 1 ||
        value->constant->dims[value->rank - 1] != count || tm_constant_count(value->constant) != count)
        return false;
    for (int64_t i = 0; i < count; i++)
        if (!tm_constant_double(value->constant, i, &out[i]))
            return false;
    return true;
}

static bool read_affine(const tm_node *node, affine *out) {
    const tm_value *x = node->inputs[0];
    tm_arena *arena = node->graph->model->arena;
    if (node->op != TM_OP_BatchNormalization || tm_node_int(node, "training_mode") != 0 ||
        x->type != TAMIS_TYPE_FLOAT || x->rank < 2 || node->inputs[1]->constant == NULL)
        return false;
    for (int i = 1; i < node->output_count; i++)
        if (node->outputs[i] != NULL)
            return false;
    int64_t count = out->channels = tm_constant_count(node->inputs[1]->constant);
    double *rows[4];
    for (int i = 0; i < 4; i++) {
        rows[i] = TM_NEW_ARRAY(arena, double, count + 1);
        if (!read_row(node->inputs[1 + i], count, rows[i]))
            return false;
    }
    out->factor = rows[0];
    out->offset = rows[1];
    double epsilon = tm_node_float(node, "epsilon");
    for (int64_t i = 0; i < count; i++) {
        out->factor[i] /= sqrt(rows[3][i] + epsilon);
        out->offset[i] -= rows[2][i] * out->factor[i];
        if (!isfinite(out->factor[i]) || !isfinite(out->offset[i]))
            return false;
    }
    return true;
}

/* The row as a constant with its dim at `axis` of `rank`. */
static tm_value *make_row(tm_graph *graph, const double *row, int64_t count, int rank, int axis) {
    tm_arena *arena = graph->model->arena;
    float *data = TM_NEW_ARRAY(arena, float, count + 1);
    int64_t dims[TAMIS_MAX_RANK];
    for (int64_t i = 0; i < count; i++)
        data[i] = (float)row[i];
    for (int i = 0; i < rank; i++)
        dims[i] = i == axis ? count : 1;
    return tm_value_create_constant(graph, NULL,
                                    tm_constant_create(arena, TAMIS_TYPE_FLOAT, rank, dims, data));
}

/* bias * factor + offset; a bias that is NULL is zero. False: the bias is not a constant row. */
static bool merge_bias(tm_arena *arena, const tm_value *bias, const affine *a, double **out) {
    *out = a->offset;
    if (bias == NULL)
        return true;
    *out = TM_NEW_ARRAY(arena, double, a->channels + 1);
    if (!read_row(bias, a->channels, *out))
        return false;
    for (int64_t i = 0; i < a->channels; i++)
        (*out)[i] = (*out)[i] * a->factor[i] + a->offset[i];
    return true;
}

static tm_code scale_weights(tm_node *before, tm_value *weights, const affine *a, int axis, tm_value **out) {
    tm_value *inputs[2] = {weights, make_row(before->graph, a->factor, a->channels, weights->rank, axis)};
    return tm_match_make(before, TM_OP_Mul, 2, inputs, out);
}

static bool is_only_for(const tm_node *node, const tm_node *user) {
    return node != NULL && node->graph == user->graph && tm_value_single_user(node->outputs[0]) == user;
}

/* The axis of the weights that is the output channel; -1: not a convolution that can be scaled. */
static int channel_axis(const tm_node *node, int64_t channels) {
    if ((node->op != TM_OP_Conv && node->op != TM_OP_ConvTranspose) || node->inputs[1]->constant == NULL)
        return -1;
    int axis = node->op == TM_OP_Conv ? 0 : 1;
    bool whole = axis == 0 || tm_node_int(node, "group") == 1;
    return whole && node->inputs[1]->constant->dims[axis] == channels ? axis : -1;
}

static tm_code into_convolution(tm_pass_context *context, tm_node *node, const affine *a, bool *out_done) {
    tm_node *conv = node->inputs[0]->producer;
    int axis = is_only_for(conv, node) ? channel_axis(conv, a->channels) : -1;
    double *bias;
    if (axis < 0 ||
        !merge_bias(context->model->arena, conv->input_count > 2 ? conv->inputs[2] : NULL, a, &bias) ||
        !tm_pass_allow(context))
        return TM_OK;
    tm_value *inputs[3] = {conv->inputs[0], NULL, make_row(node->graph, bias, a->channels, 1, 0)};
    TM_TRY(scale_weights(node, conv->inputs[1], a, axis, &inputs[1]));
    tm_node *scaled = tm_node_create(node->graph, node, conv->op, NULL, 3, inputs);
    for (int i = 0; i < tm_op_get(conv->op)->attribute_count; i++)
        scaled->attributes[i] = conv->attributes[i];
    tm_match_replace(node, scaled);
    *out_done = true;
    return TM_OK;
}

/* [rows, channels] out of MatMul, or that and an Add of a bias. */
static tm_code into_product(tm_pass_context *context, tm_node *node, const affine *a, bool *out_done) {
    tm_node *add = node->inputs[0]->producer, *product = add;
    tm_value *old = NULL, *result;
    if (node->inputs[0]->rank != 2 || !is_only_for(add, node))
        return TM_OK;
    for (int i = 0; add->op == TM_OP_Add && i < 2; i++)
        if (add->inputs[i]->constant != NULL) {
            old = add->inputs[i];
            product = add->inputs[1 - i]->producer;
        }
    double *bias;
    if (product == NULL || product->op != TM_OP_MatMul || (product != add && !is_only_for(product, add)) ||
        product->inputs[1]->constant == NULL || product->inputs[1]->rank != 2 ||
        product->inputs[0]->rank != 2 || product->inputs[1]->constant->dims[1] != a->channels ||
        !merge_bias(context->model->arena, old, a, &bias) || !tm_pass_allow(context))
        return TM_OK;
    tm_value *inputs[2] = {product->inputs[0], NULL};
    TM_TRY(scale_weights(node, product->inputs[1], a, 1, &inputs[1]));
    TM_TRY(tm_match_make(node, TM_OP_MatMul, 2, inputs, &result));
    tm_value *sum[2] = {result, make_row(node->graph, bias, a->channels, 1, 0)};
    tm_match_replace(node, tm_node_create(node->graph, node, TM_OP_Add, NULL, 2, sum));
    *out_done = true;
    return TM_OK;
}

static tm_code into_arithmetic(tm_pass_context *context, tm_node *node, const affine *a) {
    int rank = node->inputs[0]->rank - 1; /* channels and what is behind them */
    tm_value *result;
    if (!tm_pass_allow(context))
        return TM_OK;
    tm_value *factors[2] = {node->inputs[0], make_row(node->graph, a->factor, a->channels, rank, 0)};
    TM_TRY(tm_match_make(node, TM_OP_Mul, 2, factors, &result));
    tm_value *sum[2] = {result, make_row(node->graph, a->offset, a->channels, rank, 0)};
    tm_match_replace(node, tm_node_create(node->graph, node, TM_OP_Add, NULL, 2, sum));
    return TM_OK;
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    affine a;
    bool done = false;
    if (node->op != TM_OP_BatchNormalization || !read_affine(node, &a))
        return TM_OK;
    TM_TRY(into_convolution(context, node, &a, &done));
    if (!done)
        TM_TRY(into_product(context, node, &a, &done));
    return done ? TM_OK : into_arithmetic(context, node, &a);
}

tm_code tm_pass_fold_batch_normalization(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
