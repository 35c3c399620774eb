/* SPDX-License-Identifier: Apache-2.0
 *
 * attention.c: attention's two products of computed matrices: where they are, and which are quantised.
 *
 *     y = MatMul(softmax(.. MatMul(q, k^T) ..), v)
 *
 * q, k^T and v get scales as inputs of layers do, the weights one of 0 .. 1 whatever the samples are. What
 * counts as attention is what the compiler makes integer attention of: pairs elsewhere would cost digits for
 * nothing.
 *
 * Attentions are chosen when the layers are, all that fit at first. Where the whole model is slower with them
 * than without, none is quantised. Under a budget those that harm the most alone become float, half of those
 * that are left at a time, until the model keeps it.
 */
#include "quantize/choose.h"

#include "passes/match_attention.h"

#define WIDEST 128 /* heads, in integers */

/* ---- where they are ---- */

bool tm_is_kept(const tm_quantizer *q, const char *name) {
    for (size_t i = 0; i < q->options->keep_count; i++)
        if (strstr(name, q->options->keep[i]) != NULL)
            return true;
    return false;
}

static int64_t last_dim(const tm_value *value) {
    tm_dim dim = value->dims[value->rank - 1];
    return tm_dim_is_constant(dim) ? dim->constant : 0;
}

static const char *why_unfit(const tm_value *q, const tm_value *kt, const tm_value *v) {
    int64_t width = last_dim(q), value_width = last_dim(v);
    tm_dim queries = q->dims[q->rank - 2], keys = kt->dims[kt->rank - 1];
    if (width <= 0 || width % 4 != 0 || width > WIDEST || value_width <= 0 || value_width > WIDEST)
        return "its heads are not a multiple of 4 wide, or wider than 128";
    if (tm_dim_is(queries, 1) || (!tm_dim_is_constant(queries) && queries != keys))
        return "it has one query, or may have";
    return NULL;
}

void tm_quantize_find_attentions(const tm_quantizer *q, tm_arena *arena, tm_loaded *loaded) {
    for (tm_node *node = loaded->model->main->first; q->options->attention && node != NULL;
         node = node->next) {
        tm_node *scores = tm_match_attention(node, q->compile->strict_math);
        if (scores == NULL || scores->outputs[0]->type != TAMIS_TYPE_FLOAT)
            continue;
        tm_value *operands[TM_ATTENTION_OPERANDS] = {scores->inputs[0], scores->inputs[1], node->inputs[1]};
        tm_attention found = {.scores = scores, .mix = node};
        bool computed = true;
        for (int i = 0; i < TM_ATTENTION_OPERANDS; i++)
            computed = computed && operands[i]->constant == NULL;
        if (!computed)
            continue;
        for (int i = 0; i < TM_ATTENTION_OPERANDS; i++)
            found.observed[i] = tm_quantize_observe(arena, loaded, operands[i]);
        found.name = node->name != NULL && node->name[0] != 0 ? node->name : node->outputs[0]->name;
        found.unfit = why_unfit(operands[0], operands[1], operands[2]);
        tm_push(arena, &loaded->attentions, found);
    }
}

/* ---- the report ---- */

void tm_describe_attentions(tm_quantizer *q, const tm_loaded *loaded, tm_quantize_report *report) {
    for (int i = 0; i < q->attention_count; i++) {
        const tm_attention *attention = &loaded->attentions.items[i];
        tm_attention_plan *plan = &q->attention_plans[i];
        tm_operand_report *operands = TM_NEW_ARRAY(q->arena, tm_operand_report, TM_ATTENTION_OPERANDS);
        for (int k = 0; k < TM_ATTENTION_OPERANDS; k++) {
            const tm_observation *o = &q->observations[attention->observed[k]];
            operands[k] = (tm_operand_report){(double)o->range.low, (double)o->range.high,
                                              (double)o->linear.scale, o->linear.zero};
        }
        const char *name = tm_arena_string(q->arena, attention->name);
        plan->reason = attention->unfit != NULL ? attention->unfit
                       : tm_is_kept(q, name)    ? "kept by an option"
                                                : NULL;
        tm_push(q->arena, &report->layers,
                ((tm_layer_report){.name = name,
                                   .op = "Attention",
                                   .k = last_dim(attention->scores->inputs[0]),
                                   .n = last_dim(attention->mix->inputs[1]),
                                   .operands = operands}));
    }
}

