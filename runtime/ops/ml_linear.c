/* SPDX-License-Identifier: Apache-2.0
 *
 * ml_linear.c: LinearRegressor and LinearClassifier: x W^T + b, a transform, and for the classifier the label
 * with the largest score. A classifier of two labels may have one row of coefficients: then its score is the
 * second class's, and its sign decides.
 */
#include "runtime/ops/ml_common.h"

typedef struct linear {
    const double *coefficients, *intercepts;
    int64_t coefficient_count, intercept_count;
    tm_rows rows;
} linear;

static double score_of(const linear *model, int64_t row, int64_t k) {
    double sum = k < model->intercept_count ? model->intercepts[k] : 0.0;
    for (int64_t c = 0; c < model->rows.features; c++)
        sum += tm_real_get(model->rows.x, row * model->rows.features + c) *
               model->coefficients[k * model->rows.features + c];
    return sum;
}

static linear linear_of(const tm_run *run, const tm_call *call, tm_list coefficients, tm_list intercepts) {
    const void *attributes = tm_attributes(call);
    return (linear){tm_floats(attributes, coefficients), tm_floats(attributes, intercepts),
                    tm_has(coefficients) ? coefficients.count : 0, tm_has(intercepts) ? intercepts.count : 0,
                    tm_rows_of(tm_in(run, call, 0))};
}

int32_t tm_k_ml_LinearRegressor(tm_run *run, const tm_call *call) {
    const tm_attrs_LinearRegressor *a = tm_attributes(call);
    linear model = linear_of(run, call, a->coefficients, a->intercepts);
    tm_post_transform transform = tm_post_transform_of(a, a->post_transform);
    int64_t targets = a->targets;
    if (model.coefficient_count != targets * model.rows.features)
        return tm_fail(run, call, TM_RUN_LIST_LENGTH, model.coefficient_count,
                       targets * model.rows.features);
    double *scores = tm_scratch(run, call, targets * 8);
    if (scores == NULL)
        return TM_RUN_MEMORY;
    for (int64_t row = 0; row < model.rows.count; row++) {
        for (int64_t k = 0; k < targets; k++)
            scores[k] = score_of(&model, row, k);
        tm_post_transform_apply(scores, targets, transform);
        for (int64_t k = 0; k < targets; k++)
            tm_set_f32(tm_out(run, call, 0)->data, row * targets + k, (float)scores[k]);
    }
    tm_unscratch(run, scores, targets * 8);
    return 0;
}

int32_t tm_k_ml_LinearClassifier(tm_run *run, const tm_call *call) {
    const tm_attrs_LinearClassifier *a = tm_attributes(call);
    linear model = linear_of(run, call, a->coefficients, a->intercepts);
    tm_post_transform transform = tm_post_transform_of(a, a->post_transform);
    int64_t classes = tm_out(run, call, 1)->dims[1];
    bool pair = classes == 2 && model.coefficient_count == model.rows.features;
    if (!pair && model.coefficient_count != classes * model.rows.features)
        return tm_fail(run, call, TM_RUN_LIST_LENGTH, model.coefficient_count,
                       classes * model.rows.features);
    double *scores = tm_scratch(run, call, classes * 8);
    if (scores == NULL)
        return TM_RUN_MEMORY;
    for (int64_t row = 0; row < model.rows.count; row++) {
        int64_t best = 0;
        if (pair) {
            double score = score_of(&model, row, 0);
            best = score > 0;
            tm_post_transform_pair(score, true, transform, scores);
        } else {
            for (int64_t k = 0; k < classes; k++) {
                scores[k] = score_of(&model, row, k);
                best = scores[k] > scores[best] ? k : best;
            }
            tm_post_transform_apply(scores, classes, transform);
        }
        tm_set_label(tm_out(run, call, 0), row, a, a->classlabels_ints, a->classlabels_strings, best);
        for (int64_t k = 0; k < classes; k++)
            tm_set_f32(tm_out(run, call, 1)->data, row * classes + k, (float)scores[k]);
    }
    tm_unscratch(run, scores, classes * 8);
    return 0;
}
