/* SPDX-License-Identifier: Apache-2.0
 *
 * pair.h: pairs of QuantizeLinear and DequantizeLinear, as quantisers put them around operands.
 */
#ifndef TM_PASSES_PAIR_H
#define TM_PASSES_PAIR_H

#include "passes/passes.h"

/* What goes into the pair whose result the value is; NULL: there is none. */
tm_value *tm_pair_before(const tm_value *value);
/* Is it a pair of bytes with one scale and zero point, which are known? */
bool tm_pair_is_of_bytes(const tm_value *value);
/* What goes into the pair, or the value. */
tm_value *tm_pair_inside(tm_value *value);
/* Does the pair, whose result the value is, cut off negative numbers that its operand may have? Quantisers take
 * out a Relu or Clip that stands before such a pair. *out_high: the largest number that it gives. */
bool tm_pair_cuts(const tm_value *value, double *out_high);
/* x with a pair like the one whose result `like` is; x itself when that is none. The scale is divided by
 * `by`, a positive number: what the pair makes of x is that of x * by, less the factor. */
TM_MUST_USE tm_code tm_pair_around(tm_node *before, const tm_value *like, double by, tm_value *x,
                                   tm_value **out);

#endif
