/* SPDX-License-Identifier: Apache-2.0
 *
 * support_attention.c: the edges of attention regions: rows of memory to vectors over queries, and back.
 *
 * The loops of codegen/llvm/region_attention.c hold queries in the lanes of vectors. `width` queries lie side
 * by side,
 *
 *     turned[d][lane] = scale * query[lane][d]
 *
 * and lanes beyond the last query repeat it, so that they compute and store the same answer. Squares of 8 by
 * 8 are turned in registers by two rounds of shuffles; at the end of a row the last square overlaps the one
 * before it, which writes some numbers twice. It is the same work for all head sizes and levels, so it is a
 * kernel and costs no time of compilation. With a scale of 1 numbers are moved as they are, whatever their
 * bits mean: attention on bytes turns words of them.
 */
#include "runtime/kernel.h"
#include "runtime/support.h"

#define SIDE 8

typedef float row4 __attribute__((vector_size(16), aligned(4)));
typedef float row8 __attribute__((vector_size(32), aligned(4)));
typedef int32_t bits8 __attribute__((vector_size(32)));
typedef uint8_t bytes8 __attribute__((vector_size(8), aligned(1)));

/* This file is compiled for size, which would keep lists of vectors in memory. Builds for debugging keep the
 * loops. */
#pragma clang diagnostic ignored "-Wpass-failed"
#define UNROLL _Pragma("clang loop unroll(full)")

/* Four numbers each of two rows. */
static inline void load_two(row8 *to, const float *low, const float *high) {
    const row4 a = *(const row4 *)(const void *)low, b = *(const row4 *)(const void *)high;
    *to = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
}

/* Eight numbers from each from[rows[i]] on become columns: number k of all goes to to[columns[k]...]. Four
 * numbers of rows i and i + 4 are loaded as one vector, so that no step moves a number between the halves of
 * vectors. */
