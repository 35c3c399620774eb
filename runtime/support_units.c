/* SPDX-License-Identifier: Apache-2.0
 *
 * support_units.c: which units for products of narrow types an x86-64 CPU has; further bits of support_cpu.c.
 *
 *   bit 2  x86-64-v4-dot: AVX512_VNNI, AVX512_BF16 (to be looked at beside the bits of x86-64-v4)
 *   bit 3  x86-64-v4-amx: AMX TILE, BF16, INT8, and the system saves tiles: Linux does so for processes that
 * ask for it, and may refuse (an alternate signal stack too small for the larger frame is one reason)
 *   bit 4  x86-64-v4-vnni: AVX512_VNNI
 *   bit 5  x86-64-v3-vnni: AVX_VNNI (to be looked at beside the bit of x86-64-v3)
 *
 * A file of its own, since asking changes the process: only artifacts that have code for units call this.
 */
#include "runtime/kernel.h"

uint32_t tm_cpu_units(void);

#if defined(__x86_64__)
#include "runtime/cpu_registers.h"

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

BASE uint32_t tm_cpu_units(void) {
    if (!says_enough())
        return 0;
    registers one = cpu_leaf(LEAF_1, 1, 0), seven = cpu_leaf(LEAF_7, 7, 0);
    if (!all(one.c, 1u << 27)) /* OSXSAVE */
        return 0;
    uint32_t units = 0;
    if (all(seven.c, 1u << 11))
        units |= 16;
    registers more = seven.a >= 1 ? cpu_leaf(LEAF_7_1, 7, 1) : (registers){0};
    if (units != 0 && all(more.a, 1u << 5))
        units |= 4;
    if (all(more.a, 1u << 4))
        units |= 32;
    /* BF16, TILE, INT8; state of tile configuration and data */
    if ((units & 4) != 0 && all(seven.d, 1u << 22 | 1u << 24 | 1u << 25) &&
        (saved_state() & 0x60000) == 0x60000 && may_use_tiles())
        units |= 8;
    return units;
}
#else
uint32_t tm_cpu_units(void) {
    return 0;
}
#endif
