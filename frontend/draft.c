/* SPDX-License-Identifier: Apache-2.0
 *
 * draft.c: the tools with which the functions of frontend/opset/ change a draft.
 *
 * Values that they add are named after the node's first output, so that messages and dumps show where
 * they come from: the axes of `y = Unsqueeze-11(x)` are the constant `y.in`. The type or rank
 * of a value is needed by a few old forms only; it is found by inferring the main graph as far as it
 * stands, and of bodies what follows from captured values and constants. Inputs of bodies get their types
 * only when the whole is inferred; there the declared types must do.
 */
#include "frontend/draft.h"

#include "ir/infer.h"

#include <string.h>

/* ---- attributes ---- */

tm_draft_attribute *tm_draft_find(const tm_draft *draft, const char *name) {
    for (size_t i = 0; i < draft->attributes.count; i++)
        if (strcmp(draft->attributes.items[i].name, name) == 0)
            return &draft->attributes.items[i];
    return NULL;
}

bool tm_draft_has(const tm_draft *draft, const char *name) {
    return tm_draft_find(draft, name) != NULL;
}

int64_t tm_draft_int(const tm_draft *draft, const char *name, int64_t otherwise) {
    const tm_draft_attribute *a = tm_draft_find(draft, name);
    return a != NULL && a->kind == TM_ATTRIBUTE_INT ? a->value.i : otherwise;
}

double tm_draft_float(const tm_draft *draft, const char *name, double otherwise) {
    const tm_draft_attribute *a = tm_draft_find(draft, name);
    return a != NULL && a->kind == TM_ATTRIBUTE_FLOAT ? a->value.f : otherwise;
}

const char *tm_draft_string(const tm_draft *draft, const char *name, const char *otherwise) {
    const tm_draft_attribute *a = tm_draft_find(draft, name);
    return a != NULL && a->kind == TM_ATTRIBUTE_STRING ? a->value.s : otherwise;
}

bool tm_draft_ints(const tm_draft *draft, const char *name, const int64_t **out_values, int64_t *out_count) {
    const tm_draft_attribute *a = tm_draft_find(draft, name);
    if (a == NULL || a->kind != TM_ATTRIBUTE_INTS)
        return false;
    *out_values = a->value.ints;
    *out_count = a->value.count;
    return true;
}

void tm_draft_remove(tm_draft *draft, const char *name) {
    size_t kept = 0;
    for (size_t i = 0; i < draft->attributes.count; i++)
        if (strcmp(draft->attributes.items[i].name, name) != 0)
            draft->attributes.items[kept++] = draft->attributes.items[i];
    draft->attributes.count = kept;
}

void tm_draft_rename(tm_draft *draft, const char *name, const char *new_name) {
    tm_draft_attribute *a = tm_draft_find(draft, name);
    if (a != NULL)
        a->name = new_name;
}

void tm_draft_clear_attributes(tm_draft *draft) {
    draft->attributes.count = 0;
}

static tm_draft_attribute *set(tm_draft *draft, const char *name, tm_attribute_kind kind) {
    tm_draft_remove(draft, name);
    tm_draft_attribute attribute = {.name = name, .kind = kind, .value = {.present = true}};
    tm_push(draft->importer->scratch, &draft->attributes, attribute);
    return &draft->attributes.items[draft->attributes.count - 1];
}

void tm_draft_set_int(tm_draft *draft, const char *name, int64_t value) {
    set(draft, name, TM_ATTRIBUTE_INT)->value.i = value;
}

void tm_draft_set_float(tm_draft *draft, const char *name, double value) {
    set(draft, name, TM_ATTRIBUTE_FLOAT)->value.f = value;
}

void tm_draft_set_string(tm_draft *draft, const char *name, const char *value) {
    tm_draft_attribute *a = set(draft, name, TM_ATTRIBUTE_STRING);
    a->value.s = value;
    a->value.s_size = (int64_t)strlen(value);
}

