/* SPDX-License-Identifier: Apache-2.0
 *
 * vision_sample.c: GridSample and AffineGrid.
 *
 * GridSample reads the input at a position that the grid gives for each output element, in -1..1 along
 * each axis, the last axis first. Interpolation is a product over axes: 1, 2 or 4 taps each for nearest,
 * linear and cubic, so a point is a short list of offsets and weights that all channels share.
 * Taps that padding_mode=zeros places outside are left out of the list. Nearest moves elements of any type;
 * integers are computed in double and rounded, as by Resize; complex numbers are two reals.
 */
#include "runtime/math/math.h"
#include "runtime/ops/move.h"
#include "runtime/ops/real.h"

enum { MAX_TAPS = 64, MAX_AXES = 6 };
enum sample_mode { SAMPLE_NEAREST, SAMPLE_LINEAR, SAMPLE_CUBIC };
enum sample_padding { PADDING_ZEROS, PADDING_BORDER, PADDING_REFLECTION };

typedef struct sampling {
    const tamis_tensor *x, *grid, *y;
    enum sample_mode mode;
    enum sample_padding padding;
    bool align_corners;
    int32_t axes;
    int64_t points; /* of a batch */
} sampling;

static double grid_at(const tamis_tensor *grid, int64_t i) {
    switch (grid->type) {
    case TAMIS_TYPE_DOUBLE:
        return tm_get_f64(grid->data, i);
    case TAMIS_TYPE_FLOAT16:
        return (double)tm_get_f16(grid->data, i);
    case TAMIS_TYPE_BFLOAT16:
        return (double)tm_get_bf16(grid->data, i);
    default:
        return (double)tm_get_f32(grid->data, i);
    }
}

static inline int64_t tm_floor_index(double x) {
    const int64_t whole = (int64_t)x;
    return whole - ((double)whole > x);
}

static __attribute__((noinline)) int32_t grid_sample(tm_run *run, const tm_call *call,
                                                     int32_t (*body)(void *arg, int64_t begin, int64_t end)) {
    const tm_attrs_GridSample *a = tm_attributes(call);
    sampling p = {.x = tm_in(run, call, 0), .grid = tm_in(run, call, 1), .y = tm_out(run, call, 0)};
    p.axes = p.x->rank - 2;
    p.mode = tm_is(a, a->mode, "nearest") ? SAMPLE_NEAREST
             : tm_is(a, a->mode, "cubic") ? SAMPLE_CUBIC
                                          : SAMPLE_LINEAR;
    p.padding = tm_is(a, a->padding_mode, "border")       ? PADDING_BORDER
                : tm_is(a, a->padding_mode, "reflection") ? PADDING_REFLECTION
                                                          : PADDING_ZEROS;
    p.align_corners = a->align_corners != 0;
    p.points = tm_product(p.y->dims, 2, p.y->rank);
    if (p.axes > (p.mode == SAMPLE_CUBIC ? 3 : MAX_AXES))
        return tm_fail(run, call, TM_RUN_COUNT_RANGE, p.axes, p.mode == SAMPLE_CUBIC ? 3 : MAX_AXES);
    if (tm_count(p.y) == 0)
        return 0;
    if (tm_count(p.x) == 0)
        return tm_fail(run, call, TM_RUN_NO_ELEMENTS, tm_count(p.y), 0);
    const int64_t grain = p.x->dims[1] >= 2048 ? 1 : 2048 / p.x->dims[1];
    return tm_parallel(run, p.x->dims[0] * p.points, grain, body, &p);
}
#define N f32
#include "runtime/ops/vision_sample.inc"
#define N f64
#include "runtime/ops/vision_sample.inc"
#define N f16
#include "runtime/ops/vision_sample.inc"
#define N bf16
#include "runtime/ops/vision_sample.inc"

/* ---- other types: nearest moves, sums are doubles ---- */

static void store_whole(const tamis_tensor *y, int64_t at, double value) {
    const double whole = y->type != TAMIS_TYPE_BOOL ? tm_round_even_f64(value) : value;
    switch (y->type) {
#define STORE(T, s)                                    \
    case TAMIS_TYPE_##T:                               \
        tm_set_##s(y->data, at, tm_f64_to_##s(whole)); \
        return;
        STORE(INT8, i8)
        STORE(INT16, i16)
        STORE(INT32, i32)
        STORE(INT64, i64)
        STORE(UINT8, u8)
        STORE(UINT16, u16)
        STORE(UINT32, u32)
        STORE(UINT64, u64)
#undef STORE
    default: /* bool */
        tm_set_bool(y->data, at, value != 0);
    }
}

