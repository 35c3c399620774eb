/* SPDX-License-Identifier: Apache-2.0
 *
 * region_attention_bytes_products.c: the two products of attention on bytes.
 *
 *     sum[key][lanes]      = sum over d of K[key][d] * (Q[lanes][d] - zero of Q)      queries in the lanes
 *     Y[query][lanes]      = sum over keys of weight[key][query] * V[key][lanes]      columns of V in the
 * lanes
 *
 * Both are whole numbers below 2^24, so that it does not matter how they come about:
 *
 *     dot products of four bytes    Q is turned in words of four d, K read word by word where it lies;
 * weights are words of four keys, V is packed in such words. The zero of Q times the sum of each row of K is
 * what a key's sum starts with. all other levels              float32, exactly: Q is turned as floats less
 * their zero, K widened for the keys at hand, V where it is multiplied
 *
 * What depends on the query alone moves all its scores alike, and softmax does not see that: the zero of K is
 * never taken off. That of V moves the answer alone.
 */
#include "codegen/llvm/region_attention_bytes.h"

#define VECTORS 3 /* of columns at once, at most */
#define ROWS 8    /* queries at once, at most */
#define FEW 8     /* columns that are turned one by one: TM_ATTENTION_FEW of support.h */
#define SIGNS ((int64_t)0x80808080)
#define B (r->e->builder)

static LLVMValueRef address(tm_region *r, LLVMTypeRef type, LLVMValueRef base, LLVMValueRef index) {
    return LLVMBuildInBoundsGEP2(B, type, base, &index, 1, "");
}

static LLVMTypeRef words(tm_region *r) {
    return tm_vector_type(r, TAMIS_TYPE_INT32);
}

static LLVMTypeRef floats(tm_region *r) {
    return tm_vector_type(r, TAMIS_TYPE_FLOAT);
}

static LLVMValueRef number(tm_region *r, int64_t value) {
    return tm_splat(r, tm_emit_i32(r->e, value));
}

static LLVMValueRef held(tm_region *r, LLVMTypeRef type, LLVMValueRef slot) {
    return LLVMBuildLoad2(B, type, slot, "");
}

/* A word of memory in all lanes; not aligned. */
static LLVMValueRef load_word(tm_region *r, LLVMValueRef at) {
    LLVMValueRef word = LLVMBuildLoad2(B, r->e->i32, at, "");
    LLVMSetAlignment(word, 1);
    return tm_splat(r, word);
}

LLVMValueRef tm_attention_bytes_row(tm_region *r, const tm_attention_bytes *a, int i, LLVMValueRef row) {
    const tm_attention *s = &a->shared;
    row = tm_min(r, row, tm_sub(r, i == 0 ? s->queries : s->keys, tm_int(r, 1)));
    return address(r, r->e->i8, s->data[i], tm_attention_row(r, s, i, row));
}

/* ---- packing ---- */

/* The sum of bytes of a row of K, as parts that are powers of two long. Sums of unsigned bytes have
 * instructions of their own: so each is 128 more, until the sum is made. */
static LLVMValueRef sum_of_row(tm_region *r, LLVMValueRef row, int64_t size) {
    LLVMValueRef sum = tm_emit_i32(r->e, 0);
    for (int64_t at = 0, part = 64; at < size; at += part) {
        while (part > size - at)
            part /= 2;
        LLVMTypeRef bytes = LLVMVectorType(r->e->i8, (unsigned)part),
                    wide = LLVMVectorType(r->e->i32, (unsigned)part);
        LLVMValueRef x = LLVMBuildLoad2(B, bytes, address(r, r->e->i8, row, tm_int(r, at)), "");
        LLVMSetAlignment(x, 1);
        LLVMValueRef lanes[64];
        for (int64_t i = 0; i < part; i++)
            lanes[i] = LLVMConstInt(r->e->i8, 128, 0);
        x = LLVMBuildZExt(B, LLVMBuildXor(B, x, LLVMConstVector(lanes, (unsigned)part), ""), wide, "");
        sum = LLVMBuildAdd(B, sum, tm_intrinsic(r, "llvm.vector.reduce.add", wide, &x, 1), "");
    }
    return LLVMBuildSub(B, sum, tm_emit_i32(r->e, 128 * size), "");
}

