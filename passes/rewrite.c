/* SPDX-License-Identifier: Apache-2.0
 *
 * rewrite.c: replacing values without losing the model's interface.
 *
 * The names of a model's outputs are its interface. When an output is replaced,
 *
 *     %t = Relu(%x)                          %y = Relu(%x)
 *     %y = Identity(%t)          becomes     return %y
 *     return %y
 *
 * the replacement takes over the name. That cannot be done when the replacement has a name that must stay:
 * when it is an input or another output of the model. Then the node that copies it stays.
 */
#include "passes/rewrite.h"

#include "ir/infer.h"

#include <string.h>

bool tm_rewrite_is_output(const tm_value *value) {
    for (size_t i = 0; i < value->uses.count; i++)
        if (value->uses.items[i].node == NULL && value->uses.items[i].graph->outer == NULL)
            return true;
    return false;
}

bool tm_rewrite_can_replace(const tm_value *from, const tm_value *to) {
    if (from == to || !tm_graph_contains(to->graph, from->graph))
        return false;
    if (!tm_rewrite_is_output(from))
        return true;
    bool is_input = to->producer == NULL && to->constant == NULL;
    return !is_input && to->graph == from->graph && !tm_rewrite_is_output(to);
}

void tm_rewrite_replace(tm_value *from, tm_value *to) {
    if (tm_rewrite_is_output(from)) {
        const char *name = from->name;
        from->name = to->name;
        to->name = name;
    }
    tm_value_replace(from, to);
}

void tm_rewrite_permutation(const tm_node *transpose, int64_t out_perm[TAMIS_MAX_RANK]) {
    const tm_attribute *perm = tm_node_attribute(transpose, "perm");
    int rank = transpose->inputs[0]->rank;
    for (int i = 0; i < rank; i++)
        out_perm[i] = perm->present && perm->count == rank ? perm->ints[i] : rank - 1 - i;
}

bool tm_rewrite_same_type(const tm_value *a, const tm_value *b) {
    if (!tm_value_same_form(a, b) || a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i])
            return false;
    return true;
}

tm_node *tm_rewrite_copy(tm_graph *graph, tm_node *before, const tm_node *node, int input_count,
                         tm_value *const *inputs) {
    tm_node *copy = tm_node_create(graph, before, node->op, node->name, input_count, inputs);
    memcpy(copy->attributes, node->attributes,
           (size_t)tm_op_get(node->op)->attribute_count * sizeof(*node->attributes));
    return copy;
}

tm_code tm_rewrite_copy_over(tm_node *before, const tm_node *node, tm_value **value) {
    tm_graph *graph = before->graph;
    tm_value **inputs = TM_NEW_ARRAY(graph->model->arena, tm_value *, node->input_count);
    inputs[0] = *value;
    for (int i = 1; i < node->input_count; i++)
        inputs[i] = node->inputs[i];
    tm_node *copy = tm_rewrite_copy(graph, before, node, node->input_count, inputs);
    *value = tm_node_add_output(copy, NULL);
    return tm_infer_node(graph->model, copy);
}

tm_code tm_rewrite_convolution(tm_node *node, tm_op op, int count, tm_value *const *inputs, tm_value **out) {
    static const char *const lists[] = {"dilations", "kernel_shape", "pads", "strides"};
    tm_node *copy = tm_node_create(node->graph, node, op, node->name, count, inputs);
    copy->file_index = node->file_index;
    copy->file_path = node->file_path;
    tm_node_set_string(copy, "auto_pad", tm_node_string(node, "auto_pad"));
    tm_node_set_int(copy, "group", tm_node_int(node, "group"));
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        const tm_attribute *list = tm_node_attribute(node, lists[i]);
        if (list->present)
            tm_node_set_ints(copy, lists[i], list->ints, list->count);
    }
    *out = tm_node_add_output(copy, NULL);
    return tm_infer_node(node->graph->model, copy);
}
