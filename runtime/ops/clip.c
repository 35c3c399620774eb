/* SPDX-License-Identifier: Apache-2.0
 *
 * clip.c: Clip. A missing bound is the lowest or largest finite number of the type, so infinities become
 * finite, as the text says; with bounds in the wrong order the upper one wins, and NaN stays NaN.
 */
#include "runtime/ops/elementwise.h"

#define CLIP(s, S, C, lowest, highest)                                              \
    typedef struct bounds_##s {                                                     \
        C low, high;                                                                \
    } bounds_##s;                                                                   \
    static int32_t row_clip_##s(const tm_row *row) {                                \
        const bounds_##s *bounds = row->context;                                    \
        const S *x = TM_ROW_IN(row, 0, S);                                          \
        S *y = TM_ROW_OUT(row, S);                                                  \
        C low = bounds->low, high = bounds->high;                                   \
        int64_t n = row->count;                                                     \
        TM_ROW_LOOP for (int64_t i = 0; i < n; i++) {                               \
            C a = tm_load_##s(x[i]);                                                \
            C b = a < low ? low : a;                                                \
            y[i] = tm_store_##s(b > high ? high : b);                               \
        }                                                                           \
        return 0;                                                                   \
    }                                                                               \
    int32_t tm_k_Clip_##s(tm_run *run, const tm_call *call) {                       \
        const tamis_tensor *low = tm_in(run, call, 1), *high = tm_in(run, call, 2); \
        bounds_##s bounds = {lowest, highest};                                      \
        if (low != NULL)                                                            \
            bounds.low = tm_get_##s(low->data, 0);                                  \
        if (high != NULL)                                                           \
            bounds.high = tm_get_##s(high->data, 0);                                \
        return tm_unary(run, call, 0, row_clip_##s, &bounds);                       \
    }
#define LARGEST_f32 0x1.fffffep127f
#define LARGEST_f64 0x1.fffffffffffffp1023
#define LARGEST_f16 65504.0f
#define LARGEST_bf16 0x1.fep127f
#define CLIP_FLOAT(s, S, C) CLIP(s, S, C, -LARGEST_##s, LARGEST_##s)
#define CLIP_SIGNED(s, S, C) CLIP(s, S, C, tm_f64_to_##s(-0x1p63), tm_f64_to_##s(0x1p63))
#define CLIP_UNSIGNED(s, S, C) CLIP(s, S, C, 0, (C) - 1)
TM_FOR_FLOAT_TYPES(CLIP_FLOAT)
TM_FOR_SIGNED_TYPES(CLIP_SIGNED)
TM_FOR_UNSIGNED_TYPES(CLIP_UNSIGNED)
