/* SPDX-License-Identifier: Apache-2.0
 *
 * node.c: nodes, their place in a graph and their attributes.
 *
 * The nodes of a graph are a doubly linked list in execution order. All writes of inputs go
 * through tm_node_set_input and tm_node_trim_inputs, which keep the uses exact. Removing a
 * node that holds bodies removes what the bodies read:
 *
 *     %y = If(%c) {then = {%t = Add(%x, %x)}}     removing it drops two uses of %x and one of %c
 *
 * A removed node has graph NULL, and so have its values: whoever kept a pointer can tell.
 */
#include "ir/graph.h"
#include "ir/graph_internal.h"

#include <math.h>
#include <string.h>

static void link_node(tm_graph *graph, tm_node *node, tm_node *before) {
    node->next = before;
    node->previous = before != NULL ? before->previous : graph->last;
    *(node->previous != NULL ? &node->previous->next : &graph->first) = node;
    *(before != NULL ? &before->previous : &graph->last) = node;
    graph->node_count++;
}

static void unlink_node(tm_node *node) {
    tm_graph *graph = node->graph;
    *(node->previous != NULL ? &node->previous->next : &graph->first) = node->next;
    *(node->next != NULL ? &node->next->previous : &graph->last) = node->previous;
    node->previous = node->next = NULL;
    graph->node_count--;
}

tm_node *tm_node_create(tm_graph *graph, tm_node *before, tm_op op, const char *name, int input_count,
                        tm_value *const *inputs) {
    tm_arena *arena = graph->model->arena;
    int attribute_count = tm_op_get(op)->attribute_count;
    tm_node *node = TM_NEW(arena, tm_node);
    node->op = op;
    node->name = tm_arena_string(arena, name != NULL ? name : "");
    node->graph = graph;
    node->file_index = -1;
    node->attributes = TM_NEW_ARRAY(arena, tm_attribute, attribute_count > 0 ? attribute_count : 1);
    node->input_count = input_count;
    if (input_count > 0)
        node->inputs = tm_arena_copy(arena, inputs, (size_t)input_count * sizeof *inputs);
    for (int i = 0; i < input_count; i++)
        tm_use_add(node->inputs[i], node, graph, i);
    link_node(graph, node, before);
    return node;
}

/* A larger copy of an array of values. Arrays grow by powers of two, so appending n values copies O(n). */
static tm_value **append_value(tm_arena *arena, tm_value **values, int count, tm_value *value) {
    if ((count & (count - 1)) == 0) {
        tm_value **grown = TM_NEW_ARRAY(arena, tm_value *, count > 0 ? 2 * (size_t)count : 1);
        if (count > 0)
            memcpy(grown, values, (size_t)count * sizeof *values);
        values = grown;
    }
    values[count] = value;
    return values;
}

void tm_node_set_output(tm_node *node, int index, tm_value *value) {
    if (index == node->output_count)
        node->outputs = append_value(node->graph->model->arena, node->outputs, node->output_count++, NULL);
    tm_value *old = node->outputs[index];
    if (old != NULL) {
        old->producer = NULL;
        old->output_index = -1;
    }
    node->outputs[index] = value;
    if (value == NULL)
        return;
    if (value->producer != NULL)
        value->producer->outputs[value->output_index] = NULL;
    value->producer = node;
    value->output_index = index;
    value->graph = node->graph;
}

tm_value *tm_node_add_output(tm_node *node, const char *name) {
    tm_value *value = tm_value_create(node->graph, name);
    tm_node_set_output(node, node->output_count, value);
    return value;
}

void tm_node_add_omitted_output(tm_node *node) {
    tm_node_set_output(node, node->output_count, NULL);
}

void tm_node_set_input(tm_node *node, int index, tm_value *value) {
    if (index >= node->input_count) {
        /* The array of tm_node_create has exactly input_count entries, so it is always copied here. */
        tm_value **grown = TM_NEW_ARRAY(node->graph->model->arena, tm_value *, (size_t)index + 1);
        if (node->input_count > 0)
            memcpy(grown, node->inputs, (size_t)node->input_count * sizeof *grown);
        node->inputs = grown;
        node->input_count = index + 1;
    }
    tm_use_drop(node->inputs[index], node, node->graph, index);
    node->inputs[index] = value;
    tm_use_add(value, node, node->graph, index);
}

void tm_node_trim_inputs(tm_node *node, int count) {
    while (node->input_count > count) {
        int index = --node->input_count;
        tm_use_drop(node->inputs[index], node, node->graph, index);
    }
}

void tm_node_move_before(tm_node *node, tm_node *before) {
    tm_graph *graph = node->graph;
    if (node == before)
        return;
    unlink_node(node);
    link_node(graph, node, before);
}

