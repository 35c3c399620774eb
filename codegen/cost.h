/* SPDX-License-Identifier: Apache-2.0
 *
 * cost.h: how much work a node is, as dim expressions, so that one formula holds for all sizes.
 *
 *     MatMul f32[batch, seq, 768] x f32[768, 3072]      flops 4718592*batch*seq
 *
 * Floating operations are those of the textbook: a multiply-add is two; an elementwise operator one an
 * element, exp and division like addition; norms and softmax a few an element; what only moves bytes, none.
 * Bytes are those of the tensors at the borders of the node, each once: what a machine with a large enough
 * cache would have to move.
 */
#ifndef TM_CODEGEN_COST_H
#define TM_CODEGEN_COST_H

#include "ir/graph.h"

tm_dim tm_cost_flops(tm_dims *dims, const tm_node *node);
tm_dim tm_cost_bytes(tm_dims *dims, const tm_node *node);

#endif
