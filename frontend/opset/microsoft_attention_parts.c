/* SPDX-License-Identifier: Apache-2.0
 *
 * microsoft_attention_parts.c: heads, caches and masks; see attention.h.
 *
 * Where nothing stands before the keys, heads stay packed in rows: the loop over tiles reads them there. A
 * cache has its heads apart, so then all operands have.
 *
 * A mask of zeros and ones is an addend with a finite fill (mask_filter_value): a row in which
 * everything is masked then is an average over what the scores say, not NaN.
 */
#include "frontend/opset/attention.h"
#include "frontend/opset/opset.h"

static const int64_t swap_middle[4] = {0, 2, 1, 3};

tm_code tm_attention_heads(tm_draft *draft, const char *attribute, int64_t *out_count) {
    *out_count = tm_draft_int(draft, attribute, 0);
    if (*out_count >= 1)
        return TM_OK;
    return tm_draft_fail(draft, TM_E_ATTRIBUTE, "%s must be given and positive", attribute);
}

/* ---- heads ---- */

tm_value *tm_attention_split_heads(tm_draft *draft, tm_value *x, int64_t heads) {
    int64_t last = tm_write_last_dim(draft, x);
    int64_t dims[4] = {0, 0, heads, last > 0 && last % heads == 0 ? last / heads : -1};
    return tm_write_transpose(draft, tm_write_reshape(draft, x, 4, dims), 4, swap_middle);
}

tm_value *tm_attention_pack(tm_draft *draft, tm_value *x, int64_t heads) {
    int64_t last = tm_write_last_dim(draft, x);
    return tm_write_reshape(draft, x, 3, (int64_t[]){0, 0, last > 0 ? heads * last : -1});
}

tm_value *tm_attention_merge_heads(tm_draft *draft, tm_value *x, int64_t heads) {
    return tm_attention_pack(draft, tm_write_transpose(draft, x, 4, swap_middle), heads);
}

tm_value *tm_attention_value(tm_draft *draft, const tm_attention *attention, tm_value **out_scores) {
    const tm_attention *a = attention;
    tm_value *inputs[4] = {a->query, a->key, a->value, a->mask};
    if (a->apart)
        inputs[0] = tm_attention_split_heads(draft, a->query, a->heads);
    tm_node *node = tm_draft_emit_node(draft, TM_OP_Attention, a->mask != NULL ? 4 : 3, inputs);
    if (!a->apart) {
        tm_node_set_int(node, "q_num_heads", a->heads);
        tm_node_set_int(node, "kv_num_heads", a->kv_heads);
    }
    if (a->causal)
        tm_node_set_int(node, "is_causal", 1);
    if (a->scale != 0)
        tm_node_set_float(node, "scale", a->scale);
    if (a->softcap != 0)
        tm_node_set_float(node, "softcap", a->softcap);
    tm_value *y = tm_draft_add_output(draft, node);
    *out_scores = NULL;
    if (a->scores_output != 0 && tm_draft_has_output(draft, a->scores_output)) {
        tm_node_set_int(node, "qk_matmul_output_mode", a->scores_mode);
        tm_node_add_omitted_output(node);
        tm_node_add_omitted_output(node);
        *out_scores = tm_draft_add_output(draft, node);
    }
    return a->apart ? tm_attention_merge_heads(draft, y, a->heads) : y;
}

tm_code tm_attention_emit(tm_draft *draft, const tm_attention *attention) {
    tm_value *scores, *y = tm_attention_value(draft, attention, &scores);
    if (scores != NULL)
        TM_TRY(tm_write_bind(draft, attention->scores_output, scores));
    return tm_write_bind(draft, 0, y);
}

tm_code tm_attention_project(tm_draft *draft, tm_value *x, tm_value *weights, tm_value *bias,
                             tm_value **out_parts) {
    const int64_t *sizes = NULL;
    int64_t count = 3;
    if (tm_draft_ints(draft, "qkv_hidden_sizes", &sizes, &count) && count != 3)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "qkv_hidden_sizes has %lld numbers instead of 3",
                             (long long)count);
    tm_value *biases[3] = {NULL, NULL, NULL};
    tm_write_split(draft, weights, 1, 3, sizes, out_parts);
    if (bias != NULL)
        tm_write_split(draft, bias, 0, 3, sizes, biases);
    for (int i = 0; i < 3; i++) {
        tm_value *product = tm_write_binary(draft, TM_OP_MatMul, x, out_parts[i]);
        out_parts[i] = tm_write_add(draft, product, biases[i]);
    }
    return TM_OK;
}

/* ---- cache ---- */

void tm_attention_cache(tm_draft *draft, tm_value *past, tm_value *fresh, tm_value *past_length,
                        tm_value **out_present, tm_value **out_visible) {
    *out_present = *out_visible = fresh;
    if (past == NULL)
        return;
    if (past_length == NULL) {
        *out_present = *out_visible = tm_write_concat(draft, 2, 2, (tm_value *[]){past, fresh});
        return;
    }
    tm_value *starts = tm_write_binary(draft, TM_OP_Expand, past_length, tm_write_dims(draft, past, 0, 1));
    *out_present = tm_draft_emit(draft, TM_OP_TensorScatter, 3, (tm_value *[]){past, fresh, starts});
    tm_value *total = tm_write_add(draft, past_length, tm_write_dims(draft, fresh, 2, 1));
    tm_value *zero = tm_draft_constant_ints(draft, (int64_t[]){0}, 1);
    *out_visible = tm_write_slice(draft, *out_present, 2, zero, total);
}

