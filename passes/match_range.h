/* SPDX-License-Identifier: Apache-2.0
 *
 * match_range.h: how large the numbers of a mask can be.
 */
#ifndef TM_PASSES_MATCH_RANGE_H
#define TM_PASSES_MATCH_RANGE_H

#include "ir/graph.h"

/* What a product of matrices gives is taken not to exceed this: float32 scores of that size have no digits
 * left that a softmax could tell apart. */
#define TM_MATCH_REASONABLE 1e7

/* Are all elements of `value` known to lie between -limit and limit, and to be numbers? With INFINITY as the
 * limit: known to be finite. */
bool tm_match_is_bounded(const tm_value *value, double limit);
/* The same of what is added to products of matrices, which may be as large as scores are. */
bool tm_match_is_bounded_but_products(const tm_value *value, double limit);

#endif
