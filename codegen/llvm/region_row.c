/* SPDX-License-Identifier: Apache-2.0
 *
 * region_row.c: normalisations over the last dims, with what is elementwise before and after them.
 *
 *     y[b, s, 768] = LayerNormalization(x[b, s, 768] + r[b, s, 768]) * g[768]        also gives x + r
 *
 * A unit of work is one row. It is walked a few times while it stays near:
 *
 *     first    what the node normalises, and the outputs before it; maximum, sum or sum of squares
 *     second   Softmax: exp and its sum. LayerNormalization: squared differences from the mean
 *     last     normalises, and computes what follows
 *
 * ReduceMax stands for quantisers with a scale for each row: what comes of the row's largest number is an
 * output of one number a row, which the last walk quantises the row with.
 *
 * A short row of known length stays in registers from the first to the last walk. A longer one is kept in
 * memory in between: in the input if nothing comes before the node, in the output that is this value, else in
 * the row of the main output, which the last walk overwrites element by element (so codegen/reuse.c lets no
 * operand of that walk share the output's memory).
 *
 * Sums run in `streams` vectors that are joined in a tree: the order depends on length and level alone.
 */
#include "codegen/llvm/region.h"

#include "ir/tiles.h"

#include <math.h>

#define REGISTERS 8   /* vectors of a row that stays in registers */
#define STREAMS 4     /* vectors of partial results */
#define SMALL_BODY 12 /* nodes; larger ones are emitted fewer times */

typedef struct row {
    const tm_node *norm; /* in the body */
    int axis;            /* output dims from it on are the row */
    int vectors;         /* of a row in registers; 0: walked in loops */
    int streams;
    LLVMValueRef length;
    int groups; /* of leading dims that all operands treat alike */
    int first[TAMIS_MAX_RANK], last[TAMIS_MAX_RANK];
    LLVMValueRef size[TAMIS_MAX_RANK];
    LLVMValueRef *data, *base; /* of each operand; where the current row starts, in elements */
    LLVMValueRef *number;      /* of an input of one element, in all lanes; else NULL */
    tm_ranges ranges;
    LLVMValueRef unit;         /* number of the row */
    LLVMValueRef column;       /* of the current vector */
    LLVMValueRef kept[REGISTERS], partial[STREAMS];
    LLVMValueRef shift, factor; /* of the current row, splat: y = (x - shift) * factor */
    int before;                 /* operand that holds the norm's input between walks; -1: a body input does */
    bool *is_after;             /* outputs that need the normalised value */
    LLVMValueRef *values;       /* of the outputs at the current point */
} row;

/* ---- iteration space ---- */

static const tm_value *operand(const tm_region *r, int number) {
    return number < r->node->input_count ? r->node->inputs[number]
                                         : r->node->outputs[number - r->node->input_count];
}

static int operand_count(const tm_region *r) {
    return r->node->input_count + r->node->output_count;
}

/* Does the operand walk along output dim `axis`? Missing and unit dims repeat. */
static bool walks(const tm_value *value, const tm_value *out, int axis) {
    int own = axis - (out->rank - value->rank);
    return own >= 0 && !tm_dim_is(value->dims[own], 1);
}

static bool walks_row(const tm_region *r, const row *w, const tm_value *value) {
    for (int axis = w->axis; axis < r->node->outputs[0]->rank; axis++)
        if (walks(value, r->node->outputs[0], axis))
            return true;
    return false;
}

static bool alike(const tm_region *r, int a, int b) {
    for (int i = 0; i < r->node->input_count; i++)
        if (walks(operand(r, i), r->node->outputs[0], a) != walks(operand(r, i), r->node->outputs[0], b))
            return false;
    return true;
}

static void find_groups(tm_region *r, row *w) {
    const tm_value *out = r->node->outputs[0];
    for (int axis = 0; axis < w->axis; axis++) {
        if (tm_dim_is(out->dims[axis], 1))
            continue;
        if (w->groups == 0 || !alike(r, w->first[w->groups - 1], axis))
            w->first[w->groups++] = axis;
        w->last[w->groups - 1] = axis + 1;
    }
    for (int g = 0; g < w->groups; g++)
        w->size[g] = tm_operand_product(r, r->node->input_count, w->first[g], w->last[g]);
}

