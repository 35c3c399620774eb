/* SPDX-License-Identifier: Apache-2.0
 *
 * pipeline.c: runs the passes of passes.def.
 *
 * The list runs from top to bottom, again and again until a round changes nothing (at most 4 rounds): folding
 * uncovers shapes, known shapes uncover copies, dropped copies uncover equal nodes. After a pass that
 * changed something, inference runs again, so the next pass sees types and dims of all values.
 *
 * Every rewrite asks tm_pass_allow first. That is where --opt-bisect-limit counts: with limit N the
 * first N rewrites happen and no other, so the rewrite that breaks an answer is found by halving N.
 */
#include "ir/infer.h"
#include "ir/text.h"
#include "passes/passes.h"

#include <string.h>

#define MAX_ROUNDS 4

typedef struct pass {
    const char *name;
    int level;
    tm_code (*run)(tm_pass_context *context);
    bool final; /* runs once, after the rounds */
    bool own;   /* makes forms that ONNX does not have */
} pass;

static const pass passes[] = {
#define TM_PASS(name, level, reason) {#name, level, tm_pass_##name, false, false},
#define TM_OWN_PASS(name, level, reason) {#name, level, tm_pass_##name, false, true},
#define TM_FINAL_PASS(name, level, reason) {#name, level, tm_pass_##name, true, true},
#include "passes/passes.def"
#undef TM_PASS
};
#define PASS_COUNT (sizeof passes / sizeof *passes)

bool tm_pass_allow(tm_pass_context *context) {
    if (context->options->bisect_limit >= 0 && context->rewrites >= context->options->bisect_limit)
        return false;
    context->rewrites++;
    context->changed = true;
    if (context->options->log_rewrites && context->log != NULL)
        tm_text_add(context->log, "; rewrite %lld: %s\n", (long long)context->rewrites, context->pass);
    return true;
}

/* Symbols that were pinned after dims had been made of them become constants there too. */
static void refresh_dims(tm_model *model) {
    for (size_t v = 0; v < model->values.count; v++) {
        tm_value *value = model->values.items[v];
        for (int i = 0; value->graph != NULL && value->dims != NULL && i < value->rank; i++)
            if (value->dims[i] != NULL && !tm_dim_is_constant(value->dims[i]))
                value->dims[i] = tm_dim_substitute(model->dims, value->dims[i], NULL, NULL);
    }
}

static tm_code infer(tm_model *model) {
    refresh_dims(model);
    return tm_infer(model);
}

static bool is_enabled(const pass *pass, const tm_pass_options *options) {
    for (size_t i = 0; i < options->disabled_count; i++)
        if (strcmp(options->disabled[i], pass->name) == 0)
            return false;
    return pass->level <= options->level && !(options->onnx_forms && pass->own);
}

static void log_model(tm_pass_context *context, int round) {
    const char *wanted = context->options->print_after;
    if (context->log == NULL || wanted == NULL || strcmp(wanted, context->pass) != 0)
        return;
    tm_text_add(context->log, "; after %s, round %d\n", context->pass, round);
    tm_print_model(context->model, TM_PRINT_ELIDE, context->log);
    tm_text_add(context->log, "\n");
}

static tm_code run_pass(tm_pass_context *context, const pass *pass) {
    context->pass = pass->name;
    context->changed = false;
    TM_TRY(pass->run(context));
    tm_mappings_release(context->model->mappings);
    if (context->changed)
        TM_TRY(infer(context->model));
    return context->options->verify ? tm_verify(context->model) : TM_OK;
}

static tm_code check_name(tm_model *model, const char *option, const char *name) {
    for (size_t i = 0; i < PASS_COUNT; i++)
        if (strcmp(passes[i].name, name) == 0)
            return TM_OK;
    return tm_report(model->diagnostics, TM_E_USAGE, NULL, "`tamis opt --list` lists them",
                     "%s: there is no pass '%s'", option, name);
}

tm_code tm_passes_run(tm_model *model, const tm_pass_options *options, tm_text *log) {
    tm_pass_context context = {.model = model, .options = options, .log = log};
    for (size_t i = 0; i < options->disabled_count; i++)
        TM_TRY(check_name(model, "--disable", options->disabled[i]));
    if (options->print_after != NULL)
        TM_TRY(check_name(model, "--print-after", options->print_after));
    TM_TRY(infer(model));
    if (options->verify)
        TM_TRY(tm_verify(model));
    bool changed = true;
    for (int round = 1; round <= MAX_ROUNDS + 1; round++) {
        bool final = !changed || round > MAX_ROUNDS;
        changed = false;
        for (size_t i = 0; i < PASS_COUNT; i++) {
            if (!is_enabled(&passes[i], options) || passes[i].final != final)
                continue;
            TM_TRY(run_pass(&context, &passes[i]));
            changed = changed || context.changed;
            if (round == 1 || final || context.changed)
                log_model(&context, round);
        }
        if (final)
            break;
    }
    return TM_OK;
}

tm_code tm_passes_run_one(tm_model *model, const char *name, const tm_pass_options *options) {
    tm_pass_context context = {.model = model, .options = options};
    for (size_t i = 0; i < PASS_COUNT; i++)
        if (strcmp(passes[i].name, name) == 0) {
            TM_TRY(infer(model));
            return run_pass(&context, &passes[i]);
        }
    tm_place place = {.file = model->file, .node_index = -1};
    return tm_report(model->diagnostics, TM_E_USAGE, &place, NULL, "there is no pass '%s'", name);
}
