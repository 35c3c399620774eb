/* SPDX-License-Identifier: Apache-2.0
 *
 * storage.c: --storage=auto and --palette: from words and files to what weights are kept as, and the figures
 * back to the user.
 */
#include "tools/storage.h"

#include "compress/palette.h"
#include "compress/storage.h"

tm_code tool_storage_check(tool *tool, const tool_compress *options, const tool_quantize *others) {
    const char *name = options->palette != NULL ? "--palette" : "--storage=auto";
    if (options->palette != NULL &&
        (others->form != NULL || options->prune != NULL || options->chooses_storage))
        return tool_report(tool, TM_E_USAGE, NULL, "write the changed model as ONNX first, then give that",
                           "%s excludes --quantize, --prune and --storage=auto", name);
    if (options->palette == NULL && (others->calib == NULL || others->budget == NULL))
        return tool_report(tool, TM_E_USAGE, NULL, "--storage=auto --calib=FILE.npy --budget=flips:1%",
                           "--storage=auto needs samples and a budget");
    if (others->labels != NULL || others->report != NULL)
        return tool_report(tool, TM_E_USAGE, NULL, NULL, "%s: %s has no use for it",
                           others->labels != NULL ? "--labels" : "--report", name);
    return tool_measures_check(tool, others);
}

tm_code tool_choose_storage(tool *tool, const char *path, tool_compile *compile,
                            const tool_quantize *others) {
    tm_quantize_options measures;
    tm_samples samples;
    tm_storage_report report;
    const float *steps;
    size_t count;
    const char *folder;
    tm_quantize_options_init(&measures);
    TM_TRY(tm_quantize_parse_budget(&tool->diagnostics, others->budget, &measures));
    TM_TRY(tool_measures_open(tool, path, compile, others, &samples));
    TM_TRY(tool_temporary_folder(tool, &folder));
    TM_TRY(tm_storage_choose(&tool->arena, &tool->diagnostics, path, folder, tool_compile_get(compile),
                             &measures, &samples, &steps, &count, &report));
    compile->options.storage_steps = steps;
    compile->options.storage_step_count = count;
    const tm_divergence *d = &report.whole;
    fprintf(
        stderr,
        "storage: %lld of %lld constants rounded to %.2f bits; coded %.0f -> %.0f bytes; %lld samples: KL %.3g, "
        "flips %.2f %%, cosine %.6f; %lld trials, %.1f s\n",
        (long long)report.rounded, (long long)report.places, report.bits, report.exact_bytes, report.bytes,
        (long long)report.samples, d->kl, 100 * d->flips, d->cosine, (long long)report.trials,
        report.seconds);
    return TM_OK;
}

tm_code tool_palette_model(tool *tool, const char *path, tool_compile *compile, const tool_compress *options,
                           const tool_quantize *others, tm_model **out_model) {
    tm_palette_options words;
    tm_palette_report report;
    tm_samples samples;
    const char *folder;
    compile->options.coded_weights = true;
    TM_TRY(tm_palette_parse(&tool->arena, &tool->diagnostics, options->palette, &words));
    if (others->budget != NULL)
        TM_TRY(tm_quantize_parse_budget(&tool->diagnostics, others->budget, &words.measures));
    if (others->calib != NULL)
        TM_TRY(tool_measures_open(tool, path, compile, others, &samples));
    TM_TRY(tool_temporary_folder(tool, &folder));
    TM_TRY(tm_palette(&tool->arena, &tool->diagnostics, path, folder, tool_compile_get(compile), &words,
                      others->calib != NULL ? &samples : NULL, out_model, &report));
    const tm_divergence *d = &report.whole;
    fprintf(stderr,
            "palettes: %lld of %lld layers; constants %lld -> %lld bytes; error of the weights %.3g\n",
            (long long)report.changed, (long long)report.layers, (long long)report.bytes_before,
            (long long)report.bytes, report.error);
    if (d->rows > 0)
        fprintf(stderr, "against float, %lld samples: KL %.3g, flips %.2f %%, cosine %.6f\n",
                (long long)report.samples, d->kl, d->flips * 100, d->cosine);
    if (report.refused != NULL)
        fprintf(stderr, "refused, the model stays as it is: %s\n", report.refused);
    return TM_OK;
}
