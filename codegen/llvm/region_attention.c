/* SPDX-License-Identifier: Apache-2.0
 *
 * region_attention.c: scaled dot-product attention in one tile loop.
 *
 *     Y[b, h, q, :] = sum over k of softmax_k(scale * Q[b, h, q, :] . K[b, h, k, :] + mask[b, h, q, k]) V[b,
 * h, k, :]
 *
 * A unit is one head and up to 32 queries. Keys are taken in tiles: a tile of K is turned round in a
 * stack buffer, so that scores of neighbouring keys are one vector; the softmax runs along (Milakov and
 * Gimelshein, "Online normalizer calculation for softmax", 2018): a running maximum and sum per query, and
 * the weighted sum of V scaled down when the maximum grows. No buffer grows with the square of the length.
 *
 * Heads of a few numbers have a loop of their own (region_attention_small.c).
 *
 * Inputs: Q, K, V [batch, heads, length, size] or [batch, length, heads * size], optional mask (bool or f32,
 * broadcast). Queries of one group share the K and V head. Vectors of weights that all vanish are skipped.
 */
#include "codegen/llvm/region_attention.h"

#include <math.h>
#include <string.h>

#define QUERIES 32  /* of a unit */
#define GROUP 4     /* queries at once, at most */
#define TURNED 8192 /* floats of a turned tile */

static int input_of(const tm_region *r, const tm_value *value) {
    for (size_t i = 0; value != NULL && i < r->body->inputs.count; i++)
        if (r->body->inputs.items[i] == value)
            return (int)i;
    return -1;
}

static const tm_value *operand(const tm_region *r, const tm_attention *a, int i) {
    return r->node->inputs[a->inputs[i]];
}

static int64_t head_count(const tm_attention *a, const tm_value *value, const char *attribute) {
    return value->rank == 4 ? value->dims[1]->constant : tm_node_int(a->node, attribute);
}

static void set_up(tm_region *r, tm_attention *a) {
    a->node = r->body->first;
    for (int i = 0; i < 4; i++)
        a->inputs[i] = i < a->node->input_count ? input_of(r, a->node->inputs[i]) : -1;
    const tm_value *q = operand(r, a, 0), *v = operand(r, a, 2);
    a->heads = head_count(a, q, "q_num_heads");
    a->kv_heads = head_count(a, operand(r, a, 1), "kv_num_heads");
    a->size = q->rank == 4 ? q->dims[3]->constant : q->dims[2]->constant / a->heads;
    a->value_size = v->rank == 4 ? v->dims[3]->constant : v->dims[2]->constant / a->kv_heads;
    a->group = r->level->vector_registers >= 32 ? GROUP : 2;
    a->causal = tm_node_int(a->node, "is_causal") != 0;
    double scale = tm_node_float(a->node, "scale");
    a->scale = isnan(scale) ? 1 / sqrt((double)a->size) : scale;
    int64_t longest = a->size > a->value_size ? a->size : a->value_size;
    a->tile = 128;
    while (a->tile > r->lanes && a->tile * longest > TURNED)
        a->tile /= 2;
    a->queries = tm_operand_dim(r, a->inputs[0], q->rank - 2);
    a->keys = tm_operand_dim(r, a->inputs[1], operand(r, a, 1)->rank - 2);
    a->single = LLVMIsConstant(a->keys) && LLVMConstIntGetSExtValue(a->keys) >= 1 &&
                LLVMConstIntGetSExtValue(a->keys) <= a->tile;
}

