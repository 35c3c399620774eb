/* SPDX-License-Identifier: Apache-2.0
 *
 * region_attention_softmax.c: a tile of keys for the queries in the lanes: scores, softmax, and what is
 * mixed.
 *
 * The softmax is the one of Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018: a
 * running maximum and sum per query, and the mixed values scaled down when the maximum grows.
 *
 * Keys whose weights vanish for all lanes are not on the list that weights are made from, and tiles that a
 * mask hides are left out whole. Small heads mix in the loop that makes the weights.
 */
#include "codegen/llvm/region_attention.h"

#include <math.h>

#define FEW 8     /* columns that are turned one by one: TM_ATTENTION_FEW of support.h */
#define COLUMNS 8 /* of V at once, at most */

static LLVMValueRef address(tm_region *r, LLVMTypeRef type, LLVMValueRef base, LLVMValueRef index) {
    return LLVMBuildInBoundsGEP2(r->e->builder, type, base, &index, 1, "");
}

static LLVMValueRef multiply(tm_region *r, LLVMValueRef x, LLVMValueRef y) {
    return LLVMBuildFMul(r->e->builder, x, y, "");
}

/* The running maximum: the new shift, and what older sums are scaled down by. A row without any key so far
 * gets a finite shift, so that exp gives 0 and not NaN. */
static void update_maxima(tm_region *r, tm_attention *a, const LLVMValueRef *best) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef lowest = tm_splat_f32(r, -INFINITY), zero = tm_splat_f32(r, 0);
    for (int j = 0; j < a->vectors; j++) {
        LLVMValueRef now = tm_held(r, best[j]), before = tm_held(r, a->maximum[j]);
        if (!a->single)
            now = LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOGT, now, before, ""), now, before, "");
        a->shift[j] = LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOEQ, now, lowest, ""), zero, now, "");
        if (a->single)
            continue;
        a->down[j] = tm_math(r, r->fast ? "weight" : "exp", LLVMBuildFSub(b, before, a->shift[j], ""));
        LLVMBuildStore(b, now, a->maximum[j]);
        LLVMBuildStore(b, multiply(r, tm_held(r, a->sum[j]), a->down[j]), a->sum[j]);
        for (int64_t d = 0; a->fused && d < a->value_size; d++)
            LLVMBuildStore(b, multiply(r, tm_held(r, a->sums[d][j]), a->down[j]), a->sums[d][j]);
    }
}

/* Lists the keys that have a weight for some lane: exp is 0 for the others. Nothing branches here, for which
 * keys these are is as good as random when scores are far apart. */
static LLVMValueRef list_keys(tm_region *r, const tm_attention *a, LLVMValueRef count) {
    LLVMBuilderRef b = r->e->builder;
    LLVMTypeRef bits = LLVMIntTypeInContext(r->e->context, (unsigned)r->lanes);
    LLVMValueRef listed = tm_slot(r, tm_int(r, 0)), lowest[TM_ATTENTION_VECTORS];
    for (int j = 0; j < a->vectors; j++)
        lowest[j] = LLVMBuildFAdd(b, a->shift[j], tm_splat_f32(r, r->fast ? -87 : -104.5), "");
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), count, 1);
    LLVMValueRef any = NULL, here = LLVMBuildLoad2(b, r->e->i64, listed, "");
    for (int j = 0; j < a->vectors; j++) {
        LLVMValueRef seen =
            LLVMBuildFCmp(b, LLVMRealUGE, tm_attention_get(r, a, a->scores, key.index, j), lowest[j], "");
        any = any == NULL ? seen : LLVMBuildOr(b, any, seen, "");
    }
    LLVMBuildStore(b, key.index, address(r, r->e->i64, a->list, here));
    any = LLVMBuildICmp(b, LLVMIntNE, LLVMBuildBitCast(b, any, bits, ""), LLVMConstNull(bits), "");
    LLVMBuildStore(b, tm_add(r, here, LLVMBuildZExt(b, any, r->e->i64, "")), listed);
    tm_loop_end(r, &key);
    return LLVMBuildLoad2(b, r->e->i64, listed, "");
}

static LLVMValueRef listed_key(tm_region *r, const tm_attention *a, LLVMValueRef i) {
    return LLVMBuildLoad2(r->e->builder, r->e->i64, address(r, r->e->i64, a->list, i), "");
}

