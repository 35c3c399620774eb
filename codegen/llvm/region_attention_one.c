/* SPDX-License-Identifier: Apache-2.0
 *
 * region_attention_one.c: attention of a single query, as the step of a decoder has it.
 *
 * With one query there is nothing to lay side by side but its own numbers: vectors run along the head, each
 * row of K and V is read once in one go, and that is what such a step waits for. So the heads of Q that share
 * a head of K and V are taken together, up to eight of them.
 *
 *     score[head][key]  = sum of lanes of (Q[head] * K[key])      up to four keys at once, into a buffer of a
 * tile weight[head][key] = exp(score - shift)                      vectors along the keys mixed[head]      +=
 * weight[head][key] * V[key]
 *
 * Tiles and running maximum are as in region_attention.c. Heads that are not whole vectors go the general
 * way.
 */
#include "codegen/llvm/region_attention.h"

#include <math.h>

#define TILE 512  /* keys */
#define KEYS 4    /* at once */
#define COLUMNS 4 /* vectors of V at once */
#define HEADS TM_ATTENTION_HEADS

typedef struct one {
    int heads;
    int keys, columns;           /* at once */
    LLVMValueRef q[HEADS];       /* where the query stands */
    LLVMValueRef scores[HEADS];  /* of a tile */
    LLVMValueRef mixed[HEADS];   /* [value_size] */
    LLVMValueRef maximum[HEADS]; /* slots of scalars */
    LLVMValueRef sum[HEADS];
    LLVMValueRef mask[HEADS]; /* where it starts */
} one;

/* Lengths that differ are those of a decoder, whose steps have one query. */
static bool may_be_one(const tm_region *r, const tm_attention *a) {
    const tm_value *q = r->node->inputs[a->inputs[0]], *k = r->node->inputs[a->inputs[1]];
    return tm_known(a->queries) == 1 ||
           (!LLVMIsConstant(a->queries) && q->dims[q->rank - 2] != k->dims[k->rank - 2]);
}

LLVMValueRef tm_attention_is_one(tm_region *r, const tm_attention *a) {
    if (!may_be_one(r, a) || a->size % r->lanes != 0 || a->value_size % r->lanes != 0)
        return NULL;
    return LLVMBuildICmp(r->e->builder, LLVMIntEQ, a->queries, tm_int(r, 1), "");
}

static int most_heads(const tm_region *r, const tm_attention *a) {
    int64_t group = a->heads / a->kv_heads;
    int heads = may_be_one(r, a) ? HEADS : 1;
    while (group % heads != 0)
        heads--;
    return heads;
}

LLVMValueRef tm_attention_shared_heads(tm_region *r, const tm_attention *a) {
    LLVMValueRef one = LLVMBuildICmp(r->e->builder, LLVMIntEQ, a->queries, tm_int(r, 1), "");
    return LLVMBuildSelect(r->e->builder, one, tm_int(r, most_heads(r, a)), tm_int(r, 1), "");
}

static LLVMValueRef number(tm_region *r, LLVMValueRef slot) {
    return LLVMBuildLoad2(r->e->builder, r->e->f32, slot, "");
}

static LLVMValueRef load(tm_region *r, LLVMValueRef data, LLVMValueRef index) {
    return tm_load_vector(r, TAMIS_TYPE_FLOAT, data, index);
}

/* Some lanes of two vectors. */
static LLVMValueRef pick(tm_region *r, LLVMValueRef x, LLVMValueRef y, const int *lanes, int count) {
    LLVMValueRef numbers[64];
    for (int i = 0; i < count; i++)
        numbers[i] = tm_emit_i32(r->e, lanes[i]);
    return LLVMBuildShuffleVector(r->e->builder, x, y, LLVMConstVector(numbers, (unsigned)count), "");
}

static LLVMValueRef add_picked(tm_region *r, LLVMValueRef x, LLVMValueRef y, const int *low, const int *high,
                               int count) {
    return LLVMBuildFAdd(r->e->builder, pick(r, x, y, low, count), pick(r, x, y, high, count), "");
}

