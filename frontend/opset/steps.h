/* SPDX-License-Identifier: Apache-2.0
 *
 * steps.h: the steps of which the functions for ONNX Runtime's quantised and fused operators are written, on
 * top of those of write_out.h:
 *
 *     QLinearSigmoid   ->   quantize(Sigmoid(dequantize(x)))
 */
#ifndef TM_FRONTEND_OPSET_STEPS_H
#define TM_FRONTEND_OPSET_STEPS_H

#include "frontend/opset/write_out.h"
#include "frontend/opset/opset.h"

tm_value *tm_write_scalar(tm_draft *draft, tamis_type type, double value); /* a constant of rank 0 */
/* An op whose second input is a list of axes or dims: Squeeze, the reductions. */
tm_value *tm_write_listed(tm_draft *draft, tm_op op, tm_value *x, const int64_t *list, int64_t count);
tm_value *tm_write_gather(tm_draft *draft, tm_value *x, tm_value *indices, int64_t axis);
/* [n, space..., channels] to [n, channels, space...], and back. */
tm_value *tm_write_channels_first(tm_draft *draft, tm_value *x, int rank);
tm_value *tm_write_channels_last(tm_draft *draft, tm_value *x, int rank);

/* (x - zero) * scale for one scale; `zero` NULL: 0. */
tm_value *tm_write_dequantize(tm_draft *draft, tm_value *x, tm_value *scale, tm_value *zero);
/* saturate(round half to even(x / scale) + zero) in the type of `zero`, or with NULL in that of `like`. */
TM_MUST_USE tm_code tm_write_quantize(tm_draft *draft, tm_value *x, tm_value *scale, tm_value *zero,
                                        tm_value *like, tm_value **out_value);
/* x - zero in int32, exactly. */
tm_value *tm_write_difference(tm_draft *draft, tm_value *x, tm_value *zero);

/* The activation that the attribute `activation` names, absent: none, with `parameters` in the order of
 * the op's attributes. */
TM_MUST_USE tm_code tm_write_activation(tm_draft *draft, const double *parameters, int count, tm_value *x,
                                          tm_value **out_value);

/* Inputs 0..count-1 must be there. */
TM_MUST_USE tm_code tm_write_need(tm_draft *draft, size_t count);

#endif
