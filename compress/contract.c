/* SPDX-License-Identifier: Apache-2.0
 *
 * contract.c: several ways of compression under one budget; see contract.h.
 *
 * The parts are those that work alone. Between them the model goes through a file, so that each loads it as
 * it would load any other; what they compare with is the model as it was given (tm_reference), so what one
 * has used of the budget is missing for the next, as it is measured and not as it adds up.
 *
 * The quantiser and the search for steps go to the limit of what they are given. How much pruning takes, and,
 * where storage follows, integers, is therefore tried: levels of the budget from all of it to nothing, the
 * pruner's cuts being measured once.
 */
#include "compress/contract.h"

#include "compress/prune.h"
#include "frontend/export.h"
#include "passes/passes.h"

#include <math.h>
#include <sys/stat.h>

static const double prune_rooms[] = {1, 0.6, 0.25, 0};
static const double quantize_rooms[] = {0.5, 0}; /* where storage takes the rest; 0: floats */

typedef struct contract {
    tm_quantizer q; /* of the model as it was given: samples, sessions */
    const tm_contract_options *options;
    tm_contract_report *report;
    tm_pruner *pruner;
    tm_build plain;
    tm_reference reference;
    tm_quantize_options one_thread;
    tamis_compile_options between; /* for files that were made on the way */
    bool by_bytes;
    const char *refused; /* the goal, by pruning with the whole budget; NULL: it was not */
    /* the best so far */
    struct room *kept;
    const char *path;
    const float *steps;
    size_t step_count;
} contract;

const char *tm_stage_name(tm_stage stage) {
    static const char *const names[TM_STAGES] = {"prune", "quantize", "storage"};
    return names[stage];
}

/* Memory of a trial's models and reports. */
typedef struct room {
    tm_arena arena;
    bool open;
} room;

static void release(void *argument) {
    room *at = argument;
    if (at != NULL && at->open)
        tm_arena_deinit(&at->arena);
    if (at != NULL)
        at->open = false;
}

static room *open_room(contract *c) {
    room *at = TM_NEW(c->q.arena, room);
    tm_arena_init(&at->arena);
    at->open = true;
    tm_quantize_borrow_recovery(&c->q, &at->arena);
    tm_arena_on_destroy(c->q.arena, release, at);
    return at;
}

/* ---- files on the way ---- */

/* A folder of its own for each part: the loader takes an artifact of a known name for one that it has. */
static tm_code make_folder(const contract *c, const char *name, int number, const char **out) {
    *out = tm_arena_format(c->q.arena, "%s/%s-%d", c->q.folder, name, number);
    return mkdir(*out, 0700) == 0
               ? TM_OK
               : tm_report(c->q.diagnostics, TM_E_IO, NULL, NULL, "cannot make the folder %s", *out);
}

/* Sizes that are pinned are numbers in the file; bounds stay facts. Weights beside it are found without
 * help. */
static void find_options_between(contract *c) {
    const tamis_compile_options *given = c->q.compile;
    tamis_dim_fact *facts = TM_NEW_ARRAY(c->q.arena, tamis_dim_fact, given->dim_count + 1);
    size_t count = 0;
    for (size_t i = 0; i < given->dim_count; i++)
        if (given->dims[i].low != given->dims[i].high)
            facts[count++] = given->dims[i];
    c->between = *given;
    c->between.dims = facts;
    c->between.dim_count = count;
    c->between.external_folder = c->between.allow_links_in = NULL;
}

static tm_code write_model(const tm_model *model, const char *path) {
    tm_export_options options;
    tm_export_options_init(&options);
    return tm_export_model(model, &options, path);
}

/* ---- one trial ---- */

static const tm_stage_report *last_stage(const tm_contract_trial *trial) {
    static const tm_stage_report none = {0};
    for (int i = TM_STAGES - 1; i >= 0; i--)
        if (trial->stages[i].made)
            return &trial->stages[i];
    return &none;
}

/* The model of a file against the one that was given: divergence on all samples, and, of one whose weights
 * pruning fitted, on those that it did not see; times. */
