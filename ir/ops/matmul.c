/* SPDX-License-Identifier: Apache-2.0
 *
 * Inference of the matrix products: MatMul, MatMulInteger, QLinearMatMul and Gemm.
 *
 *     A[batch, 1, m, k] x B[heads, k, n]  ->  Y[batch, heads, m, n]
 *
 * An operand of one dim is a row (A) or a column (B) whose added dim is dropped again. The dims in front
 * of the last two broadcast. The inner dims must agree: what is not known here is checked when the model
 * runs.
 */
#include "ir/infer.h"

static const tamis_type integer8[] = {TAMIS_TYPE_UINT8, TAMIS_TYPE_INT8, 0};
static const tamis_type product_types[] = {TAMIS_TYPE_FLOAT,    TAMIS_TYPE_DOUBLE, TAMIS_TYPE_FLOAT16,
                                           TAMIS_TYPE_BFLOAT16, TAMIS_TYPE_INT32,  TAMIS_TYPE_INT64,
                                           TAMIS_TYPE_UINT32,   TAMIS_TYPE_UINT64, 0};

static tm_code product_dims(tm_infer_context *context, tm_node *node, const tm_value *a, const tm_value *b,
                            int *out_rank, tm_dim *out_dims) {
    if (a->rank == 0 || b->rank == 0)
        return tm_infer_fail(node, TM_E_SHAPE, "an operand of a matrix product has no dims");
    tm_dim inner_a = a->dims[a->rank - 1];
    tm_dim inner_b = b->rank == 1 ? b->dims[0] : b->dims[b->rank - 2];
    TM_TRY(tm_infer_equal(context, node, inner_a, inner_b, "inner dims of the matrix product"));
    int batch_a = a->rank > 2 ? a->rank - 2 : 0;
    int batch_b = b->rank > 2 ? b->rank - 2 : 0;
    int batch = batch_a > batch_b ? batch_a : batch_b;
    for (int i = 0; i < batch; i++) {
        int from_end = batch - i;
        tm_dim left = from_end <= batch_a ? a->dims[batch_a - from_end] : NULL;
        tm_dim right = from_end <= batch_b ? b->dims[batch_b - from_end] : NULL;
        out_dims[i] = left == NULL    ? right
                      : right == NULL ? left
                                      : tm_dim_broadcast(context->dims, left, right);
        if (out_dims[i] == NULL)
            return tm_infer_fail(node, TM_E_SHAPE, "the batch dims of the operands do not broadcast");
    }
    int rank = batch;
    if (a->rank > 1)
        out_dims[rank++] = a->dims[a->rank - 2];
    if (b->rank > 1)
        out_dims[rank++] = b->dims[b->rank - 1];
    *out_rank = rank;
    return TM_OK;
}

tm_code tm_infer_matmul(tm_infer_context *context, tm_node *node) {
    int input_b = node->op == TM_OP_QLinearMatMul ? 3 : 1;
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need(node, input_b, -1));
    tm_value *a = tm_infer_input(node, 0);
    tm_value *b = tm_infer_input(node, input_b);
    tamis_type type = a->type;
    if (node->op == TM_OP_MatMul) {
        TM_TRY(tm_infer_need_type(node, 0, product_types));
        TM_TRY(tm_infer_same_type(node, 0, 1));
    } else {
        TM_TRY(tm_infer_need_type(node, 0, integer8));
        TM_TRY(tm_infer_need_type(node, input_b, integer8));
        type = TAMIS_TYPE_INT32;
        if (node->op == TM_OP_QLinearMatMul) {
            TM_TRY(tm_infer_need_type(node, 7, integer8));
            type = tm_infer_input(node, 7)->type;
        }
    }
    int rank;
    tm_dim dims[TAMIS_MAX_RANK];
    TM_TRY(product_dims(context, node, a, b, &rank, dims));
    tm_infer_set(node, 0, type, rank, dims);
    return TM_OK;
}

tm_code tm_infer_gemm(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, 2));
    TM_TRY(tm_infer_need(node, 1, 2));
    TM_TRY(tm_infer_need_type(node, 0, product_types));
    TM_TRY(tm_infer_same_type(node, 0, 1));
    tm_value *a = tm_infer_input(node, 0);
    tm_value *b = tm_infer_input(node, 1);
    int turn_a = tm_node_int(node, "transA") != 0;
    int turn_b = tm_node_int(node, "transB") != 0;
    TM_TRY(tm_infer_equal(context, node, a->dims[1 - turn_a], b->dims[turn_b],
                          "inner dims of the matrix product"));
    tm_dim dims[2] = {a->dims[turn_a], b->dims[1 - turn_b]};
    tm_value *c = tm_infer_input(node, 2);
    if (c != NULL) {
        TM_TRY(tm_infer_need(node, 2, -1));
        TM_TRY(tm_infer_same_type(node, 0, 2));
        if (c->rank > 2)
            return tm_infer_fail(node, TM_E_SHAPE, "C has %d dims; at most 2 can broadcast to the product",
                                 c->rank);
        for (int i = 0; i < c->rank; i++) {
            tm_dim have = c->dims[c->rank - 1 - i];
            if (!tm_dim_is(have, 1) && tm_dim_is_constant(have))
                TM_TRY(tm_infer_equal(context, node, have, dims[1 - i], "dims of C and of the product"));
        }
    }
    tm_infer_set(node, 0, a->type, 2, dims);
    return TM_OK;
}