/* ---- masks ---- */

tm_value *tm_attention_fill(tm_draft *draft, tm_value *visible, double fill, tm_value *like, tm_value *bias) {
    if (visible == NULL)
        return bias;
    tm_value *addend =
        tm_write_where(draft, visible, tm_write_number(draft, 0, like), tm_write_number(draft, fill, like));
    return tm_write_add(draft, addend, bias);
}

tm_value *tm_attention_causal(tm_draft *draft, tm_value *query, tm_value *past, tm_value *total) {
    tm_value *rows = tm_write_range(draft, tm_write_dims(draft, query, 1, 1));
    rows = tm_write_unsqueeze(draft, tm_write_add(draft, rows, past), 1, (int64_t[]){1});
    return tm_write_binary(draft, TM_OP_LessOrEqual, tm_write_range(draft, total), rows);
}

tm_value *tm_attention_bias(tm_draft *draft, tm_value *bias, tm_value *query, tm_value *total) {
    if (bias == NULL)
        return NULL;
    tm_value *dims[3] = {tm_write_dims(draft, bias, 0, 2), tm_write_dims(draft, query, 1, 1), total};
    return tm_write_reshape_to(draft, bias, tm_write_concat(draft, 0, 3, dims));
}

/* One dim: where each sample's keys end; a second half, where it is known to be there or may be, says where
 * they start. Of 3 * batch + 2 numbers (for packed batches) the first are the ends. */
static tm_value *from_lengths(tm_draft *draft, const tm_padding *p) {
    tm_dims *dims = draft->importer->model->dims;
    tm_value *batch = tm_write_dims(draft, p->query, 0, 1),
             *zero = tm_draft_constant_ints(draft, (int64_t[]){0}, 1);
    tm_value *mask = tm_write_cast(draft, p->mask, TAMIS_TYPE_INT64),
             *columns = tm_write_range(draft, p->total);
    tm_value *ends = tm_write_slice(draft, mask, 0, zero, batch);
    static const int64_t behind[3] = {1, 2, 3};
    tm_value *visible =
        tm_write_binary(draft, TM_OP_Less, columns, tm_write_unsqueeze(draft, ends, 3, behind));
    if (p->mask->rank == 1 && p->query->rank > 0) {
        tm_dim count = p->mask->dims[0], samples = p->query->dims[0];
        tm_dim long_form =
            tm_dim_add(dims, tm_dim_mul(dims, samples, tm_dim_constant(dims, 3)), tm_dim_constant(dims, 2));
        if (count == samples || count == long_form)
            return visible;
    }
    tm_value *rest = tm_write_slice(draft, mask, 0, batch, NULL);
    tm_value *padded = tm_write_concat(draft, 0, 2, (tm_value *[]){rest, tm_write_zeros(draft, batch, mask)});
    tm_value *starts = tm_write_slice(draft, padded, 0, zero, batch);
    return tm_write_binary(
        draft, TM_OP_And, visible,
        tm_write_binary(draft, TM_OP_GreaterOrEqual, columns, tm_write_unsqueeze(draft, starts, 3, behind)));
}

tm_code tm_attention_padding(tm_draft *draft, const tm_padding *padding, tm_value **out_visible) {
    const tm_padding *p = padding;
    int rank, query_rank;
    TM_TRY(tm_draft_rank(draft, p->mask, &rank));
    TM_TRY(tm_draft_rank(draft, p->query, &query_rank));
    if (rank < 1 || rank > 4)
        return tm_draft_fail(draft, TM_E_SHAPE, "the mask has %d dims instead of 1 to 4", rank);
    if (rank == 1) {
        *out_visible = from_lengths(draft, p);
        return TM_OK;
    }
    tm_value *mask = p->mask;
    if (rank == 4) { /* of the longest sequences: rows from the past on, all columns so far */
        tm_value *start = p->past != NULL ? p->past : tm_draft_constant_ints(draft, (int64_t[]){0}, 1);
        tm_value *end = tm_write_add(draft, start, tm_write_dims(draft, p->query, 1, 1));
        mask = tm_write_slice(draft, mask, 2, start, end);
        mask = tm_write_slice(draft, mask, 3, tm_draft_constant_ints(draft, (int64_t[]){0}, 1), p->total);
    }
    mask = tm_write_binary(draft, TM_OP_Greater, mask, tm_write_number(draft, 0, mask));
    if (rank < 4) {
        tm_value *one = tm_draft_constant_ints(draft, (int64_t[]){1}, 1);
        tm_value *dims[4] = {tm_write_dims(draft, p->query, 0, 1), one,
                             rank == 2 ? one : tm_write_dims(draft, p->query, 1, 1), p->total};
        mask = tm_write_reshape_to(draft, mask, tm_write_concat(draft, 0, 4, dims));
    }
    *out_visible = mask;
    return TM_OK;
}
