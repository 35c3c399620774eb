/* SPDX-License-Identifier: Apache-2.0
 *
 * emit.c: small steps of emission that all files of codegen/llvm/ share.
 *
 * Memory is addressed as base pointer plus bytes, with the offsets of the C structs (offsetof), so no LLVM
 * struct type mirrors a C one. A function being built has one fail block: tm_emit_check leaves through it
 * with the code as the result.
 */
#include "codegen/llvm/emit.h"

#include <string.h>

LLVMValueRef tm_emit_i32(const tm_emit *e, int64_t value) {
    return LLVMConstInt(e->i32, (unsigned long long)value, 1);
}

LLVMValueRef tm_emit_i64(const tm_emit *e, int64_t value) {
    return LLVMConstInt(e->i64, (unsigned long long)value, 1);
}

LLVMValueRef tm_emit_offset(tm_emit *e, LLVMValueRef pointer, int64_t bytes) {
    LLVMValueRef index = tm_emit_i64(e, bytes);
    return bytes == 0 ? pointer : LLVMBuildInBoundsGEP2(e->builder, e->i8, pointer, &index, 1, "");
}

LLVMValueRef tm_emit_load(tm_emit *e, LLVMTypeRef type, LLVMValueRef pointer, int64_t bytes) {
    return LLVMBuildLoad2(e->builder, type, tm_emit_offset(e, pointer, bytes), "");
}

void tm_emit_store(tm_emit *e, LLVMValueRef value, LLVMValueRef pointer, int64_t bytes) {
    LLVMBuildStore(e->builder, value, tm_emit_offset(e, pointer, bytes));
}

LLVMValueRef tm_emit_call(tm_emit *e, const char *name, LLVMTypeRef result, LLVMValueRef *arguments,
                          unsigned count) {
    LLVMTypeRef types[16];
    for (unsigned i = 0; i < count; i++)
        types[i] = LLVMTypeOf(arguments[i]);
    LLVMTypeRef type = LLVMFunctionType(result, types, count, 0);
    LLVMValueRef function = LLVMGetNamedFunction(e->module, name);
    if (function == NULL) {
        function = LLVMAddFunction(e->module, name, type);
        LLVMSetVisibility(function, LLVMHiddenVisibility);
    }
    return LLVMBuildCall2(e->builder, type, function, arguments, count, "");
}

LLVMBasicBlockRef tm_emit_block(tm_emit *e, const char *name) {
    return LLVMAppendBasicBlockInContext(e->context, e->function, name);
}

void tm_emit_check(tm_emit *e, LLVMValueRef code) {
    LLVMBasicBlockRef here = LLVMGetInsertBlock(e->builder);
    LLVMBasicBlockRef next = tm_emit_block(e, "");
    LLVMValueRef failed = LLVMBuildICmp(e->builder, LLVMIntNE, code, tm_emit_i32(e, 0), "");
    LLVMBuildCondBr(e->builder, failed, e->fail, next);
    LLVMAddIncoming(e->fail_phi, &code, &here, 1);
    LLVMPositionBuilderAtEnd(e->builder, next);
}

void tm_emit_begin(tm_emit *e, const char *name, bool hidden) {
    LLVMTypeRef type = LLVMFunctionType(e->i32, &e->ptr, 1, 0);
    e->function = LLVMAddFunction(e->module, name, type);
    LLVMSetLinkage(e->function, hidden ? LLVMInternalLinkage : LLVMExternalLinkage);
    e->run = LLVMGetParam(e->function, 0);
    LLVMBasicBlockRef entry = tm_emit_block(e, "entry");
    e->fail = tm_emit_block(e, "fail");
    LLVMPositionBuilderAtEnd(e->builder, e->fail);
    e->fail_phi = LLVMBuildPhi(e->builder, e->i32, "code");
    LLVMBuildRet(e->builder, e->fail_phi);
    LLVMPositionBuilderAtEnd(e->builder, entry);
    tm_emit_line_number(e, 0);
    e->dims = tm_emit_load(e, e->ptr, e->run, TM_OFFSET(dims));
    e->overflow = NULL;
    e->dims_unsafe = false;
}

void tm_emit_end(tm_emit *e) {
    LLVMBuildRet(e->builder, tm_emit_i32(e, 0));
    if (LLVMCountIncoming(e->fail_phi) == 0)
        LLVMDeleteBasicBlock(e->fail);
}

LLVMValueRef tm_emit_bytes(tm_emit *e, const char *name, const void *data, size_t bytes, unsigned alignment) {
    LLVMValueRef value = LLVMConstStringInContext(e->context, data, (unsigned)bytes, 1);
    LLVMValueRef global = LLVMAddGlobal(e->module, LLVMTypeOf(value), name);
    LLVMSetInitializer(global, value);
    LLVMSetLinkage(global, LLVMPrivateLinkage);
    LLVMSetGlobalConstant(global, 1);
    LLVMSetAlignment(global, alignment);
    LLVMSetUnnamedAddress(global, LLVMGlobalUnnamedAddr);
    return global;
}

LLVMValueRef tm_emit_string(tm_emit *e, const char *text) {
    return text == NULL ? LLVMConstNull(e->ptr) : tm_emit_bytes(e, "", text, strlen(text) + 1, 1);
}

/* ---- parts ---- */

#define PART_STEPS 128

static void part_open(tm_emit *e, tm_emit_parts *parts) {
    parts->outer.function = e->function;
    parts->outer.run = e->run;
    parts->outer.dims = e->dims;
    parts->outer.fail_phi = e->fail_phi;
    parts->outer.fail = e->fail;
    parts->outer.here = LLVMGetInsertBlock(e->builder);
    parts->open = true;
    parts->steps = 0;
    tm_emit_begin(e, parts->name, true);
    unsigned kind = LLVMGetEnumAttributeKindForName("noinline", 8);
    LLVMAddAttributeAtIndex(e->function, LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(e->context, kind, 0));
}

static void part_close(tm_emit *e, tm_emit_parts *parts) {
    tm_emit_check_dims(e, -1);
    tm_emit_end(e);
    LLVMValueRef part = e->function;
    e->function = parts->outer.function;
    e->run = parts->outer.run;
    e->dims = parts->outer.dims;
    e->fail_phi = parts->outer.fail_phi;
    e->fail = parts->outer.fail;
    LLVMPositionBuilderAtEnd(e->builder, parts->outer.here);
    parts->open = false;
    LLVMTypeRef type = LLVMFunctionType(e->i32, &e->ptr, 1, 0);
    tm_emit_check(e, LLVMBuildCall2(e->builder, type, part, &e->run, 1, ""));
}

void tm_emit_parts_begin(tm_emit *e, tm_emit_parts *parts, const char *name, int64_t steps) {
    *parts = (tm_emit_parts){.name = name, .split = steps > PART_STEPS};
    if (parts->split)
        tm_emit_check_dims(e, -1);
}

void tm_emit_parts_step(tm_emit *e, tm_emit_parts *parts) {
    if (!parts->split)
        return;
    if (parts->open && parts->steps == PART_STEPS)
        part_close(e, parts);
    if (!parts->open)
        part_open(e, parts);
    parts->steps++;
}

void tm_emit_parts_end(tm_emit *e, tm_emit_parts *parts) {
    if (parts->open)
        part_close(e, parts);
}
