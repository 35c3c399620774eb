/* SPDX-License-Identifier: Apache-2.0
 *
 * sequence.c: the kernels of sequences (runtime/sequence.h).
 *
 * A sequence never changes once it is made, so SequenceInsert makes a new list that shares the items of
 * the old one: only the tensor that goes in is copied, for its memory may be given to another value
 * later. Lists and copies live in the run's arena.
 */
#include "runtime/ops/handle.h"
#include "runtime/ops/move.h"

/* The optional position in input `i`, from the end when negative, in 0..bound. */
static int32_t position_of(tm_run *run, const tm_call *call, int i, int64_t length, int64_t bound,
                           int64_t otherwise, int64_t *out) {
    const tamis_tensor *given = tm_in(run, call, i);
    int64_t position = given != NULL ? tm_index_at(given, 0) : otherwise;
    *out = position + (position < 0 ? length : 0);
    return *out < 0 || *out > bound ? tm_fail(run, call, TM_RUN_SEQUENCE, position, bound + 1) : 0;
}

int32_t tm_k_SequenceEmpty(tm_run *run, const tm_call *call) {
    tm_out(run, call, 0)->data = NULL;
    return 0;
}

int32_t tm_k_SequenceConstruct(tm_run *run, const tm_call *call) {
    tm_sequence *list = tm_list_create(run, call, call->n_in);
    if (list == NULL)
        return run->code;
    for (int i = 0; i < call->n_in; i++) {
        int32_t code = tm_item_copy(run, call, &list->items[i], tm_in(run, call, i));
        if (code != 0)
            return code;
    }
    tm_out(run, call, 0)->data = list;
    return 0;
}

int32_t tm_k_SequenceInsert(tm_run *run, const tm_call *call) {
    const tamis_tensor *sequence = tm_in(run, call, 0), *item = tm_in(run, call, 1);
    const int64_t length = tm_list_length(sequence);
    int64_t position;
    int32_t code = position_of(run, call, 2, length, length, length, &position);
    if (code != 0)
        return code;
    tm_sequence *list = tm_list_create(run, call, length + 1);
    if (list == NULL)
        return run->code;
    for (int64_t i = 0; i < length; i++)
        list->items[i < position ? i : i + 1] = *tm_list_item(sequence, i);
    code = tm_item_copy(run, call, &list->items[position], item);
    tm_out(run, call, 0)->data = list;
    return code;
}

int32_t tm_k_SequenceErase(tm_run *run, const tm_call *call) {
    const tamis_tensor *sequence = tm_in(run, call, 0);
    const int64_t length = tm_list_length(sequence);
    int64_t position;
    int32_t code = position_of(run, call, 1, length, length - 1, length - 1, &position);
    if (code != 0)
        return code;
    tm_sequence *list = tm_list_create(run, call, length - 1);
    if (list == NULL)
        return run->code;
    for (int64_t i = 0; i < length - 1; i++)
        list->items[i] = *tm_list_item(sequence, i < position ? i : i + 1);
    tm_out(run, call, 0)->data = list;
    return 0;
}

int32_t tm_k_SequenceLength(tm_run *run, const tm_call *call) {
    *(int64_t *)tm_out(run, call, 0)->data = tm_list_length(tm_in(run, call, 0));
    return 0;
}

int32_t tm_k_SequenceAt(tm_run *run, const tm_call *call) {
    const tamis_tensor *sequence = tm_in(run, call, 0);
    const int64_t length = tm_list_length(sequence);
    int64_t position;
    int32_t code = position_of(run, call, 1, length, length - 1, 0, &position);
    if (code != 0)
        return code;
    return tm_item_give(run, call, tm_list_item(sequence, position));
}

/* The dims of all items along `axis`; with new_axis, each item is a slice of length 1 of a new axis. */
static int32_t concat_dims(tm_run *run, const tm_call *call, int32_t axis, bool new_axis, int32_t *out_rank,
                           int64_t *dims) {
    const tamis_tensor *sequence = tm_in(run, call, 0), *first = tm_list_item(sequence, 0);
    const int64_t length = tm_list_length(sequence);
    const int32_t rank = first->rank + new_axis;
    for (int32_t d = 0; d < rank; d++)
        dims[d] = !new_axis || d < axis ? first->dims[d] : d > axis ? first->dims[d - 1] : length;
    for (int64_t i = 1; i < length; i++) {
        const tamis_tensor *item = tm_list_item(sequence, i);
        if (item->rank != first->rank)
            return tm_fail(run, call, TM_RUN_DIM_MISMATCH, item->rank, first->rank);
        for (int32_t d = 0; d < item->rank; d++) {
            if (!new_axis && d == axis)
                dims[d] += item->dims[d];
            else if (item->dims[d] != first->dims[d])
                return tm_fail(run, call, TM_RUN_DIM_MISMATCH, item->dims[d], first->dims[d]);
        }
    }
    *out_rank = rank;
    return 0;
}

