/* SPDX-License-Identifier: Apache-2.0
 *
 * storage.c: --storage=auto: from words and files to what weights are kept as, and the figures back to the user.
 */
#include "tools/storage.h"

#include "compress/storage.h"

tm_code tool_storage_check(tool *tool, const tool_compress *options, const tool_quantize *others) {
    if (others->form != NULL || options->prune != NULL)
        return tool_report(tool, TM_E_USAGE, NULL, "write the changed model as ONNX first, then give that",
                           "--storage=auto excludes --quantize and --prune");
    if (others->calib == NULL || others->budget == NULL)
        return tool_report(tool, TM_E_USAGE, NULL, "--storage=auto --calib=FILE.npy --budget=flips:1%",
                           "--storage=auto needs samples and a budget");
    if (others->labels != NULL || others->report != NULL)
        return tool_report(tool, TM_E_USAGE, NULL, NULL, "%s: --storage=auto has no use for it",
                           others->labels != NULL ? "--labels" : "--report");
    return TM_OK;
}

tm_code tool_choose_storage(tool *tool, const char *path, tool_compile *compile, const tool_quantize *others) {
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
    TM_TRY(tm_storage_choose(&tool->arena, &tool->diagnostics, path, folder, tool_compile_get(compile), &measures,
                             &samples, &steps, &count, &report));
    compile->options.storage_steps = steps;
    compile->options.storage_step_count = count;
    const tm_divergence *d = &report.whole;
    fprintf(stderr,
            "storage: %lld of %lld constants rounded to %.2f bits; coded %.0f -> %.0f bytes; %lld samples: KL %.3g, "
            "flips %.2f %%, cosine %.6f; %lld trials, %.1f s\n",
            (long long)report.rounded, (long long)report.places, report.bits, report.exact_bytes, report.bytes,
            (long long)report.samples, d->kl, 100 * d->flips, d->cosine, (long long)report.trials, report.seconds);
    return TM_OK;
}