static void sum_keys(tm_region *r, const tm_attention_bytes *a, LLVMValueRef first, LLVMValueRef count) {
    int block = a->shared.block;
    LLVMValueRef zero = LLVMBuildAdd(B, a->query_zero, tm_emit_i32(r->e, a->is_signed ? 0 : 128), "");
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), tm_mul(r, tm_ceildiv(r, count, block), tm_int(r, block)), 1);
    LLVMValueRef row = tm_attention_bytes_row(r, a, 1, tm_add(r, first, key.index));
    LLVMValueRef start = LLVMBuildMul(B, sum_of_row(r, row, a->shared.size), LLVMBuildNeg(B, zero, ""), "");
    LLVMBuildStore(B, start, address(r, r->e->i32, a->key_sums, key.index));
    tm_loop_end(r, &key);
}

/* Four rows of V as words of four keys. Weights of rows that are not there are 0. */
static void pack_words(tm_region *r, const tm_attention_bytes *a, LLVMValueRef first, LLVMValueRef count) {
    tm_loop group = tm_loop_begin(r, tm_int(r, 0), tm_ceildiv(r, count, 4), 1);
    LLVMValueRef rows[4], key = tm_add(r, first, tm_mul(r, group.index, tm_int(r, 4)));
    for (int i = 0; i < 4; i++)
        rows[i] = tm_attention_bytes_row(r, a, 2, tm_add(r, key, tm_int(r, i)));
    tm_loop column = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->shared.value_size), r->lanes);
    if (a->shared.value_size % r->lanes != 0)
        r->mask = tm_tail_mask(r, tm_sub(r, tm_int(r, a->shared.value_size), column.index));
    LLVMValueRef word = NULL;
    for (int i = 0; i < 4; i++) {
        LLVMValueRef x = tm_load_vector(r, TAMIS_TYPE_UINT8, rows[i], column.index);
        x = LLVMBuildZExt(B, x, words(r), "");
        word = i == 0 ? x : LLVMBuildOr(B, word, LLVMBuildShl(B, x, number(r, 8 * i), ""), "");
    }
    r->mask = NULL;
    LLVMValueRef at = tm_add(r, tm_mul(r, group.index, tm_int(r, a->padded)), column.index);
    tm_store_vector(r, TAMIS_TYPE_INT32, word, a->values, at);
    tm_loop_end(r, &column);
    tm_loop_end(r, &group);
}

/* Rows of V that are not whole vectors, with room for these. */
static void pack_rows(tm_region *r, const tm_attention_bytes *a, LLVMValueRef first, LLVMValueRef count) {
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), count, 1);
    LLVMValueRef row = tm_attention_bytes_row(r, a, 2, tm_add(r, first, key.index));
    LLVMValueRef to = address(r, r->e->i8, a->values, tm_mul(r, key.index, tm_int(r, a->padded)));
    LLVMBuildMemCpy(B, to, 1, row, 1, tm_int(r, a->shared.value_size));
    tm_loop_end(r, &key);
}

void tm_attention_bytes_pack(tm_region *r, const tm_attention_bytes *a, LLVMValueRef first,
                             LLVMValueRef count) {
    if (a->dot == NULL) {
        if (a->padded != a->shared.value_size)
            pack_rows(r, a, first, count);
        return;
    }
    pack_words(r, a, first, count);
    sum_keys(r, a, first, count);
}

/* `columns` numbers of 4 bytes of each query at hand, `stride` apart, become columns. */
static void turn(tm_region *r, const tm_attention_bytes *a, LLVMValueRef rows, int64_t stride,
                 int64_t columns) {
    LLVMValueRef arguments[7] = {rows,
                                 tm_int(r, stride),
                                 a->shared.lanes,
                                 tm_int(r, columns),
                                 a->turned,
                                 tm_int(r, a->shared.width),
                                 LLVMConstReal(r->e->f32, 1)};
    tm_emit_call(r->e, columns < FEW ? "tm_attention_turn_few" : "tm_attention_turn", r->e->void_type,
                 arguments, 7);
}

