/* SPDX-License-Identifier: Apache-2.0
 *
 * microsoft_attention.c: Attention and QAttention of ONNX Runtime, which hold the projection of Q, K and V
 * too.
 *
 *     Attention(x, weights[d, 3*h], bias, mask_index, past[2, b, n, p, s], attention_bias)
 *         ->  Attention(x Wq + bq, x Wk + bk, x Wv + bv, mask)
 *
 * The weights are split, not the product: they are constant, so the parts fold, and each product writes rows
 * that the attention reads as they are. QAttention multiplies integers, whose scales may be those of columns;
 * there the product is split.
 */
#include "frontend/opset/attention.h"
#include "frontend/opset/opset.h"

#include <math.h>

/* Base of the angles of rotary embedding, where an operator makes them itself. */
#define ROTARY_BASE 10000.0

typedef struct self_attention {
    tm_attention attention;
    tm_value *mask_index, *past, *bias, *past_length;
    double fill;
    bool causal;
} self_attention;

static tm_code read_attributes(tm_draft *draft, self_attention *out) {
    TM_TRY(tm_attention_heads(draft, "num_heads", &out->attention.heads));
    out->attention.kv_heads = out->attention.heads;
    out->attention.scale = tm_draft_float(draft, "scale", 0);
    out->fill = tm_draft_float(draft, "mask_filter_value", -10000.0);
    out->causal = tm_draft_int(draft, "unidirectional", 0) != 0;
    bool shared = tm_draft_int(draft, "past_present_share_buffer", 0) != 0;
    if (shared && (out->past_length == NULL || out->past == NULL))
        return tm_draft_fail(draft, TM_E_ARITY,
                             "past_present_share_buffer needs past and past_sequence_length");
    if (shared)
        out->past_length = tm_write_one(draft, out->past_length);
    else
        out->past_length = NULL;
    return TM_OK;
}

/* cos and sin of position * base^(-2 i / dim), for the positions past, past + 1, ... */
static tm_code rotate(tm_draft *draft, self_attention *self, tm_value *past) {
    tm_attention *a = &self->attention;
    int64_t hidden = tm_write_last_dim(draft, a->query);
    int64_t size = tm_draft_int(draft, "rotary_embedding_dim", 0);
    if (size == 0)
        size = hidden / a->heads;
    if (size < 2 || size % 2 != 0 || size > 1024)
        return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM,
                             "do_rotary with a head size that is not a known even number; give "
                             "rotary_embedding_dim");
    double frequencies[512];
    for (int64_t i = 0; i < size / 2; i++)
        frequencies[i] = pow(ROTARY_BASE, -2.0 * (double)i / (double)size);
    tm_value *positions = tm_write_range(draft, tm_write_dims(draft, a->query, 1, 1));
    positions = tm_write_unsqueeze(draft, tm_write_add(draft, positions, past), 1, (int64_t[]){1});
    tm_value *angles = tm_write_binary(draft, TM_OP_Mul, tm_write_cast(draft, positions, TAMIS_TYPE_FLOAT),
                                       tm_opset_floats(draft, frequencies, size / 2));
    tm_value *tables[2] = {tm_draft_emit(draft, TM_OP_Cos, 1, &angles),
                           tm_draft_emit(draft, TM_OP_Sin, 1, &angles)};
    tm_value *shape =
        tm_write_concat(draft, 0, 2,
                        (tm_value *[]){tm_write_dims(draft, a->query, 0, 2),
                                       tm_draft_constant_ints(draft, (int64_t[]){size / 2}, 1)});
    for (int i = 0; i < 2; i++) {
        tables[i] = tm_write_binary(draft, TM_OP_CastLike, tables[i], a->query);
        tables[i] = tm_write_binary(draft, TM_OP_Expand, tables[i], shape);
    }
    tm_value **operands[2] = {&a->query, &a->key};
    for (int i = 0; i < 2; i++) {
        tm_node *node = tm_draft_emit_node(draft, TM_OP_RotaryEmbedding, 3,
                                           (tm_value *[]){*operands[i], tables[0], tables[1]});
        tm_node_set_int(node, "num_heads", a->heads);
        tm_node_set_int(node, "rotary_embedding_dim", size);
        *operands[i] = tm_draft_add_output(draft, node);
    }
    return TM_OK;
}

