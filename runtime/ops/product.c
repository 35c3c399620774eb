/* SPDX-License-Identifier: Apache-2.0
 *
 * The matrix product for float (and float16, bfloat16 through packing) and 32-bit integers; see product.h.
 * product_wide.c has the 64-bit types: an artifact that needs one need not carry the other.
 */
#include "runtime/ops/product.h"
#include "runtime/ops/element.h"

#define T float
#define N f32
#define INTERLEAVE_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define INTERLEAVE_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#include "runtime/ops/product.inc"

#define T uint32_t
#define N u32
#define INTERLEAVE_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define INTERLEAVE_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#include "runtime/ops/product.inc"

#define X(s, S, C)                                                                                          \
    void tm_product_pack_##s(const tm_product_f32 *p, int64_t k0, int64_t depth, int64_t n0, int64_t width, \
                             float *panel) {                                                                \
        const S *b = (const S *)p->b + k0 * p->b_row + n0 * p->b_column;                                    \
        const int64_t full = TM_PANEL_BYTES / (int64_t)sizeof(float);                                       \
        for (int64_t k = 0; k < depth; k++) {                                                               \
            if (p->b_column == 1)                                                                           \
                for (int64_t j = 0; j < width; j++)                                                         \
                    panel[k * full + j] = tm_load_##s(b[k * p->b_row + j]);                                 \
            else                                                                                            \
                for (int64_t j = 0; j < width; j++)                                                         \
                    panel[k * full + j] = tm_load_##s(b[k * p->b_row + j * p->b_column]);                   \
            for (int64_t j = width; j < full; j++)                                                          \
                panel[k * full + j] = 0;                                                                    \
        }                                                                                                   \
    }
TM_FOR_HALF_TYPES(X)
#undef X
