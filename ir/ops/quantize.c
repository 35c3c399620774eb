/* SPDX-License-Identifier: Apache-2.0
 *
 * quantize.c: inference of QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear, DynamicScale.
 *
 * A scale is one number, one for each position of an axis, or (with block_size) one for each block along
 * the axis: x [4, 64] with block_size 32 on axis 1 has scales [4, 2]. The zero point has the
 * scale's dims and the integer type; without it and without output_dtype, integers are uint8.
 */
#include "ir/infer.h"

static tm_code check_blocks(tm_infer_context *context, tm_node *node, const tm_value *x,
                            const tm_value *scale, int64_t block) {
    int axis;
    TM_TRY(tm_infer_axis(node, tm_node_int(node, "axis"), x->rank, &axis));
    if (block < 0)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "block_size is negative");
    if (scale->rank != x->rank)
        return tm_infer_fail(node, TM_E_SHAPE, "blocked scales have rank %d, the data %d", scale->rank,
                             x->rank);
    for (int i = 0; i < x->rank; i++) {
        tm_dim want = x->dims[i];
        if (i == axis)
            want = tm_dim_ceildiv(context->dims, want, tm_infer_const(context, block));
        TM_TRY(tm_infer_equal(context, node, want, scale->dims[i], "blocks of the scale"));
    }
    return TM_OK;
}

/* Scale and zero point against the data. */
static tm_code check_scale(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need(node, 1, -1));
    const tm_value *x = tm_infer_input(node, 0), *scale = tm_infer_input(node, 1),
                   *zero = tm_infer_input(node, 2);
    int64_t block = tm_node_int(node, "block_size");
    if (block != 0) {
        TM_TRY(check_blocks(context, node, x, scale, block));
    } else if (scale->rank > 1) {
        return tm_infer_fail(node, TM_E_SHAPE, "the scale has rank %d; without block_size it has at most 1",
                             scale->rank);
    } else if (scale->rank == 1 && !tm_dim_is(scale->dims[0], 1)) {
        int axis;
        TM_TRY(tm_infer_axis(node, tm_node_int(node, "axis"), x->rank, &axis));
        TM_TRY(tm_infer_equal(context, node, scale->dims[0], x->dims[axis], "scale along the axis"));
    }
    if (zero == NULL)
        return TM_OK;
    TM_TRY(tm_infer_need(node, 2, -1));
    if (zero->rank != scale->rank) { /* scalars and [1] are both in use */
        if (zero->rank > 1 || scale->rank > 1)
            return tm_infer_fail(node, TM_E_SHAPE, "zero point and scale differ in rank");
        const tm_value *vector = zero->rank == 1 ? zero : scale;
        return tm_infer_equal(context, node, vector->dims[0], tm_infer_const(context, 1), "zero point");
    }
    for (int i = 0; i < zero->rank; i++)
        TM_TRY(tm_infer_equal(context, node, zero->dims[i], scale->dims[i], "zero point and scale"));
    return TM_OK;
}

tm_code tm_infer_quantize_linear(tm_infer_context *context, tm_node *node) {
    TM_TRY(check_scale(context, node));
    const tm_value *x = tm_infer_input(node, 0), *zero = tm_infer_input(node, 2);
    int64_t wish = tm_node_int(node, "output_dtype");
    if (wish < 0 || wish >= TAMIS_TYPE_COUNT)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "output_dtype is no element type");
    if (wish != 0 && zero != NULL && (int64_t)zero->type != wish)
        return tm_infer_fail(node, TM_E_TYPE, "the zero point is %s, output_dtype asks for %s",
                             tm_type_text(zero->type), tm_type_text((tamis_type)wish));
    tamis_type type = wish != 0 ? (tamis_type)wish : zero != NULL ? zero->type : TAMIS_TYPE_UINT8;
    tm_infer_set_like(node, 0, type, x);
    return TM_OK;
}

tm_code tm_infer_dequantize_linear(tm_infer_context *context, tm_node *node) {
    TM_TRY(check_scale(context, node));
    const tm_value *x = tm_infer_input(node, 0), *scale = tm_infer_input(node, 1);
    if (tm_infer_input(node, 2) != NULL)
        TM_TRY(tm_infer_same_type(node, 0, 2));
    int64_t wish = tm_node_int(node, "output_dtype");
    if (wish < 0 || wish >= TAMIS_TYPE_COUNT)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "output_dtype is no element type");
    tamis_type type = wish != 0 ? (tamis_type)wish : scale->type;
    if (type != TAMIS_TYPE_FLOAT && type != TAMIS_TYPE_FLOAT16 && type != TAMIS_TYPE_BFLOAT16)
        return tm_infer_fail(node, TM_E_TYPE,
                             "the output would be %s; output_dtype must say f32, f16 or bf16",
                             tm_type_text(type));
    tm_infer_set_like(node, 0, type, x);
    return TM_OK;
}

tm_code tm_infer_dynamic_quantize_linear(tm_infer_context *context, tm_node *node) {
    static const tamis_type only_float[] = {TAMIS_TYPE_FLOAT, 0};
    (void)context;
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(node, 0, only_float));
    tm_infer_set_like(node, 0, TAMIS_TYPE_UINT8, tm_infer_input(node, 0));
    tm_infer_set(node, 1, TAMIS_TYPE_FLOAT, 0, NULL);
    tm_infer_set(node, 2, TAMIS_TYPE_UINT8, 0, NULL);
    return TM_OK;
}

tm_code tm_infer_dynamic_scale(tm_infer_context *context, tm_node *node) {
    static const tamis_type only_float[] = {TAMIS_TYPE_FLOAT, 0};
    (void)context;
    for (int i = 0; i < node->input_count; i++) {
        TM_TRY(tm_infer_need(node, i, -1));
        TM_TRY(tm_infer_need_type(node, i, only_float));
    }
    tm_infer_set(node, 0, TAMIS_TYPE_FLOAT, 0, NULL);
    tm_infer_set(node, 1, TAMIS_TYPE_UINT8, 0, NULL);
    tm_infer_set(node, 2, TAMIS_TYPE_FLOAT, 0, NULL);
    return TM_OK;
}
