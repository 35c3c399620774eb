/* SPDX-License-Identifier: Apache-2.0
 *
 * ml_map.c: maps of ai.onnx.ml. A map is a list of two tensors, keys [n] and values [n] (runtime/sequence.h):
 *
 *     ZipMap {labels: a, b}    [[0.1, 0.9], [0.7, 0.3]]  ->  ({a: 0.1, b: 0.9}, {a: 0.7, b: 0.3})
 *     DictVectorizer {a, b}    {b: 3}                    ->  [[0, 3]]
 *     CastMap                  {7: 1.5, 2: 4}            ->  [[4, 1.5]]
 *
 * The standard leaves open what happens in some cases; these follow ONNX Runtime: rows of the results have
 * rank 2, keys that DictVectorizer's vocabulary lacks are ignored, CastMap writes floats with six decimals
 * and puts "0.f" where a sparse map has no text. A key beyond CastMap's max_map is a failure, as the standard
 * has it.
 */
#include "runtime/ops/cast_any.h"
#include "runtime/ops/cast_decimal.h"
#include "runtime/ops/handle.h"
#include "runtime/ops/ml_table.h"
#include "runtime/ops/order.h"

/* ---- ZipMap ---- */

/* The class labels as a tensor [count]. */
static int32_t make_keys(tm_run *run, const tm_call *call, tamis_tensor *keys) {
    const tm_attrs_ZipMap *a = tm_attributes(call);
    const bool is_text = tm_has(a->classlabels_strings);
    const int64_t count = is_text ? a->classlabels_strings.count : a->classlabels_int64s.count;
    int32_t code =
        tm_item_create(run, call, keys, is_text ? TAMIS_TYPE_STRING : TAMIS_TYPE_INT64, 1, &count);
    if (code != 0)
        return code;
    for (int64_t i = 0; i < count && is_text; i++) {
        tm_list text = tm_strings(a, a->classlabels_strings)[i];
        ((tamis_string *)keys->data)[i] = (tamis_string){tm_chars(a, text), text.count};
    }
    if (!is_text && count > 0)
        memcpy(keys->data, tm_ints(a, a->classlabels_int64s), (size_t)count * sizeof(int64_t));
    return 0;
}

int32_t tm_k_ml_ZipMap(tm_run *run, const tm_call *call) {
    const tm_rows rows = tm_rows_of(tm_in(run, call, 0));
    const int64_t bytes = tm_type_bytes(rows.x->type, rows.features);
    tamis_tensor keys, values;
    int32_t code = make_keys(run, call, &keys);
    if (code != 0)
        return code;
    if (keys.dims[0] != rows.features)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, rows.features, keys.dims[0]);
    code = tm_item_copy(run, call, &values, rows.x);
    tm_sequence *list = code == 0 ? tm_list_create(run, call, rows.count) : NULL;
    if (list == NULL)
        return run->code;
    for (int64_t i = 0; i < rows.count; i++) {
        tm_sequence *map = tm_list_create(run, call, 2);
        if (map == NULL)
            return run->code;
        map->items[0] = keys;
        map->items[1] = keys;
        map->items[1].type = rows.x->type;
        map->items[1].data = (char *)values.data + i * bytes;
        list->items[i] = (tamis_tensor){.data = map,
                                        .rank = -1,
                                        .type = rows.x->type,
                                        .kind = TAMIS_KIND_MAP,
                                        .item = TAMIS_KIND_TENSOR,
                                        .key = keys.type};
    }
    tm_out(run, call, 0)->data = list;
    return 0;
}

/* ---- maps that are inputs ---- */

typedef struct map {
    const tamis_tensor *keys, *values; /* of a map without entries: NULL */
    int64_t count;
} map;

