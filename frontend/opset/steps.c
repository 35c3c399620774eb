/* SPDX-License-Identifier: Apache-2.0
 *
 * steps.c: the steps of steps.h.
 *
 * ONNX Runtime's quantised operators are standard ones between a dequantisation and a quantisation, its fused
 * ones a standard op with something elementwise after it, and its channels-last ones a standard op between
 * two transposes. So their functions are short sequences of the same few steps:
 *
 *     NhwcConv(x, w)   ->   Transpose, Conv, Transpose
 */
#include "frontend/opset/steps.h"

#include <string.h>

tm_value *tm_write_scalar(tm_draft *draft, tamis_type type, double value) {
    return tm_draft_constant(draft, tm_constant_create_scalar(draft->importer->arena, type, value));
}

tm_value *tm_write_listed(tm_draft *draft, tm_op op, tm_value *x, const int64_t *list, int64_t count) {
    return tm_write_binary(draft, op, x, tm_draft_constant_ints(draft, list, count));
}

tm_value *tm_write_gather(tm_draft *draft, tm_value *x, tm_value *indices, int64_t axis) {
    tm_node *node = tm_draft_emit_node(draft, TM_OP_Gather, 2, (tm_value *[]){x, indices});
    tm_node_set_int(node, "axis", axis);
    return tm_draft_add_output(draft, node);
}

tm_value *tm_write_channels_first(tm_draft *draft, tm_value *x, int rank) {
    int64_t perm[TAMIS_MAX_RANK] = {0, rank - 1};
    for (int i = 2; i < rank; i++)
        perm[i] = i - 1;
    return tm_write_transpose(draft, x, rank, perm);
}

tm_value *tm_write_channels_last(tm_draft *draft, tm_value *x, int rank) {
    int64_t perm[TAMIS_MAX_RANK] = {0};
    for (int i = 1; i < rank; i++)
        perm[i] = i + 1 < rank ? i + 1 : 1;
    return tm_write_transpose(draft, x, rank, perm);
}

tm_value *tm_write_dequantize(tm_draft *draft, tm_value *x, tm_value *scale, tm_value *zero) {
    return tm_draft_emit(draft, TM_OP_DequantizeLinear, zero != NULL ? 3 : 2, (tm_value *[]){x, scale, zero});
}

tm_code tm_write_quantize(tm_draft *draft, tm_value *x, tm_value *scale, tm_value *zero, tm_value *like,
                            tm_value **out_value) {
    if (zero == NULL)
        TM_TRY(tm_draft_constant_like(draft, 0, like, &zero));
    *out_value = tm_draft_emit(draft, TM_OP_QuantizeLinear, 3, (tm_value *[]){x, scale, zero});
    return TM_OK;
}

tm_value *tm_write_difference(tm_draft *draft, tm_value *x, tm_value *zero) {
    tm_value *wide = tm_write_cast(draft, x, TAMIS_TYPE_INT32);
    if (zero == NULL)
        return wide;
    return tm_write_binary(draft, TM_OP_Sub, wide, tm_write_cast(draft, zero, TAMIS_TYPE_INT32));
}

/* ---- activations ---- */

typedef struct activation {
    const char *name;
    tm_op op;
    const char *parameters[2]; /* attributes of the standard op */
} activation;

static const activation activations[] = {
    {"Relu", TM_OP_Relu, {NULL}},
    {"Tanh", TM_OP_Tanh, {NULL}},
    {"Sigmoid", TM_OP_Sigmoid, {NULL}},
    {"Softplus", TM_OP_Softplus, {NULL}},
    {"Softsign", TM_OP_Softsign, {NULL}},
    {"HardSwish", TM_OP_HardSwish, {NULL}},
    {"Gelu", TM_OP_Gelu, {NULL}},
    {"LeakyRelu", TM_OP_LeakyRelu, {"alpha"}},
    {"Elu", TM_OP_Elu, {"alpha"}},
    {"Celu", TM_OP_Celu, {"alpha"}},
    {"ThresholdedRelu", TM_OP_ThresholdedRelu, {"alpha"}},
    {"HardSigmoid", TM_OP_HardSigmoid, {"alpha", "beta"}},
    {"Clip", TM_OP_Clip, {NULL}},
    {"Selu", TM_OP_Selu, {"alpha", "gamma"}},
    {"Softmax", TM_OP_Softmax, {NULL}},
    {"LogSoftmax", TM_OP_LogSoftmax, {NULL}},
};

static tm_code clip(tm_draft *draft, const double *parameters, int count, tm_value *x, tm_value **out_value) {
    tm_value *inputs[3] = {x, NULL, NULL};
    for (int i = 0; i < 2 && i < count; i++)
        if (parameters[i] == parameters[i])
            TM_TRY(tm_draft_constant_like(draft, parameters[i], x, &inputs[1 + i]));
    *out_value = tm_draft_emit(draft, TM_OP_Clip, 3, inputs);
    return TM_OK;
}

tm_code tm_write_activation(tm_draft *draft, const double *parameters, int count, tm_value *x,
                              tm_value **out_value) {
    const char *name = tm_draft_string(draft, "activation", "");
    *out_value = x;
    if (name[0] == 0)
        return TM_OK;
    const activation *found = NULL;
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        if (strcmp(activations[i].name, name) == 0)
            found = &activations[i];
    if (found == NULL)
        return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM,
                             "activation '%s' is not known; export the model without fused operators", name);
    if (found->op == TM_OP_Clip)
        return clip(draft, parameters, count, x, out_value);
    tm_node *node = tm_draft_emit_node(draft, found->op, 1, &x);
    for (int i = 0; i < 2 && i < count && found->parameters[i] != NULL; i++)
        if (parameters[i] == parameters[i])
            tm_node_set_float(node, found->parameters[i], parameters[i]);
    *out_value = tm_draft_add_output(draft, node);
    return TM_OK;
}

/* ---- frame ---- */

tm_code tm_write_need(tm_draft *draft, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (tm_draft_input(draft, i) == NULL)
            return tm_draft_fail(draft, TM_E_ARITY, "%s needs its first %zu inputs; input %zu is missing",
                                 draft->op, count, i);
    return TM_OK;
}