int32_t tm_k_ConcatFromSequence(tm_run *run, const tm_call *call) {
    const tamis_tensor *sequence = tm_in(run, call, 0);
    const tm_attrs_ConcatFromSequence *a = tm_attributes(call);
    const int64_t length = tm_list_length(sequence);
    const bool new_axis = a->new_axis != 0;
    if (length == 0)
        return tm_fail(run, call, TM_RUN_SEQUENCE_EMPTY, 0, 0);
    const int32_t wanted = tm_list_item(sequence, 0)->rank + new_axis;
    const int64_t axis = a->axis + (a->axis < 0 ? wanted : 0);
    int64_t dims[TAMIS_MAX_RANK + 1], at = 0;
    int32_t rank = 0;
    if (axis < 0 || axis >= wanted || wanted > TAMIS_MAX_RANK)
        return tm_fail(run, call, TM_RUN_AXIS_RANGE, a->axis, wanted);
    int32_t code = concat_dims(run, call, (int32_t)axis, new_axis, &rank, dims);
    if (code == 0)
        code = tm_output(run, call, 0, rank, dims);
    if (code != 0)
        return code;
    const tamis_tensor *y = tm_out(run, call, 0);
    const int bits = tm_type_width(y->type);
    const int64_t outer = tm_product(dims, 0, (int32_t)axis), row = tm_product(dims, (int32_t)axis, rank);
    tm_clear_tail(y, bits);
    for (int64_t i = 0; i < length; i++) {
        const tamis_tensor *item = tm_list_item(sequence, i);
        const int64_t part = tm_product(item->dims, (int32_t)axis, item->rank);
        for (int64_t o = 0; o < outer; o++)
            tm_copy_elements(y->data, o * row + at, item->data, o * part, part, bits);
        at += part;
    }
    return 0;
}

/* Part `length` at `start` of an axis of x, without the axis when it is not kept. */
static int32_t cut_item(tm_run *run, const tm_call *call, tamis_tensor *item, int32_t axis, int64_t start,
                        int64_t length, bool keep) {
    const tamis_tensor *x = tm_in(run, call, 0);
    const int bits = tm_type_width(x->type);
    int64_t dims[TAMIS_MAX_RANK];
    int32_t rank = 0;
    for (int32_t d = 0; d < x->rank; d++)
        if (d != axis || keep)
            dims[rank++] = d == axis ? length : x->dims[d];
    int32_t code = tm_item_create(run, call, item, x->type, rank, dims);
    if (code != 0)
        return code;
    const int64_t inner = tm_product(x->dims, axis + 1, x->rank), outer = tm_product(x->dims, 0, axis);
    tm_clear_tail(item, bits);
    for (int64_t o = 0; o < outer; o++)
        tm_copy_elements(item->data, o * length * inner, x->data, (o * x->dims[axis] + start) * inner,
                         length * inner, bits);
    return 0;
}

int32_t tm_k_SplitToSequence(tm_run *run, const tm_call *call) {
    const tamis_tensor *x = tm_in(run, call, 0), *split = tm_in(run, call, 1);
    const tm_attrs_SplitToSequence *a = tm_attributes(call);
    const int32_t axis = (int32_t)(a->axis + (a->axis < 0 ? x->rank : 0));
    if (axis < 0 || axis >= x->rank)
        return tm_fail(run, call, TM_RUN_AXIS_RANGE, a->axis, x->rank);
    const int64_t dim = x->dims[axis];
    const bool equal = split == NULL || split->rank == 0; /* parts of one length, the last may be shorter */
    const int64_t chunk = split == NULL ? 1 : split->rank == 0 ? tm_index_at(split, 0) : 0;
    if (equal && chunk < 1)
        return tm_fail(run, call, TM_RUN_TOO_SMALL, chunk, 1);
    const int64_t count = equal ? dim / chunk + (dim % chunk != 0) : tm_count(split);
    tm_sequence *list = tm_list_create(run, call, count);
    if (list == NULL)
        return run->code;
    int64_t start = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t length = equal ? chunk : tm_index_at(split, i);
        if (equal && length > dim - start)
            length = dim - start;
        if (length < 0 || length > dim - start)
            return tm_fail(run, call, TM_RUN_SPLIT_SUM, start + length, dim);
        int32_t code =
            cut_item(run, call, &list->items[i], axis, start, length, split != NULL || a->keepdims != 0);
        if (code != 0)
            return code;
        start += length;
    }
    if (start != dim)
        return tm_fail(run, call, TM_RUN_SPLIT_SUM, start, dim);
    tm_out(run, call, 0)->data = list;
    return 0;
}