static int32_t read_map(tm_run *run, const tm_call *call, map *out) {
    const tamis_tensor *x = tm_in(run, call, 0);
    *out = (map){NULL, NULL, 0};
    if (tm_list_length(x) == 0)
        return 0;
    *out = (map){tm_list_item(x, 0), tm_list_item(x, 1), tm_count(tm_list_item(x, 0))};
    const int64_t values = tm_count(out->values);
    return values == out->count ? 0 : tm_fail(run, call, TM_RUN_DIM_MISMATCH, out->count, values);
}

static void set_element(const tamis_tensor *y, int64_t i, const tamis_tensor *x, int64_t k) {
    const int64_t bytes = tm_type_bytes(y->type, 1);
    memcpy((char *)y->data + i * bytes, (const char *)x->data + k * bytes, (size_t)bytes);
}

static void fill(const tamis_tensor *y, int64_t count, tamis_string text) {
    for (int64_t i = 0; i < count && y->type == TAMIS_TYPE_STRING; i++)
        ((tamis_string *)y->data)[i] = text;
    if (y->type != TAMIS_TYPE_STRING && count > 0)
        memset(y->data, 0, (size_t)tm_type_bytes(y->type, count));
}

int32_t tm_k_ml_DictVectorizer(tm_run *run, const tm_call *call) {
    const tm_attrs_DictVectorizer *a = tm_attributes(call);
    const tamis_tensor *y = tm_out(run, call, 0);
    const tm_list none = {0, 0};
    const tm_column vocabulary = tm_column_of(a, none, a->int64_vocabulary, a->string_vocabulary, none);
    map x;
    tm_table t;
    int32_t code = read_map(run, call, &x);
    fill(y, vocabulary.count, (tamis_string){"", 0});
    if (code != 0 || x.count == 0)
        return code;
    tm_column keys = tm_column_of_tensor(x.keys);
    code = tm_table_create(run, call, &keys, false, &t);
    if (code != 0)
        return code;
    for (int64_t i = 0; i < vocabulary.count; i++) {
        int64_t k = tm_table_find(&t, &vocabulary, i);
        if (k >= 0)
            set_element(y, i, x.values, k);
    }
    tm_table_release(run, &t);
    return 0;
}

/* ---- CastMap ---- */

#define FIXED_MAX 64 /* bytes of a float: sign, 39 digits, point, 6 digits */

/* Whole millionths of x, rounded to nearest even, as words. */
static tm_words millionths_of(float x) {
    const uint32_t bits = tm_bits_of_f32(x);
    const int64_t exponent = bits >> 23 & 0xff;
    uint64_t m = ((bits & 0x7fffff) | (uint32_t)(exponent != 0) << 23) * (uint64_t)1000000;
    int64_t two = (exponent == 0 ? 1 : exponent) - 150;
    if (two < 0) {
        const uint64_t half = two > -64 ? (uint64_t)1 << (-two - 1) : 0;
        const uint64_t rest = two > -64 ? m & (2 * half - 1) : 0, kept = two > -64 ? m >> -two : 0;
        m = kept + (rest > half || (half != 0 && rest == half && (kept & 1) != 0));
    }
    tm_words words = {{(uint32_t)m, (uint32_t)(m >> 32)}, 2};
    for (; two > 0; two -= two < 31 ? two : 31)
        tm_words_multiply(&words, (uint32_t)1 << (two < 31 ? two : 31));
    return words;
}

static uint32_t divide_by_ten(tm_words *words) {
    uint64_t rest = 0;
    for (int i = words->count - 1; i >= 0; i--) {
        rest = rest << 32 | words->words[i];
        words->words[i] = (uint32_t)(rest / 10);
        rest %= 10;
    }
    while (words->count > 0 && words->words[words->count - 1] == 0)
        words->count--;
    return (uint32_t)rest;
}

