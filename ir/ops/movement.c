/* SPDX-License-Identifier: Apache-2.0
 *
 * movement.c: inference of Transpose, Split, Concat, Expand, Tile, Trilu, DepthToSpace, SpaceToDepth,
 * ReverseSequence. Slice, Pad and CenterCropPad are in movement_window.c.
 *
 * Each is a view of its input with other strides (see runtime/ops/move.h), so known elements are
 * carried by the same strides: tm_movement_carry.
 */
#include "ir/ops/movement.h"

#include <string.h>

tm_code tm_infer_transpose(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    tm_value *data = tm_infer_input(node, 0);
    const tm_attribute *perm = tm_node_attribute(node, "perm");
    if (perm->present && perm->count != data->rank)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "perm has %lld entries for a tensor of rank %d",
                             (long long)perm->count, data->rank);
    tm_dim out[TAMIS_MAX_RANK];
    int64_t dense[TAMIS_MAX_RANK], strides[TAMIS_MAX_RANK], count = 0;
    bool seen[TAMIS_MAX_RANK] = {false};
    const bool constant = tm_movement_strides(data->rank, data->dims, dense, &count);
    for (int i = 0; i < data->rank; i++) {
        const int64_t axis = perm->present ? perm->ints[i] : data->rank - 1 - i;
        if (axis < 0 || axis >= data->rank || seen[axis])
            return tm_infer_fail(node, TM_E_ATTRIBUTE, "perm is not a permutation of 0..%d", data->rank - 1);
        seen[axis] = true;
        out[i] = data->dims[axis];
        strides[i] = constant ? dense[axis] : 0;
    }
    tm_infer_set(node, 0, data->type, data->rank, out);
    if (constant)
        tm_movement_carry(context, node, 0, data, 0, strides);
    return TM_OK;
}

/* Lengths of the parts: the input `split`, or equal ones of which the last may be shorter. */
static tm_code split_lengths(tm_infer_context *context, tm_node *node, tm_dim dim, tm_dim *out_lengths) {
    tm_dims *dims = context->dims;
    tm_value *split = tm_infer_input(node, 1);
    const int parts = node->output_count;
    if (split != NULL) {
        static const tamis_type integer[] = {TAMIS_TYPE_INT64, 0};
        TM_TRY(tm_infer_need(node, 1, 1));
        TM_TRY(tm_infer_need_type(node, 1, integer));
        TM_TRY(tm_infer_equal(context, node, split->dims[0], tm_infer_const(context, parts),
                              "lengths and outputs"));
        tm_dim sum = tm_infer_const(context, 0);
        for (int i = 0; i < parts; i++) {
            out_lengths[i] = tm_infer_element(context, split, i);
            if (tm_dim_is_constant(out_lengths[i]) && out_lengths[i]->constant < 0)
                return tm_infer_fail(node, TM_E_SHAPE, "part %d has the length %lld", i,
                                     (long long)out_lengths[i]->constant);
            sum = tm_dim_add(dims, sum, out_lengths[i]);
        }
        return tm_infer_equal(context, node, sum, dim, "the sum of the parts and the dim that is split");
    }
    const int64_t wanted = tm_node_int(node, "num_outputs");
    if (wanted != TM_NO_DEFAULT && wanted != parts)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "num_outputs is %lld, but there are %d outputs",
                             (long long)wanted, parts);
    tm_dim zero = tm_infer_const(context, 0);
    tm_dim chunk = tm_dim_ceildiv(dims, dim, tm_infer_const(context, parts));
    for (int i = 0; i < parts; i++) {
        tm_dim start = tm_dim_mul(dims, chunk, tm_infer_const(context, i));
        tm_dim rest = tm_dim_max(dims, tm_dim_sub(dims, dim, start), zero);
        out_lengths[i] = tm_dim_min(dims, chunk, rest);
    }
    /* A dim that is a multiple by its form: all parts are equal. */
    if (tm_dim_same(tm_dim_mul(dims, chunk, tm_infer_const(context, parts)), dim))
        for (int i = 0; i < parts; i++)
            out_lengths[i] = chunk;
    return TM_OK;
}

tm_code tm_infer_split(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    tm_value *data = tm_infer_input(node, 0);
    int axis = 0;
    TM_TRY(tm_infer_axis(node, tm_node_int(node, "axis"), data->rank, &axis));
    tm_dim *lengths = TM_NEW_ARRAY(context->arena, tm_dim, node->output_count + 1);
    TM_TRY(split_lengths(context, node, data->dims[axis], lengths));
    tm_dim out[TAMIS_MAX_RANK];
    int64_t strides[TAMIS_MAX_RANK], count = 0, offset = 0;
    bool constant = tm_movement_strides(data->rank, data->dims, strides, &count);
    for (int i = 0; i < data->rank; i++)
        out[i] = data->dims[i];
    for (int i = 0; i < node->output_count; i++) {
        out[axis] = lengths[i];
        tm_infer_set(node, i, data->type, data->rank, out);
        constant = constant && tm_dim_is_constant(lengths[i]);
        if (!constant)
            continue;
        tm_movement_carry(context, node, i, data, offset, strides);
        offset += lengths[i]->constant * strides[axis];
    }
    return TM_OK;
}