/* Weights of a listed key, added up. */
static void weigh(tm_region *r, const tm_attention *a, LLVMValueRef key, LLVMValueRef *weights) {
    LLVMBuilderRef b = r->e->builder;
    for (int j = 0; j < a->vectors; j++) {
        LLVMValueRef x = LLVMBuildFSub(b, tm_attention_get(r, a, a->scores, key, j), a->shift[j], "");
        weights[j] = tm_math(r, r->fast ? "weight" : "exp", x);
        LLVMBuildStore(b, LLVMBuildFAdd(b, tm_held(r, a->sum[j]), weights[j], ""), a->sum[j]);
    }
}

/* The listed rows of V, each times its weights. */
static void weigh_and_mix(tm_region *r, const tm_attention *a, LLVMValueRef first, LLVMValueRef count) {
    tm_loop i = tm_loop_begin(r, tm_int(r, 0), count, 1);
    LLVMValueRef weights[TM_ATTENTION_VECTORS], key = listed_key(r, a, i.index);
    weigh(r, a, key, weights);
    LLVMValueRef row = tm_attention_row(r, a, 2, tm_add(r, first, key));
    for (int64_t d = 0; d < a->value_size; d++) {
        LLVMValueRef x = tm_load_splat(r, TAMIS_TYPE_FLOAT, a->data[2], tm_add(r, row, tm_int(r, d)));
        for (int j = 0; j < a->vectors; j++)
            LLVMBuildStore(r->e->builder, tm_fma(r, x, weights[j], tm_held(r, a->sums[d][j])), a->sums[d][j]);
    }
    tm_loop_end(r, &i);
}

/* The same in two steps: weights in the order of the list, over the scores; then the columns of V in blocks.
 */
static void weigh_listed(tm_region *r, const tm_attention *a, LLVMValueRef first, LLVMValueRef count) {
    tm_loop i = tm_loop_begin(r, tm_int(r, 0), count, 1);
    LLVMValueRef weights[TM_ATTENTION_VECTORS], key = listed_key(r, a, i.index);
    weigh(r, a, key, weights);
    for (int j = 0; j < a->vectors; j++)
        tm_attention_put(r, a, weights[j], a->scores, i.index, j);
    LLVMBuildStore(r->e->builder, tm_attention_row(r, a, 2, tm_add(r, first, key)),
                   address(r, r->e->i64, a->list, i.index));
    tm_loop_end(r, &i);
}

/* mixed[d] = mixed[d] * down + sum over listed keys of weight * V[d], for some columns d from `column` on. */
static void mix_columns(tm_region *r, const tm_attention *a, LLVMValueRef column, int columns,
                        LLVMValueRef count) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef sums[COLUMNS][TM_ATTENTION_VECTORS];
    for (int i = 0; i < columns; i++)
        for (int j = 0; j < a->vectors; j++) {
            LLVMValueRef start = tm_splat_f32(r, 0);
            if (!a->single)
                start = multiply(r, tm_attention_get(r, a, a->mixed, tm_add(r, column, tm_int(r, i)), j),
                                 a->down[j]);
            sums[i][j] = tm_slot(r, start);
        }
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), count, 1);
    LLVMValueRef row = listed_key(r, a, key.index); /* where it starts, by now */
    LLVMValueRef weights[TM_ATTENTION_VECTORS],
        from = address(r, r->e->f32, a->data[2], tm_add(r, row, column));
    for (int j = 0; j < a->vectors; j++)
        weights[j] = tm_attention_get(r, a, a->scores, key.index, j);
    for (int i = 0; i < columns; i++) {
        LLVMValueRef x = tm_load_splat(r, TAMIS_TYPE_FLOAT, from, tm_int(r, i));
        for (int j = 0; j < a->vectors; j++)
            LLVMBuildStore(b, tm_fma(r, x, weights[j], tm_held(r, sums[i][j])), sums[i][j]);
    }
    tm_loop_end(r, &key);
    for (int i = 0; i < columns; i++)
        for (int j = 0; j < a->vectors; j++)
            tm_attention_put(r, a, tm_held(r, sums[i][j]), a->mixed, tm_add(r, column, tm_int(r, i)), j);
}

static void mix(tm_region *r, const tm_attention *a, LLVMValueRef count) {
    int64_t whole = a->value_size / a->columns * a->columns;
    tm_loop column = tm_loop_begin(r, tm_int(r, 0), tm_int(r, whole), a->columns);
    mix_columns(r, a, column.index, a->columns, count);
    tm_loop_end(r, &column);
    if (whole < a->value_size)
        mix_columns(r, a, tm_int(r, whole), (int)(a->value_size - whole), count);
}

