/* SPDX-License-Identifier: Apache-2.0
 *
 * region_attention.c: scaled dot-product attention in one tile loop.
 *
 *     Y[b, h, q, :] = sum over k of softmax_k(scale * Q[b, h, q, :] . K[b, h, k, :] + mask[b, h, q, k]) V[b, h, k, :]
 *
 * A unit is one head and up to 32 queries. Keys are taken in tiles: a tile of K is turned round in a
 * stack buffer, so that scores of neighbouring keys are one vector; the softmax runs along (Milakov and
 * Gimelshein, "Online normalizer calculation for softmax", 2018): a running maximum and sum per query, and the
 * weighted sum of V scaled down when the maximum grows. No buffer grows with the square of the length.
 *
 * Heads smaller than a vector keep V turned round too and one vector of partial sums for each of its few
 * columns, instead of a vector that is mostly padding: T2 has heads of two numbers.
 *
 * Inputs: Q, K, V [batch, heads, length, size] or [batch, length, heads * size], optional mask (bool or f32,
 * broadcast). Queries of one group share the K and V head. Vectors of weights that all vanish are skipped.
 */
#include "codegen/llvm/region.h"

#include <math.h>
#include <string.h>

#define QUERIES 32 /* of a unit */
#define TURNED 8192 /* floats of a turned tile */

typedef struct attention {
    const tm_node *node; /* in the body */
    int inputs[4];       /* Q, K, V, mask in the region; -1: none */
    int64_t heads, kv_heads;
    int64_t size, value_size; /* of a head */
    bool small;               /* value_size below a vector */
    bool causal;
    double scale;
    int tile; /* keys */
    LLVMValueRef data[4], out;
    LLVMValueRef queries, keys;
    LLVMValueRef batch, head, kv_head, first_query, query_count;
    LLVMValueRef turned_k, turned_v, weights, maximum, sum, partial;
    LLVMValueRef mask_base, mask_query, mask_key; /* strides; NULL: repeats */
} attention;

static int input_of(const tm_region *r, const tm_value *value) {
    for (size_t i = 0; value != NULL && i < r->body->inputs.count; i++)
        if (r->body->inputs.items[i] == value)
            return (int)i;
    return -1;
}

static const tm_value *operand(const tm_region *r, const attention *a, int i) {
    return r->node->inputs[a->inputs[i]];
}

static int64_t head_count(const attention *a, const tm_value *value, const char *attribute) {
    return value->rank == 4 ? value->dims[1]->constant : tm_node_int(a->node, attribute);
}

static void set_up(tm_region *r, attention *a) {
    a->node = r->body->first;
    for (int i = 0; i < 4; i++)
        a->inputs[i] = i < a->node->input_count ? input_of(r, a->node->inputs[i]) : -1;
    const tm_value *q = operand(r, a, 0), *v = operand(r, a, 2);
    a->heads = head_count(a, q, "q_num_heads");
    a->kv_heads = head_count(a, operand(r, a, 1), "kv_num_heads");
    a->size = q->rank == 4 ? q->dims[3]->constant : q->dims[2]->constant / a->heads;
    a->value_size = v->rank == 4 ? v->dims[3]->constant : v->dims[2]->constant / a->kv_heads;
    a->small = a->value_size < r->lanes;
    a->causal = tm_node_int(a->node, "is_causal") != 0;
    double scale = tm_node_float(a->node, "scale");
    a->scale = isnan(scale) ? 1 / sqrt((double)a->size) : scale;
    int64_t longest = a->size > a->value_size ? a->size : a->value_size;
    a->tile = 128;
    while (a->tile > r->lanes && a->tile * longest > TURNED)
        a->tile /= 2;
    a->queries = tm_operand_dim(r, a->inputs[0], q->rank - 2);
    a->keys = tm_operand_dim(r, a->inputs[1], operand(r, a, 1)->rank - 2);
}

