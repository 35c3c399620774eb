/* SPDX-License-Identifier: Apache-2.0
 *
 * export_version.c: the operator sets that a written model asks for.
 *
 * The IR has the newest form of each op, but most of them are older than their newest version: Reshape-25 is
 * Reshape-21 with 2-bit integers, Conv-22 is Conv-11 with bfloat16. A model should run wherever its forms are
 * known, so it asks for the lowest opset from 21 on in which all of its nodes mean what they mean here:
 *
 *     Reshape of f32                -> 21
 *     Reshape of u2, Cast to u2     -> 25     the type came with it
 *     Conv of bf16                  -> 22     the op takes the type since then
 *     Range of f32                  -> 21     Range-27 added types and an attribute
 *     Swish                         -> 24     new there
 *
 * So three things count: types that are younger than 21, ops that take a type later than others did, and
 * attributes that were added. What is not in the tables below and younger than 21 is new in its row's
 * version.
 */
#include "frontend/exporter.h"

#include <string.h>

enum { LOWEST = 21, LOWEST_ML = 3, LATE_BF16 = 1, LATE_F16 = 2, LATE_FLOAT8 = 4, LATE_FNUZ = 8 };

/* Types that came with an opset, and the IR version that came with it. */
static const struct {
    tamis_type type;
    int opset;
} young_types[] = {
    {TAMIS_TYPE_FLOAT4E2M1, 23}, {TAMIS_TYPE_FLOAT8E8M0, 24}, {TAMIS_TYPE_INT2, 25}, {TAMIS_TYPE_UINT2, 25}};

static const int ir_versions[] = {
    [21] = 10, [22] = 10, [23] = 11, [24] = 12, [25] = 13, [26] = 13, [27] = 13};

/* Ops that have the form of their row in opset 21 already, but for the types that the row's version added. */
static const struct {
    int since;
    int late; /* types */
    tm_op ops[48];
} known_before[] = {
    {22,
     LATE_BF16 | LATE_FLOAT8,
     {TM_OP_Round,
      TM_OP_Sin,
      TM_OP_Cos,
      TM_OP_Tan,
      TM_OP_Asin,
      TM_OP_Acos,
      TM_OP_Atan,
      TM_OP_Sinh,
      TM_OP_Cosh,
      TM_OP_Asinh,
      TM_OP_Acosh,
      TM_OP_Atanh,
      TM_OP_Softplus,
      TM_OP_Softsign,
      TM_OP_Elu,
      TM_OP_Selu,
      TM_OP_HardSigmoid,
      TM_OP_HardSwish,
      TM_OP_Mish,
      TM_OP_ThresholdedRelu,
      TM_OP_Dropout,
      TM_OP_Conv,
      TM_OP_DeformConv,
      TM_OP_ConvTranspose,
      TM_OP_AveragePool,
      TM_OP_LpPool,
      TM_OP_MaxPool,
      TM_OP_GlobalAveragePool,
      TM_OP_GlobalMaxPool,
      TM_OP_GlobalLpPool,
      TM_OP_InstanceNormalization,
      TM_OP_LpNormalization,
      TM_OP_GridSample,
      TM_OP_RoiAlign,
      TM_OP_MaxRoiPool,
      TM_OP_MaxUnpool,
      TM_OP_EyeLike,
      TM_OP_LSTM,
      TM_OP_GRU,
      TM_OP_RNN,
      TM_OP_Det,
      TM_OP_RandomNormal,
      TM_OP_RandomUniform,
      TM_OP_RandomNormalLike,
      TM_OP_RandomUniformLike,
      TM_OP_Bernoulli,
      TM_OP_Multinomial,
      TM_OP_NegativeLogLikelihoodLoss}},
    {24, LATE_BF16, {TM_OP_TopK, TM_OP_SplitToSequence}},
    {25, LATE_FNUZ, {TM_OP_Cast, TM_OP_CastLike}}, /* infinity saturates in these types since then */
    {25,
     0,
     {TM_OP_Identity, TM_OP_Reshape, TM_OP_Flatten, TM_OP_Squeeze, TM_OP_Unsqueeze, TM_OP_Shape, TM_OP_Size,
      TM_OP_Transpose, TM_OP_Pad, TM_OP_ConstantOfShape, TM_OP_QuantizeLinear, TM_OP_DequantizeLinear,
      TM_OP_If, TM_OP_Loop, TM_OP_Scan}},
    {27, LATE_BF16 | LATE_F16, {TM_OP_Range}},
};

