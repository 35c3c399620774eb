/* SPDX-License-Identifier: Apache-2.0
 *
 * region_attention_tiles.c: attention whose two products run in bfloat16 on matrix units.
 *
 *     Y[q, :] = sum over k of softmax_k(scale * Q[q, :] . K[k, :] + mask[q, k]) V[k, :]       for each head
 *
 * A unit is one head and up to 128 queries. Keys are taken in blocks: K and V of a block are rounded and
 * packed as right operands on the stack (ir/tiles.h), K turned round, since its rows are columns there. Then,
 * for 32 queries at a time,
 *
 *     S = Q K^T         tiles, to a buffer in float32
 *     P = exp(S - m)    vectors: scale, mask, running maximum m and sum, rounded to bfloat16
 *     Y = Y * down + P V    tiles for P V; the product by down = exp(old m - new m) on the way to memory
 *
 * and at the end rows are divided by their sums. Blocks are cut by the number of the key alone, so an answer
 * does not depend on the batch or on threads.
 *
 * Levels without matrix units have the loops of float32 attention. Those cut the work in units of their own:
 * a part of these units stands for the same part of those.
 */
#include "codegen/llvm/amx.h"
#include "codegen/llvm/region_attention.h"
#include "codegen/llvm/schedule.h"

#include "ir/tiles.h"

#include <math.h>

#define QUERIES 128 /* of a unit */
#define GROUP 32    /* queries at once */
#define MULTIPLY "llvm.x86.tdpbf16ps"

typedef struct attention {
    tm_attention shared;
    int64_t block;                                /* keys at once */
    LLVMValueRef mask_base, mask_query;           /* of the head; stride, NULL: repeats */
    LLVMValueRef q, k, v, scores, weights, mixed; /* buffers */
    LLVMValueRef maximum, sum, down;              /* of the unit's queries; of the group's */
} attention;

static const tm_value *operand(const tm_region *r, const attention *a, int i) {
    return r->node->inputs[a->shared.inputs[i]];
}

static void set_up(tm_region *r, attention *a) {
    tm_attention_set_up(r, &a->shared);
    a->block = tm_schedule_of(r->e->options, r->level, r->node).keys;
}

static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    attention a = {0};
    set_up(r, &a);
    LLVMValueRef batch = tm_operand_dim(r, a.shared.inputs[0], 0);
    *out_units =
        tm_mul(r, tm_mul(r, batch, tm_int(r, a.shared.heads)), tm_ceildiv(r, a.shared.queries, QUERIES));
    LLVMValueRef rows = tm_min(r, a.shared.queries, tm_int(r, QUERIES));
    LLVMValueRef work =
        tm_mul(r, tm_mul(r, rows, a.shared.keys), tm_int(r, (a.shared.size + a.shared.value_size) / 4 + 16));
    *out_grain = tm_add(r, LLVMBuildUDiv(r->e->builder, tm_int(r, 400000), tm_max(r, work, tm_int(r, 1)), ""),
                        tm_int(r, 1));
    return TM_OK;
}

/* ---- places ---- */

static LLVMValueRef tile_at(tm_region *r, LLVMValueRef buffer, LLVMValueRef number) {
    LLVMValueRef bytes = tm_mul(r, number, tm_int(r, TM_TILE_TOTAL));
    return LLVMBuildInBoundsGEP2(r->e->builder, r->e->i8, buffer, &bytes, 1, "");
}

static LLVMValueRef get(tm_region *r, LLVMValueRef buffer, LLVMValueRef index) {
    return LLVMBuildLoad2(r->e->builder, r->e->f32,
                          LLVMBuildInBoundsGEP2(r->e->builder, r->e->f32, buffer, &index, 1, ""), "");
}

static void put(tm_region *r, LLVMValueRef value, LLVMValueRef buffer, LLVMValueRef index) {
    LLVMBuildStore(r->e->builder, value,
                   LLVMBuildInBoundsGEP2(r->e->builder, r->e->f32, buffer, &index, 1, ""));
}

