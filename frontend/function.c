/* SPDX-License-Identifier: Apache-2.0
 *
 * function.c: model-local functions are inlined where they are called.
 *
 *     gelu2(x) -> y { h = Mul(x, x)   y = Tanh(h) {...: @alpha} }
 *     main: b = gelu2(a) {alpha: 1}      ->      main: h = Mul(a, a)   b = Tanh(h)
 *
 * The body gets a scope of its own that sees no outer names: its inputs are bound to the call's values
 * (omitted ones stay omitted), its results take the call's names, all other names are made unique. Its
 * operator sets are the function's. Calls inside of it, in its control flow too, go the same way; a
 * function that is already open around the call is a recursion, which ONNX forbids. The limit on
 * nodes stops bodies that double at each level.
 */
#include "frontend/draft.h"

#include <string.h>

static const char *function_key(tm_arena *arena, const char *domain, const char *name, const char *overload) {
    return tm_arena_format(arena, "%s:%s:%s", tm_domain_canonical(domain), name != NULL ? name : "",
                           overload != NULL ? overload : "");
}

tm_code tm_functions_index(tm_importer *importer) {
    const Onnx__ModelProto *model = importer->proto;
    for (size_t i = 0; i < model->n_functions; i++) {
        Onnx__FunctionProto *function = model->functions[i];
        const char *key =
            function_key(importer->scratch, function->domain, function->name, function->overload);
        if (tm_map_has(&importer->functions, key)) {
            tm_place place = {.file = importer->model->file, .node_index = -1};
            return tm_report(importer->diagnostics, TM_E_BAD_MODEL, &place, NULL,
                             "function '%s' is defined twice", key);
        }
        tm_map_set(&importer->functions, key, function);
    }
    return TM_OK;
}

const Onnx__FunctionProto *tm_function_find(const tm_importer *importer, const Onnx__NodeProto *node) {
    if (importer->functions.count == 0)
        return NULL;
    return tm_map_get(&importer->functions,
                      function_key(importer->scratch, node->domain, node->op_type, node->overload));
}

static tm_code check_call(const tm_draft *draft, const Onnx__FunctionProto *function) {
    tm_importer *importer = draft->importer;
    for (const tm_frame *frame = draft->scope->frame; frame != NULL; frame = frame->caller)
        if (frame->function == function)
            return tm_report(importer->diagnostics, TM_E_RECURSION, &draft->place, NULL,
                             "function '%s' calls itself, directly or through others", function->name);
    if (draft->scope->depth >= importer->options->limits.depth)
        return tm_report(importer->diagnostics, TM_E_LIMIT, &draft->place,
                         "if the file is trusted, raise the limit with --limit-depth=N",
                         "control flow and functions are nested too deep (limit %lld)",
                         (long long)importer->options->limits.depth);
    if (draft->inputs.count > function->n_input || draft->outputs.count > function->n_output)
        return tm_report(importer->diagnostics, TM_E_ARITY, &draft->place, NULL,
                         "function '%s' has %zu inputs and %zu outputs, the call %zu and %zu", function->name,
                         function->n_input, function->n_output, draft->inputs.count, draft->outputs.count);
    return TM_OK;
}

/* Binds the function's inputs, and notes how its results are called outside. */
static tm_code open_scope(tm_draft *draft, const Onnx__FunctionProto *function, tm_scope *scope) {
    tm_importer *importer = draft->importer;
    const char *path = tm_arena_format(importer->arena, "%s/%s:%lld", draft->scope->path, function->name,
                                       (long long)draft->place.node_index);
    tm_scope_init(importer, scope, NULL, draft->scope->graph, path);
    scope->depth = draft->scope->depth + 1;
    scope->frame = TM_NEW(importer->scratch, tm_frame);
    *scope->frame = (tm_frame){.caller = draft->scope->frame,
                               .function = function,
                               .place = draft->place,
                               .attributes = draft->attributes.items,
                               .attribute_count = draft->attributes.count};
    TM_TRY(tm_read_opsets(importer, function->opset_import, function->n_opset_import, &draft->scope->opsets,
                          &scope->opsets));
    for (size_t i = 0; i < function->n_value_info; i++)
        if (function->value_info[i]->name != NULL && function->value_info[i]->type != NULL)
            tm_map_set(&scope->hints, function->value_info[i]->name, function->value_info[i]->type);
    for (size_t i = 0; i < function->n_input; i++)
        TM_TRY(tm_scope_define(importer, scope, function->input[i], tm_draft_input(draft, i), &draft->place));
    for (size_t i = 0; i < draft->outputs.count; i++)
        if (draft->outputs.items[i] != NULL && !tm_map_has(&scope->wishes, function->output[i]))
            tm_map_set(&scope->wishes, function->output[i],
                       (void *)(uintptr_t)tm_scope_wish(importer, draft->scope, draft->outputs.items[i]));
    return TM_OK;
}

/* Gives the call's outputs their values. One that the body does not make itself (an input, or the same
 * value again) goes through Identity, so that it has a name of its own. */
static tm_code bind_results(tm_draft *draft, const Onnx__FunctionProto *function, const tm_scope *scope) {
    tm_importer *importer = draft->importer;
    tm_map seen;
    tm_map_init(&seen, importer->scratch);
    for (size_t i = 0; i < draft->outputs.count; i++) {
        if (draft->outputs.items[i] == NULL)
            continue;
        const char *name = function->output[i];
        tm_value *value = NULL;
        if (!tm_scope_find(scope, name, &value) || value == NULL)
            return tm_report(importer->diagnostics, TM_E_UNDEFINED_VALUE, &draft->place, NULL,
                             "function '%s' does not make its output '%s'", function->name, name);
        bool passed = tm_map_has(&seen, name);
        for (size_t k = 0; k < function->n_input && !passed; k++)
            passed = strcmp(function->input[k], name) == 0;
        tm_map_set(&seen, name, NULL);
        if (passed) {
            tm_node *node = tm_draft_emit_node(draft, TM_OP_Identity, 1, &value);
            value = tm_node_add_output(node, tm_scope_wish(importer, draft->scope, draft->outputs.items[i]));
        }
        const Onnx__TypeProto *hint = tm_scope_hint(draft->scope, draft->outputs.items[i]);
        if (hint != NULL && value->declared_rank < 0)
            value->declared_rank = tm_hint_rank(hint);
        TM_TRY(tm_draft_bind(draft, i, value));
    }
    return TM_OK;
}

tm_code tm_inline_function(tm_draft *draft, const Onnx__FunctionProto *function) {
    TM_TRY(check_call(draft, function));
    tm_scope *scope = TM_NEW(draft->importer->scratch, tm_scope);
    TM_TRY(open_scope(draft, function, scope));
    TM_TRY(tm_import_nodes(draft->importer, scope, function->node, function->n_node));
    return bind_results(draft, function, scope);
}