/* Both layouts have the length before last: [b, h, length, size], [b, length, h * size]. */
static LLVMValueRef row_start(tm_region *r, const attention *a, int i, LLVMValueRef row) {
    bool query = i == 0;
    int64_t heads = query ? a->heads : a->kv_heads, size = i == 2 ? a->value_size : a->size;
    LLVMValueRef length = query ? a->queries : a->keys, head = query ? a->head : a->kv_head;
    if (operand(r, a, i)->rank == 4) {
        LLVMValueRef plane = tm_add(r, tm_mul(r, a->batch, tm_int(r, heads)), head);
        return tm_mul(r, tm_add(r, tm_mul(r, plane, length), row), tm_int(r, size));
    }
    LLVMValueRef line = tm_add(r, tm_mul(r, a->batch, length), row);
    return tm_mul(r, tm_add(r, tm_mul(r, line, tm_int(r, heads)), head), tm_int(r, size));
}

static LLVMValueRef out_start(tm_region *r, const attention *a, LLVMValueRef row) {
    if (r->node->outputs[0]->rank == 4) {
        LLVMValueRef plane = tm_add(r, tm_mul(r, a->batch, tm_int(r, a->heads)), a->head);
        return tm_mul(r, tm_add(r, tm_mul(r, plane, a->queries), row), tm_int(r, a->value_size));
    }
    LLVMValueRef line = tm_add(r, tm_mul(r, a->batch, a->queries), row);
    return tm_mul(r, tm_add(r, tm_mul(r, line, tm_int(r, a->heads)), a->head), tm_int(r, a->value_size));
}

static LLVMValueRef get(tm_region *r, LLVMTypeRef type, LLVMValueRef base, LLVMValueRef index) {
    return LLVMBuildLoad2(r->e->builder, type, LLVMBuildInBoundsGEP2(r->e->builder, type, base, &index, 1, ""), "");
}

static void put(tm_region *r, LLVMValueRef value, LLVMValueRef base, LLVMValueRef index) {
    LLVMTypeRef type = LLVMTypeOf(value);
    LLVMBuildStore(r->e->builder, value, LLVMBuildInBoundsGEP2(r->e->builder, type, base, &index, 1, ""));
}

/* turned[d][key] = source[key][d] for the tile's keys; the places of missing keys are zero. */
static void turn(tm_region *r, const attention *a, int i, LLVMValueRef first, LLVMValueRef count, LLVMValueRef turned) {
    int64_t size = i == 2 ? a->value_size : a->size;
    LLVMBuilderRef b = r->e->builder;
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->tile), 1);
    LLVMValueRef known = tm_less(r, key.index, count);
    LLVMValueRef row = row_start(r, a, i, tm_add(r, first, LLVMBuildSelect(b, known, key.index, tm_int(r, 0), "")));
    tm_loop d = tm_loop_begin(r, tm_int(r, 0), tm_int(r, size), 1);
    LLVMValueRef x = get(r, r->e->f32, a->data[i], tm_add(r, row, d.index));
    x = LLVMBuildSelect(b, known, x, LLVMConstReal(r->e->f32, 0), "");
    put(r, x, turned, tm_add(r, tm_mul(r, d.index, tm_int(r, a->tile)), key.index));
    tm_loop_end(r, &d);
    tm_loop_end(r, &key);
}

static void set_mask(tm_region *r, attention *a) {
    if (a->inputs[3] < 0)
        return;
    const tm_value *m = operand(r, a, 3);
    LLVMValueRef stride = tm_int(r, 1);
    a->mask_base = tm_int(r, 0);
    a->mask_query = a->mask_key = NULL;
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

/* Scores of `lanes` keys from `key` on: scaled, capped, masked; -inf where there is no key. */
static LLVMValueRef bias_scores(tm_region *r, const attention *a, LLVMValueRef scores, LLVMValueRef query, LLVMValueRef key) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef lowest = tm_splat_f32(r, -INFINITY);
    scores = LLVMBuildFMul(b, scores, tm_splat_f32(r, a->scale), "");
    LLVMValueRef inside = tm_tail_mask(r, tm_max(r, tm_sub(r, a->keys, key), tm_int(r, 0)));
    if (a->causal) {
        LLVMValueRef last = tm_tail_mask(r, tm_max(r, tm_add(r, tm_sub(r, query, key), tm_int(r, 1)), tm_int(r, 0)));
        inside = LLVMBuildAnd(b, inside, last, "");
    }
    if (a->inputs[3] >= 0) {
        tamis_type type = operand(r, a, 3)->type;
        LLVMValueRef index = a->mask_base;
        if (a->mask_query != NULL)
            index = tm_add(r, index, tm_mul(r, query, a->mask_query));
        LLVMValueRef kept = r->mask;
        r->mask = inside;
        LLVMValueRef mask = a->mask_key == NULL ? tm_load_splat(r, type, a->data[3], index)
                                                : tm_load_vector(r, type, a->data[3], tm_add(r, index, key));
        r->mask = kept;
        if (type == TAMIS_TYPE_BOOL)
            inside = LLVMBuildAnd(b, inside, mask, "");
        else
            scores = LLVMBuildFAdd(b, scores, mask, "");
    }
    return LLVMBuildSelect(b, inside, scores, lowest, "");
}

