/* SPDX-License-Identifier: Apache-2.0
 *
 * build.c: a draft in the form of its op's row becomes a node.
 *
 * Everything here follows from the row in ir/ops.def: whether the op exists, how many inputs and
 * outputs it takes, which attributes it has and of what kind. So an op whose form never changed
 * needs no code in the frontend at all.
 */
#include "frontend/draft.h"

#include <string.h>

static bool find_domain(const char *name, tm_domain *out_domain) {
    static const tm_domain domains[] = {TM_DOMAIN_ONNX, TM_DOMAIN_ML, TM_DOMAIN_MS};
    for (size_t i = 0; i < sizeof domains / sizeof *domains; i++)
        if (strcmp(name, tm_domain_name(domains[i])) == 0) {
            *out_domain = domains[i];
            return true;
        }
    return false;
}

tm_code tm_draft_poison(tm_draft *draft) {
    for (size_t i = 0; i < draft->outputs.count; i++) {
        if (draft->outputs.items[i] == NULL || tm_map_has(&draft->scope->names, draft->outputs.items[i]))
            continue;
        const char *wish = tm_scope_wish(draft->importer, draft->scope, draft->outputs.items[i]);
        tm_value *value = tm_value_create(draft->scope->graph, wish);
        TM_TRY(tm_draft_bind(draft, i, value));
    }
    return TM_OK;
}

static tm_code note_unsupported(tm_draft *draft) {
    tm_importer *importer = draft->importer;
    tm_unsupported *entry = tm_map_get(&importer->unsupported, draft->place.op);
    if (entry == NULL) {
        entry = TM_NEW(importer->scratch, tm_unsupported);
        *entry = (tm_unsupported){.name = draft->place.op, .first = draft->place};
        tm_map_set(&importer->unsupported, draft->place.op, entry);
    }
    entry->count++;
    return tm_draft_poison(draft);
}

/* ---- arity ---- */

static tm_code check_count(tm_draft *draft, const char *what, size_t count, int low, int high) {
    if (count >= (size_t)low && count <= (size_t)high)
        return TM_OK;
    tm_arena *arena = draft->importer->scratch;
    const char *expected = high == TM_MANY ? tm_arena_format(arena, "%d or more", low)
                           : low == high   ? tm_arena_format(arena, "%d", low)
                                           : tm_arena_format(arena, "%d to %d", low, high);
    return tm_report_mismatch(draft->importer->diagnostics, TM_E_ARITY, &draft->place, NULL, expected,
                              tm_arena_format(arena, "%zu", count), "wrong number of %s", what);
}

static tm_code check_arity(tm_draft *draft, const tm_op_info *info) {
    while (draft->inputs.count > (size_t)info->inputs_min &&
           draft->inputs.items[draft->inputs.count - 1] == NULL)
        draft->inputs.count--;
    while (draft->outputs.count > (size_t)info->outputs_max &&
           draft->outputs.items[draft->outputs.count - 1] == NULL)
        draft->outputs.count--;
    TM_TRY(check_count(draft, "inputs", draft->inputs.count, info->inputs_min, info->inputs_max));
    TM_TRY(check_count(draft, "outputs", draft->outputs.count, info->outputs_min, info->outputs_max));
    for (int i = 0; i < info->inputs_min && (info->traits & TM_CONTROL) == 0; i++)
        if (draft->inputs.items[i] == NULL)
            return tm_draft_fail(draft, TM_E_ARITY, "input %d may not be omitted", i);
    return TM_OK;
}

/* ---- attributes ---- */

static const char *kind_text(tm_attribute_kind kind) {
    static const char *const texts[] = {"an int",           "a float",           "a string", "a list of ints",
                                        "a list of floats", "a list of strings", "a tensor", "a graph"};
    return texts[kind];
}

/* Imports the bodies. They come before the node itself is made, so that the graph around them holds
 * whole nodes only while they are read (see tm_draft_rank). */
static tm_code import_body(tm_draft *draft, const tm_draft_attribute *attribute, tm_graph **out_graph) {
    tm_importer *importer = draft->importer;
    const char *label =
        draft->place.node != NULL && draft->place.node[0] != 0
            ? draft->place.node
            : tm_arena_format(importer->scratch, "%s_%lld", draft->op, (long long)draft->place.node_index);
    const char *path =
        tm_arena_format(importer->arena, "%s/%s.%s", draft->scope->path, label, attribute->name);
    return tm_import_body(importer, attribute->scope, attribute->graph, path, &draft->place, out_graph);
}

