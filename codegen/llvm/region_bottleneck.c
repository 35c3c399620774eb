/* SPDX-License-Identifier: Apache-2.0
 *
 * region_bottleneck.c: a convolution whose result only a depthwise convolution reads, without that result in
 * memory.
 *
 *     v[n, h, w, c] = f(sum over k of x[n, h.., k] * w1[k, c] ...)        wide: six times the channels of x
 *     y[n, p, q, c] = g(sum over taps i, j of v[n, p*s + i - head, q*s + j - head, c] * w2[i, j, c])
 *
 * Both go over the same channels c, so a unit of work is a panel of channels of a strip of one sample's
 * columns: for one pass of them (one to three vectors) the rows of v that a row of y needs are kept in a ring
 * as long as the window is high, on the stack, near the core. Each row of v is made once, padding is zeros in
 * the ring that stay there. The wide tensor, which would go out to memory and back, is never written. Strips
 * are as wide as the ring has room for (passes/ring.h); neighbours make the columns of v between them twice,
 * but no column of y: the last strip leaves those that it shares with the one before it to that.
 */
#include "codegen/llvm/convolution.h"
#include "passes/ring.h"

#define WINDOW_PANEL 16 /* of the weights of the depthwise part: a multiple of all vectors */
#define WORK 400000     /* multiply-adds worth a task of their own */
#define MOST_HELD 9     /* weights of the window that stay in registers, where there are 32 */
#define MOST_TERMS 126  /* of a tile of the depthwise part */

typedef struct bottleneck {
    tm_convolution inner; /* makes v */
    tm_space space;       /* of the depthwise part */
    tm_contract outer;    /* its epilogue */
    const tm_value *v;
    int64_t high, wide;         /* of v */
    int64_t out_high, out_wide; /* of y */
    tm_ring strips; /* for a panel, though a pass may be less at some levels: units are the same */
    int64_t line;   /* elements of a line of the ring */
    int step;                   /* channels of a pass: vectors of v side by side in the ring */
    LLVMValueRef ring, x, sample;
    LLVMValueRef from, v_from;  /* first columns of the strip: of y, and of v */
    LLVMValueRef owns_all;      /* of its columns of y, the shared ones too */
    LLVMValueRef column, panel; /* of the pass */
    LLVMValueRef mask, weights; /* of a vector of y */
    LLVMValueRef held[MOST_HELD];
} bottleneck;

static int64_t taps_of(const tm_space *s) {
    return s->kernel[0] * s->kernel[1];
}

static void set_up(tm_region *r, bottleneck *b) {
    tm_convolution_set_up(r, &b->inner);
    tm_space_set_up(r, &b->space, tm_space_window(r, true));
    const tm_space *s = &b->space;
    b->v = s->window->inputs[0]->producer->inputs[0];
    b->high = tm_known(s->in[0]), b->wide = tm_known(s->in[1]);
    b->out_high = tm_known(s->out[0]), b->out_wide = tm_known(s->out[1]);
    b->outer.product = s->product;
    b->outer.b = tm_region_input_number(r->body, s->window->inputs[1]);
    b->outer.n = s->channels;
    b->strips = tm_ring_cut(b->out_wide, b->wide, s->stride[1], s->kernel[1], s->head[1],
                            s->kernel[0] * b->inner.shared.shape.panel * 4);
}

static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    bottleneck b = {0};
    set_up(r, &b);
    *out_units = tm_mul(r, b.space.samples, tm_int(r, b.inner.panels * b.strips.strips));
    int64_t work = b.high * b.strips.made * b.inner.depth * b.inner.shared.shape.panel;
    *out_grain = tm_int(r, WORK / tm_at_least(work, 1) + 1);
    return TM_OK;
}

/* The line of the ring for row `row` of the padded image. */
static LLVMValueRef ring_line(tm_region *r, const bottleneck *b, LLVMValueRef row) {
    LLVMValueRef slot = LLVMBuildURem(r->e->builder, row, tm_int(r, b->space.kernel[0]), "");
    return tm_opaque(r, tm_element(r, b->ring, tm_mul(r, slot, tm_int(r, b->line))));
}

/* ---- rows of v ---- */

static LLVMValueRef channel_mask(tm_region *r, const bottleneck *b, LLVMValueRef column) {
    if (b->inner.filters % r->lanes == 0)
        return NULL;
    return tm_tail_mask(r, tm_max(r, tm_sub(r, tm_int(r, b->inner.filters), column), tm_int(r, 0)));
}

