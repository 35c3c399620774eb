/* SPDX-License-Identifier: Apache-2.0
 *
 * tokens.h: options about tokens that need no training.
 *
 * Packing: a batch [batch, length] with a mask of 0 and 1 runs its real tokens only. Index arithmetic at the
 * front finds them; what is done to each token alone is done to a row for each real one; what mixes tokens,
 * attention above all, sees them where they were:
 *
 *     %h: f32[batch, length, 384]                  %rows: i64[n] = NonZero(%mask)
 *     %q = MatMul(%h, %w)               ->         %h': f32[n, 384] = Gather(%h as rows, %rows)
 *     %s = ...Transpose(%q)...                     %q': f32[n, 384] = MatMul(%h', %w)
 *                                                  %q = Gather(%q', %places: i64[batch, length])
 *
 * Answers at real tokens stay, if padding has no influence on them. Whether that is so depends on what the
 * mask does in the model, so it is not looked for in forms, but tried: on numbers made up for it, and on
 * samples if there are any. Answers at padding are zero.
 *
 * Top-k (tokens_topk.c) and eviction (tokens_evict.c) leave keys out of a decoder's attention; both change
 * answers, and are measured on samples under a budget.
 */
#ifndef TM_COMPRESS_TOKENS_H
#define TM_COMPRESS_TOKENS_H

#include "quantize/layer.h"

typedef enum tm_tokens_goal {
    TM_TOKENS_PACKED, /* no padding */
    TM_TOKENS_TOPK,   /* attention of one query to the keys with the largest scores */
    TM_TOKENS_EVICT   /* caches of so many keys */
} tm_tokens_goal;

typedef struct tm_tokens_options {
    tm_tokens_goal goal;
    int64_t keys;                 /* of TM_TOKENS_TOPK and _EVICT */
    const char *mask;             /* name of the input; NULL: the one whose name has "mask" in it */
    tm_quantize_options measures; /* budget, samples */
} tm_tokens_options;

/* "packed", "packed:attention_mask", "topk:64", "evict:1024" */
TM_MUST_USE tm_code tm_tokens_parse(tm_arena *arena, tm_diagnostics *diagnostics, const char *text,
                                    tm_tokens_options *out);

typedef struct tm_tokens_report {
    const char *model, *mask;    /* mask: NULL with top-k and eviction */
    int64_t nodes;               /* that run on real tokens only */
    int64_t products, packed;    /* by constant weights; of them on real tokens only */
    int64_t attentions, changed; /* of top-k and eviction: that were found, that are others now */
    int64_t keys_before, keys;   /* of eviction: in a cache after the last step */
    int64_t samples;             /* 0: there were none */
    double fill;                 /* of the samples: share of tokens that are real */
    double ns_before, ns;        /* of a call on a sample, one thread */
    tm_divergence probe, whole;  /* at real tokens: on numbers made up, on samples */
    double seconds;
    const char *budget;  /* in words, or NULL */
    const char *refused; /* why the model is as it was, or NULL */
} tm_tokens_report;

/* The changed model of a file, in `arena`; as it was if that changes its answers by more than the budget or
 * is not faster on the samples. `samples` may be NULL with packed tokens only. E_USAGE if there is nothing
 * in the model to change. */
TM_MUST_USE tm_code tm_tokens(tm_arena *arena, tm_diagnostics *diagnostics, const char *path,
                              const char *folder, const tamis_compile_options *compile,
                              const tm_tokens_options *options, const tm_samples *samples,
                              tm_model **out_model, tm_tokens_report *out_report);

void tm_tokens_report_json(const tm_tokens_report *report, tm_text *out);

#endif
