/* SPDX-License-Identifier: Apache-2.0
 *
 * where.c: Where, by the width of the elements: a choice moves bits and knows no types.
 *
 * With a condition of one element for the whole row, as in a mask [batch, 1, 1, seq] whose rows are
 * masked whole, the row is one copy.
 */
#include "runtime/ops/elementwise.h"

/* Loops for one pattern of steps of the two choices; the steps are constants there, so they vectorise. */
#define WHERE_LOOP(step_a, step_b)                 \
    TM_ROW_LOOP for (int64_t i = 0; i < n; i++) {  \
        S yes = a[i * step_a], no = b[i * step_b]; \
        y[i] = c[i] != 0 ? yes : no;               \
    }

#define WHERE(width, type)                                            \
    static int32_t row_where_##width(const tm_row *row) {             \
        typedef type S;                                               \
        const uint8_t *c = TM_ROW_IN(row, 0, uint8_t);                \
        const S *a = TM_ROW_IN(row, 1, S), *b = TM_ROW_IN(row, 2, S); \
        S *y = TM_ROW_OUT(row, S);                                    \
        int64_t n = row->count;                                       \
        if (row->step[0] == 0) {                                      \
            const S *from = c[0] != 0 ? a : b;                        \
            int64_t step = c[0] != 0 ? row->step[1] : row->step[2];   \
            if (step != 0) {                                          \
                memmove(y, from, (size_t)n * sizeof(S));              \
            } else {                                                  \
                S value = from[0];                                    \
                for (int64_t i = 0; i < n; i++)                       \
                    y[i] = value;                                     \
            }                                                         \
        } else if (row->step[1] != 0 && row->step[2] != 0) {          \
            WHERE_LOOP(1, 1)                                          \
        } else if (row->step[1] != 0) {                               \
            WHERE_LOOP(1, 0)                                          \
        } else if (row->step[2] != 0) {                               \
            WHERE_LOOP(0, 1)                                          \
        } else {                                                      \
            WHERE_LOOP(0, 0)                                          \
        }                                                             \
        return 0;                                                     \
    }                                                                 \
    int32_t tm_k_Where_##width(tm_run *run, const tm_call *call) {    \
        return tm_elementwise(run, call, 3, row_where_##width, NULL); \
    }
TM_FOR_WIDTHS(WHERE)

/* Packed elements: parallel ranges are cut at multiples of whole bytes. */
#define WHERE_PACKED(width, s)                                                                            \
    static int32_t row_where_##width(const tm_row *row) {                                                 \
        const uint8_t *c = TM_ROW_IN(row, 0, uint8_t);                                                    \
        for (int64_t i = 0; i < row->count; i++) {                                                        \
            int k = c[i * row->step[0]] != 0 ? 1 : 2;                                                     \
            tm_set_##s(row->out, row->out_at + i, tm_get_##s(row->in[k], row->at[k] + i * row->step[k])); \
        }                                                                                                 \
        return 0;                                                                                         \
    }                                                                                                     \
    int32_t tm_k_Where_##width(tm_run *run, const tm_call *call) {                                        \
        return tm_elementwise(run, call, 3, row_where_##width, NULL);                                     \
    }
WHERE_PACKED(b2, u2)
WHERE_PACKED(b4, u4)
