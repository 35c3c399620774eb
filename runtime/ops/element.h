/* SPDX-License-Identifier: Apache-2.0
 *
 * element.h: element types for kernels: how each is stored, in which C type one computes with it, and
 * lists to instantiate a kernel body for several types.
 *
 * For a type with suffix s (as in include/tamis/types.def) there are
 *
 *     tm_stored_s                          the C type in memory (float, uint16_t for f16, uint8_t for bool)
 *     tm_computed_s                        the C type of arithmetic (float for f16, bf16, float8, float4)
 *     tm_load_s(stored) -> computed        and tm_store_s(computed) -> stored (nearest, ties to even)
 *     tm_get_s(data, i), tm_set_s(data, i, value)   element i of a tensor; packed types have only these
 *
 * and the lists call X(s, stored, computed). A kernel for all float types is
 *
 *     #define X(s, S, C)                                                 \
 *         int32_t tm_k_Twice_##s(tm_run *run, const tm_call *call) {     \
 *             const S *x = tm_in(run, call, 0)->data;                    \
 *             S *y = tm_out(run, call, 0)->data;                         \
 *             int64_t n = tm_count(tm_in(run, call, 0));                 \
 *             for (int64_t i = 0; i < n; i++)                            \
 *                 y[i] = tm_store_##s((C)(tm_load_##s(x[i]) * (C)2));    \
 *             return 0;                                                  \
 *         }
 *     TM_FOR_FLOAT_TYPES(X)
 *     #undef X
 *
 * A longer body stands in a .inc file that is included once for each type (S, C and the suffix as
 * macros; TM_LOAD(s) and so on paste names).
 *
 * Conversions are integer arithmetic and selects, so loops over them vectorise, and they do not
 * depend on the CPU's treatment of subnormals. float16 uses the CPU's conversion where there is one:
 * elsewhere the compiler would call a library that freestanding code does not have.
 */
#ifndef TM_OPS_ELEMENT_H
#define TM_OPS_ELEMENT_H

#include "runtime/kernel.h"
#include "runtime/math/bits.h"

/* As a macro, `bool` would be replaced before its turn as a suffix in the lists below. */
#ifdef bool
#undef bool
typedef _Bool bool;
#endif

#define TM_PASTE_(a, b) a##b
#define TM_PASTE(a, b) TM_PASTE_(a, b)
#define TM_STORED(s) TM_PASTE(tm_stored_, s)
#define TM_COMPUTED(s) TM_PASTE(tm_computed_, s)
#define TM_LOAD(s) TM_PASTE(tm_load_, s)
#define TM_STORE(s) TM_PASTE(tm_store_, s)
#define TM_GET(s) TM_PASTE(tm_get_, s)
#define TM_SET(s) TM_PASTE(tm_set_, s)
#define TM_KERNEL(op, s) int32_t TM_PASTE(tm_k_##op##_, s)(tm_run * run, const tm_call *call)

/* ---- lists: X(suffix, stored type, computed type) ---- */
#define TM_FOR_FLOAT_TYPES(X) X(f32, float, float) X(f64, double, double) TM_FOR_HALF_TYPES(X)
#define TM_FOR_HALF_TYPES(X) X(f16, uint16_t, float) X(bf16, uint16_t, float)
#define TM_FOR_SIGNED_TYPES(X) \
    X(i8, int8_t, int8_t) X(i16, int16_t, int16_t) X(i32, int32_t, int32_t) X(i64, int64_t, int64_t)
#define TM_FOR_UNSIGNED_TYPES(X) \
    X(u8, uint8_t, uint8_t) X(u16, uint16_t, uint16_t) X(u32, uint32_t, uint32_t) X(u64, uint64_t, uint64_t)
