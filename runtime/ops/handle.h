/* SPDX-License-Identifier: Apache-2.0
 *
 * handle.h: lists that kernels read and make: what values other than tensors are (runtime/sequence.h).
 *
 * Lists and the tensors that go into them live in the run's arena. A tensor is copied when it goes in, since
 * its memory may be given to another value later; items that are lists themselves are shared.
 */
#ifndef TM_OPS_HANDLE_H
#define TM_OPS_HANDLE_H

#include "runtime/kernel.h"
#include "runtime/sequence.h"

static inline int64_t tm_list_length(const tamis_tensor *value) {
    return value->data == NULL ? 0 : ((const tm_sequence *)value->data)->count;
}
static inline const tamis_tensor *tm_list_item(const tamis_tensor *value, int64_t i) {
    return &((const tm_sequence *)value->data)->items[i];
}

/* NULL: failed, recorded. */
static inline tm_sequence *tm_list_create(tm_run *run, const tm_call *call, int64_t count) {
    tm_sequence *list = tm_arena(run, call, (int64_t)sizeof *list + count * (int64_t)sizeof(tamis_tensor));
    if (list != NULL)
        list->count = count;
    return list;
}

/* A tensor with its own dims and memory in the arena. */
static inline int32_t tm_item_create(tm_run *run, const tm_call *call, tamis_tensor *item, int32_t type,
                                     int32_t rank, const int64_t *dims) {
    const int64_t bytes = tm_type_bytes(type, tm_product(dims, 0, rank));
    *item = (tamis_tensor){.rank = rank, .type = (uint8_t)type, .kind = TAMIS_KIND_TENSOR};
    item->dims = tm_arena(run, call, (rank > 0 ? rank : 1) * (int64_t)sizeof *dims);
    item->data = tm_arena(run, call, bytes > 0 ? bytes : 1);
    if (item->dims == NULL || item->data == NULL)
        return run->code;
    for (int32_t i = 0; i < rank; i++)
        item->dims[i] = dims[i];
    return 0;
}

static inline int32_t tm_item_copy(tm_run *run, const tm_call *call, tamis_tensor *item,
                                   const tamis_tensor *from) {
    if (from->kind != TAMIS_KIND_TENSOR) {
        *item = *from;
        item->dims = NULL;
        item->rank = -1;
        return 0;
    }
    int32_t code = tm_item_create(run, call, item, from->type, from->rank, from->dims);
    const int64_t bytes = tm_type_bytes(from->type, tm_count(from));
    if (code == 0 && bytes > 0)
        memcpy(item->data, from->data, (size_t)bytes);
    return code;
}

/* Makes the item output 0 (of a TM_DYNAMIC op). */
static inline int32_t tm_item_give(tm_run *run, const tm_call *call, const tamis_tensor *item) {
    if (item->kind != TAMIS_KIND_TENSOR) {
        tm_out(run, call, 0)->data = item->data;
        return 0;
    }
    int32_t code = tm_output(run, call, 0, item->rank, item->dims);
    const int64_t bytes = tm_type_bytes(item->type, tm_count(item));
    if (code == 0 && bytes > 0)
        memcpy(tm_out(run, call, 0)->data, item->data, (size_t)bytes);
    return code;
}

#endif
