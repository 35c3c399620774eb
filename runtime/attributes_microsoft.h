/* SPDX-License-Identifier: Apache-2.0
 *
 * attributes_microsoft.h: the attribute structs of the ops of com.microsoft, for their kernels.
 */
#ifndef TAMIS_ATTRIBUTES_MICROSOFT_H
#define TAMIS_ATTRIBUTES_MICROSOFT_H

#include "runtime/kernel.h"

#define TM_ATTRIBUTE_ROWS "ir/rows/microsoft.def"
#include "runtime/attribute_structs.h"

#endif
