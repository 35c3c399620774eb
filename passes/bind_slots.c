/* SPDX-License-Identifier: Apache-2.0
 *
 * bind_slots.c: where products and convolutions read a slot as their weights, it is a constant from here on,
 * which they pack as any other; the runtime packs what comes in its place.
 *
 *     MatMul(%x, %slot)                -> MatMul(%x, %c)     %c has the elements of the slot
 *     MatMul(%x, Transpose(%slot))     -> MatMul(%x, %c)     %c has those of its transpose
 *
 * The passes behind this one may look at dims of such a constant and choose its layout, but not at its
 * elements: tm_match_is_bounded says so, and tiles of narrow types, whose writer rounds, are not made of it.
 * Other readers (bias, norms, tables) read the slot where it lies.
 */
#include "ir/infer.h"
#include "passes/layout.h"
#include "passes/match.h"
#include "passes/rewrite.h"
#include "passes/slots.h"

typedef struct binder {
    tm_pass_context *context;
    const tm_weight_slot *slot;
    tm_value *plain, *turned; /* constants of it, or NULL */
} binder;

/* A single element would be taken for a number. */
static bool is_weights(const tm_weight_slot *slot) {
    const tm_constant *initial = slot->initial;
    return initial->type == TAMIS_TYPE_FLOAT && initial->rank >= 2 && tm_constant_count(initial) > 1;
}

static bool reads_weights(const tm_weight_slot *slot, const tm_use *use) {
    if (use->node == NULL || use->index != 1 || tm_value_is_constant(use->node->inputs[0]))
        return false;
    return use->node->op == TM_OP_MatMul ? slot->initial->rank == 2 : use->node->op == TM_OP_Conv;
}

static bool is_turned(const tm_node *node) {
    int64_t perm[TAMIS_MAX_RANK];
    if (node == NULL || node->op != TM_OP_Transpose || node->inputs[0]->rank != 2)
        return false;
    tm_rewrite_permutation(node, perm);
    return perm[0] == 1;
}

static tm_value *constant_of(binder *b, bool turned) {
    tm_value **known = turned ? &b->turned : &b->plain;
    tm_graph *graph = b->context->model->main;
    if (*known == NULL) {
        const tm_constant *layout = b->slot->initial;
        if (turned)
            layout = tm_layout_transposed_constant(graph, layout, (const int64_t[]){1, 0})->constant;
        *known = tm_slot_constant(graph, b->slot, layout, turned);
    }
    return *known;
}

static void bind(binder *b, tm_value *value, bool turned) {
    for (size_t i = value->uses.count; i-- > 0;) {
        tm_use use = value->uses.items[i];
        if (!turned && is_turned(use.node) && b->slot->initial->rank == 2) {
            bind(b, use.node->outputs[0], true);
            if (use.node->outputs[0]->uses.count == 0)
                tm_node_remove(use.node);
        } else if (reads_weights(b->slot, &use) && tm_pass_allow(b->context)) {
            tm_node_set_input(use.node, 1, constant_of(b, turned));
        }
    }
}

tm_code tm_pass_bind_slots(tm_pass_context *context) {
    for (size_t i = 0; i < context->model->slots.count; i++) {
        binder b = {.context = context, .slot = context->model->slots.items[i]};
        if (is_weights(b.slot))
            bind(&b, b.slot->value, false);
    }
    return TM_OK;
}
