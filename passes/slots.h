/* SPDX-License-Identifier: Apache-2.0
 *
 * slots.h: constants that may be replaced when the artifact is loaded (docs/slots.md).
 *
 *     --slot='*.lora_A'   ->   main(x, lora_A) with a slot for lora_A
 *     bind_slots          ->   MatMul(x, constant of lora_A)
 */
#ifndef TM_PASSES_SLOTS_H
#define TM_PASSES_SLOTS_H

#include "passes/passes.h"

/* Makes slots of the constants that the patterns name: a name, or with * ? [ ] a pattern, which takes floats
 * only. Call after import, before the passes. */
TM_MUST_USE tm_code tm_slots_mark(tm_model *model, const char *const *patterns, size_t count);
/* A constant with the elements of `layout` that are those of the slot, or of its transpose. */
tm_value *tm_slot_constant(tm_graph *graph, const tm_weight_slot *slot, const tm_constant *layout,
                           bool turned);

#endif
