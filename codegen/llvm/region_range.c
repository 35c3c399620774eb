/* SPDX-License-Identifier: Apache-2.0
 *
 * region_range.c: outputs that are the least or largest element of what a region computes.
 *
 *     %y, %l, %h = Region(..) {kind = "tiles": .., %y = Add(..), %l = ReduceMin(%y), %h = ReduceMax(%y)}
 *
 * A quantiser that finds its scale wants both, of a value that was near a moment ago. The entry sets them to
 * infinities, which is what they are of nothing; each task keeps vectors of its own while it runs and joins
 * them with the output in one atomic step at its end. Minimum and maximum are the same in any order, so the
 * answer is the same for any number of threads. NaN is passed over.
 */
#include "codegen/llvm/region.h"

#include <math.h>

#define B (r->e->builder)

static const tm_node *maker(const tm_region *r, int output) {
    return r->body->outputs.items[output]->producer;
}

static bool is_maximum(const tm_region *r, int output) {
    return maker(r, output)->op == TM_OP_ReduceMax;
}

bool tm_region_is_range(const tm_region *r, int output) {
    const tm_node *node = maker(r, output);
    return node != NULL && (node->op == TM_OP_ReduceMin || node->op == TM_OP_ReduceMax) &&
           r->node->outputs[output]->rank == 0;
}

static LLVMValueRef nothing(const tm_region *r, int output) {
    return LLVMConstReal(r->e->f32, is_maximum(r, output) ? -INFINITY : INFINITY);
}

static LLVMValueRef join(tm_region *r, int output, LLVMValueRef x, LLVMValueRef y) {
    LLVMRealPredicate better = is_maximum(r, output) ? LLVMRealOGT : LLVMRealOLT;
    return LLVMBuildSelect(B, LLVMBuildFCmp(B, better, x, y, ""), x, y, "");
}

void tm_ranges_clear(tm_region *r) {
    for (int i = 0; i < r->node->output_count; i++)
        if (tm_region_is_range(r, i))
            LLVMBuildStore(B, nothing(r, i), tm_operand_data(r, r->node->input_count + i));
}

static LLVMValueRef slot_of(tm_region *r, const tm_ranges *ranges, int output) {
    LLVMValueRef index = tm_emit_i32(r->e, output);
    return LLVMBuildInBoundsGEP2(B, tm_vector_type(r, TAMIS_TYPE_FLOAT), ranges->slots, &index, 1, "");
}

tm_ranges tm_ranges_begin(tm_region *r) {
    tm_ranges ranges = {0};
    for (int i = 0; i < r->node->output_count; i++) {
        if (!tm_region_is_range(r, i))
            continue;
        if (ranges.slots == NULL)
            ranges.slots =
                tm_region_alloca(r, tm_vector_type(r, TAMIS_TYPE_FLOAT), r->node->output_count, 64);
        LLVMBuildStore(B, tm_splat(r, nothing(r, i)), slot_of(r, &ranges, i));
    }
    return ranges;
}

void tm_ranges_copy(tm_region *r, const tm_ranges *from, const tm_ranges *to) {
    for (int i = 0; i < r->node->output_count; i++)
        if (tm_region_is_range(r, i)) {
            LLVMValueRef x = LLVMBuildLoad2(B, tm_vector_type(r, TAMIS_TYPE_FLOAT), slot_of(r, from, i), "");
            LLVMBuildStore(B, x, slot_of(r, to, i));
        }
}

void tm_ranges_add(tm_region *r, const tm_ranges *ranges, int output) {
    LLVMValueRef slot = slot_of(r, ranges, output), x = tm_region_value(r, maker(r, output)->inputs[0]);
    LLVMValueRef known = LLVMBuildLoad2(B, tm_vector_type(r, TAMIS_TYPE_FLOAT), slot, "");
    if (r->mask != NULL)
        x = LLVMBuildSelect(B, r->mask, x, known, "");
    LLVMBuildStore(B, join(r, output, x, known), slot);
}

void tm_ranges_end(tm_region *r, const tm_ranges *ranges) {
    for (int i = 0; i < r->node->output_count; i++) {
        if (!tm_region_is_range(r, i))
            continue;
        LLVMValueRef x = LLVMBuildLoad2(B, tm_vector_type(r, TAMIS_TYPE_FLOAT), slot_of(r, ranges, i), "");
        LLVMValueRef best = is_maximum(r, i)
                                ? tm_reduce_max(r, x)
                                : LLVMBuildFNeg(B, tm_reduce_max(r, LLVMBuildFNeg(B, x, "")), "");
        LLVMAtomicRMWBinOp op = is_maximum(r, i) ? LLVMAtomicRMWBinOpFMax : LLVMAtomicRMWBinOpFMin;
        (void)LLVMBuildAtomicRMW(B, op, tm_operand_data(r, r->node->input_count + i), best,
                                 LLVMAtomicOrderingMonotonic, 0);
    }
}
