/* SPDX-License-Identifier: Apache-2.0
 *
 * microsoft_multi_head.c: MultiHeadAttention and DecoderMaskedMultiHeadAttention of ONNX Runtime.
 *
 *     MultiHeadAttention(q, k, v, bias, padding, attention_bias, past_k, past_v)
 *         ->  Attention(q + bq, Concat(past_k, k + bk), Concat(past_v, v + bv), mask)
 *
 * Q, K and V come apart, or K and V in one tensor [b, l, n, 2, s], or all in one [b, l, n, 3, s]. Keys and
 * values of 4 dims are those of an encoder, split in heads already and with their bias. The decoder's form
 * has one query for each sample and packs Q, K and V as [b, 1, 3*h].
 */
#include "frontend/opset/attention.h"
#include "frontend/opset/opset.h"

#include <math.h>

typedef struct multi_head {
    tm_attention attention;
    tm_value *padding, *bias, *attention_bias;
    tm_value *past[2], *past_length; /* past_length: one, or NULL */
    bool causal;
} multi_head;

/* Part `index` of `count` in x [b, l, n, count, s], as [b, l, n * s]. */
static tm_value *unpack(tm_draft *draft, tm_value *x, int64_t heads, int64_t index) {
    return tm_attention_pack(draft, tm_write_entry(draft, x, 3, index), heads);
}

/* Bias [hidden + hidden + v_hidden], whose parts are as long as the operands' last dims. */
static void add_bias(tm_draft *draft, multi_head *m) {
    tm_attention *a = &m->attention;
    tm_value *q_end = tm_write_dims(draft, a->query, 2, 1),
             *zero = tm_draft_constant_ints(draft, (int64_t[]){0}, 1);
    tm_value *q_bias = tm_write_slice(draft, m->bias, 0, zero, q_end);
    if (!a->apart) {
        tm_value *k_end = tm_write_add(draft, q_end, tm_write_dims(draft, a->key, 2, 1));
        a->key = tm_write_add(draft, a->key, tm_write_slice(draft, m->bias, 0, q_end, k_end));
        a->value = tm_write_add(draft, a->value, tm_write_slice(draft, m->bias, 0, k_end, NULL));
    }
    a->query = tm_write_add(draft, a->query, q_bias);
}

static tm_code read_operands(tm_draft *draft, multi_head *m) {
    tm_attention *a = &m->attention;
    tm_value *query = draft->inputs.items[0], *key = tm_draft_input(draft, 1),
             *value = tm_draft_input(draft, 2);
    int q_rank, k_rank = 0;
    TM_TRY(tm_draft_rank(draft, query, &q_rank));
    if (key != NULL)
        TM_TRY(tm_draft_rank(draft, key, &k_rank));
    a->query = query;
    a->key = key;
    a->value = value;
    if (q_rank == 5 && key == NULL && value == NULL) {
        a->query = unpack(draft, query, a->heads, 0);
        a->key = unpack(draft, query, a->heads, 1);
        a->value = unpack(draft, query, a->heads, 2);
    } else if (q_rank == 3 && k_rank == 5 && value == NULL) {
        a->key = unpack(draft, key, a->heads, 0);
        a->value = unpack(draft, key, a->heads, 1);
    } else if (q_rank == 3 && k_rank == 4 && value != NULL) {
        a->apart = true;
    } else if (q_rank != 3 || k_rank != 3 || value == NULL) {
        return tm_draft_fail(
            draft, TM_E_SHAPE,
            "query, key and value have 3 dims; or query has 5 and holds all; or key has 5 and holds "
            "both; or key and value have 4");
    }
    return TM_OK;
}

