/* SPDX-License-Identifier: Apache-2.0
 *
 * region_window.c: depthwise convolutions and pools of data that lie channels last, with what is elementwise
 * after them.
 *
 *     y[n, p, q, c] = f(sum over taps i, j of x[n, p*s + i - head, q*s + j - head, c] * w[i, j, c], ...)
 *     y[n, p, q, c] = f(max, or mean, over the same)
 *
 * Vectors run over channels, so every tap is one load whatever stride and dilation are. A tile of
 * neighbouring positions stays in registers while the taps go by; taps of the last axis are unrolled, so that
 * a vector of x is loaded once for all positions that see it. Taps outside of the image are left out: on the
 * other axes by the bounds of the loops, on the last one when the code is made, where the row is known
 *
 *     row of 28, 3 taps, padding 1:   tile of positions 0..13 without tap 0 of position 0, tile of 14..27
 *                                     without tap 2 of position 27
 *
 * and else by tiles for the positions near the edges; those of short rows are taken one by one. A block of
 * rows is done for one vector of channels after the other: the rows that its taps share stay in the first
 * cache.
 */
#include "codegen/llvm/contract.h"
#include "codegen/llvm/space.h"

#include "ir/ops/window.h"

#include <math.h>

#define MOST_POSITIONS 14
#define MOST_TERMS TM_WINDOW_TERMS
#define MOST_STATIC 2048 /* terms of all tiles of a known row */
#define SHORT 4          /* positions of a tile for what is left of a row that is not known */
#define BLOCK 256        /* positions of a unit */
#define CHANNELS 64      /* channels of a unit, a multiple of all vectors and panels */
#define WORK 100000      /* terms worth a task of their own */

typedef enum fold { FOLD_PRODUCT, FOLD_MAXIMUM, FOLD_MEAN } fold;

typedef struct window {
    tm_contract shared;
    tm_space space;
    fold fold;
    tamis_type type;    /* of x in memory */
    bool count_padding; /* a mean counts what is outside of the image */
    bool heavy;         /* the epilogue is long: emitted once and not for each position of a tile */
    int64_t taps;       /* on all axes but the last */
    int64_t block_rows; /* of a unit, along the axis before the last */
    LLVMValueRef chunk, high, images, row_blocks, chunks, channel_blocks;
    int most; /* positions of a tile */
    /* of the current row */
    LLVMValueRef x;                                        /* the sample */
    LLVMValueRef weights;                                  /* of the vector's channels */
    LLVMValueRef at[TM_SPACE_AXES];                        /* output position on the other axes */
    LLVMValueRef first[TM_SPACE_AXES], end[TM_SPACE_AXES]; /* taps inside of the image */
    LLVMValueRef row;                                      /* of the output, for position 0 */
    LLVMValueRef tile, mask;
} window;

/* ---- sizes ---- */

