/* SPDX-License-Identifier: Apache-2.0
 *
 * peak.c: the multiply-adds of float32 a second that one core can do at most, measured: what a profile sets
 * its figures against. Twelve independent sums hide the latency; the widest vectors that the CPU has are
 * used.
 */
#include "tools/profile.h"


enum { CHAINS = 12 };
typedef int64_t (*work)(int64_t count); /* returns the flops that it did */

/* The empty asm keeps the compiler from knowing the operands, and from dropping the sums. */
#ifdef __x86_64__
#define KEEP(value) __asm__ volatile("" : "+x"(value))
#elif defined(__aarch64__)
#define KEEP(value) __asm__ volatile("" : "+w"(value))
#else
#define KEEP(value) __asm__ volatile("" : "+m"(value))
#endif

#define MULTIPLY_ADD(name, lanes)                                                                          \
    static int64_t name(int64_t count) {                                                                   \
        _Pragma("clang fp contract(fast)") typedef float vector __attribute__((vector_size(4 * (lanes)))); \
        vector sum[CHAINS] = {{0}}, x = {0}, y = {0};                                                      \
        KEEP(x);                                                                                           \
        KEEP(y);                                                                                           \
        for (int64_t i = 0; i < count; i++)                                                                \
            _Pragma("GCC unroll 12") for (int chain = 0; chain < CHAINS; chain++) sum[chain] =             \
                sum[chain] * x + y;                                                                        \
        for (int chain = 0; chain < CHAINS; chain++)                                                       \
            KEEP(sum[chain]);                                                                              \
        return count * 2 * (lanes) * CHAINS;                                                               \
    }

MULTIPLY_ADD(baseline, 4)
#ifdef __x86_64__
__attribute__((target("avx2,fma"))) MULTIPLY_ADD(avx2, 8)
__attribute__((target("avx512f"))) MULTIPLY_ADD(avx512, 16)
#endif

static work widest(void) {
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f"))
        return avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return avx2;
#endif
    return baseline;
}

double tool_peak_flops(void) {
    work run = widest();
    double best = 0;
    for (int i = 0; i < 60; i++) {
        double start = tool_profile_now(), flops = (double)run(200000);
        double rate = flops / (tool_profile_now() - start);
        best = rate > best ? rate : best;
    }
    return best;
}
