/* SPDX-License-Identifier: Apache-2.0
 *
 * emit_tables.c: the artifact's description as constant data: tamis_artifact and what it points to.
 *
 * LLVM lays literal structs out as C does for these members; tm_emit_tables checks the sizes against
 * sizeof, so a change of include/tamis/artifact.h that was not made here is found at once.
 */
#include "codegen/llvm/emit.h"
#include "codegen/llvm/schedule.h"

#include "codegen/slices.h"

#include "tamis/compiler.h"

#include <stdio.h>
#include <string.h>

static LLVMValueRef i8(const tm_emit *e, int value) {
    return LLVMConstInt(e->i8, (unsigned long long)value, 0);
}

static LLVMValueRef row(const tm_emit *e, LLVMValueRef *members, unsigned count) {
    return LLVMConstStructInContext(e->context, members, count, 0);
}

/* A private constant array; NULL pointer when empty. */
static LLVMValueRef array(tm_emit *e, const char *name, LLVMTypeRef type, LLVMValueRef *items, size_t count) {
    if (count == 0)
        return LLVMConstNull(e->ptr);
    LLVMValueRef value = LLVMConstArray2(type, items, count);
    LLVMValueRef global = LLVMAddGlobal(e->module, LLVMTypeOf(value), name);
    LLVMSetInitializer(global, value);
    LLVMSetLinkage(global, LLVMPrivateLinkage);
    LLVMSetGlobalConstant(global, 1);
    LLVMSetAlignment(global, 8);
    return global;
}

static LLVMValueRef strings(tm_emit *e, const char *name, const char *const *texts, size_t count) {
    LLVMValueRef *items = TM_NEW_ARRAY(e->arena, LLVMValueRef, count + 1);
    for (size_t i = 0; i < count; i++)
        items[i] = tm_emit_string(e, texts[i]);
    return array(e, name, e->ptr, items, count);
}

/* All names in one string: pointers would each cost a relocation. */
static LLVMValueRef node_names(tm_emit *e) {
    tm_text text;
    tm_text_init(&text, e->arena);
    for (size_t i = 0; i < e->node_names.count; i++)
        tm_text_add_bytes(&text, e->node_names.items[i], strlen(e->node_names.items[i]) + 1);
    return text.size > 0 ? tm_emit_bytes(e, "nodes", text.data, text.size, 1) : LLVMConstNull(e->ptr);
}

static LLVMValueRef port(tm_emit *e, const tm_value *value, int32_t frame, bool late) {
    int rank = value->rank;
    int64_t dims[TAMIS_MAX_RANK + 1];
    const char *texts[TAMIS_MAX_RANK + 1];
    for (int i = 0; i < rank; i++) {
        tm_text text;
        tm_text_init(&text, e->arena);
        bool known = value->kind == TAMIS_KIND_TENSOR || value->dims[i]->kind == TM_DIM_CONST;
        if (known)
            tm_dim_print(value->dims[i], &text);
        else
            tm_text_add(&text, "?"); /* items of one value may differ there */
        dims[i] = value->dims[i]->kind == TM_DIM_CONST ? value->dims[i]->constant : -1;
        texts[i] = tm_text_get(&text);
    }
    LLVMValueRef members[] = {tm_emit_string(e, value->name),
                              tm_emit_i32(e, frame),
                              tm_emit_i32(e, rank),
                              i8(e, (int)value->type),
                              i8(e, (int)value->kind),
                              i8(e, late),
                              i8(e, (int)value->item),
                              i8(e, (int)value->key),
                              i8(e, e->batch != NULL && rank > 0 && value->dims[0]->kind == TM_DIM_SYMBOL &&
                                        value->dims[0]->symbol == e->batch),
                              i8(e, 0),
                              i8(e, 0),
                              rank > 0 ? tm_emit_bytes(e, "", dims, (size_t)rank * 8, 8)
                                       : LLVMConstNull(e->ptr),
                              strings(e, "", texts, rank > 0 ? (size_t)rank : 0)};
    return row(e, members, 13);
}

static LLVMValueRef ports(tm_emit *e, tm_value *const *values, size_t count, bool output) {
    LLVMValueRef *items = TM_NEW_ARRAY(e->arena, LLVMValueRef, count + 1);
    for (size_t i = 0; i < count; i++) {
        int32_t frame = tm_plan_frame(e->plan, values[i]);
        const tm_plan_value *root = &e->plan->values.items[e->plan->values.items[frame].root];
        items[i] = port(e, values[i], frame, output && root->storage != TM_STORAGE_OUTPUT);
    }
    return array(e, output ? "outputs" : "inputs", count > 0 ? LLVMTypeOf(items[0]) : e->i8, items, count);
}

