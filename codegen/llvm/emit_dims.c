/* SPDX-License-Identifier: Apache-2.0
 *
 * emit_dims.c: dim expressions as code, and the prepare function.
 *
 * prepare() binds the symbols of input dims, checks that equal names have equal values, and stores every dim
 * that depends on them only; then the offsets of the workspace slots. Arithmetic that overflows does
 * not branch: flags are collected and checked once (tm_check_dims). What can fail inside the body of an If,
 * Loop or Scan is no error yet, since the body may never run: it is forgiven here and checked at its node.
 */
#include "codegen/llvm/emit.h"

#include "ir/tiles.h"

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

static void cache_dim(tm_emit *e, tm_dim dim, LLVMValueRef value) {
    while (e->dim_cache.count <= (size_t)dim->number)
        tm_push(e->arena, &e->dim_cache, (tm_emit_cached_dim){0});
    e->dim_cache.items[dim->number] =
        (tm_emit_cached_dim){value, e->function, LLVMGetInsertBlock(e->builder)};
}

void tm_emit_keep_dim(tm_emit *e, tm_dim dim, int32_t entry) {
    if (dim->kind == TM_DIM_CONST || dim->kind == TM_DIM_SYMBOL)
        return;
    while (e->kept_dims.count <= (size_t)dim->number)
        tm_push(e->arena, &e->kept_dims, 0);
    e->kept_dims.items[dim->number] = 1 + entry;
}

LLVMValueRef tm_emit_dim(tm_emit *e, tm_dim dim) {
    size_t number = (size_t)dim->number;
    if (number < e->kept_dims.count && e->kept_dims.items[number] != 0)
        return tm_emit_load(e, e->i64, e->dims, 8 * (int64_t)(e->kept_dims.items[number] - 1));
    const tm_emit_cached_dim *cached = number < e->dim_cache.count ? &e->dim_cache.items[number] : NULL;
    if (cached != NULL && cached->function == e->function &&
        (e->caches_dims || cached->block == LLVMGetInsertBlock(e->builder)))
        return cached->value;
    LLVMValueRef value = emit_kind(e, dim);
    if (!e->forgives)
        cache_dim(e, dim, value);
    return value;
}

/* The overflow of the dims since the last check as i32; NULL: none of them can fail. */
static LLVMValueRef take_overflow(tm_emit *e) {
    if (e->overflow == NULL && !e->dims_unsafe)
        return NULL;
    LLVMValueRef flag =
        e->overflow == NULL ? tm_emit_i32(e, 0) : LLVMBuildZExt(e->builder, e->overflow, e->i32, "");
    e->overflow = NULL;
    e->dims_unsafe = false;
    return flag;
}

void tm_emit_check_dims(tm_emit *e, int32_t node) {
    LLVMValueRef flag = take_overflow(e);
    if (flag == NULL)
        return;
    tm_emit_check(
        e, tm_emit_call(e, "tm_check_dims", e->i32, (LLVMValueRef[]){e->run, tm_emit_i32(e, node), flag}, 3));
}

/* `size`, or 0 if dims that it comes from failed. */
static LLVMValueRef forgive_dims(tm_emit *e, LLVMValueRef size) {
    LLVMValueRef flag = take_overflow(e);
    if (flag == NULL)
        return size;
    LLVMValueRef failed = tm_emit_call(e, "tm_forgive_dims", e->i32, (LLVMValueRef[]){e->run, flag}, 2);
    LLVMValueRef fine = LLVMBuildICmp(e->builder, LLVMIntEQ, failed, tm_emit_i32(e, 0), "");
    return LLVMBuildSelect(e->builder, fine, size, tm_emit_i64(e, 0), "");
}

static bool in_body(const tm_emit *e, const tm_value *value) {
    return value->graph != NULL && value->graph != e->model->main;
}

/* The early dims of a body's value, before it is known whether the body runs. */
static void store_body_dims(tm_emit *e, const tm_plan_value *value) {
    e->forgives = true;
    for (int i = 0; i < value->value->rank; i++) {
        tm_dim dim = value->value->dims[i];
        if (dim->late || dim->kind == TM_DIM_CONST)
            continue;
        LLVMValueRef size = forgive_dims(e, tm_emit_dim(e, dim));
        tm_emit_store(e, size, e->dims, 8 * (int64_t)(value->dims_offset + i));
    }
    e->forgives = false;
}

static void check_negative(tm_emit *e, int32_t node, int axis, LLVMValueRef size) {
    tm_emit_check_dims(e, node);
    tm_emit_check(e, tm_emit_call(e, "tm_check_dim", e->i32,
                                  (LLVMValueRef[]){e->run, tm_emit_i32(e, node), tm_emit_i32(e, axis), size},
                                  4));
}

