/* SPDX-License-Identifier: Apache-2.0
 *
 * microsoft_group_query.c: GroupQueryAttention and RotaryEmbedding of ONNX Runtime.
 *
 *     GroupQueryAttention(q, k, v, past_k, past_v, seqlens_k, total, cos, sin)
 *         ->  present = TensorScatter(past, extended to max(past, total), RotaryEmbedding(k), start)
 *             y = Attention(RotaryEmbedding(q), present_k, present_v, visible)
 *
 * Sample b has seqlens_k[b] + 1 keys when the node is done; its new ones begin at start[b] = seqlens_k[b] + 1
 * - length, or at 0 when the sequence is the whole (length = total_sequence_length), where samples may be
 * padded at the right. Query i of sample b stands at start[b] + i and sees the keys up to itself,
 * local_window_size of them at most.
 *
 * A term in the softmax's sum that belongs to no key (smooth_softmax, head_sink) is a key of zeros whose
 * value is zeros: its score is what the mask adds, 0 or the sink of the head.
 */
#include "frontend/opset/attention.h"
#include "frontend/opset/opset.h"

#include <math.h>
#include <string.h>

enum {
    QUERY,
    KEY,
    VALUE,
    PAST_KEY,
    PAST_VALUE,
    SEQLENS,
    TOTAL,
    COS,
    SIN,
    POSITIONS,
    BIAS,
    SINK,
    KEY_SCALE,
    VALUE_SCALE,
    QUERY_NORM,
    KEY_NORM,
    QUERY_LENGTHS
};

typedef struct group_query {
    int64_t heads, kv_heads, window;
    tm_value *query, *key, *value; /* [batch, length, heads * size] */
    tm_value *length, *total;      /* ones */
    tm_value *whole;               /* bool [1]: the new entries are all; NULL: query_seqlens tells */
    tm_value *ends, *starts;       /* [batch] int64: keys after and before the new ones */
    tm_value *positions;           /* [batch, length] int64 */
    tm_value *keys, *values;       /* [batch, kv_heads, present, size] */
    bool causal, rotary;
} group_query;

static tm_code refuse(tm_draft *draft) {
    static const char cache[] =
        "a quantised cache; export the model with a cache of the type of its activations";
    TM_TRY(tm_write_refuse_input(draft, KEY_SCALE, "k_scale", cache));
    TM_TRY(tm_write_refuse_input(draft, VALUE_SCALE, "v_scale", cache));
    if (tm_draft_int(draft, "sliding_window_cache", 0) != 0)
        return tm_draft_fail(
            draft, TM_E_UNSUPPORTED_FORM,
            "GroupQueryAttention with sliding_window_cache: export it with a cache of the whole "
            "sequence");
    for (size_t i = 0; i < 2; i++)
        if (strcmp(tm_draft_string(draft, i == 0 ? "k_quant_type" : "v_quant_type", "NONE"), "NONE") != 0)
            return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM, "GroupQueryAttention with %s", cache);
    if (tm_draft_input(draft, SEQLENS) == NULL || tm_draft_input(draft, TOTAL) == NULL)
        return tm_draft_fail(draft, TM_E_ARITY, "seqlens_k and total_sequence_length are needed");
    if ((tm_draft_input(draft, PAST_KEY) == NULL) != (tm_draft_input(draft, PAST_VALUE) == NULL))
        return tm_draft_fail(draft, TM_E_ARITY, "past_key and past_value must be given together");
    return TM_OK;
}

