/* SPDX-License-Identifier: Apache-2.0
 *
 * math_f64_trig.h: the double functions of angles. Included by math.h.
 *
 * sin, cos and tan subtract multiples of pi/2. Up to 2^20 pi/2 is split into parts of 33 bits, whose
 * products with the multiple are exact. Above (Payne and Hanek's way), x = m 2^e is multiplied as an integer
 * with those 192 bits of 2/pi that matter: higher bits give multiples of 4, lower ones vanish; the product's
 * top two bits are the quadrant and the rest the angle, to 60 bits and more.
 */
#ifndef TM_MATH_MATH_F64_TRIG_H
#define TM_MATH_MATH_F64_TRIG_H

/* 2/pi in binary, after 64 zero bits. */
static const uint64_t tm_two_over_pi[21] = {0,
                                            0xa2f9836e4e441529u,
                                            0xfc2757d1f534ddc0u,
                                            0xdb6295993c439041u,
                                            0xfe5163abdebbc561u,
                                            0xb7246e3a424dd2e0u,
                                            0x06492eea09d1921cu,
                                            0xfe1deb1cb129a73eu,
                                            0xe88235f52ebb4484u,
                                            0xe99c7026b45f7e41u,
                                            0x3991d639835339f4u,
                                            0x9c845f8bbdf9283bu,
                                            0x1ff897ffde05980fu,
                                            0xef2f118b5a0a6d1fu,
                                            0x6d367ecf27cb09b7u,
                                            0x4f463f669e5fea2du,
                                            0x7527bac7ebe5f17bu,
                                            0x3d0739f78a5292eau,
                                            0x6bfb5fb11f8d5d08u,
                                            0x56033046fc7b6babu,
                                            0xf0cfbc209af4361du};

static inline uint64_t tm_two_over_pi_at(int bit) {
    const uint64_t *word = tm_two_over_pi + (bit >> 6);
    int shift = bit & 63;
    return shift == 0 ? word[0] : word[0] << shift | word[1] >> (64 - shift);
}

/* |x| = n pi/2 + r + low for 2^20 < |x| < inf; returns r, the quadrant is n mod 4. */
static inline double tm_reduce_huge_f64(double x, double *out_low, uint64_t *out_quadrant) {
    uint64_t bits = tm_bits_of_f64(x) & 0x7fffffffffffffffu;
    uint64_t mantissa = (bits & 0xfffffffffffffu) | 1ull << 52;
    int first = (int)(bits >> 52) - 1075 - 2 + 64; /* the first bit of 2/pi whose product is below 4 */
    unsigned __int128 low = (unsigned __int128)mantissa * tm_two_over_pi_at(first + 128);
    unsigned __int128 middle =
        (unsigned __int128)mantissa * tm_two_over_pi_at(first + 64) + (uint64_t)(low >> 64);
    uint64_t high = mantissa * tm_two_over_pi_at(first) + (uint64_t)(middle >> 64);
    uint64_t next = (uint64_t)middle;
    uint64_t quadrant = (high + (1ull << 61)) >> 62;
    high -= quadrant << 62;
    bool negative = high >> 63 != 0;
    if (negative) {
        high = ~high + (next == 0);
        next = ~next + 1;
    }
    int zeros = high != 0 ? __builtin_clzll(high) : 63;
    if (zeros > 0) {
        high = high << zeros | next >> (64 - zeros);
        next <<= zeros;
    }
    double scale = tm_f64_of_bits((uint64_t)(1023 - 62 - zeros) << 52);
    double head = (double)(high >> 11) * 0x1p11 * scale;
    double tail = ((double)(high & 0x7ffu) + (double)(next >> 11) * 0x1p-53) * scale;
    double product_low, r = tm_two_product_f64(head, 0x1.921fb54442d18p+0, &product_low);
    double rest = product_low + head * 0x1.1a62633145c07p-54 + tail * 0x1.921fb54442d18p+0;
    *out_quadrant = quadrant;
    *out_low = negative ? -rest : rest;
    return negative ? -r : r;
}

static inline double tm_reduce_pi_f64(double x, double *out_low, uint64_t *out_quadrant) {
    if (tm_abs_f64(x) > 0x1p20) { /* by |x|; for a negative x the angle and the quadrant turn around */
        double low, r = tm_reduce_huge_f64(x, &low, out_quadrant);
        if (x < 0) {
            *out_quadrant = 0 - *out_quadrant;
            *out_low = -low;
            return -r;
        }
        *out_low = low;
        return r;
    }
    double shifted = TM_MATH_FMA(x, 0x1.45f306dc9c883p-1, 0x1.8p52);
    double n = shifted - 0x1.8p52;
    double t = TM_MATH_FMA(n, -0x1.921fb544p+0, x);
    double w = n * 0x1.0b4611a6p-34;
    double r = t - w;
    double low = (t - r) - w;
    double v = n * 0x1.3198a2ep-69;
    double sum = r - v;
    low += (r - sum) - v;
    low -= n * 0x1.b839a252049c1p-104;
    *out_quadrant = tm_bits_of_f64(shifted);
    r = sum + low;
    *out_low = (sum - r) + low;
    return r;
}