/* ---- slots ---- */

static LLVMValueRef weight_slots(tm_emit *e) {
    size_t count = e->model->slots.count;
    LLVMValueRef *items = TM_NEW_ARRAY(e->arena, LLVMValueRef, count + 1);
    for (size_t i = 0; i < count; i++)
        items[i] = port(e, e->model->slots.items[i]->value, -1, false);
    return array(e, "weight_slots", count > 0 ? LLVMTypeOf(items[0]) : e->i8, items, count);
}

/* How a constant that stands for a slot is made of it: what put_packed in codegen/weights.c reads of the
 * unpacked constant, in terms of the slot. */
static tm_slot_form slot_form(const tm_weight_slot *slot, int32_t frame, const tm_constant *constant) {
    tm_slot_form form = {.slot = slot->number, .value = frame, .bytes = tm_constant_stored_bytes(constant)};
    if (constant->panel == 0 && !constant->slot_turned)
        return form;
    tm_panels panels = tm_constant_panels(constant);
    form.panel = constant->panel != 0 ? constant->panel : panels.columns;
    form.groups = panels.groups;
    form.columns = panels.columns;
    form.outer = 1;
    form.inner = panels.rows;
    if (constant->rank == 2) {
        form.column_step = constant->slot_turned ? panels.rows : 1;
        form.inner_step = constant->slot_turned ? 1 : panels.columns;
        return form;
    }
    form.group_step = panels.columns * panels.rows;
    form.column_step = panels.rows;
    form.inner_step = 1;
    if (constant->panel_channels_last) {
        form.inner = constant->dims[1];
        form.outer = form.inner > 0 ? panels.rows / form.inner : 0;
        form.inner_step = form.outer;
        form.outer_step = 1;
    }
    return form;
}

static LLVMValueRef slot_forms(tm_emit *e, int32_t *out_count) {
    size_t count = 0, all = e->plan->values.count;
    tm_slot_form *forms = TM_NEW_ARRAY(e->arena, tm_slot_form, all + 1);
    for (size_t i = 0; i < all; i++) {
        const tm_plan_value *entry = &e->plan->values.items[i];
        const tm_weight_slot *slot = entry->value->slot;
        if (entry->storage == TM_STORAGE_CONSTANT && slot == NULL)
            slot = entry->constant->slot;
        if (slot != NULL)
            forms[count++] = slot_form(slot, (int32_t)i, entry->constant);
    }
    *out_count = (int32_t)count;
    return count > 0 ? tm_emit_bytes(e, "slot_forms", forms, count * sizeof *forms, 8)
                     : LLVMConstNull(e->ptr);
}

/* Packed as plain bytes: value_infos and the template have no pointers. */
static LLVMValueRef value_infos(tm_emit *e) {
    size_t count = e->plan->values.count;
    tm_value_info *infos = TM_NEW_ARRAY(e->arena, tm_value_info, count + 1);
    for (size_t i = 0; i < count; i++) {
        const tm_plan_value *entry = &e->plan->values.items[i];
        bool tensor = entry->value->kind == TAMIS_KIND_TENSOR;
        infos[i] = (tm_value_info){.argument = entry->argument,
                                   .dims_offset = entry->dims_offset,
                                   .rank = (int16_t)(tensor ? entry->value->rank : -1),
                                   .type = (uint8_t)entry->value->type,
                                   .kind = (uint8_t)entry->value->kind,
                                   .storage = entry->storage,
                                   .item = (uint8_t)entry->value->item,
                                   .key = (uint8_t)entry->value->key};
        if (entry->storage == TM_STORAGE_ALIAS && entry->unfixed)
            infos[i].storage = TM_STORAGE_NONE; /* its pointer is copied by the driver */
    }
    return tm_emit_bytes(e, "values", infos, count * sizeof(tm_value_info), 8);
}

