/* SPDX-License-Identifier: Apache-2.0
 *
 * region_attention_bytes.c: attention of quantised models, in integers.
 *
 *     body: Attention(DequantizeLinear(%q: i8), DequantizeLinear(%k: i8), DequantizeLinear(%v: i8), mask)
 *
 *     score  = (sum of q * k) * scale + mask                     q less its zero point; the sum is exact
 *     weight = rint(255 * exp(score - best of the tile))         a byte
 *     Y      = (sum of weight * v) / (sum of weight) * scale of V - its zero point
 *
 * A unit is one head and up to 128 queries, which go through a tile of at most 128 keys, as many at a time as
 * region_attention.c takes, before the next tile. Queries are in the lanes of scores and softmax. Both sums
 * of weights are exact, and the rounding of a weight is in both: a row sums up to one. Weights are rounded
 * beside the best of their own tile, and tiles are put together in float32 as those of an online softmax, so
 * that a long row loses nothing by its length. All levels have the same tiles, and all that is rounded is
 * done element by element: an answer is the same bits everywhere.
 *
 * Where products read the answer, it is stored as their tiles once it is whole; what is added to by the next
 * tile of keys is float32 as ever, in an output that nobody reads.
 *
 * exp(x) is a polynomial for exp(x / 8), squared three times. Its error is a hundredth of half a step of
 * 1/255; below the least x that does not round to 0 it stays there.
 */
#include "codegen/llvm/region_attention_bytes.h"

#include <math.h>

#define MOST_KEYS 128  /* of a tile */
#define WIDE_HEAD 64   /* heads above have tiles of half as many */
#define STACK 28672    /* bytes of the buffers */
#define LEAST -0.78125 /* exp(8 * LEAST) * 255 rounds to 0 */
#define BIASED 0x1p23  /* a float from here on has its whole number in its low bits */
#define BIAS ((int64_t)0x4b000000)
#define TAKEN ((int64_t)0x80808080) /* from the left bytes of dots of signed bytes */
#define ONES ((int64_t)0x01010101)
#define B (r->e->builder)

/* ---- set-up ---- */

/* A scale or zero point: a number of the body, or an input of the region. */
static LLVMValueRef parameter(tm_region *r, const tm_value *value, bool real) {
    LLVMTypeRef to = real ? r->e->f32 : r->e->i32;
    double number = 0;
    if (value == NULL || value->constant != NULL) {
        if (value != NULL)
            (void)tm_constant_double(value->constant, 0, &number);
        return real ? LLVMConstReal(to, number) : LLVMConstInt(to, (unsigned long long)(int64_t)number, true);
    }
    LLVMValueRef data = tm_operand_data(r, tm_region_input_number(r->body, value));
    LLVMValueRef x = LLVMBuildLoad2(B, tm_element_type(r, value->type), data, "");
    if (real)
        return x;
    return value->type == TAMIS_TYPE_INT8 ? LLVMBuildSExt(B, x, to, "") : LLVMBuildZExt(B, x, to, "");
}

static const tm_node *widening(const tm_attention_bytes *a, int i) {
    return a->shared.node->inputs[i]->producer;
}

static LLVMValueRef scale_of(tm_region *r, const tm_attention_bytes *a, int i) {
    return parameter(r, widening(a, i)->inputs[1], true);
}

static LLVMValueRef zero_of(tm_region *r, const tm_attention_bytes *a, int i) {
    const tm_node *node = widening(a, i);
    return parameter(r, node->input_count > 2 ? node->inputs[2] : NULL, false);
}

static LLVMValueRef times(tm_region *r, LLVMValueRef x, LLVMValueRef y) {
    return LLVMBuildFMul(B, x, y, "");
}

static void read_parameters(tm_region *r, tm_attention_bytes *a) {
    LLVMValueRef zero = LLVMBuildSIToFP(B, zero_of(r, a, 2), r->e->f32, "");
    a->query_zero = zero_of(r, a, 0);
    a->scale = times(r, times(r, scale_of(r, a, 0), scale_of(r, a, 1)),
                     LLVMConstReal(r->e->f32, a->shared.scale * TM_ATTENTION_BYTES_PART));
    a->value_scale = scale_of(r, a, 2);
    a->value_offset = LLVMBuildFNeg(B, times(r, a->value_scale, zero), "");
}

