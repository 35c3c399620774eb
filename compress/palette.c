/* SPDX-License-Identifier: Apache-2.0
 *
 * palette.c: finds palettes for the weights of a model's layers and writes them into it; see palette.h.
 *
 * Layers are those of the quantiser: products and convolutions by constants, tables that Gather reads.
 * Weights that several of them read get palettes once. A layer of so few elements that its palette would be
 * larger than what it saves stays, and so does one of more than four million: passes do not fold what becomes
 * so much larger.
 */
#include "compress/palette.h"

#include "compress/measure.h"
#include "ir/infer.h"
#include "quantize/choose.h"
#include "quantize/words.h"

#include <math.h>

#define MOST_ELEMENTS 4194304 /* of a product's weights */

/* ---- options ---- */

tm_code tm_palette_parse(tm_arena *arena, tm_diagnostics *diagnostics, const char *text,
                         tm_palette_options *out) {
    tm_parts keep = {0};
    double entries;
    size_t size = strcspn(text, ",");
    const char *first = tm_arena_string_n(arena, text, size);
    *out = (tm_palette_options){0};
    tm_quantize_options_init(&out->measures);
    tm_word words[] = {{.name = "group", .kind = TM_WORD_COUNT, .to = &out->group, .high = 1e9},
                       {.name = "keep", .kind = TM_WORD_PARTS, .to = &keep}};
    const tm_word_table table = {"--palette", words, sizeof words / sizeof *words, NULL, 0, 0};
    if (!tm_number_parse(first, "", 2, 256, &entries) || entries != floor(entries))
        return tm_report(diagnostics, TM_E_USAGE, NULL, "--palette=16, or --palette=64,group=32,keep=head",
                         "--palette: '%s': a palette has 2 to 256 entries", first);
    TM_TRY(tm_words_parse(arena, diagnostics, text[size] == ',' ? text + size + 1 : NULL, &table));
    out->entries = (int)entries;
    out->keep = keep.list.items;
    out->keep_count = keep.list.count;
    return TM_OK;
}

/* ---- rewriting ---- */

typedef struct rewriter {
    const tm_palette_options *options;
    tm_model *model;
    tm_palette_report *report;
    double squares, lost;
} rewriter;

static tm_value *constant_of(rewriter *r, const char *base, const char *suffix, tamis_type type, int rank,
                             const int64_t *dims, const void *data) {
    tm_arena *arena = r->model->arena;
    return tm_value_create_constant(r->model->main, tm_arena_format(arena, "%s_%s", base, suffix),
                                    tm_constant_create(arena, type, rank, dims, data));
}

static tm_code make(rewriter *r, tm_node *before, tm_op op, const char *base, const char *suffix, int count,
                    tm_value *const *inputs, tm_value **out) {
    const char *name = tm_arena_format(r->model->arena, "%s_%s", base, suffix);
    tm_node *node = tm_node_create(r->model->main, before, op, name, count, inputs);
    *out = tm_node_add_output(node, name);
    if (op == TM_OP_Cast)
        tm_node_set_int(node, "to", TAMIS_TYPE_INT32);
    return tm_infer_node(r->model, node);
}

typedef struct found {
    int64_t groups;
    float *palettes; /* [groups, entries] */
    uint8_t *numbers;
} found;

/* Groups of channels: where they come first, rows of k elements each; else columns. */
static found fit(rewriter *r, const tm_layer *layer) {
    const float *x = layer->w->constant->data;
    int64_t count = layer->k * layer->n, entries = r->options->entries;
    int64_t group = r->options->group > 0 && layer->x != NULL ? r->options->group : layer->n;
    bool first = layer->channel_axis == 0;
    tm_arena scratch;
    found f = {.groups = (layer->n + group - 1) / group,
               .numbers = tm_arena_alloc(r->model->arena, (size_t)count)};
    f.palettes = TM_NEW_ARRAY(r->model->arena, float, f.groups *entries);
    for (int64_t g = 0; g < f.groups; g++) {
        int64_t channels = layer->n - g * group < group ? layer->n - g * group : group;
        const float *from = x + (first ? g * group * layer->k : g * group);
        int64_t run = first ? channels * layer->k : channels, stride = first ? run : layer->n;
        float *palette = f.palettes + g * entries;
        tm_arena_init(&scratch);
        memcpy(scratch.recovery, r->model->arena->recovery, sizeof scratch.recovery);
        scratch.has_recovery = r->model->arena->has_recovery;
        tm_palette_fit(&scratch, from, channels * layer->k, stride, run, (int)entries, palette);
        tm_arena_deinit(&scratch);
        for (int64_t i = 0; i < channels * layer->k; i++) {
            int64_t place = from - x + i / run * stride + i % run;
            int number = tm_palette_nearest(palette, (int)entries, x[place]);
            double lost = (double)x[place] - (double)palette[number];
            f.numbers[place] = (uint8_t)number;
            r->lost += lost * lost;
            r->squares += (double)x[place] * (double)x[place];
        }
    }
    return f;
}