static tm_layer_report *entry(const tm_quantizer *q, tm_quantize_report *report, int i) {
    return &report->layers.items[q->layer_count + i];
}

static void finish(const tm_quantizer *q, tm_quantize_report *report) {
    for (int i = 0; i < q->attention_count; i++) {
        const tm_attention_plan *plan = &q->attention_plans[i];
        tm_layer_report *item = entry(q, report, i);
        item->quantized = plan->quantize;
        item->form = plan->quantize ? "int8, static" : "float";
        item->reason = plan->quantize ? "quantised" : plan->reason;
    }
}

/* ---- the choice ---- */

/* Of those that may be quantised: quantised is `only`, or, -1, all. Returns their number. */
static int plan_possible(tm_quantizer *q, int only) {
    int count = 0;
    for (int i = 0; i < q->attention_count; i++) {
        tm_attention_plan *plan = &q->attention_plans[i];
        plan->quantize = plan->reason == NULL && (only < 0 || i == only);
        count += plan->quantize;
    }
    return count;
}

static tm_code measure_each(tm_quantizer *q, const tm_answers *kept, tm_quantize_report *report) {
    bool *layers = TM_NEW_ARRAY(q->arena, bool, q->layer_count + 1);
    tm_code code = TM_OK;
    for (int i = 0; i < q->layer_count; i++) {
        layers[i] = q->plans[i].quantize;
        q->plans[i].quantize = false;
    }
    for (int i = 0; i < q->attention_count && code == TM_OK; i++)
        if (plan_possible(q, i) > 0)
            code = tm_compare_kept(q, kept, &entry(q, report, i)->alone);
    for (int i = 0; i < q->layer_count; i++)
        q->plans[i].quantize = layers[i];
    return code;
}

static void drop_worst(tm_quantizer *q, tm_quantize_report *report, int count) {
    for (; count > 0; count--) {
        int worst = -1;
        double most = -1;
        for (int i = 0; i < q->attention_count; i++) {
            double use = tm_budget_use(q->options, &entry(q, report, i)->alone);
            if (q->attention_plans[i].quantize && use > most) {
                worst = i;
                most = use;
            }
        }
        if (worst < 0)
            return;
        q->attention_plans[worst].quantize = false;
        q->attention_plans[worst].reason = tm_arena_format(
            q->arena, "float for the sake of the budget, of which alone it uses %.0f %%", most * 100);
    }
}

/* `left` of them are planned. Returns in it how many stay. */
static tm_code fit_budget(tm_quantizer *q, tm_quantize_report *report, int *left) {
    while (*left > 0) {
        tm_divergence found;
        TM_TRY(tm_compare_all(q, &found));
        if (tm_budget_use_elsewhere(q->options, &found) <= 1)
            return TM_OK;
        drop_worst(q, report, (*left + 1) / 2);
        *left /= 2;
    }
    return TM_OK;
}

tm_code tm_choose_attentions(tm_quantizer *q, const tm_answers *kept, tm_quantize_report *report,
                             bool *out_changed) {
    bool slower = false;
    if (kept != NULL)
        TM_TRY(measure_each(q, kept, report));
    int left = plan_possible(q, -1);
    if (left > 0 && tm_goes_by_time(q) && tm_times_are_measured(q))
        TM_TRY(tm_time_attentions(q, report, &slower));
    for (int i = 0; i < q->attention_count && slower; i++)
        if (q->attention_plans[i].quantize)
            q->attention_plans[i] =
                (tm_attention_plan){false, "float, since the whole model was slower with it"};
    left = slower ? 0 : left;
    if (tm_has_budget(q->options))
        TM_TRY(fit_budget(q, report, &left));
    *out_changed = *out_changed || left > 0;
    finish(q, report);
    return TM_OK;
}