static LLVMValueRef maximum(tm_region *r, LLVMValueRef x, LLVMValueRef y) { /* NaN of x or y stays */
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef keep = LLVMBuildOr(b, LLVMBuildFCmp(b, LLVMRealOGT, x, y, ""), LLVMBuildFCmp(b, LLVMRealUNO, x, x, ""), "");
    return LLVMBuildSelect(b, keep, x, y, "");
}

/* Scores of one query against the tile into a->weights; returns their maximum. */
static LLVMValueRef score_row(tm_region *r, const attention *a, LLVMValueRef query, LLVMValueRef first) {
    LLVMBuilderRef b = r->e->builder;
    LLVMTypeRef vector = tm_vector_type(r, TAMIS_TYPE_FLOAT);
    LLVMValueRef best = tm_region_alloca(r, vector, 1, 64), dot = tm_region_alloca(r, vector, 1, 64);
    LLVMBuildStore(b, tm_splat_f32(r, -INFINITY), best);
    LLVMValueRef row = row_start(r, a, 0, query);
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), tm_min(r, tm_int(r, a->tile), tm_sub(r, a->keys, first)), r->lanes);
    LLVMBuildStore(b, LLVMConstNull(vector), dot);
    tm_loop d = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->size), 1);
    LLVMValueRef q = tm_load_splat(r, TAMIS_TYPE_FLOAT, a->data[0], tm_add(r, row, d.index));
    LLVMValueRef k = tm_load_vector(r, TAMIS_TYPE_FLOAT, a->turned_k, tm_add(r, tm_mul(r, d.index, tm_int(r, a->tile)), key.index));
    LLVMBuildStore(b, tm_fma(r, q, k, LLVMBuildLoad2(b, vector, dot, "")), dot);
    tm_loop_end(r, &d);
    LLVMValueRef scores = bias_scores(r, a, LLVMBuildLoad2(b, vector, dot, ""), query, tm_add(r, first, key.index));
    tm_store_vector(r, TAMIS_TYPE_FLOAT, scores, a->weights, key.index);
    LLVMBuildStore(b, maximum(r, scores, LLVMBuildLoad2(b, vector, best, "")), best);
    tm_loop_end(r, &key);
    return tm_reduce_max(r, LLVMBuildLoad2(b, vector, best, ""));
}

/* Turns scores into weights exp(score - maximum); returns their sum. */
static LLVMValueRef weigh_row(tm_region *r, const attention *a, LLVMValueRef shift, LLVMValueRef first) {
    LLVMBuilderRef b = r->e->builder;
    LLVMTypeRef vector = tm_vector_type(r, TAMIS_TYPE_FLOAT);
    LLVMValueRef total = tm_region_alloca(r, vector, 1, 64);
    LLVMBuildStore(b, LLVMConstNull(vector), total);
    LLVMValueRef shifts = tm_splat(r, shift);
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), tm_min(r, tm_int(r, a->tile), tm_sub(r, a->keys, first)), r->lanes);
    LLVMValueRef scores = tm_load_vector(r, TAMIS_TYPE_FLOAT, a->weights, key.index);
    LLVMValueRef w = tm_math(r, "exp", LLVMBuildFSub(b, scores, shifts, ""));
    tm_store_vector(r, TAMIS_TYPE_FLOAT, w, a->weights, key.index);
    LLVMBuildStore(b, LLVMBuildFAdd(b, LLVMBuildLoad2(b, vector, total, ""), w, ""), total);
    tm_loop_end(r, &key);
    return tm_reduce_add(r, LLVMBuildLoad2(b, vector, total, ""));
}

