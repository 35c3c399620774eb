/* SPDX-License-Identifier: Apache-2.0
 *
 * Det: the determinant of square matrices by elimination with row exchanges, in double.
 */
#include "runtime/math/math.h"
#include "runtime/ops/real.h"

/* Destroys the matrix. */
static double determinant(double *a, int64_t n) {
    double result = 1;
    for (int64_t k = 0; k < n; k++) {
        int64_t pivot = k;
        for (int64_t i = k + 1; i < n; i++)
            if (tm_abs_f64(a[i * n + k]) > tm_abs_f64(a[pivot * n + k]))
                pivot = i;
        double head = a[pivot * n + k];
        if (head == 0)
            return 0;
        for (int64_t j = k; j < n && pivot != k; j++) {
            double swap = a[k * n + j];
            a[k * n + j] = a[pivot * n + j];
            a[pivot * n + j] = swap;
        }
        result *= pivot != k ? -head : head;
        for (int64_t i = k + 1; i < n; i++) {
            double factor = a[i * n + k] / head;
            for (int64_t j = k + 1; j < n; j++)
                a[i * n + j] -= factor * a[k * n + j];
        }
    }
    return result;
}

static int32_t determinants(tm_run *run, const tm_call *call) {
    const tamis_tensor *x = tm_in(run, call, 0);
    int64_t n = x->dims[x->rank - 1], count = tm_product(x->dims, 0, x->rank - 2);
    if (x->dims[x->rank - 2] != n)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, x->dims[x->rank - 2], n);
    int64_t bytes = n * n * (int64_t)sizeof(double) + TAMIS_ALIGNMENT;
    double *matrix = tm_scratch(run, call, bytes);
    if (matrix == NULL)
        return run->code;
    for (int64_t m = 0; m < count; m++) {
        for (int64_t i = 0; i < n * n; i++)
            matrix[i] = tm_real_get(x, m * n * n + i);
        tm_real_set(tm_out(run, call, 0), m, determinant(matrix, n));
    }
    tm_unscratch(run, matrix, bytes);
    return 0;
}

#define X(s, S, C)                      \
    TM_KERNEL(Det, s) {                 \
        return determinants(run, call); \
    }
TM_FOR_FLOAT_TYPES(X)
#undef X
