/* SPDX-License-Identifier: Apache-2.0
 *
 * ml_common.c: transforms of scores and labels of classifiers; see ml_common.h.
 *
 * Scores are double until they are stored: a classifier's label is the argmax before rounding to float.
 * SOFTMAX_ZERO leaves scores of zero at zero. PROBIT uses the same closed form of the inverse error
 * function as the reference, which is good to two digits only.
 */
#include "runtime/ops/ml_common.h"

tm_post_transform tm_post_transform_of(const void *attributes, tm_list name) {
    static const char names[4][16] = {"SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"};
    for (int i = 0; i < 4; i++)
        if (tm_has(name) && tm_is(attributes, name, names[i]))
            return (tm_post_transform)(i + 1);
    return TM_POST_NONE;
}

static double probit(double p) {
    double x = 2.0 * p - 1.0;
    double log = tm_log_f64((1.0 - x) * (1.0 + x));
    double a = 2.0 / (0x1.921fb54442d18p+1 * 0.147) + 0.5 * log;
    double y = tm_sqrt_f64(tm_sqrt_f64(a * a - log / 0.147) - a);
    return 0x1.6a09e667f3bcdp+0 * (x < 0 ? -y : y);
}

static void softmax(double *scores, int64_t count, bool keep_zeros) {
    double largest = -tm_inf_f64(), sum = 0;
    for (int64_t i = 0; i < count; i++)
        largest = scores[i] > largest ? scores[i] : largest;
    for (int64_t i = 0; i < count; i++) {
        bool zero = keep_zeros && tm_abs_f64(scores[i]) <= 1e-7;
        scores[i] = zero ? 0.0 : tm_exp_f64(scores[i] - largest);
        sum += scores[i];
    }
    for (int64_t i = 0; i < count; i++)
        scores[i] = sum != 0 ? scores[i] / sum : scores[i];
}

void tm_post_transform_apply(double *scores, int64_t count, tm_post_transform transform) {
    if (transform == TM_POST_SOFTMAX || transform == TM_POST_SOFTMAX_ZERO) {
        softmax(scores, count, transform == TM_POST_SOFTMAX_ZERO);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        if (transform == TM_POST_LOGISTIC)
            scores[i] = tm_sigmoid_f64(scores[i]);
        if (transform == TM_POST_PROBIT)
            scores[i] = probit(scores[i]);
    }
}

void tm_post_transform_pair(double score, bool is_probability, tm_post_transform transform, double *out_two) {
    out_two[0] = is_probability ? 1.0 - score : -score;
    out_two[1] = score;
    if (transform == TM_POST_LOGISTIC) {
        out_two[0] = tm_sigmoid_f64(-score);
        out_two[1] = tm_sigmoid_f64(score);
    }
    if (transform == TM_POST_PROBIT)
        out_two[1] = probit(score);
}

void tm_set_label(const tamis_tensor *labels, int64_t row, const void *attributes, tm_list ints,
                  tm_list strings, int64_t k) {
    if (labels->type == TAMIS_TYPE_INT64) {
        tm_set_i64(labels->data, row, tm_ints(attributes, ints)[k]);
        return;
    }
    tm_list text = tm_strings(attributes, strings)[k];
    ((tamis_string *)labels->data)[row] = (tamis_string){tm_chars(attributes, text), text.count};
}
