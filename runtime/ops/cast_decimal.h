/* SPDX-License-Identifier: Apache-2.0
 *
 * cast_decimal.h: m 2^a 10^b to 64 bits and a bit that says whether there is more: enough to round
 * any decimal to any float type once, and any float to any number of digits.
 *
 * 10^b is 2^b 5^b. For b >= 0 an array of words is multiplied by 5^13 and 5; for b < 0 it is shifted up far
 * enough first and divided by them; remainders set the sticky bit. 5^13 is the largest power in 32 bits.
 */
#ifndef TM_OPS_CAST_DECIMAL_H
#define TM_OPS_CAST_DECIMAL_H

#include "runtime/math/math.h"
#include "runtime/ops/element.h"

/* (top + a fraction, above 0 if sticky) * 2^exponent; the highest bit of top is set unless it is 0. */
typedef struct tm_scaled {
    uint64_t top;
    int64_t exponent;
    bool sticky;
} tm_scaled;

#define TM_DECIMAL_WORDS 72

typedef struct tm_words {
    uint32_t words[TM_DECIMAL_WORDS]; /* the lowest first */
    int count;
} tm_words;

static inline void tm_words_multiply(tm_words *a, uint32_t factor) {
    uint64_t carry = 0;
    for (int i = 0; i < a->count; i++) {
        carry += (uint64_t)a->words[i] * factor;
        a->words[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry != 0)
        a->words[a->count++] = (uint32_t)carry;
}

static inline bool tm_words_divide(tm_words *a, uint32_t divisor) {
    uint64_t rest = 0;
    for (int i = a->count - 1; i >= 0; i--) {
        rest = rest << 32 | a->words[i];
        a->words[i] = (uint32_t)(rest / divisor);
        rest %= divisor;
    }
    while (a->count > 0 && a->words[a->count - 1] == 0)
        a->count--;
    return rest != 0;
}

static inline tm_scaled tm_words_top(const tm_words *a, int64_t exponent, bool sticky) {
    tm_scaled result = {0, 0, sticky};
    if (a->count == 0)
        return result;
    for (int i = 0; i < 3; i++) { /* 96 bits, of which the highest 64 that count */
        uint32_t word = a->count - 1 - i >= 0 ? a->words[a->count - 1 - i] : 0;
        if (i < 2) {
            result.top = result.top << 32 | word;
            continue;
        }
        int zeros = __builtin_clzll(result.top);
        if (zeros > 0)
            result.top = result.top << zeros | word >> (32 - zeros);
        result.sticky |= (uint32_t)(word << zeros) != 0;
        result.exponent = exponent + 32 * ((int64_t)a->count - 2) - zeros;
    }
    for (int i = 0; i < a->count - 3; i++)
        result.sticky |= a->words[i] != 0;
    return result;
}

/* m 2^two 10^ten */
static inline tm_scaled tm_scale_by_ten(uint64_t m, int64_t two, int64_t ten) {
    tm_words a = {{(uint32_t)m, (uint32_t)(m >> 32)}, 2};
    bool sticky = false;
    if (m == 0)
        return (tm_scaled){0, 0, false};
    ten = ten > 400 ? 400 : ten < -400 ? -400 : ten; /* beyond, every type has infinity and zero */
    int64_t exponent = two + ten;
    if (ten < 0) { /* room for the quotient's 64 bits: 5^n has less than 7n/3 bits */
        int shift = (int)(-ten * 7 / 3 + 64) / 32 + 1;
        for (int i = 0; i < 2; i++) {
            a.words[i + shift] = a.words[i];
            a.words[i] = 0;
        }
        a.count += shift;
        exponent -= 32 * (int64_t)shift;
    }
    for (int64_t n = ten < 0 ? -ten : ten; n > 0;) {
        int64_t step = n >= 13 ? 13 : 1;
        uint32_t power = step == 13 ? 1220703125u : 5u;
        if (ten > 0)
            tm_words_multiply(&a, power);
        else
            sticky |= tm_words_divide(&a, power);
        n -= step;
    }
    while (a.count > 0 && a.words[a.count - 1] == 0)
        a.count--;
    return tm_words_top(&a, exponent, sticky);
}

/* top / 2^shift, nearest, ties to even; 0 < shift */
static inline uint64_t tm_round_shift(tm_scaled x, int64_t shift) {
    if (shift > 64)
        return 0;
    uint64_t kept = shift == 64 ? 0 : x.top >> shift;
    uint64_t half = 1ull << (shift - 1);
    uint64_t rest = x.top & (half * 2 - 1);
    bool up = rest > half || (rest == half && (x.sticky || (kept & 1) != 0));
    return kept + up;
}

static inline double tm_scaled_to_f64(tm_scaled x) {
    int64_t exponent = x.exponent + 63;
    if (x.top == 0 || exponent > 1023)
        return x.top == 0 ? 0.0 : tm_inf_f64();
    int64_t below = exponent < -1022 ? -1022 - exponent : 0; /* subnormal */
    uint64_t mantissa = tm_round_shift(x, 11 + below);
    uint64_t biased = below > 0 ? 0 : (uint64_t)(exponent + 1022);
    return tm_f64_of_bits((biased << 52) + mantissa);
}

static inline float tm_scaled_to_f32(tm_scaled x) {
    int64_t exponent = x.exponent + 63;
    if (x.top == 0 || exponent > 127)
        return x.top == 0 ? 0.0f : tm_inf_f32();
    int64_t below = exponent < -126 ? -126 - exponent : 0;
    uint32_t mantissa = (uint32_t)tm_round_shift(x, 40 + below);
    uint32_t biased = below > 0 ? 0 : (uint32_t)(exponent + 126);
    return tm_f32_of_bits((biased << 23) + mantissa);
}

/* The `count` (at most 17) digits of a > 0 as an integer, d1.d2d3... * 10^exponent. */
static inline uint64_t tm_decimal_digits(double a, int count, int64_t *out_exponent) {
    uint64_t bits = tm_bits_of_f64(a);
    int64_t two = (int64_t)(bits >> 52);
    uint64_t m = (bits & 0xfffffffffffffu) | (uint64_t)(two != 0) << 52;
    two = (two == 0 ? 1 : two) - 1075;
    int64_t ten = (two + 63 - __builtin_clzll(m)) * 30103 / 100000 - 1;
    uint64_t limit = 1;
    for (int i = 0; i < count; i++)
        limit *= 10;
    for (;; ten++) { /* from an estimate that is at most two too small */
        tm_scaled scaled = tm_scale_by_ten(m, two, count - 1 - ten);
        uint64_t digits = scaled.exponent >= 0 ? UINT64_MAX : tm_round_shift(scaled, -scaled.exponent);
        if (digits < limit) {
            *out_exponent = ten;
            return digits;
        }
    }
}

#endif
