/* SPDX-License-Identifier: Apache-2.0
 *
 * graph.c: graphs and bodies.
 *
 * The main graph's inputs become inputs of the model unless an initializer has the same name: then
 * the initializer is a default that nobody overrides here, and the value is a constant. In a
 * body every input stays, because control flow passes them by position.
 *
 * Order of work in a graph: inputs, initializers, nodes (sorted), outputs. Outputs may be any
 * visible value: a node's, an input, a constant, and in a body also a value captured from outside.
 */
#include "frontend/importer.h"

static tm_place graph_place(const tm_importer *importer, const tm_scope *scope, const char *tensor) {
    return (tm_place){.file = importer->model->file, .path = scope->path, .node_index = -1, .tensor = tensor};
}

static tm_code need_name(tm_importer *importer, const tm_scope *scope, const char *name, const char *what) {
    if (name != NULL && name[0] != 0)
        return TM_OK;
    tm_place place = graph_place(importer, scope, NULL);
    return tm_report(importer->diagnostics, TM_E_BAD_MODEL, &place, NULL, "%s has no name", what);
}

static void read_hints(tm_scope *scope, Onnx__ValueInfoProto *const *list, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (list[i]->name != NULL && list[i]->type != NULL && !tm_map_has(&scope->hints, list[i]->name))
            tm_map_set(&scope->hints, list[i]->name, list[i]->type);
}

static tm_code define_constant(tm_importer *importer, tm_scope *scope, const char *name,
                               const tm_constant *constant) {
    tm_place place = graph_place(importer, scope, name);
    TM_TRY(need_name(importer, scope, name, "an initializer"));
    tm_value *value = tm_value_create_constant(scope->graph, tm_scope_wish(importer, scope, name), constant);
    return tm_scope_define(importer, scope, name, value, &place);
}

static tm_code import_initializers(tm_importer *importer, tm_scope *scope, const Onnx__GraphProto *proto) {
    const tm_constant *constant;
    for (size_t i = 0; i < proto->n_initializer; i++) {
        const char *name = proto->initializer[i]->name;
        if (scope->outer != NULL && name != NULL && tm_map_has(&scope->names, name))
            continue; /* a default for an input of a body, which always gets a value */
        tm_place place = graph_place(importer, scope, name);
        TM_TRY(tm_read_tensor(&importer->reader, proto->initializer[i], &place, &constant));
        TM_TRY(define_constant(importer, scope, name, constant));
    }
    for (size_t i = 0; i < proto->n_sparse_initializer; i++) {
        const Onnx__TensorProto *values = proto->sparse_initializer[i]->values;
        const char *name = values != NULL ? values->name : NULL;
        tm_place place = graph_place(importer, scope, name);
        TM_TRY(tm_read_sparse(&importer->reader, proto->sparse_initializer[i], &place, &constant));
        TM_TRY(define_constant(importer, scope, name, constant));
    }
    return TM_OK;
}

static tm_code find_output(tm_importer *importer, const tm_scope *scope, const char *name,
                           tm_value **out_value) {
    TM_TRY(need_name(importer, scope, name, "an output"));
    if (tm_scope_find(scope, name, out_value) && *out_value != NULL)
        return TM_OK;
    tm_place place = graph_place(importer, scope, name);
    return tm_report(importer->diagnostics, TM_E_UNDEFINED_VALUE, &place, NULL,
                     "no node, input or initializer makes the graph's output");
}

static tm_code import_outputs(tm_importer *importer, tm_scope *scope, const Onnx__GraphProto *proto) {
    for (size_t i = 0; i < proto->n_output; i++) {
        tm_value *value = NULL;
        TM_TRY(find_output(importer, scope, proto->output[i]->name, &value));
        tm_graph_add_output(scope->graph, value);
    }
    return TM_OK;
}

tm_code tm_import_nodes(tm_importer *importer, tm_scope *scope, Onnx__NodeProto *const *nodes, size_t count) {
    size_t *order;
    TM_TRY(tm_sort_nodes(importer, scope, nodes, count, &order));
    for (size_t i = 0; i < count; i++)
        TM_TRY(tm_import_node(importer, scope, nodes[order[i]], order[i]));
    return TM_OK;
}

/* ---- the main graph ---- */

/* Names that belong to the main graph, before any inner value is made. */
static void note_main_names(tm_importer *importer, const Onnx__GraphProto *proto) {
    tm_map *names = &importer->main_names;
    for (size_t i = 0; i < proto->n_input; i++)
        if (proto->input[i]->name != NULL)
            tm_map_set(names, proto->input[i]->name, NULL);
    for (size_t i = 0; i < proto->n_initializer; i++)
        if (proto->initializer[i]->name != NULL)
            tm_map_set(names, proto->initializer[i]->name, NULL);
    for (size_t i = 0; i < proto->n_node; i++)
        for (size_t k = 0; k < proto->node[i]->n_output; k++)
            tm_map_set(names, proto->node[i]->output[k], NULL);
}

