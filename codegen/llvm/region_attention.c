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
#include "codegen/llvm/schedule.h"

#include <math.h>
#include <string.h>

#define QUERIES 32   /* of a unit: the same for all levels */
#define FEW 8        /* columns that are turned one by one: TM_ATTENTION_FEW of support.h */
#define BLOCK 8      /* keys, or columns of V, at once */

static const tm_value *operand(const tm_region *r, const tm_attention *a, int i) {
    return r->node->inputs[a->inputs[i]];
}

static int64_t head_count(const tm_attention *a, const tm_value *value, const char *attribute) {
    return value->rank == 4 ? value->dims[1]->constant : tm_node_int(a->node, attribute);
}

/* Shapes of the loops. */
static void set_up_loops(tm_region *r, tm_attention *a) {
    tm_schedule schedule = tm_schedule_of(r->e->options, r->level, r->node);
    int64_t keys = LLVMIsConstant(a->keys) ? LLVMConstIntGetSExtValue(a->keys) : INT64_MAX /* odd */;
    a->width = schedule.queries;
    a->vectors = a->width / r->lanes;
    a->block = schedule.keys;
    a->columns = schedule.values;
    a->fused = a->value_size * a->vectors <= (r->level->vector_registers >= 32 ? 16 : 8);
    a->tile = schedule.tile;
    a->single = keys >= 1 && keys <= a->tile;
    if (a->single)
        a->tile = (int)keys;
    a->whole = a->tile % a->block == 0 && keys % a->block == 0;
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
    set_up_loops(r, a);
}

/* Elements from one row of an operand (3: of the output) to the next. Both layouts have the length before
 * last: [b, h, length, size], [b, length, h * size]. */
static int64_t row_stride(const tm_region *r, const tm_attention *a, int i) {
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

static LLVMValueRef get(tm_region *r, const tm_attention *a, LLVMValueRef buffer, LLVMValueRef row, int j) {
    return tm_load_vector(r, TAMIS_TYPE_FLOAT, buffer, place(r, a, row, j));
}

static void put(tm_region *r, const tm_attention *a, LLVMValueRef value, LLVMValueRef buffer, LLVMValueRef row,
                int j) {
    tm_store_vector(r, TAMIS_TYPE_FLOAT, value, buffer, place(r, a, row, j));
}

static LLVMValueRef multiply(tm_region *r, LLVMValueRef x, LLVMValueRef y) {
    return LLVMBuildFMul(r->e->builder, x, y, "");
}

static void set_mask(tm_region *r, tm_attention *a) {
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

/* Puts what the mask adds to the tile's scores into their places; is there any key to be seen? */
static LLVMValueRef spread_mask(tm_region *r, const tm_attention *a, LLVMValueRef first, LLVMValueRef count) {
    tamis_type type = operand(r, a, 3)->type;
    LLVMValueRef at = tm_add(r, a->mask_base, tm_add(r, tm_mul(r, a->query, a->mask_query),
                                                     tm_mul(r, first, a->mask_key)));
    LLVMValueRef arguments[8] = {address(r, tm_element_type(r, type), a->data[3], at),
                                 a->mask_query,
                                 a->mask_key,
                                 a->lanes,
                                 count,
                                 a->scores,
                                 tm_int(r, a->width),
                                 tm_int(r, a->block)};
    LLVMValueRef any =
        tm_emit_call(r->e, type == TAMIS_TYPE_BOOL ? "tm_attention_mask_bool" : "tm_attention_mask_f32", r->e->i32,
                     arguments, 8);
    return LLVMBuildICmp(r->e->builder, LLVMIntNE, any, tm_emit_i32(r->e, 0), "");
}

/* Adds K[key][d] * Q[d][lanes] for one d to the dots of a block of keys. */
static void add_products(tm_region *r, const tm_attention *a, const LLVMValueRef *rows,
                         LLVMValueRef (*dots)[TM_ATTENTION_VECTORS], LLVMValueRef d, const LLVMValueRef *known_q) {
    LLVMValueRef loaded[TM_ATTENTION_VECTORS];
    for (int j = 0; known_q == NULL && j < a->vectors; j++)
        loaded[j] = get(r, a, a->turned, d, j);
    const LLVMValueRef *q = known_q != NULL ? known_q : loaded;
    for (int i = 0; i < a->block; i++) {
        LLVMValueRef x = tm_load_splat(r, TAMIS_TYPE_FLOAT, rows[i], d);
        for (int j = 0; j < a->vectors; j++)
            LLVMBuildStore(r->e->builder, tm_fma(r, x, q[j], tm_held(r, dots[i][j])), dots[i][j]);
    }
}

/* Scores of a block of keys. Behind the last key it is repeated, which changes no maximum. */
static void score_block(tm_region *r, const tm_attention *a, LLVMValueRef first, LLVMValueRef block,
                        LLVMValueRef *best) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef dots[BLOCK][TM_ATTENTION_VECTORS], rows[BLOCK];
    LLVMValueRef last = tm_sub(r, a->keys, tm_int(r, 1));
    for (int i = 0; i < a->block; i++) {
        LLVMValueRef key = tm_add(r, tm_add(r, first, block), tm_int(r, i));
        key = a->whole ? key : tm_min(r, key, last);
        rows[i] = address(r, r->e->f32, a->data[1], tm_attention_row(r, a, 1, key));
        for (int j = 0; j < a->vectors; j++)
            dots[i][j] = tm_slot(r, tm_splat_f32(r, 0));
    }
    if (a->size <= TM_ATTENTION_UNROLLED) {
        for (int d = 0; d < a->size; d++)
            add_products(r, a, rows, dots, tm_int(r, d), a->q[d]);
    } else {
        tm_loop d = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->size), 1);
        add_products(r, a, rows, dots, d.index, NULL);
        tm_loop_end(r, &d);
    }
    for (int i = 0; i < a->block; i++)
        for (int j = 0; j < a->vectors; j++) {
            LLVMValueRef row = tm_add(r, block, tm_int(r, i)), score = tm_held(r, dots[i][j]);
            if (a->inputs[3] >= 0)
                score = LLVMBuildFAdd(b, score, get(r, a, a->scores, row, j), "");
            if (a->causal) {
                LLVMValueRef key = LLVMBuildTrunc(b, tm_add(r, first, row), r->e->i32, "");
                LLVMValueRef seen = LLVMBuildICmp(b, LLVMIntSLE, tm_splat(r, key), a->number[j], "");
                score = LLVMBuildSelect(b, seen, score, tm_splat_f32(r, -INFINITY), "");
            }
            put(r, a, score, a->scores, row, j);
            /* NaN passes the maximum over; its weight is NaN all the same. */
            LLVMValueRef most = tm_held(r, best[j]);
            LLVMValueRef more = LLVMBuildFCmp(b, LLVMRealOGT, score, most, "");
            LLVMBuildStore(b, LLVMBuildSelect(b, more, score, most, ""), best[j]);
        }
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
            LLVMBuildFCmp(b, LLVMRealUGE, get(r, a, a->scores, key.index, j), lowest[j], "");
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
        LLVMValueRef x = LLVMBuildFSub(b, get(r, a, a->scores, key, j), a->shift[j], "");
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
        put(r, a, weights[j], a->scores, i.index, j);
    LLVMBuildStore(r->e->builder, tm_attention_row(r, a, 2, tm_add(r, first, key)),
                   address(r, r->e->i64, a->list, i.index));
    tm_loop_end(r, &i);
}

