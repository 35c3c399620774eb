/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of DFT, STFT, windows and Det against their definitions.
 */
#include "tests/unit/ops/float_test.h"

static const tm_constant *scalar(kernel_test *t, int64_t value) {
    const int64_t one = 1;
    return tm_constant_create_i64(&t->arena, 0, &one, &value);
}

typedef struct point {
    double re, im;
} point;

/* sum of x[j] * exp(sign * 2 pi i * j * k / n) */
static point transformed(const point *x, int64_t n, int64_t k, int sign) {
    point sum = {0, 0};
    for (int64_t j = 0; j < n; j++) {
        const double angle = sign * 2 * M_PI * (double)(j * k % n) / (double)n;
        sum.re += x[j].re * cos(angle) - x[j].im * sin(angle);
        sum.im += x[j].re * sin(angle) + x[j].im * cos(angle);
    }
    return sum;
}

/* Lengths with factors 2, 3, 4, 5, larger primes; longer and shorter than the data; any axis; more lines and
 * fewer than run side by side. */
static void dft_trial(kernel_test *t, int k) {
    const tamis_type type = float_types[k % FLOAT_TYPES];
    const bool inverse = random_int(t, 0, 1), one_sided = random_int(t, 0, 2) == 0,
               real_out = inverse && one_sided;
    const int64_t parts = inverse || random_int(t, 0, 1) ? (one_sided && !inverse ? 1 : 2) : 1;
    const int64_t length = random_int(t, 1, 40), n = random_int(t, 0, 1) ? length : random_int(t, 1, 50),
                  axis = random_int(t, 0, 1), others = random_int(t, 1, 9);
    const int64_t dims[] = {axis == 0 ? length : others, axis == 1 ? length : others, parts};
    const tm_constant *x = random_numbers(t, type, 3, dims),
                      *inputs[] = {x, scalar(t, n), scalar(t, axis - 3)};
    tm_node *node = new_node(t, TM_OP_DFT, 1, 3, inputs);
    tm_node_set_int(node, "inverse", inverse);
    tm_node_set_int(node, "onesided", one_sided);
    const tm_constant *y = answer(t, node);
    const int64_t bins = one_sided && !inverse ? n / 2 + 1 : n, inner = axis == 0 ? dims[1] : 1,
                  lines = axis == 0 ? dims[1] : dims[0];
    const int64_t given = real_out && n / 2 + 1 < length ? n / 2 + 1 : length;
    assert_int_equal(y->dims[axis], bins);
    assert_int_equal(y->dims[2], real_out ? 1 : 2);
    point line[64];
    for (int64_t l = 0; l < lines; l++) {
        const int64_t start = axis == 0 ? l : l * length, to = axis == 0 ? l : l * bins;
        for (int64_t j = 0; j < n; j++) {
            const int64_t at = (start + j * inner) * parts;
            line[j] = j >= given ? (point){0, 0} : (point){number(x, at), parts == 2 ? number(x, at + 1) : 0};
        }
        if (real_out) {
            line[0].im = 0;
            line[n / 2].im = n % 2 == 0 ? 0 : line[n / 2].im;
            for (int64_t j = n / 2 + 1; j < n; j++)
                line[j] = (point){line[n - j].re, -line[n - j].im};
        }
        for (int64_t b = 0; b < bins; b++) {
            point want = transformed(line, n, b, inverse ? 1 : -1);
            const double scale = inverse ? 1 / (double)n : 1, size = 2 * (double)n * scale;
            const int64_t at = (to + b * inner) * (real_out ? 1 : 2);
            assert_near(y, at, want.re * scale, size, (double)n);
            if (!real_out)
                assert_near(y, at + 1, want.im * scale, size, (double)n);
        }
    }
}
TRIALS(dft, 200)

