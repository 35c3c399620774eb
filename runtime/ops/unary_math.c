/* SPDX-License-Identifier: Apache-2.0
 *
 * unary_math.c: functions of one input that use runtime/math/: exponentials, logarithms, angles, and smooth
 * activations.
 *
 * sin and cos of floats have a form without branches for all but huge arguments. A block is computed
 * with it when none of its arguments is huge, so that the common case vectorises.
 */
#include "runtime/ops/unary.h"

#define FUNCTION(op, name, s, S, C) TM_UNARY_KERNEL(op, s, S, C, S, tm_store_##s(TM_MATH(s, name)(a)))

#define FUNCTIONS(s, S, C)                \
    FUNCTION(Exp, exp, s, S, C)           \
    FUNCTION(Log, log, s, S, C)           \
    FUNCTION(Tan, tan, s, S, C)           \
    FUNCTION(Asin, asin, s, S, C)         \
    FUNCTION(Acos, acos, s, S, C)         \
    FUNCTION(Atan, atan, s, S, C)         \
    FUNCTION(Sinh, sinh, s, S, C)         \
    FUNCTION(Cosh, cosh, s, S, C)         \
    FUNCTION(Tanh, tanh, s, S, C)         \
    FUNCTION(Asinh, asinh, s, S, C)       \
    FUNCTION(Acosh, acosh, s, S, C)       \
    FUNCTION(Atanh, atanh, s, S, C)       \
    FUNCTION(Erf, erf, s, S, C)           \
    FUNCTION(Sigmoid, sigmoid, s, S, C)   \
    FUNCTION(Softplus, softplus, s, S, C) \
    FUNCTION(Mish, mish, s, S, C)
TM_FOR_FLOAT_TYPES(FUNCTIONS)

#define ACTIVATIONS(s, S, C)                                                                                \
    TM_UNARY_KERNEL(Elu, s, S, C, S, tm_store_##s(a < 0 ? (C)attributes->alpha * TM_MATH(s, expm1)(a) : a)) \
    TM_UNARY_KERNEL(                                                                                        \
        Selu, s, S, C, S,                                                                                   \
        tm_store_##s((C)attributes->gamma *(a < 0 ? (C)attributes->alpha * TM_MATH(s, expm1)(a) : a)))      \
    TM_UNARY_KERNEL(                                                                                        \
        Celu, s, S, C, S,                                                                                   \
        tm_store_##s(a < 0 ? (C)attributes->alpha * TM_MATH(s, expm1)(a / (C)attributes->alpha) : a))       \
    TM_UNARY_KERNEL(Swish, s, S, C, S, tm_store_##s(a *TM_MATH(s, sigmoid)(a * (C)attributes->alpha)))
TM_FOR_FLOAT_TYPES(ACTIVATIONS)

/* ---- Gelu: by erf, or approximately by tanh ---- */
#define GELU_ROW(form, s, S, C)                                \
    static int32_t row_##form##_##s(const tm_row *row) {       \
        const S *x = TM_ROW_IN(row, 0, S);                     \
        S *y = TM_ROW_OUT(row, S);                             \
        int64_t n = row->count;                                \
        TM_ROW_LOOP for (int64_t i = 0; i < n; i++) y[i] =     \
            tm_store_##s(TM_MATH(s, form)(tm_load_##s(x[i]))); \
        return 0;                                              \
    }
#define GELU(s, S, C)                                                                        \
    GELU_ROW(gelu, s, S, C)                                                                  \
    GELU_ROW(gelu_tanh, s, S, C)                                                             \
    int32_t tm_k_Gelu_##s(tm_run *run, const tm_call *call) {                                \
        const tm_attrs_Gelu *attributes = tm_attributes(call);                               \
        bool approximate = tm_is(attributes, attributes->approximate, "tanh");               \
        return tm_unary(run, call, 0, approximate ? row_gelu_tanh_##s : row_gelu_##s, NULL); \
    }
TM_FOR_FLOAT_TYPES(GELU)

/* ---- Sin, Cos ---- */
#define BLOCK 256
#define ANGLE(op, name, s, S)                                                \
    static int32_t row_##op##_##s(const tm_row *row) {                       \
        const S *x = TM_ROW_IN(row, 0, S);                                   \
        S *y = TM_ROW_OUT(row, S);                                           \
        for (int64_t at = 0; at < row->count; at += BLOCK) {                 \
            int64_t end = row->count - at < BLOCK ? row->count : at + BLOCK; \
            uint32_t huge = 0;                                               \
            for (int64_t i = at; i < end; i++)                               \
                huge |= tm_abs_f32(tm_load_##s(x[i])) > TM_REDUCE_LIMIT_F32; \
            if (huge == 0) {                                                 \
                TM_ROW_LOOP for (int64_t i = at; i < end; i++) y[i] =        \
                    tm_store_##s(tm_##name##_small_f32(tm_load_##s(x[i])));  \
            } else {                                                         \
                for (int64_t i = at; i < end; i++)                           \
                    y[i] = tm_store_##s(tm_##name##_f32(tm_load_##s(x[i]))); \
            }                                                                \
        }                                                                    \
        return 0;                                                            \
    }                                                                        \
    int32_t tm_k_##op##_##s(tm_run *run, const tm_call *call) {              \
        return tm_unary(run, call, 0, row_##op##_##s, NULL);                 \
    }
ANGLE(Sin, sin, f32, float)
ANGLE(Cos, cos, f32, float)
ANGLE(Sin, sin, f16, uint16_t)
ANGLE(Cos, cos, f16, uint16_t)
ANGLE(Sin, sin, bf16, uint16_t)
ANGLE(Cos, cos, bf16, uint16_t)
FUNCTION(Sin, sin, f64, double, double)
FUNCTION(Cos, cos, f64, double, double)