static void set_up(tm_region *r, window *w) {
    tm_space *s = &w->space;
    tm_space_set_up(r, s, tm_space_window(r, true));
    const tm_node *node = s->window;
    w->fold = node->op == TM_OP_Conv ? FOLD_PRODUCT : node->op == TM_OP_MaxPool ? FOLD_MAXIMUM : FOLD_MEAN;
    w->count_padding = w->fold == FOLD_MEAN && tm_node_int(node, "count_include_pad") != 0;
    w->heavy = !tm_contract_is_light(r);
    w->shared.set_up = tm_space_set_up_contract;
    w->shared.product = s->product;
    w->shared.a = s->x;
    w->type = r->node->inputs[s->x]->type;
    w->shared.b = w->fold == FOLD_PRODUCT ? tm_region_input_number(r->body, node->inputs[1]) : -1;
    w->shared.n = s->channels;
    w->taps = 1;
    int last = s->axes - 1;
    for (int i = 0; i < last; i++)
        w->taps *= s->kernel[i];
    int64_t width = tm_known(s->out[last]);
    bool whole = width >= 0 && width <= BLOCK;
    w->chunk = whole ? s->out[last] : tm_int(r, BLOCK);
    w->high = last > 0 ? s->out[last - 1] : tm_int(r, 1);
    int64_t rows = tm_known(w->high), most = tm_at_least(BLOCK / tm_at_least(tm_known(w->chunk), 1), 1);
    w->block_rows = last == 0   ? 1
                    : rows >= 0 ? tm_even_part(tm_at_least(rows, 1), most)
                                : tm_at_least(most, 4);
    w->images = s->samples;
    for (int i = 0; i + 1 < last; i++)
        w->images = tm_mul(r, w->images, s->out[i]);
    w->row_blocks = tm_ceildiv(r, w->high, w->block_rows);
    w->chunks = whole ? tm_int(r, 1) : tm_ceildiv(r, s->out[last], BLOCK);
    w->channel_blocks = tm_ceildiv(r, s->channels, CHANNELS);
    w->most = tm_schedule_of(r->e->options, r->level, r->node).rows;
}

static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    window w = {0};
    set_up(r, &w);
    *out_units = tm_mul(r, tm_mul(r, w.images, w.row_blocks), tm_mul(r, w.chunks, w.channel_blocks));
    int64_t terms = w.block_rows * tm_known(w.chunk) * w.taps * w.space.kernel[w.space.axes - 1] * CHANNELS;
    *out_grain = tm_int(r, WORK / tm_at_least(terms, 1) + 1);
    return TM_OK;
}

/* ---- taps ---- */

/* Address of an element of x, which may be outside of the data as long as it is not read. */
static LLVMValueRef element_of(tm_region *r, const window *w, LLVMValueRef data, LLVMValueRef index) {
    return LLVMBuildGEP2(r->e->builder, tm_element_type(r, w->type), data, &index, 1, "");
}

/* ceil(a / by) for a that may be negative and then counts as 0. */
static LLVMValueRef steps(tm_region *r, LLVMValueRef a, int64_t by) {
    return tm_ceildiv(r, tm_max(r, a, tm_int(r, 0)), by);
}

/* Taps of an axis for which start + tap*dilation lies in the image. */
static void clip(tm_region *r, const tm_space *s, int axis, LLVMValueRef start, LLVMValueRef *first,
                 LLVMValueRef *end) {
    int64_t dilation = s->dilation[axis];
    *end = tm_min(r, steps(r, tm_sub(r, s->in[axis], start), dilation), tm_int(r, s->kernel[axis]));
    *first = tm_min(r, steps(r, tm_sub(r, tm_int(r, 0), start), dilation), *end);
}

/* Does no window leave the image along this axis? */
static bool never_leaves(const tm_space *s, int axis) {
    int64_t in = tm_known(s->in[axis]), out = tm_known(s->out[axis]);
    return s->head[axis] == 0 && in >= 0 && out >= 0 &&
           (out - 1) * s->stride[axis] + (s->kernel[axis] - 1) * s->dilation[axis] < in;
}

static LLVMValueRef start_of(tm_region *r, const tm_space *s, int axis, LLVMValueRef position) {
    return tm_sub(r, tm_mul(r, position, tm_int(r, s->stride[axis])), tm_int(r, s->head[axis]));
}

static void set_axis(tm_region *r, window *w, int axis, LLVMValueRef position) {
    w->at[axis] = start_of(r, &w->space, axis, position);
    w->first[axis] = tm_int(r, 0);
    w->end[axis] = tm_int(r, w->space.kernel[axis]);
    if (!never_leaves(&w->space, axis))
        clip(r, &w->space, axis, w->at[axis], &w->first[axis], &w->end[axis]);
}

