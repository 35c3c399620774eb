/* SPDX-License-Identifier: Apache-2.0
 *
 * region_tiles.c: MatMul by a constant matrix in a narrow type, with everything elementwise after it.
 *
 *     y[.., m, n] = f(sum over k of A[.., m, k] * B[k, n], bias[n], residual[.., m, n], ...)
 *
 *     body: %a32 = Cast(%a: bf16 tiles), %b32 = Cast(%b: bf16 panels), %s = MatMul(%a32, %b32), f
 *     body: %s = MatMulInteger(%a: u8 tiles, %b: s8 panels), f
 *
 * The products of bfloat16 are exact in float32, so all that is rounded are the factors, which other nodes
 * did, and the sums. The order in which k is summed depends on the level only: an answer is the same for any
 * number of rows and threads. Sums of bytes are int32 and exact. The left factor is unsigned and the right
 * one signed, the one form that all units have; the zero points are in f.
 *
 * A unit is one panel of 32 columns by as many rows of A as stay in the second-level cache; the panels follow
 * each other, so that B is one stream, of which the generator asks for the next panel while it works on one.
 * A generator may take the units of some panels at once.
 * Products of one A that are done together (queries, keys and values) follow each other likewise.
 */
#include "codegen/llvm/region_tiles.h"

#include "ir/tiles.h"

#define BAND_ROWS 32            /* rows of A that are multiplied at once; a unit has a multiple */
#define WORK ((int64_t)2 << 20) /* multiply-adds worth a task of their own */

static const tm_tile_form forms[] = {{TAMIS_TYPE_BFLOAT16, 2, "llvm.x86.tdpbf16ps"},
                                     {TAMIS_TYPE_UINT8, 4, "llvm.x86.tdpbusd"}};

LLVMValueRef tm_tiles_address(tm_region *r, LLVMValueRef base, LLVMValueRef bytes) {
    return LLVMBuildInBoundsGEP2(r->e->builder, r->e->i8, base, &bytes, 1, "");
}

LLVMValueRef tm_tiles_band(tm_region *r, const tm_tiles *t, LLVMValueRef row) {
    LLVMValueRef band = LLVMBuildLShr(r->e->builder, row, tm_int(r, 4), "");
    return tm_tiles_address(r, t->shared.data[t->shared.a], tm_mul(r, band, t->band_bytes));
}

static void set_up(tm_region *r, tm_tiles *t) {
    tm_contract_set_up(r, &t->shared);
    tamis_type type = r->node->inputs[t->shared.a]->type;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
        if (forms[i].type == type)
            t->form = &forms[i];
    t->steps = tm_ceildiv(r, t->shared.k, tm_tile_depth(type));
    t->band_bytes = tm_mul(r, t->steps, tm_int(r, TM_TILE_TOTAL));
    t->panel_bytes = tm_mul(r, t->steps, tm_int(r, 2 * TM_TILE_TOTAL));
}

/* Bytes of A in a unit at a level. */
static LLVMValueRef unit_bytes(tm_region *r, const tm_level *level) {
    return tm_int(r, (int64_t)tm_schedule_of(r->e->options, level, r->node).unit_kib << 10);
}

/* The same, of the level that runs. */
static LLVMValueRef unit_bytes_at_run(tm_region *r) {
    LLVMBuilderRef b = r->e->builder;
    const tm_target_choice *target = &r->e->options->target;
    LLVMValueRef bytes = unit_bytes(r, &target->levels[0]), last = bytes;
    for (int i = 1; i < target->level_count; i++) {
        LLVMValueRef own = unit_bytes(r, &target->levels[i]);
        if (own == last)
            continue;
        last = own;
        LLVMValueRef level = tm_emit_load(r->e, r->e->i32, r->run, TM_OFFSET(level));
        LLVMValueRef reached = LLVMBuildICmp(b, LLVMIntSGE, level, tm_emit_i32(r->e, i), "");
        bytes = LLVMBuildSelect(b, reached, own, bytes, "");
    }
    return bytes;
}

/* Rows of a unit. */
static LLVMValueRef unit_rows(tm_region *r, const tm_tiles *t, LLVMValueRef bytes) {
    LLVMValueRef row_bytes = tm_max(r, tm_mul(r, t->steps, tm_int(r, TM_TILE_BYTES)), tm_int(r, 1));
    LLVMValueRef rows = LLVMBuildUDiv(r->e->builder, bytes, row_bytes, "");
    rows = LLVMBuildAnd(r->e->builder, rows, tm_int(r, -BAND_ROWS), "");
    return tm_max(r, rows, tm_int(r, BAND_ROWS));
}

static LLVMValueRef ceildiv(tm_region *r, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildUDiv(r->e->builder, tm_sub(r, tm_add(r, a, b), tm_int(r, 1)), b, "");
}

