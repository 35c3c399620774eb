/* SPDX-License-Identifier: Apache-2.0
 *
 * region_pack_windows.c: gathers what the windows of a convolution see of an image of bytes into tiles.
 *
 *     %t: u8[n, 14, 14, 864] = Region(%x: u8[n, 14, 14, 96]) {kind = "pack", body: Windows(%p) {..}}
 *
 * A row of tiles is a window: runs of bytes that stand side by side in the image (ir/ops/windows.h), copied a
 * vector at a time. Runs are whole vectors; what a vector has beyond the image or the run is the zero point.
 * Signed bytes are turned into unsigned ones, which are greater by 128, on the way: that is all a body has
 * behind Windows.
 *
 * A vector that lies in the run and the image is one load. A part of one is loaded whole where that stays in
 * the tensor and put together with the zero point; next to the tensor's ends bytes go one by one.
 */
#include "codegen/llvm/region_pack.h"

#include "ir/ops/window.h"
#include "ir/ops/windows.h"
#include "ir/tiles.h"

#define B (r->e->builder)
#define MOST_AXES 3

typedef struct gather {
    const tm_node *windows;
    int axes, width; /* bytes of a vector */
    tm_windows_runs runs;
    int64_t channels, kernel[MOST_AXES], stride[MOST_AXES], dilation[MOST_AXES], head[MOST_AXES];
    LLVMValueRef rows, depth; /* of the tiles */
    LLVMValueRef in[MOST_AXES], out[MOST_AXES], total;
    LLVMValueRef from, to, fill, buffer;
    LLVMTypeRef vector;
    LLVMValueRef row, start[MOST_AXES], sample; /* of this window */
} gather;

bool tm_pack_is_windows(const tm_region *r) {
    return r->body->first->op == TM_OP_Windows;
}

static void set_up(tm_region *r, gather *g) {
    const tm_node *node = r->body->first;
    const tm_value *x = node->inputs[0];
    g->windows = node;
    g->axes = x->rank - 2;
    g->channels = x->dims[x->rank - 1]->constant;
    for (int i = 0; i < g->axes; i++) {
        g->kernel[i] = tm_window_item(node, "kernel_shape", i, 1);
        g->stride[i] = tm_window_item(node, "strides", i, 1);
        g->dilation[i] = tm_window_item(node, "dilations", i, 1);
        g->head[i] = tm_window_item(node, "pads", i, 0);
        g->in[i] = tm_operand_dim(r, 0, 1 + i);
        g->out[i] = tm_operand_dim(r, r->node->input_count, 1 + i);
    }
    g->runs = tm_windows_runs_of(g->kernel, g->axes, g->dilation[g->axes - 1], g->channels);
    g->rows = tm_operand_product(r, r->node->input_count, 0, x->rank - 1);
    g->depth = tm_int(r, g->runs.count * g->runs.bytes);
}

void tm_pack_windows_count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    gather g = {0};
    set_up(r, &g);
    *out_units = tm_ceildiv(r, g.rows, TM_TILE_ROWS);
    *out_grain = tm_region_grain(r, tm_int(r, g.runs.count * g.runs.bytes * TM_TILE_ROWS / 4));
}

static LLVMValueRef byte_address(tm_region *r, LLVMValueRef data, LLVMValueRef index) {
    return LLVMBuildGEP2(B, r->e->i8, data, &index, 1, "");
}

static LLVMValueRef splat_byte(tm_region *r, const gather *g, LLVMValueRef byte) {
    LLVMValueRef one = LLVMBuildInsertElement(B, LLVMGetPoison(g->vector), byte, tm_emit_i32(r->e, 0), "");
    LLVMTypeRef order = LLVMVectorType(r->e->i32, (unsigned)g->width);
    return LLVMBuildShuffleVector(B, one, LLVMGetPoison(g->vector), LLVMConstNull(order), "");
}

static LLVMValueRef load_bytes(tm_region *r, const gather *g, LLVMValueRef at) {
    LLVMValueRef value = LLVMBuildLoad2(B, g->vector, at, "");
    LLVMSetAlignment(value, 1);
    return value;
}

