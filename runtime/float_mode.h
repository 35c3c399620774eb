/* SPDX-License-Identifier: Apache-2.0
 *
 * float_mode.h: subnormals count as zero while compiled code runs.
 *
 * Softmax of trained models is several times slower with them. The mode is a register of the thread, so it is
 * set around each run, and in each thread of a pool, and the caller's is put back.
 */
#ifndef TM_RUNTIME_FLOAT_MODE_H
#define TM_RUNTIME_FLOAT_MODE_H

#include <stdint.h>

#if defined(__x86_64__)
#define TM_FLUSH_BITS 0x8040u /* MXCSR: FTZ, DAZ */
static inline uint64_t tm_float_mode_get(void) {
    return __builtin_ia32_stmxcsr();
}
static inline void tm_float_mode_set(uint64_t mode) {
    __builtin_ia32_ldmxcsr((unsigned)mode);
}
#elif defined(__aarch64__)
#define TM_FLUSH_BITS (1u << 24) /* FPCR.FZ */
static inline uint64_t tm_float_mode_get(void) {
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}
static inline void tm_float_mode_set(uint64_t mode) {
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
}
#else
#define TM_FLUSH_BITS 0u /* RISC-V has no such mode */
static inline uint64_t tm_float_mode_get(void) {
    return 0;
}
static inline void tm_float_mode_set(uint64_t mode) {
    (void)mode;
}
#endif

/* Sets the mode; returns the old one, for tm_float_mode_set. */
static inline uint64_t tm_float_mode_enter(void) {
    uint64_t mode = tm_float_mode_get();
    if ((mode & TM_FLUSH_BITS) != TM_FLUSH_BITS)
        tm_float_mode_set(mode | TM_FLUSH_BITS);
    return mode;
}

#endif
