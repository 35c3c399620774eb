/* SPDX-License-Identifier: Apache-2.0
 *
 * region_attention_small.c: attention with heads of a few numbers, queries side by side.
 *
 *     lanes: queries q..q+15     score = scale * (Q[.., 0] * K[key, 0] + Q[.., 1] * K[key, 1]), key after key
 *
 * A vector along such a head is mostly padding, and one along the keys has to be added up for every query. With
 * queries in the lanes each number of K and V is one broadcast, maximum and sums are a lane's own, and neither K
 * nor V is turned round. The scores of a tile of keys wait in a stack buffer; where the weights of a key vanish in
 * all lanes, exp and V are skipped: T2's attention is nearly one-hot, so few keys are left. Between tiles the sums
 * are scaled down as in region_attention.c.
 */
#include "codegen/llvm/region_attention.h"

#include <math.h>

#define SMALLEST 8 /* numbers of a head, at most */
#define STEP 4     /* keys that are skipped together */

/* Vectors of one block of queries. Slots are on the stack until LLVM keeps them in registers. */
typedef struct block {
    LLVMValueRef first; /* query of lane 0 */
    LLVMValueRef lane;  /* <lanes x i32>: lanes past the last query repeat it, with the same answer */
    LLVMValueRef q[SMALLEST];
    LLVMValueRef scores;                         /* [keys of a tile + STEP][lanes] */
    LLVMValueRef shift;                          /* what is taken off the scores before exp */
    LLVMValueRef sum_slot, mixed_slot[SMALLEST]; /* of weights, of weight * V */
    LLVMValueRef best_slot;
} block;

bool tm_attention_is_small(const tm_region *r, const tm_attention *a) {
    return a->size <= SMALLEST && a->value_size <= SMALLEST && a->value_size < r->lanes;
}

static LLVMValueRef get(tm_region *r, LLVMValueRef slot) {
    return LLVMBuildLoad2(r->e->builder, tm_vector_type(r, TAMIS_TYPE_FLOAT), slot, "");
}

static LLVMValueRef slot_of(tm_region *r, double value) {
    LLVMValueRef slot = tm_region_alloca(r, tm_vector_type(r, TAMIS_TYPE_FLOAT), 1, 64);
    LLVMBuildStore(r->e->builder, tm_splat_f32(r, value), slot);
    return slot;
}

static LLVMValueRef larger(tm_region *r, LLVMValueRef x, LLVMValueRef y) { /* y where x is NaN */
    LLVMBuilderRef b = r->e->builder;
    return LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOGT, x, y, ""), x, y, "");
}

static LLVMValueRef score_index(tm_region *r, LLVMValueRef key) { /* in the tile */
    return tm_mul(r, key, tm_int(r, r->lanes));
}

/* The mask of one key for all lanes, on top of the score. */
static LLVMValueRef masked(tm_region *r, const tm_attention *a, const block *l, LLVMValueRef score,
                           LLVMValueRef key) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef lowest = tm_splat_f32(r, -INFINITY);
    if (a->inputs[3] >= 0) {
        tamis_type type = r->node->inputs[a->inputs[3]]->type;
        LLVMValueRef index = a->mask_base, mask;
        if (a->mask_key != NULL)
            index = tm_add(r, index, key);
        if (a->mask_query != NULL) {
            index = tm_add(r, index, tm_mul(r, l->first, a->mask_query));
            mask = tm_gather(r, type, a->data[3], index, l->lane, a->mask_query);
        } else
            mask = tm_load_splat(r, type, a->data[3], index);
        score = type == TAMIS_TYPE_BOOL ? LLVMBuildSelect(b, mask, score, lowest, "")
                                        : LLVMBuildFAdd(b, score, mask, "");
    }
    if (a->causal) {
        LLVMValueRef distance = LLVMBuildTrunc(b, tm_sub(r, key, l->first), r->e->i32, "");
        LLVMValueRef seen = LLVMBuildICmp(b, LLVMIntSLE, tm_splat(r, distance), l->lane, "");
        score = LLVMBuildSelect(b, seen, score, lowest, "");
    }
    return score;
}

