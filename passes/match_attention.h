/* SPDX-License-Identifier: Apache-2.0
 *
 * match_attention.h: attention as exporters spell it: two products with a softmax between them. The forms
 * stand in recognize_attention.c, which makes one node of it; the quantiser asks where it is.
 */
#ifndef TM_PASSES_MATCH_ATTENTION_H
#define TM_PASSES_MATCH_ATTENTION_H

#include "passes/match.h"

#define TM_ATTENTION_MAX_PARTS 4
#define TM_ATTENTION_SWALLOWING 0x1p127 /* a sum with its negative leaves no score */

typedef struct tm_mask_part {
    tm_value *value; /* added to the scores, or a condition */
    bool is_condition;
    bool keep;    /* condition: the scores are kept where it has this value */
    double fill;  /* condition: where it has not */
    double scale; /* what multiplies the sum with the scores */
    bool subtracted;
} tm_mask_part;

typedef struct tm_attention_form {
    tm_value *q, *kt, *v;
    const tm_value *scores;
    tm_dim keys;            /* the last dim behind a mask, where it is not that of the scores; or NULL */
    double scale, softcap;  /* softcap 0: none */
    tm_value *head_factor;  /* or NULL */
    const tm_value *zeroed; /* a condition where the probabilities are set to zero, or NULL */
    tm_mask_part parts[TM_ATTENTION_MAX_PARTS];
    int part_count;
    bool guarded;
    bool skips_pairs; /* of quantisers */
    bool quantized;   /* the probabilities have one */
} tm_attention_form;

/* Is it an Attention without caches, of which only the result is wanted? Of nodes of that operator. */
bool tm_attention_is_plain(const tm_node *node);
/* Is the node the product by V of an attention? `strict`: one that is the same for NaN and infinity too. */
bool tm_attention_find(tm_node *node, bool strict, tm_attention_form *out);
/* No score becomes minus infinity. */
bool tm_attention_masks_are_finite(const tm_attention_form *a);
/* The axis of the value that has this dim; -1: none. */
int tm_attention_axis(const tm_value *value, tm_dim dim);

/* The product that makes the scores, if `root` is the product by V of an attention that can be computed in
 * integers as far as its form goes; else NULL. */
tm_node *tm_match_attention(tm_node *root, bool strict);

#endif