/* Both layouts have the length before last: [b, h, length, size], [b, length, h * size]. */
LLVMValueRef tm_attention_row(tm_region *r, const tm_attention *a, int i, LLVMValueRef row) {
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

LLVMValueRef tm_attention_out(tm_region *r, const tm_attention *a, LLVMValueRef row) {
    if (r->node->outputs[0]->rank == 4) {
        LLVMValueRef plane = tm_add(r, tm_mul(r, a->batch, tm_int(r, a->heads)), a->head);
        return tm_mul(r, tm_add(r, tm_mul(r, plane, a->queries), row), tm_int(r, a->value_size));
    }
    LLVMValueRef line = tm_add(r, tm_mul(r, a->batch, a->queries), row);
    return tm_mul(r, tm_add(r, tm_mul(r, line, tm_int(r, a->heads)), a->head), tm_int(r, a->value_size));
}

int64_t tm_attention_row_step(const tm_region *r, const tm_attention *a, int i) {
    int64_t size = i == 2 ? a->value_size : a->size;
    return operand(r, a, i)->rank == 4 ? size : size * (i == 0 ? a->heads : a->kv_heads);
}

int64_t tm_attention_out_step(const tm_region *r, const tm_attention *a) {
    return r->node->outputs[0]->rank == 4 ? a->value_size : a->value_size * a->heads;
}

static LLVMValueRef get(tm_region *r, LLVMTypeRef type, LLVMValueRef base, LLVMValueRef index) {
    return LLVMBuildLoad2(r->e->builder, type,
                          LLVMBuildInBoundsGEP2(r->e->builder, type, base, &index, 1, ""), "");
}

static void put(tm_region *r, LLVMValueRef value, LLVMValueRef base, LLVMValueRef index) {
    LLVMTypeRef type = LLVMTypeOf(value);
    LLVMBuildStore(r->e->builder, value, LLVMBuildInBoundsGEP2(r->e->builder, type, base, &index, 1, ""));
}

/* turned[d][key] = source[key][d] for the tile's keys; the places of missing keys are zero. */
static void turn(tm_region *r, const tm_attention *a, int i, LLVMValueRef first, LLVMValueRef count,
                 LLVMValueRef turned) {
    int64_t size = i == 2 ? a->value_size : a->size;
    LLVMBuilderRef b = r->e->builder;
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->tile), 1);
    LLVMValueRef known = tm_less(r, key.index, count);
    LLVMValueRef row =
        tm_attention_row(r, a, i, tm_add(r, first, LLVMBuildSelect(b, known, key.index, tm_int(r, 0), "")));
    tm_loop d = tm_loop_begin(r, tm_int(r, 0), tm_int(r, size), 1);
    LLVMValueRef x = get(r, r->e->f32, a->data[i], tm_add(r, row, d.index));
    x = LLVMBuildSelect(b, known, x, LLVMConstReal(r->e->f32, 0), "");
    put(r, x, turned, tm_add(r, tm_mul(r, d.index, tm_int(r, a->tile)), key.index));
    tm_loop_end(r, &d);
    tm_loop_end(r, &key);
}

