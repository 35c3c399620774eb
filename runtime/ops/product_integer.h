/* SPDX-License-Identifier: Apache-2.0
 *
 * product_integer.h: the exact matrix product of 8-bit integers, for MatMulInteger, ConvInteger and QLinear*.
 *
 * Operands become 16 bits wide with their zero points already taken off: any mix of signed and unsigned
 * then fits (-255..255), and a product of pairs, a0*b0 + a1*b1, fits in 32 bits. x86 has that as one
 * instruction (vpmaddwd); it does not saturate, unlike the 8-bit one. So k runs in pairs: rows of A are
 * padded to an even length with 0, and a panel of B holds pairs side by side.
 */
#ifndef TM_OPS_PRODUCT_INTEGER_H
#define TM_OPS_PRODUCT_INTEGER_H

#include "runtime/ops/product.h"

#define TM_PAIR_COLUMNS (TM_PANEL_BYTES / 4)

typedef struct tm_product_i16 {
    int64_t m, n, pairs;
    const int16_t *a; /* [m][2*pairs] */
    const void *b;
    int32_t *c; /* [m][n] */
    /* Fills panel[depth][TM_PAIR_COLUMNS][2] with pairs p0.. of columns n0..; columns from `width` on with 0.
     */
    void (*pack)(const struct tm_product_i16 *product, int64_t p0, int64_t depth, int64_t n0, int64_t width,
                 int16_t *panel);
    const void *context;
} tm_product_i16;

int32_t tm_product_run_i16(tm_run *run, const tm_product_i16 *product, int64_t batches,
                           void (*locate)(const void *context, int64_t batch, tm_product_i16 *product),
                           const void *context);

/* The zero point of row (or column, channel) i: an absent tensor is 0, one element stands for all. */
int32_t tm_zero_point(const tamis_tensor *zero, int64_t i);
/* Has the tensor one element, or as many as one of these counts? Absent ones do. */
bool tm_parameter_fits(const tamis_tensor *parameter, int64_t count, int64_t all);
/* 8-bit rows of A minus their zero points; zero point number (first row + row) % period. */
void tm_widen_rows(const tamis_tensor *a, int64_t offset, int64_t rows, int64_t k, const tamis_tensor *zero,
                   int64_t first, int64_t period, int16_t *to);
/* round(sum * scale) + zero, saturated to `type` (u8 or i8), for `count` sums. `scale_step` 0: one scale for
 * all. */
void tm_requantise(const int32_t *sums, int64_t count, const float *scale, int64_t scale_step, int32_t zero,
                   int32_t type, void *to);

#endif