typedef struct tile {
    int count;
    LLVMValueRef start; /* input position of tap 0 of the first position */
    /* taps of the last axis that a position sees when the code is made, or as values for a tile of one */
    int64_t first[MOST_POSITIONS], end[MOST_POSITIONS];
    LLVMValueRef first_value, end_value; /* NULL: as above */
    LLVMValueRef sums[MOST_POSITIONS];
} tile;

static LLVMValueRef fold_term(tm_region *r, const window *w, LLVMValueRef sum, LLVMValueRef x,
                              LLVMValueRef weight) {
    LLVMBuilderRef b = r->e->builder;
    if (w->fold == FOLD_PRODUCT)
        return tm_fma(r, x, weight, sum);
    if (w->fold == FOLD_MEAN)
        return LLVMBuildFAdd(b, sum, x, "");
    LLVMValueRef larger = LLVMBuildFCmp(b, LLVMRealOGT, x, sum, "");
    larger = LLVMBuildOr(b, larger, LLVMBuildFCmp(b, LLVMRealUNO, x, x, ""), "");
    return LLVMBuildSelect(b, larger, x, sum, "");
}

static LLVMValueRef load_weight(tm_region *r, const window *w, LLVMValueRef tap, LLVMValueRef last_tap) {
    if (w->fold != FOLD_PRODUCT)
        return NULL;
    int64_t taps = w->space.kernel[w->space.axes - 1];
    LLVMValueRef mask = r->mask;
    r->mask = NULL;
    LLVMValueRef index =
        tm_mul(r, tm_add(r, tm_mul(r, tap, tm_int(r, taps)), last_tap), tm_int(r, w->shared.shape.panel));
    LLVMValueRef weight = tm_load_vector(r, TAMIS_TYPE_FLOAT, w->weights, index);
    r->mask = mask;
    return weight;
}

/* `line` is where the tile starts on the line that the taps of the other axes have led to. */
static void fold_position(tm_region *r, const window *w, tile *t, int i, LLVMValueRef line, LLVMValueRef tap,
                          LLVMValueRef weight) {
    const tm_space *s = &w->space;
    int last = s->axes - 1;
    LLVMTypeRef vector = tm_vector_type(r, TAMIS_TYPE_FLOAT);
    LLVMValueRef position =
        tm_add(r, tm_int(r, i * s->stride[last]), tm_mul(r, tap, tm_int(r, s->dilation[last])));
    LLVMValueRef x = tm_load_vector(r, w->type, line, tm_mul(r, position, s->step[last]));
    if (w->type != TAMIS_TYPE_FLOAT) { /* the body makes floats of it */
        tm_region_new_point(r);
        tm_region_set(r, r->body->inputs.items[w->shared.a], x);
        x = tm_region_value(r, s->window->inputs[0]->producer->inputs[0]);
    }
    LLVMValueRef sum = LLVMBuildLoad2(r->e->builder, vector, t->sums[i], "");
    LLVMBuildStore(r->e->builder, fold_term(r, w, sum, x, weight), t->sums[i]);
}

/* The taps of the last axis on one line of x. */
static void fold_line(tm_region *r, const window *w, tile *t, LLVMValueRef line, LLVMValueRef tap) {
    int64_t taps = w->space.kernel[w->space.axes - 1];
    if (t->first_value != NULL) {
        tm_loop loop = tm_loop_begin(r, t->first_value, t->end_value, 1);
        fold_position(r, w, t, 0, line, loop.index, load_weight(r, w, tap, loop.index));
        tm_loop_end(r, &loop);
        return;
    }
    LLVMValueRef weights[MOST_TERMS];
    for (int64_t k = 0; k < taps && k < MOST_TERMS; k++)
        weights[k] = load_weight(r, w, tap, tm_int(r, k));
    for (int i = 0; i < t->count; i++)
        for (int64_t k = t->first[i]; k < t->end[i]; k++)
            fold_position(r, w, t, i, line, tm_int(r, k),
                          k < MOST_TERMS ? weights[k] : load_weight(r, w, tap, tm_int(r, k)));
}

