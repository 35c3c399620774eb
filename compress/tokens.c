/* SPDX-License-Identifier: Apache-2.0
 *
 * tokens.c: the way of packed tokens on one page, see tokens.h.
 *
 *     load twice -> find mask and tokens -> pack one -> try both on numbers made up -> measure on samples
 *     -> judge
 *
 * Without samples numbers made up decide about padding; with them the samples do. Top-k and eviction
 * always need samples.
 */
#include "compress/json.h"
#include "compress/tokens_internal.h"

#include "ir/infer.h"
#include "passes/passes.h"
#include "quantize/choose.h"

#include <stdlib.h>
#include <string.h>

tm_code tm_tokens_parse(tm_arena *arena, tm_diagnostics *diagnostics, const char *text,
                        tm_tokens_options *out) {
    *out = (tm_tokens_options){0};
    tm_quantize_options_init(&out->measures);
    const bool evict = strncmp(text, "evict:", 6) == 0;
    if (evict || strncmp(text, "topk:", 5) == 0) {
        const char *number = text + (evict ? 6 : 5);
        char *end;
        out->goal = evict ? TM_TOKENS_EVICT : TM_TOKENS_TOPK;
        out->keys = strtoll(number, &end, 10);
        if (end != number && *end == 0 && out->keys > evict)
            return TM_OK;
    } else if (strncmp(text, "packed", 6) == 0 && (text[6] == 0 || (text[6] == ':' && text[7] != 0))) {
        out->mask = text[6] == ':' ? tm_arena_string(arena, text + 7) : NULL;
        return TM_OK;
    }
    return tm_report(
        diagnostics, TM_E_USAGE, NULL,
        "--tokens=packed, --tokens=packed:attention_mask, --tokens=topk:64, or --tokens=evict:1024",
        "--tokens: '%s' is not understood", text);
}

/* ---- where tokens are ---- */

static bool may_be_mask(const tm_value *input) {
    return input->kind == TAMIS_KIND_TENSOR && input->rank == 2 &&
           (input->type == TAMIS_TYPE_FLOAT || input->type == TAMIS_TYPE_DOUBLE ||
            input->type == TAMIS_TYPE_INT64 || input->type == TAMIS_TYPE_INT32 ||
            input->type == TAMIS_TYPE_INT8 || input->type == TAMIS_TYPE_UINT8 ||
            input->type == TAMIS_TYPE_BOOL);
}

int tm_tokens_lead(const tm_tokens_place *place, const tm_value *value) {
    if (value->kind != TAMIS_KIND_TENSOR || value->type == TAMIS_TYPE_STRING)
        return 0;
    if (value->rank >= 2 && value->dims[0] == place->batch && value->dims[1] == place->length)
        return 2;
    return value->rank >= 1 && value->dims[0] == place->flat;
}

typedef struct replacement {
    const tm_symbol *symbol;
    tm_dim dim;
} replacement;

static tm_dim replace(void *context, tm_symbol *symbol) {
    const replacement *r = context;
    return symbol == r->symbol ? r->dim : NULL;
}

/* The mask's batch is `batch` from now on, in all that was made of it: views keep the dims that they have. */
static tm_code set_batch(tm_model *model, const tm_value *mask, tm_dim batch) {
    replacement r = {mask->dims[0]->symbol, batch};
    if (mask->dims[0]->kind != TM_DIM_SYMBOL)
        return tm_report(model->diagnostics, TM_E_USAGE, NULL, NULL,
                         "--tokens: mask '%s' has another batch than the other inputs", mask->name);
    for (size_t i = 0; i < model->values.count; i++) {
        tm_value *value = model->values.items[i];
        for (int axis = 0; axis < value->rank; axis++)
            value->dims[axis] = tm_dim_substitute(model->dims, value->dims[axis], replace, &r);
    }
    return tm_infer(model);
}

/* An input [batch, length, ..] of the mask's length: the mask, if no other batch is seen. */
static tm_value *other_batched(const tm_graph *graph, tm_value *mask) {
    tm_value *found = mask;
    for (size_t i = 0; i < graph->inputs.count; i++) {
        tm_value *input = graph->inputs.items[i];
        if (input == mask || input->kind != TAMIS_KIND_TENSOR || input->rank < 2 ||
            input->dims[1] != mask->dims[1])
            continue;
        if (input->dims[0] == mask->dims[0])
            return mask;
        found = found == mask ? input : found;
    }
    return found;
}

