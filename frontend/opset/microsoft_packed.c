/* SPDX-License-Identifier: Apache-2.0
 *
 * microsoft_packed.c: batches without their padding: RemovePadding, RestorePadding, PackedAttention and
 * PackedMultiHeadAttention of ONNX Runtime.
 *
 *     [batch, length, hidden] with lengths 2 and 1     a0 a1 --  b0 -- --     ->     a0 a1 b0  [tokens,
 * hidden] token_offset: where the tokens were, then the padding      0 1 3 | 2 4 5
 *
 * Attention over packed tokens puts the padding back, masks it by the lengths, and takes it out again: rows
 * move, and one query more than needed is computed for each token of padding.
 */
#include "frontend/opset/attention.h"
#include "frontend/opset/opset.h"

#include <math.h>

/* token_offset[0..tokens] as indices [tokens, 1] into batch * length rows. */
static tm_value *offsets_of(tm_draft *draft, tm_value *token_offset, tm_value *packed) {
    tm_value *flat =
        tm_write_cast(draft, tm_write_reshape(draft, token_offset, 1, (int64_t[]){-1}), TAMIS_TYPE_INT64);
    tm_value *zero = tm_draft_constant_ints(draft, (int64_t[]){0}, 1);
    flat = tm_write_slice(draft, flat, 0, zero, tm_write_dims(draft, packed, 0, 1));
    return tm_write_unsqueeze(draft, flat, 1, (int64_t[]){1});
}

/* [tokens, hidden] -> [batch, length, hidden], with zeros for padding. */
static tm_value *restore(tm_draft *draft, tm_value *packed, tm_value *token_offset) {
    tm_value *hidden = tm_write_dims(draft, packed, 1, 1), *grid = tm_write_dims(draft, token_offset, 0, 2);
    tm_value *rows = tm_write_binary(draft, TM_OP_Mul, tm_write_dims(draft, token_offset, 0, 1),
                                     tm_write_dims(draft, token_offset, 1, 1));
    tm_value *shape = tm_write_concat(draft, 0, 2, (tm_value *[]){rows, hidden});
    tm_value *inputs[3] = {tm_write_zeros(draft, shape, packed), offsets_of(draft, token_offset, packed),
                           packed};
    tm_value *padded = tm_draft_emit(draft, TM_OP_ScatterND, 3, inputs);
    return tm_write_reshape_to(draft, padded, tm_write_concat(draft, 0, 2, (tm_value *[]){grid, hidden}));
}

tm_code tm_opset_restore_padding(tm_draft *draft) {
    if (tm_draft_input(draft, 1) == NULL)
        return tm_draft_fail(draft, TM_E_ARITY, "token_offset is needed");
    return tm_write_bind(draft, 0, restore(draft, draft->inputs.items[0], draft->inputs.items[1]));
}

tm_code tm_opset_remove_padding(tm_draft *draft) {
    tm_value *x = draft->inputs.items[0], *counts = tm_draft_input(draft, 1);
    if (counts == NULL)
        return tm_draft_fail(draft, TM_E_ARITY, "sequence_token_count is needed");
    tm_value *grid = tm_write_dims(draft, x, 0, 2), *zero = tm_draft_constant_ints(draft, (int64_t[]){0}, 1);
    counts = tm_write_cast(draft, counts, TAMIS_TYPE_INT64);
    tm_value *columns = tm_write_range(draft, tm_write_dims(draft, x, 1, 1));
    tm_value *kept =
        tm_write_binary(draft, TM_OP_Less, columns, tm_write_unsqueeze(draft, counts, 1, (int64_t[]){1}));
    kept = tm_write_reshape(draft, kept, 1, (int64_t[]){-1});
    tm_value *places[2] = {kept, tm_draft_emit(draft, TM_OP_Not, 1, &kept)};
    for (int i = 0; i < 2; i++)
        places[i] =
            tm_write_reshape(draft, tm_draft_emit(draft, TM_OP_NonZero, 1, &places[i]), 1, (int64_t[]){-1});
    tm_value *dims[2] = {
        tm_write_binary(draft, TM_OP_Mul, tm_write_dims(draft, x, 0, 1), tm_write_dims(draft, x, 1, 1)),
        tm_write_dims(draft, x, 2, 1)};
    tm_value *rows = tm_write_reshape_to(draft, x, tm_write_concat(draft, 0, 2, dims));
    TM_TRY(tm_write_bind(draft, 0, tm_write_binary(draft, TM_OP_Gather, rows, places[0])));
    tm_value *offsets = tm_write_reshape_to(draft, tm_write_concat(draft, 0, 2, places), grid);
    TM_TRY(tm_write_bind(draft, 1, tm_write_cast(draft, offsets, TAMIS_TYPE_INT32)));
    tm_value *sums = tm_write_binary(draft, TM_OP_CumSum, counts, tm_draft_constant_int(draft, 0));
    sums = tm_write_concat(draft, 0, 2, (tm_value *[]){zero, sums});
    TM_TRY(tm_write_bind(draft, 2, tm_write_cast(draft, sums, TAMIS_TYPE_INT32)));
    tm_value *longest = tm_write_binary(draft, TM_OP_ReduceMax, counts, zero);
    return tm_write_bind(draft, 3, tm_write_cast(draft, longest, TAMIS_TYPE_INT32));
}

