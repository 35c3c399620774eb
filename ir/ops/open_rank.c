/* SPDX-License-Identifier: Apache-2.0
 *
 * open_rank.c: Ifs whose branches give a value different ranks.
 *
 * Ranks are known when a model is compiled, so one of the branches must be the one that runs, or the
 * difference must not matter. Two ways to see that:
 *
 *   The condition is computed from constants, by ops that shape arithmetic does not know (comparisons of
 * floats, reductions): it is evaluated.
 *
 *   One branch gives what the other does without leading dims of 1, and whatever reads it broadcasts it to a
 *   rank that another operand has. Then the lower one may get these dims:
 *
 *     %step: f32[1] = If(%one) { then: Unsqueeze(%zero: f32[])    else: Div(%two, %d): f32[1] }
 *     %grid: f32[d] = Mul(%steps: f32[d], %step)
 *
 *   Until the first inference of the model is over, such a value is marked (tm_value.open_rank), the mark
 * goes with it through elementwise ops, and an op that could tell the ranks apart is refused, as is a mark on
 * an output. Where that passes, the graph with the added dims gives the same answers and is a graph like any
 *   other; the marks are forgotten.
 */
#include "ir/evaluate.h"
#include "ir/ops/control_flow.h"

#include <string.h>

/* ---- conditions made of constants ---- */

#define FOLDED_NODES 64 /* a condition that takes more is left alone */

static const tm_constant *fold(tm_model *model, const tm_value *value, int *budget);

/* A copy of the node that reads constants; NULL when an input is none. */
static tm_node *copy_of_constants(tm_model *model, tm_node *node, int *budget) {
    tm_value **inputs = TM_NEW_ARRAY(model->arena, tm_value *, node->input_count + 1);
    for (int i = 0; i < node->input_count; i++) {
        const tm_constant *constant = NULL;
        if (node->inputs[i] == NULL)
            continue;
        constant = fold(model, node->inputs[i], budget);
        if (constant == NULL)
            return NULL;
        inputs[i] = tm_value_create_constant(node->graph, NULL, constant);
    }
    tm_node *copy = tm_node_create(node->graph, node, node->op, NULL, node->input_count, inputs);
    memcpy(copy->attributes, node->attributes,
           (size_t)tm_op_get(node->op)->attribute_count * sizeof *node->attributes);
    for (int i = 0; i < node->output_count; i++) {
        if (node->outputs[i] != NULL)
            (void)tm_node_add_output(copy, NULL);
        else
            tm_node_add_omitted_output(copy);
    }
    return copy;
}

static const tm_constant *fold(tm_model *model, const tm_value *value, int *budget) {
    tm_node *node = value->producer;
    if (value->constant != NULL || node == NULL)
        return value->constant;
    if (--*budget < 0 || tm_op_has(node->op, TM_CONTROL | TM_RANDOM | TM_HANDLE))
        return NULL;
    tm_node *copy = copy_of_constants(model, node, budget);
    if (copy == NULL)
        return NULL;
    const tm_constant **outputs = TM_NEW_ARRAY(model->arena, const tm_constant *, node->output_count + 1);
    size_t filed = model->diagnostics->list.count, constraints = model->constraints.count;
    bool good = tm_infer_node(model, copy) == TM_OK && tm_evaluate_node(model, copy, true, outputs) == TM_OK;
    model->diagnostics->list.count = filed;
    model->constraints.count = constraints;
    tm_node_remove(copy);
    return good ? outputs[value->output_index] : NULL;
}

tm_dim tm_fold_condition(tm_infer_context *context, tm_value *condition) {
    int budget = FOLDED_NODES;
    int64_t truth = 0;
    const tm_constant *constant = fold(context->model, condition, &budget);
    if (constant == NULL || tm_constant_count(constant) != 1 || !tm_constant_int(constant, 0, &truth))
        return NULL;
    condition->elements = TM_NEW_ARRAY(context->arena, tm_dim, 1);
    condition->elements[0] = tm_infer_const(context, truth != 0);
    condition->element_count = 1;
    return condition->elements[0];
}

/* ---- leading dims of 1 ---- */

bool tm_pads_to(const tm_value *low, const tm_value *high) {
    for (int i = 0; i < high->rank - low->rank; i++)
        if (!tm_dim_is(high->dims[i], 1))
            return false;
    return low->rank >= 0 && low->rank < high->rank;
}

tm_code tm_pad_output(tm_infer_context *context, tm_graph *branch, int output, int rank) {
    tm_value *value = branch->outputs.items[output];
    int64_t axes[TAMIS_MAX_RANK];
    int64_t count = rank - value->rank;
    for (int i = 0; i < (int)count; i++)
        axes[i] = i;
    tm_value *list = tm_value_create_constant(branch, NULL,
                                              tm_constant_create_i64(context->arena, 1, &count, axes));
    tm_node *node = tm_node_create(branch, NULL, TM_OP_Unsqueeze, NULL, 2, (tm_value *[]){value, list});
    tm_graph_set_output(branch, output, tm_node_add_output(node, NULL));
    return tm_infer_node(context->model, node);
}

/* Another operand has the result's rank, whatever the open ones have. CastLike's second one gives its type
 * only. */
static bool rank_is_fixed(const tm_node *node, const tm_value *output) {
    for (int i = 0; i < node->input_count && node->op != TM_OP_CastLike; i++)
        if (node->inputs[i] != NULL && !node->inputs[i]->open_rank && node->inputs[i]->rank >= output->rank)
            return true;
    return false;
}

tm_code tm_infer_open_ranks(tm_node *node) {
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL && !tm_op_has(node->op, TM_CONTROL))
            node->outputs[i]->open_rank = false;
    for (int i = 0; i < node->input_count; i++) {
        const tm_value *input = node->inputs[i];
        if (input == NULL || !input->open_rank || (node->op == TM_OP_CastLike && i == 1) ||
            (node->op == TM_OP_If && i == 0))
            continue;
        if (node->op != TM_OP_Identity && !tm_op_has(node->op, TM_ELEMENTWISE))
            return tm_infer_fail(node, TM_E_UNKNOWN_RANK,
                                 "the branches of an If give input %d, '%s', different ranks, %d or less", i,
                                 input->name, input->rank);
        for (int k = 0; k < node->output_count; k++)
            if (node->outputs[k] != NULL)
                node->outputs[k]->open_rank = !rank_is_fixed(node, node->outputs[k]);
    }
    return TM_OK;
}

tm_code tm_infer_fixed_ranks(tm_node *node, const tm_graph *graph) {
    for (size_t i = 0; i < graph->outputs.count; i++) {
        const tm_value *output = graph->outputs.items[i];
        tm_place place = {
            .file = graph->model->file, .path = graph->name, .node_index = -1, .tensor = output->name};
        if (!output->open_rank)
            continue;
        if (node != NULL)
            place = tm_node_place(node);
        return tm_report(graph->model->diagnostics, TM_E_UNKNOWN_RANK, &place,
                         "declare the output's rank in the model, if it is always the same",
                         "the branches of an If give output %zu, '%s', different ranks, %d or less", i,
                         output->name, output->rank);
    }
    return TM_OK;
}
