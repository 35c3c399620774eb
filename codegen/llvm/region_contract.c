/* SPDX-License-Identifier: Apache-2.0
 *
 * region_contract.c: MatMul by a constant matrix, with everything elementwise after it.
 *
 *     y[.., m, n] = f(sum over k of A[.., m, k] * B[k, n], bias[n], residual[.., m, n], ...)
 *
 * B was packed when it was written: panels of 32 columns, in each panel row after row, so that it is read in
 * one stream. A unit of work is a block of rows times one panel:
 *
 *     for each block of k                        (one block when k is small)
 *         for each tile of rows                  the block of B stays in the nearest cache
 *             sums += A[rows, block] * B[block]  rows x vectors accumulators in registers
 *             after the last block: epilogue
 *
 * Between blocks the sums wait in a buffer on the stack. Units of one block of rows follow each other, so A
 * stays in the second cache while B streams by, and the tiles of a block fetch the next one ahead.
 *
 * An element is one sum over k in ascending order, whatever the sizes of tiles, blocks and units.
 */
#include "codegen/llvm/contract.h"
#include "codegen/llvm/schedule.h"

#define WORK 400000 /* multiply-adds worth a task of their own */
#define LINE 16     /* floats of a cache line */

typedef struct contract {
    tm_contract shared;
    tm_schedule schedule;
    LLVMValueRef from, to; /* rows of the unit */
    LLVMValueRef column;   /* first one of the tiles */
    LLVMValueRef
        sums; /* stack buffer: rows of a block (without blocks of k: of a tile) x columns of a tile */
    LLVMValueRef copy;     /* stack buffer: rows of a tile x schedule.copy */
    LLVMValueRef k, k_end; /* the block of k */
    LLVMValueRef b;        /* B[k, column] */
    LLVMValueRef pace;     /* floats of B to be fetched ahead while a tile does one k */
} contract;

static void set_up(tm_region *r, contract *c) {
    tm_contract_set_up(r, &c->shared);
    c->schedule = tm_schedule_choose(r->level, r->node->inputs[c->shared.b]);
}

static int tile_columns(const tm_region *r, const contract *c) {
    return c->schedule.vectors * r->lanes;
}

static LLVMValueRef pointer(tm_region *r, LLVMValueRef data, LLVMValueRef index) {
    return LLVMBuildInBoundsGEP2(r->e->builder, r->e->f32, data, &index, 1, "");
}

static LLVMValueRef divide(tm_region *r, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildUDiv(r->e->builder, a, b, "");
}

static LLVMValueRef round_up(tm_region *r, LLVMValueRef a, int64_t b) {
    return tm_mul(r, tm_ceildiv(r, a, b), tm_int(r, b));
}

/* Rows of a unit: as even as whole tiles allow, and fewer than block_rows where that gives too few units. */
static LLVMValueRef block_rows(tm_region *r, const contract *c) {
    const tm_schedule *s = &c->schedule;
    if (s->units == 0)
        return tm_int(r, s->block_rows);
    LLVMValueRef panels = tm_max(r, tm_ceildiv(r, c->shared.n, c->shared.width), tm_int(r, 1));
    LLVMValueRef least = tm_ceildiv(r, c->shared.m, s->block_rows);
    LLVMValueRef wanted = divide(r, tm_int(r, s->units), panels);
    LLVMValueRef most = tm_ceildiv(r, c->shared.m, 2 * s->rows);
    LLVMValueRef blocks = tm_max(r, tm_max(r, least, tm_min(r, wanted, most)), tm_int(r, 1));
    LLVMValueRef rows = divide(r, tm_sub(r, tm_add(r, c->shared.m, blocks), tm_int(r, 1)), blocks);
    return tm_max(r, round_up(r, rows, s->rows), tm_int(r, s->rows));
}

static void count_at_level(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    contract c = {0};
    set_up(r, &c);
    LLVMValueRef block = block_rows(r, &c);
    LLVMValueRef blocks = divide(r, tm_sub(r, tm_add(r, c.shared.m, block), tm_int(r, 1)), block);
    *out_units = tm_mul(r, tm_ceildiv(r, c.shared.n, c.shared.width), blocks);
    LLVMValueRef rows = tm_min(r, c.shared.m, block);
    LLVMValueRef work = tm_mul(r, tm_mul(r, rows, c.shared.k), tm_int(r, c.shared.width));
    *out_grain = tm_add(r, divide(r, tm_int(r, WORK), tm_max(r, work, tm_int(r, 1))), tm_int(r, 1));
}

