/* SPDX-License-Identifier: Apache-2.0
 *
 * emit_driver.c: the execute function: nodes in order, each one call of a kernel.
 *
 *     code = tm_k_Add_f32(run, &call_17);  if (code) return code;
 *
 * Around a call stands what its values need: late dims that can be computed beforehand are stored and memory
 * is reserved; symbols that the node decides are bound after it. Views are no code when their
 * root's memory is fixed, else a copied pointer.
 */
#include "codegen/llvm/emit.h"

#include "ir/evaluate.h"
#include "ir/tiles.h"

#include <string.h>

LLVMValueRef tm_emit_data_slot(tm_emit *e, int32_t frame) {
    LLVMValueRef values = tm_emit_load(e, e->ptr, e->run, TM_OFFSET(values));
    return tm_emit_offset(
        e, values, (int64_t)frame * (int64_t)sizeof(tamis_tensor) + (int64_t)offsetof(tamis_tensor, data));
}

/* Late dims of a value that are known before it is made: stored, and memory reserved. */
static void late_dims(tm_emit *e, const tm_value *value, int32_t node, bool reserve) {
    const tm_plan_value *entry = &e->plan->values.items[tm_plan_frame(e->plan, value)];
    if (value->kind != TAMIS_KIND_TENSOR)
        return;
    for (int i = 0; i < value->rank; i++)
        if (value->dims[i]->late)
            tm_emit_store_dims(e, entry, i, i + 1, node);
    tm_emit_check_dims(e, node);
    for (int i = 0; i < value->rank && value->graph == e->model->main;
         i++) /* a body may run again, or not at all */
        if (value->dims[i]->late)
            tm_emit_keep_dim(e, value->dims[i], entry->dims_offset + i);
    if (!reserve || entry->storage != TM_STORAGE_BUFFER)
        return;
    int32_t frame = tm_plan_frame(e->plan, value);
    if (tm_value_is_tiled(value)) {
        LLVMValueRef bytes = tm_emit_value_bytes(e, value);
        tm_emit_check_dims(e, node);
        LLVMValueRef arguments[] = {e->run, tm_emit_i32(e, node), tm_emit_i32(e, frame), bytes};
        tm_emit_check(e, tm_emit_call(e, "tm_reserve_bytes", e->i32, arguments, 4));
        return;
    }
    tm_emit_check(e, tm_emit_call(e, "tm_reserve_value", e->i32,
                                  (LLVMValueRef[]){e->run, tm_emit_i32(e, node), tm_emit_i32(e, frame)}, 3));
}

static void emit_view(tm_emit *e, tm_node *node, int32_t number) {
    int32_t frame = tm_plan_frame(e->plan, node->outputs[0]);
    const tm_plan_value *entry = &e->plan->values.items[frame];
    if (entry->late)
        late_dims(e, node->outputs[0], number, false);
    if (entry->unfixed) {
        LLVMValueRef data =
            tm_emit_load(e, e->ptr, tm_emit_data_slot(e, tm_plan_frame(e->plan, node->inputs[0])), 0);
        LLVMBuildStore(e->builder, data, tm_emit_data_slot(e, frame));
    }
}

static tm_code emit_kernel(tm_emit *e, tm_node *node, int32_t number, LLVMValueRef *out_step) {
    const char *symbol = node->op == TM_OP_Region ? node->region : tm_kernel_symbol(node);
    if (node->op != TM_OP_Region && !tm_kernel_exists(node)) {
        tm_place place = tm_node_place(node);
        const char *type =
            node->input_count > 0 && node->inputs[0] != NULL ? tm_type_text(node->inputs[0]->type) : "";
        return tm_report(e->diagnostics, TM_E_UNSUPPORTED_TYPE, &place, NULL,
                         "%s has no kernel for type %s (%s)", tm_op_get(node->op)->name, type, symbol);
    }
    bool dynamic = tm_op_has(node->op, TM_DYNAMIC);
    for (int i = 0; i < node->output_count && !dynamic; i++)
        if (node->outputs[i] != NULL && tm_value_is_late(node->outputs[i]))
            late_dims(e, node->outputs[i], number, true);
    int32_t *frames = TM_NEW_ARRAY(e->arena, int32_t, node->input_count + node->output_count + 1);
    for (int i = 0; i < node->input_count; i++)
        frames[i] = tm_plan_frame(e->plan, node->inputs[i]);
    for (int i = 0; i < node->output_count; i++)
        frames[node->input_count + i] = tm_plan_frame(e->plan, node->outputs[i]);
    size_t bytes;
    const tm_call *record = tm_call_create(e->arena, node, number, frames, &bytes);
    LLVMValueRef call = tm_emit_bytes(e, "call", record, bytes, 8);
    *out_step = tm_emit_step_begin(e, node, symbol);
    tm_emit_check(e, tm_emit_call(e, symbol, e->i32, (LLVMValueRef[]){e->run, call}, 2));
    return TM_OK;
}

