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

/* ---- the options, as the command calls them ---- */

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

/* ---- shared by the files ---- */

/* Where tokens are in a model. */
typedef struct tm_tokens_place {
    tm_value *mask;             /* an input of two dims */
    tm_value *batched;          /* an input with both dims: the mask, or another if the mask is one for all */
    tm_dim batch, length, flat; /* flat: their product */
} tm_tokens_place;

/* Finds the mask, E_USAGE if there is none. A batch of its own, by name, becomes that of the other inputs. */
TM_MUST_USE tm_code tm_tokens_find(tm_model *model, const char *mask, tm_tokens_place *out);
/* How many leading dims count tokens: 2, [batch, length, ...]; 1, [batch * length, ...]; 0: it has none. */
int tm_tokens_lead(const tm_tokens_place *place, const tm_value *value);
/* Rewrites the model; fills nodes, products and packed. */
TM_MUST_USE tm_code tm_tokens_pack(tm_model *model, const tm_tokens_place *place, tm_tokens_report *report);

/* tokens_topk.c: rewrites attention of one query; fills attentions and changed. */
TM_MUST_USE tm_code tm_tokens_topk(tm_model *model, int64_t keys, tm_tokens_report *report);

/* A cache that is bounded, or its weights: index among the inputs, and among the outputs. */
typedef struct tm_eviction {
    int past, present;
    int keys; /* of weights: `past` of the keys that they are of */
} tm_eviction;
/* For each attention: of keys, values unless they are the same cache, weights. */
typedef TM_VECTOR(tm_eviction) tm_evictions;
/* tokens_evict.c: bounds caches; fills attentions and changed. */
TM_MUST_USE tm_code tm_tokens_evict(tm_model *model, int64_t keys, tm_tokens_report *report,
                                    tm_evictions *out);
/* tokens_rollout.c: both models step by step, each with its own caches; fills what the report says of it. */
TM_MUST_USE tm_code tm_tokens_rollout(tm_quantizer *q, tm_model *plain, tm_model *ours,
                                      const tm_evictions *evictions, tm_tokens_report *report);

/* tokens_rows.c: the index arithmetic, made once. */
typedef struct tm_token_rows {
    const tm_tokens_place *place;
    tm_dim count;   /* of real tokens */
    tm_value *real; /* bool[batch, length] */
    tm_value *rows; /* i64[count]: which of batch * length */
    tm_value
        *places; /* i64[batch * length]: the row of a token; of padding: of the last real one before it */
    tm_value *position; /* i64[count]: of each row in its sequence */
    tm_value *sequence; /* i64[count]: of each row */
} tm_token_rows;
TM_MUST_USE tm_code tm_token_rows_make(tm_node *before, const tm_tokens_place *place, tm_token_rows *out);
/* [batch, length, ...] or [batch * length, ...] to [count, ...]. */
TM_MUST_USE tm_code tm_token_rows_pack(tm_node *before, const tm_token_rows *rows, tm_value *value,
                                       tm_value **out);
/* The other way, as `like` is. What stands at padding: zeros, or with `filled` what comes cheapest. */
TM_MUST_USE tm_code tm_token_rows_unpack(tm_node *before, const tm_token_rows *rows, tm_value *packed,
                                         const tm_value *like, bool filled, tm_value **out);
/* An operand that is broadcast with values [batch, length, ...] of a rank; NULL: its form is not known. */
TM_MUST_USE tm_code tm_token_rows_operand(tm_node *before, const tm_token_rows *rows, tm_value *value,
                                          int rank, int lead, tm_value **out);

/* tokens_compare.c: adds what two models answer at real tokens, or with `place` NULL at all, for output
 * `value` of the model. *out_same is cleared where answers differ that are not float32 or not finite, or have
 * other dims. */
void tm_tokens_compare(const tm_tokens_place *place, const tm_value *value, const tamis_tensor *mask,
                       const tamis_tensor *expected, const tamis_tensor *found, tm_arena *scratch,
                       tm_divergence *divergence, bool *out_same);
/* Are the differences no more than what is called rounding? Also where nothing was measured. */
bool tm_tokens_is_rounding(const tm_divergence *divergence);
/* Real tokens of a mask. */
int64_t tm_tokens_count(const tamis_tensor *mask, int64_t *out_all);
#define TM_TOKENS_UNMEASURED "the first output has no float32 numbers to measure by"
/* tokens_measure.c: both models on the samples; fills what the report says of them, and why it was refused.
 * `place` NULL: there is no padding, and the first output counts. */
TM_MUST_USE tm_code tm_tokens_measure(tm_quantizer *q, tm_model *plain, tm_model *ours,
                                      const tm_tokens_place *place, tm_tokens_report *report);
/* tokens_probe.c: runs both models on numbers made up; *out_failed says in words if they differ. */
TM_MUST_USE tm_code tm_tokens_probe(const tm_quantizer *q, tm_model *plain, tm_model *ours,
                                    const tm_tokens_place *place, tm_divergence *out,
                                    const char **out_failed);

#endif