static tm_code check_attribute(tm_draft *draft, tm_op op, const tm_draft_attribute *attribute) {
    const tm_op_info *info = tm_op_get(op);
    int index = tm_op_attribute_index(op, attribute->name);
    if (index < 0)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "%s has no attribute '%s' in opset %lld", info->name,
                             attribute->name, (long long)draft->version);
    if (attribute->type != NULL)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "attribute '%s' is a type", attribute->name);
    if (info->attributes[index].kind != attribute->kind)
        return tm_report_mismatch(draft->importer->diagnostics, TM_E_ATTRIBUTE, &draft->place, NULL,
                                  kind_text(info->attributes[index].kind), kind_text(attribute->kind),
                                  "attribute '%s' is of the wrong kind", attribute->name);
    return TM_OK;
}

static void set_attribute(tm_node *node, const tm_draft_attribute *attribute, tm_graph *body) {
    const char *name = attribute->name;
    const tm_attribute *v = &attribute->value;
    switch (attribute->kind) {
    case TM_ATTRIBUTE_INT:
        tm_node_set_int(node, name, v->i);
        break;
    case TM_ATTRIBUTE_FLOAT:
        tm_node_set_float(node, name, v->f);
        break;
    case TM_ATTRIBUTE_STRING:
        tm_node_set_string(node, name, v->s);
        break;
    case TM_ATTRIBUTE_INTS:
        tm_node_set_ints(node, name, v->ints, v->count);
        break;
    case TM_ATTRIBUTE_FLOATS:
        tm_node_set_floats(node, name, v->floats, v->count);
        break;
    case TM_ATTRIBUTE_STRINGS:
        tm_node_set_strings(node, name, v->strings, v->count);
        break;
    case TM_ATTRIBUTE_TENSOR:
        tm_node_set_tensor(node, name, v->tensor);
        break;
    case TM_ATTRIBUTE_GRAPH:
        tm_node_set_graph(node, name, body);
        break;
    }
}

tm_code tm_draft_give_attributes(tm_draft *draft, tm_node *node) {
    for (size_t i = 0; i < draft->attributes.count; i++) {
        TM_TRY(check_attribute(draft, node->op, &draft->attributes.items[i]));
        set_attribute(node, &draft->attributes.items[i], NULL);
    }
    return TM_OK;
}

/* Attributes that were hints for engines of their time and mean nothing. */
static void drop_harmless(tm_draft *draft) {
    tm_draft_remove(draft, "consumed_inputs");
    tm_draft_remove(draft, "doc_string");
}

static tm_code add_outputs(tm_draft *draft, tm_node *node) {
    for (size_t i = 0; i < draft->outputs.count; i++) {
        const char *name = draft->outputs.items[i];
        if (name == NULL) {
            tm_node_add_omitted_output(node);
            continue;
        }
        tm_value *value = tm_node_add_output(node, tm_scope_wish(draft->importer, draft->scope, name));
        const Onnx__TypeProto *hint = tm_scope_hint(draft->scope, name);
        if (hint != NULL)
            value->declared_rank = tm_hint_rank(hint);
        if (hint != NULL && tm_op_has(node->op, TM_CONTROL))
            tm_import_hint(draft->importer, value, hint);
        TM_TRY(tm_draft_bind(draft, i, value));
    }
    return TM_OK;
}

tm_code tm_draft_build(tm_draft *draft) {
    tm_domain domain;
    tm_op op = TM_OP_INVALID;
    if (find_domain(draft->domain, &domain))
        op = tm_op_find(domain, draft->op);
    if (op == TM_OP_INVALID)
        return note_unsupported(draft);
    TM_TRY(check_arity(draft, tm_op_get(op)));
    drop_harmless(draft);
    size_t count = draft->attributes.count;
    tm_graph **bodies = tm_arena_alloc_array(draft->importer->scratch, count, sizeof *bodies);
    for (size_t i = 0; i < count; i++) {
        const tm_draft_attribute *attribute = &draft->attributes.items[i];
        TM_TRY(check_attribute(draft, op, attribute));
        if (attribute->kind == TM_ATTRIBUTE_GRAPH)
            TM_TRY(import_body(draft, attribute, &bodies[i]));
    }
    const char *name = draft->place.node != NULL ? draft->place.node : "";
    tm_node *node =
        tm_node_create(draft->scope->graph, NULL, op, name, (int)draft->inputs.count, draft->inputs.items);
    node->file_index = draft->place.node_index;
    node->file_path = draft->scope->path;
    for (size_t i = 0; i < count; i++)
        set_attribute(node, &draft->attributes.items[i], bodies[i]);
    return add_outputs(draft, node);
}
