/* SPDX-License-Identifier: Apache-2.0
 *
 * emit.h: the state of one module's emission, inside codegen/llvm/ only.
 */
#ifndef TM_CODEGEN_LLVM_EMIT_H
#define TM_CODEGEN_LLVM_EMIT_H

#include "codegen/codegen.h"
#include "codegen/plan.h"
#include "codegen/target.h"

#include "codegen/llvm/objects.h"

#include <llvm-c/Core.h>
#include <llvm-c/DebugInfo.h>
#include <llvm-c/TargetMachine.h>

/* What belongs to a node that is emitted, and to a value: emit_index.c. */
typedef struct tm_emit_index_node {
    const tm_node *node;
    int32_t name;                           /* number in node_names, or -1 */
    size_t first_constraint, constraint_count; /* in the index's constraints */
} tm_emit_index_node;

typedef struct tm_emit_index {
    tm_emit_index_node *nodes; /* sorted by address */
    size_t node_count;
    const tm_constraint **constraints; /* those that prepare() does not check, node by node */
    int32_t *first_symbol;             /* by value id: symbol number, or -1 */
    int32_t *next_symbol;              /* by symbol number */
} tm_emit_index;

typedef struct tm_emit_cached_dim {
    LLVMValueRef value;
    LLVMValueRef function; /* for which it holds */
    LLVMBasicBlockRef block;
} tm_emit_cached_dim;

typedef struct tm_emit_held tm_emit_held;

typedef struct tm_emit {
    tm_arena *arena;
    tm_diagnostics *diagnostics;
    tm_model *model;
    const tm_plan *plan;
    const tm_codegen_options *options;
    const char *data_layout;
    tm_objects *objects; /* NULL: all is one module, which becomes text */
    /* the module that is open */
    tm_emit_held *held;
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder;
    LLVMTypeRef i1, i8, i16, i32, i64, f32, ptr, void_type;
    LLVMTypeRef kernel_type; /* i32 (ptr run, ptr call) */
    /* the function under construction */
    LLVMValueRef function, run, dims;
    LLVMBasicBlockRef fail; /* returns the phi of failing codes */
    LLVMValueRef fail_phi;
    LLVMValueRef overflow; /* i1 collected by emit_dim, or NULL */
    bool dims_unsafe;      /* a helper that may record a failure was called */
    bool caches_dims; /* prepare(): a dim computed once serves the rest of the function, else of its block:
                       * dims are graphs, and as trees they may be exponentially large */
    bool forgives;    /* prepare(): dims of bodies may fail, so they serve nobody else */
    TM_VECTOR(tm_emit_cached_dim) dim_cache; /* by dim number */
    bool *stored;                            /* prepare(): symbols already bound, by number */
    TM_VECTOR(int32_t)
    kept_dims; /* execute(): by dim number, 1 + the entry of run->dims where it stands; 0: none */
    /* tables */
    tm_emit_index index;
    TM_VECTOR(const char *) node_names;
    const tm_symbol *batch; /* see codegen/slices.h, or NULL */
    int32_t step_count; /* with --profile */
    /* with -g */
    const struct tm_lines *lines; /* or NULL */
    struct {
        LLVMDIBuilderRef builder;
        LLVMMetadataRef file, nowhere;
        unsigned line; /* of what is emitted now */
    } debug;
} tm_emit;

/* Stretches of a long function in functions of their own: what LLVM does to a function takes more than twice
 * as long for twice the code. Nothing may cross their borders but memory. */
typedef struct tm_emit_parts {
    const char *name;
    bool split; /* false: so few steps that no part is made */
    bool open;
    int steps; /* in the open part */
    struct {
        LLVMValueRef function, run, dims, fail_phi;
        LLVMBasicBlockRef fail, here;
    } outer;
} tm_emit_parts;

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
/* Parts: `steps` is how many steps are to come, each announced by tm_emit_parts_step. */
void tm_emit_parts_begin(tm_emit *e, tm_emit_parts *parts, const char *name, int64_t steps);
void tm_emit_parts_step(tm_emit *e, tm_emit_parts *parts);
void tm_emit_parts_end(tm_emit *e, tm_emit_parts *parts);

