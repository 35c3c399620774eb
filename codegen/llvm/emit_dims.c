/* SPDX-License-Identifier: Apache-2.0
 *
 * emit_dims.c: dim expressions as code, and the prepare function.
 *
 * prepare() binds the symbols of input dims, checks that equal names have equal values, and stores every dim
 * that depends on them only; then the offsets of the workspace slots. Arithmetic that overflows does
 * not branch: flags are collected and checked once (tm_check_dims).
 */
#include "codegen/llvm/emit.h"

#include <string.h>

static LLVMValueRef checked(tm_emit *e, const char *intrinsic, LLVMValueRef a, LLVMValueRef b) {
    unsigned id = LLVMLookupIntrinsicID(intrinsic, strlen(intrinsic));
    LLVMValueRef function = LLVMGetIntrinsicDeclaration(e->module, id, &e->i64, 1);
    LLVMTypeRef type = LLVMIntrinsicGetType(e->context, id, &e->i64, 1);
    LLVMValueRef pair = LLVMBuildCall2(e->builder, type, function, (LLVMValueRef[]){a, b}, 2, "");
    LLVMValueRef overflow = LLVMBuildExtractValue(e->builder, pair, 1, "");
    e->overflow = e->overflow == NULL ? overflow : LLVMBuildOr(e->builder, e->overflow, overflow, "");
    return LLVMBuildExtractValue(e->builder, pair, 0, "");
}

static LLVMValueRef helper(tm_emit *e, const char *name, LLVMValueRef a, LLVMValueRef b) {
    e->dims_unsafe = true;
    return tm_emit_call(e, name, e->i64, (LLVMValueRef[]){e->run, a, b}, 3);
}

static LLVMValueRef compare(tm_emit *e, LLVMIntPredicate predicate, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildZExt(e->builder, LLVMBuildICmp(e->builder, predicate, a, b, ""), e->i64, "");
}

static LLVMValueRef choose(tm_emit *e, LLVMIntPredicate predicate, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildSelect(e->builder, LLVMBuildICmp(e->builder, predicate, a, b, ""), a, b, "");
}

static LLVMValueRef emit_kind(tm_emit *e, tm_dim dim) {
    if (dim->kind == TM_DIM_CONST)
        return tm_emit_i64(e, dim->constant);
    if (dim->kind == TM_DIM_SYMBOL)
        return tm_emit_load(e, e->i64, e->dims, 8 * (int64_t)(e->plan->symbol_dims + dim->symbol->number));
    LLVMValueRef a = tm_emit_dim(e, dim->a), b = tm_emit_dim(e, dim->b);
    switch (dim->kind) {
    case TM_DIM_ADD:
        return checked(e, "llvm.sadd.with.overflow", a, b);
    case TM_DIM_MUL:
        return checked(e, "llvm.smul.with.overflow", a, b);
    case TM_DIM_FLOORDIV:
        return helper(e, "tm_floordiv_dim", a, b);
    case TM_DIM_TRUNCDIV:
        return helper(e, "tm_truncdiv_dim", a, b);
    case TM_DIM_FLOORMOD:
        return helper(e, "tm_floormod_dim", a, b);
    case TM_DIM_BROADCAST:
        return helper(e, "tm_broadcast_dim", a, b);
    case TM_DIM_MIN:
        return choose(e, LLVMIntSLT, a, b);
    case TM_DIM_MAX:
        return choose(e, LLVMIntSGT, a, b);
    case TM_DIM_EQUAL:
        return compare(e, LLVMIntEQ, a, b);
    case TM_DIM_LESS:
        return compare(e, LLVMIntSLT, a, b);
    default: { /* SELECT */
        LLVMValueRef c = tm_emit_dim(e, dim->c);
        LLVMValueRef yes = LLVMBuildICmp(e->builder, LLVMIntNE, a, tm_emit_i64(e, 0), "");
        return LLVMBuildSelect(e->builder, yes, b, c, "");
    }
    }
}

LLVMValueRef tm_emit_dim(tm_emit *e, tm_dim dim) {
    bool cache = e->dim_cache != NULL && (size_t)dim->number < e->dim_cache_size;
    if (cache && e->dim_cache[dim->number] != NULL)
        return e->dim_cache[dim->number];
    LLVMValueRef value = emit_kind(e, dim);
    if (cache)
        e->dim_cache[dim->number] = value;
    return value;
}

