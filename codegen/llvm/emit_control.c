/* SPDX-License-Identifier: Apache-2.0
 *
 * emit_control.c: If, Loop and Scan as blocks of the driver.
 *
 * A body is emitted in place: its values have frame entries like all others, so captured outer values need no
 * passing. Carried values live in two buffers that swap (tm_carry), scan outputs in one that doubles
 * (tm_scan_append); dims and symbols of body values are bound afresh in each round.
 *
 *     Loop:  carried = initial; i = 0
 *     head:  if (i >= trip count || !condition) goto done
 *            body; carried = results; append scan values; i++; goto head
 *     done:  outputs = carried
 */
#include "codegen/llvm/emit.h"

static void call_checked(tm_emit *e, const char *name, LLVMValueRef *arguments, unsigned count) {
    tm_emit_check(e, tm_emit_call(e, name, e->i32, arguments, count));
}

static void copy(tm_emit *e, int32_t number, const tm_value *to, const tm_value *from) {
    if (to == NULL)
        return;
    call_checked(e, "tm_copy_value",
                 (LLVMValueRef[]){e->run, tm_emit_i32(e, number), tm_emit_i32(e, tm_plan_frame(e->plan, to)),
                                  tm_emit_i32(e, tm_plan_frame(e->plan, from))},
                 4);
}

static LLVMValueRef data_of(tm_emit *e, const tm_value *value) {
    return tm_emit_load(e, e->ptr, tm_emit_data_slot(e, tm_plan_frame(e->plan, value)), 0);
}

/* i1 of a bool scalar. */
static LLVMValueRef truth(tm_emit *e, const tm_value *value) {
    LLVMValueRef byte = LLVMBuildLoad2(e->builder, e->i8, data_of(e, value), "");
    return LLVMBuildICmp(e->builder, LLVMIntNE, byte, LLVMConstInt(e->i8, 0, 0), "");
}

static LLVMValueRef counter(tm_emit *e) { /* an i64 in the entry block */
    LLVMBasicBlockRef here = LLVMGetInsertBlock(e->builder);
    LLVMBasicBlockRef entry = LLVMGetEntryBasicBlock(e->function);
    LLVMPositionBuilderBefore(e->builder, LLVMGetFirstInstruction(entry));
    LLVMValueRef slot = LLVMBuildAlloca(e->builder, e->i64, "i");
    LLVMPositionBuilderAtEnd(e->builder, here);
    return slot;
}

static tm_code emit_if(tm_emit *e, tm_node *node, int32_t number) {
    LLVMBasicBlockRef branches[2] = {tm_emit_block(e, "then"), tm_emit_block(e, "else")};
    LLVMBasicBlockRef done = tm_emit_block(e, "fi");
    LLVMBuildCondBr(e->builder, truth(e, node->inputs[0]), branches[0], branches[1]);
    const char *names[2] = {"then_branch", "else_branch"};
    tm_code code = TM_OK;
    for (int b = 0; b < 2; b++) {
        LLVMPositionBuilderAtEnd(e->builder, branches[b]);
        tm_graph *body = tm_node_graph(node, names[b]);
        tm_code result = tm_emit_graph(e, body);
        code = code == TM_OK ? result : code;
        for (int i = 0; i < node->output_count && result == TM_OK; i++)
            copy(e, number, node->outputs[i], body->outputs.items[i]);
        LLVMBuildBr(e->builder, done);
    }
    LLVMPositionBuilderAtEnd(e->builder, done);
    return code;
}

static void carry(tm_emit *e, int32_t number, const tm_graph *body, size_t first_input, size_t first_output,
                  size_t count) {
    int32_t *pairs = TM_NEW_ARRAY(e->arena, int32_t, 2 * count + 1);
    for (size_t i = 0; i < count; i++) {
        pairs[2 * i] = tm_plan_frame(e->plan, body->inputs.items[first_input + i]);
        pairs[2 * i + 1] = tm_plan_frame(e->plan, body->outputs.items[first_output + i]);
    }
    LLVMValueRef table = tm_emit_bytes(e, "pairs", pairs, count * 8, 4);
    call_checked(e, "tm_carry",
                 (LLVMValueRef[]){e->run, tm_emit_i32(e, number), table, tm_emit_i32(e, (int64_t)count)}, 4);
}

/* A dim that the first round gives: 0 when there is none, and not what an earlier run left there. */
static void forget_dim(tm_emit *e, const tm_plan_value *entry, int axis) {
    tm_emit_store(e, tm_emit_i64(e, 0), e->dims, 8 * (int64_t)(entry->dims_offset + axis));
}

