/* SPDX-License-Identifier: Apache-2.0
 *
 * math_f64.h: the double functions that rest on exp and log. Included by math.h.
 *
 * The same plan as for float: reduce the argument, one polynomial, undo the reduction, select special
 * cases. pow needs the logarithm to some 65 bits, since y log(x) goes up to 700 and its absolute
 * error becomes pow's relative one; it carries a second double for that. pow of floats does not need it.
 */
#ifndef TM_MATH_MATH_F64_H
#define TM_MATH_MATH_F64_H

static inline double tm_abs_f64(double x) {
    return tm_f64_of_bits(tm_bits_of_f64(x) & 0x7fffffffffffffffu);
}
static inline double tm_copysign_f64(double magnitude, double x) {
    return tm_f64_of_bits((tm_bits_of_f64(magnitude) & 0x7fffffffffffffffu) |
                          (tm_bits_of_f64(x) & 1ull << 63));
}
static inline double tm_clamp_f64(double x, double low, double high) {
    double above = x < low ? low : x;
    return above > high ? high : above;
}

/* a * b = result + *out_error, exactly */
static inline double tm_two_product_f64(double a, double b, double *out_error) {
    double p = a * b;
#ifdef TM_MATH_FUSED
    *out_error = TM_MATH_FMA(a, b, -p);
#else /* halves of 26 bits, whose products are exact */
    double a1 = tm_f64_of_bits(tm_bits_of_f64(a) & ~0x7ffffffull), a2 = a - a1;
    double b1 = tm_f64_of_bits(tm_bits_of_f64(b) & ~0x7ffffffull), b2 = b - b1;
    *out_error = ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2;
#endif
    return p;
}

/* ---- exp ---- */
static inline double tm_reduce_exp_f64(double x, uint64_t *out_bits) {
    double shifted = TM_MATH_FMA(x, 0x1.71547652b82fep+0, 0x1.8p52);
    double n = shifted - 0x1.8p52;
    *out_bits = tm_bits_of_f64(shifted) - 0x4338000000000000u;
    double r = TM_MATH_FMA(n, -0x1.62e42fefa38p-1, x);
    return TM_MATH_FMA(n, -0x1.ef35793c7673p-45, r);
}
/* e^(x + low) */
static inline double tm_exp_sum_f64(double x, double low) {
    uint64_t bits;
    double r = tm_reduce_exp_f64(tm_clamp_f64(x, -746.0, 710.0), &bits) + low;
    double p = TM_MATH_FMA(r * r, TM_POLY_EXP_F64(double, r), r) + 1.0;
    uint64_t half = (uint64_t)((int64_t)bits >> 1);
    return p * tm_f64_of_bits((half + 1023) << 52) * tm_f64_of_bits((bits - half + 1023) << 52);
}
static inline double tm_exp_f64(double x) {
    return tm_exp_sum_f64(x, 0.0);
}
static inline double tm_expm1_f64(double x) {
    uint64_t bits;
    double r = tm_reduce_exp_f64(tm_clamp_f64(x, -40.0, 710.0), &bits);
    double p = TM_MATH_FMA(r * r, TM_POLY_EXP_F64(double, r), r);
    double scale = tm_f64_of_bits((bits + 1022) << 52);
    double y = TM_MATH_FMA(scale, p, scale - 0.5) * 2.0;
    return tm_abs_f64(x) < 0x1p-53 ? x : y;
}

/* ---- log ---- */
/* x = 2^exponent (1 + f), sqrt(1/2) <= 1 + f < sqrt(2), for x > 0 */
static inline double tm_split_f64(double x, double *out_exponent) {
    bool small = x < 0x1p-1022;
    uint64_t shifted = tm_bits_of_f64(small ? x * 0x1p54 : x) - 0x3fe6a09e667f3bcdu;
    uint64_t mantissa = (shifted & 0xfffffffffffffu) + 0x3fe6a09e667f3bcdu;
    /* The exponent becomes a double as the low bits of 2^52: integer conversions do not vectorise everywhere.
     */
    uint64_t biased = (shifted + (1100ull << 52)) >> 52;
    double exponent = tm_f64_of_bits(biased | 0x4330000000000000u) - (0x1p52 + 1100);
    *out_exponent = small ? exponent - 54.0 : exponent;
    return tm_f64_of_bits(mantissa) - 1.0;
}
static inline double tm_log_sum_f64(double x, double correction) {
    double exponent;
    double f = tm_split_f64(x, &exponent);
    double s = f / (2.0 + f);
    double z = s * s;
    double half_square = 0.5 * f * f;
    double y = s * (half_square + z * TM_POLY_LOG_F64(double, z));
    y = TM_MATH_FMA(exponent, 0x1.ef35793c7673p-45, y) + correction;
    double result = TM_MATH_FMA(exponent, 0x1.62e42fefa38p-1, f - (half_square - y));
    result = x == 0.0 ? -tm_inf_f64() : result;
    result = x < 0.0 ? tm_nan_f64() : result;
    return x < tm_inf_f64() ? result : x;
}
static inline double tm_log_f64(double x) {
    return tm_log_sum_f64(x, 0.0);
}
static inline double tm_log1p_f64(double x) {
    double u = x + 1.0;
    double large = x > 1.0 ? x : 1.0, little = x > 1.0 ? 1.0 : x;
    double correction = (little - (u - large)) / u;
    bool plain = (u <= 0.0) | (x == tm_inf_f64());
    double y = tm_log_sum_f64(u, plain ? 0.0 : correction);
    return tm_abs_f64(x) < 0x1p-53 ? x : y;
}

