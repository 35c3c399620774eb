/* SPDX-License-Identifier: Apache-2.0
 *
 * choose.c: which layers are quantised, and in which form.
 *
 * One sweep: each layer is quantised alone, and the answers on some samples are compared with float's. One
 * that uses more than its share of the budget is also measured in the forms that harm less:
 *
 *     static scales  ->  a scale for each row  ->  weights only        4 bits  ->  8 bits
 *
 * Harms are taken to add up, which small ones do. Then each layer gets a form, or float, such that the gain
 * in time is largest while the harms fit together into the budget (a knapsack). The model of that is measured
 * on all samples, and the room made smaller where it shows more harm than was predicted, larger where it
 * shows less, until the two meet. What counts there is the mean and its standard error, so that the budget
 * is likely to hold for other samples, too. The best that was found is kept even if it misses the budget, and
 * the report says by how much.
 *
 * A layer whose quantised code is slower than its float code stays float whatever the budget, as far as
 * products of integers go; weights are made small for the room they take, not for time.
 */
#include "quantize/choose.h"

#include <math.h>

#define MOST_TURNS 8  /* models that are measured */
#define MOST_STEPS 40 /* capacities that are tried */
#define SLOWER 1.02 /* times float: quantised is slower, beyond what a clock can tell */

static const char *const form_names[TM_QUANTIZE_FORMS] = {"int8, static", "int8, dynamic",
                                                          "int8, weights only", "int4, weights only"};

bool tm_has_budget(const tm_quantize_options *o) {
    return !isnan(o->most_kl) || !isnan(o->most_flips) || !isnan(o->least_cosine);
}

bool tm_goes_by_time(const tm_quantizer *q) {
    return !q->options->always && q->samples != NULL && q->options->form <= TM_QUANTIZE_INT8_DYNAMIC;
}

int tm_forms_of(const tm_quantizer *q, int layer, tm_quantize_form out[TM_QUANTIZE_FORMS]) {
    const tm_layer_plan *plan = &q->plans[layer];
    int count = 0;
    tm_quantize_form form = q->options->form;
    out[count++] = form;
    if (!tm_has_budget(q->options))
        return count;
    if (form == TM_QUANTIZE_INT8 && plan->has_rows)
        out[count++] = TM_QUANTIZE_INT8_DYNAMIC;
    if (form == TM_QUANTIZE_INT4 || plan->is_table ? plan->eight.values != NULL
                                                   : form < TM_QUANTIZE_INT8_WEIGHTS)
        out[count++] = TM_QUANTIZE_INT8_WEIGHTS;
    return count;
}

/* ---- the report's static part ---- */

static int64_t planned_bytes(const tm_layer_plan *plan, int64_t float_bytes) {
    const tm_quantized *w = tm_plan_weights(plan);
    if (!plan->quantize)
        return float_bytes;
    int64_t blocks = (w->k + w->block - 1) / w->block * w->n;
    int64_t scale_bytes = w->step > 0 ? blocks + 4 : blocks * (blocks < TM_SCALE_FEW ? 4 : 2);
    return (w->k * w->n * w->bits + 7) / 8 + scale_bytes +
           (w->zeros != NULL ? (blocks * w->bits + 7) / 8 : 0);
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
    q->narrow_saving = tm_narrow_saving(q, loaded);
    return tm_measure_layers(q, loaded);
}

static void finish_layers(tm_quantizer *q, tm_quantize_report *report) {
    int64_t saved = 0;
    bool any = false;
    for (int i = 0; i < q->layer_count; i++) {
        tm_layer_report *item = &report->layers.items[i];
        const tm_layer_plan *plan = &q->plans[i];
        item->quantized = plan->quantize;
        any = any || plan->quantize;
        item->form = !plan->quantize  ? "float"
                     : plan->is_table ? form_names[tm_plan_weights(plan)->bits == 4 ? TM_QUANTIZE_INT4
                                                                                   : TM_QUANTIZE_INT8_WEIGHTS]
                                      : form_names[plan->form];
        item->reason = plan->reason;
        item->float_ns = q->costs[i].in_float;
        item->ns = q->costs[i].in_form[plan->form];
        item->bytes = planned_bytes(plan, item->float_bytes);
        if (plan->form != TM_QUANTIZE_INT8)
            item->scale = 0;
        item->weight_error = tm_plan_weights(plan)->error;
        saved += item->float_bytes - item->bytes;
    }
    report->bytes = report->float_bytes - saved - (any ? q->narrow_saving : 0);
}