static void set_up(tm_region *r, row *w) {
    const tm_value *out = r->node->outputs[0];
    int64_t nodes = 0;
    for (const tm_node *n = r->body->first; n != NULL; n = n->next) {
        if (w->norm != NULL &&
            (n->op == TM_OP_ReduceMin || n->op == TM_OP_ReduceMax)) /* of an output's range */
            continue;
        nodes++;
        if (tm_op_is_norm(n->op))
            w->norm = n;
    }
    int64_t axis = w->norm->op == TM_OP_ReduceMax ? -1 : tm_node_int(w->norm, "axis");
    w->axis = (int)(axis < 0 ? axis + out->rank : axis);
    w->length = tm_operand_product(r, r->node->input_count, w->axis, out->rank);
    w->streams = nodes > SMALL_BODY ? 1 : STREAMS;
    int64_t limit = (int64_t)r->lanes * (nodes > SMALL_BODY ? 2 : REGISTERS);
    if (LLVMIsConstant(w->length) && LLVMConstIntGetSExtValue(w->length) <= limit) {
        w->vectors = (int)((LLVMConstIntGetSExtValue(w->length) + r->lanes - 1) / r->lanes);
        w->streams = w->vectors < 2 ? 1 : w->vectors < STREAMS ? 2 : w->streams;
    }
}

/* Has an output one number for each row? */
static bool is_number(const tm_region *r, const row *w, int output) {
    return w->norm->op == TM_OP_ReduceMax && !walks_row(r, w, r->node->outputs[output]);
}

/* Where the row starts in every operand. */
static void locate(tm_region *r, row *w, LLVMValueRef unit) {
    LLVMValueRef index[TAMIS_MAX_RANK], rest = unit;
    for (int g = w->groups - 1; g >= 0; g--) {
        LLVMValueRef outer = g == 0 ? tm_int(r, 0) : LLVMBuildUDiv(r->e->builder, rest, w->size[g], "");
        index[g] = g == 0 ? rest : tm_sub(r, rest, tm_mul(r, outer, w->size[g]));
        rest = outer;
    }
    for (int o = 0; o < operand_count(r); o++) {
        LLVMValueRef stride = walks_row(r, w, operand(r, o)) ? w->length : tm_int(r, 1);
        w->base[o] = tm_int(r, 0);
        if (o >= r->node->input_count) {
            w->base[o] = is_number(r, w, o - r->node->input_count) ? unit : tm_mul(r, unit, w->length);
            continue;
        }
        for (int g = w->groups - 1; g >= 0; g--) {
            if (!walks(operand(r, o), r->node->outputs[0], w->first[g]))
                continue;
            w->base[o] = tm_add(r, w->base[o], tm_mul(r, index[g], stride));
            stride = tm_mul(r, stride, w->size[g]);
        }
    }
}

static LLVMValueRef load(tm_region *r, int input) {
    row *w = r->kind;
    const tm_value *value = operand(r, input);
    if (w->number[input] != NULL)
        return w->number[input];
    if (walks_row(r, w, value))
        return tm_load_vector(r, value->type, w->data[input], tm_add(r, w->base[input], w->column));
    return tm_load_splat(r, value->type, w->data[input], w->base[input]);
}

/* ---- walks ---- */

typedef void (*step)(tm_region *r, row *w, int number);

/* One step for each vector of the row; its number picks register and stream. */
static void walk(tm_region *r, row *w, step step) {
    LLVMBuilderRef b = r->e->builder;
    for (int v = 0; v < w->vectors; v++) {
        w->column = tm_int(r, (int64_t)v * r->lanes);
        r->mask = tm_tail_mask(r, tm_sub(r, w->length, w->column));
        step(r, w, v);
    }
    r->mask = NULL;
    if (w->vectors > 0)
        return;
    LLVMValueRef start = tm_int(r, 0);
    for (int width = w->streams; width >= 1; width = width > 1 ? 1 : 0) {
        int64_t elements = (int64_t)width * r->lanes;
        LLVMValueRef end = LLVMBuildAnd(b, w->length, tm_int(r, -elements), "");
        if (start == end) /* constants */
            continue;
        tm_loop loop = tm_loop_begin(r, start, end, elements);
        for (int s = 0; s < width; s++) {
            w->column = tm_add(r, loop.index, tm_int(r, (int64_t)s * r->lanes));
            step(r, w, s);
        }
        tm_loop_end(r, &loop);
        start = end;
    }
    if (LLVMIsConstant(w->length) && LLVMConstIntGetSExtValue(w->length) % r->lanes == 0)
        return;
    LLVMBasicBlockRef after = tm_if_begin(r, tm_less(r, start, w->length));
    w->column = start;
    r->mask = tm_tail_mask(r, tm_sub(r, w->length, start));
    step(r, w, 0);
    r->mask = NULL;
    tm_if_end(r, after);
}

/* ---- statistics ---- */

