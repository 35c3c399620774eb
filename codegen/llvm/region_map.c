/* SPDX-License-Identifier: Apache-2.0
 *
 * region_map.c: elementwise chains: one pass over memory for any number of ops.
 *
 * All outputs have the same dims, the iteration space. Neighbouring dims that every operand treats alike
 * (walks along, or repeats) become one loop:
 *
 *     y[b, s, 64] = Gelu(x[b, s, 64] + bias[64])     two loops: b*s, and 64 in vectors
 *     y[b, s, 64] = x[b, s, 64] * 2                  one loop over b*s*64
 *
 * The innermost loop runs in vectors with a masked tail; the outermost is cut for threads.
 */
#include "codegen/llvm/region.h"

#include <string.h>

#define BLOCK 1024 /* elements of a unit when there is one loop only */

typedef struct map {
    int loops;
    int first[TAMIS_MAX_RANK], last[TAMIS_MAX_RANK]; /* output dims first..last-1 of each loop */
    LLVMValueRef size[TAMIS_MAX_RANK];
    LLVMValueRef index[TAMIS_MAX_RANK]; /* of the current point */
    LLVMValueRef *data;                 /* of each operand */
    LLVMValueRef *number;               /* of an input of one element, in all lanes; else NULL */
    LLVMValueRef (*stride)[TAMIS_MAX_RANK];
} map;

static const tm_value *output(const tm_region *r) {
    return r->node->outputs[0];
}

/* Does the operand walk along output dim `axis`? Missing and unit dims repeat. */
static bool walks(const tm_value *operand, const tm_value *out, int axis) {
    int own = axis - (out->rank - operand->rank);
    return own >= 0 && !tm_dim_is(operand->dims[own], 1);
}

static bool unit(const tm_value *out, int axis) {
    return tm_dim_is(out->dims[axis], 1);
}

static bool alike(const tm_region *r, int a, int b) {
    for (int i = 0; i < r->node->input_count; i++)
        if (walks(r->node->inputs[i], output(r), a) != walks(r->node->inputs[i], output(r), b))
            return false;
    return true;
}

static void find_loops(tm_region *r, map *m) {
    const tm_value *out = output(r);
    m->loops = 0;
    for (int axis = 0; axis < out->rank; axis++) {
        if (unit(out, axis))
            continue;
        if (m->loops > 0 && alike(r, m->first[m->loops - 1], axis)) {
            m->last[m->loops - 1] = axis + 1;
            continue;
        }
        m->first[m->loops] = axis;
        m->last[m->loops++] = axis + 1;
    }
    if (m->loops == 0) { /* a single element */
        m->first[0] = m->last[0] = 0;
        m->loops = 1;
    }
    for (int l = 0; l < m->loops; l++)
        m->size[l] = tm_operand_product(r, r->node->input_count, m->first[l], m->last[l]);
}

static void find_strides(tm_region *r, map *m) {
    int operands = r->node->input_count + r->node->output_count;
    m->data = TM_NEW_ARRAY(r->e->arena, LLVMValueRef, operands);
    m->number = TM_NEW_ARRAY(r->e->arena, LLVMValueRef, operands);
    m->stride = tm_arena_alloc_array(r->e->arena, (size_t)operands, sizeof(*m->stride));
    for (int o = 0; o < operands; o++) {
        const tm_value *value = o < r->node->input_count ? r->node->inputs[o] : output(r);
        m->data[o] = tm_operand_data(r, o);
        LLVMValueRef stride = tm_int(r, 1);
        if (o < r->node->input_count && tm_region_is_number(value))
            m->number[o] = tm_load_splat(r, value->type, m->data[o], tm_int(r, 0));
        for (int l = m->loops - 1; l >= 0; l--) {
            bool walk = m->first[l] < m->last[l] && walks(value, output(r), m->first[l]);
            m->stride[o][l] = walk ? stride : NULL;
            if (walk)
                stride = tm_mul(r, stride, m->size[l]);
        }
    }
}

