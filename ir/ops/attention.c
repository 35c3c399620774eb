/* SPDX-License-Identifier: Apache-2.0
 *
 * Inference of Attention, LinearAttention and RotaryEmbedding.
 *
 * Attention takes heads as a dim of their own, Q[batch, heads, q, size], or packed in the last one,
 * Q[batch, q, heads*size] with the number of heads as attribute. The keys are those of the cache
 * followed by the new ones: total = past + kv.
 */
#include "ir/infer.h"

#include <string.h>

static const tamis_type float_types[] = {TAMIS_TYPE_FLOAT, TAMIS_TYPE_DOUBLE, TAMIS_TYPE_FLOAT16,
                                         TAMIS_TYPE_BFLOAT16, 0};

typedef struct heads {
    tm_dim batch, heads, length, size;
} heads;

static tm_code heads_of(tm_infer_context *context, tm_node *node, int input, const char *attribute,
                        heads *out) {
    tm_value *value = tm_infer_input(node, input);
    int64_t count = tm_node_int(node, attribute);
    if (value->rank == 4) {
        *out = (heads){value->dims[0], value->dims[1], value->dims[2], value->dims[3]};
        return TM_OK;
    }
    if (count == TM_NO_DEFAULT || count < 1)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "%s is needed when heads are packed in the last dim",
                             attribute);
    tm_dim number = tm_infer_const(context, count);
    *out = (heads){value->dims[0], number, value->dims[1],
                   tm_dim_floordiv(context->dims, value->dims[2], number)};
    return tm_infer_equal(context, node, tm_dim_mul(context->dims, number, out->size), value->dims[2],
                          "heads times their size and the last dim");
}

/* Cache entry `input`: [batch, heads, past, size] as the keys or values that it precedes. */
static tm_code check_past(tm_infer_context *context, tm_node *node, int input, int like, const heads *of) {
    TM_TRY(tm_infer_need(node, input, 4));
    TM_TRY(tm_infer_same_type(node, like, input));
    tm_value *past = tm_infer_input(node, input);
    TM_TRY(tm_infer_equal(context, node, past->dims[0], of->batch, "batch of the cache"));
    TM_TRY(tm_infer_equal(context, node, past->dims[1], of->heads, "heads of the cache"));
    return tm_infer_equal(context, node, past->dims[3], of->size, "head size of the cache");
}

static tm_code check_mask(tm_infer_context *context, tm_node *node, tm_dim batch) {
    tm_value *mask = tm_infer_input(node, 3), *lengths = tm_infer_input(node, 6);
    if (mask != NULL) {
        TM_TRY(tm_infer_need(node, 3, -1));
        if (mask->type != TAMIS_TYPE_BOOL)
            TM_TRY(tm_infer_need_type(node, 3, float_types));
        if (mask->rank < 1 || mask->rank > 4)
            return tm_infer_fail(node, TM_E_SHAPE, "attn_mask has %d dims", mask->rank);
    }
    if (lengths != NULL) {
        TM_TRY(tm_infer_need(node, 6, 1));
        TM_TRY(tm_infer_need_type(node, 6, (tamis_type[]){TAMIS_TYPE_INT64, 0}));
        TM_TRY(tm_infer_equal(context, node, lengths->dims[0], batch, "nonpad_kv_seqlen and batch"));
    }
    return TM_OK;
}

tm_code tm_infer_attention(tm_infer_context *context, tm_node *node) {
    tm_dims *dims = context->dims;
    for (int i = 0; i < 3; i++) {
        TM_TRY(tm_infer_need(node, i, -1));
        TM_TRY(tm_infer_need_type(node, i, float_types));
    }
    tm_value *q = tm_infer_input(node, 0), *k = tm_infer_input(node, 1), *v = tm_infer_input(node, 2);
    if ((q->rank != 3 && q->rank != 4) || k->rank != q->rank || v->rank != q->rank)
        return tm_infer_fail(node, TM_E_SHAPE, "Q, K and V must have 3 dims, or 4, alike");
    TM_TRY(tm_infer_same_type(node, 0, 1));
    heads of_q, of_k, of_v;
    TM_TRY(heads_of(context, node, 0, "q_num_heads", &of_q));
    TM_TRY(heads_of(context, node, 1, "kv_num_heads", &of_k));
    TM_TRY(heads_of(context, node, 2, "kv_num_heads", &of_v));
    TM_TRY(tm_infer_equal(context, node, of_q.batch, of_k.batch, "batch of Q and K"));
    TM_TRY(tm_infer_equal(context, node, of_k.batch, of_v.batch, "batch of K and V"));
    TM_TRY(tm_infer_equal(context, node, of_q.size, of_k.size, "head size of Q and K"));
    TM_TRY(tm_infer_equal(context, node, of_k.heads, of_v.heads, "heads of K and V"));
    TM_TRY(tm_infer_equal(context, node, of_k.length, of_v.length, "length of K and V"));
    tm_value *past_k = tm_infer_input(node, 4), *past_v = tm_infer_input(node, 5);
    if ((past_k == NULL) != (past_v == NULL))
        return tm_infer_fail(node, TM_E_ARITY, "past_key and past_value must be given together");
    tm_dim total = of_k.length;
    if (past_k != NULL) {
        TM_TRY(check_past(context, node, 4, 1, &of_k));
        TM_TRY(check_past(context, node, 5, 2, &of_v));
        TM_TRY(tm_infer_equal(context, node, past_k->dims[2], past_v->dims[2],
                              "length of past_key and past_value"));
        total = tm_dim_add(dims, past_k->dims[2], of_k.length);
    }
    TM_TRY(check_mask(context, node, of_q.batch));
    tm_dim packed[3] = {of_q.batch, of_q.length, tm_dim_mul(dims, of_q.heads, of_v.size)};
    tm_dim apart[4] = {of_q.batch, of_q.heads, of_q.length, of_v.size};
    tm_infer_set(node, 0, q->type, q->rank, q->rank == 3 ? packed : apart);
    tm_infer_set(node, 1, k->type, 4, (tm_dim[]){of_k.batch, of_k.heads, total, of_k.size});
    tm_infer_set(node, 2, v->type, 4, (tm_dim[]){of_v.batch, of_v.heads, total, of_v.size});
    tm_infer_set(node, 3, q->type, 4, (tm_dim[]){of_q.batch, of_q.heads, of_q.length, total});
    return TM_OK;
}

