/* SPDX-License-Identifier: Apache-2.0
 *
 * attributes_training.h: the attribute structs of the ops of ai.onnx.preview.training, for their kernels.
 */
#ifndef TAMIS_ATTRIBUTES_TRAINING_H
#define TAMIS_ATTRIBUTES_TRAINING_H

#include "runtime/kernel.h"

#define TM_ATTRIBUTE_ROWS "ir/rows/training.def"
#include "runtime/attribute_structs.h"

#endif
