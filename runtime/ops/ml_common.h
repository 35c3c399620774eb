/* SPDX-License-Identifier: Apache-2.0
 *
 * ml_common.h: what the models of ai.onnx.ml share: lists that are attributes, transforms of
 * scores, and the label of a row.
 */
#ifndef TM_OPS_ML_COMMON_H
#define TM_OPS_ML_COMMON_H

#include "runtime/attributes_ml.h"
#include "runtime/math/math.h"
#include "runtime/ops/real.h"

/* Numbers of ONNX's POST_TRANSFORM, in the order of TreeEnsemble's integers. */
typedef enum tm_post_transform {
    TM_POST_NONE = 0,
    TM_POST_SOFTMAX = 1,
    TM_POST_LOGISTIC = 2,
    TM_POST_SOFTMAX_ZERO = 3,
    TM_POST_PROBIT = 4
} tm_post_transform;

/* A list of reals, from a list attribute or from a tensor attribute. */
typedef struct tm_reals {
    const void *data;
    int32_t type;
    int64_t count;
} tm_reals;

/* Rows of features. */
typedef struct tm_rows {
    const tamis_tensor *x;
    int64_t count, features;
} tm_rows;

tm_post_transform tm_post_transform_of(const void *attributes, tm_list name);
void tm_post_transform_apply(double *scores, int64_t count, tm_post_transform transform);
/* The scores of a classifier with two classes that knows one score only: both columns. */
void tm_post_transform_pair(double score, bool is_probability, tm_post_transform transform, double *out_two);

static inline tm_reals tm_reals_of(const void *attributes, tm_list list, tm_list tensor) {
    if (tm_has(tensor)) {
        const char *at = (const char *)attributes + tensor.offset;
        tm_tensor_attribute head;
        memcpy(&head, at, sizeof head);
        return (tm_reals){at + sizeof head, (int32_t)head.type, tm_product(head.dims, 0, (int32_t)head.rank)};
    }
    return (tm_reals){(const char *)attributes + list.offset, TAMIS_TYPE_DOUBLE,
                      tm_has(list) ? list.count : 0};
}
static inline double tm_reals_get(const tm_reals *list, int64_t i) {
    if (list->type == TAMIS_TYPE_DOUBLE)
        return tm_get_f64(list->data, i);
    tamis_tensor t = {.data = (void *)(uintptr_t)list->data, .type = (uint8_t)list->type};
    return tm_real_get(&t, i);
}
static inline tm_rows tm_rows_of(const tamis_tensor *x) {
    return (tm_rows){x, x->rank == 2 ? x->dims[0] : 1, x->dims[x->rank - 1]};
}
/* Label number `k` of a classifier into element `row` of its first output. */
void tm_set_label(const tamis_tensor *labels, int64_t row, const void *attributes, tm_list ints,
                  tm_list strings, int64_t k);

#endif
