/* SPDX-License-Identifier: Apache-2.0
 *
 * contract.c: --prune, --quantize and --storage=auto together: from words and files to the contract, and its
 * figures back to the user.
 */
#include "tools/contract.h"

#include "compiler/internal.h"
#include "compress/contract.h"
#include "quantize/choose.h"

bool tool_contract_wanted(const tool_compress *options, const tool_quantize *others) {
    return (options->prune != NULL) + (others->form != NULL) + options->chooses_storage > 1;
}

tm_code tool_contract_check(tool *tool, const tool_compress *options, const tool_quantize *others) {
    TM_TRY(tool_measures_check(tool, others));
    if (options->palette != NULL)
        return tool_report(tool, TM_E_USAGE, NULL, "write the changed model as ONNX first, then give that",
                           "--palette excludes --quantize, --prune and --storage=auto");
    if (options->chooses_storage && (others->calib == NULL || others->budget == NULL))
        return tool_report(tool, TM_E_USAGE, NULL, "--storage=auto --calib=FILE.npy --budget=flips:1%",
                           "--storage=auto needs samples and a budget");
    if (others->report != NULL && !tool_ends_with(others->report, ".json"))
        return tool_report(tool, TM_E_USAGE, NULL, "end it in .json",
                           "--report %s: of several ways together it is JSON", others->report);
    return TM_OK;
}

static void print_trial(const tm_contract_report *report, int number) {
    const tm_contract_trial *trial = &report->trials.items[number];
    for (int i = 0; i < TM_STAGES; i++) {
        const tm_stage_report *s = &trial->stages[i];
        if (!s->made)
            continue;
        fprintf(stderr, "  %-8s %10.0f bytes", tm_stage_name((tm_stage)i), s->bytes);
        if (s->ns > 0)
            fprintf(stderr, ", %.2f times as fast", trial->ns_before / s->ns);
        if (s->d.rows > 0)
            fprintf(stderr, "; KL %.3g, flips %.2f %%, cosine %.6f", s->d.kl, s->d.flips * 100, s->d.cosine);
        if (s->held_out.rows > 0)
            fprintf(stderr, "; held out: KL %.3g, flips %.2f %%, cosine %.6f", s->held_out.kl,
                    s->held_out.flips * 100, s->held_out.cosine);
        if (report->budget != NULL)
            fprintf(stderr, "; %.0f %% of the budget", s->use * 100);
        fputs("\n", stderr);
    }
}

static void print_summary(const tm_contract_report *report) {
    fprintf(stderr, "chosen by %s of %zu trials, %.0f bytes before; %.1f s\n", report->goal,
            report->trials.count, report->bytes_before, report->seconds);
    print_trial(report, report->chosen);
    if (report->budget != NULL)
        fprintf(stderr, "budget %s\n", report->budget);
    if (report->refused != NULL)
        fprintf(stderr, "refused: %s\n", report->refused);
}

/* Where one part looks at fewer samples than the other, the whole is measured on the more. */
static int64_t more_samples(int64_t a, int64_t b) {
    return a == 0 || b == 0 ? 0 : a > b ? a : b;
}

static tm_code parse(tool *tool, const tool_compress *options, const tool_quantize *others,
                     tm_compress_options *prune, tm_quantize_options *quantize,
                     tm_quantize_options *measures) {
    tm_quantize_options_init(measures);
    tm_quantize_options_init(quantize);
    tm_compress_options_init(prune);
    if (others->form != NULL)
        TM_TRY(tm_quantize_parse(&tool->arena, &tool->diagnostics, others->form, quantize));
    if (options->prune != NULL)
        TM_TRY(tm_compress_parse(&tool->arena, &tool->diagnostics, options->prune, prune));
    const bool both = others->form != NULL && options->prune != NULL;
    *measures = options->prune != NULL ? prune->measures : *measures;
    measures->threads =
        others->form != NULL && quantize->threads != 0 ? quantize->threads : measures->threads;
    measures->most_samples = both ? more_samples(quantize->most_samples, prune->measures.most_samples)
                             : others->form != NULL ? quantize->most_samples
                                                    : measures->most_samples;
    if (others->budget != NULL) {
        TM_TRY(tm_quantize_parse_budget(&tool->diagnostics, others->budget, measures));
        TM_TRY(tm_quantize_parse_budget(&tool->diagnostics, others->budget, quantize));
        TM_TRY(tm_quantize_parse_budget(&tool->diagnostics, others->budget, &prune->measures));
    } else if (others->report == NULL) {
        quantize->sweep_samples = 0;
    }
    return TM_OK;
}

static tm_code write_report(tool *tool, const char *path, const tm_contract_report *report) {
    tm_text text;
    tm_text_init(&text, &tool->arena);
    tm_contract_report_json(report, &text);
    return tool_write_file(tool, path, tm_text_get(&text), text.size);
}

tm_code tool_contract_model(tool *tool, const char *path, tool_compile *compile, const tool_compress *options,
                            const tool_quantize *others, tm_model **out_model,
                            tamis_compile_options *out_options) {
    tm_compress_options prune;
    tm_quantize_options quantize, measures;
    tm_contract_report report;
    tm_import_options import;
    tm_samples samples;
    const char *folder, *changed;
    TM_TRY(tool_compress_check(tool, options, others));
    TM_TRY(parse(tool, options, others, &prune, &quantize, &measures));
    const tm_contract_options contract = {.prune = options->prune != NULL ? &prune : NULL,
                                          .quantize = others->form != NULL ? &quantize : NULL,
                                          .storage = options->chooses_storage,
                                          .measures = &measures};
    if (others->report != NULL)
        TM_TRY(tool_can_create(tool, others->report));
    if (others->calib != NULL)
        TM_TRY(tool_measures_open(tool, path, compile, others, &samples));
    TM_TRY(tool_temporary_folder(tool, &folder));
    TM_TRY(tm_contract(&tool->arena, &tool->diagnostics, path, folder, tool_compile_get(compile), &contract,
                       others->calib != NULL ? &samples : NULL, &changed, out_options, &report));
    print_summary(&report);
    if (others->report != NULL)
        TM_TRY(write_report(tool, others->report, &report));
    tm_import_options_of(out_options, &import);
    return tm_import_file(&tool->arena, &tool->diagnostics, changed, &import, out_model);
}
