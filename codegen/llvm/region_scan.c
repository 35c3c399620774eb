/* SPDX-License-Identifier: Apache-2.0
 *
 * region_scan.c: recurrences: each point of the states runs through time with the states in registers.
 *
 *     Scan(h0[b, d, 16], a[t, b, d, 16], u[t, b, d, 16], c[t, b, 16])
 *         h = a * h + u;  y = sum of h * c over the last axis
 *
 *     for each (b, d):                         a unit of work, on any thread
 *         h = h0[b, d, 0..15]
 *         for t:  h = a[t, b, d] * h + u[t, b, d];  y[t, b, d] = sum(h * c[t, b])
 *
 * The space and which of its axes a value walks along come from passes/scan_space.c. When a step reduces
 * rows, a unit is a row, which is short and of known length; else a row is cut in chunks that are units of
 * their own. A sum adds the vectors of a row one after the other and then the lanes in a tree, so its order
 * depends on length and level alone.
 */
#include "codegen/llvm/region.h"
#include "passes/scan_space.h"

#include <math.h>
#include <string.h>

#define CHUNK 32 /* elements of a unit when rows are cut; the same for all levels */

typedef struct operand {
    const tm_value *value;
    int8_t axes[TAMIS_MAX_RANK];
    bool row;       /* walks along the last axis of the space */
    bool backwards; /* in time */
    LLVMValueRef data, stride[TAMIS_MAX_RANK];
    LLVMValueRef base; /* of the current unit at time 0, in elements */
} operand;

typedef struct scan_loop {
    tm_scan_space space;
    int vectors;
    LLVMValueRef length, chunks, steps; /* of a row; chunks of a row; of time */
    LLVMValueRef size[TAMIS_MAX_RANK];  /* of the space */
    operand *operands;                  /* of the region: inputs, then outputs */
    LLVMValueRef *masks;                /* of each vector */
    LLVMValueRef **points;              /* r->point of each vector */
    LLVMValueRef *captured;             /* by vector and region input */
    LLVMValueRef time;
    int vector; /* the current one */
} scan_loop;

/* ---- set-up ---- */

static void find_space(tm_region *r, scan_loop *s) {
    (void)tm_scan_space_find(tm_node_graph(r->node, "body")->first, &s->space);
    const tm_scan_space *space = &s->space;
    for (int a = 0; a < space->rank; a++) {
        s->size[a] = NULL;
        if (tm_dim_is_constant(space->dims[a]))
            s->size[a] = tm_int(r, space->dims[a]->constant);
    }
    for (int i = 0; i < space->states;
         i++) { /* a state has each axis of the space, but perhaps the last one */
        const tm_value *state = space->step->inputs.items[i];
        for (int d = 0; d < state->rank; d++) {
            int axis = space->axes[state->id][d];
            if (axis >= 0 && s->size[axis] == NULL)
                s->size[axis] = tm_operand_dim(r, i, d);
        }
    }
    s->length = s->size[space->rank - 1];
    const tm_value *first = space->scan->inputs[space->states];
    s->steps = tm_operand_dim(r, space->states, tm_scan_axis(space->scan, "scan_input_axes", 0, first->rank));
    bool is_short = LLVMIsConstant(s->length) && LLVMConstIntGetSExtValue(s->length) <= CHUNK;
    s->chunks = space->reduces || is_short ? tm_int(r, 1) : tm_ceildiv(r, s->length, CHUNK);
    int64_t elements = space->reduces || is_short ? LLVMConstIntGetSExtValue(s->length) : CHUNK;
    s->vectors = (int)((elements + r->lanes - 1) / r->lanes);
    if (s->vectors < 1)
        s->vectors = 1;
}

static void describe(tm_region *r, operand *o, int number, const tm_value *slice, const int8_t *slice_axes,
                     int time_axis) {
    int last = -1;
    o->value = slice;
    if (time_axis >= 0)
        tm_scan_whole_axes(slice_axes, slice->rank, time_axis, o->axes);
    else
        memcpy(o->axes, slice_axes, TAMIS_MAX_RANK);
    int rank = slice->rank + (time_axis >= 0);
    o->data = tm_operand_data(r, number);
    for (int i = 0; i < rank; i++) {
        o->stride[i] = tm_operand_product(r, number, i + 1, rank);
        last = o->axes[i] > last ? o->axes[i] : last;
    }
    for (int i = rank; i < TAMIS_MAX_RANK; i++)
        o->axes[i] = TM_SCAN_REPEATS;
    scan_loop *s = r->kind;
    o->row = last == s->space.rank - 1;
}