/* Loops over the taps of the other axes. */
static void fold_axis(tm_region *r, const window *w, tile *t, int axis, LLVMValueRef line, LLVMValueRef tap) {
    const tm_space *s = &w->space;
    if (axis == s->axes - 1) {
        fold_line(r, w, t, line, tap);
        return;
    }
    tm_loop loop = tm_loop_begin(r, w->first[axis], w->end[axis], 1);
    LLVMValueRef step = tm_mul(r, tm_mul(r, loop.index, tm_int(r, s->dilation[axis])), s->step[axis]);
    fold_axis(r, w, t, axis + 1, element_of(r, w, line, step),
              tm_add(r, tm_mul(r, tap, tm_int(r, s->kernel[axis])), loop.index));
    tm_loop_end(r, &loop);
}

/* Where tap 0 of all axes is, which may be before the image. */
static LLVMValueRef first_line(tm_region *r, const window *w, LLVMValueRef start) {
    const tm_space *s = &w->space;
    int last = s->axes - 1;
    LLVMValueRef index = tm_add(r, w->shared.column, tm_mul(r, start, s->step[last]));
    for (int i = 0; i < last; i++)
        index = tm_add(r, index, tm_mul(r, w->at[i], s->step[i]));
    return tm_opaque(r, element_of(r, w, w->x, index));
}

/* The number of positions that a mean is of. */
static LLVMValueRef divisor(tm_region *r, const window *w, const tile *t, int i) {
    const tm_space *s = &w->space;
    int last = s->axes - 1;
    LLVMValueRef terms = w->count_padding         ? tm_int(r, s->kernel[last])
                         : t->first_value != NULL ? tm_sub(r, t->end_value, t->first_value)
                                                  : tm_int(r, t->end[i] - t->first[i]);
    for (int axis = 0; axis < last; axis++)
        terms =
            tm_mul(r, terms,
                   w->count_padding ? tm_int(r, s->kernel[axis]) : tm_sub(r, w->end[axis], w->first[axis]));
    return terms;
}

static LLVMValueRef finished(tm_region *r, const window *w, const tile *t, int i) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef sum = LLVMBuildLoad2(b, tm_vector_type(r, TAMIS_TYPE_FLOAT), t->sums[i], "");
    if (w->fold != FOLD_MEAN)
        return sum;
    LLVMValueRef terms = divisor(r, w, t, i);
    LLVMValueRef mean = LLVMBuildFDiv(b, sum, tm_splat(r, LLVMBuildSIToFP(b, terms, r->e->f32, "")), "");
    LLVMValueRef some = LLVMBuildICmp(b, LLVMIntSGT, terms, tm_int(r, 0), "");
    return LLVMBuildSelect(b, some, mean, LLVMConstNull(LLVMTypeOf(mean)), "");
}

/* Positions from..from+count of the row: all taps, then the epilogue. */
static void do_tile(tm_region *r, window *w, tile *t, LLVMValueRef from) {
    LLVMBuilderRef b = r->e->builder;
    LLVMTypeRef vector = tm_vector_type(r, TAMIS_TYPE_FLOAT);
    LLVMValueRef none = w->fold == FOLD_MAXIMUM ? tm_splat_f32(r, -INFINITY) : LLVMConstNull(vector);
    t->start = start_of(r, &w->space, w->space.axes - 1, from);
    for (int i = 0; i < t->count; i++) {
        t->sums[i] = tm_region_alloca(r, vector, 1, 64);
        LLVMBuildStore(b, none, t->sums[i]);
    }
    fold_axis(r, w, t, 0, first_line(r, w, t->start), tm_int(r, 0));
    LLVMValueRef row = tm_opaque(r, tm_add(r, w->row, from));
    if (!w->heavy) {
        LLVMValueRef results[MOST_POSITIONS];
        for (int i = 0; i < t->count; i++) {
            w->shared.row = tm_add(r, row, tm_int(r, i));
            results[i] = tm_contract_compute(r, &w->shared, finished(r, w, t, i), r->body->outputs.items[0]);
        }
        for (int i = 0; i < t->count; i++) {
            w->shared.row = tm_add(r, row, tm_int(r, i));
            tm_contract_store_result(r, &w->shared, results[i]);
        }
        return;
    }
    r->mask = NULL;
    for (int i = 0; i < t->count; i++)
        tm_store_vector(r, TAMIS_TYPE_FLOAT, finished(r, w, t, i), w->tile, tm_int(r, (int64_t)i * r->lanes));
    const tm_contract_tile sums = {.sums = w->tile,
                                   .stride = r->lanes,
                                   .row = row,
                                   .rows = tm_int(r, t->count),
                                   .column = w->shared.column,
                                   .columns = r->lanes};
    tm_contract_finish(r, &w->shared, &sums);
    r->mask = w->mask;
}

