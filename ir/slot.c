/* SPDX-License-Identifier: Apache-2.0
 *
 * slot.c: constants that become slots; see slot.h. The command's --slot and the text form make them here.
 */
#include "ir/slot.h"

void tm_slot_create(tm_model *model, tm_value *constant) {
    tm_weight_slot *slot = TM_NEW(model->arena, tm_weight_slot);
    *slot =
        (tm_weight_slot){.value = constant, .initial = constant->constant, .number = (int)model->slots.count};
    constant->constant = NULL;
    constant->elements = NULL;
    constant->element_count = 0;
    constant->slot = slot;
    tm_graph_add_input(model->main, constant);
    tm_push(model->arena, &model->slots, slot);
}

const tm_constant *tm_slot_layout(tm_arena *arena, const tm_weight_slot *slot, const tm_constant *constant,
                                  bool turned) {
    tm_constant *layout = tm_arena_copy(arena, constant, sizeof *constant);
    layout->slot = slot;
    layout->slot_turned = turned;
    return layout;
}