/* Keys of a tile: even parts of what is known, and whole blocks. */
static int64_t tile_of(const tm_attention_bytes *a) {
    bool wide = a->shared.size > WIDE_HEAD || a->shared.value_size > WIDE_HEAD;
    int64_t most = wide ? MOST_KEYS / 2 : MOST_KEYS, keys = tm_known(a->shared.keys);
    if (keys < 1)
        return most;
    int64_t tiles = (keys + most - 1) / most, even = (keys + tiles - 1) / tiles;
    return (even + TM_ATTENTION_KEYS / 2 - 1) / (TM_ATTENTION_KEYS / 2) * (TM_ATTENTION_KEYS / 2);
}

typedef struct buffer {
    LLVMValueRef *place;
    int64_t bytes;
} buffer;

/* The buffers behind each other, from `base` on (NULL: nowhere); their bytes. */
static int64_t place_buffers(tm_region *r, tm_attention_bytes *a, LLVMValueRef base) {
    tm_attention *s = &a->shared;
    int64_t width = s->width, dot = a->dot != NULL, rows = a->tile + (a->spread ? s->block : 0), bytes = 0;
    rows = !dot && s->size > rows ? s->size : rows; /* Q stands there before it is turned */
    const buffer all[] = {{&s->scores, rows * width * 4},
                          {&a->turned, s->size * width * (dot ? 1 : 4)},
                          {&a->values, dot || a->padded != s->value_size ? a->tile * a->padded : 0},
                          {&a->key_sums, dot ? a->tile * 4 : 0},
                          {&a->wide, dot ? 0 : s->block * s->size * 4},
                          {&a->factors, 2 * width * 4},
                          {&a->maxima, a->single ? 0 : TM_ATTENTION_BYTES_QUERIES * 4},
                          {&a->totals, a->single ? 0 : TM_ATTENTION_BYTES_QUERIES * 4}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        LLVMValueRef at = tm_int(r, bytes);
        if (base != NULL)
            *all[i].place = LLVMBuildInBoundsGEP2(B, r->e->i8, base, &at, 1, "");
        bytes += (all[i].bytes + 63) / 64 * 64;
    }
    return bytes;
}

/* Sums of scores are 8 or 16 vectors, as those of floats are. */
static void choose(tm_region *r, tm_attention_bytes *a) {
    tm_attention *s = &a->shared;
    bool many = r->level->vector_registers >= 32;
    int least = r->lanes >= 8 ? 1 : 8 / r->lanes; /* squares of 8 by 8 are turned */
    a->padded = (s->value_size + r->lanes - 1) / r->lanes * r->lanes;
    for (s->vectors = least > 2 ? least : 2;; s->vectors = least) {
        s->width = s->vectors * r->lanes;
        s->block = (many ? 16 : 8) / s->vectors;
        s->block = s->block > TM_ATTENTION_KEYS / 2 ? TM_ATTENTION_KEYS / 2 : s->block;
        s->block = a->dot != NULL && s->block < 4 ? 4 : s->block; /* words of keys are whole */
        if (a->dot == NULL && s->size > WIDE_HEAD && s->block > 4)
            s->block = 4;
        if (s->vectors == least || place_buffers(r, a, NULL) <= STACK)
            break;
    }
    a->rows = many && s->width >= 8 ? 8 : 4;
}

static void set_up(tm_region *r, tm_attention_bytes *a) {
    tm_attention *s = &a->shared;
    tm_attention_set_up(r, s);
    a->dot = tm_byte_dot_of(r, &a->is_signed);
    a->tile = tile_of(a);
    int64_t keys = tm_known(s->keys);
    a->single = keys >= 1 && keys <= a->tile;
    a->tiles = r->node->output_count - 1;
    if (s->inputs[3] >= 0) {
        const tm_value *mask = r->node->inputs[s->inputs[3]];
        a->spread = !tm_dim_is(mask->dims[mask->rank - 2], 1);
    }
    choose(r, a);
}

/* ---- a tile of keys ---- */

/* What the mask adds to a key's scores, where it is the same for all queries. */
static LLVMValueRef masked(tm_region *r, const tm_attention_bytes *a, LLVMValueRef key) {
    const tm_attention *s = &a->shared;
    tamis_type type = r->node->inputs[s->inputs[3]]->type;
    key = tm_min(r, key, tm_sub(r, s->keys, tm_int(r, 1)));
    LLVMValueRef x = tm_load_splat(r, type, s->data[3], tm_add(r, s->mask_base, tm_mul(r, key, s->mask_key)));
    if (type == TAMIS_TYPE_BOOL)
        x = LLVMBuildSelect(B, x, tm_splat_f32(r, 0), tm_splat_f32(r, -INFINITY), "");
    return x;
}

