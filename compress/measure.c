/* SPDX-License-Identifier: Apache-2.0
 *
 * measure.c: answers on samples, kept and compared; see measure.h.
 */
#include "compress/measure.h"

#include "quantize/choose.h"

#include <math.h>

#define LEAST_TURNS 5
#define MOST_TURNS 600
#define ENOUGH_NS 5e7

static int64_t elements(const tamis_tensor *t) {
    int64_t count = 1;
    for (int i = 0; i < t->rank; i++)
        count *= t->dims[i];
    return count;
}

static bool counts(const tamis_tensor *t) {
    return t->type == TAMIS_TYPE_FLOAT && t->kind == TAMIS_KIND_TENSOR;
}

static tm_code keep(tm_quantizer *q, tm_build *build, int64_t sample, void *argument) {
    tm_sample_answers *answers = argument;
    bool any = false;
    (void)sample;
    answers->outputs = tamis_model_artifact(build->model)->output_count;
    for (int i = 0; i < answers->outputs; i++) {
        const tamis_tensor *y = tamis_session_output(build->session, i);
        any = any || counts(y);
        tm_push(q->arena, &answers->list,
                counts(y) ? tm_arena_copy(q->arena, y->data, (size_t)elements(y) * 4 + 1) : NULL);
    }
    return any ? TM_OK
               : tm_report(q->diagnostics, TM_E_USAGE, NULL, "leave out --calib and --budget",
                           "%s: no output is a float32 tensor, so there is nothing to measure by", q->path);
}

tm_code tm_sample_answers_keep(tm_quantizer *q, tm_build *build, tm_sample_answers *out) {
    *out = (tm_sample_answers){0};
    TM_TRY(tm_each_sample(q, q->options->most_samples, build, keep, out));
    q->sample_count = out->outputs > 0 ? (int64_t)out->list.count / out->outputs : 0;
    return out->list.count > 0
               ? TM_OK
               : tm_report(q->diagnostics, TM_E_BAD_DATA, NULL, "--calib=DIR or FILE with samples",
                           "there is no sample to measure with");
}

typedef struct comparison {
    const tm_sample_answers *answers;
    int64_t step; /* every so many samples are run */
    bool all;
    tm_divergence divergence;
} comparison;

static tm_code compare(tm_quantizer *q, tm_build *build, int64_t sample, void *argument) {
    comparison *c = argument;
    bool first = true;
    for (int i = 0; i < c->answers->outputs; i++) {
        const tamis_tensor *y = tamis_session_output(build->session, i);
        const float *expected = c->answers->list.items[sample * c->step * c->answers->outputs + i];
        int64_t width = y->rank > 0 ? y->dims[y->rank - 1] : 1;
        if (expected == NULL || width == 0)
            continue;
        tm_divergence_add(&c->divergence, expected, y->data, elements(y) / width, width);
        if (first && c->all)
            tm_divergence_add_labels(q, &c->divergence, expected, y->data, elements(y) / width, width);
        first = false;
    }
    return TM_OK;
}

tm_code tm_sample_answers_compare(tm_quantizer *q, tm_build *build, const tm_sample_answers *answers,
                                  int64_t most, tm_divergence *out) {
    int64_t all = q->sample_count, limit = most > 0 && most < all ? most : all;
    comparison c = {.answers = answers, .step = all / limit, .all = limit == all};
    TM_TRY(tm_each_sample(q, limit, build, compare, &c));
    tm_divergence_finish(&c.divergence);
    *out = c.divergence;
    return TM_OK;
}

tm_code tm_time_builds(tm_quantizer *q, tm_build *builds[2], const tamis_tensor *inputs, double *io_ns) {
    double least[2] = {INFINITY, INFINITY}, total = 0;
    for (int turn = 0; turn < MOST_TURNS && (turn < LEAST_TURNS || total < ENOUGH_NS); turn++)
        for (int i = 0; i < 2; i++) {
            double start = tm_thread_ns();
            TM_TRY(tm_build_run(q, builds[i], inputs));
            double taken = tm_thread_ns() - start;
            least[i] = fmin(least[i], taken);
            total += taken;
        }
    io_ns[0] += least[0];
    io_ns[1] += least[1];
    return TM_OK;
}
