/* SPDX-License-Identifier: Apache-2.0
 *
 * order.c: a stable merge sort of positions. Runs of 8 are sorted by insertion, then merged pairwise
 * between the two arrays: 8, 16, 32, ... No recursion, no allocation, n log n always.
 */
#include "runtime/ops/order.h"

enum { RUN = 8 };

static void insert(int64_t *index, int64_t from, int64_t to, tm_before before, const void *context) {
    for (int64_t i = from + 1; i < to; i++) {
        const int64_t item = index[i];
        int64_t j = i;
        for (; j > from && before(context, item, index[j - 1]); j--)
            index[j] = index[j - 1];
        index[j] = item;
    }
}

void tm_stable_sort(int64_t *index, int64_t *spare, int64_t count, tm_before before, const void *context) {
    for (int64_t i = 0; i < count; i += RUN)
        insert(index, i, i + RUN < count ? i + RUN : count, before, context);
    int64_t *from = index, *to = spare;
    for (int64_t width = RUN; width < count; width *= 2) {
        for (int64_t start = 0; start < count; start += 2 * width) {
            const int64_t middle = start + width < count ? start + width : count;
            const int64_t end = middle + width < count ? middle + width : count;
            int64_t a = start, b = middle;
            for (int64_t k = start; k < end; k++) {
                const bool second = a == middle || (b < end && before(context, from[b], from[a]));
                to[k] = second ? from[b++] : from[a++];
            }
        }
        int64_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != index)
        memcpy(index, from, (size_t)count * sizeof *index);
}
