/* SPDX-License-Identifier: Apache-2.0
 *
 * infer.c: the walk of inference.
 *
 * Graphs are walked in execution order; each node's outputs are cleared, its arity is compared with the
 * op's row, and the row's infer function sets the outputs anew. So inference can run again after any
 * pass: what it finds depends on the graph alone. Only three things survive from run to run: symbols, which
 * are found again at the value that binds them (tm_value.symbols), so that equal dims stay equal
 * pointers; the declared rank of a control flow node's outputs, which is the last resort where
 * branches disagree; and the dims of a view, for a pass may drop a Reshape's target once they are known.
 *
 * A node that fails leaves its outputs without a type; nodes that read such values are passed over without
 * a message. So one run files every independent fault of a model, and no consequences of one.
 */
#include "ir/infer.h"
#include "ir/ops/control_flow.h"

static void clear_output(tm_value *value) {
    value->type = TAMIS_TYPE_UNDEFINED;
    value->kind = TAMIS_KIND_TENSOR;
    value->item = TAMIS_KIND_NONE;
    value->key = TAMIS_TYPE_UNDEFINED;
    value->rank = -1;
    value->dims = NULL;
    value->elements = NULL;
    value->element_count = 0;
}

static tm_code check_arity(tm_node *node, const tm_op_info *info) {
    if (node->input_count < info->inputs_min || node->input_count > info->inputs_max)
        return tm_infer_fail(node, TM_E_ARITY, "%s has %d inputs; it takes %d%s", info->name,
                             node->input_count,
                             node->input_count < info->inputs_min ? info->inputs_min : info->inputs_max,
                             info->inputs_min == info->inputs_max   ? ""
                             : node->input_count < info->inputs_min ? " or more"
                                                                    : " at most");
    if (node->output_count < info->outputs_min || node->output_count > info->outputs_max)
        return tm_infer_fail(node, TM_E_ARITY, "%s has %d outputs; it makes %d%s", info->name,
                             node->output_count,
                             node->output_count < info->outputs_min ? info->outputs_min : info->outputs_max,
                             info->outputs_min == info->outputs_max   ? ""
                             : node->output_count < info->outputs_min ? " or more"
                                                                      : " at most");
    return TM_OK;
}

static bool reads_untyped(const tm_node *node) {
    for (int i = 0; i < node->input_count; i++)
        if (node->inputs[i] != NULL && node->inputs[i]->type == TAMIS_TYPE_UNDEFINED)
            return true;
    return false;
}

static tm_code infer_one(tm_infer_context *context, tm_node *node) {
    const tm_op_info *info = tm_op_get(node->op);
    if (info->infer == NULL)
        return tm_infer_fail(node, TM_E_UNSUPPORTED_OP, "the operator is not known");
    TM_TRY(check_arity(node, info));
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL && (info->traits & (TM_CONTROL | TM_VIEW)) == 0)
            clear_output(node->outputs[i]);
    TM_TRY(info->infer(context, node));
    return tm_infer_open_ranks(node);
}

tm_code tm_infer_graph(tm_infer_context *context, tm_graph *graph) {
    tm_code first = TM_OK;
    for (tm_node *node = graph->first; node != NULL; node = node->next) {
        /* A body may read an untyped value from outside; that fault was filed there. */
        tm_code code = reads_untyped(node) ? TM_E_TYPE : infer_one(context, node);
        if (code == TM_OK)
            continue;
        if (first == TM_OK)
            first = code;
        for (int i = 0; i < node->output_count; i++)
            if (node->outputs[i] != NULL)
                node->outputs[i]->type = TAMIS_TYPE_UNDEFINED;
    }
    return first;
}

tm_code tm_infer_node(tm_model *model, tm_node *node) {
    tm_infer_context context = {model, model->dims, model->arena};
    return infer_one(&context, node);
}

static tm_code check_input(const tm_model *model, tm_value *input) {
    tm_place place = {.file = model->file, .path = "main", .node_index = -1, .tensor = input->name};
    if (input->type == TAMIS_TYPE_UNDEFINED)
        return tm_report(model->diagnostics, TM_E_TYPE, &place, NULL, "input '%s' has no type", input->name);
    if (input->kind == TAMIS_KIND_TENSOR && input->rank < 0)
        return tm_report(model->diagnostics, TM_E_UNKNOWN_RANK, &place,
                         "declare the rank of the input in the model",
                         "the rank of input '%s' is not declared", input->name);
    if (input->constant == NULL)
        input->elements = NULL;
    return TM_OK;
}

tm_code tm_infer(tm_model *model) {
    tm_infer_context context = {model, model->dims, model->arena};
    tm_code first = TM_OK;
    model->constraints.count = 0;
    for (size_t i = 0; i < model->main->inputs.count; i++) {
        tm_code code = check_input(model, model->main->inputs.items[i]);
        if (first == TM_OK)
            first = code;
    }
    if (first != TM_OK)
        return first;
    TM_TRY(tm_infer_graph(&context, model->main));
    TM_TRY(tm_infer_fixed_ranks(NULL, model->main));
    for (size_t i = 0; i < model->values.count; i++)
        model->values.items[i]->open_rank = false;
    return TM_OK;
}
