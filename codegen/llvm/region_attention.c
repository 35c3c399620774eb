/* SPDX-License-Identifier: Apache-2.0
 *
 * region_attention.c: scaled dot-product attention in one tile loop.
 *
 *     Y[b, h, q, :] = sum over k of softmax_k(scale * Q[b, h, q, :] . K[b, h, k, :] + mask[b, h, q, k]) V[b,
 * h, k, :]
 *
 * The lanes of all vectors are queries. A unit is one head and up to 32 queries, taken `width` at a time: their
 * rows of Q are turned once (support_attention.c), and then nothing is: numbers of K and V are read where they lie
 * and spread over the lanes,
 *
 *     score[key][lanes]  = sum over d of K[key][d] * turned Q[d][lanes]      `block` keys in registers
 *     weight[key][lanes] = exp(score - shift)
 *     mixed[d][lanes]   += V[key][d] * weight[key][lanes]                    `columns` of V in registers
 *
 * so maxima and sums of the softmax are per lane, no head size leaves lanes empty, and tails exist only beyond the
 * last query. Keys come in tiles; between tiles runs the softmax of Milakov and Gimelshein, "Online
 * normalizer calculation for softmax", 2018: a running maximum and sum per query, and the mixed values scaled
 * down when the maximum grows. No buffer grows with the square of the length.
 *
 * Keys whose weights vanish for all lanes are not on the list that weights are made from, and tiles that a mask
 * hides are left out whole. Small heads mix in the loop that makes the weights.
 *
 * A single query has a loop of its own (region_attention_one.c).
 *
 * Inputs: Q, K, V [batch, heads, length, size] or [batch, length, heads * size], optional mask (bool or f32,
 * broadcast). Queries of one group share the K and V head.
 */
#include "codegen/llvm/region_attention.h"

#include <math.h>
#include <string.h>

#define QUERIES TM_ATTENTION_QUERIES
#define BLOCK TM_ATTENTION_KEYS
#define FEW 8        /* columns that are turned one by one: TM_ATTENTION_FEW of support.h */
#define COLUMNS 8        /* of V at once, at most */
#define HIDDEN -0x1p29   /* what a mask adds to a key that is not to be seen, or less */
#define LEFT 4       /* keys at once behind the last whole block */

static const tm_value *operand(const tm_region *r, const tm_attention *a, int i) {
    return r->node->inputs[a->inputs[i]];
}

static int64_t head_count(const tm_attention *a, const tm_value *value, const char *attribute) {
    return value->rank == 4 ? value->dims[1]->constant : tm_node_int(a->node, attribute);
}

void tm_attention_set_up(tm_region *r, tm_attention *a) {
    a->node = r->body->first;
    for (int i = 0; i < 4; i++)
        a->inputs[i] = i < a->node->input_count ? tm_region_input_number(r->body, a->node->inputs[i]) : -1;
    const tm_value *q = operand(r, a, 0), *v = operand(r, a, 2);
    a->heads = head_count(a, q, "q_num_heads");
    a->kv_heads = head_count(a, operand(r, a, 1), "kv_num_heads");
    a->size = q->rank == 4 ? q->dims[3]->constant : q->dims[2]->constant / a->heads;
    a->value_size = v->rank == 4 ? v->dims[3]->constant : v->dims[2]->constant / a->kv_heads;
    a->causal = tm_node_int(a->node, "is_causal") != 0;
    double scale = tm_node_float(a->node, "scale");
    a->scale = isnan(scale) ? 1 / sqrt((double)a->size) : scale;
    a->queries = tm_operand_dim(r, a->inputs[0], q->rank - 2);
    a->keys = tm_operand_dim(r, a->inputs[1], operand(r, a, 1)->rank - 2);
}

static void set_up(tm_region *r, tm_attention *a) {
    tm_attention_set_up(r, a);
    tm_attention_schedule(r, a);
}

/* Both layouts have the length before last: [b, h, length, size], [b, length, h * size]. */
int64_t tm_attention_row_stride(const tm_region *r, const tm_attention *a, int i) {
    int64_t size = i < 2 ? a->size : a->value_size, heads = i == 1 || i == 2 ? a->kv_heads : a->heads;
    int rank = i == 3 ? r->node->outputs[0]->rank : operand(r, a, i)->rank;
    return rank == 4 ? size : heads * size;
}