static void begin(tm_region *r, gather *g) {
    int most = r->level->vector_bits / 8;
    g->width = TM_WINDOWS_ALIGNMENT;
    while (2 * g->width <= most && 2 * g->width <= TM_TILE_BYTES && g->runs.bytes % (2 * g->width) == 0)
        g->width *= 2;
    g->vector = LLVMVectorType(r->e->i8, (unsigned)g->width);
    g->from = tm_operand_data(r, 0);
    g->to = tm_operand_data(r, r->node->input_count);
    g->total = tm_operand_product(r, 0, 0, g->axes + 2);
    g->buffer = tm_region_alloca(r, r->e->i8, TM_TILE_BYTES, 64);
    LLVMValueRef zero = LLVMConstInt(r->e->i8, 0, 0);
    const tm_value *point = g->windows->input_count > 1 ? g->windows->inputs[1] : NULL;
    if (point != NULL) {
        int number = tm_region_input_number(r->body, point);
        int64_t known = 0;
        if (number < 0)
            (void)tm_constant_int(point->constant, 0, &known);
        zero = number < 0 ? LLVMConstInt(r->e->i8, (unsigned long long)known & 255, 0)
                          : LLVMBuildLoad2(B, r->e->i8, tm_operand_data(r, number), "");
    }
    g->fill = splat_byte(r, g, zero);
}

/* Bytes lo..hi of the vector at `index` of the image into the slot, whose others stay. */
static void load_part(tm_region *r, const gather *g, LLVMValueRef index, LLVMValueRef lo, LLVMValueRef hi,
                      LLVMValueRef slot) {
    LLVMValueRef lane[TM_TILE_BYTES];
    for (int i = 0; i < g->width; i++)
        lane[i] = LLVMConstInt(r->e->i8, (unsigned long long)i, 0);
    LLVMValueRef lanes = LLVMConstVector(lane, (unsigned)g->width);
    LLVMValueRef low = tm_max(r, lo, tm_int(r, 0)), high = tm_min(r, hi, tm_int(r, g->width));
    LLVMValueRef end = tm_add(r, index, tm_int(r, g->width));
    LLVMValueRef inside = LLVMBuildAnd(B, LLVMBuildICmp(B, LLVMIntSGE, index, tm_int(r, 0), ""),
                                       LLVMBuildICmp(B, LLVMIntSLE, end, g->total, ""), "");
    LLVMBasicBlockRef after = tm_if_begin(r, inside);
    LLVMValueRef first = splat_byte(r, g, LLVMBuildTrunc(B, low, r->e->i8, ""));
    LLVMValueRef last = splat_byte(r, g, LLVMBuildTrunc(B, high, r->e->i8, ""));
    LLVMValueRef own = LLVMBuildAnd(B, LLVMBuildICmp(B, LLVMIntUGE, lanes, first, ""),
                                    LLVMBuildICmp(B, LLVMIntULT, lanes, last, ""), "");
    LLVMValueRef loaded = load_bytes(r, g, byte_address(r, g->from, index));
    LLVMBuildStore(B, LLVMBuildSelect(B, own, loaded, g->fill, ""), slot);
    tm_if_end(r, after);
    after = tm_if_begin(r, LLVMBuildNot(B, inside, ""));
    LLVMSetAlignment(LLVMBuildStore(B, g->fill, g->buffer), 1);
    tm_loop byte = tm_loop_begin(r, low, high, 1);
    LLVMValueRef one =
        LLVMBuildLoad2(B, r->e->i8, byte_address(r, g->from, tm_add(r, index, byte.index)), "");
    LLVMBuildStore(B, one, byte_address(r, g->buffer, byte.index));
    tm_loop_end(r, &byte);
    LLVMBuildStore(B, load_bytes(r, g, g->buffer), slot);
    tm_if_end(r, after);
}

/* The run whose first tap is at `position` of the last axis, in the row of the image at `line` (an index of
 * pixels); without `seen` the row is outside. `run` is its number. */