/* ---- the sweep ---- */

/* For each layer and form; what was not measured has no gain. */
typedef struct table {
    double *gains, *harms; /* [layers, forms] */
    double base;           /* use of the budget by the model as it came, pruned, say */
    tm_divergence *alone;
} table;

static tm_code measure_alone(tm_quantizer *q, const tm_answers *kept, int layer, tm_quantize_form form,
                             tm_divergence *out) {
    for (int k = 0; k < q->layer_count; k++)
        q->plans[k].quantize = k == layer;
    q->plans[layer].form = form;
    tm_code code = tm_compare_kept(q, kept, out);
    q->plans[layer].form = q->options->form;
    return code;
}

static bool is_slower(const tm_quantizer *q, int layer, tm_quantize_form form) {
    const tm_layer_cost *cost = &q->costs[layer];
    return tm_goes_by_time(q) && form <= TM_QUANTIZE_INT8_DYNAMIC &&
           cost->in_form[form] > cost->in_float * SLOWER;
}

/* Nanoseconds, three thousand bytes counting for one; without times a form counts by what it does in
 * integers. */
static double gain_of(const tm_quantizer *q, int layer, tm_quantize_form form, int64_t float_bytes) {
    static const double worth[TM_QUANTIZE_FORMS] = {1, 0.9, 0.5, 1};
    tm_layer_plan plan = q->plans[layer];
    plan.quantize = true;
    plan.form = form;
    double bytes = (double)(float_bytes - planned_bytes(&plan, float_bytes));
    if (!tm_goes_by_time(q))
        return bytes * worth[form];
    const tm_layer_cost *cost = &q->costs[layer];
    return (form <= TM_QUANTIZE_INT8_DYNAMIC ? fmax(cost->in_float - cost->in_form[form], 0) : 0) +
           bytes / 3000;
}

/* Of the forms of a layer the first is measured, and while one harms too much the next. */
static tm_code sweep_layer(tm_quantizer *q, const tm_answers *kept, int layer, tm_layer_report *item,
                           const table *t) {
    double share = 0.1 / q->layer_count;
    tm_quantize_form forms[TM_QUANTIZE_FORMS];
    int count = tm_forms_of(q, layer, forms);
    for (int f = 0; f < count; f++) {
        int at = layer * TM_QUANTIZE_FORMS + (int)forms[f];
        if (is_slower(q, layer, forms[f]))
            continue;
        TM_TRY(measure_alone(q, kept, layer, forms[f], &t->alone[at]));
        t->gains[at] = gain_of(q, layer, forms[f], item->float_bytes);
        t->harms[at] = tm_budget_use(q->options, &t->alone[at]);
        if (t->harms[at] <= share)
            break;
    }
    return TM_OK;
}

static tm_code sweep(tm_quantizer *q, const tm_answers *kept, const bool *possible,
                     tm_quantize_report *report, table *t) {
    int64_t count = (int64_t)q->layer_count * TM_QUANTIZE_FORMS;
    t->gains = TM_NEW_ARRAY(q->arena, double, count);
    t->harms = TM_NEW_ARRAY(q->arena, double, count);
    t->alone = TM_NEW_ARRAY(q->arena, tm_divergence, count);
    t->base = 0;
    if (q->options->reference != NULL) {
        tm_divergence found;
        for (int i = 0; i < q->layer_count; i++)
            q->plans[i].quantize = false;
        TM_TRY(tm_compare_all(q, &found));
        t->base = tm_budget_use_elsewhere(q->options, &found);
    }
    for (int i = 0; i < q->layer_count; i++)
        if (possible[i])
            TM_TRY(sweep_layer(q, kept, i, &report->layers.items[i], t));
    return TM_OK;
}