/* partial[q][d] = partial * old + sum over keys of weight * V: vectors along the keys. */
static void mix_small(tm_region *r, const attention *a, LLVMValueRef q, LLVMValueRef scale_down, LLVMValueRef first) {
    LLVMBuilderRef b = r->e->builder;
    LLVMTypeRef vector = tm_vector_type(r, TAMIS_TYPE_FLOAT);
    LLVMValueRef sums[64], scale = tm_splat(r, scale_down);
    LLVMValueRef base = tm_mul(r, q, tm_int(r, a->value_size * r->lanes));
    for (int d = 0; d < a->value_size; d++) {
        sums[d] = tm_region_alloca(r, vector, 1, 64);
        LLVMValueRef old = tm_load_vector(r, TAMIS_TYPE_FLOAT, a->partial, tm_add(r, base, tm_int(r, (int64_t)d * r->lanes)));
        LLVMBuildStore(b, LLVMBuildFMul(b, old, scale, ""), sums[d]);
    }
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), tm_min(r, tm_int(r, a->tile), tm_sub(r, a->keys, first)), r->lanes);
    LLVMValueRef w = tm_load_vector(r, TAMIS_TYPE_FLOAT, a->weights, key.index);
    for (int d = 0; d < a->value_size; d++) {
        LLVMValueRef v = tm_load_vector(r, TAMIS_TYPE_FLOAT, a->turned_v, tm_add(r, tm_int(r, (int64_t)d * a->tile), key.index));
        LLVMBuildStore(b, tm_fma(r, w, v, LLVMBuildLoad2(b, vector, sums[d], "")), sums[d]);
    }
    tm_loop_end(r, &key);
    for (int d = 0; d < a->value_size; d++)
        tm_store_vector(r, TAMIS_TYPE_FLOAT, LLVMBuildLoad2(b, vector, sums[d], ""), a->partial, tm_add(r, base, tm_int(r, (int64_t)d * r->lanes)));
}

/* Y[q] = Y[q] * old + sum over keys of weight * V: vectors along the head, up to eight at a time. */
static void mix_wide(tm_region *r, const attention *a, LLVMValueRef query, LLVMValueRef scale_down, LLVMValueRef first) {
    LLVMBuilderRef b = r->e->builder;
    LLVMTypeRef vector = tm_vector_type(r, TAMIS_TYPE_FLOAT);
    LLVMValueRef out = out_start(r, a, query), scale = tm_splat(r, scale_down);
    for (int64_t start = 0; start < a->value_size; start += 8 * r->lanes) {
        int vectors = 0;
        LLVMValueRef sums[8], masks[8];
        for (; vectors < 8 && start + vectors * r->lanes < a->value_size; vectors++) {
            int64_t column = start + vectors * r->lanes;
            sums[vectors] = tm_region_alloca(r, vector, 1, 64);
            masks[vectors] = tm_tail_mask(r, tm_int(r, a->value_size - column));
            r->mask = masks[vectors];
            LLVMValueRef old = tm_load_vector(r, TAMIS_TYPE_FLOAT, a->out, tm_add(r, out, tm_int(r, column)));
            LLVMBuildStore(b, LLVMBuildFMul(b, old, scale, ""), sums[vectors]);
        }
        tm_loop key = tm_loop_begin(r, tm_int(r, 0), tm_min(r, tm_int(r, a->tile), tm_sub(r, a->keys, first)), 1);
        LLVMValueRef w = tm_load_splat(r, TAMIS_TYPE_FLOAT, a->weights, key.index);
        LLVMValueRef row = row_start(r, a, 2, tm_add(r, first, key.index));
        for (int v = 0; v < vectors; v++) {
            r->mask = masks[v];
            LLVMValueRef x = tm_load_vector(r, TAMIS_TYPE_FLOAT, a->data[2], tm_add(r, row, tm_int(r, start + v * r->lanes)));
            LLVMBuildStore(b, tm_fma(r, w, x, LLVMBuildLoad2(b, vector, sums[v], "")), sums[v]);
        }
        tm_loop_end(r, &key);
        for (int v = 0; v < vectors; v++) {
            r->mask = masks[v];
            tm_store_vector(r, TAMIS_TYPE_FLOAT, LLVMBuildLoad2(b, vector, sums[v], ""), a->out, tm_add(r, out, tm_int(r, start + v * r->lanes)));
        }
        r->mask = NULL;
    }
}

