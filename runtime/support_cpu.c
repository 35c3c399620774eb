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
 *   bit 2  x86-64-v4-dot: AVX512_VNNI, AVX512_BF16
 *   bit 3  x86-64-v4-amx: AMX TILE, BF16, INT8, and the system saves tiles: Linux does so for processes
 *          that ask for it, and may refuse (an alternate signal stack too small for the larger frame is one
 *          reason)
 *   bit 2  rv64gcv: the vector extension, so that registers have 128 bits at least; the kernel tells it to programs
 *          through the C library (where there is none, the base level runs)
 *
 * Asking changes the process, so it is done only for artifacts that have code for tiles: those that want
 * bit 3.
 */
#include "runtime/kernel.h"

uint32_t tm_cpu_features(uint32_t wanted);

#if defined(__x86_64__)
typedef struct registers {
    uint32_t a, b, c, d;
} registers;

#define BASE __attribute__((target("arch=x86-64")))

BASE static registers cpuid(uint32_t leaf, uint32_t sub_leaf) {
    registers r;
    __asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(sub_leaf));
    return r;
}

BASE static uint64_t saved_state(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

BASE static bool all(uint32_t bits, uint32_t mask) {
    return (bits & mask) == mask;
}

#define SYSTEM_CALL_ARCH_PRCTL 158
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18

BASE static bool may_use_tiles(void) {
    int64_t result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"((int64_t)SYSTEM_CALL_ARCH_PRCTL), "D"((int64_t)ARCH_REQ_XCOMP_PERM),
                       "S"((int64_t)XFEATURE_XTILEDATA)
                     : "rcx", "r11", "memory");
    return result == 0;
}

BASE uint32_t tm_cpu_features(uint32_t wanted) {
    if (cpuid(0, 0).a < 7)
        return 0;
    registers one = cpuid(1, 0), seven = cpuid(7, 0), extended = cpuid(0x80000001u, 0);
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
    if ((features & 2) && all(seven.c, 1u << 11) && seven.a >= 1 && all(cpuid(7, 1).a, 1u << 5))
        features |= 4;
    /* BF16, TILE, INT8; state of tile configuration and data */
    if ((wanted & 8) && (features & 4) && all(seven.d, 1u << 22 | 1u << 24 | 1u << 25) &&
        (state & 0x60000) == 0x60000 && may_use_tiles())
        features |= 8;
    return features;
}
#elif defined(__riscv)
__attribute__((weak)) unsigned long getauxval(unsigned long type);

uint32_t tm_cpu_features(uint32_t wanted) {
    (void)wanted;
    enum { AT_HWCAP = 16 };
    if (getauxval == NULL)
        return 0;
    return (getauxval(AT_HWCAP) >> ('v' - 'a') & 1) != 0 ? 4 : 0;
}
#else
uint32_t tm_cpu_features(uint32_t wanted) {
    (void)wanted;
    return 0;
}
#endif
