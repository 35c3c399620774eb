/* SPDX-License-Identifier: Apache-2.0
 *
 * loop.c: inference of Loop and Scan.
 *
 * Both run a body over carried values and collect scan outputs; control_flow.c finds the carried dims.
 * A Loop's trip count is its input M where nothing but M ends the loop: no condition, or one that is true
 * at first and that the body always gives back as true,
 *
 *     Loop(M = %n) { (iter, cond, s) -> (cond, s + 1, s) }       scan output: [max(n, 0), ...]
 *
 * otherwise it is a FREE symbol, one for all scan outputs. While a body runs, its condition input is
 * true, so inference knows that element; this is how the case above is seen.
 *
 * A Scan's trip count is the length of the scan axes, which must agree.
 */
#include "ir/ops/control_flow.h"

#define LONGEST_PLANNED_TRIP ((int64_t)1 << 40) /* above: exporters' way to say "no limit" */

static void set_scalar(tm_infer_context *context, tm_value *value, tamis_type type) {
    tm_dim one = tm_dim_constant(context->dims, 1);
    tm_value_set_handle(value, TAMIS_KIND_TENSOR, type, value->rank == 1 ? 1 : 0, &one);
}

/* The iteration number is a symbol of the body, so that x[:, i:i+1] has a dim made of it. */
static void set_iteration(tm_infer_context *context, tm_value *iteration, tm_value *limit) {
    const tm_dim *elements = NULL;
    int64_t count = 0;
    int64_t high = INT64_MAX;
    set_scalar(context, iteration, TAMIS_TYPE_INT64);
    if (tm_infer_known_elements(context, limit, &elements, &count) && count == 1 && elements[0]->high > 0)
        high = elements[0]->high == INT64_MAX ? INT64_MAX : elements[0]->high - 1;
    tm_dim number = tm_infer_element(context, iteration, 0);
    if (number->kind == TM_DIM_SYMBOL)
        tm_symbol_set_range(number->symbol, 0, high);
}

static bool is_true(tm_infer_context *context, tm_value *value) {
    const tm_dim *elements = NULL;
    int64_t count = 0;
    return tm_infer_known_elements(context, value, &elements, &count) && count == 1 &&
           tm_dim_is_constant(elements[0]) && elements[0]->constant != 0;
}

/* NULL: only the run can tell. */
static tm_dim loop_trip_count(tm_infer_context *context, const tm_node *node, const tm_graph *body) {
    tm_value *limit = node->inputs[0];
    tm_value *condition = node->inputs[1];
    if (limit == NULL || (condition != NULL && !is_true(context, condition)) ||
        !is_true(context, body->outputs.items[0]))
        return NULL;
    tm_dim count = tm_infer_element(context, limit, 0);
    if (tm_dim_is_constant(count) && count->constant > LONGEST_PLANNED_TRIP)
        return NULL;
    return tm_dim_max(context->dims, count, tm_dim_constant(context->dims, 0));
}

/* Output `output` of the node collects body output `from`, stacked along `axis`. */
static tm_code set_scan_output(tm_infer_context *context, tm_node *node, int output, const tm_graph *body,
                               const tm_value *from, int axis, tm_dim length) {
    tm_value *value = node->outputs[output];
    tm_dim dims[TAMIS_MAX_RANK];
    if (from->kind != TAMIS_KIND_TENSOR || from->rank < 0)
        return tm_infer_fail(node, TM_E_TYPE, "scan output '%s' is not a tensor of known rank", from->name);
    if (from->rank + 1 > TAMIS_MAX_RANK)
        return tm_infer_fail(node, TM_E_UNSUPPORTED_FORM, "scan output '%s' would have more than %d dims",
                             from->name, TAMIS_MAX_RANK);
    for (int i = 0, k = 0; i <= from->rank; i++)
        dims[i] = i == axis ? length : tm_dim_export(context, from->dims[k++], body, value, i);
    tm_infer_set(node, output, from->type, from->rank + 1, dims);
    return TM_OK;
}

static tm_code check_loop(tm_node *node, const tm_graph *body) {
    int carried = node->input_count - 2;
    if (body == NULL)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "the body is missing");
    if ((int)body->inputs.count != carried + 2)
        return tm_infer_fail(node, TM_E_ARITY,
                             "the body has %zu inputs where iteration, condition and %d carried are needed",
                             body->inputs.count, carried);
    if ((int)body->outputs.count < carried + 1 || node->output_count > (int)body->outputs.count - 1)
        return tm_infer_fail(node, TM_E_ARITY,
                             "the body has %zu outputs, which does not fit %d carried and %d outputs",
                             body->outputs.count, carried, node->output_count);
    for (int i = 2; i < node->input_count; i++)
        if (node->inputs[i] == NULL)
            return tm_infer_fail(node, TM_E_ARITY, "carried value %d has no initial value", i - 2);
    TM_TRY(tm_infer_need_type(node, 0, (const tamis_type[]){TAMIS_TYPE_INT64, TAMIS_TYPE_UNDEFINED}));
    return tm_infer_need_type(node, 1, (const tamis_type[]){TAMIS_TYPE_BOOL, TAMIS_TYPE_UNDEFINED});
}

