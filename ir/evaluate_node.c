/* SPDX-License-Identifier: Apache-2.0
 *
 * evaluate_node.c: one node with constant inputs, for constant folding.
 *
 * A frame of just the node's inputs and outputs is laid out on the arena and the kernel called on it. Inputs
 * are the constants' own bytes. Small outputs whose dims inference knows are written into the arena directly
 * and become constants without a copy; large ones are made in the heap and copied to where large constants
 * are (base/mapping.h); the rest (NonZero and its like) is made in the heap and copied once its size is
 * known:
 *
 *     values: | inputs: data of the constants | outputs: arena, heap, or a buffer |
 *
 * Views need no kernel: the output is the same bytes under other dims.
 */
#include "ir/evaluate_internal.h"

#include <string.h>

#define LARGE ((int64_t)64 << 10) /* bytes */

static TM_PRINTF(4, 5) tm_code
    refuse(const tm_node *node, bool quiet, tm_code code, const char *format, ...) {
    tm_model *model = node->graph->model;
    tm_place place = tm_node_place(node);
    if (quiet)
        return code;
    va_list arguments;
    va_start(arguments, format);
    const char *message = tm_arena_format_v(model->arena, format, arguments);
    va_end(arguments);
    return tm_report(model->diagnostics, code, &place, NULL, "%s", message);
}

static tm_code check(const tm_node *node, bool quiet, tm_kernel *out_kernel) {
    *out_kernel = NULL;
    if (tm_op_has(node->op, TM_CONTROL | TM_RANDOM | TM_HANDLE))
        return refuse(node, quiet, TM_E_UNSUPPORTED_FORM, "%s is not folded", tm_op_get(node->op)->name);
    for (int i = 0; i < node->input_count; i++)
        if (node->inputs[i] != NULL && node->inputs[i]->constant == NULL)
            return refuse(node, quiet, TM_E_UNSUPPORTED_FORM, "input %d is not constant", i);
    if (tm_op_has(node->op, TM_VIEW))
        return TM_OK;
    const char *symbol = tm_kernel_symbol(node);
    *out_kernel = tm_kernel_find(symbol);
    return *out_kernel != NULL ? TM_OK
                               : refuse(node, quiet, TM_E_UNSUPPORTED_TYPE, "there is no kernel %s", symbol);
}

/* The dims of an output as numbers; false when they are not all constants or the product overflows. */
static bool known_dims(const tm_value *value, int64_t *out_dims, int64_t *out_bytes) {
    int64_t count = 1;
    for (int i = 0; i < value->rank; i++) {
        if (!tm_dim_is_constant(value->dims[i]) || value->dims[i]->constant < 0 ||
            !tm_mul_i64(count, value->dims[i]->constant, &count))
            return false;
        out_dims[i] = value->dims[i]->constant;
    }
    return value->kind == TAMIS_KIND_TENSOR && value->rank >= 0 &&
           tm_type_size(value->type, count, out_bytes);
}

static void *aligned_memory(tm_arena *arena, int64_t bytes) {
    uintptr_t start = (uintptr_t)tm_arena_alloc(arena, (size_t)bytes + TAMIS_ALIGNMENT);
    return (void *)((start + TAMIS_ALIGNMENT - 1) & ~(uintptr_t)(TAMIS_ALIGNMENT - 1));
}

/* Large results are copied before the heap goes. */
static void *output_memory(tm_arena *arena, tm_heap *heap, int64_t bytes) {
    void *memory = bytes >= LARGE ? heap->host.allocate(heap->host.user, (size_t)bytes) : NULL;
    return memory != NULL ? memset(memory, 0, (size_t)bytes) : aligned_memory(arena, bytes > 0 ? bytes : 1);
}

