/* SPDX-License-Identifier: Apache-2.0
 *
 * compress.c: the way of a compression on one page, see compress.h.
 *
 *     load -> take out what is zero -> analyse, measure, choose -> cut and repair -> measure -> report
 */
#include "compress/prune.h"

#include "passes/passes.h"

#include <math.h>
#include <time.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

tm_code tm_prune_load(const tm_pruner *p, tm_arena *arena, tm_loaded *out, int64_t *out_zeros) {
    static const char *const passes[] = {"drop_shape_inputs", "fold_constants", "dead_code"};
    tm_pass_options options = {.level = 2, .bisect_limit = -1, .strict_math = p->q.compile->strict_math};
    TM_TRY(tm_quantize_load(&p->q, arena, out));
    for (size_t i = 0; i < sizeof passes / sizeof *passes; i++)
        TM_TRY(tm_passes_run_one(out->model, passes[i], &options));
    tm_slices_separate(out->model);
    return tm_prune_zeros(out->model, out_zeros);
}

static int64_t constant_bytes(const tm_model *model) {
    int64_t bytes = 0;
    for (size_t i = 0; i < model->values.count; i++) {
        const tm_value *value = model->values.items[i];
        if (value->constant != NULL && value->uses.count > 0)
            bytes += value->constant->bytes;
    }
    return bytes;
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

tm_code tm_compress(tm_arena *arena, tm_diagnostics *diagnostics, const char *path, const char *folder,
                    const tamis_compile_options *compile, const tm_compress_options *options,
                    const tm_samples *samples, tm_model **out_model, tm_compress_report *out_report) {
    tm_pruner p = {.options = options,
                   .q = {.arena = arena,
                         .diagnostics = diagnostics,
                         .path = path,
                         .folder = folder,
                         .compile = compile,
                         .options = &options->measures,
                         .samples = samples}};
    *out_report = (tm_compress_report){.model = path};
    double start = now();
    tm_loaded loaded;
    TM_TRY(tm_quantize_load(&p.q, arena, &loaded));
    out_report->bytes_before = constant_bytes(loaded.model);
    TM_TRY(tm_prune_load(&p, arena, &loaded, &out_report->zeros));
    if (options->goal == TM_PRUNE_RANDOM)
        TM_TRY(cut_randomly(&p, loaded.model));
    *out_model = loaded.model;
    TM_TRY(finish(&p, loaded.model, out_report));
    out_report->seconds = now() - start;
    return TM_OK;
}