/* Scores of the tile's keys into the buffer, with STEP more that no query sees; their maxima into best_slot. */
static void score(tm_region *r, const tm_attention *a, const block *l, LLVMValueRef first, LLVMValueRef count) {
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), count, 1);
    LLVMValueRef row = tm_attention_row(r, a, 1, tm_add(r, first, key.index)), sum = NULL;
    for (int d = 0; d < a->size; d++) {
        LLVMValueRef k = tm_load_splat(r, TAMIS_TYPE_FLOAT, a->data[1], tm_add(r, row, tm_int(r, d)));
        sum = d == 0 ? LLVMBuildFMul(r->e->builder, l->q[0], k, "") : tm_fma(r, l->q[d], k, sum);
    }
    sum = masked(r, a, l, sum, tm_add(r, first, key.index));
    tm_store_vector(r, TAMIS_TYPE_FLOAT, sum, l->scores, score_index(r, key.index));
    LLVMBuildStore(r->e->builder, larger(r, sum, get(r, l->best_slot)), l->best_slot);
    tm_loop_end(r, &key);
    for (int i = 0; i < STEP; i++)
        tm_store_vector(r, TAMIS_TYPE_FLOAT, tm_splat_f32(r, -INFINITY), l->scores,
                        score_index(r, tm_add(r, count, tm_int(r, i))));
}

/* Is any lane of any of `count` scores from `key` on more than nothing, or NaN? exp is 0 below -104, and below
 * -87.4 subnormal. */
static LLVMValueRef any_weight(tm_region *r, const block *l, LLVMValueRef key, int count) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef least = LLVMBuildFAdd(b, l->shift, tm_splat_f32(r, r->fast ? -87.5 : -104.5), ""), any = NULL;
    for (int i = 0; i < count; i++) {
        LLVMValueRef x =
            tm_load_vector(r, TAMIS_TYPE_FLOAT, l->scores, score_index(r, tm_add(r, key, tm_int(r, i))));
        LLVMValueRef seen = LLVMBuildFCmp(b, LLVMRealUGE, x, least, "");
        any = any == NULL ? seen : LLVMBuildOr(b, any, seen, "");
    }
    LLVMTypeRef bits = LLVMIntTypeInContext(r->e->context, (unsigned)r->lanes);
    return LLVMBuildICmp(b, LLVMIntNE, LLVMBuildBitCast(b, any, bits, ""), LLVMConstNull(bits), "");
}

/* Adds weight and weight * V of the tile's keys. */
static void weigh(tm_region *r, const tm_attention *a, const block *l, LLVMValueRef first, LLVMValueRef count) {
    LLVMBuilderRef b = r->e->builder;
    tm_loop some = tm_loop_begin(r, tm_int(r, 0), count, STEP);
    LLVMBasicBlockRef after_some = tm_if_begin(r, any_weight(r, l, some.index, STEP));
    tm_loop key = tm_loop_begin(r, some.index, tm_min(r, tm_add(r, some.index, tm_int(r, STEP)), count), 1);
    LLVMBasicBlockRef after = tm_if_begin(r, any_weight(r, l, key.index, 1));
    LLVMValueRef x = tm_load_vector(r, TAMIS_TYPE_FLOAT, l->scores, score_index(r, key.index));
    x = tm_math(r, "exp", LLVMBuildFSub(b, x, l->shift, ""));
    LLVMBuildStore(b, LLVMBuildFAdd(b, get(r, l->sum_slot), x, ""), l->sum_slot);
    LLVMValueRef row = tm_attention_row(r, a, 2, tm_add(r, first, key.index));
    for (int d = 0; d < a->value_size; d++) {
        LLVMValueRef v = tm_load_splat(r, TAMIS_TYPE_FLOAT, a->data[2], tm_add(r, row, tm_int(r, d)));
        LLVMBuildStore(b, tm_fma(r, x, v, get(r, l->mixed_slot[d])), l->mixed_slot[d]);
    }
    tm_if_end(r, after);
    tm_loop_end(r, &key);
    tm_if_end(r, after_some);
    tm_loop_end(r, &some);
}

