/* SPDX-License-Identifier: Apache-2.0
 *
 * quantize.c: --quantize, --calib, --labels, --report and --budget: from words and files to the quantiser,
 * and its figures back to the user.
 */
#include "tools/quantize.h"

#include "compiler/internal.h"
#include "ir/infer.h"
#include "tools/samples.h"

#include <math.h>
#include <string.h>

bool tool_quantize_option(tool_quantize *options, int id, const char *value) {
    const char **to[] = {&options->form, &options->calib, &options->labels, &options->report,
                         &options->budget};
    if (id < TOOL_QUANTIZE_FIRST || id >= TOOL_QUANTIZE_FIRST + 5)
        return false;
    *to[id - TOOL_QUANTIZE_FIRST] = value;
    return true;
}

tm_code tool_quantize_check(tool *tool, const tool_quantize *options) {
    const struct {
        const char *name, *value;
    } others[] = {{"--calib", options->calib},
                  {"--labels", options->labels},
                  {"--report", options->report},
                  {"--budget", options->budget}};
    for (size_t i = 0; i < sizeof others / sizeof *others && options->form == NULL; i++)
        if (others[i].value != NULL)
            return tool_report(tool, TM_E_USAGE, NULL,
                               "--quantize=FORM, --prune=GOAL, --palette=ENTRIES, --tokens=FORM or --storage=auto",
                               "%s: nothing is quantised or compressed",
                               others[i].name);
    return tool_measures_check(tool, options);
}