static void describe_all(tm_region *r, scan_loop *s) {
    const tm_scan_space *space = &s->space;
    const tm_graph *body = tm_node_graph(r->node, "body");
    int inputs = r->node->input_count;
    s->operands = TM_NEW_ARRAY(r->e->arena, operand, inputs + r->node->output_count);
    for (int i = 0; i < inputs; i++) { /* the Scan's, then what the step reads from outside */
        const tm_value *slice =
            i < space->scan->input_count ? space->step->inputs.items[i] : body->inputs.items[i];
        int k = i - space->states;
        bool scanned = k >= 0 && i < space->scan->input_count;
        describe(r, &s->operands[i], i, slice, space->axes[slice->id],
                 scanned ? tm_scan_axis(space->scan, "scan_input_axes", k, slice->rank + 1) : -1);
        s->operands[i].backwards = scanned && tm_scan_backwards(space->scan, "scan_input_directions", k);
    }
    for (int i = 0, number = inputs; i < space->scan->output_count; i++) {
        if (space->scan->outputs[i] == NULL)
            continue;
        const tm_value *slice = space->step->outputs.items[i];
        int k = i - space->states;
        int time = k < 0 ? -1 : tm_scan_axis(space->scan, "scan_output_axes", k, slice->rank + 1);
        describe(r, &s->operands[number], number, slice, space->axes[slice->id], time);
        s->operands[number].backwards = k >= 0 && tm_scan_backwards(space->scan, "scan_output_directions", k);
        number++;
    }
}

/* ---- a unit ---- */

/* Where the unit's row, or chunk of it, starts in every operand. */
static void locate(tm_region *r, scan_loop *s, LLVMValueRef unit) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef index[TAMIS_MAX_RANK];
    LLVMValueRef row = LLVMBuildUDiv(b, unit, s->chunks, "");
    LLVMValueRef column = tm_mul(r, tm_sub(r, unit, tm_mul(r, row, s->chunks)), tm_int(r, CHUNK));
    index[s->space.rank - 1] = column;
    for (int a = s->space.rank - 2; a >= 0; a--) {
        LLVMValueRef outer = LLVMBuildUDiv(b, row, s->size[a], "");
        index[a] = tm_sub(r, row, tm_mul(r, outer, s->size[a]));
        row = outer;
    }
    for (int o = 0; o < r->node->input_count + r->node->output_count; o++) {
        operand *op = &s->operands[o];
        op->base = tm_int(r, 0);
        for (int i = 0; i < TAMIS_MAX_RANK; i++)
            if (op->axes[i] >= 0)
                op->base = tm_add(r, op->base, tm_mul(r, index[op->axes[i]], op->stride[i]));
    }
    for (int v = 0; v < s->vectors; v++)
        s->masks[v] =
            tm_tail_mask(r, tm_sub(r, s->length, tm_add(r, column, tm_int(r, (int64_t)v * r->lanes))));
}

static LLVMValueRef place(tm_region *r, scan_loop *s, const operand *o) {
    LLVMValueRef at = o->base;
    for (int i = 0; i < TAMIS_MAX_RANK; i++)
        if (o->axes[i] == TM_SCAN_TIME) {
            LLVMValueRef time = s->time;
            if (o->backwards)
                time = tm_sub(r, tm_sub(r, s->steps, tm_int(r, 1)), time);
            at = tm_add(r, at, tm_mul(r, time, o->stride[i]));
        }
    return o->row ? tm_add(r, at, tm_int(r, (int64_t)s->vector * r->lanes)) : at;
}

static LLVMValueRef load_operand(tm_region *r, scan_loop *s, const operand *o) {
    return o->row ? tm_load_vector(r, o->value->type, o->data, place(r, s, o))
                  : tm_load_splat(r, o->value->type, o->data, place(r, s, o));
}

static LLVMValueRef load(tm_region *r, int input) {
    scan_loop *s = r->kind;
    return load_operand(r, s, &s->operands[input]);
}

/* A row's single value is stored once, from lane 0. */
static void store_operand(tm_region *r, scan_loop *s, const operand *o, LLVMValueRef value) {
    if (o->row) {
        tm_store_vector(r, o->value->type, value, o->data, place(r, s, o));
        return;
    }
    if (s->vector > 0)
        return;
    LLVMValueRef mask = r->mask;
    LLVMValueRef lanes[64];
    for (int i = 0; i < r->lanes; i++)
        lanes[i] = LLVMConstInt(r->e->i1, i == 0, 0);
    r->mask = LLVMConstVector(lanes, (unsigned)r->lanes);
    tm_store_vector(r, o->value->type, value, o->data, place(r, s, o));
    r->mask = mask;
}