static inline double tm_sin_part_f64(double r, double low) {
    double z = r * r;
    return r + TM_MATH_FMA(r * z, TM_POLY_SIN_F64(double, z), low * (1.0 - 0.5 * z));
}
static inline double tm_cos_part_f64(double r, double low) {
    double z = r * r;
    double half = 0.5 * z;
    double w = 1.0 - half;
    return w + (((1.0 - w) - half) + TM_MATH_FMA(z * z, TM_POLY_COS_F64(double, z), -(r * low)));
}
static inline double tm_sin_f64(double x) {
    if (!(tm_abs_f64(x) < tm_inf_f64()) || x == 0.0)
        return x * (tm_abs_f64(x) < 1.0 ? 1.0 : x - x); /* NaN for inf and NaN, zero keeps its sign */
    uint64_t quadrant;
    double low, r = tm_reduce_pi_f64(x, &low, &quadrant);
    double y = (quadrant & 1) != 0 ? tm_cos_part_f64(r, low) : tm_sin_part_f64(r, low);
    return (quadrant & 2) != 0 ? -y : y;
}
static inline double tm_cos_f64(double x) {
    if (!(tm_abs_f64(x) < tm_inf_f64()))
        return tm_nan_f64();
    uint64_t quadrant;
    double low, r = tm_reduce_pi_f64(x, &low, &quadrant);
    double y = (quadrant & 1) != 0 ? tm_sin_part_f64(r, low) : tm_cos_part_f64(r, low);
    return ((quadrant + 1) & 2) != 0 ? -y : y;
}
static inline double tm_tan_f64(double x) {
    if (!(tm_abs_f64(x) < tm_inf_f64()) || x == 0.0)
        return tm_sin_f64(x);
    uint64_t quadrant;
    double low, r = tm_reduce_pi_f64(x, &low, &quadrant);
    double sine = tm_sin_part_f64(r, low), cosine = tm_cos_part_f64(r, low);
    return (quadrant & 1) != 0 ? -cosine / sine : sine / cosine;
}

/* ---- inverse functions ---- */
static inline double tm_asin_f64(double x) {
    double a = tm_abs_f64(x);
    bool large = a > 0.5; /* asin(x) = pi/2 - 2 asin(sqrt((1 - x)/2)) */
    double z = large ? (1.0 - a) * 0.5 : x * x;
    double s = large ? tm_sqrt_f64(z) : a;
    double p = s * z * TM_POLY_ASIN_F64(double, z);
    double y = large ? 0x1.921fb54442d18p+0 - (2.0 * s + (2.0 * p - 0x1.1a62633145c07p-54)) : s + p;
    return tm_copysign_f64(y, x);
}
static inline double tm_acos_f64(double x) {
    double a = tm_abs_f64(x);
    bool large = a > 0.5;
    double z = large ? (1.0 - a) * 0.5 : x * x;
    double s = large ? tm_sqrt_f64(z) : x;
    double p = s * z * TM_POLY_ASIN_F64(double, z);
    double middle = 0x1.921fb54442d18p+0 - (s + (p - 0x1.1a62633145c07p-54));
    double right = 2.0 * (s + p);
    double left = 0x1.921fb54442d18p+1 - (2.0 * s + (2.0 * p - 0x1.1a62633145c07p-53));
    return large ? (x > 0 ? right : left) : middle;
}
static inline double tm_atan_f64(double x) {
    double a = tm_abs_f64(x);
    bool large = a > 0x1.3504f333f9de6p+1, middle = a > 0x1.a827999fcef32p-2;
    double t = large ? -1.0 / a : (middle ? (a - 1.0) / (a + 1.0) : a);
    double base = large ? 0x1.921fb54442d18p+0 : (middle ? 0x1.921fb54442d18p-1 : 0.0);
    double base_low = large ? 0x1.1a62633145c07p-54 : (middle ? 0x1.1a62633145c07p-55 : 0.0);
    double z = t * t;
    double y = base + (t + (TM_MATH_FMA(t * z, TM_POLY_ATAN_F64(double, z), base_low)));
    return tm_copysign_f64(y, x);
}

#endif
