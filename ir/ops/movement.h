/* SPDX-License-Identifier: Apache-2.0
 *
 * movement.h: helpers of the inference of shape and movement ops.
 */
#ifndef TM_IR_OPS_MOVEMENT_H
#define TM_IR_OPS_MOVEMENT_H

#include "ir/ops/shape_list.h"

/* An axis that may be known only when the model runs, brought into 0..rank-1. A constant one is
 * checked. */
TM_MUST_USE tm_code tm_movement_axis(tm_infer_context *context, tm_node *node, tm_dim axis, int rank,
                                     tm_dim *out_axis);

/* Axes of an optional input, normalised, and checked for duplicates where constant. Omitted: 0..rank-1, and
 * out_list->value is NULL. An entry past the end of a list of unknown length is -1, the axis of nothing. */
TM_MUST_USE tm_code tm_movement_axes(tm_infer_context *context, tm_node *node, int input, int rank,
                                     tm_dim *out_axes, tm_shape_list *out_list);

/* The entry of `list` whose axis is `axis`, or `otherwise`: a selection when axes are run-time values. */
tm_dim tm_movement_pick(tm_infer_context *context, const tm_dim *axes, const tm_dim *list, int count,
                        int axis, tm_dim otherwise);

/* Carries known elements through a strided view with constant dims: output element i comes from
 * offset + sum of index*stride of input 0. Does nothing when elements or dims are not known. */
void tm_movement_carry(tm_infer_context *context, tm_node *node, int output, tm_value *from, int64_t offset,
                       const int64_t *strides);

/* Row-major strides; false when a dim is not constant or there are more than TM_MAX_ELEMENTS elements. */
bool tm_movement_strides(int rank, const tm_dim *dims, int64_t *out_strides, int64_t *out_count);

#endif