/* Stores dims from..to of a value that `node` makes; constant ones stand in the template. */
void tm_emit_store_dims(tm_emit *e, const tm_plan_value *value, int from, int to, int32_t node) {
    for (int i = from; i < to; i++) {
        tm_dim dim = value->value->dims[i];
        if (dim->kind == TM_DIM_CONST)
            continue;
        LLVMValueRef size = tm_emit_dim(e, dim);
        tm_emit_store(e, size, e->dims, 8 * (int64_t)(value->dims_offset + i));
        if (dim->low < 0)
            check_negative(e, node, i, size);
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
    if (!e->caches_dims)
        e->dim_cache.count = 0; /* an iteration of a body binds its symbols anew */
}

void tm_emit_bind_symbols(tm_emit *e, const tm_value *value) {
    for (int32_t i = e->index.first_symbol[value->id]; i >= 0; i = e->index.next_symbol[i])
        if (e->plan->symbol_used[i])
            bind(e, tm_dims_symbol_at(e->model->dims, (size_t)i));
}

/* Binds the symbols that stand alone as a dim of input `number`; other dims are checked afterwards. */
static void bind_input(tm_emit *e, const tm_plan_value *input) {
    for (int i = 0; i < input->value->rank; i++) {
        tm_dim dim = input->value->dims[i];
        if (dim->kind != TM_DIM_SYMBOL || e->stored[dim->symbol->number])
            continue;
        LLVMValueRef given = tm_emit_load(e, e->i64, e->dims, 8 * (int64_t)(input->dims_offset + i));
        tm_emit_store(e, given, e->dims, 8 * (int64_t)(e->plan->symbol_dims + dim->symbol->number));
        e->stored[dim->symbol->number] = true;
        cache_dim(e, dim, given);
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

LLVMValueRef tm_emit_value_bytes(tm_emit *e, const tm_value *value) {
    LLVMValueRef count = tm_emit_dim(e, tm_value_stored_count(value));
    int bits = tm_type_bits(value->type);
    if (bits >= 8)
        return checked(e, "llvm.smul.with.overflow", count, tm_emit_i64(e, bits / 8));
    LLVMValueRef total = checked(e, "llvm.smul.with.overflow", count, tm_emit_i64(e, bits));
    return LLVMBuildAShr(e->builder, LLVMBuildAdd(e->builder, total, tm_emit_i64(e, 7), ""),
                         tm_emit_i64(e, 3), "");
}

/* The largest member's bytes, of those in bodies or of the others. Members of one size count once: a chain of
 * equal layers has thousands. */
static LLVMValueRef slot_bytes(tm_emit *e, const tm_plan_slot *slot, bool bodies, LLVMValueRef bytes) {
    TM_VECTOR(tm_dim) seen = {0};
    for (size_t i = 0; i < slot->members.count; i++) {
        const tm_value *value = e->plan->values.items[slot->members.items[i]].value;
        if (in_body(e, value) != bodies)
            continue;
        tm_dim bits = tm_dim_mul(e->model->dims, tm_value_stored_count(value),
                                 tm_dim_constant(e->model->dims, tm_type_bits(value->type)));
        size_t k = 0;
        while (k < seen.count && seen.items[k] != bits)
            k++;
        if (k < seen.count)
            continue;
        tm_push(e->arena, &seen, bits);
        e->forgives = bodies;
        LLVMValueRef own = tm_emit_value_bytes(e, value);
        e->forgives = false;
        if (bodies)
            own = forgive_dims(e, own);
        else
            tm_emit_check_dims(e, tm_emit_node_number(e, value->producer));
        bytes = choose(e, LLVMIntSGT, bytes, own);
    }
    return bytes;
}

/* The offsets of the slots, one after the other; the sum so far stands in run->workspace_bytes. */
static void emit_slots(tm_emit *e) {
    tm_emit_parts parts;
    tm_emit_store(e, tm_emit_i64(e, 0), e->run, TM_OFFSET(workspace_bytes));
    tm_emit_parts_begin(e, &parts, "tm_model_slots", (int64_t)e->plan->slots.count);
    for (size_t s = 0; s < e->plan->slots.count; s++) {
        tm_emit_parts_step(e, &parts);
        LLVMValueRef offset = tm_emit_load(e, e->i64, e->run, TM_OFFSET(workspace_bytes));
        LLVMValueRef bytes = slot_bytes(e, &e->plan->slots.items[s], false, tm_emit_i64(e, 0));
        bytes = slot_bytes(e, &e->plan->slots.items[s], true, bytes);
        tm_emit_store(e, offset, e->dims, 8 * (int64_t)(e->plan->slot_dims + (int32_t)s));
        bytes =
            LLVMBuildAnd(e->builder, LLVMBuildAdd(e->builder, bytes, tm_emit_i64(e, TAMIS_ALIGNMENT - 1), ""),
                         tm_emit_i64(e, -TAMIS_ALIGNMENT), "");
        offset = checked(e, "llvm.sadd.with.overflow", offset, bytes);
        tm_emit_store(e, offset, e->run, TM_OFFSET(workspace_bytes));
    }
    tm_emit_check_dims(e, -1);
    tm_emit_parts_end(e, &parts);
}

void tm_emit_constraint(tm_emit *e, const tm_constraint *constraint, int32_t node) {
    LLVMValueRef a = tm_emit_dim(e, constraint->a), b = tm_emit_dim(e, constraint->b);
    const char *check = constraint->node->op == TM_OP_Reshape ? "tm_check_elements" : "tm_check_equal";
    tm_emit_check_dims(e, node);
    tm_emit_check(
        e, tm_emit_call(e, check, e->i32, (LLVMValueRef[]){e->run, tm_emit_i32(e, node), a, b}, 4));
}

static void emit_early_constraints(tm_emit *e) {
    tm_emit_parts parts;
    tm_emit_parts_begin(e, &parts, "tm_model_checks", (int64_t)e->model->constraints.count);
    for (size_t i = 0; i < e->model->constraints.count; i++) {
        const tm_constraint *c = &e->model->constraints.items[i];
        if (!tm_emit_constraint_is_early(e, c))
            continue;
        tm_emit_parts_step(e, &parts);
        tm_emit_constraint(e, c, tm_emit_node_number(e, c->node));
    }
    tm_emit_parts_end(e, &parts);
}

static bool has_early_dims(const tm_value *value) {
    for (int d = 0; d < value->rank; d++)
        if (!value->dims[d]->late && value->dims[d]->kind != TM_DIM_CONST)
            return true;
    return false;
}

/* All dims that depend on the inputs' dims only. Values may share entries, those of bodies with others: they
 * come last. */
static void emit_early_dims(tm_emit *e, bool bodies, bool *written) {
    tm_emit_parts parts;
    tm_emit_parts_begin(e, &parts, "tm_model_dims", (int64_t)e->plan->values.count);
    for (size_t i = 0; i < e->plan->values.count; i++) {
        const tm_plan_value *entry = &e->plan->values.items[i];
        if (entry->storage == TM_STORAGE_INPUT || entry->value->kind != TAMIS_KIND_TENSOR ||
            in_body(e, entry->value) != bodies || written[entry->dims_offset])
            continue;
        written[entry->dims_offset] = entry->value->rank > 0;
        if (!has_early_dims(entry->value))
            continue;
        tm_emit_parts_step(e, &parts);
        if (bodies) {
            store_body_dims(e, entry);
            continue;
        }
        int32_t node = tm_emit_node_number(e, entry->value->producer);
        for (int d = 0; d < entry->value->rank; d++)
            if (!entry->value->dims[d]->late)
                tm_emit_store_dims(e, entry, d, d + 1, node);
        tm_emit_check_dims(e, node);
    }
    tm_emit_parts_end(e, &parts);
}

void tm_emit_check_results(tm_emit *e, const tm_node *node, int32_t number) {
    for (int i = 0; i < node->output_count; i++) {
        const tm_value *value = node->outputs[i];
        if (value == NULL || value->kind != TAMIS_KIND_TENSOR || !has_early_dims(value))
            continue;
        for (int d = 0; d < value->rank; d++) {
            tm_dim dim = value->dims[d];
            if (dim->late || dim->kind == TM_DIM_CONST)
                continue;
            LLVMValueRef size = tm_emit_dim(e, dim);
            if (dim->low < 0)
                check_negative(e, number, d, size);
        }
        if (!tm_value_is_late(value))
            (void)tm_emit_value_bytes(e, value);
        tm_emit_check_dims(e, number);
    }
}

void tm_emit_prepare(tm_emit *e) {
    tm_emit_begin(e, "tm_model_prepare", true);
    e->caches_dims = true;
    e->stored = TM_NEW_ARRAY(e->arena, bool, tm_dims_symbol_count(e->model->dims) + 1);
    const tm_graph *graph = e->model->main;
    for (size_t i = 0; i < graph->inputs.count; i++)
        if (graph->inputs.items[i]->kind == TAMIS_KIND_TENSOR)
            bind_input(e, &e->plan->values.items[tm_plan_frame(e->plan, graph->inputs.items[i])]);
    for (size_t i = 0; i < graph->inputs.count; i++)
        if (graph->inputs.items[i]->kind == TAMIS_KIND_TENSOR)
            check_input(e, &e->plan->values.items[tm_plan_frame(e->plan, graph->inputs.items[i])], (int)i);
    tm_emit_check_dims(e, -1);
    emit_early_constraints(e);
    bool *written = TM_NEW_ARRAY(e->arena, bool, e->plan->dims_count + 1);
    emit_early_dims(e, false, written);
    emit_early_dims(e, true, written);
    emit_slots(e);
    e->caches_dims = false;
    tm_emit_end(e);
}
