/* SPDX-License-Identifier: Apache-2.0
 *
 * ml_feature.c: ArrayFeatureExtractor, FeatureVectorizer, OneHotEncoder.
 */
#include "runtime/ops/ml_common.h"
#include "runtime/ops/text.h"

/* y[..., k] = x[..., indices[k]] */
int32_t tm_k_ml_ArrayFeatureExtractor(tm_run *run, const tm_call *call) {
    const tamis_tensor *x = tm_in(run, call, 0), *indices = tm_in(run, call, 1), *y = tm_out(run, call, 0);
    int64_t features = x->dims[x->rank - 1], count = tm_count(indices), width = tm_element_bytes(x->type);
    int64_t rows = tm_product(x->dims, 0, x->rank - 1);
    for (int64_t k = 0; k < count; k++) {
        int64_t index = tm_get_i64(indices->data, k);
        if (index < 0 || index >= features)
            return tm_fail(run, call, TM_RUN_POSITION_RANGE, index, features);
        for (int64_t row = 0; row < rows; row++)
            memcpy((char *)y->data + (row * count + k) * width,
                   (const char *)x->data + (row * features + index) * width, (size_t)width);
    }
    return 0;
}

/* The inputs' features side by side; an input with fewer than its entry of inputdimensions is filled with 0.
 */
int32_t tm_k_ml_FeatureVectorizer(tm_run *run, const tm_call *call) {
    const tm_attrs_FeatureVectorizer *a = tm_attributes(call);
    const tamis_tensor *y = tm_out(run, call, 0);
    int64_t rows = y->dims[0], width = y->dims[1], at = 0;
    for (int32_t k = 0; k < call->n_in; k++) {
        tm_rows in = tm_rows_of(tm_in(run, call, k));
        bool given = tm_has(a->inputdimensions) && k < a->inputdimensions.count;
        int64_t wanted = given ? tm_ints(a, a->inputdimensions)[k] : in.features;
        if (in.count != rows || at + wanted > width)
            return tm_fail(run, call, TM_RUN_DIM_MISMATCH, in.count, rows);
        for (int64_t row = 0; row < rows; row++)
            for (int64_t c = 0; c < wanted; c++) {
                double v = c < in.features ? tm_real_get(in.x, row * in.features + c) : 0.0;
                tm_set_f32(y->data, row * width + at + c, (float)v);
            }
        at += wanted;
    }
    return 0;
}

/* The position of element `i` among the categories, or -1. */
static int64_t category_of(const tm_attrs_OneHotEncoder *a, const tamis_tensor *x, int64_t i) {
    if (x->type == TAMIS_TYPE_STRING) {
        for (int64_t k = 0; k < a->cats_strings.count; k++)
            if (tm_text_same(((const tamis_string *)x->data)[i],
                             tm_text_of(a, tm_strings(a, a->cats_strings)[k])))
                return k;
        return -1;
    }
    bool whole = x->type == TAMIS_TYPE_INT64 || x->type == TAMIS_TYPE_INT32;
    int64_t value = whole ? tm_integer_get(x, i) : tm_f64_to_i64(tm_real_get(x, i));
    for (int64_t k = 0; k < a->cats_int64s.count; k++)
        if (tm_ints(a, a->cats_int64s)[k] == value)
            return k;
    return -1;
}

int32_t tm_k_ml_OneHotEncoder(tm_run *run, const tm_call *call) {
    const tm_attrs_OneHotEncoder *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0);
    int64_t count = tm_count(x), categories = y->dims[y->rank - 1];
    float *to = y->data;
    for (int64_t i = 0; i < count * categories; i++)
        to[i] = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t category = category_of(a, x, i);
        if (category >= 0)
            to[i * categories + category] = 1;
        else if (a->zeros == 0)
            return tm_fail(run, call, TM_RUN_NO_CATEGORY, i, categories);
    }
    return 0;
}
