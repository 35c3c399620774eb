/* SPDX-License-Identifier: Apache-2.0
 *
 * test_math.c: accuracy of runtime/math/ against the C library in a wider type.
 *
 * Each function is swept over its range: all float exponents with random mantissas and signs, and a
 * dense sweep where the function is curved. The error is counted in units in the last place of the
 * right answer. `limit` is the documented bound; the program prints the maxima that it found.
 */
#include "runtime/math/math.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static uint64_t random_state = 0x9e3779b97f4a7c15u;

static uint64_t random_bits(void) {
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Distance of `got` from `want` in units of the last place of `bits` mantissa bits, smallest exponent given.
 */
static double ulps(long double got, long double want, int bits, int smallest) {
    if (isnan(want) || isnan(got))
        return isnan(want) && isnan(got) ? 0 : INFINITY;
    if (isinf(want) || isinf(got))
        return want == got ? 0 : INFINITY;
    int exponent;
    frexpl(want, &exponent);
    if (want == 0 || exponent < smallest)
        exponent = smallest;
    return (double)fabsl(ldexpl(got - want, bits - exponent));
}

typedef struct function_f32 {
    const char *name;
    float (*ours)(float);
    long double (*reference)(long double);
    float low, high; /* dense sweep */
    double limit;
    bool narrow; /* the dense range only: beyond it the answer is a subnormal times x */
} function_f32;

static long double sigmoid_l(long double x) {
    return 1 / (1 + expl(-x));
}
static long double softplus_l(long double x) {
    return x > 100 ? x : log1pl(expl(x));
}
static long double mish_l(long double x) {
    return x * tanhl(softplus_l(x));
}

static long double gelu_l(long double x) {
    return x * 0.5L * erfcl(-x * 0.70710678118654752440L);
}

static const function_f32 functions_f32[] = {
    {"exp", tm_exp_f32, expl, -104, 89, 2, false},
    {"expm1", tm_expm1_f32, expm1l, -20, 89, 2, false},
    {"log", tm_log_f32, logl, 0, 4, 2, false},
    {"log1p", tm_log1p_f32, log1pl, -1, 4, 2, false},
    {"sigmoid", tm_sigmoid_f32, sigmoid_l, -104, 20, 4, false},
    {"tanh", tm_tanh_f32, tanhl, -10, 10, 4, false},
    {"softplus", tm_softplus_f32, softplus_l, -104, 30, 4, false},
    {"erf", tm_erf_f32, erfl, -4.5f, 4.5f, 2, false},
    {"gelu", tm_gelu_f32, gelu_l, -1, 30, 4, true},
    {"gelu", tm_gelu_f32, gelu_l, -3, -1, 16, true},
    {"mish", tm_mish_f32, mish_l, -50, 30, 4, true},
    {"sin", tm_sin_f32, sinl, -1000, 1000, 2, false},
    {"cos", tm_cos_f32, cosl, -1000, 1000, 2, false},
    {"tan", tm_tan_f32, tanl, -1000, 1000, 2, false},
    {"asin", tm_asin_f32, asinl, -1, 1, 2, false},
    {"acos", tm_acos_f32, acosl, -1, 1, 2, false},
    {"atan", tm_atan_f32, atanl, -10, 10, 2, false},
    {"sinh", tm_sinh_f32, sinhl, -90, 90, 2, false},
    {"cosh", tm_cosh_f32, coshl, -90, 90, 2, false},
    {"asinh", tm_asinh_f32, asinhl, -10, 10, 2, false},
    {"acosh", tm_acosh_f32, acoshl, 1, 10, 2, false},
    {"atanh", tm_atanh_f32, atanhl, -1, 1, 2, false},
};

typedef struct function_f64 {
    const char *name;
    double (*ours)(double);
    long double (*reference)(long double);
    double low, high;
    double limit;
    bool narrow; /* the dense range only: beyond it the answer is a subnormal times x */
} function_f64;

static const function_f64 functions_f64[] = {
    {"exp", tm_exp_f64, expl, -746, 710, 2, false},
    {"expm1", tm_expm1_f64, expm1l, -40, 710, 2, false},
    {"log", tm_log_f64, logl, 0, 4, 2, false},
    {"log1p", tm_log1p_f64, log1pl, -1, 4, 2, false},
    {"sigmoid", tm_sigmoid_f64, sigmoid_l, -746, 40, 4, false},
    {"tanh", tm_tanh_f64, tanhl, -22, 22, 4, false},
    {"softplus", tm_softplus_f64, softplus_l, -746, 50, 4, false},
    {"erf", tm_erf_f64, erfl, -6.5, 6.5, 4, false},
    {"mish", tm_mish_f64, mish_l, -50, 50, 4, true},
    {"sin", tm_sin_f64, sinl, -1000, 1000, 2, false},
    {"cos", tm_cos_f64, cosl, -1000, 1000, 2, false},
    {"tan", tm_tan_f64, tanl, -1000, 1000, 4, false},
    {"asin", tm_asin_f64, asinl, -1, 1, 4, false},
    {"acos", tm_acos_f64, acosl, -1, 1, 4, false},
    {"atan", tm_atan_f64, atanl, -10, 10, 4, false},
    {"sinh", tm_sinh_f64, sinhl, -711, 711, 4, false},
    {"cosh", tm_cosh_f64, coshl, -711, 711, 4, false},
    {"asinh", tm_asinh_f64, asinhl, -10, 10, 4, false},
    {"acosh", tm_acosh_f64, acoshl, 1, 10, 4, false},
    {"atanh", tm_atanh_f64, atanhl, -1, 1, 4, false},
};

static void check_f32(const function_f32 *f, float x, double *worst, float *where) {
    long double want = f->reference(x);
    if (isinf((float)want))
        want = (float)want;
    double error = ulps(f->ours(x), want, 24, -125);
    if (!(error <= *worst)) {
        *worst = error;
        *where = x;
    }
}

static void test_f32(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof functions_f32 / sizeof functions_f32[0]; i++) {
        const function_f32 *f = &functions_f32[i];
        double worst = 0;
        float where = 0;
        for (int k = 0; k < (f->narrow ? 0 : 200000); k++)
            check_f32(f, tm_f32_of_bits((uint32_t)random_bits()), &worst, &where);
        for (int k = 0; k <= 400000; k++)
            check_f32(f, f->low + (f->high - f->low) * ((float)k / 400000), &worst, &where);
        static const float special[] = {0.0f,      -0.0f,      1.0f,      -1.0f,
                                        0x1p-149f, -0x1p-149f, 0x1p-126f, 0x1.fffffep127f};
        for (size_t k = 0; k < (f->narrow ? 2 : sizeof special / sizeof special[0]); k++)
            check_f32(f, special[k], &worst, &where);
        check_f32(f, INFINITY, &worst, &where);
        if (!f->narrow)
            check_f32(f, -INFINITY, &worst, &where);
        check_f32(f, NAN, &worst, &where);
        printf("f32 %-9s max %.2f ulp at %a\n", f->name, worst, (double)where);
        assert_true(worst <= f->limit);
    }
}

