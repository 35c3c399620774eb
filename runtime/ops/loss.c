/* SPDX-License-Identifier: Apache-2.0
 *
 * NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss.
 *
 *     loss[n, d] = -p[n, t, d] * w[t]    with t = the class number at [n, d]
 *
 * where p is the input, or the logarithm of its softmax over the classes. Class numbers equal to
 * ignore_index count nothing. `mean` divides the sum by the sum of weights that took part. Sums run in
 * order, in double: one number for the whole batch deserves it.
 */
#include "runtime/math/math.h"
#include "runtime/ops/real.h"

typedef enum reduction { REDUCE_NONE, REDUCE_SUM, REDUCE_MEAN } reduction;

typedef struct loss {
    const tamis_tensor *scores, *labels, *weights;
    tamis_tensor *y, *logarithms; /* logarithms may be NULL */
    int64_t samples, classes, space, ignored;
    bool softmax, ignores;
    reduction how;
} loss;

/* log of the sum of exp over the classes at one place, split as largest + rest. */
static double log_sum(const loss *job, int64_t at, double *out_largest) {
    double largest = -tm_inf_f64(), sum = 0;
    for (int64_t c = 0; c < job->classes; c++) {
        double v = tm_real_get(job->scores, at + c * job->space);
        largest = v > largest || v != v ? v : largest;
    }
    for (int64_t c = 0; c < job->classes; c++)
        sum += tm_exp_f64(tm_real_get(job->scores, at + c * job->space) - largest);
    *out_largest = largest;
    return tm_log_f64(sum);
}

static int32_t loss_run(tm_run *run, const tm_call *call, const loss *job) {
    double total = 0, weight_total = 0;
    for (int64_t i = 0; i < job->samples * job->space; i++) {
        int64_t at = i / job->space * job->classes * job->space + i % job->space;
        int64_t label = tm_integer_get(job->labels, i);
        bool counts = !job->ignores || label != job->ignored;
        double largest = 0, rest = 0, value = 0, weight = 0;
        if (counts && (label < 0 || label >= job->classes))
            return tm_fail(run, call, TM_RUN_POSITION_RANGE, label, job->classes);
        if (job->softmax)
            rest = log_sum(job, at, &largest);
        if (job->logarithms != NULL)
            for (int64_t c = 0; c < job->classes; c++) {
                int64_t place = at + c * job->space;
                tm_real_set(job->logarithms, place, tm_real_get(job->scores, place) - largest - rest);
            }
        if (counts) {
            weight = job->weights != NULL ? tm_real_get(job->weights, label) : 1;
            value = -(tm_real_get(job->scores, at + label * job->space) - largest - rest) * weight;
        }
        if (job->how == REDUCE_NONE)
            tm_real_set(job->y, i, value);
        total += value;
        weight_total += weight;
    }
    if (job->how != REDUCE_NONE)
        tm_real_set(job->y, 0, job->how == REDUCE_MEAN ? total / weight_total : total);
    return 0;
}

static int32_t loss_of(tm_run *run, const tm_call *call, bool softmax, int64_t ignored, tm_list how) {
    const tamis_tensor *scores = tm_in(run, call, 0);
    const void *a = tm_attributes(call);
    loss job = {.scores = scores,
                .labels = tm_in(run, call, 1),
                .weights = tm_in(run, call, 2),
                .y = tm_out(run, call, 0),
                .logarithms = softmax ? tm_out(run, call, 1) : NULL,
                .samples = scores->dims[0],
                .classes = scores->dims[1],
                .space = tm_product(scores->dims, 2, scores->rank),
                .ignored = ignored,
                .softmax = softmax,
                .ignores = ignored != INT64_MIN,
                .how = tm_is(a, how, "none")  ? REDUCE_NONE
                       : tm_is(a, how, "sum") ? REDUCE_SUM
                                              : REDUCE_MEAN};
    return loss_run(run, call, &job);
}

#define X(s, S, C)                                                         \
    TM_KERNEL(NegativeLogLikelihoodLoss, s) {                              \
        const tm_attrs_NegativeLogLikelihoodLoss *a = tm_attributes(call); \
        return loss_of(run, call, false, a->ignore_index, a->reduction);   \
    }                                                                      \
    TM_KERNEL(SoftmaxCrossEntropyLoss, s) {                                \
        const tm_attrs_SoftmaxCrossEntropyLoss *a = tm_attributes(call);   \
        return loss_of(run, call, true, a->ignore_index, a->reduction);    \
    }
TM_FOR_FLOAT_TYPES(X)
#undef X