/* mixed[d] = mixed[d] * down + sum over listed keys of weight * V[d], for some columns d from `column` on. */
static void mix_columns(tm_region *r, const tm_attention *a, LLVMValueRef column, int columns,
                        LLVMValueRef count) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef sums[BLOCK][TM_ATTENTION_VECTORS];
    for (int i = 0; i < columns; i++)
        for (int j = 0; j < a->vectors; j++) {
            LLVMValueRef start = tm_splat_f32(r, 0);
            if (!a->single)
                start = multiply(r, get(r, a, a->mixed, tm_add(r, column, tm_int(r, i)), j), a->down[j]);
            sums[i][j] = tm_slot(r, start);
        }
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), count, 1);
    LLVMValueRef row = listed_key(r, a, key.index); /* where it starts, by now */
    LLVMValueRef weights[TM_ATTENTION_VECTORS], from = address(r, r->e->f32, a->data[2], tm_add(r, row, column));
    for (int j = 0; j < a->vectors; j++)
        weights[j] = get(r, a, a->scores, key.index, j);
    for (int i = 0; i < columns; i++) {
        LLVMValueRef x = tm_load_splat(r, TAMIS_TYPE_FLOAT, from, tm_int(r, i));
        for (int j = 0; j < a->vectors; j++)
            LLVMBuildStore(b, tm_fma(r, x, weights[j], tm_held(r, sums[i][j])), sums[i][j]);
    }
    tm_loop_end(r, &key);
    for (int i = 0; i < columns; i++)
        for (int j = 0; j < a->vectors; j++)
            put(r, a, tm_held(r, sums[i][j]), a->mixed, tm_add(r, column, tm_int(r, i)), j);
}