/* Scores of the keys at hand, in parts of 1/8, and the best of them. NaN is passed over. */
static void score_block(tm_region *r, const tm_attention_bytes *a, LLVMValueRef first, LLVMValueRef block,
                        LLVMValueRef *best) {
    const tm_attention *s = &a->shared;
    LLVMValueRef sums[TM_ATTENTION_KEYS][TM_ATTENTION_VECTORS], scale = tm_splat(r, a->scale);
    tm_attention_bytes_score(r, a, first, block, sums);
    for (int i = 0; i < s->block; i++) {
        LLVMValueRef row = tm_add(r, block, tm_int(r, i)), key = tm_add(r, first, row);
        LLVMValueRef shared = s->inputs[3] >= 0 && !a->spread ? masked(r, a, key) : NULL;
        for (int j = 0; j < s->vectors; j++) {
            LLVMValueRef added = a->spread ? tm_attention_get(r, s, s->scores, row, j) : shared, x;
            if (added != NULL)
                x = tm_fma(r, sums[i][j], scale, times(r, added, tm_splat_f32(r, TM_ATTENTION_BYTES_PART)));
            else
                x = times(r, sums[i][j], scale);
            if (s->causal) {
                LLVMValueRef own = LLVMBuildTrunc(B, key, r->e->i32, "");
                LLVMValueRef seen = LLVMBuildICmp(B, LLVMIntSLE, tm_splat(r, own), s->number[j], "");
                x = LLVMBuildSelect(B, seen, x, tm_splat_f32(r, -INFINITY), "");
            }
            tm_attention_put(r, s, x, s->scores, row, j);
            LLVMValueRef most = tm_held(r, best[j]), more = LLVMBuildFCmp(B, LLVMRealOGT, x, most, "");
            LLVMBuildStore(B, LLVMBuildSelect(B, more, x, most, ""), best[j]);
        }
    }
}

/* 255 * exp(8 * x) for x not above 0, as BIASED and the whole number next to it. The terms are those of
 * exp(x) times the eighth root of 255. */
static LLVMValueRef biased_weight(tm_region *r, LLVMValueRef x) {
    static const double terms[] = {0.05661299079656601, 0.31617456674575806, 0.9950198531150818,
                                   1.9986381530761719, 1.9990217685699463};
    LLVMValueRef least = tm_splat_f32(r, LEAST), p = tm_splat_f32(r, terms[0]);
    x = LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealOGT, x, least, ""), x, least, "");
    for (int i = 1; i < 5; i++)
        p = tm_fma(r, p, x, tm_splat_f32(r, terms[i]));
    for (int i = 0; i < 2; i++)
        p = times(r, p, p);
    return tm_fma(r, p, p, tm_splat_f32(r, BIASED));
}

static LLVMValueRef weight_of(tm_region *r, const tm_attention_bytes *a, LLVMValueRef row, int j) {
    LLVMValueRef x = tm_attention_get(r, &a->shared, a->shared.scores, row, j);
    return biased_weight(r, LLVMBuildFSub(B, x, a->shared.shift[j], ""));
}

/* Weights of four keys as a word for each query, over scores that were read before. `mask`: of the keys that
 * there are; NULL: all. */
static void weigh_four(tm_region *r, const tm_attention_bytes *a, LLVMValueRef group, LLVMValueRef mask,
                       LLVMValueRef *totals) {
    const tm_attention *s = &a->shared;
    LLVMTypeRef words = tm_vector_type(r, TAMIS_TYPE_INT32);
    for (int j = 0; j < s->vectors; j++) {
        LLVMValueRef word = NULL;
        for (int i = 0; i < 4; i++) {
            LLVMValueRef row = tm_add(r, tm_mul(r, group, tm_int(r, 4)), tm_int(r, i));
            LLVMValueRef bits = LLVMBuildBitCast(B, weight_of(r, a, row, j), words, "");
            bits = i == 0 ? LLVMBuildXor(B, bits, tm_splat(r, tm_emit_i32(r->e, BIAS)), "")
                          : LLVMBuildShl(B, bits, tm_splat(r, tm_emit_i32(r->e, 8 * i)), "");
            word = i == 0 ? bits : LLVMBuildOr(B, word, bits, "");
        }
        if (mask != NULL)
            word = LLVMBuildAnd(B, word, mask, "");
        LLVMValueRef at = tm_add(r, tm_mul(r, group, tm_int(r, s->width)), tm_int(r, (int64_t)j * r->lanes));
        tm_store_vector(r, TAMIS_TYPE_INT32, word, s->scores, at);
        if (a->is_signed)
            word = LLVMBuildXor(B, word, tm_splat(r, tm_emit_i32(r->e, TAKEN)), "");
        LLVMValueRef total = LLVMBuildLoad2(B, words, totals[j], "");
        total = a->dot(r, total, word, tm_splat(r, tm_emit_i32(r->e, ONES)));
        if (a->is_signed)
            total = LLVMBuildAdd(B, total, tm_splat(r, tm_emit_i32(r->e, 4 * 128)), "");
        LLVMBuildStore(B, total, totals[j]);
    }
}