static void check_f64(const function_f64 *f, double x, double *worst, double *where) {
    long double want = f->reference(x);
    if (isinf((double)want))
        want = (double)want;
    double error = ulps(f->ours(x), want, 53, -1021);
    if (!(error <= *worst)) {
        *worst = error;
        *where = x;
    }
}

static void test_f64(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof functions_f64 / sizeof functions_f64[0]; i++) {
        const function_f64 *f = &functions_f64[i];
        double worst = 0, where = 0;
        for (int k = 0; k < (f->narrow ? 0 : 100000); k++)
            check_f64(f, tm_f64_of_bits(random_bits()), &worst, &where);
        for (int k = 0; k <= 200000; k++)
            check_f64(f, f->low + (f->high - f->low) * (k / 200000.0), &worst, &where);
        static const double special[] = {0.0,       -0.0,       1.0,       -1.0,
                                         0x1p-1074, -0x1p-1074, 0x1p-1022, 0x1.fffffffffffffp1023};
        for (size_t k = 0; k < (f->narrow ? 2 : sizeof special / sizeof special[0]); k++)
            check_f64(f, special[k], &worst, &where);
        check_f64(f, INFINITY, &worst, &where);
        if (!f->narrow)
            check_f64(f, -INFINITY, &worst, &where);
        check_f64(f, NAN, &worst, &where);
        printf("f64 %-9s max %.2f ulp at %a\n", f->name, worst, where);
        assert_true(worst <= f->limit);
    }
}