static void mix(tm_region *r, const tm_attention *a, LLVMValueRef count) {
    int64_t whole = a->value_size / a->columns * a->columns;
    tm_loop column = tm_loop_begin(r, tm_int(r, 0), tm_int(r, whole), a->columns);
    mix_columns(r, a, column.index, a->columns, count);
    tm_loop_end(r, &column);
    if (whole < a->value_size)
        mix_columns(r, a, tm_int(r, whole), (int)(a->value_size - whole), count);
}

/* One tile of keys, from `first` on. */
static void tile(tm_region *r, tm_attention *a, LLVMValueRef first, LLVMValueRef end) {
    LLVMValueRef count = tm_min(r, tm_int(r, a->tile), tm_sub(r, end, first)), best[TM_ATTENTION_VECTORS];
    LLVMBasicBlockRef hidden = NULL;
    if (a->inputs[3] >= 0) {
        LLVMValueRef seen = spread_mask(r, a, first, count);
        if (!a->single) /* without a running maximum, all has to be computed to be NaN */
            hidden = tm_if_begin(r, seen);
    }
    for (int j = 0; j < a->vectors; j++)
        best[j] = tm_slot(r, tm_splat_f32(r, -INFINITY));
    tm_loop block = tm_loop_begin(r, tm_int(r, 0), count, a->block);
    score_block(r, a, first, block.index, best);
    tm_loop_end(r, &block);
    update_maxima(r, a, best);
    LLVMValueRef listed = list_keys(r, a, count);
    if (a->fused)
        weigh_and_mix(r, a, first, listed);
    else {
        weigh_listed(r, a, first, listed);
        mix(r, a, listed);
    }
    if (hidden != NULL)
        tm_if_end(r, hidden);
}

/* Divides by the sums and hands the answers over; rows that saw no key are NaN, as Softmax of nothing but
 * -inf is. */
static void finish(tm_region *r, const tm_attention *a) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef one = tm_splat_f32(r, 1), sums[TM_ATTENTION_VECTORS];
    for (int j = 0; j < a->vectors; j++) {
        sums[j] = tm_held(r, a->sum[j]);
        if (!a->single) { /* of no keys at all the answer is 0, a product over an empty axis */
            LLVMValueRef none = LLVMBuildICmp(b, LLVMIntEQ, a->keys, tm_int(r, 0), "");
            sums[j] = LLVMBuildSelect(b, none, one, sums[j], "");
        }
        if (r->fast)
            sums[j] = LLVMBuildFDiv(b, one, sums[j], "");
    }
    if (a->fused) {
        for (int d = 0; d < a->value_size; d++)
            for (int j = 0; j < a->vectors; j++) {
                LLVMValueRef x = tm_held(r, a->sums[d][j]);
                x = r->fast ? multiply(r, x, sums[j]) : LLVMBuildFDiv(b, x, sums[j], "");
                put(r, a, x, a->mixed, tm_int(r, d), j);
            }
    } else {
        tm_loop d = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->value_size), 1);
        for (int j = 0; j < a->vectors; j++) {
            LLVMValueRef x = get(r, a, a->mixed, d.index, j);
            x = r->fast ? multiply(r, x, sums[j]) : LLVMBuildFDiv(b, x, sums[j], "");
            put(r, a, x, a->mixed, d.index, j);
        }
        tm_loop_end(r, &d);
    }
    LLVMValueRef arguments[6] = {a->mixed,
                                 tm_int(r, a->width),
                                 a->lanes,
                                 tm_int(r, a->value_size),
                                 address(r, r->e->f32, a->out, tm_attention_row(r, a, 3, a->query)),
                                 tm_int(r, row_stride(r, a, 3))};
    tm_emit_call(r->e, a->value_size < FEW ? "tm_attention_return_few" : "tm_attention_return", r->e->void_type, arguments, 6);
}