/* The cache holds keys and values in one tensor, keys first. */
static tm_code join_cache(tm_draft *draft, self_attention *self) {
    tm_attention *a = &self->attention;
    bool wanted = tm_draft_has_output(draft, 1);
    if (self->past == NULL && !wanted)
        return TM_OK;
    tm_value *fresh[2] = {tm_attention_split_heads(draft, a->key, a->heads),
                          tm_attention_split_heads(draft, a->value, a->heads)};
    tm_value *present[2], *visible[2];
    for (int i = 0; i < 2; i++) {
        tm_value *past = self->past != NULL ? tm_write_entry(draft, self->past, 0, i) : NULL;
        tm_attention_cache(draft, past, fresh[i], self->past_length, &present[i], &visible[i]);
        present[i] = tm_write_unsqueeze(draft, present[i], 1, (int64_t[]){0});
    }
    if (self->past != NULL) {
        a->key = visible[0];
        a->value = visible[1];
        a->apart = true;
    }
    return wanted ? tm_write_bind(draft, 1, tm_write_concat(draft, 0, 2, present)) : TM_OK;
}

/* From projected Q, K and V on. */
static tm_code finish(tm_draft *draft, self_attention *self) {
    tm_attention *a = &self->attention;
    tm_value *past = self->past_length;
    if (self->past != NULL && past == NULL)
        past = tm_write_dims(draft, self->past, 3, 1);
    tm_value *query = a->query, *total = tm_write_add(draft, tm_write_dims(draft, query, 1, 1), past);
    if (tm_draft_int(draft, "do_rotary", 0) != 0)
        TM_TRY(rotate(draft, self, past));
    TM_TRY(join_cache(draft, self));
    tm_value *visible = NULL;
    if (self->mask_index != NULL)
        TM_TRY(tm_attention_padding(
            draft, &(tm_padding){.mask = self->mask_index, .query = query, .past = past, .total = total},
            &visible));
    a->mask = tm_attention_fill(draft, visible, self->fill, query,
                                tm_attention_bias(draft, self->bias, query, total));
    a->causal = self->causal && past == NULL;
    if (self->causal && past != NULL) {
        tm_value *seen = tm_attention_causal(draft, query, past, total);
        a->mask = a->mask == NULL ? seen : tm_attention_fill(draft, seen, -INFINITY, query, a->mask);
    }
    return tm_attention_emit(draft, a);
}

tm_code tm_opset_microsoft_attention(tm_draft *draft) {
    self_attention self = {.mask_index = tm_draft_input(draft, 3),
                           .past = tm_draft_input(draft, 4),
                           .bias = tm_draft_input(draft, 5),
                           .past_length = tm_draft_input(draft, 6)};
    TM_TRY(read_attributes(draft, &self));
    tm_value *x = draft->inputs.items[0], *weights = tm_draft_input(draft, 1),
             *bias = tm_draft_input(draft, 2);
    if (weights == NULL)
        return tm_draft_fail(draft, TM_E_ARITY, "the weights of the projection are needed");
    tm_value *parts[3];
    TM_TRY(tm_attention_project(draft, x, weights, bias, parts));
    self.attention.query = parts[0];
    self.attention.key = parts[1];
    self.attention.value = parts[2];
    return finish(draft, &self);
}

tm_code tm_opset_quantized_attention(tm_draft *draft) {
    self_attention self = {.mask_index = tm_draft_input(draft, 5), .past = tm_draft_input(draft, 8)};
    for (size_t i = 0; i < 5; i++)
        if (tm_draft_input(draft, i) == NULL)
            return tm_draft_fail(draft, TM_E_ARITY, "input, weight, bias and their scales are needed");
    if (tm_draft_int(draft, "past_present_share_buffer", 0) != 0)
        return tm_draft_fail(
            draft, TM_E_UNSUPPORTED_FORM,
            "QAttention with past_present_share_buffer: it has no input that says how much of the "
            "buffer is used; export it without shared buffers");
    TM_TRY(read_attributes(draft, &self));
    tm_value **inputs = draft->inputs.items;
    tm_value *operands[4] = {inputs[0], inputs[1], tm_draft_input(draft, 6), tm_draft_input(draft, 7)};
    tm_value *product = tm_draft_emit(draft, TM_OP_MatMulInteger, 4, operands);
    tm_value *scale = tm_write_binary(draft, TM_OP_Mul, inputs[3], inputs[4]);
    product = tm_write_binary(draft, TM_OP_CastLike, product, scale);
    product = tm_write_binary(draft, TM_OP_Mul, product, scale);
    tm_value *parts[3];
    tm_write_split(draft, tm_write_add(draft, product, inputs[2]), 2, 3, NULL, parts);
    self.attention.query = parts[0];
    self.attention.key = parts[1];
    self.attention.value = parts[2];
    return finish(draft, &self);
}
