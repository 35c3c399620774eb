/* SPDX-License-Identifier: Apache-2.0
 *
 * slices.h: models that may be run sample by sample.
 */
#ifndef TM_CODEGEN_SLICES_H
#define TM_CODEGEN_SLICES_H

#include "ir/graph.h"

/* The symbol that counts samples: the first dim of inputs and of all outputs, along which any slice can be
 * computed without the others. NULL: there is none. Call on the final graph. */
const tm_symbol *tm_find_slices(const tm_model *model);

#endif
