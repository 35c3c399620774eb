/* SPDX-License-Identifier: Apache-2.0
 *
 * evaluate_model.c: runs a whole model, node by node: the oracle of the tests.
 *
 * The machine is a run context as an artifact would have it, laid out in the plainest way: every value of the
 * model has an entry in the frame, numbered by its id, its own dims and its own buffers; nothing
 * shares memory but views. Before a kernel runs, the dims of its outputs are computed from their expressions;
 * after it, the symbols that the outputs bind get their values:
 *
 *     %n: i64[2, nz] = NonZero(%x)       the kernel sets the dims; then nz = dims[1]
 *     %y: f32[nz, 4] = Gather(%t, ...)   dims from expressions, memory, kernel
 *
 * Why not the artifact's planned memory: this is what planning is compared with.
 */
#include "ir/evaluate_internal.h"
#include "runtime/support.h"

#include <stdlib.h>
#include <string.h>

/* ---- dims and symbols ---- */

void tm_machine_bind(tm_machine *machine, const tm_value *value) {
    const tamis_tensor *t = &machine->run.values[value->id];
    for (int32_t i = machine->bound_from[value->id]; i < machine->bound_from[value->id + 1]; i++) {
        const tm_symbol *symbol = machine->bound[i];
        if (t->kind != TAMIS_KIND_TENSOR)
            continue;
        if (symbol->origin == TM_SYMBOL_FREE && symbol->index < t->rank)
            machine->symbols[symbol->number] = t->dims[symbol->index];
        else if (symbol->origin == TM_SYMBOL_LOAD)
            machine->symbols[symbol->number] = tm_load_element(&machine->run, value->id, symbol->index);
    }
}

int32_t tm_machine_set_dims(tm_machine *machine, const tm_value *value) {
    tamis_tensor *t = &machine->run.values[value->id];
    for (int32_t i = 0; i < t->rank; i++) {
        int64_t dim = 0;
        if (!tm_dim_evaluate(value->dims[i], machine->symbols, &dim))
            return tm_driver_fail(&machine->run, -1, TM_RUN_DIM_UNKNOWN, 0, i);
        if (dim < 0)
            return tm_driver_fail(&machine->run, -1, TM_RUN_DIM_NEGATIVE, dim, i);
        t->dims[i] = dim;
    }
    return 0;
}

tm_code tm_machine_check(tm_machine *machine, const tm_node *node, int32_t code) {
    if (code == 0)
        return TM_OK;
    if (machine->run.code == 0)
        machine->run.code = code;
    return tm_report_run(machine->model, node, &machine->run);
}

/* ---- plans ---- */

static int compare_constraints(const void *a, const void *b) {
    uintptr_t left = (uintptr_t)(*(const tm_constraint *const *)a)->node;
    uintptr_t right = (uintptr_t)(*(const tm_constraint *const *)b)->node;
    return left < right ? -1 : left > right;
}

static void find_constraints(const tm_machine *machine, tm_step *step) {
    size_t low = 0;
    size_t high = machine->constraint_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if ((uintptr_t)machine->constraints[middle]->node < (uintptr_t)step->node)
            low = middle + 1;
        else
            high = middle;
    }
    step->constraints = machine->constraints + low;
    while (low < machine->constraint_count && machine->constraints[low++]->node == step->node)
        step->constraint_count++;
}

tm_machine_plan *tm_machine_plan_create(tm_machine *machine, tm_graph *graph) {
    tm_machine_plan *plan = TM_NEW(machine->arena, tm_machine_plan);
    plan->graph = graph;
    plan->steps = TM_NEW_ARRAY(machine->arena, tm_step, graph->node_count > 0 ? graph->node_count : 1);
    for (tm_node *node = graph->first; node != NULL; node = node->next) {
        tm_step *step = &plan->steps[plan->count++];
        step->node = node;
        find_constraints(machine, step);
    }
    return plan;
}

tm_machine_plan *tm_step_body(tm_machine *machine, tm_step *step, int number) {
    if (step->bodies[number] == NULL)
        step->bodies[number] = tm_machine_plan_create(machine, tm_node_subgraph(step->node, number));
    return step->bodies[number];
}

