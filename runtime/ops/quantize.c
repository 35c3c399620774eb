/* SPDX-License-Identifier: Apache-2.0
 *
 * quantize.c: QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear, DynamicScale.
 *
 *     quantize    y = saturate(round_half_even(x / scale) + zero)
 *     dequantize  y = (x - zero) * scale
 *
 * The quotient is a division in the scale's precision (or in that of the attribute `precision`): a product
 * with a reciprocal may differ by one at ties, and every engine must give the same integer.
 * DynamicQuantizeLinear, which knows the range of its quotients, multiplies where none of a block is near a
 * tie, and so divides seldom.
 */
#include "runtime/ops/quantize.h"

#include "runtime/math/math.h"

typedef struct job {
    const tamis_tensor *x, *scale, *zero, *y;
    tm_scale_layout layout;
    int32_t precision; /* type of the quotient */
    bool saturate;
} job;

/* Quotients into integers of the range low..high: NaN becomes low. */
static void round_and_clamp(float *values, const float *zeros, float low, float high, int64_t count) {
    TM_ROW_LOOP for (int64_t i = 0; i < count; i++) {
        float v = tm_round_even_f32(values[i]) + zeros[i];
        v = v > low ? v : low;
        values[i] = v < high ? v : high;
    }
}

static bool store_quantized(float *values, const float *zeros, const job *work, int64_t at, int64_t count) {
    void *data = work->y->data;
    switch (work->y->type) {
#define STORE_INTEGER(T, s, low, high)                                     \
    case TAMIS_TYPE_##T:                                                   \
        round_and_clamp(values, zeros, low, high, count);                  \
        for (int64_t i = 0; i < count; i++)                                \
            tm_set_##s(data, at + i, (tm_computed_##s)(int32_t)values[i]); \
        return true;
#define STORE_FLOAT(T, conversion)            \
    case TAMIS_TYPE_##T:                      \
        for (int64_t i = 0; i < count; i++) { \
            float v = values[i] + zeros[i];   \
            conversion;                       \
        }                                     \
        return true;
        STORE_INTEGER(UINT8, u8, 0, 255)
        STORE_INTEGER(INT8, i8, -128, 127)
        STORE_INTEGER(UINT16, u16, 0, 65535)
        STORE_INTEGER(INT16, i16, -32768, 32767)
        STORE_INTEGER(UINT4, u4, 0, 15)
        STORE_INTEGER(INT4, i4, -8, 7)
        STORE_INTEGER(UINT2, u2, 0, 3)
        STORE_INTEGER(INT2, i2, -2, 1)
        STORE_FLOAT(FLOAT8E4M3FN, ((uint8_t *)data)[at + i] = tm_to_f8e4m3fn(v, work->saturate))
        STORE_FLOAT(FLOAT8E4M3FNUZ, ((uint8_t *)data)[at + i] = tm_to_f8e4m3fnuz(v, work->saturate))
        STORE_FLOAT(FLOAT8E5M2, ((uint8_t *)data)[at + i] = tm_to_f8e5m2(v, work->saturate))
        STORE_FLOAT(FLOAT8E5M2FNUZ, ((uint8_t *)data)[at + i] = tm_to_f8e5m2fnuz(v, work->saturate))
        STORE_FLOAT(FLOAT4E2M1, tm_set_f4e2m1(data, at + i, v))
    default:
        return false;
    }
}

/* Zero points as float: 16 bits are exact. */
static bool read_zeros(float *to, const tamis_tensor *zero, const tm_scale_run *run) {
    int32_t integers[TM_QUANTIZE_BLOCK];
    if (zero == NULL) {
        for (int64_t i = 0; i < run->count; i++)
            to[i] = 0;
        return true;
    }
    if (!tm_read_integers(integers, zero->type, zero->data, run->index, run->step, run->count))
        return tm_read_floats(to, zero->type, zero->data, run->index, run->step, run->count);
    for (int64_t i = 0; i < run->count; i++)
        to[i] = (float)integers[i];
    return true;
}

static void divide(float *values, const float *scales, int32_t precision, int64_t count) {
    TM_ROW_LOOP for (int64_t i = 0; i < count; i++) values[i] = values[i] / scales[i];
    if (precision == TAMIS_TYPE_FLOAT16)
        for (int64_t i = 0; i < count; i++)
            values[i] = tm_load_f16(tm_store_f16(values[i]));
    if (precision == TAMIS_TYPE_BFLOAT16)
        for (int64_t i = 0; i < count; i++)
            values[i] = tm_load_bf16(tm_store_bf16(values[i]));
}

static int32_t quantize_range(void *argument, int64_t begin, int64_t end) {
    const job *work = argument;
    float values[TM_QUANTIZE_BLOCK], scales[TM_QUANTIZE_BLOCK], zeros[TM_QUANTIZE_BLOCK];
    for (int64_t at = begin; at < end;) {
        tm_scale_run run = tm_scale_run_at(&work->layout, at, end);
        if (!tm_read_floats(values, work->x->type, work->x->data, at, 1, run.count) ||
            !tm_read_floats(scales, work->scale->type, work->scale->data, run.index, run.step, run.count) ||
            !read_zeros(zeros, work->zero, &run))
            return TM_RUN_UNSUPPORTED;
        divide(values, scales, work->precision, run.count);
        if (!store_quantized(values, zeros, work, at, run.count))
            return TM_RUN_UNSUPPORTED;
        at += run.count;
    }
    return 0;
}

