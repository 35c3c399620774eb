/* SPDX-License-Identifier: Apache-2.0
 *
 * internal.h: pieces of the compile call that the command uses too.
 */
#ifndef TM_COMPILER_INTERNAL_H
#define TM_COMPILER_INTERNAL_H

#include "ir/graph.h"
#include "tamis/compiler.h"

/* Folder of the kernel archives: TAMIS_DATA_DIR, or lib/tamis near this library, or where it was built for. */
const char *tm_data_folder(tm_arena *arena);
/* C identifier for the artifact written to `output`. */
const char *tm_artifact_name(tm_arena *arena, const char *output);
/* Narrows and pins symbols of inputs; before inference. */
TM_MUST_USE tm_code tm_apply_dim_facts(tm_model *model, const tamis_dim_fact *facts, size_t count);
void tm_pin_symbol(tm_model *model, tm_symbol *symbol, int64_t value);

#endif
