/* SPDX-License-Identifier: Apache-2.0
 *
 * microsoft_fused.c: ONNX Runtime's convolutions, poolings, products and group norms with other layouts or
 * with what follows them fused in.
 *
 *     FusedConv(x, w, b, z) {activation: Relu}   ->   Relu(Add(Conv(x, w, b), z))
 *     NhwcMaxPool(x)                             ->   Transpose, MaxPool, Transpose
 *     GroupNorm(x, gamma, beta) {activation: 1}  ->   Transpose, GroupNormalization, Swish, Transpose
 *
 * Weights of convolutions have the standard layout [M, C/group, space...] in all of them.
 */
#include "frontend/opset/steps.h"

#include <math.h>
#include <string.h>

/* A standard op between the transposes of a channels-last form; it has the draft's attributes. */
static tm_code between_transposes(tm_draft *draft, tm_op op, int count, tm_value **out_value) {
    int rank;
    tm_value *inputs[9];
    for (int i = 0; i < count; i++)
        inputs[i] = tm_draft_input(draft, (size_t)i);
    TM_TRY(tm_draft_rank(draft, inputs[0], &rank));
    inputs[0] = tm_write_channels_first(draft, inputs[0], rank);
    while (count > 0 && inputs[count - 1] == NULL)
        count--;
    tm_node *node = tm_draft_emit_node(draft, op, count, inputs);
    TM_TRY(tm_draft_give_attributes(draft, node));
    *out_value = tm_write_channels_last(draft, tm_draft_add_output(draft, node), rank);
    return TM_OK;
}

tm_code tm_opset_qlinear_conv(tm_draft *draft) {
    TM_TRY(tm_write_need(draft, 8));
    bool last = tm_draft_int(draft, "channels_last", 0) != 0;
    tm_draft_remove(draft, "channels_last");
    draft->domain = "";
    if (!last)
        return TM_OK;
    tm_value *y;
    TM_TRY(between_transposes(draft, TM_OP_QLinearConv, 9, &y));
    return tm_write_bind(draft, 0, y);
}

tm_code tm_opset_channels_last(tm_draft *draft) {
    bool pool = strcmp(draft->op, "NhwcMaxPool") == 0;
    TM_TRY(tm_write_need(draft, pool ? 1 : 2));
    tm_value *y;
    TM_TRY(between_transposes(draft, pool ? TM_OP_MaxPool : TM_OP_Conv, pool ? 1 : 3, &y));
    return tm_write_bind(draft, 0, y);
}

/* ---- activations ---- */

static double parameter(const tm_draft *draft, const char *name) {
    return tm_draft_float(draft, name, (double)NAN);
}

tm_code tm_opset_fused_conv(tm_draft *draft) {
    TM_TRY(tm_write_need(draft, 2));
    const tm_draft_attribute *list = tm_draft_find(draft, "activation_params");
    int64_t count = list != NULL && list->kind == TM_ATTRIBUTE_FLOATS ? list->value.count : 0;
    double parameters[2] = {(double)NAN, (double)NAN};
    for (int64_t i = 0; i < count && i < 2; i++)
        parameters[i] = list->value.floats[i];
    const char *activation = tm_draft_string(draft, "activation", "");
    tm_draft_remove(draft, "activation_params");
    tm_draft_remove(draft, "activation");
    tm_value *y;
    if (strcmp(draft->op, "NhwcFusedConv") == 0) {
        TM_TRY(between_transposes(draft, TM_OP_Conv, 3, &y));
    } else {
        tm_value *bias = tm_draft_input(draft, 2);
        tm_value *inputs[3] = {draft->inputs.items[0], draft->inputs.items[1], bias};
        tm_node *conv = tm_draft_emit_node(draft, TM_OP_Conv, bias != NULL ? 3 : 2, inputs);
        TM_TRY(tm_draft_give_attributes(draft, conv));
        y = tm_draft_add_output(draft, conv);
    }
    if (tm_draft_input(draft, 3) != NULL)
        y = tm_write_binary(draft, TM_OP_Add, y, draft->inputs.items[3]);
    tm_draft_set_string(draft, "activation", activation);
    TM_TRY(tm_write_activation(draft, parameters, 2, y, &y));
    return tm_write_bind(draft, 0, y);
}

