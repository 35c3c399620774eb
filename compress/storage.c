/* SPDX-License-Identifier: Apache-2.0
 *
 * storage.c: chooses the steps to which constants are rounded; see storage.h.
 *
 * The model is compiled once. A copy of the artifact's description points to weights in memory, which are
 * changed between runs, so that a trial costs the runs on the samples and nothing else:
 *
 *     each constant alone, in 20 steps  ->  its bytes and its harm (KL)
 *     for a price of harm               ->  the step of each constant with the least bytes + price * harm
 *     the price                         ->  halved between one that fits into the budget and one that does
 * not then one constant after the other ->  a coarser step, as long as the whole fits
 *
 * Harms do not add up exactly, so every answer of the last two lines is measured on all samples. Tables that
 * a formula makes stay as they are: they cost nothing.
 */
#include "compress/storage.h"

#include "codegen/store.h"
#include "compress/measure.h"
#include "quantize/choose.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#define LEVELS 21 /* 0 is exact; then 12.5 bits down to 3 */
#define MOST_SECONDS 240.0

typedef struct place {
    float *values; /* in the weights that runs read */
    const float *exact;
    int64_t count, columns;
    int64_t room; /* bytes, of what is no float32; 0: of what is */
    float largest;
    bool fixed;
    double bytes[LEVELS], harm[LEVELS];
    int level;
} place;

typedef struct search {
    tm_quantizer q;
    tm_build build;
    tamis_artifact artifact; /* with the weights below */
    uint8_t *weights;
    TM_VECTOR(place) places;
    tm_sample_answers answers; /* of the model as it is */
    tm_storage_report *report;
    double start;
} search;

static float step_of(const place *p, int level) {
    return level == 0 ? 0
                      : (float)((double)p->largest / (exp2(12 - 0.5 * level) - 1)); /* 13 - level / 2 bits */
}

static void set_level(place *p, int level) {
    memcpy(p->values, p->exact, (size_t)p->count * sizeof *p->values);
    if (level > 0)
        (void)tm_storage_round(TM_STORAGE_STEPS, step_of(p, level), p->values, p->count);
    p->level = level;
}

/* ---- the artifact ---- */

static tm_code compile(search *s, const char *path, const tamis_compile_options *given) {
    tamis_compile_options options = *given;
    tamis_result *result = NULL;
    tamis_error error;
    const char *file = tm_arena_format(s->q.arena, "%s/storage.so", s->q.folder);
    options.emit = TAMIS_EMIT_SO;
    options.target = options.cpu = options.print_after = NULL;
    options.name = "model";
    options.coded_weights = options.profile = options.symbols = false;
    options.storage = TAMIS_STORAGE_EXACT;
    options.storage_step_count = 0;
    int code = tamis_compile_file(path, file, &options, &result);
    if (code != 0)
        tm_report(s->q.diagnostics, (tm_code)code, NULL, NULL, "compiling the model to measure failed\n%s",
                  result != NULL ? tamis_result_text(result) : "");
    tamis_result_destroy(result);
    if (code != 0)
        return (tm_code)code;
    code = tamis_model_load(file, &s->build.model, &error);
    unlink(file);
    return code == 0 ? TM_OK
                     : tm_report(s->q.diagnostics, (tm_code)error.code, NULL, NULL,
                                 "the model to measure: %s", error.message);
}

/* A session on weights that may be changed. */
static tm_code open_session(search *s, tamis_model **out_model) {
    tamis_error error;
    tamis_session_options options;
    const tamis_artifact *artifact = tamis_model_artifact(s->build.model);
    s->weights = aligned_alloc(TAMIS_ALIGNMENT, ((size_t)artifact->weights_bytes + TAMIS_ALIGNMENT) /
                                                    TAMIS_ALIGNMENT * TAMIS_ALIGNMENT);
    if (s->weights == NULL)
        return tm_report(s->q.diagnostics, TM_E_OUT_OF_MEMORY, NULL, NULL,
                         "no memory for a copy of the weights");
    memcpy(s->weights, artifact->weights, (size_t)artifact->weights_bytes);
    s->artifact = *artifact;
    s->artifact.weights = s->weights;
    tamis_session_options_init(&options);
    options.threads = s->q.options->threads;
    options.strict_math = s->q.compile->strict_math;
    if (tamis_model_create(&s->artifact, out_model, &error) != 0 ||
        tamis_session_create(*out_model, &options, &s->build.session, &error) != 0)
        return tm_report(s->q.diagnostics, (tm_code)error.code, NULL, NULL, "the model to measure: %s",
                         error.message);
    return TM_OK;
}

