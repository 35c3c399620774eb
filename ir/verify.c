/* SPDX-License-Identifier: Apache-2.0
 *
 * verify.c: the rules that hold between passes.
 *
 * One walk in execution order with a table "defined now", indexed by value id: a value is defined by
 * its graph's inputs or its node, and forgotten when its graph ends, so reading a value of a
 * finished branch or of a later node is the same fault, "not defined before". The walk counts
 * the uses it meets; at the end each value's list must have exactly that many, and each use met must
 * have been in the list, so neither lost nor left-over uses escape.
 *
 * Only the branch that can run must have types: inference does not look into the other branch of an
 * If with a known condition.
 */
#include "ir/graph.h"
#include "ir/infer.h"

typedef struct verifier {
    const tm_model *model;
    bool *defined; /* by value id */
    int64_t *uses; /* by value id: met in the walk */
    tm_map names;
    tm_place place;
    tm_code code;
} verifier;

static TM_PRINTF(3, 4) void fail(verifier *v, const tm_value *value, const char *format, ...) {
    tm_place place = v->place;
    place.tensor = value != NULL ? value->name : NULL;
    va_list arguments;
    va_start(arguments, format);
    const char *message = tm_arena_format_v(v->model->arena, format, arguments);
    va_end(arguments);
    v->code = tm_report(v->model->diagnostics, TM_E_VERIFY, &place, NULL, "%s", message);
}

static void check_name(verifier *v, const tm_value *value) {
    const void *known = tm_map_get(&v->names, value->name);
    if (known != NULL && known != value)
        fail(v, value, "two values have the name '%s'", value->name);
    tm_map_set(&v->names, value->name, (void *)(uintptr_t)value);
}

static void check_type(verifier *v, const tm_value *value) {
    if (value->kind == TAMIS_KIND_NONE || value->type == TAMIS_TYPE_UNDEFINED)
        fail(v, value, "value '%s' has no type", value->name);
    else if (!tm_form_exists(value->kind, value->item))
        fail(v, value, "value '%s' has the kind %d of items %d, which does not exist", value->name,
             (int)value->kind, (int)value->item);
    else if (value->kind == TAMIS_KIND_TENSOR && value->rank < 0)
        fail(v, value, "value '%s' has no rank", value->name);
    for (int i = 0; i < value->rank; i++)
        if (value->dims == NULL || value->dims[i] == NULL) {
            fail(v, value, "dim %d of value '%s' is missing", i, value->name);
            return;
        }
}

static void define(verifier *v, const tm_graph *graph, const tm_value *value, const tm_node *producer,
                   int index, bool typed) {
    if (value->producer != producer || (producer != NULL && value->output_index != index))
        fail(v, value, "value '%s' names another producer than the node it is output %d of", value->name,
             index);
    if (value->graph != graph)
        fail(v, value, "value '%s' names another graph than the one that defines it", value->name);
    if (v->defined[value->id])
        fail(v, value, "value '%s' is defined twice", value->name);
    v->defined[value->id] = true;
    check_name(v, value);
    if (typed)
        check_type(v, value);
}

static void check_use(verifier *v, const tm_graph *graph, const tm_value *value, const tm_node *node,
                      int index) {
    v->uses[value->id]++;
    if (value->constant != NULL) {
        check_name(v, value);
        if (!tm_graph_contains(value->graph, graph))
            fail(v, value, "constant '%s' is read outside of its graph", value->name);
    } else if (!v->defined[value->id]) {
        fail(v, value, "value '%s' is read where it is not defined before", value->name);
    }
    for (size_t i = value->uses.count; i-- > 0;) {
        const tm_use *use = &value->uses.items[i];
        if (use->node == node && use->graph == graph && use->index == index)
            return;
    }
    fail(v, value, "the uses of value '%s' lack a reader", value->name);
}

static void check_attributes(verifier *v, const tm_node *node) {
    const tm_op_info *info = tm_op_get(node->op);
    for (int i = 0; i < info->attribute_count; i++) {
        const tm_attribute_spec *spec = &info->attributes[i];
        const tm_attribute *attribute = &node->attributes[i];
        if (!attribute->present)
            continue;
        bool whole = true;
        if (spec->kind == TM_ATTRIBUTE_STRING)
            whole = attribute->s != NULL;
        else if (spec->kind == TM_ATTRIBUTE_TENSOR)
            whole = attribute->tensor != NULL;
        else if (spec->kind == TM_ATTRIBUTE_GRAPH)
            whole = attribute->graph != NULL && attribute->graph->owner == node &&
                    attribute->graph->outer == node->graph;
        if (!whole)
            fail(v, NULL, "attribute '%s' is not consistent", spec->name);
    }
}