/* ---- rows ---- */

static tile whole_tile(const window *w, int count) {
    tile t = {.count = count};
    for (int i = 0; i < count; i++)
        t.end[i] = w->space.kernel[w->space.axes - 1];
    return t;
}

/* The taps that positions from `from` on see in a known row. Returns whether they are all. */
static bool clip_tile(const tm_space *s, tile *t, int64_t from) {
    int last = s->axes - 1;
    int64_t in = tm_known(s->in[last]), kernel = s->kernel[last], dilation = s->dilation[last];
    bool all = true;
    for (int i = 0; i < t->count; i++) {
        int64_t start = (from + i) * s->stride[last] - s->head[last];
        int64_t first = start < 0 ? (-start + dilation - 1) / dilation : 0;
        int64_t end = start < in ? (in - start + dilation - 1) / dilation : 0;
        t->end[i] = end < kernel ? end : kernel;
        t->first[i] = first < t->end[i] ? first : t->end[i];
        all = all && t->first[i] == 0 && t->end[i] == kernel;
    }
    return all;
}

/* A row that is known: tiles that lack taps are made one by one, those between them are a loop. */
static void known_row(tm_region *r, window *w, int64_t width) {
    int size = (int)tm_even_part(width, w->most);
    for (int64_t from = 0; from < width;) {
        tile t = whole_tile(w, (int)(width - from < size ? width - from : size));
        int64_t end = from;
        while (clip_tile(&w->space, &t, end) && t.count == size && end + size <= width)
            end += size;
        if (end <= from + size) {
            (void)clip_tile(&w->space, &t, from);
            do_tile(r, w, &t, tm_int(r, from));
            from += t.count;
            continue;
        }
        t = whole_tile(w, size);
        tm_loop loop = tm_loop_begin(r, tm_int(r, from), tm_int(r, end), size);
        do_tile(r, w, &t, loop.index);
        tm_loop_end(r, &loop);
        from = end;
    }
}

static void single_positions(tm_region *r, window *w, LLVMValueRef from, LLVMValueRef to) {
    const tm_space *s = &w->space;
    int last = s->axes - 1;
    tm_loop loop = tm_loop_begin(r, from, to, 1);
    tile t = {.count = 1};
    clip(r, s, last, start_of(r, s, last, loop.index), &t.first_value, &t.end_value);
    do_tile(r, w, &t, loop.index);
    tm_loop_end(r, &loop);
}

/* Positions from..to: where `applies` is true they are those of the tile, else they are taken one by one. */
static void edge(tm_region *r, window *w, tile *t, LLVMValueRef applies, LLVMValueRef from, LLVMValueRef to) {
    LLVMValueRef left = from;
    if (t->count > 0) {
        LLVMBasicBlockRef whole = tm_if_begin(r, applies);
        do_tile(r, w, t, from);
        tm_if_end(r, whole);
        left = LLVMBuildSelect(r->e->builder, applies, to, from, "");
    }
    single_positions(r, w, left, to);
}

