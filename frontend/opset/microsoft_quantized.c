/* SPDX-License-Identifier: Apache-2.0
 *
 * microsoft_quantized.c: ONNX Runtime's operators on 8-bit integers with scales, except products.
 *
 * Their definitions are formulas over dequantised values, and are written out as such; the standard
 * quantisation rounds half to even and saturates as they do:
 *
 *     QLinearSigmoid(x, sx, zx, sy, zy)   ->   QuantizeLinear(Sigmoid(DequantizeLinear(x, sx, zx)), sy, zy)
 *
 * Where the definition multiplies or sums integers first, that is done in int32 and the scales are applied
 * once, so that no bit depends on the order of float operations: products of QLinearMul, sums of
 * QLinearGlobalAveragePool. Transposes of channels-last forms move bytes, before they are dequantised.
 */
#include "frontend/opset/steps.h"

#include <string.h>

/* Input `index` dequantised, its scale and zero point being the two after it. */
static tm_value *real(tm_draft *draft, size_t index) {
    return tm_write_dequantize(draft, draft->inputs.items[index], draft->inputs.items[index + 1],
                                 tm_draft_input(draft, index + 2));
}

/* The value quantised by inputs `index` and `index` + 1, in the type of input `like`, is the output. */
static tm_code finish(tm_draft *draft, tm_value *value, size_t index, size_t like) {
    TM_TRY(tm_write_quantize(draft, value, draft->inputs.items[index], tm_draft_input(draft, index + 1),
                               tm_draft_input(draft, like), &value));
    return tm_write_bind(draft, 0, value);
}

/* A scale may be a scalar or of dims [1]; arithmetic with it must not add a dim. */
static tm_value *scalar(tm_draft *draft, tm_value *value) {
    return value->rank == 0 ? value : tm_write_listed(draft, TM_OP_Reshape, value, NULL, 0);
}

static tm_value *scales(tm_draft *draft, size_t a, size_t b) {
    return tm_write_binary(draft, TM_OP_Mul, scalar(draft, draft->inputs.items[a]),
                             scalar(draft, draft->inputs.items[b]));
}

/* ---- elementwise ---- */

static tm_code need_scales(tm_draft *draft, const size_t *needed, int count) {
    for (int i = 0; i < count; i++)
        if (tm_draft_input(draft, needed[i]) == NULL)
            return tm_draft_fail(draft, TM_E_ARITY, "%s needs its input %zu", draft->op, needed[i]);
    return TM_OK;
}

tm_code tm_opset_qlinear_add(tm_draft *draft) {
    TM_TRY(need_scales(draft, (size_t[]){1, 3, 4, 6}, 4));
    return finish(draft, tm_write_binary(draft, TM_OP_Add, real(draft, 0), real(draft, 3)), 6, 0);
}

tm_code tm_opset_qlinear_mul(tm_draft *draft) {
    TM_TRY(need_scales(draft, (size_t[]){1, 3, 4, 6}, 4));
    tm_value *a = tm_write_difference(draft, draft->inputs.items[0], tm_draft_input(draft, 2));
    tm_value *b = tm_write_difference(draft, draft->inputs.items[3], tm_draft_input(draft, 5));
    tm_value *product = tm_write_cast(draft, tm_write_binary(draft, TM_OP_Mul, a, b), TAMIS_TYPE_FLOAT);
    return finish(draft, tm_write_binary(draft, TM_OP_Mul, product, scales(draft, 1, 4)), 6, 0);
}

tm_code tm_opset_mul_integer(tm_draft *draft) {
    tm_value *right = tm_draft_input(draft, 2);
    if (right == NULL)
        return tm_draft_fail(draft, TM_E_ARITY, "MulInteger needs two factors");
    tm_value *a = tm_write_difference(draft, draft->inputs.items[0], tm_draft_input(draft, 1));
    tm_value *b = tm_write_difference(draft, right, tm_draft_input(draft, 3));
    return tm_write_bind(draft, 0, tm_write_binary(draft, TM_OP_Mul, a, b));
}

