/* SPDX-License-Identifier: Apache-2.0
 *
 * ml_label.c: LabelEncoder and CategoryMapper: from keys to the values at the same place of another list.
 *
 * LabelEncoder has keys and values of any type, CategoryMapper integers and strings, in the direction that
 * the input's type tells. Of equal keys the first holds in LabelEncoder, the last in CategoryMapper, as in
 * ONNX Runtime; the standard does not say.
 */
#include "runtime/ops/ml_table.h"

static bool is_whole(int32_t type) {
    return type == TAMIS_TYPE_INT64 || type == TAMIS_TYPE_INT32 || type == TAMIS_TYPE_INT16;
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
    const tm_column wanted = tm_column_of_tensor(x);
    tm_column keys = tm_column_of(a, a->keys_floats, a->keys_int64s, a->keys_strings, a->keys_tensor);
    tm_column values =
        tm_column_of(a, a->values_floats, a->values_int64s, a->values_strings, a->values_tensor);
    tm_table t;
    if (keys.count != values.count)
        return tm_fail(run, call, TM_RUN_LIST_LENGTH, keys.count, values.count);
    int32_t code = tm_table_create(run, call, &keys, false, &t);
    if (code != 0)
        return code;
    for (int64_t i = 0; i < wanted.count; i++) {
        int64_t k = tm_table_find(&t, &wanted, i);
        if (k < 0)
            set_default(a, y, i);
        else if (y->type == TAMIS_TYPE_STRING)
            ((tamis_string *)y->data)[i] = tm_column_text(&values, k);
        else
            set_number(y, i, values.data, values.stored, k);
    }
    tm_table_release(run, &t);
    return 0;
}

int32_t tm_k_ml_CategoryMapper(tm_run *run, const tm_call *call) {
    const tm_attrs_CategoryMapper *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0);
    const bool to_text = y->type == TAMIS_TYPE_STRING;
    const tm_list none = {0, 0};
    const tm_column wanted = tm_column_of_tensor(x);
    tm_column numbers = tm_column_of(a, none, a->cats_int64s, none, none);
    tm_column texts = tm_column_of(a, none, none, a->cats_strings, none);
    tm_table t;
    int32_t code = tm_table_create(run, call, to_text ? &numbers : &texts, true, &t);
    if (code != 0)
        return code;
    const tamis_string other = {tm_chars(a, a->default_string), a->default_string.count};
    for (int64_t i = 0; i < wanted.count; i++) {
        int64_t k = tm_table_find(&t, &wanted, i);
        if (to_text)
            ((tamis_string *)y->data)[i] = k < 0 ? other : tm_column_text(&texts, k);
        else
            ((int64_t *)y->data)[i] = k < 0 ? a->default_int64 : ((const int64_t *)numbers.data)[k];
    }
    tm_table_release(run, &t);
    return 0;
}