static void weigh_words(tm_region *r, const tm_attention_bytes *a, LLVMValueRef count, LLVMValueRef *totals) {
    LLVMTypeRef words = tm_vector_type(r, TAMIS_TYPE_INT32);
    LLVMValueRef whole = LLVMBuildLShr(B, count, tm_int(r, 2), ""),
                 rest = LLVMBuildAnd(B, count, tm_int(r, 3), "");
    for (int j = 0; j < a->shared.vectors; j++)
        totals[j] = tm_slot(r, LLVMConstNull(words));
    tm_loop group = tm_loop_begin(r, tm_int(r, 0), whole, 1);
    weigh_four(r, a, group.index, NULL, totals);
    tm_loop_end(r, &group);
    if (tm_known(rest) != 0) {
        LLVMBasicBlockRef after = tm_if_begin(r, LLVMBuildICmp(B, LLVMIntNE, rest, tm_int(r, 0), ""));
        LLVMValueRef bits = LLVMBuildTrunc(B, tm_mul(r, rest, tm_int(r, 8)), r->e->i32, "");
        LLVMValueRef mask = LLVMBuildNot(B, LLVMBuildShl(B, tm_emit_i32(r->e, -1), bits, ""), "");
        weigh_four(r, a, whole, tm_splat(r, mask), totals);
        tm_if_end(r, after);
    }
    for (int j = 0; j < a->shared.vectors; j++)
        totals[j] = LLVMBuildSIToFP(B, LLVMBuildLoad2(B, words, totals[j], ""),
                                    tm_vector_type(r, TAMIS_TYPE_FLOAT), "");
}

static void weigh_floats(tm_region *r, const tm_attention_bytes *a, LLVMValueRef count,
                         LLVMValueRef *totals) {
    const tm_attention *s = &a->shared;
    for (int j = 0; j < s->vectors; j++)
        totals[j] = tm_slot(r, tm_splat_f32(r, 0));
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), count, 1);
    for (int j = 0; j < s->vectors; j++) {
        LLVMValueRef weight = LLVMBuildFSub(B, weight_of(r, a, key.index, j), tm_splat_f32(r, BIASED), "");
        tm_attention_put(r, s, weight, s->scores, key.index, j);
        LLVMBuildStore(B, LLVMBuildFAdd(B, tm_held(r, totals[j]), weight, ""), totals[j]);
    }
    tm_loop_end(r, &key);
    for (int j = 0; j < s->vectors; j++)
        totals[j] = tm_held(r, totals[j]);
}

static LLVMValueRef state_at(tm_region *r, const tm_attention_bytes *a, int j) {
    LLVMValueRef part = tm_sub(r, a->shared.query, a->shared.first_query);
    return tm_add(r, part, tm_int(r, (int64_t)j * r->lanes));
}

/* exp(8 * (x - y)); 0 for x of -inf. */
static LLVMValueRef factor(tm_region *r, LLVMValueRef x, LLVMValueRef y) {
    LLVMValueRef parts = tm_splat_f32(r, 1 / TM_ATTENTION_BYTES_PART);
    return tm_math(r, "exp", times(r, LLVMBuildFSub(B, x, y, ""), parts));
}

/* Puts the tile beside those before it: what its sums, and the answer so far, are multiplied by. Behind the
 * last tile that has the quotient by the weights in it. */
