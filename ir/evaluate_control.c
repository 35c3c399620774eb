/* SPDX-License-Identifier: Apache-2.0
 *
 * evaluate_control.c: If, Loop, Scan and Region on the evaluator's machine.
 *
 * Bodies have plans of their own on the same frame, run as often as the loop turns; the runtime's
 * helpers (runtime/support.h) copy carried values and collect scan outputs as they do for artifacts.
 * The order in a turn matters where a body hands an input straight on:
 *
 *     body(iter, cond, a, b) -> (cond, b, a, a)      swap a and b, collect a
 *
 * scan outputs are appended first, then all carried values are replaced at once.
 */
#include "ir/evaluate_internal.h"
#include "runtime/support.h"

#include <string.h>

static tm_code copy_value(tm_machine *machine, const tm_node *node, const tm_value *to,
                          const tm_value *from) {
    return tm_machine_check(machine, node, tm_copy_value(&machine->run, -1, to->id, from->id));
}

tm_code tm_machine_if(tm_machine *machine, tm_step *step) {
    tm_node *node = step->node;
    bool condition = tm_load_element(&machine->run, node->inputs[0]->id, 0) != 0;
    const tm_graph *branch = tm_node_graph(node, condition ? "then_branch" : "else_branch");
    int number = tm_node_subgraph(node, 0) == branch ? 0 : 1;
    TM_TRY(tm_machine_plan_run(machine, tm_step_body(machine, step, number)));
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL)
            TM_TRY(copy_value(machine, node, node->outputs[i], branch->outputs.items[i]));
    return TM_OK;
}

/* The body's inputs show the memory of the node's. */
tm_code tm_machine_region(tm_machine *machine, tm_step *step) {
    tm_node *node = step->node;
    const tm_graph *body = tm_node_graph(node, "body");
    for (int i = 0; i < node->input_count; i++) {
        const tamis_tensor *from = &machine->run.values[node->inputs[i]->id];
        tamis_tensor *to = &machine->run.values[body->inputs.items[i]->id];
        memcpy(to->dims, from->dims, (size_t)from->rank * sizeof(*from->dims));
        to->data = from->data;
    }
    TM_TRY(tm_machine_plan_run(machine, tm_step_body(machine, step, 0)));
    for (int i = 0; i < node->output_count; i++)
        TM_TRY(copy_value(machine, node, node->outputs[i], body->outputs.items[i]));
    return TM_OK;
}

/* ---- carried values ---- */

typedef struct carrier {
    const tm_graph *body;
    tm_value **initial;
    int count, first_input, first_output;
    int32_t *pairs; /* (input, output) ids */
} carrier;

static tm_code start_carried(tm_machine *machine, const tm_node *node, carrier *c) {
    c->pairs = TM_NEW_ARRAY(machine->arena, int32_t, 2 * c->count + 1);
    for (int k = 0; k < c->count; k++) {
        const tm_value *input = c->body->inputs.items[c->first_input + k];
        c->pairs[2 * k] = input->id;
        c->pairs[2 * k + 1] = c->body->outputs.items[c->first_output + k]->id;
        TM_TRY(copy_value(machine, node, input, c->initial[k]));
    }
    return TM_OK;
}

static tm_code finish_carried(tm_machine *machine, const tm_node *node, const carrier *c) {
    for (int k = 0; k < c->count && k < node->output_count; k++)
        if (node->outputs[k] != NULL)
            TM_TRY(copy_value(machine, node, node->outputs[k], c->body->inputs.items[c->first_input + k]));
    return TM_OK;
}

static void bind_inputs(tm_machine *machine, const tm_graph *body) {
    for (size_t i = 0; i < body->inputs.count; i++)
        tm_machine_bind(machine, body->inputs.items[i]);
}

/* A scan output of a body that never ran: length 0, dims that need the body are 0 too. */
static tm_code set_empty(tm_machine *machine, const tm_node *node, const tm_value *value, int axis) {
    tamis_tensor *t = &machine->run.values[value->id];
    for (int i = 0; i < t->rank; i++) {
        int64_t dim = 0;
        tm_dim expression = value->dims[i];
        bool free = expression->kind == TM_DIM_SYMBOL && expression->symbol->value == value;
        if (i != axis && !free && !tm_dim_evaluate(expression, machine->symbols, &dim))
            dim = 0;
        t->dims[i] = dim;
    }
    return tm_machine_check(machine, node, tm_reserve_value(&machine->run, -1, value->id));
}

/* ---- Loop ---- */

static tm_code set_turn(tm_machine *machine, const tm_node *node, const tm_value *value, int64_t number) {
    tamis_tensor *t = &machine->run.values[value->id];
    for (int i = 0; i < t->rank; i++)
        t->dims[i] = 1;
    TM_TRY(tm_machine_check(machine, node, tm_reserve_value(&machine->run, -1, value->id)));
    if (t->type == TAMIS_TYPE_BOOL)
        *(uint8_t *)t->data = number != 0;
    else
        *(int64_t *)t->data = number;
    return TM_OK;
}

