/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect_spectrum.c: how many singular values a matrix needs.
 *
 * The squares of the singular values are the eigenvalues of W W^T or W^T W, whichever is smaller; LAPACK
 * gives them in doubles, so that a rank shows down to 1e-7 of the largest value, below what float32 rounds. A
 * side longer than 1024 on both is projected by random signs onto 1024 directions before, which keeps the
 * energies of the large values within a few percent: the time of a matrix is bounded.
 */
#include "compress/inspect.h"

#include "quantize/algebra.h"

#include <math.h>
#include <string.h>

#define MOST 1024  /* of the shorter side */
#define NOISE 1e-6 /* of the largest singular value: what float32 leaves of a zero */

/* The matrix as [long side, short side]. */
static float *gather(tm_arena *scratch, const tm_inspected *x, int64_t *out_long, int64_t *out_short) {
    bool turned = x->rows < x->columns;
    int64_t a = turned ? x->columns : x->rows, b = turned ? x->rows : x->columns;
    float *matrix = TM_NEW_ARRAY(scratch, float, a *b);
    for (int64_t i = 0; i < a; i++)
        for (int64_t k = 0; k < b; k++)
            matrix[i * b + k] = turned ? x->data[k * x->row_step + i * x->column_step]
                                       : x->data[i * x->row_step + k * x->column_step];
    *out_long = a;
    *out_short = b;
    return matrix;
}

/* Columns added up with random signs: `k` of them become MOST. */
static float *sketch(tm_arena *scratch, const float *matrix, int64_t rows, int64_t k) {
    float *out = TM_NEW_ARRAY(scratch, float, rows *MOST);
    uint64_t state = 88172645463325252u;
    uint32_t *to = TM_NEW_ARRAY(scratch, uint32_t, k * 8);
    for (int64_t i = 0; i < 8 * k; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        to[i] = (uint32_t)(state >> 32);
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < 8 * k; i++) {
            float value = matrix[r * k + i / 8] * 0.35355339f; /* 1 / sqrt(8) */
            out[r * MOST + to[i] % MOST] += (to[i] >> 31) != 0 ? value : -value;
        }
    return out;
}

void tm_inspect_spectrum(tm_arena *scratch, const tm_inspected *x, tm_tensor_report *out) {
    out->rank = out->rank_99 = out->rank_999 = -1;
    if (x->rows < 4 || x->columns < 4 || out->not_finite > 0 || out->zeros == x->count)
        return;
    int64_t rows, k;
    float *matrix = gather(scratch, x, &rows, &k);
    if (k > MOST) {
        matrix = sketch(scratch, matrix, rows, k);
        k = MOST;
        out->sketched = true;
    }
    double *energies = TM_NEW_ARRAY(scratch, double, k);
    double *gram = TM_NEW_ARRAY(scratch, double, k *k);
    if (!tm_algebra_energies(matrix, rows, k, gram, energies))
        return;
    double total = 0, sum = 0, largest = energies[k - 1];
    for (int64_t i = 0; i < k; i++)
        total += fmax(energies[i], 0);
    out->rank = 0;
    for (int64_t i = k - 1; i >= 0; i--) {
        out->rank += energies[i] > largest * NOISE * NOISE;
        if (sum < 0.99 * total)
            out->rank_99 = k - i;
        if (sum < 0.999 * total)
            out->rank_999 = k - i;
        sum += fmax(energies[i], 0);
    }
    if (out->sketched && out->rank == MOST)
        out->rank = -1;
}
