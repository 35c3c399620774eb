/* SPDX-License-Identifier: Apache-2.0
 *
 * product.h: the matrix product under MatMul, Gemm, Einsum, Conv, attention and the recurrent ops.
 *
 *     C[m, n] = A[m, k] * B[k, n]        (or C += with `accumulate`)
 *
 * A and B have any strides, so transposed operands need no copy. B may also be something that is made
 * on the fly: `pack` fills one panel of it (im2col of a convolution, conversion from float16).
 *
 * Each element of C is one sum over k in ascending order, for any m, any cut into blocks and any number
 * of threads. (For n below TM_THIN_COLUMNS it is a fixed number of interleaved sums instead.)
 * Instances: f32, f64, u32, u64; the unsigned ones serve the signed types, as products wrap around alike.
 */
#ifndef TM_OPS_PRODUCT_H
#define TM_OPS_PRODUCT_H

#include "runtime/kernel.h"

#define TM_THIN_COLUMNS 8

#ifdef __AVX512F__
#define TM_PANEL_BYTES 128
#define TM_TILE_ROWS 8
#define TM_WIDE __attribute__((min_vector_width(512)))
#else
#define TM_PANEL_BYTES 64
#define TM_TILE_ROWS 6
#define TM_WIDE
#endif
/* Rows of B in one panel: the panel is 16 KiB of stack. */
#define TM_PANEL_DEPTH (16384 / TM_PANEL_BYTES)

#define TM_PRODUCT(s, T)                                                                                    \
    typedef struct tm_product_##s {                                                                         \
        int64_t m, n, k;                                                                                    \
        const T *a;                                                                                         \
        int64_t a_row, a_column;                                                                            \
        const void *b; /* elements of type T unless there is `pack` */                                      \
        int64_t b_row, b_column;                                                                            \
        T *c;                                                                                               \
        int64_t c_row;                                                                                      \
        bool accumulate;                                                                                    \
        /* Fills panel[depth][TM_PANEL_BYTES / sizeof(T)] with B[k0.., n0..]; columns from `width` on with  \
         * 0. */                                                                                            \
        void (*pack)(const struct tm_product_##s *product, int64_t k0, int64_t depth, int64_t n0,           \
                     int64_t width, T *panel);                                                              \
        const void *context;                                                                                \
    } tm_product_##s;                                                                                       \
    /* What `pack` is when there is none: from B, by its strides. */                                        \
    void tm_product_pack_##s(const tm_product_##s *product, int64_t k0, int64_t depth, int64_t n0,          \
                             int64_t width, T *panel);                                                      \
    /* Rows m0..m1, columns n0..n1 of C, in the calling thread. */                                          \
    void tm_product_block_##s(const tm_product_##s *product, int64_t m0, int64_t m1, int64_t n0,            \
                              int64_t n1);                                                                  \
    /* `batches` products in parallel; locate() moves a copy of `product` to one of them (NULL: only one).  \
     */                                                                                                     \
    int32_t tm_product_run_##s(tm_run *run, const tm_product_##s *product, int64_t batches,                 \
                               void (*locate)(const void *context, int64_t batch, tm_product_##s *product), \
                               const void *context);
TM_PRODUCT(f32, float)
TM_PRODUCT(f64, double)
TM_PRODUCT(u32, uint32_t)
TM_PRODUCT(u64, uint64_t)
#undef TM_PRODUCT

/* For float16 and bfloat16 operands: `pack` of B stored so. */
void tm_product_pack_f16(const tm_product_f32 *product, int64_t k0, int64_t depth, int64_t n0, int64_t width,
                         float *panel);
void tm_product_pack_bf16(const tm_product_f32 *product, int64_t k0, int64_t depth, int64_t n0, int64_t width,
                          float *panel);

#endif
