/* SPDX-License-Identifier: Apache-2.0
 *
 * ml_label.c: LabelEncoder: a table from keys to values, both of any type.
 *
 * Keys stand in lists or in one tensor; either way key k is reached by key_at(). Look-up goes through a hash
 * table in scratch memory, since label tables may be as long as the data. NaN is a key like any other.
 */
#include "runtime/ops/ml_common.h"
#include "runtime/ops/text.h"

/* A list of strings, reals or integers, in any of the forms that attributes have. */
typedef struct column {
    int32_t type; /* of the elements: STRING, or a numeric type */
    int64_t count;
    const void *attributes;
    const void *data;     /* numbers as `stored` */
    int32_t stored;       /* INT64 and DOUBLE for list attributes, the tensor's type else */
    const tm_list *texts; /* strings of a list attribute */
} column;

static column column_of(const void *a, tm_list floats, tm_list ints, tm_list strings, tm_list tensor) {
    column c = {.attributes = a};
    if (tm_has(tensor)) {
        tm_reals reals = tm_reals_of(a, tensor, tensor);
        return (column){reals.type, reals.count, a, reals.data, reals.type, NULL};
    }
    if (tm_has(strings)) {
        c = (column){TAMIS_TYPE_STRING, strings.count, a, NULL, TAMIS_TYPE_STRING, tm_strings(a, strings)};
    } else if (tm_has(ints)) {
        c = (column){TAMIS_TYPE_INT64, ints.count, a, tm_ints(a, ints), TAMIS_TYPE_INT64, NULL};
    } else if (tm_has(floats)) {
        c = (column){TAMIS_TYPE_FLOAT, floats.count, a, tm_floats(a, floats), TAMIS_TYPE_DOUBLE, NULL};
    }
    return c;
}

/* Strings of a tensor attribute are tm_list records, as those of a list attribute. */
static tamis_string text_at(const column *c, int64_t i) {
    const tm_list *list = c->texts != NULL ? &c->texts[i] : (const tm_list *)c->data + i;
    return (tamis_string){tm_chars(c->attributes, *list), list->count};
}

static bool is_whole(int32_t type) {
    return type == TAMIS_TYPE_INT64 || type == TAMIS_TYPE_INT32 || type == TAMIS_TYPE_INT16;
}

/* A number as 64 bits that are equal when the numbers are. */
static uint64_t number_bits(const void *data, int32_t type, int64_t i) {
    tamis_tensor t = {.data = (void *)(uintptr_t)data, .type = (uint8_t)type};
    if (is_whole(type))
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

typedef struct table {
    column keys;
    int32_t *slots; /* key + 1, or 0 */
    uint64_t mask;
} table;

/* The slot of a key (as text or as bits), which may be free. */
static int32_t *find(const table *t, tamis_string text, uint64_t bits) {
    bool is_text = t->keys.type == TAMIS_TYPE_STRING;
    uint64_t hash = (is_text ? text_hash(text) : bits * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
    for (uint64_t i = hash >> 32;; i++) {
        int32_t *slot = &t->slots[i & t->mask];
        if (*slot == 0)
            return slot;
        bool same = is_text ? tm_text_same(text, text_at(&t->keys, *slot - 1))
                            : bits == number_bits(t->keys.data, t->keys.stored, *slot - 1);
        if (same)
            return slot;
    }
}

static void set_number(const tamis_tensor *y, int64_t i, const void *data, int32_t stored, int64_t k) {
    tamis_tensor t = {.data = (void *)(uintptr_t)data, .type = (uint8_t)stored};
    switch (y->type) {
    case TAMIS_TYPE_INT64:
        tm_set_i64(y->data, i, tm_integer_get(&t, k));
        return;
    case TAMIS_TYPE_INT32:
        tm_set_i32(y->data, i, (int32_t)tm_integer_get(&t, k));
        return;
    case TAMIS_TYPE_INT16:
        tm_set_i16(y->data, i, (int16_t)tm_integer_get(&t, k));
        return;
    default:
        tm_real_set(y, i, tm_real_get(&t, k));
        return;
    }
}

static void set_default(const tm_attrs_LabelEncoder *a, const tamis_tensor *y, int64_t i) {
    if (tm_has(a->default_tensor)) {
        tm_reals value = tm_reals_of(a, a->default_tensor, a->default_tensor);
        if (y->type == TAMIS_TYPE_STRING) {
            const tm_list *text = value.data;
            ((tamis_string *)y->data)[i] = (tamis_string){tm_chars(a, *text), text->count};
        } else {
            set_number(y, i, value.data, value.type, 0);
        }
    } else if (y->type == TAMIS_TYPE_STRING) {
        ((tamis_string *)y->data)[i] =
            (tamis_string){tm_chars(a, a->default_string), a->default_string.count};
    } else if (is_whole(y->type)) {
        set_number(y, i, &a->default_int64, TAMIS_TYPE_INT64, 0);
    } else {
        set_number(y, i, &a->default_float, TAMIS_TYPE_DOUBLE, 0);
    }
}

int32_t tm_k_ml_LabelEncoder(tm_run *run, const tm_call *call) {
    const tm_attrs_LabelEncoder *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0);
    column values = column_of(a, a->values_floats, a->values_int64s, a->values_strings, a->values_tensor);
    table t = {.keys = column_of(a, a->keys_floats, a->keys_int64s, a->keys_strings, a->keys_tensor),
               .mask = 7};
    if (t.keys.count != values.count || t.keys.count > INT32_MAX / 4)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, t.keys.count, values.count);
    while (t.mask + 1 < 2 * (uint64_t)t.keys.count)
        t.mask = t.mask * 2 + 1;
    int64_t bytes = ((int64_t)t.mask + 1) * 4;
    t.slots = tm_scratch(run, call, bytes);
    if (t.slots == NULL)
        return TM_RUN_MEMORY;
    memset(t.slots, 0, (size_t)bytes);
    bool is_text = t.keys.type == TAMIS_TYPE_STRING;
    const tamis_string no_text = {"", 0};
    for (int64_t k = 0; k < t.keys.count; k++) { /* of equal keys the first holds */
        int32_t *slot = find(&t, is_text ? text_at(&t.keys, k) : no_text,
                             is_text ? 0 : number_bits(t.keys.data, t.keys.stored, k));
        if (*slot == 0)
            *slot = (int32_t)k + 1;
    }
    int64_t count = tm_count(x);
    for (int64_t i = 0; i < count; i++) {
        int64_t k = *find(&t, is_text ? ((const tamis_string *)x->data)[i] : no_text,
                          is_text ? 0 : number_bits(x->data, x->type, i)) -
                    1;
        if (k < 0)
            set_default(a, y, i);
        else if (y->type == TAMIS_TYPE_STRING)
            ((tamis_string *)y->data)[i] = text_at(&values, k);
        else
            set_number(y, i, values.data, values.stored, k);
    }
    tm_unscratch(run, t.slots, bytes);
    return 0;
}