static LLVMValueRef dims_template(tm_emit *e) {
    int64_t *dims = TM_NEW_ARRAY(e->arena, int64_t, e->plan->dims_count + 1);
    for (size_t i = 0; i < e->plan->values.count; i++) {
        const tm_plan_value *entry = &e->plan->values.items[i];
        for (int d = 0; entry->value->kind == TAMIS_KIND_TENSOR && d < entry->value->rank; d++)
            if (entry->value->dims[d]->kind == TM_DIM_CONST)
                dims[entry->dims_offset + d] = entry->value->dims[d]->constant;
    }
    return tm_emit_bytes(e, "dims", dims, (size_t)e->plan->dims_count * 8, 8);
}

/* i32 cpu_level(): the highest level all of whose bits the CPU has, or -1. */
static LLVMValueRef cpu_level(tm_emit *e) {
    LLVMTypeRef type = LLVMFunctionType(e->i32, NULL, 0, 0);
    LLVMValueRef function = LLVMAddFunction(e->module, "tm_model_cpu_level", type);
    LLVMSetLinkage(function, LLVMInternalLinkage);
    LLVMPositionBuilderAtEnd(e->builder, LLVMAppendBasicBlockInContext(e->context, function, ""));
    LLVMValueRef bits = tm_emit_call(e, "tm_cpu_features", e->i32, NULL, 0);
    unsigned units = 0;
    for (int i = 0; i < e->options->target.level_count; i++)
        units |= e->options->target.levels[i].units;
    if (units != 0)
        bits = LLVMBuildOr(e->builder, bits, tm_emit_call(e, "tm_cpu_units", e->i32, NULL, 0), "");
    LLVMValueRef level = tm_emit_i32(e, -1);
    for (int i = 0; i < e->options->target.level_count; i++) {
        LLVMValueRef mask = tm_emit_i32(e, e->options->target.levels[i].cpu_bits);
        LLVMValueRef has =
            LLVMBuildICmp(e->builder, LLVMIntEQ, LLVMBuildAnd(e->builder, bits, mask, ""), mask, "");
        level = LLVMBuildSelect(e->builder, has, tm_emit_i32(e, i), level, "");
    }
    LLVMBuildRet(e->builder, level);
    return function;
}

static const char *manifest(tm_emit *e) {
    tm_text text;
    tm_text_init(&text, e->arena);
    tm_text_add(&text, "{\"producer\": \"tamis %s\", \"target\": \"%s\", \"levels\": [", TAMIS_VERSION,
                e->options->target.target->triple);
    for (int i = 0; i < e->options->target.level_count; i++)
        tm_text_add(&text, "%s\"%s\"", i > 0 ? ", " : "", e->options->target.levels[i].name);
    tm_text_add(
        &text,
        "], \"optimisation\": %d, \"math\": \"%s\", \"precision\": \"%s\", \"weights\": \"%s\", \"schedules\": ",
        e->options->level, e->options->strict_math ? "strict" : "fast", e->options->precision,
        e->plan->shared != NULL  ? "shared"
        : e->plan->coded == NULL ? "mapped"
                                 : "coded");
    tm_schedule_list(e->model, &e->options->target, e->options->schedules, &text);
    tm_text_add(&text, "}");
    return tm_text_get(&text);
}

static LLVMValueRef weights(tm_emit *e) {
    int64_t bytes = tm_plan_stored_bytes(e->plan);
    if (bytes == 0)
        return LLVMConstNull(e->ptr);
    LLVMValueRef global = LLVMAddGlobal(e->module, LLVMArrayType2(e->i8, (uint64_t)bytes),
                                        tm_arena_format(e->arena, "tamis_weights_%s", e->options->name));
    LLVMSetVisibility(global, LLVMHiddenVisibility);
    LLVMSetGlobalConstant(global, 1);
    return global;
}

static void artifact_function(tm_emit *e, const char *name, LLVMValueRef artifact) {
    LLVMValueRef function = LLVMAddFunction(e->module, name, LLVMFunctionType(e->ptr, NULL, 0, 0));
    LLVMPositionBuilderAtEnd(e->builder, LLVMAppendBasicBlockInContext(e->context, function, ""));
    LLVMBuildRet(e->builder, artifact);
}

const char *tm_unpack_symbol(const tm_emit *e) {
    return e->plan->coded->has_sines ? "tm_unpack_sines" : "tm_unpack";
}

