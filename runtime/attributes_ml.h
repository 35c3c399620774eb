/* SPDX-License-Identifier: Apache-2.0
 *
 * attributes_ml.h: the attribute structs of the ops of ai.onnx.ml, for their kernels.
 */
#ifndef TAMIS_ATTRIBUTES_ML_H
#define TAMIS_ATTRIBUTES_ML_H

#include "runtime/kernel.h"

#define TM_ATTRIBUTE_ROWS "ir/rows/ml.def"
#include "runtime/attribute_structs.h"

#endif
