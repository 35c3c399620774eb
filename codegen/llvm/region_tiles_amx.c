/* SPDX-License-Identifier: Apache-2.0
 *
 * region_tiles_amx.c: a unit of a product of narrow types on AMX.
 *
 * The eight tile registers hold 2 x 2 tiles of sums, two tiles of A and two of B: 32 rows by 32 columns. A
 * step of K loads four tiles and multiplies four pairs; K runs to its end before the sums are stored.
 *
 *     registers   0 1   sums of rows 0..15    4   A of rows 0..15     6 7   B of columns 0..15, 16..31
 *                 2 3   sums of rows 16..31   5   A of rows 16..31
 *
 * Multiplying tiles leaves the vector units idle, so the epilogue of a block of sums runs in the steps of the
 * next block, a few rows each: a GELU would otherwise take as long as the product. Sums alternate between two
 * buffers; the last block's epilogue stands behind the loop. Memory has latency, and B comes from far: each
 * step also asks for a part of the next panel.
 */
#include "codegen/llvm/amx.h"
#include "codegen/llvm/region_tiles.h"

#include "ir/tiles.h"

#define SUMS (32 * TM_TILE_PANEL) /* of a block */
#define SUM_LINE (TM_TILE_PANEL * 4)
#define PARTS 4 /* blocks of a unit that ask for the next panel, each for a part */

static LLVMValueRef slot(tm_region *r, LLVMTypeRef type) {
    return tm_region_alloca(r, type, 1, 8);
}

static LLVMValueRef get(tm_region *r, LLVMValueRef slot) {
    return LLVMBuildLoad2(r->e->builder, r->e->i64, slot, "");
}

void tm_tiles_amx_begin(tm_region *r, tm_tiles *t) {
    tm_amx_configure(r);
    t->sums = tm_region_alloca(r, r->e->f32, (int64_t)2 * SUMS, 64);
    t->waiting_sums = slot(r, r->e->i64);
    t->waiting_row = slot(r, r->e->i64);
    t->waiting_column = slot(r, r->e->i64);
    t->waiting_done = slot(r, r->e->i64);
    t->waiting_rows = slot(r, r->e->i64);
    LLVMBuildStore(r->e->builder, tm_int(r, 0), t->waiting_sums);
    LLVMBuildStore(r->e->builder, tm_int(r, 0), t->waiting_row);
    LLVMBuildStore(r->e->builder, tm_int(r, 0), t->waiting_column);
    LLVMBuildStore(r->e->builder, tm_int(r, 0), t->waiting_done);
    LLVMBuildStore(r->e->builder, tm_int(r, 0), t->waiting_rows);
    t->waiting_which = slot(r, r->e->i64);
    LLVMBuildStore(r->e->builder, tm_int(r, 0), t->waiting_which);
}

/* Up to `most` of the rows that wait go through the epilogue. */
static void finish_some(tm_region *r, tm_tiles *t, LLVMValueRef most) {
    LLVMValueRef done = get(r, t->waiting_done), rows = get(r, t->waiting_rows);
    LLVMValueRef first = tm_add(r, get(r, t->waiting_sums), tm_mul(r, done, tm_int(r, TM_TILE_PANEL)));
    LLVMValueRef some = tm_min(r, most, tm_sub(r, rows, done));
    LLVMBasicBlockRef after = tm_if_begin(r, tm_less(r, done, rows));
    tm_contract_tile tile = {.sums = LLVMBuildInBoundsGEP2(r->e->builder, r->e->f32, t->sums, &first, 1, ""),
                             .stride = TM_TILE_PANEL,
                             .row = tm_add(r, get(r, t->waiting_row), done),
                             .rows = some,
                             .column = get(r, t->waiting_column),
                             .columns = TM_TILE_PANEL};
    LLVMValueRef which = t->shared.which;
    if (t->shared.products > 1)
        t->shared.which = get(r, t->waiting_which);
    tm_contract_finish(r, &t->shared, &tile);
    t->shared.which = which;
    LLVMBuildStore(r->e->builder, tm_add(r, done, some), t->waiting_done);
    tm_if_end(r, after);
}

/* A step's share of the next panel into the second-level cache: of the block's part, and where a unit has
 * fewer blocks than there are parts, the first block asks for all. */
