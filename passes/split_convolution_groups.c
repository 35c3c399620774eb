/* SPDX-License-Identifier: Apache-2.0
 *
 * split_convolution_groups.c: a convolution of bytes in deep groups is one convolution for each group.
 *
 *     QLinearConv(%x, .., %w) {group = 2}     ->   %a, %b = Split(%x) {axis = 1}
 *                                                  Concat(QLinearConv(%a, .., rows of %w), QLinearConv(%b,
 * ..))
 *
 * So are ConvInteger, and Conv of dequantised values by dequantised weights, with a Relu behind it. Each part
 * is a product of bytes then, as any dense convolution. Deep are groups whose sums of bytes may leave the
 * whole numbers of float32, from 259 terms on: fewer fill no tiles, and are floats
 * (recognize_integer_convolutions). Before that pass.
 */
#include "ir/infer.h"
#include "passes/match.h"
#include "passes/quantized.h"
#include "passes/rewrite.h"

#define LEAST_FILTERS 16 /* of a group */
#define MOST_GROUPS 32
#define MOST_INPUTS 9
#define EXACT_TERMS 258 /* 258 * 255 * 255 < 2^24 */

static bool is_deep(const tm_node *node, const tm_value *x, const tm_value *weights) {
    int64_t groups = tm_node_int(node, "group"), terms = 1;
    if (groups < 2 || groups > MOST_GROUPS || x->constant != NULL || x->rank < 3 ||
        weights->rank != x->rank)
        return false;
    for (int i = 0; i < weights->rank; i++)
        if (!tm_dim_is_constant(weights->dims[i]))
            return false;
    for (int i = 1; i < weights->rank; i++)
        terms *= weights->dims[i]->constant;
    return terms > EXACT_TERMS && weights->dims[0]->constant % groups == 0 &&
           weights->dims[0]->constant / groups >= LEAST_FILTERS;
}

/* Rows of a constant along its first axis, where it has them. */
static tm_value *rows(tm_graph *graph, tm_value *value, int64_t group, int64_t groups) {
    if (value == NULL || tm_match_is_single(value))
        return value;
    const tm_constant *whole = value->constant;
    int64_t *dims = tm_arena_copy(graph->model->arena, whole->dims, (size_t)whole->rank * sizeof(*dims));
    dims[0] /= groups;
    const char *data = (const char *)whole->data + whole->bytes / groups * group;
    return tm_value_create_constant(
        graph, value->name, tm_constant_create(graph->model->arena, whole->type, whole->rank, dims, data));
}

static bool can_cut(const tm_value *value) {
    return value == NULL || tm_match_is_single(value) || value->constant != NULL;
}

/* Equal parts along an axis. */
static tm_code split(tm_node *before, tm_value *value, int64_t axis, int64_t groups, tm_value **out_parts) {
    tm_node *node = tm_node_create(before->graph, before, TM_OP_Split, NULL, 1, &value);
    tm_node_set_int(node, "axis", axis);
    tm_node_set_int(node, "num_outputs", groups);
    for (int64_t i = 0; i < groups; i++)
        out_parts[i] = tm_node_add_output(node, NULL);
    return tm_infer_node(before->graph->model, node);
}

/* The parts side by side take the place of the node, or of the Relu that alone reads it. */
static tm_code join(tm_node *node, int64_t groups, tm_value **parts) {
    tm_node *relu = tm_value_single_user(node->outputs[0]), *root = node;
    if (relu != NULL && relu->op == TM_OP_Relu && relu->graph == node->graph &&
        !tm_rewrite_is_output(node->outputs[0]))
        root = relu;
    for (int64_t i = 0; i < groups && root == relu; i++)
        TM_TRY(tm_match_make(node, TM_OP_Relu, 1, &parts[i], &parts[i]));
    tm_node *concat = tm_node_create(node->graph, node, TM_OP_Concat, NULL, (int)groups, parts);
    tm_node_set_int(concat, "axis", 1);
    (void)tm_node_add_output(concat, NULL);
    TM_TRY(tm_infer_node(node->graph->model, concat));
    tm_match_replace(root, concat);
    return TM_OK;
}