#define TM_FOR_INTEGER_TYPES(X) TM_FOR_SIGNED_TYPES(X) TM_FOR_UNSIGNED_TYPES(X)
#define TM_FOR_NUMERIC_TYPES(X) TM_FOR_FLOAT_TYPES(X) TM_FOR_INTEGER_TYPES(X)
#define TM_FOR_BOOL_TYPE(X) X(bool, uint8_t, uint8_t)
#define TM_FOR_FLOAT8_TYPES(X)                                                            \
    X(f8e4m3fn, uint8_t, float)                                                           \
    X(f8e4m3fnuz, uint8_t, float) X(f8e5m2, uint8_t, float) X(f8e5m2fnuz, uint8_t, float) \
        X(f8e8m0, uint8_t, float)
/* Packed: no pointer to an element; use tm_get_s and tm_set_s. */
#define TM_FOR_PACKED_TYPES(X) \
    X(u4, uint8_t, uint8_t)    \
    X(i4, uint8_t, int8_t) X(u2, uint8_t, uint8_t) X(i2, uint8_t, int8_t) X(f4e2m1, uint8_t, float)
/* Moves by width: X(suffix, C type). */
#define TM_FOR_WIDTHS(X) X(w1, uint8_t) X(w2, uint16_t) X(w4, uint32_t) X(w8, uint64_t) X(w16, tm_w16)

typedef struct tm_w16 {
    uint64_t low, high;
} tm_w16;

/* The unsigned type for arithmetic that wraps around: (C)((U)a * (U)b). At least 32 bits wide, since
 * narrower ones would be promoted to int, which must not overflow. */
typedef uint32_t tm_unsigned_i8, tm_unsigned_u8, tm_unsigned_i16;
typedef uint32_t tm_unsigned_u16, tm_unsigned_i32, tm_unsigned_u32;
typedef uint64_t tm_unsigned_i64, tm_unsigned_u64;
#define TM_UNSIGNED(s) TM_PASTE(tm_unsigned_, s)

/* double -> float rounded to odd: a second rounding to fewer bits then gives what one rounding would. */
static inline float tm_f64_to_f32_odd(double x) {
    float y = (float)x;
    uint32_t bits = tm_bits_of_f32(y);
    double back = (double)y;
    bool inexact = back != x && x == x;
    bool away = (back > x) == (x > 0); /* rounding went away from zero: step back */
    uint32_t truncated = bits - (uint32_t)(inexact && away);
    return tm_f32_of_bits(inexact ? truncated | 1u : bits);
}

/* Rounds |x| to a float format of fewer bits: `mantissa` stored bits, exponent bias `bias`. The code
 * continues above the format's largest: callers compare. NaN gives a large code too. */
static inline uint32_t tm_round_code(float x, int mantissa, int bias) {
    uint32_t bits = tm_bits_of_f32(x) & 0x7fffffffu;
    int drop = 23 - mantissa;
    uint32_t half = (1u << (drop - 1)) - 1 + ((bits >> drop) & 1);
    uint32_t normal = ((bits + half) >> drop) - ((uint32_t)(127 - bias) << mantissa);
    /* Below the normal range an addition to a number whose last place is the smallest step rounds. */
    uint32_t magic = (uint32_t)(127 + 1 - bias - mantissa + 23) << 23;
    uint32_t small = tm_bits_of_f32(tm_f32_of_bits(bits) + tm_f32_of_bits(magic)) - magic;
    return bits < (uint32_t)(128 - bias) << 23 ? small : normal;
}
/* The value of such a code (finite ones). */
static inline float tm_value_of_code(uint32_t code, int mantissa, int bias) {
    uint32_t normal = (code << (23 - mantissa)) + ((uint32_t)(127 - bias) << 23);
    float small = (float)(int32_t)code * tm_f32_of_bits((uint32_t)(127 + 1 - bias - mantissa) << 23);
    return code < 1u << mantissa ? small : tm_f32_of_bits(normal);
}