LLVMValueRef tm_attention_row(tm_region *r, const tm_attention *a, int i, LLVMValueRef row) {
    int64_t size = i < 2 ? a->size : a->value_size;
    bool of_keys = i == 1 || i == 2;
    int64_t heads = of_keys ? a->kv_heads : a->heads;
    LLVMValueRef length = of_keys ? a->keys : a->queries, head = of_keys ? a->kv_head : a->head;
    int rank = i == 3 ? r->node->outputs[0]->rank : operand(r, a, i)->rank;
    if (rank == 4) {
        LLVMValueRef plane = tm_add(r, tm_mul(r, a->batch, tm_int(r, heads)), head);
        return tm_mul(r, tm_add(r, tm_mul(r, plane, length), row), tm_int(r, size));
    }
    LLVMValueRef line = tm_add(r, tm_mul(r, a->batch, length), row);
    return tm_mul(r, tm_add(r, tm_mul(r, line, tm_int(r, heads)), head), tm_int(r, size));
}

static LLVMValueRef address(tm_region *r, LLVMTypeRef type, LLVMValueRef base, LLVMValueRef index) {
    return LLVMBuildInBoundsGEP2(r->e->builder, type, base, &index, 1, "");
}

/* Vector j of row `row` in a buffer whose rows are `width` floats. */
static LLVMValueRef place(tm_region *r, const tm_attention *a, LLVMValueRef row, int j) {
    return tm_add(r, tm_mul(r, row, tm_int(r, a->width)), tm_int(r, (int64_t)j * r->lanes));
}

LLVMValueRef tm_attention_get(tm_region *r, const tm_attention *a, LLVMValueRef buffer, LLVMValueRef row, int j) {
    return tm_load_vector(r, TAMIS_TYPE_FLOAT, buffer, place(r, a, row, j));
}

void tm_attention_put(tm_region *r, const tm_attention *a, LLVMValueRef value, LLVMValueRef buffer, LLVMValueRef row,
                int j) {
    tm_store_vector(r, TAMIS_TYPE_FLOAT, value, buffer, place(r, a, row, j));
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

/* The same in two steps: weights in the order of the list, over the scores; then the columns of V in blocks. */
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
                start = multiply(r, tm_attention_get(r, a, a->mixed, tm_add(r, column, tm_int(r, i)), j), a->down[j]);
            sums[i][j] = tm_slot(r, start);
        }
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), count, 1);
    LLVMValueRef row = listed_key(r, a, key.index); /* where it starts, by now */
    LLVMValueRef weights[TM_ATTENTION_VECTORS], from = address(r, r->e->f32, a->data[2], tm_add(r, row, column));
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

/* A loop that runs twice if it has to. With fast math a tile is left out when its mask is HIDDEN or less for all queries
 * at hand, as exporters fill it with -1e9 or the lowest number: beside any other key these weigh nothing. A query that
 * sees no other key, however, sees all of these alike; when there is one, all is done again without leaving tiles out. */
typedef struct attempts {
    tm_loop loop;
    LLVMBasicBlockRef after;
    LLVMValueRef wanted; /* slot: another one is */
} attempts;

static attempts begin_attempts(tm_region *r, tm_attention *a) {
    LLVMBuilderRef b = r->e->builder;
    attempts t = {0};
    a->least = LLVMConstReal(r->e->f32, a->single ? NAN : -INFINITY);
    if (!r->fast || a->single || a->inputs[3] < 0 || operand(r, a, 3)->type != TAMIS_TYPE_FLOAT)
        return t;
    t.wanted = tm_region_alloca(r, r->e->i1, 1, 1);
    a->skipped = tm_region_alloca(r, r->e->i1, 1, 1);
    LLVMBuildStore(b, LLVMConstInt(r->e->i1, 1, 0), t.wanted);
    t.loop = tm_loop_begin(r, tm_int(r, 0), tm_int(r, 2), 1);
    t.after = tm_if_begin(r, LLVMBuildLoad2(b, r->e->i1, t.wanted, ""));
    LLVMValueRef again = LLVMBuildICmp(b, LLVMIntNE, t.loop.index, tm_int(r, 0), "");
    a->least = LLVMBuildSelect(b, again, a->least, LLVMConstReal(r->e->f32, HIDDEN), "");
    LLVMBuildStore(b, LLVMConstInt(r->e->i1, 0, 0), a->skipped);
    LLVMBuildStore(b, LLVMConstInt(r->e->i1, 0, 0), t.wanted);
    return t;
}