/* May pass a NaN over: the sum of powers has it, and makes the row NaN. */
static LLVMValueRef larger(tm_region *r, LLVMValueRef x, LLVMValueRef y) {
    return LLVMBuildSelect(r->e->builder, LLVMBuildFCmp(r->e->builder, LLVMRealOGT, x, y, ""), x, y, "");
}

static LLVMValueRef multiply_add(tm_region *r, LLVMValueRef x, LLVMValueRef y, LLVMValueRef z) {
    LLVMBuilderRef b = r->e->builder;
    return r->fast ? tm_fma(r, x, y, z) : LLVMBuildFAdd(b, LLVMBuildFMul(b, x, y, ""), z, "");
}

static void clear(tm_region *r, row *w, double start) {
    for (int s = 0; s < w->streams; s++)
        LLVMBuildStore(r->e->builder, tm_splat_f32(r, start), w->partial[s]);
}

/* The stream's partial result, and where it stands. */
static LLVMValueRef running(tm_region *r, row *w, int number, LLVMValueRef *out_slot) {
    *out_slot = w->partial[number % w->streams];
    return LLVMBuildLoad2(r->e->builder, tm_vector_type(r, TAMIS_TYPE_FLOAT), *out_slot, "");
}

/* x in the lanes of the row, `other` in the rest. */
static LLVMValueRef inside(tm_region *r, LLVMValueRef x, double other) {
    return r->mask == NULL ? x : LLVMBuildSelect(r->e->builder, r->mask, x, tm_splat_f32(r, other), "");
}

static void add_to_sum(tm_region *r, row *w, int number, LLVMValueRef x) {
    LLVMValueRef slot, sum = running(r, w, number, &slot);
    LLVMBuildStore(r->e->builder, LLVMBuildFAdd(r->e->builder, sum, inside(r, x, 0), ""), slot);
}

static void add_square(tm_region *r, row *w, int number, LLVMValueRef x) {
    LLVMValueRef slot, sum = running(r, w, number, &slot), in = inside(r, x, 0);
    LLVMBuildStore(r->e->builder, multiply_add(r, in, in, sum), slot);
}

static void add_to_maximum(tm_region *r, row *w, int number, LLVMValueRef x) {
    LLVMValueRef slot, best = running(r, w, number, &slot);
    LLVMBuildStore(r->e->builder, larger(r, inside(r, x, -INFINITY), best), slot);
}

/* All streams and lanes as one f32. */
static LLVMValueRef join(tm_region *r, row *w, bool add) {
    LLVMValueRef part[STREAMS], slot;
    for (int s = 0; s < w->streams; s++)
        part[s] = running(r, w, s, &slot);
    for (int half = w->streams / 2; half >= 1; half /= 2)
        for (int s = 0; s < half; s++)
            part[s] = add ? LLVMBuildFAdd(r->e->builder, part[s], part[s + half], "")
                          : larger(r, part[s], part[s + half]);
    return add ? tm_reduce_add(r, part[0]) : tm_reduce_max(r, part[0]);
}

/* ---- what a walk does with a vector ---- */

static LLVMValueRef at(tm_region *r, const row *w, int number) {
    return tm_add(r, w->base[number], w->column);
}

/* Values first, stores then: an output may lie where an input does. */
static void store_outputs(tm_region *r, row *w, bool after) {
    for (int i = 0; i < r->node->output_count; i++)
        if (w->is_after[i] == after && tm_region_is_range(r, i))
            tm_ranges_add(r, &w->ranges, i);
        else if (w->is_after[i] == after && !is_number(r, w, i))
            w->values[i] = tm_region_value(r, r->body->outputs.items[i]);
    for (int i = 0; i < r->node->output_count; i++)
        if (w->is_after[i] == after && !is_number(r, w, i) && !tm_region_is_range(r, i))
            tm_store_vector(r, r->node->outputs[i]->type, w->values[i], w->data[r->node->input_count + i],
                            tm_value_is_tiled(r->node->outputs[i])
                                ? tm_tiled_index(r, r->node->outputs[i]->type, w->unit, w->column, w->length)
                                : at(r, w, r->node->input_count + i));
}

static void keep(tm_region *r, row *w, int number, LLVMValueRef x) {
    if (w->vectors > 0)
        w->kept[number] = x;
    else
        tm_store_vector(r, TAMIS_TYPE_FLOAT, x, w->data[r->node->input_count],
                        at(r, w, r->node->input_count));
}