static tm_code measure(contract *c, tm_model *model, bool fitted, tm_contract_trial *trial,
                       tm_stage_report *out) {
    tm_build ours = {0}, *builds[2] = {&c->plain, &ours};
    int outputs;
    if (c->q.samples == NULL)
        return TM_OK;
    c->q.options = &c->one_thread;
    tm_code code = TM_OK;
    if (c->plain.session == NULL)
        code = tm_build_reference(&c->q, &c->plain, &outputs);
    code = code == TM_OK ? tm_build_create(&c->q, model, &ours) : code;
    if (code == TM_OK)
        code =
            tm_measure_pair(&c->q, builds, 0, &out->d, &out->held_out, &trial->ns_before, &out->ns);
    tm_build_destroy(&ours);
    if (!fitted)
        out->held_out = (tm_divergence){0};
    out->use = tm_prune_use(c->options->measures, &out->d, &out->held_out);
    return code;
}

/* Do both leave as many slices of each axis? Weights that became zero are not among them. */
static bool is_same_cut(const tm_compress_report *a, const tm_compress_report *b) {
    if (a->bytes != b->bytes || a->flops != b->flops || a->sparsity > 0 || b->sparsity > 0 ||
        a->axes.count != b->axes.count)
        return false;
    for (size_t i = 0; i < a->axes.count; i++)
        if (a->axes.items[i].kept != b->axes.items[i].kept)
            return false;
    return true;
}

/* *io_last: the cut before, NULL at first, and now this one; the same cut is not made again. */
static tm_code prune(contract *c, const char *path, tm_contract_trial *trial, tm_compress_report *report,
                     const tm_compress_report **io_last) {
    tm_model *model;
    tm_stage_report *stage = &trial->stages[TM_STAGE_PRUNE];
    room *at = open_room(c);
    TM_TRY(tm_compressor_make(c->pruner, trial->room, &at->arena, &model, report));
    bool same = *io_last != NULL && is_same_cut(*io_last, report);
    *io_last = tm_arena_copy(c->q.arena, report, sizeof *report);
    c->report->bytes_before = (double)report->bytes_before;
    if (!same) {
        TM_TRY(measure(c, model, report->held_out.rows > 0, trial, stage));
        stage->made = true;
        stage->bytes = (double)report->bytes;
        trial->flops = report->flops_before > 0 ? report->flops / report->flops_before : 0;
        TM_TRY(write_model(model, path));
    }
    release(at);
    return TM_OK;
}

/* The quantiser's budget: what the stage may use of it in all, the part of pruning included. */
static tm_quantize_options with_room(const contract *c, double most_use) {
    tm_quantize_options options = *c->options->quantize;
    const tm_quantize_options *all = c->options->measures;
    options.most_kl = all->most_kl * most_use;
    options.most_flips = all->most_flips * most_use;
    options.least_cosine = 1 - (1 - all->least_cosine) * most_use;
    options.reference = &c->reference;
    return options;
}

static tm_code quantize(contract *c, tm_arena *arena, const char *from, const tamis_compile_options *compile,
                        const char *path, tm_contract_trial *trial, tm_quantize_report *report) {
    tm_model *model;
    tm_stage_report *stage = &trial->stages[TM_STAGE_QUANTIZE];
    double used = trial->stages[TM_STAGE_PRUNE].use;
    tm_quantize_options options = with_room(c, fmin(used + trial->quantize_room * fmax(1 - used, 0), 1));
    const char *folder;
    TM_TRY(make_folder(c, "quantize", c->q.builds++, &folder));
    TM_TRY(
        tm_quantize(arena, c->q.diagnostics, from, folder, compile, &options, c->q.samples, &model, report));
    TM_TRY(measure(c, model, trial->stages[TM_STAGE_PRUNE].held_out.rows > 0, trial, stage));
    stage->made = true;
    stage->bytes = (double)report->bytes;
    if (c->options->prune == NULL)
        c->report->bytes_before = (double)report->float_bytes;
    return write_model(model, path);
}

static tm_code round_constants(contract *c, const char *from, const tamis_compile_options *compile,
                               const float **steps, size_t *step_count, tm_contract_trial *trial,
                               tm_storage_report *report) {
    tm_stage_report *stage = &trial->stages[TM_STAGE_STORAGE];
    tm_quantize_options measures = *c->options->measures;
    const tm_stage_report *before = last_stage(trial);
    double held_out = before->held_out.rows > 0 ? before->use : 0; /* rounding makes it no less */
    measures.reference = &c->reference;
    TM_TRY(tm_storage_choose(c->q.arena, c->q.diagnostics, from, c->q.folder, compile, &measures,
                             c->q.samples, steps, step_count, report));
    *stage = (tm_stage_report){.made = true,
                               .d = report->whole,
                               .use = fmax(tm_budget_use(c->options->measures, &report->whole), held_out),
                               .bytes = report->bytes};
    return TM_OK;
}