void tm_draft_set_ints(tm_draft *draft, const char *name, const int64_t *values, int64_t count) {
    const int64_t *copy = tm_arena_copy(draft->importer->scratch, values, (size_t)count * sizeof *values);
    tm_draft_attribute *a = set(draft, name, TM_ATTRIBUTE_INTS);
    a->value.ints = copy;
    a->value.count = count;
}

/* ---- inputs ---- */

tm_value *tm_draft_input(const tm_draft *draft, size_t index) {
    return index < draft->inputs.count ? draft->inputs.items[index] : NULL;
}

void tm_draft_set_input(tm_draft *draft, size_t index, tm_value *value) {
    while (draft->inputs.count <= index)
        tm_push(draft->importer->scratch, &draft->inputs, NULL);
    draft->inputs.items[index] = value;
}

void tm_draft_set_inputs(tm_draft *draft, size_t count, tm_value *const *values) {
    draft->inputs.count = 0;
    for (size_t i = 0; i < count; i++)
        tm_draft_set_input(draft, i, values[i]);
}

const char *tm_draft_added_name(const tm_draft *draft) {
    tm_importer *importer = draft->importer;
    const char *base = draft->place.node != NULL && draft->place.node[0] != 0 ? draft->place.node : draft->op;
    for (size_t i = 0; i < draft->outputs.count; i++)
        if (draft->outputs.items[i] != NULL) {
            base = tm_scope_wish(importer, draft->scope, draft->outputs.items[i]);
            break;
        }
    const char *name = tm_arena_format(importer->scratch, "%s.in", base);
    for (int suffix = 1; tm_map_has(&importer->main_names, name); suffix++)
        name = tm_arena_format(importer->scratch, "%s.in%d", base, suffix);
    return name;
}

tm_value *tm_draft_constant(tm_draft *draft, const tm_constant *constant) {
    return tm_value_create_constant(draft->scope->graph, tm_draft_added_name(draft), constant);
}

tm_value *tm_draft_constant_ints(tm_draft *draft, const int64_t *values, int64_t count) {
    return tm_draft_constant(draft, tm_constant_create_i64(draft->importer->arena, 1, &count, values));
}

tm_value *tm_draft_constant_int(tm_draft *draft, int64_t value) {
    return tm_draft_constant(draft, tm_constant_create_i64(draft->importer->arena, 0, NULL, &value));
}

tm_code tm_draft_constant_like(tm_draft *draft, double value, tm_value *like, tm_value **out_value) {
    tamis_type type = tm_draft_type(draft, like);
    bool known = type != TAMIS_TYPE_UNDEFINED && type != TAMIS_TYPE_STRING;
    tm_arena *arena = draft->importer->arena;
    const tm_constant *constant = tm_constant_create_scalar(arena, known ? type : TAMIS_TYPE_FLOAT, value);
    *out_value = tm_draft_constant(draft, constant);
    if (!known)
        *out_value = tm_draft_emit(draft, TM_OP_CastLike, 2, (tm_value *[]){*out_value, like});
    return TM_OK;
}

tm_node *tm_draft_emit_node(tm_draft *draft, tm_op op, int count, tm_value *const *inputs) {
    tm_node *node = tm_node_create(draft->scope->graph, NULL, op, draft->place.node, count, inputs);
    node->file_index = draft->place.node_index;
    node->file_path = draft->scope->path;
    return node;
}

tm_value *tm_draft_add_output(tm_draft *draft, tm_node *node) {
    return tm_node_add_output(node, tm_draft_added_name(draft));
}

tm_value *tm_draft_emit(tm_draft *draft, tm_op op, int count, tm_value *const *inputs) {
    return tm_draft_add_output(draft, tm_draft_emit_node(draft, op, count, inputs));
}

bool tm_draft_has_output(const tm_draft *draft, size_t index) {
    return index < draft->outputs.count && draft->outputs.items[index] != NULL;
}

