/* SPDX-License-Identifier: Apache-2.0
 *
 * vector_math.c: the float functions on vectors of 4, 8 and 16, for generated code.
 *
 * tm_exp_f32x8 and its like come from the same text as tm_exp_f32 (math_f32.inc), with vector types in place
 * of scalar ones. The build compiles this file to bitcode for each level; the code generator takes the
 * functions of the level's width from it and inlines them into its loops.
 */
#define TM_MATH_COARSE
#include "runtime/math/math.h"

/* Vectors wider than the level's registers are compiled, never called. */
#pragma clang diagnostic ignored "-Wpsabi"

#pragma clang diagnostic ignored "-Wunused-function"

/* Those that are one expression on any argument; sin and cos are not. */
#define VECTOR_FUNCTIONS(X) \
    X(exp) X(weight) X(log) X(sigmoid) X(tanh) X(erf) X(gelu) \
    X(exp_coarse) X(sigmoid_coarse) X(tanh_coarse) X(gelu_coarse) X(gelu_tanh_coarse)

/* One lane, for targets without vectors, where a vector argument would not be one in the calling convention.
 */
#define EXPORT(op)                   \
    float tm_##op##_f32x1(float x);  \
    float tm_##op##_f32x1(float x) { \
        return tm_##op##_f32(x);     \
    }
VECTOR_FUNCTIONS(EXPORT)
EXPORT(sin)
EXPORT(cos)
#undef EXPORT

#define VECTOR(type, lanes) type __attribute__((ext_vector_type(lanes)))

#define LANES 4
#include "runtime/math/vector_math.inc"
#undef LANES
#define LANES 8
#include "runtime/math/vector_math.inc"
#undef LANES
#define LANES 16
#include "runtime/math/vector_math.inc"
#undef LANES
