/* SPDX-License-Identifier: Apache-2.0
 *
 * GPTQ on small matrices: against a plain one that eliminates row by row without factors or groups, against
 * rounding to nearest by what it minimises, and for inputs that say nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quantize/algebra.h"
#include "quantize/gptq.h"
#include "tests/unit/arena_fixture.h"

#include <math.h>
#include <stdlib.h>

static uint64_t seed = 7;

static float uniform(void) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(int64_t)(seed >> 11) / (double)(1ll << 52) - 1);
}

/* tr((W - W')^T H (W - W')) */
static double harm(const float *w, const tm_quantized *q, const float *h, int k, int n) {
    float *back = TM_NEW_ARRAY(&arena, float, k *n);
    double sum = 0;
    tm_dequantize(q, back);
    for (int j = 0; j < n; j++)
        for (int a = 0; a < k; a++)
            for (int b = 0; b < k; b++)
                sum += (double)(w[a * n + j] - back[a * n + j]) * (double)h[a <= b ? a * k + b : b * k + a] *
                       (double)(w[b * n + j] - back[b * n + j]);
    return sum;
}

/* Inputs that depend on each other: a walk along the channels. */
static float *moments_of(int rows, int k) {
    float *x = TM_NEW_ARRAY(&arena, float, rows *k), *h = TM_NEW_ARRAY(&arena, float, k *k);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < k; i++)
            x[r * k + i] = uniform() + (i > 0 ? 0.9f * x[r * k + i - 1] : 0);
    tm_algebra_add_moments(h, x, rows, k);
    for (int a = 0; a < k; a++) {
        double sum = 0;
        for (int r = 0; r < rows; r++)
            sum += (double)x[r * k] * (double)x[r * k + a];
        assert_float_equal(h[a], sum, 1e-2);
    }
    return h;
}

/* Solves by the definition: rows are rounded in order; the rest moves to where the harm is least, which is
 * -H_rr^-1 H_ri e of the rows r that are left, by Gauss elimination. */
static void plain_gptq(const float *w, const float *h, const float *scales, int k, int n, int8_t *out) {
    double *d = TM_NEW_ARRAY(&arena, double, k *k), *v = TM_NEW_ARRAY(&arena, double, k *n), mean = 0;
    for (int i = 0; i < k; i++)
        mean += (double)h[i * k + i] / k;
    for (int i = 0; i < k * n; i++)
        v[i] = (double)w[i];
    for (int i = 0; i < k; i++) {
        int m = k - i - 1;
        for (int j = 0; j < n; j++) {
            double at = nearbyint(v[i * n + j] / (double)scales[j]);
            out[i * n + j] = (int8_t)fmin(fmax(at, -127), 127);
        }
        for (int a = 0; a < m; a++)
            for (int b = 0; b < m; b++) {
                int p = i + 1 + a, q = i + 1 + b;
                d[a * m + b] = (double)h[p <= q ? p * k + q : q * k + p] + (a == b ? 0.1 * mean : 0);
            }
        for (int j = 0; j < n; j++) {
            double e = v[i * n + j] - (double)scales[j] * out[i * n + j], right[64];
            double *matrix = tm_arena_copy(&arena, d, sizeof(double) * (size_t)(m * m + 1));
            for (int a = 0; a < m; a++)
                right[a] = e * (double)h[i * k + i + 1 + a];
            for (int a = 0; a < m; a++)
                for (int b = a + 1; b < m; b++) {
                    double f = matrix[b * m + a] / matrix[a * m + a];
                    for (int c = a; c < m; c++)
                        matrix[b * m + c] -= f * matrix[a * m + c];
                    right[b] -= f * right[a];
                }
            for (int a = m - 1; a >= 0; a--) {
                for (int c = a + 1; c < m; c++)
                    right[a] -= matrix[a * m + c] * right[c];
                right[a] /= matrix[a * m + a];
                v[(i + 1 + a) * n + j] += right[a];
            }
        }
    }
}

static void gptq_equals_elimination(void **state) {
    (void)state;
    enum { K = 48, N = 3 };
    float w[K * N], *h = moments_of(200, K);
    int8_t plain[K * N];
    int different = 0;
    for (int i = 0; i < K * N; i++)
        w[i] = uniform();
    tm_quantized q;
    assert_true(tm_quantize_gptq(&arena, &arena, w, h, K, N, 8, K, false, &q));
    plain_gptq(w, h, q.scales, K, N, plain);
    for (int i = 0; i < K * N; i++) {
        different += plain[i] != q.values[i];
        assert_true(abs(plain[i] - q.values[i]) <= 1); /* a tie may fall either way */
    }
    assert_true(different <= 2);
}

static void gptq_does_less_harm_than_rounding(void **state) {
    (void)state;
    const int sizes[][3] = {{64, 8, 32}, {70, 5, 32}, {33, 1, 16}, {128, 16, 128}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int zeros = 0; zeros < 2; zeros++) {
            int k = sizes[i][0], n = sizes[i][1], block = sizes[i][2];
            float *w = TM_NEW_ARRAY(&arena, float, k *n), *h = moments_of(300, k);
            for (int e = 0; e < k * n; e++)
                w[e] = uniform();
            tm_quantized nearest, better;
            if (zeros != 0)
                tm_quantize_affine(&arena, w, k, n, block, false, &nearest);
            else
                tm_quantize_symmetric(&arena, w, k, n, 4, block, NULL, &nearest);
            assert_true(tm_quantize_gptq(&arena, &arena, w, h, k, n, 4, block, zeros != 0, &better));
            assert_true(harm(w, &better, h, k, n) < 0.8 * harm(w, &nearest, h, k, n));
        }
}

static void inputs_that_are_always_zero_do_no_harm(void **state) {
    (void)state;
    float w[8] = {1, 2, 3, 4, 5, 6, 7, 8}, h[16] = {0};
    tm_quantized q;
    assert_true(tm_quantize_gptq(&arena, &arena, w, h, 4, 2, 8, 4, false, &q));
    assert_true(q.error < 0.02);
    h[0] = NAN;
    assert_false(tm_quantize_gptq(&arena, &arena, w, h, 4, 2, 8, 4, false, &q));
}

int main(void) {
    const char *missing = tm_algebra_load();
    if (missing != NULL) {
        print_error("%s\n", missing);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gptq_equals_elimination, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gptq_does_less_harm_than_rounding, set_up, tear_down),
        cmocka_unit_test_setup_teardown(inputs_that_are_always_zero_do_no_harm, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
