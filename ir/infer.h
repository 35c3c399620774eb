/* SPDX-License-Identifier: Apache-2.0
 *
 * infer.h: types, ranks, dims and known elements of all values, from the inputs on.
 *
 * tm_infer(model) walks each graph in order and calls the op's infer function, which reads the inputs'
 * types and dims and sets the outputs' with the helpers below. It can run again after any pass.
 * An infer function
 *   - checks what ONNX demands, files a diagnostic at tm_node_place(node) and returns its code;
 *   - gives every output a type, a rank and dims: an expression of the inputs' dims and elements where
 *     there is one, otherwise (data-dependent) tm_infer_free;
 *   - demands equality of dims with tm_infer_equal, which fails when they are known to differ, does
 *     nothing when they are the same expression, and else records a check for run time;
 *   - carries elements (small integer or bool tensors) where the op is part of shape arithmetic.
 *
 * Shapes given by a tensor: tm_infer_element(context, value, i) is the i-th element as a dim:
 * the known expression, the constant, or a LOAD symbol that reads it when the model runs. So
 * Reshape, Expand, Slice, Range and the like need no code at run time to find their dims.
 */
#ifndef TM_IR_INFER_H
#define TM_IR_INFER_H

#include "ir/graph.h"

typedef struct tm_infer_context {
    tm_model *model;
    tm_dims *dims;
    tm_arena *arena;
} tm_infer_context;

#define TM_MAX_ELEMENTS 1024 /* tensors with more have no known elements */

TM_MUST_USE tm_code tm_infer(tm_model *model);
/* One graph (inputs already typed), one node: for passes that add nodes, and for control flow. */
TM_MUST_USE tm_code tm_infer_graph(tm_infer_context *context, tm_graph *graph);
TM_MUST_USE tm_code tm_infer_node(tm_model *model, tm_node *node);

/* ---- helpers of infer functions (ir/ops/common.c) ---- */
/* Input i, or NULL when omitted. */
tm_value *tm_infer_input(const tm_node *node, int i);
tm_value *tm_infer_output(const tm_node *node, int i);
/* Sets output i (when present) as a tensor; clears its elements. Adds nothing when omitted. */
void tm_infer_set(tm_node *node, int output, tamis_type type, int rank, const tm_dim *dims);
void tm_infer_set_like(tm_node *node, int output, tamis_type type, const tm_value *like);
/* Known elements of output i (flat, count entries; copied). Ignored above TM_MAX_ELEMENTS. */
void tm_infer_set_elements(tm_infer_context *context, tm_node *node, int output, const tm_dim *elements,
                           int64_t count);
/* Element i of an integer or bool tensor as a dim; never NULL. May give a LOAD symbol. */
tm_dim tm_infer_element(tm_infer_context *context, tm_value *value, int64_t i);
/* All elements if known (from `elements` or the constant) without making LOAD symbols; else false. */
bool tm_infer_known_elements(tm_infer_context *context, tm_value *value, const tm_dim **out_elements,
                             int64_t *out_count);
/* Elements that are all constants, e.g. axes. False if any is not. */
bool tm_infer_constant_elements(tm_infer_context *context, tm_value *value, int64_t *out, int64_t capacity,
                                int64_t *out_count);
/* A fresh symbol bound to dim `axis` of output `output` after the node has run. */
tm_dim tm_infer_free(tm_infer_context *context, tm_node *node, int output, int axis, const char *name);
/* The same for a value that is not an output of a node (inputs of bodies). `name` NULL: the value's. */
tm_dim tm_infer_free_of(tm_infer_context *context, tm_value *value, int axis, const char *name);
tm_dim tm_infer_const(tm_infer_context *context, int64_t value);
/* a and b must be equal. Files E_SHAPE with `what` when they cannot be. */
TM_MUST_USE tm_code tm_infer_equal(tm_infer_context *context, tm_node *node, tm_dim a, tm_dim b,
                                   const char *what);
/* Brings axis into 0..rank-1 (or fails with E_ATTRIBUTE). */
TM_MUST_USE tm_code tm_infer_axis(tm_node *node, int64_t axis, int rank, int *out_axis);
/* Right-aligned broadcast of the dims of `count` values into out_dims[TAMIS_MAX_RANK]. */
TM_MUST_USE tm_code tm_infer_broadcast_dims(tm_infer_context *context, tm_node *node, tm_value *const *values,
                                            int count, int *out_rank, tm_dim *out_dims);
/* The rank that the model declares for a value, or for what elementwise ops make of it; -1: none. */
int tm_infer_declared_rank(const tm_value *value);
/* Diagnostics with the node's place. */
tm_code tm_infer_fail(tm_node *node, tm_code code, const char *format, ...) TM_PRINTF(3, 4);
/* The input must be a tensor with known rank (and one of the types when a list is given, ended by 0). */
TM_MUST_USE tm_code tm_infer_need(tm_node *node, int input, int rank_or_minus_one);
/* The input must be a tensor of one element, whatever its rank; `what` is the text when it is not. */
TM_MUST_USE tm_code tm_infer_need_one(tm_infer_context *context, tm_node *node, int input, const char *what);
TM_MUST_USE tm_code tm_infer_need_type(tm_node *node, int input, const tamis_type *allowed);
TM_MUST_USE tm_code tm_infer_same_type(tm_node *node, int input_a, int input_b);

#define TM_OP(name, domain, since, in_min, in_max, out_min, out_max, key, traits, exactness, infer, \
              attributes)                                                                           \
    tm_code tm_infer_##infer(tm_infer_context *context, tm_node *node);
#include "ir/ops.def"
#undef TM_OP

#endif