/* ---- under a budget ---- */

/* The form of each layer, or -1: float. */
static void take(tm_quantizer *q, const int8_t *taken) {
    for (int i = 0; i < q->layer_count; i++) {
        q->plans[i].quantize = taken[i] >= 0;
        q->plans[i].form = taken[i] >= 0 ? (tm_quantize_form)taken[i] : q->options->form;
    }
}

static void say_budget(tm_quantizer *q, double use, tm_quantize_report *report) {
    report->budget_met = use <= 1;
    report->budget = use <= 1 ? tm_arena_format(q->arena, "met: %.0f %% of it is used", use * 100)
                              : tm_arena_format(q->arena, "missed: %.2f times what it allows", use);
}

static void say_reasons(tm_quantizer *q, const bool *possible, const int8_t *taken, const table *t) {
    for (int i = 0; i < q->layer_count; i++) {
        tm_quantize_form form = q->options->form;
        double use = t->harms[i * TM_QUANTIZE_FORMS + (int)form] * 100;
        if (!possible[i] || taken[i] == (int8_t)form)
            continue;
        if (is_slower(q, i, form) && taken[i] >= 0)
            q->plans[i].reason = tm_arena_format(q->arena, "quantised, %s: %s is slower than float",
                                                 form_names[taken[i]], form_names[form]);
        else if (is_slower(q, i, form))
            continue;
        else if (taken[i] >= 0)
            q->plans[i].reason = tm_arena_format(
                q->arena, "quantised, %s: alone %s uses %.0f %% of the budget",
                form_names[taken[i]], form_names[form], use);
        else
            q->plans[i].reason = tm_arena_format(
                q->arena, "float for the sake of the budget, of which alone it uses %.0f %%", use);
    }
}

typedef struct search {
    double capacity, low, high; /* of the knapsack: low fits the budget, high does not */
    double use, best_use;       /* of what was measured last, and of the best */
    int8_t *taken, *best, *before;
    int measured; /* turns */
} search;

/* The next capacity: between the bounds once both are known. */
static void move_bounds(search *s) {
    if (s->use <= 1)
        s->low = fmax(s->low, s->capacity);
    else
        s->high = fmin(s->high, s->capacity);
    s->capacity = s->low > 0 && s->high < INFINITY ? (s->low + s->high) / 2
                  : s->use <= 1                    ? s->capacity * fmin(0.95 / fmax(s->use, 0.1), 4)
                                                   : s->capacity * fmin(0.9 / s->use, 0.8);
}

/* Measures what the knapsack takes, unless that was measured last, and keeps it if it is better. */
static tm_code take_turn(tm_quantizer *q, search *s, const table *t, tm_quantize_report *report) {
    size_t bytes = (size_t)q->layer_count;
    tm_arena scratch;
    tm_arena_init(&scratch);
    tm_quantize_borrow_recovery(q, &scratch);
    tm_knapsack(&scratch, q->layer_count, TM_QUANTIZE_FORMS, t->gains, t->harms, s->capacity, s->taken);
    tm_arena_deinit(&scratch);
    if (s->measured == 0 || memcmp(s->taken, s->before, bytes) != 0) {
        memcpy(s->before, s->taken, bytes);
        take(q, s->taken);
        tm_divergence found;
        TM_TRY(tm_compare_all(q, &found));
        s->measured++;
        s->use = tm_budget_use_elsewhere(q->options, &found);
        if (s->use <= 1 ? s->best_use > 1 || s->capacity > s->low : s->use < s->best_use) {
            s->best_use = s->use;
            report->whole = found;
            memcpy(s->best, s->taken, bytes);
        }
    }
    move_bounds(s);
    return TM_OK;
}

