/* SPDX-License-Identifier: Apache-2.0
 *
 * drop_shape_inputs.c: views forget the tensor that their dims came from.
 *
 * After inference the dims of a Reshape's, Squeeze's or Unsqueeze's result are expressions, and nothing
 * reads the target or the axes any more. Without that input,
 *
 *     %s: i64[2] = Concat(%b, %minus_one)
 *     %y: f32[batch, 12] = Reshape(%x, %s)           %y: f32[batch, 12] = Reshape(%x)
 *
 * the node means "input 0 under the dims of the result", and the shape arithmetic dies. Inference then
 * keeps the dims as they are.
 *
 * A result whose dims are loaded from memory when the model runs keeps its input: there, the target is
 * data. Expand, Tile, Slice and the like keep theirs, since their kernels read them.
 */
#include "passes/passes.h"

static tm_dim mark_load(void *context, tm_symbol *symbol) {
    bool *found = context;
    *found = *found || symbol->origin == TM_SYMBOL_LOAD;
    return NULL;
}

static bool reads_memory(tm_dims *dims, tm_dim dim) {
    bool found = false;
    if (dim->late)
        (void)tm_dim_substitute(dims, dim, mark_load, &found);
    return found;
}

static void drop(tm_pass_context *context, tm_node *node) {
    const tm_value *result = node->outputs[0];
    if (!tm_op_has(node->op, TM_VIEW) || node->input_count != 2 || result == NULL || result->rank < 0)
        return;
    for (int i = 0; i < result->rank; i++)
        if (reads_memory(context->model->dims, result->dims[i]))
            return;
    if (!tm_pass_allow(context))
        return;
    tm_node_trim_inputs(node, 1);
    for (int i = 0; i < tm_op_get(node->op)->attribute_count; i++)
        node->attributes[i] = (tm_attribute){.present = false};
}

static void visit_graph(tm_pass_context *context, tm_graph *graph) {
    for (tm_node *node = graph->first; node != NULL; node = node->next) {
        drop(context, node);
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            visit_graph(context, tm_node_subgraph(node, i));
    }
}

tm_code tm_pass_drop_shape_inputs(tm_pass_context *context) {
    visit_graph(context, context->model->main);
    return TM_OK;
}