/* Checks of dims that matter at this node and were not made in prepare(). */
static void emit_constraints(tm_emit *e, tm_node *node, int32_t number) {
    size_t count;
    const tm_constraint *const *constraints = tm_emit_node_constraints(e, node, &count);
    for (size_t i = 0; i < count; i++)
        tm_emit_constraint(e, constraints[i], number);
}

static tm_code emit_node(tm_emit *e, tm_node *node) {
    int32_t number = tm_emit_node_number(e, node);
    LLVMValueRef step = NULL;
    (void)tm_emit_line(e, node);
    emit_constraints(e, node, number);
    if (node->graph != e->model->main)
        tm_emit_check_results(e, node, number);
    if (tm_op_has(node->op, TM_VIEW))
        emit_view(e, node, number);
    else if (tm_op_has(node->op, TM_CONTROL))
        TM_TRY(tm_emit_control(e, node, number));
    else
        TM_TRY(emit_kernel(e, node, number, &step));
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL)
            tm_emit_bind_symbols(e, node->outputs[i]);
    tm_emit_step_end(e, node, number, step);
    return TM_OK;
}

tm_code tm_emit_graph(tm_emit *e, tm_graph *graph) {
    tm_code code = TM_OK;
    tm_emit_parts parts;
    tm_emit_parts_begin(e, &parts, "tm_model_nodes", graph->node_count);
    for (tm_node *node = graph->first; node != NULL; node = node->next) {
        tm_emit_parts_step(e, &parts);
        tm_code result = emit_node(e, node);
        if (code == TM_OK)
            code = result; /* goes on, so that all unsupported nodes are listed */
    }
    tm_emit_parts_end(e, &parts);
    return code;
}

/* String constants are tables of pointers in the module, not bytes in the weights. */
static LLVMValueRef string_table(tm_emit *e, const tm_constant *constant) {
    int64_t count = tm_constant_count(constant);
    const tamis_string *strings = constant->data;
    LLVMValueRef *rows = TM_NEW_ARRAY(e->arena, LLVMValueRef, count + 1);
    LLVMTypeRef row_type = LLVMStructTypeInContext(e->context, (LLVMTypeRef[]){e->ptr, e->i64}, 2, 0);
    for (int64_t i = 0; i < count; i++) {
        LLVMValueRef members[2] = {tm_emit_bytes(e, "", strings[i].data, (size_t)strings[i].size, 1),
                                   tm_emit_i64(e, strings[i].size)};
        rows[i] = LLVMConstStructInContext(e->context, members, 2, 0);
    }
    LLVMValueRef table = LLVMConstArray2(row_type, rows, (uint64_t)count);
    LLVMValueRef global = LLVMAddGlobal(e->module, LLVMTypeOf(table), "strings");
    LLVMSetInitializer(global, table);
    LLVMSetLinkage(global, LLVMPrivateLinkage);
    LLVMSetGlobalConstant(global, 1);
    return global;
}

tm_code tm_emit_execute(tm_emit *e) {
    tm_emit_begin(e, "tm_model_execute", true);
    for (size_t i = 0; i < e->plan->values.count; i++) {
        const tm_plan_value *entry = &e->plan->values.items[i];
        if (entry->value->constant != NULL && entry->value->type == TAMIS_TYPE_STRING)
            LLVMBuildStore(e->builder, string_table(e, entry->value->constant),
                           tm_emit_data_slot(e, (int32_t)i));
    }
    const tm_graph *graph = e->model->main;
    for (size_t i = 0; i < graph->inputs.count; i++)
        tm_emit_bind_symbols(e, graph->inputs.items[i]);
    tm_code code = tm_emit_graph(e, e->model->main);
    tm_emit_end(e);
    return code;
}