static void set_mask(tm_region *r, tm_attention *a) {
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
static LLVMValueRef bias_scores(tm_region *r, const tm_attention *a, LLVMValueRef scores, LLVMValueRef query,
                                LLVMValueRef key) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef lowest = tm_splat_f32(r, -INFINITY);
    scores = LLVMBuildFMul(b, scores, tm_splat_f32(r, a->scale), "");
    LLVMValueRef inside = tm_tail_mask(r, tm_max(r, tm_sub(r, a->keys, key), tm_int(r, 0)));
    if (a->causal) {
        LLVMValueRef last =
            tm_tail_mask(r, tm_max(r, tm_add(r, tm_sub(r, query, key), tm_int(r, 1)), tm_int(r, 0)));
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
    LLVMValueRef keep =
        LLVMBuildOr(b, LLVMBuildFCmp(b, LLVMRealOGT, x, y, ""), LLVMBuildFCmp(b, LLVMRealUNO, x, x, ""), "");
    return LLVMBuildSelect(b, keep, x, y, "");
}

/* A group of queries shares each load of K and V, and its chains of dependent steps run side by side. Rows
 * beyond the last query repeat it: they compute and store the same answer. */
typedef struct group {
    LLVMValueRef slot[GROUP];  /* number within the unit */
    LLVMValueRef query[GROUP]; /* row */
    LLVMValueRef shift[GROUP], down[GROUP], sum[GROUP];
} group;

static LLVMValueRef keys_in_tile(tm_region *r, const tm_attention *a, LLVMValueRef first) {
    return tm_min(r, tm_int(r, a->tile), tm_sub(r, a->keys, first));
}

static LLVMValueRef zeroed(tm_region *r, double value) {
    LLVMValueRef slot = tm_region_alloca(r, tm_vector_type(r, TAMIS_TYPE_FLOAT), 1, 64);
    LLVMBuildStore(r->e->builder, tm_splat_f32(r, value), slot);
    return slot;
}

static LLVMValueRef value_of(tm_region *r, LLVMValueRef slot) {
    return LLVMBuildLoad2(r->e->builder, tm_vector_type(r, TAMIS_TYPE_FLOAT), slot, "");
}

static LLVMValueRef weight_index(tm_region *r, const tm_attention *a, int q, LLVMValueRef key) {
    return tm_add(r, tm_int(r, (int64_t)q * (a->tile + r->lanes)), key);
}

/* Adds q[d] * K[d][key..] for one d to the dots of the group. */
static void add_products(tm_region *r, const tm_attention *a, const LLVMValueRef *rows, LLVMValueRef *dots,
                         LLVMValueRef d, LLVMValueRef key) {
    LLVMValueRef k =
        tm_load_vector(r, TAMIS_TYPE_FLOAT, a->turned_k, tm_add(r, tm_mul(r, d, tm_int(r, a->tile)), key));
    for (int q = 0; q < a->group; q++) {
        LLVMValueRef x = tm_load_splat(r, TAMIS_TYPE_FLOAT, a->data[0], tm_add(r, rows[q], d));
        LLVMBuildStore(r->e->builder, tm_fma(r, x, k, value_of(r, dots[q])), dots[q]);
    }
}

/* Scores of the group against the tile into a->weights; their maxima, as scalars. */
static void score(tm_region *r, const tm_attention *a, const group *g, LLVMValueRef first,
                  LLVMValueRef *out_best) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef best[GROUP], dots[GROUP], rows[GROUP];
    for (int q = 0; q < a->group; q++) {
        best[q] = zeroed(r, -INFINITY);
        dots[q] = zeroed(r, 0);
        rows[q] = tm_attention_row(r, a, 0, g->query[q]);
    }
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), keys_in_tile(r, a, first), r->lanes);
    for (int q = 0; q < a->group; q++)
        LLVMBuildStore(b, tm_splat_f32(r, 0), dots[q]);
    if (a->size <= 4) {
        for (int d = 0; d < a->size; d++)
            add_products(r, a, rows, dots, tm_int(r, d), key.index);
    } else {
        tm_loop d = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->size), 1);
        add_products(r, a, rows, dots, d.index, key.index);
        tm_loop_end(r, &d);
    }
    for (int q = 0; q < a->group; q++) {
        LLVMValueRef scores =
            bias_scores(r, a, value_of(r, dots[q]), g->query[q], tm_add(r, first, key.index));
        tm_store_vector(r, TAMIS_TYPE_FLOAT, scores, a->weights, weight_index(r, a, q, key.index));
        LLVMBuildStore(b, maximum(r, scores, value_of(r, best[q])), best[q]);
    }
    tm_loop_end(r, &key);
    for (int q = 0; q < a->group; q++)
        out_best[q] = tm_reduce_max(r, value_of(r, best[q]));
}

/* Is any exponential of the group's vectors more than nothing? exp is 0 below -104, and below -87.4
 * subnormal. */