/* pow and fmod take two arguments: random pairs whose result is finite, and C's special cases. */
static void test_pow(void **state) {
    (void)state;
    static const double special[] = {0.0, -0.0, 0.5,    1.0,     -1.0,      2.0,      -2.0,      3.0, -3.0,
                                     2.5, -2.5, 0x1p60, -0x1p60, 0x1p-1074, INFINITY, -INFINITY, NAN};
    size_t count = sizeof special / sizeof special[0];
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++) {
            double x = special[i], y = special[j], want = pow(x, y);
            double got = tm_pow_f64(x, y);
            assert_true(ulps(got, want, 53, -1021) <= 2 && (isnan(want) || signbit(got) == signbit(want)));
            float want_f32 = powf((float)x, (float)y), got_f32 = tm_pow_f32((float)x, (float)y);
            assert_true(ulps(got_f32, want_f32, 24, -125) <= 2);
        }
    double worst = 0, worst_f32 = 0;
    for (int k = 0; k < 300000; k++) {
        double x = exp(((double)(random_bits() >> 11) * 0x1p-53 - 0.5) * 60);
        double y = ((double)(random_bits() >> 11) * 0x1p-53 - 0.5) * 1400 / (fabs(log(x)) + 1);
        double error = ulps(tm_pow_f64(x, y), powl(x, y), 53, -1021);
        worst = error > worst ? error : worst;
        float a = (float)x, b = (float)(y / 10);
        error = ulps(tm_pow_f32(a, b), powl(a, b), 24, -125);
        worst_f32 = error > worst_f32 ? error : worst_f32;
    }
    printf("pow       max %.2f ulp, f32 %.2f\n", worst, worst_f32);
    assert_true(worst <= 2 && worst_f32 <= 2);
}

static void test_fmod(void **state) {
    (void)state;
    for (int k = 0; k < 200000; k++) {
        double x = tm_f64_of_bits(random_bits()), y = tm_f64_of_bits(random_bits());
        if (k % 2 == 0)
            y = ldexp(x, -(int)(random_bits() % 60)) * 1.37;
        if (k % 16 == 0) {
            x = tm_f64_of_bits(random_bits() & 0x800fffffffffffffu);
            y = tm_f64_of_bits(random_bits() & 0x800000ffffffffffu);
        }
        double got = tm_fmod_f64(x, y), want = fmod(x, y);
        assert_true((isnan(got) && isnan(want)) || (got == want && signbit(got) == signbit(want)));
    }
}

static void test_round(void **state) {
    (void)state;
    for (int k = -100; k <= 100; k++) {
        float x = (float)k / 4;
        assert_true(tm_round_even_f32(x) == nearbyintf(x));
        assert_true(tm_round_even_f64(x) == nearbyint(x));
        assert_true(tm_floor_f32(x) == floorf(x) && tm_ceil_f32(x) == ceilf(x) &&
                    tm_trunc_f32(x) == truncf(x));
    }
}

/* exp of a softmax: its error counts against 1, the largest weight. */
static void test_weight(void **state) {
    (void)state;
    for (int k = 0; k <= 400000; k++) {
        const float x =
            k <= 200000 ? (float)k * (-87.0f / 200000) : -(float)exp(40 * (k - 300000) / 1e5 - 35);
        if (x < -87)
            continue;
        const long double want = expl(x), error = fabsl(tm_weight_f32(x) - want);
        assert_true(error <= want * 0x1p-24L * (3 + 2 * fabsl(x)) && error <= 0x1.2p-23L);
    }
    assert_true(tm_weight_f32(0.0f) == 1 && tm_weight_f32(-0.0f) == 1);
    assert_true(tm_weight_f32(-87.5f) == 0 && tm_weight_f32(-INFINITY) == 0 && isnan(tm_weight_f32(NAN)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),  cmocka_unit_test(test_f64),   cmocka_unit_test(test_pow),
        cmocka_unit_test(test_fmod), cmocka_unit_test(test_round), cmocka_unit_test(test_weight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
