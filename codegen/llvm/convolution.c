/* SPDX-License-Identifier: Apache-2.0
 *
 * convolution.c: sums of a tile of a convolution by packed weights; see convolution.h.
 *
 * Loops of terms whose steps fit are merged, so that a row of taps is one loop over neighbours. The address
 * of a tile is opaque to LLVM (tm_opaque): all others are at constant distances from it where dims are known.
 */
#include "codegen/llvm/convolution.h"

#define UNROLL 4
#define LINE 16 /* floats of a line of the caches */

void tm_convolution_set_up(tm_region *r, tm_convolution *c) {
    tm_space *s = &c->space;
    tm_space_set_up(r, s, tm_space_window(r, false));
    const tm_constant *weights;
    c->shared.set_up = tm_space_set_up_contract;
    c->shared.product = s->product;
    c->shared.a = s->x;
    c->shared.b = tm_region_input_number(r->body, s->window->inputs[1]);
    weights = r->node->inputs[c->shared.b]->constant;
    c->groups = weights->panel_groups;
    c->channels = weights->dims[1];
    c->filters = weights->dims[0] / c->groups;
    c->depth = c->channels;
    for (int i = 0; i < s->axes; i++)
        c->depth *= s->kernel[i];
    c->shared.shape.panel = weights->panel;
    c->panels = (c->filters + weights->panel - 1) / weights->panel;
    c->shared.n = s->channels;
}

static void add_depth(tm_convolution *c, int64_t size, LLVMValueRef step) {
    if (size == 1)
        return;
    tm_depth_loop *outer = c->loop_count > 0 ? &c->loops[c->loop_count - 1] : NULL;
    int64_t known = tm_known(step), known_outer = outer != NULL ? tm_known(outer->step) : -1;
    if (known >= 0 && known_outer == known * size) {
        *outer = (tm_depth_loop){outer->count * size, step};
        return;
    }
    c->loops[c->loop_count++] = (tm_depth_loop){size, step};
}

/* The loops over k, in the order of the packed rows. */
static void set_up_depth(tm_region *r, tm_convolution *c) {
    tm_space *s = &c->space;
    if (!s->channels_last)
        add_depth(c, c->channels, s->channel_step);
    for (int i = 0; i < s->axes; i++)
        add_depth(c, s->kernel[i], tm_mul(r, s->step[i], tm_int(r, s->dilation[i])));
    if (s->channels_last)
        add_depth(c, c->channels, s->channel_step);
    if (c->loop_count == 0)
        c->loops[c->loop_count++] = (tm_depth_loop){1, tm_int(r, 1)};
}

void tm_convolution_set_up_tiles(tm_region *r, tm_convolution *c) {
    tm_schedule schedule = tm_schedule_of(r->e->options, r->level, r->node);
    c->rows = schedule.rows;
    c->vectors = schedule.vectors;
    set_up_depth(r, c);
}

static void fetch_ahead(tm_region *r, const tm_tile *t, LLVMValueRef k) {
    LLVMValueRef first = t->ahead != NULL ? tm_mul(r, k, tm_int(r, t->pace)) : NULL;
    for (int64_t i = 0; t->ahead != NULL && i < t->pace; i += LINE)
        tm_prefetch(r, t->ahead, tm_add(r, first, tm_int(r, i)));
}

static void add_term(tm_region *r, const tm_convolution *c, tm_tile *t, LLVMValueRef offset, LLVMValueRef k) {
    LLVMBuilderRef b = r->e->builder;
    LLVMTypeRef vector = tm_vector_type(r, TAMIS_TYPE_FLOAT);
    LLVMValueRef columns[TM_CONVOLUTION_VECTORS], x = tm_element(r, t->x, offset);
    LLVMValueRef row = tm_mul(r, k, tm_int(r, c->shared.shape.panel));
    fetch_ahead(r, t, k);
    for (int v = 0; v < c->vectors; v++)
        columns[v] =
            tm_load_vector(r, TAMIS_TYPE_FLOAT, t->panel, tm_add(r, row, tm_int(r, (int64_t)v * r->lanes)));
    LLVMValueRef factor = t->gate != NULL ? tm_load_splat(r, TAMIS_TYPE_FLOAT, t->gate, k) : NULL;
    for (int v = 0; factor != NULL && v < c->vectors; v++) /* fewer than the rows */
        columns[v] = LLVMBuildFMul(b, columns[v], factor, "");
    for (int i = 0; i < t->shape.width * t->shape.height; i++) {
        LLVMValueRef a = tm_load_splat(r, TAMIS_TYPE_FLOAT, x, t->offsets[i]);
        for (int v = 0; v < c->vectors; v++) {
            LLVMValueRef sum = LLVMBuildLoad2(b, vector, t->sums[i][v], "");
            LLVMBuildStore(b, tm_fma(r, a, columns[v], sum), t->sums[i][v]);
        }
    }
}

static void add_terms(tm_region *r, const tm_convolution *c, tm_tile *t, int level, LLVMValueRef offset,
                      LLVMValueRef k) {
    const tm_depth_loop *loop = &c->loops[level];
    bool inner = level + 1 == c->loop_count;
    k = tm_mul(r, k, tm_int(r, loop->count));
    if (inner && loop->count <= UNROLL) {
        /* Opaque: neighbours' terms read the same, more than registers hold. */
        for (int64_t i = 0; i < loop->count; i++)
            add_term(r, c, t, tm_opaque(r, tm_add(r, offset, tm_mul(r, tm_int(r, i), loop->step))),
                     tm_add(r, k, tm_int(r, i)));
        return;
    }
    tm_loop l = tm_loop_begin(r, tm_int(r, 0), tm_int(r, loop->count), 1);
    LLVMValueRef next = tm_add(r, offset, tm_mul(r, l.index, loop->step)), term = tm_add(r, k, l.index);
    if (inner)
        add_term(r, c, t, next, term);
    else
        add_terms(r, c, t, level + 1, next, term);
    tm_loop_end(r, &l);
}

void tm_convolution_sum(tm_region *r, const tm_convolution *c, tm_tile *t) {
    LLVMTypeRef vector = tm_vector_type(r, TAMIS_TYPE_FLOAT);
    const tm_space *s = &c->space;
    int last = s->axes - 1, width = t->shape.width;
    for (int i = 0; i < width * t->shape.height; i++) {
        t->offsets[i] = tm_mul(r, s->step[last], tm_int(r, s->stride[last] * (i % width)));
        if (i >= width)
            t->offsets[i] = tm_add(
                r, t->offsets[i], tm_mul(r, s->step[last - 1], tm_int(r, s->stride[last - 1] * (i / width))));
        for (int v = 0; v < c->vectors; v++) {
            t->sums[i][v] = tm_region_alloca(r, vector, 1, 64);
            LLVMBuildStore(r->e->builder, LLVMConstNull(vector), t->sums[i][v]);
        }
    }
    if (c->depth > 0)
        add_terms(r, c, t, 0, tm_int(r, 0), tm_int(r, 0));
}

LLVMValueRef tm_convolution_load_sum(tm_region *r, const tm_tile *t, int position, int vector) {
    return LLVMBuildLoad2(r->e->builder, tm_vector_type(r, TAMIS_TYPE_FLOAT), t->sums[position][vector], "");
}
