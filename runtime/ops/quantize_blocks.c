/* SPDX-License-Identifier: Apache-2.0
 *
 * quantize_blocks.c: the layout of scales and the conversion of blocks to and from float; see quantize.h.
 *
 * Kernels work on blocks of 256 elements in the first-level cache: one loop to load, one to compute, one to
 * store. Each loop knows its type and vectorises, and the number of loops is the sum of the types of
 * data, scale and zero point instead of their product.
 */
#include "runtime/ops/quantize.h"

tm_scale_layout tm_scale_layout_of(const tamis_tensor *x, const tamis_tensor *scale, int64_t axis,
                                   int64_t block) {
    tm_scale_layout layout = {1, 1, block, true};
    if (tm_count(scale) == 1 || x->rank == 0)
        return layout;
    int32_t own = (int32_t)(axis < 0 ? axis + x->rank : axis);
    layout.per_tensor = false;
    layout.dim = x->dims[own];
    layout.inner = tm_product(x->dims, own + 1, x->rank);
    return layout;
}

tm_scale_run tm_scale_run_at(const tm_scale_layout *layout, int64_t at, int64_t end) {
    tm_scale_run run = {end - at, 0, 0};
    if (!layout->per_tensor) {
        int64_t inside = at % layout->inner, row = at / layout->inner;
        int64_t position = row % layout->dim, outer = row / layout->dim;
        int64_t left = layout->inner - inside;
        if (layout->block == 0) {
            run.index = position;
            run.step = layout->inner == 1;
            left = layout->inner == 1 ? layout->dim - position : left;
        } else {
            int64_t blocks = (layout->dim + layout->block - 1) / layout->block;
            run.index = (outer * blocks + position / layout->block) * layout->inner + inside;
            run.step = layout->inner != 1;
            int64_t in_block = layout->block - position % layout->block;
            int64_t in_axis = layout->dim - position;
            left = layout->inner != 1 ? left : in_block < in_axis ? in_block : in_axis;
        }
        run.count = left < run.count ? left : run.count;
    }
    run.count = run.count < TM_QUANTIZE_BLOCK ? run.count : TM_QUANTIZE_BLOCK;
    return run;
}

/* With step 0 one element is converted and repeated. */
#define READ(T, s, OUT)                            \
    case TAMIS_TYPE_##T:                           \
        for (int64_t i = 0; i < distinct; i++)     \
            to[i] = (OUT)tm_get_##s(data, at + i); \
        break;

bool tm_read_floats(float *to, int32_t type, const void *data, int64_t at, int64_t step, int64_t count) {
    int64_t distinct = step == 0 ? 1 : count;
    switch (type) {
        READ(FLOAT, f32, float)
        READ(FLOAT16, f16, float)
        READ(BFLOAT16, bf16, float)
        READ(INT32, i32, float)
        READ(FLOAT8E4M3FN, f8e4m3fn, float)
        READ(FLOAT8E4M3FNUZ, f8e4m3fnuz, float)
        READ(FLOAT8E5M2, f8e5m2, float)
        READ(FLOAT8E5M2FNUZ, f8e5m2fnuz, float)
        READ(FLOAT8E8M0, f8e8m0, float)
        READ(FLOAT4E2M1, f4e2m1, float)
    default:
        return false;
    }
    for (int64_t i = distinct; i < count; i++)
        to[i] = to[0];
    return true;
}

bool tm_read_integers(int32_t *to, int32_t type, const void *data, int64_t at, int64_t step, int64_t count) {
    int64_t distinct = step == 0 ? 1 : count;
    switch (type) {
        READ(UINT8, u8, int32_t)
        READ(INT8, i8, int32_t)
        READ(UINT16, u16, int32_t)
        READ(INT16, i16, int32_t)
        READ(INT32, i32, int32_t)
        READ(UINT4, u4, int32_t)
        READ(INT4, i4, int32_t)
        READ(UINT2, u2, int32_t)
        READ(INT2, i2, int32_t)
    default:
        return false;
    }
    for (int64_t i = distinct; i < count; i++)
        to[i] = to[0];
    return true;
}

bool tm_write_floats(const float *from, int32_t type, void *data, int64_t at, int64_t count) {
    switch (type) {
#define WRITE(T, s)                            \
    case TAMIS_TYPE_##T:                       \
        for (int64_t i = 0; i < count; i++)    \
            tm_set_##s(data, at + i, from[i]); \
        return true;
        WRITE(FLOAT, f32)
        WRITE(FLOAT16, f16)
        WRITE(BFLOAT16, bf16)
#undef WRITE
    default:
        return false;
    }
}
