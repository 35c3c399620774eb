/* SPDX-License-Identifier: Apache-2.0
 *
 * inline_if.c: an If whose condition is known becomes the nodes of its branch.
 *
 *     %y = If(true) {then_branch = { %t = Squeeze(%x) return %t }, ...}     ->     %t = Squeeze(%x)
 *
 * Exports of squeeze, and of code that asks for shapes, are full of them; the condition folds once shapes are
 * known. At every -O level, because the branch not taken may be one that could not run: it may have
 * another rank, or none.
 */
#include "passes/passes.h"
#include "passes/rewrite.h"

/* The branch that will run, or NULL. */
static tm_graph *known_branch(const tm_node *node) {
    const tm_value *condition = node->inputs[0];
    int64_t truth = 0;
    if (condition->constant != NULL) {
        if (!tm_constant_int(condition->constant, 0, &truth))
            return NULL;
    } else if (condition->elements != NULL && condition->element_count == 1 &&
               tm_dim_is_constant(condition->elements[0]))
        truth = condition->elements[0]->constant;
    else
        return NULL;
    return tm_node_graph(node, truth != 0 ? "then_branch" : "else_branch");
}

/* A model's output takes the result's place through an Identity, where the result's own name must stay. */
static tm_value *replacement(tm_node *node, tm_value *output, tm_value *result) {
    if (!tm_rewrite_is_output(output) || tm_rewrite_can_replace(output, result))
        return result;
    tm_node *identity = tm_node_create(node->graph, node, TM_OP_Identity, NULL, 1, &result);
    return tm_node_add_output(identity, NULL);
}

static tm_node *inline_branch(tm_node *node, tm_graph *branch) {
    tm_node *before = node->previous;
    while (branch->first != NULL)
        tm_node_adopt(branch->first, node);
    for (int i = 0; i < node->output_count; i++) {
        tm_value *result = branch->outputs.items[i];
        if (result->graph == branch)
            result->graph = node->graph; /* a constant of the branch */
        if (node->outputs[i] != NULL && node->outputs[i]->uses.count > 0)
            tm_rewrite_replace(node->outputs[i], replacement(node, node->outputs[i], result));
    }
    tm_node *next = before != NULL ? before->next : node->graph->first;
    if (next == node)
        next = node->next;
    tm_node_remove(node);
    return next;
}

static void inline_in_graph(tm_pass_context *context, tm_graph *graph) {
    for (tm_node *node = graph->first; node != NULL;) {
        tm_graph *branch = node->op == TM_OP_If ? known_branch(node) : NULL;
        if (branch != NULL && tm_pass_allow(context)) {
            node = inline_branch(node, branch);
            continue;
        }
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            inline_in_graph(context, tm_node_subgraph(node, i));
        node = node->next;
    }
}

tm_code tm_pass_inline_if(tm_pass_context *context) {
    inline_in_graph(context, context->model->main);
    return TM_OK;
}
