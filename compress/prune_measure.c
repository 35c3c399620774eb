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

static tm_code walk(tm_quantizer *q, tm_build *builds[2], int64_t most, tm_divergence *out,
                    tm_divergence *held_out, double *io_ns, int64_t *out_timed) {
    const tm_samples *samples = q->samples;
    tm_samples unlabelled = *samples; /* labels are counted along all samples */
    tm_quantizer other = *q;
    unlabelled.labels = NULL;
    other.samples = &unlabelled;
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
        if (held_out != NULL && tm_prune_holds_out(count, at))
            tm_divergence_add_builds(&other, held_out, builds[0], builds[1]);
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

double tm_prune_use(const tm_quantize_options *options, const tm_divergence *all,
                    const tm_divergence *held_out) {
    double use = tm_budget_use(options, all);
    return held_out->rows > 0 ? fmax(use, tm_budget_use(options, held_out)) : use;
}

const char *tm_prune_figures(tm_arena *arena, const tm_divergence *all, const tm_divergence *held_out) {
    const char *words = tm_arena_format(arena, "KL %.3g, flips %.2f %%, cosine %.5f", all->kl,
                                        all->flips * 100, all->cosine);
    return held_out->rows == 0
               ? words
               : tm_arena_format(arena, "%s; held out: KL %.3g, flips %.2f %%, cosine %.5f", words,
                                 held_out->kl, held_out->flips * 100, held_out->cosine);
}

tm_code tm_measure_pair(tm_quantizer *q, tm_build *builds[2], int64_t most, tm_divergence *out,
                        tm_divergence *out_held_out, double *out_ns_before, double *out_ns) {
    double ns[2] = {0, 0};
    int64_t timed = 0;
    if (out != NULL)
        *out = (tm_divergence){0};
    if (out_held_out != NULL)
        *out_held_out = (tm_divergence){0};
    TM_TRY(walk(q, builds, most, out, out_held_out, out_ns != NULL ? ns : NULL, &timed));
    if (out != NULL)
        tm_divergence_finish(out);
    if (out_held_out != NULL)
        tm_divergence_finish(out_held_out);
    if (out_ns != NULL && timed > 0) {
        *out_ns_before = ns[0] / (double)timed;
        *out_ns = ns[1] / (double)timed;
    }
    return TM_OK;
}

tm_code tm_prune_measure(tm_pruner *p, const tm_prune_repair *repair, int64_t most, tm_divergence *out,
                         tm_divergence *out_held_out, double *out_ns_before, double *out_ns) {
    tm_build ours = {0}, *builds[2] = {&p->whole, &ours};
    if (p->whole.session == NULL)
        TM_TRY(build(p, NULL, false, &p->whole));
    TM_TRY(build(p, repair, true, &ours));
    tm_code code = tm_measure_pair(&p->q, builds, most, out, out_held_out, out_ns_before, out_ns);
    tm_build_destroy(&ours);
    return code;
}