/* The sums of four vectors, each, as four lanes. */
static LLVMValueRef sums_of_four(tm_region *r, LLVMValueRef *x) {
    static const int even[] = {0, 4, 2, 6}, odd[] = {1, 5, 3, 7}, low[] = {0, 1, 4, 5}, high[] = {2, 3, 6, 7};
    int first[64], second[64];
    for (int i = 0; i < KEYS; i++)
        for (int width = r->lanes / 2; width >= KEYS; width /= 2) {
            for (int lane = 0; lane < width; lane++) {
                first[lane] = lane;
                second[lane] = width + lane;
            }
            x[i] = add_picked(r, x[i], LLVMGetPoison(LLVMTypeOf(x[i])), first, second, width);
        }
    LLVMValueRef pairs[2];
    for (int i = 0; i < 2; i++)
        pairs[i] = add_picked(r, x[2 * i], x[2 * i + 1], even, odd, KEYS);
    return add_picked(r, pairs[0], pairs[1], low, high, KEYS);
}

/* Scores of one head and the keys at hand, from its dots. */
static void put_scores(tm_region *r, const tm_attention *a, const one *o, int head, LLVMValueRef key,
                       LLVMValueRef *dots) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef scale = LLVMConstReal(r->e->f32, a->scale), to = tm_element(r, o->scores[head], key);
    if (o->keys == KEYS) {
        LLVMValueRef sums = sums_of_four(r, dots), four[KEYS];
        for (int i = 0; i < KEYS; i++)
            four[i] = scale;
        LLVMValueRef store = LLVMBuildStore(b, LLVMBuildFMul(b, sums, LLVMConstVector(four, KEYS), ""), to);
        LLVMSetAlignment(store, 4);
        return;
    }
    for (int i = 0; i < o->keys; i++)
        LLVMBuildStore(b, LLVMBuildFMul(b, tm_reduce_add(r, dots[i]), scale, ""),
                       tm_element(r, to, tm_int(r, i)));
}

/* Dots of the tile's keys; behind the last key it is repeated. */
static void dots(tm_region *r, const tm_attention *a, const one *o, LLVMValueRef first, LLVMValueRef count) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef sums[HEADS][KEYS], rows[KEYS], last = tm_sub(r, a->keys, tm_int(r, 1));
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), count, o->keys);
    for (int i = 0; i < o->keys; i++) {
        LLVMValueRef row = tm_add(r, tm_add(r, first, key.index), tm_int(r, i));
        rows[i] = tm_attention_row(r, a, 1, tm_min(r, row, last));
        for (int h = 0; h < o->heads; h++)
            sums[h][i] = tm_slot(r, tm_splat_f32(r, 0));
    }
    tm_loop d = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->size), r->lanes);
    LLVMValueRef k[KEYS];
    for (int i = 0; i < o->keys; i++)
        k[i] = load(r, a->data[1], tm_add(r, rows[i], d.index));
    for (int h = 0; h < o->heads; h++) {
        LLVMValueRef q = load(r, o->q[h], d.index);
        for (int i = 0; i < o->keys; i++)
            LLVMBuildStore(b, tm_fma(r, q, k[i], tm_held(r, sums[h][i])), sums[h][i]);
    }
    tm_loop_end(r, &d);
    for (int h = 0; h < o->heads; h++) {
        LLVMValueRef held[KEYS];
        for (int i = 0; i < o->keys; i++)
            held[i] = tm_held(r, sums[h][i]);
        put_scores(r, a, o, h, key.index, held);
    }
    tm_loop_end(r, &key);
}

/* Lays the mask over the scores of a head, -inf behind the last one; the largest. */
static LLVMValueRef mask_scores(tm_region *r, const tm_attention *a, const one *o, int head,
                                LLVMValueRef first, LLVMValueRef count) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef lowest = tm_splat_f32(r, -INFINITY), best = tm_slot(r, lowest);
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), count, r->lanes);
    LLVMValueRef x = load(r, o->scores[head], key.index),
                 inside = tm_tail_mask(r, tm_sub(r, count, key.index));
    if (a->inputs[3] >= 0) {
        tamis_type type = r->node->inputs[a->inputs[3]]->type;
        r->mask = inside;
        LLVMValueRef mask =
            tm_load_vector(r, type, a->data[3], tm_add(r, o->mask[head], tm_add(r, first, key.index)));
        r->mask = NULL;
        if (type == TAMIS_TYPE_BOOL)
            inside = LLVMBuildAnd(b, inside, mask, "");
        else
            x = LLVMBuildFAdd(b, x, mask, "");
    }
    x = LLVMBuildSelect(b, inside, x, lowest, "");
    tm_store_vector(r, TAMIS_TYPE_FLOAT, x, o->scores[head], key.index);
    LLVMValueRef more = LLVMBuildFCmp(b, LLVMRealOGT, x, tm_held(r, best), "");
    LLVMBuildStore(b, LLVMBuildSelect(b, more, x, tm_held(r, best), ""), best);
    tm_loop_end(r, &key);
    return tm_reduce_max(r, tm_held(r, best));
}