tm_code tm_opset_qlinear_activation(tm_draft *draft) {
    TM_TRY(need_scales(draft, (size_t[]){1, 3}, 2));
    bool sigmoid = strcmp(draft->op, "QLinearSigmoid") == 0;
    tm_value *x = real(draft, 0);
    tm_node *node = tm_draft_emit_node(draft, sigmoid ? TM_OP_Sigmoid : TM_OP_LeakyRelu, 1, &x);
    TM_TRY(tm_draft_give_attributes(draft, node));
    return finish(draft, tm_draft_add_output(draft, node), 3, 0);
}

tm_code tm_opset_qlinear_where(tm_draft *draft) {
    TM_TRY(tm_write_need(draft, 9));
    tm_value *inputs[3] = {draft->inputs.items[0], real(draft, 1), real(draft, 4)};
    return finish(draft, tm_draft_emit(draft, TM_OP_Where, 3, inputs), 7, 1);
}

/* ---- movement ---- */

static bool same_constant(const tm_value *a, const tm_value *b) {
    if (a == b)
        return true;
    return tm_value_is_constant(a) && tm_value_is_constant(b) && a->type == b->type &&
           tm_constant_count(a->constant) == 1 && tm_constant_count(b->constant) == 1 &&
           memcmp(a->constant->data, b->constant->data, (size_t)a->constant->bytes) == 0;
}

/* Operands that have the scale and zero point of the result keep their integers, which is what requantising
 * them would give. */
tm_code tm_opset_qlinear_concat(tm_draft *draft) {
    int64_t axis = tm_draft_int(draft, "axis", TAMIS_MAX_RANK);
    if (axis < -TAMIS_MAX_RANK || axis >= TAMIS_MAX_RANK)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "QLinearConcat needs an axis");
    size_t count = draft->inputs.count;
    TM_TRY(tm_write_need(draft, count));
    if (count < 5 || (count - 2) % 3 != 0)
        return tm_draft_fail(
            draft, TM_E_ARITY,
            "QLinearConcat has a scale, a zero point, and three inputs for each tensor, not %zu", count);
    tm_value **parts = TM_NEW_ARRAY(draft->importer->scratch, tm_value *, count);
    for (size_t i = 2; i < count; i += 3) {
        tm_value **to = &parts[(i - 2) / 3];
        *to = draft->inputs.items[i];
        if (!same_constant(draft->inputs.items[i + 1], draft->inputs.items[0]) ||
            !same_constant(draft->inputs.items[i + 2], draft->inputs.items[1]))
            TM_TRY(tm_write_quantize(draft, real(draft, i), draft->inputs.items[0], draft->inputs.items[1],
                                       NULL, to));
    }
    return tm_write_bind(draft, 0, tm_write_concat(draft, (int)axis, (int)(count - 2) / 3, parts));
}

/* ---- windows and rows ---- */

tm_code tm_opset_qlinear_average_pool(tm_draft *draft) {
    TM_TRY(need_scales(draft, (size_t[]){1, 3}, 2));
    bool last = tm_draft_int(draft, "channels_last", 0) != 0;
    int rank = 0;
    if (last) {
        TM_TRY(tm_draft_rank(draft, draft->inputs.items[0], &rank));
        draft->inputs.items[0] = tm_write_channels_first(draft, draft->inputs.items[0], rank);
    }
    tm_draft_remove(draft, "channels_last");
    tm_value *x = real(draft, 0);
    tm_node *pool = tm_draft_emit_node(draft, TM_OP_AveragePool, 1, &x);
    TM_TRY(tm_draft_give_attributes(draft, pool));
    tm_value *y;
    TM_TRY(tm_write_quantize(draft, tm_draft_add_output(draft, pool), draft->inputs.items[3],
                               tm_draft_input(draft, 4), draft->inputs.items[0], &y));
    return tm_write_bind(draft, 0, last ? tm_write_channels_last(draft, y, rank) : y);
}