tm_code tm_tokens_find(tm_model *model, const char *mask, tm_tokens_place *out) {
    const tm_graph *graph = model->main;
    *out = (tm_tokens_place){0};
    for (size_t i = 0; i < graph->inputs.count && out->mask == NULL; i++) {
        tm_value *input = graph->inputs.items[i];
        bool named = mask != NULL ? strcmp(input->name, mask) == 0 : strstr(input->name, "mask") != NULL;
        if (named && (may_be_mask(input) || mask != NULL))
            out->mask = input;
    }
    if (out->mask == NULL || !may_be_mask(out->mask))
        return tm_report(model->diagnostics, TM_E_USAGE, NULL,
                         "--tokens=packed:NAME of an input [batch, length] of 1 at tokens and 0 at padding",
                         mask != NULL
                             ? "--tokens: input '%s' is no mask of two dims, or there is none of that name"
                             : "--tokens: no input of two dims has 'mask' in its name%s",
                         mask != NULL ? mask : "");
    out->batched = other_batched(graph, out->mask);
    if (out->mask->dims[0] != out->batched->dims[0] && !tm_dim_is(out->mask->dims[0], 1)) {
        TM_TRY(set_batch(model, out->mask, out->batched->dims[0]));
        out->batched = out->mask;
    }
    out->batch = out->batched->dims[0];
    out->length = out->batched->dims[1];
    out->flat = tm_dim_mul(model->dims, out->batch, out->length);
    return TM_OK;
}

/* ---- models ---- */

static tm_code run_passes(tm_model *model, const tm_quantizer *q, const char *const *names, size_t count) {
    tm_pass_options options = {.level = 2, .bisect_limit = -1, .strict_math = q->compile->strict_math};
    for (size_t i = 0; i < count; i++)
        TM_TRY(tm_passes_run_one(model, names[i], &options));
    return TM_OK;
}

static tm_code load(const tm_quantizer *q, tm_arena *arena, tm_model **out) {
    static const char *const passes[] = {"drop_shape_inputs", "fold_constants", "dead_code"};
    tm_loaded loaded;
    TM_TRY(tm_quantize_load(q, arena, &loaded));
    *out = loaded.model;
    return run_passes(*out, q, passes, sizeof passes / sizeof *passes);
}

static tm_code bound_keys(const tm_quantizer *q, const tm_tokens_options *options, tm_model *model,
                          tm_tokens_report *report, tm_evictions *out_evictions, const bool **out_measured) {
    const bool evict = options->goal == TM_TOKENS_EVICT;
    static const char *const passes[] = {"common_subexpressions", "dead_code"};
    if (q->samples == NULL || !tm_has_budget(q->options))
        return tm_report(
            q->diagnostics, TM_E_USAGE, NULL, "--calib=FOLDER and --budget=kl:X, flips:X% or cosine:X",
            "--tokens=%s changes answers: it needs samples and a budget", evict ? "evict" : "topk");
    TM_TRY(evict ? tm_tokens_evict(model, options->keys, report, out_evictions)
                 : tm_tokens_topk(model, options->keys, report, out_measured));
    if (report->changed == 0 && evict)
        return tm_report(
            q->diagnostics, TM_E_USAGE, NULL,
            "a decoder with an input [batch, heads, past, size] that Concat lengthens to an output",
            "--tokens=evict: none of %lld attentions in '%s' has such caches of more than %lld keys",
            (long long)report->attentions, q->path, (long long)options->keys);
    if (report->changed == 0)
        return tm_report(
            q->diagnostics, TM_E_USAGE, NULL,
            "a decoder's step, with one query, a cache longer than that, and as many heads of values",
            "--tokens=topk: of %lld attentions in '%s' none has one query and more keys than %lld",
            (long long)report->attentions, q->path, (long long)options->keys);
    TM_TRY(run_passes(model, q, passes, sizeof passes / sizeof *passes));
    return tm_verify(model);
}