/* Q, K and V, of which the query may hold all: [batch, length, (heads + 2 kv_heads) * size]. */
static tm_code read_operands(tm_draft *draft, group_query *g) {
    g->query = draft->inputs.items[QUERY];
    g->key = tm_draft_input(draft, KEY);
    g->value = tm_draft_input(draft, VALUE);
    if ((g->key == NULL) != (g->value == NULL))
        return tm_draft_fail(draft, TM_E_ARITY, "key and value must be given together");
    if (g->key != NULL)
        return TM_OK;
    int64_t last = tm_write_last_dim(draft, g->query), all = g->heads + 2 * g->kv_heads;
    int64_t dims[4] = {0, 0, all, last > 0 && last % all == 0 ? last / all : -1};
    tm_value *parts[3];
    tm_write_split(draft, tm_write_reshape(draft, g->query, 4, dims), 2, 3,
                   (int64_t[]){g->heads, g->kv_heads, g->kv_heads}, parts);
    g->query = tm_attention_pack(draft, parts[0], g->heads);
    g->key = tm_attention_pack(draft, parts[1], g->kv_heads);
    g->value = tm_attention_pack(draft, parts[2], g->kv_heads);
    return TM_OK;
}

static void find_positions(tm_draft *draft, group_query *g) {
    tm_value *one = tm_draft_constant_ints(draft, (int64_t[]){1}, 1);
    tm_value *lengths = tm_draft_input(draft, QUERY_LENGTHS);
    g->length = tm_write_dims(draft, g->query, 1, 1);
    /* As the dim of a tensor, a length that is data is one symbol, and known not to be negative. */
    tm_value *total = tm_write_range(draft, tm_write_one(draft, draft->inputs.items[TOTAL]));
    g->total = tm_write_dims(draft, total, 0, 1);
    g->ends = tm_write_reshape_to(draft, draft->inputs.items[SEQLENS], tm_write_dims(draft, g->query, 0, 1));
    g->ends = tm_write_add(draft, tm_write_cast(draft, g->ends, TAMIS_TYPE_INT64), one);
    if (lengths != NULL) {
        lengths = tm_write_cast(draft, lengths, TAMIS_TYPE_INT64);
        g->starts = tm_write_binary(draft, TM_OP_Sub, g->ends, lengths);
    } else {
        g->whole = tm_write_binary(draft, TM_OP_Equal, g->length, g->total);
        g->starts = tm_write_binary(draft, TM_OP_Sub, g->ends, g->length);
        g->starts =
            tm_write_where(draft, g->whole, tm_draft_constant_ints(draft, (int64_t[]){0}, 1), g->starts);
    }
    g->positions = tm_write_add(draft, tm_write_unsqueeze(draft, g->starts, 1, (int64_t[]){1}),
                                tm_write_range(draft, g->length));
}

/* RMS norm of each head. */
static tm_value *normalise_heads(tm_draft *draft, tm_value *x, int64_t heads, size_t weight,
                                 const char *epsilon) {
    if (tm_draft_input(draft, weight) == NULL)
        return x;
    int64_t last = tm_write_last_dim(draft, x);
    int64_t dims[4] = {0, 0, heads, last > 0 && last % heads == 0 ? last / heads : -1};
    tm_node *node =
        tm_draft_emit_node(draft, TM_OP_RMSNormalization, 2,
                           (tm_value *[]){tm_write_reshape(draft, x, 4, dims), draft->inputs.items[weight]});
    double common = tm_draft_float(draft, "qk_norm_epsilon", 1e-6);
    tm_node_set_float(node, "epsilon", tm_draft_float(draft, epsilon, common));
    return tm_attention_pack(draft, tm_draft_add_output(draft, node), heads);
}

static tm_value *rotate(tm_draft *draft, tm_value *x, int64_t heads, tm_value *positions,
                        int64_t interleaved) {
    tm_node *node =
        tm_draft_emit_node(draft, TM_OP_RotaryEmbedding, 4,
                           (tm_value *[]){x, draft->inputs.items[COS], draft->inputs.items[SIN], positions});
    tm_node_set_int(node, "num_heads", heads);
    int64_t half = tm_write_last_dim(draft, draft->inputs.items[COS]);
    tm_node_set_int(node, "rotary_embedding_dim", 2 * half);
    tm_node_set_int(node, "interleaved", interleaved);
    return tm_draft_add_output(draft, node);
}