static LLVMValueRef unpack(tm_emit *e) {
    if (e->plan->coded == NULL)
        return LLVMConstNull(e->ptr);
    LLVMValueRef function = LLVMGetNamedFunction(e->module, tm_unpack_symbol(e));
    LLVMTypeRef types[] = {e->ptr, e->ptr};
    if (function == NULL)
        function = LLVMAddFunction(e->module, tm_unpack_symbol(e), LLVMFunctionType(e->i32, types, 2, 0));
    LLVMSetVisibility(function, LLVMHiddenVisibility);
    return function;
}

/* As long as tamis_artifact has members: one row for each, in the order of artifact.h. */
tm_code tm_emit_tables(tm_emit *e, uint64_t weights_hash) {
    const tm_graph *graph = e->model->main;
    const tm_target_choice *target = &e->options->target;
    e->batch = tm_find_slices(e->model);
    const tm_shared_weights *shared = e->plan->shared;
    int32_t forms = 0;
    LLVMValueRef form_table = slot_forms(e, &forms);
    const char *levels[TM_MOST_LEVELS];
    for (int i = 0; i < target->level_count; i++)
        levels[i] = target->levels[i].name;
    LLVMValueRef members[] = {tm_emit_i32(e, TAMIS_MAGIC),
                              tm_emit_i32(e, TAMIS_ABI_VERSION),
                              tm_emit_i32(e, sizeof(tamis_artifact)),
                              tm_emit_i32(e, target->level_count),
                              tm_emit_string(e, e->options->name),
                              tm_emit_string(e, "tamis " TAMIS_VERSION),
                              tm_emit_string(e, target->target->triple),
                              strings(e, "levels", levels, (size_t)target->level_count),
                              tm_emit_i32(e, (int64_t)graph->inputs.count),
                              tm_emit_i32(e, (int64_t)graph->outputs.count),
                              ports(e, graph->inputs.items, graph->inputs.count, false),
                              ports(e, graph->outputs.items, graph->outputs.count, true),
                              tm_emit_i32(e, (int64_t)e->plan->values.count),
                              tm_emit_i32(e, e->plan->buffer_count),
                              tm_emit_i32(e, e->plan->dims_count),
                              tm_emit_i32(e, (int64_t)e->plan->slots.count),
                              tm_emit_i32(e, e->plan->slot_dims),
                              tm_emit_i32(e, e->plan->allocates),
                              tm_emit_i32(e, (int64_t)e->node_names.count),
                              tm_emit_i32(e, e->options->strict_math ? TM_RUN_STRICT : 0),
                              value_infos(e),
                              dims_template(e),
                              node_names(e),
                              weights(e),
                              tm_emit_i64(e, e->plan->weights_bytes),
                              tm_emit_i64(e, tm_plan_stored_bytes(e->plan)),
                              tm_emit_i64(e, (int64_t)weights_hash),
                              tm_emit_i64(e, (int64_t)e->options->model_hash),
                              tm_emit_string(e, manifest(e)),
                              cpu_level(e),
                              LLVMGetNamedFunction(e->module, "tm_model_prepare"),
                              LLVMGetNamedFunction(e->module, "tm_model_execute"),
                              unpack(e),
                              tm_emit_i32(e, (int64_t)e->model->slots.count),
                              tm_emit_i32(e, forms),
                              weight_slots(e),
                              form_table,
                              shared != NULL ? tm_emit_string(e, shared->name) : LLVMConstNull(e->ptr),
                              tm_emit_i64(e, shared != NULL ? (int64_t)shared->id : 0),
                              tm_emit_i64(e, shared != NULL ? shared->count : 0)};
    LLVMValueRef value = row(e, members, sizeof(members) / sizeof(members[0]));
    LLVMTargetDataRef layout = LLVMGetModuleDataLayout(e->module);
    if (LLVMABISizeOfType(layout, LLVMTypeOf(value)) != sizeof(tamis_artifact))
        return tm_report(e->diagnostics, TM_E_INTERNAL, NULL, NULL,
                         "the artifact table does not match artifact.h");
    LLVMValueRef global = LLVMAddGlobal(e->module, LLVMTypeOf(value), "artifact");
    LLVMSetInitializer(global, value);
    LLVMSetLinkage(global, LLVMInternalLinkage);
    LLVMSetGlobalConstant(global, 1);
    artifact_function(e, tm_arena_format(e->arena, "tamis_artifact_%s", e->options->name), global);
    if (e->options->emit == TM_EMIT_SO)
        artifact_function(e, "tamis_artifact", global);
    return TM_OK;
}