/* round(sum * (scale / (result scale * n))) + zero, the sum over the n elements of a channel being exact. */
tm_code tm_opset_qlinear_global_average_pool(tm_draft *draft) {
    TM_TRY(tm_write_need(draft, 5));
    tm_value *x = draft->inputs.items[0];
    int rank, first = tm_draft_int(draft, "channels_last", 0) != 0 ? 1 : 2;
    TM_TRY(tm_draft_rank(draft, x, &rank));
    if (rank < 3)
        return tm_draft_fail(draft, TM_E_SHAPE, "QLinearGlobalAveragePool needs rank 3 or more, not %d",
                             rank);
    int64_t axes[TAMIS_MAX_RANK], all = 0;
    for (int i = 0; i < rank - 2; i++)
        axes[i] = first + i;
    tm_value *wide = tm_write_difference(draft, x, draft->inputs.items[2]);
    tm_value *sum = tm_write_listed(draft, TM_OP_ReduceSum, wide, axes, rank - 2);
    tm_value *sizes = tm_write_dims(draft, x, first, rank - 2);
    tm_value *size = tm_write_listed(draft, TM_OP_ReduceProd, sizes, &all, 1);
    tm_value *count = scalar(draft, tm_write_cast(draft, size, TAMIS_TYPE_FLOAT));
    tm_value *divisor = tm_write_binary(draft, TM_OP_Mul, scalar(draft, draft->inputs.items[3]), count);
    tm_value *factor = tm_write_binary(draft, TM_OP_Div, scalar(draft, draft->inputs.items[1]), divisor);
    tm_value *scaled =
        tm_write_binary(draft, TM_OP_Mul, tm_write_cast(draft, sum, TAMIS_TYPE_FLOAT), factor);
    tm_value *one = tm_write_scalar(draft, TAMIS_TYPE_FLOAT, 1), *y;
    TM_TRY(tm_write_quantize(draft, scaled, one, draft->inputs.items[4], NULL, &y));
    return tm_write_bind(draft, 0, y);
}

/* Softmax before opset 13 was one over all dims from the axis on. */
tm_code tm_opset_qlinear_softmax(tm_draft *draft) {
    TM_TRY(need_scales(draft, (size_t[]){1, 3, 4}, 3));
    tm_value *source = draft->inputs.items[0], *x = real(draft, 0);
    int64_t axis = tm_draft_int(draft, "axis", -1);
    bool flat = tm_draft_int(draft, "opset", 13) < 13;
    if (flat) {
        tm_node *flatten = tm_draft_emit_node(draft, TM_OP_Flatten, 1, &x);
        tm_node_set_int(flatten, "axis", axis);
        x = tm_draft_add_output(draft, flatten);
    }
    tm_node *node = tm_draft_emit_node(draft, TM_OP_Softmax, 1, &x);
    tm_node_set_int(node, "axis", flat ? -1 : axis);
    x = tm_draft_add_output(draft, node);
    if (flat)
        x = tm_write_binary(draft, TM_OP_Reshape, x, tm_draft_emit(draft, TM_OP_Shape, 1, &source));
    return finish(draft, x, 3, 0);
}

tm_code tm_opset_qlinear_reduce_mean(tm_draft *draft) {
    TM_TRY(need_scales(draft, (size_t[]){1, 3}, 2));
    const int64_t *axes;
    int64_t count = 0;
    bool listed = tm_draft_ints(draft, "axes", &axes, &count) && count > 0;
    tm_value *inputs[2] = {real(draft, 0), listed ? tm_draft_constant_ints(draft, axes, count) : NULL};
    tm_node *node = tm_draft_emit_node(draft, TM_OP_ReduceMean, listed ? 2 : 1, inputs);
    tm_node_set_int(node, "keepdims", tm_draft_int(draft, "keepdims", 1));
    return finish(draft, tm_draft_add_output(draft, node), 3, 0);
}

tm_code tm_opset_reduce_sum_integer(tm_draft *draft) {
    const int64_t *axes;
    int64_t count = 0;
    bool listed = tm_draft_ints(draft, "axes", &axes, &count) && count > 0;
    tamis_type type = tm_draft_type(draft, draft->inputs.items[0]);
    tm_value *wide = tm_write_cast(draft, draft->inputs.items[0],
                                     type == TAMIS_TYPE_UINT8 ? TAMIS_TYPE_UINT32 : TAMIS_TYPE_INT32);
    tm_value *inputs[2] = {wide, listed ? tm_draft_constant_ints(draft, axes, count) : NULL};
    tm_node *node = tm_draft_emit_node(draft, TM_OP_ReduceSum, listed ? 2 : 1, inputs);
    tm_node_set_int(node, "keepdims", tm_draft_int(draft, "keepdims", 1));
    return tm_write_bind(draft, 0, tm_draft_add_output(draft, node));
}