/* Base and strides of the mask for the head; its last dim is the keys. */
static void set_mask(tm_region *r, attention *a) {
    a->mask_base = tm_int(r, 0);
    a->mask_query = NULL;
    if (a->shared.inputs[3] < 0)
        return;
    const tm_value *m = operand(r, a, 3);
    LLVMValueRef stride = tm_operand_dim(r, a->shared.inputs[3], m->rank - 1);
    for (int i = m->rank - 2; i >= 0; i--) {
        if (tm_dim_is(m->dims[i], 1))
            continue;
        int from_end = m->rank - 1 - i;
        if (from_end == 1)
            a->mask_query = stride;
        else
            a->mask_base =
                tm_add(r, a->mask_base, tm_mul(r, from_end == 2 ? a->shared.head : a->shared.batch, stride));
        stride = tm_mul(r, stride, tm_operand_dim(r, a->shared.inputs[3], i));
    }
}

/* ---- packing ---- */

/* 32 queries from `query` on as tiles; rows beyond the last one repeat it. */
static void pack_queries(tm_region *r, const attention *a, LLVMValueRef query) {
    tm_loop row = tm_loop_begin(r, tm_int(r, 0), tm_int(r, GROUP), 1);
    LLVMValueRef last = tm_sub(r, a->shared.queries, tm_int(r, 1));
    LLVMValueRef from = tm_attention_row(r, &a->shared, 0, tm_min(r, tm_add(r, query, row.index), last));
    tm_loop column = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->shared.size), r->lanes);
    LLVMValueRef x = tm_load_vector(r, TAMIS_TYPE_FLOAT, a->shared.data[0], tm_add(r, from, column.index));
    tm_store_vector(
        r, TAMIS_TYPE_BFLOAT16, tm_to_bf16(r, x), a->q,
        tm_tiled_index(r, TAMIS_TYPE_BFLOAT16, row.index, column.index, tm_int(r, a->shared.size)));
    tm_loop_end(r, &column);
    tm_loop_end(r, &row);
}

/* Turns a square of words round: line i of the result has word i of each line. */
static void turn(tm_region *r, LLVMValueRef *lines) {
    for (int half = TM_TILE_ROWS / 2; half >= 1; half /= 2) {
        LLVMValueRef low[TM_TILE_ROWS], high[TM_TILE_ROWS];
        for (int lane = 0; lane < TM_TILE_ROWS; lane++) {
            bool upper = (lane & half) != 0;
            low[lane] = tm_emit_i32(r->e, upper ? TM_TILE_ROWS + lane - half : lane);
            high[lane] = tm_emit_i32(r->e, upper ? TM_TILE_ROWS + lane : lane + half);
        }
        LLVMValueRef masks[] = {LLVMConstVector(low, TM_TILE_ROWS), LLVMConstVector(high, TM_TILE_ROWS)};
        for (int i = 0; i < TM_TILE_ROWS; i++) {
            if ((i & half) != 0)
                continue;
            LLVMValueRef x = lines[i], y = lines[i + half];
            lines[i] = LLVMBuildShuffleVector(r->e->builder, x, y, masks[0], "");
            lines[i + half] = LLVMBuildShuffleVector(r->e->builder, x, y, masks[1], "");
        }
    }
}

/* 32 numbers of a row as 16 words. */
static LLVMValueRef words_of(tm_region *r, LLVMValueRef data, LLVMValueRef from) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef parts[2], lanes[32];
    for (int i = 0; i < 2; i++)
        parts[i] = tm_to_bf16(
            r, tm_load_vector(r, TAMIS_TYPE_FLOAT, data, tm_add(r, from, tm_int(r, (int64_t)i * 16))));
    for (int i = 0; i < 32; i++)
        lanes[i] = tm_emit_i32(r->e, i);
    LLVMValueRef row = LLVMBuildShuffleVector(b, parts[0], parts[1], LLVMConstVector(lanes, 32), "");
    return LLVMBuildBitCast(b, row, LLVMVectorType(r->e->i32, 16), "");
}