/* ---- what follows from them ---- */
static inline double tm_sigmoid_f64(double x) {
    double e = tm_exp_f64(-tm_abs_f64(x));
    return (x < 0.0 ? e : 1.0) / (e + 1.0);
}
static inline double tm_tanh_f64(double x) {
    double t = tm_expm1_f64(tm_clamp_f64(tm_abs_f64(x), 0.0, 22.0) * 2.0);
    return tm_copysign_f64(t / (t + 2.0), x);
}
static inline double tm_softplus_f64(double x) {
    double e = tm_exp_f64(-tm_abs_f64(x));
    double u = e + 1.0;
    return (x < 0.0 ? 0.0 : x) + tm_log_sum_f64(u, (e - (u - 1.0)) / u);
}
static inline double tm_sinh_f64(double x) {
    double a = tm_abs_f64(x);
    double t = tm_expm1_f64(a > 22.0 ? 22.0 : a);
    double e = tm_exp_f64(a * 0.5); /* e^a may overflow where sinh does not */
    double y = a > 22.0 ? 0.5 * e * e : 0.5 * (t + t / (t + 1.0));
    return tm_copysign_f64(y, x);
}
static inline double tm_cosh_f64(double x) {
    double e = tm_exp_f64(tm_abs_f64(x) * 0.5);
    double square = 0.5 * e * e;
    return square + 0.25 / square;
}
static inline double tm_asinh_f64(double x) {
    double a = tm_abs_f64(x);
    double b = a > 0x1p28 ? 0x1p28 : a;
    double square = b * b;
    double y = tm_log1p_f64(b + square / (1.0 + tm_sqrt_f64(square + 1.0)));
    double large = tm_log_f64(a) + 0x1.62e42fefa39efp-1;
    return tm_copysign_f64(a > 0x1p28 || a != a ? large : y, x);
}
static inline double tm_acosh_f64(double x) {
    double t = (x > 0x1p28 ? 0x1p28 : x) - 1.0;
    double y = tm_log1p_f64(t + tm_sqrt_f64(2.0 * t + t * t));
    double large = tm_log_f64(x) + 0x1.62e42fefa39efp-1;
    return x < 1.0 ? tm_nan_f64() : (x > 0x1p28 || x != x ? large : y);
}
static inline double tm_atanh_f64(double x) {
    double a = tm_abs_f64(x);
    return tm_copysign_f64(0.5 * tm_log1p_f64(2.0 * a / (1.0 - a)), x);
}
/* Above 1: erfc(x) e^(x^2) (1 + 2x) is a polynomial in (x - 3)/(x + 3), and x^2 needs its rounding error. */
static inline double tm_erf_f64(double x) {
    double a = tm_abs_f64(x);
    double z = x * x;
    double small = TM_MATH_FMA(x, TM_POLY_ERF_F64(double, z), x);
    double b = a < 1.0 ? 1.0 : (a > 6.0 ? 6.0 : a);
    double low, square = tm_two_product_f64(b, b, &low);
    double u = (b - 3.0) / (b + 3.0);
    double tail = tm_exp_sum_f64(-square, -low) * (TM_POLY_ERFCX_F64(double, u) / (1.0 + 2.0 * b));
    double y = a < 1.0 ? small : tm_copysign_f64(1.0 - tail, x);
    return x != x ? x : y;
}
static inline double tm_gelu_f64(double x) {
    return x * 0.5 * (tm_erf_f64(x * 0x1.6a09e667f3bcdp-1) + 1.0);
}
static inline double tm_gelu_tanh_f64(double x) {
    double inner = TM_MATH_FMA(x * x * x, 0.044715, x) * 0x1.9884533d43651p-1;
    return x * 0.5 * (tm_tanh_f64(inner) + 1.0);
}
static inline double tm_mish_f64(double x) {
    double e = tm_exp_f64(x > 40.0 ? 40.0 : x);
    double n = e * (e + 2.0);
    return x > 40.0 ? x : x * n / (n + 2.0);
}