/* module.c: opens a module in a context of its own. */
void tm_emit_open_module(tm_emit *e);
/* The module has all its functions: it goes to e->objects. */
TM_MUST_USE tm_code tm_emit_complete_module(tm_emit *e);
/* The function runs so seldom that its speed does not count. */
void tm_emit_mark_cold(const tm_emit *e, LLVMValueRef function);

/* emit_index.c: made once, before anything is emitted; the graph must not change any more. */
void tm_emit_index_create(tm_emit *e);
/* Number of a node in the table of names; -1 for NULL. */
int32_t tm_emit_node_number(tm_emit *e, const tm_node *node);
/* Is it checked in prepare()? Not where a dim is late, nor in the body of an If, Loop or Scan, which may
 * never run. */
bool tm_emit_constraint_is_early(const tm_emit *e, const tm_constraint *constraint);
/* The other constraints, which are checked before a node (for a region: those of its body). */
const tm_constraint *const *tm_emit_node_constraints(const tm_emit *e, const tm_node *node,
                                                     size_t *out_count);

/* emit_dims.c */
LLVMValueRef tm_emit_dim(tm_emit *e, tm_dim dim);
/* The dim stands in this entry of run->dims from here on, wherever execute() goes. */
void tm_emit_keep_dim(tm_emit *e, tm_dim dim, int32_t entry);
/* Bytes of a value in memory, tiles filled up; dims that may overflow are to be checked then. */
LLVMValueRef tm_emit_value_bytes(tm_emit *e, const tm_value *value);
void tm_emit_check_dims(tm_emit *e, int32_t node);
/* Before a node of a body: the dims of its results that prepare() computed and forgave. */
void tm_emit_check_results(tm_emit *e, const tm_node *node, int32_t number);
void tm_emit_store_dims(tm_emit *e, const tm_plan_value *value, int from, int to, int32_t node);
void tm_emit_constraint(tm_emit *e, const tm_constraint *constraint, int32_t node);
void tm_emit_bind_symbols(tm_emit *e, const tm_value *value);
void tm_emit_prepare(tm_emit *e);

/* emit_driver.c, emit_control.c, emit_tables.c */
TM_MUST_USE tm_code tm_emit_execute(tm_emit *e);
TM_MUST_USE tm_code tm_emit_graph(tm_emit *e, tm_graph *graph);
TM_MUST_USE tm_code tm_emit_control(tm_emit *e, tm_node *node, int32_t number);
TM_MUST_USE tm_code tm_emit_tables(tm_emit *e, uint64_t weights_hash);
/* Address of values[frame].data. */
LLVMValueRef tm_emit_data_slot(tm_emit *e, int32_t frame);

/* emit_profile.c: nothing unless the options ask for a profile. First the functions; then around each call of
 * a kernel, the end after the symbols that the node decides are bound. */
void tm_emit_profile(tm_emit *e);
LLVMValueRef tm_emit_step_begin(tm_emit *e, const tm_node *node, const char *function);
void tm_emit_step_end(tm_emit *e, const tm_node *node, int32_t number, LLVMValueRef step);

/* emit_lines.c: nothing without -g. Instructions that follow are those of the node; returns the line before,
 * for tm_emit_line_number, where 0 is no line. The end comes after all functions that are emitted here. */
void tm_emit_lines_begin(tm_emit *e);
unsigned tm_emit_line(tm_emit *e, const tm_node *node);
void tm_emit_line_number(tm_emit *e, unsigned line);
void tm_emit_lines_end(tm_emit *e);

/* emit_tables.c: the function of the runtime that makes the weights of coded ones. */
const char *tm_unpack_symbol(const tm_emit *e);

/* emit_entry.c: the typed functions of the generated header. Models with handles have none. */
void tm_emit_entry(tm_emit *e);

#endif
