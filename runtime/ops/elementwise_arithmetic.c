/* SPDX-License-Identifier: Apache-2.0
 *
 * elementwise_arithmetic.c: Add, Sub, Mul, Div, Mod, PRelu.
 *
 * Integers wrap around, also signed ones: arithmetic happens in an unsigned type and is cut back
 * (int8: 100 + 100 = -56). Integer division rounds towards zero, fails on a zero divisor, and gives
 * the smallest number for smallest / -1. Mod has the divisor's sign (fmod = 0) or the dividend's
 * (fmod = 1). f16 and bf16 are computed in float and rounded once, which is what one rounding of
 * the exact result gives for these operations.
 */
#include "runtime/ops/elementwise.h"

#include "runtime/math/math.h"

/* ---- Add, Sub, Mul ---- */
#define ARITHMETIC_FLOAT(s, S, C)                          \
    TM_BINARY_KERNEL(Add, s, S, C, S, tm_store_##s(a + b)) \
    TM_BINARY_KERNEL(Sub, s, S, C, S, tm_store_##s(a - b)) \
    TM_BINARY_KERNEL(Mul, s, S, C, S, tm_store_##s(a *b))  \
    TM_BINARY_KERNEL(Div, s, S, C, S, tm_store_##s(a / b)) \
    TM_BINARY_KERNEL(PRelu, s, S, C, S, tm_store_##s(a < (C)0 ? a * b : a))
TM_FOR_FLOAT_TYPES(ARITHMETIC_FLOAT)

#define ARITHMETIC_INTEGER(s, S, C)                                          \
    TM_BINARY_KERNEL(Add, s, S, C, S, (TM_UNSIGNED(s))a + (TM_UNSIGNED(s))b) \
    TM_BINARY_KERNEL(Sub, s, S, C, S, (TM_UNSIGNED(s))a - (TM_UNSIGNED(s))b) \
    TM_BINARY_KERNEL(Mul, s, S, C, S, (TM_UNSIGNED(s))a *(TM_UNSIGNED(s))b)
TM_FOR_INTEGER_TYPES(ARITHMETIC_INTEGER)

#define PRELU_SIGNED(s, S, C) \
    TM_BINARY_KERNEL(PRelu, s, S, C, S, a < 0 ? (TM_UNSIGNED(s))a * (TM_UNSIGNED(s))b : (TM_UNSIGNED(s))a)
PRELU_SIGNED(i32, int32_t, int32_t)
PRELU_SIGNED(i64, int64_t, int64_t)
TM_BINARY_KERNEL(PRelu, u32, uint32_t, uint32_t, uint32_t, ((void)b, a))
TM_BINARY_KERNEL(PRelu, u64, uint64_t, uint64_t, uint64_t, ((void)b, a))

/* ---- Div and Mod on integers ---- */

/* Records the failure with the place of the first zero in the divisor. */
#define DIVIDE_BY_ZERO(s, S, C)                                                    \
    static TM_SMALL int32_t divide_by_zero_##s(tm_run *run, const tm_call *call) { \
        const S *divisor = tm_in(run, call, 1)->data;                              \
        int64_t i = 0;                                                             \
        while (divisor[i] != 0)                                                    \
            i++;                                                                   \
        return tm_fail(run, call, TM_RUN_DIVIDE, i, 0);                            \
    }
TM_FOR_INTEGER_TYPES(DIVIDE_BY_ZERO)

/* `result` is an expression of C a, C b with b != 0. */
#define DIVISION_KERNEL(op, name, s, S, C, result)                    \
    static int32_t row_##name##_##s(const tm_row *row) {              \
        const S *x = TM_ROW_IN(row, 0, S), *z = TM_ROW_IN(row, 1, S); \
        S *y = TM_ROW_OUT(row, S);                                    \
        for (int64_t i = 0; i < row->count; i++) {                    \
            C a = x[i * row->step[0]], b = z[i * row->step[1]];       \
            if (b == 0)                                               \
                return TM_RUN_DIVIDE;                                 \
            y[i] = (S)(result);                                       \
        }                                                             \
        return 0;                                                     \
    }
#define DIV_KERNEL(s, S, C)                                             \
    int32_t tm_k_Div_##s(tm_run *run, const tm_call *call) {            \
        int32_t code = tm_elementwise(run, call, 2, row_Div_##s, NULL); \
        return code == 0 ? 0 : divide_by_zero_##s(run, call);           \
    }
#define MOD_KERNEL(s, S, C)                                                                              \
    int32_t tm_k_Mod_##s(tm_run *run, const tm_call *call) {                                             \
        const tm_attrs_Mod *attributes = tm_attributes(call);                                            \
        int32_t code = tm_elementwise(run, call, 2, attributes->fmod ? row_Rem_##s : row_Mod_##s, NULL); \
        return code == 0 ? 0 : divide_by_zero_##s(run, call);                                            \
    }
/* a / -1 and a % -1 are special: the quotient of the smallest number overflows. */
#define DIVISION_SIGNED(s, S, C)                                                                          \
    DIVISION_KERNEL(Div, Div, s, S, C, b == -1 ? (C)((TM_UNSIGNED(s))0 - (TM_UNSIGNED(s))a) : (C)(a / b)) \
    DIVISION_KERNEL(Mod, Rem, s, S, C, b == -1 ? (C)0 : (C)(a % b))                                       \
    DIVISION_KERNEL(Mod, Mod, s, S, C,                                                                    \
                    b == -1 ? (C)0 : (C)((a % b != 0 && ((a % b) < 0) != (b < 0)) ? a % b + b : a % b))   \
    DIV_KERNEL(s, S, C)                                                                                   \
    MOD_KERNEL(s, S, C)
TM_FOR_SIGNED_TYPES(DIVISION_SIGNED)
#define DIVISION_UNSIGNED(s, S, C)                                      \
    DIVISION_KERNEL(Div, Div, s, S, C, a / b)                           \
    DIVISION_KERNEL(Mod, Mod, s, S, C, a % b)                           \
    DIV_KERNEL(s, S, C)                                                 \
    int32_t tm_k_Mod_##s(tm_run *run, const tm_call *call) {            \
        int32_t code = tm_elementwise(run, call, 2, row_Mod_##s, NULL); \
        return code == 0 ? 0 : divide_by_zero_##s(run, call);           \
    }
TM_FOR_UNSIGNED_TYPES(DIVISION_UNSIGNED)

/* ---- Mod on floats ---- */
static inline double floor_mod(double a, double b) {
    double rest = tm_fmod_f64(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
#define MOD_FLOAT(s, S, C)                                                                       \
    TM_BINARY_ROW(row_Rem_##s, s, S, C, S, tm_store_##s((C)tm_fmod_f64((double)a, (double)b)))   \
    TM_BINARY_ROW(row_Mod_##s, s, S, C, S, tm_store_##s((C)floor_mod((double)a, (double)b)))     \
    int32_t tm_k_Mod_##s(tm_run *run, const tm_call *call) {                                     \
        const tm_attrs_Mod *attributes = tm_attributes(call);                                    \
        return tm_elementwise(run, call, 2, attributes->fmod ? row_Rem_##s : row_Mod_##s, NULL); \
    }
TM_FOR_FLOAT_TYPES(MOD_FLOAT)