/* Is there one among the queries at hand that saw no other key? */
static void check_attempt(tm_region *r, const tm_attention *a, const attempts *t) {
    LLVMBuilderRef b = r->e->builder;
    LLVMTypeRef bits = LLVMIntTypeInContext(r->e->context, (unsigned)r->lanes);
    if (t->wanted == NULL)
        return;
    LLVMValueRef any = LLVMBuildLoad2(b, r->e->i1, t->wanted, "");
    for (int j = 0; j < a->vectors; j++) {
        LLVMValueRef none =
            LLVMBuildFCmp(b, LLVMRealULE, tm_held(r, a->maximum[j]), tm_splat_f32(r, HIDDEN / 2), "");
        none = LLVMBuildICmp(b, LLVMIntNE, LLVMBuildBitCast(b, none, bits, ""), LLVMConstNull(bits), "");
        any = LLVMBuildOr(b, any, LLVMBuildAnd(b, none, LLVMBuildLoad2(b, r->e->i1, a->skipped, ""), ""), "");
    }
    LLVMBuildStore(b, any, t->wanted);
}

static void end_attempts(tm_region *r, attempts *t) {
    if (t->wanted == NULL)
        return;
    tm_if_end(r, t->after);
    tm_loop_end(r, &t->loop);
}

/* One tile of keys, from `first` on. */
static void tile(tm_region *r, tm_attention *a, LLVMValueRef first, LLVMValueRef end) {
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

/* Divides by the sums and hands the answers over; rows that saw no key are NaN, as Softmax of nothing but
 * -inf is. */
static void finish(tm_region *r, const tm_attention *a) {
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
    tm_emit_call(r->e, a->value_size < FEW ? "tm_attention_return_few" : "tm_attention_return", r->e->void_type, arguments, 6);
}

/* Which the `width` queries of the unit from number `part` on are, or what is left of them. */
static void choose_queries(tm_region *r, tm_attention *a, LLVMValueRef part) {
    LLVMBuilderRef b = r->e->builder;
    a->query = tm_add(r, a->first_query, part);
    a->lanes = tm_min(r, tm_int(r, a->width), tm_sub(r, a->query_count, part));
    LLVMValueRef last = tm_sub(r, tm_add(r, a->query, a->lanes), tm_int(r, 1));
    for (int j = 0; j < a->vectors; j++) {
        LLVMValueRef lane[64];
        for (int i = 0; i < r->lanes; i++)
            lane[i] = LLVMBuildTrunc(
                b, tm_min(r, tm_add(r, a->query, tm_int(r, (int64_t)j * r->lanes + i)), last), r->e->i32, "");
        LLVMValueRef numbers = LLVMGetPoison(LLVMVectorType(r->e->i32, (unsigned)r->lanes));
        for (int i = 0; a->causal && i < r->lanes; i++)
            numbers = LLVMBuildInsertElement(b, numbers, lane[i], tm_emit_i32(r->e, i), "");
        a->number[j] = numbers;
    }
}

/* They saw no key yet. */
static void begin_queries(tm_region *r, tm_attention *a) {
    for (int j = 0; j < a->vectors; j++) {
        a->maximum[j] = tm_slot(r, tm_splat_f32(r, -INFINITY));
        a->sum[j] = tm_slot(r, tm_splat_f32(r, 0));
        for (int64_t d = 0; a->fused && d < a->value_size; d++)
            a->sums[d][j] = tm_slot(r, tm_splat_f32(r, 0));
    }
}

/* The answers so far: nothing. */
static void clear(tm_region *r, const tm_attention *a) {
    if (a->fused || a->single)
        return;
    if (a->rows > 0) {
        tm_attention_clear_rows(r, a);
        return;
    }
    tm_loop d = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->value_size), 1);
    for (int j = 0; j < a->vectors; j++)
        tm_attention_put(r, a, tm_splat_f32(r, 0), a->mixed, d.index, j);
    tm_loop_end(r, &d);
}

static int64_t unit_queries(const tm_region *r, const tm_attention *a) {
    return (int64_t)QUERIES * tm_attention_groups(r, a);
}