static void select_vector(tm_region *r, scan_loop *s, int v) {
    s->vector = v;
    r->mask = s->masks[v];
    r->point = s->points[v];
}

/* ---- a step ---- */

static LLVMValueRef neutral(tm_region *r, tm_op op) {
    return tm_splat_f32(r, op == TM_OP_ReduceMax ? -INFINITY : op == TM_OP_ReduceMin ? INFINITY : 0);
}

/* Maximum and minimum hand NaN on, like the kernels. */
static LLVMValueRef join(tm_region *r, tm_op op, LLVMValueRef x, LLVMValueRef y) {
    LLVMBuilderRef b = r->e->builder;
    if (op == TM_OP_ReduceSum || op == TM_OP_ReduceMean)
        return LLVMBuildFAdd(b, x, y, "");
    LLVMValueRef better = LLVMBuildFCmp(b, op == TM_OP_ReduceMax ? LLVMRealOGT : LLVMRealOLT, x, y, "");
    LLVMValueRef nan = LLVMBuildFCmp(b, LLVMRealUNO, x, x, "");
    return LLVMBuildSelect(b, LLVMBuildOr(b, better, nan, ""), x, y, "");
}

static LLVMValueRef join_lanes(tm_region *r, tm_op op, LLVMValueRef vector) {
    if (op == TM_OP_ReduceSum || op == TM_OP_ReduceMean)
        return tm_reduce_add(r, vector);
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef result = LLVMBuildExtractElement(b, vector, tm_emit_i32(r->e, 0), "");
    for (int i = 1; i < r->lanes; i++)
        result = join(r, op, result, LLVMBuildExtractElement(b, vector, tm_emit_i32(r->e, i), ""));
    return result;
}

static void reduce_row(tm_region *r, scan_loop *s, const tm_node *node) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef all = NULL;
    const tm_value *in = node->inputs[0];
    int axis = 0;
    (void)tm_scan_reduced_axis(node, &axis);
    bool one = s->space.axes[in->id][axis] == TM_SCAN_REPEATS; /* the sum of one element is that element */
    for (int v = 0; v < s->vectors; v++) {
        select_vector(r, s, v);
        LLVMValueRef x = tm_region_value(r, in);
        if (one) {
            tm_region_set(r, node->outputs[0], x);
            continue;
        }
        if (r->mask != NULL)
            x = LLVMBuildSelect(b, r->mask, x, neutral(r, node->op), "");
        all = all == NULL ? x : join(r, node->op, all, x);
    }
    if (one)
        return;
    LLVMValueRef result = join_lanes(r, node->op, all);
    if (node->op == TM_OP_ReduceMean)
        result = LLVMBuildFDiv(b, result, LLVMBuildSIToFP(b, s->length, r->e->f32, ""), "");
    for (int v = 0; v < s->vectors; v++) {
        select_vector(r, s, v);
        tm_region_set(r, node->outputs[0], tm_splat(r, result));
    }
}

static void emit_node(tm_region *r, scan_loop *s, const tm_node *node) {
    int axis = 0;
    if (tm_scan_reduced_axis(node, &axis)) {
        reduce_row(r, s, node);
        return;
    }
    bool view = tm_scan_is_view(node);
    for (int v = 0; v < s->vectors; v++) {
        select_vector(r, s, v);
        if (view)
            tm_region_set(r, node->outputs[0], tm_region_value(r, node->inputs[0]));
        else
            (void)tm_region_value(r, node->outputs[0]);
    }
}

static void load_captured(tm_region *r, scan_loop *s) {
    for (int v = 0; v < s->vectors; v++) {
        select_vector(r, s, v);
        for (int i = s->space.scan->input_count; i < r->node->input_count; i++)
            s->captured[v * r->node->input_count + i] = load_operand(r, s, &s->operands[i]);
    }
}

static void begin_point(tm_region *r, scan_loop *s, LLVMValueRef *states, int v) {
    const tm_graph *body = tm_node_graph(r->node, "body");
    select_vector(r, s, v);
    tm_region_new_point(r);
    for (int i = s->space.scan->input_count; i < r->node->input_count; i++)
        tm_region_set(r, body->inputs.items[i], s->captured[v * r->node->input_count + i]);
    for (int i = 0; i < s->space.states; i++) {
        const tm_value *state = s->space.step->inputs.items[i];
        LLVMTypeRef type = tm_vector_type(r, state->type);
        tm_region_set(r, state, LLVMBuildLoad2(r->e->builder, type, states[v * s->space.states + i], ""));
    }
}

