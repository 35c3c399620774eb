/* SPDX-License-Identifier: Apache-2.0
 *
 * microsoft_quantized_products.c: ONNX Runtime's products of 8-bit integers, and its dynamically quantised
 * LSTM.
 *
 * Products are exact in int32 and scaled in float once:
 *
 *     MatMulIntegerToFloat(a, b, sa, sb, za, zb, bias)
 *       ->   Cast(MatMulInteger(a, b, za, zb)) * (sa * sb) + bias
 *
 * QGemm adds its bias to the int32 sums, and where its result is quantised, divides the scale, not the
 * product: that is one rounding less, and the bits that ONNX Runtime gives. float16 results are rounded last,
 * since the sums themselves are beyond float16.
 */
#include "frontend/opset/steps.h"

#include <string.h>

/* Refuses a scale or zero point of A for each column: the sum over columns has no such scale. */
static tm_code need_single(tm_draft *draft, size_t index, const char *what) {
    const tm_value *value = tm_draft_input(draft, index);
    bool single = value == NULL || value->rank <= 0 ||
                  (value->rank == 1 && (value->dims == NULL || !tm_dim_is_constant(value->dims[0]) ||
                                        value->dims[0]->constant == 1));
    if (single)
        return TM_OK;
    return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM,
                         "%s with more than one %s of A; quantise activations per tensor", draft->op, what);
}

/* operands: a, b, zero of a, zero of b */
static tm_code integer_product(tm_draft *draft, tm_value *const *operands, tm_value *scale_a,
                               tm_value *scale_b, tm_value *bias) {
    tamis_type type = tm_draft_type(draft, scale_b);
    bool half = type == TAMIS_TYPE_FLOAT16 || type == TAMIS_TYPE_BFLOAT16;
    tm_value *sum = tm_draft_emit(draft, TM_OP_MatMulInteger, 4, operands);
    tm_value *a = half ? tm_write_cast(draft, scale_a, TAMIS_TYPE_FLOAT) : scale_a;
    tm_value *b = half ? tm_write_cast(draft, scale_b, TAMIS_TYPE_FLOAT) : scale_b;
    tm_value *scale = tm_write_binary(draft, TM_OP_Mul, a, b);
    tm_value *y = tm_write_binary(draft, TM_OP_Mul, tm_write_cast(draft, sum, TAMIS_TYPE_FLOAT), scale);
    if (bias != NULL)
        y = tm_write_binary(draft, TM_OP_Add, y,
                              half ? tm_write_cast(draft, bias, TAMIS_TYPE_FLOAT) : bias);
    return tm_write_bind(draft, 0, half ? tm_write_cast(draft, y, type) : y);
}

tm_code tm_opset_matmul_integer_to_float(tm_draft *draft) {
    TM_TRY(tm_write_need(draft, 4));
    TM_TRY(need_single(draft, 2, "scale"));
    TM_TRY(need_single(draft, 4, "zero point"));
    tm_value *operands[4] = {draft->inputs.items[0], draft->inputs.items[1], tm_draft_input(draft, 4),
                             tm_draft_input(draft, 5)};
    return integer_product(draft, operands, draft->inputs.items[2], draft->inputs.items[3],
                           tm_draft_input(draft, 6));
}

tm_code tm_opset_dynamic_quantize_matmul(tm_draft *draft) {
    TM_TRY(tm_write_need(draft, 3));
    tm_node *quantize = tm_draft_emit_node(draft, TM_OP_DynamicQuantizeLinear, 1, draft->inputs.items);
    tm_value *a = tm_draft_add_output(draft, quantize);
    tm_value *scale = tm_draft_add_output(draft, quantize);
    tm_value *zero = tm_draft_add_output(draft, quantize);
    tm_value *operands[4] = {a, draft->inputs.items[1], zero, tm_draft_input(draft, 3)};
    return integer_product(draft, operands, scale, draft->inputs.items[2], tm_draft_input(draft, 4));
}

static tm_value *turned(tm_draft *draft, size_t index, const char *flag) {
    tm_value *value = draft->inputs.items[index];
    bool turn = tm_draft_int(draft, flag, 0) != 0;
    return turn ? tm_write_transpose(draft, value, 2, (const int64_t[]){1, 0}) : value;
}