static tm_code check_rule(tm_node *node) {
    const char *rule = tm_node_string(node, "update_rule");
    bool gated = strcmp(rule, "gated") == 0 || strcmp(rule, "gated_delta") == 0;
    bool delta = strcmp(rule, "delta") == 0 || strcmp(rule, "gated_delta") == 0;
    if (!gated && !delta && strcmp(rule, "linear") != 0)
        return tm_infer_fail(node, TM_E_ATTRIBUTE,
                             "update_rule is neither linear, gated, delta nor gated_delta");
    if (gated != (tm_infer_input(node, 4) != NULL))
        return tm_infer_fail(node, TM_E_ARITY, "the rule %s %s decay", rule, gated ? "needs" : "has no");
    if (delta != (tm_infer_input(node, 5) != NULL))
        return tm_infer_fail(node, TM_E_ARITY, "the rule %s %s beta", rule, delta ? "needs" : "has no");
    return TM_OK;
}

tm_code tm_infer_linear_attention(tm_infer_context *context, tm_node *node) {
    for (int i = 0; i < 3; i++) {
        TM_TRY(tm_infer_need(node, i, 3));
        TM_TRY(tm_infer_need_type(node, i, float_types));
    }
    int64_t q_heads = tm_node_int(node, "q_num_heads"), kv_heads = tm_node_int(node, "kv_num_heads");
    if (q_heads < 1 || kv_heads < 1 || q_heads % kv_heads != 0)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "q_num_heads must be a positive multiple of kv_num_heads");
    TM_TRY(check_rule(node));
    heads of_q, of_k, of_v;
    TM_TRY(heads_of(context, node, 0, "q_num_heads", &of_q));
    TM_TRY(heads_of(context, node, 1, "kv_num_heads", &of_k));
    TM_TRY(heads_of(context, node, 2, "kv_num_heads", &of_v));
    TM_TRY(tm_infer_equal(context, node, of_q.batch, of_k.batch, "batch of query and key"));
    TM_TRY(tm_infer_equal(context, node, of_k.batch, of_v.batch, "batch of key and value"));
    TM_TRY(tm_infer_equal(context, node, of_q.length, of_k.length, "length of query and key"));
    TM_TRY(tm_infer_equal(context, node, of_k.length, of_v.length, "length of key and value"));
    TM_TRY(tm_infer_equal(context, node, of_q.size, of_k.size, "head size of query and key"));
    for (int i = 4; i < 6; i++) {
        tm_value *gate = tm_infer_input(node, i);
        if (gate == NULL)
            continue;
        TM_TRY(tm_infer_need(node, i, 3));
        TM_TRY(tm_infer_need_type(node, i, float_types));
        TM_TRY(tm_infer_equal(context, node, gate->dims[0], of_k.batch, "batch of key and its gates"));
        TM_TRY(tm_infer_equal(context, node, gate->dims[1], of_k.length, "length of key and its gates"));
    }
    tm_dim state[4] = {of_k.batch, of_k.heads, of_k.size, of_v.size};
    tm_value *query = tm_infer_input(node, 0), *past = tm_infer_input(node, 3);
    if (past != NULL) {
        TM_TRY(tm_infer_need(node, 3, 4));
        TM_TRY(tm_infer_need_type(node, 3, float_types));
        for (int i = 0; i < 4; i++)
            TM_TRY(tm_infer_equal(context, node, past->dims[i], state[i], "dims of past_state"));
    }
    tm_dim out[3] = {of_q.batch, of_q.length, tm_dim_mul(context->dims, of_q.heads, of_v.size)};
    tm_infer_set(node, 0, query->type, 3, out);
    tm_infer_set(node, 1, past != NULL ? past->type : query->type, 4, state);
    return TM_OK;
}

tm_code tm_infer_rotary_embedding(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(node, 0, float_types));
    tm_value *x = tm_infer_input(node, 0), *ids = tm_infer_input(node, 3);
    if (x->rank != 3 && x->rank != 4)
        return tm_infer_fail(node, TM_E_SHAPE, "the input has %d dims instead of 3 or 4", x->rank);
    heads of;
    TM_TRY(heads_of(context, node, 0, "num_heads", &of));
    for (int i = 1; i < 3; i++) {
        TM_TRY(tm_infer_need(node, i, ids != NULL ? 2 : 3));
        TM_TRY(tm_infer_same_type(node, 0, i));
    }
    if (ids != NULL) {
        TM_TRY(tm_infer_need(node, 3, 2));
        TM_TRY(tm_infer_need_type(node, 3, (tamis_type[]){TAMIS_TYPE_INT64, 0}));
        TM_TRY(tm_infer_equal(context, node, ids->dims[0], of.batch, "batch of position_ids"));
        TM_TRY(tm_infer_equal(context, node, ids->dims[1], of.length, "length of position_ids"));
    }
    if (tm_node_int(node, "rotary_embedding_dim") < 0)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "rotary_embedding_dim is negative");
    tm_infer_set_like(node, 0, x->type, x);
    return TM_OK;
}
