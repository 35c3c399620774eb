/* SPDX-License-Identifier: Apache-2.0
 *
 * table.c: finds the function that brings a draft into the IR's form.
 *
 * The IR has one form for each op, that of opset `since` in ir/ops.def; table.def lists which older
 * forms differ and who changes them. So an op that never changed is not mentioned anywhere, and
 * a reader sees all differences between opsets on one page.
 */
#include "frontend/opset/opset.h"

#include <string.h>

typedef struct row {
    const char *domain;
    const char *op;
    int from, to;
    tm_code (*function)(tm_draft *draft);
} row;

static const row rows[] = {
#define TM_OPSET(domain, op, from, to, function) {domain, #op, from, to, tm_opset_##function},
#include "frontend/opset/table.def"
#undef TM_OPSET
};

/* All other functions read input 0 without looking. */
static bool may_lack_first_input(const char *op) {
    return strcmp(op, "Scan") == 0 || strcmp(op, "Optional") == 0;
}

tm_code tm_normalise(tm_draft *draft) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const row *r = &rows[i];
        if (draft->version < r->from || (r->to != 0 && draft->version > r->to) ||
            strcmp(draft->op, r->op) != 0 || strcmp(draft->domain, r->domain) != 0)
            continue;
        bool first = draft->inputs.count != 0 && draft->inputs.items[0] != NULL;
        if ((!first && !may_lack_first_input(r->op)) || draft->outputs.count == 0)
            return tm_draft_fail(draft, TM_E_ARITY, "the first input or all outputs are missing");
        return r->function(draft);
    }
    return TM_OK;
}

/* ---- helpers ---- */

const char *tm_opset_output_name(const tm_draft *draft, size_t index) {
    if (!tm_draft_has_output(draft, index))
        return NULL;
    return tm_scope_wish(draft->importer, draft->scope, draft->outputs.items[index]);
}

tm_code tm_opset_emit_output(tm_draft *draft, size_t index, tm_op op, int count, tm_value *const *inputs,
                             tm_node **out_node) {
    *out_node = tm_draft_emit_node(draft, op, count, inputs);
    return tm_draft_bind(draft, index, tm_node_add_output(*out_node, tm_opset_output_name(draft, index)));
}

tm_value *tm_opset_floats(tm_draft *draft, const double *values, int64_t count) {
    tm_arena *arena = draft->importer->arena;
    float *floats = TM_NEW_ARRAY(arena, float, count);
    for (int64_t i = 0; i < count; i++)
        floats[i] = (float)values[i];
    int64_t *dims = tm_arena_copy(arena, &count, sizeof count);
    return tm_draft_constant(draft, tm_constant_create(arena, TAMIS_TYPE_FLOAT, 1, dims, floats));
}

tm_value *tm_opset_unsqueeze_after(tm_draft *draft, tm_value *x, int rank, int count) {
    int64_t axes[TAMIS_MAX_RANK];
    for (int i = 0; i < count; i++)
        axes[i] = rank + i;
    return tm_draft_emit(draft, TM_OP_Unsqueeze, 2,
                         (tm_value *[]){x, tm_draft_constant_ints(draft, axes, count)});
}
