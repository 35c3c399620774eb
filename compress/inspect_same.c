/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect_same.c: tensors that are others over again: the same bytes, transposed, or times a number.
 *
 * A transposed or scaled copy has the same elements in another order, or the same up to a factor: sums of
 * magnitudes, of squares and the largest tell pairs that may be such a copy, up to rounding of the sums, and
 * only those are compared element by element. A scaled copy counts when each element is the product to the
 * last bit but one, since float32 rounds it.
 */
#include "compress/inspect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct print {
    size_t tensor;
    double ratio; /* largest over the root of the mean square: the same for all of these */
} print;

static int by_ratio(const void *a, const void *b) {
    const print *x = a, *y = b;
    if (x->ratio != y->ratio)
        return (x->ratio > y->ratio) - (x->ratio < y->ratio);
    return (x->tensor > y->tensor) - (x->tensor < y->tensor);
}

static bool same_dims(const tm_constant *a, const tm_constant *b) {
    return a->rank == b->rank &&
           (a->rank == 0 || memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0);
}

/* Element i of b over that of a, where a[i] is the first that is not zero; NaN: there is none. */
static double factor_of(const float *a, const float *b, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (a[i] != 0)
            return (double)b[i] / (double)a[i];
    return NAN;
}

static bool is_scaled(const float *a, const float *b, int64_t count, double factor) {
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)b[i] - (double)a[i] * factor) <= 3e-7 * fabs((double)b[i])))
            return false;
    return true;
}

static bool is_transposed(const float *a, const float *b, int64_t rows, int64_t columns) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            if (memcmp(&a[r * columns + c], &b[c * rows + r], 4) != 0)
                return false;
    return true;
}

enum { BYTES, TRANSPOSED, ROUNDED, SCALED, KINDS }; /* in the order in which they are looked for */

static const char *relation(tm_arena *arena, const tm_tensor_report *first, const tm_tensor_report *second,
                            int kind) {
    const tm_constant *a = first->constant, *b = second->constant;
    if (kind == BYTES && a->type == b->type && a->bytes == b->bytes &&
        memcmp(a->data, b->data, (size_t)a->bytes) == 0)
        return same_dims(a, b) ? "same bytes" : "same bytes, other dims";
    if (kind == BYTES || a->type != TAMIS_TYPE_FLOAT || b->type != TAMIS_TYPE_FLOAT ||
        first->count != second->count)
        return NULL;
    if (kind == TRANSPOSED && a->rank == 2 && b->rank == 2 && a->dims[0] == b->dims[1] &&
        a->dims[1] == b->dims[0] && is_transposed(a->data, b->data, a->dims[0], a->dims[1]))
        return "transposed";
    double factor = factor_of(a->data, b->data, first->count);
    bool is_one = fabs(factor - 1) < 3e-7;
    if (kind == TRANSPOSED || is_one != (kind == ROUNDED) || !same_dims(a, b) || !isfinite(factor) ||
        factor == 0 || !is_scaled(a->data, b->data, first->count, factor))
        return NULL;
    return is_one ? "equal but for rounding" : tm_arena_format(arena, "times %.8g", factor);
}

/* Looks for copies of one kind among tensors whose prints agree. */
static void compare_all(tm_arena *arena, tm_inspect_report *report, const print *prints, size_t count,
                        int kind) {
    for (size_t i = 0; i < count; i++)
        for (size_t k = i + 1; k < count && prints[k].ratio <= prints[i].ratio * (1 + 1e-5) + 1e-30; k++) {
            size_t low = prints[i].tensor < prints[k].tensor ? prints[i].tensor : prints[k].tensor;
            size_t high = prints[i].tensor + prints[k].tensor - low;
            tm_tensor_report *first = &report->tensors.items[low], *second = &report->tensors.items[high];
            bool known = first->same_as != NULL || second->same_as != NULL;
            const char *words = known ? NULL : relation(arena, first, second, kind);
            if (words == NULL)
                continue;
            second->same_as = first->name;
            second->relation = words;
            report->duplicate_bytes += second->bytes;
        }
}

void tm_inspect_duplicates(tm_arena *arena, tm_inspect_report *report) {
    print *prints = TM_NEW_ARRAY(arena, print, report->tensors.count + 1);
    size_t count = 0;
    for (size_t i = 0; i < report->tensors.count; i++) {
        const tm_tensor_report *t = &report->tensors.items[i];
        if (t->count >= 4 && (t->rms > 0 || t->zeros == t->count))
            prints[count++] = (print){i, t->rms > 0 ? t->outlier : 0};
    }
    qsort(prints, count, sizeof *prints, by_ratio);
    for (int kind = 0; kind < KINDS; kind++)
        compare_all(arena, report, prints, count, kind);
}