static void move_constant(tm_value *value, const tm_graph *from, tm_graph *to) {
    if (tm_value_is_constant(value) && value->graph == from)
        value->graph = to;
}

/* Constants of `from` that the body and those in it read. */
static void move_constants(const tm_graph *body, const tm_graph *from, tm_graph *to) {
    for (const tm_node *node = body->first; node != NULL; node = node->next) {
        for (int i = 0; i < node->input_count; i++)
            move_constant(node->inputs[i], from, to);
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            move_constants(tm_node_subgraph(node, i), from, to);
    }
    for (size_t i = 0; i < body->outputs.count; i++)
        move_constant(body->outputs.items[i], from, to);
}

void tm_node_adopt(tm_node *node, tm_node *before) {
    tm_graph *from = node->graph, *to = before->graph;
    unlink_node(node);
    link_node(to, node, before);
    node->graph = to;
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL)
            node->outputs[i]->graph = to;
    for (int i = 0; i < node->input_count; i++) {
        tm_value *input = node->inputs[i];
        move_constant(input, from, to);
        for (size_t u = 0; input != NULL && u < input->uses.count; u++)
            if (input->uses.items[u].node == node)
                input->uses.items[u].graph = to;
    }
    for (int i = 0; i < tm_node_subgraph_count(node); i++) {
        tm_node_subgraph(node, i)->outer = to;
        move_constants(tm_node_subgraph(node, i), from, to);
    }
}

static void retire_graph(tm_graph *graph);

/* Drops all uses that the node and its bodies make, and marks what they define as gone. */
static void retire_node(tm_node *node) {
    for (int i = 0; i < tm_node_subgraph_count(node); i++)
        retire_graph(tm_node_subgraph(node, i));
    tm_node_trim_inputs(node, 0);
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL)
            node->outputs[i]->graph = NULL;
}

static void retire_graph(tm_graph *graph) {
    for (size_t i = 0; i < graph->outputs.count; i++)
        tm_use_drop(graph->outputs.items[i], NULL, graph, (int)i);
    graph->outputs.count = 0;
    for (tm_node *node = graph->last; node != NULL; node = node->previous)
        retire_node(node);
    for (size_t i = 0; i < graph->inputs.count; i++)
        graph->inputs.items[i]->graph = NULL;
}

void tm_node_remove(tm_node *node) {
    retire_node(node);
    unlink_node(node);
    node->graph = NULL;
}

/* ---- attributes ---- */

static const tm_attribute_spec *find_spec(const tm_node *node, const char *name,
                                          tm_attribute **out_attribute) {
    int index = tm_op_attribute_index(node->op, name);
    *out_attribute = index >= 0 ? &node->attributes[index] : NULL;
    return index >= 0 ? &tm_op_get(node->op)->attributes[index] : NULL;
}

int64_t tm_node_int(const tm_node *node, const char *name) {
    tm_attribute *attribute = NULL;
    const tm_attribute_spec *spec = find_spec(node, name, &attribute);
    if (spec == NULL)
        return TM_NO_DEFAULT;
    return attribute->present ? attribute->i : spec->int_default;
}

double tm_node_float(const tm_node *node, const char *name) {
    tm_attribute *attribute = NULL;
    const tm_attribute_spec *spec = find_spec(node, name, &attribute);
    if (spec == NULL)
        return (double)NAN;
    return attribute->present ? attribute->f : spec->float_default;
}

const char *tm_node_string(const tm_node *node, const char *name) {
    tm_attribute *attribute = NULL;
    const tm_attribute_spec *spec = find_spec(node, name, &attribute);
    if (spec == NULL)
        return NULL;
    return attribute->present ? attribute->s : spec->string_default;
}

const tm_attribute *tm_node_attribute(const tm_node *node, const char *name) {
    static const tm_attribute absent;
    tm_attribute *attribute = NULL;
    find_spec(node, name, &attribute);
    return attribute != NULL ? attribute : &absent;
}

bool tm_node_has_attribute(const tm_node *node, const char *name) {
    return tm_node_attribute(node, name)->present;
}

tm_graph *tm_node_graph(const tm_node *node, const char *name) {
    return tm_node_attribute(node, name)->graph;
}

/* The record to write; a name that is not in the row is written to a record nobody reads. */
static tm_attribute *writable(tm_node *node, const char *name) {
    tm_attribute *attribute = NULL;
    find_spec(node, name, &attribute);
    if (attribute == NULL)
        attribute = TM_NEW(node->graph->model->arena, tm_attribute);
    *attribute = (tm_attribute){.present = true};
    return attribute;
}