int32_t tm_k_QuantizeLinear(tm_run *run, const tm_call *call) {
    const tm_attrs_QuantizeLinear *attributes = tm_attributes(call);
    job work = {.x = tm_in(run, call, 0), .scale = tm_in(run, call, 1), .zero = tm_in(run, call, 2)};
    work.y = tm_out(run, call, 0);
    work.layout = tm_scale_layout_of(work.x, work.scale, attributes->axis, attributes->block_size);
    work.precision = attributes->precision != 0 ? (int32_t)attributes->precision : work.scale->type;
    work.saturate = attributes->saturate != 0;
    int32_t code = tm_parallel(run, tm_count(work.x), TM_ELEMENTWISE_GRAIN, quantize_range, &work);
    return code == 0 ? 0 : tm_fail(run, call, TM_RUN_TYPES, work.x->type, work.y->type);
}

/* ---- dequantize ---- */

/* x - zero: in integers where they are, so that int32 data lose nothing. */
static bool read_differences(float *to, const job *work, int64_t at, const tm_scale_run *run) {
    int32_t integers[TM_QUANTIZE_BLOCK], zeros[TM_QUANTIZE_BLOCK];
    if (tm_read_integers(integers, work->x->type, work->x->data, at, 1, run->count)) {
        if (work->zero != NULL) {
            if (!tm_read_integers(zeros, work->zero->type, work->zero->data, run->index, run->step,
                                  run->count))
                return false;
            for (int64_t i = 0; i < run->count; i++)
                integers[i] = (int32_t)((uint32_t)integers[i] - (uint32_t)zeros[i]);
        }
        for (int64_t i = 0; i < run->count; i++)
            to[i] = (float)integers[i];
        return true;
    }
    float float_zeros[TM_QUANTIZE_BLOCK];
    if (!tm_read_floats(to, work->x->type, work->x->data, at, 1, run->count) ||
        !read_zeros(float_zeros, work->zero, run))
        return false;
    for (int64_t i = 0; i < run->count; i++)
        to[i] -= float_zeros[i];
    return true;
}

static int32_t dequantize_range(void *argument, int64_t begin, int64_t end) {
    const job *work = argument;
    float values[TM_QUANTIZE_BLOCK], scales[TM_QUANTIZE_BLOCK];
    for (int64_t at = begin; at < end;) {
        tm_scale_run run = tm_scale_run_at(&work->layout, at, end);
        if (!read_differences(values, work, at, &run) ||
            !tm_read_floats(scales, work->scale->type, work->scale->data, run.index, run.step, run.count))
            return TM_RUN_UNSUPPORTED;
        TM_ROW_LOOP for (int64_t i = 0; i < run.count; i++) values[i] *= scales[i];
        if (!tm_write_floats(values, work->y->type, work->y->data, at, run.count))
            return TM_RUN_UNSUPPORTED;
        at += run.count;
    }
    return 0;
}

int32_t tm_k_DequantizeLinear(tm_run *run, const tm_call *call) {
    const tm_attrs_DequantizeLinear *attributes = tm_attributes(call);
    job work = {.x = tm_in(run, call, 0), .scale = tm_in(run, call, 1), .zero = tm_in(run, call, 2)};
    work.y = tm_out(run, call, 0);
    work.layout = tm_scale_layout_of(work.x, work.scale, attributes->axis, attributes->block_size);
    int32_t code = tm_parallel(run, tm_count(work.x), TM_ELEMENTWISE_GRAIN, dequantize_range, &work);
    return code == 0 ? 0 : tm_fail(run, call, TM_RUN_TYPES, work.x->type, work.y->type);
}

/* ---- dynamic ---- */

#define LANES 16
static void find_range_of(const float *x, int64_t count, float *out_low, float *out_high) {
    float low[LANES] = {0}, high[LANES] = {0}; /* the range includes zero */
    int64_t whole = count - count % LANES;
    for (int64_t i = 0; i < whole; i += LANES)
        for (int k = 0; k < LANES; k++) {
            low[k] = x[i + k] < low[k] ? x[i + k] : low[k];
            high[k] = x[i + k] > high[k] ? x[i + k] : high[k];
        }
    for (int64_t i = whole; i < count; i++) {
        low[0] = x[i] < low[0] ? x[i] : low[0];
        high[0] = x[i] > high[0] ? x[i] : high[0];
    }
    for (int k = 1; k < LANES; k++) {
        low[0] = low[k] < low[0] ? low[k] : low[0];
        high[0] = high[k] > high[0] ? high[k] : high[0];
    }
    *out_low = low[0];
    *out_high = high[0];
}