/* The `size` bytes of a row as floats: those of Q less its zero. */
static void widen(tm_region *r, const tm_attention_bytes *a, LLVMValueRef row, LLVMValueRef to, bool query) {
    unsigned step = a->shared.size % r->lanes == 0 ? (unsigned)r->lanes : 4;
    LLVMTypeRef real = LLVMVectorType(r->e->f32, step);
    tm_loop d = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->shared.size), step);
    LLVMValueRef x =
        LLVMBuildLoad2(B, LLVMVectorType(r->e->i8, step), address(r, r->e->i8, row, d.index), "");
    LLVMSetAlignment(x, 1);
    LLVMTypeRef whole = LLVMVectorType(r->e->i32, step);
    x = LLVMBuildSExt(B, x, whole, "");
    if (query) {
        LLVMValueRef zero =
            LLVMBuildInsertElement(B, LLVMGetPoison(whole), a->query_zero, tm_emit_i32(r->e, 0), "");
        x = LLVMBuildSub(B, x,
                         LLVMBuildShuffleVector(B, zero, LLVMGetPoison(whole), LLVMConstNull(whole), ""), "");
    }
    x = LLVMBuildSIToFP(B, x, real, "");
    LLVMSetAlignment(LLVMBuildStore(B, x, tm_element(r, to, d.index)), 4);
    tm_loop_end(r, &d);
}

/* Scores are not there yet: the rows stand in their place until they are turned. */
static void turn_floats(tm_region *r, const tm_attention_bytes *a) {
    const tm_attention *s = &a->shared;
    tm_loop lane = tm_loop_begin(r, tm_int(r, 0), s->lanes, 1);
    LLVMValueRef row = tm_attention_bytes_row(r, a, 0, tm_add(r, s->query, lane.index));
    widen(r, a, row, tm_element(r, s->scores, tm_mul(r, lane.index, tm_int(r, s->size))), true);
    tm_loop_end(r, &lane);
    turn(r, a, s->scores, s->size, s->size);
}

/* Unsigned where the left bytes of dot are: 128 more, which is in the zero then. */
static void turn_words(tm_region *r, const tm_attention_bytes *a) {
    const tm_attention *s = &a->shared;
    turn(r, a, tm_attention_bytes_row(r, a, 0, s->query), tm_attention_row_stride(r, s, 0) / 4, s->size / 4);
    if (a->is_signed)
        return;
    tm_loop at = tm_loop_begin(r, tm_int(r, 0), tm_int(r, s->size / 4 * s->width), r->lanes);
    LLVMValueRef x = tm_load_vector(r, TAMIS_TYPE_INT32, a->turned, at.index);
    tm_store_vector(r, TAMIS_TYPE_INT32, LLVMBuildXor(B, x, number(r, SIGNS), ""), a->turned, at.index);
    tm_loop_end(r, &at);
}

void tm_attention_bytes_turn(tm_region *r, const tm_attention_bytes *a) {
    if (a->dot != NULL)
        turn_words(r, a);
    else
        turn_floats(r, a);
}

/* ---- the first product ---- */

static LLVMValueRef turned(tm_region *r, const tm_attention_bytes *a, LLVMValueRef row, int j) {
    LLVMValueRef at = tm_add(r, tm_mul(r, row, tm_int(r, a->shared.width)), tm_int(r, (int64_t)j * r->lanes));
    return tm_load_vector(r, a->dot != NULL ? TAMIS_TYPE_INT32 : TAMIS_TYPE_FLOAT, a->turned, at);
}