/* Finds the kernel and makes the call record, when the step runs first: a branch that never runs may lack
 * kernels. */
static tm_code prepare_step(tm_machine *machine, tm_step *step) {
    tm_node *node = step->node;
    int count = node->input_count + node->output_count;
    size_t bytes = 0;
    int32_t *values = TM_NEW_ARRAY(machine->arena, int32_t, count > 0 ? count : 1);
    for (int i = 0; i < count; i++) {
        const tm_value *value =
            i < node->input_count ? node->inputs[i] : node->outputs[i - node->input_count];
        values[i] = value != NULL ? value->id : -1;
    }
    if (!tm_op_has(node->op, TM_VIEW | TM_CONTROL) && node->op != TM_OP_Region) {
        const char *symbol = tm_kernel_symbol(node);
        tm_place place = tm_node_place(node);
        step->kernel = tm_kernel_find(symbol);
        if (step->kernel == NULL)
            return tm_report(machine->model->diagnostics, TM_E_UNSUPPORTED_TYPE, &place, NULL,
                             "there is no kernel %s", symbol);
    }
    step->call = tm_call_create(machine->arena, node, -1, values, &bytes);
    return TM_OK;
}

/* ---- execution ---- */

static int32_t check_constraints(tm_machine *machine, const tm_step *step) {
    for (size_t i = 0; i < step->constraint_count; i++) {
        int64_t a = 0;
        int64_t b = 0;
        if (!tm_dim_evaluate(step->constraints[i]->a, machine->symbols, &a) ||
            !tm_dim_evaluate(step->constraints[i]->b, machine->symbols, &b))
            return tm_driver_fail(&machine->run, -1, TM_RUN_DIM_UNKNOWN, 0, 0);
        if (a != b)
            return tm_driver_fail(&machine->run, -1,
                                  step->node->op == TM_OP_Reshape ? TM_RUN_ELEMENTS : TM_RUN_DIM_MISMATCH, a,
                                  b);
    }
    return 0;
}

static int64_t count_of(const tamis_tensor *t) {
    int64_t count = 1;
    for (int32_t i = 0; i < t->rank; i++)
        count *= t->dims[i];
    return count;
}

/* The output is input 0's bytes (or handle) under dims of its own. */
static int32_t run_view(tm_machine *machine, const tm_node *node) {
    const tamis_tensor *from = &machine->run.values[node->inputs[0]->id];
    tamis_tensor *to = &machine->run.values[node->outputs[0]->id];
    if (to->kind == TAMIS_KIND_TENSOR) {
        int32_t code = tm_machine_set_dims(machine, node->outputs[0]);
        if (code != 0)
            return code;
        if (count_of(from) != count_of(to))
            return tm_driver_fail(&machine->run, -1, TM_RUN_ELEMENTS, count_of(from), count_of(to));
    }
    to->data = from->data;
    return 0;
}

static int32_t run_kernel(tm_machine *machine, const tm_step *step) {
    const tm_node *node = step->node;
    for (int i = 0; i < node->output_count; i++) {
        const tm_value *value = node->outputs[i];
        if (value == NULL || value->kind != TAMIS_KIND_TENSOR || tm_op_has(node->op, TM_DYNAMIC))
            continue;
        int32_t code = tm_machine_set_dims(machine, value);
        if (code == 0)
            code = tm_reserve_value(&machine->run, -1, value->id);
        if (code != 0)
            return code;
    }
    return step->kernel(&machine->run, step->call);
}

