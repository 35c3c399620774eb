/* SPDX-License-Identifier: Apache-2.0
 *
 * graph_internal.h: what graph.c and node.c share. Only these two write uses.
 */
#ifndef TM_IR_GRAPH_INTERNAL_H
#define TM_IR_GRAPH_INTERNAL_H

#include "ir/graph.h"

/* A use is found by (node, graph, index); `value` may be NULL. */
void tm_use_add(tm_value *value, tm_node *node, tm_graph *graph, int index);
void tm_use_drop(tm_value *value, tm_node *node, tm_graph *graph, int index);

#endif
