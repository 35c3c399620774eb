/* SPDX-License-Identifier: Apache-2.0
 *
 * write_out.h: one-line helper nodes for the functions that write an operator out in standard ones.
 *
 *     tm_value *heads = tm_write_reshape(draft, x, 4, (int64_t[]){0, 0, 8, -1});
 *
 * Each gives the output of a node that it puts before the draft's. Lists that are known are C arrays; those
 * that are not are values: tm_write_dims(x, 1, 1) is the length of axis 1 of x as a tensor of one element,
 * which turns into a dim expression when shapes are inferred.
 */
#ifndef TM_FRONTEND_OPSET_WRITE_OUT_H
#define TM_FRONTEND_OPSET_WRITE_OUT_H

#include "frontend/draft.h"

/* NULL as an operand of Add is nothing to add. */
tm_value *tm_write_add(tm_draft *draft, tm_value *a, tm_value *b);
tm_value *tm_write_unary(tm_draft *draft, tm_op op, tm_value *x);
tm_value *tm_write_binary(tm_draft *draft, tm_op op, tm_value *a, tm_value *b);
tm_value *tm_write_where(tm_draft *draft, tm_value *condition, tm_value *a, tm_value *b);
tm_value *tm_write_cast(tm_draft *draft, tm_value *x, tamis_type to);
/* A scalar of the type of `like`, also where that is known only later. */
tm_value *tm_write_number(tm_draft *draft, double value, tm_value *like);

/* 0 as a dim: that of the input; one -1: what is left. */
tm_value *tm_write_reshape(tm_draft *draft, tm_value *x, int count, const int64_t *dims);
/* The same elements under dims given by a tensor, in which 0 means 0: brings a value whose dims have names of
 * their own to those that it must have, so that passes see them equal. */
tm_value *tm_write_reshape_to(tm_draft *draft, tm_value *x, tm_value *shape);
tm_value *tm_write_transpose(tm_draft *draft, tm_value *x, int rank, const int64_t *permutation);
tm_value *tm_write_unsqueeze(tm_draft *draft, tm_value *x, int count, const int64_t *axes);
/* Entry `index` along `axis`, which disappears. */
tm_value *tm_write_entry(tm_draft *draft, tm_value *x, int axis, int64_t index);
tm_value *tm_write_concat(tm_draft *draft, int axis, int count, tm_value *const *parts);
/* From `start` to `end` along one axis: tensors of one element; `end` NULL: to the last. */
tm_value *tm_write_slice(tm_draft *draft, tm_value *x, int axis, tm_value *start, tm_value *end);
/* `count` parts along an axis; sizes NULL: equal ones. */
void tm_write_split(tm_draft *draft, tm_value *x, int axis, int count, const int64_t *sizes, tm_value **out);

/* Dims axis, axis + 1, ... of x, rank 1; a negative axis counts from behind. */
tm_value *tm_write_dims(tm_draft *draft, tm_value *x, int axis, int count);
/* int64, rank 1, of one element; `x` has one element and any integer type. */
tm_value *tm_write_one(tm_draft *draft, tm_value *x);
/* 0, 1, ... to below the one element of `count` (rank 1). */
tm_value *tm_write_range(tm_draft *draft, tm_value *count);
/* A tensor of zeros of the type of `like`, with the dims in `shape`. */
tm_value *tm_write_zeros(tm_draft *draft, tm_value *shape, tm_value *like);

/* Output `index` of the file's node, when it has a name, is `value`. */
TM_MUST_USE tm_code tm_write_bind(tm_draft *draft, size_t index, tm_value *value);
/* Fails when an input or attribute that has no meaning here is given: the remedy is part of `why`. */
TM_MUST_USE tm_code tm_write_refuse_input(tm_draft *draft, size_t index, const char *name, const char *why);
/* The last dim of a value, when it is a known number; otherwise 0. */
int64_t tm_write_last_dim(tm_draft *draft, tm_value *x);

#endif
