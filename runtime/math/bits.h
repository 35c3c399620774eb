/* SPDX-License-Identifier: Apache-2.0
 *
 * bits.h: floats as bits and back.
 *
 * __builtin_memcpy, because plain memcpy is a real call in freestanding code, where the compiler may not
 * know its meaning. It compiles to a register move, or to nothing.
 */
#ifndef TM_MATH_BITS_H
#define TM_MATH_BITS_H

#include <stdbool.h>
#include <stdint.h>

static inline uint32_t tm_bits_of_f32(float x) {
    uint32_t bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline float tm_f32_of_bits(uint32_t bits) {
    float x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}
static inline uint64_t tm_bits_of_f64(double x) {
    uint64_t bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline double tm_f64_of_bits(uint64_t bits) {
    double x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}
static inline float tm_nan_f32(void) {
    return tm_f32_of_bits(0x7fc00000u);
}
static inline float tm_inf_f32(void) {
    return tm_f32_of_bits(0x7f800000u);
}
static inline double tm_nan_f64(void) {
    return tm_f64_of_bits(0x7ff8000000000000u);
}
static inline double tm_inf_f64(void) {
    return tm_f64_of_bits(0x7ff0000000000000u);
}

#endif