typedef struct spot {
    int64_t offset;
    const tamis_artifact *artifact;
    int32_t value;
} spot;

static int by_offset(const void *a, const void *b) {
    const spot *x = a, *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static const int64_t *dims_of(const spot *at) {
    return at->artifact->dims_template + at->artifact->value_infos[at->value].dims_offset;
}

static int64_t count_of(const spot *at) {
    int64_t count = 1;
    for (int i = 0; i < at->artifact->value_infos[at->value].rank; i++)
        count *= dims_of(at)[i];
    return count;
}

/* Is it made by a formula, or all one value? */
static bool is_generated(tm_arena *scratch, const place *p) {
    tm_form form;
    tm_stored_values values = {.data = p->exact,
                               .type = TAMIS_TYPE_FLOAT,
                               .count = p->count,
                               .size = 4,
                               .columns = p->columns,
                               .rows = p->count / p->columns,
                               .is_table = true};
    return tm_form_find_range(&values, &form) || tm_form_find_sines(scratch, &values, 2, &form);
}

/* In the order in which the artifact's weights are coded: that of their places. */
static void find_places(search *s) {
    const tamis_artifact *a = &s->artifact;
    TM_VECTOR(spot) spots = {0};
    tm_arena *arena = s->q.arena;
    for (int32_t i = 0; i < a->value_count; i++) {
        spot at = {a->value_infos[i].argument, a, i};
        if (a->value_infos[i].storage == TM_STORAGE_CONSTANT && count_of(&at) > 0)
            tm_push(arena, &spots, at);
    }
    qsort(spots.items, spots.count, sizeof *spots.items, by_offset);
    for (size_t i = 0; i < spots.count; i++) {
        const spot *at = &spots.items[i];
        if (i > 0 && at->offset == spots.items[i - 1].offset)
            continue;
        size_t next = i + 1;
        while (next < spots.count && spots.items[next].offset == at->offset)
            next++;
        int64_t end = next < spots.count ? spots.items[next].offset : a->weights_bytes;
        const tamis_tensor form = {.rank = a->value_infos[at->value].rank,
                                   .type = a->value_infos[at->value].type};
        int64_t last = form.rank > 0 ? dims_of(at)[form.rank - 1] : 1;
        place p = {.values = (float *)(void *)(s->weights + at->offset),
                   .count = form.type == TAMIS_TYPE_FLOAT ? (end - at->offset) / 4 : 0,
                   .columns = last,
                   .room = form.type == TAMIS_TYPE_FLOAT ? 0 : end - at->offset,
                   .fixed = form.type != TAMIS_TYPE_FLOAT};
        /* Packed constants fill their panels up with zeros; of others what is behind them is padding. */
        if (!p.fixed && p.count < count_of(at) + TAMIS_ALIGNMENT / 4)
            p.count = count_of(at);
        p.exact = tm_arena_copy(arena, p.values, (size_t)p.count * 4 + 1);
        for (int64_t k = 0; k < p.count; k++)
            p.largest = fabsf(p.exact[k]) > p.largest ? fabsf(p.exact[k]) : p.largest;
        p.fixed = p.fixed || !(p.largest > 0 && p.largest < INFINITY);
        tm_push(arena, &s->places, p);
    }
}

/* ---- bytes ---- */

static double cost(tm_arena *scratch, const tm_coder *coder, const place *p, int level) {
    float step = step_of(p, level);
    tm_elements elements = {
        .data = p->exact, .count = p->count, .columns = p->columns, .size = 4, .turn = true};
    if (level == 0)
        return tm_coder_cost(coder, &elements);
    int16_t *wide = TM_NEW_ARRAY(scratch, int16_t, p->count);
    int8_t *narrow = tm_arena_alloc(scratch, (size_t)p->count);
    bool is_wide = false;
    for (int64_t i = 0; i < p->count; i++) {
        wide[i] = (int16_t)rintf(p->exact[i] / step);
        narrow[i] = (int8_t)wide[i];
        is_wide |= wide[i] != narrow[i];
    }
    elements.data = is_wide ? (const void *)wide : narrow;
    elements.size = is_wide ? 2 : 1;
    elements.turn = false;
    return tm_coder_cost(coder, &elements) + 8;
}

static void measure_bytes(search *s) {
    tm_coder *coder = TM_NEW(s->q.arena, tm_coder);
    tm_coder_init(coder, s->q.arena);
    for (size_t i = 0; i < s->places.count; i++) {
        place *p = &s->places.items[i];
        tm_arena scratch;
        tm_arena_init(&scratch);
        tm_quantize_borrow_recovery(&s->q, &scratch);
        p->fixed = p->fixed || is_generated(&scratch, p);
        for (int level = 0; level < LEVELS && !p->fixed; level++)
            p->bytes[level] = cost(&scratch, coder, p, level);
        if (p->room > 0) {
            tm_elements bytes = {.data = p->values, .count = p->room, .columns = p->room, .size = 1};
            p->bytes[0] = tm_coder_cost(coder, &bytes);
        }
        s->report->exact_bytes += p->bytes[0];
        tm_arena_deinit(&scratch);
    }
}

/* ---- harm ---- */

/* Runs the samples (at most `most`; 0: all) with the weights as they are now. */
static tm_code measure(search *s, int64_t most, tm_divergence *out) {
    s->report->trials++;
    return tm_sample_answers_compare(&s->q, &s->build, &s->answers, most, out);
}

static tm_code measure_alone(search *s) {
    for (size_t i = 0; i < s->places.count; i++) {
        place *p = &s->places.items[i];
        for (int level = 1; level < LEVELS && !p->fixed; level++) {
            tm_divergence d;
            set_level(p, level);
            TM_TRY(measure(s, s->q.options->sweep_samples, &d));
            p->harm[level] = fmax(d.kl, p->harm[level - 1]);
            if (tm_wall_seconds() - s->start >
                MOST_SECONDS / 2) /* what is left grows as the square of the step does */
                for (int k = level + 1; k < LEVELS; k++)
                    p->harm[k] = p->harm[level] * exp2(k - level);
            if (tm_wall_seconds() - s->start > MOST_SECONDS / 2)
                break;
        }
        if (!p->fixed)
            set_level(p, 0);
    }
    return TM_OK;
}

/* ---- the choice ---- */

static double total(const search *s) {
    double bytes = 0;
    for (size_t i = 0; i < s->places.count; i++)
        bytes += s->places.items[i].bytes[s->places.items[i].level];
    return bytes;
}

static void choose_at(search *s, double price) {
    for (size_t i = 0; i < s->places.count; i++) {
        place *p = &s->places.items[i];
        int best = 0;
        for (int level = 1; level < LEVELS && !p->fixed; level++)
            if (p->bytes[level] + price * p->harm[level] < p->bytes[best] + price * p->harm[best])
                best = level;
        if (!p->fixed && best != p->level)
            set_level(p, best);
    }
}

static tm_code fits(search *s, bool *out) {
    tm_divergence d;
    TM_TRY(measure(s, 0, &d));
    *out = tm_budget_use(s->q.options, &d) <= 1;
    if (*out)
        s->report->whole = d;
    return TM_OK;
}

static tm_code find_price(search *s) {
    double low = 1e-2, high = 1e14; /* too cheap, dear enough: logarithms are halved */
    for (int i = 0; i < 16; i++) {
        double price = sqrt(low * high);
        bool fine;
        choose_at(s, price);
        TM_TRY(fits(s, &fine));
        if (fine)
            high = price;
        else
            low = price;
    }
    choose_at(s, high);
    bool fine;
    TM_TRY(fits(s, &fine));
    for (size_t i = 0; i < s->places.count && !fine; i++) /* nothing fits: all stay as they are */
        if (!s->places.items[i].fixed)
            set_level(&s->places.items[i], 0);
    return fine ? TM_OK : fits(s, &fine);
}

/* The constant whose next coarser step saves most of those that were not refused; NULL: none. */
static place *next_to_try(search *s, const bool *refused) {
    place *best = NULL;
    double most = 0;
    for (size_t i = 0; i < s->places.count; i++) {
        place *p = &s->places.items[i];
        if (p->fixed || refused[i] || p->level + 1 >= LEVELS)
            continue;
        double saved = p->bytes[p->level] - p->bytes[p->level + 1];
        if (saved > most) {
            most = saved;
            best = p;
        }
    }
    return best;
}

static tm_code go_on(search *s) {
    bool *refused = TM_NEW_ARRAY(s->q.arena, bool, s->places.count + 1);
    for (place *p; (p = next_to_try(s, refused)) != NULL && tm_wall_seconds() - s->start < MOST_SECONDS;) {
        bool fine;
        int before = p->level;
        set_level(p, before + 1);
        TM_TRY(fits(s, &fine));
        if (!fine) {
            set_level(p, before);
            refused[p - s->places.items] = true;
        }
    }
    return TM_OK;
}

static void give_steps(search *s, const float **out_steps, size_t *out_count) {
    float *steps = TM_NEW_ARRAY(s->q.arena, float, s->places.count + 1);
    double bytes = 0, count = 0;
    for (size_t i = 0; i < s->places.count; i++) {
        const place *p = &s->places.items[i];
        steps[i] = p->fixed ? 0 : step_of(p, p->level);
        if (steps[i] == 0)
            continue;
        s->report->rounded++;
        bytes += p->bytes[p->level];
        count += (double)p->count;
    }
    s->report->places = (int64_t)s->places.count;
    s->report->bits = count > 0 ? 8 * bytes / count : 0;
    s->report->bytes = total(s);
    *out_steps = steps;
    *out_count = s->places.count;
}

/* Of the model whose answers count: this one as it is, or what it was made of. */
static tm_code keep_answers(search *s) {
    tm_build reference;
    int outputs;
    if (s->q.options->reference == NULL)
        return tm_sample_answers_keep(&s->q, &s->build, &s->answers);
    TM_TRY(tm_build_reference(&s->q, &reference, &outputs));
    tm_code code = tm_sample_answers_keep(&s->q, &reference, &s->answers);
    tm_build_destroy(&reference);
    return code;
}

static tm_code search_steps(search *s) {
    TM_TRY(keep_answers(s));
    s->report->samples = s->q.sample_count;
    find_places(s);
    measure_bytes(s);
    TM_TRY(measure_alone(s));
    TM_TRY(find_price(s));
    return go_on(s);
}

tm_code tm_storage_choose(tm_arena *arena, tm_diagnostics *diagnostics, const char *path, const char *folder,
                          const tamis_compile_options *compile_options, const tm_quantize_options *measures,
                          const tm_samples *samples, const float **out_steps, size_t *out_count,
                          tm_storage_report *out_report) {
    *out_report = (tm_storage_report){0};
    search s = {.q = {.arena = arena,
                      .diagnostics = diagnostics,
                      .path = path,
                      .folder = folder,
                      .compile = compile_options,
                      .options = measures,
                      .samples = samples},
                .report = out_report,
                .start = tm_wall_seconds()};
    tamis_model *changed = NULL;
    tm_code code = compile(&s, path, compile_options);
    code = code == TM_OK ? open_session(&s, &changed) : code;
    code = code == TM_OK ? search_steps(&s) : code;
    if (code == TM_OK)
        give_steps(&s, out_steps, out_count);
    tamis_session_destroy(s.build.session);
    tamis_model_destroy(changed);
    tamis_model_destroy(s.build.model);
    free(s.weights);
    out_report->seconds = tm_wall_seconds() - s.start;
    return code;
}