static tm_code choose_under_budget(tm_quantizer *q, const tm_answers *kept, const bool *possible,
                                   tm_quantize_report *report) {
    int count = q->layer_count;
    search s = {.capacity = 1, .high = INFINITY};
    table t;
    s.taken = TM_NEW_ARRAY(q->arena, int8_t, count);
    s.best = TM_NEW_ARRAY(q->arena, int8_t, count);
    s.before = TM_NEW_ARRAY(q->arena, int8_t, count);
    for (int i = 0; i < count; i++) { /* all, each in its first form: is that enough? */
        tm_quantize_form forms[TM_QUANTIZE_FORMS];
        int known = tm_forms_of(q, i, forms), f = 0;
        while (f < known && is_slower(q, i, forms[f]))
            f++;
        s.before[i] = s.best[i] = possible[i] && f < known ? (int8_t)forms[f] : -1;
    }
    take(q, s.best);
    TM_TRY(tm_compare_all(q, &report->whole));
    s.best_use = tm_budget_use_elsewhere(q->options, &report->whole);
    if (s.best_use > 1) {
        TM_TRY(sweep(q, kept, possible, report, &t));
        s.capacity = fmax(1 - t.base, 0.01);
        for (int turn = 0; turn < MOST_STEPS && s.measured < MOST_TURNS && s.high - s.low > 0.01 * s.low;
             turn++)
            TM_TRY(take_turn(q, &s, &t, report));
        for (int i = 0; i < count; i++)
            report->layers.items[i].alone =
                t.alone[i * TM_QUANTIZE_FORMS + (s.best[i] >= 0 ? s.best[i] : (int)q->options->form)];
        say_reasons(q, possible, s.best, &t);
    }
    take(q, s.best);
    say_budget(q, tm_budget_use(q->options, &report->whole), report);
    return TM_OK;
}

/* ---- all of it ---- */

/* Layers that may be quantised: those that are not slower for it in all their forms. */
static void find_possible(tm_quantizer *q, bool *out_possible) {
    for (int i = 0; i < q->layer_count; i++) {
        tm_layer_plan *plan = &q->plans[i];
        tm_quantize_form forms[TM_QUANTIZE_FORMS], first = q->options->form;
        int count = tm_forms_of(q, i, forms), slower = 0;
        for (int f = 0; f < count; f++)
            slower += is_slower(q, i, forms[f]);
        if (plan->quantize && is_slower(q, i, first))
            plan->reason = tm_arena_format(q->arena, "slower: %.1f us against %.1f us in float",
                                           q->costs[i].in_form[first] / 1e3, q->costs[i].in_float / 1e3);
        out_possible[i] = plan->quantize = plan->quantize && slower < count;
    }
}

static tm_code choose_measured(tm_quantizer *q, const tm_answers *kept, const bool *possible,
                               tm_quantize_report *report) {
    if (tm_has_budget(q->options))
        return choose_under_budget(q, kept, possible, report);
    for (int i = 0; i < q->layer_count; i++)
        if (possible[i])
            TM_TRY(measure_alone(q, kept, i, q->options->form, &report->layers.items[i].alone));
    for (int i = 0; i < q->layer_count; i++)
        q->plans[i].quantize = possible[i];
    return TM_OK;
}

tm_code tm_choose(tm_quantizer *q, tm_quantize_report *report) {
    bool *possible = TM_NEW_ARRAY(q->arena, bool, q->layer_count);
    report->form = form_names[q->options->form];
    report->samples = q->sample_count;
    find_possible(q, possible);
    if (q->samples == NULL) {
        report->unchecked =
            "no samples were given: neither the answers nor the harm of any layer were compared with float";
        finish_layers(q, report);
        return TM_OK;
    }
    tm_answers kept;
    bool measured = q->options->sweep_samples > 0 || tm_has_budget(q->options), changed = false;
    if (measured) {
        TM_TRY(tm_answers_keep(q, q->options->sweep_samples > 0 ? q->options->sweep_samples : 1, &kept));
        TM_TRY(choose_measured(q, &kept, possible, report));
    }
    TM_TRY(tm_hold_speed(q, report, &changed));
    TM_TRY(tm_choose_attentions(q, measured ? &kept : NULL, report, &changed));
    finish_layers(q, report);
    if (tm_has_budget(q->options) && !changed)
        return TM_OK;
    TM_TRY(tm_compare_all(q, &report->whole));
    if (tm_has_budget(q->options))
        say_budget(q, tm_budget_use(q->options, &report->whole), report);
    return TM_OK;
}