/* A lane that saw no key so far gets a finite shift, so that exp gives 0 and not NaN. */
static LLVMValueRef shift_of(tm_region *r, LLVMValueRef best) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef none = LLVMBuildFCmp(b, LLVMRealOEQ, best, tm_splat_f32(r, -INFINITY), "");
    return LLVMBuildSelect(b, none, tm_splat_f32(r, 0), best, "");
}

static void tile(tm_region *r, const tm_attention *a, block *l, LLVMValueRef first) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef count = tm_min(r, tm_int(r, a->tile), tm_sub(r, a->keys, first));
    LLVMValueRef before = get(r, l->best_slot);
    score(r, a, l, first, count);
    l->shift = shift_of(r, get(r, l->best_slot));
    if (!a->single) {
        LLVMValueRef down = tm_math(r, "exp", LLVMBuildFSub(b, before, l->shift, ""));
        LLVMBuildStore(b, LLVMBuildFMul(b, get(r, l->sum_slot), down, ""), l->sum_slot);
        for (int d = 0; d < a->value_size; d++)
            LLVMBuildStore(b, LLVMBuildFMul(b, get(r, l->mixed_slot[d]), down, ""), l->mixed_slot[d]);
    }
    weigh(r, a, l, first, count);
}

/* Divides by the sums; lanes that saw no key are NaN, as Softmax of nothing but -inf is. */
static void finish(tm_region *r, const tm_attention *a, const block *l) {
    LLVMBuilderRef b = r->e->builder;
    /* Of no keys at all the answer is 0, a product over an empty axis. */
    LLVMValueRef none = LLVMBuildICmp(b, LLVMIntEQ, a->keys, tm_int(r, 0), "");
    LLVMValueRef sum = LLVMBuildSelect(b, none, tm_splat_f32(r, 1), get(r, l->sum_slot), "");
    LLVMValueRef row = tm_attention_out(r, a, l->first), step = tm_int(r, tm_attention_out_step(r, a));
    for (int d = 0; d < a->value_size; d++)
        tm_scatter(r, TAMIS_TYPE_FLOAT, LLVMBuildFDiv(b, get(r, l->mixed_slot[d]), sum, ""), a->out,
                   tm_add(r, row, tm_int(r, d)), l->lane, step);
}

void tm_attention_small_block(tm_region *r, tm_attention *a) {
    LLVMBuilderRef b = r->e->builder;
    block l = {.scores = tm_region_alloca(r, r->e->f32, (int64_t)(a->tile + STEP) * r->lanes, 64)};
    LLVMValueRef end = tm_add(r, a->first_query, a->query_count);
    tm_loop query = tm_loop_begin(r, a->first_query, end, r->lanes);
    l.first = query.index;
    LLVMValueRef last = LLVMBuildTrunc(b, tm_sub(r, tm_sub(r, end, l.first), tm_int(r, 1)), r->e->i32, "");
    l.lane = tm_lane_numbers(r);
    LLVMValueRef inside = LLVMBuildICmp(b, LLVMIntSLT, l.lane, tm_splat(r, last), "");
    l.lane = LLVMBuildSelect(b, inside, l.lane, tm_splat(r, last), "");
    LLVMValueRef row = tm_attention_row(r, a, 0, l.first), step = tm_int(r, tm_attention_row_step(r, a, 0));
    for (int d = 0; d < a->size; d++) {
        l.q[d] = tm_gather(r, TAMIS_TYPE_FLOAT, a->data[0], tm_add(r, row, tm_int(r, d)), l.lane, step);
        l.q[d] = LLVMBuildFMul(b, l.q[d], tm_splat_f32(r, a->scale), "");
    }
    l.best_slot = slot_of(r, -INFINITY);
    l.sum_slot = slot_of(r, 0);
    for (int d = 0; d < a->value_size; d++)
        l.mixed_slot[d] = slot_of(r, 0);
    LLVMValueRef seen = a->keys;
    if (a->causal)
        seen = tm_min(r, seen, tm_min(r, end, tm_add(r, l.first, tm_int(r, r->lanes))));
    tm_loop keys = tm_loop_begin(r, tm_int(r, 0), seen, a->tile);
    tile(r, a, &l, keys.index);
    tm_loop_end(r, &keys);
    finish(r, a, &l);
    tm_loop_end(r, &query);
}
