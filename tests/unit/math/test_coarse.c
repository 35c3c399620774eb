/* SPDX-License-Identifier: Apache-2.0
 *
 * test_coarse.c: the functions of runtime/math/coarse_f32.inc keep the bounds that its header promises.
 *
 * Each is swept densely where it is curved and over all exponents; the error is also counted in steps of the
 * finest quantiser whose bytes cover the results, and must stay below a sixteenth of a step.
 */
#define TM_MATH_COARSE
#include "runtime/math/math.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}
static double gelu(double x) {
    return x * 0.5 * erfc(-x * 0.70710678118654752440);
}
static double gelu_tanh(double x) {
    return x * sigmoid(2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x));
}

typedef struct coarse {
    const char *name;
    float (*ours)(float);
    double (*reference)(double);
    float low, high;
    double smallest; /* results below it may be off by as much as it */
    double most;     /* error of any result up to 1; 0: no such bound */
} coarse;

static const coarse functions[] = {
    {"exp", tm_exp_coarse_f32, exp, -87, 87, 0x1p-126, 0},
    {"sigmoid", tm_sigmoid_coarse_f32, sigmoid, -87, 87, 0x1p-126, 0},
    {"tanh", tm_tanh_coarse_f32, tanh, -20, 20, 0x1p-126, 0},
    {"gelu", tm_gelu_coarse_f32, gelu, -20, 20, 0x1p-7, 0x1p-18},
    {"gelu_tanh", tm_gelu_tanh_coarse_f32, gelu_tanh, -20, 20, 0x1p-7, 0x1p-17},
};

static void check(const coarse *f, float x, double *worst) {
    double want = f->reference((double)x), error = fabs((double)f->ours(x) - want);
    double share = error / fmax(fabs(want), f->smallest);
    *worst = fmax(*worst, share);
    if (!(share <= 0x1p-12))
        fail_msg("%s(%a) is off by %g of the result", f->name, (double)x, share);
    if (f->most > 0 && !(error <= f->most * fmax(1, fabs(want))))
        fail_msg("%s(%a) is off by %g", f->name, (double)x, error);
}

static void test_bounds(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        const coarse *f = &functions[i];
        double worst = 0;
        for (int k = 0; k <= 1000000; k++)
            check(f, f->low + (f->high - f->low) * ((float)k / 1000000), &worst);
        for (int exponent = -126; exponent < 4; exponent++)
            for (int k = 0; k < 256; k++) {
                float x = ldexpf(1 + (float)k / 256, exponent);
                check(f, x, &worst);
                check(f, -x, &worst);
            }
        printf("%-9s max %.3g of the result, %.3g of a step\n", f->name, worst, worst * 255);
    }
}

static void test_special(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
        for (uint32_t payload = 1; payload < 0x400000; payload = payload * 2 + 1) {
            assert_true(isnan(functions[i].ours(tm_f32_of_bits(0x7f800000u + payload))));
            assert_true(isnan(functions[i].ours(tm_f32_of_bits(0xff800000u + payload))));
        }
    assert_true(tm_exp_coarse_f32(INFINITY) >= 0x1p125f && tm_exp_coarse_f32(-INFINITY) <= 0x1p-125f);
    assert_true(tm_sigmoid_coarse_f32(INFINITY) >= 1 - 0x1p-12f &&
                tm_sigmoid_coarse_f32(-INFINITY) <= 0x1p-125f);
    assert_true(tm_tanh_coarse_f32(INFINITY) >= 1 - 0x1p-12f &&
                tm_tanh_coarse_f32(-INFINITY) <= -1 + 0x1p-12f);
    assert_true(tm_gelu_coarse_f32(INFINITY) == INFINITY && fabsf(tm_gelu_coarse_f32(-INFINITY)) <= 0x1p-18f);
    assert_true(tm_gelu_tanh_coarse_f32(INFINITY) == INFINITY &&
                fabsf(tm_gelu_tanh_coarse_f32(-INFINITY)) <= 0x1p-18f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bounds), cmocka_unit_test(test_special)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