static LLVMValueRef any_weight(tm_region *r, const tm_attention *a, const LLVMValueRef *x) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef lowest = tm_splat_f32(r, r->fast ? -87.5 : -104.5), any = NULL;
    for (int q = 0; q < a->group; q++) {
        LLVMValueRef seen = LLVMBuildFCmp(b, LLVMRealUGT, x[q], lowest, "");
        any = any == NULL ? seen : LLVMBuildOr(b, any, seen, "");
    }
    LLVMTypeRef bits = LLVMIntTypeInContext(r->e->context, (unsigned)r->lanes);
    return LLVMBuildICmp(b, LLVMIntNE, LLVMBuildBitCast(b, any, bits, ""), LLVMConstNull(bits), "");
}

/* Turns scores into weights exp(score - shift) and adds them up. */
static void weigh(tm_region *r, const tm_attention *a, group *g, LLVMValueRef first) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef total[GROUP], x[GROUP];
    for (int q = 0; q < a->group; q++)
        total[q] = zeroed(r, 0);
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), keys_in_tile(r, a, first), r->lanes);
    for (int q = 0; q < a->group; q++) {
        x[q] = tm_load_vector(r, TAMIS_TYPE_FLOAT, a->weights, weight_index(r, a, q, key.index));
        x[q] = LLVMBuildFSub(b, x[q], tm_splat(r, g->shift[q]), "");
        tm_store_vector(r, TAMIS_TYPE_FLOAT, tm_splat_f32(r, 0), a->weights, /* what the branch skips */
                        weight_index(r, a, q, key.index));
    }
    LLVMBasicBlockRef after = tm_if_begin(r, any_weight(r, a, x));
    for (int q = 0; q < a->group; q++) {
        x[q] = tm_math(r, "exp", x[q]);
        LLVMBuildStore(b, LLVMBuildFAdd(b, value_of(r, total[q]), x[q], ""), total[q]);
        tm_store_vector(r, TAMIS_TYPE_FLOAT, x[q], a->weights, weight_index(r, a, q, key.index));
    }
    tm_if_end(r, after);
    tm_loop_end(r, &key);
    for (int q = 0; q < a->group; q++)
        g->sum[q] = tm_reduce_add(r, value_of(r, total[q]));
}

/* Y[q] = Y[q] * down + sum over keys of weight * V: vectors along the head, four at a time. */
static void mix(tm_region *r, const tm_attention *a, const group *g, LLVMValueRef first) {
    LLVMBuilderRef b = r->e->builder;
    int at_once = a->group > 2 ? 4 : 2;
    for (int64_t start = 0; start < a->value_size; start += at_once * r->lanes) {
        LLVMValueRef sums[GROUP][4], masks[4];
        int vectors = 0;
        for (; vectors < at_once && start + vectors * r->lanes < a->value_size; vectors++) {
            int64_t column = start + vectors * r->lanes;
            r->mask = masks[vectors] = tm_tail_mask(r, tm_int(r, a->value_size - column));
            for (int q = 0; q < a->group; q++) {
                LLVMValueRef old = tm_load_vector(r, TAMIS_TYPE_FLOAT, a->out,
                                                  tm_add(r, tm_attention_out(r, a, g->query[q]), tm_int(r, column)));
                sums[q][vectors] = zeroed(r, 0);
                LLVMBuildStore(b, LLVMBuildFMul(b, old, tm_splat(r, g->down[q]), ""), sums[q][vectors]);
            }
        }
        tm_loop key = tm_loop_begin(r, tm_int(r, 0), keys_in_tile(r, a, first), 1);
        LLVMValueRef row = tm_attention_row(r, a, 2, tm_add(r, first, key.index));
        for (int v = 0; v < vectors; v++) {
            r->mask = masks[v];
            LLVMValueRef x = tm_load_vector(r, TAMIS_TYPE_FLOAT, a->data[2],
                                            tm_add(r, row, tm_int(r, start + v * r->lanes)));
            r->mask = NULL;
            for (int q = 0; q < a->group; q++) {
                LLVMValueRef w =
                    tm_load_splat(r, TAMIS_TYPE_FLOAT, a->weights, weight_index(r, a, q, key.index));
                LLVMBuildStore(b, tm_fma(r, w, x, value_of(r, sums[q][v])), sums[q][v]);
            }
        }
        tm_loop_end(r, &key);
        for (int v = 0; v < vectors; v++) {
            r->mask = masks[v];
            for (int q = 0; q < a->group; q++)
                tm_store_vector(r, TAMIS_TYPE_FLOAT, value_of(r, sums[q][v]), a->out,
                                tm_add(r, tm_attention_out(r, a, g->query[q]), tm_int(r, start + v * r->lanes)));
        }
        r->mask = NULL;
    }
}