/* ---- f16 ---- */
#if defined(__F16C__) || defined(__aarch64__)
#define TM_NATIVE_F16 1
#endif
static inline float tm_load_f16(uint16_t h) {
#ifdef TM_NATIVE_F16
    _Float16 x;
    __builtin_memcpy(&x, &h, sizeof x);
    return (float)x;
#else
    uint32_t magnitude = h & 0x7fffu;
    float value = tm_value_of_code(magnitude, 10, 15);
    uint32_t bits = magnitude >= 0x7c00u ? 0x7f800000u | (magnitude & 0x3ffu) << 13 : tm_bits_of_f32(value);
    return tm_f32_of_bits(bits | (uint32_t)(h & 0x8000u) << 16);
#endif
}
static inline uint16_t tm_store_f16(float x) {
#ifdef TM_NATIVE_F16
    _Float16 h = (_Float16)x;
    uint16_t bits;
    __builtin_memcpy(&bits, &h, sizeof bits);
    return bits;
#else
    uint32_t code = tm_round_code(x, 10, 15);
    code = code > 0x7c00u ? 0x7c00u : code;
    code = x != x ? 0x7e00u : code;
    return (uint16_t)(code | (tm_bits_of_f32(x) >> 16 & 0x8000u));
#endif
}

/* ---- bf16 ---- */
static inline float tm_load_bf16(uint16_t h) {
    return tm_f32_of_bits((uint32_t)h << 16);
}
static inline uint16_t tm_store_bf16(float x) {
    uint32_t bits = tm_bits_of_f32(x);
    uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
    return (uint16_t)(x != x ? (bits >> 16 | 0x40u) : rounded);
}

/* ---- float8: `saturate` gives the largest finite value for what is too large, else inf or NaN ---- */
static inline float tm_signed_f32(float magnitude, uint32_t sign) {
    return tm_f32_of_bits(tm_bits_of_f32(magnitude) | sign << 31);
}
static inline float tm_load_f8e4m3fn(uint8_t b) {
    float value = (b & 0x7fu) == 0x7fu ? tm_nan_f32() : tm_value_of_code(b & 0x7fu, 3, 7);
    return tm_signed_f32(value, b >> 7);
}
static inline float tm_load_f8e4m3fnuz(uint8_t b) {
    return b == 0x80u ? tm_nan_f32() : tm_signed_f32(tm_value_of_code(b & 0x7fu, 3, 8), b >> 7);
}
static inline float tm_load_f8e5m2(uint8_t b) {
    uint32_t code = b & 0x7fu;
    float finite = tm_value_of_code(code, 2, 15);
    float value = code >= 0x7cu ? tm_f32_of_bits(0x7f800000u | (code & 3u) << 21) : finite;
    return tm_signed_f32(value, b >> 7);
}
static inline float tm_load_f8e5m2fnuz(uint8_t b) {
    return b == 0x80u ? tm_nan_f32() : tm_signed_f32(tm_value_of_code(b & 0x7fu, 2, 16), b >> 7);
}
static inline float tm_load_f8e8m0(uint8_t b) {
    uint32_t bits = b == 0 ? 0x00400000u : (uint32_t)b << 23;
    return tm_f32_of_bits(b == 0xffu ? 0x7fc00000u : bits);
}
static inline uint8_t tm_to_f8e4m3fn(float x, bool saturate) {
    uint32_t code = tm_round_code(x, 3, 7);
    code = code > 0x7eu ? (saturate && x == x ? 0x7eu : 0x7fu) : code;
    return (uint8_t)(code | (tm_bits_of_f32(x) >> 24 & 0x80u));
}
static inline uint8_t tm_to_f8e5m2(float x, bool saturate) {
    uint32_t code = tm_round_code(x, 2, 15);
    code = code > 0x7bu ? (saturate ? 0x7bu : 0x7cu) : code;
    code = x != x ? 0x7eu : code;
    return (uint8_t)(code | (tm_bits_of_f32(x) >> 24 & 0x80u));
}
static inline uint8_t tm_to_f8_unsigned_zero(float x, bool saturate, int mantissa, int bias) {
    uint32_t code = tm_round_code(x, mantissa, bias);
    uint32_t sign = code == 0 ? 0 : tm_bits_of_f32(x) >> 24 & 0x80u;
    bool nan = code > 0x7fu && (!saturate || x != x);
    code = code > 0x7fu ? 0x7fu : code;
    return (uint8_t)(nan ? 0x80u : code | sign);
}
static inline uint8_t tm_to_f8e4m3fnuz(float x, bool saturate) {
    return tm_to_f8_unsigned_zero(x, saturate, 3, 8);
}
static inline uint8_t tm_to_f8e5m2fnuz(float x, bool saturate) {
    return tm_to_f8_unsigned_zero(x, saturate, 2, 16);
}
/* Powers of two. Nearest: ties go up. */
typedef enum tm_e8m0_rounding { TM_E8M0_UP, TM_E8M0_DOWN, TM_E8M0_NEAREST } tm_e8m0_rounding;
static inline uint8_t tm_to_f8e8m0(float x, bool saturate, tm_e8m0_rounding rounding) {
    uint32_t bits = tm_bits_of_f32(x) & 0x7fffffffu;
    uint32_t exponent = bits >> 23, fraction = bits & 0x7fffffu;
    /* The code 0 stands for 2^-127, which is a subnormal float. */
    uint32_t power = exponent == 0 ? 0x400000u : 0, half = exponent == 0 ? 0x600000u : 0x400000u;
    bool up = rounding == TM_E8M0_UP ? fraction > power : rounding == TM_E8M0_NEAREST && fraction >= half;
    uint32_t code = exponent + (uint32_t)up;
    code = code > 0xfeu ? (saturate ? 0xfeu : 0xffu) : code;
    return (uint8_t)(x != x ? 0xffu : code);
}
static inline uint8_t tm_store_f8e4m3fn(float x) {
    return tm_to_f8e4m3fn(x, true);
}
static inline uint8_t tm_store_f8e4m3fnuz(float x) {
    return tm_to_f8e4m3fnuz(x, true);
}
static inline uint8_t tm_store_f8e5m2(float x) {
    return tm_to_f8e5m2(x, true);
}
static inline uint8_t tm_store_f8e5m2fnuz(float x) {
    return tm_to_f8e5m2fnuz(x, true);
}
static inline uint8_t tm_store_f8e8m0(float x) {
    return tm_to_f8e8m0(x, true, TM_E8M0_UP);
}