/* The frame entry of an output: memory where the dims are known, a buffer where the kernel sets them. */
static bool lay_out_output(tm_arena *arena, tm_heap *heap, const tm_value *value, bool view, tamis_tensor *t,
                           int32_t *buffer, int32_t number, bool dynamic) {
    int64_t bytes = 0;
    *t = (tamis_tensor){.rank = value->rank, .type = (uint8_t)value->type, .kind = (uint8_t)value->kind};
    t->dims = TM_NEW_ARRAY(arena, int64_t, TAMIS_MAX_RANK);
    *buffer = -1;
    if (dynamic) {
        *buffer = number;
        return value->kind == TAMIS_KIND_TENSOR && value->rank >= 0;
    }
    if (!known_dims(value, t->dims, &bytes))
        return false;
    if (!view)
        t->data = output_memory(arena, heap, bytes);
    return true;
}

static void take_outputs(tm_model *model, const tm_node *node, const tm_run *run,
                         const tm_constant **out_outputs) {
    for (int i = 0; i < node->output_count; i++) {
        int number = node->input_count + i;
        tamis_tensor t = run->values[number];
        out_outputs[i] = NULL;
        if (node->outputs[i] == NULL)
            continue;
        /* Strings point into the run's arena, buffers into the heap: both go away. */
        if (run->value_buffers[number] >= 0 || t.type == TAMIS_TYPE_STRING)
            t = tm_tensor_copy(model->arena, &t);
        tm_constant *made = tm_constant_create(model->arena, (tamis_type)t.type, t.rank, t.dims, t.data);
        if (made->bytes >= LARGE && run->value_buffers[number] < 0 && !tm_op_has(node->op, TM_VIEW))
            made->data = tm_mappings_copy(model->arena, model->mappings, t.data, (size_t)made->bytes);
        out_outputs[i] = made;
    }
}

tm_code tm_evaluate_node(tm_model *model, tm_node *node, bool quiet, const tm_constant **out_outputs) {
    tm_kernel kernel = NULL;
    TM_TRY(check(node, quiet, &kernel));
    int count = node->input_count + node->output_count;
    tm_arena *arena = model->arena;
    tm_heap *heap = tm_heap_create(arena, model->host);
    int32_t *numbers = TM_NEW_ARRAY(arena, int32_t, count + 1);
    int32_t *value_buffers = TM_NEW_ARRAY(arena, int32_t, count + 1);
    tm_run run = {.host = &heap->host, .values = TM_NEW_ARRAY(arena, tamis_tensor, count + 1)};
    run.buffers = TM_NEW_ARRAY(arena, tm_buffer, count + 1);
    run.value_buffers = value_buffers;
    for (int i = 0; i < count; i++) {
        const tm_value *value =
            i < node->input_count ? node->inputs[i] : node->outputs[i - node->input_count];
        numbers[i] = value != NULL ? i : -1;
        value_buffers[i] = -1;
        if (value == NULL)
            continue;
        if (i < node->input_count) {
            const tm_constant *c = value->constant;
            run.values[i] = (tamis_tensor){.data = (void *)(uintptr_t)c->data,
                                           .dims = (int64_t *)(uintptr_t)c->dims,
                                           .rank = c->rank,
                                           .type = (uint8_t)c->type,
                                           .kind = TAMIS_KIND_TENSOR};
        } else if (!lay_out_output(arena, heap, value, kernel == NULL, &run.values[i], &value_buffers[i], i,
                                   tm_op_has(node->op, TM_DYNAMIC))) {
            return refuse(node, quiet, TM_E_UNSUPPORTED_FORM, "the dims of '%s' are not known", value->name);
        }
    }
    if (kernel == NULL) {
        run.values[node->input_count].data = run.values[0].data;
    } else {
        size_t bytes = 0;
        const tm_call *call = tm_call_create(arena, node, 0, numbers, &bytes);
        int32_t code = kernel(&run, call);
        if (code != 0 && run.code == 0)
            run.code = code;
    }
    tm_code result = TM_OK;
    if (run.code != 0)
        result = quiet ? TM_E_EVALUATE : tm_report_run(model, node, &run);
    else
        take_outputs(model, node, &run, out_outputs);
    tm_heap_clear(heap);
    return result;
}
