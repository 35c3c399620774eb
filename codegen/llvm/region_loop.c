/* SPDX-License-Identifier: Apache-2.0
 *
 * region_loop.c: loops, conditions, integers and operands for region builders.
 *
 *     tm_loop loop = tm_loop_begin(r, from, to, step);
 *     ... loop.index ...
 *     tm_loop_end(r, &loop);
 */
#include "codegen/llvm/region.h"

#include <string.h>

tm_loop tm_loop_begin(tm_region *r, LLVMValueRef from, LLVMValueRef to, int64_t step) {
    LLVMBuilderRef b = r->e->builder;
    LLVMBasicBlockRef before = LLVMGetInsertBlock(b);
    tm_loop loop = {
        .head = tm_emit_block(r->e, "head"), .exit = tm_emit_block(r->e, "exit"), .step = tm_int(r, step)};
    LLVMBasicBlockRef body = tm_emit_block(r->e, "loop");
    LLVMBuildBr(b, loop.head);
    LLVMPositionBuilderAtEnd(b, loop.head);
    loop.index = LLVMBuildPhi(b, r->e->i64, "i");
    LLVMAddIncoming(loop.index, &from, &before, 1);
    LLVMBuildCondBr(b, tm_less(r, loop.index, to), body, loop.exit);
    LLVMPositionBuilderAtEnd(b, body);
    return loop;
}

void tm_loop_end(tm_region *r, tm_loop *loop) {
    LLVMBuilderRef b = r->e->builder;
    LLVMValueRef next = LLVMBuildNSWAdd(b, loop->index, loop->step, "");
    LLVMBasicBlockRef here = LLVMGetInsertBlock(b);
    LLVMBuildBr(b, loop->head);
    LLVMAddIncoming(loop->index, &next, &here, 1);
    LLVMPositionBuilderAtEnd(b, loop->exit);
}

LLVMBasicBlockRef tm_if_begin(tm_region *r, LLVMValueRef condition) {
    LLVMBasicBlockRef yes = tm_emit_block(r->e, "then"), after = tm_emit_block(r->e, "after");
    LLVMBuildCondBr(r->e->builder, condition, yes, after);
    LLVMPositionBuilderAtEnd(r->e->builder, yes);
    return after;
}

void tm_if_end(tm_region *r, LLVMBasicBlockRef after) {
    LLVMBuildBr(r->e->builder, after);
    LLVMPositionBuilderAtEnd(r->e->builder, after);
}

LLVMValueRef tm_region_alloca(tm_region *r, LLVMTypeRef type, int64_t count, unsigned alignment) {
    LLVMBuilderRef b = r->e->builder;
    LLVMBasicBlockRef here = LLVMGetInsertBlock(b);
    LLVMBasicBlockRef entry = LLVMGetEntryBasicBlock(r->function);
    LLVMValueRef first = LLVMGetFirstInstruction(entry);
    if (first != NULL)
        LLVMPositionBuilderBefore(b, first);
    else
        LLVMPositionBuilderAtEnd(b, entry);
    LLVMValueRef slot = LLVMBuildAlloca(b, LLVMArrayType2(type, (uint64_t)count), "");
    LLVMSetAlignment(slot, alignment);
    LLVMPositionBuilderAtEnd(b, here);
    return slot;
}

LLVMValueRef tm_int(tm_region *r, int64_t value) {
    return tm_emit_i64(r->e, value);
}

LLVMValueRef tm_add(tm_region *r, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildNSWAdd(r->e->builder, a, b, "");
}

LLVMValueRef tm_sub(tm_region *r, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildNSWSub(r->e->builder, a, b, "");
}

LLVMValueRef tm_mul(tm_region *r, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildNSWMul(r->e->builder, a, b, "");
}

LLVMValueRef tm_less(tm_region *r, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildICmp(r->e->builder, LLVMIntSLT, a, b, "");
}

LLVMValueRef tm_min(tm_region *r, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildSelect(r->e->builder, tm_less(r, a, b), a, b, "");
}

LLVMValueRef tm_max(tm_region *r, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildSelect(r->e->builder, tm_less(r, a, b), b, a, "");
}

