/* SPDX-License-Identifier: Apache-2.0
 *
 * rewrite.h: what several passes need to replace values and to copy nodes.
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
/* A node like `node` before `before` (NULL: at the end of the graph), over other inputs. Its outputs are to
 * be added, and it has no place in the model's file. */
tm_node *tm_rewrite_copy(tm_graph *graph, tm_node *before, const tm_node *node, int input_count,
                         tm_value *const *inputs);
/* A copy of a node of one output over *value in place of its first input; *value is the result then. */
TM_MUST_USE tm_code tm_rewrite_copy_over(tm_node *before, const tm_node *node, tm_value **value);
/* Conv, ConvInteger or QLinearConv as another of the three, with the same windows, before it. */
TM_MUST_USE tm_code tm_rewrite_convolution(tm_node *node, tm_op op, int count, tm_value *const *inputs,
                                           tm_value **out);
/* Same type, rank and dims. */
bool tm_rewrite_same_type(const tm_value *a, const tm_value *b);

#endif
