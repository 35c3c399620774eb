/* SPDX-License-Identifier: Apache-2.0
 *
 * match.h: what the recognize_* passes need to find a decomposed form and to put one node in its place.
 *
 * A pattern is matched from its last node (the root) upwards. Nodes that would disappear are collected in
 * a tm_match; the rewrite happens only when it is closed: when nobody else reads what they compute.
 *
 *     tm_match match = {.graph = node->graph};
 *     tm_node *sqrt = tm_match_op(&match, node->inputs[1], TM_OP_Sqrt);
 *     ...
 *     if (sqrt != NULL && tm_match_closed(&match, node) && tm_pass_allow(context))
 *         tm_match_replace(node, new_node);
 */
#ifndef TM_PASSES_MATCH_H
#define TM_PASSES_MATCH_H

#include "ir/graph.h"
#include "passes/passes.h"

#define TM_MATCH_NODES 32
#define TM_MATCH_FACTORS 8

typedef struct tm_match {
    tm_graph *graph; /* all nodes of the pattern are in it */
    tm_node *nodes[TM_MATCH_NODES];
    int count; /* to undo an attempt: save it and set it back */
} tm_match;

/* Calls `rewrite` for every node there is in the model when the walk reaches its graph, bodies first;
 * nodes that a rewrite has removed by then are left out. */
TM_MUST_USE tm_code tm_match_each(tm_pass_context *context, tm_code (*rewrite)(tm_pass_context *, tm_node *));

/* The value's producer if it is of this op and in the graph of the match, which it joins; else NULL. */
tm_node *tm_match_op(tm_match *match, const tm_value *value, tm_op op);
void tm_match_add(tm_match *match, tm_node *node);
/* Do only nodes of the match (and the root) read what its nodes compute, the root's result aside? */
bool tm_match_closed(const tm_match *match, const tm_node *root);
/* `node` takes over the root's result and place in the file; then the root and what it alone had kept alive
 * go. */
void tm_match_replace(tm_node *root, tm_node *node);

/* A constant of one element. */
bool tm_match_number(const tm_value *value, double *out_number);
/* One element, at most one dim; also an operand that is left out (NULL). */
bool tm_match_is_single(const tm_value *value);
/* Equal but for the digits that exporters drop (and float32 has not). */
bool tm_match_near(double a, double b);
/* `value` = op(x, number), in any order if the op is commutative, with the rank of x. */
tm_node *tm_match_with_number(tm_match *match, const tm_value *value, tm_op op, tm_value **out_x,
                              double *out_number);
/* All elements of an integer constant; false when it is not one or too long. */
bool tm_match_ints(const tm_value *value, int64_t out[TAMIS_MAX_RANK], int *out_count);

/* A tree of Mul, and Div by a number, whose inner nodes have one reader: constant * factors[0] * ... */
typedef struct tm_match_product {
    double constant;
    tm_value *factors[TM_MATCH_FACTORS];
    int count;
} tm_match_product;
bool tm_match_flatten(tm_match *match, tm_value *value, tm_match_product *out);

/* `value` = 1 / sqrt(mean(squared * squared) + epsilon), the mean over the dims from `axis` on, kept as 1;
 * with `inverse` false the square root itself. */
typedef struct tm_match_deviation {
    tm_value *squared;
    int axis;
    double epsilon;
} tm_match_deviation;
bool tm_match_root_mean_square(tm_match *match, tm_value *value, bool inverse, tm_match_deviation *out);
/* `value` = mean of x over the dims from `axis` on, kept as 1. */
bool tm_match_mean(tm_match *match, const tm_value *value, tm_value **out_x, int *out_axis);

/* Has `parameter` one element for each of x's dims from `axis` on (behind leading ones)? */
bool tm_match_is_row(const tm_value *parameter, const tm_value *x, int axis);
/* If the result of `root` is only scaled (`op` Mul) or shifted (Add) by a row next: the node that does it. */
tm_node *tm_match_next_by_row(const tm_node *root, tm_op op, const tm_value *x, int axis, tm_value **out_row);
/* That row under the dims of x from `axis` on: itself or a view made before `before`. */
tm_value *tm_match_row(tm_node *before, tm_value *parameter, const tm_value *x, int axis);
/* A row of ones for x, or NULL when its size is not known. */
tm_value *tm_match_ones(tm_graph *graph, const tm_value *x, int axis);

/* int8 or uint8. */
bool tm_match_is_byte(const tm_value *value);
/* Has a QuantizeLinear or DequantizeLinear a scale for each row:
 * blocks along the last axis as long as that? */
bool tm_match_is_row_scale(const tm_node *quantizer);
/* float32 or float64. */
bool tm_match_is_real(const tm_value *value);
/* `count` dims from `a_from` of a and from `b_from` of b are the same expressions. */
bool tm_match_same_dims(const tm_value *a, int a_from, const tm_value *b, int b_from, int count);
/* A Reshape of `x` to the dims, made before `before`; x itself when it has them. */
tm_value *tm_match_view(tm_node *before, tm_value *x, int rank, const tm_dim *dims);
/* A new node of one output, inferred, before `before`. NULL entries of inputs are omitted ones. */
TM_MUST_USE tm_code tm_match_make(tm_node *before, tm_op op, int input_count, tm_value *const *inputs,
                                  tm_value **out_value);
/* The same of two inputs, and Cast to a type. */
TM_MUST_USE tm_code tm_match_make_pair(tm_node *before, tm_op op, tm_value *a, tm_value *b,
                                       tm_value **out_value);
tm_value *tm_match_make_cast(tm_node *before, tm_value *value, tamis_type to);
TM_MUST_USE tm_code tm_match_make_transpose(tm_node *before, tm_value *x, const int64_t *perm,
                                            tm_value **out_value);

#endif
