/* SPDX-License-Identifier: Apache-2.0
 *
 * tokens_rollout.c: what eviction does shows in later steps only. So samples are the steps of one sequence,
 * in order: the first one's caches begin, then each model is given the caches that it handed on. An input as
 * long as the whole cache and the new tokens, such as a mask, is cut to its newest where the cache is
 * shorter.
 */
#include "compress/tokens_internal.h"
#include "quantize/choose.h"

#include <string.h>

typedef struct side {
    tm_build build;
    const tm_graph *graph;
    int inputs;
    tamis_tensor *caches; /* by eviction: what the last step handed on, in memory[turn] */
    tm_arena memory[2];   /* swapped at each step, so memory does not grow with the steps */
    int turn;
    double ns;
} side;

static int64_t bytes_of(const tamis_tensor *t) {
    int64_t bytes, count = 1;
    for (int i = 0; i < t->rank; i++)
        count *= t->dims[i];
    return tm_type_size((tamis_type)t->type, count, &bytes) ? bytes : 0;
}

static tamis_tensor keep(tm_arena *arena, const tamis_tensor *t) {
    tamis_tensor copy = *t;
    copy.data = tm_arena_copy(arena, t->data, (size_t)bytes_of(t));
    copy.dims = tm_arena_copy(arena, t->dims, sizeof(int64_t) * (size_t)t->rank);
    return copy;
}

/* The last `length` of the last axis. */
static tamis_tensor newest(tm_arena *arena, const tamis_tensor *t, int64_t length) {
    tamis_tensor cut = keep(arena, t);
    const int64_t whole = t->dims[t->rank - 1], size = tm_type_bits((tamis_type)t->type) / 8;
    cut.dims[t->rank - 1] = length;
    for (int64_t row = 0; row < bytes_of(t) / (whole * size); row++)
        memcpy((char *)cut.data + row * length * size,
               (const char *)t->data + ((row + 1) * whole - length) * size, (size_t)(length * size));
    return cut;
}

/* The first output that is no cache that was bounded: those have other rows. There is one, as what the last
 * attention says is read by an output that no attention bounds, or it would be dead. */
static int answer_of(const tm_graph *plain, const tm_evictions *evictions) {
    for (size_t i = 0; i < plain->outputs.count; i++) {
        bool cache = false;
        for (size_t k = 0; k < evictions->count; k++) /* of those that are outputs of both models */
            cache = cache || (evictions->items[k].present < (int)plain->outputs.count &&
                              plain->outputs.items[i] == plain->outputs.items[evictions->items[k].present]);
        if (!cache)
            return (int)i;
    }
    return 0;
}

/* Keeps the caches for the next step. */
static void hand_on(const tm_quantizer *q, side *s, const tm_evictions *evictions, int sample_inputs,
                    bool weights) {
    s->turn = !s->turn;
    tm_arena *memory = &s->memory[s->turn];
    tm_arena_deinit(memory); /* empty, and to be used again */
    tm_quantize_borrow_recovery(q, memory);
    for (size_t i = 0; i < evictions->count; i++)
        if (evictions->items[i].past < sample_inputs || weights)
            s->caches[i] = keep(memory, tamis_session_output(s->build.session, evictions->items[i].present));
}

/* One step; *out_keys: how many the cache has then. */
static tm_code step(tm_quantizer *q, side *s, const tamis_tensor *sample, int sample_inputs,
                    const tm_evictions *evictions, bool weights, bool first, int64_t *io_keys, int64_t whole,
                    tm_arena *scratch) {
    tamis_tensor *inputs = TM_NEW_ARRAY(scratch, tamis_tensor, s->inputs + 1);
    memcpy(inputs, sample, (size_t)sample_inputs * sizeof *inputs);
    for (size_t i = 0; i < evictions->count; i++) {
        const tm_eviction *e = &evictions->items[i];
        if (e->past >= sample_inputs && !weights)
            continue;
        if (!first) {
            inputs[e->past] = s->caches[i];
        } else if (e->past >= sample_inputs) { /* the keys of the first step have had no attention */
            const tamis_tensor *cache = &sample[e->keys];
            inputs[e->past] = (tamis_tensor){.rank = 3, .type = TAMIS_TYPE_FLOAT, .kind = TAMIS_KIND_TENSOR};
            inputs[e->past].dims = tm_arena_copy(scratch, cache->dims, 3 * sizeof(int64_t));
            inputs[e->past].data =
                TM_NEW_ARRAY(scratch, float, cache->dims[0] * cache->dims[1] * cache->dims[2] + 1);
        }
    }
    for (int i = 0; i < sample_inputs && !first && *io_keys < whole; i++) {
        const tm_value *input = s->graph->inputs.items[i];
        const int last = inputs[i].rank - 1;
        if (input->kind == TAMIS_KIND_TENSOR && last >= 0 && !tm_dim_is_constant(input->dims[last]) &&
            inputs[i].dims[last] == whole && tm_type_bits(input->type) >= 8)
            inputs[i] = newest(scratch, &inputs[i], *io_keys);
    }
    double start = tm_thread_ns();
    TM_TRY(tm_build_run(q, &s->build, inputs));
    s->ns += tm_thread_ns() - start;
    hand_on(q, s, evictions, sample_inputs, weights);
    *io_keys = s->caches[0].dims[2];
    return TM_OK;
}

