/* SPDX-License-Identifier: Apache-2.0
 *
 * gptq.c: rounds weights one row after the other and puts the error of each into the rows that are left, as
 * the second moments of the inputs say: what a column sums up stays near even though each weight is off.
 *
 *     minimise  |x W - x W'|^2 = tr((W - W')^T H (W - W'))       H = sum of x^T x over the samples
 *     U^T U = H^-1, U upper triangular
 *     for row i:   q_i = round(w_i)      e = (w_i - q_i) / U_ii      w_j -= e * U_ij  for j > i
 *
 * Rows are taken in groups: within a group errors go to the group's rows at once, and to all rows below by
 * one product of matrices when the group is done. H gets a tenth of its mean diagonal added to it, so
 * that inputs that are always zero or depend on each other do no harm, and what few samples show of it is not
 * believed too much. A scale is chosen when its block
 * begins, for the weights as they are then.
 */
#include "quantize/gptq.h"

#include "quantize/algebra.h"

#include <math.h>
#include <string.h>

#define GROUP 32

/* LAPACK need not notice what is no number. */
static bool is_usable(const double *u, int64_t k) {
    for (int64_t i = 0; i < k; i++)
        if (!(u[i * k + i] > 0 && isfinite(u[i * k + i])))
            return false;
    return true;
}

static double *inverse_factor(tm_arena *arena, const float *moments, int64_t k) {
    double *h = TM_NEW_ARRAY(arena, double, k *k), mean = 0;
    for (double damp = 0.1; damp < 100; damp *= 10) {
        mean = 0;
        for (int64_t i = 0; i < k * k; i++)
            h[i] = (double)moments[i];
        for (int64_t i = 0; i < k; i++)
            mean += h[i * k + i] / (double)k;
        for (int64_t i = 0; i < k; i++)
            h[i * k + i] += damp * mean + 1e-20;
        if (tm_algebra_inverse_factor(h, k) && is_usable(h, k))
            return h;
    }
    return NULL;
}

static int8_t to_integer(float w, float scale, int zero, int low, int high) {
    float at = nearbyintf(w / scale) + (float)zero;
    return (int8_t)(at<(float)low ? (float)low : at>(float) high ? (float)high : at);
}

/* Rows [from, to): integers, and errors over U_ii in `errors` [GROUP, n]. */
static void round_group(float *w, const double *u, int64_t from, int64_t to, tm_quantized *out,
                        float *errors) {
    int64_t k = out->k, n = out->n;
    int low = out->bits == 8 ? -127 : out->zeros != NULL ? 0 : -7;
    int high = out->bits == 8 ? 127 : out->zeros != NULL ? 15 : 7;
    for (int64_t i = from; i < to; i++) {
        float *row = w + i * n, *e = errors + (i - from) * n;
        for (int64_t j = 0; j < n; j++) {
            int64_t s = i / out->block * n + j;
            int zero = out->zeros != NULL ? out->zeros[s] : 0;
            int8_t q = to_integer(row[j], out->scales[s], zero, low, high);
            out->values[i * n + j] = q;
            e[j] = (row[j] - out->scales[s] * (float)(q - zero)) / (float)u[i * k + i];
        }
        for (int64_t below = i + 1; below < to; below++)
            for (int64_t j = 0; j < n; j++)
                w[below * n + j] -= e[j] * (float)u[i * k + below];
    }
}

/* Scales (and zero points) of the block that begins at row `from`. */
static void begin_block(const float *w, int64_t from, const float *importance, tm_quantized *out) {
    int64_t n = out->n, rows = out->k - from < out->block ? out->k - from : out->block;
    for (int64_t j = 0; j < n; j++) {
        int64_t s = from / out->block * n + j;
        if (out->zeros == NULL) {
            out->scales[s] =
                tm_scale_mse(w + from * n + j, rows, n, importance + from, out->bits == 8 ? 127 : 7);
        } else {
            float scale, zero;
            tm_fit_block(w + from * n + j, rows, n, &scale, &zero);
            out->scales[s] = scale;
            out->zeros[s] = (int8_t)zero;
        }
    }
}

bool tm_quantize_gptq(tm_arena *arena, tm_arena *scratch, const float *matrix, const float *moments,
                      int64_t k, int64_t n, int bits, int64_t block, bool zeros, tm_quantized *out) {
    double *u = inverse_factor(scratch, moments, k);
    if (u == NULL)
        return false;
    int64_t blocks = (k + block - 1) / block;
    *out = (tm_quantized){.bits = bits, .k = k, .n = n, .block = block};
    out->values = TM_NEW_ARRAY(arena, int8_t, k *n);
    out->scales = TM_NEW_ARRAY(arena, float, blocks *n);
    out->zeros = zeros ? TM_NEW_ARRAY(arena, int8_t, blocks *n) : NULL;
    float *w = tm_arena_copy(scratch, matrix, sizeof(float) * (size_t)(k * n));
    float *errors = TM_NEW_ARRAY(scratch, float, GROUP *n), *rows = TM_NEW_ARRAY(scratch, float, GROUP *k);
    float *importance = TM_NEW_ARRAY(scratch, float, k);
    for (int64_t i = 0; i < k; i++)
        importance[i] = moments[i * k + i];
    for (int64_t from = 0; from < k;) {
        int64_t to = from + GROUP < k ? from + GROUP : k;
        if (from % block == 0)
            begin_block(w, from, importance, out);
        if (from == 0 && bits == 8 && block >= k)
            out->step = tm_scales_to_bytes(out->scales, n);
        int64_t end = (from / block + 1) * block; /* a group does not reach over a block's end */
        to = to < end ? to : end;
        round_group(w, u, from, to, out, errors);
        for (int64_t i = from; i < to; i++)
            for (int64_t j = to; j < k; j++)
                rows[(i - from) * (k - to) + j - to] = (float)u[i * k + j];
        if (to < k)
            tm_algebra_subtract_product(w + to * n, rows, errors, k - to, n, to - from, k - to);
        from = to;
    }
    tm_quantized_measure(out, matrix, NULL);
    return true;
}
