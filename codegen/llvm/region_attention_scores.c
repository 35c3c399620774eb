/* SPDX-License-Identifier: Apache-2.0
 *
 * region_attention_scores.c: the first product of attention, Q times K turned round, with queries in the
 * lanes.
 *
 *     score[key][lanes] = mask[key][lanes] + sum over d of K[key][d] * turned Q[d][lanes]
 *
 * Rows of K are read where they lie, number by number, and spread over the lanes. What a mask adds is put
 * where the scores go before they are computed; the scores of a tile that it hides are not computed.
 */
#include "codegen/llvm/region_attention.h"

#include <math.h>

#define BLOCK TM_ATTENTION_KEYS
#define FEW 8 /* columns that are turned one by one: TM_ATTENTION_FEW of support.h */

static const tm_value *operand(const tm_region *r, const tm_attention *a, int i) {
    return r->node->inputs[a->inputs[i]];
}

static LLVMValueRef address(tm_region *r, LLVMTypeRef type, LLVMValueRef base, LLVMValueRef index) {
    return LLVMBuildInBoundsGEP2(r->e->builder, type, base, &index, 1, "");
}

void tm_attention_set_mask(tm_region *r, tm_attention *a) {
    if (a->inputs[3] < 0)
        return;
    const tm_value *m = operand(r, a, 3);
    LLVMValueRef stride = tm_int(r, 1);
    a->mask_base = a->mask_query = a->mask_key = tm_int(r, 0);
    for (int i = m->rank - 1; i >= 0; i--) {
        if (tm_dim_is(m->dims[i], 1))
            continue;
        int from_end = m->rank - 1 - i;
        if (from_end == 0)
            a->mask_key = stride;
        else if (from_end == 1)
            a->mask_query = stride;
        else
            a->mask_base = tm_add(r, a->mask_base, tm_mul(r, from_end == 2 ? a->head : a->batch, stride));
        stride = tm_mul(r, stride, tm_operand_dim(r, a->inputs[3], i));
    }
}

LLVMValueRef tm_attention_spread_mask(tm_region *r, const tm_attention *a, LLVMValueRef first,
                                      LLVMValueRef count) {
    tamis_type type = operand(r, a, 3)->type;
    LLVMValueRef at =
        tm_add(r, a->mask_base, tm_add(r, tm_mul(r, a->query, a->mask_query), tm_mul(r, first, a->mask_key)));
    LLVMValueRef arguments[9] = {address(r, tm_element_type(r, type), a->data[3], at),
                                 a->mask_query,
                                 a->mask_key,
                                 a->lanes,
                                 count,
                                 a->scores,
                                 tm_int(r, a->width),
                                 tm_int(r, a->block),
                                 a->least};
    LLVMValueRef any =
        tm_emit_call(r->e, type == TAMIS_TYPE_BOOL ? "tm_attention_mask_bool" : "tm_attention_mask_f32",
                     r->e->i32, arguments, 9);
    return LLVMBuildICmp(r->e->builder, LLVMIntNE, any, tm_emit_i32(r->e, 0), "");
}

/* Columns of Q that are turned together with `column`. */
static int64_t turned_columns(const tm_attention *a, int64_t column) {
    return column + a->chunk < a->size ? a->chunk : a->size - column;
}

/* Adds K[key][d] * Q[d][lanes] for one d to the dots of a block of keys. */
static void add_products(tm_region *r, const tm_attention *a, const LLVMValueRef *rows,
                         LLVMValueRef (*dots)[TM_ATTENTION_VECTORS], LLVMValueRef d,
                         const LLVMValueRef *known_q) {
    LLVMValueRef loaded[TM_ATTENTION_VECTORS];
    for (int j = 0; known_q == NULL && j < a->vectors; j++)
        loaded[j] = tm_attention_get(r, a, a->turned, d, j);
    const LLVMValueRef *q = known_q != NULL ? known_q : loaded;
    for (int i = 0; i < a->block; i++) {
        LLVMValueRef x = tm_load_splat(r, TAMIS_TYPE_FLOAT, rows[i], d);
        for (int j = 0; j < a->vectors; j++)
            LLVMBuildStore(r->e->builder, tm_fma(r, x, q[j], tm_held(r, dots[i][j])), dots[i][j]);
    }
}