static double time_of(const tm_contract_trial *trial) {
    const tm_stage_report *timed = trial->stages[TM_STAGE_QUANTIZE].made ? &trial->stages[TM_STAGE_QUANTIZE]
                                                                         : &trial->stages[TM_STAGE_PRUNE];
    return timed->ns > 0 ? timed->ns / fmax(trial->ns_before, 1) : 1;
}

static bool reaches_goal(const contract *c, const tm_contract_trial *trial,
                         const tm_compress_report *report) {
    const tm_compress_options *prune = c->options->prune;
    if (prune == NULL)
        return true;
    switch (prune->goal) {
    case TM_PRUNE_FLOPS:
        return trial->flops > 0 && trial->flops <= prune->amount * 1.0001;
    case TM_PRUNE_LATENCY:
        return time_of(trial) * prune->amount <= 1;
    case TM_PRUNE_SPARSE:
        return report->sparsity >= prune->amount;
    default:
        return true;
    }
}

static bool is_better(const contract *c, const tm_contract_trial *a, const tm_contract_trial *b) {
    if (a->fits != b->fits || !a->fits)
        return a->fits || (!b->fits && last_stage(a)->use < last_stage(b)->use);
    if (a->reaches != b->reaches)
        return a->reaches;
    return c->by_bytes ? last_stage(a)->bytes < last_stage(b)->bytes : time_of(a) < time_of(b);
}

/* What a trial has made besides its figures. */
typedef struct made {
    room *at;
    const char *path;
    const float *steps;
    size_t step_count;
    tm_compress_report prune;
    tm_quantize_report quantize;
    tm_storage_report storage;
} made;

static tm_code make(contract *c, const made *pruned, tm_contract_trial *trial, made *out) {
    const tamis_compile_options *compile = pruned->path == c->q.path ? c->q.compile : &c->between;
    *out = *pruned;
    if (c->options->quantize != NULL && trial->quantize_room > 0) {
        out->path = tm_arena_format(c->q.arena, "%s/quantized-%d.onnx", c->q.folder, c->q.builds++);
        out->at = open_room(c);
        TM_TRY(quantize(c, &out->at->arena, pruned->path, compile, out->path, trial, &out->quantize));
        compile = &c->between;
    }
    if (c->options->storage)
        TM_TRY(round_constants(c, out->path, compile, &out->steps, &out->step_count, trial, &out->storage));
    trial->fits = last_stage(trial)->use <= 1;
    trial->reaches = reaches_goal(c, trial, &out->prune);
    return TM_OK;
}

static void keep(contract *c, const tm_contract_trial *trial, const made *made) {
    tm_contract_report *report = c->report;
    tm_push(c->q.arena, &report->trials, *trial);
    int last = (int)report->trials.count - 1;
    if (last > 0 && !is_better(c, trial, &report->trials.items[report->chosen])) {
        release(made->at);
        return;
    }
    release(c->kept);
    c->kept = made->at;
    report->chosen = last;
    report->prune = made->prune;
    report->quantize = made->quantize;
    report->storage = made->storage;
    c->path = made->path;
    c->steps = made->steps;
    c->step_count = made->step_count;
}

/* One cut of the model, and what integers and storage make of it. */
static tm_code try_room(contract *c, double share, const tm_compress_report **io_last) {
    tm_contract_trial trial = {.room = share};
    made pruned = {.path = c->q.path}, result;
    if (c->options->prune != NULL) {
        pruned.path = tm_arena_format(c->q.arena, "%s/pruned-%d.onnx", c->q.folder, c->q.builds++);
        TM_TRY(prune(c, pruned.path, &trial, &pruned.prune, io_last));
        if (!trial.stages[TM_STAGE_PRUNE].made)
            return TM_OK;
        if (c->report->trials.count == 0)
            c->refused = pruned.prune.refused;
    }
    bool shares = c->options->storage && c->options->quantize != NULL;
    size_t rooms = shares ? sizeof quantize_rooms / sizeof *quantize_rooms : 1;
    for (size_t i = 0; i < rooms; i++) {
        tm_contract_trial next = trial;
        next.quantize_room = shares ? quantize_rooms[i] : 1;
        TM_TRY(make(c, &pruned, &next, &result));
        keep(c, &next, &result);
    }
    return TM_OK;
}