tm_code tm_infer_loop(tm_infer_context *context, tm_node *node) {
    tm_graph *body = tm_node_graph(node, "body");
    TM_TRY(check_loop(node, body));
    tm_carried carried = {body, node->inputs + 2, node->input_count - 2, 2, 1};
    set_iteration(context, body->inputs.items[0], node->inputs[0]);
    tm_value *condition = body->inputs.items[1];
    set_scalar(context, condition, TAMIS_TYPE_BOOL);
    condition->elements = TM_NEW_ARRAY(context->arena, tm_dim, 1);
    condition->elements[0] = tm_dim_constant(context->dims, 1);
    condition->element_count = 1;
    TM_TRY(tm_infer_carried(context, node, &carried));
    TM_TRY(tm_infer_fixed_ranks(node, body));
    if (body->outputs.items[0]->type != TAMIS_TYPE_BOOL)
        return tm_infer_fail(node, TM_E_TYPE, "the body's condition is %s, not bool",
                             tm_type_text(body->outputs.items[0]->type));
    tm_infer_carried_outputs(context, node, &carried);
    tm_dim length = loop_trip_count(context, node, body);
    for (int i = carried.count; i < node->output_count; i++) {
        if (node->outputs[i] == NULL)
            continue;
        if (length == NULL)
            length = tm_infer_free(context, node, i, 0, NULL);
        TM_TRY(set_scan_output(context, node, i, body, body->outputs.items[i + 1], 0, length));
    }
    return TM_OK;
}

/* ---- Scan ---- */

/* Item i of a list attribute, brought into 0..rank-1; 0 when the list is absent. */
static tm_code scan_axis(tm_node *node, const char *name, int i, int rank, int *out_axis) {
    const tm_attribute *list = tm_node_attribute(node, name);
    int64_t axis = list->present && i < list->count ? list->ints[i] : 0;
    return tm_infer_axis(node, axis, rank, out_axis);
}

static tm_code set_scan_input(tm_infer_context *context, tm_node *node, int i, int states, tm_graph *body,
                              tm_dim *length) {
    const tm_value *from = node->inputs[states + i];
    tm_dim dims[TAMIS_MAX_RANK];
    int axis = 0;
    TM_TRY(tm_infer_need(node, states + i, -1));
    TM_TRY(scan_axis(node, "scan_input_axes", i, from->rank, &axis));
    if (*length == NULL)
        *length = from->dims[axis];
    TM_TRY(tm_infer_equal(context, node, *length, from->dims[axis], "lengths of scan inputs"));
    for (int k = 0, to = 0; k < from->rank; k++)
        if (k != axis)
            dims[to++] = from->dims[k];
    tm_value_set_handle(body->inputs.items[states + i], TAMIS_KIND_TENSOR, from->type, from->rank - 1, dims);
    return TM_OK;
}

tm_code tm_infer_scan(tm_infer_context *context, tm_node *node) {
    tm_graph *body = tm_node_graph(node, "body");
    int64_t scans = tm_node_int(node, "num_scan_inputs");
    if (body == NULL)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "the body is missing");
    if (scans < 1 || scans > node->input_count)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "num_scan_inputs is %lld of %d inputs", (long long)scans,
                             node->input_count);
    int states = node->input_count - (int)scans;
    if ((int)body->inputs.count != node->input_count || (int)body->outputs.count < states ||
        node->output_count > (int)body->outputs.count)
        return tm_infer_fail(node, TM_E_ARITY, "the body has %zu inputs and %zu outputs, the node %d and %d",
                             body->inputs.count, body->outputs.count, node->input_count, node->output_count);
    for (int i = 0; i < states; i++)
        TM_TRY(tm_infer_need(node, i, -1));
    tm_dim length = NULL;
    for (int i = 0; i < (int)scans; i++)
        TM_TRY(set_scan_input(context, node, i, states, body, &length));
    tm_carried carried = {body, node->inputs, states, 0, 0};
    TM_TRY(tm_infer_carried(context, node, &carried));
    TM_TRY(tm_infer_fixed_ranks(node, body));
    tm_infer_carried_outputs(context, node, &carried);
    for (int i = states; i < node->output_count; i++) {
        const tm_value *from = body->outputs.items[i];
        int axis = 0;
        if (node->outputs[i] == NULL)
            continue;
        TM_TRY(scan_axis(node, "scan_output_axes", i - states, from->rank + 1, &axis));
        TM_TRY(set_scan_output(context, node, i, body, from, axis, length));
    }
    return TM_OK;
}
