/* SPDX-License-Identifier: Apache-2.0
 *
 * cast_any.c: Cast where one side is a rare type: float8, float4, or integers below a byte.
 *
 * One function does all these pairs, block by block through double or int64: the pairs are many, the data
 * are small, and a kernel for each would be most of the library. The kernels' names are aliases of it.
 * Rounding happens once: a double is rounded to odd before it becomes a float that is rounded to nearest.
 */
#include "runtime/ops/cast_any.h"

#define EACH_FLOAT(X)                                                                                        \
    X(FLOAT, f32)                                                                                            \
    X(DOUBLE, f64) X(FLOAT16, f16) X(BFLOAT16, bf16) X(FLOAT8E4M3FN, f8e4m3fn) X(FLOAT8E4M3FNUZ, f8e4m3fnuz) \
        X(FLOAT8E5M2, f8e5m2) X(FLOAT8E5M2FNUZ, f8e5m2fnuz) X(FLOAT8E8M0, f8e8m0) X(FLOAT4E2M1, f4e2m1)
#define EACH_INTEGER(X)                                                                                 \
    X(INT8, i8)                                                                                         \
    X(INT16, i16) X(INT32, i32) X(INT64, i64) X(UINT8, u8) X(UINT16, u16) X(UINT32, u32) X(UINT64, u64) \
        X(BOOL, bool) X(INT4, i4) X(UINT4, u4) X(INT2, i2) X(UINT2, u2)

bool tm_wide_read(tm_wide *wide, int32_t type, const void *data, int64_t at, int64_t count) {
    wide->is_float = false;
    wide->is_unsigned = type == TAMIS_TYPE_UINT64;
    switch (type) {
#define READ(T, s)                                                 \
    case TAMIS_TYPE_##T:                                           \
        for (int64_t i = 0; i < count; i++)                        \
            wide->integers[i] = (int64_t)tm_get_##s(data, at + i); \
        return true;
        EACH_INTEGER(READ)
#undef READ
    default:
        break;
    }
    wide->is_float = true;
    switch (type) {
#define READ(T, s)                                              \
    case TAMIS_TYPE_##T:                                        \
        for (int64_t i = 0; i < count; i++)                     \
            wide->floats[i] = (double)tm_get_##s(data, at + i); \
        return true;
        EACH_FLOAT(READ)
#undef READ
    default:
        return false;
    }
}

static inline double float_of(const tm_wide *wide, int64_t i) {
    if (wide->is_float)
        return wide->floats[i];
    return wide->is_unsigned ? (double)(uint64_t)wide->integers[i] : (double)wide->integers[i];
}

static inline uint8_t round_e8m0(float x, tm_cast_rules rules) {
    bool outside = !(x >= 0x1p-127f); /* zero, negative, NaN, too small */
    return outside && (!rules.saturate || x != x) ? 0xffu : tm_to_f8e8m0(x, rules.saturate, rules.rounding);
}

