/* SPDX-License-Identifier: Apache-2.0
 *
 * region_attention_one.c: attention of a single query, as the step of a decoder has it.
 *
 * With one query there is nothing to lay side by side but its own numbers: vectors run along the head, each
 * row of K and V is read once in one go, and that is what such a step waits for.
 *
 *     score[key]  = sum of lanes of (Q * K[key])         four keys at once, into a buffer of a tile
 *     weight[key] = exp(score - shift)                   vectors along the keys
 *     mixed      += weight[key] * V[key]
 *
 * Tiles and running maximum are as in region_attention.c. Heads that are not whole vectors go the general
 * way.
 */
#include "codegen/llvm/region_attention.h"

#include <math.h>

#define TILE 512  /* keys */
#define KEYS 4    /* at once */
#define COLUMNS 4 /* vectors of V at once */

typedef struct one {
    LLVMValueRef q;            /* where the query stands */
    LLVMValueRef scores;       /* of a tile */
    LLVMValueRef mixed;        /* [value_size] */
    LLVMValueRef maximum, sum; /* slots of scalars */
} one;

bool tm_attention_is_one(const tm_region *r, const tm_attention *a) {
    return LLVMIsConstant(a->queries) && LLVMConstIntGetSExtValue(a->queries) == 1 &&
           a->size % r->lanes == 0 && a->value_size % r->lanes == 0;
}

static LLVMValueRef number(tm_region *r, LLVMValueRef slot) {
    return LLVMBuildLoad2(r->e->builder, r->e->f32, slot, "");
}

static LLVMValueRef load(tm_region *r, LLVMValueRef data, LLVMValueRef index) {
    return tm_load_vector(r, TAMIS_TYPE_FLOAT, data, index);
}

/* Dots of the tile's keys; behind the last key it is repeated. */
static void dots(tm_region *r, const tm_attention *a, const one *o, LLVMValueRef first, LLVMValueRef count) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef sums[KEYS], rows[KEYS], last = tm_sub(r, a->keys, tm_int(r, 1));
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), count, KEYS);
    for (int i = 0; i < KEYS; i++) {
        sums[i] = tm_slot(r, tm_splat_f32(r, 0));
        LLVMValueRef row = tm_add(r, tm_add(r, first, key.index), tm_int(r, i));
        rows[i] = tm_attention_row(r, a, 1, tm_min(r, row, last));
    }
    tm_loop d = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->size), r->lanes);
    LLVMValueRef q = load(r, o->q, d.index);
    for (int i = 0; i < KEYS; i++)
        LLVMBuildStore(b, tm_fma(r, q, load(r, a->data[1], tm_add(r, rows[i], d.index)), tm_held(r, sums[i])),
                       sums[i]);
    tm_loop_end(r, &d);
    for (int i = 0; i < KEYS; i++) {
        LLVMValueRef sum =
            LLVMBuildFMul(b, tm_reduce_add(r, tm_held(r, sums[i])), LLVMConstReal(r->e->f32, a->scale), "");
        LLVMValueRef at = tm_add(r, key.index, tm_int(r, i));
        LLVMBuildStore(b, sum, LLVMBuildInBoundsGEP2(b, r->e->f32, o->scores, &at, 1, ""));
    }
    tm_loop_end(r, &key);
}

/* Lays the mask over the scores, -inf behind the last one; the largest. */
static LLVMValueRef mask_scores(tm_region *r, const tm_attention *a, const one *o, LLVMValueRef first,
                                LLVMValueRef count) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef lowest = tm_splat_f32(r, -INFINITY), best = tm_slot(r, lowest);
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), count, r->lanes);
    LLVMValueRef x = load(r, o->scores, key.index), inside = tm_tail_mask(r, tm_sub(r, count, key.index));
    if (a->inputs[3] >= 0) {
        tamis_type type = r->node->inputs[a->inputs[3]]->type;
        r->mask = inside;
        LLVMValueRef mask =
            tm_load_vector(r, type, a->data[3], tm_add(r, a->mask_base, tm_add(r, first, key.index)));
        r->mask = NULL;
        if (type == TAMIS_TYPE_BOOL)
            inside = LLVMBuildAnd(b, inside, mask, "");
        else
            x = LLVMBuildFAdd(b, x, mask, "");
    }
    x = LLVMBuildSelect(b, inside, x, lowest, "");
    tm_store_vector(r, TAMIS_TYPE_FLOAT, x, o->scores, key.index);
    LLVMValueRef more = LLVMBuildFCmp(b, LLVMRealOGT, x, tm_held(r, best), "");
    LLVMBuildStore(b, LLVMBuildSelect(b, more, x, tm_held(r, best), ""), best);
    tm_loop_end(r, &key);
    return tm_reduce_max(r, tm_held(r, best));
}

static LLVMValueRef weights(tm_region *r, const one *o, LLVMValueRef count, LLVMValueRef shift) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef total = tm_slot(r, tm_splat_f32(r, 0));
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), count, r->lanes);
    LLVMValueRef x = LLVMBuildFSub(b, load(r, o->scores, key.index), tm_splat(r, shift), "");
    x = tm_math(r, r->fast ? "weight" : "exp", x);
    tm_store_vector(r, TAMIS_TYPE_FLOAT, x, o->scores, key.index);
    LLVMBuildStore(b, LLVMBuildFAdd(b, tm_held(r, total), x, ""), total);
    tm_loop_end(r, &key);
    return tm_reduce_add(r, tm_held(r, total));
}