/* Tiles of the levels differ in rows, and so do the blocks that are made of whole ones. */
static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    LLVMBuilderRef b = r->e->builder;
    const tm_target_choice *target = &r->e->options->target;
    const tm_level *lowest = r->level;
    int lanes = r->lanes;
    count_at_level(r, out_units, out_grain);
    LLVMValueRef level = tm_emit_load(r->e, r->e->i32, r->run, TM_OFFSET(level));
    for (int i = 1; i < target->level_count; i++) {
        LLVMValueRef units, grain, reached = LLVMBuildICmp(b, LLVMIntSGE, level, tm_emit_i32(r->e, i), "");
        r->level = &target->levels[i];
        r->lanes = tm_level_lanes(r->level);
        count_at_level(r, &units, &grain);
        *out_units = LLVMBuildSelect(b, reached, units, *out_units, "");
        *out_grain = LLVMBuildSelect(b, reached, grain, *out_grain, "");
    }
    r->level = lowest;
    r->lanes = lanes;
    return TM_OK;
}

/* ---- one tile ---- */

typedef struct tile {
    int rows;
    LLVMValueRef sums[16][4]; /* slots that become registers */
    LLVMValueRef a[16];       /* rows of A, from k = 0 */
    LLVMValueRef ahead;       /* what to fetch while k runs, or NULL */
} tile;

/* sums += A[.., k] * B[k, ..], where a_k is the place of k in the rows `a`. */
static void multiply(tm_region *r, contract *c, tile *t, LLVMValueRef *a, LLVMValueRef a_k,
                     LLVMValueRef b_k) {
    LLVMBuilderRef b = r->e->builder;
    LLVMTypeRef vector = tm_vector_type(r, TAMIS_TYPE_FLOAT);
    LLVMValueRef columns[4];
    LLVMValueRef line = tm_mul(r, b_k, tm_int(r, c->shared.width));
    for (int v = 0; v < c->schedule.vectors; v++)
        columns[v] =
            tm_load_vector(r, TAMIS_TYPE_FLOAT, c->b, tm_add(r, line, tm_int(r, (int64_t)v * r->lanes)));
    for (int i = 0; i < t->rows; i++) {
        LLVMValueRef x = tm_load_splat(r, TAMIS_TYPE_FLOAT, a[i], a_k);
        for (int v = 0; v < c->schedule.vectors; v++) {
            LLVMValueRef sum = LLVMBuildLoad2(b, vector, t->sums[i][v], "");
            LLVMBuildStore(b, tm_fma(r, x, columns[v], sum), t->sums[i][v]);
        }
    }
}

/* A chunk of k at a time is copied to where its rows do not share sets, 4 lines of a row after another. */
static void multiply_copied(tm_region *r, contract *c, tile *t, LLVMValueRef depth) {
    int chunk = c->schedule.copy;
    LLVMValueRef rows[16];
    for (int i = 0; i < t->rows; i++)
        rows[i] = pointer(r, c->copy, tm_int(r, (int64_t)i * chunk));
    tm_loop loop = tm_loop_begin(r, tm_int(r, 0), depth, chunk);
    for (int i = 0; i < t->rows; i++)
        for (int at = 0; at < chunk; at += r->lanes) {
            LLVMValueRef x =
                tm_load_vector(r, TAMIS_TYPE_FLOAT, t->a[i], tm_add(r, loop.index, tm_int(r, at)));
            tm_store_vector(r, TAMIS_TYPE_FLOAT, x, rows[i], tm_int(r, at));
        }
    tm_loop inner = tm_loop_begin(r, tm_int(r, 0), tm_int(r, chunk), 1);
    multiply(r, c, t, rows, inner.index, tm_add(r, loop.index, inner.index));
    if (t->ahead != NULL)
        tm_prefetch(r, t->ahead, tm_mul(r, tm_add(r, loop.index, inner.index), c->pace));
    tm_loop_end(r, &inner);
    tm_loop_end(r, &loop);
}