/* "-2.750000", into the end of text[FIXED_MAX]. */
static tamis_string write_fixed(char *text, float x) {
    const bool negative = tm_bits_of_f32(x) >> 31 != 0;
    int64_t at = FIXED_MAX;
    if (x != x || tm_abs_f32(x) == tm_inf_f32()) {
        const char *word = x != x ? "nan" : "inf";
        for (int i = 2; i >= 0; i--)
            text[--at] = word[i];
    } else {
        tm_words words = millionths_of(tm_abs_f32(x));
        for (int digits = 0; digits < 7 || words.count > 0; digits++) {
            if (digits == 6)
                text[--at] = '.';
            text[--at] = (char)('0' + divide_by_ten(&words));
        }
    }
    if (negative)
        text[--at] = '-';
    return (tamis_string){text + at, FIXED_MAX - at};
}

/* Values of x as elements of y, one for each, in their order. */
static int32_t cast_values(tm_run *run, const tm_call *call, const map *x, const tamis_tensor *y) {
    if (x->values->type == y->type) {
        memcpy(y->data, x->values->data, (size_t)tm_type_bytes(y->type, x->count));
        return 0;
    }
    if (x->values->type == TAMIS_TYPE_STRING)
        return tm_text_to_numbers(run, call, x->values, y);
    for (int64_t i = 0; i < x->count; i++) {
        if (y->type == TAMIS_TYPE_STRING) {
            char *text = tm_arena(run, call, FIXED_MAX);
            if (text == NULL)
                return run->code;
            ((tamis_string *)y->data)[i] = write_fixed(text, (float)tm_real_get(x->values, i));
            continue;
        }
        tm_wide wide;
        if (!tm_wide_read(&wide, x->values->type, x->values->data, i, 1) ||
            !tm_wide_write(&wide, y->type, y->data, i, 1, (tm_cast_rules){true, TM_E8M0_UP}))
            return tm_fail(run, call, TM_RUN_TYPES, x->values->type, y->type);
    }
    return 0;
}

static bool key_before(const void *context, int64_t a, int64_t b) {
    const int64_t *keys = context;
    return keys[a] < keys[b];
}

/* Element i of `cast` goes to its key's place, or to its rank among the keys. */
static int32_t place_values(tm_run *run, const tm_call *call, const map *x, const tamis_tensor *cast,
                            bool sparse, int64_t *order) {
    const tamis_tensor *y = tm_out(run, call, 0);
    const int64_t *keys = x->keys->data;
    for (int64_t i = 0; i < x->count; i++)
        order[i] = i;
    if (!sparse)
        tm_stable_sort(order, order + x->count, x->count, key_before, keys);
    for (int64_t i = 0; i < x->count; i++) {
        int64_t place = sparse ? keys[i] : i;
        if (place < 0 || place >= y->dims[1])
            return tm_fail(run, call, TM_RUN_INDEX_RANGE, place, y->dims[1]);
        set_element(y, place, cast, order[i]);
    }
    return 0;
}

int32_t tm_k_ml_CastMap(tm_run *run, const tm_call *call) {
    const tm_attrs_CastMap *a = tm_attributes(call);
    const tamis_tensor *y = tm_out(run, call, 0);
    const bool sparse = tm_is(a, a->map_form, "SPARSE");
    map x;
    int32_t code = read_map(run, call, &x);
    if (code == 0)
        code = tm_output(run, call, 0, 2, (int64_t[]){1, sparse ? a->max_map : x.count});
    if (code != 0)
        return code;
    fill(y, tm_count(y), (tamis_string){"0.f", 3});
    if (x.count == 0)
        return 0;
    const int64_t order_bytes = 2 * x.count * (int64_t)sizeof(int64_t);
    const int64_t bytes = order_bytes + tm_type_bytes(y->type, x.count);
    int64_t *order = tm_scratch(run, call, bytes);
    if (order == NULL)
        return run->code;
    tamis_tensor cast = *y;
    cast.data = (char *)order + order_bytes;
    code = cast_values(run, call, &x, &cast);
    if (code == 0)
        code = place_values(run, call, &x, &cast, sparse, order);
    tm_unscratch(run, order, bytes);
    return code;
}