/* ---- float4: codes 0..7 are 0 0.5 1 1.5 2 3 4 6, bit 3 the sign; always saturates ---- */
static inline float tm_value_f4e2m1(uint32_t code) {
    return tm_signed_f32(tm_value_of_code(code & 7u, 1, 1), code >> 3 & 1u);
}
static inline uint8_t tm_code_f4e2m1(float x) {
    uint32_t code = tm_round_code(x, 1, 1);
    return (uint8_t)((code > 7u ? 7u : code) | (tm_bits_of_f32(x) >> 28 & 8u));
}

/* ---- plain types ---- */
#define TM_PLAIN_(s, S, C)                  \
    static inline C tm_load_##s(S stored) { \
        return stored;                      \
    }                                       \
    static inline S tm_store_##s(C value) { \
        return value;                       \
    }
TM_PLAIN_(f32, float, float)
TM_PLAIN_(f64, double, double)
TM_FOR_INTEGER_TYPES(TM_PLAIN_)
TM_FOR_BOOL_TYPE(TM_PLAIN_)
#undef TM_PLAIN_

#define TM_ACCESS_(s, S, C)                                         \
    typedef S tm_stored_##s;                                        \
    typedef C tm_computed_##s;                                      \
    static inline C tm_get_##s(const void *data, int64_t i) {       \
        return tm_load_##s(((const S *)data)[i]);                   \
    }                                                               \
    static inline void tm_set_##s(void *data, int64_t i, C value) { \
        ((S *)data)[i] = tm_store_##s(value);                       \
    }
TM_FOR_NUMERIC_TYPES(TM_ACCESS_)
TM_FOR_BOOL_TYPE(TM_ACCESS_)
TM_FOR_FLOAT8_TYPES(TM_ACCESS_)
#undef TM_ACCESS_

