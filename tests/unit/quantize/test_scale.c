/* SPDX-License-Identifier: Apache-2.0
 *
 * The mathematics of quantisation, on numbers that can be checked by hand or by brute force: ranges, clips,
 * scales, rounded weights, the knapsack, divergences.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quantize/choose.h"
#include "quantize/scale.h"
#include "tests/unit/arena_fixture.h"

#include <math.h>
#include <stdlib.h>

static uint64_t seed = 1;

static double uniform(void) { /* [-1, 1) */
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)(seed >> 11) / (double)(1ll << 52) - 1;
}

static void ranges_leave_out_what_is_no_number(void **state) {
    (void)state;
    const float data[] = {1, -2, NAN, 3, INFINITY, -INFINITY, 1e-40f, 0};
    tm_range range = {0};
    tm_range_add(&range, data, 8);
    assert_float_equal(range.low, -2, 0);
    assert_float_equal(range.high, 3, 0);
    assert_int_equal(range.not_finite, 3);
    assert_int_equal(range.count, 5);
    assert_int_equal(range.tiny, 1);
    assert_float_equal(range.squares, 14, 1e-9);
}

static void zero_is_exact_and_the_ends_are_near(void **state) {
    (void)state;
    const double cases[][2] = {{-1, 2},  {0, 5}, {-7, 0},      {3, 4},
                               {-4, -3}, {0, 0}, {-1e-3, 1e6}, {-1e30, 1e30}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int is_signed = 0; is_signed < 2; is_signed++) {
            double low = fmin(cases[i][0], 0), high = fmax(cases[i][1], 0);
            tm_linear l = tm_linear_of(cases[i][0], cases[i][1], is_signed != 0);
            assert_true(l.scale > 0 && isfinite(l.scale) && isfinite(1 / l.scale));
            assert_true(l.zero >= 0 && l.zero <= 255 && (is_signed == 0 || l.zero == 0));
            assert_true(tm_linear_round(&l, 0) == 0);
            assert_true(fabs((double)tm_linear_round(&l, (float)low) - low) <= (double)l.scale * 0.51);
            assert_true(fabs((double)tm_linear_round(&l, (float)high) - high) <= (double)l.scale * 0.51);
        }
}

/* 10,000 numbers of [-1, 1] and one of 50: a wide range for one of them. */
static void make_outlier(tm_range *range, tm_histogram *histogram, float *data) {
    for (int i = 0; i < 10000; i++)
        data[i] = (float)uniform();
    data[5000] = 50;
    *range = (tm_range){0};
    tm_range_add(range, data, 10000);
    tm_histogram_init(histogram, &arena, range);
    tm_histogram_add(histogram, data, 10000);
}

static double error_of(const float *data, const tm_range *range, double share) {
    double low, high, error = 0;
    tm_clip(range, share, &low, &high);
    tm_linear l = tm_linear_of(low, high, false);
    for (int i = 0; i < 10000; i++)
        error += pow((double)data[i] - (double)tm_linear_round(&l, data[i]), 2);
    return error;
}

static void clips_look_at_the_many(void **state) {
    (void)state;
    static float data[10000];
    tm_range range;
    tm_histogram histogram;
    make_outlier(&range, &histogram, data);
    double percentile = tm_clip_percentile(&histogram, &range, 99.9);
    assert_true((double)range.high * percentile < 2);
    double entropy = tm_clip_entropy(&arena, &histogram, &range);
    assert_true(entropy < 0.5);
    double mse = tm_clip_mse(&histogram, &range), best = INFINITY;
    for (int s = 1; s <= 100; s++)
        best = fmin(best, error_of(data, &range, s / 100.0));
    assert_true(error_of(data, &range, mse) <= best * 1.1);
    double sum = 0;
    for (int i = 0; i < TM_HISTOGRAM_BINS; i++)
        sum += histogram.counts[i];
    assert_float_equal(sum, 10000, 0);
}

static double column_error(const float *x, int count, float scale, int most) {
    double error = 0;
    for (int i = 0; i < count; i++) {
        float at = nearbyintf(x[i] / scale);
        at = at > (float)most ? (float)most : at < (float)-most ? (float)-most : at;
        error += pow((double)(x[i] - at * scale), 2);
    }
    return error;
}

static void scales_are_nearly_the_best_there_is(void **state) {
    (void)state;
    for (int bits = 4; bits <= 8; bits += 4) {
        int most = bits == 8 ? 127 : 7;
        float x[64], largest = 0;
        for (int i = 0; i < 64; i++) {
            x[i] = (float)pow(uniform(), 3);
            largest = fmaxf(largest, fabsf(x[i]));
        }
        double best = INFINITY;
        for (int s = 200; s <= 2000; s++)
            best = fmin(best, column_error(x, 64, largest / (float)most * (float)s / 2000, most));
        double found = column_error(x, 64, tm_scale_mse(x, 64, 1, NULL, most), most);
        assert_true(found <= column_error(x, 64, largest / (float)most, most));
        assert_true(found <= best * 1.35);
    }
    const float zeros[4] = {0};
    assert_true(tm_scale_mse(zeros, 4, 1, NULL, 127) > 0);
}