/* The norm's input, after the first walk. */
static LLVMValueRef again(tm_region *r, row *w, int number) {
    tm_region_new_point(r);
    if (w->vectors > 0)
        tm_region_set(r, w->norm->inputs[0], w->kept[number]);
    else if (w->before >= 0)
        tm_region_set(r, w->norm->inputs[0],
                      tm_load_vector(r, TAMIS_TYPE_FLOAT, w->data[w->before], at(r, w, w->before)));
    return tm_region_value(r, w->norm->inputs[0]);
}

static void first(tm_region *r, row *w, int number) {
    tm_region_new_point(r);
    LLVMValueRef x = tm_region_value(r, w->norm->inputs[0]);
    store_outputs(r, w, false);
    if (w->vectors > 0 || w->before == r->node->input_count)
        keep(r, w, number, x);
    if (w->norm->op == TM_OP_LayerNormalization)
        add_to_sum(r, w, number, x);
    else if (w->norm->op == TM_OP_RMSNormalization)
        add_square(r, w, number, x);
    else
        add_to_maximum(r, w, number, x);
}

static void second(tm_region *r, row *w, int number) {
    LLVMValueRef x = LLVMBuildFSub(r->e->builder, again(r, w, number), w->shift, "");
    if (w->norm->op == TM_OP_LayerNormalization) {
        add_square(r, w, number, x);
        return;
    }
    LLVMValueRef power = tm_math(r, "exp", x);
    if (w->norm->op == TM_OP_Softmax)
        keep(r, w, number, power);
    add_to_sum(r, w, number, power);
}

static void last(tm_region *r, row *w, int number) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef y;
    if (w->norm->op == TM_OP_Softmax) {
        tm_region_new_point(r);
        y = w->vectors > 0 ? w->kept[number]
                           : tm_load_vector(r, TAMIS_TYPE_FLOAT, w->data[r->node->input_count],
                                            at(r, w, r->node->input_count));
        y = LLVMBuildFMul(b, y, w->factor, "");
    } else if (w->norm->op == TM_OP_LogSoftmax) {
        y = LLVMBuildFSub(b, LLVMBuildFSub(b, again(r, w, number), w->shift, ""), w->factor, "");
    } else {
        y = again(r, w, number);
        if (w->shift != NULL)
            y = LLVMBuildFSub(b, y, w->shift, "");
        y = LLVMBuildFMul(b, y, w->factor, "");
        LLVMValueRef scale = tm_region_value(r, w->norm->inputs[1]);
        const tm_value *bias = w->norm->input_count > 2 ? w->norm->inputs[2] : NULL;
        y = bias == NULL ? LLVMBuildFMul(b, y, scale, "")
                         : multiply_add(r, y, scale, tm_region_value(r, bias));
    }
    tm_region_set(r, w->norm->outputs[0], y);
    store_outputs(r, w, true);
}

/* A NaN stays the largest. */
static void add_to_largest(tm_region *r, row *w, int number) {
    tm_region_new_point(r);
    LLVMValueRef slot, best = running(r, w, number, &slot);
    LLVMValueRef x = inside(r, tm_region_value(r, w->norm->inputs[0]), -INFINITY);
    LLVMBuildStore(r->e->builder, tm_larger_or_nan(r, x, best), slot);
}

static void after_largest(tm_region *r, row *w, int number) {
    (void)number;
    tm_region_new_point(r);
    tm_region_set(r, w->norm->outputs[0], w->factor);
    store_outputs(r, w, true);
}

/* ---- rows ---- */

/* Outputs of one number a row are stored first: the last walk may overwrite what the row was. */
static void largest_row(tm_region *r, row *w) {
    LLVMBuilderRef b = r->e->builder;
    clear(r, w, -INFINITY);
    walk(r, w, add_to_largest);
    LLVMValueRef slot, largest = running(r, w, 0, &slot);
    for (int s = 1; s < w->streams; s++)
        largest = tm_larger_or_nan(r, largest, running(r, w, s, &slot));
    w->factor = tm_splat(r, tm_reduce_largest(r, largest));
    tm_region_new_point(r);
    tm_region_set(r, w->norm->outputs[0], w->factor);
    w->column = tm_int(r, 0);
    for (int i = 0; i < r->node->output_count; i++) {
        if (!is_number(r, w, i))
            continue;
        LLVMValueRef vector = tm_region_value(r, r->body->outputs.items[i]),
                     at = w->base[r->node->input_count + i];
        LLVMValueRef to = LLVMBuildGEP2(b, r->e->f32, w->data[r->node->input_count + i], &at, 1, "");
        LLVMBuildStore(b, LLVMBuildExtractElement(b, vector, tm_int(r, 0), ""), to);
    }
    walk(r, w, after_largest);
}

