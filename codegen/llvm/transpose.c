/* SPDX-License-Identifier: Apache-2.0
 *
 * transpose.c: words of 4 bytes, columns to rows; see transpose.h.
 *
 * Columns are numbered 4 * l + j, l a part of 16 bytes of a vector. Vector j is put together from those of
 * one j, which loads do, and then each part is a matrix of 4 by 4 of its own, two interleavings deep:
 *
 *     j = 0: a0 a1 a2 a3 | ..      a0 b0 a1 b1 | ..      a0 b0 c0 d0 | ..
 *     j = 1: b0 b1 b2 b3 | ..  ->  c0 d0 c1 d1 | ..  ->  a1 b1 c1 d1 | ..
 */
#include "codegen/llvm/transpose.h"

#define PART 4 /* words */
#define MOST_LANES 32

static LLVMValueRef at(tm_region *r, LLVMValueRef base, int64_t bytes) {
    LLVMValueRef offset = tm_int(r, bytes);
    return LLVMBuildInBoundsGEP2(r->e->builder, r->e->i8, base, &offset, 1, "");
}

static LLVMValueRef shuffle(tm_region *r, LLVMValueRef a, LLVMValueRef b, const int *from, int count) {
    LLVMValueRef lanes[MOST_LANES];
    for (int i = 0; i < count; i++)
        lanes[i] = tm_emit_i32(r->e, from[i]);
    return LLVMBuildShuffleVector(r->e->builder, a, b, LLVMConstVector(lanes, (unsigned)count), "");
}

/* The parts of columns j, j + 4, .. in one vector. */
static LLVMValueRef gather(tm_region *r, LLVMValueRef from, int64_t stride, int j) {
    LLVMTypeRef part = LLVMVectorType(r->e->i32, PART);
    LLVMValueRef parts[MOST_LANES / PART];
    int from_lanes[MOST_LANES], count = r->lanes / PART;
    for (int i = 0; i < MOST_LANES; i++)
        from_lanes[i] = i;
    for (int l = 0; l < count; l++) {
        parts[l] = LLVMBuildLoad2(r->e->builder, part, at(r, from, (PART * l + j) * stride), "");
        LLVMSetAlignment(parts[l], 4);
    }
    for (int size = PART; count > 1; count /= 2, size *= 2)
        for (int l = 0; l < count / 2; l++)
            parts[l] = shuffle(r, parts[2 * l], parts[2 * l + 1], from_lanes, 2 * size);
    return parts[0];
}

/* In each part the words of a and b that the pattern names; numbers from PART on are of b. */
static LLVMValueRef interleave(tm_region *r, LLVMValueRef a, LLVMValueRef b, const int pattern[PART]) {
    int from[MOST_LANES];
    for (int i = 0; i < r->lanes; i++) {
        int word = pattern[i % PART], part = i / PART * PART;
        from[i] = part + (word < PART ? word : r->lanes + word - PART);
    }
    return shuffle(r, a, b, from, r->lanes);
}

void tm_transpose(tm_region *r, LLVMValueRef from, int64_t from_stride, LLVMValueRef to, int64_t to_stride) {
    static const int low[PART] = {0, 4, 1, 5}, high[PART] = {2, 6, 3, 7}, low_pairs[PART] = {0, 1, 4, 5},
                     high_pairs[PART] = {2, 3, 6, 7};
    LLVMValueRef v[PART], pairs[PART];
    for (int j = 0; j < PART; j++)
        v[j] = gather(r, from, from_stride, j);
    for (int j = 0; j < PART; j += 2) {
        pairs[j] = interleave(r, v[j], v[j + 1], low);
        pairs[j + 1] = interleave(r, v[j], v[j + 1], high);
    }
    for (int row = 0; row < TM_TRANSPOSE_ROWS; row++) {
        LLVMValueRef line =
            interleave(r, pairs[row / 2], pairs[2 + row / 2], row % 2 ? high_pairs : low_pairs);
        LLVMSetAlignment(LLVMBuildStore(r->e->builder, line, at(r, to, row * to_stride)), 4);
    }
}