void tm_emit_check_dims(tm_emit *e, int32_t node) {
    if (e->overflow == NULL && !e->dims_unsafe)
        return;
    LLVMValueRef flag =
        e->overflow == NULL ? tm_emit_i32(e, 0) : LLVMBuildZExt(e->builder, e->overflow, e->i32, "");
    tm_emit_check(
        e, tm_emit_call(e, "tm_check_dims", e->i32, (LLVMValueRef[]){e->run, tm_emit_i32(e, node), flag}, 3));
    e->overflow = NULL;
    e->dims_unsafe = false;
}

/* Stores dims from..to of a value; constant ones stand in the template. */
void tm_emit_store_dims(tm_emit *e, const tm_plan_value *value, int from, int to) {
    for (int i = from; i < to; i++) {
        tm_dim dim = value->value->dims[i];
        if (dim->kind == TM_DIM_CONST)
            continue;
        LLVMValueRef size = tm_emit_dim(e, dim);
        tm_emit_store(e, size, e->dims, 8 * (int64_t)(value->dims_offset + i));
        if (dim->low >= 0)
            continue;
        LLVMValueRef negative = LLVMBuildICmp(e->builder, LLVMIntSLT, size, tm_emit_i64(e, 0), "");
        e->overflow = e->overflow == NULL ? negative : LLVMBuildOr(e->builder, e->overflow, negative, "");
    }
}

static void bind(tm_emit *e, const tm_symbol *symbol) {
    int32_t frame = tm_plan_frame(e->plan, symbol->value);
    const tm_plan_value *entry = &e->plan->values.items[frame];
    LLVMValueRef value;
    if (symbol->origin == TM_SYMBOL_LOAD)
        value =
            tm_emit_call(e, "tm_load_element", e->i64,
                         (LLVMValueRef[]){e->run, tm_emit_i32(e, frame), tm_emit_i64(e, symbol->index)}, 3);
    else
        value = tm_emit_load(e, e->i64, e->dims, 8 * (int64_t)(entry->dims_offset + symbol->index));
    tm_emit_store(e, value, e->dims, 8 * (int64_t)(e->plan->symbol_dims + symbol->number));
}

void tm_emit_bind_symbols(tm_emit *e, const tm_value *value) {
    for (size_t i = 0; i < tm_dims_symbol_count(e->model->dims); i++) {
        const tm_symbol *symbol = tm_dims_symbol_at(e->model->dims, i);
        if (symbol->value == value && symbol->origin != TM_SYMBOL_INPUT && e->plan->symbol_used[i])
            bind(e, symbol);
    }
}

/* Binds the symbols that stand alone as a dim of input `number`; other dims are checked afterwards. */
static void bind_input(tm_emit *e, const tm_plan_value *input) {
    for (int i = 0; i < input->value->rank; i++) {
        tm_dim dim = input->value->dims[i];
        if (dim->kind != TM_DIM_SYMBOL || e->stored[dim->symbol->number] != NULL)
            continue;
        LLVMValueRef given = tm_emit_load(e, e->i64, e->dims, 8 * (int64_t)(input->dims_offset + i));
        tm_emit_store(e, given, e->dims, 8 * (int64_t)(e->plan->symbol_dims + dim->symbol->number));
        e->stored[dim->symbol->number] = given;
        if ((size_t)dim->number < e->dim_cache_size)
            e->dim_cache[dim->number] = given;
    }
}

static void check_range(tm_emit *e, int number, LLVMValueRef given, int64_t low, int64_t high) {
    LLVMValueRef code = tm_emit_call(
        e, "tm_check_range", e->i32,
        (LLVMValueRef[]){e->run, tm_emit_i32(e, number), given, tm_emit_i64(e, low), tm_emit_i64(e, high)},
        5);
    tm_emit_check(e, code);
}

static void check_input(tm_emit *e, const tm_plan_value *input, int number) {
    for (int i = 0; i < input->value->rank; i++) {
        tm_dim dim = input->value->dims[i];
        LLVMValueRef given = tm_emit_load(e, e->i64, e->dims, 8 * (int64_t)(input->dims_offset + i));
        if (dim->kind == TM_DIM_SYMBOL)
            check_range(e, number, given, dim->symbol->low, dim->symbol->high);
        LLVMValueRef code =
            tm_emit_call(e, "tm_check_input_dim", e->i32,
                         (LLVMValueRef[]){e->run, tm_emit_i32(e, number), tm_emit_dim(e, dim), given}, 4);
        tm_emit_check(e, code);
    }
}

