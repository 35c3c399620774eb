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

int32_t tm_emit_node_number(tm_emit *e, const tm_node *node) {
    if (node == NULL)
        return -1;
    const char *op = tm_op_get(node->op)->name;
    const char *path = node->file_path != NULL ? node->file_path : "main";
    const char *name = node->name != NULL ? node->name : "";
    tm_push(e->arena, &e->node_names,
            node->file_index >= 0 ? tm_arena_format(e->arena, "%s node %lld: %s '%s'", path,
                                                    (long long)node->file_index, op, name)
                                  : tm_arena_format(e->arena, "%s: %s '%s'", path, op, name));
    return (int32_t)e->node_names.count - 1;
}