static void make_tile(tm_region *r, bottleneck *b, int size, LLVMValueRef x, LLVMValueRef to) {
    tm_tile t = {.shape = {size, 1}, .x = x, .panel = b->panel};
    LLVMValueRef results[TM_CONVOLUTION_ROWS][TM_CONVOLUTION_VECTORS];
    tm_contract *c = &b->inner.shared;
    tm_convolution_sum(r, &b->inner, &t);
    r->kind = c;
    for (int v = 0; v < b->inner.vectors; v++) {
        c->column = tm_add(r, b->column, tm_int(r, (int64_t)v * r->lanes));
        r->mask = channel_mask(r, b, c->column);
        for (int i = 0; i < size; i++)
            results[i][v] = tm_contract_compute(r, c, tm_convolution_load_sum(r, &t, i, v), b->v);
    }
    r->mask = NULL;
    for (int i = 0; i < size; i++)
        for (int v = 0; v < b->inner.vectors; v++)
            tm_store_vector(r, TAMIS_TYPE_FLOAT, results[i][v], to,
                            tm_int(r, (int64_t)i * b->step + (int64_t)v * r->lanes));
}

/* Tiles of `size` positions from..to of those that are made of a row. */
static void make_tiles(tm_region *r, bottleneck *b, int64_t from, int64_t to, int size, LLVMValueRef x,
                       LLVMValueRef line) {
    const tm_space *s = &b->inner.space;
    if (from >= to)
        return;
    tm_loop loop = tm_loop_begin(r, tm_int(r, from), tm_int(r, to), size);
    LLVMValueRef step = tm_mul(r, s->step[1], tm_int(r, s->stride[1]));
    LLVMValueRef place = loop.index;
    make_tile(r, b, size, tm_opaque(r, tm_element(r, x, tm_mul(r, loop.index, step))),
              tm_opaque(r, tm_element(r, line, tm_mul(r, place, tm_int(r, b->step)))));
    tm_loop_end(r, &loop);
}

/* Row `row` of v, or zeros where it is behind the image. */
static void make_row(tm_region *r, bottleneck *b, LLVMValueRef row) {
    const tm_space *s = &b->inner.space;
    LLVMValueRef line = ring_line(r, b, tm_add(r, row, tm_int(r, b->space.head[0])));
    LLVMBasicBlockRef inside = tm_if_begin(r, tm_less(r, row, tm_int(r, b->high)));
    int size = (int)tm_even_part(b->strips.made, b->inner.rows);
    int64_t whole = b->strips.made / size * size;
    LLVMValueRef x = tm_element(r, b->x, tm_mul(r, row, tm_mul(r, s->step[0], tm_int(r, s->stride[0]))));
    x = tm_element(r, x, tm_mul(r, b->v_from, tm_mul(r, s->step[1], tm_int(r, s->stride[1]))));
    LLVMValueRef tap =
        tm_sub(r, tm_mul(r, b->from, tm_int(r, b->space.stride[1])), tm_int(r, b->space.head[1]));
    LLVMValueRef place = tm_add(r, tm_sub(r, b->v_from, tap), tm_int(r, b->strips.margin));
    LLVMValueRef to = tm_element(r, line, tm_mul(r, place, tm_int(r, b->step)));
    make_tiles(r, b, 0, whole, size, x, to);
    make_tiles(r, b, whole, b->strips.made, (int)(b->strips.made - whole > 0 ? b->strips.made - whole : 1), x,
               to);
    tm_if_end(r, inside);
    LLVMBasicBlockRef behind =
        tm_if_begin(r, LLVMBuildICmp(r->e->builder, LLVMIntSGE, row, tm_int(r, b->high), ""));
    tm_loop zero = tm_loop_begin(r, tm_int(r, 0), tm_int(r, b->line), r->lanes);
    tm_store_vector(r, TAMIS_TYPE_FLOAT, LLVMConstNull(tm_vector_type(r, TAMIS_TYPE_FLOAT)), line,
                    zero.index);
    tm_loop_end(r, &zero);
    tm_if_end(r, behind);
}

/* ---- rows of y ---- */

static LLVMValueRef load_weight(tm_region *r, const bottleneck *b, int64_t tap) {
    return tm_load_vector(r, TAMIS_TYPE_FLOAT, b->weights, tm_int(r, tap * WINDOW_PANEL));
}

static bool holds(const tm_region *r, const bottleneck *b) {
    return taps_of(&b->space) <= MOST_HELD && !tm_level_has_few_registers(r->level);
}

/* Positions of a row, whose lines of v start at lines[0..]. A vector of v is loaded once for all positions
 * that see it; LLVM cannot tell that the stores between them leave it as it is. */
