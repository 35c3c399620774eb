/* SPDX-License-Identifier: Apache-2.0
 *
 * region_contract.c: MatMul with everything elementwise after it.
 *
 *     y[.., m, n] = f(sum over k of A[.., m, k] * B[.., k, n], bias[n], residual[.., m, n], ...)
 *
 * A constant B was packed when it was written: panels of columns, in each panel row after row, so that it is
 * read in one stream. Another B is read in place, row after row: most are small and near. A unit of work is a
 * block of rows times some columns (a panel, or a few tiles) of one product:
 *
 *     for each tile of columns
 *         for each block of k                        (one block when k is small)
 *             for each tile of rows                  the block of B stays in the nearest cache
 *                 sums += A[rows, block] * B[block]  rows x vectors accumulators in registers
 *                 after the last block: epilogue
 *
 * Between blocks the sums wait in a buffer on the stack. Units of one block of rows follow each other, so A
 * stays in the second cache while B streams by, and the tiles of a block of a panel fetch the next one ahead,
 * and the lines where their result goes.
 *
 * An element is one sum over k in ascending order, whatever the sizes of tiles, blocks and units.
 */
#include "codegen/llvm/contract.h"
#include "codegen/llvm/schedule.h"

#include <string.h>

#define WORK 400000 /* multiply-adds worth a task of their own */
#define READ_ROWS \
    8 /* multiply-adds that take as long as reading the number of B they share, which few rows do */
#define LINE 16     /* floats of a cache line */
#define LINES 3     /* fetched in a round */
#define MOST_ROWS 16
#define MOST_VECTORS 4
#define MOST_ADDRESSES 8 /* of rows of a tile, in registers of their own */

typedef struct contract {
    tm_contract shared;
    tm_schedule schedule;
    LLVMValueRef number;   /* of the product, when there are many */
    LLVMValueRef from, to; /* rows of the unit */
    LLVMValueRef a;        /* A of the product */
    LLVMValueRef
        sums; /* stack buffer: rows of a block (without blocks of k: of a tile) x columns of a tile */
    LLVMValueRef copy; /* stack buffer: rows of a tile x schedule.copy */
    LLVMValueRef line; /* floats from one k of B to the next */
    /* the tiles of columns that are worked on */
    LLVMValueRef column;             /* first one */
    LLVMValueRef b_column;           /* B[0, column] */
    int vectors;                     /* of schedule.vectors; fewer where the columns end */
    LLVMValueRef mask[MOST_VECTORS]; /* columns of B that exist, or NULL: all */
    LLVMValueRef made[MOST_VECTORS]; /* columns of the result that exist, or NULL: all */
    /* the block of k */
    LLVMValueRef k, k_end;
    LLVMValueRef b;    /* B[k, column] */
    LLVMValueRef pace; /* floats of B to be fetched ahead while a tile does one k */
} contract;

static void set_up(tm_region *r, contract *c) {
    tm_contract_set_up(r, &c->shared);
    c->schedule = tm_schedule_of(r->e->options, r->level, r->node);
}

static int tile_columns(const tm_region *r, const contract *c) {
    return c->schedule.vectors * r->lanes;
}

static bool is_packed(const contract *c) {
    return c->shared.shape.panel > 0;
}

static LLVMValueRef pointer(tm_region *r, LLVMValueRef data, LLVMValueRef index) {
    return LLVMBuildInBoundsGEP2(r->e->builder, r->e->f32, data, &index, 1, "");
}

static LLVMValueRef divide(tm_region *r, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildUDiv(r->e->builder, a, b, "");
}

static LLVMValueRef divide_up(tm_region *r, LLVMValueRef a, LLVMValueRef b) {
    return divide(r, tm_sub(r, tm_add(r, a, b), tm_int(r, 1)), b);
}

/* ---- units ---- */

/* Rows of a unit: as even as whole tiles allow, and fewer than block_rows where that gives too few units. */
static LLVMValueRef block_rows(tm_region *r, const contract *c) {
    const tm_schedule *s = &c->schedule;
    if (s->units == 0)
        return tm_int(r, s->block_rows);
    LLVMValueRef groups = tm_max(r, tm_ceildiv(r, c->shared.n, s->columns), tm_int(r, 1));
    LLVMValueRef least = tm_ceildiv(r, c->shared.m, s->block_rows);
    LLVMValueRef wanted = divide(r, tm_int(r, s->units / c->shared.products), groups);
    LLVMValueRef most = tm_ceildiv(r, c->shared.m, 2 * (int64_t)s->rows);
    LLVMValueRef blocks = tm_max(r, tm_max(r, least, tm_min(r, wanted, most)), tm_int(r, 1));
    LLVMValueRef rows = tm_ceildiv(r, divide_up(r, c->shared.m, blocks), s->rows);
    return tm_mul(r, tm_max(r, rows, tm_int(r, 1)), tm_int(r, s->rows));
}