/* The parameters of activations that take alpha and gamma, not beta, are those two. */
static tm_code product_activation(tm_draft *draft, const char *name, const double *all, tm_value *y) {
    double parameters[2] = {all[0], strcmp(name, "Selu") == 0 ? all[2] : all[1]};
    TM_TRY(tm_write_activation(draft, parameters, 2, y, &y));
    return tm_write_bind(draft, 0, y);
}

tm_code tm_opset_fused_gemm(tm_draft *draft) {
    TM_TRY(tm_write_need(draft, 2));
    const char *activation = tm_draft_string(draft, "activation", "");
    double all[3] = {parameter(draft, "activation_alpha"), parameter(draft, "activation_beta"),
                     parameter(draft, "activation_gamma")};
    static const char *const own[] = {"activation", "activation_alpha", "activation_beta",
                                      "activation_gamma"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        tm_draft_remove(draft, own[i]);
    tm_value *c = tm_draft_input(draft, 2);
    tm_value *inputs[3] = {draft->inputs.items[0], draft->inputs.items[1], c};
    tm_node *gemm = tm_draft_emit_node(draft, TM_OP_Gemm, c != NULL ? 3 : 2, inputs);
    TM_TRY(tm_draft_give_attributes(draft, gemm));
    tm_draft_set_string(draft, "activation", activation);
    return product_activation(draft, activation, all, tm_draft_add_output(draft, gemm));
}

tm_code tm_opset_fused_matmul_activation(tm_draft *draft) {
    const char *activation = tm_draft_string(draft, "activation", "");
    double all[3] = {parameter(draft, "activation_alpha"), parameter(draft, "activation_beta"),
                     parameter(draft, "activation_gamma")};
    if (tm_draft_int(draft, "activation_axis", -1) != -1)
        return tm_draft_fail(
            draft, TM_E_UNSUPPORTED_FORM,
            "an activation along an axis that is not the last; export without fused operators");
    TM_TRY(tm_opset_fused_matmul(draft));
    tm_op op = tm_op_find(TM_DOMAIN_ONNX, draft->op); /* the last one of the product */
    tm_value *y = tm_draft_emit(draft, op, (int)draft->inputs.count, draft->inputs.items);
    tm_draft_set_string(draft, "activation", activation);
    return product_activation(draft, activation, all, y);
}

/* MatMul(x, w) + bias, and GELU by tanh of it. */
tm_code tm_opset_gemm_fast_gelu(tm_draft *draft) {
    TM_TRY(tm_write_need(draft, 2));
    tm_value *bias = tm_draft_input(draft, 2);
    tm_value *y = tm_write_binary(draft, TM_OP_MatMul, draft->inputs.items[0], draft->inputs.items[1]);
    if (bias != NULL)
        y = tm_write_binary(draft, TM_OP_Add, y, bias);
    tm_node *gelu = tm_draft_emit_node(draft, TM_OP_Gelu, 1, &y);
    tm_node_set_string(gelu, "approximate", "tanh");
    return tm_write_bind(draft, 0, tm_draft_add_output(draft, gelu));
}

/* ---- group normalisation ---- */

/* x of rank `rank` normalised; statistics and parameters in float32 when x has fewer bits than they. */
static tm_code group_norm(tm_draft *draft, tm_value *x, int rank, tm_value **out_value) {
    int64_t activation = tm_draft_int(draft, "activation", 0);
    if (activation != 0 && activation != 1)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "activation is %lld; 0 is none, 1 is SiLU",
                             (long long)activation);
    bool last = tm_draft_int(draft, "channels_last", 1) != 0;
    tamis_type type = tm_draft_type(draft, draft->inputs.items[0]);
    bool mixed = type != tm_draft_type(draft, draft->inputs.items[1]) && type != TAMIS_TYPE_UNDEFINED;
    tm_value *inputs[3] = {x, draft->inputs.items[1], draft->inputs.items[2]};
    if (last)
        inputs[0] = tm_write_channels_first(draft, x, rank);
    for (int i = 0; i < 3 && mixed; i++)
        inputs[i] = tm_write_cast(draft, inputs[i], TAMIS_TYPE_FLOAT);
    tm_node *node = tm_draft_emit_node(draft, TM_OP_GroupNormalization, 3, inputs);
    tm_node_set_int(node, "num_groups", tm_draft_int(draft, "groups", 0));
    tm_node_set_float(node, "epsilon", tm_draft_float(draft, "epsilon", (double)1e-5f));
    tm_value *y = tm_draft_add_output(draft, node);
    if (activation == 1)
        y = tm_draft_emit(draft, TM_OP_Swish, 1, &y);
    if (mixed)
        y = tm_write_cast(draft, y, type);
    *out_value = last ? tm_write_channels_last(draft, y, rank) : y;
    return TM_OK;
}

