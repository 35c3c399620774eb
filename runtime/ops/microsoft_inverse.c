/* SPDX-License-Identifier: Apache-2.0
 *
 * Inverse of square matrices: A and the identity side by side, made into the identity and the inverse by
 * elimination with row exchanges, in double:
 *
 *     [ A | 1 ]   ->   [ 1 | A^-1 ]
 *
 * A matrix that has no inverse gives infinities and NaN, as a division by its zero pivot does.
 */
#include "runtime/math/math.h"
#include "runtime/ops/real.h"

/* `a` has n rows of 2n. */
static void invert(double *a, int64_t n) {
    int64_t width = 2 * n;
    for (int64_t k = 0; k < n; k++) {
        int64_t pivot = k;
        for (int64_t i = k + 1; i < n; i++)
            if (tm_abs_f64(a[i * width + k]) > tm_abs_f64(a[pivot * width + k]))
                pivot = i;
        for (int64_t j = 0; j < width && pivot != k; j++) {
            double swap = a[k * width + j];
            a[k * width + j] = a[pivot * width + j];
            a[pivot * width + j] = swap;
        }
        double head = a[k * width + k];
        for (int64_t j = 0; j < width; j++)
            a[k * width + j] /= head;
        for (int64_t i = 0; i < n; i++) {
            double factor = a[i * width + k];
            for (int64_t j = k; j < width && i != k; j++)
                a[i * width + j] -= factor * a[k * width + j];
        }
    }
}

static int32_t inverses(tm_run *run, const tm_call *call) {
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0);
    int64_t n = x->dims[x->rank - 1], count = tm_product(x->dims, 0, x->rank - 2);
    if (x->dims[x->rank - 2] != n)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, x->dims[x->rank - 2], n);
    int64_t bytes = 2 * n * n * (int64_t)sizeof(double) + TAMIS_ALIGNMENT;
    double *matrix = tm_scratch(run, call, bytes);
    if (matrix == NULL)
        return run->code;
    for (int64_t m = 0; m < count; m++) {
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                matrix[i * 2 * n + j] = tm_real_get(x, (m * n + i) * n + j);
                matrix[i * 2 * n + n + j] = i == j;
            }
        invert(matrix, n);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++)
                tm_real_set(y, (m * n + i) * n + j, matrix[i * 2 * n + n + j]);
    }
    tm_unscratch(run, matrix, bytes);
    return 0;
}

#define X(s, S, C)                  \
    TM_KERNEL(ms_Inverse, s) {      \
        return inverses(run, call); \
    }
TM_FOR_FLOAT_TYPES(X)
#undef X