static void score_by_dot(tm_region *r, const tm_attention_bytes *a, LLVMValueRef first, LLVMValueRef block,
                         LLVMValueRef sums[TM_ATTENTION_KEYS][TM_ATTENTION_VECTORS]) {
    const tm_attention *s = &a->shared;
    LLVMValueRef rows[TM_ATTENTION_KEYS], q[TM_ATTENTION_VECTORS];
    for (int i = 0; i < s->block; i++) {
        LLVMValueRef key = tm_add(r, block, tm_int(r, i));
        rows[i] = tm_attention_bytes_row(r, a, 1, tm_add(r, first, key));
        LLVMValueRef start = LLVMBuildLoad2(B, r->e->i32, address(r, r->e->i32, a->key_sums, key), "");
        for (int j = 0; j < s->vectors; j++)
            sums[i][j] = tm_slot(r, tm_splat(r, start));
    }
    tm_loop word = tm_loop_begin(r, tm_int(r, 0), tm_int(r, s->size / 4), 1);
    for (int j = 0; j < s->vectors; j++)
        q[j] = turned(r, a, word.index, j);
    for (int i = 0; i < s->block; i++) {
        LLVMValueRef k = load_word(r, address(r, r->e->i8, rows[i], tm_mul(r, word.index, tm_int(r, 4))));
        for (int j = 0; j < s->vectors; j++)
            LLVMBuildStore(B, a->dot(r, held(r, words(r), sums[i][j]), q[j], k), sums[i][j]);
    }
    tm_loop_end(r, &word);
    for (int i = 0; i < s->block; i++)
        for (int j = 0; j < s->vectors; j++)
            sums[i][j] = LLVMBuildSIToFP(B, held(r, words(r), sums[i][j]), floats(r), "");
}

/* The keys at hand as floats. */
static void widen_keys(tm_region *r, const tm_attention_bytes *a, LLVMValueRef first) {
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->shared.block), 1);
    LLVMValueRef row = tm_attention_bytes_row(r, a, 1, tm_add(r, first, key.index));
    widen(r, a, row, tm_element(r, a->wide, tm_mul(r, key.index, tm_int(r, a->shared.size))), false);
    tm_loop_end(r, &key);
}

static void score_in_floats(tm_region *r, const tm_attention_bytes *a, LLVMValueRef first, LLVMValueRef block,
                            LLVMValueRef sums[TM_ATTENTION_KEYS][TM_ATTENTION_VECTORS]) {
    const tm_attention *s = &a->shared;
    LLVMValueRef q[TM_ATTENTION_VECTORS];
    widen_keys(r, a, tm_add(r, first, block));
    for (int i = 0; i < s->block; i++)
        for (int j = 0; j < s->vectors; j++)
            sums[i][j] = tm_slot(r, tm_splat_f32(r, 0));
    tm_loop d = tm_loop_begin(r, tm_int(r, 0), tm_int(r, s->size), 1);
    for (int j = 0; j < s->vectors; j++)
        q[j] = turned(r, a, d.index, j);
    for (int i = 0; i < s->block; i++) {
        LLVMValueRef k =
            tm_load_splat(r, TAMIS_TYPE_FLOAT, a->wide, tm_add(r, d.index, tm_int(r, i * s->size)));
        for (int j = 0; j < s->vectors; j++)
            LLVMBuildStore(B, tm_fma(r, k, q[j], tm_held(r, sums[i][j])), sums[i][j]);
    }
    tm_loop_end(r, &d);
    for (int i = 0; i < s->block; i++)
        for (int j = 0; j < s->vectors; j++)
            sums[i][j] = tm_held(r, sums[i][j]);
}

void tm_attention_bytes_score(tm_region *r, const tm_attention_bytes *a, LLVMValueRef first,
                              LLVMValueRef block,
                              LLVMValueRef sums[TM_ATTENTION_KEYS][TM_ATTENTION_VECTORS]) {
    (a->dot != NULL ? score_by_dot : score_in_floats)(r, a, first, block, sums);
}

/* ---- the second product ---- */

typedef LLVMValueRef sums_of[ROWS + 1][VECTORS];

static LLVMTypeRef sum_type(tm_region *r, const tm_attention_bytes *a) {
    return a->dot != NULL ? words(r) : floats(r);
}

