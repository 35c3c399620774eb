/* SPDX-License-Identifier: Apache-2.0
 *
 * evaluate.h: runs nodes and models in the compiler, with the same C kernels that artifacts use.
 * Constant folding is "all inputs constant -> evaluate"; the tests' oracle is tm_evaluate_model.
 */
#ifndef TM_IR_EVALUATE_H
#define TM_IR_EVALUATE_H

#include "ir/graph.h"

/* Symbol of the kernel for a node with inferred types: "tm_k_Add_f32" (arena-owned). */
const char *tm_kernel_symbol(const tm_node *node);
/* The host's kernel of that symbol, or NULL. The table is made by the build from the archive's symbols. */
tm_kernel tm_kernel_find(const char *symbol);
/* Is there a kernel for this node (or does it need none: views, control flow)? */
bool tm_kernel_exists(const tm_node *node);

/* The node's call record, attributes included, for values numbered values[0..in+out) (-1 omitted). */
tm_call *tm_call_create(tm_arena *arena, const tm_node *node, int32_t node_number, const int32_t *values,
                        size_t *out_bytes);

/* Evaluates one node whose inputs are all constant. Outputs are arena-owned. TM_E_EVALUATE when a kernel
 * fails, TM_E_UNSUPPORTED_* when there is none; filed only if `quiet` is false. */
TM_MUST_USE tm_code tm_evaluate_node(tm_model *model, tm_node *node, bool quiet,
                                     const tm_constant **out_outputs);

/* Runs the whole model; inputs and outputs by position. Control flow, late dims and handles included. */
typedef struct tm_evaluation_value {
    tamis_tensor tensor;
} tm_evaluation_value;
TM_MUST_USE tm_code tm_evaluate_model(tm_model *model, tm_arena *arena, const tamis_tensor *inputs,
                                      tamis_tensor *out_outputs);

#endif
