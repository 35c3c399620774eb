/* SPDX-License-Identifier: Apache-2.0
 *
 * round.c: weights to integers, see scale.h.
 *
 * Scales are numbers of float16 where its range allows, so that they can be stored as such; integers are
 * chosen for the scale as it is stored. Where there are many, one for each column, they are multiples of a
 * common step, and a byte each: a scale may be off by a share of a hundredth or so, which is the grain of the
 * search below, and costs nothing, as integers fit the scale that it became.
 *
 * A symmetric scale is searched among shares of the largest magnitude: the smaller the scale, the finer the
 * many, and the more is cut off the few. Each share costs one walk over the column.
 *
 *     error(scale) = sum w_k * (x_k - scale * clamp(round(x_k / scale)))^2
 *
 * Four bits about a zero point: for each of some shares of the block's range, integers are rounded, and the
 * scale that suits them best follows from them by least squares,
 *
 *     q = clamp(round(x / s) + z)       s = sum x (q - z) / sum (q - z)^2
 *
 * the best pair by squared error is kept. Needs no data. (The norm of half_quadratic.c leaves larger errors
 * on average and answers no nearer; docs/quantization.md has both.)
 */
#include "quantize/scale.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define MANY 256       /* below it the nodes that multiply them take more room than bytes save */
#define LEAST_STEPS 8 /* a smaller multiple would be too coarse */

float tm_scale_stored(float scale) {
    uint32_t bits;
    if (!(scale >= TM_SCALE_LEAST_HALF && scale <= TM_SCALE_MOST_HALF))
        return scale;
    memcpy(&bits, &scale, sizeof bits);
    bits += 0xfff + (bits >> 13 & 1); /* to even, eleven bits being kept */
    bits &= ~0x1fffu;
    memcpy(&scale, &bits, sizeof bits);
    return scale;
}

static float rounded(float x, float scale, int most) {
    float at = nearbyintf(x / scale);
    at = at > (float)most ? (float)most : at < (float)-most ? (float)-most : at;
    return at;
}

float tm_scale_mse(const float *x, int64_t count, int64_t stride, const float *weights, int most) {
    float largest = 0;
    for (int64_t i = 0; i < count; i++)
        largest = fmaxf(largest, fabsf(x[i * stride]));
    if (!(largest > FLT_MIN * 128))
        return 1;
    double best = INFINITY;
    float best_scale = tm_scale_stored(largest / (float)most);
    int shares = most > 15 ? 40 : 70; /* of hundredths below 1 */
    for (int s = 0; s <= shares; s++) {
        float scale = tm_scale_stored(largest / (float)most * (float)(1 - s / 100.0));
        double error = 0;
        for (int64_t i = 0; i < count; i++) {
            double d = (double)(x[i * stride] - scale * rounded(x[i * stride], scale, most));
            error += d * d * (weights != NULL ? (double)weights[i] : 1);
        }
        if (error < best) {
            best = error;
            best_scale = scale;
        }
    }
    return best_scale;
}

static void prepare(tm_arena *arena, int64_t k, int64_t n, int bits, int64_t block, bool zeros,
                    tm_quantized *out) {
    int64_t blocks = (k + block - 1) / block;
    *out = (tm_quantized){.bits = bits, .k = k, .n = n, .block = block};
    out->values = TM_NEW_ARRAY(arena, int8_t, k *n);
    out->scales = TM_NEW_ARRAY(arena, float, blocks *n);
    out->zeros = zeros ? TM_NEW_ARRAY(arena, int8_t, blocks *n) : NULL;
}

void tm_dequantize(const tm_quantized *quantized, float *out_matrix) {
    for (int64_t i = 0; i < quantized->k; i++)
        for (int64_t j = 0; j < quantized->n; j++) {
            int64_t s = i / quantized->block * quantized->n + j;
            int zero = quantized->zeros != NULL ? quantized->zeros[s] : 0;
            out_matrix[i * quantized->n + j] =
                quantized->scales[s] * (float)(quantized->values[i * quantized->n + j] - zero);
        }
}

/* Of the element in row i of column j. */
static int64_t place_of(const tm_quantized *q, int64_t i, int64_t j) {
    return q->turned ? j * q->k + i : i * q->n + j;
}

void tm_quantized_measure(tm_quantized *quantized, const float *matrix, const float *row_weights) {
    double errors = 0, squares = 0;
    for (int64_t i = 0; i < quantized->k; i++)
        for (int64_t j = 0; j < quantized->n; j++) {
            int64_t s = i / quantized->block * quantized->n + j, at = place_of(quantized, i, j);
            int zero = quantized->zeros != NULL ? quantized->zeros[s] : 0;
            double x = (double)matrix[at], w = row_weights != NULL ? (double)row_weights[i] : 1;
            double d = x - (double)(quantized->scales[s] * (float)(quantized->values[at] - zero));
            errors += w * d * d;
            squares += w * x * x;
        }
    quantized->error = squares > 0 ? sqrt(errors / squares) : 0;
}