static tm_code run_step(tm_machine *machine, tm_step *step) {
    tm_node *node = step->node;
    if (step->call == NULL)
        TM_TRY(prepare_step(machine, step));
    TM_TRY(tm_machine_check(machine, node, check_constraints(machine, step)));
    if (node->op == TM_OP_If)
        TM_TRY(tm_machine_if(machine, step));
    else if (node->op == TM_OP_Loop)
        TM_TRY(tm_machine_loop(machine, step));
    else if (node->op == TM_OP_Scan)
        TM_TRY(tm_machine_scan(machine, step));
    else if (node->op == TM_OP_Region)
        TM_TRY(tm_machine_region(machine, step));
    else if (tm_op_has(node->op, TM_VIEW))
        TM_TRY(tm_machine_check(machine, node, run_view(machine, node)));
    else
        TM_TRY(tm_machine_check(machine, node, run_kernel(machine, step)));
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL)
            tm_machine_bind(machine, node->outputs[i]);
    return TM_OK;
}

tm_code tm_machine_plan_run(tm_machine *machine, tm_machine_plan *plan) {
    for (int64_t i = 0; i < plan->count; i++)
        TM_TRY(run_step(machine, &plan->steps[i]));
    return TM_OK;
}

/* ---- setting up ---- */

/* Symbols grouped by the value that binds them: counts, then starts, then the table. */
static void group_symbols(tm_machine *machine) {
    tm_model *model = machine->model;
    size_t count = tm_dims_symbol_count(model->dims);
    int32_t *from = TM_NEW_ARRAY(machine->arena, int32_t, (size_t)model->value_count + 2);
    machine->symbols = TM_NEW_ARRAY(machine->arena, int64_t, count + 1);
    machine->bound = TM_NEW_ARRAY(machine->arena, tm_symbol *, count + 1);
    for (size_t i = 0; i < count; i++) {
        const tm_symbol *symbol = tm_dims_symbol_at(model->dims, i);
        if (symbol->value != NULL && symbol->origin != TM_SYMBOL_INPUT)
            from[symbol->value->id + 2]++;
    }
    for (int32_t id = 0; id < model->value_count; id++)
        from[id + 2] += from[id + 1];
    for (size_t i = 0; i < count; i++) {
        tm_symbol *symbol = tm_dims_symbol_at(model->dims, i);
        if (symbol->value != NULL && symbol->origin != TM_SYMBOL_INPUT)
            machine->bound[from[symbol->value->id + 1]++] = symbol;
    }
    machine->bound_from = from;
}

/* Each value has room for its dims twice, and two buffers: tm_carry asks for both. Views have none. */
static void lay_out_frame(tm_machine *machine) {
    tm_model *model = machine->model;
    size_t count = (size_t)model->value_count;
    size_t dims = 0;
    for (size_t i = 0; i < count; i++)
        dims += model->values.items[i]->rank > 0 ? 2 * (size_t)model->values.items[i]->rank : 0;
    int32_t *value_buffers = TM_NEW_ARRAY(machine->arena, int32_t, count + 1);
    machine->run.values = TM_NEW_ARRAY(machine->arena, tamis_tensor, count + 1);
    machine->run.dims = TM_NEW_ARRAY(machine->arena, int64_t, dims + 1);
    machine->run.buffers = TM_NEW_ARRAY(machine->arena, tm_buffer, 2 * count + 1);
    machine->run.value_buffers = value_buffers;
    int64_t *next = machine->run.dims;
    for (size_t i = 0; i < count; i++) {
        const tm_value *value = model->values.items[i];
        tamis_tensor *t = &machine->run.values[i];
        bool view = value->producer != NULL && tm_op_has(value->producer->op, TM_VIEW);
        value_buffers[i] = view || value->constant != NULL ? -1 : (int32_t)(2 * i);
        int32_t rank = value->kind == TAMIS_KIND_TENSOR ? value->rank : -1;
        *t = (tamis_tensor){.dims = next,
                            .rank = rank,
                            .type = (uint8_t)value->type,
                            .kind = (uint8_t)value->kind,
                            .item = (uint8_t)value->item,
                            .key = (uint8_t)value->key};
        for (int k = 0; value->constant != NULL && k < value->rank; k++)
            next[k] = value->constant->dims[k];
        if (value->constant != NULL)
            t->data = (void *)(uintptr_t)value->constant->data;
        next += value->rank > 0 ? 2 * value->rank : 0;
    }
}

