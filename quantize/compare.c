/* SPDX-License-Identifier: Apache-2.0
 *
 * compare.c: the planned model against the float model, by their answers on samples.
 *
 * For the sweep, which measures many plans, float's answers on some of the samples are kept. For the whole
 * model both run side by side, so that nothing is kept however many samples there are.
 */
#include "quantize/choose.h"

#define MOST_KEPT ((int64_t)16 << 20) /* bytes of answers */
#define LEAST_KEPT 4                  /* samples, however large their answers are */

static void rows_of(const tamis_tensor *t, int64_t *out_rows, int64_t *out_width) {
    *out_rows = 1;
    *out_width = t->rank > 0 ? t->dims[t->rank - 1] : 1;
    for (int i = 0; i + 1 < t->rank; i++)
        *out_rows *= t->dims[i];
}

static bool counts(const tamis_tensor *t) {
    return t->kind == TAMIS_KIND_TENSOR && t->type == TAMIS_TYPE_FLOAT;
}

tm_code tm_build_planned(tm_quantizer *q, tm_build *out, int *out_outputs, bool plain) {
    tm_arena arena;
    tm_arena_init(&arena);
    tm_quantize_borrow_recovery(q, &arena);
    tm_loaded loaded;
    tm_code code = tm_quantize_load(q, &arena, &loaded);
    if (code == TM_OK && !plain)
        code = tm_quantize_rewrite(q, &loaded);
    if (code == TM_OK) {
        *out_outputs = (int)loaded.model->main->outputs.count;
        code = tm_build_create(q, loaded.model, out);
    }
    tm_quantize_unload(&arena);
    return code;
}

tm_code tm_build_reference(tm_quantizer *q, tm_build *out, int *out_outputs) {
    const tm_reference *reference = q->options->reference;
    const char *path = q->path;
    const tamis_compile_options *compile = q->compile;
    float **factors = q->factors;
    if (reference != NULL) {
        q->path = reference->path;
        q->compile = reference->compile;
        q->factors = NULL; /* those of another model's values */
    }
    tm_code code = tm_build_planned(q, out, out_outputs, true);
    q->path = path;
    q->compile = compile;
    q->factors = factors;
    return code;
}

/* ---- kept answers ---- */

static tm_code keep_answers(tm_quantizer *q, tm_build *build, int64_t sample, void *argument) {
    tm_answers *a = argument;
    (void)sample;
    if (a->samples >= LEAST_KEPT && a->bytes >= MOST_KEPT)
        return TM_OK;
    for (int i = 0; i < a->outputs; i++) {
        const tamis_tensor *t = tamis_session_output(build->session, i);
        int64_t rows, width;
        rows_of(t, &rows, &width);
        float *copy =
            counts(t) ? tm_arena_copy(q->arena, t->data, sizeof(float) * (size_t)(rows * width)) : NULL;
        a->bytes += copy != NULL ? rows * width * 4 : 0;
        tm_push(q->arena, &a->list, copy);
    }
    a->samples++;
    return TM_OK;
}

tm_code tm_answers_keep(tm_quantizer *q, int64_t most, tm_answers *out) {
    tm_build plain;
    *out = (tm_answers){0};
    TM_TRY(tm_build_planned(q, &plain, &out->outputs, true));
    tm_code code = tm_each_sample(q, most, &plain, keep_answers, out);
    tm_build_destroy(&plain);
    out->most = most;
    return code;
}

typedef struct comparison {
    const tm_answers *kept;
    int outputs;
    tm_divergence *divergence;
} comparison;

static tm_code compare_kept(tm_quantizer *q, tm_build *build, int64_t sample, void *argument) {
    const comparison *c = argument;
    (void)q;
    for (int i = 0; i < c->outputs && sample < c->kept->samples; i++) {
        const tamis_tensor *t = tamis_session_output(build->session, i);
        const float *expected = c->kept->list.items[sample * c->outputs + i];
        int64_t rows, width;
        rows_of(t, &rows, &width);
        if (expected != NULL)
            tm_divergence_add(c->divergence, expected, t->data, rows, width);
    }
    return TM_OK;
}

tm_code tm_compare_kept(tm_quantizer *q, const tm_answers *kept, tm_divergence *out) {
    tm_build build;
    comparison c = {.kept = kept, .divergence = out};
    *out = (tm_divergence){0};
    TM_TRY(tm_build_planned(q, &build, &c.outputs, false));
    tm_code code = tm_each_sample(q, kept->most, &build, compare_kept, &c);
    tm_build_destroy(&build);
    tm_divergence_finish(out);
    return code;
}

/* ---- all samples ---- */

void tm_divergence_add_labels(const tm_quantizer *q, tm_divergence *d, const float *expected,
                              const float *found, int64_t rows, int64_t width) {
    const tm_constant *labels = q->samples->labels;
    for (int64_t r = 0; r < rows && labels != NULL && d->labelled < tm_constant_count(labels); r++) {
        int64_t label = -1;
        (void)tm_constant_int(labels, d->labelled, &label);
        tm_divergence_add_label(d, expected + r * width, found + r * width, width, label);
    }
}

void tm_divergence_add_builds(const tm_quantizer *q, tm_divergence *d, const tm_build *plain,
                              const tm_build *ours) {
    const int outputs = tamis_model_artifact(plain->model)->output_count;
    bool first = true;
    for (int i = 0; i < outputs; i++) {
        const tamis_tensor *found = tamis_session_output(ours->session, i);
        const tamis_tensor *expected = tamis_session_output(plain->session, i);
        int64_t rows, width;
        rows_of(found, &rows, &width);
        if (!counts(found))
            continue;
        tm_divergence_add(d, expected->data, found->data, rows, width);
        if (first)
            tm_divergence_add_labels(q, d, expected->data, found->data, rows, width);
        first = false;
    }
}

tm_code tm_compare_all(tm_quantizer *q, tm_divergence *out) {
    tm_build ours, plain;
    int outputs;
    const tm_samples *samples = q->samples;
    const tamis_tensor *inputs;
    *out = (tm_divergence){0};
    TM_TRY(tm_build_planned(q, &ours, &outputs, false));
    tm_code code = tm_build_reference(q, &plain, &outputs);
    if (code == TM_OK)
        code = samples->rewind(samples->self);
    int64_t most = q->options->most_samples;
    for (int64_t i = 0; code == TM_OK && (most <= 0 || i < most); i++) {
        code = samples->next(samples->self, &inputs);
        if (code != TM_OK || inputs == NULL)
            break;
        code = tm_build_run(q, &ours, inputs);
        code = code == TM_OK ? tm_build_run(q, &plain, inputs) : code;
        if (code == TM_OK)
            tm_divergence_add_builds(q, out, &plain, &ours);
    }
    tm_build_destroy(&ours);
    tm_build_destroy(&plain);
    tm_divergence_finish(out);
    return code;
}
