/* SPDX-License-Identifier: Apache-2.0
 *
 * vision_sample.c: GridSample and AffineGrid.
 *
 * GridSample reads the input at a position that the grid gives for each output element, in -1..1 along
 * each axis, the last axis first. Interpolation is a product over axes: 1, 2 or 4 taps each for nearest,
 * linear and cubic, so a point is a short list of offsets and weights that all channels share.
 * Taps that padding_mode=zeros places outside are left out of the list.
 */
#include "runtime/ops/element.h"

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
        return tm_fail(run, call, TM_RUN_UNSUPPORTED, p.axes, MAX_AXES);
    if (tm_count(p.y) == 0)
        return 0;
    if (tm_count(p.x) == 0)
        return tm_fail(run, call, TM_RUN_VALUE, tm_count(p.y), 0);
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