static bool is_dead(const tm_node *node, const tm_graph *branch) {
    const tm_value *condition = node->op == TM_OP_If && node->input_count > 0 ? node->inputs[0] : NULL;
    if (condition == NULL || condition->elements == NULL || !tm_dim_is_constant(condition->elements[0]))
        return false;
    const char *taken = condition->elements[0]->constant != 0 ? "then_branch" : "else_branch";
    return branch != tm_node_graph(node, taken);
}

static void verify_graph(verifier *v, const tm_graph *graph, bool typed);

static void verify_node(verifier *v, const tm_graph *graph, const tm_node *node, bool typed) {
    const tm_op_info *info = tm_op_get(node->op);
    v->place = tm_node_place(node);
    if (node->graph != graph)
        fail(v, NULL, "the node names another graph than the one it stands in");
    if (node->input_count < info->inputs_min || node->input_count > info->inputs_max)
        fail(v, NULL, "%s has %d inputs", info->name, node->input_count);
    if (node->output_count < info->outputs_min || node->output_count > info->outputs_max)
        fail(v, NULL, "%s has %d outputs", info->name, node->output_count);
    check_attributes(v, node);
    for (int i = 0; i < node->input_count; i++)
        if (node->inputs[i] != NULL)
            check_use(v, graph, node->inputs[i], node, i);
    for (int i = 0; i < tm_node_subgraph_count(node); i++) {
        const tm_graph *inner = tm_node_subgraph(node, i);
        verify_graph(v, inner, typed && !is_dead(node, inner));
    }
    v->place = tm_node_place(node);
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL)
            define(v, graph, node->outputs[i], node, i, typed);
}

static void verify_graph(verifier *v, const tm_graph *graph, bool typed) {
    int64_t count = 0;
    for (size_t i = 0; i < graph->inputs.count; i++)
        define(v, graph, graph->inputs.items[i], NULL, -1, typed);
    for (const tm_node *node = graph->first; node != NULL; node = node->next) {
        if (node->next != NULL ? node->next->previous != node : graph->last != node)
            fail(v, NULL, "the list of nodes is broken");
        verify_node(v, graph, node, typed);
        count++;
    }
    v->place = (tm_place){.file = v->model->file, .path = graph->name, .node_index = -1};
    if (count != graph->node_count)
        fail(v, NULL, "graph '%s' counts %lld nodes but has %lld", graph->name, (long long)graph->node_count,
             (long long)count);
    for (size_t i = 0; i < graph->outputs.count; i++) {
        if (graph->outputs.items[i] == NULL)
            fail(v, NULL, "output %zu of graph '%s' is missing", i, graph->name);
        else
            check_use(v, graph, graph->outputs.items[i], NULL, (int)i);
    }
    for (size_t i = 0; i < graph->inputs.count; i++)
        v->defined[graph->inputs.items[i]->id] = false;
    for (const tm_node *node = graph->first; node != NULL; node = node->next)
        for (int i = 0; i < node->output_count; i++)
            if (node->outputs[i] != NULL)
                v->defined[node->outputs[i]->id] = false;
}

tm_code tm_verify(const tm_model *model) {
    verifier v = {.model = model};
    v.place = (tm_place){.file = model->file, .path = "main", .node_index = -1};
    v.defined = TM_NEW_ARRAY(model->arena, bool, (size_t)model->value_count + 1);
    v.uses = TM_NEW_ARRAY(model->arena, int64_t, (size_t)model->value_count + 1);
    tm_map_init(&v.names, model->arena);
    verify_graph(&v, model->main, true);
    for (size_t i = 0; i < model->values.count; i++) {
        const tm_value *value = model->values.items[i];
        if (value->graph != NULL && (int64_t)value->uses.count != v.uses[value->id])
            fail(&v, value, "value '%s' has %zu uses but %lld readers", value->name, value->uses.count,
                 (long long)v.uses[value->id]);
    }
    return v.code;
}
