/* SPDX-License-Identifier: Apache-2.0
 *
 * elementwise_pow.c: Pow, whose exponent may have another type than its base.
 *
 * The kernel is chosen by the base's type. Exponents are read in blocks as double, or as int64 where
 * base and exponent are integers. Integer powers wrap around like products; a negative exponent of an
 * integer gives what division would: 0, but for bases 1 and -1. Square is a product, since models write
 * x^2 that way and a product is exact to half a unit.
 */
#include "runtime/ops/elementwise.h"

#include "runtime/math/math.h"

#define BLOCK 256

typedef struct exponent_info {
    int32_t type;
} exponent_info;

static bool is_float(int32_t type) {
    return type == TAMIS_TYPE_FLOAT || type == TAMIS_TYPE_DOUBLE || type == TAMIS_TYPE_FLOAT16 ||
           type == TAMIS_TYPE_BFLOAT16;
}

#define LOAD_CASE(T, s)                                   \
    case TAMIS_TYPE_##T:                                  \
        for (int64_t i = 0; i < count; i++)               \
            to[i] = (OUT)tm_get_##s(data, at + i * step); \
        break;
#define LOAD_INTEGERS                                                                      \
    LOAD_CASE(INT8, i8)                                                                    \
    LOAD_CASE(INT16, i16) LOAD_CASE(INT32, i32) LOAD_CASE(INT64, i64) LOAD_CASE(UINT8, u8) \
        LOAD_CASE(UINT16, u16) LOAD_CASE(UINT32, u32) LOAD_CASE(UINT64, u64)

static TM_SMALL void load_doubles(int32_t type, const void *data, int64_t at, int64_t step, int64_t count,
                                  double *to) {
#define OUT double
    switch (type) {
        LOAD_CASE(FLOAT, f32)
        LOAD_CASE(DOUBLE, f64) LOAD_CASE(FLOAT16, f16) LOAD_CASE(BFLOAT16, bf16) LOAD_INTEGERS default
            : break;
    }
#undef OUT
}

static TM_SMALL void load_integers(int32_t type, const void *data, int64_t at, int64_t step, int64_t count,
                                   int64_t *to) {
#define OUT int64_t
    switch (type) {
        LOAD_INTEGERS
    default:
        break;
    }
#undef OUT
}

static int64_t integer_power(int64_t base, int64_t exponent) {
    uint64_t result = 1, square = (uint64_t)base;
    if (exponent < 0)
        return base == 1 ? 1 : base == -1 ? (exponent & 1 ? -1 : 1) : 0;
    for (; exponent > 0; exponent >>= 1) {
        if (exponent & 1)
            result *= square;
        square *= square;
    }
    return (int64_t)result;
}

#define POW_f32(a, e) (float)tm_pow_fast_f64((double)(a), e)
#define POW_f16(a, e) (float)tm_pow_fast_f64((double)(a), e)
#define POW_bf16(a, e) (float)tm_pow_fast_f64((double)(a), e)
#define POW_f64(a, e) tm_pow_f64(a, e)

#define POW_FLOAT(s, S, C)                                                                            \
    static int32_t row_pow_##s(const tm_row *row) {                                                   \
        const exponent_info *info = row->context;                                                     \
        const S *x = TM_ROW_IN(row, 0, S);                                                            \
        S *y = TM_ROW_OUT(row, S);                                                                    \
        double exponents[BLOCK];                                                                      \
        int64_t n = row->count;                                                                       \
        load_doubles(info->type, row->in[1], row->at[1], 0, 1, exponents);                            \
        if (row->step[1] == 0 && exponents[0] == 2.0) {                                               \
            TM_ROW_LOOP for (int64_t i = 0; i < n; i++) {                                             \
                C a = tm_load_##s(x[i * row->step[0]]);                                               \
                y[i] = tm_store_##s(a * a);                                                           \
            }                                                                                         \
            return 0;                                                                                 \
        }                                                                                             \
        for (int64_t at = 0; at < n; at += BLOCK) {                                                   \
            int64_t count = n - at < BLOCK ? n - at : BLOCK;                                          \
            load_doubles(info->type, row->in[1], row->at[1] + at * row->step[1], row->step[1], count, \
                         exponents);                                                                  \
            TM_ROW_LOOP for (int64_t i = 0; i < count; i++) {                                         \
                C a = tm_load_##s(x[(at + i) * row->step[0]]);                                        \
                y[at + i] = tm_store_##s(POW_##s(a, exponents[i]));                                   \
            }                                                                                         \
        }                                                                                             \
        return 0;                                                                                     \
    }                                                                                                 \
    int32_t tm_k_Pow_##s(tm_run *run, const tm_call *call) {                                          \
        exponent_info info = {tm_in(run, call, 1)->type};                                             \
        return tm_elementwise(run, call, 2, row_pow_##s, &info);                                      \
    }
TM_FOR_FLOAT_TYPES(POW_FLOAT)

#define POW_INTEGER(s, S, C)                                                                               \
    static int32_t row_pow_##s(const tm_row *row) {                                                        \
        const exponent_info *info = row->context;                                                          \
        const S *x = TM_ROW_IN(row, 0, S);                                                                 \
        S *y = TM_ROW_OUT(row, S);                                                                         \
        for (int64_t i = 0; i < row->count; i++) {                                                         \
            int64_t exponent;                                                                              \
            load_integers(info->type, row->in[1], row->at[1] + i * row->step[1], 0, 1, &exponent);         \
            y[i] = (S)integer_power(x[i * row->step[0]], exponent);                                        \
        }                                                                                                  \
        return 0;                                                                                          \
    }                                                                                                      \
    static int32_t row_pow_float_##s(const tm_row *row) {                                                  \
        const exponent_info *info = row->context;                                                          \
        const S *x = TM_ROW_IN(row, 0, S);                                                                 \
        S *y = TM_ROW_OUT(row, S);                                                                         \
        for (int64_t i = 0; i < row->count; i++) {                                                         \
            double exponent;                                                                               \
            load_doubles(info->type, row->in[1], row->at[1] + i * row->step[1], 0, 1, &exponent);          \
            y[i] = tm_f64_to_##s(tm_pow_f64((double)x[i * row->step[0]], exponent));                       \
        }                                                                                                  \
        return 0;                                                                                          \
    }                                                                                                      \
    int32_t tm_k_Pow_##s(tm_run *run, const tm_call *call) {                                               \
        exponent_info info = {tm_in(run, call, 1)->type};                                                  \
        return tm_elementwise(run, call, 2, is_float(info.type) ? row_pow_float_##s : row_pow_##s, &info); \
    }
POW_INTEGER(i32, int32_t, int32_t)
POW_INTEGER(i64, int64_t, int64_t)