/* Integers keep their low bits; floats are cut towards zero, then as int64. */
#define WRITE_INTEGER(T, s)                                                                              \
    case TAMIS_TYPE_##T:                                                                                 \
        for (int64_t i = 0; i < count; i++)                                                              \
            tm_set_##s(                                                                                  \
                data, at + i,                                                                            \
                (tm_computed_##s)(wide->is_float ? tm_f64_to_i64(wide->floats[i]) : wide->integers[i])); \
        return true;
#define WRITE_FLOAT(T, conversion)                          \
    case TAMIS_TYPE_##T:                                    \
        for (int64_t i = 0; i < count; i++) {               \
            float x = tm_f64_to_f32_odd(float_of(wide, i)); \
            conversion;                                     \
        }                                                   \
        return true;

bool tm_wide_write(const tm_wide *wide, int32_t type, void *data, int64_t at, int64_t count,
                   tm_cast_rules rules) {
    switch (type) {
        WRITE_INTEGER(INT8, i8)
        WRITE_INTEGER(INT16, i16)
        WRITE_INTEGER(INT32, i32)
        WRITE_INTEGER(INT64, i64)
        WRITE_INTEGER(UINT8, u8)
        WRITE_INTEGER(UINT16, u16)
        WRITE_INTEGER(UINT32, u32)
        WRITE_INTEGER(INT4, i4)
        WRITE_INTEGER(UINT4, u4)
        WRITE_INTEGER(INT2, i2)
        WRITE_INTEGER(UINT2, u2)
    case TAMIS_TYPE_UINT64:
        for (int64_t i = 0; i < count; i++)
            tm_set_u64(data, at + i,
                       wide->is_float ? tm_f64_to_u64(wide->floats[i]) : (uint64_t)wide->integers[i]);
        return true;
    case TAMIS_TYPE_BOOL:
        for (int64_t i = 0; i < count; i++)
            tm_set_bool(data, at + i, wide->is_float ? wide->floats[i] != 0 : wide->integers[i] != 0);
        return true;
    case TAMIS_TYPE_DOUBLE:
        for (int64_t i = 0; i < count; i++)
            tm_set_f64(data, at + i, float_of(wide, i));
        return true;
    case TAMIS_TYPE_FLOAT:
        for (int64_t i = 0; i < count; i++)
            tm_set_f32(data, at + i, (float)float_of(wide, i));
        return true;
        WRITE_FLOAT(FLOAT16, tm_set_f16(data, at + i, x))
        WRITE_FLOAT(BFLOAT16, tm_set_bf16(data, at + i, x))
        WRITE_FLOAT(FLOAT8E4M3FN, ((uint8_t *)data)[at + i] = tm_to_f8e4m3fn(x, rules.saturate))
        WRITE_FLOAT(FLOAT8E4M3FNUZ, ((uint8_t *)data)[at + i] = tm_to_f8e4m3fnuz(x, rules.saturate))
        WRITE_FLOAT(FLOAT8E5M2, ((uint8_t *)data)[at + i] = tm_to_f8e5m2(x, rules.saturate))
        WRITE_FLOAT(FLOAT8E5M2FNUZ, ((uint8_t *)data)[at + i] = tm_to_f8e5m2fnuz(x, rules.saturate))
        WRITE_FLOAT(FLOAT8E8M0, ((uint8_t *)data)[at + i] = round_e8m0(x, rules))
        WRITE_FLOAT(FLOAT4E2M1, tm_set_u4(data, at + i, x != x ? 8 : tm_code_f4e2m1(x)))
    default:
        return false;
    }
}

tm_cast_rules tm_cast_rules_of(const tm_call *call) {
    const tm_attrs_Cast *attributes = tm_attributes(call);
    bool down = tm_is(attributes, attributes->round_mode, "down");
    bool nearest = tm_is(attributes, attributes->round_mode, "nearest");
    return (tm_cast_rules){attributes->saturate != 0, down      ? TM_E8M0_DOWN
                                                      : nearest ? TM_E8M0_NEAREST
                                                                : TM_E8M0_UP};
}

typedef struct job {
    const tamis_tensor *in, *out;
    tm_cast_rules rules;
} job;

static int32_t cast_range(void *argument, int64_t begin, int64_t end) {
    const job *work = argument;
    tm_wide wide;
    for (int64_t at = begin; at < end; at += TM_WIDE_BLOCK) {
        int64_t count = end - at < TM_WIDE_BLOCK ? end - at : TM_WIDE_BLOCK;
        if (!tm_wide_read(&wide, work->in->type, work->in->data, at, count) ||
            !tm_wide_write(&wide, work->out->type, work->out->data, at, count, work->rules))
            return TM_RUN_UNSUPPORTED;
    }
    return 0;
}

int32_t tm_cast_any(tm_run *run, const tm_call *call);
int32_t tm_cast_any(tm_run *run, const tm_call *call) {
    job work = {tm_in(run, call, 0), tm_out(run, call, 0), tm_cast_rules_of(call)};
    int32_t code = tm_parallel(run, tm_count(work.in), 16384, cast_range, &work);
    return code == 0 ? 0 : tm_fail(run, call, TM_RUN_TYPES, work.in->type, work.out->type);
}

#define ALIAS(from, to)                                                                                      \
    int32_t tm_k_Cast_##from##_##to(tm_run *run, const tm_call *call) __attribute__((alias("tm_cast_any"))); \
    int32_t tm_k_CastLike_##from##_##to(tm_run *run, const tm_call *call)                                    \
        __attribute__((alias("tm_cast_any")));
#define WITH_COMMON(rare)                                                                                    \
    ALIAS(rare, f32)                                                                                         \
    ALIAS(f32, rare) ALIAS(rare, f64) ALIAS(f64, rare) ALIAS(rare, f16) ALIAS(f16, rare) ALIAS(rare, bf16)   \
        ALIAS(bf16, rare) ALIAS(rare, i8) ALIAS(i8, rare) ALIAS(rare, i16) ALIAS(i16, rare) ALIAS(rare, i32) \
            ALIAS(i32, rare) ALIAS(rare, i64) ALIAS(i64, rare) ALIAS(rare, u8) ALIAS(u8, rare)               \
                ALIAS(rare, u16) ALIAS(u16, rare) ALIAS(rare, u32) ALIAS(u32, rare) ALIAS(rare, u64)         \
                    ALIAS(u64, rare) ALIAS(rare, bool) ALIAS(bool, rare)
#define TO_RARE(from)                                                                       \
    ALIAS(from, f8e4m3fn)                                                                   \
    ALIAS(from, f8e4m3fnuz) ALIAS(from, f8e5m2) ALIAS(from, f8e5m2fnuz) ALIAS(from, f8e8m0) \
        ALIAS(from, f4e2m1) ALIAS(from, i4) ALIAS(from, u4) ALIAS(from, i2) ALIAS(from, u2)
#define RARE(s) WITH_COMMON(s) TO_RARE(s)
RARE(f8e4m3fn)
RARE(f8e4m3fnuz)
RARE(f8e5m2)
RARE(f8e5m2fnuz)
RARE(f8e8m0)
RARE(f4e2m1)
RARE(i4)
RARE(u4)
RARE(i2)
RARE(u2)