/* sums[i][v] += A[row + i][k] * B[k][columns of v] over the block of k, rows known at compile time. */
static void emit_tile(tm_region *r, contract *c, LLVMValueRef row, int rows) {
    LLVMBuilderRef b = r->e->builder;
    LLVMTypeRef vector = tm_vector_type(r, TAMIS_TYPE_FLOAT);
    tile t = {.rows = rows};
    bool blocks = c->schedule.depth > 0;
    LLVMValueRef first =
        blocks ? tm_mul(r, tm_sub(r, row, c->from), tm_int(r, tile_columns(r, c))) : tm_int(r, 0);
    LLVMValueRef place[16][4];
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < c->schedule.vectors; v++) {
            place[i][v] =
                tm_add(r, first, tm_int(r, (int64_t)i * tile_columns(r, c) + (int64_t)v * r->lanes));
            t.sums[i][v] = tm_region_alloca(r, vector, 1, 64);
            LLVMBuildStore(
                b, blocks ? tm_load_vector(r, TAMIS_TYPE_FLOAT, c->sums, place[i][v]) : LLVMConstNull(vector),
                t.sums[i][v]);
        }
    for (int i = 0; i < rows; i++)
        t.a[i] = pointer(r, c->shared.data[c->shared.a],
                         tm_add(r, tm_mul(r, tm_add(r, row, tm_int(r, i)), c->shared.k), c->k));
    LLVMValueRef depth = tm_sub(r, c->k_end, c->k);
    if (blocks) {
        LLVMValueRef number = divide(r, tm_sub(r, row, c->from), tm_int(r, c->schedule.rows));
        LLVMValueRef begin = tm_mul(r, tm_mul(r, number, tm_int(r, c->schedule.depth)), c->pace);
        t.ahead = pointer(r, c->b, tm_add(r, begin, tm_int(r, (int64_t)c->schedule.depth * c->shared.width)));
    }
    if (c->schedule.copy > 0)
        multiply_copied(r, c, &t, depth);
    else {
        int unroll = c->schedule.unroll;
        tm_loop loop = tm_loop_begin(r, tm_int(r, 0), depth, unroll);
        for (int u = 0; u < unroll; u++) {
            LLVMValueRef k = tm_add(r, loop.index, tm_int(r, u));
            multiply(r, c, &t, t.a, k, k);
        }
        if (t.ahead != NULL)
            tm_prefetch(r, t.ahead, tm_mul(r, loop.index, c->pace));
        tm_loop_end(r, &loop);
    }
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < c->schedule.vectors; v++)
            tm_store_vector(r, TAMIS_TYPE_FLOAT, LLVMBuildLoad2(b, vector, t.sums[i][v], ""), c->sums,
                            place[i][v]);
}

/* ---- one unit ---- */

static void finish_tile(tm_region *r, contract *c, LLVMValueRef row, LLVMValueRef rows) {
    bool blocks = c->schedule.depth > 0;
    LLVMValueRef first = tm_mul(r, tm_sub(r, row, c->from), tm_int(r, tile_columns(r, c)));
    LLVMBasicBlockRef after = NULL;
    if (blocks)
        after = tm_if_begin(r, LLVMBuildICmp(r->e->builder, LLVMIntEQ, c->k_end, c->shared.k, ""));
    const tm_contract_tile tile = {.sums = blocks ? pointer(r, c->sums, first) : c->sums,
                                   .stride = tile_columns(r, c),
                                   .row = row,
                                   .rows = rows,
                                   .column = c->column,
                                   .columns = tile_columns(r, c)};
    tm_contract_finish(r, &c->shared, &tile);
    if (blocks)
        tm_if_end(r, after);
}

/* All rows of the unit against one block of k: full tiles while they last, then fewer rows. The epilogue
 * stands once behind them, for as many rows as the tile had. */
