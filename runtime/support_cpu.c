/* SPDX-License-Identifier: Apache-2.0
 *
 * support_cpu.c: which levels this CPU has.
 *
 * The answer is a set of bits; an artifact compares it with the bits its levels need (codegen/target.c), so
 * that a lesser CPU gets a message and not an illegal instruction. This file itself is compiled for
 * the base architecture only.
 *
 *   bit 0  x86-64-v3: AVX2, FMA, F16C, BMI1/2, LZCNT, MOVBE, and the system saves YMM registers
 *   bit 1  x86-64-v4: AVX-512 F, BW, CD, DQ, VL, and the system saves ZMM registers
 *   bits 2, 3 of x86-64: support_units.c
 *   bits 2, 3 of aarch64: the Scalable Vector Extension with registers of exactly 256 bits, of 512: code is
 * made for one length, since then all lanes need no mask, and vectors can be shuffled. 128 bits are no more
 * than NEON's bits 4, 5 of aarch64: dot products of bytes of one sign (dotprod), of both (i8mm) bit 2
 * rv64gcv: the vector extension, so that registers have 128 bits at least; the kernel tells it to programs
 *          through the C library (where there is none, the base level runs)
 */
#include "runtime/kernel.h"

uint32_t tm_cpu_features(void);

#if defined(__x86_64__)
#include "runtime/cpu_registers.h"

BASE uint32_t tm_cpu_features(void) {
    if (!says_enough())
        return 0;
    registers one = cpu_leaf(LEAF_1, 1, 0), seven = cpu_leaf(LEAF_7, 7, 0);
    registers extended = cpu_leaf(LEAF_80000001, 0x80000001u, 0);
    if (!all(one.c, 1u << 27)) /* OSXSAVE */
        return 0;
    uint64_t state = saved_state();
    uint32_t features = 0;
    /* FMA, MOVBE, AVX, F16C; BMI1, AVX2, BMI2; LZCNT; XMM and YMM state */
    if (all(one.c, 1u << 12 | 1u << 22 | 1u << 28 | 1u << 29) && all(seven.b, 1u << 3 | 1u << 5 | 1u << 8) &&
        all(extended.c, 1u << 5) && (state & 6) == 6)
        features |= 1;
    /* F, DQ, CD, BW, VL; opmask and ZMM state */
    if ((features & 1) && all(seven.b, 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31) &&
        (state & 0xe6) == 0xe6)
        features |= 2;
    return features;
}
#elif defined(__riscv) || defined(__aarch64__)
enum { AT_HWCAP = 16, AT_HWCAP2 = 26 };
__attribute__((weak)) unsigned long getauxval(unsigned long type);

static bool has(unsigned long list, int capability) {
    return getauxval != NULL && (getauxval(list) >> capability & 1) != 0;
}

#if defined(__riscv)
uint32_t tm_cpu_features(void) {
    return has(AT_HWCAP, 'v' - 'a') ? 4 : 0;
}
#else
/* Bytes of a register in this thread, as the process may have chosen fewer than there are. */
static uint64_t sve_bytes(void) {
    register uint64_t bytes __asm__("x0");
    __asm__ volatile(".inst 0x04bf5020" : "=r"(bytes)); /* rdvl x0, #1: never before it was asked for */
    return bytes;
}

uint32_t tm_cpu_features(void) {
    uint64_t bytes = has(AT_HWCAP, 22) ? sve_bytes() : 0; /* HWCAP_SVE */
    uint32_t dot = has(AT_HWCAP, 20) ? 16 : 0, mixed = has(AT_HWCAP2, 13) ? 32 : 0; /* ASIMDDP, I8MM */
    return (bytes == 32 ? 4u : bytes == 64 ? 8u : 0u) | dot | mixed;
}
#endif
#else
uint32_t tm_cpu_features(void) {
    return 0;
}
#endif