/* ---- pow ---- */
/* Puts C's rules for signs and special arguments over `magnitude` = |x|^y, which is right for
 * |x| other than 1 and y other than 0. */
static inline double tm_pow_rules_f64(double x, double y, double magnitude) {
    bool whole = tm_trunc_f64(y) == y;
    double half = y * 0.5;
    bool odd = whole && tm_trunc_f64(half) != half;
    double result = tm_abs_f64(x) == 1.0 && y == y ? 1.0 : magnitude;
    result = odd ? tm_copysign_f64(result, x) : result;
    result = x < 0.0 && !whole && x >= -0x1.fffffffffffffp1023 ? tm_nan_f64() : result;
    return y == 0.0 || x == 1.0 ? 1.0 : result;
}
/* log(x) as result + *out_low, for x > 0 and finite */
static inline double tm_log_pair_f64(double x, double *out_low) {
    double exponent;
    double f = tm_split_f64(x, &exponent);
    double d = 2.0 + f, d_low = (2.0 - d) + f;
    double s = f / d;
    double product_low, product = tm_two_product_f64(s, d, &product_low);
    double s_low = ((f - product) - product_low - s * d_low) / d;
    double z_low, z = tm_two_product_f64(s, s, &z_low);
    z_low += 2.0 * s * s_low;
    /* 2/3 z with its rounding error, then the rest of the series, which is small. */
    double t_low, t = tm_two_product_f64(z, 0x1.5555555555555p-1, &t_low);
    t_low +=
        z * 0x1.5555555555555p-55 + z_low * 0x1.5555555555555p-1 + z * z * TM_POLY_LOG_TAIL_F64(double, z);
    double w_low, w = tm_two_product_f64(s, t, &w_low);
    w_low += s * t_low + s_low * t;
    /* exponent ln 2 + 2s + w, from the large to the small. */
    double head = exponent * 0x1.62e42fefa38p-1;
    double sum = head + 2.0 * s;
    double sum_low = tm_abs_f64(head) > tm_abs_f64(2.0 * s) ? (head - sum) + 2.0 * s : (2.0 * s - sum) + head;
    double total = sum + w;
    double low = ((sum - total) + w) + sum_low + w_low + 2.0 * s_low + exponent * 0x1.ef35793c7673p-45;
    double result = total + low;
    *out_low = (total - result) + low;
    return result;
}
static inline double tm_pow_f64(double x, double y) {
    double a = tm_abs_f64(x);
    double low, high = tm_log_pair_f64(a, &low);
    bool special = !(a > 0.0 && a < tm_inf_f64());
    high = special ? tm_log_f64(a) : high;
    low = special ? 0.0 : low;
    double error, product = tm_two_product_f64(y, high, &error);
    double rest = error + y * low;
    rest = tm_abs_f64(product) < 800.0 ? rest : 0.0;
    return tm_pow_rules_f64(x, y, tm_exp_sum_f64(product, rest));
}
/* Good to some 45 bits: for results that become floats. */
static inline double tm_pow_fast_f64(double x, double y) {
    return tm_pow_rules_f64(x, y, tm_exp_f64(y * tm_log_f64(tm_abs_f64(x))));
}

/* ---- fmod: exact; long division of mantissas, 11 bits a step ---- */
static inline double tm_fmod_f64(double x, double y) {
    double a = tm_abs_f64(x), b = tm_abs_f64(y);
    if (!(a < tm_inf_f64()) || b == 0.0 || b != b)
        return tm_nan_f64();
    if (a < b)
        return x;
    uint64_t a_bits = tm_bits_of_f64(a), b_bits = tm_bits_of_f64(b);
    int a_exponent = (int)(a_bits >> 52), b_exponent = (int)(b_bits >> 52);
    uint64_t rest = (a_bits & 0xfffffffffffffu) | (uint64_t)(a_exponent != 0) << 52;
    uint64_t divisor = (b_bits & 0xfffffffffffffu) | (uint64_t)(b_exponent != 0) << 52;
    int steps = (a_exponent == 0 ? 1 : a_exponent) - (b_exponent == 0 ? 1 : b_exponent);
    rest %= divisor;
    for (; steps > 0 && rest != 0; steps -= 11)
        rest = (rest << (steps < 11 ? steps : 11)) % divisor;
    /* rest * 2^(b's exponent) */
    int exponent = b_exponent == 0 ? 1 : b_exponent;
    if (rest == 0)
        return tm_copysign_f64(0.0, x);
    int shift = __builtin_clzll(rest) - 11;
    if (shift >= exponent)
        rest <<= exponent - 1; /* subnormal */
    else
        rest = ((rest << shift) & 0xfffffffffffffu) | (uint64_t)(exponent - shift) << 52;
    return tm_copysign_f64(tm_f64_of_bits(rest), x);
}

#endif
