/* SPDX-License-Identifier: Apache-2.0
 *
 * attention.c: what Attention of the standard asks for beyond the op's row.
 *
 *     Attention(q, k, v, mask) {is_causal, left_window_size: 2}
 *         ->   inside = columns >= rows - 2                      (a window is a mask)
 *              y = Attention(q, k, v, And(mask, inside)) {is_causal}
 *              seen = ReduceMax(And(And(mask, inside), columns <= rows))
 *              Where(seen, y, 0)                                 (a row that sees no key is 0)
 *
 * The row's Attention is the formula: softmax of nothing but minus infinity is NaN, as graphs that spell
 * attention out say. The standard's operator decides by its masks, so the zeros are put in here, where only
 * its nodes pay for them. Rows count from the keys before the first query on: those of the cache, or the
 * valid ones (nonpad_kv_seqlen) less the queries.
 */
#include "frontend/opset/attention.h"
#include "frontend/opset/opset.h"

#include <math.h>

typedef struct masks {
    tm_value *query, *key, *mask, *past, *lengths; /* the last three may be NULL */
    int64_t left, right;                           /* of the window; -1: no bound */
    bool causal;
    tm_value *rows, *columns; /* int64: [queries, 1] or [batch, 1, queries, 1]; [keys of the mask] */
} masks;

static tm_value *both(tm_draft *draft, tm_value *a, tm_value *b) {
    return a == NULL || b == NULL ? (a != NULL ? a : b) : tm_write_binary(draft, TM_OP_And, a, b);
}

/* The number of each key for every sample: [batch] -> [batch, 1, 1, 1] */
static tm_value *of_samples(tm_draft *draft, tm_value *x) {
    return tm_write_unsqueeze(draft, x, 3, (int64_t[]){1, 2, 3});
}

static void number_rows_and_columns(tm_draft *draft, masks *m) {
    if (!m->causal && m->left < 0 && m->right < 0 && m->lengths == NULL)
        return; /* the mask says all */
    tm_value *queries = tm_write_dims(draft, m->query, -2, 1), *before = NULL;
    tm_value *total = tm_write_dims(draft, m->key, -2, 1);
    if (m->past != NULL) {
        before = tm_write_dims(draft, m->past, -2, 1);
        total = tm_write_add(draft, before, total);
    } else if (m->lengths != NULL) {
        before = of_samples(draft, tm_write_binary(draft, TM_OP_Sub, m->lengths, queries));
    }
    tm_value *rows = tm_write_unsqueeze(draft, tm_write_range(draft, queries), 1, (int64_t[]){1});
    m->rows = tm_write_add(draft, rows, before);
    /* A mask may end before the keys do: what is behind it is not seen. */
    bool own_end = m->mask != NULL && tm_write_last_dim(draft, m->mask) != 1;
    m->columns = tm_write_range(draft, own_end ? tm_write_dims(draft, m->mask, -1, 1) : total);
}

static tm_value *shifted(tm_draft *draft, tm_value *rows, int64_t by) {
    return by == 0 ? rows : tm_write_add(draft, rows, tm_draft_constant_ints(draft, &by, 1));
}

/* NULL: no bound on either side. */
static tm_value *window(tm_draft *draft, const masks *m) {
    tm_value *inside = NULL;
    if (m->left >= 0)
        inside = tm_write_binary(draft, TM_OP_GreaterOrEqual, m->columns, shifted(draft, m->rows, -m->left));
    if (m->right >= 0)
        inside =
            both(draft, inside,
                 tm_write_binary(draft, TM_OP_LessOrEqual, m->columns, shifted(draft, m->rows, m->right)));
    return inside;
}

/* Which rows see a key: bool [batch or 1, heads or 1, queries or 1, 1]. `mask` has the window in it. */
static tm_value *rows_that_see(tm_draft *draft, const masks *m, tm_value *mask) {
    tm_value *visible = mask;
    if (mask != NULL && tm_draft_type(draft, mask) != TAMIS_TYPE_BOOL)
        visible = tm_write_unary(
            draft, TM_OP_Not,
            tm_write_binary(draft, TM_OP_Equal, mask, tm_write_number(draft, -(double)INFINITY, mask)));
    if (m->causal)
        visible = both(draft, visible, tm_write_binary(draft, TM_OP_LessOrEqual, m->columns, m->rows));
    if (m->lengths != NULL)
        visible = both(draft, visible,
                       tm_write_binary(draft, TM_OP_Less, m->columns, of_samples(draft, m->lengths)));
    tm_value *last = tm_draft_constant_ints(draft, (int64_t[]){-1}, 1);
    tm_value *seen = tm_write_binary(draft, TM_OP_ReduceMax, visible, last);
    return tm_write_binary(draft, TM_OP_Expand, seen,
                           tm_draft_constant_ints(draft, (int64_t[]){1, 1, 1, 1}, 4));
}