LLVMValueRef tm_ceildiv(tm_region *r, LLVMValueRef a, int64_t b) {
    return LLVMBuildUDiv(r->e->builder, tm_add(r, a, tm_int(r, b - 1)), tm_int(r, b), "");
}

LLVMValueRef tm_divide(tm_region *r, LLVMValueRef *index, LLVMValueRef by) {
    LLVMValueRef quotient = LLVMBuildUDiv(r->e->builder, *index, by, "");
    LLVMValueRef rest = tm_sub(r, *index, tm_mul(r, quotient, by));
    *index = quotient;
    return rest;
}

LLVMValueRef tm_element(tm_region *r, LLVMValueRef data, LLVMValueRef index) {
    return LLVMBuildGEP2(r->e->builder, r->e->f32, data, &index, 1, "");
}

LLVMValueRef tm_region_grain(tm_region *r, LLVMValueRef elements) {
    LLVMValueRef divisor = tm_max(r, elements, tm_int(r, 1));
    return tm_add(r, LLVMBuildUDiv(r->e->builder, tm_int(r, TM_TASK_ELEMENTS), divisor, ""), tm_int(r, 1));
}

int64_t tm_known(LLVMValueRef value) {
    return LLVMIsConstant(value) ? LLVMConstIntGetSExtValue(value) : -1;
}

LLVMValueRef tm_opaque(tm_region *r, LLVMValueRef value) {
    LLVMTypeRef operand = LLVMTypeOf(value), type = LLVMFunctionType(operand, &operand, 1, 0);
    LLVMValueRef nothing =
        LLVMGetInlineAsm(type, "", 0, "=r,0", 4, 0, 0, LLVMInlineAsmDialectATT, 0);
    return LLVMBuildCall2(r->e->builder, type, nothing, &value, 1, "");
}

int tm_region_input_number(const tm_graph *body, const tm_value *value) {
    for (size_t i = 0; i < body->inputs.count; i++)
        if (body->inputs.items[i] == value)
            return (int)i;
    return -1;
}

static const tm_value *operand(const tm_region *r, int number) {
    return number < r->node->input_count ? r->node->inputs[number]
                                         : r->node->outputs[number - r->node->input_count];
}

/* The frame entry: run->values[call->values[number]]. */
static LLVMValueRef entry(tm_region *r, int number) {
    tm_emit *e = r->e;
    LLVMValueRef frame = tm_emit_load(e, e->i32, r->call, (int64_t)offsetof(tm_call, values) + 4 * number);
    LLVMValueRef bytes =
        tm_mul(r, LLVMBuildSExt(e->builder, frame, e->i64, ""), tm_int(r, sizeof(tamis_tensor)));
    LLVMValueRef values = tm_emit_load(e, e->ptr, r->run, TM_OFFSET(values));
    return LLVMBuildInBoundsGEP2(e->builder, e->i8, values, &bytes, 1, "");
}

LLVMValueRef tm_operand_data(tm_region *r, int number) {
    return tm_emit_load(r->e, r->e->ptr, entry(r, number), (int64_t)offsetof(tamis_tensor, data));
}

LLVMValueRef tm_operand_dim(tm_region *r, int number, int axis) {
    tm_dim dim = operand(r, number)->dims[axis];
    if (dim->kind == TM_DIM_CONST)
        return tm_int(r, dim->constant);
    return tm_operand_dim_loaded(r, number, axis);
}

LLVMValueRef tm_operand_dim_loaded(tm_region *r, int number, int axis) {
    LLVMValueRef dims =
        tm_emit_load(r->e, r->e->ptr, entry(r, number), (int64_t)offsetof(tamis_tensor, dims));
    return tm_emit_load(r->e, r->e->i64, dims, 8 * (int64_t)axis);
}

LLVMValueRef tm_operand_product(tm_region *r, int number, int from, int to) {
    LLVMValueRef product = tm_int(r, 1);
    for (int i = from; i < to; i++)
        product = tm_mul(r, product, tm_operand_dim(r, number, i));
    return product;
}
