/* SPDX-License-Identifier: Apache-2.0
 *
 * store_palette.c: constants of few values: a table of them, and bytes that number its entries.
 *
 *     0.5 -1 0.5 0.5    ->    table -1 0.5, numbers 1 0 1 1
 *
 * All elements may share a table, or each panel of columns has its own. Values are told apart by their bits;
 * a hash table counts them and gives up at the 257th, which in real weights is soon. The table is sorted by
 * the values' bits, so that equal constants give equal bytes.
 */
#include "codegen/store.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS 1024 /* a power of two */

typedef struct set {
    uint64_t values[SLOTS];
    int16_t numbers[SLOTS]; /* of the value in the slot, plus one; 0: free */
    uint64_t list[256];
    int64_t count;
} set;

static uint64_t element(const void *data, int64_t i, int size) {
    uint64_t value = 0;
    memcpy(&value, (const char *)data + i * size, (size_t)size);
    return value;
}

static int64_t slot_of(const set *s, uint64_t value) {
    int64_t slot = (int64_t)(tm_stored_mix(1, value) >> 20 & (SLOTS - 1));
    while (s->numbers[slot] != 0 && s->values[slot] != value)
        slot = (slot + 1) & (SLOTS - 1);
    return slot;
}

/* The distinct values of the elements; false: more than 256. */
static bool collect(set *s, const void *data, int64_t count, int size) {
    for (int64_t i = 0; i < count; i++) {
        uint64_t value = element(data, i, size);
        int64_t slot = slot_of(s, value);
        if (s->numbers[slot] != 0)
            continue;
        if (s->count == 256)
            return false;
        s->values[slot] = value;
        s->list[s->count++] = value;
        s->numbers[slot] = (int16_t)s->count;
    }
    return true;
}

static int by_value(const void *a, const void *b) {
    uint64_t x, y;
    memcpy(&x, a, 8);
    memcpy(&y, b, 8);
    return (x > y) - (x < y);
}

static void sort(set *s) {
    qsort(s->list, (size_t)s->count, 8, by_value);
    for (int64_t i = 0; i < s->count; i++)
        s->numbers[slot_of(s, s->list[i])] = (int16_t)(i + 1);
}

static bool find(tm_arena *arena, const tm_stored_values *v, int64_t chunk, tm_form *out) {
    int64_t chunks = (v->count + chunk - 1) / chunk, most = 0;
    set *sets = TM_NEW_ARRAY(arena, set, chunks);
    for (int64_t c = 0; c < chunks; c++) {
        int64_t count = v->count - c * chunk < chunk ? v->count - c * chunk : chunk;
        if (!collect(&sets[c], (const char *)v->data + c * chunk * v->size, count, v->size))
            return false;
        sort(&sets[c]);
        most = sets[c].count > most ? sets[c].count : most;
    }
    uint8_t *table = tm_arena_alloc_array(arena, (size_t)(chunks * most), (size_t)v->size);
    uint8_t *indices = tm_arena_alloc(arena, (size_t)v->count);
    for (int64_t c = 0; c < chunks; c++)
        for (int64_t i = 0; i < sets[c].count; i++)
            memcpy(table + (c * most + i) * v->size, &sets[c].list[i], (size_t)v->size);
    for (int64_t i = 0; i < v->count; i++) {
        const set *s = &sets[i / chunk];
        indices[i] = (uint8_t)(s->numbers[slot_of(s, element(v->data, i, v->size))] - 1);
    }
    *out = (tm_form){
        .form = TM_STORED_PALETTE, .entries = most, .chunk = chunk, .table = table, .indices = indices};
    return true;
}

bool tm_form_find_palette(tm_arena *arena, const tm_stored_values *v, tm_form *out) {
    if (v->size < 2 || v->count < 2)
        return false;
    if (find(arena, v, v->count, out))
        return true;
    int64_t chunk = v->columns * v->rows;
    return chunk >= 1024 && chunk < v->count && v->count / chunk < 4096 && find(arena, v, chunk, out);
}

int64_t tm_count_distinct(tm_arena *arena, const void *data, int64_t count, int size, int64_t most) {
    size_t slots = 1024;
    while (slots < 2 * (size_t)(count < most ? count : most))
        slots *= 2;
    uint64_t *values = TM_NEW_ARRAY(arena, uint64_t, slots);
    bool *taken = TM_NEW_ARRAY(arena, bool, slots);
    int64_t found = 0;
    for (int64_t i = 0; i < count && found <= most; i++) {
        uint64_t value = element(data, i, size);
        size_t slot = tm_stored_mix(1, value) >> 20 & (slots - 1);
        while (taken[slot] && values[slot] != value)
            slot = (slot + 1) & (slots - 1);
        found += !taken[slot];
        taken[slot] = true;
        values[slot] = value;
    }
    return found;
}
