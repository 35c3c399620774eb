/* SPDX-License-Identifier: Apache-2.0
 *
 * region_convolution.c: convolutions by constant weights, with everything elementwise after them.
 *
 *     y[n, p, q, m] = f(sum over taps t and channels c of x[n, p*s + t, .., c] * W[t, c, m], bias[m], ...)
 *
 * A product of output positions and filters whose rows are read where the image has them: nothing is
 * unfolded. The weights were packed in panels of columns when they were written, rows in the order in which
 * the image is walked. A tile of positions x vectors of filters stays in registers; position i of a tile lies
 * at a fixed distance from the first, so that one address serves all of them:
 *
 *     3x3, stride 1, 64 channels:   for each row of taps, 192 neighbours of x; position i is 64*i further on
 *
 * A tile takes neighbours of one row of the output, or whole short rows. Tiles of known images divide the row
 * evenly. The pass puts a Pad before a convolution with padding, so a window never leaves its image.
 * A gate of the input (squeeze and excite), a factor for each channel of a sample, scales the weights in
 * registers: fewer than the positions. Sums run over k in one order for each output, whatever the tile.
 */
#include "codegen/llvm/convolution.h"

#define CHUNK 84     /* positions along the last axis of a unit, when there are more or it is not known */
#define LONG_ROW 168 /* more than this are cut in chunks */
#define WORK 400000  /* multiply-adds worth a task of their own */
#define FEW_POSITIONS 256   /* of a unit, which wait for weights that are not near */
#define DEEP 32             /* terms that are worth it */
#define NEAR_WEIGHTS 524288 /* bytes of weights that stay in the second cache while positions change */

typedef struct convolution {
    tm_convolution sums;
    int64_t block_rows; /* of a unit, along the axis before the last */
    LLVMValueRef chunk; /* positions of a unit along the last axis */
    LLVMValueRef high, images, row_blocks, chunks;
    tm_shape shapes[3]; /* largest first, the last one fits always */
    int shape_count;
    bool tall; /* tiles take whole rows */
    int64_t shared_by; /* positions of a unit, which fetch the next panel as they are made; 0: they do not */
    LLVMValueRef tile;
    bool light; /* the epilogue */
} convolution;

static void set_up_units(tm_region *r, convolution *c) {
    tm_space *s = &c->sums.space;
    int last = s->axes - 1;
    int64_t width = tm_known(s->out[last]);
    bool whole = width >= 0 && width <= LONG_ROW;
    c->chunk = whole ? s->out[last] : tm_int(r, CHUNK);
    c->high = last > 0 ? s->out[last - 1] : tm_int(r, 1);
    int64_t row = tm_at_least(tm_known(c->chunk), 1), rows = tm_known(c->high);
    int64_t work = tm_at_least(row * c->sums.depth * c->sums.shared.shape.panel, 1);
    c->block_rows = tm_at_least((2 * TM_CONVOLUTION_ROWS + row - 1) / row, WORK / work);
    c->block_rows =
        rows >= 0 ? tm_even_part(tm_at_least(rows, 1), tm_at_least(c->block_rows, 1)) : c->block_rows;
    c->images = s->samples;
    for (int i = 0; i + 1 < last; i++)
        c->images = tm_mul(r, c->images, s->out[i]);
    c->row_blocks = tm_ceildiv(r, c->high, c->block_rows);
    c->chunks = whole ? tm_int(r, 1) : tm_ceildiv(r, s->out[last], CHUNK);
}

/* A kernel of one with steps of one looks at positions one by one: all of an image are one axis, and all
 * images too unless they are large and known, so that tiles divide them evenly. */
static void merge_axes(tm_region *r, tm_space *s) {
    if (!s->channels_last || tm_node_int(s->window, "group") != 1)
        return;
    LLVMValueRef positions = tm_int(r, 1);
    for (int i = 0; i < s->axes; i++) {
        if (s->kernel[i] != 1 || s->stride[i] != 1)
            return;
        positions = tm_mul(r, positions, s->out[i]);
    }
    s->step[0] = s->step[s->axes - 1];
    if (tm_known(positions) < TM_CONVOLUTION_ROWS && s->gate < 0) {
        positions = tm_mul(r, positions, s->samples);
        s->samples = tm_int(r, 1);
    }
    s->in[0] = s->out[0] = positions;
    s->axes = 1;
}

static void set_up(tm_region *r, convolution *c) {
    tm_convolution_set_up(r, &c->sums);
    merge_axes(r, &c->sums.space);
    set_up_units(r, c);
}

