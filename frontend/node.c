/* SPDX-License-Identifier: Apache-2.0
 *
 * node.c: one node of the file, from names to values in the graph.
 *
 *     NodeProto --names looked up, attributes decoded--> draft --tm_normalise--> draft in the IR's form
 *       --tm_draft_build--> tm_node, its outputs entered into the scope
 *
 * Calls of model-local functions are inlined instead, and Constant nodes become constants. A node that
 * is not supported does not stop the import: it is noted, its outputs get values without a type, and
 * the rest of the file is read, so that all such nodes are reported in one run.
 */
#include "frontend/draft.h"

#include <string.h>

static tm_code resolve_inputs(tm_draft *draft) {
    const Onnx__NodeProto *proto = draft->proto;
    tm_arena *arena = draft->importer->scratch;
    for (size_t i = 0; i < proto->n_input; i++) {
        tm_value *value = NULL;
        if (proto->input[i][0] != 0 && !tm_scope_find(draft->scope, proto->input[i], &value)) {
            tm_place place = draft->place;
            place.tensor = proto->input[i];
            return tm_report(draft->importer->diagnostics, TM_E_UNDEFINED_VALUE, &place, NULL,
                             "input %zu is not defined in this graph or around it", i);
        }
        tm_push(arena, &draft->inputs, value);
    }
    for (size_t i = 0; i < proto->n_output; i++)
        tm_push(arena, &draft->outputs, proto->output[i][0] != 0 ? proto->output[i] : NULL);
    return TM_OK;
}

/* An initializer or Constant node may say value_float and the like instead of value. */
static tm_code read_constant(tm_draft *draft, const tm_constant **out_constant) {
    tm_arena *arena = draft->importer->arena;
    if (draft->attributes.count != 1)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "Constant needs exactly one attribute, not %zu",
                             draft->attributes.count);
    const tm_draft_attribute *a = &draft->attributes.items[0];
    const tm_attribute *v = &a->value;
    tamis_type type = TAMIS_TYPE_UNDEFINED;
    const void *data = NULL;
    int64_t count =
        a->kind == TM_ATTRIBUTE_INTS || a->kind == TM_ATTRIBUTE_FLOATS || a->kind == TM_ATTRIBUTE_STRINGS
            ? v->count
            : 1;
    if (a->kind == TM_ATTRIBUTE_TENSOR) {
        *out_constant = v->tensor;
        return TM_OK;
    }
    if (a->kind == TM_ATTRIBUTE_INT || a->kind == TM_ATTRIBUTE_INTS) {
        type = TAMIS_TYPE_INT64;
        data = tm_arena_copy(arena, a->kind == TM_ATTRIBUTE_INT ? &v->i : v->ints, (size_t)count * 8);
    } else if (a->kind == TM_ATTRIBUTE_FLOAT || a->kind == TM_ATTRIBUTE_FLOATS) {
        float *floats = TM_NEW_ARRAY(arena, float, count);
        for (int64_t i = 0; i < count; i++)
            floats[i] = (float)(a->kind == TM_ATTRIBUTE_FLOAT ? v->f : v->floats[i]);
        type = TAMIS_TYPE_FLOAT;
        data = floats;
    } else if (a->kind == TM_ATTRIBUTE_STRING || a->kind == TM_ATTRIBUTE_STRINGS) {
        tamis_string *strings = TM_NEW_ARRAY(arena, tamis_string, count);
        for (int64_t i = 0; i < count; i++) {
            const char *text = a->kind == TM_ATTRIBUTE_STRING ? v->s : v->strings[i];
            int64_t size = a->kind == TM_ATTRIBUTE_STRING ? v->s_size : (int64_t)strlen(text);
            strings[i] = (tamis_string){tm_arena_string_n(arena, text, (size_t)size), size};
        }
        type = TAMIS_TYPE_STRING;
        data = strings;
    } else {
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "attribute '%s' is not a value", a->name);
    }
    bool list =
        a->kind == TM_ATTRIBUTE_INTS || a->kind == TM_ATTRIBUTE_FLOATS || a->kind == TM_ATTRIBUTE_STRINGS;
    int64_t *dims = TM_NEW_ARRAY(arena, int64_t, 1);
    dims[0] = count;
    *out_constant = tm_constant_create(arena, type, list ? 1 : 0, dims, data);
    return TM_OK;
}

static tm_code import_constant(tm_draft *draft) {
    const tm_constant *constant;
    TM_TRY(read_constant(draft, &constant));
    if (draft->inputs.count != 0 || draft->outputs.count != 1 || draft->outputs.items[0] == NULL)
        return tm_draft_fail(draft, TM_E_ARITY, "Constant has no inputs and one output");
    const char *wish = tm_scope_wish(draft->importer, draft->scope, draft->outputs.items[0]);
    return tm_draft_bind(draft, 0, tm_value_create_constant(draft->scope->graph, wish, constant));
}

static tm_code check_opset(tm_draft *draft) {
    draft->version = tm_opset_version(&draft->scope->opsets, draft->domain);
    if (draft->version >= 0)
        return TM_OK;
    if (draft->domain[0] == 0)
        return tm_draft_fail(draft, TM_E_BAD_MODEL,
                             "the model does not say which version of ONNX's operator set it uses");
    draft->version = 1;
    return TM_OK;
}

static bool is_unsupported(tm_code code) {
    return code == TM_E_UNSUPPORTED_OP || code == TM_E_UNSUPPORTED_FORM || code == TM_E_UNSUPPORTED_TYPE ||
           code == TM_E_UNKNOWN_RANK;
}

static tm_code import_draft(tm_draft *draft) {
    tm_importer *importer = draft->importer;
    const Onnx__FunctionProto *function = tm_function_find(importer, draft->proto);
    if (function != NULL)
        return tm_inline_function(draft, function);
    TM_TRY(check_opset(draft));
    if (draft->domain[0] == 0 && strcmp(draft->op, "Constant") == 0)
        return import_constant(draft);
    TM_TRY(tm_normalise(draft));
    return draft->finished ? TM_OK : tm_draft_build(draft);
}

tm_code tm_import_node(tm_importer *importer, tm_scope *scope, const Onnx__NodeProto *proto, size_t index) {
    tm_draft draft = {.importer = importer, .scope = scope, .proto = proto};
    draft.op = proto->op_type != NULL ? proto->op_type : "";
    draft.domain = tm_domain_canonical(proto->domain);
    const char *label = draft.domain[0] != 0
                            ? tm_arena_format(importer->arena, "%s.%s", draft.domain, draft.op)
                            : tm_arena_string(importer->arena, draft.op);
    draft.place = (tm_place){.file = importer->model->file,
                             .path = scope->path,
                             .node_index = (int64_t)index,
                             .op = label,
                             .node = proto->name};
    if (++importer->node_count > importer->options->limits.nodes)
        return tm_report(importer->diagnostics, TM_E_LIMIT, &draft.place,
                         "if the file is trusted, raise the limit with --limit-nodes=N",
                         "too many nodes, counting those of inlined functions (limit %lld)",
                         (long long)importer->options->limits.nodes);
    TM_TRY(resolve_inputs(&draft));
    tm_code code = tm_draft_read_attributes(&draft);
    if (code == TM_OK)
        code = import_draft(&draft);
    if (!is_unsupported(code))
        return code;
    if (importer->refused == TM_OK)
        importer->refused = code;
    return tm_draft_poison(&draft);
}
