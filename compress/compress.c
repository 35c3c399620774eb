/* SPDX-License-Identifier: Apache-2.0
 *
 * compress.c: the way of a compression on one page, see compress.h.
 *
 *     load -> take out what is zero -> analyse, measure, choose -> cut and repair -> measure -> report
 */
#include "compress/prune.h"

#include "passes/passes.h"
#include "quantize/algebra.h"
#include "quantize/words.h"

#include <math.h>

static int64_t constant_bytes(const tm_model *model) {
    int64_t bytes = 0;
    for (size_t i = 0; i < model->values.count; i++) {
        const tm_value *value = model->values.items[i];
        if (value->constant != NULL && value->uses.count > 0)
            bytes += value->constant->bytes;
    }
    return bytes;
}

tm_code tm_prune_load(const tm_pruner *p, tm_arena *arena, tm_loaded *out, tm_load_counts *out_counts) {
    static const char *const passes[] = {"drop_shape_inputs", "fold_constants", "dead_code"};
    tm_pass_options options = {.level = 2, .bisect_limit = -1, .strict_math = p->q.compile->strict_math};
    TM_TRY(tm_quantize_load(&p->q, arena, out));
    for (size_t i = 0; i < sizeof passes / sizeof *passes; i++)
        TM_TRY(tm_passes_run_one(out->model, passes[i], &options));
    out_counts->bytes = constant_bytes(out->model);
    out_counts->merged = tm_low_rank_merge(out->model);
    tm_slices_separate(out->model);
    return tm_prune_zeros(out->model, &out_counts->zeros);
}

tm_code tm_pruned_create(const tm_pruner *p, tm_pruned *out) {
    tm_arena_init(&out->arena);
    tm_quantize_borrow_recovery(&p->q, &out->arena);
    TM_TRY(tm_prune_load(p, &out->arena, &out->loaded, &out->counts));
    return tm_slices_find(&out->arena, out->loaded.model, &out->slices);
}

void tm_pruned_destroy(tm_pruned *pruned) {
    tm_arena_deinit(&pruned->arena);
}

/* Each class that may go does with the chance that is left. */
static tm_code cut_randomly(const tm_pruner *p, tm_model *model) {
    tm_arena scratch;
    tm_slices s;
    tm_arena_init(&scratch);
    tm_quantize_borrow_recovery(&p->q, &scratch);
    tm_code code = tm_slices_find(&scratch, model, &s);
    bool *gone = TM_NEW_ARRAY(&scratch, bool, s.slice_count);
    uint64_t seed = p->options->seed;
    for (size_t k = 0; k < s.sinks.count; k++) {
        int32_t x = tm_slices_first(&s, s.sinks.items[k].x, s.sinks.items[k].x_axis);
        for (int64_t i = 0; i < s.sinks.items[k].x_count; i++)
            gone[tm_slices_class(&s, x + (int32_t)i)] =
                (double)(tm_random_next(&seed) >> 11) * 0x1p-53 > p->options->amount;
    }
    tm_slices_spare(&s, gone);
    code = code == TM_OK ? tm_slices_cut(&s, gone) : code;
    tm_arena_deinit(&scratch);
    return code;
}

/* Equal constants are one again. */
static tm_code finish(const tm_pruner *p, tm_model *model, tm_compress_report *report) {
    static const char *const passes[] = {"common_subexpressions", "dead_code"};
    tm_pass_options options = {.level = 2, .bisect_limit = -1, .strict_math = p->q.compile->strict_math};
    for (size_t i = 0; i < sizeof passes / sizeof *passes; i++)
        TM_TRY(tm_passes_run_one(model, passes[i], &options));
    report->bytes = constant_bytes(model);
    return tm_verify(model);
}

/* Parts of names that stay may be those of any node: what is no axis stays without being asked. */
static tm_code check_keep(const tm_pruner *p, const tm_graph *graph) {
    tm_names names = {0};
    for (const tm_node *node = graph->first; node != NULL; node = node->next)
        tm_push(p->q.arena, &names.list,
                node->name != NULL && node->name[0] != 0 ? node->name : node->outputs[0]->name);
    return tm_parts_check(p->q.arena, p->q.diagnostics, "--prune", p->options->keep, p->options->keep_count,
                          &names);
}

/* The number of samples, and the sizes of the first one's inputs for counting flops. */
static tm_code look(tm_pruner *p) {
    const tm_samples *samples = p->q.samples;
    const tamis_tensor *inputs = NULL;
    int64_t most = p->q.options->most_samples;
    tm_pruned pruned;
    tm_code code = tm_pruned_create(p, &pruned);
    if (code == TM_OK)
        code = samples->rewind(samples->self);
    if (code == TM_OK)
        code = samples->next(samples->self, &inputs);
    if (code == TM_OK && inputs == NULL)
        code = tm_report(p->q.diagnostics, TM_E_BAD_DATA, NULL, "--calib=DIR or FILE with samples",
                         "there is no sample to measure with");
    if (code == TM_OK)
        code = check_keep(p, pruned.loaded.model->main);
    if (code == TM_OK)
        tm_prune_find_axes(p, &pruned, inputs);
    for (; code == TM_OK && inputs != NULL && (most <= 0 || p->q.sample_count < most); p->q.sample_count++)
        code = samples->next(samples->self, &inputs);
    tm_pruned_destroy(&pruned);
    return code;
}

