/* SPDX-License-Identifier: Apache-2.0
 *
 * missing_kernels.c: all nodes of a model that nothing can run, in one go.
 *
 * An op may lack a kernel for the types that a node has; code generation would stop at the first such node.
 * Users want to know of all of them, and of one kind of fault together with the others:
 *
 *     model.onnx:main:node 3:Det: error E0201: Det has no kernel for type i32 (tm_k_Det_i32)
 *     model.onnx:main:node 7:...
 *
 * So this runs before code generation, and also over models that were refused for another reason; values
 * without a type there, made by what is not supported, are passed over.
 */
#include "compiler/internal.h"

#include "ir/evaluate.h"

static bool is_typed(const tm_node *node) {
    for (int i = 0; i < node->input_count; i++)
        if (node->inputs[i] != NULL && node->inputs[i]->type == TAMIS_TYPE_UNDEFINED)
            return false;
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL && node->outputs[i]->type == TAMIS_TYPE_UNDEFINED)
            return false;
    return true;
}

static tm_code visit(const tm_graph *graph) {
    tm_code code = TM_OK;
    for (tm_node *node = graph->first; node != NULL; node = node->next) {
        if (node->op == TM_OP_Region)
            continue;
        for (int i = 0; i < tm_node_subgraph_count(node); i++) {
            tm_code inner = visit(tm_node_subgraph(node, i));
            code = code != TM_OK ? code : inner;
        }
        if (!is_typed(node) || tm_kernel_exists(node))
            continue;
        tm_place place = tm_node_place(node);
        const tm_value *first = node->input_count > 0 ? node->inputs[0] : NULL;
        code = tm_report(graph->model->diagnostics, TM_E_UNSUPPORTED_TYPE, &place, NULL,
                         "%s has no kernel for type %s (%s)", tm_op_get(node->op)->name,
                         first != NULL ? tm_type_text(first->type) : "", tm_kernel_symbol(node));
    }
    return code;
}

tm_code tm_report_missing_kernels(const tm_model *model) {
    return visit(model->main);
}