static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    convolution c = {0};
    set_up(r, &c);
    *out_units = tm_mul(r, tm_mul(r, c.images, c.row_blocks),
                        tm_mul(r, c.chunks, tm_int(r, c.sums.groups * c.sums.panels)));
    int64_t work =
        tm_at_least(c.block_rows * tm_known(c.chunk) * c.sums.depth * c.sums.shared.shape.panel, 1);
    *out_grain = tm_int(r, WORK / work + 1);
    return TM_OK;
}

static void set_up_shapes(convolution *c) {
    int rows = c->sums.rows;
    int64_t width = tm_known(c->sums.space.out[c->sums.space.axes - 1]);
    int64_t whole = c->block_rows;
    c->tall = width > 0 && 2 * width <= rows && whole > 1;
    if (c->tall) {
        c->shapes[c->shape_count++] = (tm_shape){(int)width, (int)tm_at_most(rows / width, whole)};
        c->shapes[c->shape_count++] = (tm_shape){(int)width, 1};
        return;
    }
    int64_t chunk = tm_known(c->chunk), even = tm_even_part(tm_at_least(chunk, 1), rows);
    c->shapes[c->shape_count++] = (tm_shape){(int)even, 1};
    if (width >= 0 && width == chunk) {
        if (chunk % even != 0)
            c->shapes[c->shape_count++] = (tm_shape){(int)(chunk % even), 1};
        return;
    }
    if (rows > 8)
        c->shapes[c->shape_count++] = (tm_shape){4, 1};
    c->shapes[c->shape_count++] = (tm_shape){1, 1};
}

static void set_up_fetching(convolution *c) {
    const tm_space *s = &c->sums.space;
    int64_t chunk = tm_known(c->chunk), rows = s->axes > 1 ? c->block_rows : 1;
    bool whole = s->axes == 1 || chunk == tm_known(s->out[s->axes - 1]); /* rows of a unit lie side by side */
    if (chunk > 0 && whole && chunk * rows <= FEW_POSITIONS && c->sums.depth >= DEEP)
        c->shared_by = chunk * rows;
}

/* ---- a tile ---- */

typedef struct strip {      /* of the output: what a column of tiles is cut from */
    LLVMValueRef from, end; /* positions on the last axis, or rows when tiles are tall */
    LLVMValueRef x, row;    /* element of x and row of the output for position or row 0 */
    LLVMValueRef first;     /* row of the output where the unit starts */
    LLVMValueRef panel, column, end_column;
    LLVMValueRef gate;     /* of the sample's channels, or NULL */
    LLVMValueRef masks[4]; /* of the vectors of columns; NULL: all */
} strip;

/* A light epilogue is done where the sums are. */
static void finish_light(tm_region *r, convolution *c, const tm_tile *t, const strip *strip,
                         LLVMValueRef row) {
    LLVMValueRef results[TM_CONVOLUTION_ROWS][TM_CONVOLUTION_VECTORS];
    const tm_value *value = r->body->outputs.items[0];
    tm_contract *shared = &c->sums.shared;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < t->shape.width * t->shape.height; i++)
            for (int v = 0; v < c->sums.vectors; v++) {
                r->mask = strip->masks[v];
                shared->row = tm_add(r, row, tm_int(r, i));
                shared->column = tm_add(r, strip->column, tm_int(r, (int64_t)v * r->lanes));
                if (pass == 0)
                    results[i][v] =
                        tm_contract_compute(r, shared, tm_convolution_load_sum(r, t, i, v), value);
                else
                    tm_contract_store_result(r, shared, results[i][v]);
            }
    r->mask = NULL;
}

/* A unit of few positions would wait for its weights: its tiles share the fetching of the panel behind. */
static void set_ahead(tm_region *r, const convolution *c, tm_tile *t, const strip *strip, LLVMValueRef row) {
    int64_t panel = c->sums.depth * c->sums.shared.shape.panel;
    if (c->shared_by == 0)
        return;
    int64_t share = (panel + c->shared_by - 1) / c->shared_by;
    LLVMValueRef made = tm_mul(r, tm_sub(r, row, strip->first), tm_int(r, share));
    t->ahead = tm_opaque(r, tm_element(r, strip->panel, tm_add(r, made, tm_int(r, panel))));
    t->pace =
        (t->shape.width * t->shape.height * c->sums.shared.shape.panel + c->shared_by - 1) / c->shared_by;
}