/* The block's keys: for each 16 of them, a tile for each 32 columns of K, turned round. */
static void pack_keys(tm_region *r, const attention *a, LLVMValueRef first) {
    LLVMValueRef last = tm_sub(r, a->shared.keys, tm_int(r, 1));
    int64_t steps = a->shared.size / 32;
    tm_loop tile = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->block / TM_TILE_ROWS), 1);
    tm_loop step = tm_loop_begin(r, tm_int(r, 0), tm_int(r, steps), 1);
    LLVMValueRef lines[TM_TILE_ROWS];
    for (int i = 0; i < TM_TILE_ROWS; i++) {
        LLVMValueRef key =
            tm_add(r, first, tm_add(r, tm_mul(r, tile.index, tm_int(r, TM_TILE_ROWS)), tm_int(r, i)));
        LLVMValueRef from = tm_attention_row(r, &a->shared, 1, tm_min(r, key, last));
        lines[i] = words_of(r, a->shared.data[1], tm_add(r, from, tm_mul(r, step.index, tm_int(r, 32))));
    }
    turn(r, lines);
    LLVMValueRef to = tile_at(r, a->k, tm_add(r, tm_mul(r, tile.index, tm_int(r, steps)), step.index));
    for (int i = 0; i < TM_TILE_ROWS; i++)
        tm_store_vector(r, TAMIS_TYPE_INT32, lines[i], to, tm_int(r, (int64_t)i * 16));
    tm_loop_end(r, &step);
    tm_loop_end(r, &tile);
}

/* The block's values: for each 16 columns, a tile for each 32 keys, two of which share a line. */
static void pack_values(tm_region *r, const attention *a, LLVMValueRef first) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef last = tm_sub(r, a->shared.keys, tm_int(r, 1));
    LLVMTypeRef words = LLVMVectorType(r->e->i32, 16);
    tm_loop pair = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->block / 2), 1);
    LLVMValueRef key = tm_add(r, first, tm_mul(r, pair.index, tm_int(r, 2))), from[2];
    for (int i = 0; i < 2; i++)
        from[i] = tm_attention_row(r, &a->shared, 2, tm_min(r, tm_add(r, key, tm_int(r, i)), last));
    tm_loop tile = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->shared.value_size / TM_TILE_ROWS), 1);
    LLVMValueRef half[2];
    for (int i = 0; i < 2; i++) {
        LLVMValueRef at = tm_add(r, from[i], tm_mul(r, tile.index, tm_int(r, TM_TILE_ROWS)));
        half[i] = LLVMBuildZExt(b, tm_to_bf16(r, tm_load_vector(r, TAMIS_TYPE_FLOAT, a->shared.data[2], at)),
                                words, "");
    }
    LLVMValueRef upper = LLVMBuildShl(b, half[1], tm_splat(r, tm_emit_i32(r->e, 16)), "");
    LLVMValueRef number = tm_add(r, tm_mul(r, tile.index, tm_int(r, a->block / 32)),
                                 LLVMBuildLShr(b, pair.index, tm_int(r, 4), ""));
    LLVMValueRef line = tm_mul(r, LLVMBuildAnd(b, pair.index, tm_int(r, 15), ""), tm_int(r, 16));
    tm_store_vector(r, TAMIS_TYPE_INT32, LLVMBuildOr(b, half[0], upper, ""), tile_at(r, a->v, number), line);
    tm_loop_end(r, &tile);
    tm_loop_end(r, &pair);
}

/* ---- products ---- */

/* 32 rows by 32 columns: bands 0 and 1 of `left`, tiles 2*pair and 2*pair + 1 of `right`. */
static void multiply(tm_region *r, LLVMValueRef left, LLVMValueRef right, LLVMValueRef pair, int64_t steps,
                     LLVMValueRef to, int64_t line_floats) {
    for (int i = 0; i < 4; i++)
        tm_amx_zero(r, i);
    LLVMValueRef first = tm_mul(r, pair, tm_int(r, 2 * steps));
    tm_loop step = tm_loop_begin(r, tm_int(r, 0), tm_int(r, steps), 1);
    tm_amx_load(r, 4, tile_at(r, left, step.index));
    tm_amx_load(r, 6, tile_at(r, right, tm_add(r, first, step.index)));
    tm_amx_multiply(r, MULTIPLY, 0, 4, 6);
    tm_amx_load(r, 5, tile_at(r, left, tm_add(r, step.index, tm_int(r, steps))));
    tm_amx_multiply(r, MULTIPLY, 2, 5, 6);
    tm_amx_load(r, 7, tile_at(r, right, tm_add(r, first, tm_add(r, step.index, tm_int(r, steps)))));
    tm_amx_multiply(r, MULTIPLY, 1, 4, 7);
    tm_amx_multiply(r, MULTIPLY, 3, 5, 7);
    tm_loop_end(r, &step);
    for (int i = 0; i < 4; i++) {
        LLVMValueRef at = tm_int(r, (int64_t)(i / 2) * 16 * line_floats + (int64_t)(i % 2) * 16);
        tm_amx_store(r, i, LLVMBuildInBoundsGEP2(r->e->builder, r->e->f32, to, &at, 1, ""), line_floats * 4);
    }
}