static tm_code emit_loop(tm_emit *e, tm_node *node, int32_t number) {
    tm_graph *body = tm_node_graph(node, "body");
    size_t carried = body->inputs.count - 2;
    for (size_t i = 0; i < carried; i++)
        copy(e, number, body->inputs.items[2 + i], node->inputs[2 + i]);
    for (size_t k = carried; k < (size_t)node->output_count; k++)
        if (node->outputs[k] != NULL) {
            const tm_plan_value *entry = &e->plan->values.items[tm_plan_frame(e->plan, node->outputs[k])];
            for (int d = 1; d < node->outputs[k]->rank; d++)
                if (node->outputs[k]->dims[d]->kind != TM_DIM_SYMBOL || !node->outputs[k]->dims[d]->late)
                    tm_emit_store_dims(e, entry, d, d + 1, number);
                else
                    forget_dim(e, entry, d);
            tm_emit_call(e, "tm_scan_begin", e->void_type,
                         (LLVMValueRef[]){e->run, tm_emit_i32(e, tm_plan_frame(e->plan, node->outputs[k]))},
                         2);
        }
    tm_emit_check_dims(e, number);
    LLVMValueRef i = counter(e), condition = counter(e);
    LLVMBuildStore(e->builder, tm_emit_i64(e, 0), i);
    LLVMValueRef trip = node->inputs[0] != NULL
                            ? LLVMBuildLoad2(e->builder, e->i64, data_of(e, node->inputs[0]), "")
                            : tm_emit_i64(e, INT64_MAX);
    LLVMValueRef start = node->input_count > 1 && node->inputs[1] != NULL
                             ? LLVMBuildZExt(e->builder, truth(e, node->inputs[1]), e->i64, "")
                             : tm_emit_i64(e, 1);
    LLVMBuildStore(e->builder, start, condition);
    LLVMBasicBlockRef head = tm_emit_block(e, "head"), round = tm_emit_block(e, "body"),
                      done = tm_emit_block(e, "done");
    LLVMBuildBr(e->builder, head);
    LLVMPositionBuilderAtEnd(e->builder, head);
    LLVMValueRef now = LLVMBuildLoad2(e->builder, e->i64, i, "");
    LLVMValueRef on = LLVMBuildICmp(e->builder, LLVMIntNE, LLVMBuildLoad2(e->builder, e->i64, condition, ""),
                                    tm_emit_i64(e, 0), "");
    LLVMValueRef more = LLVMBuildICmp(e->builder, LLVMIntSLT, now, trip, "");
    LLVMBuildCondBr(e->builder, LLVMBuildAnd(e->builder, on, more, ""), round, done);
    LLVMPositionBuilderAtEnd(e->builder, round);
    LLVMBuildStore(e->builder, now, data_of(e, body->inputs.items[0]));
    LLVMBuildStore(e->builder, LLVMConstInt(e->i8, 1, 0), data_of(e, body->inputs.items[1]));
    for (size_t k = 0; k < body->inputs.count; k++)
        tm_emit_bind_symbols(e, body->inputs.items[k]);
    TM_TRY(tm_emit_graph(e, body));
    LLVMValueRef next_condition = LLVMBuildZExt(e->builder, truth(e, body->outputs.items[0]), e->i64, "");
    LLVMBuildStore(e->builder, next_condition, condition);
    for (size_t k = carried; k < (size_t)node->output_count; k++)
        if (node->outputs[k] != NULL)
            call_checked(e, "tm_scan_append",
                         (LLVMValueRef[]){e->run, tm_emit_i32(e, number),
                                          tm_emit_i32(e, tm_plan_frame(e->plan, node->outputs[k])),
                                          tm_emit_i32(e, tm_plan_frame(e->plan, body->outputs.items[1 + k]))},
                         4);
    if (carried > 0)
        carry(e, number, body, 2, 1, carried);
    LLVMBuildStore(e->builder, LLVMBuildAdd(e->builder, now, tm_emit_i64(e, 1), ""), i);
    LLVMBuildBr(e->builder, head);
    LLVMPositionBuilderAtEnd(e->builder, done);
    for (size_t k = 0; k < carried && k < (size_t)node->output_count; k++)
        copy(e, number, node->outputs[k], body->inputs.items[2 + k]);
    return TM_OK;
}

typedef struct scan_form {
    tm_graph *body;
    size_t inputs, states, outputs;
} scan_form;

/* Of scan input or output k in this round. */
static LLVMValueRef position(tm_emit *e, const tm_node *node, const char *directions, size_t k,
                             LLVMValueRef now, LLVMValueRef length) {
    if (!tm_scan_backwards(node, directions, (int)k))
        return now;
    LLVMValueRef last = LLVMBuildSub(e->builder, length, tm_emit_i64(e, 1), "");
    return LLVMBuildSub(e->builder, last, now, "");
}