static void make_tile(tm_region *r, convolution *c, tm_shape shape, LLVMValueRef x, const strip *strip,
                      LLVMValueRef row) {
    tm_tile t = {.shape = shape, .x = x, .panel = strip->panel, .gate = strip->gate};
    set_ahead(r, c, &t, strip, row);
    tm_convolution_sum(r, &c->sums, &t);
    if (c->light) {
        finish_light(r, c, &t, strip, row);
        return;
    }
    for (int i = 0; i < shape.width * shape.height; i++)
        for (int v = 0; v < c->sums.vectors; v++)
            tm_store_vector(r, TAMIS_TYPE_FLOAT, tm_convolution_load_sum(r, &t, i, v), c->tile,
                            tm_int(r, ((int64_t)i * c->sums.vectors + v) * r->lanes));
}

/* ---- units ---- */

/* Full tiles while they last, then smaller ones. The epilogue stands once behind them. */
static void walk_strip(tm_region *r, convolution *c, const strip *strip) {
    LLVMBuilderRef b = r->e->builder;
    const tm_space *s = &c->sums.space;
    int last = s->axes - 1, axis = c->tall ? last - 1 : last;
    LLVMValueRef at = tm_region_alloca(r, r->e->i64, 1, 8), step = tm_region_alloca(r, r->e->i64, 1, 8);
    LLVMBuildStore(b, strip->from, at);
    LLVMBasicBlockRef head = tm_emit_block(r->e, "head"), done = tm_emit_block(r->e, "done"),
                      finish = tm_emit_block(r->e, "finish");
    LLVMBuildBr(b, head);
    LLVMPositionBuilderAtEnd(b, head);
    LLVMValueRef here = LLVMBuildLoad2(b, r->e->i64, at, ""), left = tm_sub(r, strip->end, here);
    LLVMValueRef x =
        tm_element(r, strip->x, tm_mul(r, here, tm_mul(r, s->step[axis], tm_int(r, s->stride[axis]))));
    x = tm_opaque(r, x);
    LLVMValueRef width = c->tall ? s->out[last] : tm_int(r, 1);
    LLVMValueRef row = tm_opaque(r, tm_add(r, strip->row, tm_mul(r, here, width)));
    for (int i = 0; i < c->shape_count; i++) {
        int size = c->tall ? c->shapes[i].height : c->shapes[i].width;
        LLVMBasicBlockRef yes = tm_emit_block(r->e, "tile"),
                          no = i + 1 < c->shape_count ? tm_emit_block(r->e, "") : done;
        LLVMBuildCondBr(b, tm_less(r, left, tm_int(r, size)), no, yes);
        LLVMPositionBuilderAtEnd(b, yes);
        make_tile(r, c, c->shapes[i], x, strip, row);
        LLVMBuildStore(b, tm_int(r, size), step);
        LLVMBuildBr(b, finish);
        LLVMPositionBuilderAtEnd(b, no);
    }
    LLVMPositionBuilderAtEnd(b, finish);
    LLVMValueRef size = LLVMBuildLoad2(b, r->e->i64, step, "");
    const tm_contract_tile sums = {.sums = c->tile,
                                   .stride = (int64_t)c->sums.vectors * r->lanes,
                                   .row = row,
                                   .rows = tm_mul(r, size, width),
                                   .column = strip->column,
                                   .columns = c->sums.vectors * r->lanes,
                                   .end = strip->end_column};
    if (!c->light)
        tm_contract_finish(r, &c->sums.shared, &sums);
    LLVMBuildStore(b, tm_add(r, here, size), at);
    LLVMBuildBr(b, head);
    LLVMPositionBuilderAtEnd(b, done);
}

/* All columns of a panel over rows y0..y1 and positions x0..x1 of an image. */
static void walk_block(tm_region *r, convolution *c, strip *s, LLVMValueRef y0, LLVMValueRef y1,
                       LLVMValueRef x0, LLVMValueRef x1) {
    const tm_space *space = &c->sums.space;
    int last = space->axes - 1;
    LLVMValueRef x = s->x, row = s->row;
    if (c->tall) {
        s->from = y0, s->end = y1;
        walk_strip(r, c, s);
        return;
    }
    s->from = x0, s->end = x1;
    tm_loop y = tm_loop_begin(r, y0, y1, 1);
    if (last > 0)
        s->x = tm_element(
            r, x, tm_mul(r, y.index, tm_mul(r, space->step[last - 1], tm_int(r, space->stride[last - 1]))));
    s->row = tm_add(r, row, tm_mul(r, y.index, space->out[last]));
    walk_strip(r, c, s);
    tm_loop_end(r, &y);
    s->x = x, s->row = row;
}

static LLVMValueRef gate_of(tm_region *r, const convolution *c, LLVMValueRef sample, LLVMValueRef group) {
    int gate = c->sums.space.gate;
    LLVMValueRef index = tm_mul(r, group, tm_int(r, c->sums.channels));
    if (tm_known(tm_operand_dim(r, gate, 0)) != 1)
        index = tm_add(r, index, tm_mul(r, sample, tm_int(r, c->sums.groups * c->sums.channels)));
    return tm_element(r, c->sums.shared.data[gate], index);
}