static int edge_size(const window *w, int64_t positions) {
    bool fits = positions <= w->most && positions * w->space.kernel[w->space.axes - 1] <= MOST_TERMS;
    return fits ? (int)positions : 0;
}

/* The first positions of a row, whose first taps lie before the image, when the row is long enough. */
static tile left_tile(const window *w, int64_t low) {
    const tm_space *s = &w->space;
    int last = s->axes - 1;
    tile t = whole_tile(w, edge_size(w, low));
    for (int i = 0; i < t.count; i++)
        t.first[i] = (s->head[last] - i * s->stride[last] + s->dilation[last] - 1) / s->dilation[last];
    return t;
}

/* The last ones, with steps of one: the row's end is at the same tap in every row. */
static tile right_tile(const window *w) {
    const tm_space *s = &w->space;
    int last = s->axes - 1;
    int64_t tail = tm_window_item(s->window, "pads", 2 * s->axes - 1, 0), dilation = s->dilation[last];
    tile t = whole_tile(w, s->stride[last] == 1 && tail > 0 ? edge_size(w, tail) : 0);
    for (int i = 0; i < t.count; i++) {
        int64_t end = ((s->kernel[last] - 1) * dilation - i + dilation - 1) / dilation;
        t.end[i] = end > 0 ? end : 0;
    }
    return t;
}

/* Tiles of `size` positions while from..to has room for them. Returns what is left. */
static LLVMValueRef whole_tiles(tm_region *r, window *w, LLVMValueRef from, LLVMValueRef to, int size) {
    LLVMValueRef tiles = LLVMBuildUDiv(r->e->builder, tm_sub(r, to, from), tm_int(r, size), "");
    LLVMValueRef rest = tm_add(r, from, tm_mul(r, tiles, tm_int(r, size)));
    tile t = whole_tile(w, size);
    tm_loop loop = tm_loop_begin(r, from, rest, size);
    do_tile(r, w, &t, loop.index);
    tm_loop_end(r, &loop);
    return rest;
}

/* Positions x0..x1 of a row: those near its edges are tiles of their own. */
static void any_row(tm_region *r, window *w, LLVMValueRef x0, LLVMValueRef x1) {
    const tm_space *s = &w->space;
    LLVMBuilderRef b = r->e->builder;
    int last = s->axes - 1;
    int64_t stride = s->stride[last], extent = (s->kernel[last] - 1) * s->dilation[last];
    /* Positions head/stride.. have no tap before the image, those below `safe` none behind it. */
    int64_t first = s->head[last] > 0 ? (s->head[last] + stride - 1) / stride : 0;
    LLVMValueRef low = tm_int(r, first);
    LLVMValueRef safe = steps(r, tm_sub(r, s->in[last], tm_int(r, extent - s->head[last])), stride);
    LLVMValueRef from = tm_min(r, tm_max(r, x0, low), x1);
    LLVMValueRef to = tm_max(r, from, tm_min(r, x1, safe));
    tile left = left_tile(w, first), right = right_tile(w);
    LLVMValueRef all = LLVMBuildAnd(b, LLVMBuildICmp(b, LLVMIntEQ, x0, tm_int(r, 0), ""),
                                    LLVMBuildICmp(b, LLVMIntEQ, from, low, ""), "");
    all = LLVMBuildAnd(b, all, LLVMBuildICmp(b, LLVMIntSGE, safe, low, ""), "");
    edge(r, w, &left, all, x0, from);
    from = whole_tiles(r, w, from, to, w->most);
    if (w->most > SHORT)
        from = whole_tiles(r, w, from, to, SHORT);
    single_positions(r, w, from, to);
    all = LLVMBuildAnd(b, LLVMBuildICmp(b, LLVMIntEQ, to, safe, ""),
                       LLVMBuildICmp(b, LLVMIntEQ, tm_sub(r, x1, to), tm_int(r, right.count), ""), "");
    all = LLVMBuildAnd(b, all, LLVMBuildICmp(b, LLVMIntSGE, safe, low, ""), "");
    edge(r, w, &right, all, to, x1);
}

