/* SPDX-License-Identifier: Apache-2.0
 *
 * region_attention_mix.c: the second product of attention, weights times V, with columns of V in the lanes.
 *
 *     Y[query][lanes] = Y[query][lanes] * down[query] + sum over keys of weight[key][query] * V[key][lanes]
 *
 * Rows of V are read as they lie, whole lines at a time, and sums stand where the answer does: nothing is
 * turned back. A tile in registers is some queries times up to three vectors of columns, so each vector of V
 * and each weight that is spread over the lanes is used several times:
 *
 *     AVX-512   8 queries x 48 columns    11 loads for 24 multiplications
 *     AVX2      4 queries x 24 columns     7 loads for 12
 *
 * Columns are cut in threes and twos of vectors: 64 columns of AVX-512 are 2 + 2, 80 are 3 + 2, 128 are
 * 3 + 3 + 2. All queries go through the columns at hand before the next ones are read, which keeps these
 * columns of a tile of keys in the first cache. Where rows of V are so far apart that they push each other
 * out of it, the first queries write what they read side by side, for the next ones to read.
 */
#include "codegen/llvm/region_attention.h"

#define VECTORS 3 /* of columns at once, at most */
#define ROWS 8    /* queries at once, at most */

int tm_attention_rows_at_once(const tm_region *r, const tm_attention *a) {
    bool whole = a->value_size % r->lanes == 0;
    if (a->value_size < 2 * r->lanes || (!whole && (r->lanes < 8 || a->value_size < 4 * r->lanes)))
        return 0;
    return r->level->vector_registers >= 32 ? ROWS : ROWS / 2;
}

static LLVMValueRef address(tm_region *r, LLVMValueRef base, LLVMValueRef index) {
    return LLVMBuildInBoundsGEP2(r->e->builder, r->e->f32, base, &index, 1, "");
}

static LLVMValueRef vector_index(tm_region *r, LLVMValueRef first, int vector) {
    return tm_add(r, first, tm_int(r, (int64_t)vector * r->lanes));
}

static LLVMValueRef load(tm_region *r, const tm_attention_columns *c, LLVMValueRef data, int vector) {
    r->mask = vector == c->vectors - 1 ? c->mask : NULL;
    LLVMValueRef x = tm_load_vector(r, TAMIS_TYPE_FLOAT, data, vector_index(r, c->first, vector));
    r->mask = NULL;
    return x;
}

/* The columns of a listed key, whose row of V is `row`: from there for the first queries, which leave them in
 * their place among the packed ones, for the next ones from this. */
static void pack(tm_region *r, const tm_attention *a, const tm_attention_columns *c, LLVMValueRef query,
                 LLVMValueRef key, LLVMValueRef row, LLVMValueRef *x) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef at = tm_mul(r, key, tm_int(r, (int64_t)c->vectors * r->lanes)),
                 to = address(r, a->packed, at);
    LLVMValueRef fresh = LLVMBuildICmp(b, LLVMIntEQ, query, tm_int(r, 0), "");
    LLVMValueRef from = LLVMBuildSelect(b, fresh, address(r, row, c->first), to, "");
    tm_attention_columns here = {.first = tm_int(r, 0), .mask = c->mask, .vectors = c->vectors};
    for (int v = 0; v < c->vectors; v++) {
        x[v] = load(r, &here, from, v);
        tm_store_vector(r, TAMIS_TYPE_FLOAT, x[v], to, vector_index(r, here.first, v));
    }
}

static void store(tm_region *r, const tm_attention_columns *c, LLVMValueRef x, LLVMValueRef data,
                  int vector) {
    r->mask = vector == c->vectors - 1 ? c->mask : NULL;
    tm_store_vector(r, TAMIS_TYPE_FLOAT, x, data, vector_index(r, c->first, vector));
    r->mask = NULL;
}

/* Where the row of the answer of query number `query` of those at hand starts; behind the last one it is
 * repeated. */
static LLVMValueRef out_row(tm_region *r, const tm_attention *a, LLVMValueRef query) {
    LLVMValueRef last = tm_sub(r, a->lanes, tm_int(r, 1));
    return address(r, a->out, tm_attention_row(r, a, 3, tm_add(r, a->query, tm_min(r, query, last))));
}

/* Adds the listed keys to one tile of the answer. The rows that repeat the last query have its weights too,
 * so all of them store the same. */
