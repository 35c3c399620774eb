/* SPDX-License-Identifier: Apache-2.0
 *
 * gptq.h: rounding of weights by the second moments of the inputs.
 */
#ifndef TM_QUANTIZE_GPTQ_H
#define TM_QUANTIZE_GPTQ_H

#include "quantize/layer.h"

/* Rounds a matrix [k, n] with the moments [k, k] (upper triangle) of its inputs. `zeros`: with a zero point
 * for each scale. tm_algebra_load comes first. False: the moments are of no use (not finite). */
TM_MUST_USE bool tm_quantize_gptq(tm_arena *arena, tm_arena *scratch, const float *matrix,
                                  const float *moments, int64_t k, int64_t n, int bits, int64_t block,
                                  bool zeros, tm_quantized *out);

/* moments.c: rounds the weights of all layers that have them again, by GPTQ. */
TM_MUST_USE tm_code tm_quantize_weights_gptq(tm_quantizer *q, const tm_loaded *loaded);

#endif