/* Four keys, or one, for the queries from `query` on: sums[a->rows] are those of the left bytes' shift. */
static void add_keys(tm_region *r, const tm_attention_bytes *a, const tm_attention_columns *c,
                     LLVMValueRef query, LLVMValueRef key, sums_of sums) {
    LLVMValueRef x[VECTORS], data = a->values, row = tm_int(r, 0);
    int64_t stride = a->padded;
    if (a->dot == NULL && a->padded == a->shared.value_size) { /* where they lie */
        data = a->shared.data[2];
        row = tm_attention_row(r, &a->shared, 2, a->first_key);
        stride = tm_attention_row_stride(r, &a->shared, 2);
    }
    LLVMValueRef line = tm_add(r, tm_add(r, row, tm_mul(r, key, tm_int(r, stride))), c->first);
    for (int v = 0; v < c->vectors; v++) {
        LLVMValueRef at = tm_add(r, line, tm_int(r, (int64_t)v * r->lanes));
        x[v] = tm_load_vector(r, a->dot != NULL ? TAMIS_TYPE_INT32 : TAMIS_TYPE_INT8, data, at);
        if (a->dot == NULL)
            x[v] = LLVMBuildSIToFP(B, x[v], floats(r), "");
        else if (a->is_signed)
            LLVMBuildStore(B, a->dot(r, held(r, words(r), sums[a->rows][v]), number(r, SIGNS), x[v]),
                           sums[a->rows][v]);
    }
    LLVMValueRef weights = tm_add(r, tm_mul(r, key, tm_int(r, a->shared.width)), query);
    for (int i = 0; i < a->rows; i++) {
        LLVMValueRef w = tm_load_splat(r, a->dot != NULL ? TAMIS_TYPE_INT32 : TAMIS_TYPE_FLOAT,
                                       a->shared.scores, tm_add(r, weights, tm_int(r, i)));
        if (a->is_signed)
            w = LLVMBuildXor(B, w, number(r, SIGNS), "");
        for (int v = 0; v < c->vectors; v++) {
            LLVMValueRef sum = held(r, sum_type(r, a), sums[i][v]);
            sum = a->dot != NULL ? a->dot(r, sum, w, x[v]) : tm_fma(r, w, x[v], sum);
            LLVMBuildStore(B, sum, sums[i][v]);
        }
    }
}

/* The query of that number of those at hand; behind the last one that. */
static LLVMValueRef own_query(tm_region *r, const tm_attention_bytes *a, LLVMValueRef number) {
    const tm_attention *s = &a->shared;
    return tm_add(r, s->query, tm_min(r, number, tm_sub(r, s->lanes, tm_int(r, 1))));
}

/* Columns of a row of the answer, quantised, to where products read them. */
static void store_tiles(tm_region *r, const tm_attention_bytes *a, LLVMValueRef query, LLVMValueRef column,
                        LLVMValueRef y) {
    const tm_attention *s = &a->shared;
    LLVMValueRef row = tm_add(r, tm_mul(r, s->batch, s->queries), query);
    LLVMValueRef first = tm_add(r, tm_mul(r, s->head, tm_int(r, s->value_size)), column);
    tm_region_new_point(r);
    tm_region_set(r, s->node->outputs[0], y);
    LLVMValueRef bytes = tm_region_value(r, r->body->outputs.items[a->tiles]);
    tm_store_vector(r, TAMIS_TYPE_UINT8, bytes, tm_operand_data(r, r->node->input_count + a->tiles),
                    tm_tiled_index(r, TAMIS_TYPE_UINT8, row, first, tm_int(r, s->heads * s->value_size)));
}

static void store_answer(tm_region *r, const tm_attention_bytes *a, LLVMValueRef query, LLVMValueRef row,
                         LLVMValueRef column, LLVMValueRef y) {
    if (a->tiles == 0) {
        tm_store_vector(r, TAMIS_TYPE_FLOAT, y, row, column);
        return;
    }
    if (a->single) {
        store_tiles(r, a, query, column, y);
        return;
    }
    LLVMBasicBlockRef after = tm_if_begin(r, a->is_last);
    store_tiles(r, a, query, column, y);
    tm_if_end(r, after);
    after = tm_if_begin(r, LLVMBuildNot(B, a->is_last, ""));
    tm_store_vector(r, TAMIS_TYPE_FLOAT, y, row, column);
    tm_if_end(r, after);
}