static void count_at_level(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    contract c = {0};
    set_up(r, &c);
    LLVMValueRef block = block_rows(r, &c), one = tm_int(r, 1);
    LLVMValueRef groups = tm_ceildiv(r, c.shared.n, c.schedule.columns);
    *out_units = tm_mul(r, tm_mul(r, groups, divide_up(r, c.shared.m, block)), c.shared.matrices);
    *out_units = tm_mul(r, *out_units, tm_int(r, c.shared.products));
    LLVMValueRef columns = tm_int(r, c.schedule.columns);
    if (!is_packed(&c))
        columns = tm_min(r, columns, c.shared.n);
    LLVMValueRef rows = tm_max(r, tm_min(r, c.shared.m, block), tm_int(r, READ_ROWS));
    LLVMValueRef work = tm_mul(r, tm_mul(r, rows, c.shared.k), columns);
    *out_grain = tm_add(r, divide(r, tm_int(r, WORK), tm_max(r, work, one)), one);
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
    LLVMValueRef sums[MOST_ROWS][MOST_VECTORS]; /* slots that become registers */
    LLVMValueRef a[MOST_ROWS];                  /* rows of A, from the block's k on */
    LLVMValueRef ahead;                         /* what to fetch while k runs, or NULL */
} tile;

/* Columns that do not exist are not read. Where a target has no masked loads, the last column stands in for
 * them, lane by lane. */
static LLVMValueRef load_columns(tm_region *r, const contract *c, LLVMValueRef line, int v) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef first = tm_int(r, (int64_t)v * r->lanes), result;
    if (c->mask[v] == NULL || r->level->vector_bits >= 256) {
        r->mask = c->mask[v];
        result = tm_load_vector(r, TAMIS_TYPE_FLOAT, c->b, tm_add(r, line, first));
        r->mask = NULL;
        return result;
    }
    LLVMValueRef last = tm_sub(r, tm_sub(r, c->shared.n, tm_int(r, 1)), c->column);
    result = LLVMGetPoison(tm_vector_type(r, TAMIS_TYPE_FLOAT));
    for (int i = 0; i < r->lanes; i++) {
        LLVMValueRef column = tm_min(r, tm_add(r, first, tm_int(r, i)), last);
        LLVMValueRef x = LLVMBuildLoad2(b, r->e->f32, pointer(r, c->b, tm_add(r, line, column)), "");
        result = LLVMBuildInsertElement(b, result, x, tm_emit_i32(r->e, i), "");
    }
    return result;
}

/* sums += A[.., k] * B[k, ..], where a_k is the place of k in the rows `a`. */
static void multiply(tm_region *r, contract *c, tile *t, LLVMValueRef *a, LLVMValueRef a_k,
                     LLVMValueRef b_k) {
    LLVMBuilderRef b = r->e->builder;
    LLVMTypeRef vector = tm_vector_type(r, TAMIS_TYPE_FLOAT);
    LLVMValueRef columns[MOST_VECTORS];
    LLVMValueRef line = tm_mul(r, b_k, c->line);
    for (int v = 0; v < c->vectors; v++)
        columns[v] = load_columns(r, c, line, v);
    for (int i = 0; i < t->rows; i++) {
        LLVMValueRef x = tm_load_splat(r, TAMIS_TYPE_FLOAT, a[i], a_k);
        for (int v = 0; v < c->vectors; v++) {
            LLVMValueRef sum = LLVMBuildLoad2(b, vector, t->sums[i][v], "");
            LLVMBuildStore(b, tm_fma(r, x, columns[v], sum), t->sums[i][v]);
        }
    }
}

/* What falls on `rounds` k is a line or less among many tiles, and more among few. */
static void fetch_ahead(tm_region *r, const contract *c, const tile *t, LLVMValueRef k, int rounds) {
    if (t->ahead == NULL)
        return;
    LLVMValueRef first = tm_mul(r, k, c->pace);
    for (int i = 0; i < (rounds > 1 ? LINES : 1); i++)
        tm_prefetch(r, t->ahead, tm_add(r, first, tm_int(r, (int64_t)i * LINE)));
}