static void weights_come_back(void **state) {
    (void)state;
    enum { K = 70, N = 5 };
    float matrix[K * N], back[K * N];
    for (int i = 0; i < K * N; i++)
        matrix[i] = (float)(uniform() * pow(10, i % N)); /* columns of sizes of their own */
    tm_quantized q;
    tm_quantize_symmetric(&arena, matrix, K, N, 8, K, NULL, &q);
    tm_dequantize(&q, back);
    for (int i = 0; i < K * N; i++)
        assert_true(fabsf(back[i] - matrix[i]) <= q.scales[i % N] * 1.5f + 0.35f * q.scales[i % N] * 127);
    assert_true(q.error < 0.01);
    double errors[4];
    for (int i = 0; i < 4; i++) { /* smaller blocks are nearer */
        tm_quantize_symmetric(&arena, matrix, K, N, 4, 64 >> i, NULL, &q);
        assert_int_equal(q.block, 64 >> i);
        errors[i] = q.error;
    }
    assert_true(errors[3] < errors[0]);
    tm_quantize_affine(&arena, matrix, K, N, 32, false, &q);
    assert_true(q.zeros != NULL && q.error < 0.2);
    for (int i = 0; i < K * N; i++)
        assert_in_range(q.values[i], 0, 15);
}

/* Of weights with a few far out: the sum of |error|^0.7 is no larger than that of the least squares, and
 * smaller in all. */
static void half_quadratic_blocks_are_nearer_by_their_norm(void **state) {
    (void)state;
    enum { K = 64, N = 40 };
    float matrix[K * N], back[K * N];
    double norms[2] = {0};
    tm_quantized q;
    for (int i = 0; i < K * N; i++)
        matrix[i] = (float)(pow(uniform(), 5) * 3);
    for (int form = 0; form < 2; form++) {
        tm_quantize_affine(&arena, matrix, K, N, K, form == 1, &q);
        tm_dequantize(&q, back);
        for (int i = 0; i < K * N; i++) {
            norms[form] += pow(fabs((double)(back[i] - matrix[i])), 0.7);
            assert_in_range(q.values[i], 0, 15);
        }
    }
    assert_true(norms[1] < norms[0]);
    for (int i = 0; i < K * N; i++)
        matrix[i] = i % N == 0 ? 0 : 2;
    tm_quantize_affine(&arena, matrix, K, N, K, true, &q);
    assert_true(q.error < 1e-3);
}

/* Integers are those of the scales as they became; a column of zeros keeps none from it; a scale far below
 * the others does. */
static void scales_share_a_step(void **state) {
    (void)state;
    enum { K = 40, N = 300 };
    static float matrix[K * N], back[K * N];
    for (int i = 0; i < K * N; i++)
        matrix[i] = i % N == 7 ? 0 : (float)(uniform() * (1 + i % N % 10));
    tm_quantized q;
    tm_quantize_symmetric(&arena, matrix, K, N, 8, K, NULL, &q);
    double before = q.error;
    tm_quantized_share_step(&q, matrix);
    assert_true(q.step > 0 && q.error < before * 1.05);
    tm_dequantize(&q, back);
    for (int j = 0; j < N; j++) {
        float multiple = q.scales[j] / q.step;
        assert_true(nearbyintf(multiple) * q.step == q.scales[j]);
        assert_true(nearbyintf(multiple) >= 8 && multiple < 255.5f);
        for (int i = j; i < K * N; i += N)
            assert_true(fabsf(back[i] - matrix[i]) <= q.scales[j] * 1.5f + 0.35f * q.scales[j] * 127);
    }
    for (int i = 0; i < K; i++)
        matrix[i * N] *= 1e-3f;
    tm_quantize_symmetric(&arena, matrix, K, N, 8, K, NULL, &q);
    tm_quantized_share_step(&q, matrix);
    assert_true(q.step == 0);
}