tm_code tool_measures_check(tool *tool, const tool_quantize *options) {
    const struct {
        const char *name, *value;
    } files[] = {{"--calib", options->calib}, {"--labels", options->labels}, {"--report", options->report}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (files[i].value != NULL && files[i].value[0] == 0)
            return tool_report(tool, TM_E_USAGE, NULL,
                               tm_arena_format(&tool->arena, "%s=FILE", files[i].name),
                               "%s: the name of the file is empty", files[i].name);
    if (options->calib == NULL && (options->labels != NULL || options->budget != NULL))
        return tool_report(tool, TM_E_USAGE, NULL, "--calib=FOLDER or FILE.npy",
                           "%s needs samples to measure with",
                           options->labels != NULL ? "--labels" : "--budget");
    if (options->report != NULL && !tool_ends_with(options->report, ".html") &&
        !tool_ends_with(options->report, ".json"))
        return tool_report(tool, TM_E_USAGE, NULL, "end it in .html or .json",
                           "--report %s: the name does not say what to make", options->report);
    return TM_OK;
}

static tm_code read_labels(tool *tool, const char *path, const tm_constant **out) {
    char *data;
    size_t bytes;
    TM_TRY(tool_read_file(tool, path, &data, &bytes));
    TM_TRY(tool_npy_parse(tool, path, TAMIS_TYPE_UNDEFINED, data, bytes, out));
    if (!tm_type_is_integer((*out)->type) || (*out)->rank != 1)
        return tool_report(tool, TM_E_BAD_DATA, path, "an integer for each sample",
                           "labels are a row of integers, not %s of rank %d", tm_type_text((*out)->type),
                           (*out)->rank);
    return TM_OK;
}

/* The model's inputs. The model itself is not kept: its weights may be large. */
static tm_code read_ports(tool *tool, const char *path, tool_compile *compile, tool_port **out_ports,
                          int *out_count) {
    struct tool part = {.verb = tool->verb};
    tm_model *model;
    tm_arena_init(&part.arena);
    memcpy(part.arena.recovery, tool->arena.recovery, sizeof part.arena.recovery);
    part.arena.has_recovery = tool->arena.has_recovery;
    tm_diagnostics_init(&part.diagnostics, &tool->arena);
    tm_code code = tool_import(&part, path, compile, &model);
    code = code == TM_OK ? tm_infer(model) : code;
    if (code == TM_OK) {
        const tm_graph *graph = model->main;
        *out_count = (int)graph->inputs.count;
        *out_ports = tool_model_ports(tool, graph->inputs.items, graph->inputs.count);
        for (int i = 0; i < *out_count; i++)
            (*out_ports)[i].name = tm_arena_string(&tool->arena, (*out_ports)[i].name);
    }
    for (size_t i = 0; i < part.diagnostics.list.count; i++)
        tm_push(&tool->arena, &tool->diagnostics.list, part.diagnostics.list.items[i]);
    tm_arena_deinit(&part.arena);
    return code;
}

tm_code tool_measures_open(tool *tool, const char *path, tool_compile *compile, const tool_quantize *options,
                           tm_samples *out) {
    tool_port *ports;
    int count;
    TM_TRY(read_ports(tool, path, compile, &ports, &count));
    TM_TRY(tool_samples_open(tool, options->calib, ports, count, out));
    return options->labels != NULL ? read_labels(tool, options->labels, &out->labels) : TM_OK;
}

static tm_code write_report(tool *tool, const char *path, const tm_quantize_report *report) {
    tm_text text;
    tm_text_init(&text, &tool->arena);
    if (tool_ends_with(path, ".html"))
        tm_quantize_report_html(report, &text);
    else
        tm_quantize_report_json(report, &text);
    return tool_write_file(tool, path, tm_text_get(&text), text.size);
}

static void print_summary(const tm_quantize_report *report) {
    size_t quantized = 0;
    for (size_t i = 0; i < report->layers.count; i++)
        quantized += report->layers.items[i].quantized;
    const tm_divergence *d = &report->whole;
    fprintf(stderr, "%s: %zu of %zu layers; constants %lld -> %lld bytes (%.2fx); %.1f s\n", report->form,
            quantized, report->layers.count, (long long)report->float_bytes, (long long)report->bytes,
            report->bytes > 0 ? (double)report->float_bytes / (double)report->bytes : 0, report->seconds);
    if (d->rows > 0)
        fprintf(stderr,
                "against float, %lld samples: KL %.3g, flips %.2f %%, cosine %.6f, largest error %.3g\n",
                (long long)report->samples, d->kl, d->flips * 100, d->cosine, d->max_error);
    if (d->labelled > 0)
        fprintf(stderr, "of %lld labelled: %.2f %% right, in float %.2f %%; log-loss %.4f, in float %.4f\n",
                (long long)d->labelled, 100 * (double)d->right / (double)d->labelled,
                100 * (double)d->right_float / (double)d->labelled, d->log_loss, d->log_loss_float);
    if (report->ns > 0)
        fprintf(stderr, "a call takes %.1f us, in float %.1f us%s%s\n", report->ns / 1e3,
                report->float_ns / 1e3, report->speed != NULL ? "; " : "",
                report->speed != NULL ? report->speed : "");
    if (report->budget != NULL)
        fprintf(stderr, "budget %s\n", report->budget);
    if (report->unchecked != NULL)
        fprintf(stderr, "not checked: %s\n", report->unchecked);
}

tm_code tool_quantize_model(tool *tool, const char *path, tool_compile *compile, const tool_quantize *options,
                            tm_model **out_model) {
    tm_quantize_options quantize;
    tm_samples samples;
    tm_quantize_report report;
    const char *folder;
    tm_quantize_options_init(&quantize);
    TM_TRY(tool_quantize_check(tool, options));
    TM_TRY(tm_quantize_parse(&tool->arena, &tool->diagnostics, options->form, &quantize));
    if (options->budget != NULL)
        TM_TRY(tm_quantize_parse_budget(&tool->diagnostics, options->budget, &quantize));
    else if (options->report == NULL)
        quantize.sweep_samples = 0;
    if (options->report != NULL)
        TM_TRY(tool_can_create(tool, options->report));
    if (options->calib != NULL)
        TM_TRY(tool_measures_open(tool, path, compile, options, &samples));
    TM_TRY(tool_temporary_folder(tool, &folder));
    TM_TRY(tm_quantize(&tool->arena, &tool->diagnostics, path, folder, tool_compile_get(compile), &quantize,
                       options->calib != NULL ? &samples : NULL, out_model, &report));
    print_summary(&report);
    return options->report != NULL ? write_report(tool, options->report, &report) : TM_OK;
}