/* Attributes that opset 21 does not have in ops that it has, or that mean something else there. */
static const struct {
    tm_op op;
    const char *name;
    int opset;
} young_attributes[] = {
    {TM_OP_Cast, "round_mode", 24},
    {TM_OP_CastLike, "round_mode", 24},
    {TM_OP_QuantizeLinear, "precision", 23},
    {TM_OP_DequantizeLinear, "output_dtype", 23},
    {TM_OP_Range, "stash_type", 27},
    {TM_OP_AveragePool, "ceil_mode", 22}, /* windows that start in the padding are left out since then */
    {TM_OP_MaxPool, "ceil_mode", 22},
    {TM_OP_LpPool, "ceil_mode", 22}};
enum { YOUNG_ATTRIBUTES = sizeof young_attributes / sizeof *young_attributes };

/* Ops of ai.onnx.ml that version 5 deprecates in their own form. */
static bool is_deprecated(tm_op op) {
    return op == TM_OP_TreeEnsembleRegressor || op == TM_OP_TreeEnsembleClassifier;
}

static bool is_default(const tm_attribute_spec *spec, const tm_attribute *attribute) {
    if (!spec->has_default)
        return false;
    if (spec->kind == TM_ATTRIBUTE_STRING)
        return spec->string_default != NULL && (size_t)attribute->s_size == strlen(spec->string_default) &&
               memcmp(attribute->s, spec->string_default, (size_t)attribute->s_size) == 0;
    return spec->kind == TM_ATTRIBUTE_INT && attribute->i == spec->int_default;
}

bool tm_export_keeps_attribute(const tm_node *node, int index) {
    const tm_attribute_spec *spec = &tm_op_get(node->op)->attributes[index];
    for (int i = 0; i < YOUNG_ATTRIBUTES; i++)
        if (young_attributes[i].op == node->op && strcmp(young_attributes[i].name, spec->name) == 0)
            return !is_default(spec, &node->attributes[index]);
    return true;
}

static int late_type(tamis_type type) {
    switch (type) {
    case TAMIS_TYPE_BFLOAT16:
        return LATE_BF16;
    case TAMIS_TYPE_FLOAT16:
        return LATE_F16;
    case TAMIS_TYPE_FLOAT8E4M3FN:
    case TAMIS_TYPE_FLOAT8E5M2:
        return LATE_FLOAT8;
    case TAMIS_TYPE_FLOAT8E4M3FNUZ:
    case TAMIS_TYPE_FLOAT8E5M2FNUZ:
        return LATE_FLOAT8 | LATE_FNUZ;
    default:
        return 0;
    }
}

/* The late types among the values of the node. */
static int types_of(const tm_node *node, int64_t *opset) {
    int late = 0;
    for (int i = 0; i < node->input_count + node->output_count; i++) {
        const tm_value *value =
            i < node->input_count ? node->inputs[i] : node->outputs[i - node->input_count];
        if (value == NULL)
            continue;
        late |= late_type(value->type);
        for (size_t k = 0; k < sizeof young_types / sizeof *young_types; k++)
            if (young_types[k].type == value->type && *opset < young_types[k].opset)
                *opset = young_types[k].opset;
    }
    return late;
}

static int64_t form_version(const tm_node *node, int late) {
    int since = tm_op_get(node->op)->since;
    if (since <= LOWEST)
        return LOWEST;
    for (size_t i = 0; i < sizeof known_before / sizeof *known_before; i++)
        for (size_t k = 0; known_before[i].since == since && k < 48; k++)
            if (known_before[i].ops[k] == node->op)
                return (late & known_before[i].late) != 0 ? since : LOWEST;
    return since;
}

void tm_export_need_version(tm_exporter *exporter, const tm_node *node) {
    const tm_op_info *info = tm_op_get(node->op);
    int64_t *version = &exporter->versions[info->domain];
    int64_t *opset = &exporter->versions[TM_DOMAIN_ONNX];
    int late = types_of(node, opset);
    int64_t need = info->since;
    if (info->domain == TM_DOMAIN_ML)
        need = need < LOWEST_ML || is_deprecated(node->op) ? LOWEST_ML : need;
    else if (info->domain == TM_DOMAIN_ONNX)
        need = form_version(node, late);
    for (int i = 0; i < YOUNG_ATTRIBUTES; i++) {
        int index = young_attributes[i].op == node->op
                        ? tm_op_attribute_index(node->op, young_attributes[i].name)
                        : -1;
        if (index >= 0 && node->attributes[index].present && tm_export_keeps_attribute(node, index) &&
            need < young_attributes[i].opset)
            need = young_attributes[i].opset;
    }
    if (*version < need)
        *version = need;
}

int64_t tm_export_ir_version(const tm_exporter *exporter) {
    int64_t opset = exporter->versions[TM_DOMAIN_ONNX];
    for (size_t v = 0; v < exporter->model->values.count; v++)
        for (size_t k = 0; k < sizeof young_types / sizeof *young_types; k++)
            if (exporter->model->values.items[v]->type == young_types[k].type && opset < young_types[k].opset)
                opset = young_types[k].opset;
    return ir_versions[opset];
}