static void mix_tile(tm_region *r, const void *context, const tm_attention_columns *c, LLVMValueRef query,
                     LLVMValueRef count) {
    const tm_attention *a = context;
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef sums[ROWS][VECTORS], rows[ROWS];
    for (int i = 0; i < a->rows; i++) {
        LLVMValueRef number = tm_add(r, query, tm_int(r, i));
        rows[i] = out_row(r, a, number);
        LLVMValueRef down = a->single ? NULL : tm_load_splat(r, TAMIS_TYPE_FLOAT, a->factors, number);
        for (int v = 0; v < c->vectors; v++)
            sums[i][v] = tm_slot(r, a->single ? tm_splat_f32(r, 0)
                                              : LLVMBuildFMul(b, load(r, c, rows[i], v), down, ""));
    }
    LLVMValueRef weights = address(r, a->scores, query);
    tm_loop key = tm_loop_begin(r, tm_int(r, 0), count, 1);
    LLVMValueRef row =
        LLVMBuildLoad2(b, r->e->i64, LLVMBuildInBoundsGEP2(b, r->e->i64, a->list, &key.index, 1, ""), "");
    LLVMValueRef from = address(r, a->data[2], row),
                 of_key = address(r, weights, tm_mul(r, key.index, tm_int(r, a->width)));
    LLVMValueRef x[VECTORS];
    if (a->packs)
        pack(r, a, c, query, key.index, from, x);
    for (int v = 0; !a->packs && v < c->vectors; v++)
        x[v] = load(r, c, from, v);
    for (int i = 0; i < a->rows; i++) {
        LLVMValueRef weight = tm_load_splat(r, TAMIS_TYPE_FLOAT, of_key, tm_int(r, i));
        for (int v = 0; v < c->vectors; v++)
            LLVMBuildStore(b, tm_fma(r, weight, x[v], tm_held(r, sums[i][v])), sums[i][v]);
    }
    tm_loop_end(r, &key);
    for (int i = 0; i < a->rows; i++) {
        LLVMValueRef factor =
            a->single ? tm_load_splat(r, TAMIS_TYPE_FLOAT, a->factors, tm_add(r, query, tm_int(r, i))) : NULL;
        for (int v = 0; v < c->vectors; v++) {
            LLVMValueRef sum = tm_held(r, sums[i][v]);
            if (factor != NULL)
                sum = r->fast ? LLVMBuildFMul(b, sum, factor, "") : LLVMBuildFDiv(b, sum, factor, "");
            store(r, c, sum, rows[i], v);
        }
    }
}

void tm_attention_mix_groups(tm_region *r, const tm_attention *a, int rows, int64_t *first, int vectors,
                             int64_t groups, LLVMValueRef count, tm_attention_mixer *mix,
                             const void *context) {
    int64_t step = (int64_t)vectors * r->lanes, end = *first + groups * step;
    if (groups == 0)
        return;
    tm_loop column = tm_loop_begin(r, tm_int(r, *first), tm_int(r, end), step);
    tm_attention_columns c = {.first = column.index, .vectors = vectors};
    if (end > a->value_size) {
        LLVMValueRef last = vector_index(r, column.index, vectors - 1);
        c.mask = tm_tail_mask(r, tm_sub(r, tm_int(r, a->value_size), last));
    }
    tm_loop query = tm_loop_begin(r, tm_int(r, 0), a->lanes, rows);
    mix(r, context, &c, query.index, count);
    tm_loop_end(r, &query);
    tm_loop_end(r, &column);
    *first = end;
}

/* Numbers of the queries at hand, from registers to where they are spread from. */
static void put_factors(tm_region *r, const tm_attention *a, const LLVMValueRef *x) {
    for (int j = 0; j < a->vectors; j++)
        tm_store_vector(r, TAMIS_TYPE_FLOAT, x[j], a->factors, tm_int(r, (int64_t)j * r->lanes));
}

void tm_attention_mix(tm_region *r, const tm_attention *a, LLVMValueRef count, const LLVMValueRef *factors) {
    int64_t first = 0;
    put_factors(r, a, factors);
    tm_attention_mix_groups(r, a, a->rows, &first, 3, a->threes, count, mix_tile, a);
    tm_attention_mix_groups(r, a, a->rows, &first, 2, a->twos, count, mix_tile, a);
}

int64_t tm_attention_packed_bytes(const tm_region *r, const tm_attention *a) {
    return (int64_t)a->tile * (a->threes > 0 ? 3 : 2) * r->lanes * 4;
}

static void each_row(tm_region *r, const tm_attention *a, bool clear) {
    LLVMBuilderRef b = r->e->builder;
    tm_loop query = tm_loop_begin(r, tm_int(r, 0), a->lanes, 1);
    LLVMValueRef row = out_row(r, a, query.index);
    LLVMValueRef factor = clear ? NULL : tm_load_splat(r, TAMIS_TYPE_FLOAT, a->factors, query.index);
    tm_loop column = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->value_size), r->lanes);
    tm_attention_columns c = {.first = column.index, .vectors = 1};
    if (a->value_size % r->lanes != 0)
        c.mask = tm_tail_mask(r, tm_sub(r, tm_int(r, a->value_size), column.index));
    LLVMValueRef x = tm_splat_f32(r, 0);
    if (!clear) {
        x = load(r, &c, row, 0);
        x = r->fast ? LLVMBuildFMul(b, x, factor, "") : LLVMBuildFDiv(b, x, factor, "");
    }
    store(r, &c, x, row, 0);
    tm_loop_end(r, &column);
    tm_loop_end(r, &query);
}

void tm_attention_clear_rows(tm_region *r, const tm_attention *a) {
    each_row(r, a, true);
}

void tm_attention_divide_rows(tm_region *r, const tm_attention *a, const LLVMValueRef *factors) {
    put_factors(r, a, factors);
    each_row(r, a, false);
}