/* One tile of keys for all queries of the unit. */
static void tile(tm_region *r, const attention *a, LLVMValueRef first) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef count = tm_min(r, tm_int(r, a->tile), tm_sub(r, a->keys, first));
    turn(r, a, 1, first, count, a->turned_k);
    if (a->small)
        turn(r, a, 2, first, count, a->turned_v);
    tm_loop q = tm_loop_begin(r, tm_int(r, 0), a->query_count, 1);
    LLVMValueRef query = tm_add(r, a->first_query, q.index);
    LLVMValueRef before = get(r, r->e->f32, a->maximum, q.index);
    LLVMValueRef now = maximum(r, score_row(r, a, query, first), before);
    /* A row without any key so far: a finite shift, so that exp gives 0 and not NaN. */
    LLVMValueRef lowest = LLVMConstReal(r->e->f32, -INFINITY), zero = LLVMConstReal(r->e->f32, 0);
    LLVMValueRef shift = LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOEQ, now, lowest, ""), zero, now, "");
    LLVMValueRef added = weigh_row(r, a, shift, first);
    LLVMValueRef vector_down = tm_math(r, "exp", tm_splat(r, LLVMBuildFSub(b, before, shift, "")));
    LLVMValueRef down = LLVMBuildExtractElement(b, vector_down, tm_emit_i32(r->e, 0), "");
    LLVMValueRef sum = LLVMBuildFAdd(b, LLVMBuildFMul(b, get(r, r->e->f32, a->sum, q.index), down, ""), added, "");
    put(r, now, a->maximum, q.index);
    put(r, sum, a->sum, q.index);
    if (a->small)
        mix_small(r, a, q.index, down, first);
    else
        mix_wide(r, a, query, down, first);
    tm_loop_end(r, &q);
}

/* Divides by the sums; rows whose keys are all masked are NaN, as Softmax of nothing but -inf is; without keys, 0. */
static void finish(tm_region *r, const attention *a) {
    LLVMBuilderRef b = r->e->builder;
    tm_loop q = tm_loop_begin(r, tm_int(r, 0), a->query_count, 1);
    LLVMValueRef none = LLVMBuildICmp(b, LLVMIntEQ, a->keys, tm_int(r, 0), "");
    LLVMValueRef sum = LLVMBuildSelect(b, none, LLVMConstReal(r->e->f32, 1), get(r, r->e->f32, a->sum, q.index), "");
    LLVMValueRef out = out_start(r, a, tm_add(r, a->first_query, q.index));
    for (int64_t column = 0; column < a->value_size; column += a->small ? 1 : r->lanes) {
        LLVMValueRef at = tm_add(r, out, tm_int(r, column));
        if (a->small) {
            LLVMValueRef index = tm_add(r, tm_mul(r, q.index, tm_int(r, a->value_size * r->lanes)), tm_int(r, column * r->lanes));
            LLVMValueRef total = tm_reduce_add(r, tm_load_vector(r, TAMIS_TYPE_FLOAT, a->partial, index));
            put(r, LLVMBuildFDiv(b, total, sum, ""), a->out, at);
            continue;
        }
        r->mask = tm_tail_mask(r, tm_int(r, a->value_size - column));
        LLVMValueRef total = tm_load_vector(r, TAMIS_TYPE_FLOAT, a->out, at);
        tm_store_vector(r, TAMIS_TYPE_FLOAT, LLVMBuildFDiv(b, total, tm_splat(r, sum), ""), a->out, at);
        r->mask = NULL;
    }
    tm_loop_end(r, &q);
}