/* A chunk of k at a time is copied to where its rows do not share sets. */
static void multiply_copied(tm_region *r, contract *c, tile *t, LLVMValueRef depth) {
    int chunk = c->schedule.copy;
    LLVMValueRef rows[MOST_ROWS];
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
    LLVMValueRef k = tm_add(r, loop.index, inner.index);
    multiply(r, c, t, rows, inner.index, k);
    fetch_ahead(r, c, t, k, 1);
    tm_loop_end(r, &inner);
    tm_loop_end(r, &loop);
}

static void multiply_in_place(tm_region *r, contract *c, tile *t, LLVMValueRef depth) {
    int unroll = t->rows < c->schedule.rows ? 1 : c->schedule.unroll;
    tm_loop loop = tm_loop_begin(r, tm_int(r, 0), depth, unroll);
    for (int u = 0; u < unroll; u++) {
        LLVMValueRef k = tm_add(r, loop.index, tm_int(r, u));
        multiply(r, c, t, t->a, k, k);
    }
    fetch_ahead(r, c, t, loop.index, unroll);
    tm_loop_end(r, &loop);
}

/* Is it worth while to fetch what comes next? */
static bool is_deep(const contract *c) {
    return c->schedule.units > 0;
}

/* The tiles of the unit share the fetching of the next block of the panel, or of the next panel's first. */
static LLVMValueRef find_ahead(tm_region *r, const contract *c, LLVMValueRef row) {
    const tm_schedule *s = &c->schedule;
    if (!is_deep(c) || !is_packed(c))
        return NULL;
    LLVMValueRef depth = s->depth > 0 ? tm_int(r, s->depth) : c->shared.k;
    LLVMValueRef number = divide(r, tm_sub(r, row, c->from), tm_int(r, s->rows));
    LLVMValueRef begin = tm_mul(r, tm_mul(r, number, depth), c->pace);
    return pointer(r, c->b, tm_add(r, begin, tm_mul(r, depth, tm_int(r, c->shared.shape.panel))));
}

/* While the last block is multiplied, the lines of the result come. Stores to lines that are far would fill
 * all buffers between the caches, and the next tile would wait for its factors. */
static void fetch_result(tm_region *r, const contract *c, LLVMValueRef row, int rows) {
    if (!is_deep(c))
        return;
    LLVMBasicBlockRef after = NULL;
    if (c->schedule.depth > 0)
        after = tm_if_begin(r, LLVMBuildICmp(r->e->builder, LLVMIntEQ, c->k_end, c->shared.k, ""));
    LLVMValueRef first = tm_add(r, tm_mul(r, c->number, c->shared.m), row);
    tm_contract_fetch(r, &c->shared, first, rows, c->column, c->vectors * r->lanes);
    if (after != NULL)
        tm_if_end(r, after);
}

/* Is the epilogue done where the sums are? Between blocks they leave the registers; and it stands there once
 * for each vector of a tile, so no more than one node, such as a bias, is worth it. */
static bool is_light(const tm_region *r, const contract *c) {
    const tm_node *next = r->body->first->next;
    return c->schedule.depth == 0 && (next == NULL || next->next == NULL) && tm_contract_is_light(r);
}

static void finish_light(tm_region *r, contract *c, const tile *t, LLVMValueRef row) {
    LLVMValueRef results[MOST_ROWS][MOST_VECTORS];
    const tm_value *value = r->body->outputs.items[0];
    LLVMValueRef first = tm_add(r, tm_mul(r, c->number, c->shared.m), row);
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < t->rows; i++)
            for (int v = 0; v < c->vectors; v++) {
                r->mask = c->made[v];
                c->shared.row = tm_add(r, first, tm_int(r, i));
                c->shared.column = tm_add(r, c->column, tm_int(r, (int64_t)v * r->lanes));
                if (pass == 0)
                    results[i][v] = tm_contract_compute(r, &c->shared, tm_held(r, t->sums[i][v]), value);
                else
                    tm_contract_store_result(r, &c->shared, results[i][v]);
            }
    r->mask = NULL;
}

