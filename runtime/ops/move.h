/* SPDX-License-Identifier: Apache-2.0
 *
 * move.h: the one engine behind the ops that move elements without changing them.
 *
 * Transpose, Slice, Split, Concat, Expand, Tile, Pad, DepthToSpace and their like are all one loop,
 *
 *     for all i in dims:  to[to_offset + sum i*to_strides] = from[from_offset + sum i*from_strides]
 *
 * with other strides: permuted (Transpose), negative (Slice with a negative step), zero (Expand, a
 * fill). A kernel describes its move and hands it to the mover of its width; the mover drops unit
 * dims, merges neighbours and picks run copies, fills or tiled transposes, in parallel when large.
 * Kernels get the mover as a pointer, so an artifact links only the widths that its model uses.
 */
#ifndef TM_RUNTIME_OPS_MOVE_H
#define TM_RUNTIME_OPS_MOVE_H

#include "runtime/ops/element.h"

/* Tile and DepthToSpace split each axis in two. */
#define TM_MOVE_RANK (2 * TAMIS_MAX_RANK)

typedef struct tm_move {
    const void *from;
    void *to;
    int64_t from_offset, to_offset; /* in elements, as the strides */
    int32_t rank;
    int64_t dims[TM_MOVE_RANK];
    int64_t from_strides[TM_MOVE_RANK];
    int64_t to_strides[TM_MOVE_RANK];
} tm_move;

/* A body shared by the kernels of all widths: compiled once. */
#define TM_BODY static __attribute__((noinline)) int32_t

typedef int32_t (*tm_mover)(tm_run *run, const tm_move *move);

/* The widths of kernel keys "W0": suffix and bits of one element. */
#define TM_EACH_WIDTH(X) X(b2, 2) X(b4, 4) X(w1, 8) X(w2, 16) X(w4, 32) X(w8, 64) X(w16, 128)
#define TM_EACH_BYTE_WIDTH(X) X(w1, 8) X(w2, 16) X(w4, 32) X(w8, 64) X(w16, 128)

#define TM_DECLARE_MOVER(width, bits) int32_t tm_move_##width(tm_run *run, const tm_move *move);
TM_EACH_WIDTH(TM_DECLARE_MOVER)
#undef TM_DECLARE_MOVER

/* Row-major strides of dims. */
static inline void tm_dense_strides(int32_t rank, const int64_t *dims, int64_t *out_strides) {
    int64_t stride = 1;
    for (int32_t i = rank - 1; i >= 0; i--) {
        out_strides[i] = stride;
        stride *= dims[i];
    }
}

/* A move with both sides dense over `dims`: the start for changes. */
static inline void tm_move_init(tm_move *move, const void *from, void *to, int32_t rank,
                                const int64_t *dims) {
    move->from = from;
    move->to = to;
    move->from_offset = 0;
    move->to_offset = 0;
    move->rank = rank;
    for (int32_t i = 0; i < rank; i++)
        move->dims[i] = dims[i];
    tm_dense_strides(rank, dims, move->from_strides);
    tm_dense_strides(rank, dims, move->to_strides);
}

/* to[offset .. offset + count) = the one element at `value`. */
static inline int32_t tm_fill(tm_run *run, tm_mover mover, void *to, int64_t offset, int64_t count,
                              const void *value) {
    tm_move move;
    tm_move_init(&move, value, to, 1, &count);
    move.to_offset = offset;
    move.from_strides[0] = 0;
    return mover(run, &move);
}

/* Element i of an int32 or int64 tensor (shapes, axes, indices). */
static inline int64_t tm_index_at(const tamis_tensor *tensor, int64_t i) {
    return tensor->type == TAMIS_TYPE_INT32 ? ((const int32_t *)tensor->data)[i]
                                            : ((const int64_t *)tensor->data)[i];
}

/* Packed elements: element i of 2 or 4 bits. */
static inline unsigned tm_bits_get(const void *data, int64_t i, int bits) {
    const int64_t per_byte = 8 / bits;
    return (unsigned)((const uint8_t *)data)[i / per_byte] >> ((i % per_byte) * bits) & ((1u << bits) - 1u);
}
static inline void tm_bits_set(void *data, int64_t i, int bits, unsigned value) {
    const int64_t per_byte = 8 / bits;
    const int shift = (int)(i % per_byte) * bits;
    uint8_t *byte = (uint8_t *)data + i / per_byte;
    const unsigned mask = ((1u << bits) - 1u) << shift;
    *byte = (uint8_t)((*byte & ~mask) | (value << shift & mask));
}

/* Copies `count` elements between positions counted in elements. */
static inline void tm_copy_elements(void *to, int64_t to_at, const void *from, int64_t from_at, int64_t count,
                                    int bits) {
    if (bits >= 8) {
        const int64_t bytes = bits / 8;
        memcpy((char *)to + to_at * bytes, (const char *)from + from_at * bytes, (size_t)(count * bytes));
        return;
    }
    for (int64_t i = 0; i < count; i++)
        tm_bits_set(to, to_at + i, bits, tm_bits_get(from, from_at + i, bits));
}

/* Sets `count` elements from the start of `to` to the one at `value`: the first, then copies of what is
 * there. */
static inline void tm_fill_elements(void *to, const void *value, int64_t count, int bits) {
    if (bits < 8) {
        unsigned byte = tm_bits_get(value, 0, bits);
        for (int have = bits; have < 8; have *= 2)
            byte |= byte << have;
        memset(to, (int)byte, (size_t)((count * bits + 7) / 8));
        if (count * bits % 8 != 0)
            ((uint8_t *)to)[count * bits / 8] &= (uint8_t)((1u << count * bits % 8) - 1u);
        return;
    }
    const int64_t bytes = count * (bits / 8);
    int64_t done = bits / 8;
    if (bytes > 0)
        memcpy(to, value, (size_t)done);
    while (done < bytes) {
        int64_t more = done < 4096 ? done : 4096;
        more = more < bytes - done ? more : bytes - done;
        memcpy((char *)to + done, to, (size_t)more);
        done += more;
    }
}

/* Types by suffix: tm_type_of_f32 is TAMIS_TYPE_FLOAT. */
enum {
#define TM_TYPE(number, name, text, suffix, bits) tm_type_of_##suffix = number,
#include "tamis/types.def"
#undef TM_TYPE
};

/* Bits of an element of a type. */
static inline int tm_type_width(int32_t type) {
    switch (type) {
#define TM_TYPE(number, name, text, suffix, bits) \
    case number:                                  \
        return bits;
#include "tamis/types.def"
#undef TM_TYPE
    default:
        return 0;
    }
}

/* Do all of `count` indices fit -bound..bound-1? Records the first that does not. */
static inline int32_t tm_check_indices(tm_run *run, const tm_call *call, const tamis_tensor *indices,
                                       int64_t bound) {
    const int64_t count = tm_count(indices);
    for (int64_t i = 0; i < count; i++) {
        const int64_t index = tm_index_at(indices, i);
        if (index < -bound || index >= bound)
            return tm_fail(run, call, TM_RUN_INDEX_RANGE, index, bound);
    }
    return 0;
}

/* Clears the last byte of a packed tensor, so that the bits behind the last element are always 0. */
static inline void tm_clear_tail(const tamis_tensor *tensor, int bits) {
    const int64_t count = tm_count(tensor);
    if (bits < 8 && count > 0)
        ((uint8_t *)tensor->data)[(count - 1) / (8 / bits)] = 0;
}

#endif
