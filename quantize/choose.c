/* SPDX-License-Identifier: Apache-2.0
 *
 * choose.c: which layers are quantised.
 *
 * One sweep: each layer is quantised alone, and the answers on some samples are compared with float's. Harms
 * are taken to add up, which small ones do. Under a budget the layers of the largest gain in time whose harms
 * fit into it are taken (a knapsack); the model of them is measured on all samples, and when it shows more
 * harm than was predicted, the room is made smaller by that factor and the choice repeated. The best that was
 * found is kept even if it misses the budget, and the report says by how much.
 *
 * Of the static form, a layer that alone uses more than its share of the budget is tried in the dynamic form,
 * whose scale for each row suits inputs that are large in few rows, and keeps that if it harms less than half
 * as much.
 *
 * A layer whose quantised code is slower than its float code stays float whatever the budget.
 */
#include "quantize/choose.h"

#include <math.h>

#define MOST_TURNS 6
#define SLOWER 1.02 /* times float: quantised is slower, beyond what a clock can tell */

/* The float model's answers on the samples of the sweep. */
typedef struct answers {
    int outputs; /* of the model */
    int64_t samples;
    TM_VECTOR(float *) list;   /* for each sample and output */
    tm_divergence *divergence; /* to add to */
} answers;

static void rows_of(const tamis_tensor *t, int64_t *out_rows, int64_t *out_width) {
    *out_rows = 1;
    *out_width = t->rank > 0 ? t->dims[t->rank - 1] : 1;
    for (int i = 0; i + 1 < t->rank; i++)
        *out_rows *= t->dims[i];
}

static bool counts(const tamis_tensor *t) {
    return t->kind == TAMIS_KIND_TENSOR && t->type == TAMIS_TYPE_FLOAT;
}

static tm_code keep_answers(tm_quantizer *q, tm_build *build, int64_t sample, void *argument) {
    answers *a = argument;
    (void)sample;
    for (int i = 0; i < a->outputs; i++) {
        const tamis_tensor *t = tamis_session_output(build->session, i);
        int64_t rows, width;
        rows_of(t, &rows, &width);
        float *copy =
            counts(t) ? tm_arena_copy(q->arena, t->data, sizeof(float) * (size_t)(rows * width)) : NULL;
        tm_push(q->arena, &a->list, copy);
    }
    a->samples++;
    return TM_OK;
}

static tm_code compare_answers(tm_quantizer *q, tm_build *build, int64_t sample, void *argument) {
    answers *a = argument;
    (void)q;
    for (int i = 0; i < a->outputs; i++) {
        const tamis_tensor *t = tamis_session_output(build->session, i);
        const float *expected = a->list.items[sample * a->outputs + i];
        int64_t rows, width;
        rows_of(t, &rows, &width);
        if (expected != NULL)
            tm_divergence_add(a->divergence, expected, t->data, rows, width);
    }
    return TM_OK;
}

static tm_code build_planned(tm_quantizer *q, tm_build *out, int *out_outputs, bool plain) {
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
    tm_arena_deinit(&arena);
    return code;
}

/* The planned model against the answers that were kept. */
static tm_code measure(tm_quantizer *q, answers *a, tm_divergence *out) {
    tm_build build;
    int outputs;
    *out = (tm_divergence){0};
    TM_TRY(build_planned(q, &build, &outputs, false));
    a->divergence = out;
    tm_code code = tm_each_sample(q, a->samples, &build, compare_answers, a);
    tm_build_destroy(&build);
    tm_divergence_finish(out);
    return code;
}

/* ---- the whole model, all samples ---- */

static void count_labels(const tm_quantizer *q, tm_divergence *d, const tamis_tensor *expected,
                         const tamis_tensor *found, int64_t rows, int64_t width) {
    const tm_constant *labels = q->samples->labels;
    for (int64_t r = 0; r < rows && labels != NULL && d->labelled < tm_constant_count(labels); r++) {
        const float *a = (const float *)expected->data + r * width,
                    *b = (const float *)found->data + r * width;
        int64_t label = -1, best_a = 0, best_b = 0;
        (void)tm_constant_int(labels, d->labelled++, &label);
        for (int64_t i = 1; i < width; i++) {
            best_a = a[i] > a[best_a] ? i : best_a;
            best_b = b[i] > b[best_b] ? i : best_b;
        }
        d->right_float += best_a == label;
        d->right += best_b == label;
    }
}

void tm_divergence_add_builds(const tm_quantizer *q, tm_divergence *d, const tm_build *plain, const tm_build *ours) {
    const tamis_artifact *artifact = tamis_model_artifact(plain->model);
    bool first = true;
    for (int i = 0; i < artifact->output_count; i++) {
        const tamis_tensor *found = tamis_session_output(ours->session, i);
        const tamis_tensor *expected = tamis_session_output(plain->session, i);
        int64_t rows, width;
        rows_of(found, &rows, &width);
        if (!counts(found))
            continue;
        tm_divergence_add(d, expected->data, found->data, rows, width);
        if (first)
            count_labels(q, d, expected, found, rows, width);
        first = false;
    }
}