/* position_ids, of which only the first counts for a whole sequence, as in ONNX Runtime. */
static tm_value *given_positions(tm_draft *draft, const group_query *g, tm_value *positions) {
    if (g->whole == NULL)
        return positions;
    tm_value *first = tm_write_entry(draft, tm_write_entry(draft, positions, 0, 0), 0, 0);
    tm_value *counted = tm_write_add(draft, tm_write_range(draft, g->length), first);
    return tm_write_where(draft, g->whole, counted, positions);
}

static tm_code turn(tm_draft *draft, group_query *g) {
    tm_value *positions = tm_draft_input(draft, POSITIONS);
    int64_t interleaved = tm_draft_int(draft, "rotary_interleaved", 0) != 0;
    if (tm_draft_int(draft, "do_rotary", 0) == 0)
        return TM_OK;
    if (tm_draft_input(draft, COS) == NULL || tm_draft_input(draft, SIN) == NULL)
        return tm_draft_fail(draft, TM_E_ARITY, "do_rotary needs cos_cache and sin_cache");
    if (tm_write_last_dim(draft, draft->inputs.items[COS]) == 0)
        return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM,
                             "do_rotary with a cos_cache whose last dim is not known; declare its dims");
    positions = positions != NULL ? given_positions(draft, g, positions) : g->positions;
    g->query = rotate(draft, g->query, g->heads, positions, interleaved);
    g->key = rotate(draft, g->key, g->kv_heads, positions, interleaved);
    return TM_OK;
}

/* The cache with the new entries, as long as the longer of the old one and total_sequence_length; it grows by
 * the new entries at most, so that an end behind them is behind the cache. */
static tm_value *update_cache(tm_draft *draft, group_query *g, tm_value *past, tm_value *fresh) {
    fresh = tm_attention_split_heads(draft, fresh, g->kv_heads);
    if (past == NULL)
        return fresh;
    tm_value *zero = tm_draft_constant_ints(draft, (int64_t[]){0}, 1);
    tm_value *missing = tm_write_binary(draft, TM_OP_Sub, g->total, tm_write_dims(draft, past, 2, 1));
    missing = tm_draft_emit(draft, TM_OP_Min, 2, (tm_value *[]){missing, g->length});
    missing = tm_draft_emit(draft, TM_OP_Max, 2, (tm_value *[]){missing, zero});
    tm_value *shape = tm_write_concat(
        draft, 0, 3,
        (tm_value *[]){tm_write_dims(draft, past, 0, 2), missing, tm_write_dims(draft, past, 3, 1)});
    tm_value *longer = tm_write_concat(draft, 2, 2, (tm_value *[]){past, tm_write_zeros(draft, shape, past)});
    return tm_draft_emit(draft, TM_OP_TensorScatter, 3, (tm_value *[]){longer, fresh, g->starts});
}

/* bool [batch, 1, length or 1, present] */
static tm_value *visible_keys(tm_draft *draft, const group_query *g) {
    tm_value *columns = tm_write_range(draft, tm_write_dims(draft, g->keys, 2, 1));
    if (!g->causal)
        return tm_write_binary(draft, TM_OP_Less, columns,
                               tm_write_unsqueeze(draft, g->ends, 3, (int64_t[]){1, 2, 3}));
    tm_value *rows = tm_write_unsqueeze(draft, g->positions, 2, (int64_t[]){1, 3});
    tm_value *visible = tm_write_binary(draft, TM_OP_LessOrEqual, columns, rows);
    if (g->window <= 0)
        return visible;
    tm_value *window = tm_draft_constant_int(draft, g->window);
    tm_value *near =
        tm_write_binary(draft, TM_OP_Less, tm_write_binary(draft, TM_OP_Sub, rows, columns), window);
    return tm_write_binary(draft, TM_OP_And, visible, near);
}