/* sums[i][v] += A[row + i][k] * B[k][columns of v] over the block of k, rows known at compile time. */
static void emit_tile(tm_region *r, contract *c, LLVMValueRef row, int rows) {
    LLVMBuilderRef b = r->e->builder;
    LLVMTypeRef vector = tm_vector_type(r, TAMIS_TYPE_FLOAT);
    tile t = {.rows = rows};
    fetch_result(r, c, row, rows);
    bool blocks = c->schedule.depth > 0;
    LLVMValueRef first = tm_int(r, 0), place[MOST_ROWS][MOST_VECTORS];
    if (blocks)
        first = tm_mul(r, tm_sub(r, row, c->from), tm_int(r, tile_columns(r, c)));
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < c->vectors; v++) {
            int64_t within = (int64_t)i * tile_columns(r, c) + (int64_t)v * r->lanes;
            place[i][v] = tm_add(r, first, tm_int(r, within));
            t.sums[i][v] = tm_slot(r, LLVMConstNull(vector));
        }
    if (blocks) { /* what the blocks before have summed */
        LLVMBasicBlockRef after = tm_if_begin(r, LLVMBuildICmp(b, LLVMIntSGT, c->k, tm_int(r, 0), ""));
        for (int i = 0; i < rows; i++)
            for (int v = 0; v < c->vectors; v++)
                LLVMBuildStore(b, tm_load_vector(r, TAMIS_TYPE_FLOAT, c->sums, place[i][v]), t.sums[i][v]);
        tm_if_end(r, after);
    }
    for (int i = 0; i < rows; i++)
        t.a[i] = pointer(r, c->a, tm_add(r, tm_mul(r, tm_add(r, row, tm_int(r, i)), c->shared.k), c->k));
    /* As many addresses as there are registers for. Computed one from the other, as LLVM would, they take
     * turns of the units that multiply. */
    for (int i = 0; i < rows && is_deep(c) && rows <= MOST_ADDRESSES; i++)
        t.a[i] = tm_opaque(r, t.a[i]);
    LLVMValueRef depth = tm_sub(r, c->k_end, c->k);
    t.ahead = find_ahead(r, c, row);
    if (c->schedule.copy > 0)
        multiply_copied(r, c, &t, depth);
    else
        multiply_in_place(r, c, &t, depth);
    if (is_light(r, c)) {
        finish_light(r, c, &t, row);
        return;
    }
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < c->vectors; v++)
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
                                   .row = tm_add(r, tm_mul(r, c->number, c->shared.m), row),
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
    int shapes[3], shape_count = 0;
    shapes[shape_count++] = s->rows;
    if (s->small_rows > 0)
        shapes[shape_count++] = s->small_rows;
    if (s->single_rows)
        shapes[shape_count++] = 1;
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
    if (!is_light(r, c))
        finish_tile(r, c, row, count);
    LLVMBuildStore(b, tm_add(r, row, count), at);
    LLVMBuildBr(b, head);
    LLVMPositionBuilderAtEnd(b, done);
}

/* The unit's rows against the columns of a tile, block of k by block of k. */
static void emit_columns(tm_region *r, contract *c) {
    const tm_schedule *s = &c->schedule;
    LLVMValueRef rows = tm_sub(r, c->to, c->from);
    c->pace = divide_up(r, tm_int(r, c->schedule.columns), tm_ceildiv(r, rows, s->rows));
    if (s->depth == 0) {
        c->k = tm_int(r, 0);
        c->k_end = c->shared.k;
        c->b = c->b_column;
        emit_rows(r, c);
        return;
    }
    /* Also without any k there is one block: the epilogue follows it. */
    tm_loop block = tm_loop_begin(r, tm_int(r, 0), tm_max(r, c->shared.k, tm_int(r, 1)), s->depth);
    c->k = block.index;
    c->k_end = tm_min(r, tm_add(r, block.index, tm_int(r, s->depth)), c->shared.k);
    c->b = pointer(r, c->b_column, tm_mul(r, block.index, c->line));
    emit_rows(r, c);
    tm_loop_end(r, &block);
}

/* The columns from c->column on that exist. */
static void set_masks(tm_region *r, contract *c, LLVMValueRef *masks) {
    for (int v = 0; v < c->vectors; v++) {
        LLVMValueRef left = tm_sub(r, tm_sub(r, c->shared.n, c->column), tm_int(r, (int64_t)v * r->lanes));
        masks[v] = tm_tail_mask(r, tm_max(r, left, tm_int(r, 0)));
    }
}