static void fold_tile(tm_region *r, bottleneck *b, int size, LLVMValueRef *lines, LLVMValueRef row) {
    const tm_space *s = &b->space;
    int64_t width = (size - 1) * s->stride[1] + s->kernel[1];
    LLVMValueRef *loaded = TM_NEW_ARRAY(r->e->arena, LLVMValueRef, s->kernel[0] * width);
    r->kind = &b->outer;
    for (int i = 0; i < size; i++) {
        LLVMValueRef sum = LLVMConstNull(tm_vector_type(r, TAMIS_TYPE_FLOAT));
        r->mask = NULL;
        for (int64_t k = 0; k < taps_of(s); k++) {
            int64_t line = k / s->kernel[1], at = i * s->stride[1] + k % s->kernel[1];
            LLVMValueRef *v = &loaded[line * width + at];
            if (*v == NULL)
                *v = tm_load_vector(r, TAMIS_TYPE_FLOAT, lines[line], tm_int(r, at * b->step));
            sum = tm_fma(r, *v, holds(r, b) ? b->held[k] : load_weight(r, b, k), sum);
        }
        r->mask = b->mask;
        b->outer.row = tm_add(r, row, tm_int(r, i));
        LLVMValueRef result = tm_contract_compute(r, &b->outer, sum, r->body->outputs.items[0]);
        tm_contract_store_result(r, &b->outer, result);
    }
    r->mask = NULL;
}

static void fold_tiles(tm_region *r, bottleneck *b, int64_t from, int64_t to, int size, LLVMValueRef *lines,
                       LLVMValueRef row) {
    const tm_space *s = &b->space;
    LLVMValueRef here[TM_CONVOLUTION_ROWS];
    if (from >= to)
        return;
    tm_loop loop = tm_loop_begin(r, tm_int(r, from), tm_int(r, to), size);
    for (int64_t k = 0; k < s->kernel[0]; k++)
        here[k] = tm_element(r, lines[k], tm_mul(r, loop.index, tm_int(r, s->stride[1] * b->step)));
    fold_tile(r, b, size, here, tm_opaque(r, tm_add(r, row, loop.index)));
    tm_loop_end(r, &loop);
}

/* All positions from..to: tiles of `size`, and one of the rest. */
static void fold_parts(tm_region *r, bottleneck *b, int64_t from, int64_t to, int64_t size,
                       LLVMValueRef *lines, LLVMValueRef row) {
    int64_t whole = from + (to - from) / size * size;
    fold_tiles(r, b, from, whole, (int)size, lines, row);
    fold_tiles(r, b, whole, to, (int)tm_at_least(to - whole, 1), lines, row);
}

/* Row `row` of y for the channels of the pass, a vector after the other. */
static void fold_row(tm_region *r, bottleneck *b, LLVMValueRef row) {
    const tm_space *s = &b->space;
    LLVMValueRef lines[TM_CONVOLUTION_ROWS], first = tm_mul(r, row, tm_int(r, s->stride[0]));
    tm_loop vectors = tm_loop_begin(r, tm_int(r, 0), tm_int(r, b->step), r->lanes);
    for (int64_t k = 0; k < s->kernel[0]; k++)
        lines[k] = tm_element(r, ring_line(r, b, tm_add(r, first, tm_int(r, k))),
                              tm_add(r, vectors.index, tm_int(r, b->strips.margin * b->step)));
    LLVMValueRef panel = tm_add(r, b->column, vectors.index);
    b->outer.column = panel;
    b->mask = channel_mask(r, b, panel);
    LLVMValueRef within = tm_divide(r, &panel, tm_int(r, WINDOW_PANEL));
    panel = tm_mul(r, panel, tm_int(r, taps_of(s) * WINDOW_PANEL));
    LLVMBasicBlockRef inside = tm_if_begin(r, tm_less(r, b->outer.column, tm_int(r, b->inner.filters)));
    b->weights = tm_opaque(r, tm_element(r, b->outer.data[b->outer.b], tm_add(r, panel, within)));
    for (int64_t k = 0; holds(r, b) && k < taps_of(s); k++)
        b->held[k] = load_weight(r, b, k);
    int64_t most = MOST_TERMS / taps_of(s);
    int64_t registers = tm_level_has_few_registers(r->level) ? 8 : TM_CONVOLUTION_ROWS;
    most = tm_at_least(tm_at_most(most, registers), 1);
    int64_t strip = b->strips.strip, shared = b->strips.shared;
    LLVMValueRef out =
        tm_mul(r, tm_add(r, tm_mul(r, b->sample, tm_int(r, b->out_high)), row), tm_int(r, b->out_wide));
    out = tm_add(r, out, b->from);
    if (shared > 0) {
        LLVMBasicBlockRef owned = tm_if_begin(r, b->owns_all);
        fold_parts(r, b, 0, shared, tm_even_part(shared, most), lines, out);
        tm_if_end(r, owned);
    }
    fold_parts(r, b, shared, strip, tm_even_part(strip - shared, most), lines, out);
    tm_if_end(r, inside);
    tm_loop_end(r, &vectors);
}

