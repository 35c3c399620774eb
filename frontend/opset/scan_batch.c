/* SPDX-License-Identifier: Apache-2.0
 *
 * scan_batch.c: Scan of opset 8, which had a batch axis in front of all its values.
 *
 * Later opsets left batches to the body. Here a Loop runs over the batch, and its stacked outputs are the
 * batch axis of the results:
 *
 *     Scan-8(, state[B,..], x[B,T,..]) {body}
 *
 *     Loop(Shape(x)[0], ) {(b, condition) ->  s = Scan(Gather(state, b), Gather(x, b)) {body}   condition,
 * s... }
 *
 * Items of different lengths (sequence_lens): an item's inputs are cut to its length, and what it scanned
 * is filled up with zeros, so that the results of all items have the dims of the longest possible one.
 */
#include "frontend/opset/opset.h"

static tm_node *node_in(tm_draft *draft, tm_graph *graph, tm_op op, int count, tm_value *const *inputs) {
    tm_node *node = tm_node_create(graph, NULL, op, draft->place.node, count, inputs);
    node->file_index = draft->place.node_index;
    node->file_path = draft->scope->path;
    return node;
}

static tm_value *body_input(tm_draft *draft, tm_graph *graph, tamis_type type) {
    tm_value *value = tm_value_create(graph, tm_draft_added_name(draft));
    tm_value_set_tensor(value, type, 0, NULL);
    tm_graph_add_input(graph, value);
    return value;
}

static tm_value *emit_in(tm_draft *draft, tm_graph *graph, tm_op op, int count, tm_value *const *inputs) {
    return tm_draft_add_output(draft, node_in(draft, graph, op, count, inputs));
}

/* What an item's scan gave, with zeros up to the batch's length. */
static tm_value *fill_up(tm_draft *draft, tm_graph *graph, tm_value *scanned, tm_value *length) {
    tm_node *shape = node_in(draft, graph, TM_OP_Shape, 1, &draft->inputs.items[draft->inputs.count - 1]);
    tm_node_set_int(shape, "start", 1);
    tm_node_set_int(shape, "end", 2);
    tm_value *longest = tm_draft_add_output(draft, shape),
             *zero = tm_draft_constant_ints(draft, (int64_t[]){0}, 1);
    tm_value *missing = emit_in(draft, graph, TM_OP_Sub, 2, (tm_value *[]){longest, length});
    tm_node *pads = node_in(draft, graph, TM_OP_Concat, 2, (tm_value *[]){zero, missing});
    tm_node_set_int(pads, "axis", 0);
    return emit_in(draft, graph, TM_OP_Pad, 4,
                   (tm_value *[]){scanned, tm_draft_add_output(draft, pads), NULL, zero});
}

/* The Scan over one item of the batch, in the Loop's body. */
static tm_code scan_item(tm_draft *draft, const tm_draft_attribute *body, tm_graph *graph) {
    tm_importer *importer = draft->importer;
    tm_value *item = body_input(draft, graph, TAMIS_TYPE_INT64);
    tm_value *condition = body_input(draft, graph, TAMIS_TYPE_BOOL);
    size_t count = draft->inputs.count - 1;
    int64_t scanned = tm_draft_int(draft, "num_scan_inputs", 1);
    if (scanned < 1 || scanned > (int64_t)count)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "num_scan_inputs is %lld of %zu inputs",
                             (long long)scanned, count);
    size_t states = count - (size_t)scanned;
    tm_value *zero = tm_draft_constant_ints(draft, (int64_t[]){0}, 1), *length = NULL;
    if (draft->inputs.items[0] != NULL) {
        tm_value *one = emit_in(draft, graph, TM_OP_Gather, 2, (tm_value *[]){draft->inputs.items[0], item});
        length = emit_in(draft, graph, TM_OP_Unsqueeze, 2, (tm_value *[]){one, zero});
    }
    tm_value **inputs = tm_arena_alloc_array(importer->scratch, count, sizeof *inputs);
    for (size_t i = 0; i < count; i++) {
        if (draft->inputs.items[i + 1] == NULL)
            return tm_draft_fail(draft, TM_E_ARITY, "input %zu may not be omitted", i + 1);
        inputs[i] = emit_in(draft, graph, TM_OP_Gather, 2, (tm_value *[]){draft->inputs.items[i + 1], item});
        if (i >= states && length != NULL)
            inputs[i] = emit_in(draft, graph, TM_OP_Slice, 4, (tm_value *[]){inputs[i], zero, length, zero});
    }
    const char *path = tm_arena_format(importer->arena, "%s/Scan_%lld.body", draft->scope->path,
                                       (long long)draft->place.node_index);
    tm_scope *around = TM_NEW(importer->scratch, tm_scope);
    tm_scope_init(importer, around, body->scope, graph, path);
    tm_graph *inner;
    TM_TRY(tm_import_body(importer, around, body->graph, path, &draft->place, &inner));
    tm_node *scan = node_in(draft, graph, TM_OP_Scan, (int)count, inputs);
    tm_node_set_graph(scan, "body", inner);
    tm_node_set_int(scan, "num_scan_inputs", scanned);
    const int64_t *directions;
    int64_t direction_count;
    if (tm_draft_ints(draft, "directions", &directions, &direction_count))
        tm_node_set_ints(scan, "scan_input_directions", directions, direction_count);
    tm_graph_add_output(graph, condition);
    for (size_t k = 0; k < draft->outputs.count; k++)
        (void)tm_draft_add_output(draft, scan);
    for (size_t k = 0; k < draft->outputs.count; k++) {
        tm_value *value = scan->outputs[k];
        tm_graph_add_output(graph,
                            k < states || length == NULL ? value : fill_up(draft, graph, value, length));
    }
    return TM_OK;
}

tm_code tm_opset_scan(tm_draft *draft) {
    tm_importer *importer = draft->importer;
    const tm_draft_attribute *body = tm_draft_find(draft, "body");
    if (body == NULL || body->kind != TM_ATTRIBUTE_GRAPH || tm_draft_input(draft, 1) == NULL)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "Scan needs a body and an input");
    tm_node *shape = tm_draft_emit_node(draft, TM_OP_Shape, 1, &draft->inputs.items[1]);
    tm_node_set_int(shape, "end", 1);
    tm_value *size = tm_draft_add_output(draft, shape);
    tm_value *axes = tm_draft_constant_ints(draft, (int64_t[]){0}, 1);
    tm_value *trips = tm_draft_emit(draft, TM_OP_Squeeze, 2, (tm_value *[]){size, axes});
    tm_graph *graph = tm_graph_create(importer->model, "batch", draft->scope->graph);
    TM_TRY(scan_item(draft, body, graph));
    tm_node *loop = tm_draft_emit_node(draft, TM_OP_Loop, 2, (tm_value *[]){trips, NULL});
    tm_node_set_graph(loop, "body", graph);
    for (size_t k = 0; k < draft->outputs.count; k++) {
        const char *name = tm_opset_output_name(draft, k);
        if (name == NULL)
            tm_node_add_omitted_output(loop);
        else
            TM_TRY(tm_draft_bind(draft, k, tm_node_add_output(loop, name)));
    }
    draft->finished = true;
    return TM_OK;
}