static void put_factors(tm_region *r, const tm_attention_bytes *a, const LLVMValueRef *best,
                        LLVMValueRef *totals) {
    const tm_attention *s = &a->shared;
    LLVMValueRef lowest = tm_splat_f32(r, -INFINITY), zero = tm_splat_f32(r, 0), one = tm_splat_f32(r, 1);
    for (int j = 0; j < s->vectors; j++) {
        LLVMValueRef up = NULL, down = NULL, at = tm_int(r, (int64_t)j * r->lanes);
        if (!a->single) {
            LLVMValueRef before = tm_load_vector(r, TAMIS_TYPE_FLOAT, a->maxima, state_at(r, a, j));
            LLVMValueRef more = LLVMBuildFCmp(B, LLVMRealOGT, best[j], before, "");
            LLVMValueRef now = LLVMBuildSelect(B, more, best[j], before, "");
            LLVMValueRef base =
                LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealOEQ, now, lowest, ""), zero, now, "");
            up = factor(r, best[j], base);
            down = factor(r, before, base);
            tm_store_vector(r, TAMIS_TYPE_FLOAT, now, a->maxima, state_at(r, a, j));
            LLVMValueRef sum = tm_load_vector(r, TAMIS_TYPE_FLOAT, a->totals, state_at(r, a, j));
            totals[j] = tm_fma(r, totals[j], up, times(r, sum, down));
            tm_store_vector(r, TAMIS_TYPE_FLOAT, totals[j], a->totals, state_at(r, a, j));
        }
        LLVMValueRef whole = LLVMBuildFDiv(B, tm_splat(r, a->value_scale), totals[j], "");
        whole = LLVMBuildSelect(B, a->is_last, whole, one, "");
        tm_store_vector(r, TAMIS_TYPE_FLOAT, up == NULL ? whole : times(r, up, whole), a->factors, at);
        if (down != NULL)
            tm_store_vector(r, TAMIS_TYPE_FLOAT, times(r, down, whole), a->factors,
                            tm_add(r, at, tm_int(r, s->width)));
    }
}

/* The tile of keys from `first` on, for the queries at hand, which see keys before `end`. */
static void tile(tm_region *r, tm_attention_bytes *a, LLVMValueRef first, LLVMValueRef end) {
    tm_attention *s = &a->shared;
    LLVMValueRef left = tm_sub(r, end, first), count = tm_min(r, tm_int(r, a->tile), left);
    LLVMValueRef best[TM_ATTENTION_VECTORS], totals[TM_ATTENTION_VECTORS];
    tm_attention_bytes_turn(r, a);
    if (a->spread)
        (void)tm_attention_spread_mask(r, s, first, count);
    for (int j = 0; j < s->vectors; j++)
        best[j] = tm_slot(r, tm_splat_f32(r, -INFINITY));
    tm_loop block = tm_loop_begin(r, tm_int(r, 0), count, s->block);
    score_block(r, a, first, block.index, best);
    tm_loop_end(r, &block);
    for (int j = 0; j < s->vectors; j++) {
        best[j] = tm_held(r, best[j]);
        LLVMValueRef none = LLVMBuildFCmp(B, LLVMRealOEQ, best[j], tm_splat_f32(r, -INFINITY), "");
        s->shift[j] = LLVMBuildSelect(B, none, tm_splat_f32(r, 0), best[j], "");
    }
    (a->dot != NULL ? weigh_words : weigh_floats)(r, a, count, totals);
    a->is_last = LLVMBuildICmp(B, LLVMIntSLE, left, tm_int(r, a->tile), "");
    put_factors(r, a, best, totals);
    a->first_key = first;
    a->is_first = LLVMBuildICmp(B, LLVMIntEQ, first, tm_int(r, 0), "");
    a->offset = LLVMBuildSelect(B, a->is_last, a->value_offset, LLVMConstReal(r->e->f32, 0), "");
    tm_attention_bytes_mix(r, a, count);
}

/* ---- units ---- */

/* The unit's queries saw no key yet. */
static void begin_unit(tm_region *r, const tm_attention_bytes *a) {
    tm_loop query = tm_loop_begin(r, tm_int(r, 0), tm_int(r, TM_ATTENTION_BYTES_QUERIES), r->lanes);
    tm_store_vector(r, TAMIS_TYPE_FLOAT, tm_splat_f32(r, -INFINITY), a->maxima, query.index);
    tm_store_vector(r, TAMIS_TYPE_FLOAT, tm_splat_f32(r, 0), a->totals, query.index);
    tm_loop_end(r, &query);
}

