/* SPDX-License-Identifier: Apache-2.0
 *
 * emit_entry.c: the typed entry functions that a generated header declares.
 *
 *     int64_t NAME_workspace_bytes(int64_t symbol...);
 *     int32_t NAME_run(void *workspace, int64_t symbol..., const void *input..., void *output...);
 *
 * and where weights are coded, a second argument of NAME_run, and what fills it once:
 *
 *     int32_t NAME_run(void *workspace, const void *weights, ...);
 *     int32_t NAME_unpack(void *weights);
 *
 * The arguments are the symbols of the input dims (tm_plan_input_symbols); every dim of every input follows
 * from them. Both only fill arrays and call runtime/support_direct.c.
 */
#include "codegen/llvm/emit.h"

typedef struct entry {
    size_t symbol_count;
    tm_symbol **symbols;
    size_t dim_count;
} entry;

static void find_symbols(tm_emit *e, entry *t) {
    t->symbols = tm_plan_input_symbols(e->plan, &t->symbol_count);
    for (size_t i = 0; i < e->model->main->inputs.count; i++)
        t->dim_count += (size_t)e->model->main->inputs.items[i]->rank;
}

static void begin(tm_emit *e, const char *name, LLVMTypeRef result, LLVMTypeRef *types, unsigned count) {
    e->function = LLVMAddFunction(e->module, name, LLVMFunctionType(result, types, count, 0));
    LLVMPositionBuilderAtEnd(e->builder, tm_emit_block(e, "entry"));
}

static LLVMValueRef slots(tm_emit *e, LLVMTypeRef type, size_t count) {
    return LLVMBuildArrayAlloca(e->builder, type, tm_emit_i32(e, (int64_t)(count > 0 ? count : 1)), "");
}

/* The array of all input dims, from the symbol arguments. */
static LLVMValueRef fill_dims(tm_emit *e, const entry *t, unsigned first_argument) {
    const tm_graph *graph = e->model->main;
    LLVMValueRef dims = slots(e, e->i64, t->dim_count);
    int64_t at = 0;
    for (size_t i = 0; i < graph->inputs.count; i++)
        for (int d = 0; d < graph->inputs.items[i]->rank; d++, at += 8) {
            tm_dim dim = graph->inputs.items[i]->dims[d];
            LLVMValueRef size = tm_emit_i64(e, dim->constant);
            for (size_t k = 0; k < t->symbol_count && dim->kind == TM_DIM_SYMBOL; k++)
                if (t->symbols[k] == dim->symbol)
                    size = LLVMGetParam(e->function, first_argument + (unsigned)k);
            tm_emit_store(e, size, dims, at);
        }
    return dims;
}

static LLVMValueRef fill_pointers(tm_emit *e, unsigned first_argument, size_t count) {
    LLVMValueRef pointers = slots(e, e->ptr, count);
    for (size_t i = 0; i < count; i++)
        tm_emit_store(e, LLVMGetParam(e->function, first_argument + (unsigned)i), pointers, 8 * (int64_t)i);
    return pointers;
}

/* NAME_unpack(void *weights) */
static void emit_unpack(tm_emit *e, LLVMValueRef artifact) {
    begin(e, tm_arena_format(e->arena, "%s_unpack", e->options->name), e->i32, &e->ptr, 1);
    LLVMValueRef arguments[] = {artifact, LLVMGetParam(e->function, 0)};
    LLVMBuildRet(e->builder, tm_emit_call(e, tm_unpack_symbol(e), e->i32, arguments, 2));
}

void tm_emit_entry(tm_emit *e) {
    const tm_graph *graph = e->model->main;
    for (size_t i = 0; i < graph->inputs.count; i++)
        if (graph->inputs.items[i]->kind != TAMIS_KIND_TENSOR)
            return;
    entry t = {0};
    find_symbols(e, &t);
    size_t inputs = graph->inputs.count, outputs = graph->outputs.count;
    bool coded = e->plan->coded != NULL;
    unsigned first_dim = coded ? 2 : 1, count = (unsigned)(first_dim + t.symbol_count + inputs + outputs);
    LLVMTypeRef *types = TM_NEW_ARRAY(e->arena, LLVMTypeRef, count);
    for (unsigned i = 0; i < count; i++)
        types[i] = i >= first_dim && i < first_dim + t.symbol_count ? e->i64 : e->ptr;
    LLVMValueRef artifact = LLVMGetNamedGlobal(e->module, "artifact");
    begin(e, tm_arena_format(e->arena, "%s_workspace_bytes", e->options->name), e->i64,
          types + first_dim, (unsigned)t.symbol_count);
    LLVMBuildRet(e->builder, tm_emit_call(e, "tm_direct_bytes", e->i64,
                                          (LLVMValueRef[]){artifact, fill_dims(e, &t, 0)}, 2));
    begin(e, tm_arena_format(e->arena, "%s_run", e->options->name), e->i32, types, count);
    unsigned first = first_dim + (unsigned)t.symbol_count;
    LLVMValueRef arguments[] = {artifact, fill_dims(e, &t, first_dim), fill_pointers(e, first, inputs),
                                fill_pointers(e, first + (unsigned)inputs, outputs),
                                LLVMGetParam(e->function, 0),
                                coded ? LLVMGetParam(e->function, 1) : LLVMConstNull(e->ptr)};
    LLVMBuildRet(e->builder, tm_emit_call(e, "tm_direct_run", e->i32, arguments, 6));
    if (coded)
        emit_unpack(e, artifact);
}
