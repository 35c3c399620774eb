/* SPDX-License-Identifier: Apache-2.0
 *
 * microsoft_product.c: inference of MatMulNBits in the form of the IR: a product by the transpose of a matrix
 * of packed elements, which are dequantised in blocks along its rows.
 *
 *     A f32[..., K], B u4[N, K], scales f32[N, blocks], zero points u4 or f32[N, blocks], bias f32[N]   ->
 * f32[..., N]
 *
 * Rows and blocks of B start on whole bytes, so that the kernel can unpack a piece of a row by itself.
 */
#include "ir/infer.h"

static tm_code check_blocks(tm_infer_context *context, tm_node *node, int input, const tm_value *b,
                            int64_t block) {
    TM_TRY(tm_infer_need(node, input, 2));
    const tm_value *value = tm_infer_input(node, input);
    tm_dim blocks = tm_dim_ceildiv(context->dims, b->dims[1], tm_infer_const(context, block));
    TM_TRY(tm_infer_equal(context, node, value->dims[0], b->dims[0], "rows of the blocks"));
    return tm_infer_equal(context, node, value->dims[1], blocks, "blocks of a row");
}

tm_code tm_infer_matmul_nbits(tm_infer_context *context, tm_node *node) {
    static const tamis_type real[] = {TAMIS_TYPE_FLOAT, 0};
    static const tamis_type packed[] = {TAMIS_TYPE_UINT2,
                                        TAMIS_TYPE_INT2,
                                        TAMIS_TYPE_UINT4,
                                        TAMIS_TYPE_INT4,
                                        TAMIS_TYPE_UINT8,
                                        TAMIS_TYPE_INT8,
                                        0};
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need(node, 1, 2));
    TM_TRY(tm_infer_need_type(node, 0, real));
    TM_TRY(tm_infer_need_type(node, 1, packed));
    const tm_value *a = tm_infer_input(node, 0), *b = tm_infer_input(node, 1),
                   *bias = tm_infer_input(node, 5);
    int64_t block = tm_node_int(node, "block_size"), bits = tm_type_bits(b->type);
    if (a->rank < 1)
        return tm_infer_fail(node, TM_E_SHAPE, "an operand of a matrix product has no dims");
    if (block < 1 || block > INT32_MAX)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "block_size must be above 0");
    if (!tm_dim_is_constant(b->dims[1]) || b->dims[1]->constant * bits % 8 != 0 ||
        (block < b->dims[1]->constant && block * bits % 8 != 0))
        return tm_infer_fail(node, TM_E_UNSUPPORTED_FORM, "rows or blocks of B do not start on whole bytes");
    TM_TRY(tm_infer_equal(context, node, a->dims[a->rank - 1], b->dims[1], "inner dims of the product"));
    TM_TRY(check_blocks(context, node, 2, b, block));
    if (tm_infer_input(node, 3) != NULL) {
        TM_TRY(check_blocks(context, node, 3, b, block));
        if (tm_infer_input(node, 3)->type != TAMIS_TYPE_FLOAT)
            TM_TRY(tm_infer_same_type(node, 1, 3));
    }
    if (bias != NULL) {
        TM_TRY(tm_infer_need(node, 5, 1));
        TM_TRY(tm_infer_same_type(node, 0, 5));
        TM_TRY(tm_infer_equal(context, node, bias->dims[0], b->dims[0], "bias and rows of B"));
    }
    tm_dim out[TAMIS_MAX_RANK];
    for (int i = 0; i < a->rank; i++)
        out[i] = i + 1 < a->rank ? a->dims[i] : b->dims[0];
    tm_infer_set(node, 0, a->type, a->rank, out);
    return TM_OK;
}
