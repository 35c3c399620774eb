/* SPDX-License-Identifier: Apache-2.0
 *
 * ReduceSum, ReduceMean, ReduceSumSquare, ReduceProd, ReduceL1, ReduceL2. Integers wrap around, as in
 * NumPy: they are folded in the unsigned type of their width. The mean of integers is their wrapped sum
 * divided, rounded towards zero; their L2 norm is folded in double. Nothing folds to 0 (product: 1, mean:
 * NaN).
 */
#include "runtime/math/math.h"
#include "runtime/ops/reduce.h"

#define ABS(v) ((v) < 0 ? -(v) : (v))

#define X(s, S, C, P)                                                         \
    static inline S mean_finish_##s(C a, int64_t total) {                     \
        return tm_store_##s(a / (C)total);                                    \
    }                                                                         \
    static inline S store_##s(C a, int64_t total) {                           \
        (void)total;                                                          \
        return tm_store_##s(a);                                               \
    }                                                                         \
    static inline S root_##s(C a, int64_t total) {                            \
        (void)total;                                                          \
        return tm_store_##s(tm_sqrt_##P(a));                                  \
    }                                                                         \
    TM_REDUCE(sum_##s, S, C, tm_load_##s, 0, a + v, a + v, store_##s)         \
    TM_REDUCE(mean_##s, S, C, tm_load_##s, 0, a + v, a + v, mean_finish_##s)  \
    TM_REDUCE(squares_##s, S, C, tm_load_##s, 0, a + v * v, a + v, store_##s) \
    TM_REDUCE(product_##s, S, C, tm_load_##s, 1, a *v, a *v, store_##s)       \
    TM_REDUCE(norm1_##s, S, C, tm_load_##s, 0, a + ABS(v), a + v, store_##s)  \
    TM_REDUCE(norm2_##s, S, C, tm_load_##s, 0, a + v * v, a + v, root_##s)
X(f32, float, float, f32)
X(f64, double, double, f64)
X(f16, uint16_t, float, f32)
X(bf16, uint16_t, float, f32)
#undef X

/* U: the unsigned type; loads go through S so that signs extend. */
#define X(s, S, U)                                                              \
    static inline U wide_##s(S v) {                                             \
        return (U)v;                                                            \
    }                                                                           \
    static inline U absolute_##s(S v) {                                         \
        return v < 0 ? (U)0 - (U)v : (U)v;                                      \
    }                                                                           \
    static inline double real_##s(S v) {                                        \
        return (double)v;                                                       \
    }                                                                           \
    static inline S mean_finish_##s(U a, int64_t total) {                       \
        return total > 0 ? (S)((S)a / (S)total) : 0;                            \
    }                                                                           \
    static inline S root_##s(double a, int64_t total) {                         \
        (void)total;                                                            \
        return (S)tm_sqrt_f64(a);                                               \
    }                                                                           \
    TM_REDUCE(sum_##s, S, U, wide_##s, 0, a + v, a + v, TM_REDUCE_DONE)         \
    TM_REDUCE(mean_##s, S, U, wide_##s, 0, a + v, a + v, mean_finish_##s)       \
    TM_REDUCE(squares_##s, S, U, wide_##s, 0, a + v * v, a + v, TM_REDUCE_DONE) \
    TM_REDUCE(product_##s, S, U, wide_##s, 1, a *v, a *v, TM_REDUCE_DONE)       \
    TM_REDUCE(norm1_##s, S, U, absolute_##s, 0, a + v, a + v, TM_REDUCE_DONE)   \
    TM_REDUCE(norm2_##s, S, double, real_##s, 0, a + v * v, a + v, root_##s)
X(i32, int32_t, uint32_t)
X(i64, int64_t, uint64_t)
X(u32, uint32_t, uint32_t)
X(u64, uint64_t, uint64_t)
#undef X

#define X(s)                                          \
    TM_REDUCE_KERNEL(ReduceSum, s, sum_##s)           \
    TM_REDUCE_KERNEL(ReduceMean, s, mean_##s)         \
    TM_REDUCE_KERNEL(ReduceSumSquare, s, squares_##s) \
    TM_REDUCE_KERNEL(ReduceProd, s, product_##s)      \
    TM_REDUCE_KERNEL(ReduceL1, s, norm1_##s)          \
    TM_REDUCE_KERNEL(ReduceL2, s, norm2_##s)
X(f32)
X(f64)
X(f16)
X(bf16)
X(i32)
X(i64)
X(u32)
X(u64)
#undef X