static void score(tm_region *r, const attention *a) {
    tm_loop pair = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->block / 32), 1);
    LLVMValueRef column = tm_mul(r, pair.index, tm_int(r, 32));
    multiply(r, a->q, a->k, pair.index, a->shared.size / 32,
             LLVMBuildInBoundsGEP2(r->e->builder, r->e->f32, a->scores, &column, 1, ""), a->block);
    tm_loop_end(r, &pair);
}

/* Adds the block's part to the answers of `rows` queries from `query` on. */
static void mix(tm_region *r, const attention *a, LLVMValueRef query, LLVMValueRef rows,
                LLVMValueRef first_key) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef fresh = LLVMBuildICmp(b, LLVMIntEQ, first_key, tm_int(r, 0), "");
    tm_loop pair = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->shared.value_size / 32), 1);
    multiply(r, a->weights, a->v, pair.index, a->block / 32, a->mixed, 32);
    tm_loop row = tm_loop_begin(r, tm_int(r, 0), rows, 1);
    LLVMValueRef out = tm_attention_row(r, &a->shared, 3, tm_add(r, query, row.index));
    LLVMValueRef down = tm_splat(r, get(r, a->down, row.index));
    for (int i = 0; i < 2; i++) {
        LLVMValueRef at =
            tm_add(r, out, tm_add(r, tm_mul(r, pair.index, tm_int(r, 32)), tm_int(r, (int64_t)i * 16)));
        LLVMValueRef part =
            tm_load_vector(r, TAMIS_TYPE_FLOAT, a->mixed,
                           tm_add(r, tm_mul(r, row.index, tm_int(r, 32)), tm_int(r, (int64_t)i * 16)));
        LLVMValueRef old = tm_load_vector(r, TAMIS_TYPE_FLOAT, a->shared.out, at); /* of a block before */
        old = LLVMBuildSelect(b, fresh, tm_splat_f32(r, 0), old, "");
        tm_store_vector(r, TAMIS_TYPE_FLOAT, tm_fma(r, old, down, part), a->shared.out, at);
    }
    tm_loop_end(r, &row);
    tm_loop_end(r, &pair);
}

/* ---- softmax ---- */

/* The scores of 16 keys from column `column` of the block on: scaled and masked, -inf where there is no key.
 */
static LLVMValueRef biased(tm_region *r, const attention *a, LLVMValueRef row, LLVMValueRef query,
                           LLVMValueRef first_key, int64_t column) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef key = tm_add(r, first_key, tm_int(r, column)), left = tm_sub(r, a->shared.keys, key);
    LLVMValueRef at = tm_add(r, tm_mul(r, row, tm_int(r, a->block)), tm_int(r, column));
    LLVMValueRef x = tm_load_vector(r, TAMIS_TYPE_FLOAT, a->scores, at);
    x = LLVMBuildFMul(b, x, tm_splat_f32(r, a->shared.scale), "");
    if (a->shared.causal)
        left = tm_min(r, left, tm_add(r, tm_sub(r, query, key), tm_int(r, 1)));
    LLVMValueRef inside = tm_tail_mask(r, tm_max(r, left, tm_int(r, 0)));
    if (a->shared.inputs[3] >= 0) {
        LLVMValueRef index = tm_add(r, a->mask_base, key);
        if (a->mask_query != NULL)
            index = tm_add(r, index, tm_mul(r, query, a->mask_query));
        tamis_type type = operand(r, a, 3)->type;
        r->mask = inside;
        LLVMValueRef mask = tm_load_vector(r, type, a->shared.data[3], index);
        r->mask = NULL;
        if (type == TAMIS_TYPE_BOOL)
            inside = LLVMBuildAnd(b, inside, mask, "");
        else
            x = LLVMBuildFAdd(b, x, mask, "");
    }
    return LLVMBuildSelect(b, inside, x, tm_splat_f32(r, -INFINITY), "");
}

/* Weights of the block for `rows` queries; running maxima and sums. A row of nothing but -inf has the shift
 * 0, so that its weights are 0 and not NaN. */