static int64_t scan_item(const tm_node *scan, const char *list, int k) {
    const tm_attribute *items = tm_node_attribute(scan, list);
    return items->present && k < items->count ? items->ints[k] : 0;
}

int tm_scan_axis(const tm_node *scan, const char *list, int k, int rank) {
    int64_t axis = scan_item(scan, list, k);
    return (int)(axis < 0 ? axis + rank : axis);
}

bool tm_scan_backwards(const tm_node *scan, const char *list, int k) {
    return scan_item(scan, list, k) != 0;
}

void tm_node_set_int(tm_node *node, const char *name, int64_t value) {
    writable(node, name)->i = value;
}

void tm_node_set_float(tm_node *node, const char *name, double value) {
    writable(node, name)->f = value;
}

void tm_node_set_string(tm_node *node, const char *name, const char *value) {
    tm_attribute *attribute = writable(node, name);
    attribute->s = tm_arena_string(node->graph->model->arena, value);
    attribute->s_size = (int64_t)strlen(value);
}

void tm_node_set_ints(tm_node *node, const char *name, const int64_t *values, int64_t count) {
    tm_attribute *attribute = writable(node, name);
    attribute->ints = tm_arena_copy(node->graph->model->arena, values, (size_t)count * sizeof *values);
    attribute->count = count;
}

void tm_node_set_floats(tm_node *node, const char *name, const double *values, int64_t count) {
    tm_attribute *attribute = writable(node, name);
    attribute->floats = tm_arena_copy(node->graph->model->arena, values, (size_t)count * sizeof *values);
    attribute->count = count;
}

void tm_node_set_strings(tm_node *node, const char *name, const char *const *values, int64_t count) {
    tm_attribute *attribute = writable(node, name);
    tm_arena *arena = node->graph->model->arena;
    const char **copies = TM_NEW_ARRAY(arena, const char *, count > 0 ? count : 1);
    for (int64_t i = 0; i < count; i++)
        copies[i] = tm_arena_string(arena, values[i]);
    attribute->strings = copies;
    attribute->count = count;
}

void tm_node_set_tensor(tm_node *node, const char *name, const tm_constant *value) {
    writable(node, name)->tensor = value;
}

void tm_node_set_graph(tm_node *node, const char *name, tm_graph *graph) {
    writable(node, name)->graph = graph;
    graph->owner = node;
}

int tm_node_subgraph_count(const tm_node *node) {
    const tm_op_info *info = tm_op_get(node->op);
    int count = 0;
    for (int i = 0; i < info->attribute_count; i++)
        count += info->attributes[i].kind == TM_ATTRIBUTE_GRAPH && node->attributes[i].graph != NULL;
    return count;
}

tm_graph *tm_node_subgraph(const tm_node *node, int i) {
    const tm_op_info *info = tm_op_get(node->op);
    for (int k = 0; k < info->attribute_count; k++)
        if (info->attributes[k].kind == TM_ATTRIBUTE_GRAPH && node->attributes[k].graph != NULL && i-- == 0)
            return node->attributes[k].graph;
    return NULL;
}

tm_place tm_node_place(const tm_node *node) {
    const tm_op_info *info = tm_op_get(node->op);
    const tm_model *model = node->graph != NULL ? node->graph->model : NULL;
    const char *domain = tm_domain_name(info->domain);
    tm_place place = {.node_index = node->file_index, .node = node->name, .op = info->name};
    place.path = node->file_path;
    if (model != NULL) {
        place.file = model->file;
        if (place.path == NULL)
            place.path = node->graph->name;
        if (domain[0] != 0)
            place.op = tm_arena_format(model->arena, "%s.%s", domain, info->name);
    }
    return place;
}

const char *tm_node_text(tm_arena *arena, const tm_node *node) {
    tm_place place = tm_node_place(node);
    if (place.path == NULL)
        place.path = "main";
    const char *more = "";
    if (node->op == TM_OP_Region && tm_node_graph(node, "body")->last != NULL) {
        const tm_graph *body = tm_node_graph(node, "body");
        place.op = tm_node_place(body->last).op;
        if (body->node_count > 1)
            more = tm_arena_format(arena, ", fused with %lld more", (long long)body->node_count - 1);
    }
    bool named = node->name != NULL && node->name[0] != 0;
    if (node->file_index < 0)
        return named ? tm_arena_format(arena, "%s: %s '%s'%s", place.path, place.op, node->name, more)
                     : tm_arena_format(arena, "%s: %s%s", place.path, place.op, more);
    long long index = node->file_index;
    return named ? tm_arena_format(arena, "%s node %lld: %s '%s'%s", place.path, index, place.op, node->name,
                                   more)
                 : tm_arena_format(arena, "%s (node %lld of %s%s)", place.op, index, place.path, more);
}