/* Each of five items in one of two ways, or not at all. */
static void knapsacks_equal_brute_force(void **state) {
    (void)state;
    enum { N = 5, WAYS = 2, SETS = 243 };
    for (int round = 0; round < 50; round++) {
        double gains[N * WAYS], weights[N * WAYS], best = 0, found = 0, weight = 0;
        int8_t taken[N];
        for (int i = 0; i < N * WAYS; i++) {
            gains[i] = (double)(int)(uniform() * 50);
            weights[i] = (double)(int)(fabs(uniform()) * 200) / 1000;
        }
        for (int set = 0; set < SETS; set++) {
            double gain = 0, sum = 0;
            for (int i = 0, rest = set; i < N; i++, rest /= 3)
                if (rest % 3 > 0) {
                    gain += gains[i * WAYS + rest % 3 - 1];
                    sum += weights[i * WAYS + rest % 3 - 1];
                }
            best = sum <= 0.25 + 1e-9 && gain > best ? gain : best;
        }
        tm_knapsack(&arena, N, WAYS, gains, weights, 0.25, taken);
        for (int i = 0; i < N; i++) {
            found += taken[i] >= 0 ? gains[i * WAYS + taken[i]] : 0;
            weight += taken[i] >= 0 ? weights[i * WAYS + taken[i]] : 0;
            assert_true(taken[i] < 0 || gains[i * WAYS + taken[i]] > 0);
        }
        assert_true(weight <= 0.25 + 1e-9);
        assert_float_equal(found, best, 1e-9);
    }
    int8_t taken[2];
    tm_knapsack(&arena, 2, 1, (double[]){1, 1}, (double[]){0, 1e-9}, 0, taken);
    assert_true(taken[0] == 0 && taken[1] == -1);
    tm_knapsack(&arena, 2, 1, (double[]){1, NAN}, (double[]){NAN, 0}, 1, taken);
    assert_true(taken[0] == -1 && taken[1] == -1);
}

/* Half of the probability on the class, and a quarter; a label that is none; scores instead of probabilities.
 */
static void labels_give_the_log_loss(void **state) {
    (void)state;
    const float p[] = {0.5f, 0.25f, 0.25f}, q[] = {0.25f, 0.5f, 0.25f}, scores[] = {0, logf(2), 0};
    tm_divergence d = {0};
    tm_divergence_add_label(&d, p, q, 3, 0);
    tm_divergence_finish(&d);
    assert_true(d.labelled == 1 && d.right_float == 1 && d.right == 0);
    assert_float_equal(d.log_loss_float, log(2), 1e-6);
    assert_float_equal(d.log_loss, log(4), 1e-6);
    tm_divergence other = {0};
    tm_divergence_add_label(&other, p, scores, 3, 1);
    tm_divergence_add_label(&other, p, scores, 3, 7);
    tm_divergence_finish(&other);
    assert_true(other.labelled == 2 && other.right_float == 0 && other.right == 1);
    assert_float_equal(other.log_loss, (log(2) - log(1e-12)) / 2, 1e-6);
}

static void divergences_are_those_of_the_definition(void **state) {
    (void)state;
    const float p[] = {0.5f, 0.25f, 0.25f, 0, 1, 0}, q[] = {0.25f, 0.5f, 0.25f, 0, 1, 0};
    tm_divergence d = {0};
    tm_divergence_add(&d, p, q, 2, 3);
    tm_divergence_finish(&d);
    assert_int_equal(d.rows, 2);
    assert_float_equal(d.kl, (0.5 * log(2) - 0.25 * log(2)) / 2, 1e-6);
    assert_float_equal(d.flips, 0.5, 0);
    assert_float_equal(d.max_error, 0.25, 1e-7);
    const float a[] = {1, 2, 4}, b[] = {11, 12, 14}; /* scores: softmax does not see what is added to all */
    d = (tm_divergence){0};
    tm_divergence_add(&d, a, b, 1, 3);
    assert_float_equal(d.kl, 0, 1e-6);
    tm_quantize_options options;
    tm_quantize_options_init(&options);
    assert_float_equal(tm_budget_use(&options, &d), 0, 0);
    assert_int_equal(tm_quantize_parse_budget(&diagnostics, "kl:1e-3,flips:2.5%", &options), TM_OK);
    d = (tm_divergence){.kl = 5e-4, .flips = 0.05};
    assert_float_equal(tm_budget_use(&options, &d), 2, 1e-9);
    assert_int_equal(tm_quantize_parse_budget(&diagnostics, "kl:-1", &options), TM_E_USAGE);
    assert_int_equal(tm_quantize_parse_budget(&diagnostics, "speed:1", &options), TM_E_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ranges_leave_out_what_is_no_number, set_up, tear_down),
        cmocka_unit_test_setup_teardown(zero_is_exact_and_the_ends_are_near, set_up, tear_down),
        cmocka_unit_test_setup_teardown(clips_look_at_the_many, set_up, tear_down),
        cmocka_unit_test_setup_teardown(scales_are_nearly_the_best_there_is, set_up, tear_down),
        cmocka_unit_test_setup_teardown(weights_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(half_quadratic_blocks_are_nearer_by_their_norm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(scales_share_a_step, set_up, tear_down),
        cmocka_unit_test_setup_teardown(knapsacks_equal_brute_force, set_up, tear_down),
        cmocka_unit_test(labels_give_the_log_loss),
        cmocka_unit_test_setup_teardown(divergences_are_those_of_the_definition, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