static void emit_scan_round(tm_emit *e, tm_node *node, int32_t number, const scan_form *f, LLVMValueRef now,
                            LLVMValueRef length) {
    for (size_t k = 0; k < f->inputs; k++) {
        const tm_value *source = node->inputs[f->states + k];
        const tm_value *slice = f->body->inputs.items[f->states + k];
        call_checked(
            e, "tm_scan_slice",
            (LLVMValueRef[]){e->run, tm_emit_i32(e, number), tm_emit_i32(e, tm_plan_frame(e->plan, slice)),
                             tm_emit_i32(e, tm_plan_frame(e->plan, source)),
                             tm_emit_i32(e, tm_scan_axis(node, "scan_input_axes", (int)k, source->rank)),
                             position(e, node, "scan_input_directions", k, now, length)},
            6);
    }
    for (size_t k = 0; k < f->body->inputs.count; k++)
        tm_emit_bind_symbols(e, f->body->inputs.items[k]);
}

static void emit_scan_results(tm_emit *e, tm_node *node, int32_t number, const scan_form *f, LLVMValueRef now,
                              LLVMValueRef length) {
    LLVMValueRef first = LLVMBuildZExt(
        e->builder, LLVMBuildICmp(e->builder, LLVMIntEQ, now, tm_emit_i64(e, 0), ""), e->i32, "");
    for (size_t k = 0; k < f->outputs; k++) {
        const tm_value *to = f->states + k < (size_t)node->output_count ? node->outputs[f->states + k] : NULL;
        if (to == NULL)
            continue;
        const tm_value *from = f->body->outputs.items[f->states + k];
        call_checked(
            e, "tm_scan_store",
            (LLVMValueRef[]){e->run, tm_emit_i32(e, number), tm_emit_i32(e, tm_plan_frame(e->plan, to)),
                             tm_emit_i32(e, tm_plan_frame(e->plan, from)),
                             tm_emit_i32(e, tm_scan_axis(node, "scan_output_axes", (int)k, to->rank)),
                             position(e, node, "scan_output_directions", k, now, length), length, first},
            8);
    }
    if (f->states > 0)
        carry(e, number, f->body, 0, 0, f->states);
}

static tm_code emit_scan(tm_emit *e, tm_node *node, int32_t number) {
    scan_form f = {.body = tm_node_graph(node, "body"),
                   .inputs = (size_t)tm_node_int(node, "num_scan_inputs")};
    f.states = f.body->inputs.count - f.inputs;
    f.outputs = f.body->outputs.count - f.states;
    for (size_t k = 0; k < f.states; k++)
        copy(e, number, f.body->inputs.items[k], node->inputs[k]);
    const tm_value *source = node->inputs[f.states];
    const tm_plan_value *entry = &e->plan->values.items[tm_plan_frame(e->plan, source)];
    int axis = tm_scan_axis(node, "scan_input_axes", 0, source->rank);
    LLVMValueRef length = tm_emit_load(e, e->i64, e->dims, 8 * ((int64_t)entry->dims_offset + axis));
    for (size_t k = 0; k < f.outputs; k++) { /* an empty scan leaves outputs without a first round */
        const tm_value *to = f.states + k < (size_t)node->output_count ? node->outputs[f.states + k] : NULL;
        if (to != NULL)
            for (int d = 0; d < to->rank; d++) {
                const tm_plan_value *value = &e->plan->values.items[tm_plan_frame(e->plan, to)];
                if (to->dims[d]->kind != TM_DIM_SYMBOL)
                    tm_emit_store_dims(e, value, d, d + 1, number);
                else if (to->dims[d]->late)
                    forget_dim(e, value, d);
            }
    }
    tm_emit_check_dims(e, number);
    LLVMValueRef i = counter(e);
    LLVMBuildStore(e->builder, tm_emit_i64(e, 0), i);
    LLVMBasicBlockRef head = tm_emit_block(e, "head"), round = tm_emit_block(e, "body"),
                      done = tm_emit_block(e, "done");
    LLVMBuildBr(e->builder, head);
    LLVMPositionBuilderAtEnd(e->builder, head);
    LLVMValueRef now = LLVMBuildLoad2(e->builder, e->i64, i, "");
    LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntSLT, now, length, ""), round, done);
    LLVMPositionBuilderAtEnd(e->builder, round);
    emit_scan_round(e, node, number, &f, now, length);
    TM_TRY(tm_emit_graph(e, f.body));
    emit_scan_results(e, node, number, &f, now, length);
    LLVMBuildStore(e->builder, LLVMBuildAdd(e->builder, now, tm_emit_i64(e, 1), ""), i);
    LLVMBuildBr(e->builder, head);
    LLVMPositionBuilderAtEnd(e->builder, done);
    for (size_t k = 0; k < f.states && k < (size_t)node->output_count; k++)
        copy(e, number, node->outputs[k], f.body->inputs.items[k]);
    return TM_OK;
}

tm_code tm_emit_control(tm_emit *e, tm_node *node, int32_t number) {
    switch (node->op) {
    case TM_OP_If:
        return emit_if(e, node, number);
    case TM_OP_Loop:
        return emit_loop(e, node, number);
    default:
        return emit_scan(e, node, number);
    }
}
