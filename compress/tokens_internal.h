/* SPDX-License-Identifier: Apache-2.0
 *
 * tokens_internal.h: what the files of the options about tokens share; tokens.h has the way and the options.
 */
#ifndef TM_COMPRESS_TOKENS_INTERNAL_H
#define TM_COMPRESS_TOKENS_INTERNAL_H

#include "compress/tokens.h"

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

/* tokens_topk.c: rewrites attention of one query; fills attentions and changed. *out_measured: of each
 * output, is it one to measure by? Those that depend on what changed, and of them those that are no caches,
 * if any. */
TM_MUST_USE tm_code tm_tokens_topk(tm_model *model, int64_t keys, tm_tokens_report *report,
                                   const bool **out_measured);

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
    tm_dim count;       /* of real tokens */
    tm_value *real;     /* bool[batch, length] */
    tm_value *rows;     /* i64[count]: which of batch * length */
    tm_value *places;   /* i64[batch * length]: the row of a token; of padding: of the last real one before */
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

/* tokens_rows.c: constants that are made on the way, and dims `start` to `end` of a value. */
tm_value *tm_tokens_integers(tm_graph *graph, int64_t count, const int64_t *elements);
tm_value *tm_tokens_scalar(tm_graph *graph, tamis_type type, double value);
TM_MUST_USE tm_code tm_tokens_shape(tm_node *before, tm_value *value, int64_t start, int64_t end,
                                    tm_value **out);

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
#define TM_TOKENS_UNMEASURED "no output that changes has float32 numbers to measure by"
/* tokens_measure.c: both models on the samples; fills what the report says of them, and why it was refused.
 * `place` NULL: there is no padding. `measured`: which outputs count; NULL: all. */
TM_MUST_USE tm_code tm_tokens_measure(tm_quantizer *q, tm_model *plain, tm_model *ours,
                                      const tm_tokens_place *place, const bool *measured,
                                      tm_tokens_report *report);
/* tokens_probe.c: runs both models on numbers made up; *out_failed says in words if they differ. */
TM_MUST_USE tm_code tm_tokens_probe(const tm_quantizer *q, tm_model *plain, tm_model *ours,
                                    const tm_tokens_place *place, tm_divergence *out,
                                    const char **out_failed);

#endif
