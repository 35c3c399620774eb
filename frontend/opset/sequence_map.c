/* SPDX-License-Identifier: Apache-2.0
 *
 * sequence_map.c: SequenceMap as the Loop that the standard says it is.
 *
 *     z = SequenceMap(s, t) {body(a, b) -> c}
 *
 *     z = Loop(SequenceLength(s), , SequenceEmpty()) {
 *           (i, condition, sofar) ->  a = SequenceAt(s, i)   c = body(a, t)   condition,
 * SequenceInsert(sofar, c) }
 *
 * Additional inputs that are sequences give their item i, tensors go in whole. The element type of
 * the results is what the body declares for its outputs.
 */
#include "frontend/opset/opset.h"

static tm_value *add_input(tm_draft *draft, tm_graph *graph, tamis_kind kind, tamis_type type) {
    tm_value *value = tm_value_create(graph, tm_draft_added_name(draft));
    tm_value_set_handle(value, kind, type, kind == TAMIS_KIND_TENSOR ? 0 : -1, NULL);
    tm_graph_add_input(graph, value);
    return value;
}

static bool is_sequence(tm_draft *draft, tm_value *value) {
    (void)tm_draft_type(draft, value);
    return value->kind == TAMIS_KIND_SEQUENCE;
}

static tm_value *emit_in(tm_draft *draft, tm_graph *graph, tm_op op, tm_value *a, tm_value *b) {
    tm_node *node = tm_node_create(graph, NULL, op, draft->place.node, 2, (tm_value *[]){a, b});
    node->file_index = draft->place.node_index;
    node->file_path = draft->scope->path;
    return tm_draft_add_output(draft, node);
}

static tm_code map_body(tm_draft *draft, tm_scope *scope, const Onnx__GraphProto *body,
                        const tamis_type *types) {
    tm_importer *importer = draft->importer;
    tm_graph *graph = scope->graph;
    tm_value *iteration = add_input(draft, graph, TAMIS_KIND_TENSOR, TAMIS_TYPE_INT64);
    tm_value *condition = add_input(draft, graph, TAMIS_KIND_TENSOR, TAMIS_TYPE_BOOL);
    tm_value **so_far = tm_arena_alloc_array(importer->scratch, body->n_output, sizeof *so_far);
    for (size_t k = 0; k < body->n_output; k++)
        so_far[k] = add_input(draft, graph, TAMIS_KIND_SEQUENCE, types[k]);
    for (size_t i = 0; i < body->n_input; i++) {
        tm_value *value = draft->inputs.items[i];
        if (value != NULL && (i == 0 || is_sequence(draft, value)))
            value = emit_in(draft, graph, TM_OP_SequenceAt, value, iteration);
        const char *name = body->input[i]->name != NULL ? body->input[i]->name : "";
        TM_TRY(tm_scope_define(importer, scope, name, value, &draft->place));
    }
    TM_TRY(tm_import_body_nodes(importer, scope, body));
    tm_graph_add_output(graph, condition);
    for (size_t k = 0; k < body->n_output; k++) {
        tm_value *value = NULL;
        if (body->output[k]->name == NULL || !tm_scope_find(scope, body->output[k]->name, &value) ||
            value == NULL)
            return tm_draft_fail(draft, TM_E_UNDEFINED_VALUE, "nothing makes output %zu of the body", k);
        tm_graph_add_output(graph, emit_in(draft, graph, TM_OP_SequenceInsert, so_far[k], value));
    }
    return TM_OK;
}

tm_code tm_opset_sequence_map(tm_draft *draft) {
    tm_importer *importer = draft->importer;
    const tm_draft_attribute *attribute = tm_draft_find(draft, "body");
    if (attribute == NULL || attribute->kind != TM_ATTRIBUTE_GRAPH)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "the body is missing");
    const Onnx__GraphProto *body = attribute->graph;
    if (body->n_input != draft->inputs.count || body->n_output != draft->outputs.count)
        return tm_draft_fail(draft, TM_E_ARITY,
                             "the body has %zu inputs and %zu outputs, the node %zu and %zu", body->n_input,
                             body->n_output, draft->inputs.count, draft->outputs.count);
    tamis_type *types = TM_NEW_ARRAY(importer->scratch, tamis_type, body->n_output);
    tm_value **inputs = tm_arena_alloc_array(importer->scratch, body->n_output + 2, sizeof *inputs);
    inputs[0] = tm_draft_emit(draft, TM_OP_SequenceLength, 1, draft->inputs.items);
    for (size_t k = 0; k < body->n_output; k++) {
        types[k] = tm_hint_type(body->output[k]->type);
        if (types[k] == TAMIS_TYPE_UNDEFINED)
            return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM, "output %zu of the body has no declared type",
                                 k);
        tm_node *empty = tm_draft_emit_node(draft, TM_OP_SequenceEmpty, 0, NULL);
        tm_node_set_int(empty, "dtype", (int64_t)types[k]);
        inputs[k + 2] = tm_draft_add_output(draft, empty);
    }
    const char *path = tm_arena_format(importer->arena, "%s/SequenceMap_%lld.body", draft->scope->path,
                                       (long long)draft->place.node_index);
    tm_scope *scope;
    TM_TRY(tm_open_body(importer, attribute->scope, body, path, &draft->place, &scope));
    TM_TRY(map_body(draft, scope, body, types));
    tm_node *loop = tm_draft_emit_node(draft, TM_OP_Loop, (int)body->n_output + 2, inputs);
    tm_node_set_graph(loop, "body", scope->graph);
    for (size_t k = 0; k < draft->outputs.count; k++) {
        const char *name = tm_opset_output_name(draft, k);
        if (name == NULL) {
            tm_node_add_omitted_output(loop);
            continue;
        }
        TM_TRY(tm_draft_bind(draft, k, tm_node_add_output(loop, name)));
    }
    draft->finished = true;
    return TM_OK;
}
