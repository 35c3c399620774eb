/* SPDX-License-Identifier: Apache-2.0
 *
 * gather.c: inference of Gather, GatherElements and GatherND.
 *
 * Gather is how exporters pick a dim out of a shape: Gather(Shape(x), 0) is the expression of x's dim
 * 0, so known elements are carried wherever the indices are constants.
 */
#include "ir/ops/movement.h"

static const tamis_type index_types[] = {TAMIS_TYPE_INT32, TAMIS_TYPE_INT64, 0};

static void gather_elements(tm_infer_context *context, tm_node *node, tm_value *data, tm_value *indices,
                            int axis) {
    const tm_dim *known = NULL, *index = NULL;
    int64_t known_count = 0, index_count = 0, data_strides[TAMIS_MAX_RANK], strides[TAMIS_MAX_RANK],
            count = 0;
    const tm_value *output = tm_infer_output(node, 0);
    if (!tm_infer_known_elements(context, data, &known, &known_count) ||
        !tm_infer_known_elements(context, indices, &index, &index_count) ||
        !tm_movement_strides(data->rank, data->dims, data_strides, &count) || count != known_count ||
        !tm_movement_strides(output->rank, output->dims, strides, &count))
        return;
    const int64_t length = data->dims[axis]->constant, inner = data_strides[axis];
    tm_dim *elements = TM_NEW_ARRAY(context->arena, tm_dim, count + 1);
    for (int64_t i = 0; i < count; i++) {
        tm_dim at = index[i / inner % index_count];
        if (!tm_dim_is_constant(at) || at->constant < -length || at->constant >= length)
            return;
        const int64_t row = at->constant + (at->constant < 0 ? length : 0);
        elements[i] = known[(i / inner / index_count * length + row) * inner + i % inner];
    }
    tm_infer_set_elements(context, node, 0, elements, count);
}

tm_code tm_infer_gather(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need(node, 1, -1));
    TM_TRY(tm_infer_need_type(node, 1, index_types));
    tm_value *data = tm_infer_input(node, 0), *indices = tm_infer_input(node, 1);
    int axis = 0;
    TM_TRY(tm_infer_axis(node, tm_node_int(node, "axis"), data->rank, &axis));
    const int rank = data->rank - 1 + indices->rank;
    if (rank > TAMIS_MAX_RANK)
        return tm_infer_fail(node, TM_E_UNSUPPORTED_FORM, "rank %d is above %d", rank, TAMIS_MAX_RANK);
    tm_dim out[TAMIS_MAX_RANK];
    int at = 0;
    for (int i = 0; i < axis; i++)
        out[at++] = data->dims[i];
    for (int i = 0; i < indices->rank; i++)
        out[at++] = indices->dims[i];
    for (int i = axis + 1; i < data->rank; i++)
        out[at++] = data->dims[i];
    tm_infer_set(node, 0, data->type, rank, out);
    gather_elements(context, node, data, indices, axis);
    return TM_OK;
}

tm_code tm_infer_gather_elements(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    const tm_value *data = tm_infer_input(node, 0);
    TM_TRY(tm_infer_need(node, 1, data->rank));
    TM_TRY(tm_infer_need_type(node, 1, index_types));
    (void)context;
    int axis = 0;
    TM_TRY(tm_infer_axis(node, tm_node_int(node, "axis"), data->rank, &axis));
    const tm_value *indices = tm_infer_input(node, 1);
    for (int i = 0; i < data->rank; i++)
        if (i != axis && indices->dims[i]->low > data->dims[i]->high)
            return tm_infer_fail(node, TM_E_SHAPE, "dim %d of the indices is larger than that of the data",
                                 i);
    tm_infer_set_like(node, 0, data->type, indices);
    return TM_OK;
}

tm_code tm_infer_gather_nd(tm_infer_context *context, tm_node *node) {
    static const tamis_type only[] = {TAMIS_TYPE_INT64, TAMIS_TYPE_INT32, 0};
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need(node, 1, -1));
    TM_TRY(tm_infer_need_type(node, 1, only));
    const tm_value *data = tm_infer_input(node, 0), *indices = tm_infer_input(node, 1);
    const int64_t batch = tm_node_int(node, "batch_dims");
    if (data->rank < 1 || indices->rank < 1)
        return tm_infer_fail(node, TM_E_SHAPE, "data and indices must have at least one dim");
    if (batch < 0 || batch >= data->rank || batch >= indices->rank)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "batch_dims is %lld for ranks %d and %d", (long long)batch,
                             data->rank, indices->rank);
    tm_dim depth = indices->dims[indices->rank - 1];
    const int most = indices->rank - 1 + data->rank - (int)batch;
    int indexed = 0;
    TM_TRY(tm_shape_list_decide_rank(context, node, depth, "dims that are indexed", -1, most, &indexed));
    if (indexed < 1 || indexed > data->rank - batch)
        return tm_infer_fail(node, TM_E_SHAPE,
                             "the last dim of the indices is %d, but 1 to %d dims can be indexed", indexed,
                             data->rank - (int)batch);
    for (int i = 0; i < batch; i++)
        TM_TRY(
            tm_infer_equal(context, node, data->dims[i], indices->dims[i], "batch dims of data and indices"));
    const int first = (int)batch + indexed, rank = indices->rank - 1 + data->rank - first;
    tm_dim out[TAMIS_MAX_RANK];
    for (int i = 0; i < rank; i++)
        out[i] = i < indices->rank - 1 ? indices->dims[i] : data->dims[first + i - (indices->rank - 1)];
    tm_infer_set(node, 0, data->type, rank, out);
    return TM_OK;
}
