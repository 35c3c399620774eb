/* SPDX-License-Identifier: Apache-2.0
 *
 * ml_float.c: Imputer, Normalizer, Scaler, Binarizer: functions of single elements, or of rows (the last
 * dim) for the lists that have one entry for each feature.
 */
#include "runtime/ops/ml_common.h"

/* Entry for feature `c` of a list with one entry, or one for each feature. */
static double entry(const double *list, int64_t count, int64_t c, double otherwise) {
    return count == 0 ? otherwise : list[count == 1 ? 0 : c % count];
}

int32_t tm_k_ml_Scaler(tm_run *run, const tm_call *call) {
    const tm_attrs_Scaler *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0);
    int64_t count = tm_count(x), features = x->rank > 0 ? x->dims[x->rank - 1] : 1;
    int64_t offsets = tm_has(a->offset) ? a->offset.count : 0, scales = tm_has(a->scale) ? a->scale.count : 0;
    for (int64_t i = 0; i < count; i++) {
        float shifted =
            (float)tm_real_get(x, i) - (float)entry(tm_floats(a, a->offset), offsets, i % features, 0);
        tm_set_f32(y->data, i, shifted * (float)entry(tm_floats(a, a->scale), scales, i % features, 1));
    }
    return 0;
}

int32_t tm_k_ml_Binarizer(tm_run *run, const tm_call *call) {
    const tm_attrs_Binarizer *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0);
    int64_t count = tm_count(x);
    for (int64_t i = 0; i < count; i++) {
        int truth = tm_real_get(x, i) > a->threshold;
        if (y->type == TAMIS_TYPE_INT64)
            tm_set_i64(y->data, i, truth);
        else if (y->type == TAMIS_TYPE_INT32)
            tm_set_i32(y->data, i, truth);
        else
            tm_real_set(y, i, truth);
    }
    return 0;
}

/* MAX divides by the largest element, L1 by the sum of magnitudes, L2 by the root of the sum of squares; rows
 * whose norm is 0 stay. */
int32_t tm_k_ml_Normalizer(tm_run *run, const tm_call *call) {
    const tm_attrs_Normalizer *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0);
    bool one = tm_is(a, a->norm, "L1"), two = tm_is(a, a->norm, "L2");
    int64_t count = tm_count(x), features = x->rank > 0 ? x->dims[x->rank - 1] : 1;
    for (int64_t first = 0; first < count; first += features) {
        double norm = one || two ? 0 : -tm_inf_f64();
        for (int64_t i = first; i < first + features; i++) {
            double v = tm_real_get(x, i);
            norm = one ? norm + tm_abs_f64(v) : two ? norm + v * v : tm_max_f64(norm, v);
        }
        norm = two ? tm_sqrt_f64(norm) : norm;
        for (int64_t i = first; i < first + features; i++)
            tm_set_f32(y->data, i, (float)(norm != 0 ? tm_real_get(x, i) / norm : tm_real_get(x, i)));
    }
    return 0;
}

int32_t tm_k_ml_Imputer(tm_run *run, const tm_call *call) {
    const tm_attrs_Imputer *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0);
    int64_t count = tm_count(x), features = x->rank > 0 ? x->dims[x->rank - 1] : 1;
    bool whole = x->type == TAMIS_TYPE_INT64 || x->type == TAMIS_TYPE_INT32;
    tm_list list = whole ? a->imputed_value_int64s : a->imputed_value_floats;
    if (!tm_has(list) || (list.count != 1 && list.count != features))
        return tm_fail(run, call, TM_RUN_LIST_LENGTH, tm_has(list) ? list.count : 0, features);
    double missing = a->replaced_value_float;
    for (int64_t i = 0; i < count; i++) {
        int64_t k = list.count == 1 ? 0 : i % features;
        if (whole) {
            int64_t v = tm_integer_get(x, i);
            v = v == a->replaced_value_int64 ? tm_ints(a, list)[k] : v;
            if (y->type == TAMIS_TYPE_INT64)
                tm_set_i64(y->data, i, v);
            else
                tm_set_i32(y->data, i, (int32_t)v);
            continue;
        }
        double v = tm_real_get(x, i);
        bool is_missing = v == missing || (v != v && missing != missing);
        tm_real_set(y, i, is_missing ? tm_floats(a, list)[k] : v);
    }
    return 0;
}