float tm_scales_to_bytes(float *scales, int64_t count) {
    float most = 0, least = INFINITY;
    for (int64_t i = 0; i < count; i++) {
        most = fmaxf(most, scales[i]);
        least = fminf(least, scales[i]);
    }
    float step = most / 255;
    if (count < MANY || !(step >= FLT_MIN && least >= step * LEAST_STEPS))
        return 0;
    for (int64_t i = 0; i < count; i++)
        scales[i] = step * fminf(nearbyintf(scales[i] / step), 255);
    return step;
}

/* Columns of zeros have any scale: that of their neighbour here. */
static void fill_scales(tm_quantized *q) {
    int64_t last = -1;
    for (int64_t j = 0; j < q->n; j++) {
        bool any = false;
        for (int64_t i = 0; i < q->k && !any; i++)
            any = q->values[place_of(q, i, j)] != 0;
        if (!any)
            continue;
        for (int64_t before = last + 1; before < j; before++)
            q->scales[before] = q->scales[j];
        last = j;
    }
    for (int64_t after = last + 1; last >= 0 && after < q->n; after++)
        q->scales[after] = q->scales[last];
}

void tm_quantized_share_step(tm_quantized *quantized, const float *matrix) {
    if (quantized->n < MANY)
        return;
    fill_scales(quantized);
    quantized->step = tm_scales_to_bytes(quantized->scales, quantized->n);
    if (quantized->step == 0)
        return;
    for (int64_t i = 0; i < quantized->k; i++)
        for (int64_t j = 0; j < quantized->n; j++) {
            int64_t at = place_of(quantized, i, j);
            quantized->values[at] = (int8_t)rounded(matrix[at], quantized->scales[j], 127);
        }
    tm_quantized_measure(quantized, matrix, NULL);
}

void tm_quantize_symmetric(tm_arena *arena, const float *matrix, int64_t k, int64_t n, int bits,
                           int64_t block, const float *row_weights, tm_quantized *out) {
    int most = bits == 8 ? 127 : 7;
    prepare(arena, k, n, bits, block, false, out);
    for (int64_t from = 0; from < k; from += block) {
        int64_t rows = k - from < block ? k - from : block;
        for (int64_t j = 0; j < n; j++) {
            float scale = tm_scale_mse(matrix + from * n + j, rows, n,
                                       row_weights != NULL ? row_weights + from : NULL, most);
            out->scales[from / block * n + j] = scale;
            for (int64_t i = from; i < from + rows; i++)
                out->values[i * n + j] = (int8_t)rounded(matrix[i * n + j], scale, most);
        }
    }
    tm_quantized_measure(out, matrix, row_weights);
}

/* Squared error of the block at that scale and zero point; *out_fitted is the scale that suits the integers
 * best. */
static float affine_error(const float *x, int64_t rows, float scale, float zero, float *out_fitted) {
    float error = 0, dot = 0, squares = 0;
    for (int64_t i = 0; i < rows; i++) {
        float at = nearbyintf(x[i] / scale) + zero;
        at = (at < 0 ? 0 : at > 15 ? 15 : at) - zero;
        float d = x[i] - scale * at;
        error += d * d;
        dot += x[i] * at;
        squares += at * at;
    }
    *out_fitted = squares > 0 && dot > 0 ? dot / squares : scale;
    return error;
}

void tm_fit_block(const float *x, int64_t rows, int64_t stride, float *out_scale, float *out_zero) {
    float low = 0, high = 0, best = INFINITY, block[256];
    for (int64_t i = 0; i < rows; i++) {
        block[i] = x[i * stride];
        low = fminf(low, block[i]);
        high = fmaxf(high, block[i]);
    }
    float range = high - low > FLT_MIN * 1024 ? high - low : 15;
    *out_scale = tm_scale_stored(range / 15);
    *out_zero = 0;
    for (int s = 0; s <= 10; s++) {
        float scale = tm_scale_stored(range / 15 * (1 - (float)s * 0.04f)), first = floorf(-low / scale);
        for (int step = 0; step < 2; step++) {
            float zero = fminf(fmaxf(first + (float)step, 0), 15), fitted = scale, unused;
            float error = affine_error(block, rows, scale, zero, &fitted), again;
            fitted = tm_scale_stored(fitted);
            again = affine_error(block, rows, fitted, zero, &unused);
            if (fminf(error, again) < best) {
                best = fminf(error, again);
                *out_scale = again < error ? fitted : scale;
                *out_zero = zero;
            }
        }
    }
}

void tm_quantize_affine(tm_arena *arena, const float *matrix, int64_t k, int64_t n, int64_t block,
                        bool half_quadratic, tm_quantized *out) {
    prepare(arena, k, n, 4, block, true, out);
    for (int64_t from = 0; from < k; from += block) {
        int64_t rows = k - from < block ? k - from : block;
        for (int64_t j = 0; j < n; j++) {
            float scale, zero;
            (half_quadratic ? tm_fit_block_half_quadratic : tm_fit_block)(matrix + from * n + j, rows, n,
                                                                          &scale, &zero);
            out->scales[from / block * n + j] = scale;
            out->zeros[from / block * n + j] = (int8_t)zero;
            for (int64_t i = from; i < from + rows; i++) {
                float at = nearbyintf(matrix[i * n + j] / scale) + zero;
                out->values[i * n + j] = (int8_t)(at < 0 ? 0 : at > 15 ? 15 : at);
            }
        }
    }
    tm_quantized_measure(out, matrix, NULL);
}