/* Where the palette of each channel begins, to be added along the channels' axis. */
static tm_value *begins(rewriter *r, const tm_layer *layer) {
    int64_t dims[TAMIS_MAX_RANK];
    int32_t *list = TM_NEW_ARRAY(r->model->arena, int32_t, layer->n);
    for (int64_t c = 0; c < layer->n; c++)
        list[c] = (int32_t)(c / r->options->group * r->options->entries);
    for (int i = 0; i < layer->w->rank; i++)
        dims[i] = i == layer->channel_axis ? layer->n : 1;
    return constant_of(r, layer->w->name, "first", TAMIS_TYPE_INT32, layer->w->rank, dims, list);
}

static tm_code rewrite_product(rewriter *r, const tm_layer *layer) {
    found f = fit(r, layer);
    const char *base = layer->w->name;
    const int64_t size = f.groups * r->options->entries;
    tm_value *value = constant_of(r, base, "numbers", TAMIS_TYPE_UINT8, layer->w->rank,
                                  layer->w->constant->dims, f.numbers);
    TM_TRY(make(r, layer->node, TM_OP_Cast, base, "entries", 1, &value, &value));
    if (f.groups > 1)
        TM_TRY(make(r, layer->node, TM_OP_Add, base, "places", 2, (tm_value *[]){value, begins(r, layer)},
                    &value));
    tm_value *palette = constant_of(r, base, "palette", TAMIS_TYPE_FLOAT, 1, &size, f.palettes);
    TM_TRY(make(r, layer->node, TM_OP_Gather, base, "looked_up", 2, (tm_value *[]){palette, value}, &value));
    tm_value_replace(layer->w, value);
    return TM_OK;
}

static tm_code rewrite_table(rewriter *r, const tm_layer *layer) {
    found f = fit(r, layer);
    const char *base = layer->w->name;
    const int64_t size = r->options->entries;
    tm_value *result = layer->node->outputs[0],
             *value = constant_of(r, base, "numbers", TAMIS_TYPE_UINT8, layer->w->rank,
                                  layer->w->constant->dims, f.numbers);
    TM_TRY(make(r, layer->node, TM_OP_Gather, base, "rows", 2, (tm_value *[]){value, layer->node->inputs[1]},
                &value));
    TM_TRY(make(r, layer->node, TM_OP_Cast, base, "entries", 1, &value, &value));
    tm_value *palette = constant_of(r, base, "palette", TAMIS_TYPE_FLOAT, 1, &size, f.palettes);
    TM_TRY(make(r, layer->node, TM_OP_Gather, base, "looked_up", 2, (tm_value *[]){palette, value}, &value));
    tm_value_replace(result, value);
    tm_node_remove(layer->node);
    return TM_OK;
}

static bool is_worth_it(const tm_palette_options *o, const tm_layer *layer) {
    int64_t count = layer->k * layer->n;
    int64_t groups = o->group > 0 && layer->x != NULL ? (layer->n + o->group - 1) / o->group : 1;
    for (size_t i = 0; i < o->keep_count; i++)
        if (strstr(layer->name, o->keep[i]) != NULL)
            return false;
    if (layer->x != NULL && count > MOST_ELEMENTS)
        return false;
    return 4 * groups * o->entries + 1024 < 3 * count && layer->w->constant != NULL;
}