/* mixed = mixed * down + sum over keys of weight * V, for some vectors of columns from `column` on. */
static void mix_columns(tm_region *r, const tm_attention *a, const one *o, LLVMValueRef first,
                        LLVMValueRef count, LLVMValueRef down, LLVMValueRef column, int vectors) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef sums[COLUMNS];
    for (int v = 0; v < vectors; v++) {
        LLVMValueRef old = load(r, o->mixed, tm_add(r, column, tm_int(r, (int64_t)v * r->lanes)));
        sums[v] = tm_slot(r, LLVMBuildFMul(b, old, tm_splat(r, down), ""));
    }
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), count, 1);
    LLVMValueRef weight = tm_load_splat(r, TAMIS_TYPE_FLOAT, o->scores, key.index);
    LLVMValueRef row = tm_add(r, tm_attention_row(r, a, 2, tm_add(r, first, key.index)), column);
    for (int v = 0; v < vectors; v++) {
        LLVMValueRef x = load(r, a->data[2], tm_add(r, row, tm_int(r, (int64_t)v * r->lanes)));
        LLVMBuildStore(b, tm_fma(r, weight, x, tm_held(r, sums[v])), sums[v]);
    }
    tm_loop_end(r, &key);
    for (int v = 0; v < vectors; v++)
        tm_store_vector(r, TAMIS_TYPE_FLOAT, tm_held(r, sums[v]), o->mixed,
                        tm_add(r, column, tm_int(r, (int64_t)v * r->lanes)));
}

static void tile(tm_region *r, const tm_attention *a, const one *o, LLVMValueRef first, LLVMValueRef end) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef count = tm_min(r, tm_int(r, TILE), tm_sub(r, end, first)), before = number(r, o->maximum);
    dots(r, a, o, first, count);
    LLVMValueRef now = mask_scores(r, a, o, first, count);
    now = LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOGT, now, before, ""), now, before, "");
    LLVMBuildStore(b, now, o->maximum);
    LLVMValueRef none = LLVMBuildFCmp(b, LLVMRealOEQ, now, LLVMConstReal(r->e->f32, -INFINITY), "");
    LLVMValueRef shift = LLVMBuildSelect(b, none, LLVMConstReal(r->e->f32, 0), now, "");
    LLVMValueRef down =
        tm_math(r, r->fast ? "weight" : "exp", tm_splat(r, LLVMBuildFSub(b, before, shift, "")));
    down = LLVMBuildExtractElement(b, down, tm_emit_i32(r->e, 0), "");
    LLVMValueRef total = weights(r, o, count, shift);
    LLVMValueRef sum = LLVMBuildFMul(b, number(r, o->sum), down, "");
    LLVMBuildStore(b, LLVMBuildFAdd(b, sum, total, ""), o->sum);
    int64_t vectors = a->value_size / r->lanes, whole = vectors / COLUMNS * COLUMNS;
    tm_loop column = tm_loop_begin(r, tm_int(r, 0), tm_int(r, whole * r->lanes), (int64_t)COLUMNS * r->lanes);
    if (whole > 0)
        mix_columns(r, a, o, first, count, down, column.index, COLUMNS);
    tm_loop_end(r, &column);
    if (whole < vectors)
        mix_columns(r, a, o, first, count, down, tm_int(r, whole * r->lanes), (int)(vectors - whole));
}

void tm_attention_one(tm_region *r, const tm_attention *a) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef zero = tm_int(r, 0), row = tm_attention_row(r, a, 0, zero),
                 out = tm_attention_row(r, a, 3, zero);
    LLVMTypeRef f32 = r->e->f32;
    one o = {.q = LLVMBuildInBoundsGEP2(b, f32, a->data[0], &row, 1, ""),
             .scores = tm_region_alloca(r, f32, TILE + r->lanes, 64),
             .mixed = tm_region_alloca(r, f32, a->value_size, 64),
             .maximum = tm_slot(r, LLVMConstReal(f32, -INFINITY)),
             .sum = tm_slot(r, LLVMConstReal(f32, 0))};
    tm_loop d = tm_loop_begin(r, zero, tm_int(r, a->value_size), r->lanes);
    tm_store_vector(r, TAMIS_TYPE_FLOAT, tm_splat_f32(r, 0), o.mixed, d.index);
    tm_loop_end(r, &d);
    LLVMValueRef end = a->causal ? tm_min(r, a->keys, tm_int(r, 1)) : a->keys;
    tm_loop keys = tm_loop_begin(r, zero, end, TILE);
    tile(r, a, &o, keys.index, end);
    tm_loop_end(r, &keys);
    /* Of no keys at all the answer is 0, a product over an empty axis. */
    LLVMValueRef none = LLVMBuildICmp(b, LLVMIntEQ, a->keys, zero, "");
    LLVMValueRef sum = LLVMBuildSelect(b, none, LLVMConstReal(f32, 1), number(r, o.sum), "");
    d = tm_loop_begin(r, zero, tm_int(r, a->value_size), r->lanes);
    LLVMValueRef y = LLVMBuildFDiv(b, load(r, o.mixed, d.index), tm_splat(r, sum), "");
    tm_store_vector(r, TAMIS_TYPE_FLOAT, y, a->out, tm_add(r, out, d.index));
    tm_loop_end(r, &d);
}
