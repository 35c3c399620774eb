/* SPDX-License-Identifier: Apache-2.0
 *
 * prune_measure.c: a pruned model against the whole one: answers, and time.
 *
 * Both run sample after sample in turn on one thread. Times are those of some samples, each the least of
 * several calls that alternate, so that what else the machine does hits both.
 */
#include "compress/measure.h"
#include "compress/prune.h"

#include <math.h>

#define TIMED_SAMPLES 4

static tm_code walk(tm_quantizer *q, tm_build *builds[2], int64_t most, tm_divergence *out, double *io_ns,
                    int64_t *out_timed) {
    const tm_samples *samples = q->samples;
    const tamis_tensor *inputs;
    int64_t count = q->sample_count, step = most > 0 && count > most ? count / most : 1;
    int64_t timed_step = count / TIMED_SAMPLES > 0 ? count / TIMED_SAMPLES : 1;
    TM_TRY(samples->rewind(samples->self));
    for (int64_t at = 0, done = 0; at < count && (most <= 0 || done < most); at++) {
        TM_TRY(samples->next(samples->self, &inputs));
        if (inputs == NULL)
            break;
        bool timed = io_ns != NULL && at % timed_step == 0 && *out_timed < TIMED_SAMPLES;
        if (timed) {
            TM_TRY(tm_time_builds(q, builds, inputs, io_ns));
            (*out_timed)++;
        }
        if (at % step != 0)
            continue;
        for (int i = 0; i < 2; i++)
            TM_TRY(tm_build_run(q, builds[i], inputs));
        if (out != NULL)
            tm_divergence_add_builds(q, out, builds[0], builds[1]);
        done++;
    }
    return TM_OK;
}

static tm_code build(tm_pruner *p, const tm_prune_repair *repair, bool cut, tm_build *out) {
    tm_pruned pruned;
    const tm_quantize_options *options = p->q.options;
    tm_code code = tm_pruned_create(p, &pruned);
    if (code == TM_OK && cut)
        code = tm_prune_apply(p, &pruned, repair);
    p->q.options = &p->one_thread;
    if (code == TM_OK)
        code = tm_build_create(&p->q, pruned.loaded.model, out);
    p->q.options = options;
    tm_pruned_destroy(&pruned);
    return code;
}

tm_code tm_measure_pair(tm_quantizer *q, tm_build *builds[2], int64_t most, tm_divergence *out,
                        double *out_ns_before, double *out_ns) {
    double ns[2] = {0, 0};
    int64_t timed = 0;
    if (out != NULL)
        *out = (tm_divergence){0};
    TM_TRY(walk(q, builds, most, out, out_ns != NULL ? ns : NULL, &timed));
    if (out != NULL)
        tm_divergence_finish(out);
    if (out_ns != NULL && timed > 0) {
        *out_ns_before = ns[0] / (double)timed;
        *out_ns = ns[1] / (double)timed;
    }
    return TM_OK;
}

tm_code tm_prune_measure(tm_pruner *p, const tm_prune_repair *repair, int64_t most, tm_divergence *out,
                         double *out_ns_before, double *out_ns) {
    tm_build ours = {0}, *builds[2] = {&p->whole, &ours};
    if (p->whole.session == NULL)
        TM_TRY(build(p, NULL, false, &p->whole));
    TM_TRY(build(p, repair, true, &ours));
    tm_code code = tm_measure_pair(&p->q, builds, most, out, out_ns_before, out_ns);
    tm_build_destroy(&ours);
    return code;
}