static void sort_constraints(tm_machine *machine) {
    tm_model *model = machine->model;
    machine->constraint_count = model->constraints.count;
    machine->constraints = TM_NEW_ARRAY(machine->arena, const tm_constraint *, model->constraints.count + 1);
    for (size_t i = 0; i < model->constraints.count; i++)
        machine->constraints[i] = &model->constraints.items[i];
    if (machine->constraint_count > 0)
        qsort(machine->constraints, machine->constraint_count, sizeof *machine->constraints,
              compare_constraints);
}

static int32_t set_input(tm_machine *machine, const tm_value *value, const tamis_tensor *input, bool *seen) {
    tamis_tensor *t = &machine->run.values[value->id];
    if (input->type != t->type)
        return tm_driver_fail(&machine->run, -1, TM_RUN_INPUT_TYPE, t->type, input->type);
    t->data = input->data;
    if (value->kind != TAMIS_KIND_TENSOR)
        return 0;
    if (input->rank != t->rank)
        return tm_driver_fail(&machine->run, -1, TM_RUN_INPUT_RANK, t->rank, input->rank);
    for (int i = 0; i < value->rank; i++) {
        tm_dim dim = value->dims[i];
        t->dims[i] = input->dims[i];
        if (dim->kind == TM_DIM_SYMBOL && dim->symbol->origin == TM_SYMBOL_INPUT &&
            !seen[dim->symbol->number]) {
            seen[dim->symbol->number] = true;
            machine->symbols[dim->symbol->number] = input->dims[i];
        }
    }
    return 0;
}

static int32_t check_input(tm_machine *machine, const tm_value *value) {
    const tamis_tensor *t = &machine->run.values[value->id];
    for (int i = 0; value->kind == TAMIS_KIND_TENSOR && i < value->rank; i++) {
        int64_t dim = 0;
        if (!tm_dim_evaluate(value->dims[i], machine->symbols, &dim) || dim != t->dims[i])
            return tm_driver_fail(&machine->run, -1, TM_RUN_INPUT_DIM, dim, t->dims[i]);
    }
    tm_machine_bind(machine, value);
    return 0;
}

static tm_code set_inputs(tm_machine *machine, const tamis_tensor *inputs) {
    const tm_graph *graph = machine->model->main;
    bool *seen = TM_NEW_ARRAY(machine->arena, bool, tm_dims_symbol_count(machine->model->dims) + 1);
    for (size_t i = 0; i < graph->inputs.count; i++)
        TM_TRY(tm_machine_check(machine, NULL, set_input(machine, graph->inputs.items[i], &inputs[i], seen)));
    for (size_t i = 0; i < graph->inputs.count; i++)
        TM_TRY(tm_machine_check(machine, NULL, check_input(machine, graph->inputs.items[i])));
    for (size_t i = 0; i < machine->model->values.count; i++)
        if (machine->model->values.items[i]->constant != NULL)
            tm_machine_bind(machine, machine->model->values.items[i]);
    return TM_OK;
}

static tm_code run_machine(tm_machine *machine, const tamis_tensor *inputs, tamis_tensor *out_outputs) {
    const tm_graph *graph = machine->model->main;
    group_symbols(machine);
    lay_out_frame(machine);
    sort_constraints(machine);
    TM_TRY(set_inputs(machine, inputs));
    TM_TRY(tm_machine_plan_run(machine, tm_machine_plan_create(machine, machine->model->main)));
    for (size_t i = 0; i < graph->outputs.count; i++)
        out_outputs[i] = tm_tensor_copy(machine->arena, &machine->run.values[graph->outputs.items[i]->id]);
    return TM_OK;
}

tm_code tm_evaluate_model(tm_model *model, tm_arena *arena, const tamis_tensor *inputs,
                          tamis_tensor *out_outputs) {
    tm_machine *machine = TM_NEW(arena, tm_machine);
    machine->model = model;
    machine->arena = arena;
    machine->heap = tm_heap_create(arena, model->host);
    machine->run.host = &machine->heap->host;
    machine->run.random_state = 1;
    tm_code code = run_machine(machine, inputs, out_outputs);
    tm_heap_clear(machine->heap);
    return code;
}