static LLVMValueRef weights(tm_region *r, LLVMValueRef scores, LLVMValueRef count, LLVMValueRef shift) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef total = tm_slot(r, tm_splat_f32(r, 0));
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), count, r->lanes);
    LLVMValueRef x = LLVMBuildFSub(b, load(r, scores, key.index), tm_splat(r, shift), "");
    x = tm_math(r, r->fast ? "weight" : "exp", x);
    tm_store_vector(r, TAMIS_TYPE_FLOAT, x, scores, key.index);
    LLVMBuildStore(b, LLVMBuildFAdd(b, tm_held(r, total), x, ""), total);
    tm_loop_end(r, &key);
    return tm_reduce_add(r, tm_held(r, total));
}

/* The softmax of a head: scores become weights, the running maximum and sum follow. What older sums are
 * scaled down by. */
static LLVMValueRef weigh(tm_region *r, const tm_attention *a, const one *o, int head, LLVMValueRef first,
                          LLVMValueRef count) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef before = number(r, o->maximum[head]), now = mask_scores(r, a, o, head, first, count);
    now = LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOGT, now, before, ""), now, before, "");
    LLVMBuildStore(b, now, o->maximum[head]);
    LLVMValueRef none = LLVMBuildFCmp(b, LLVMRealOEQ, now, LLVMConstReal(r->e->f32, -INFINITY), "");
    LLVMValueRef shift = LLVMBuildSelect(b, none, LLVMConstReal(r->e->f32, 0), now, "");
    LLVMValueRef down =
        tm_math(r, r->fast ? "weight" : "exp", tm_splat(r, LLVMBuildFSub(b, before, shift, "")));
    LLVMValueRef total = weights(r, o->scores[head], count, shift);
    down = LLVMBuildExtractElement(b, down, tm_emit_i32(r->e, 0), "");
    LLVMValueRef sum = LLVMBuildFMul(b, number(r, o->sum[head]), down, "");
    LLVMBuildStore(b, LLVMBuildFAdd(b, sum, total, ""), o->sum[head]);
    return down;
}

/* mixed = mixed * down + sum over keys of weight * V, for some vectors of columns from `column` on. */
static void mix_columns(tm_region *r, const tm_attention *a, const one *o, LLVMValueRef first,
                        LLVMValueRef count, const LLVMValueRef *down, LLVMValueRef column, int vectors) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef sums[HEADS][COLUMNS], weight[HEADS], at[COLUMNS];
    for (int v = 0; v < vectors; v++) {
        at[v] = tm_add(r, column, tm_int(r, (int64_t)v * r->lanes));
        for (int h = 0; h < o->heads; h++)
            sums[h][v] = tm_slot(r, LLVMBuildFMul(b, load(r, o->mixed[h], at[v]), tm_splat(r, down[h]), ""));
    }
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), count, 1);
    for (int h = 0; h < o->heads; h++)
        weight[h] = tm_load_splat(r, TAMIS_TYPE_FLOAT, o->scores[h], key.index);
    LLVMValueRef row = tm_attention_row(r, a, 2, tm_add(r, first, key.index));
    for (int v = 0; v < vectors; v++) {
        LLVMValueRef x = load(r, a->data[2], tm_add(r, row, at[v]));
        for (int h = 0; h < o->heads; h++)
            LLVMBuildStore(b, tm_fma(r, weight[h], x, tm_held(r, sums[h][v])), sums[h][v]);
    }
    tm_loop_end(r, &key);
    for (int v = 0; v < vectors; v++)
        for (int h = 0; h < o->heads; h++)
            tm_store_vector(r, TAMIS_TYPE_FLOAT, tm_held(r, sums[h][v]), o->mixed[h], at[v]);
}