/* Parts of a large tensor, each with a range of its own. */
#define PARTS 64
#define PART_LEAST 16384
typedef struct range_job {
    const float *x;
    int64_t count, part;
    float low[PARTS], high[PARTS];
} range_job;

static int32_t part_ranges(void *argument, int64_t begin, int64_t end) {
    range_job *work = argument;
    for (int64_t i = begin; i < end; i++) {
        const int64_t from = i * work->part, rest = work->count - from;
        find_range_of(work->x + from, rest < work->part ? rest : work->part, &work->low[i], &work->high[i]);
    }
    return 0;
}

/* Widens the range to what x has. */
static int32_t find_range(tm_run *run, const tamis_tensor *x, float *low, float *high) {
    range_job work = {.x = x->data, .count = tm_count(x)};
    work.part = work.count / PARTS + 1 < PART_LEAST ? PART_LEAST : work.count / PARTS + 1;
    const int64_t parts = (work.count + work.part - 1) / work.part;
    int32_t code = tm_parallel(run, parts, TM_ELEMENTWISE_GRAIN / work.part + 1, part_ranges, &work);
    for (int64_t i = 0; i < parts; i++) {
        *low = work.low[i] < *low ? work.low[i] : *low;
        *high = work.high[i] > *high ? work.high[i] : *high;
    }
    return code;
}

/* The scale covers low..high, which include 0, with 255 steps; the zero point is the integer of 0. */
static void cover(float low, float high, float *out_scale, float *out_zero) {
    *out_scale = high == low ? 1.0f : (high - low) / 255.0f;
    *out_zero = tm_round_even_f32(tm_clamp_f32(-low / *out_scale, 0, 255));
}

typedef struct dynamic_job {
    const float *x;
    uint8_t *y;
    float scale, zero;
    float inverse; /* 0: divide */
} dynamic_job;

static uint8_t dynamic_byte(float quotient, float zero) {
    float v = tm_round_even_f32(quotient) + zero;
    v = v > 0 ? v : 0;
    return (uint8_t)(int32_t)(v < 255 ? v : 255);
}

/* Returns whether a quotient lies so near to a tie that the product with the inverse may round to its other
 * side: quotients are below 256, so the two differ by less than 256 * 2^-22. */
static bool multiply_block(const dynamic_job *work, int64_t at, int64_t count) {
    const float *x = work->x + at;
    uint8_t *y = work->y + at;
    float inverse = work->inverse, zero = work->zero;
    int32_t near = 0;
    TM_ROW_LOOP for (int64_t i = 0; i < count; i++) {
        float v = x[i] * inverse, apart = v - tm_round_even_f32(v);
        near |= apart > 0.4999f || apart < -0.4999f ? 1 : 0;
        y[i] = dynamic_byte(v, zero);
    }
    return near != 0;
}

static int32_t dynamic_range(void *argument, int64_t begin, int64_t end) {
    const dynamic_job *work = argument;
    float scale = work->scale, zero = work->zero;
    for (int64_t at = begin; at < end; at += TM_QUANTIZE_BLOCK) {
        int64_t stop = end - at < TM_QUANTIZE_BLOCK ? end : at + TM_QUANTIZE_BLOCK;
        if (work->inverse != 0 && !multiply_block(work, at, stop - at))
            continue;
        TM_ROW_LOOP for (int64_t i = at; i < stop; i++) work->y[i] = dynamic_byte(work->x[i] / scale, zero);
    }
    return 0;
}

int32_t tm_k_DynamicQuantizeLinear(tm_run *run, const tm_call *call) {
    const tamis_tensor *x = tm_in(run, call, 0);
    dynamic_job work = {.x = x->data, .y = tm_out(run, call, 0)->data};
    float low = 0, high = 0;
    int32_t code = find_range(run, x, &low, &high);
    if (code != 0)
        return code;
    cover(low, high, &work.scale, &work.zero);
    if (work.scale > 1e-30f && work.scale < 1e30f)
        work.inverse = 1 / work.scale;
    tm_set_f32(tm_out(run, call, 1)->data, 0, work.scale);
    tm_set_u8(tm_out(run, call, 2)->data, 0, (uint8_t)work.zero);
    return tm_parallel(run, tm_count(x), TM_ELEMENTWISE_GRAIN, dynamic_range, &work);
}

/* The inverse of a subnormal scale is the largest number: nothing times it is NaN. */
int32_t tm_k_DynamicScale(tm_run *run, const tm_call *call) {
    float low = 0, high = 0, scale, zero;
    for (int32_t i = 0; i < call->n_in; i++) {
        int32_t code = find_range(run, tm_in(run, call, i), &low, &high);
        if (code != 0)
            return code;
    }
    cover(low, high, &scale, &zero);
    const float inverse = 1.0f / scale;
    tm_set_f32(tm_out(run, call, 0)->data, 0, scale);
    tm_set_u8(tm_out(run, call, 1)->data, 0, (uint8_t)zero);
    tm_set_f32(tm_out(run, call, 2)->data, 0, inverse <= 0x1.fffffep127f ? inverse : 0x1.fffffep127f);
    return 0;
}