static void unit(tm_region *r, convolution *c, LLVMValueRef index) {
    const tm_space *s = &c->sums.space;
    int last = s->axes - 1;
    LLVMValueRef all = tm_int(r, c->sums.groups * c->sums.panels), panel, x0, y0, image, group, sample, outer;
    bool near = c->sums.depth * c->sums.panels * c->sums.shared.shape.panel * 4 <= NEAR_WEIGHTS;
    if (near) /* all panels for a block of positions, else all positions for a panel */
        panel = tm_divide(r, &index, all);
    x0 = tm_divide(r, &index, c->chunks);
    y0 = tm_divide(r, &index, c->row_blocks);
    if (near) {
        image = index;
    } else {
        image = tm_divide(r, &index, c->images);
        panel = index;
    }
    x0 = tm_mul(r, x0, c->chunk);
    y0 = tm_mul(r, y0, tm_int(r, c->block_rows));
    group = panel;
    panel = tm_divide(r, &group, tm_int(r, c->sums.panels));
    sample = image;
    outer = last > 1 ? tm_divide(r, &sample, s->out[0]) : tm_int(r, 0);
    LLVMValueRef base = tm_mul(r, sample, s->sample_step);
    base = tm_add(r, base, tm_mul(r, group, tm_mul(r, tm_int(r, c->sums.channels), s->channel_step)));
    if (last > 1)
        base = tm_add(r, base, tm_mul(r, outer, tm_mul(r, s->step[0], tm_int(r, s->stride[0]))));
    strip st = {.x = tm_element(r, c->sums.shared.data[c->sums.shared.a], base),
                .row = tm_mul(r, tm_mul(r, image, c->high), s->out[last])};
    if (s->gate >= 0)
        st.gate = gate_of(r, c, sample, group);
    st.first = tm_add(r, tm_add(r, st.row, tm_mul(r, y0, s->out[last])), x0);
    LLVMValueRef y1 = tm_min(r, tm_add(r, y0, tm_int(r, c->block_rows)), c->high);
    LLVMValueRef x1 = tm_min(r, tm_add(r, x0, c->chunk), s->out[last]);
    LLVMValueRef packed = tm_mul(r, tm_add(r, tm_mul(r, group, tm_int(r, c->sums.panels)), panel),
                                 tm_int(r, c->sums.depth * c->sums.shared.shape.panel));
    LLVMValueRef first = tm_mul(r, group, tm_int(r, c->sums.filters));
    if (c->sums.groups > 1)
        st.end_column = tm_add(r, first, tm_int(r, c->sums.filters));
    int step = c->sums.vectors * r->lanes;
    tm_loop columns = tm_loop_begin(r, tm_int(r, 0), tm_int(r, c->sums.shared.shape.panel), step);
    LLVMValueRef within = tm_add(r, tm_mul(r, panel, tm_int(r, c->sums.shared.shape.panel)), columns.index);
    st.column = tm_add(r, first, within);
    st.panel = tm_element(r, c->sums.shared.data[c->sums.shared.b], tm_add(r, packed, columns.index));
    for (int v = 0; v < c->sums.vectors && c->sums.filters % c->sums.shared.shape.panel != 0; v++) {
        LLVMValueRef left = tm_sub(r, tm_int(r, c->sums.filters - (int64_t)v * r->lanes), within);
        st.masks[v] = tm_tail_mask(r, tm_max(r, left, tm_int(r, 0)));
    }
    LLVMBasicBlockRef inside = tm_if_begin(r, tm_less(r, within, tm_int(r, c->sums.filters)));
    walk_block(r, c, &st, y0, y1, x0, x1);
    tm_if_end(r, inside);
    tm_loop_end(r, &columns);
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    convolution c = {0};
    set_up(r, &c);
    tm_convolution_set_up_tiles(r, &c.sums);
    set_up_shapes(&c);
    c.light = tm_contract_is_light(r);
    set_up_fetching(&c);
    tm_contract_begin(r, &c.sums.shared);
    c.tile = tm_region_alloca(r, r->e->f32, (int64_t)TM_CONVOLUTION_ROWS * c.sums.vectors * r->lanes, 64);
    tm_loop loop = tm_loop_begin(r, begin, end, 1);
    unit(r, &c, loop.index);
    tm_loop_end(r, &loop);
    return TM_OK;
}

const tm_region_kind tm_region_kind_convolution = {"convolution", count, body};