/* Elements of a Concat of short lists: where some are known, the others are loaded one by one, so
 * that a shape made of known dims and one run-time number keeps what is known. */
static void concat_elements(tm_infer_context *context, tm_node *node) {
    enum { MAX_LOADED = 16 };
    int64_t total = 0;
    bool any_known = false, all_known = true, loadable = true;
    for (int i = 0; i < node->input_count; i++) {
        tm_value *value = node->inputs[i];
        const tm_dim *known = NULL;
        int64_t count = 0;
        if (!(tm_type_is_integer(value->type) || value->type == TAMIS_TYPE_BOOL) || value->rank != 1 ||
            !tm_dim_is_constant(value->dims[0]) || value->dims[0]->constant > TM_MAX_ELEMENTS)
            return;
        const bool is_known = tm_infer_known_elements(context, value, &known, &count);
        any_known = any_known || is_known;
        all_known = all_known && is_known;
        loadable =
            loadable && (is_known || value->type == TAMIS_TYPE_INT64 || value->type == TAMIS_TYPE_INT32);
        total += value->dims[0]->constant;
    }
    if (total > TM_MAX_ELEMENTS || !any_known || (!all_known && (total > MAX_LOADED || !loadable)))
        return;
    tm_dim *elements = TM_NEW_ARRAY(context->arena, tm_dim, total + 1);
    int64_t at = 0;
    for (int i = 0; i < node->input_count; i++)
        for (int64_t j = 0; j < node->inputs[i]->dims[0]->constant; j++)
            elements[at++] = tm_infer_element(context, node->inputs[i], j);
    tm_infer_set_elements(context, node, 0, elements, total);
}

tm_code tm_infer_concat(tm_infer_context *context, tm_node *node) {
    for (int i = 0; i < node->input_count; i++)
        TM_TRY(tm_infer_need(node, i, i == 0 ? -1 : tm_infer_input(node, 0)->rank));
    const tm_value *first = tm_infer_input(node, 0);
    const int64_t wanted = tm_node_int(node, "axis");
    if (wanted == TM_NO_DEFAULT)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "axis is missing");
    int axis = 0;
    TM_TRY(tm_infer_axis(node, wanted, first->rank, &axis));
    tm_dim out[TAMIS_MAX_RANK];
    for (int d = 0; d < first->rank; d++)
        out[d] = first->dims[d];
    for (int i = 1; i < node->input_count; i++) {
        const tm_value *value = node->inputs[i];
        TM_TRY(tm_infer_same_type(node, 0, i));
        for (int d = 0; d < first->rank; d++) {
            if (d == axis) {
                out[d] = tm_dim_add(context->dims, out[d], value->dims[d]);
                continue;
            }
            TM_TRY(tm_infer_equal(context, node, out[d], value->dims[d], "dims of the inputs besides axis"));
            if (tm_dim_is_constant(value->dims[d]))
                out[d] = value->dims[d];
        }
    }
    tm_infer_set(node, 0, first->type, first->rank, out);
    concat_elements(context, node);
    return TM_OK;
}

/* The shape may have fewer dims than the data. One of unknown length has at most as many as the result is
 * declared to have, and where that is more than the data have, just as many. */
static tm_code expanded_rank(tm_infer_context *context, tm_node *node, tm_shape_list *out_shape,
                             int *out_rank) {
    const char what[] = "dims of the shape";
    TM_TRY(tm_shape_list_open(context, node, 1, what, TAMIS_MAX_RANK, out_shape));
    const tm_value *output = tm_infer_output(node, 0);
    const int least = *out_rank;
    const bool lower =
        out_shape->length->high <= least ||
        (!tm_dim_is_constant(out_shape->length) && output != NULL && tm_infer_declared_rank(output) == least);
    if (lower)
        return tm_shape_list_open(context, node, 1, what, least, out_shape);
    TM_TRY(tm_shape_list_open_ranked(context, node, 1, what, 1, 0, out_shape));
    *out_rank = out_shape->most;
    return TM_OK;
}

tm_code tm_infer_expand(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    tm_value *data = tm_infer_input(node, 0);
    tm_shape_list shape;
    int rank = data->rank;
    TM_TRY(expanded_rank(context, node, &shape, &rank));
    tm_dim out[TAMIS_MAX_RANK], one = tm_infer_const(context, 1);
    int64_t dense[TAMIS_MAX_RANK], strides[TAMIS_MAX_RANK] = {0}, count = 0;
    const bool constant = tm_movement_strides(data->rank, data->dims, dense, &count);
    for (int i = 0; i < rank; i++) {
        const int from_data = i - (rank - data->rank);
        tm_dim old = from_data >= 0 ? data->dims[from_data] : NULL;
        tm_dim wanted = tm_shape_list_entry_from_end(context, &shape, rank - 1 - i, one);
        out[i] = old == NULL ? wanted : tm_dim_broadcast(context->dims, old, wanted);
        if (out[i] == NULL || (tm_dim_is_constant(out[i]) && out[i]->constant < 0))
            return tm_infer_fail(node, TM_E_SHAPE, "dim %d of the input does not broadcast to the shape",
                                 from_data);
        if (constant && old != NULL && !tm_dim_is(old, 1))
            strides[i] = dense[from_data];
    }
    tm_infer_set(node, 0, data->type, rank, out);
    if (constant)
        tm_movement_carry(context, node, 0, data, 0, strides);
    return TM_OK;
}