static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    tm_attention a = {0};
    set_up(r, &a);
    LLVMValueRef batch = tm_operand_dim(r, a.inputs[0], 0);
    int64_t queries = unit_queries(r, &a);
    LLVMValueRef shared = tm_attention_shared_heads(r, &a);
    LLVMValueRef planes = LLVMBuildUDiv(r->e->builder, tm_int(r, a.heads), shared, "");
    *out_units = tm_mul(r, tm_mul(r, batch, planes), tm_ceildiv(r, a.queries, queries));
    LLVMValueRef work = tm_mul(r, a.keys, tm_int(r, (a.size + a.value_size + 16) * queries));
    work = tm_max(r, tm_mul(r, work, shared), tm_int(r, 1));
    *out_grain = tm_add(r, LLVMBuildUDiv(r->e->builder, tm_int(r, 400000), work, ""), tm_int(r, 1));
    return TM_OK;
}

/* Keys behind the last one that the queries at hand may see. */
static LLVMValueRef end_of_keys(tm_region *r, const tm_attention *a) {
    return a->causal ? tm_min(r, a->keys, tm_add(r, a->query, a->lanes)) : a->keys;
}

/* The queries at hand and all keys, a tile at a time. */
static void all_keys(tm_region *r, tm_attention *a) {
    LLVMValueRef end = end_of_keys(r, a);
    clear(r, a);
    if (a->single) {
        tile(r, a, tm_int(r, 0), end);
        return;
    }
    tm_loop keys = tm_loop_begin(r, tm_int(r, 0), end, a->tile);
    tile(r, a, keys.index, end);
    tm_loop_end(r, &keys);
}

/* All queries of a unit, `width` at a time. */
static void unit(tm_region *r, tm_attention *a) {
    tm_loop part = tm_loop_begin(r, tm_int(r, 0), a->query_count, a->width);
    choose_queries(r, a, part.index);
    tm_attention_turn(r, a, 0);
    for (int d = 0; a->size <= TM_ATTENTION_UNROLLED && d < a->size; d++)
        for (int j = 0; j < a->vectors; j++)
            a->q[d][j] = tm_attention_get(r, a, a->turned, tm_int(r, d), j);
    attempts t = begin_attempts(r, a);
    begin_queries(r, a);
    all_keys(r, a);
    check_attempt(r, a, &t);
    end_attempts(r, &t);
    finish(r, a);
    tm_loop_end(r, &part);
}

/* Maxima and sums of the queries at hand, from number `part` of the unit on, back to where they wait. */
static void leave_queries(tm_region *r, const tm_attention *a, LLVMValueRef part) {
    for (int j = 0; j < a->vectors; j++) {
        LLVMValueRef at = tm_add(r, part, tm_int(r, (int64_t)j * r->lanes));
        tm_store_vector(r, TAMIS_TYPE_FLOAT, tm_held(r, a->maximum[j]), a->maxima, at);
        tm_store_vector(r, TAMIS_TYPE_FLOAT, tm_held(r, a->sum[j]), a->totals, at);
    }
}

static void resume_queries(tm_region *r, tm_attention *a, LLVMValueRef part) {
    choose_queries(r, a, part);
    begin_queries(r, a);
    for (int j = 0; j < a->vectors; j++) {
        LLVMValueRef at = tm_add(r, part, tm_int(r, (int64_t)j * r->lanes));
        LLVMBuildStore(r->e->builder, tm_load_vector(r, TAMIS_TYPE_FLOAT, a->maxima, at), a->maximum[j]);
        LLVMBuildStore(r->e->builder, tm_load_vector(r, TAMIS_TYPE_FLOAT, a->totals, at), a->sum[j]);
    }
}

/* The same with all queries of the unit going through a tile of keys before the next one. */
static void all_keys_by_tiles(tm_region *r, tm_attention *a) {
    tm_loop part = tm_loop_begin(r, tm_int(r, 0), a->query_count, a->width);
    choose_queries(r, a, part.index);
    begin_queries(r, a);
    clear(r, a);
    leave_queries(r, a, part.index);
    tm_loop_end(r, &part);
    a->query = a->first_query;
    a->lanes = a->query_count;
    tm_loop keys = tm_loop_begin(r, tm_int(r, 0), end_of_keys(r, a), a->tile);
    part = tm_loop_begin(r, tm_int(r, 0), a->query_count, a->width);
    resume_queries(r, a, part.index);
    LLVMValueRef end = end_of_keys(r, a);
    LLVMBasicBlockRef seen = a->causal ? tm_if_begin(r, tm_less(r, keys.index, end)) : NULL;
    tile(r, a, keys.index, end);
    leave_queries(r, a, part.index);
    if (seen != NULL)
        tm_if_end(r, seen);
    tm_loop_end(r, &part);
    tm_loop_end(r, &keys);
}

