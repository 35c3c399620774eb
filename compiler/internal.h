/* SPDX-License-Identifier: Apache-2.0
 *
 * internal.h: pieces of the compile call that the command uses too.
 */
#ifndef TM_COMPILER_INTERNAL_H
#define TM_COMPILER_INTERNAL_H

#include "frontend/import.h"
#include "ir/graph.h"
#include "tamis/compiler.h"

/* Folder of the kernel archives: TAMIS_DATA_DIR, lib/tamis near this library, or where it was built for. */
const char *tm_data_folder(tm_arena *arena);
/* The limits and folders of the importer that the options ask for. */
void tm_import_options_of(const tamis_compile_options *options, tm_import_options *out_import);
/* Narrows and pins symbols of inputs; before inference. */
TM_MUST_USE tm_code tm_apply_dim_facts(tm_model *model, const tamis_dim_fact *facts, size_t count);

/* Files E_UNSUPPORTED_TYPE for every node that has neither generated code nor a kernel for its types. */
TM_MUST_USE tm_code tm_report_missing_kernels(const tm_model *model);

#endif