static void stft_trial(kernel_test *t, int k) {
    const tamis_type type = float_types[k % FLOAT_TYPES];
    const bool one_sided = random_int(t, 0, 1), windowed = random_int(t, 0, 1);
    const int64_t frame = random_int(t, 2, 20), hop = random_int(t, 1, 9),
                  length = frame + random_int(t, 0, 40);
    const tm_constant *x = random_numbers(t, type, 3, (int64_t[]){2, length, 1});
    const tm_constant *window = windowed ? random_numbers(t, type, 1, &frame) : NULL;
    const tm_constant *inputs[] = {x, scalar(t, hop), window, scalar(t, frame)};
    tm_node *node = new_node(t, TM_OP_STFT, 1, 4, inputs);
    tm_node_set_int(node, "onesided", one_sided);
    const tm_constant *y = answer(t, node);
    const int64_t frames = (length - frame) / hop + 1, bins = one_sided ? frame / 2 + 1 : frame;
    assert_int_equal(tm_constant_count(y), 2 * frames * bins * 2);
    point line[32];
    for (int64_t i = 0; i < 2 * frames * bins; i++) {
        const int64_t start = i / bins / frames * length + i / bins % frames * hop;
        for (int64_t j = 0; j < frame; j++)
            line[j] = (point){number(x, start + j) * (windowed ? number(window, j) : 1), 0};
        const point want = transformed(line, frame, i % bins, -1);
        assert_near(y, 2 * i, want.re, (double)frame, (double)frame);
        assert_near(y, 2 * i + 1, want.im, (double)frame, (double)frame);
    }
}
TRIALS(stft, 60)

static void signals_have_one_or_two_parts(void **state) {
    (void)state;
    kernel_test t;
    kernel_test_init(&t, 1);
    for (int64_t parts = 0; parts < 4; parts++) {
        const tm_constant *x = random_numbers(&t, TAMIS_TYPE_FLOAT, 3, (int64_t[]){1, 8, parts}), *y = NULL;
        const tm_constant *inputs[] = {x, scalar(&t, 2), NULL, scalar(&t, 4)};
        const tm_code want = parts == 1 || parts == 2 ? TM_OK : TM_E_SHAPE;
        assert_int_equal(run_node(&t, new_node(&t, TM_OP_DFT, 1, 1, &x), &y), want);
        tm_node *stft = new_node(&t, TM_OP_STFT, 1, 4, inputs);
        tm_node_set_int(stft, "onesided", 0);
        assert_int_equal(run_node(&t, stft, &y), want);
    }
    kernel_test_deinit(&t);
}

static void window_trial(kernel_test *t, int k) {
    static const tm_op ops[] = {TM_OP_HannWindow, TM_OP_HammingWindow, TM_OP_BlackmanWindow};
    static const double terms[][3] = {{0.5, 0.5, 0}, {25.0 / 46, 21.0 / 46, 0}, {0.42, 0.5, 0.08}};
    const tamis_type type = float_types[k / 3 % FLOAT_TYPES];
    const int64_t size = random_int(t, 2, 40), periodic = random_int(t, 0, 1), n = periodic ? size : size - 1;
    const tm_constant *length = scalar(t, size);
    tm_node *node = new_node(t, ops[k % 3], 1, 1, &length);
    tm_node_set_int(node, "output_datatype", type);
    tm_node_set_int(node, "periodic", periodic);
    const tm_constant *y = answer(t, node);
    assert_int_equal(tm_constant_count(y), size);
    for (int64_t i = 0; i < size; i++) {
        const double angle = 2 * M_PI * (double)i / (double)n;
        assert_near(y, i, terms[k % 3][0] - terms[k % 3][1] * cos(angle) + terms[k % 3][2] * cos(2 * angle),
                    1, 1);
    }
}
TRIALS(window, 36)

/* Expansion along the first row. */
static double determinant(const double *a, int64_t n, int64_t stride) {
    if (n == 0)
        return 1;
    double sum = 0, rest[16];
    for (int64_t c = 0; c < n; c++) {
        for (int64_t i = 1; i < n; i++)
            for (int64_t j = 0, to = 0; j < n; j++)
                if (j != c)
                    rest[(i - 1) * 4 + to++] = a[i * stride + j];
        sum += (c % 2 ? -1 : 1) * a[c] * determinant(rest, n - 1, 4);
    }
    return sum;
}

static void det_trial(kernel_test *t, int k) {
    const tamis_type type = float_types[k % FLOAT_TYPES];
    const int64_t n = random_int(t, 0, 4), dims[] = {random_int(t, 0, 2), n, n};
    const tm_constant *x = random_numbers(t, type, 3, dims), *y = answer(t, new_node(t, TM_OP_Det, 1, 1, &x));
    for (int64_t m = 0; m < dims[0]; m++) {
        double a[16];
        for (int64_t i = 0; i < n * n; i++)
            a[i / (n + (n == 0)) * 4 + i % (n + (n == 0))] = number(x, m * n * n + i);
        assert_near(y, m, determinant(a, n, 4), 8, 1);
    }
}
TRIALS(det, 40)

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(dft), cmocka_unit_test(stft),
                                       cmocka_unit_test(window), cmocka_unit_test(det),
                                       cmocka_unit_test(signals_have_one_or_two_parts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