static void judge(const tm_quantizer *q, tm_tokens_report *report, bool same) {
    const tm_divergence *d = &report->whole;
    const bool met = same && tm_budget_use(q->options, d) <= 1;
    report->budget = met ? "met" : "met by the model as it was";
    if (d->rows == 0)
        report->refused = TM_TOKENS_UNMEASURED;
    else if (!met)
        report->refused =
            tm_arena_format(q->arena, "it is over the budget: KL %.3g, flips %.2f %%, cosine %.6f%s", d->kl,
                            d->flips * 100, d->cosine, same ? "" : ", and numbers that are none");
    else if (report->keys >= report->keys_before)
        report->refused = tm_arena_format(q->arena, "the samples end with %lld keys, so none was evicted",
                                          (long long)report->keys_before);
}

tm_code tm_tokens_rollout(tm_quantizer *q, tm_model *plain, tm_model *ours, const tm_evictions *evictions,
                          tm_tokens_report *report) {
    const tm_samples *samples = q->samples;
    const tamis_tensor *inputs;
    const int64_t most = q->options->most_samples;
    side sides[2] = {{.graph = plain->main, .inputs = (int)plain->main->inputs.count},
                     {.graph = ours->main, .inputs = (int)ours->main->inputs.count}};
    const int answer = answer_of(plain->main, evictions);
    bool same = true;
    int64_t keys[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        sides[i].caches = TM_NEW_ARRAY(q->arena, tamis_tensor, evictions->count + 1);
        tm_arena_init(&sides[i].memory[0]);
        tm_arena_init(&sides[i].memory[1]);
    }
    tm_code code = tm_build_create(q, plain, &sides[0].build);
    if (code == TM_OK)
        code = tm_build_create(q, ours, &sides[1].build);
    if (code == TM_OK)
        code = samples->rewind(samples->self);
    while (code == TM_OK && (most <= 0 || report->samples < most)) {
        tm_arena scratch;
        code = samples->next(samples->self, &inputs);
        if (code != TM_OK || inputs == NULL)
            break;
        tm_arena_init(&scratch);
        tm_quantize_borrow_recovery(q, &scratch);
        const int64_t whole = keys[0] + 1;
        for (int i = 0; i < 2 && code == TM_OK; i++) {
            keys[i] += 1;
            code = step(q, &sides[i], inputs, sides[0].inputs, evictions, i == 1, report->samples == 0,
                        &keys[i], whole, &scratch);
        }
        if (code == TM_OK)
            tm_tokens_compare(NULL, plain->main->outputs.items[answer], NULL,
                              tamis_session_output(sides[0].build.session, answer),
                              tamis_session_output(sides[1].build.session, answer), &scratch, &report->whole,
                              &same);
        tm_arena_deinit(&scratch);
        report->samples++;
    }
    for (int i = 0; i < 2; i++) {
        tm_build_destroy(&sides[i].build);
        tm_arena_deinit(&sides[i].memory[0]);
        tm_arena_deinit(&sides[i].memory[1]);
    }
    TM_TRY(code);
    if (report->samples == 0)
        return tm_report(q->diagnostics, TM_E_BAD_DATA, NULL, "--calib=DIR or FILE with samples",
                         "there is no sample to measure with");
    tm_divergence_finish(&report->whole);
    report->ns_before = sides[0].ns / (double)report->samples;
    report->ns = sides[1].ns / (double)report->samples;
    report->keys_before = keys[0];
    report->keys = keys[1];
    judge(q, report, same);
    return TM_OK;
}
