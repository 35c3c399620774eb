/* SPDX-License-Identifier: Apache-2.0
 *
 * region_turn.c: turns tiles of bytes so that a vector holds one word of neighbouring rows (ir/sparse.h).
 *
 *     %u: u8[batch, 197, 768] = Region(%t: u8[batch, 197, 768]) {kind = "turn", body: Identity(%p)}
 *
 * A pass of its own over memory, and not a part of what packs the tiles: those store whole vectors of a row,
 * of which each word would go elsewhere; and all products by one left factor share it. A unit is 64 rows, of
 * which those in tiles that do not exist stay as they are.
 */
#include "codegen/llvm/region_tiles.h"
#include "codegen/llvm/transpose.h"

#include "ir/sparse.h"

#define WORDS (TM_TILE_BYTES / 4)

static LLVMValueRef rows_of(tm_region *r) {
    return tm_operand_product(r, 0, 0, r->node->inputs[0]->rank - 1);
}

static LLVMValueRef depth_of(tm_region *r) {
    return tm_operand_dim(r, 0, r->node->inputs[0]->rank - 1);
}

static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    *out_units = tm_ceildiv(r, rows_of(r), TM_SPARSE_ROWS);
    *out_grain = tm_region_grain(r, tm_mul(r, depth_of(r), tm_int(r, TM_SPARSE_ROWS / 4)));
    return TM_OK;
}

/* The tile's words to lines of 64 rows. */
static void turn_tile(tm_region *r, LLVMValueRef tile, LLVMValueRef lines) {
    for (int word = 0; word < WORDS; word += TM_TRANSPOSE_ROWS)
        for (int row = 0; row < TM_TILE_ROWS; row += r->lanes)
            tm_transpose(
                r, tm_tiles_address(r, tile, tm_int(r, row * TM_TILE_BYTES + 4 * word)), TM_TILE_BYTES,
                tm_tiles_address(r, lines, tm_int(r, (word * TM_SPARSE_ROWS + row) * 4)), TM_SPARSE_ROWS * 4);
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    LLVMValueRef from = tm_operand_data(r, 0), to = tm_operand_data(r, r->node->input_count);
    LLVMValueRef bands = tm_ceildiv(r, rows_of(r), TM_TILE_ROWS);
    LLVMValueRef steps = tm_ceildiv(r, depth_of(r), tm_tile_depth(TAMIS_TYPE_UINT8));
    LLVMValueRef per_group = tm_int(r, TM_SPARSE_ROWS / TM_TILE_ROWS);
    LLVMValueRef last = tm_min(r, tm_mul(r, end, per_group), bands);
    tm_loop band = tm_loop_begin(r, tm_mul(r, begin, per_group), last, 1);
    LLVMValueRef within = LLVMBuildURem(r->e->builder, band.index, per_group, "");
    LLVMValueRef first = tm_mul(r, tm_sub(r, band.index, within), steps); /* tiles before the group */
    LLVMValueRef lines = tm_tiles_address(r, to, tm_mul(r, first, tm_int(r, TM_TILE_TOTAL)));
    lines = tm_tiles_address(r, lines, tm_mul(r, within, tm_int(r, TM_TILE_ROWS * 4)));
    LLVMValueRef tiles =
        tm_tiles_address(r, from, tm_mul(r, tm_mul(r, band.index, steps), tm_int(r, TM_TILE_TOTAL)));
    tm_loop step = tm_loop_begin(r, tm_int(r, 0), steps, 1);
    turn_tile(r, tm_tiles_address(r, tiles, tm_mul(r, step.index, tm_int(r, TM_TILE_TOTAL))),
              tm_tiles_address(r, lines, tm_mul(r, step.index, tm_int(r, WORDS * TM_SPARSE_ROWS * 4))));
    tm_loop_end(r, &step);
    tm_loop_end(r, &band);
    return TM_OK;
}

const tm_region_kind tm_region_kind_turn = {"turn", count, body};