static bool has_only_numbers(const tm_layer *layer) {
    const float *x = layer->w->constant->data;
    for (int64_t i = 0; i < layer->k * layer->n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

static int64_t constant_bytes(const tm_model *model) {
    int64_t bytes = 0;
    for (size_t i = 0; i < model->values.count; i++)
        if (tm_value_is_constant(model->values.items[i]) && !tm_value_unused(model->values.items[i]))
            bytes += model->values.items[i]->constant->bytes;
    return bytes;
}

static tm_code rewrite(const tm_palette_options *options, tm_loaded *loaded, tm_palette_report *report) {
    rewriter r = {.options = options, .model = loaded->model, .report = report};
    report->layers = (int64_t)loaded->layers.count;
    report->bytes_before = constant_bytes(loaded->model);
    for (size_t i = 0; i < loaded->layers.count; i++) {
        const tm_layer *layer = &loaded->layers.items[i];
        if (tm_value_unused(layer->w)) { /* another layer reads it, and had palettes made */
            report->changed++;
            continue;
        }
        if (!is_worth_it(options, layer) || !has_only_numbers(layer))
            continue;
        TM_TRY(layer->x == NULL ? rewrite_table(&r, layer) : rewrite_product(&r, layer));
        report->changed++;
    }
    report->bytes = constant_bytes(loaded->model);
    report->error = r.squares > 0 ? sqrt(r.lost / r.squares) : 0;
    return tm_verify(loaded->model);
}

/* ---- the way ---- */

static tm_code build_float(tm_quantizer *q, tm_build *out) {
    tm_arena arena;
    tm_loaded loaded;
    tm_arena_init(&arena);
    tm_quantize_borrow_recovery(q, &arena);
    tm_code code = tm_quantize_load(q, &arena, &loaded);
    code = code == TM_OK ? tm_build_create(q, loaded.model, out) : code;
    tm_arena_deinit(&arena);
    return code;
}

static tm_code measure(tm_quantizer *q, tm_model *model, tm_palette_report *report) {
    tm_build build = {0};
    tm_sample_answers answers;
    tm_code code = build_float(q, &build);
    code = code == TM_OK ? tm_sample_answers_keep(q, &build, &answers) : code;
    tm_build_destroy(&build);
    TM_TRY(code);
    report->samples = q->sample_count;
    code = tm_build_create(q, model, &build);
    code = code == TM_OK ? tm_sample_answers_compare(q, &build, &answers, 0, &report->whole) : code;
    tm_build_destroy(&build);
    return code;
}

tm_code tm_palette(tm_arena *arena, tm_diagnostics *diagnostics, const char *path, const char *folder,
                   const tamis_compile_options *compile, const tm_palette_options *options,
                   const tm_samples *samples, tm_model **out_model, tm_palette_report *out_report) {
    tm_quantizer q = {.arena = arena,
                      .diagnostics = diagnostics,
                      .path = path,
                      .folder = folder,
                      .compile = compile,
                      .options = &options->measures,
                      .samples = samples};
    tm_loaded loaded;
    *out_report = (tm_palette_report){0};
    TM_TRY(tm_quantize_load(&q, arena, &loaded));
    TM_TRY(tm_layers_check_keep(&q, &loaded, "--palette", options->keep, options->keep_count));
    TM_TRY(rewrite(options, &loaded, out_report));
    *out_model = loaded.model;
    if (samples == NULL)
        return TM_OK;
    TM_TRY(measure(&q, loaded.model, out_report));
    double use = tm_budget_use(&options->measures, &out_report->whole);
    if (use <= 1)
        return TM_OK;
    out_report->refused = tm_arena_format(arena,
                                          "palettes of %d entries use %.3g times the budget: KL %.3g, flips "
                                          "%.2f %%, cosine %.6f",
                                          options->entries, use, out_report->whole.kl,
                                          100 * out_report->whole.flips, out_report->whole.cosine);
    out_report->changed = 0;
    out_report->bytes = out_report->bytes_before;
    TM_TRY(tm_quantize_load(&q, arena, &loaded));
    *out_model = loaded.model;
    return TM_OK;
}