static void prefetch_next(tm_region *r, tm_tiles *t, LLVMValueRef part, LLVMValueRef step) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef part_bytes = LLVMBuildUDiv(b, t->panel_bytes, tm_int(r, PARTS), "");
    LLVMValueRef share = tm_mul(r, step, tm_int(r, 2 * TM_TILE_TOTAL / PARTS));
    LLVMValueRef few = tm_less(r, tm_sub(r, t->to, t->from), tm_int(r, (PARTS - 1) * 32 + 1));
    LLVMValueRef first = LLVMBuildICmp(b, LLVMIntEQ, part, tm_int(r, 0), "");
    LLVMValueRef own = LLVMBuildSelect(b, few, first, tm_less(r, part, tm_int(r, PARTS)), "");
    LLVMValueRef parts = LLVMBuildSelect(b, few, tm_int(r, PARTS), tm_int(r, 1), "");
    LLVMBasicBlockRef after = tm_if_begin(r, own);
    tm_loop other = tm_loop_begin(r, tm_int(r, 0), parts, 1);
    LLVMValueRef bytes = tm_mul(r, tm_add(r, part, other.index), part_bytes);
    LLVMValueRef from = tm_tiles_address(r, t->next, tm_add(r, bytes, share));
    for (int i = 0; i < 2 * TM_TILE_TOTAL / PARTS / 64; i++)
        tm_prefetch(r, from, tm_int(r, (int64_t)i * 16));
    tm_loop_end(r, &other);
    tm_if_end(r, after);
}

/* 32 rows by 32 columns. Of the last 16 rows or fewer, the second half is the first once more. */
static void block(tm_region *r, tm_tiles *t, LLVMValueRef row, LLVMValueRef part, LLVMValueRef rows_a_step) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef left = tm_sub(r, t->to, row);
    LLVMValueRef upper = tm_tiles_band(r, t, row);
    LLVMValueRef more = tm_less(r, tm_int(r, TM_TILE_ROWS), left);
    LLVMValueRef lower =
        tm_tiles_address(r, upper, LLVMBuildSelect(b, more, t->band_bytes, tm_int(r, 0), ""));
    for (int i = 0; i < 4; i++)
        tm_amx_zero(r, i);
    tm_loop step = tm_loop_begin(r, tm_int(r, 0), t->steps, 1);
    LLVMValueRef a = tm_mul(r, step.index, tm_int(r, TM_TILE_TOTAL));
    LLVMValueRef panel = tm_tiles_address(r, t->panel, tm_mul(r, a, tm_int(r, 2)));
    tm_amx_load(r, 4, tm_tiles_address(r, upper, a));
    tm_amx_load(r, 6, panel);
    tm_amx_multiply(r, t->form->multiply, 0, 4, 6);
    tm_amx_load(r, 5, tm_tiles_address(r, lower, a));
    tm_amx_multiply(r, t->form->multiply, 2, 5, 6);
    tm_amx_load(r, 7, tm_tiles_address(r, panel, tm_int(r, TM_TILE_TOTAL)));
    tm_amx_multiply(r, t->form->multiply, 1, 4, 7);
    tm_amx_multiply(r, t->form->multiply, 3, 5, 7);
    prefetch_next(r, t, part, step.index);
    finish_some(r, t, rows_a_step);
    tm_loop_end(r, &step);
    /* The waiting rows are finished: there were as many steps as they needed. */
    LLVMValueRef sums = LLVMBuildXor(b, get(r, t->waiting_sums), tm_int(r, SUMS), "");
    for (int i = 0; i < 4; i++) {
        LLVMValueRef at = tm_add(r, sums, tm_int(r, (int64_t)(i / 2) * 16 * TM_TILE_PANEL + i % 2 * 16));
        tm_amx_store(r, i, LLVMBuildInBoundsGEP2(b, r->e->f32, t->sums, &at, 1, ""), SUM_LINE);
    }
    LLVMBuildStore(b, sums, t->waiting_sums);
    LLVMBuildStore(b, row, t->waiting_row);
    if (t->shared.products > 1)
        LLVMBuildStore(b, t->shared.which, t->waiting_which);
    LLVMBuildStore(b, t->column, t->waiting_column);
    LLVMBuildStore(b, tm_int(r, 0), t->waiting_done);
    LLVMBuildStore(b, tm_min(r, left, tm_int(r, 32)), t->waiting_rows);
}

void tm_tiles_amx_unit(tm_region *r, tm_tiles *t) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef steps = tm_max(r, t->steps, tm_int(r, 1));
    LLVMValueRef rows_a_step =
        LLVMBuildUDiv(b, tm_add(r, steps, tm_int(r, 31)), steps, ""); /* ceil(32 / steps) */
    tm_loop row = tm_loop_begin(r, t->from, t->to, 32);
    LLVMValueRef part = LLVMBuildLShr(b, tm_sub(r, row.index, t->from), tm_int(r, 5), "");
    block(r, t, row.index, part, rows_a_step);
    tm_loop_end(r, &row);
}

void tm_tiles_amx_end(tm_region *r, tm_tiles *t) {
    finish_some(r, t, tm_int(r, 32));
    tm_amx_release(r);
}