/* attention_bias ends at total_sequence_length; behind it a longer cache has nothing visible. */
static tm_value *bias_of(tm_draft *draft, const group_query *g) {
    tm_value *bias = tm_draft_input(draft, BIAS);
    if (bias == NULL || tm_draft_input(draft, PAST_KEY) == NULL)
        return bias;
    bias = tm_attention_bias(draft, bias, g->query, g->total);
    tm_value *behind = tm_write_binary(draft, TM_OP_Sub, tm_write_dims(draft, g->keys, 2, 1), g->total);
    tm_value *zeros = tm_draft_constant_ints(draft, (int64_t[]){0, 0, 0, 0, 0, 0, 0}, 7);
    tm_value *pads = tm_write_concat(draft, 0, 2, (tm_value *[]){zeros, behind});
    return tm_write_binary(draft, TM_OP_Pad, bias, pads);
}

/* Puts a key of zeros in front, whose score is 0 or the sink of the head. */
static void add_sink(tm_draft *draft, group_query *g, tm_value **mask) {
    tm_value *sink = tm_draft_input(draft, SINK), *one = tm_draft_constant_ints(draft, (int64_t[]){1}, 1);
    if (sink == NULL)
        sink = tm_write_zeros(draft, tm_draft_constant_ints(draft, &g->heads, 1), g->query);
    sink = tm_write_unsqueeze(draft, sink, 3, (int64_t[]){0, 2, 3});
    tm_value **operands[2] = {&g->keys, &g->values};
    for (int i = 0; i < 2; i++) {
        tm_value *x = *operands[i];
        tm_value *shape = tm_write_concat(
            draft, 0, 3, (tm_value *[]){tm_write_dims(draft, x, 0, 2), one, tm_write_dims(draft, x, 3, 1)});
        *operands[i] = tm_write_concat(draft, 2, 2, (tm_value *[]){tm_write_zeros(draft, shape, x), x});
    }
    tm_value *heads = tm_draft_constant_ints(draft, &g->heads, 1),
             *batch = tm_write_dims(draft, g->query, 0, 1);
    tm_value *last = tm_write_dims(draft, *mask, 3, 1);
    tm_value *parts[2] = {sink, *mask};
    for (int i = 0; i < 2; i++) {
        tm_value *shape =
            tm_write_concat(draft, 0, 4, (tm_value *[]){batch, heads, g->length, i == 0 ? one : last});
        parts[i] = tm_write_binary(draft, TM_OP_Expand, parts[i], shape);
    }
    *mask = tm_write_concat(draft, 3, 2, parts);
}

/* Of the scores, those of the keys up to total_sequence_length, without the sink. */
static tm_value *scores_of_keys(tm_draft *draft, const group_query *g, tm_value *scores, bool sink) {
    tm_value *first = tm_draft_constant_ints(draft, (int64_t[]){sink ? 1 : 0}, 1);
    return tm_write_slice(draft, scores, 3, first, tm_write_add(draft, g->total, first));
}