/* Stores step outputs from..to; all have been computed. */
static void store_outputs(tm_region *r, scan_loop *s, int from, int to, LLVMValueRef *states) {
    int number = r->node->input_count;
    for (int i = 0; i < s->space.scan->output_count; i++) {
        if (s->space.scan->outputs[i] == NULL)
            continue;
        for (int v = 0; v < s->vectors && i >= from && i < to; v++) {
            select_vector(r, s, v);
            const tm_value *value = s->space.step->outputs.items[i];
            LLVMTypeRef type = tm_vector_type(r, value->type);
            LLVMValueRef x = states == NULL
                                 ? tm_region_value(r, value)
                                 : LLVMBuildLoad2(r->e->builder, type, states[v * s->space.states + i], "");
            store_operand(r, s, &s->operands[number], x);
        }
        number++;
    }
}

static void emit_step(tm_region *r, scan_loop *s, LLVMValueRef *states) {
    for (int v = 0; v < s->vectors; v++)
        begin_point(r, s, states, v);
    for (const tm_node *node = s->space.step->first; node != NULL; node = node->next)
        emit_node(r, s, node);
    store_outputs(r, s, s->space.states, (int)s->space.step->outputs.count, NULL);
    LLVMValueRef *next = TM_NEW_ARRAY(r->e->arena, LLVMValueRef, s->vectors * s->space.states);
    for (int v = 0; v < s->vectors; v++)
        for (int i = 0; i < s->space.states; i++) {
            select_vector(r, s, v);
            next[v * s->space.states + i] = tm_region_value(r, s->space.step->outputs.items[i]);
        }
    for (int n = 0; n < s->vectors * s->space.states; n++)
        LLVMBuildStore(r->e->builder, next[n], states[n]);
}

static void emit_unit(tm_region *r, scan_loop *s, LLVMValueRef unit, LLVMValueRef *states) {
    locate(r, s, unit);
    load_captured(r, s);
    for (int v = 0; v < s->vectors; v++)
        for (int i = 0; i < s->space.states; i++) {
            select_vector(r, s, v);
            LLVMBuildStore(r->e->builder, load(r, i), states[v * s->space.states + i]);
        }
    tm_loop loop = tm_loop_begin(r, tm_int(r, 0), s->steps, 1);
    s->time = loop.index;
    emit_step(r, s, states);
    tm_loop_end(r, &loop);
    store_outputs(r, s, 0, s->space.states, states);
    r->mask = NULL;
}

/* ---- the kind ---- */

static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    scan_loop s = {0};
    find_space(r, &s);
    *out_units = s.chunks;
    for (int a = 0; a + 1 < s.space.rank; a++)
        *out_units = tm_mul(r, *out_units, s.size[a]);
    *out_grain = tm_region_grain(r, tm_mul(r, s.steps, tm_int(r, CHUNK)));
    return TM_OK;
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    scan_loop s = {0};
    tm_arena *arena = r->e->arena;
    r->kind = &s;
    r->load = load;
    find_space(r, &s);
    describe_all(r, &s);
    r->body = s.space.step;
    s.masks = TM_NEW_ARRAY(arena, LLVMValueRef, s.vectors);
    s.points = TM_NEW_ARRAY(arena, LLVMValueRef *, s.vectors);
    for (int v = 0; v < s.vectors; v++)
        s.points[v] = tm_region_point_table(r);
    s.captured = TM_NEW_ARRAY(arena, LLVMValueRef, s.vectors * r->node->input_count + 1);
    int slots = s.vectors * s.space.states;
    LLVMValueRef *states = TM_NEW_ARRAY(arena, LLVMValueRef, slots);
    for (int n = 0; n < slots; n++) {
        LLVMTypeRef type = tm_vector_type(r, s.space.step->inputs.items[n % s.space.states]->type);
        states[n] = tm_region_alloca(r, type, 1, 64);
    }
    tm_loop loop = tm_loop_begin(r, begin, end, 1);
    emit_unit(r, &s, loop.index, states);
    tm_loop_end(r, &loop);
    return TM_OK;
}

const tm_region_kind tm_region_kind_scan = {"scan", count, body};
