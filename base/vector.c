/* SPDX-License-Identifier: Apache-2.0
 *
 * vector.c: the growing half of TM_VECTOR.
 *
 * A vector is a typed struct {items, count, capacity}; tm_push is a macro, so that items keep their
 * type, and calls tm_vector_grow only when it is full:
 *
 *     capacity 0 -> 8 -> 16 -> 32 ...        (hostile build: 1 -> 2 -> 4 ...)
 *
 * The old items stay in the arena, which costs at most as much again as the vector holds, and keeps
 * pointers into them readable (but stale). Doubling rather than a smaller factor: fewer copies, and
 * the arena cannot extend in place anyway.
 */
#include "base/base.h"

#include <string.h>

enum {
#ifdef TM_HOSTILE
    FIRST_CAPACITY = 1
#else
    FIRST_CAPACITY = 8
#endif
};

void *tm_vector_grow(tm_arena *arena, void *items, size_t count, size_t *capacity, size_t item_bytes) {
    size_t wanted = FIRST_CAPACITY;
    if (*capacity != 0 && !tm_mul_size(*capacity, 2, &wanted))
        wanted = SIZE_MAX; /* the arena refuses it */
    void *grown = tm_arena_alloc_array(arena, wanted, item_bytes);
    if (count != 0)
        memcpy(grown, items, count * item_bytes);
    *capacity = wanted;
    return grown;
}