tm_code tm_opset_group_query_attention(tm_draft *draft) {
    group_query g = {.window = tm_draft_int(draft, "local_window_size", -1),
                     .causal = tm_draft_int(draft, "causal", 1) != 0};
    TM_TRY(tm_attention_heads(draft, "num_heads", &g.heads));
    TM_TRY(tm_attention_heads(draft, "kv_num_heads", &g.kv_heads));
    TM_TRY(refuse(draft));
    TM_TRY(read_operands(draft, &g));
    find_positions(draft, &g);
    g.query = normalise_heads(draft, g.query, g.heads, QUERY_NORM, "q_norm_epsilon");
    g.key = normalise_heads(draft, g.key, g.kv_heads, KEY_NORM, "k_norm_epsilon");
    TM_TRY(turn(draft, &g));
    g.keys = update_cache(draft, &g, tm_draft_input(draft, PAST_KEY), g.key);
    g.values = update_cache(draft, &g, tm_draft_input(draft, PAST_VALUE), g.value);
    TM_TRY(tm_write_bind(draft, 1, g.keys));
    TM_TRY(tm_write_bind(draft, 2, g.values));
    tm_value *mask = visible_keys(draft, &g), *bias = bias_of(draft, &g);
    bool sink = tm_draft_input(draft, SINK) != NULL || tm_draft_int(draft, "smooth_softmax", 0) == 1;
    bool weights = tm_draft_int(draft, "qk_output", 0) == 2;
    if (bias != NULL || sink)
        mask = tm_attention_fill(draft, mask, -INFINITY, g.query, bias);
    if (sink)
        add_sink(draft, &g, &mask);
    tm_value *scores, *y = tm_attention_value(draft,
                                              &(tm_attention){.query = g.query,
                                                              .key = g.keys,
                                                              .value = g.values,
                                                              .apart = true,
                                                              .heads = g.heads,
                                                              .kv_heads = g.kv_heads,
                                                              .mask = mask,
                                                              .scale = tm_draft_float(draft, "scale", 0),
                                                              .softcap = tm_draft_float(draft, "softcap", 0),
                                                              .scores_output = 3,
                                                              .scores_mode = weights ? 3 : 2},
                                              &scores);
    TM_TRY(tm_write_bind(draft, 0, y));
    return scores != NULL ? tm_write_bind(draft, 3, scores_of_keys(draft, &g, scores, sink)) : TM_OK;
}

/* Inputs: x, position_ids, cos_cache, sin_cache. One position is that of the first token of all samples. */
tm_code tm_opset_microsoft_rotary_embedding(tm_draft *draft) {
    tm_value *x = draft->inputs.items[0], *positions = tm_draft_input(draft, 1);
    tm_value *tables[2] = {tm_draft_input(draft, 2), tm_draft_input(draft, 3)};
    if (positions == NULL || tables[0] == NULL || tables[1] == NULL)
        return tm_draft_fail(draft, TM_E_ARITY, "position_ids, cos_cache and sin_cache are needed");
    int rank, position_rank;
    TM_TRY(tm_draft_rank(draft, x, &rank));
    TM_TRY(tm_draft_rank(draft, positions, &position_rank));
    int64_t heads = tm_draft_int(draft, "num_heads", 0),
            rotated = tm_draft_int(draft, "rotary_embedding_dim", 0);
    int64_t half = tm_write_last_dim(draft, tables[0]), last = tm_write_last_dim(draft, x);
    if (rank == 3 && heads == 0 && rotated == 0 && half > 0 && last % (2 * half) == 0)
        heads = last / (2 * half);
    if (rank == 3 && heads < 1)
        return tm_draft_fail(
            draft, TM_E_UNSUPPORTED_FORM,
            "RotaryEmbedding without num_heads, and dims of input and cos_cache that do not tell it; "
            "set num_heads");
    if (position_rank == 1) {
        int axis = rank == 4 ? 2 : 1;
        tm_value *length = tm_write_dims(draft, x, axis, 1);
        positions = tm_write_add(draft, tm_write_range(draft, length), positions);
        tm_value *shape = tm_write_concat(draft, 0, 2, (tm_value *[]){tm_write_dims(draft, x, 0, 1), length});
        positions = tm_write_binary(draft, TM_OP_Expand, positions, shape);
    }
    int64_t interleaved = tm_draft_int(draft, "interleaved", 0) != 0;
    tm_draft_clear_attributes(draft);
    tm_draft_set_int(draft, "interleaved", interleaved);
    tm_draft_set_int(draft, "rotary_embedding_dim", rotated);
    if (rank == 3)
        tm_draft_set_int(draft, "num_heads", heads);
    tm_draft_set_inputs(draft, 4, (tm_value *[]){x, tables[0], tables[1], positions});
    draft->domain = "";
    return TM_OK;
}