static tm_code pack(const tm_quantizer *q, const tm_tokens_options *options, tm_model *model,
                    tm_tokens_report *report) {
    static const char *const passes[] = {"common_subexpressions", "dead_code"};
    tm_tokens_place place;
    TM_TRY(tm_tokens_find(model, options->mask, &place));
    report->mask = place.mask->name;
    TM_TRY(tm_tokens_pack(model, &place, report));
    if (report->packed == 0)
        return tm_report(
            q->diagnostics, TM_E_USAGE, NULL,
            "the mask is [batch, length], and products by constant weights read [batch, length, ..]",
            "--tokens=packed: no product of '%s' reads a row for each token of mask '%s'", q->path,
            report->mask);
    TM_TRY(run_passes(model, q, passes, sizeof passes / sizeof *passes));
    return tm_verify(model);
}

/* ---- the way ---- */

tm_code tm_tokens(tm_arena *arena, tm_diagnostics *diagnostics, const char *path, const char *folder,
                  const tamis_compile_options *compile, const tm_tokens_options *options,
                  const tm_samples *samples, tm_model **out_model, tm_tokens_report *out_report) {
    tm_quantize_options measures = options->measures;
    measures.threads = 1;
    tm_quantizer q = {.arena = arena,
                      .diagnostics = diagnostics,
                      .path = path,
                      .folder = folder,
                      .compile = compile,
                      .options = &measures,
                      .samples = samples};
    double start = tm_wall_seconds();
    tm_model *plain, *ours;
    tm_tokens_place place;
    tm_evictions evictions;
    const bool *measured = NULL;
    const char *failed = NULL;
    *out_report = (tm_tokens_report){.model = path};
    TM_TRY(load(&q, arena, &plain));
    TM_TRY(load(&q, arena, &ours));
    if (options->goal != TM_TOKENS_PACKED) {
        TM_TRY(bound_keys(&q, options, ours, out_report, &evictions, &measured));
        TM_TRY(options->goal == TM_TOKENS_EVICT
                   ? tm_tokens_rollout(&q, plain, ours, &evictions, out_report)
                   : tm_tokens_measure(&q, plain, ours, NULL, measured, out_report));
    } else {
        TM_TRY(pack(&q, options, ours, out_report));
        TM_TRY(tm_tokens_find(plain, options->mask, &place));
        TM_TRY(tm_tokens_probe(&q, plain, ours, &place, &out_report->probe, &failed));
        if (samples != NULL)
            TM_TRY(tm_tokens_measure(&q, plain, ours, &place, NULL, out_report));
        else
            out_report->refused = failed;
    }
    *out_model = out_report->refused != NULL ? plain : ours;
    out_report->seconds = tm_wall_seconds() - start;
    return TM_OK;
}

/* ---- the report ---- */

void tm_tokens_report_json(const tm_tokens_report *r, tm_text *out) {
    json_object *to = json_object_new_object();
    const tm_divergence *d = &r->whole;
    tm_json_text(to, "model", r->model);
    tm_json_text(to, "mask", r->mask);
    tm_json_count(to, "nodes", r->nodes);
    tm_json_count(to, "products", r->products);
    tm_json_count(to, "packed_products", r->packed);
    tm_json_count(to, "attentions", r->attentions);
    tm_json_count(to, "changed_attentions", r->changed);
    tm_json_count(to, "keys_before", r->keys_before);
    tm_json_count(to, "keys", r->keys);
    tm_json_count(to, "samples", r->samples);
    tm_json_number(to, "fill", r->fill, r->samples > 0 && r->mask != NULL);
    tm_json_number(to, "ns_before", r->ns_before, r->samples > 0);
    tm_json_number(to, "ns", r->ns, r->samples > 0);
    tm_json_number(to, "probe_max_error", r->probe.max_error, r->probe.rows > 0);
    tm_json_number(to, "max_error", d->max_error, d->rows > 0);
    tm_json_number(to, "kl", d->kl, d->rows > 0);
    tm_json_number(to, "flips", d->flips, d->rows > 0);
    tm_json_number(to, "cosine", d->cosine, d->rows > 0);
    tm_json_number(to, "seconds", r->seconds, true);
    tm_json_text(to, "budget", r->budget);
    tm_json_text(to, "refused", r->refused);
    tm_json_print(to, out);
}