static void emit_rows(tm_region *r, contract *c) {
    LLVMBuilderRef b = r->e->builder;
    const tm_schedule *s = &c->schedule;
    const int shapes[] = {s->rows, s->small_rows > 0 ? s->small_rows : 1, 1};
    int shape_count = s->small_rows > 0 ? 3 : 2;
    LLVMValueRef at = tm_region_alloca(r, r->e->i64, 1, 8), step = tm_region_alloca(r, r->e->i64, 1, 8);
    LLVMBuildStore(b, c->from, at);
    LLVMBasicBlockRef head = tm_emit_block(r->e, "head"), done = tm_emit_block(r->e, "done"),
                      finish = tm_emit_block(r->e, "finish");
    LLVMBuildBr(b, head);
    LLVMPositionBuilderAtEnd(b, head);
    LLVMValueRef row = LLVMBuildLoad2(b, r->e->i64, at, "");
    LLVMValueRef left = tm_sub(r, c->to, row);
    for (int i = 0; i < shape_count; i++) {
        LLVMBasicBlockRef yes = tm_emit_block(r->e, "tile"),
                          no = i + 1 < shape_count ? tm_emit_block(r->e, "") : done;
        LLVMBuildCondBr(b, tm_less(r, left, tm_int(r, shapes[i])), no, yes);
        LLVMPositionBuilderAtEnd(b, yes);
        emit_tile(r, c, row, shapes[i]);
        LLVMBuildStore(b, tm_int(r, shapes[i]), step);
        LLVMBuildBr(b, finish);
        LLVMPositionBuilderAtEnd(b, no);
    }
    LLVMPositionBuilderAtEnd(b, finish);
    LLVMValueRef count = LLVMBuildLoad2(b, r->e->i64, step, "");
    finish_tile(r, c, row, count);
    LLVMBuildStore(b, tm_add(r, row, count), at);
    LLVMBuildBr(b, head);
    LLVMPositionBuilderAtEnd(b, done);
}

/* The unit's rows against the columns of a tile, block of k by block of k. */
static void emit_columns(tm_region *r, contract *c, LLVMValueRef panel_data) {
    if (c->schedule.depth == 0) {
        c->k = tm_int(r, 0);
        c->k_end = c->shared.k;
        c->b = panel_data;
        emit_rows(r, c);
        return;
    }
    LLVMValueRef bytes = tm_mul(r, tm_sub(r, c->to, c->from), tm_int(r, 4 * (int64_t)tile_columns(r, c)));
    LLVMBuildMemSet(r->e->builder, c->sums, LLVMConstNull(r->e->i8), bytes, 64);
    tm_loop block = tm_loop_begin(r, tm_int(r, 0), c->shared.k, c->schedule.depth);
    c->k = block.index;
    LLVMValueRef tiles = tm_ceildiv(r, tm_sub(r, c->to, c->from), c->schedule.rows);
    c->pace = divide(r, tm_add(r, tm_sub(r, tiles, tm_int(r, 1)), tm_int(r, c->shared.width)), tiles);
    c->k_end = tm_min(r, tm_add(r, block.index, tm_int(r, c->schedule.depth)), c->shared.k);
    c->b = pointer(r, panel_data, tm_mul(r, block.index, tm_int(r, c->shared.width)));
    emit_rows(r, c);
    tm_loop_end(r, &block);
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    contract c = {0};
    set_up(r, &c);
    tm_contract_begin(r, &c.shared);
    const tm_schedule *s = &c.schedule;
    int step = tile_columns(r, &c);
    c.sums = tm_region_alloca(r, r->e->f32, (int64_t)(s->depth > 0 ? s->block_rows : s->rows) * step, 64);
    if (s->copy > 0)
        c.copy = tm_region_alloca(r, r->e->f32, (int64_t)s->rows * s->copy, 64);
    LLVMValueRef block = block_rows(r, &c), panels = tm_ceildiv(r, c.shared.n, c.shared.width);
    tm_loop loop = tm_loop_begin(r, begin, end, 1);
    LLVMValueRef number = divide(r, loop.index, panels);
    LLVMValueRef panel = tm_sub(r, loop.index, tm_mul(r, number, panels));
    c.from = tm_mul(r, number, block);
    c.to = tm_min(r, tm_add(r, c.from, block), c.shared.m);
    LLVMValueRef first_column = tm_mul(r, panel, tm_int(r, c.shared.width));
    LLVMValueRef panel_data = pointer(r, c.shared.data[c.shared.b], tm_mul(r, first_column, c.shared.k));
    tm_loop columns = tm_loop_begin(r, tm_int(r, 0), tm_int(r, c.shared.width), step);
    c.column = tm_add(r, first_column, columns.index);
    LLVMBasicBlockRef inside = tm_if_begin(r, tm_less(r, c.column, c.shared.n));
    emit_columns(r, &c, pointer(r, panel_data, columns.index));
    tm_if_end(r, inside);
    tm_loop_end(r, &columns);
    tm_loop_end(r, &loop);
    return TM_OK;
}

const tm_region_kind tm_region_kind_contract = {"contract", count, body};