static tm_code run_turn(tm_machine *machine, tm_step *step, const carrier *c, int64_t turn) {
    tm_node *node = step->node;
    TM_TRY(set_turn(machine, node, c->body->inputs.items[0], turn));
    TM_TRY(set_turn(machine, node, c->body->inputs.items[1], 1));
    bind_inputs(machine, c->body);
    TM_TRY(tm_machine_plan_run(machine, tm_step_body(machine, step, 0)));
    for (int i = c->count; i < node->output_count; i++)
        if (node->outputs[i] != NULL)
            TM_TRY(tm_machine_check(
                machine, node,
                tm_scan_append(&machine->run, -1, node->outputs[i]->id, c->body->outputs.items[i + 1]->id)));
    return TM_OK;
}

tm_code tm_machine_loop(tm_machine *machine, tm_step *step) {
    tm_node *node = step->node;
    const tm_graph *body = tm_node_subgraph(node, 0);
    carrier c = {body, node->inputs + 2, node->input_count - 2, 2, 1, NULL};
    int64_t limit =
        node->inputs[0] != NULL ? tm_load_element(&machine->run, node->inputs[0]->id, 0) : INT64_MAX;
    bool go = node->inputs[1] == NULL || tm_load_element(&machine->run, node->inputs[1]->id, 0) != 0;
    TM_TRY(start_carried(machine, node, &c));
    for (int i = c.count; i < node->output_count; i++)
        if (node->outputs[i] != NULL) {
            TM_TRY(set_empty(machine, node, node->outputs[i], 0));
            tm_scan_begin(&machine->run, node->outputs[i]->id);
        }
    for (int64_t turn = 0; go && turn < limit; turn++) {
        TM_TRY(run_turn(machine, step, &c, turn));
        go = tm_load_element(&machine->run, body->outputs.items[0]->id, 0) != 0;
        if (c.count > 0)
            TM_TRY(tm_machine_check(machine, node, tm_carry(&machine->run, -1, c.pairs, c.count)));
    }
    return finish_carried(machine, node, &c);
}

/* ---- Scan ---- */

static tm_code scan_turn(tm_machine *machine, tm_step *step, const carrier *c, int64_t turn, int64_t length) {
    tm_node *node = step->node;
    tm_run *run = &machine->run;
    for (int i = c->count; i < node->input_count; i++) {
        int32_t axis = tm_scan_axis(node, "scan_input_axes", i - c->count, node->inputs[i]->rank);
        bool reverse = tm_scan_backwards(node, "scan_input_directions", i - c->count);
        int64_t index = reverse ? length - 1 - turn : turn;
        TM_TRY(tm_machine_check(
            machine, node,
            tm_scan_slice(run, -1, c->body->inputs.items[i]->id, node->inputs[i]->id, axis, index)));
    }
    bind_inputs(machine, c->body);
    TM_TRY(tm_machine_plan_run(machine, tm_step_body(machine, step, 0)));
    for (int i = c->count; i < node->output_count; i++) {
        if (node->outputs[i] == NULL)
            continue;
        int32_t axis = tm_scan_axis(node, "scan_output_axes", i - c->count, node->outputs[i]->rank);
        bool reverse = tm_scan_backwards(node, "scan_output_directions", i - c->count);
        int64_t index = reverse ? length - 1 - turn : turn;
        TM_TRY(tm_machine_check(machine, node,
                                tm_scan_store(run, -1, node->outputs[i]->id, c->body->outputs.items[i]->id,
                                              axis, index, length, turn == 0)));
    }
    return TM_OK;
}

tm_code tm_machine_scan(tm_machine *machine, tm_step *step) {
    tm_node *node = step->node;
    int states = node->input_count - (int)tm_node_int(node, "num_scan_inputs");
    carrier c = {tm_node_subgraph(node, 0), node->inputs, states, 0, 0, NULL};
    const tm_value *first = node->inputs[states];
    int32_t axis = tm_scan_axis(node, "scan_input_axes", 0, first->rank);
    int64_t length = machine->run.values[first->id].dims[axis];
    TM_TRY(start_carried(machine, node, &c));
    for (int i = states; length == 0 && i < node->output_count; i++)
        if (node->outputs[i] != NULL)
            TM_TRY(set_empty(machine, node, node->outputs[i],
                             tm_scan_axis(node, "scan_output_axes", i - states, node->outputs[i]->rank)));
    for (int64_t turn = 0; turn < length; turn++) {
        TM_TRY(scan_turn(machine, step, &c, turn, length));
        if (states > 0)
            TM_TRY(tm_machine_check(machine, node, tm_carry(&machine->run, -1, c.pairs, states)));
    }
    return finish_carried(machine, node, &c);
}
