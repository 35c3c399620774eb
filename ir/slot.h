/* SPDX-License-Identifier: Apache-2.0
 *
 * slot.h: how a constant becomes a slot (tm_weight_slot in graph.h).
 */
#ifndef TM_IR_SLOT_H
#define TM_IR_SLOT_H

#include "ir/graph.h"

/* The constant, of the main graph, is an input with a slot from here on. */
void tm_slot_create(tm_model *model, tm_value *constant);
/* The constant as one whose elements are those of the slot, or of its transpose. */
const tm_constant *tm_slot_layout(tm_arena *arena, const tm_weight_slot *slot, const tm_constant *constant,
                                  bool turned);

#endif
