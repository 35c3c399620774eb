/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu_registers.h: what an x86-64 CPU says of itself, for code that runs before it is known to have more than
 * the base architecture.
 *
 * On a virtual machine each CPUID is a call of the hypervisor, some microseconds; an artifact would spend
 * more on them than on being loaded, and an object asks in each call. glibc (from 2.33) asked already and
 * gives its copy; where it does not, as with another C library, the instruction does.
 */
#ifndef TM_RUNTIME_CPU_REGISTERS_H
#define TM_RUNTIME_CPU_REGISTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct registers {
    uint32_t a, b, c, d;
} registers;

#define BASE __attribute__((target("arch=x86-64")))

/* glibc's numbers of what it keeps, from <sys/platform/x86.h>. */
enum { LEAF_1, LEAF_7, LEAF_80000001, LEAF_7_1 = 6 };

typedef struct kept_leaf {
    registers says;
    uint32_t usable[4];
} kept_leaf;

__attribute__((weak)) const kept_leaf *__x86_get_cpuid_feature_leaf(unsigned leaf);

BASE static inline registers cpuid(uint32_t leaf, uint32_t sub_leaf) {
    registers r;
    __asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(sub_leaf));
    return r;
}

/* Has it leaf 7? */
BASE static inline bool says_enough(void) {
    return __x86_get_cpuid_feature_leaf != NULL || cpuid(0, 0).a >= 7;
}

/* What CPUID says of a leaf that is in `kept`. */
BASE static inline registers cpu_leaf(unsigned kept, uint32_t leaf, uint32_t sub_leaf) {
    return __x86_get_cpuid_feature_leaf != NULL ? __x86_get_cpuid_feature_leaf(kept)->says
                                                : cpuid(leaf, sub_leaf);
}

BASE static inline uint64_t saved_state(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

BASE static inline bool all(uint32_t bits, uint32_t mask) {
    return (bits & mask) == mask;
}

#endif