/* Caches and what the node gives of them; `past` (one, or NULL) is the length before. */
static tm_code join_caches(tm_draft *draft, multi_head *m, tm_value **out_past) {
    tm_attention *a = &m->attention;
    *out_past = m->past_length;
    if ((m->past[0] == NULL) != (m->past[1] == NULL))
        return tm_draft_fail(draft, TM_E_ARITY, "past_key and past_value must be given together");
    bool wanted = tm_draft_has_output(draft, 1) || tm_draft_has_output(draft, 2);
    if (m->past[0] == NULL && !wanted)
        return TM_OK;
    if (m->past[0] != NULL && a->apart)
        return tm_draft_fail(
            draft, TM_E_UNSUPPORTED_FORM,
            "%s with a past and with key and value of 4 dims, which are a past themselves; give "
            "one of them",
            draft->op);
    if (m->past[0] != NULL && *out_past == NULL)
        *out_past = tm_write_dims(draft, m->past[0], 2, 1);
    tm_value *fresh[2] = {a->key, a->value}, *visible[2];
    for (int i = 0; i < 2; i++) {
        tm_value *present;
        if (!a->apart)
            fresh[i] = tm_attention_split_heads(draft, fresh[i], a->heads);
        tm_attention_cache(draft, m->past[i], fresh[i], m->past_length, &present, &visible[i]);
        if (wanted)
            TM_TRY(tm_write_bind(draft, (size_t)i + 1, present));
    }
    if (m->past[0] != NULL) {
        a->key = visible[0];
        a->value = visible[1];
        a->apart = true;
    }
    return TM_OK;
}

static tm_code finish(tm_draft *draft, multi_head *m) {
    tm_attention *a = &m->attention;
    a->kv_heads = a->heads;
    a->scale = tm_draft_float(draft, "scale", 0);
    a->scores_output = 3;
    a->scores_mode = 2;
    if (m->bias != NULL)
        add_bias(draft, m);
    tm_value *past, *query = a->query, *visible = NULL;
    TM_TRY(join_caches(draft, m, &past));
    tm_value *total = tm_write_dims(draft, a->key, a->apart ? 2 : 1, 1);
    if (m->padding != NULL)
        TM_TRY(tm_attention_padding(
            draft, &(tm_padding){.mask = m->padding, .query = query, .past = past, .total = total},
            &visible));
    a->mask = tm_attention_fill(draft, visible, tm_draft_float(draft, "mask_filter_value", -10000.0), query,
                                tm_attention_bias(draft, m->attention_bias, query, total));
    a->causal = m->causal && past == NULL;
    if (m->causal && past != NULL) {
        tm_value *seen = tm_attention_causal(draft, query, past, total);
        a->mask = a->mask == NULL ? seen : tm_attention_fill(draft, seen, -INFINITY, query, a->mask);
    }
    return tm_attention_emit(draft, a);
}

static tm_code refuse_beams(tm_draft *draft, size_t index) {
    return tm_write_refuse_input(draft, index, "cache_indirection",
                                 "beams that share a cache; reorder the cache between runs instead");
}

tm_code tm_opset_multi_head_attention(tm_draft *draft) {
    multi_head m = {.bias = tm_draft_input(draft, 3),
                    .padding = tm_draft_input(draft, 4),
                    .attention_bias = tm_draft_input(draft, 5),
                    .past = {tm_draft_input(draft, 6), tm_draft_input(draft, 7)},
                    .past_length = tm_draft_input(draft, 8),
                    .causal = tm_draft_int(draft, "unidirectional", 0) != 0};
    TM_TRY(tm_attention_heads(draft, "num_heads", &m.attention.heads));
    TM_TRY(refuse_beams(draft, 9));
    if (m.past_length != NULL)
        m.past_length = tm_write_one(draft, m.past_length);
    TM_TRY(read_operands(draft, &m));
    return finish(draft, &m);
}

tm_code tm_opset_decoder_masked_attention(tm_draft *draft) {
    multi_head m = {.padding = tm_draft_input(draft, 3),
                    .attention_bias = tm_draft_input(draft, 4),
                    .past = {tm_draft_input(draft, 5), tm_draft_input(draft, 6)},
                    .bias = tm_draft_input(draft, 10)};
    TM_TRY(tm_attention_heads(draft, "num_heads", &m.attention.heads));
    TM_TRY(refuse_beams(draft, 9));
    if (tm_draft_int(draft, "past_present_share_buffer", 0) != 0 && m.past[0] != NULL) {
        if (tm_draft_input(draft, 7) == NULL)
            return tm_draft_fail(draft, TM_E_ARITY, "past_present_share_buffer needs past_sequence_length");
        m.past_length = tm_write_one(draft, draft->inputs.items[7]);
    }
    if (tm_draft_input(draft, 1) == NULL && tm_draft_input(draft, 2) == NULL) {
        tm_value *parts[3];
        tm_write_split(draft, draft->inputs.items[0], 2, 3, NULL, parts);
        m.attention.query = parts[0];
        m.attention.key = parts[1];
        m.attention.value = parts[2];
    } else {
        TM_TRY(read_operands(draft, &m));
    }
    return finish(draft, &m);
}
