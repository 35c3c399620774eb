/* SPDX-License-Identifier: Apache-2.0
 *
 * index.c: inference of ops that find positions: TopK, NonZero, Compress, Unique, NonMaxSuppression.
 *
 * All but TopK have a length that only the data tell: a FREE symbol, bound when the kernel has run.
 */
#include "ir/ops/movement.h"

tm_code tm_infer_topk(tm_infer_context *context, tm_node *node) {
    static const tamis_type integer[] = {TAMIS_TYPE_INT64, 0};
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_one(context, node, 1, "K must have one element"));
    TM_TRY(tm_infer_need_type(node, 1, integer));
    const tm_value *data = tm_infer_input(node, 0);
    tm_value *k = tm_infer_input(node, 1);
    int axis = 0;
    TM_TRY(tm_infer_axis(node, tm_node_int(node, "axis"), data->rank, &axis));
    tm_dim out[TAMIS_MAX_RANK];
    for (int i = 0; i < data->rank; i++)
        out[i] = data->dims[i];
    out[axis] = tm_infer_element(context, k, 0);
    if (out[axis]->high < 0 || out[axis]->low > data->dims[axis]->high)
        return tm_infer_fail(node, TM_E_SHAPE, "K is not in the range of the axis");
    tm_infer_set(node, 0, data->type, data->rank, out);
    tm_infer_set(node, 1, TAMIS_TYPE_INT64, data->rank, out);
    return TM_OK;
}

/* One column for each element that is not 0; a scalar counts as one dim. */
tm_code tm_infer_non_zero(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    const int rank = tm_infer_input(node, 0)->rank;
    const tm_dim out[2] = {tm_infer_const(context, rank == 0 ? 1 : rank),
                           tm_infer_free(context, node, 0, 1, "nonzero")};
    tm_infer_set(node, 0, TAMIS_TYPE_INT64, 2, out);
    return TM_OK;
}

tm_code tm_infer_compress(tm_infer_context *context, tm_node *node) {
    static const tamis_type condition[] = {TAMIS_TYPE_BOOL, 0};
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need(node, 1, 1));
    TM_TRY(tm_infer_need_type(node, 1, condition));
    const tm_value *data = tm_infer_input(node, 0);
    const int64_t wanted = tm_node_int(node, "axis");
    tm_dim out[TAMIS_MAX_RANK];
    int axis = 0, rank = 1;
    if (wanted != TM_NO_DEFAULT) {
        rank = data->rank;
        TM_TRY(tm_infer_axis(node, wanted, rank, &axis));
        for (int i = 0; i < rank; i++)
            out[i] = data->dims[i];
    }
    out[axis] = tm_infer_free(context, node, 0, axis, "compressed");
    tm_infer_set(node, 0, data->type, rank, out);
    return TM_OK;
}

tm_code tm_infer_unique(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    const tm_value *data = tm_infer_input(node, 0);
    const int64_t wanted = tm_node_int(node, "axis");
    tm_dim out[TAMIS_MAX_RANK];
    tm_dim total = tm_dim_product(context->dims, data->dims, data->rank);
    int axis = 0, rank = 1;
    if (wanted != TM_NO_DEFAULT) {
        rank = data->rank;
        TM_TRY(tm_infer_axis(node, wanted, rank, &axis));
        for (int i = 0; i < rank; i++)
            out[i] = data->dims[i];
        total = data->dims[axis];
    }
    tm_dim found = tm_infer_free(context, node, 0, axis, "unique");
    out[axis] = found;
    tm_infer_set(node, 0, data->type, rank, out);
    tm_infer_set(node, 1, TAMIS_TYPE_INT64, 1, &found);
    tm_infer_set(node, 2, TAMIS_TYPE_INT64, 1, &total);
    tm_infer_set(node, 3, TAMIS_TYPE_INT64, 1, &found);
    return TM_OK;
}

tm_code tm_infer_non_max_suppression(tm_infer_context *context, tm_node *node) {
    static const tamis_type single[] = {TAMIS_TYPE_FLOAT, 0}, integer[] = {TAMIS_TYPE_INT64, 0};
    TM_TRY(tm_infer_need(node, 0, 3));
    TM_TRY(tm_infer_need(node, 1, 3));
    for (int i = 0; i < 5; i++) {
        if (tm_infer_input(node, i) == NULL)
            continue;
        TM_TRY(tm_infer_need(node, i, -1));
        TM_TRY(tm_infer_need_type(node, i, i == 2 ? integer : single));
        if (i >= 2)
            TM_TRY(tm_infer_need_one(context, node, i, "limits and thresholds must have one element"));
    }
    const tm_value *boxes = tm_infer_input(node, 0), *scores = tm_infer_input(node, 1);
    TM_TRY(tm_infer_equal(context, node, boxes->dims[0], scores->dims[0], "batches of boxes and scores"));
    TM_TRY(tm_infer_equal(context, node, boxes->dims[1], scores->dims[2], "numbers of boxes and scores"));
    TM_TRY(
        tm_infer_equal(context, node, boxes->dims[2], tm_infer_const(context, 4), "numbers of a box and 4"));
    const tm_dim out[2] = {tm_infer_free(context, node, 0, 0, "selected"), tm_infer_const(context, 3)};
    tm_infer_set(node, 0, TAMIS_TYPE_INT64, 2, out);
    return TM_OK;
}