/* The running maximum: the new shift, and what older sums are scaled down by. A row without any key so far
 * gets a finite shift, so that exp gives 0 and not NaN. */
static void update_maxima(tm_region *r, const tm_attention *a, group *g, const LLVMValueRef *best) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef lowest = LLVMConstReal(r->e->f32, -INFINITY), zero = LLVMConstReal(r->e->f32, 0);
    LLVMValueRef before[GROUP],
        now[GROUP]; /* all are read before any is written: a repeated row shares its slot */
    for (int q = 0; q < a->group; q++)
        before[q] = a->single ? lowest : get(r, r->e->f32, a->maximum, g->slot[q]);
    for (int q = 0; q < a->group; q++) {
        now[q] = a->single ? best[q] : maximum(r, best[q], before[q]);
        g->shift[q] = LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOEQ, now[q], lowest, ""), zero, now[q], "");
        g->down[q] = zero;
        if (a->single)
            continue;
        LLVMValueRef down = tm_math(r, "exp", tm_splat(r, LLVMBuildFSub(b, before[q], g->shift[q], "")));
        g->down[q] = LLVMBuildExtractElement(b, down, tm_emit_i32(r->e, 0), "");
        put(r, now[q], a->maximum, g->slot[q]);
    }
}

/* One tile of keys for a group of queries. */
static void group_step(tm_region *r, const tm_attention *a, group *g, LLVMValueRef first) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef best[GROUP];
    score(r, a, g, first, best);
    update_maxima(r, a, g, best);
    weigh(r, a, g, first);
    /* As with the maxima: read before any is written. */
    LLVMValueRef sums[GROUP];
    for (int q = 0; q < a->group; q++)
        sums[q] =
            a->single
                ? g->sum[q]
                : LLVMBuildFAdd(b, LLVMBuildFMul(b, get(r, r->e->f32, a->sum, g->slot[q]), g->down[q], ""),
                                g->sum[q], "");
    for (int q = 0; q < a->group; q++)
        put(r, sums[q], a->sum, g->slot[q]);
    mix(r, a, g, first);
}

/* One tile of keys for all queries of the unit. */
static void tile(tm_region *r, const tm_attention *a, LLVMValueRef first) {
    LLVMValueRef count = keys_in_tile(r, a, first);
    turn(r, a, 1, first, count, a->turned_k);
    tm_loop q = tm_loop_begin(r, tm_int(r, 0), a->query_count, a->group);
    LLVMValueRef last = tm_sub(r, a->query_count, tm_int(r, 1));
    group g = {0};
    for (int i = 0; i < a->group; i++) {
        g.slot[i] = tm_min(r, tm_add(r, q.index, tm_int(r, i)), last);
        g.query[i] = tm_add(r, a->first_query, g.slot[i]);
    }
    group_step(r, a, &g, first);
    tm_loop_end(r, &q);
}

