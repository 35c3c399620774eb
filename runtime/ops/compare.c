/* SPDX-License-Identifier: Apache-2.0
 *
 * compare.c: Equal, Greater, GreaterOrEqual, Less, LessOrEqual.
 *
 * Comparisons with NaN are false, as C's. Strings are equal when their bytes are; bools when both or
 * neither are zero.
 */
#include "runtime/ops/elementwise.h"
#include "runtime/ops/text.h"

#define COMPARE(s, S, C)                                       \
    TM_BINARY_KERNEL(Equal, s, S, C, uint8_t, a == b)          \
    TM_BINARY_KERNEL(Greater, s, S, C, uint8_t, a > b)         \
    TM_BINARY_KERNEL(GreaterOrEqual, s, S, C, uint8_t, a >= b) \
    TM_BINARY_KERNEL(Less, s, S, C, uint8_t, a < b)            \
    TM_BINARY_KERNEL(LessOrEqual, s, S, C, uint8_t, a <= b)
TM_FOR_NUMERIC_TYPES(COMPARE)
TM_BINARY_KERNEL(Equal, bool, uint8_t, uint8_t, uint8_t, (a != 0) == (b != 0))

static int32_t row_equal_strings(const tm_row *row) {
    const tamis_string *a = TM_ROW_IN(row, 0, tamis_string), *b = TM_ROW_IN(row, 1, tamis_string);
    uint8_t *y = TM_ROW_OUT(row, uint8_t);
    for (int64_t i = 0; i < row->count; i++)
        y[i] = (uint8_t)tm_text_same(a[i * row->step[0]], b[i * row->step[1]]);
    return 0;
}

int32_t tm_k_Equal_str(tm_run *run, const tm_call *call) {
    return tm_elementwise(run, call, 2, row_equal_strings, NULL);
}