tm_code tm_opset_group_norm(tm_draft *draft) {
    TM_TRY(tm_write_need(draft, 3));
    int rank;
    tm_value *y;
    TM_TRY(tm_draft_rank(draft, draft->inputs.items[0], &rank));
    TM_TRY(group_norm(draft, draft->inputs.items[0], rank, &y));
    return tm_write_bind(draft, 0, y);
}

/* [n, channels] or [channels] laid along the channels of x. */
static tm_value *along_channels(tm_draft *draft, tm_value *value, int own, int rank, bool last) {
    int64_t axes[TAMIS_MAX_RANK];
    if (last && own == 1)
        return value;
    for (int i = 0; i < rank - 2; i++)
        axes[i] = last ? 1 + i : own + i;
    return tm_write_listed(draft, TM_OP_Unsqueeze, value, axes, rank - 2);
}

tm_code tm_opset_skip_group_norm(tm_draft *draft) {
    TM_TRY(tm_write_need(draft, 4));
    bool last = tm_draft_int(draft, "channels_last", 1) != 0;
    int rank, skip_rank;
    tm_value *skip = draft->inputs.items[3], *bias = tm_draft_input(draft, 4), *y;
    TM_TRY(tm_draft_rank(draft, draft->inputs.items[0], &rank));
    TM_TRY(tm_draft_rank(draft, skip, &skip_rank));
    if (skip_rank == 2)
        skip = along_channels(draft, skip, 2, rank, last);
    tm_value *sum = tm_write_binary(draft, TM_OP_Add, draft->inputs.items[0], skip);
    if (bias != NULL)
        sum = tm_write_binary(draft, TM_OP_Add, sum, along_channels(draft, bias, 1, rank, last));
    TM_TRY(group_norm(draft, sum, rank, &y));
    if (tm_draft_has_output(draft, 1))
        TM_TRY(tm_write_bind(draft, 1, sum));
    return tm_write_bind(draft, 0, y);
}

/* ---- ConvTransposeWithDynamicPads ---- */

/* Pads of a transposed convolution cut its result, so they may as well be cut off afterwards. */
tm_code tm_opset_conv_transpose_dynamic_pads(tm_draft *draft) {
    TM_TRY(tm_write_need(draft, 2));
    int rank;
    TM_TRY(tm_draft_rank(draft, draft->inputs.items[0], &rank));
    tm_value *pads = tm_draft_input(draft, 2), *bias = tm_draft_input(draft, 3);
    tm_value *inputs[3] = {draft->inputs.items[0], draft->inputs.items[1], bias};
    tm_node *node = tm_draft_emit_node(draft, TM_OP_ConvTranspose, bias != NULL ? 3 : 2, inputs);
    TM_TRY(tm_draft_give_attributes(draft, node));
    tm_value *y = tm_draft_add_output(draft, node);
    if (pads == NULL)
        return tm_write_bind(draft, 0, y);
    int64_t axes[TAMIS_MAX_RANK], space = rank - 2;
    for (int i = 0; i < space; i++)
        axes[i] = 2 + i;
    tm_value *split_inputs[2] = {pads, tm_draft_constant_ints(draft, (int64_t[]){space, space}, 2)};
    tm_node *split = tm_draft_emit_node(draft, TM_OP_Split, 2, split_inputs);
    tm_value *starts = tm_draft_add_output(draft, split), *cut = tm_draft_add_output(draft, split);
    tm_value *ends = tm_write_binary(draft, TM_OP_Sub, tm_write_dims(draft, y, 2, rank - 2), cut);
    tm_value *slice[4] = {y, starts, ends, tm_draft_constant_ints(draft, axes, space)};
    return tm_write_bind(draft, 0, tm_draft_emit(draft, TM_OP_Slice, 4, slice));
}