static tm_code check(const tm_pruner *p) {
    const tm_quantize_options *o = p->q.options;
    bool budget = !isnan(o->most_kl) || !isnan(o->most_flips) || !isnan(o->least_cosine);
    if (p->options->goal == TM_PRUNE_ZEROS || p->options->goal == TM_PRUNE_RANDOM)
        return TM_OK;
    if (p->q.samples == NULL)
        return tm_report(p->q.diagnostics, TM_E_USAGE, NULL, "--calib=FOLDER or FILE.npy, or --prune=zeros",
                         "pruning needs samples of inputs");
    if (p->options->goal == TM_PRUNE_BUDGET && !budget)
        return tm_report(p->q.diagnostics, TM_E_USAGE, NULL, "--budget=kl:X, flips:X% or cosine:X",
                         "--prune=budget: there is no budget");
    const char *missing = tm_algebra_load();
    if (missing != NULL)
        return tm_report(p->q.diagnostics, TM_E_USAGE, NULL, "install libopenblas0, or --prune=zeros",
                         "pruning by samples: %s", missing);
    return TM_OK;
}

/* The choice, and the model that it makes, in `pruned`. */
static tm_code prune(tm_pruner *p, tm_pruned *pruned, tm_compress_report *report) {
    tm_prune_repair repair;
    p->one_thread = *p->q.options;
    p->one_thread.threads = 1;
    if (p->q.sample_count == 0)
        TM_TRY(look(p));
    report->samples = p->q.sample_count;
    bool any = false;
    for (size_t i = 0; i < p->axes.count; i++)
        any = any || p->axes.items[i].count > 0;
    if (!any) {
        report->refused =
            "no axis can be cut: products by constant weights with channels of their own were not found";
        return TM_OK;
    }
    if (p->q.sample_count < TM_HELD_OUT)
        report->unchecked = "of fewer than five samples none is held out, so others may well show more";
    TM_TRY(p->options->goal == TM_PRUNE_SPARSE ? tm_sparse_choose(p, &repair, report)
                                               : tm_prune_choose(p, &repair, report));
    return tm_prune_apply(p, pruned, &repair);
}

static void close_pruner(void *argument) {
    tm_pruner *p = argument;
    tm_prune_forget(p);
    tm_build_destroy(&p->whole);
    tm_build_destroy(&p->observing);
}

tm_code tm_compressor_open(tm_arena *arena, tm_diagnostics *diagnostics, const char *path, const char *folder,
                           const tamis_compile_options *compile, const tm_compress_options *options,
                           const tm_samples *samples, tm_pruner **out) {
    tm_pruner *p = TM_NEW(arena, tm_pruner);
    *p = (tm_pruner){.options = options,
                     .q = {.arena = arena,
                           .diagnostics = diagnostics,
                           .path = path,
                           .folder = folder,
                           .compile = compile,
                           .options = &options->measures,
                           .samples = samples}};
    tm_arena_on_destroy(arena, close_pruner, p);
    *out = p;
    return check(p);
}

void tm_compressor_close(tm_pruner *p) {
    close_pruner(p);
}

tm_code tm_compressor_make(tm_pruner *p, double room, tm_arena *arena, tm_model **out_model,
                           tm_compress_report *out_report) {
    *out_report = (tm_compress_report){.model = p->q.path};
    double start = tm_wall_seconds();
    tm_pruned pruned = {0};
    TM_TRY(tm_prune_load(p, arena, &pruned.loaded, &pruned.counts));
    out_report->zeros = pruned.counts.zeros;
    out_report->merged = pruned.counts.merged;
    out_report->bytes_before = pruned.counts.bytes;
    TM_TRY(tm_slices_find(arena, pruned.loaded.model, &pruned.slices));
    p->room = room;
    if (p->options->goal == TM_PRUNE_RANDOM)
        TM_TRY(cut_randomly(p, pruned.loaded.model));
    else if (p->options->goal != TM_PRUNE_ZEROS && room > 0)
        TM_TRY(prune(p, &pruned, out_report));
    *out_model = pruned.loaded.model;
    TM_TRY(finish(p, pruned.loaded.model, out_report));
    out_report->seconds = tm_wall_seconds() - start;
    return TM_OK;
}

tm_code tm_compress(tm_arena *arena, tm_diagnostics *diagnostics, const char *path, const char *folder,
                    const tamis_compile_options *compile, const tm_compress_options *options,
                    const tm_samples *samples, tm_model **out_model, tm_compress_report *out_report) {
    tm_pruner *p;
    TM_TRY(tm_compressor_open(arena, diagnostics, path, folder, compile, options, samples, &p));
    TM_TRY(tm_compressor_make(p, 1, arena, out_model, out_report));
    tm_compressor_close(p);
    return TM_OK;
}