static LLVMValueRef value_bytes(tm_emit *e, const tm_value *value) {
    LLVMValueRef count = tm_emit_dim(e, tm_dim_product(e->model->dims, value->dims, value->rank));
    int bits = tm_type_bits(value->type);
    if (bits >= 8)
        return checked(e, "llvm.smul.with.overflow", count, tm_emit_i64(e, bits / 8));
    LLVMValueRef total = checked(e, "llvm.smul.with.overflow", count, tm_emit_i64(e, bits));
    return LLVMBuildAShr(e->builder, LLVMBuildAdd(e->builder, total, tm_emit_i64(e, 7), ""),
                         tm_emit_i64(e, 3), "");
}

static void emit_slots(tm_emit *e) {
    LLVMValueRef offset = tm_emit_i64(e, 0);
    for (size_t s = 0; s < e->plan->slots.count; s++) {
        const tm_plan_slot *slot = &e->plan->slots.items[s];
        LLVMValueRef bytes = tm_emit_i64(e, 0);
        for (size_t i = 0; i < slot->members.count; i++)
            bytes = choose(e, LLVMIntSGT, bytes,
                           value_bytes(e, e->plan->values.items[slot->members.items[i]].value));
        tm_emit_store(e, offset, e->dims, 8 * (int64_t)(e->plan->slot_dims + (int32_t)s));
        bytes =
            LLVMBuildAnd(e->builder, LLVMBuildAdd(e->builder, bytes, tm_emit_i64(e, TAMIS_ALIGNMENT - 1), ""),
                         tm_emit_i64(e, -TAMIS_ALIGNMENT), "");
        offset = checked(e, "llvm.sadd.with.overflow", offset, bytes);
    }
    tm_emit_store(e, offset, e->run, TM_OFFSET(workspace_bytes));
}

void tm_emit_prepare(tm_emit *e) {
    tm_emit_begin(e, "tm_model_prepare", true);
    e->dim_cache_size = 1u << 16;
    e->dim_cache = TM_NEW_ARRAY(e->arena, LLVMValueRef, e->dim_cache_size);
    e->stored = TM_NEW_ARRAY(e->arena, LLVMValueRef, tm_dims_symbol_count(e->model->dims) + 1);
    const tm_graph *graph = e->model->main;
    for (size_t i = 0; i < graph->inputs.count; i++)
        if (graph->inputs.items[i]->kind == TAMIS_KIND_TENSOR)
            bind_input(e, &e->plan->values.items[tm_plan_frame(e->plan, graph->inputs.items[i])]);
    for (size_t i = 0; i < graph->inputs.count; i++)
        if (graph->inputs.items[i]->kind == TAMIS_KIND_TENSOR)
            check_input(e, &e->plan->values.items[tm_plan_frame(e->plan, graph->inputs.items[i])], (int)i);
    tm_emit_check_dims(e, -1);
    for (size_t i = 0; i < e->model->constraints.count; i++) {
        const tm_constraint *c = &e->model->constraints.items[i];
        if (c->a->late || c->b->late)
            continue;
        LLVMValueRef a = tm_emit_dim(e, c->a), b = tm_emit_dim(e, c->b);
        tm_emit_check(
            e,
            tm_emit_call(e, "tm_check_equal", e->i32,
                         (LLVMValueRef[]){e->run, tm_emit_i32(e, tm_emit_node_number(e, c->node)), a, b}, 4));
    }
    bool *written = TM_NEW_ARRAY(e->arena, bool, e->plan->dims_count + 1);
    for (size_t i = 0; i < e->plan->values.count; i++) {
        const tm_plan_value *entry = &e->plan->values.items[i];
        if (entry->storage == TM_STORAGE_INPUT || entry->value->kind != TAMIS_KIND_TENSOR ||
            written[entry->dims_offset])
            continue;
        written[entry->dims_offset] = entry->value->rank > 0;
        for (int d = 0; d < entry->value->rank; d++)
            if (!entry->value->dims[d]->late)
                tm_emit_store_dims(e, entry, d, d + 1);
    }
    emit_slots(e);
    tm_emit_check_dims(e, -1);
    e->dim_cache = NULL;
    e->dim_cache_size = 0;
    tm_emit_end(e);
}