/* ---- units ---- */

/* All rows of the block for the vector of channels at shared.column. */
static void walk_rows(tm_region *r, window *w, LLVMValueRef image, LLVMValueRef y0, LLVMValueRef x0) {
    const tm_space *s = &w->space;
    int last = s->axes - 1;
    int64_t width = tm_known(s->out[last]);
    bool known = width >= 0 && width == tm_known(w->chunk) && tm_known(s->in[last]) >= 0 &&
                 width * s->kernel[last] <= MOST_STATIC;
    LLVMValueRef y1 = tm_min(r, tm_add(r, y0, tm_int(r, w->block_rows)), w->high);
    LLVMValueRef x1 = tm_min(r, tm_add(r, x0, w->chunk), s->out[last]);
    tm_loop y = tm_loop_begin(r, y0, y1, 1);
    if (last > 0)
        set_axis(r, w, last - 1, y.index);
    w->row = tm_mul(r, tm_add(r, tm_mul(r, image, w->high), y.index), s->out[last]);
    if (known)
        known_row(r, w, width);
    else
        any_row(r, w, x0, x1);
    tm_loop_end(r, &y);
}

static void unit(tm_region *r, window *w, LLVMValueRef index) {
    const tm_space *s = &w->space;
    int last = s->axes - 1;
    LLVMValueRef channel = tm_mul(r, tm_divide(r, &index, w->channel_blocks), tm_int(r, CHANNELS));
    LLVMValueRef x0 = tm_mul(r, tm_divide(r, &index, w->chunks), w->chunk);
    LLVMValueRef y0 = tm_mul(r, tm_divide(r, &index, w->row_blocks), tm_int(r, w->block_rows));
    LLVMValueRef image = index, sample = index;
    if (last > 1)
        set_axis(r, w, 0, tm_divide(r, &sample, s->out[0]));
    w->x = element_of(r, w, w->shared.data[w->shared.a], tm_mul(r, sample, s->sample_step));
    LLVMValueRef end = tm_min(r, tm_add(r, channel, tm_int(r, CHANNELS)), s->channels);
    tm_loop vectors = tm_loop_begin(r, channel, end, r->lanes);
    w->shared.column = vectors.index;
    bool whole = tm_known(s->channels) >= 0 && tm_known(s->channels) % r->lanes == 0;
    w->mask = whole ? NULL : tm_tail_mask(r, tm_sub(r, s->channels, vectors.index));
    r->mask = w->mask;
    if (w->fold == FOLD_PRODUCT) {
        LLVMValueRef within = vectors.index, width = tm_int(r, w->shared.shape.panel);
        within = tm_divide(r, &within, width);
        LLVMValueRef panel =
            tm_mul(r, tm_sub(r, vectors.index, within), tm_int(r, w->taps * s->kernel[last]));
        w->weights = tm_element(r, w->shared.data[w->shared.b], tm_add(r, panel, within));
    }
    walk_rows(r, w, image, y0, x0);
    r->mask = NULL;
    tm_loop_end(r, &vectors);
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    window w = {0};
    set_up(r, &w);
    if (w.shared.b >= 0)
        w.shared.shape.panel = r->node->inputs[w.shared.b]->constant->panel;
    tm_contract_begin(r, &w.shared);
    w.tile = tm_region_alloca(r, r->e->f32, (int64_t)MOST_POSITIONS * r->lanes, 64);
    tm_loop loop = tm_loop_begin(r, begin, end, 1);
    unit(r, &w, loop.index);
    tm_loop_end(r, &loop);
    return TM_OK;
}

const tm_region_kind tm_region_kind_window = {"window", count, body};
