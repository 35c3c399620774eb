/* SPDX-License-Identifier: Apache-2.0
 *
 * cast_any.h: elements of any numeric type by way of two wide types: floats as double, integers and bool
 * as int64 (uint64 by its bits).
 */
#ifndef TM_OPS_CAST_ANY_H
#define TM_OPS_CAST_ANY_H

#include "runtime/ops/element.h"

#define TM_WIDE_BLOCK 256

typedef struct tm_wide {
    bool is_float;
    bool is_unsigned; /* the integers are uint64 */
    double floats[TM_WIDE_BLOCK];
    int64_t integers[TM_WIDE_BLOCK];
} tm_wide;

typedef struct tm_cast_rules {
    bool saturate;
    tm_e8m0_rounding rounding;
} tm_cast_rules;

/* From the attributes of Cast. */
tm_cast_rules tm_cast_rules_of(const tm_call *call);
/* Elements at..at+count, count <= TM_WIDE_BLOCK; false: the type is not numeric. */
bool tm_wide_read(tm_wide *wide, int32_t type, const void *data, int64_t at, int64_t count);
bool tm_wide_write(const tm_wide *wide, int32_t type, void *data, int64_t at, int64_t count,
                   tm_cast_rules rules);
/* Element i of y = the number that string i of x is. */
int32_t tm_text_to_numbers(tm_run *run, const tm_call *call, const tamis_tensor *x, const tamis_tensor *y);

#endif