/* A convolution like `node` of one group over other inputs. */
static tm_code part_of(tm_node *node, int count, tm_value *const *inputs, tm_value **out) {
    tm_node *part = tm_rewrite_copy(node->graph, node, node, count, inputs);
    part->file_index = node->file_index;
    part->file_path = node->file_path;
    tm_node_set_int(part, "group", 1);
    *out = tm_node_add_output(part, NULL);
    return tm_infer_node(node->graph->model, part);
}

static tm_code dequantized(tm_node *before, const tm_quantized *q, tm_value **out) {
    tm_value *inputs[3] = {q->integers, q->scale, q->zero};
    tm_node *node = tm_node_create(before->graph, before, TM_OP_DequantizeLinear, NULL,
                                   q->zero != NULL ? 3 : 2, inputs);
    tm_node_set_int(node, "axis", 0); /* of filters; an image has one scale */
    *out = tm_node_add_output(node, NULL);
    return tm_infer_node(before->graph->model, node);
}

/* Conv: its bias may be a DequantizeLinear of a constant, which folds later. */
static tm_code split_dequantized(tm_pass_context *context, tm_node *node) {
    tm_quantized x, w;
    if (!tm_quantized_find(node->inputs[0], &x) || x.by_row || !is_deep(node, x.integers, node->inputs[1]) ||
        !tm_quantized_weights(node, node->inputs[1], 0, &w) || w.scale->type != TAMIS_TYPE_FLOAT ||
        node->outputs[0]->type != TAMIS_TYPE_FLOAT || !tm_pass_allow(context))
        return TM_OK;
    int64_t groups = tm_node_int(node, "group");
    tm_value *bias = tm_infer_input(node, 2);
    tm_value *images[MOST_GROUPS], *biases[MOST_GROUPS] = {NULL}, *parts[MOST_GROUPS];
    tm_quantized_widen(node, &x);
    TM_TRY(split(node, x.integers, 1, groups, images));
    if (bias != NULL)
        TM_TRY(split(node, bias, 0, groups, biases));
    for (int64_t i = 0; i < groups; i++) {
        tm_quantized image = {.integers = images[i], .scale = x.scale, .zero = x.zero};
        tm_quantized filters = {.integers = rows(node->graph, w.integers, i, groups),
                                .scale = rows(node->graph, w.scale, i, groups),
                                .zero = rows(node->graph, w.zero, i, groups)};
        tm_value *inputs[3] = {NULL, NULL, biases[i]};
        TM_TRY(dequantized(node, &image, &inputs[0]));
        TM_TRY(dequantized(node, &filters, &inputs[1]));
        TM_TRY(part_of(node, bias != NULL ? 3 : 2, inputs, &parts[i]));
    }
    return join(node, groups, parts);
}

/* QLinearConv and ConvInteger: `filters` are the inputs with something for each filter, a bit for each. */
static tm_code split_integers(tm_pass_context *context, tm_node *node, int weights, unsigned filters) {
    if (!is_deep(node, node->inputs[0], node->inputs[weights]) || node->inputs[weights]->constant == NULL ||
        node->input_count > MOST_INPUTS)
        return TM_OK;
    for (int i = 0; i < node->input_count; i++)
        if ((filters >> i & 1) != 0 && !can_cut(node->inputs[i]))
            return TM_OK;
    if (!tm_pass_allow(context))
        return TM_OK;
    int64_t groups = tm_node_int(node, "group");
    tm_value *images[MOST_GROUPS], *parts[MOST_GROUPS], *inputs[MOST_INPUTS];
    TM_TRY(split(node, node->inputs[0], 1, groups, images));
    for (int64_t i = 0; i < groups; i++) {
        for (int k = 0; k < node->input_count; k++)
            inputs[k] =
                (filters >> k & 1) != 0 ? rows(node->graph, node->inputs[k], i, groups) : node->inputs[k];
        inputs[0] = images[i];
        TM_TRY(part_of(node, node->input_count, inputs, &parts[i]));
    }
    return join(node, groups, parts);
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    if (context->options->without_integers)
        return TM_OK;
    switch (node->op) {
    case TM_OP_Conv:
        return context->options->strict_math ? TM_OK : split_dequantized(context, node);
    case TM_OP_QLinearConv:
        return split_integers(context, node, 3, 1u << 3 | 1u << 4 | 1u << 5 | 1u << 8);
    case TM_OP_ConvInteger:
        return split_integers(context, node, 1, 1u << 1 | 1u << 3);
    default:
        return TM_OK;
    }
}

tm_code tm_pass_split_convolution_groups(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
