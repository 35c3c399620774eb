/* SPDX-License-Identifier: Apache-2.0
 *
 * math.h: the mathematical functions of kernels, as static inline code without branches where that is
 * possible, so that loops over them vectorise; and without any library, so that artifacts are the same
 * everywhere. tm_exp_f32(x), tm_exp_f64(x) and so on.
 *
 * float    abs copysign clamp exp expm1 log log1p sigmoid tanh softplus erf gelu gelu_tanh mish sin cos
 *          (math_f32.inc), and by way of double: pow sinh cosh tan asin acos atan asinh acosh atanh
 * double   math_f64.h and math_f64_trig.h
 * both     floor ceil trunc round_even sqrt fmod min/max that hand NaN on
 *
 * Errors measured by tests/unit/math/test_math.c: at most 1.5 units in the last place for exp, log and
 * their like, 3 for what is made of two of them (sigmoid, tanh, gelu), 0.5 for float by way of double. NaN,
 * infinities, signed zeros and subnormals follow C's Annex F. The code must not be compiled with -ffast-math:
 * the additions that round depend on their order.
 *
 * sin and cos of huge arguments need many digits of pi: the functions *_small are right up to
 * TM_REDUCE_LIMIT_F32 and have no branch; tm_sin_f32 takes all.
 */
#ifndef TM_MATH_MATH_H
#define TM_MATH_MATH_H

#include "runtime/math/bits.h"
#include "runtime/math/polynomials.h"

/* a * b + c with one rounding where the CPU has the instruction. */
#if defined(__FMA__) || defined(__aarch64__) || defined(__riscv_flen)
#define TM_MATH_FUSED 1
#define TM_MATH_FMA(a, b, c) __builtin_elementwise_fma(a, b, c)
#else
#define TM_MATH_FMA(a, b, c) ((a) * (b) + (c))
#endif

#ifdef TM_MATH_FUSED
#define TM_REDUCE_LIMIT_F32 0x1p28f
#else /* 33 bits of pi/2 times n must be exact */
#define TM_REDUCE_LIMIT_F32 0x1p18f
#endif

/* ---- roundings and the like; the builtins are single instructions on all targets ---- */
#define TM_MATH_BASIC(s, S)                         \
    static inline S tm_floor_##s(S x) {             \
        return __builtin_elementwise_floor(x);      \
    }                                               \
    static inline S tm_ceil_##s(S x) {              \
        return __builtin_elementwise_ceil(x);       \
    }                                               \
    static inline S tm_trunc_##s(S x) {             \
        return __builtin_elementwise_trunc(x);      \
    }                                               \
    static inline S tm_round_even_##s(S x) {        \
        return __builtin_elementwise_roundeven(x);  \
    }                                               \
    static inline S tm_sqrt_##s(S x) {              \
        return __builtin_elementwise_sqrt(x);       \
    }                                               \
    static inline S tm_max_##s(S a, S b) {          \
        return a > b || a != a ? a : b;             \
    }                                               \
    static inline S tm_min_##s(S a, S b) {          \
        return a < b || a != a ? a : b;             \
    }
TM_MATH_BASIC(f32, float)
TM_MATH_BASIC(f64, double)
#undef TM_MATH_BASIC

/* ---- float ---- */
#define F float
#define I int32_t
#define U uint32_t
#define D double
#define M bool
#define TM_NAME(op) tm_##op##_f32
#define TM_SELECT(c, a, b) ((c) ? (a) : (b))
#define TM_AS_F(u) tm_f32_of_bits(u)
#define TM_AS_U(f) tm_bits_of_f32(f)
#define TM_TO_F(i) ((float)(i))
#define TM_TO_D(f) ((double)(f))
#define TM_FROM_D(d) ((float)(d))
#include "runtime/math/math_f32.inc"

#include "runtime/math/math_f64.h"
#include "runtime/math/math_f64_trig.h"

/* sin(x + quadrant pi/2) for any float: beyond the limit by the double function. */
static inline float tm_sin_f32(float x) {
    return tm_abs_f32(x) <= TM_REDUCE_LIMIT_F32 ? tm_sin_small_f32(x) : (float)tm_sin_f64(x);
}
static inline float tm_cos_f32(float x) {
    return tm_abs_f32(x) <= TM_REDUCE_LIMIT_F32 ? tm_cos_small_f32(x) : (float)tm_cos_f64(x);
}

/* ---- float by way of double: half a unit, at half the speed, for what is rare in models ---- */
static inline float tm_pow_f32(float x, float y) {
    return (float)tm_pow_fast_f64(x, y);
}
#define TM_MATH_BY_DOUBLE(op)                    \
    static inline float tm_##op##_f32(float x) { \
        return (float)tm_##op##_f64(x);          \
    }
TM_MATH_BY_DOUBLE(sinh)
TM_MATH_BY_DOUBLE(cosh)
TM_MATH_BY_DOUBLE(tan)
TM_MATH_BY_DOUBLE(asin)
TM_MATH_BY_DOUBLE(acos)
TM_MATH_BY_DOUBLE(atan)
TM_MATH_BY_DOUBLE(asinh)
TM_MATH_BY_DOUBLE(acosh)
TM_MATH_BY_DOUBLE(atanh)
#undef TM_MATH_BY_DOUBLE
static inline float tm_fmod_f32(float x, float y) {
    return (float)tm_fmod_f64(x, y);
}

#endif
