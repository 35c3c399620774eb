/* SPDX-License-Identifier: Apache-2.0
 *
 * attributes_layout.h: the attribute structs of the ops that lay data out, for their kernels.
 */
#ifndef TAMIS_ATTRIBUTES_LAYOUT_H
#define TAMIS_ATTRIBUTES_LAYOUT_H

#include "runtime/kernel.h"

#define TM_ATTRIBUTE_ROWS "ir/rows/layout.def"
#include "runtime/attribute_structs.h"

#endif