static void weigh(tm_region *r, const attention *a, LLVMValueRef first_row, LLVMValueRef query,
                  LLVMValueRef rows, LLVMValueRef first_key) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef x[4], best = NULL, total = NULL;
    int vectors = (int)(a->block / 16);
    tm_loop row = tm_loop_begin(r, tm_int(r, 0), rows, 1);
    for (int v = 0; v < vectors; v++) {
        x[v] = biased(r, a, row.index, tm_add(r, query, row.index), first_key, (int64_t)v * 16);
        LLVMValueRef more = v == 0 ? NULL : LLVMBuildFCmp(b, LLVMRealOGT, x[v], best, "");
        best = v == 0 ? x[v] : LLVMBuildSelect(b, more, x[v], best, "");
    }
    LLVMValueRef own = tm_add(r, first_row, row.index), old = get(r, a->maximum, own),
                 now = tm_reduce_max(r, best);
    now = LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOGT, now, old, ""), now, old, "");
    put(r, now, a->maximum, own);
    LLVMValueRef nothing = LLVMBuildFCmp(b, LLVMRealOEQ, now, LLVMConstReal(r->e->f32, -INFINITY), "");
    LLVMValueRef shift = LLVMBuildSelect(b, nothing, LLVMConstReal(r->e->f32, 0), now, "");
    LLVMValueRef down = tm_math(r, "exp", tm_splat(r, LLVMBuildFSub(b, old, shift, "")));
    down = LLVMBuildExtractElement(b, down, tm_emit_i32(r->e, 0), "");
    put(r, down, a->down, row.index);
    for (int v = 0; v < vectors; v++) {
        LLVMValueRef p = tm_math(r, "exp", LLVMBuildFSub(b, x[v], tm_splat(r, shift), ""));
        total = v == 0 ? p : LLVMBuildFAdd(b, total, p, "");
        tm_store_vector(r, TAMIS_TYPE_BFLOAT16, tm_to_bf16(r, p), a->weights,
                        tm_tiled_index(r, TAMIS_TYPE_BFLOAT16, row.index, tm_int(r, (int64_t)v * 16),
                                       tm_int(r, a->block)));
    }
    LLVMValueRef sum = LLVMBuildFMul(b, get(r, a->sum, own), down, "");
    put(r, LLVMBuildFAdd(b, sum, tm_reduce_add(r, total), ""), a->sum, own);
    tm_loop_end(r, &row);
}

/* ---- units ---- */

static void clear(tm_region *r, const attention *a) {
    tm_loop row = tm_loop_begin(r, tm_int(r, 0), tm_int(r, QUERIES), r->lanes);
    tm_store_vector(r, TAMIS_TYPE_FLOAT, tm_splat_f32(r, -INFINITY), a->maximum, row.index);
    tm_store_vector(r, TAMIS_TYPE_FLOAT, tm_splat_f32(r, 0), a->sum, row.index);
    tm_loop_end(r, &row);
}

/* Divides by the sums. Of no keys at all the answer is 0; a row that saw no key is NaN, as Softmax of nothing
 * but -inf is. */
static void finish(tm_region *r, const attention *a) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef none = LLVMBuildICmp(b, LLVMIntEQ, a->shared.keys, tm_int(r, 0), "");
    tm_loop row = tm_loop_begin(r, tm_int(r, 0), a->shared.query_count, 1);
    LLVMValueRef sum = tm_splat(r, get(r, a->sum, row.index));
    LLVMValueRef out = tm_attention_row(r, &a->shared, 3, tm_add(r, a->shared.first_query, row.index));
    tm_loop column = tm_loop_begin(r, tm_int(r, 0), tm_int(r, a->shared.value_size), r->lanes);
    LLVMValueRef at = tm_add(r, out, column.index);
    LLVMValueRef y = LLVMBuildFDiv(b, tm_load_vector(r, TAMIS_TYPE_FLOAT, a->shared.out, at), sum, "");
    tm_store_vector(r, TAMIS_TYPE_FLOAT, LLVMBuildSelect(b, none, tm_splat_f32(r, 0), y, ""), a->shared.out,
                    at);
    tm_loop_end(r, &column);
    tm_loop_end(r, &row);
}