tm_code tm_infer_tile(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    tm_value *data = tm_infer_input(node, 0);
    tm_shape_list repeats;
    TM_TRY(tm_shape_list_open_exact(context, node, 1, "repeats and dims", data->rank, &repeats));
    tm_dim out[TAMIS_MAX_RANK];
    for (int i = 0; i < data->rank; i++) {
        tm_dim times = tm_infer_element(context, repeats.value, i);
        if (tm_dim_is_constant(times) && times->constant < 0)
            return tm_infer_fail(node, TM_E_SHAPE, "axis %d is repeated %lld times", i,
                                 (long long)times->constant);
        out[i] = tm_dim_mul(context->dims, data->dims[i], times);
    }
    tm_infer_set(node, 0, data->type, data->rank, out);
    const tm_dim *known = NULL;
    int64_t count = 0;
    if (data->rank == 1 && tm_infer_known_elements(context, data, &known, &count) &&
        tm_dim_is_constant(out[0]) && out[0]->constant <= TM_MAX_ELEMENTS && count > 0) {
        tm_dim *elements = TM_NEW_ARRAY(context->arena, tm_dim, out[0]->constant + 1);
        for (int64_t i = 0; i < out[0]->constant; i++)
            elements[i] = known[i % count];
        tm_infer_set_elements(context, node, 0, elements, out[0]->constant);
    }
    return TM_OK;
}

tm_code tm_infer_trilu(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    const tm_value *data = tm_infer_input(node, 0);
    if (data->rank < 2)
        return tm_infer_fail(node, TM_E_SHAPE, "the input has rank %d, at least 2 is needed", data->rank);
    if (tm_infer_input(node, 1) != NULL) {
        static const tamis_type integer[] = {TAMIS_TYPE_INT64, 0};
        TM_TRY(tm_infer_need_one(context, node, 1, "k must have one element"));
        TM_TRY(tm_infer_need_type(node, 1, integer));
    }
    tm_infer_set_like(node, 0, data->type, data);
    return TM_OK;
}

tm_code tm_infer_depth_space(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, 4));
    tm_dims *dims = context->dims;
    const tm_value *data = tm_infer_input(node, 0);
    const int64_t block = tm_node_int(node, "blocksize");
    if (block == TM_NO_DEFAULT || block < 1 || block > 32767)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "blocksize is missing or not positive");
    tm_dim side = tm_infer_const(context, block), area = tm_infer_const(context, block * block);
    tm_dim out[4] = {data->dims[0]};
    if (node->op == TM_OP_DepthToSpace) {
        const char *mode = tm_node_string(node, "mode");
        if (strcmp(mode, "DCR") != 0 && strcmp(mode, "CRD") != 0)
            return tm_infer_fail(node, TM_E_ATTRIBUTE, "mode is neither DCR nor CRD");
        out[1] = tm_dim_floordiv(dims, data->dims[1], area);
        TM_TRY(tm_infer_equal(context, node, tm_dim_mul(dims, out[1], area), data->dims[1],
                              "the channels and a multiple of blocksize squared"));
        out[2] = tm_dim_mul(dims, data->dims[2], side);
        out[3] = tm_dim_mul(dims, data->dims[3], side);
    } else {
        out[1] = tm_dim_mul(dims, data->dims[1], area);
        for (int i = 2; i < 4; i++) {
            out[i] = tm_dim_floordiv(dims, data->dims[i], side);
            TM_TRY(tm_infer_equal(context, node, tm_dim_mul(dims, out[i], side), data->dims[i],
                                  "height or width and a multiple of blocksize"));
        }
    }
    tm_infer_set(node, 0, data->type, 4, out);
    return TM_OK;
}

tm_code tm_infer_reverse_sequence(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need(node, 1, 1));
    static const tamis_type integer[] = {TAMIS_TYPE_INT64, 0};
    TM_TRY(tm_infer_need_type(node, 1, integer));
    const tm_value *data = tm_infer_input(node, 0);
    const int64_t batch = tm_node_int(node, "batch_axis"), time = tm_node_int(node, "time_axis");
    if (data->rank < 2)
        return tm_infer_fail(node, TM_E_SHAPE, "the input has rank %d, at least 2 is needed", data->rank);
    if (batch < 0 || batch > 1 || time < 0 || time > 1 || batch == time)
        return tm_infer_fail(node, TM_E_ATTRIBUTE,
                             "batch_axis and time_axis must be 0 and 1, in either order");
    TM_TRY(tm_infer_equal(context, node, tm_infer_input(node, 1)->dims[0], data->dims[batch],
                          "the number of sequence lengths and the batch"));
    tm_infer_set_like(node, 0, data->type, data);
    return TM_OK;
}