static void clear(tm_region *r, const attention *a) {
    tm_loop q = tm_loop_begin(r, tm_int(r, 0), a->query_count, 1);
    put(r, LLVMConstReal(r->e->f32, -INFINITY), a->maximum, q.index);
    put(r, LLVMConstReal(r->e->f32, 0), a->sum, q.index);
    LLVMValueRef zero = tm_splat_f32(r, 0);
    if (a->small)
        for (int d = 0; d < a->value_size; d++)
            tm_store_vector(r, TAMIS_TYPE_FLOAT, zero, a->partial,
                            tm_add(r, tm_mul(r, q.index, tm_int(r, a->value_size * r->lanes)), tm_int(r, (int64_t)d * r->lanes)));
    else
        for (int64_t column = 0; column < a->value_size; column += r->lanes) {
            r->mask = tm_tail_mask(r, tm_int(r, a->value_size - column));
            LLVMValueRef at = tm_add(r, out_start(r, a, tm_add(r, a->first_query, q.index)), tm_int(r, column));
            tm_store_vector(r, TAMIS_TYPE_FLOAT, zero, a->out, at);
            r->mask = NULL;
        }
    tm_loop_end(r, &q);
}

static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    attention a = {0};
    set_up(r, &a);
    LLVMValueRef batch = tm_operand_dim(r, a.inputs[0], 0);
    *out_units = tm_mul(r, tm_mul(r, batch, tm_int(r, a.heads)), tm_ceildiv(r, a.queries, QUERIES));
    LLVMValueRef work = tm_max(r, tm_mul(r, a.keys, tm_int(r, (a.size + a.value_size + 16) * QUERIES)), tm_int(r, 1));
    *out_grain = tm_add(r, LLVMBuildUDiv(r->e->builder, tm_int(r, 400000), work, ""), tm_int(r, 1));
    return TM_OK;
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    attention a = {0};
    LLVMBuilderRef b = r->e->builder;
    set_up(r, &a);
    for (int i = 0; i < 4; i++)
        a.data[i] = a.inputs[i] >= 0 ? tm_operand_data(r, a.inputs[i]) : NULL;
    a.out = tm_operand_data(r, r->node->input_count);
    a.turned_k = tm_region_alloca(r, r->e->f32, a.size * a.tile, 64);
    a.turned_v = a.small ? tm_region_alloca(r, r->e->f32, a.value_size * a.tile, 64) : NULL;
    a.partial = a.small ? tm_region_alloca(r, r->e->f32, (int64_t)QUERIES * a.value_size * r->lanes, 64) : NULL;
    a.weights = tm_region_alloca(r, r->e->f32, a.tile + r->lanes, 64);
    a.maximum = tm_region_alloca(r, r->e->f32, QUERIES, 64);
    a.sum = tm_region_alloca(r, r->e->f32, QUERIES, 64);
    LLVMValueRef blocks = tm_ceildiv(r, a.queries, QUERIES);
    tm_loop unit = tm_loop_begin(r, begin, end, 1);
    LLVMValueRef plane = LLVMBuildUDiv(b, unit.index, blocks, "");
    a.first_query = tm_mul(r, tm_sub(r, unit.index, tm_mul(r, plane, blocks)), tm_int(r, QUERIES));
    a.query_count = tm_min(r, tm_int(r, QUERIES), tm_sub(r, a.queries, a.first_query));
    a.batch = LLVMBuildUDiv(b, plane, tm_int(r, a.heads), "");
    a.head = tm_sub(r, plane, tm_mul(r, a.batch, tm_int(r, a.heads)));
    a.kv_head = LLVMBuildUDiv(b, a.head, tm_int(r, a.heads / a.kv_heads), "");
    set_mask(r, &a);
    clear(r, &a);
    LLVMValueRef last = a.keys;
    if (a.causal)
        last = tm_min(r, last, tm_add(r, a.first_query, a.query_count));
    tm_loop keys = tm_loop_begin(r, tm_int(r, 0), last, a.tile);
    tile(r, &a, keys.index);
    tm_loop_end(r, &keys);
    finish(r, &a);
    tm_loop_end(r, &unit);
    return TM_OK;
}

const tm_region_kind tm_region_kind_attention = {"attention", count, body};