/* The planned model against float on all samples. */
static tm_code measure_whole(tm_quantizer *q, tm_divergence *out) {
    tm_build ours, plain;
    int outputs;
    const tm_samples *samples = q->samples;
    const tamis_tensor *inputs;
    *out = (tm_divergence){0};
    TM_TRY(build_planned(q, &ours, &outputs, false));
    tm_code code = build_planned(q, &plain, &outputs, true);
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

/* ---- the report's static part ---- */

static int64_t planned_bytes(const tm_layer_plan *plan, int64_t float_bytes) {
    const tm_quantized *w = &plan->weights;
    if (!plan->quantize)
        return float_bytes;
    int64_t blocks = (w->k + w->block - 1) / w->block * w->n;
    return (w->k * w->n * w->bits + 7) / 8 + blocks * 4 + (w->zeros != NULL ? (blocks * w->bits + 7) / 8 : 0);
}

tm_code tm_describe_layers(tm_quantizer *q, const tm_loaded *loaded, tm_quantize_report *report) {
    for (int i = 0; i < q->layer_count; i++) {
        const tm_layer *layer = &loaded->layers.items[i];
        tm_layer_report item = {.name = tm_arena_string(q->arena, layer->name),
                                .op = tm_op_get(layer->node->op)->name,
                                .k = layer->k,
                                .n = layer->n,
                                .float_bytes = layer->k * layer->n * 4,
                                .weight_error = q->plans[i].weights.error};
        const tm_observation *o = layer->observed >= 0 ? &q->observations[layer->observed] : NULL;
        if (o != NULL && o->range.count > 0) {
            double rms = sqrt(o->range.squares / (double)o->range.count);
            item.low = (double)o->range.low;
            item.high = (double)o->range.high;
            item.outlier = rms > 0 ? fmax(-item.low, item.high) / rms : 0;
            item.subnormal = (double)o->range.tiny / (double)o->range.count;
            if (q->options->form == TM_QUANTIZE_INT8) {
                item.scale = (double)o->linear.scale;
                item.zero = o->linear.zero;
            }
        }
        tm_push(q->arena, &report->layers, item);
    }
    for (size_t i = 0; i < loaded->model->values.count; i++) {
        const tm_value *value = loaded->model->values.items[i];
        if (value->constant != NULL && value->uses.count > 0)
            report->float_bytes += value->constant->bytes;
    }
    return tm_measure_layers(q, loaded, report);
}

static void finish_layers(tm_quantizer *q, tm_quantize_report *report) {
    int64_t saved = 0;
    for (int i = 0; i < q->layer_count; i++) {
        tm_layer_report *item = &report->layers.items[i];
        item->quantized = q->plans[i].quantize;
        item->reason = q->plans[i].reason;
        item->bytes = planned_bytes(&q->plans[i], item->float_bytes);
        saved += item->float_bytes - item->bytes;
    }
    report->bytes = report->float_bytes - saved;
}

/* ---- choosing ---- */

static tm_code sweep(tm_quantizer *q, answers *a, const bool *possible, tm_quantize_report *report) {
    for (int i = 0; i < q->layer_count; i++) {
        if (!possible[i])
            continue;
        for (int k = 0; k < q->layer_count; k++)
            q->plans[k].quantize = k == i;
        TM_TRY(measure(q, a, &report->layers.items[i].alone));
    }
    return TM_OK;
}

/* Layers that use more than an even share of the budget by static scales: is a scale for each row better? */
static tm_code try_rows(tm_quantizer *q, answers *a, const bool *possible, tm_quantize_report *report) {
    double share = 0.5 / q->layer_count;
    for (int i = 0; i < q->layer_count; i++) {
        tm_layer_report *item = &report->layers.items[i];
        tm_divergence found;
        double harm = tm_budget_use(q->options, &item->alone);
        if (!possible[i] || q->plans[i].form != TM_QUANTIZE_INT8 || !q->plans[i].has_rows || harm <= share)
            continue;
        for (int k = 0; k < q->layer_count; k++)
            q->plans[k].quantize = k == i;
        q->plans[i].form = TM_QUANTIZE_INT8_DYNAMIC;
        TM_TRY(measure(q, a, &found));
        if (tm_budget_use(q->options, &found) < harm / 2) {
            item->alone = found;
            item->scale = 0;
            q->plans[i].reason = "quantised, with a scale for each row";
        } else {
            q->plans[i].form = TM_QUANTIZE_INT8;
        }
    }
    return TM_OK;
}

static void take(tm_quantizer *q, const bool *taken) {
    for (int i = 0; i < q->layer_count; i++)
        q->plans[i].quantize = taken[i];
}

static void say_budget(tm_quantizer *q, double use, tm_quantize_report *report) {
    report->budget_met = use <= 1;
    report->budget = use <= 1 ? tm_arena_format(q->arena, "met: %.0f %% of it is used", use * 100)
                              : tm_arena_format(q->arena, "missed: %.2f times what it allows", use);
}

/* In nanoseconds; a thousand weights that are a quarter of their size count for one. By size alone, where
 * time does not matter or was not measured. */
static double gain(const tm_quantizer *q, const tm_layer_report *item) {
    double weights = (double)(item->k * item->n);
    bool timed =
        !q->options->always && q->samples != NULL && q->compile->target == NULL && q->compile->cpu == NULL;
    return timed ? fmax(item->float_ns - item->ns, 0) + weights / 1000 : weights;
}

static tm_code choose_under_budget(tm_quantizer *q, answers *a, const bool *possible,
                                   tm_quantize_report *report) {
    int count = q->layer_count;
    double *gains = TM_NEW_ARRAY(q->arena, double, count), *harms = TM_NEW_ARRAY(q->arena, double, count);
    bool *taken = TM_NEW_ARRAY(q->arena, bool, count), *best = TM_NEW_ARRAY(q->arena, bool, count);
    double capacity = 1, best_use = INFINITY;
    take(q, possible);
    TM_TRY(measure_whole(q, &report->whole));
    best_use = tm_budget_use(q->options, &report->whole);
    memcpy(best, possible, sizeof(bool) * (size_t)count);
    if (best_use > 1) {
        TM_TRY(sweep(q, a, possible, report));
        TM_TRY(try_rows(q, a, possible, report));
        best_use = INFINITY; /* that was with other forms */
    }
    for (int i = 0; i < count; i++) {
        const tm_layer_report *item = &report->layers.items[i];
        harms[i] = tm_budget_use(q->options, &item->alone);
        gains[i] = possible[i] ? gain(q, item) : 0;
    }
    for (int turn = 0; turn < MOST_TURNS && best_use > 1; turn++) { /* not at all if all together are fine */
        tm_arena scratch;
        tm_arena_init(&scratch);
        tm_quantize_borrow_recovery(q, &scratch);
        tm_knapsack(&scratch, count, gains, harms, capacity, taken);
        tm_arena_deinit(&scratch);
        take(q, taken);
        tm_divergence found;
        TM_TRY(measure_whole(q, &found));
        double use = tm_budget_use(q->options, &found);
        if (use < best_use) {
            best_use = use;
            report->whole = found;
            memcpy(best, taken, sizeof(bool) * (size_t)count);
        }
        if (use <= 1)
            break;
        capacity *= fmin(0.9 / use, 0.8);
    }
    for (int i = 0; i < count; i++)
        if (possible[i] && !best[i])
            q->plans[i].reason = tm_arena_format(
                q->arena, "float for the sake of the budget, of which alone it uses %.0f %%", harms[i] * 100);
    take(q, best);
    say_budget(q, best_use, report);
    return TM_OK;
}

static bool has_budget(const tm_quantize_options *o) {
    return !isnan(o->most_kl) || !isnan(o->most_flips) || !isnan(o->least_cosine);
}

/* Layers that may be quantised: those that are not slower for it. Weights are made small for the room they
 * take, not for time. */
static void find_possible(tm_quantizer *q, tm_quantize_report *report, bool *out_possible) {
    bool gate = !q->options->always && q->options->form <= TM_QUANTIZE_INT8_DYNAMIC;
    for (int i = 0; i < q->layer_count; i++) {
        const tm_layer_report *item = &report->layers.items[i];
        if (q->plans[i].quantize && gate && item->ns > item->float_ns * SLOWER) {
            q->plans[i].quantize = false;
            q->plans[i].reason = tm_arena_format(q->arena, "slower: %.1f us against %.1f us in float",
                                                 item->ns / 1e3, item->float_ns / 1e3);
        }
        out_possible[i] = q->plans[i].quantize;
    }
}

static tm_code choose_measured(tm_quantizer *q, const bool *possible, tm_quantize_report *report) {
    tm_build plain;
    answers a = {0};
    TM_TRY(build_planned(q, &plain, &a.outputs, true));
    tm_code code = tm_each_sample(q, q->options->sweep_samples > 0 ? q->options->sweep_samples : 1, &plain,
                                  keep_answers, &a);
    tm_build_destroy(&plain);
    TM_TRY(code);
    if (has_budget(q->options))
        return choose_under_budget(q, &a, possible, report);
    TM_TRY(sweep(q, &a, possible, report));
    take(q, possible);
    return TM_OK;
}

tm_code tm_choose(tm_quantizer *q, tm_quantize_report *report) {
    static const char *const forms[] = {"int8, static", "int8, dynamic", "int8, weights only",
                                        "int4, weights only"};
    bool *possible = TM_NEW_ARRAY(q->arena, bool, q->layer_count);
    report->form = forms[q->options->form];
    report->samples = q->sample_count;
    find_possible(q, report, possible);
    if (q->samples == NULL) {
        report->unchecked =
            "no samples were given: neither the answers nor the harm of any layer were compared with float";
        finish_layers(q, report);
        return TM_OK;
    }
    if (q->options->sweep_samples > 0 || has_budget(q->options))
        TM_TRY(choose_measured(q, possible, report));
    finish_layers(q, report);
    return has_budget(q->options) ? TM_OK : measure_whole(q, &report->whole);
}
