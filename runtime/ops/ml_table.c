/* SPDX-License-Identifier: Apache-2.0
 *
 * ml_table.c: a hash table with open addressing over a column's places, in scratch memory, since tables of
 * labels may be as long as the data.
 *
 * Numbers compare by bits that are equal when the numbers are: NaN is a key like any other, and -0 is 0.
 */
#include "runtime/ops/ml_table.h"

#include "runtime/ops/text.h"

tm_column tm_column_of(const void *a, tm_list floats, tm_list ints, tm_list strings, tm_list tensor) {
    tm_column c = {.attributes = a};
    if (tm_has(tensor)) {
        tm_reals reals = tm_reals_of(a, tensor, tensor);
        c = (tm_column){reals.type, reals.count, reals.data, reals.type, a, NULL, NULL};
        if (reals.type == TAMIS_TYPE_STRING) /* tm_list records, as those of a list attribute */
            c.lists = reals.data;
    } else if (tm_has(strings)) {
        c = (tm_column){TAMIS_TYPE_STRING, strings.count, NULL, TAMIS_TYPE_STRING, a, tm_strings(a, strings),
                        NULL};
    } else if (tm_has(ints)) {
        c = (tm_column){TAMIS_TYPE_INT64, ints.count, tm_ints(a, ints), TAMIS_TYPE_INT64, a, NULL, NULL};
    } else if (tm_has(floats)) {
        c = (tm_column){TAMIS_TYPE_FLOAT, floats.count, tm_floats(a, floats), TAMIS_TYPE_DOUBLE, a, NULL,
                        NULL};
    }
    return c;
}

tm_column tm_column_of_tensor(const tamis_tensor *tensor) {
    bool is_text = tensor->type == TAMIS_TYPE_STRING;
    return (tm_column){tensor->type, tm_count(tensor),          tensor->data, tensor->type, NULL, NULL,
                       is_text ? tensor->data : NULL};
}

tamis_string tm_column_text(const tm_column *column, int64_t i) {
    if (column->strings != NULL)
        return column->strings[i];
    const tm_list *list = &column->lists[i];
    return (tamis_string){tm_chars(column->attributes, *list), list->count};
}

static bool is_whole(int32_t type) {
    return type == TAMIS_TYPE_INT64 || type == TAMIS_TYPE_INT32 || type == TAMIS_TYPE_INT16;
}

static uint64_t number_bits(const tm_column *column, int64_t i) {
    tamis_tensor t = {.data = (void *)(uintptr_t)column->data, .type = (uint8_t)column->stored};
    if (is_whole(column->stored))
        return (uint64_t)tm_integer_get(&t, i);
    double v = tm_real_get(&t, i);
    return v != v ? 0x7ff8000000000000u : tm_bits_of_f64(v + 0.0); /* -0 becomes 0 */
}

static uint64_t text_hash(tamis_string text) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (int64_t i = 0; i < text.size; i++)
        hash = (hash ^ (uint8_t)text.data[i]) * 0x100000001b3u;
    return hash;
}

/* The slot of element i of the column, which may be free. */
static int32_t *find_slot(const tm_table *t, const tm_column *column, int64_t i) {
    const bool is_text = t->keys.type == TAMIS_TYPE_STRING;
    const tamis_string text = is_text ? tm_column_text(column, i) : (tamis_string){"", 0};
    const uint64_t bits = is_text ? text_hash(text) : number_bits(column, i) * 0x9e3779b97f4a7c15u;
    for (uint64_t at = bits * 0xbf58476d1ce4e5b9u >> 32;; at++) {
        int32_t *slot = &t->slots[at & t->mask];
        if (*slot == 0)
            return slot;
        if (is_text ? tm_text_same(text, tm_column_text(&t->keys, *slot - 1))
                    : number_bits(column, i) == number_bits(&t->keys, *slot - 1))
            return slot;
    }
}

int32_t tm_table_create(tm_run *run, const tm_call *call, const tm_column *keys, bool last_holds,
                        tm_table *out_table) {
    tm_table t = {.keys = *keys, .mask = 7};
    if (keys->count > INT32_MAX / 4)
        return tm_fail(run, call, TM_RUN_DIM_RANGE, keys->count, INT32_MAX / 4);
    while (t.mask + 1 < 2 * (uint64_t)keys->count)
        t.mask = t.mask * 2 + 1;
    const int64_t bytes = ((int64_t)t.mask + 1) * (int64_t)sizeof *t.slots;
    t.slots = tm_scratch(run, call, bytes);
    if (t.slots == NULL)
        return TM_RUN_MEMORY;
    memset(t.slots, 0, (size_t)bytes);
    for (int64_t k = 0; k < keys->count; k++) {
        int32_t *slot = find_slot(&t, keys, k);
        if (*slot == 0 || last_holds)
            *slot = (int32_t)k + 1;
    }
    *out_table = t;
    return 0;
}

void tm_table_release(tm_run *run, tm_table *table) {
    tm_unscratch(run, table->slots, ((int64_t)table->mask + 1) * (int64_t)sizeof *table->slots);
}

int64_t tm_table_find(const tm_table *table, const tm_column *column, int64_t i) {
    return *find_slot(table, column, i) - 1;
}
