/* SPDX-License-Identifier: Apache-2.0
 *
 * tokens.c: --tokens: from words and files to an option about tokens, and its figures back to the user.
 */
#include "tools/tokens.h"

#include "compress/tokens.h"

tm_code tool_tokens_check(tool *tool, const tool_compress *options, const tool_quantize *others) {
    if (others->form != NULL || options->prune != NULL || options->palette != NULL ||
        options->chooses_storage)
        return tool_report(tool, TM_E_USAGE, NULL, "write the changed model as ONNX first, then give that",
                           "--tokens excludes --quantize, --prune, --palette and --storage=auto");
    if (others->labels != NULL)
        return tool_report(tool, TM_E_USAGE, NULL, NULL, "--labels: --tokens has no use for it");
    TM_TRY(tool_measures_check(tool, others));
    if (others->report != NULL && !tool_ends_with(others->report, ".json"))
        return tool_report(tool, TM_E_USAGE, NULL, "end it in .json", "--report %s: of --tokens it is JSON",
                           others->report);
    return TM_OK;
}

static void print_summary(const tm_tokens_report *r) {
    const tm_divergence *d = &r->whole;
    if (r->mask != NULL)
        fprintf(stderr, "tokens that '%s' keeps: %lld of %lld products, %lld operators run on them alone\n",
                r->mask, (long long)r->packed, (long long)r->products, (long long)r->nodes);
    else
        fprintf(stderr, "%lld of %lld attentions use fewer keys\n", (long long)r->changed,
                (long long)r->attentions);
    if (r->samples > 0)
        fprintf(stderr, "%lld samples; a call, one thread: %.3f ms -> %.3f ms (%.2fx)\n",
                (long long)r->samples, r->ns_before / 1e6, r->ns / 1e6, r->ns_before / r->ns);
    if (r->samples > 0 && r->mask != NULL)
        fprintf(stderr, "%.0f %% real tokens\n", r->fill * 100);
    if (d->rows > 0)
        fprintf(stderr, "%sKL %.3g, flips %.2f %%, cosine %.6f, largest error %.3g of %.3g\n",
                r->mask != NULL ? "at real tokens: " : "", d->kl, d->flips * 100, d->cosine, d->max_error,
                d->rms);
    else if (r->probe.rows > 0)
        fprintf(stderr, "on numbers made up: largest error at real tokens %.3g of %.3g\n", r->probe.max_error,
                r->probe.rms);
    if (r->keys > 0)
        fprintf(stderr, "keys in a cache after the last step: %lld -> %lld\n", (long long)r->keys_before,
                (long long)r->keys);
    if (r->budget != NULL)
        fprintf(stderr, "budget %s\n", r->budget);
    if (r->refused != NULL)
        fprintf(stderr, "refused, the model stays as it is: %s\n", r->refused);
}

tm_code tool_tokens_model(tool *tool, const char *path, tool_compile *compile, const tool_compress *options,
                          const tool_quantize *others, tm_model **out_model) {
    tm_tokens_options words;
    tm_tokens_report report;
    tm_samples samples;
    tm_text text;
    const char *folder;
    TM_TRY(tm_tokens_parse(&tool->arena, &tool->diagnostics, options->tokens, &words));
    if (others->budget != NULL)
        TM_TRY(tm_quantize_parse_budget(&tool->diagnostics, others->budget, &words.measures));
    if (others->report != NULL)
        TM_TRY(tool_can_create(tool, others->report));
    if (others->calib != NULL)
        TM_TRY(tool_measures_open(tool, path, compile, others, &samples));
    TM_TRY(tool_temporary_folder(tool, &folder));
    TM_TRY(tm_tokens(&tool->arena, &tool->diagnostics, path, folder, tool_compile_get(compile), &words,
                     others->calib != NULL ? &samples : NULL, out_model, &report));
    print_summary(&report);
    if (others->report == NULL)
        return TM_OK;
    tm_text_init(&text, &tool->arena);
    tm_tokens_report_json(&report, &text);
    return tool_write_file(tool, others->report, tm_text_get(&text), text.size);
}