static void begin_queries(tm_region *r, tm_attention *a) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef arguments[7] = {address(r, r->e->f32, a->data[0], tm_attention_row(r, a, 0, a->query)),
                                 tm_int(r, row_stride(r, a, 0)),
                                 a->lanes,
                                 tm_int(r, a->size),
                                 a->turned,
                                 tm_int(r, a->width),
                                 LLVMConstReal(r->e->f32, a->scale)};
    tm_emit_call(r->e, a->size < FEW ? "tm_attention_turn_few" : "tm_attention_turn", r->e->void_type, arguments, 7);
    for (int d = 0; a->size <= TM_ATTENTION_UNROLLED && d < a->size; d++)
        for (int j = 0; j < a->vectors; j++)
            a->q[d][j] = get(r, a, a->turned, tm_int(r, d), j);
    LLVMValueRef last = tm_sub(r, tm_add(r, a->query, a->lanes), tm_int(r, 1));
    for (int j = 0; j < a->vectors; j++) {
        a->maximum[j] = tm_slot(r, tm_splat_f32(r, -INFINITY));
        a->sum[j] = tm_slot(r, tm_splat_f32(r, 0));
        for (int64_t d = 0; a->fused && d < a->value_size; d++)
            a->sums[d][j] = tm_slot(r, tm_splat_f32(r, 0));
        LLVMValueRef lane[64];
        for (int i = 0; i < r->lanes; i++)
            lane[i] = LLVMBuildTrunc(
                b, tm_min(r, tm_add(r, a->query, tm_int(r, (int64_t)j * r->lanes + i)), last), r->e->i32, "");
        LLVMValueRef numbers = LLVMGetPoison(LLVMVectorType(r->e->i32, (unsigned)r->lanes));
        for (int i = 0; a->causal && i < r->lanes; i++)
            numbers = LLVMBuildInsertElement(b, numbers, lane[i], tm_emit_i32(r->e, i), "");
        a->number[j] = numbers;
    }
    if (a->fused || a->single)
        return;
    tm_loop d = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->value_size), 1);
    for (int j = 0; j < a->vectors; j++)
        put(r, a, tm_splat_f32(r, 0), a->mixed, d.index, j);
    tm_loop_end(r, &d);
}

static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    tm_attention a = {0};
    set_up(r, &a);
    LLVMValueRef batch = tm_operand_dim(r, a.inputs[0], 0);
    *out_units = tm_mul(r, tm_mul(r, batch, tm_int(r, a.heads)), tm_ceildiv(r, a.queries, QUERIES));
    LLVMValueRef work =
        tm_max(r, tm_mul(r, a.keys, tm_int(r, (a.size + a.value_size + 16) * QUERIES)), tm_int(r, 1));
    *out_grain = tm_add(r, LLVMBuildUDiv(r->e->builder, tm_int(r, 400000), work, ""), tm_int(r, 1));
    return TM_OK;
}

/* All queries of a unit, `width` at a time. */
static void unit(tm_region *r, tm_attention *a) {
    a->turned = tm_region_alloca(r, r->e->f32, a->size * a->width, 64);
    a->scores = tm_region_alloca(r, r->e->f32, (int64_t)(a->tile + a->block) * a->width, 64);
    a->mixed = tm_region_alloca(r, r->e->f32, a->value_size * a->width, 64);
    a->list = tm_region_alloca(r, r->e->i64, a->tile, 64);
    tm_loop part = tm_loop_begin(r, tm_int(r, 0), a->query_count, a->width);
    a->query = tm_add(r, a->first_query, part.index);
    a->lanes = tm_min(r, tm_int(r, a->width), tm_sub(r, a->query_count, part.index));
    begin_queries(r, a);
    LLVMValueRef end = a->keys;
    if (a->causal)
        end = tm_min(r, end, tm_add(r, a->query, a->lanes));
    if (a->single)
        tile(r, a, tm_int(r, 0), end);
    else {
        tm_loop keys = tm_loop_begin(r, tm_int(r, 0), end, a->tile);
        tile(r, a, keys.index, end);
        tm_loop_end(r, &keys);
    }
    finish(r, a);
    tm_loop_end(r, &part);
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    tm_attention a = {0};
    LLVMBuilderRef b = r->e->builder;
    set_up(r, &a);
    for (int i = 0; i < 4; i++)
        a.data[i] = a.inputs[i] >= 0 ? tm_operand_data(r, a.inputs[i]) : NULL;
    a.out = tm_operand_data(r, r->node->input_count);
    LLVMValueRef blocks = tm_ceildiv(r, a.queries, QUERIES);
    tm_loop units = tm_loop_begin(r, begin, end, 1);
    LLVMValueRef plane = LLVMBuildUDiv(b, units.index, blocks, "");
    a.first_query = tm_mul(r, tm_sub(r, units.index, tm_mul(r, plane, blocks)), tm_int(r, QUERIES));
    a.query_count = tm_min(r, tm_int(r, QUERIES), tm_sub(r, a.queries, a.first_query));
    a.batch = LLVMBuildUDiv(b, plane, tm_int(r, a.heads), "");
    a.head = tm_sub(r, plane, tm_mul(r, a.batch, tm_int(r, a.heads)));
    a.kv_head = LLVMBuildUDiv(b, a.head, tm_int(r, a.heads / a.kv_heads), "");
    set_mask(r, &a);
    if (tm_attention_is_one(r, &a))
        tm_attention_one(r, &a);
    else
        unit(r, &a);
    tm_loop_end(r, &units);
    return TM_OK;
}

const tm_region_kind tm_region_kind_attention = {"attention", count, body};
