/* SPDX-License-Identifier: Apache-2.0
 *
 * scope.c: which value a name means.
 *
 * A name is looked up in its own graph first and then in the graphs around it, so a name of a body
 * shadows the same name outside. A function body sees its own names only.
 *
 *     main: x, y = If(c) { then: y = Add(x, x) }     the inner y is another value than the outer one
 *
 * In the model all names are unique, and those of the main graph stay as the file has them: they are
 * what users see as outputs and in messages. So an inner value may not take a name of the main graph,
 * even when it comes first; it gets a suffix (tm_scope_wish).
 */
#include "frontend/importer.h"

void tm_scope_init(tm_importer *importer, tm_scope *scope, tm_scope *outer, tm_graph *graph,
                   const char *path) {
    *scope = (tm_scope){.outer = outer, .graph = graph, .path = path};
    if (outer != NULL) {
        scope->frame = outer->frame;
        scope->opsets = outer->opsets;
        scope->depth = outer->depth + 1;
    }
    tm_map_init(&scope->names, importer->scratch);
    tm_map_init(&scope->wishes, importer->scratch);
    tm_map_init(&scope->hints, importer->scratch);
}

bool tm_scope_find(const tm_scope *scope, const char *name, tm_value **out_value) {
    for (; scope != NULL; scope = scope->outer) {
        if (!tm_map_has(&scope->names, name))
            continue;
        *out_value = tm_map_get(&scope->names, name);
        return true;
    }
    return false;
}

tm_code tm_scope_define(tm_importer *importer, tm_scope *scope, const char *name, tm_value *value,
                        const tm_place *place) {
    if (tm_map_has(&scope->names, name)) {
        tm_place here = *place;
        here.tensor = name;
        return tm_report(importer->diagnostics, TM_E_DUPLICATE_VALUE, &here, NULL,
                         "the value is defined a second time in the same graph");
    }
    tm_map_set(&scope->names, name, value);
    return TM_OK;
}

const char *tm_scope_wish(tm_importer *importer, const tm_scope *scope, const char *name) {
    if (scope->outer == NULL && scope->frame == NULL)
        return name;
    if (tm_map_has(&scope->wishes, name))
        return tm_map_get(&scope->wishes, name);
    const char *wish = name;
    for (int suffix = 1; tm_map_has(&importer->main_names, wish); suffix++)
        wish = tm_arena_format(importer->scratch, "%s.%d", name, suffix);
    return wish;
}

const Onnx__TypeProto *tm_scope_hint(const tm_scope *scope, const char *name) {
    return tm_map_get(&scope->hints, name);
}