/* What the sums of the queries at hand are divided by: multiplied by, with fast math. */
static void divisors(tm_region *r, const tm_attention *a, LLVMValueRef *sums) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef one = tm_splat_f32(r, 1);
    for (int j = 0; j < a->vectors; j++) {
        sums[j] = tm_held(r, a->sum[j]);
        if (!a->single) { /* of no keys at all the answer is 0, a product over an empty axis */
            LLVMValueRef none = LLVMBuildICmp(b, LLVMIntEQ, a->keys, tm_int(r, 0), "");
            sums[j] = LLVMBuildSelect(b, none, one, sums[j], "");
        }
        if (r->fast)
            sums[j] = LLVMBuildFDiv(b, one, sums[j], "");
    }
}

void tm_attention_tile(tm_region *r, tm_attention *a, LLVMValueRef first, LLVMValueRef end) {
    LLVMValueRef count = tm_min(r, tm_int(r, a->tile), tm_sub(r, end, first)), best[TM_ATTENTION_VECTORS];
    LLVMBasicBlockRef hidden = NULL;
    if (a->inputs[3] >= 0) {
        LLVMBuilderRef b = r->e->builder;
        LLVMValueRef seen = tm_attention_spread_mask(r, a, first, count);
        if (a->skipped != NULL) {
            LLVMValueRef before = LLVMBuildLoad2(b, r->e->i1, a->skipped, "");
            LLVMBuildStore(b, LLVMBuildOr(b, before, LLVMBuildNot(b, seen, ""), ""), a->skipped);
        }
        if (!a->single) /* without a running maximum, all has to be computed to be NaN */
            hidden = tm_if_begin(r, seen);
    }
    for (int j = 0; j < a->vectors; j++)
        best[j] = tm_slot(r, tm_splat_f32(r, -INFINITY));
    tm_attention_score(r, a, first, count, best);
    update_maxima(r, a, best);
    LLVMValueRef listed = list_keys(r, a, count);
    if (a->fused)
        weigh_and_mix(r, a, first, listed);
    else {
        weigh_listed(r, a, first, listed);
        if (a->rows == 0)
            mix(r, a, listed);
        else if (a->single) {
            LLVMValueRef sums[TM_ATTENTION_VECTORS];
            divisors(r, a, sums);
            tm_attention_mix(r, a, listed, sums);
        } else
            tm_attention_mix(r, a, listed, a->down);
    }
    if (hidden != NULL)
        tm_if_end(r, hidden);
}

void tm_attention_finish(tm_region *r, const tm_attention *a) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef sums[TM_ATTENTION_VECTORS];
    if (a->rows > 0 && a->single) /* divided already */
        return;
    divisors(r, a, sums);
    if (a->rows > 0) {
        tm_attention_divide_rows(r, a, sums);
        return;
    }
    if (a->fused) {
        for (int d = 0; d < a->value_size; d++)
            for (int j = 0; j < a->vectors; j++) {
                LLVMValueRef x = tm_held(r, a->sums[d][j]);
                x = r->fast ? multiply(r, x, sums[j]) : LLVMBuildFDiv(b, x, sums[j], "");
                tm_attention_put(r, a, x, a->mixed, tm_int(r, d), j);
            }
    } else {
        tm_loop d = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->value_size), 1);
        for (int j = 0; j < a->vectors; j++) {
            LLVMValueRef x = tm_attention_get(r, a, a->mixed, d.index, j);
            x = r->fast ? multiply(r, x, sums[j]) : LLVMBuildFDiv(b, x, sums[j], "");
            tm_attention_put(r, a, x, a->mixed, d.index, j);
        }
        tm_loop_end(r, &d);
    }
    LLVMValueRef arguments[6] = {a->mixed,
                                 tm_int(r, a->width),
                                 a->lanes,
                                 tm_int(r, a->value_size),
                                 address(r, r->e->f32, a->out, tm_attention_row(r, a, 3, a->query)),
                                 tm_int(r, tm_attention_row_stride(r, a, 3))};
    tm_emit_call(r->e, a->value_size < FEW ? "tm_attention_return_few" : "tm_attention_return",
                 r->e->void_type, arguments, 6);
}
