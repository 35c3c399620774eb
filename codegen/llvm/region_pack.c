/* SPDX-License-Identifier: Apache-2.0
 *
 * region_pack.c: turns rows into tiles of a narrow type, for products to read (ir/tiles.h).
 *
 *     %t: bf16[batch, 197, 768] = Region(%x: f32[batch, 197, 768]) {kind = "pack", body: Cast(%p) {to =
 * bf16}}
 *
 * Where the node that makes the rows is a region itself, passes/absorb_packs.c lets that store tiles at once;
 * this is for all others. A unit is the 16 rows of a tile. What the last step has beyond the row is zero;
 * lines of rows that do not exist stay as they are, since a product does not mix rows.
 */
#include "codegen/llvm/region_pack.h"

#include "ir/tiles.h"

#define MOST_INPUTS 4

typedef struct pack {
    LLVMValueRef rows, depth;         /* of the value */
    LLVMValueRef from;                /* the first input */
    LLVMValueRef number[MOST_INPUTS]; /* the others are parameters: one number for all, in all lanes */
    LLVMValueRef to, row, column;
} pack;

static void set_up(tm_region *r, pack *p) {
    int rank = r->node->inputs[0]->rank;
    p->rows = tm_operand_product(r, 0, 0, rank - 1);
    p->depth = tm_operand_dim(r, 0, rank - 1);
}

static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    pack p = {0};
    if (tm_pack_is_windows(r)) {
        tm_pack_windows_count(r, out_units, out_grain);
        return TM_OK;
    }
    set_up(r, &p);
    *out_units = tm_ceildiv(r, p.rows, TM_TILE_ROWS);
    *out_grain = tm_region_grain(r, tm_mul(r, p.depth, tm_int(r, TM_TILE_ROWS)));
    return TM_OK;
}

static LLVMValueRef load(tm_region *r, int input) {
    const pack *p = r->kind;
    if (input > 0)
        return p->number[input];
    LLVMValueRef index = tm_add(r, tm_mul(r, p->row, p->depth), p->column);
    return tm_load_vector(r, r->node->inputs[input]->type, p->from, index);
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    pack p = {0};
    if (tm_pack_is_windows(r)) {
        tm_pack_windows_body(r, begin, end);
        return TM_OK;
    }
    set_up(r, &p);
    r->kind = &p;
    r->load = load;
    p.from = tm_operand_data(r, 0);
    for (int i = 1; i < r->node->input_count; i++)
        p.number[i] = tm_load_splat(r, r->node->inputs[i]->type, tm_operand_data(r, i), tm_int(r, 0));
    p.to = tm_operand_data(r, r->node->input_count);
    tamis_type type = r->node->outputs[0]->type;
    LLVMValueRef step = tm_int(r, tm_tile_depth(type));
    LLVMValueRef whole = tm_mul(r, tm_ceildiv(r, p.depth, tm_tile_depth(type)), step);
    LLVMValueRef to = tm_min(r, tm_mul(r, end, tm_int(r, TM_TILE_ROWS)), p.rows);
    tm_loop row = tm_loop_begin(r, tm_mul(r, begin, tm_int(r, TM_TILE_ROWS)), to, 1);
    tm_loop column = tm_loop_begin(r, tm_int(r, 0), whole, r->lanes);
    tm_region_new_point(r);
    p.row = row.index;
    p.column = column.index;
    if (!LLVMIsConstant(p.depth) || p.depth != whole)
        r->mask = tm_tail_mask(r, tm_max(r, tm_sub(r, p.depth, p.column), tm_int(r, 0)));
    LLVMValueRef value = tm_region_value(r, r->body->outputs.items[0]);
    r->mask = NULL;
    tm_store_vector(r, type, value, p.to, tm_tiled_index(r, type, p.row, p.column, whole));
    tm_loop_end(r, &column);
    tm_loop_end(r, &row);
    return TM_OK;
}

const tm_region_kind tm_region_kind_pack = {"pack", count, body};