tm_code tm_opset_qgemm(tm_draft *draft) {
    TM_TRY(tm_write_need(draft, 6));
    TM_TRY(need_single(draft, 1, "scale"));
    TM_TRY(need_single(draft, 2, "zero point"));
    tm_value *operands[4] = {turned(draft, 0, "transA"), turned(draft, 3, "transB"), draft->inputs.items[2],
                             draft->inputs.items[5]};
    tm_value *bias = tm_draft_input(draft, 6), *result_scale = tm_draft_input(draft, 7);
    tm_value *sum = tm_draft_emit(draft, TM_OP_MatMulInteger, 4, operands);
    if (bias != NULL)
        sum = tm_write_binary(draft, TM_OP_Add, sum, bias);
    tm_value *alpha = tm_write_scalar(draft, TAMIS_TYPE_FLOAT, tm_draft_float(draft, "alpha", 1));
    tm_value *scale = tm_write_binary(draft, TM_OP_Mul, alpha, draft->inputs.items[1]);
    scale = tm_write_binary(draft, TM_OP_Mul, scale, draft->inputs.items[4]);
    if (result_scale != NULL)
        scale = tm_write_binary(draft, TM_OP_Div, scale, result_scale);
    tm_value *y = tm_write_binary(draft, TM_OP_Mul, tm_write_cast(draft, sum, TAMIS_TYPE_FLOAT), scale);
    if (result_scale != NULL) {
        tm_value *one = tm_write_scalar(draft, TAMIS_TYPE_FLOAT, 1);
        TM_TRY(tm_write_quantize(draft, y, one, tm_draft_input(draft, 8), draft->inputs.items[0], &y));
    }
    return tm_write_bind(draft, 0, y);
}

tm_code tm_opset_matmul_integer16(tm_draft *draft) {
    TM_TRY(tm_write_need(draft, 2));
    tamis_type types[2] = {tm_draft_type(draft, draft->inputs.items[0]),
                           tm_draft_type(draft, draft->inputs.items[1])};
    bool positive = types[0] == TAMIS_TYPE_UINT16 && types[1] == TAMIS_TYPE_UINT16;
    tamis_type wide = positive ? TAMIS_TYPE_UINT32 : TAMIS_TYPE_INT32;
    tm_value *a = tm_write_cast(draft, draft->inputs.items[0], wide);
    tm_value *b = tm_write_cast(draft, draft->inputs.items[1], wide);
    return tm_write_bind(draft, 0, tm_write_binary(draft, TM_OP_MatMul, a, b));
}

/* ---- DynamicQuantizeLSTM ---- */

/* Weights [directions, inputs, 4*hidden] as float in the order of LSTM, [directions, 4*hidden, inputs]. A
 * scale is one for each direction, or one for each of its columns. */
static tm_code lstm_weights(tm_draft *draft, size_t weights, size_t scale, tm_value **out_value) {
    static const int64_t axes[2] = {1, 2}, perm[3] = {0, 2, 1};
    tm_value *parameters[2] = {draft->inputs.items[scale], draft->inputs.items[scale + 1]};
    for (int i = 0; i < 2; i++) {
        int rank;
        TM_TRY(tm_draft_rank(draft, parameters[i], &rank));
        if (rank < 1 || rank > 2)
            return tm_draft_fail(draft, TM_E_SHAPE,
                                 "scales and zero points of an LSTM have rank 1 or 2, not %d", rank);
        parameters[i] = tm_write_listed(draft, TM_OP_Unsqueeze, parameters[i], axes, 3 - rank);
    }
    tm_value *wide = tm_write_difference(draft, draft->inputs.items[weights], parameters[1]);
    tm_value *real =
        tm_write_binary(draft, TM_OP_Mul, tm_write_cast(draft, wide, TAMIS_TYPE_FLOAT), parameters[0]);
    *out_value = tm_write_transpose(draft, real, 3, perm);
    return TM_OK;
}

/* The activations are rounded to 8 bits: X at once, for all steps, the state anew in each step, by the op of
 * the IR, whose weights are floats. Products of the rounded numbers are the same in float but for the last
 * places. */
tm_code tm_opset_dynamic_quantize_lstm(tm_draft *draft) {
    TM_TRY(tm_write_need(draft, 3));
    for (size_t i = 8; i < 12; i++)
        if (tm_draft_input(draft, i) == NULL)
            return tm_draft_fail(draft, TM_E_ARITY, "scales and zero points of W and R are needed");
    tm_value *inputs[8];
    for (size_t i = 0; i < 8; i++)
        inputs[i] = tm_draft_input(draft, i);
    TM_TRY(lstm_weights(draft, 1, 8, &inputs[1]));
    TM_TRY(lstm_weights(draft, 2, 10, &inputs[2]));
    tm_node *quantize = tm_draft_emit_node(draft, TM_OP_DynamicQuantizeLinear, 1, inputs);
    tm_value *x = tm_draft_add_output(draft, quantize), *scale = tm_draft_add_output(draft, quantize);
    inputs[0] = tm_write_dequantize(draft, x, scale, tm_draft_add_output(draft, quantize));
    tm_draft_set_inputs(draft, 8, inputs);
    return TM_OK;
}