static void sample_value(const sampling *p, int64_t from, int64_t to, int count, const int64_t *offsets,
                         const double *weights) {
    const int parts = p->x->type == TAMIS_TYPE_COMPLEX64 || p->x->type == TAMIS_TYPE_COMPLEX128 ? 2 : 1;
    for (int part = 0; part < parts; part++) {
        double sum = 0;
        for (int k = 0; k < count; k++) {
            const int64_t at = (from + offsets[k]) * parts + part;
            sum += weights[k] * (p->x->type == TAMIS_TYPE_COMPLEX64    ? (double)tm_get_f32(p->x->data, at)
                                 : p->x->type == TAMIS_TYPE_COMPLEX128 ? tm_get_f64(p->x->data, at)
                                                                       : tm_real_get(p->x, at));
        }
        if (p->x->type == TAMIS_TYPE_COMPLEX64)
            tm_set_f32(p->y->data, to * 2 + part, (float)sum);
        else if (p->x->type == TAMIS_TYPE_COMPLEX128)
            tm_set_f64(p->y->data, to * 2 + part, sum);
        else
            store_whole(p->y, to, sum);
    }
}

static int32_t sample_others(void *arg, int64_t begin, int64_t end) {
    static const tm_w16 zero;
    const sampling *p = arg;
    const int64_t channels = p->x->dims[1], area = tm_product(p->x->dims, 2, p->x->rank);
    const int bits = 8 * (int)tm_element_bytes(p->x->type);
    int64_t offsets[MAX_TAPS];
    double weights[MAX_TAPS];
    for (int64_t point = begin; point < end; point++) {
        const int count = point_f64(p, point, offsets, weights);
        const int64_t batch = point / p->points, at = point % p->points;
        for (int64_t c = batch * channels; c < (batch + 1) * channels; c++) {
            const int64_t to = c * p->points + at;
            if (p->mode != SAMPLE_NEAREST)
                sample_value(p, c * area, to, count, offsets, weights);
            else if (count > 0)
                tm_copy_elements(p->y->data, to, p->x->data, c * area + offsets[0], 1, bits);
            else
                tm_copy_elements(p->y->data, to, &zero, 0, 1, bits);
        }
    }
    return 0;
}
#define SAMPLE_OTHERS(s, S, C)                                      \
    int32_t tm_k_GridSample_##s(tm_run *run, const tm_call *call) { \
        return grid_sample(run, call, sample_others);               \
    }
TM_FOR_INTEGER_TYPES(SAMPLE_OTHERS)
TM_FOR_BOOL_TYPE(SAMPLE_OTHERS)
SAMPLE_OTHERS(str, , )
SAMPLE_OTHERS(c64, , )
SAMPLE_OTHERS(c128, , )

/* Positions of the elements of an axis in -1..1: at the corners, or at the pixels' centers. */
#define AFFINE(s, S, C)                                                                            \
    static C axis_position_##s(int64_t i, int64_t length, bool align_corners) {                    \
        if (align_corners)                                                                         \
            return length == 1 ? -1 : (C) - 1 + (C)i * (2 / (C)(length - 1));                      \
        const C step = 2 / (C)length;                                                              \
        return (C) - 1 + step / 2 + (C)i * step;                                                   \
    }                                                                                              \
    int32_t tm_k_AffineGrid_##s(tm_run *run, const tm_call *call) {                                \
        const tamis_tensor *theta = tm_in(run, call, 0), *y = tm_out(run, call, 0);                \
        const tm_attrs_AffineGrid *a = tm_attributes(call);                                        \
        const int32_t axes = y->rank - 2;                                                          \
        const int64_t points = tm_product(y->dims, 1, y->rank - 1);                                \
        for (int64_t i = 0; i < y->dims[0] * points; i++) {                                        \
            const int64_t matrix = i / points * axes * (axes + 1);                                 \
            int64_t rest = i % points;                                                             \
            C position[3];                                                                         \
            for (int32_t axis = axes; axis >= 1; axis--) {                                         \
                position[axes - axis] =                                                            \
                    axis_position_##s(rest % y->dims[axis], y->dims[axis], a->align_corners != 0); \
                rest /= y->dims[axis];                                                             \
            }                                                                                      \
            for (int32_t row = 0; row < axes; row++) {                                             \
                C sum = 0;                                                                         \
                for (int32_t k = 0; k < axes; k++)                                                 \
                    sum += tm_get_##s(theta->data, matrix + row * (axes + 1) + k) * position[k];   \
                sum += tm_get_##s(theta->data, matrix + row * (axes + 1) + axes);                  \
                tm_set_##s(y->data, i *axes + row, sum);                                           \
            }                                                                                      \
        }                                                                                          \
        return 0;                                                                                  \
    }
TM_FOR_FLOAT_TYPES(AFFINE)
