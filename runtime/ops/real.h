/* SPDX-License-Identifier: Apache-2.0
 *
 * real.h: single elements of tensors whose element type is looked at when the kernel runs: parameters,
 * masks and statistics that may have another type than the data. Not for inner loops.
 */
#ifndef TM_OPS_REAL_H
#define TM_OPS_REAL_H

#include "runtime/ops/element.h"

static inline double tm_real_get(const tamis_tensor *t, int64_t i) {
    switch (t->type) {
#define GET(s) return (double)tm_get_##s(t->data, i);
    case TAMIS_TYPE_FLOAT:
        GET(f32)
    case TAMIS_TYPE_DOUBLE:
        GET(f64)
    case TAMIS_TYPE_FLOAT16:
        GET(f16)
    case TAMIS_TYPE_BFLOAT16:
        GET(bf16)
    case TAMIS_TYPE_INT8:
        GET(i8)
    case TAMIS_TYPE_INT16:
        GET(i16)
    case TAMIS_TYPE_INT32:
        GET(i32)
    case TAMIS_TYPE_INT64:
        GET(i64)
    case TAMIS_TYPE_UINT8:
    case TAMIS_TYPE_BOOL:
        GET(u8)
    case TAMIS_TYPE_UINT16:
        GET(u16)
    case TAMIS_TYPE_UINT32:
        GET(u32)
    case TAMIS_TYPE_UINT64:
        GET(u64)
#undef GET
    default:
        return 0;
    }
}

/* float types only */
static inline void tm_real_set(const tamis_tensor *t, int64_t i, double value) {
    switch (t->type) {
    case TAMIS_TYPE_FLOAT:
        tm_set_f32(t->data, i, (float)value);
        return;
    case TAMIS_TYPE_DOUBLE:
        tm_set_f64(t->data, i, value);
        return;
    case TAMIS_TYPE_FLOAT16:
        tm_set_f16(t->data, i, (float)value);
        return;
    case TAMIS_TYPE_BFLOAT16:
        tm_set_bf16(t->data, i, (float)value);
        return;
    default:
        return;
    }
}

/* Element i of an integer tensor (or bool). */
static inline int64_t tm_integer_get(const tamis_tensor *t, int64_t i) {
    switch (t->type) {
    case TAMIS_TYPE_INT64:
    case TAMIS_TYPE_UINT64:
        return ((const int64_t *)t->data)[i];
    case TAMIS_TYPE_INT32:
        return ((const int32_t *)t->data)[i];
    case TAMIS_TYPE_UINT32:
        return ((const uint32_t *)t->data)[i];
    case TAMIS_TYPE_INT16:
        return ((const int16_t *)t->data)[i];
    case TAMIS_TYPE_UINT16:
        return ((const uint16_t *)t->data)[i];
    case TAMIS_TYPE_INT8:
        return ((const int8_t *)t->data)[i];
    default:
        return ((const uint8_t *)t->data)[i];
    }
}

/* The offset in `t` of element number i of a tensor with `rank` dims `dims` that t broadcasts to. */
static inline int64_t tm_broadcast_offset(const tamis_tensor *t, int32_t rank, const int64_t *dims,
                                          int64_t i) {
    int64_t offset = 0, step = 1;
    for (int32_t d = 1; d <= rank; d++) {
        int64_t at = i % dims[rank - d];
        i /= dims[rank - d];
        if (d > t->rank)
            break;
        int64_t dim = t->dims[t->rank - d];
        offset += dim == 1 ? 0 : at * step;
        step *= dim;
    }
    return offset;
}

#endif