/* Keys behind the last one that the queries may see. */
static LLVMValueRef end_of_keys(tm_region *r, const tm_attention *s, LLVMValueRef query, LLVMValueRef count) {
    return s->causal ? tm_min(r, s->keys, tm_add(r, query, count)) : s->keys;
}

static void unit(tm_region *r, tm_attention_bytes *a) {
    tm_attention *s = &a->shared;
    LLVMValueRef end = end_of_keys(r, s, s->first_query, s->query_count);
    if (!a->single)
        begin_unit(r, a);
    tm_loop keys = tm_loop_begin(r, tm_int(r, 0), end, a->tile);
    tm_attention_bytes_pack(r, a, keys.index, tm_min(r, tm_int(r, a->tile), tm_sub(r, end, keys.index)));
    tm_loop part = tm_loop_begin(r, tm_int(r, 0), s->query_count, s->width);
    tm_attention_choose_queries(r, s, part.index);
    LLVMValueRef own_end = end_of_keys(r, s, s->query, s->lanes);
    LLVMBasicBlockRef seen = s->causal ? tm_if_begin(r, tm_less(r, keys.index, own_end)) : NULL;
    tile(r, a, keys.index, own_end);
    if (seen != NULL)
        tm_if_end(r, seen);
    tm_loop_end(r, &part);
    tm_loop_end(r, &keys);
    if (tm_known(s->keys) < 1) {
        LLVMBasicBlockRef after = tm_if_begin(r, LLVMBuildICmp(B, LLVMIntEQ, s->keys, tm_int(r, 0), ""));
        tm_attention_bytes_clear(r, a);
        tm_if_end(r, after);
    }
}

static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    tm_attention s = {0};
    tm_attention_set_up(r, &s);
    LLVMValueRef batch = tm_operand_dim(r, s.inputs[0], 0), queries = tm_int(r, TM_ATTENTION_BYTES_QUERIES);
    *out_units =
        tm_mul(r, tm_mul(r, batch, tm_int(r, s.heads)), tm_ceildiv(r, s.queries, TM_ATTENTION_BYTES_QUERIES));
    LLVMValueRef work = tm_mul(r, tm_mul(r, tm_min(r, s.queries, queries), s.keys),
                               tm_int(r, (s.size + s.value_size) / 4 + 16));
    *out_grain =
        tm_add(r, LLVMBuildUDiv(B, tm_int(r, 400000), tm_max(r, work, tm_int(r, 1)), ""), tm_int(r, 1));
    return TM_OK;
}

/* Numbers that the quantiser of the answer reads. */
static LLVMValueRef load(tm_region *r, int input) {
    return tm_load_splat(r, r->node->inputs[input]->type, tm_operand_data(r, input), tm_int(r, 0));
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    tm_attention_bytes a = {0};
    tm_attention *s = &a.shared;
    set_up(r, &a);
    for (int i = 0; i < 4; i++)
        s->data[i] = s->inputs[i] >= 0 ? tm_operand_data(r, s->inputs[i]) : NULL;
    s->out = tm_operand_data(r, r->node->input_count);
    r->load = load;
    s->least = LLVMConstReal(r->e->f32, NAN);
    read_parameters(r, &a);
    place_buffers(r, &a, tm_region_alloca(r, r->e->i8, place_buffers(r, &a, NULL), 64));
    LLVMValueRef blocks = tm_ceildiv(r, s->queries, TM_ATTENTION_BYTES_QUERIES);
    tm_loop units = tm_loop_begin(r, begin, end, 1);
    LLVMValueRef plane = LLVMBuildUDiv(B, units.index, blocks, "");
    LLVMValueRef block = tm_sub(r, units.index, tm_mul(r, plane, blocks));
    s->first_query = tm_mul(r, block, tm_int(r, TM_ATTENTION_BYTES_QUERIES));
    s->query_count = tm_min(r, tm_int(r, TM_ATTENTION_BYTES_QUERIES), tm_sub(r, s->queries, s->first_query));
    s->batch = LLVMBuildUDiv(B, plane, tm_int(r, s->heads), "");
    s->head = tm_sub(r, plane, tm_mul(r, s->batch, tm_int(r, s->heads)));
    s->kv_head = LLVMBuildUDiv(B, s->head, tm_int(r, s->heads / s->kv_heads), "");
    tm_attention_set_mask(r, s);
    unit(r, &a);
    tm_loop_end(r, &units);
    return TM_OK;
}

const tm_region_kind tm_region_kind_attention_bytes = {"attention_bytes", count, body};
