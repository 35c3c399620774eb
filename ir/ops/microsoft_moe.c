/* SPDX-License-Identifier: Apache-2.0
 *
 * Inference of MoE and QMoE: mixtures of experts. Each token goes through k of the experts, which are two
 * layers
 *
 *     y = fc2(act(fc1(x)))     or     fc2(act(fc1(x)) * fc3(x))
 *
 * with weights [experts, outputs, inputs], in QMoE packed along the inputs. The result is as the input;
 * everything else here is a check, so that the kernel may trust ranks and types.
 */
#include "ir/infer.h"

#include <string.h>

static const tamis_type float_types[] = {TAMIS_TYPE_FLOAT, TAMIS_TYPE_FLOAT16, TAMIS_TYPE_BFLOAT16, 0};

/* Numbers of the inputs of one layer; -1: there is none. */
typedef struct layer {
    int weights, scales, bias, zeros;
    const char *name, *bits;
} layer;

static const layer plain[3] = {
    {2, -1, 3, -1, "fc1", NULL}, {4, -1, 5, -1, "fc2", NULL}, {6, -1, 7, -1, "fc3", NULL}};
static const layer quantized[3] = {{2, 3, 4, 11, "fc1", "fc1_expert_weight_bits"},
                                   {5, 6, 7, 12, "fc2", "fc2_expert_weight_bits"},
                                   {8, 9, 10, 13, "fc3", "fc3_expert_weight_bits"}};

static tm_code check_layer(tm_infer_context *context, tm_node *node, const layer *l, tm_dim experts,
                           tm_dim *out_rows, tm_dim *out_columns) {
    tm_value *weights = tm_infer_input(node, l->weights);
    TM_TRY(tm_infer_need(node, l->weights, 3));
    TM_TRY(
        tm_infer_equal(context, node, weights->dims[0], experts, "experts of the router and of the weights"));
    *out_rows = weights->dims[1];
    *out_columns = weights->dims[2];
    if (l->scales < 0) {
        TM_TRY(tm_infer_same_type(node, 0, l->weights));
    } else {
        int64_t bits = tm_node_int(node, l->bits);
        bits = bits > 0 ? bits : tm_node_int(node, "expert_weight_bits");
        if (bits != 2 && bits != 4 && bits != 8)
            return tm_infer_fail(node, TM_E_UNSUPPORTED_FORM,
                                 "%s has weights of %lld bits; quantise them to 2, 4 or 8", l->name,
                                 (long long)bits);
        TM_TRY(tm_infer_need_type(node, l->weights, (tamis_type[]){TAMIS_TYPE_UINT8, 0}));
        *out_columns = tm_dim_mul(context->dims, *out_columns, tm_infer_const(context, 8 / bits));
        int64_t block = tm_node_int(node, "block_size");
        TM_TRY(tm_infer_need(node, l->scales, block > 0 ? 3 : 2));
        TM_TRY(tm_infer_need_type(node, l->scales, float_types));
        if (tm_infer_input(node, l->zeros) != NULL) {
            TM_TRY(tm_infer_need(node, l->zeros, block > 0 ? 3 : 2));
            TM_TRY(tm_infer_need_type(node, l->zeros, (tamis_type[]){TAMIS_TYPE_UINT8, 0}));
        }
    }
    tm_value *bias = tm_infer_input(node, l->bias);
    if (bias == NULL)
        return TM_OK;
    TM_TRY(tm_infer_need(node, l->bias, 2));
    TM_TRY(tm_infer_same_type(node, 0, l->bias));
    TM_TRY(tm_infer_equal(context, node, bias->dims[0], experts, "experts of weights and bias"));
    return tm_infer_equal(context, node, bias->dims[1], *out_rows, "outputs of weights and bias");
}

