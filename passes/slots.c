/* SPDX-License-Identifier: Apache-2.0
 *
 * slots.c: which constants become slots; see slots.h.
 *
 * A slot is an input of the main graph while passes run. So none of them can fold its elements into something
 * else, without a question in any of them.
 */
#include "passes/slots.h"

#include "ir/slot.h"

#include <fnmatch.h>
#include <string.h>

static bool is_pattern(const char *text) {
    return strpbrk(text, "*?[") != NULL;
}

/* Patterns are meant for weights: axes and shapes would lose what is known of the model. */
static bool takes(const tm_value *value, const char *pattern) {
    if (!tm_value_is_constant(value) || value->graph == NULL || value->graph->outer != NULL ||
        value->slot != NULL || value->kind != TAMIS_KIND_TENSOR || value->type == TAMIS_TYPE_STRING ||
        value->name == NULL || value->uses.count == 0)
        return false;
    if (strcmp(value->name, pattern) == 0)
        return true;
    return is_pattern(pattern) && tm_type_is_float(value->type) && fnmatch(pattern, value->name, 0) == 0;
}

tm_code tm_slots_mark(tm_model *model, const char *const *patterns, size_t count) {
    tm_place place = {.file = model->file, .node_index = -1};
    for (size_t p = 0; p < count; p++) {
        size_t found = 0;
        for (size_t i = 0; i < model->values.count; i++) {
            tm_value *value = model->values.items[i];
            if (value->slot != NULL &&
                (strcmp(value->name, patterns[p]) == 0 ||
                 (is_pattern(patterns[p]) && fnmatch(patterns[p], value->name, 0) == 0)))
                found++;
            else if (takes(value, patterns[p])) {
                tm_slot_create(model, value);
                found++;
            }
        }
        if (found == 0)
            return tm_report(model->diagnostics, TM_E_USAGE, &place,
                             "`tamis inspect --compress MODEL` lists the constants by name",
                             "--slot: no constant that a node reads is called '%s'", patterns[p]);
    }
    return TM_OK;
}

tm_value *tm_slot_constant(tm_graph *graph, const tm_weight_slot *slot, const tm_constant *layout,
                           bool turned) {
    return tm_value_create_constant(graph, slot->value->name,
                                    tm_slot_layout(graph->model->arena, slot, layout, turned));
}
