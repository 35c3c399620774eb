/* SPDX-License-Identifier: Apache-2.0
 *
 * unary.c: functions of one input without mathematical functions: Abs, Neg, Sign, Floor, Ceil, Round, Relu,
 * Reciprocal, Sqrt, Not, BitwiseNot, IsNaN, IsInf and piecewise linear activations.
 *
 * Comparisons are arranged so that NaN comes through: Relu is "x < 0 ? 0 : x", not "x > 0 ? x : 0".
 * Round takes halves to the even neighbour. Abs and Neg of the smallest integer wrap to itself.
 */
#include "runtime/ops/unary.h"

#define FLOATS(s, S, C)                                                                                    \
    TM_UNARY_KERNEL(Abs, s, S, C, S, tm_store_##s(TM_MATH(s, abs)(a)))                                     \
    TM_UNARY_KERNEL(Neg, s, S, C, S, tm_store_##s(-a))                                                     \
    TM_UNARY_KERNEL(Sign, s, S, C, S, tm_store_##s(a > 0 ? (C)1 : a < 0 ? (C) - 1 : a != a ? a : (C)0))    \
    TM_UNARY_KERNEL(Floor, s, S, C, S, tm_store_##s(TM_MATH(s, floor)(a)))                                 \
    TM_UNARY_KERNEL(Ceil, s, S, C, S, tm_store_##s(TM_MATH(s, ceil)(a)))                                   \
    TM_UNARY_KERNEL(Round, s, S, C, S, tm_store_##s(TM_MATH(s, round_even)(a)))                            \
    TM_UNARY_KERNEL(Relu, s, S, C, S, tm_store_##s(a < 0 ? (C)0 : a))                                      \
    TM_UNARY_KERNEL(Reciprocal, s, S, C, S, tm_store_##s((C)1 / a))                                        \
    TM_UNARY_KERNEL(Sqrt, s, S, C, S, tm_store_##s(TM_MATH(s, sqrt)(a)))                                   \
    TM_UNARY_KERNEL(Softsign, s, S, C, S, tm_store_##s(a / ((C)1 + TM_MATH(s, abs)(a))))                   \
    TM_UNARY_KERNEL(LeakyRelu, s, S, C, S, tm_store_##s(a < 0 ? a * (C)attributes->alpha : a))             \
    TM_UNARY_KERNEL(ThresholdedRelu, s, S, C, S, tm_store_##s(a > (C)attributes->alpha ? a : (C)0))        \
    TM_UNARY_KERNEL(HardSigmoid, s, S, C, S,                                                               \
                    tm_store_##s(TM_MATH(s, clamp)(a * (C)attributes->alpha + (C)attributes->beta, 0, 1))) \
    TM_UNARY_KERNEL(HardSwish, s, S, C, S, tm_store_##s(a *TM_MATH(s, clamp)(a / (C)6 + (C)0.5, 0, 1)))
TM_FOR_FLOAT_TYPES(FLOATS)

#define SIGNED(s, S, C)                                                                                 \
    TM_UNARY_KERNEL(Abs, s, S, C, S, a < 0 ? (TM_UNSIGNED(s))0 - (TM_UNSIGNED(s))a : (TM_UNSIGNED(s))a) \
    TM_UNARY_KERNEL(Neg, s, S, C, S, (TM_UNSIGNED(s))0 - (TM_UNSIGNED(s))a)                             \
    TM_UNARY_KERNEL(Sign, s, S, C, S, (a > 0) - (a < 0))                                                \
    TM_UNARY_KERNEL(Relu, s, S, C, S, a < 0 ? 0 : a)                                                    \
    TM_UNARY_KERNEL(BitwiseNot, s, S, C, S, ~a)
TM_FOR_SIGNED_TYPES(SIGNED)

#define UNSIGNED(s, S, C)                    \
    TM_UNARY_KERNEL(Abs, s, S, C, S, a)      \
    TM_UNARY_KERNEL(Sign, s, S, C, S, a > 0) \
    TM_UNARY_KERNEL(BitwiseNot, s, S, C, S, ~a)
TM_FOR_UNSIGNED_TYPES(UNSIGNED)

TM_UNARY_KERNEL(Not, bool, uint8_t, uint8_t, uint8_t, a == 0)

/* ---- Shrink: x < -lambd: x + bias; x > lambd: x - bias; else 0 ---- */
#define SHRINK(s, S, C)                                                                                      \
    TM_UNARY_KERNEL(Shrink, s, S, C, S,                                                                      \
                    tm_store_##s(a<-(C)attributes->lambd ? a + (C)attributes->bias : a>(C) attributes->lambd \
                                     ? a - (C)attributes->bias                                               \
                                     : (C)0))
TM_FOR_FLOAT_TYPES(SHRINK)

static inline double shrink(double x, double lambda, double bias) {
    return x < -lambda ? x + bias : x > lambda ? x - bias : 0.0;
}
#define SHRINK_INTEGER(s, S, C) \
    TM_UNARY_KERNEL(Shrink, s, S, C, S, tm_f64_to_##s(shrink((double)a, attributes->lambd, attributes->bias)))
TM_FOR_INTEGER_TYPES(SHRINK_INTEGER)

/* ---- tests, by value so that float8 formats without infinity need no rules of their own ---- */
#define TESTS(s, S, C)                                                              \
    TM_UNARY_KERNEL(IsNaN, s, S, C, uint8_t, a != a)                                \
    TM_UNARY_KERNEL(IsInf, s, S, C, uint8_t,                                        \
                    ((a == (C)tm_inf_f32()) & (attributes->detect_positive != 0)) | \
                        ((a == (C) - tm_inf_f32()) & (attributes->detect_negative != 0)))
TM_FOR_FLOAT_TYPES(TESTS)
TESTS(f8e4m3fn, uint8_t, float)
TESTS(f8e4m3fnuz, uint8_t, float)
TESTS(f8e5m2, uint8_t, float)
TESTS(f8e5m2fnuz, uint8_t, float)