static const char *figures(tm_arena *arena, const tm_contract_trial *trial) {
    const tm_stage_report *last = last_stage(trial);
    return tm_arena_format(arena,
                           "%.2f of the flops, %.2f times as fast: KL %.3g, flips %.2f %%, cosine %.5f",
                           trial->flops > 0 ? trial->flops : 1, 1 / time_of(trial), last->d.kl,
                           last->d.flips * 100, last->d.cosine);
}

static void judge(contract *c) {
    tm_contract_report *report = c->report;
    const tm_contract_trial *chosen = &report->trials.items[report->chosen];
    double use = last_stage(chosen)->use;
    if (tm_has_budget(c->options->measures))
        report->budget = chosen->fits ? tm_arena_format(c->q.arena, "met: %.0f %% of it is used", use * 100)
                                      : tm_arena_format(c->q.arena, "missed: %.2f times what it allows", use);
    if (chosen->fits && chosen->reaches)
        return;
    const char *best = chosen->fits ? figures(c->q.arena, chosen) : "nothing";
    report->refused =
        c->refused != NULL
            ? tm_arena_format(c->q.arena, "of pruning alone %s. All together: %s", c->refused, best)
            : tm_arena_format(c->q.arena, "the goal was not reached within the budget; the best is %s", best);
}

static tm_code count_samples(contract *c) {
    const tm_samples *samples = c->q.samples;
    const tamis_tensor *inputs;
    int64_t most = c->options->measures->most_samples;
    TM_TRY(samples->rewind(samples->self));
    while (most <= 0 || c->q.sample_count < most) {
        TM_TRY(samples->next(samples->self, &inputs));
        if (inputs == NULL)
            break;
        c->q.sample_count++;
    }
    return c->q.sample_count > 0
               ? TM_OK
               : tm_report(c->q.diagnostics, TM_E_BAD_DATA, NULL, "--calib=DIR or FILE with samples",
                           "there is no sample to measure with");
}

static tm_code search(contract *c) {
    const tm_compress_options *prune = c->options->prune;
    bool levels = prune != NULL && prune->goal != TM_PRUNE_ZEROS && prune->goal != TM_PRUNE_RANDOM &&
                  tm_has_budget(c->options->measures);
    const tm_compress_report *last = NULL;
    const char *folder;
    TM_TRY(make_folder(c, "prune", 0, &folder));
    if (c->q.samples != NULL)
        TM_TRY(count_samples(c));
    if (prune != NULL)
        TM_TRY(tm_compressor_open(c->q.arena, c->q.diagnostics, c->q.path, folder, c->q.compile, prune,
                                  c->q.samples, &c->pruner));
    size_t rooms = levels ? sizeof prune_rooms / sizeof *prune_rooms : 1;
    for (size_t i = 0; i < rooms; i++)
        TM_TRY(try_room(c, prune_rooms[i], &last));
    return TM_OK;
}

tm_code tm_contract(tm_arena *arena, tm_diagnostics *diagnostics, const char *path, const char *folder,
                    const tamis_compile_options *compile, const tm_contract_options *options,
                    const tm_samples *samples, const char **out_path, tamis_compile_options *out_compile,
                    tm_contract_report *out_report) {
    const tm_quantize_options *integers = options->quantize;
    contract c = {.options = options,
                  .report = out_report,
                  .reference = {path, compile},
                  .one_thread = *options->measures,
                  .by_bytes =
                      options->storage || (integers != NULL && integers->form > TM_QUANTIZE_INT8_DYNAMIC),
                  .q = {.arena = arena,
                        .diagnostics = diagnostics,
                        .path = path,
                        .folder = folder,
                        .compile = compile,
                        .options = options->measures,
                        .samples = samples}};
    double start = tm_wall_seconds();
    c.one_thread.threads = 1;
    c.one_thread.reference = &c.reference;
    *out_report = (tm_contract_report){.model = path, .goal = c.by_bytes ? "bytes" : "time"};
    find_options_between(&c);
    tm_code code = search(&c);
    if (c.pruner != NULL)
        tm_compressor_close(c.pruner);
    tm_build_destroy(&c.plain);
    TM_TRY(code);
    judge(&c);
    *out_path = c.path;
    *out_compile = c.path == path ? *compile : c.between;
    out_compile->storage_steps = c.steps;
    out_compile->storage_step_count = c.step_count;
    out_report->seconds = tm_wall_seconds() - start;
    return TM_OK;
}
