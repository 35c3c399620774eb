/* SPDX-License-Identifier: Apache-2.0
 *
 * emit_profile.c: what --profile adds to the driver: a call of the profiler, where one is set, around each
 * step.
 *
 *     tm_model_step(&step_17, 0, 0, 0);
 *     code = tm_region_3(run, &call_18);  if (code) return code;
 *     tm_model_step(&step_17, 1, flops, bytes);
 *
 * include/tamis/profile.h describes the record of a step. Flops and bytes are the expressions of
 * codegen/cost.h, evaluated when the step has run, so that dims that it decides are known. Without --profile
 * nothing here leaves a trace in the module.
 */
#include "codegen/cost.h"
#include "codegen/llvm/emit.h"
#include "codegen/llvm/schedule.h"
#include "tamis/profile.h"

static LLVMTypeRef step_type(tm_emit *e, unsigned parameters) {
    LLVMTypeRef with_user[] = {e->ptr, e->ptr, e->i32, e->i64, e->i64};
    return LLVMFunctionType(e->void_type, with_user + (5 - parameters), parameters, 0);
}

/* static tamis_profiler *profiler; void tamis_set_profiler(tamis_profiler *p) { profiler = p; } */
static LLVMValueRef emit_profiler(tm_emit *e) {
    LLVMValueRef global = LLVMAddGlobal(e->module, e->ptr, "tm_model_profiler");
    LLVMSetInitializer(global, LLVMConstNull(e->ptr));
    LLVMSetLinkage(global,
                   LLVMLinkOnceAnyLinkage); /* one variable, whatever objects the module is cut into */
    LLVMSetVisibility(global, LLVMHiddenVisibility);
    LLVMTypeRef type = LLVMFunctionType(e->void_type, &e->ptr, 1, 0);
    LLVMValueRef set = LLVMAddFunction(e->module, "tamis_set_profiler", type);
    LLVMPositionBuilderAtEnd(e->builder, LLVMAppendBasicBlockInContext(e->context, set, ""));
    LLVMBuildStore(e->builder, LLVMGetParam(set, 0), global);
    LLVMBuildRetVoid(e->builder);
    return global;
}

void tm_emit_profile(tm_emit *e) {
    if (!e->options->profile)
        return;
    LLVMValueRef global = emit_profiler(e);
    LLVMValueRef tell = LLVMAddFunction(e->module, "tm_model_step", step_type(e, 4));
    LLVMSetLinkage(tell, LLVMInternalLinkage);
    LLVMBasicBlockRef entry = LLVMAppendBasicBlockInContext(e->context, tell, "entry");
    LLVMBasicBlockRef call = LLVMAppendBasicBlockInContext(e->context, tell, "call");
    LLVMBasicBlockRef done = LLVMAppendBasicBlockInContext(e->context, tell, "done");
    LLVMPositionBuilderAtEnd(e->builder, entry);
    LLVMValueRef profiler = LLVMBuildLoad2(e->builder, e->ptr, global, "");
    LLVMBuildCondBr(e->builder, LLVMBuildIsNull(e->builder, profiler, ""), done, call);
    LLVMPositionBuilderAtEnd(e->builder, call);
    LLVMValueRef arguments[] = {tm_emit_load(e, e->ptr, profiler, (int64_t)offsetof(tamis_profiler, user)),
                                LLVMGetParam(tell, 0), LLVMGetParam(tell, 1), LLVMGetParam(tell, 2),
                                LLVMGetParam(tell, 3)};
    LLVMValueRef step = tm_emit_load(e, e->ptr, profiler, (int64_t)offsetof(tamis_profiler, step));
    LLVMBuildCall2(e->builder, step_type(e, 5), step, arguments, 5, "");
    LLVMBuildBr(e->builder, done);
    LLVMPositionBuilderAtEnd(e->builder, done);
    LLVMBuildRetVoid(e->builder);
}

typedef TM_VECTOR(LLVMValueRef) strings;

static void add_sources(tm_emit *e, const tm_node *node, strings *out) {
    if (tm_node_subgraph_count(node) == 0) {
        const char *name = node->name != NULL ? node->name : "";
        const char *text = tm_arena_format(e->arena, "%s %s", tm_op_get(node->op)->name, name);
        tm_push(e->arena, out, tm_emit_string(e, text));
        return;
    }
    for (int i = 0; i < tm_node_subgraph_count(node); i++)
        for (const tm_node *inner = tm_node_subgraph(node, i)->first; inner != NULL; inner = inner->next)
            add_sources(e, inner, out);
}

static LLVMValueRef constant_record(tm_emit *e, LLVMValueRef value, const char *name) {
    LLVMValueRef global = LLVMAddGlobal(e->module, LLVMTypeOf(value), name);
    LLVMSetInitializer(global, value);
    LLVMSetLinkage(global, LLVMPrivateLinkage);
    LLVMSetGlobalConstant(global, 1);
    return global;
}

static void tell(tm_emit *e, LLVMValueRef step, int finished, LLVMValueRef flops, LLVMValueRef bytes) {
    LLVMValueRef arguments[] = {step, tm_emit_i32(e, finished), flops, bytes};
    LLVMBuildCall2(e->builder, step_type(e, 4), LLVMGetNamedFunction(e->module, "tm_model_step"), arguments,
                   4, "");
}

/* Which schedule has the step? */
static void note_step(tm_emit *e, const tm_node *node) {
    tm_schedule_steps *steps = e->options->steps;
    if (steps == NULL)
        return;
    tm_scheduled scheduled = {0};
    if (node->op == TM_OP_Region)
        scheduled = tm_scheduled_of(node);
    tm_push(steps->arena, &steps->list,
            scheduled.kind != NULL ? tm_arena_copy(steps->arena, &scheduled, sizeof(scheduled)) : NULL);
}

LLVMValueRef tm_emit_step_begin(tm_emit *e, const tm_node *node, const char *function) {
    if (!e->options->profile)
        return NULL;
    strings sources = {0};
    add_sources(e, node, &sources);
    LLVMValueRef list =
        constant_record(e, LLVMConstArray2(e->ptr, sources.items, (uint64_t)sources.count), "sources");
    const char *kind = node->op == TM_OP_Region ? tm_node_string(node, "kind") : tm_op_get(node->op)->name;
    LLVMValueRef members[] = {tm_emit_i32(e, e->step_count++), tm_emit_i32(e, (int64_t)sources.count),
                              tm_emit_string(e, kind), tm_emit_string(e, function), list};
    LLVMValueRef step = constant_record(e, LLVMConstStructInContext(e->context, members, 5, 0), "step");
    tell(e, step, 0, tm_emit_i64(e, 0), tm_emit_i64(e, 0));
    note_step(e, node);
    return step;
}

void tm_emit_step_end(tm_emit *e, const tm_node *node, int32_t number, LLVMValueRef step) {
    if (step == NULL)
        return;
    LLVMValueRef flops = tm_emit_dim(e, tm_cost_flops(e->model->dims, node));
    LLVMValueRef bytes = tm_emit_dim(e, tm_cost_bytes(e->model->dims, node));
    tm_emit_check_dims(e, number);
    tell(e, step, 1, flops, bytes);
}