/* Divides by the sums; rows that saw no key are NaN, as Softmax of nothing but -inf is. */
static void finish(tm_region *r, const tm_attention *a) {
    LLVMBuilderRef b = r->e->builder;
    tm_loop q = tm_loop_begin(r, tm_int(r, 0), a->query_count, 1);
    LLVMValueRef sum = get(r, r->e->f32, a->sum, q.index);
    /* Of no keys at all the answer is 0, a product over an empty axis. */
    LLVMValueRef none = LLVMBuildICmp(b, LLVMIntEQ, a->keys, tm_int(r, 0), "");
    sum = LLVMBuildSelect(b, none, LLVMConstReal(r->e->f32, 1), sum, "");
    LLVMValueRef out = tm_attention_out(r, a, tm_add(r, a->first_query, q.index));
    for (int64_t column = 0; column < a->value_size; column += r->lanes) {
        LLVMValueRef at = tm_add(r, out, tm_int(r, column));
        r->mask = tm_tail_mask(r, tm_int(r, a->value_size - column));
        LLVMValueRef total = tm_load_vector(r, TAMIS_TYPE_FLOAT, a->out, at);
        tm_store_vector(r, TAMIS_TYPE_FLOAT, LLVMBuildFDiv(b, total, tm_splat(r, sum), ""), a->out, at);
        r->mask = NULL;
    }
    tm_loop_end(r, &q);
}

static void clear(tm_region *r, const tm_attention *a) {
    tm_loop q = tm_loop_begin(r, tm_int(r, 0), a->query_count, 1);
    put(r, LLVMConstReal(r->e->f32, -INFINITY), a->maximum, q.index);
    put(r, LLVMConstReal(r->e->f32, 0), a->sum, q.index);
    LLVMValueRef zero = tm_splat_f32(r, 0);
    for (int64_t column = 0; column < a->value_size; column += r->lanes) {
        r->mask = tm_tail_mask(r, tm_int(r, a->value_size - column));
        LLVMValueRef at =
            tm_add(r, tm_attention_out(r, a, tm_add(r, a->first_query, q.index)), tm_int(r, column));
        tm_store_vector(r, TAMIS_TYPE_FLOAT, zero, a->out, at);
        r->mask = NULL;
    }
    tm_loop_end(r, &q);
}

static void block(tm_region *r, tm_attention *a) {
    a->turned_k = tm_region_alloca(r, r->e->f32, a->size * a->tile, 64);
    a->weights = tm_region_alloca(r, r->e->f32, (int64_t)a->group * (a->tile + r->lanes), 64);
    a->maximum = tm_region_alloca(r, r->e->f32, QUERIES, 64);
    a->sum = tm_region_alloca(r, r->e->f32, QUERIES, 64);
    clear(r, a);
    LLVMValueRef last = a->keys;
    if (a->causal)
        last = tm_min(r, last, tm_add(r, a->first_query, a->query_count));
    tm_loop keys = tm_loop_begin(r, tm_int(r, 0), last, a->tile);
    tile(r, a, keys.index);
    tm_loop_end(r, &keys);
    finish(r, a);
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

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    tm_attention a = {0};
    LLVMBuilderRef b = r->e->builder;
    set_up(r, &a);
    for (int i = 0; i < 4; i++)
        a.data[i] = a.inputs[i] >= 0 ? tm_operand_data(r, a.inputs[i]) : NULL;
    a.out = tm_operand_data(r, r->node->input_count);
    LLVMValueRef blocks = tm_ceildiv(r, a.queries, QUERIES);
    tm_loop unit = tm_loop_begin(r, begin, end, 1);
    LLVMValueRef plane = LLVMBuildUDiv(b, unit.index, blocks, "");
    a.first_query = tm_mul(r, tm_sub(r, unit.index, tm_mul(r, plane, blocks)), tm_int(r, QUERIES));
    a.query_count = tm_min(r, tm_int(r, QUERIES), tm_sub(r, a.queries, a.first_query));
    a.batch = LLVMBuildUDiv(b, plane, tm_int(r, a.heads), "");
    a.head = tm_sub(r, plane, tm_mul(r, a.batch, tm_int(r, a.heads)));
    a.kv_head = LLVMBuildUDiv(b, a.head, tm_int(r, a.heads / a.kv_heads), "");
    set_mask(r, &a);
    if (tm_attention_is_small(r, &a))
        tm_attention_small_block(r, &a);
    else
        block(r, &a);
    tm_loop_end(r, &unit);
    return TM_OK;
}

const tm_region_kind tm_region_kind_attention = {"attention", count, body};
