/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu_registers.h: what an x86-64 CPU says of itself, for code that runs before it is known to have more than
 * the base architecture.
 */
#ifndef TM_RUNTIME_CPU_REGISTERS_H
#define TM_RUNTIME_CPU_REGISTERS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct registers {
    uint32_t a, b, c, d;
} registers;

#define BASE __attribute__((target("arch=x86-64")))

BASE static inline registers cpuid(uint32_t leaf, uint32_t sub_leaf) {
    registers r;
    __asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(sub_leaf));
    return r;
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
