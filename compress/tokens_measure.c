/* SPDX-License-Identifier: Apache-2.0
 *
 * tokens_measure.c: a model with an option about tokens against the model as it was, on samples: answers,
 * where padding does not count, and times on one thread.
 *
 * Samples decide: within a budget if there is one, else by differences that are more than rounding. A model
 * that is not faster stays as it was.
 */
#include "compress/measure.h"
#include "compress/tokens_internal.h"
#include "quantize/choose.h"

#define TIMED_SAMPLES 4

typedef struct comparison {
    tm_quantizer *q;
    tm_build *builds[2];          /* plain, ours */
    const tm_tokens_place *place; /* NULL: there is no padding */
    const bool *measured;         /* outputs that count; NULL: all */
    const tm_graph *graph;        /* of the plain model */
    int mask;
    bool same;
} comparison;

static tm_code compare_sample(comparison *c, const tamis_tensor *inputs, tm_divergence *out) {
    tm_arena scratch;
    for (int i = 0; i < 2; i++)
        TM_TRY(tm_build_run(c->q, c->builds[i], inputs));
    tm_arena_init(&scratch);
    tm_quantize_borrow_recovery(c->q, &scratch);
    for (size_t i = 0; i < c->graph->outputs.count; i++)
        if (c->measured == NULL || c->measured[i])
            tm_tokens_compare(c->place, c->graph->outputs.items[i], &inputs[c->mask],
                              tamis_session_output(c->builds[0]->session, (int)i),
                              tamis_session_output(c->builds[1]->session, (int)i), &scratch, out, &c->same);
    tm_arena_deinit(&scratch);
    return TM_OK;
}

static tm_code walk(comparison *c, tm_tokens_report *report) {
    const tm_samples *samples = c->q->samples;
    const tamis_tensor *inputs;
    const int64_t most = c->q->options->most_samples;
    double ns[2] = {0, 0};
    int64_t real = 0, all = 0, timed = 0;
    TM_TRY(samples->rewind(samples->self));
    for (; most <= 0 || report->samples < most; report->samples++) {
        int64_t tokens = 0;
        TM_TRY(samples->next(samples->self, &inputs));
        if (inputs == NULL)
            break;
        real += c->place != NULL ? tm_tokens_count(&inputs[c->mask], &tokens) : 0;
        all += tokens;
        TM_TRY(compare_sample(c, inputs, &report->whole));
        if (timed < TIMED_SAMPLES) {
            TM_TRY(tm_time_builds(c->q, c->builds, inputs, ns));
            timed++;
        }
    }
    if (report->samples == 0)
        return tm_report(c->q->diagnostics, TM_E_BAD_DATA, NULL, "--calib=DIR or FILE with samples",
                         "there is no sample to measure with");
    tm_divergence_finish(&report->whole);
    report->fill = all > 0 ? (double)real / (double)all : 1;
    report->ns_before = ns[0] / (double)timed;
    report->ns = ns[1] / (double)timed;
    return TM_OK;
}

/* Why the changed model is not taken, or NULL. */
static const char *judge(const tm_quantizer *q, const tm_tokens_report *report, bool packed, bool same) {
    const tm_divergence *d = &report->whole;
    if (!packed && d->rows == 0)
        return TM_TOKENS_UNMEASURED;
    if (!same || (tm_has_budget(q->options) ? tm_budget_use(q->options, d) > 1 : !tm_tokens_is_rounding(d)))
        return tm_arena_format(q->arena, "%s: KL %.3g, flips %.2f %%, cosine %.6f%s",
                               packed ? "padding has an influence" : "it is over the budget", d->kl,
                               d->flips * 100, d->cosine, packed ? " at real tokens of the samples" : "");
    if (report->ns < report->ns_before)
        return NULL;
    const char *speed = tm_arena_format(q->arena, "it is not faster on the samples: %.3f ms -> %.3f ms",
                                        report->ns_before / 1e6, report->ns / 1e6);
    return packed ? tm_arena_format(q->arena, "%s, with %.0f %% real tokens", speed, report->fill * 100)
                  : speed;
}

tm_code tm_tokens_measure(tm_quantizer *q, tm_model *plain, tm_model *ours, const tm_tokens_place *place,
                          const bool *measured, tm_tokens_report *report) {
    tm_build builds[2] = {0};
    comparison c = {.q = q,
                    .builds = {&builds[0], &builds[1]},
                    .place = place,
                    .measured = measured,
                    .graph = plain->main,
                    .same = true};
    for (size_t i = 0; i < plain->main->inputs.count; i++)
        if (place != NULL && plain->main->inputs.items[i] == place->mask)
            c.mask = (int)i;
    tm_code code = tm_build_create(q, plain, &builds[0]);
    if (code == TM_OK)
        code = tm_build_create(q, ours, &builds[1]);
    if (code == TM_OK)
        code = walk(&c, report);
    tm_build_destroy(&builds[0]);
    tm_build_destroy(&builds[1]);
    TM_TRY(code);
    if (tm_has_budget(q->options)) {
        double use = tm_budget_use(q->options, &report->whole);
        report->budget = use <= 1 ? tm_arena_format(q->arena, "met: %.0f %% of it is used", use * 100)
                                  : "met by the model as it was";
    }
    report->refused = judge(q, report, place != NULL, c.same);
    return TM_OK;
}