/* Attention over Q, K and V of [tokens, heads * size]. */
static tm_code attend(tm_draft *draft, tm_value *const *packed, tm_value *token_offset, tm_value *sums,
                      tm_value *bias) {
    tm_attention a = {.scale = tm_draft_float(draft, "scale", 0)};
    TM_TRY(tm_attention_heads(draft, "num_heads", &a.heads));
    a.kv_heads = a.heads;
    a.query = restore(draft, packed[0], token_offset);
    a.key = restore(draft, packed[1], token_offset);
    a.value = restore(draft, packed[2], token_offset);
    tm_value *zero = tm_draft_constant_ints(draft, (int64_t[]){0}, 1),
             *one = tm_draft_constant_ints(draft, (int64_t[]){1}, 1);
    sums = tm_write_cast(draft, sums, TAMIS_TYPE_INT64);
    tm_value *batch = tm_write_dims(draft, token_offset, 0, 1),
             *length = tm_write_dims(draft, token_offset, 1, 1);
    tm_value *lengths = tm_write_binary(draft, TM_OP_Sub, tm_write_slice(draft, sums, 0, one, NULL),
                                        tm_write_slice(draft, sums, 0, zero, batch));
    tm_value *seen = tm_write_binary(draft, TM_OP_Less, tm_write_range(draft, length),
                                     tm_write_unsqueeze(draft, lengths, 3, (int64_t[]){1, 2, 3}));
    a.mask = seen;
    if (bias != NULL)
        a.mask = tm_attention_fill(draft, seen, -INFINITY, packed[0],
                                   tm_attention_bias(draft, bias, token_offset, length));
    tm_value *none, *y = tm_attention_value(draft, &a, &none);
    tm_value *rows = tm_write_binary(draft, TM_OP_Mul, batch, length);
    y = tm_write_reshape_to(
        draft, y, tm_write_concat(draft, 0, 2, (tm_value *[]){rows, tm_write_dims(draft, y, 2, 1)}));
    return tm_write_bind(
        draft, 0, tm_write_binary(draft, TM_OP_GatherND, y, offsets_of(draft, token_offset, packed[0])));
}

tm_code tm_opset_packed_attention(tm_draft *draft) {
    tm_value *parts[3], **inputs = draft->inputs.items;
    for (size_t i = 0; i < 5; i++)
        if (tm_draft_input(draft, i) == NULL)
            return tm_draft_fail(draft, TM_E_ARITY, "input %zu may not be omitted", i);
    TM_TRY(tm_attention_project(draft, inputs[0], inputs[1], inputs[2], parts));
    return attend(draft, parts, inputs[3], inputs[4], tm_draft_input(draft, 5));
}

/* Q, K and V apart, or in one tensor [tokens, heads, 3, size]. */
tm_code tm_opset_packed_multi_head_attention(tm_draft *draft) {
    tm_value *parts[3] = {draft->inputs.items[0], tm_draft_input(draft, 1), tm_draft_input(draft, 2)};
    tm_value *bias = tm_draft_input(draft, 3), *offset = tm_draft_input(draft, 4),
             *sums = tm_draft_input(draft, 5);
    int rank;
    TM_TRY(tm_draft_rank(draft, parts[0], &rank));
    bool together = rank == 4 && parts[1] == NULL && parts[2] == NULL;
    if (offset == NULL || sums == NULL || (!together && (rank != 2 || parts[1] == NULL || parts[2] == NULL)))
        return tm_draft_fail(
            draft, TM_E_ARITY,
            "token_offset and cumulative_sequence_length are needed, and query, key and value of 2 "
            "dims or a query of 4 dims that holds all");
    for (int i = 2; i >= 0 && together; i--) {
        tm_value *part = tm_write_entry(draft, draft->inputs.items[0], 2, i);
        tm_value *dims[2] = {tm_write_dims(draft, part, 0, 1),
                             tm_write_binary(draft, TM_OP_Mul, tm_write_dims(draft, part, 1, 1),
                                             tm_write_dims(draft, part, 2, 1))};
        parts[i] = tm_write_reshape_to(draft, part, tm_write_concat(draft, 0, 2, dims));
    }
    tm_value *start = tm_draft_constant_ints(draft, (int64_t[]){0}, 1);
    for (int i = 0; i < 3 && bias != NULL; i++) {
        tm_value *end = tm_write_add(draft, start, tm_write_dims(draft, parts[i], 1, 1));
        parts[i] = tm_write_add(draft, parts[i], tm_write_slice(draft, bias, 0, start, end));
        start = end;
    }
    return attend(draft, parts, offset, sums, tm_draft_input(draft, 6));
}
