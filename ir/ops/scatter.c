/* SPDX-License-Identifier: Apache-2.0
 *
 * scatter.c: inference of ScatterElements, ScatterND and TensorScatter. The output is like the data;
 * all work is in the checks.
 */
#include "ir/ops/movement.h"

#include <string.h>

static const tamis_type index_types[] = {TAMIS_TYPE_INT32, TAMIS_TYPE_INT64, 0};

static tm_code check_reduction(tm_node *node) {
    const char *reduction = tm_node_string(node, "reduction");
    static const char *const allowed[] = {"none", "add", "mul", "max", "min"};
    size_t way = 0;
    while (way < 5 && strcmp(reduction, allowed[way]) != 0)
        way++;
    if (way == 5)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "reduction is none of none, add, mul, max, min");
    tamis_type type = tm_infer_input(node, 0)->type;
    bool is_complex = type == TAMIS_TYPE_COMPLEX64 || type == TAMIS_TYPE_COMPLEX128;
    bool reduces = is_complex ? way < 3 : type != TAMIS_TYPE_STRING;
    if (way != 0 && !reduces)
        return tm_infer_fail(node, TM_E_TYPE, "%s has no %s", tm_type_text(type), reduction);
    return TM_OK;
}

static tm_code scatter_elements(tm_infer_context *context, tm_node *node, const tm_value *data) {
    int axis = 0;
    TM_TRY(tm_infer_axis(node, tm_node_int(node, "axis"), data->rank, &axis));
    TM_TRY(tm_infer_need(node, 1, data->rank));
    TM_TRY(tm_infer_need(node, 2, data->rank));
    TM_TRY(tm_infer_need_type(node, 1, index_types));
    TM_TRY(tm_infer_same_type(node, 0, 2));
    for (int i = 0; i < data->rank; i++)
        TM_TRY(tm_infer_equal(context, node, tm_infer_input(node, 1)->dims[i],
                              tm_infer_input(node, 2)->dims[i], "dims of indices and updates"));
    return check_reduction(node);
}

static tm_code scatter_nd(tm_infer_context *context, tm_node *node, const tm_value *data) {
    TM_TRY(tm_infer_need(node, 1, -1));
    TM_TRY(tm_infer_need_type(node, 1, index_types));
    TM_TRY(tm_infer_same_type(node, 0, 2));
    const tm_value *indices = tm_infer_input(node, 1);
    if (data->rank < 1 || indices->rank < 1)
        return tm_infer_fail(node, TM_E_SHAPE, "data and indices must have at least one dim");
    tm_dim depth = indices->dims[indices->rank - 1];
    TM_TRY(tm_infer_need(node, 2, -1));
    const int outer = indices->rank - 1, first = outer + data->rank - tm_infer_input(node, 2)->rank;
    if (first < 0 || first > data->rank)
        return tm_infer_fail(node, TM_E_SHAPE,
                             "updates of rank %d do not fit data of rank %d and indices of rank %d",
                             tm_infer_input(node, 2)->rank, data->rank, indices->rank);
    TM_TRY(tm_infer_equal(context, node, depth, tm_infer_const(context, first),
                          "the last dim of the indices and the dims that the updates do not have"));
    const tm_value *updates = tm_infer_input(node, 2);
    for (int i = 0; i < updates->rank; i++)
        TM_TRY(tm_infer_equal(context, node, i < outer ? indices->dims[i] : data->dims[first + i - outer],
                              updates->dims[i], "dims of the updates"));
    return check_reduction(node);
}

static tm_code tensor_scatter(tm_infer_context *context, tm_node *node, const tm_value *data) {
    static const tamis_type only[] = {TAMIS_TYPE_INT64, 0};
    const char *mode = tm_node_string(node, "mode");
    int axis = 0;
    if (strcmp(mode, "linear") != 0 && strcmp(mode, "circular") != 0)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "mode is neither linear nor circular");
    TM_TRY(tm_infer_axis(node, tm_node_int(node, "axis"), data->rank, &axis));
    if (axis == 0)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "axis is the batch axis");
    TM_TRY(tm_infer_need(node, 1, data->rank));
    TM_TRY(tm_infer_same_type(node, 0, 1));
    for (int i = 0; i < data->rank; i++)
        if (i != axis)
            TM_TRY(tm_infer_equal(context, node, data->dims[i], tm_infer_input(node, 1)->dims[i],
                                  "dims of cache and update besides axis"));
    if (tm_infer_input(node, 2) == NULL)
        return TM_OK;
    TM_TRY(tm_infer_need(node, 2, 1));
    TM_TRY(tm_infer_need_type(node, 2, only));
    return tm_infer_equal(context, node, tm_infer_input(node, 2)->dims[0], data->dims[0],
                          "write_indices and the batch");
}

tm_code tm_infer_scatter(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    const tm_value *data = tm_infer_input(node, 0);
    if (node->op == TM_OP_ScatterElements)
        TM_TRY(scatter_elements(context, node, data));
    else if (node->op == TM_OP_ScatterND)
        TM_TRY(scatter_nd(context, node, data));
    else
        TM_TRY(tensor_scatter(context, node, data));
    tm_infer_set_like(node, 0, data->type, data);
    return TM_OK;
}
