/* SPDX-License-Identifier: Apache-2.0
 *
 * unary.h: the float or double function for a type with suffix s: TM_MATH(s, exp)(x) is tm_exp_f32(x)
 * for f32, f16 and bf16, and tm_exp_f64(x) for f64.
 */
#ifndef TM_OPS_UNARY_H
#define TM_OPS_UNARY_H

#include "runtime/math/math.h"
#include "runtime/ops/elementwise.h"

#define TM_MATH_f32(op) tm_##op##_f32
#define TM_MATH_f16(op) tm_##op##_f32
#define TM_MATH_bf16(op) tm_##op##_f32
#define TM_MATH_f64(op) tm_##op##_f64
#define TM_MATH(s, op) TM_MATH_##s(op)

#endif
