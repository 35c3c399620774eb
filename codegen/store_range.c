/* SPDX-License-Identifier: Apache-2.0
 *
 * store_range.c: constants that count, or are one value over and over.
 *
 *     7 7 7 7              start 7, step 0
 *     0 1 2 3 0 1 2 3      step 1, inner 1, length 4
 *     0 0 1 1 2 2          step 1, inner 2, length 3
 *
 * The first change of the value says the step and how often each is repeated, the first return to the start
 * how many there are; then all elements are compared.
 */
#include "codegen/store.h"

#include <math.h>
#include <string.h>

/* Element i as a whole number; false: it is none. */
static bool whole(const tm_stored_values *v, int64_t i, int64_t *out) {
    if (v->type == TAMIS_TYPE_FLOAT) {
        float x;
        memcpy(&x, (const char *)v->data + 4 * i, 4);
        if (!(fabsf(x) < 16777217.0f) || x != floorf(x) || (x == 0 && signbit(x)))
            return false;
        *out = (int64_t)x;
        return true;
    }
    uint64_t bits = 0;
    memcpy(&bits, (const char *)v->data + i * v->size, (size_t)v->size);
    int unused = 64 - 8 * v->size;
    *out = (int64_t)(bits << unused) >> unused;
    return true;
}

static bool all_equal(const tm_stored_values *v) {
    const char *data = v->data;
    return v->count < 2 || memcmp(data, data + v->size, (size_t)((v->count - 1) * v->size)) == 0;
}

/* One value that is no whole float: its bits are an integer of that size. */
static tm_form fill(const tm_stored_values *v) {
    uint64_t bits = 0;
    memcpy(&bits, v->data, (size_t)v->size);
    int unused = 64 - 8 * v->size;
    return (tm_form){.form = TM_STORED_RANGE,
                     .start = (int64_t)(bits << unused) >> unused,
                     .inner = 1,
                     .length = 1,
                     .single = false,
                     .bytes = 4 + v->size};
}

bool tm_form_find_range(const tm_stored_values *v, tm_form *out) {
    int64_t start, next = 0, inner = 1, length = 1;
    if (v->count == 0)
        return false;
    if (all_equal(v)) {
        *out = fill(v);
        return true;
    }
    if (!whole(v, 0, &start))
        return false;
    while (inner < v->count && whole(v, inner, &next) && next == start)
        inner++;
    int64_t step = next - start, value;
    if (step == 0 || inner * 2 > v->count)
        return false;
    for (length = 2; length * inner < v->count; length++)
        if (!whole(v, length * inner, &value) || value == start)
            break;
    for (int64_t i = 0; i < v->count; i++)
        if (!whole(v, i, &value) || value != start + step * (i / inner % length))
            return false;
    if (v->type == TAMIS_TYPE_FLOAT && fabs((double)start) + fabs((double)step) * (double)length > 16777216.0)
        return false;
    *out = (tm_form){.form = TM_STORED_RANGE,
                     .start = start,
                     .step = step,
                     .inner = inner,
                     .length = length,
                     .single = v->type == TAMIS_TYPE_FLOAT,
                     .bytes = 12};
    return true;
}