/* Y [batch, heads, queries, size], or packed in 3 dims, with 0 where a row saw nothing. */
static tm_code bind_result(tm_draft *draft, int rank, tm_value *seen, tm_value *y) {
    tm_value *zero = tm_write_number(draft, 0, draft->inputs.items[0]);
    if (rank != 3)
        return tm_write_bind(draft, 0, tm_write_where(draft, seen, y, zero));
    int64_t heads = tm_draft_int(draft, "q_num_heads", 0), own = tm_draft_int(draft, "kv_num_heads", 0);
    int64_t last = tm_write_last_dim(draft, draft->inputs.items[2]);
    int64_t size = last > 0 && own > 0 && last % own == 0 ? last / own : -1;
    y = tm_write_reshape(draft, y, 4, (int64_t[]){0, 0, heads, size});
    seen = tm_write_transpose(draft, seen, 4, (int64_t[]){0, 2, 1, 3});
    y = tm_attention_pack(draft, tm_write_where(draft, seen, y, zero), heads);
    return tm_write_bind(draft, 0, y);
}

/* The node of the row, and zeros in its first output and in the probabilities (mode 3 of the scores). */
static tm_code emit(tm_draft *draft, int rank, tm_value *seen) {
    tm_node *node = tm_draft_emit_node(draft, TM_OP_Attention, (int)draft->inputs.count, draft->inputs.items);
    TM_TRY(tm_draft_give_attributes(draft, node));
    tm_value *y = tm_draft_add_output(draft, node), *more[4] = {NULL};
    for (size_t i = 1; i < 4 && i < draft->outputs.count; i++) {
        if (tm_draft_has_output(draft, i))
            more[i] = tm_draft_add_output(draft, node);
        else
            tm_node_add_omitted_output(node);
    }
    if (more[3] != NULL && tm_draft_int(draft, "qk_matmul_output_mode", 0) == 3)
        more[3] = tm_write_where(draft, seen, more[3], tm_write_number(draft, 0, draft->inputs.items[0]));
    for (size_t i = 1; i < 4; i++)
        if (more[i] != NULL)
            TM_TRY(tm_write_bind(draft, i, more[i]));
    return bind_result(draft, rank, seen, y);
}

static tm_code read_window(tm_draft *draft, masks *m) {
    m->left = tm_draft_int(draft, "left_window_size", -1);
    m->right = tm_draft_int(draft, "right_window_size", -1);
    if (m->left < -1 || m->right < -1)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "left_window_size or right_window_size is below -1");
    if (draft->version >= 25) { /* before, the row refuses them */
        tm_draft_remove(draft, "left_window_size");
        tm_draft_remove(draft, "right_window_size");
    }
    return TM_OK;
}

tm_code tm_opset_attention(tm_draft *draft) {
    masks m = {.causal = tm_draft_int(draft, "is_causal", 0) != 0};
    m.query = tm_draft_input(draft, 0);
    m.key = tm_draft_input(draft, 1);
    m.mask = tm_draft_input(draft, 3);
    m.past = tm_draft_input(draft, 4);
    m.lengths = tm_draft_input(draft, 6);
    TM_TRY(read_window(draft, &m));
    /* A mask of integers is added to the scores like one of floats. */
    if (m.mask != NULL && tm_type_is_integer(tm_draft_type(draft, m.mask))) {
        m.mask = tm_draft_emit(draft, TM_OP_CastLike, 2, (tm_value *[]){m.mask, m.query});
        tm_draft_set_input(draft, 3, m.mask);
    }
    const bool has_window = m.left >= 0 || m.right >= 0;
    const tamis_type type = m.mask != NULL ? tm_draft_type(draft, m.mask) : TAMIS_TYPE_BOOL;
    int rank;
    if (type == TAMIS_TYPE_UNDEFINED && has_window)
        return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM,
                             "a window beside a mask whose type is not declared");
    if (m.query == NULL || m.key == NULL || tm_draft_input(draft, 2) == NULL ||
        (m.mask == NULL && m.lengths == NULL && !has_window) || type == TAMIS_TYPE_UNDEFINED ||
        !tm_draft_known_rank(draft, m.query, &rank) ||
        (rank == 3 && tm_draft_int(draft, "q_num_heads", 0) < 1))
        return TM_OK;
    number_rows_and_columns(draft, &m);
    tm_value *inside = window(draft, &m), *mask = m.mask;
    if (inside != NULL) {
        mask = type == TAMIS_TYPE_BOOL
                   ? both(draft, mask, inside)
                   : tm_write_where(draft, inside, mask, tm_write_number(draft, -(double)INFINITY, mask));
        tm_draft_set_input(draft, 3, mask);
    }
    return emit(draft, rank, rows_that_see(draft, &m, mask));
}