/* What the tile adds to the answer of query number `query` of those at hand. */
static void add_row(tm_region *r, const tm_attention_bytes *a, const tm_attention_columns *c,
                    LLVMValueRef query, sums_of sums, int i) {
    LLVMValueRef own = own_query(r, a, query),
                 row = tm_element(r, a->shared.out, tm_attention_row(r, &a->shared, 3, own));
    LLVMValueRef up = tm_load_splat(r, TAMIS_TYPE_FLOAT, a->factors, query), down = NULL;
    if (!a->single)
        down = tm_load_splat(r, TAMIS_TYPE_FLOAT, a->factors, tm_add(r, query, tm_int(r, a->shared.width)));
    for (int v = 0; v < c->vectors; v++) {
        LLVMValueRef y = tm_splat(r, a->offset), sum = held(r, sum_type(r, a), sums[i][v]);
        LLVMValueRef at = tm_add(r, c->first, tm_int(r, (int64_t)v * r->lanes));
        if (a->is_signed)
            sum = LLVMBuildSub(B, sum, held(r, words(r), sums[a->rows][v]), "");
        if (a->dot != NULL)
            sum = LLVMBuildSIToFP(B, sum, floats(r), "");
        r->mask = v == c->vectors - 1 ? c->mask : NULL;
        if (!a->single) {
            LLVMValueRef old = tm_load_vector(r, TAMIS_TYPE_FLOAT, row, at);
            y = tm_fma(r, LLVMBuildSelect(B, a->is_first, tm_splat_f32(r, 0), old, ""), down, y);
        }
        store_answer(r, a, own, row, at, tm_fma(r, sum, up, y));
        r->mask = NULL;
    }
}

static void mix_tile(tm_region *r, const void *context, const tm_attention_columns *c, LLVMValueRef query,
                     LLVMValueRef count) {
    const tm_attention_bytes *a = context;
    sums_of sums;
    for (int i = 0; i < a->rows + a->is_signed; i++)
        for (int v = 0; v < c->vectors; v++)
            sums[i][v] = tm_slot(r, LLVMConstNull(sum_type(r, a)));
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), a->dot != NULL ? tm_ceildiv(r, count, 4) : count, 1);
    add_keys(r, a, c, query, key.index, sums);
    tm_loop_end(r, &key);
    /* The last query is repeated behind it: from the last row on, so that none is read when it was added to.
     */
    for (int i = 0; i < a->rows; i++) {
        LLVMValueRef own = tm_add(r, query, tm_int(r, i));
        LLVMBasicBlockRef after = a->single ? NULL : tm_if_begin(r, tm_less(r, own, a->shared.lanes));
        add_row(r, a, c, own, sums, i);
        if (after != NULL)
            tm_if_end(r, after);
    }
}

void tm_attention_bytes_mix(tm_region *r, const tm_attention_bytes *a, LLVMValueRef count) {
    const tm_attention *s = &a->shared;
    int64_t vectors = a->padded / r->lanes, rest = vectors % 3, first = 0;
    int64_t ones = vectors == 1, twos = rest == 0 || ones ? 0 : 3 - rest,
            threes = (vectors - 2 * twos - ones) / 3;
    tm_attention_mix_groups(r, s, a->rows, &first, 3, threes, count, mix_tile, a);
    tm_attention_mix_groups(r, s, a->rows, &first, 2, twos, count, mix_tile, a);
    tm_attention_mix_groups(r, s, a->rows, &first, 1, ones, count, mix_tile, a);
}

void tm_attention_bytes_clear(tm_region *r, const tm_attention_bytes *a) {
    const tm_attention *s = &a->shared;
    bool tiles = a->tiles > 0;
    tm_loop number = tm_loop_begin(r, tm_int(r, 0), s->query_count, 1);
    LLVMValueRef query = tm_add(r, s->first_query, number.index), row = tm_attention_row(r, s, 3, query);
    tm_loop d = tm_loop_begin(r, tm_int(r, 0), tm_int(r, s->value_size), tiles ? r->lanes : 1);
    if (tiles)
        store_tiles(r, a, query, d.index, tm_splat_f32(r, 0));
    else
        LLVMBuildStore(B, LLVMConstReal(r->e->f32, 0), tm_element(r, s->out, tm_add(r, row, d.index)));
    tm_loop_end(r, &d);
    tm_loop_end(r, &number);
}