static tm_code import_main_inputs(tm_importer *importer, tm_scope *scope, const Onnx__GraphProto *proto) {
    tm_map defaults;
    tm_map_init(&defaults, importer->scratch);
    for (size_t i = 0; i < proto->n_initializer; i++)
        if (proto->initializer[i]->name != NULL)
            tm_map_set(&defaults, proto->initializer[i]->name, NULL);
    for (size_t i = 0; i < proto->n_sparse_initializer; i++)
        if (proto->sparse_initializer[i]->values != NULL &&
            proto->sparse_initializer[i]->values->name != NULL)
            tm_map_set(&defaults, proto->sparse_initializer[i]->values->name, NULL);
    for (size_t i = 0; i < proto->n_input; i++) {
        const char *name = proto->input[i]->name;
        TM_TRY(need_name(importer, scope, name, "an input"));
        if (tm_map_has(&defaults, name))
            continue;
        tm_place place = graph_place(importer, scope, name);
        tm_value *value = tm_value_create(scope->graph, name);
        TM_TRY(tm_import_input_type(importer, value, proto->input[i]->type, &place));
        tm_graph_add_input(scope->graph, value);
        TM_TRY(tm_scope_define(importer, scope, name, value, &place));
    }
    tm_import_open_dims(importer);
    return TM_OK;
}

tm_code tm_import_main(tm_importer *importer, const Onnx__GraphProto *proto) {
    tm_scope *scope = TM_NEW(importer->scratch, tm_scope);
    tm_scope_init(importer, scope, NULL, importer->model->main, "main");
    TM_TRY(tm_read_opsets(importer, importer->proto->opset_import, importer->proto->n_opset_import, NULL,
                          &scope->opsets));
    read_hints(scope, proto->output, proto->n_output);
    read_hints(scope, proto->value_info, proto->n_value_info);
    note_main_names(importer, proto);
    TM_TRY(import_main_inputs(importer, scope, proto));
    TM_TRY(import_initializers(importer, scope, proto));
    TM_TRY(tm_import_nodes(importer, scope, proto->node, proto->n_node));
    return import_outputs(importer, scope, proto);
}

/* ---- bodies ---- */

/* A scope for a body whose nodes go into `graph`; NULL: into a graph of its own. */
static tm_code open_scope(tm_importer *importer, tm_scope *outer, tm_graph *graph,
                          const Onnx__GraphProto *proto, const char *path, const tm_place *place,
                          tm_scope **out_scope) {
    if (outer->depth >= importer->options->limits.depth)
        return tm_report(importer->diagnostics, TM_E_LIMIT, place,
                         "if the file is trusted, raise the limit with --limit-depth=N",
                         "control flow and functions are nested too deep (limit %lld)",
                         (long long)importer->options->limits.depth);
    if (graph == NULL)
        graph = tm_graph_create(importer->model, proto->name, outer->graph);
    tm_scope *scope = TM_NEW(importer->scratch, tm_scope);
    tm_scope_init(importer, scope, outer, graph, path);
    read_hints(scope, proto->output, proto->n_output);
    read_hints(scope, proto->value_info, proto->n_value_info);
    *out_scope = scope;
    return TM_OK;
}

tm_code tm_open_body(tm_importer *importer, tm_scope *outer, const Onnx__GraphProto *proto, const char *path,
                     const tm_place *place, tm_scope **out_scope) {
    return open_scope(importer, outer, NULL, proto, path, place, out_scope);
}

tm_code tm_inline_body(tm_importer *importer, tm_scope *outer, tm_graph *graph, const Onnx__GraphProto *proto,
                       const char *path, const tm_place *place, tm_value *const *inputs,
                       tm_value **out_outputs) {
    tm_scope *scope;
    TM_TRY(open_scope(importer, outer, graph, proto, path, place, &scope));
    for (size_t i = 0; i < proto->n_input; i++) {
        TM_TRY(need_name(importer, scope, proto->input[i]->name, "an input"));
        TM_TRY(tm_scope_define(importer, scope, proto->input[i]->name, inputs[i], place));
    }
    TM_TRY(tm_import_body_nodes(importer, scope, proto));
    for (size_t i = 0; i < proto->n_output; i++)
        TM_TRY(find_output(importer, scope, proto->output[i]->name, &out_outputs[i]));
    return TM_OK;
}

tm_code tm_import_body_nodes(tm_importer *importer, tm_scope *scope, const Onnx__GraphProto *proto) {
    TM_TRY(import_initializers(importer, scope, proto));
    return tm_import_nodes(importer, scope, proto->node, proto->n_node);
}

tm_code tm_import_body(tm_importer *importer, tm_scope *outer, const Onnx__GraphProto *proto,
                       const char *path, const tm_place *place, tm_graph **out_graph) {
    tm_scope *scope;
    TM_TRY(tm_open_body(importer, outer, proto, path, place, &scope));
    for (size_t i = 0; i < proto->n_input; i++) {
        const char *name = proto->input[i]->name;
        TM_TRY(need_name(importer, scope, name, "an input"));
        tm_value *value = tm_value_create(scope->graph, tm_scope_wish(importer, scope, name));
        if (proto->input[i]->type != NULL)
            tm_import_hint(importer, value, proto->input[i]->type);
        value->declared_rank = value->rank;
        tm_graph_add_input(scope->graph, value);
        tm_place here = graph_place(importer, scope, name);
        TM_TRY(tm_scope_define(importer, scope, name, value, &here));
    }
    TM_TRY(tm_import_body_nodes(importer, scope, proto));
    TM_TRY(import_outputs(importer, scope, proto));
    *out_graph = scope->graph;
    return TM_OK;
}
