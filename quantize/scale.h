/* SPDX-License-Identifier: Apache-2.0
 *
 * scale.h: the mathematics of linear quantisation: ranges, histograms, scales, rounded weights. Knows nothing
 * of graphs.
 *
 *     real = scale * (integer - zero)
 */
#ifndef TM_QUANTIZE_SCALE_H
#define TM_QUANTIZE_SCALE_H

#include "ir/graph.h"
#include "quantize/quantize.h"

/* ---- observers ---- */

typedef struct tm_range {
    float low, high;     /* zero is always inside */
    double squares;      /* sum of x * x */
    int64_t count, tiny; /* tiny: elements that are not zero and below the smallest normal number */
    int64_t not_finite;  /* NaN and infinities: not counted elsewhere */
} tm_range;
void tm_range_add(tm_range *range, const float *data, int64_t count);

#define TM_HISTOGRAM_BINS 2048
typedef struct tm_histogram {
    double low, width; /* of a bin */
    double *counts;    /* TM_HISTOGRAM_BINS; NULL: there is none */
} tm_histogram;
void tm_histogram_init(tm_histogram *histogram, tm_arena *arena, const tm_range *range);
void tm_histogram_add(tm_histogram *histogram, const float *data, int64_t count);

/* The range with magnitudes up to a share of the largest; the searches below find a share. 1 keeps all. */
void tm_clip(const tm_range *range, double share, double *out_low, double *out_high);
double tm_clip_percentile(const tm_histogram *histogram, const tm_range *range, double percentile);
double tm_clip_entropy(tm_arena *arena, const tm_histogram *histogram, const tm_range *range);
double tm_clip_mse(const tm_histogram *histogram, const tm_range *range);

/* ---- one scale ---- */

typedef struct tm_linear {
    float scale;
    int zero; /* of uint8; of int8: 0 */
    bool is_signed;
} tm_linear;
/* For values of [low, high], zero represented exactly. */
tm_linear tm_linear_of(double low, double high, bool is_signed);
float tm_linear_round(const tm_linear *linear, float x); /* there and back */

/* ---- weights: [k, n], sums along k ---- */

typedef struct tm_quantized {
    int bits; /* 8 or 4 */
    int64_t k, n,
        block; /* a scale for each block of rows and column: [ceil(k / block), n]. block = k: one a column */
    int8_t *values; /* [k, n] */
    bool turned;    /* values lie as [n, k], which is for tables alone */
    float *scales;
    float step;    /* not 0: scales are whole multiples of it, 255 at most */
    int8_t *zeros; /* like scales, or NULL: zero */
    double error;  /* root of the mean square error over that of the weights */
} tm_quantized;

#define TM_SCALE_LEAST_HALF 0x1p-14f /* normal numbers of float16 */
#define TM_SCALE_MOST_HALF 65504.0f
/* The nearest number of float16, or the scale where that is too large or small. */
float tm_scale_stored(float scale);
#define TM_SCALE_FEW 64 /* numbers: a node that makes floats of them takes more room than half of them */
/* Makes them multiples of a step, 1 to 255 times, so that a byte holds each; the step, or 0: they lie too far
 * apart, and are as they were. */
float tm_scales_to_bytes(float *scales, int64_t count);
/* The same for 8-bit weights with many columns of a scale each; the matrix lies as the values do. Integers
 * are rounded anew. */
void tm_quantized_share_step(tm_quantized *quantized, const float *matrix);
/* The scale of a column or block with the least square error, weighted when `weights` is not NULL (one for
 * each row): step from one element to the next is `stride`. `most`: the largest integer, 127 or 7. */
float tm_scale_mse(const float *x, int64_t count, int64_t stride, const float *weights, int most);
/* Rounds to nearest. `row_weights`: k importances, or NULL. */
void tm_quantize_symmetric(tm_arena *arena, const float *matrix, int64_t k, int64_t n, int bits,
                           int64_t block, const float *row_weights, tm_quantized *out);
/* 4 bits: for each block a scale and a whole zero point, searched for the least square error, or for that of
 * half_quadratic.c. block <= 256. */
void tm_quantize_affine(tm_arena *arena, const float *matrix, int64_t k, int64_t n, int64_t block,
                        bool half_quadratic, tm_quantized *out);
/* Its scale and whole zero point for one block: `rows` elements (256 at most), `stride` apart. */
void tm_fit_block(const float *x, int64_t rows, int64_t stride, float *out_scale, float *out_zero);
/* half_quadratic.c: the same for the least sum of |error|^0.7. */
void tm_fit_block_half_quadratic(const float *x, int64_t rows, int64_t stride, float *out_scale,
                                 float *out_zero);
/* The matrix that the integers stand for. */
void tm_dequantize(const tm_quantized *quantized, float *out_matrix);
void tm_quantized_measure(tm_quantized *quantized, const float *matrix, const float *row_weights);

#endif