static void softmax_row(tm_region *r, row *w) {
    LLVMBuilderRef b = r->e->builder;
    clear(r, w, -INFINITY);
    walk(r, w, first);
    w->shift = tm_splat(r, join(r, w, false));
    clear(r, w, 0);
    walk(r, w, second);
    LLVMValueRef sum = join(r, w, true);
    if (w->norm->op == TM_OP_Softmax)
        w->factor = tm_splat(r, LLVMBuildFDiv(b, LLVMConstReal(r->e->f32, 1), sum, ""));
    else
        w->factor = tm_math(r, "log", tm_splat(r, sum));
    walk(r, w, last);
}

static void norm_row(tm_region *r, row *w) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef n = LLVMBuildSIToFP(b, w->length, r->e->f32, "");
    clear(r, w, 0);
    walk(r, w, first);
    w->shift = NULL;
    if (w->norm->op == TM_OP_LayerNormalization) {
        w->shift = tm_splat(r, LLVMBuildFDiv(b, join(r, w, true), n, ""));
        clear(r, w, 0);
        walk(r, w, second);
    }
    LLVMValueRef variance = LLVMBuildFDiv(b, join(r, w, true), n, "");
    variance = LLVMBuildFAdd(b, variance, LLVMConstReal(r->e->f32, tm_node_float(w->norm, "epsilon")), "");
    LLVMValueRef deviation = tm_intrinsic(r, "llvm.sqrt", r->e->f32, &variance, 1);
    w->factor = tm_splat(r, LLVMBuildFDiv(b, LLVMConstReal(r->e->f32, 1), deviation, ""));
    walk(r, w, last);
}

/* ---- outputs ---- */

static bool depends(const tm_region *r, const tm_value *value, const tm_value *on, bool *seen) {
    if (value == on)
        return true;
    if (value == NULL || value->producer == NULL || seen[value->id - r->first_id])
        return false;
    seen[value->id - r->first_id] = true;
    for (int i = 0; i < value->producer->input_count; i++)
        if (depends(r, value->producer->inputs[i], on, seen))
            return true;
    return false;
}

static void sort_outputs(tm_region *r, row *w) {
    w->before = w->norm->inputs[0]->producer != NULL ? r->node->input_count : -1;
    w->is_after = TM_NEW_ARRAY(r->e->arena, bool, r->node->output_count);
    w->values = TM_NEW_ARRAY(r->e->arena, LLVMValueRef, r->node->output_count);
    for (int i = 0; i < r->node->output_count; i++) {
        bool *seen = TM_NEW_ARRAY(r->e->arena, bool, r->id_count + 1);
        w->is_after[i] = depends(r, r->body->outputs.items[i], w->norm->outputs[0], seen);
        if (r->body->outputs.items[i] == w->norm->inputs[0])
            w->before = r->node->input_count + i;
    }
}

static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    row w = {0};
    set_up(r, &w);
    *out_units = tm_operand_product(r, r->node->input_count, 0, w.axis);
    *out_grain = tm_region_grain(r, w.length);
    return TM_OK;
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    row w = {0};
    r->kind = &w;
    r->load = load;
    set_up(r, &w);
    find_groups(r, &w);
    sort_outputs(r, &w);
    w.data = TM_NEW_ARRAY(r->e->arena, LLVMValueRef, operand_count(r));
    w.base = TM_NEW_ARRAY(r->e->arena, LLVMValueRef, operand_count(r));
    w.number = TM_NEW_ARRAY(r->e->arena, LLVMValueRef, operand_count(r));
    for (int o = 0; o < operand_count(r); o++) {
        w.data[o] = tm_operand_data(r, o);
        if (o < r->node->input_count && tm_region_is_number(operand(r, o)))
            w.number[o] = tm_load_splat(r, operand(r, o)->type, w.data[o], tm_int(r, 0));
    }
    for (int s = 0; s < w.streams; s++)
        w.partial[s] = tm_region_alloca(r, tm_vector_type(r, TAMIS_TYPE_FLOAT), 1, 64);
    w.ranges = tm_ranges_begin(r);
    tm_loop unit = tm_loop_begin(r, begin, end, 1);
    w.unit = unit.index;
    locate(r, &w, unit.index);
    if (w.norm->op == TM_OP_ReduceMax)
        largest_row(r, &w);
    else if (w.norm->op == TM_OP_Softmax || w.norm->op == TM_OP_LogSoftmax)
        softmax_row(r, &w);
    else
        norm_row(r, &w);
    tm_loop_end(r, &unit);
    tm_ranges_end(r, &w.ranges);
    return TM_OK;
}

const tm_region_kind tm_region_kind_row = {"row", count, body};
