/* SPDX-License-Identifier: Apache-2.0
 *
 * emit.h: the state of one module's emission, inside codegen/llvm/ only.
 */
#ifndef TM_CODEGEN_LLVM_EMIT_H
#define TM_CODEGEN_LLVM_EMIT_H

#include "codegen/codegen.h"
#include "codegen/plan.h"
#include "codegen/target.h"

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>

typedef struct tm_emit {
    tm_arena *arena;
    tm_diagnostics *diagnostics;
    tm_model *model;
    const tm_plan *plan;
    const tm_codegen_options *options;
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder;
    LLVMTypeRef i1, i8, i16, i32, i64, f32, ptr, void_type;
    LLVMTypeRef kernel_type; /* i32 (ptr run, ptr call) */
    /* the function under construction */
    LLVMValueRef function, run, dims;
    LLVMBasicBlockRef fail; /* returns the phi of failing codes */
    LLVMValueRef fail_phi;
    LLVMValueRef overflow;   /* i1 collected by emit_dim, or NULL */
    bool dims_unsafe;        /* a helper that may record a failure was called */
    LLVMValueRef *dim_cache; /* by dim number; NULL: no cache */
    size_t dim_cache_size;
    LLVMValueRef *stored; /* prepare(): symbols already bound, by number */
    /* tables */
    TM_VECTOR(const char *) node_names;
    int32_t call_count;
} tm_emit;

#define TM_OFFSET(member) ((int64_t)offsetof(tm_run, member))

LLVMValueRef tm_emit_i32(const tm_emit *e, int64_t value);
LLVMValueRef tm_emit_i64(const tm_emit *e, int64_t value);
/* Pointer plus a constant number of bytes. */
LLVMValueRef tm_emit_offset(tm_emit *e, LLVMValueRef pointer, int64_t bytes);
LLVMValueRef tm_emit_load(tm_emit *e, LLVMTypeRef type, LLVMValueRef pointer, int64_t bytes);
void tm_emit_store(tm_emit *e, LLVMValueRef value, LLVMValueRef pointer, int64_t bytes);
/* Calls an external function; `arguments` is any mix of values; the type is made from their types. */
LLVMValueRef tm_emit_call(tm_emit *e, const char *name, LLVMTypeRef result, LLVMValueRef *arguments,
                          unsigned count);
/* Leaves the function with `code` when it is not 0. */
void tm_emit_check(tm_emit *e, LLVMValueRef code);
LLVMBasicBlockRef tm_emit_block(tm_emit *e, const char *name);
/* Starts a function i32 (ptr run): entry block, dims pointer, fail block. */
void tm_emit_begin(tm_emit *e, const char *name, bool hidden);
void tm_emit_end(tm_emit *e); /* returns 0 at the current point */
/* Constant data with private linkage; returns a pointer. */
LLVMValueRef tm_emit_bytes(tm_emit *e, const char *name, const void *data, size_t bytes, unsigned alignment);
LLVMValueRef tm_emit_string(tm_emit *e, const char *text);
/* Number of a node in the table of names. */
int32_t tm_emit_node_number(tm_emit *e, const tm_node *node);

/* emit_dims.c */
LLVMValueRef tm_emit_dim(tm_emit *e, tm_dim dim);
void tm_emit_check_dims(tm_emit *e, int32_t node);
void tm_emit_store_dims(tm_emit *e, const tm_plan_value *value, int from, int to);
void tm_emit_bind_symbols(tm_emit *e, const tm_value *value);
void tm_emit_prepare(tm_emit *e);

/* emit_driver.c, emit_control.c, emit_tables.c */
TM_MUST_USE tm_code tm_emit_execute(tm_emit *e);
TM_MUST_USE tm_code tm_emit_graph(tm_emit *e, tm_graph *graph);
TM_MUST_USE tm_code tm_emit_control(tm_emit *e, tm_node *node, int32_t number);
TM_MUST_USE tm_code tm_emit_tables(tm_emit *e, uint64_t weights_hash);
/* Address of values[frame].data. */
LLVMValueRef tm_emit_data_slot(tm_emit *e, int32_t frame);

/* emit_entry.c: the typed functions of the generated header. Models with handles have none. */
void tm_emit_entry(tm_emit *e);

#endif