/* One block of keys for all queries of the unit. */
static void key_block(tm_region *r, const attention *a, LLVMValueRef first_key) {
    pack_keys(r, a, first_key);
    pack_values(r, a, first_key);
    tm_loop group = tm_loop_begin(r, tm_int(r, 0), a->shared.query_count, GROUP);
    LLVMValueRef query = tm_add(r, a->shared.first_query, group.index);
    LLVMValueRef rows = tm_min(r, tm_int(r, GROUP), tm_sub(r, a->shared.query_count, group.index));
    LLVMBasicBlockRef seen = NULL;
    if (a->shared.causal) /* by any of the group */
        seen = tm_if_begin(r, tm_less(r, first_key, tm_add(r, query, rows)));
    pack_queries(r, a, query);
    score(r, a);
    weigh(r, a, group.index, query, rows, first_key);
    mix(r, a, query, rows, first_key);
    if (seen != NULL)
        tm_if_end(r, seen);
    tm_loop_end(r, &group);
}

/* Less than 32 KiB: Q is not read any more when weights are made, nor are scores when V is mixed. Rows of the
 * last group that have no query are multiplied too; what is there does not matter. */
static void allocate(tm_region *r, attention *a) {
    LLVMTypeRef half = r->e->i16, single = r->e->f32;
    int64_t columns = a->shared.size > a->block ? a->shared.size : a->block;
    a->q = a->weights = tm_region_alloca(r, half, GROUP * columns, 64);
    a->k = tm_region_alloca(r, half, a->block * a->shared.size, 64);
    a->v = tm_region_alloca(r, half, a->block * a->shared.value_size, 64);
    a->scores = a->mixed = tm_region_alloca(r, single, GROUP * a->block, 64);
    a->maximum = tm_region_alloca(r, single, QUERIES, 64);
    a->sum = tm_region_alloca(r, single, QUERIES, 64);
    a->down = tm_region_alloca(r, single, GROUP, 64);
}

static void on_tiles(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    attention a = {0};
    LLVMBuilderRef b = r->e->builder;
    set_up(r, &a);
    for (int i = 0; i < 4; i++)
        a.shared.data[i] = a.shared.inputs[i] >= 0 ? tm_operand_data(r, a.shared.inputs[i]) : NULL;
    a.shared.out = tm_operand_data(r, r->node->input_count);
    allocate(r, &a);
    tm_amx_configure(r);
    LLVMValueRef blocks = tm_ceildiv(r, a.shared.queries, QUERIES);
    tm_loop unit = tm_loop_begin(r, begin, end, 1);
    LLVMValueRef plane = LLVMBuildUDiv(b, unit.index, blocks, "");
    a.shared.first_query = tm_mul(r, tm_sub(r, unit.index, tm_mul(r, plane, blocks)), tm_int(r, QUERIES));
    a.shared.query_count = tm_min(r, tm_int(r, QUERIES), tm_sub(r, a.shared.queries, a.shared.first_query));
    a.shared.batch = LLVMBuildUDiv(b, plane, tm_int(r, a.shared.heads), "");
    a.shared.head = tm_sub(r, plane, tm_mul(r, a.shared.batch, tm_int(r, a.shared.heads)));
    a.shared.kv_head = LLVMBuildUDiv(b, a.shared.head, tm_int(r, a.shared.heads / a.shared.kv_heads), "");
    set_mask(r, &a);
    clear(r, &a);
    LLVMValueRef last = a.shared.causal
                            ? tm_min(r, a.shared.keys, tm_add(r, a.shared.first_query, a.shared.query_count))
                            : a.shared.keys;
    tm_loop keys = tm_loop_begin(r, tm_int(r, 0), last, a.block);
    key_block(r, &a, keys.index);
    tm_loop_end(r, &keys);
    finish(r, &a);
    tm_loop_end(r, &unit);
    tm_amx_release(r);
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    LLVMBuilderRef b = r->e->builder;
    if ((r->level->units & TM_UNIT_TILES) != 0) {
        on_tiles(r, begin, end);
        return TM_OK;
    }
    LLVMValueRef units, grain, their_units, place[2] = {begin, end};
    TM_TRY(count(r, &units, &grain));
    TM_TRY(tm_region_kind_attention.count(r, &their_units, &grain));
    for (int i = 0; i < 2; i++)
        place[i] = LLVMBuildUDiv(b, tm_mul(r, place[i], their_units), tm_max(r, units, tm_int(r, 1)), "");
    return tm_region_kind_attention.body(r, place[0], place[1]);
}

const tm_region_kind tm_region_kind_attention_tiles = {"attention_tiles", count, body};