tm_code tm_draft_bind(tm_draft *draft, size_t index, tm_value *value) {
    draft->finished = true;
    if (!tm_draft_has_output(draft, index))
        return TM_OK;
    return tm_scope_define(draft->importer, draft->scope, draft->outputs.items[index], value, &draft->place);
}

/* ---- facts ---- */

/* Infers the main graph as far as it stands. */
static void infer_main(tm_importer *importer) {
    tm_node *node = importer->inferred != NULL ? importer->inferred->next : importer->model->main->first;
    for (; node != NULL && !importer->inference_failed; node = node->next) {
        importer->inferred = node;
        tm_code code = tm_infer_node(importer->model, node);
        importer->inference_failed = code != TM_OK;
        if (importer->refused == TM_OK)
            importer->refused = code;
    }
}

static bool is_poisoned(const tm_importer *importer) {
    return importer->refused != TM_OK || importer->unsupported.count != 0;
}

/* Has outputs of unknown rank, and inputs of which all is known. */
static bool is_ready(const tm_node *node) {
    if (tm_op_has(node->op, TM_CONTROL))
        return false;
    for (int i = 0; i < node->input_count; i++) {
        const tm_value *input = node->inputs[i];
        if (input != NULL && (input->rank < 0 || input->kind != TAMIS_KIND_TENSOR))
            return false;
    }
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL && node->outputs[i]->rank < 0)
            return true;
    return false;
}

/* The same for a body and those around it. What fails is not reported: that happens when the whole is
 * inferred, unless the body is a branch that is never taken. */
static void infer_body(tm_importer *importer, const tm_graph *graph) {
    tm_model *model = importer->model;
    if (graph == model->main)
        return;
    infer_body(importer, graph->outer);
    tm_diagnostics quiet, *loud = model->diagnostics;
    tm_diagnostics_init(&quiet, importer->scratch);
    model->diagnostics = &quiet;
    for (tm_node *node = graph->first; node != NULL; node = node->next)
        if (is_ready(node) && tm_infer_node(model, node) != TM_OK)
            break;
    model->diagnostics = loud;
}

bool tm_draft_known_rank(tm_draft *draft, tm_value *value, int *out_rank) {
    tm_importer *importer = draft->importer;
    if (value->producer != NULL && !is_poisoned(importer)) {
        infer_main(importer);
        if (value->rank < 0)
            infer_body(importer, value->graph);
    }
    *out_rank = value->rank;
    for (size_t i = 0; i < draft->proto->n_input && *out_rank < 0; i++) {
        tm_value *named = NULL;
        if (!tm_scope_find(draft->scope, draft->proto->input[i], &named) || named != value)
            continue;
        const Onnx__TypeProto *hint = tm_scope_hint(draft->scope, draft->proto->input[i]);
        if (hint != NULL)
            *out_rank = tm_hint_rank(hint);
    }
    return *out_rank >= 0;
}

tm_code tm_draft_rank(tm_draft *draft, tm_value *value, int *out_rank) {
    if (tm_draft_known_rank(draft, value, out_rank))
        return TM_OK;
    if (is_poisoned(draft->importer) || draft->importer->inference_failed)
        return TM_E_UNKNOWN_RANK;
    return tm_draft_fail(draft, TM_E_UNKNOWN_RANK, "the rank of '%s' is needed to read this old form of %s",
                         value->name, draft->op);
}

tamis_type tm_draft_type(tm_draft *draft, tm_value *value) {
    int rank;
    (void)tm_draft_known_rank(draft, value, &rank);
    return value->type;
}

tm_code tm_draft_fail(tm_draft *draft, tm_code code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const char *message = tm_arena_format_v(draft->importer->scratch, format, arguments);
    va_end(arguments);
    return tm_report(draft->importer->diagnostics, code, &draft->place, NULL, "%s", message);
}