/* Scores of a block of keys, from column `column` of Q on as far as it is turned. Behind the last key it is
 * repeated, which changes no maximum. */
static void score_block(tm_region *r, const tm_attention *a, LLVMValueRef first, LLVMValueRef block,
                        int64_t column, LLVMValueRef *best) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef dots[BLOCK][TM_ATTENTION_VECTORS], rows[BLOCK];
    LLVMValueRef last = tm_sub(r, a->keys, tm_int(r, 1));
    LLVMValueRef data = tm_element(r, a->data[1], tm_int(r, column));
    LLVMValueRef base = tm_element(r, data, tm_attention_row(r, a, 1, tm_add(r, first, block)));
    for (int i = 0; i < a->block; i++) {
        LLVMValueRef key = tm_add(r, tm_add(r, first, block), tm_int(r, i));
        rows[i] = a->whole ? tm_element(r, base, tm_int(r, i * tm_attention_row_stride(r, a, 1)))
                           : tm_element(r, data, tm_attention_row(r, a, 1, tm_min(r, key, last)));
        for (int j = 0; j < a->vectors; j++)
            dots[i][j] = tm_slot(
                r, column == 0 ? tm_splat_f32(r, 0)
                               : tm_attention_get(r, a, a->scores, tm_add(r, block, tm_int(r, i)), j));
    }
    if (a->size <= TM_ATTENTION_UNROLLED) {
        for (int d = 0; d < a->size; d++)
            add_products(r, a, rows, dots, tm_int(r, d), a->q[d]);
    } else {
        tm_loop d = tm_loop_begin(r, tm_int(r, 0), tm_int(r, turned_columns(a, column)), 1);
        add_products(r, a, rows, dots, d.index, NULL);
        tm_loop_end(r, &d);
    }
    for (int i = 0; i < a->block; i++)
        for (int j = 0; j < a->vectors; j++) {
            LLVMValueRef row = tm_add(r, block, tm_int(r, i)), score = tm_held(r, dots[i][j]);
            if (column + a->chunk < a->size) {
                tm_attention_put(r, a, score, a->scores, row, j);
                continue;
            }
            if (a->inputs[3] >= 0)
                score = LLVMBuildFAdd(b, score, tm_attention_get(r, a, a->scores, row, j), "");
            if (a->causal) {
                LLVMValueRef key = LLVMBuildTrunc(b, tm_add(r, first, row), r->e->i32, "");
                LLVMValueRef seen = LLVMBuildICmp(b, LLVMIntSLE, tm_splat(r, key), a->number[j], "");
                score = LLVMBuildSelect(b, seen, score, tm_splat_f32(r, -INFINITY), "");
            }
            tm_attention_put(r, a, score, a->scores, row, j);
            /* NaN passes the maximum over; its weight is NaN all the same. */
            LLVMValueRef most = tm_held(r, best[j]);
            LLVMValueRef more = LLVMBuildFCmp(b, LLVMRealOGT, score, most, "");
            LLVMBuildStore(b, LLVMBuildSelect(b, more, score, most, ""), best[j]);
        }
}

void tm_attention_turn_columns(tm_region *r, const tm_attention *a, int64_t column) {
    LLVMValueRef from = tm_add(r, tm_attention_row(r, a, 0, a->query), tm_int(r, column));
    LLVMValueRef arguments[7] = {tm_element(r, a->data[0], from),
                                 tm_int(r, tm_attention_row_stride(r, a, 0)),
                                 a->lanes,
                                 tm_int(r, turned_columns(a, column)),
                                 a->turned,
                                 tm_int(r, a->width),
                                 LLVMConstReal(r->e->f32, a->scale)};
    tm_emit_call(r->e, a->size < FEW ? "tm_attention_turn_few" : "tm_attention_turn", r->e->void_type,
                 arguments, 7);
}

void tm_attention_score(tm_region *r, const tm_attention *a, LLVMValueRef first, LLVMValueRef count,
                        LLVMValueRef *best) {
    for (int64_t column = 0; column < a->size; column += a->chunk) {
        if (a->by_tiles)
            tm_attention_turn_columns(r, a, column);
        tm_loop block = tm_loop_begin(r, tm_int(r, 0), count, a->block);
        score_block(r, a, first, block.index, column, best);
        tm_loop_end(r, &block);
    }
}
