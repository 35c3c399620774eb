/* SPDX-License-Identifier: Apache-2.0
 *
 * attention.h: what the attention operators of ONNX Runtime have in common when they are written out.
 *
 * All of them end in one Attention of ONNX. Before it stand a projection or a split of packed operands, a
 * bias, rotary embedding, a cache, and a mask that is told by lengths, positions or zeros and ones:
 *
 *     y = Attention(q, Concat(past_key, k), Concat(past_value, v), Where(visible, 0, fill) + attention_bias)
 *
 * Lengths are tensors of one element ("one"), so they may be symbols or data.
 */
#ifndef TM_FRONTEND_OPSET_ATTENTION_H
#define TM_FRONTEND_OPSET_ATTENTION_H

#include "frontend/opset/write_out.h"

typedef struct tm_attention {
    tm_value *query;       /* [batch, length, heads * size] */
    tm_value *key, *value; /* the same, or with `apart` [batch, kv_heads, total, size] */
    bool apart;
    int64_t heads, kv_heads;
    tm_value *mask; /* bool, or added to the scores; broadcasts to [batch, heads, length, total]; or NULL */
    bool causal;    /* query i sees keys 0..i */
    double scale;   /* 0: 1 / sqrt(size) */
    double softcap; /* 0: none */
    size_t scores_output; /* 0: none; else output number of the file's node that takes the scores */
    int scores_mode;      /* of ONNX's qk_matmul_output_mode */
} tm_attention;

/* The result [batch, length, heads * size]; *out_scores NULL unless the node has output scores_output. */
tm_value *tm_attention_value(tm_draft *draft, const tm_attention *attention, tm_value **out_scores);
/* Binds output 0 and the scores. */
TM_MUST_USE tm_code tm_attention_emit(tm_draft *draft, const tm_attention *attention);

/* Q, K and V of x times `weights` [inputs, q + k + v] plus `bias` (or NULL): attribute qkv_hidden_sizes says
 * how wide they are, by default alike. */
TM_MUST_USE tm_code tm_attention_project(tm_draft *draft, tm_value *x, tm_value *weights, tm_value *bias,
                                         tm_value **out_parts);

/* [batch, length, heads * size] <-> [batch, heads, length, size] */
tm_value *tm_attention_split_heads(tm_draft *draft, tm_value *x, int64_t heads);
tm_value *tm_attention_merge_heads(tm_draft *draft, tm_value *x, int64_t heads);
/* [batch, length, heads, size] -> [batch, length, heads * size] */
tm_value *tm_attention_pack(tm_draft *draft, tm_value *x, int64_t heads);

/* Entries of a cache [batch, heads, length, size] and `fresh` ones behind them. With `past_length` (one) the
 * cache is a buffer of which so much is used: `out_present` is the buffer again, `out_visible` its used part.
 */
void tm_attention_cache(tm_draft *draft, tm_value *past, tm_value *fresh, tm_value *past_length,
                        tm_value **out_present, tm_value **out_visible);

/* What a padding mask of 1 to 4 dims lets be seen: bool, broadcasts to [batch, 1, length, total]. */
typedef struct tm_padding {
    tm_value *mask;
    tm_value *query;        /* axis 0 is batch, axis 1 length */
    tm_value *past, *total; /* ones; past NULL: 0 */
} tm_padding;
TM_MUST_USE tm_code tm_attention_padding(tm_draft *draft, const tm_padding *padding, tm_value **out_visible);
/* j <= past + i, for query i and key j: bool [length, total]. */
tm_value *tm_attention_causal(tm_draft *draft, tm_value *query, tm_value *past, tm_value *total);
/* attention_bias [batch or 1, heads or 1, length, total] with the lengths of the operands;
 * NULL stays NULL. */
tm_value *tm_attention_bias(tm_draft *draft, tm_value *bias, tm_value *query, tm_value *total);
/* 0 where `visible` holds, `fill` elsewhere, in the type of `like`; plus `bias` if it is not NULL. */
tm_value *tm_attention_fill(tm_draft *draft, tm_value *visible, double fill, tm_value *like, tm_value *bias);

/* Attribute num_heads or the like: at least 1. */
TM_MUST_USE tm_code tm_attention_heads(tm_draft *draft, const char *attribute, int64_t *out_count);

#endif
