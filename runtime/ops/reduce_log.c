/* SPDX-License-Identifier: Apache-2.0
 *
 * ReduceLogSum = log(sum x) and ReduceLogSumExp = m + log(sum exp(x - m)) with m the largest x, so that exp
 * cannot overflow. Where m is infinite, it is left out: all -inf gives log(0) = -inf. Integers are
 * folded in double and rounded towards zero.
 */
#include "runtime/math/math.h"
#include "runtime/ops/reduce.h"

/* As TM_REDUCE, in two passes over what an output folds. */
#define LOG_SUM_EXP(name, S, A, P, LOAD, STORE)                                                      \
    static inline A shift_##name(A m) {                                                              \
        return m - m == 0 ? m : 0;                                                                   \
    }                                                                                                \
    static int32_t name(void *arg, int64_t begin, int64_t end) {                                     \
        const tm_reduction *job = arg;                                                               \
        int64_t step = job->inner_folded ? 1 : 0, length = job->inner_folded ? job->inner : 1;       \
        int64_t outputs = job->inner_folded ? 1 : job->inner;                                        \
        int64_t pieces = (outputs + TM_REDUCE_PIECE - 1) / TM_REDUCE_PIECE;                          \
        for (int64_t t = begin; t < end; t++) {                                                      \
            int64_t column = t % pieces * TM_REDUCE_PIECE, o = t / pieces;                           \
            int64_t width = outputs - column < TM_REDUCE_PIECE ? outputs - column : TM_REDUCE_PIECE; \
            const S *x = (const S *)job->x + tm_odometer_offset(&job->outer, o) + column;            \
            S *y = (S *)job->y + o * outputs + column;                                               \
            A largest[TM_REDUCE_PIECE], sums[TM_REDUCE_PIECE];                                       \
            for (int64_t j = 0; j < width; j++) {                                                    \
                largest[j] = (A) - tm_inf_f32();                                                     \
                sums[j] = 0;                                                                         \
            }                                                                                        \
            for (int64_t f = 0; f < job->folded.count; f++) {                                        \
                const S *run = x + tm_odometer_offset(&job->folded, f);                              \
                for (int64_t j = 0; j < width; j++) {                                                \
                    A part;                                                                          \
                    TM_FOLD_MAX(A, part, length, largest[j], LOAD(run[i * step + j]));               \
                    largest[j] = part;                                                               \
                }                                                                                    \
            }                                                                                        \
            for (int64_t j = 0; j < width; j++)                                                      \
                largest[j] = shift_##name(largest[j]);                                               \
            for (int64_t f = 0; f < job->folded.count; f++) {                                        \
                const S *run = x + tm_odometer_offset(&job->folded, f);                              \
                if (step == 0)                                                                       \
                    for (int64_t j = 0; j < width; j++)                                              \
                        sums[j] += tm_exp_##P(LOAD(run[j]) - largest[j]);                            \
                else {                                                                               \
                    A part, shift = largest[0];                                                      \
                    TM_FOLD_SUM(A, part, length, tm_exp_##P(LOAD(run[i]) - shift));                  \
                    sums[0] += part;                                                                 \
                }                                                                                    \
            }                                                                                        \
            for (int64_t j = 0; j < width; j++)                                                      \
                y[j] = STORE(largest[j] + tm_log_##P(sums[j]));                                      \
        }                                                                                            \
        return 0;                                                                                    \
    }

#define X(s, S, C, P)                                                         \
    static inline S logarithm_##s(C a, int64_t total) {                       \
        (void)total;                                                          \
        return tm_store_##s(tm_log_##P(a));                                   \
    }                                                                         \
    TM_REDUCE(log_sum_##s, S, C, tm_load_##s, 0, a + v, a + v, logarithm_##s) \
    LOG_SUM_EXP(log_sum_exp_##s, S, C, P, tm_load_##s, tm_store_##s)          \
    TM_REDUCE_KERNEL(ReduceLogSum, s, log_sum_##s)                            \
    TM_REDUCE_KERNEL(ReduceLogSumExp, s, log_sum_exp_##s)
X(f32, float, float, f32)
X(f64, double, double, f64)
X(f16, uint16_t, float, f32)
X(bf16, uint16_t, float, f32)
#undef X

#define X(s, S, lowest, highest)                                                            \
    static inline double real_##s(S v) {                                                    \
        return (double)v;                                                                   \
    }                                                                                       \
    static inline S whole_##s(double v) {                                                   \
        return v >= (double)(highest) ? (highest) : v > (double)(lowest) ? (S)v : (lowest); \
    }                                                                                       \
    static inline S logarithm_##s(double a, int64_t total) {                                \
        (void)total;                                                                        \
        return whole_##s(tm_log_f64(a));                                                    \
    }                                                                                       \
    TM_REDUCE(log_sum_##s, S, double, real_##s, 0, a + v, a + v, logarithm_##s)             \
    LOG_SUM_EXP(log_sum_exp_##s, S, double, f64, real_##s, whole_##s)                       \
    TM_REDUCE_KERNEL(ReduceLogSum, s, log_sum_##s)                                          \
    TM_REDUCE_KERNEL(ReduceLogSumExp, s, log_sum_exp_##s)
X(i32, int32_t, INT32_MIN, INT32_MAX)
X(u32, uint32_t, 0, UINT32_MAX)
X(i64, int64_t, INT64_MIN, INT64_MAX)
X(u64, uint64_t, 0, UINT64_MAX)
#undef X