/* ---- packed types: element i at bits (i * width) of the bytes, low bits first ---- */
static inline uint8_t tm_get_u4(const void *data, int64_t i) {
    return (uint8_t)(((const uint8_t *)data)[i >> 1] >> (i & 1) * 4 & 15);
}
static inline uint8_t tm_get_u2(const void *data, int64_t i) {
    return (uint8_t)(((const uint8_t *)data)[i >> 2] >> (i & 3) * 2 & 3);
}
static inline int8_t tm_get_i4(const void *data, int64_t i) {
    return (int8_t)((int)(tm_get_u4(data, i) ^ 8u) - 8);
}
static inline int8_t tm_get_i2(const void *data, int64_t i) {
    return (int8_t)((int)(tm_get_u2(data, i) ^ 2u) - 2);
}
static inline float tm_get_f4e2m1(const void *data, int64_t i) {
    return tm_value_f4e2m1(tm_get_u4(data, i));
}
/* Setters keep the neighbours; parallel loops must cut at multiples of 4 elements. */
static inline void tm_set_u4(void *data, int64_t i, uint8_t value) {
    uint8_t *byte = (uint8_t *)data + (i >> 1);
    int shift = (int)(i & 1) * 4;
    *byte = (uint8_t)((*byte & ~(15u << shift)) | (value & 15u) << shift);
}
static inline void tm_set_u2(void *data, int64_t i, uint8_t value) {
    uint8_t *byte = (uint8_t *)data + (i >> 2);
    int shift = (int)(i & 3) * 2;
    *byte = (uint8_t)((*byte & ~(3u << shift)) | (value & 3u) << shift);
}
static inline void tm_set_i4(void *data, int64_t i, int8_t value) {
    tm_set_u4(data, i, (uint8_t)value);
}
static inline void tm_set_i2(void *data, int64_t i, int8_t value) {
    tm_set_u2(data, i, (uint8_t)value);
}
static inline void tm_set_f4e2m1(void *data, int64_t i, float value) {
    tm_set_u4(data, i, tm_code_f4e2m1(value));
}
#define TM_PACKED_(s, S, C)  \
    typedef S tm_stored_##s; \
    typedef C tm_computed_##s;
TM_FOR_PACKED_TYPES(TM_PACKED_)
#undef TM_PACKED_

/* ---- double -> integer, towards zero: the nearest end of the range for what is outside, 0 for NaN ---- */
#define TM_TRUNCATE_(s, C, low, high)                                                 \
    static inline C tm_f64_to_##s(double x) {                                         \
        double above = x > (low) ? x : (low);                                         \
        C inside = (C)(above < (high) ? above : 0.0);                                 \
        return x != x ? (C)0 : above < (high) ? inside : (C)(((uint64_t)(high)) - 1); \
    }
TM_TRUNCATE_(i8, int8_t, -0x1p7, 0x1p7)
TM_TRUNCATE_(i16, int16_t, -0x1p15, 0x1p15)
TM_TRUNCATE_(i32, int32_t, -0x1p31, 0x1p31)
TM_TRUNCATE_(i64, int64_t, -0x1p63, 0x1p63)
TM_TRUNCATE_(u8, uint8_t, 0.0, 0x1p8)
TM_TRUNCATE_(u16, uint16_t, 0.0, 0x1p16)
TM_TRUNCATE_(u32, uint32_t, 0.0, 0x1p32)
#undef TM_TRUNCATE_
static inline uint64_t tm_f64_to_u64(double x) {
    double above = x > 0.0 ? x : 0.0;
    return above < 0x1p64 ? (uint64_t)above : UINT64_MAX;
}

/* Bytes of one element; 0 for packed types. */
static inline int64_t tm_element_bytes(int32_t type) {
    switch (type) {
#define TM_TYPE(number, name, text, suffix, bits) \
    case number:                                  \
        return bits / 8;
#include "tamis/types.def"
#undef TM_TYPE
    default:
        return 0;
    }
}

#endif