/* ---- units ---- */

/* All rows of the strip for the channels at b->column. */
static void walk_rows(tm_region *r, bottleneck *b) {
    const tm_space *s = &b->space;
    LLVMBuilderRef builder = r->e->builder;
    LLVMValueRef next = tm_region_alloca(r, r->e->i64, 1, 8);
    tm_loop zero = tm_loop_begin(r, tm_int(r, 0), tm_int(r, s->kernel[0] * b->line), r->lanes);
    tm_store_vector(r, TAMIS_TYPE_FLOAT, LLVMConstNull(tm_vector_type(r, TAMIS_TYPE_FLOAT)), b->ring,
                    zero.index);
    tm_loop_end(r, &zero);
    LLVMBuildStore(builder, tm_int(r, 0), next);
    tm_loop y = tm_loop_begin(r, tm_int(r, 0), tm_int(r, b->out_high), 1);
    LLVMValueRef row = tm_opaque(r, y.index);
    LLVMValueRef end =
        tm_add(r, tm_mul(r, row, tm_int(r, s->stride[0])), tm_int(r, s->kernel[0] - s->head[0]));
    tm_loop v = tm_loop_begin(r, LLVMBuildLoad2(builder, r->e->i64, next, ""), end, 1);
    make_row(r, b, tm_opaque(r, v.index));
    tm_loop_end(r, &v);
    LLVMBuildStore(builder, tm_max(r, end, tm_int(r, 0)), next);
    fold_row(r, b, row);
    tm_loop_end(r, &y);
}

static void unit(tm_region *r, bottleneck *b, LLVMValueRef index) {
    const tm_space *s = &b->inner.space;
    LLVMValueRef width = tm_int(r, b->inner.shared.shape.panel);
    LLVMValueRef strip = tm_divide(r, &index, tm_int(r, b->strips.strips));
    LLVMValueRef head = tm_int(r, b->space.head[1]), zero = tm_int(r, 0);
    LLVMValueRef last = tm_int(r, b->out_wide - b->strips.strip);
    b->from = tm_mul(r, strip, tm_int(r, b->strips.strip));
    b->owns_all = LLVMBuildICmp(r->e->builder, LLVMIntSLE, b->from, last, "");
    b->from = tm_min(r, b->from, last);
    b->v_from = tm_sub(r, tm_mul(r, b->from, tm_int(r, b->space.stride[1])), head);
    b->v_from = tm_opaque(r, tm_min(r, tm_max(r, b->v_from, zero), tm_int(r, b->wide - b->strips.made)));
    b->sample = index;
    LLVMValueRef block = tm_divide(r, &b->sample, tm_int(r, b->inner.panels));
    b->x = tm_element(r, b->inner.shared.data[b->inner.shared.a], tm_mul(r, b->sample, s->sample_step));
    tm_loop pass = tm_loop_begin(r, tm_int(r, 0), width, b->step);
    b->column = tm_add(r, tm_mul(r, block, width), pass.index);
    b->inner.shared.row = tm_int(r, 0); /* no operand there walks along rows */
    LLVMValueRef first = tm_mul(r, tm_mul(r, block, width), tm_int(r, b->inner.depth));
    b->panel = tm_element(r, b->inner.shared.data[b->inner.shared.b], tm_add(r, first, pass.index));
    LLVMBasicBlockRef inside = tm_if_begin(r, tm_less(r, b->column, tm_int(r, b->inner.filters)));
    walk_rows(r, b);
    tm_if_end(r, inside);
    tm_loop_end(r, &pass);
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    bottleneck b = {0};
    set_up(r, &b);
    tm_convolution_set_up_tiles(r, &b.inner);
    b.step = b.inner.vectors * r->lanes;
    b.line = b.strips.positions * b.step;
    tm_contract_begin(r, &b.inner.shared);
    b.outer.data = b.inner.shared.data;
    b.ring = tm_region_alloca(r, r->e->f32, b.space.kernel[0] * b.line, 64);
    tm_loop loop = tm_loop_begin(r, begin, end, 1);
    unit(r, &b, loop.index);
    tm_loop_end(r, &loop);
    return TM_OK;
}

const tm_region_kind tm_region_kind_bottleneck = {"bottleneck", count, body};
