/* SPDX-License-Identifier: Apache-2.0
 *
 * quantize.c: the quantiser's way on one page, see quantize.h.
 *
 *     load -> calibrate -> quantise weights -> choose -> load again and rewrite -> report
 */
#include "quantize/quantize.h"

#include "quantize/algebra.h"
#include "quantize/choose.h"
#include "quantize/gptq.h"
#include "quantize/layer.h"


static tm_code check_layers(const tm_quantizer *q, const tm_loaded *loaded) {
    if (loaded->layers.count + loaded->attentions.count > 0)
        return TM_OK;
    return tm_report(q->diagnostics, TM_E_USAGE, NULL,
                     "products (MatMul, Gemm, Conv) of float32 by constant weights can be",
                     "%s: there is nothing to quantise", q->path);
}

static tm_code check_samples(const tm_quantizer *q) {
    if (q->samples != NULL)
        return TM_OK;
    const tm_quantize_options *o = q->options;
    const char *what = o->form == TM_QUANTIZE_INT8 ? "int8 with static scales"
                       : o->gptq                   ? "gptq"
                       : o->bias_correction        ? "bias correction"
                       : o->smooth > 0             ? "smooth"
                                                   : NULL;
    if (what == NULL)
        return TM_OK;
    return tm_report(
        q->diagnostics, TM_E_USAGE, NULL,
        o->form == TM_QUANTIZE_INT8
            ? "--calib=FOLDER or FILE.npy, or a form that needs none: int8-dynamic, int8-weights, int4"
            : "--calib=FOLDER or FILE.npy, or leave the option out",
        "%s needs samples of inputs", what);
}

static void make_tables(tm_quantizer *q, const tm_loaded *loaded) {
    q->layer_count = (int)loaded->layers.count;
    q->observed_count = (int)loaded->observed.count;
    q->plans = TM_NEW_ARRAY(q->arena, tm_layer_plan, q->layer_count);
    q->costs = TM_NEW_ARRAY(q->arena, tm_layer_cost, q->layer_count);
    q->attention_count = (int)loaded->attentions.count;
    q->attention_plans = TM_NEW_ARRAY(q->arena, tm_attention_plan, q->attention_count + 1);
    q->observations = TM_NEW_ARRAY(q->arena, tm_observation, q->observed_count + 1);
    for (int i = q->attention_count - 1; i >= 0; i--)
        for (int k = 0; k < TM_ATTENTION_OPERANDS; k++)
            q->observations[loaded->attentions.items[i].observed[k]].name =
                tm_arena_string(q->arena, loaded->attentions.items[i].name);
    for (int i = q->layer_count - 1; i >= 0; i--)
        if (loaded->layers.items[i].observed >= 0)
            q->observations[loaded->layers.items[i].observed].name =
                tm_arena_string(q->arena, loaded->layers.items[i].name);
}

/* Loads the model for one step; it goes when the step is done, so that large weights are not there while
 * samples run. */
static tm_code with_model(tm_quantizer *q,
                          tm_code (*step)(tm_quantizer *, const tm_loaded *, tm_quantize_report *),
                          tm_quantize_report *report) {
    tm_arena scratch;
    tm_loaded loaded;
    tm_arena_init(&scratch);
    tm_quantize_borrow_recovery(q, &scratch);
    tm_code code = tm_quantize_load(q, &scratch, &loaded);
    code = code == TM_OK ? step(q, &loaded, report) : code;
    tm_quantize_unload(&scratch);
    return code;
}

static tm_code look(tm_quantizer *q, const tm_loaded *loaded, tm_quantize_report *report) {
    (void)report;
    TM_TRY(check_layers(q, loaded));
    TM_TRY(check_samples(q));
    TM_TRY(tm_layers_check_keep(q, loaded, "--quantize", q->options->keep, q->options->keep_count));
    make_tables(q, loaded);
    return TM_OK;
}

static tm_code choose_factors(tm_quantizer *q, const tm_loaded *loaded, tm_quantize_report *report) {
    (void)report;
    tm_smooth_choose(q, loaded);
    return TM_OK;
}

/* A budget leaves more layers room the better their weights are rounded. */
static bool wants_gptq(const tm_quantize_options *options) {
    return options->gptq || (tm_has_budget(options) && !options->plain_rounding && !options->half_quadratic &&
                             tm_algebra_load() == NULL);
}

static tm_code make_weights(tm_quantizer *q, const tm_loaded *loaded, tm_quantize_report *report) {
    TM_TRY(tm_quantize_weights(q, loaded));
    if (wants_gptq(q->options))
        TM_TRY(tm_quantize_weights_gptq(q, loaded));
    if (q->options->bias_correction)
        tm_correct_biases(q, loaded);
    TM_TRY(tm_describe_layers(q, loaded, report));
    tm_describe_attentions(q, loaded, report);
    return TM_OK;
}

static tm_code plan(tm_quantizer *q, tm_quantize_report *report) {
    TM_TRY(with_model(q, look, report));
    if (q->samples != NULL)
        TM_TRY(tm_calibrate(q));
    if (q->options->smooth > 0 || q->options->equalize) { /* the inputs of the layers are others then */
        TM_TRY(with_model(q, choose_factors, report));
        TM_TRY(with_model(q, look, report));
        if (q->samples != NULL)
            TM_TRY(tm_calibrate(q));
    }
    TM_TRY(with_model(q, make_weights, report));
    return tm_choose(q, report);
}

tm_code tm_quantize(tm_arena *arena, tm_diagnostics *diagnostics, const char *path, const char *folder,
                    const tamis_compile_options *compile, const tm_quantize_options *options,
                    const tm_samples *samples, tm_model **out_model, tm_quantize_report *out_report) {
    tm_quantizer q = {.arena = arena,
                      .diagnostics = diagnostics,
                      .path = path,
                      .folder = folder,
                      .compile = compile,
                      .options = options,
                      .samples = samples};
    *out_report = (tm_quantize_report){.model = path};
    double start = tm_wall_seconds();
    TM_TRY(plan(&q, out_report));
    tm_loaded loaded;
    TM_TRY(tm_quantize_load(&q, arena, &loaded));
    TM_TRY(tm_quantize_rewrite(&q, &loaded));
    *out_model = loaded.model;
    out_report->seconds = tm_wall_seconds() - start;
    return TM_OK;
}