static void tile(tm_region *r, const tm_attention *a, const one *o, LLVMValueRef first, LLVMValueRef end) {
    LLVMValueRef count = tm_min(r, tm_int(r, TILE), tm_sub(r, end, first)), down[HEADS];
    dots(r, a, o, first, count);
    for (int h = 0; h < o->heads; h++)
        down[h] = weigh(r, a, o, h, first, count);
    int64_t vectors = a->value_size / r->lanes, whole = vectors / o->columns * o->columns;
    tm_loop column =
        tm_loop_begin(r, tm_int(r, 0), tm_int(r, whole * r->lanes), (int64_t)o->columns * r->lanes);
    if (whole > 0)
        mix_columns(r, a, o, first, count, down, column.index, o->columns);
    tm_loop_end(r, &column);
    if (whole < vectors)
        mix_columns(r, a, o, first, count, down, tm_int(r, whole * r->lanes), (int)(vectors - whole));
}

/* The state of head `head` of those together, and where its operands are. */
static void begin_head(tm_region *r, const tm_attention *a, one *o, int head) {
    LLVMTypeRef f32 = r->e->f32;
    tm_attention own = *a;
    own.head = tm_add(r, a->head, tm_int(r, head));
    tm_attention_set_mask(r, &own);
    o->mask[head] = own.mask_base;
    o->q[head] = tm_element(r, a->data[0], tm_attention_row(r, &own, 0, tm_int(r, 0)));
    o->scores[head] = tm_region_alloca(r, f32, TILE + r->lanes, 64);
    o->mixed[head] = tm_region_alloca(r, f32, a->value_size, 64);
    o->maximum[head] = tm_slot(r, LLVMConstReal(f32, -INFINITY));
    o->sum[head] = tm_slot(r, LLVMConstReal(f32, 0));
    tm_loop d = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->value_size), r->lanes);
    tm_store_vector(r, TAMIS_TYPE_FLOAT, tm_splat_f32(r, 0), o->mixed[head], d.index);
    tm_loop_end(r, &d);
}

static void finish_head(tm_region *r, const tm_attention *a, const one *o, int head) {
    LLVMBuilderRef b = r->e->builder;
    tm_attention own = *a;
    own.head = tm_add(r, a->head, tm_int(r, head));
    LLVMValueRef out = tm_attention_row(r, &own, 3, tm_int(r, 0));
    /* Of no keys at all the answer is 0, a product over an empty axis. */
    LLVMValueRef none = LLVMBuildICmp(b, LLVMIntEQ, a->keys, tm_int(r, 0), "");
    LLVMValueRef sum = LLVMBuildSelect(b, none, LLVMConstReal(r->e->f32, 1), number(r, o->sum[head]), "");
    tm_loop d = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->value_size), r->lanes);
    LLVMValueRef y = LLVMBuildFDiv(b, load(r, o->mixed[head], d.index), tm_splat(r, sum), "");
    tm_store_vector(r, TAMIS_TYPE_FLOAT, y, a->out, tm_add(r, out, d.index));
    tm_loop_end(r, &d);
}

void tm_attention_one(tm_region *r, const tm_attention *a) {
    one o = {.heads = most_heads(r, a)};
    int registers = r->level->vector_registers, columns = (registers - 1 - o.heads) / o.heads;
    int keys = (registers - 1) / (o.heads + 1);
    o.keys = keys >= KEYS ? KEYS : keys >= 2 ? 2 : 1;
    o.columns = columns > COLUMNS ? COLUMNS : columns < 1 ? 1 : columns;
    for (int h = 0; h < o.heads; h++)
        begin_head(r, a, &o, h);
    LLVMValueRef zero = tm_int(r, 0), end = a->causal ? tm_min(r, a->keys, tm_int(r, 1)) : a->keys;
    tm_loop tiles = tm_loop_begin(r, zero, end, TILE);
    tile(r, a, &o, tiles.index, end);
    tm_loop_end(r, &tiles);
    for (int h = 0; h < o.heads; h++)
        finish_head(r, a, &o, h);
}