static void copy_run(tm_region *r, const gather *g, LLVMValueRef line, LLVMValueRef position,
                     LLVMValueRef seen, LLVMValueRef run) {
    LLVMValueRef channels = tm_int(r, g->channels), none = tm_int(r, 0);
    LLVMValueRef index = tm_mul(r, tm_add(r, line, position), channels);
    LLVMValueRef lo = tm_max(r, tm_mul(r, tm_sub(r, none, position), channels), none);
    LLVMValueRef hi = tm_min(r, tm_mul(r, tm_sub(r, g->in[g->axes - 1], position), channels),
                             tm_int(r, g->runs.taps * g->channels));
    hi = LLVMBuildSelect(B, seen, hi, none, "");
    LLVMValueRef slot = tm_region_alloca(r, g->vector, 1, 64);
    tm_loop part = tm_loop_begin(r, none, tm_int(r, g->runs.bytes), g->width);
    LLVMValueRef end = tm_add(r, part.index, tm_int(r, g->width)), here = tm_add(r, index, part.index);
    LLVMBuildStore(B, g->fill, slot);
    LLVMValueRef whole = LLVMBuildAnd(B, LLVMBuildICmp(B, LLVMIntSLE, lo, part.index, ""),
                                      LLVMBuildICmp(B, LLVMIntSLE, end, hi, ""), "");
    LLVMBasicBlockRef after = tm_if_begin(r, whole);
    LLVMBuildStore(B, load_bytes(r, g, byte_address(r, g->from, here)), slot);
    tm_if_end(r, after);
    if (g->channels % g->width != 0) {
        LLVMValueRef any = LLVMBuildAnd(B, tm_less(r, part.index, hi), tm_less(r, lo, end), "");
        any = LLVMBuildAnd(B, LLVMBuildAnd(B, any, LLVMBuildNot(B, whole, ""), ""), tm_less(r, lo, hi), "");
        after = tm_if_begin(r, any);
        load_part(r, g, here, tm_sub(r, lo, part.index), tm_sub(r, hi, part.index), slot);
        tm_if_end(r, after);
    }
    LLVMValueRef value = LLVMBuildLoad2(B, g->vector, slot, "");
    if (g->windows->inputs[0]->type == TAMIS_TYPE_INT8)
        value = LLVMBuildXor(B, value, splat_byte(r, g, LLVMConstInt(r->e->i8, 128, 0)), "");
    LLVMValueRef column = tm_add(r, tm_mul(r, run, tm_int(r, g->runs.bytes)), part.index);
    LLVMValueRef to = byte_address(r, g->to, tm_tiled_index(r, TAMIS_TYPE_UINT8, g->row, column, g->depth));
    LLVMSetAlignment(LLVMBuildStore(B, value, to), TM_WINDOWS_ALIGNMENT);
    tm_loop_end(r, &part);
}

/* All runs of the window from `axis` on; `line`, `seen` and `run` are of the axes before. */
static void walk(tm_region *r, const gather *g, int axis, LLVMValueRef line, LLVMValueRef seen,
                 LLVMValueRef run) {
    bool last = axis == g->axes - 1;
    line = tm_mul(r, line, g->in[axis]);
    if (last && g->dilation[axis] == 1) {
        copy_run(r, g, line, g->start[axis], seen, run);
        return;
    }
    tm_loop tap = tm_loop_begin(r, tm_int(r, 0), tm_int(r, g->kernel[axis]), 1);
    LLVMValueRef position = tm_add(r, g->start[axis], tm_mul(r, tap.index, tm_int(r, g->dilation[axis])));
    LLVMValueRef own = tm_add(r, tm_mul(r, run, tm_int(r, g->kernel[axis])), tap.index);
    if (last) {
        copy_run(r, g, line, position, seen, own);
    } else {
        LLVMValueRef inside = LLVMBuildICmp(B, LLVMIntULT, position, g->in[axis], "");
        walk(r, g, axis + 1, tm_add(r, line, position), LLVMBuildAnd(B, seen, inside, ""), own);
    }
    tm_loop_end(r, &tap);
}

void tm_pack_windows_body(tm_region *r, LLVMValueRef first, LLVMValueRef end) {
    gather g = {0};
    set_up(r, &g);
    begin(r, &g);
    LLVMValueRef to = tm_min(r, tm_mul(r, end, tm_int(r, TM_TILE_ROWS)), g.rows);
    tm_loop row = tm_loop_begin(r, tm_mul(r, first, tm_int(r, TM_TILE_ROWS)), to, 1);
    LLVMValueRef index = row.index;
    g.row = row.index;
    for (int i = g.axes - 1; i >= 0; i--) {
        LLVMValueRef position = tm_divide(r, &index, g.out[i]);
        g.start[i] = tm_sub(r, tm_mul(r, position, tm_int(r, g.stride[i])), tm_int(r, g.head[i]));
    }
    walk(r, &g, 0, index, LLVMConstInt(LLVMInt1TypeInContext(r->e->context), 1, 0), tm_int(r, 0));
    tm_loop_end(r, &row);
}