static void unit_by_tiles(tm_region *r, tm_attention *a) {
    a->maxima = tm_region_alloca(r, r->e->f32, unit_queries(r, a), 64);
    a->totals = tm_region_alloca(r, r->e->f32, unit_queries(r, a), 64);
    attempts t = begin_attempts(r, a);
    all_keys_by_tiles(r, a);
    tm_loop part = tm_loop_begin(r, tm_int(r, 0), a->query_count, a->width);
    resume_queries(r, a, part.index);
    check_attempt(r, a, &t);
    tm_loop_end(r, &part);
    end_attempts(r, &t);
    part = tm_loop_begin(r, tm_int(r, 0), a->query_count, a->width);
    resume_queries(r, a, part.index);
    finish(r, a);
    tm_loop_end(r, &part);
}

static void allocate(tm_region *r, tm_attention *a) {
    int64_t turned = (int64_t)a->chunk * a->width, packed = a->packs ? tm_attention_packed_bytes(r, a) / 4 : 0;
    if (a->by_tiles && packed > turned)
        turned = packed;
    a->turned = tm_region_alloca(r, r->e->f32, turned, 64);
    if (a->packs)
        a->packed = a->by_tiles ? a->turned : tm_region_alloca(r, r->e->f32, packed, 64);
    a->scores = tm_region_alloca(r, r->e->f32, (int64_t)(a->tile + BLOCK) * a->width, 64);
    if (a->rows > 0)
        a->factors = tm_region_alloca(r, r->e->f32, a->width, 64);
    else
        a->mixed = tm_region_alloca(r, r->e->f32, a->value_size * a->width, 64);
    a->list = tm_region_alloca(r, r->e->i64, a->tile, 64);
}

/* One after the other. */
static void heads(tm_region *r, tm_attention *a, LLVMValueRef shared) {
    LLVMValueRef first = a->head;
    allocate(r, a);
    tm_loop head = tm_loop_begin(r, first, tm_add(r, first, shared), 1);
    a->head = head.index;
    tm_attention_set_mask(r, a);
    if (a->by_tiles)
        unit_by_tiles(r, a);
    else
        unit(r, a);
    tm_loop_end(r, &head);
    a->head = first;
}

/* The unit at hand: the heads from the current one on that share K and V. */
static void heads_together(tm_region *r, tm_attention *a, LLVMValueRef shared) {
    LLVMValueRef is_one = tm_attention_is_one(r, a);
    int64_t known = is_one == NULL ? 0 : LLVMIsConstant(is_one) ? 1 : -1;
    LLVMBasicBlockRef after = NULL;
    if (known == -1)
        after = tm_if_begin(r, is_one);
    if (known != 0)
        tm_attention_one(r, a);
    if (known == -1) {
        tm_if_end(r, after);
        after = tm_if_begin(r, LLVMBuildNot(r->e->builder, is_one, ""));
    }
    if (known != 1)
        heads(r, a, shared);
    if (known == -1)
        tm_if_end(r, after);
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    tm_attention a = {0};
    LLVMBuilderRef b = r->e->builder;
    set_up(r, &a);
    for (int i = 0; i < 4; i++)
        a.data[i] = a.inputs[i] >= 0 ? tm_operand_data(r, a.inputs[i]) : NULL;
    a.out = tm_operand_data(r, r->node->input_count);
    int64_t queries = unit_queries(r, &a);
    LLVMValueRef shared = tm_attention_shared_heads(r, &a);
    LLVMValueRef blocks = tm_ceildiv(r, a.queries, queries);
    tm_loop units = tm_loop_begin(r, begin, end, 1);
    LLVMValueRef plane = LLVMBuildUDiv(b, units.index, blocks, "");
    a.first_query = tm_mul(r, tm_sub(r, units.index, tm_mul(r, plane, blocks)), tm_int(r, queries));
    a.query_count = tm_min(r, tm_int(r, queries), tm_sub(r, a.queries, a.first_query));
    LLVMValueRef planes = LLVMBuildUDiv(b, tm_int(r, a.heads), shared, "");
    a.batch = LLVMBuildUDiv(b, plane, planes, "");
    a.head = tm_mul(r, tm_sub(r, plane, tm_mul(r, a.batch, planes)), shared);
    a.kv_head = LLVMBuildUDiv(b, a.head, tm_int(r, a.heads / a.kv_heads), "");
    heads_together(r, &a, shared);
    tm_loop_end(r, &units);
    return TM_OK;
}

const tm_region_kind tm_region_kind_attention = {"attention", count, body};