/* A panel has all its columns. */
static void emit_panel(tm_region *r, contract *c, LLVMValueRef group) {
    int width = c->shared.shape.panel;
    LLVMValueRef first = tm_mul(r, group, tm_int(r, width));
    LLVMValueRef data = pointer(r, c->shared.data[c->shared.b], tm_mul(r, first, c->shared.k));
    c->line = tm_int(r, width);
    c->vectors = c->schedule.vectors;
    tm_loop columns = tm_loop_begin(r, tm_int(r, 0), tm_int(r, width), tile_columns(r, c));
    c->column = tm_add(r, first, columns.index);
    c->b_column = pointer(r, data, columns.index);
    LLVMBasicBlockRef inside = tm_if_begin(r, tm_less(r, c->column, c->shared.n));
    if (is_light(r, c) && (c->shared.shape.n == 0 || c->shared.shape.n % tile_columns(r, c) != 0))
        set_masks(r, c, c->made);
    emit_columns(r, c);
    tm_if_end(r, inside);
    tm_loop_end(r, &columns);
}

/* Whole tiles of columns, and a last one with those that are left. */
static void emit_in_place(tm_region *r, contract *c, LLVMValueRef group) {
    LLVMValueRef n = c->shared.n, size = tm_mul(r, c->shared.k, n);
    LLVMValueRef data = pointer(r, c->shared.data[c->shared.b],
                                tm_mul(r, tm_contract_matrix(r, c->shared.b, c->number), size));
    int64_t known = c->shared.shape.n;
    int width = tile_columns(r, c), rest = known > 0 ? (int)(known % width) : width - 1;
    LLVMValueRef from = tm_mul(r, group, tm_int(r, c->schedule.columns));
    LLVMValueRef end = tm_min(r, tm_add(r, from, tm_int(r, c->schedule.columns)), n);
    LLVMValueRef whole = tm_sub(r, n, LLVMBuildURem(r->e->builder, n, tm_int(r, width), ""));
    c->line = n;
    if (known == 0 || known >= width) {
        c->vectors = c->schedule.vectors;
        tm_loop columns = tm_loop_begin(r, from, tm_min(r, end, whole), width);
        c->column = columns.index;
        c->b_column = pointer(r, data, columns.index);
        emit_columns(r, c);
        tm_loop_end(r, &columns);
    }
    if (rest == 0)
        return;
    LLVMBasicBlockRef after = tm_if_begin(r, tm_less(r, whole, end));
    c->column = whole;
    c->b_column = pointer(r, data, whole);
    c->vectors = (rest + r->lanes - 1) / r->lanes;
    set_masks(r, c, c->mask);
    memcpy(c->made, c->mask, sizeof(c->made));
    emit_columns(r, c);
    memset(c->mask, 0, sizeof(c->mask));
    memset(c->made, 0, sizeof(c->made));
    tm_if_end(r, after);
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    contract c = {0};
    set_up(r, &c);
    tm_contract_begin(r, &c.shared);
    const tm_schedule *s = &c.schedule;
    int64_t rows = s->depth > 0 ? s->block_rows : s->rows;
    c.sums = tm_region_alloca(r, r->e->f32, rows * tile_columns(r, &c), 64);
    if (s->copy > 0)
        c.copy = tm_region_alloca(r, r->e->f32, (int64_t)s->rows * s->copy, 64);
    LLVMValueRef block = block_rows(r, &c), blocks = divide_up(r, c.shared.m, block);
    LLVMValueRef groups = tm_ceildiv(r, c.shared.n, s->columns);
    LLVMValueRef row_units = tm_mul(r, groups, tm_int(r, c.shared.products));
    tm_loop loop = tm_loop_begin(r, begin, end, 1);
    LLVMValueRef number = divide(r, loop.index, row_units);
    LLVMValueRef group = tm_sub(r, loop.index, tm_mul(r, number, row_units));
    if (c.shared.products > 1) {
        LLVMValueRef which = divide(r, group, groups);
        group = tm_sub(r, group, tm_mul(r, which, groups));
        tm_contract_select(r, &c.shared, which);
    }
    c.number = tm_int(r, 0);
    c.a = c.shared.data[c.shared.a];
    if (c.shared.matrices != tm_int(r, 1)) {
        c.number = divide(r, number, blocks);
        number = tm_sub(r, number, tm_mul(r, c.number, blocks));
        LLVMValueRef size = tm_mul(r, c.shared.m, c.shared.k);
        c.a = pointer(r, c.a, tm_mul(r, tm_contract_matrix(r, c.shared.a, c.number), size));
    }
    c.from = tm_mul(r, number, block);
    c.to = tm_min(r, tm_add(r, c.from, block), c.shared.m);
    if (is_packed(&c))
        emit_panel(r, &c, group);
    else
        emit_in_place(r, &c, group);
    tm_loop_end(r, &loop);
    return TM_OK;
}

const tm_region_kind tm_region_kind_contract = {"contract", count, body};
