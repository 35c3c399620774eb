/* SPDX-License-Identifier: Apache-2.0
 *
 * ReduceMax and ReduceMin: NaN wins, as in NumPy. Nothing folds to the lowest (highest) value of the type:
 * -inf for floats, false (true) for bool.
 */
#include "runtime/math/math.h"
#include "runtime/ops/reduce.h"

#define LARGER v > a || v != v ? v : a
#define SMALLER v < a || v != v ? v : a

#define X(s, S, C, lowest, highest)                                                       \
    static inline S store_##s(C a, int64_t total) {                                       \
        (void)total;                                                                      \
        return tm_store_##s(a);                                                           \
    }                                                                                     \
    TM_REDUCE(largest_##s, S, C, tm_load_##s, (C)(lowest), LARGER, LARGER, store_##s)     \
    TM_REDUCE(smallest_##s, S, C, tm_load_##s, (C)(highest), SMALLER, SMALLER, store_##s) \
    TM_REDUCE_KERNEL(ReduceMax, s, largest_##s)                                           \
    TM_REDUCE_KERNEL(ReduceMin, s, smallest_##s)
X(f32, float, float, -tm_inf_f32(), tm_inf_f32())
X(f64, double, double, -tm_inf_f64(), tm_inf_f64())
X(f16, uint16_t, float, -tm_inf_f32(), tm_inf_f32())
X(bf16, uint16_t, float, -tm_inf_f32(), tm_inf_f32())
X(i8, int8_t, int8_t, INT8_MIN, INT8_MAX)
X(u8, uint8_t, uint8_t, 0, UINT8_MAX)
X(i32, int32_t, int32_t, INT32_MIN, INT32_MAX)
X(u32, uint32_t, uint32_t, 0, UINT32_MAX)
X(i64, int64_t, int64_t, INT64_MIN, INT64_MAX)
X(u64, uint64_t, uint64_t, 0, UINT64_MAX)
X(bool, uint8_t, uint8_t, 0, 1)
#undef X