static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    tm_tiles t = {0};
    set_up(r, &t);
    LLVMValueRef rows = unit_rows(r, &t, unit_bytes_at_run(r));
    *out_units = tm_mul(r, tm_ceildiv(r, t.shared.n, TM_TILE_PANEL), ceildiv(r, t.shared.m, rows));
    *out_units = tm_mul(r, *out_units, tm_int(r, t.shared.products));
    LLVMValueRef work =
        tm_mul(r, tm_mul(r, tm_min(r, t.shared.m, rows), t.shared.k), tm_int(r, TM_TILE_PANEL));
    work = tm_max(r, work, tm_int(r, 1));
    *out_grain = tm_add(r, LLVMBuildUDiv(r->e->builder, tm_int(r, WORK), work, ""), tm_int(r, 1));
    return TM_OK;
}

/* What the unit behind this one reads: the next panel, or the first one of the next product. */
static LLVMValueRef next_panel(tm_region *r, const tm_tiles *t, LLVMValueRef panel, LLVMValueRef panels,
                               LLVMValueRef which) {
    LLVMValueRef next = tm_tiles_address(r, t->panel, tm_mul(r, t->panels, t->panel_bytes));
    if (t->shared.products == 1)
        return next;
    tm_contract other = t->shared;
    int operands = r->node->input_count + r->node->output_count;
    other.data = tm_arena_copy(r->e->arena, other.all, (size_t)operands * sizeof(*other.all));
    tm_contract_select(r, &other, tm_add(r, which, tm_int(r, 1)));
    LLVMValueRef more = tm_less(r, panel, tm_sub(r, panels, t->panels));
    return LLVMBuildSelect(r->e->builder, more, next, other.data[other.b], "");
}

/* The unit that starts with number `index`, and as many of those behind it, before `end`, as the generator
 * takes at once; returns how many. They are panels next to each other. */
static LLVMValueRef units(tm_region *r, tm_tiles *t, LLVMValueRef index, LLVMValueRef end, LLVMValueRef rows,
                          bool amx) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef panels = tm_ceildiv(r, t->shared.n, TM_TILE_PANEL);
    LLVMValueRef row_units = tm_mul(r, panels, tm_int(r, t->shared.products));
    LLVMValueRef block = LLVMBuildUDiv(b, index, row_units, "");
    LLVMValueRef panel = tm_sub(r, index, tm_mul(r, block, row_units)), which = tm_int(r, 0);
    if (t->shared.products > 1) {
        which = LLVMBuildUDiv(b, panel, panels, "");
        panel = tm_sub(r, panel, tm_mul(r, which, panels));
        tm_contract_select(r, &t->shared, which);
    }
    int most = amx ? 1 : tm_tiles_vector_panels(r, t);
    t->panels_left = tm_sub(r, panels, panel);
    t->panels = tm_min(r, tm_int(r, most), tm_min(r, tm_sub(r, end, index), t->panels_left));
    if (most == 1)
        t->panels = tm_int(r, 1);
    t->from = tm_mul(r, block, rows);
    t->to = tm_min(r, tm_add(r, t->from, rows), t->shared.m);
    t->column = tm_mul(r, panel, tm_int(r, TM_TILE_PANEL));
    t->panel = tm_tiles_address(r, t->shared.data[t->shared.b], tm_mul(r, panel, t->panel_bytes));
    t->next = next_panel(r, t, panel, panels, which);
    (amx ? tm_tiles_amx_unit : tm_tiles_vector_unit)(r, t);
    return t->panels;
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    tm_tiles t = {0};
    LLVMBuilderRef b = r->e->builder;
    set_up(r, &t);
    tm_contract_begin(r, &t.shared);
    t.shared.ranges = tm_ranges_begin(r);
    bool amx = (r->level->units & TM_UNIT_TILES) != 0;
    (amx ? tm_tiles_amx_begin : tm_tiles_vector_begin)(r, &t);
    LLVMValueRef rows = unit_rows(r, &t, unit_bytes(r, r->level));
    LLVMValueRef at = tm_region_alloca(r, r->e->i64, 1, 8);
    LLVMBuildStore(b, begin, at);
    LLVMBasicBlockRef head = tm_emit_block(r->e, "units"), work = tm_emit_block(r->e, "unit"),
                      behind = tm_emit_block(r->e, "done");
    LLVMBuildBr(b, head);
    LLVMPositionBuilderAtEnd(b, head);
    LLVMValueRef index = LLVMBuildLoad2(b, r->e->i64, at, "");
    LLVMBuildCondBr(b, tm_less(r, index, end), work, behind);
    LLVMPositionBuilderAtEnd(b, work);
    LLVMValueRef done = units(r, &t, index, end, rows, amx);
    LLVMBuildStore(b, tm_add(r, index, done), at);
    LLVMBuildBr(b, head);
    LLVMPositionBuilderAtEnd(b, behind);
    if (amx)
        tm_tiles_amx_end(r, &t);
    tm_ranges_end(r, &t.shared.ranges);
    return TM_OK;
}

const tm_region_kind tm_region_kind_tiles = {"tiles", count, body};
