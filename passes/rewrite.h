/* SPDX-License-Identifier: Apache-2.0
 *
 * rewrite.h: what several passes need to replace values.
 */
#ifndef TM_PASSES_REWRITE_H
#define TM_PASSES_REWRITE_H

#include "ir/graph.h"

/* Is the value an output of the model? Then its name is part of the interface. */
bool tm_rewrite_is_output(const tm_value *value);
/* May every reader of `from` read `to` instead? `to` must be defined before all of them. */
bool tm_rewrite_can_replace(const tm_value *from, const tm_value *to);
/* Does it; a model's output keeps its name, which `to` takes over. */
void tm_rewrite_replace(tm_value *from, tm_value *to);
/* The permutation of a Transpose whose input has a rank. */
void tm_rewrite_permutation(const tm_node *transpose, int64_t out_perm[TAMIS_MAX_RANK]);
/* Same type, rank and dims. */
bool tm_rewrite_same_type(const tm_value *a, const tm_value *b);

#endif