static __attribute__((noinline)) void turn(const float *from, const int64_t *rows, float *to,
                                           const int64_t *columns, float scale) {
    UNROLL for (int c = 0; c < SIDE; c += 4) {
        row8 a[4], pairs[4], out[4];
        UNROLL for (int i = 0; i < 4; i++) {
            load_two(&a[i], from + rows[i] + c, from + rows[i + 4] + c);
        }
        if (scale != 1)
            UNROLL for (int i = 0; i < 4; i++)
                a[i] *= scale;
        UNROLL for (int i = 0; i < 2; i++) {
            pairs[2 * i] = __builtin_shufflevector(a[2 * i], a[2 * i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
            pairs[2 * i + 1] = __builtin_shufflevector(a[2 * i], a[2 * i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
        }
        UNROLL for (int i = 0; i < 2; i++) {
            out[2 * i] = __builtin_shufflevector(pairs[i], pairs[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            out[2 * i + 1] = __builtin_shufflevector(pairs[i], pairs[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
        UNROLL for (int i = 0; i < 4; i++)
            *(row8 *)(void *)(to + columns[c + i]) = out[i];
    }
}

static inline int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Where eight rows from r on start; those from `rows` on repeat the last one. */
static void start(int64_t *starts, int64_t r, int64_t rows, int64_t stride) {
    for (int i = 0; i < SIDE; i++)
        starts[i] = smaller(r + i, rows - 1) * stride;
}

/* A column of eight rows from r on. */
static inline void load_column(row8 *to, const float *from, int64_t stride, int64_t r, int64_t rows) {
    const int64_t last = rows - 1;
    *to = (row8){from[smaller(r, last) * stride],     from[smaller(r + 1, last) * stride],
                 from[smaller(r + 2, last) * stride], from[smaller(r + 3, last) * stride],
                 from[smaller(r + 4, last) * stride], from[smaller(r + 5, last) * stride],
                 from[smaller(r + 6, last) * stride], from[smaller(r + 7, last) * stride]};
}

void tm_attention_turn(const float *from, int64_t stride, int64_t rows, int64_t columns, float *to,
                       int64_t width, float scale) {
    int64_t starts[SIDE], columns_at[SIDE];
    start(columns_at, 0, SIDE, width);
    for (int64_t r = 0; r < width; r += SIDE) {
        start(starts, r, rows, stride);
        for (int64_t begin = 0; begin < columns; begin += SIDE) {
            const int64_t c = smaller(begin, columns - SIDE);
            turn(from + c, starts, to + c * width + r, columns_at, scale);
        }
    }
}

void tm_attention_return(const float *from, int64_t width, int64_t rows, int64_t columns, float *to,
                         int64_t stride) {
    int64_t starts[SIDE], columns_at[SIDE];
    start(columns_at, 0, SIDE, width);
    for (int64_t r = 0; r < rows; r += SIDE) {
        start(starts, r, rows, stride);
        for (int64_t begin = 0; begin < columns; begin += SIDE) {
            const int64_t c = smaller(begin, columns - SIDE);
            turn(from + c * width + r, columns_at, to + c, starts, 1);
        }
    }
}

void tm_attention_turn_few(const float *from, int64_t stride, int64_t rows, int64_t columns, float *to,
                           int64_t width, float scale) {
    for (int64_t r = 0; r < width; r += SIDE)
        for (int64_t c = 0; c < columns; c++) {
            row8 x;
            load_column(&x, from + c, stride, r, rows);
            *(row8 *)(void *)(to + c * width + r) = scale == 1 ? x : x * scale;
        }
}

void tm_attention_return_few(const float *from, int64_t width, int64_t rows, int64_t columns, float *to,
                             int64_t stride) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            to[r * stride + c] = from[c * width + r];
}

/* What a mask adds: its numbers, or -inf where a bool is false. */
static inline float added(const void *mask, int64_t at, bool flags) {
    return !flags ? ((const float *)mask)[at] : ((const uint8_t *)mask)[at] != 0 ? 0 : -__builtin_inff();
}

static inline void add8(row8 *to, const void *mask, int64_t at, bool flags) {
    if (!flags) {
        *to = *(const row8 *)(const void *)((const float *)mask + at);
        return;
    }
    const bits8 wide =
        __builtin_convertvector(*(const bytes8 *)(const void *)((const uint8_t *)mask + at), bits8);
    const bits8 minus_infinity = (wide == 0) & (int32_t)0xff800000;
    *to = (row8)minus_infinity;
}

/* Is any number of the mask, 8 of them from `at` on, more than `least`, or not a number? */
static inline bool any8(const void *mask, int64_t at, bool flags, float least) {
    row8 x;
    add8(&x, mask, at, flags);
    const bits8 more = ~(x <= least);
    int32_t any = 0;
    UNROLL for (int i = 0; i < SIDE; i++)
        any |= more[i];
    return any != 0;
}

/* The same for a row of it. */
static inline bool any_in_row(const void *mask, int64_t at, bool flags, int64_t key_stride, int64_t keys,
                              float least) {
    int64_t key = 0;
    for (; key_stride == 1 && key + SIDE <= keys; key += SIDE)
        if (any8(mask, at + key, flags, least))
            return true;
    for (; key < keys; key++)
        if (!(added(mask, at + key * key_stride, flags) <= least))
            return true;
    return false;
}

static inline int32_t add_mask(const void *mask, bool flags, int64_t query_stride, int64_t key_stride,
                               int64_t rows, int64_t keys, float *to, int64_t width, int64_t padding,
                               float least) {
    const float lowest = -__builtin_inff();
    int64_t key = 0;
    int64_t sides[SIDE], columns[SIDE];
    bool any = false;
    for (int64_t r = 0; r < (query_stride == 0 ? 1 : rows) && !any; r++)
        any = any_in_row(mask, r * query_stride, flags, key_stride, keys, least);
    if (!any)
        return 0;
    start(sides, 0, SIDE, SIDE);
    start(columns, 0, SIDE, width);
    if (key_stride == 1 && query_stride != 0)
        for (; key + SIDE <= keys; key += SIDE)
            for (int64_t r = 0; r < width; r += SIDE) {
                row8 a[SIDE];
                for (int i = 0; i < SIDE; i++)
                    add8(&a[i], mask, smaller(r + i, rows - 1) * query_stride + key, flags);
                turn((const float *)a, sides, to + key * width + r, columns, 1);
            }
    if (query_stride == 0)
        for (; key < keys; key++) {
            const float x = added(mask, key * key_stride, flags);
            const row8 all = {x, x, x, x, x, x, x, x};
            for (int64_t r = 0; r < width; r += SIDE)
                *(row8 *)(void *)(to + key * width + r) = all;
        }
    for (; key < keys; key++) {
        float x = 0;
        for (int64_t r = 0; r < width; r++) {
            if (r < rows)
                x = added(mask, r * query_stride + key * key_stride, flags);
            to[key * width + r] = x;
        }
    }
    for (int64_t i = 0; i < padding * width; i++)
        to[keys * width + i] = lowest;
    return 1;
}

int32_t tm_attention_mask_f32(const float *mask, int64_t query_stride, int64_t key_stride, int64_t rows,
                              int64_t keys, float *to, int64_t width, int64_t padding, float least) {
    return add_mask(mask, false, query_stride, key_stride, rows, keys, to, width, padding, least);
}

int32_t tm_attention_mask_bool(const uint8_t *mask, int64_t query_stride, int64_t key_stride, int64_t rows,
                               int64_t keys, float *to, int64_t width, int64_t padding, float least) {
    return add_mask(mask, true, query_stride, key_stride, rows, keys, to, width, padding, least);
}