static LLVMValueRef element_index(tm_region *r, const map *m, int operand) {
    LLVMValueRef index = tm_int(r, 0);
    for (int l = 0; l < m->loops; l++)
        if (m->stride[operand][l] != NULL)
            index = tm_add(r, index, tm_mul(r, m->index[l], m->stride[operand][l]));
    return index;
}

static LLVMValueRef load(tm_region *r, int input) {
    map *m = r->kind;
    tamis_type type = r->node->inputs[input]->type;
    if (m->number[input] != NULL)
        return m->number[input];
    LLVMValueRef index = element_index(r, m, input);
    if (m->stride[input][m->loops - 1] == NULL)
        return tm_load_splat(r, type, m->data[input], index);
    return tm_load_vector(r, type, m->data[input], index);
}

/* Values first, stores then: an output may lie where an input does. */
static void point(tm_region *r) {
    map *m = r->kind;
    tm_region_new_point(r);
    for (int i = 0; i < r->node->output_count; i++)
        (void)tm_region_value(r, r->body->outputs.items[i]);
    for (int i = 0; i < r->node->output_count; i++) {
        int operand = r->node->input_count + i;
        LLVMValueRef value = tm_region_value(r, r->body->outputs.items[i]);
        tm_store_vector(r, r->node->outputs[i]->type, value, m->data[operand], element_index(r, m, operand));
    }
}

/* Whole vectors, then one masked step for what is left. */
static void inner(tm_region *r, LLVMValueRef from, LLVMValueRef to) {
    map *m = r->kind;
    LLVMValueRef count = tm_sub(r, to, from);
    LLVMValueRef whole = LLVMBuildAnd(r->e->builder, count, tm_int(r, -(int64_t)r->lanes), "");
    LLVMValueRef end = tm_add(r, from, whole);
    tm_loop loop = tm_loop_begin(r, from, end, r->lanes);
    m->index[m->loops - 1] = loop.index;
    r->mask = NULL;
    point(r);
    tm_loop_end(r, &loop);
    if (LLVMIsConstant(count) && LLVMConstIntGetSExtValue(count) % r->lanes == 0)
        return;
    LLVMBasicBlockRef after = tm_if_begin(r, tm_less(r, end, to));
    m->index[m->loops - 1] = end;
    r->mask = tm_tail_mask(r, tm_sub(r, to, end));
    point(r);
    r->mask = NULL;
    tm_if_end(r, after);
}

static void nest(tm_region *r, int loop_number, LLVMValueRef from, LLVMValueRef to) {
    map *m = r->kind;
    if (loop_number == m->loops - 1) {
        inner(r, from, to);
        return;
    }
    tm_loop loop = tm_loop_begin(r, from, to, 1);
    m->index[loop_number] = loop.index;
    nest(r, loop_number + 1, tm_int(r, 0), m->size[loop_number + 1]);
    tm_loop_end(r, &loop);
}

static tm_code count(tm_region *r, LLVMValueRef *out_units, LLVMValueRef *out_grain) {
    map m = {0};
    find_loops(r, &m);
    if (m.loops == 1) {
        *out_units = tm_ceildiv(r, m.size[0], BLOCK);
        *out_grain = tm_int(r, TM_TASK_ELEMENTS / BLOCK);
        return TM_OK;
    }
    LLVMValueRef rest = tm_int(r, 1);
    for (int l = 1; l < m.loops; l++)
        rest = tm_mul(r, rest, m.size[l]);
    *out_units = m.size[0];
    *out_grain = tm_region_grain(r, rest);
    return TM_OK;
}

static tm_code body(tm_region *r, LLVMValueRef begin, LLVMValueRef end) {
    map m = {0};
    r->kind = &m;
    r->load = load;
    find_loops(r, &m);
    find_strides(r, &m);
    if (m.loops == 1) {
        begin = tm_mul(r, begin, tm_int(r, BLOCK));
        end = tm_min(r, tm_mul(r, end, tm_int(r, BLOCK)), m.size[0]);
    }
    nest(r, 0, begin, end);
    return TM_OK;
}

const tm_region_kind tm_region_kind_map = {"map", count, body};