static tm_code check_activation(tm_node *node, bool third) {
    static const char *const names[] = {"relu", "gelu", "silu", "identity", "relu2", "swiglu", "geglu"};
    const char *name = tm_node_string(node, "activation_type");
    size_t i = 0;
    while (i < sizeof names / sizeof *names && strcmp(names[i], name) != 0)
        i++;
    if (i == sizeof names / sizeof *names)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "activation_type '%s' is not known", name);
    int64_t fusion = tm_node_int(node, "swiglu_fusion");
    if (fusion < 0 || fusion > 2)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "swiglu_fusion is neither 0, 1 nor 2");
    bool gated = i >= 5;
    if (gated && (fusion == 0) != third)
        return tm_infer_fail(
            node, TM_E_UNSUPPORTED_FORM,
            "%s with swiglu_fusion %lld %s fc3_experts_weights; give them with 0 and only then", name,
            (long long)fusion, third ? "and" : "without");
    return TM_OK;
}

static tm_code check_form(tm_node *node) {
    if (tm_node_int(node, "use_sparse_mixer") != 0)
        return tm_infer_fail(node, TM_E_UNSUPPORTED_FORM,
                             "use_sparse_mixer; compute the router's weights in the model and leave it 0");
    if (tm_node_int(node, "k") < 1)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "k must be positive");
    if (node->op != TM_OP_QMoE)
        return TM_OK;
    if (strcmp(tm_node_string(node, "quant_type"), "int") != 0)
        return tm_infer_fail(node, TM_E_UNSUPPORTED_FORM,
                             "quant_type '%s'; quantise the experts to integers ('int')",
                             tm_node_string(node, "quant_type"));
    for (int i = 15; i < node->input_count; i++)
        if (node->inputs[i] != NULL)
            return tm_infer_fail(node, TM_E_UNSUPPORTED_FORM,
                                 "input %d belongs to quant_types that are not 'int'", i);
    if (tm_node_int(node, "block_size") < 0)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "block_size is negative");
    return TM_OK;
}

tm_code tm_infer_mixture_of_experts(tm_infer_context *context, tm_node *node) {
    const layer *layers = node->op == TM_OP_QMoE ? quantized : plain;
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(node, 0, float_types));
    tm_value *x = tm_infer_input(node, 0);
    if (x->rank != 2 && x->rank != 3)
        return tm_infer_fail(node, TM_E_SHAPE, "the input has %d dims instead of 2 or 3", x->rank);
    TM_TRY(check_form(node));
    tm_dim tokens = tm_dim_product(context->dims, x->dims, x->rank - 1), hidden = x->dims[x->rank - 1];
    for (int i = 1; i < 15; i += 13) { /* router_probs, router_weights */
        if (i == 14 && (node->op != TM_OP_QMoE || tm_infer_input(node, 14) == NULL))
            break;
        TM_TRY(tm_infer_need(node, i, 2));
        TM_TRY(tm_infer_same_type(node, 0, i));
        TM_TRY(tm_infer_equal(context, node, tm_infer_input(node, i)->dims[0], tokens,
                              "tokens and rows of the router"));
    }
    tm_dim experts = tm_infer_input(node, 1)->dims[1], rows[3], columns[3];
    bool third = tm_infer_input(node, layers[2].weights) != NULL;
    TM_TRY(check_activation(node, third));
    for (int i = 0; i < (third ? 3 : 2); i++)
        TM_TRY(check_layer(context, node, &layers[i], experts, &rows[i], &columns[i]));
    TM_TRY(tm_infer_equal(context, node, columns[0], hidden, "inputs of fc1 and the last dim of the input"));
    TM_TRY(tm_infer_equal(context, node, rows[1], hidden, "outputs of fc2 and the last dim of the input"));
    int64_t fused = tm_node_int(node, "swiglu_fusion") != 0 &&
                    strstr(tm_node_string(node, "activation_type"), "glu") != NULL;
    tm_dim inner = tm_dim_mul(context->dims, columns[1], tm_infer_const(context, 1 + fused));
    TM_TRY(tm_infer_equal(context, node, rows[0], inner, "outputs of fc1 and inputs of fc2"));
    if (third) {
        TM_TRY(
            tm_infer_equal(context, node, columns[2], hidden, "inputs of fc3 and the last dim of the input"));
        TM_TRY(tm_infer_equal(context, node, rows[2], columns[1], "outputs of fc3 and inputs of fc2"));
    }
    tm_infer_set_like(node, 0, x->type, x);
    return TM_OK;
}
