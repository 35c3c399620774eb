/* SPDX-License-Identifier: Apache-2.0
 *
 * compress.c: --prune, and the measures that it shares with --quantize: from words and files to compression,
 * and its figures back to the user.
 */
#include "tools/contract.h"
#include "tools/storage.h"
#include "tools/tokens.h"

#include <string.h>

bool tool_compress_option(tool_compress *options, int id, const char *value) {
    const char **to[] = {&options->prune, &options->palette, &options->tokens};
    if (id < TOOL_COMPRESS_FIRST || id > TOOL_COMPRESS_FIRST + 2)
        return false;
    *to[id - TOOL_COMPRESS_FIRST] = value;
    return true;
}

tm_code tool_compress_check(tool *tool, const tool_compress *options, const tool_quantize *others) {
    if (options->tokens != NULL)
        return tool_tokens_check(tool, options, others);
    if (tool_contract_wanted(options, others))
        return tool_contract_check(tool, options, others);
    if (options->chooses_storage || options->palette != NULL)
        return tool_storage_check(tool, options, others);
    if (options->prune == NULL)
        return tool_quantize_check(tool, others);
    TM_TRY(tool_measures_check(tool, others));
    if (others->report != NULL && !tool_ends_with(others->report, ".json"))
        return tool_report(tool, TM_E_USAGE, NULL, "end it in .json", "--report %s: of --prune it is JSON",
                           others->report);
    return TM_OK;
}

static void print_summary(const tm_compress_report *r) {
    fprintf(stderr, "constants %lld -> %lld bytes (%.2fx), %lld zero slices; %.1f s\n",
            (long long)r->bytes_before, (long long)r->bytes,
            r->bytes > 0 ? (double)r->bytes_before / (double)r->bytes : 0, (long long)r->zeros, r->seconds);
    if (r->merged > 0)
        fprintf(stderr, "%lld adapters merged into weights\n", (long long)r->merged);
    if (r->sparsity > 0)
        fprintf(stderr, "%.0f %% of the weights of products are zero\n", r->sparsity * 100);
    if (r->flops > 0)
        fprintf(stderr, "flops %.4g -> %.4g (%.2fx)\n", r->flops_before, r->flops,
                r->flops_before / r->flops);
    if (r->ns > 0)
        fprintf(stderr, "a call, one thread: %.3f ms -> %.3f ms (%.2fx)\n", r->ns_before / 1e6, r->ns / 1e6,
                r->ns_before / r->ns);
    const tm_divergence *d = &r->whole;
    if (d->rows > 0)
        fprintf(
            stderr,
            "against the whole model, %lld samples: KL %.3g, flips %.2f %%, cosine %.6f, largest error %.3g\n",
            (long long)r->samples, d->kl, d->flips * 100, d->cosine, d->max_error);
    const tm_divergence *held_out = &r->held_out;
    if (held_out->rows > 0)
        fprintf(stderr, "on every fifth, which the repair did not see: KL %.3g, flips %.2f %%, cosine %.6f\n",
                held_out->kl, held_out->flips * 100, held_out->cosine);
    if (d->labelled > 0)
        fprintf(stderr, "of %lld labelled: %.2f %% right, before %.2f %%\n", (long long)d->labelled,
                100 * (double)d->right / (double)d->labelled,
                100 * (double)d->right_float / (double)d->labelled);
    if (r->budget != NULL)
        fprintf(stderr, "budget %s\n", r->budget);
    if (r->refused != NULL)
        fprintf(stderr, "refused: %s\n", r->refused);
    if (r->unchecked != NULL)
        fprintf(stderr, "not checked: %s\n", r->unchecked);
}

tm_code tool_compress_model(tool *tool, const char *path, tool_compile *compile, const tool_compress *options,
                            const tool_quantize *others, tm_model **out_model) {
    tm_compress_options compress;
    tm_samples samples;
    tm_compress_report report;
    const char *folder;
    tm_compress_options_init(&compress);
    TM_TRY(tool_compress_check(tool, options, others));
    if (options->tokens != NULL)
        return tool_tokens_model(tool, path, compile, options, others, out_model);
    if (options->palette != NULL)
        return tool_palette_model(tool, path, compile, options, others, out_model);
    TM_TRY(tm_compress_parse(&tool->arena, &tool->diagnostics, options->prune, &compress));
    if (others->budget != NULL)
        TM_TRY(tm_quantize_parse_budget(&tool->diagnostics, others->budget, &compress.measures));
    if (others->report != NULL)
        TM_TRY(tool_can_create(tool, others->report));
    if (others->calib != NULL)
        TM_TRY(tool_measures_open(tool, path, compile, others, &samples));
    TM_TRY(tool_temporary_folder(tool, &folder));
    TM_TRY(tm_compress(&tool->arena, &tool->diagnostics, path, folder, tool_compile_get(compile), &compress,
                       others->calib != NULL ? &samples : NULL, out_model, &report));
    print_summary(&report);
    if (others->report == NULL)
        return TM_OK;
    tm_text text;
    tm_text_init(&text, &tool->arena);
    tm_compress_report_json(&report, &text);
    return tool_write_file(tool, others->report, tm_text_get(&text), text.size);
}
