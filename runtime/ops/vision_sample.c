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

#define SAMPLE(s, S, C)                                                                                            \
    static C reflect_##s(C x, C low, C high) {                                                                     \
        const C range = high - low, distance = x < low ? low - x : x - high;                                       \
        if (distance <= 0 || range <= 0)                                                                           \
            return range <= 0 ? low : x;                                                                           \
        const C turns = distance / range;                                                                          \
        const int64_t whole = turns < (C)0x1p40 ? (int64_t)turns : 0;                                              \
        const C rest = distance - (C)whole * range;                                                                \
        return (x < low) == (whole % 2 == 0) ? low + rest : high - rest;                                           \
    }                                                                                                              \
    /* A position in pixels, brought into the borders; NaN and far ones end outside. */                            \
    static C position_##s(const sampling *p, C n, int64_t length) {                                                \
        const C last = (C)(length - 1);                                                                            \
        C x = p->align_corners ? (n + 1) / 2 * last : ((n + 1) * (C)length - 1) / 2;                               \
        const C low = p->align_corners ? 0 : (C)-0.5, high = p->align_corners ? last : last + (C)0.5;              \
        if (p->mode == SAMPLE_NEAREST && x > (C)-0x1p22 && x < (C)0x1p22)                                          \
            x = sizeof(C) == 4 ? (x + (C)0x1.8p23) - (C)0x1.8p23 : (x + (C)0x1.8p52) - (C)0x1.8p52;                \
        if (p->padding == PADDING_BORDER && (x < low || x > high))                                                 \
            x = x < 0 ? 0 : last;                                                                                  \
        if (p->padding == PADDING_REFLECTION && (x < low || x > high))                                             \
            x = reflect_##s(x, low, high);                                                                         \
        return x > (C)-0x1p30 && x < (C)0x1p30 ? x : (C)-0x1p30;                                                   \
    }                                                                                                              \
    /* Pixel i of an axis as an index, or -1: zero. */                                                             \
    static int64_t pixel_##s(const sampling *p, int64_t i, int64_t length) {                                       \
        if (i >= 0 && i < length)                                                                                  \
            return i;                                                                                              \
        if (p->padding == PADDING_ZEROS)                                                                           \
            return -1;                                                                                             \
        if (p->padding == PADDING_REFLECTION)                                                                      \
            i = (int64_t)reflect_##s((C)i, p->align_corners ? 0 : (C)-0.5,                                         \
                                     (C)(length - 1) + (p->align_corners ? 0 : (C)0.5));                           \
        return i < 0 ? 0 : i >= length ? length - 1 : i;                                                           \
    }                                                                                                              \
    static int taps_##s(const sampling *p, C x, C *weights) {                                                      \
        const C a = (C)-0.75, f = x - (C)tm_floor_index((double)x), g = 1 - f;                                     \
        if (p->mode == SAMPLE_NEAREST) {                                                                           \
            weights[0] = 1;                                                                                        \
            return 1;                                                                                              \
        }                                                                                                          \
        if (p->mode == SAMPLE_LINEAR) {                                                                            \
            weights[0] = g;                                                                                        \
            weights[1] = f;                                                                                        \
            return 2;                                                                                              \
        }                                                                                                          \
        weights[0] = ((a * (f + 1) - 5 * a) * (f + 1) + 8 * a) * (f + 1) - 4 * a;                                  \
        weights[1] = ((a + 2) * f - (a + 3)) * f * f + 1;                                                          \
        weights[2] = ((a + 2) * g - (a + 3)) * g * g + 1;                                                          \
        weights[3] = ((a * (g + 1) - 5 * a) * (g + 1) + 8 * a) * (g + 1) - 4 * a;                                  \
        return 4;                                                                                                  \
    }                                                                                                              \
    /* The offsets and weights of a point: the product over the axes. */                                           \
    static int point_##s(const sampling *p, int64_t point, int64_t *offsets, C *weights) {                         \
        int count = 1;                                                                                             \
        offsets[0] = 0;                                                                                            \
        weights[0] = 1;                                                                                            \
        for (int32_t axis = 0; axis < p->axes; axis++) {                                                           \
            const int64_t length = p->x->dims[2 + axis];                                                           \
            const C x = position_##s(p, (C)grid_at(p->grid, point * p->axes + p->axes - 1 - axis), length);        \
            C own[4];                                                                                              \
            const int n = taps_##s(p, x, own), before = count;                                                     \
            const int64_t first = tm_floor_index((double)x) - (n == 4);                                            \
            int64_t old_offsets[MAX_TAPS];                                                                         \
            C old_weights[MAX_TAPS];                                                                               \
            for (int i = 0; i < before; i++) {                                                                     \
                old_offsets[i] = offsets[i];                                                                       \
                old_weights[i] = weights[i];                                                                       \
            }                                                                                                      \
            count = 0;                                                                                             \
            for (int i = 0; i < before; i++)                                                                       \
                for (int k = 0; k < n; k++) {                                                                      \
                    const int64_t pixel = pixel_##s(p, first + k, length);                                         \
                    if (pixel < 0)                                                                                 \
                        continue;                                                                                  \
                    offsets[count] = old_offsets[i] * length + pixel;                                              \
                    weights[count++] = old_weights[i] * own[k];                                                    \
                }                                                                                                  \
        }                                                                                                          \
        return count;                                                                                              \
    }                                                                                                              \
    static int32_t sample_##s(void *arg, int64_t begin, int64_t end) {                                             \
        const sampling *p = arg;                                                                                   \
        const int64_t channels = p->x->dims[1], area = tm_product(p->x->dims, 2, p->x->rank);                      \
        int64_t offsets[MAX_TAPS];                                                                                 \
        C weights[MAX_TAPS];                                                                                       \
        for (int64_t point = begin; point < end; point++) {                                                        \
            const int count = point_##s(p, point, offsets, weights);                                               \
            const int64_t batch = point / p->points, at = point % p->points;                                       \
            for (int64_t c = batch * channels; c < (batch + 1) * channels; c++) {                                  \
                C sum = 0;                                                                                         \
                for (int k = 0; k < count; k++)                                                                    \
                    sum += weights[k] * tm_get_##s(p->x->data, c * area + offsets[k]);                             \
                tm_set_##s(p->y->data, c * p->points + at, sum);                                                   \
            }                                                                                                      \
        }                                                                                                          \
        return 0;                                                                                                  \
    }                                                                                                              \
    int32_t tm_k_GridSample_##s(tm_run *run, const tm_call *call) { return grid_sample(run, call, sample_##s); }

static inline int64_t tm_floor_index(double x) {
    const int64_t whole = (int64_t)x;
    return whole - ((double)whole > x);
}

static __attribute__((noinline)) int32_t grid_sample(tm_run *run, const tm_call *call,
                                                     int32_t (*body)(void *arg, int64_t begin, int64_t end)) {
    const tm_attrs_GridSample *a = tm_attributes(call);
    sampling p = {.x = tm_in(run, call, 0), .grid = tm_in(run, call, 1), .y = tm_out(run, call, 0)};
    p.axes = p.x->rank - 2;
    p.mode = tm_is(a, a->mode, "nearest") ? SAMPLE_NEAREST : tm_is(a, a->mode, "cubic") ? SAMPLE_CUBIC : SAMPLE_LINEAR;
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
TM_FOR_FLOAT_TYPES(SAMPLE)

/* Positions of the elements of an axis in -1..1: at the corners, or at the pixels' centers. */
#define AFFINE(s, S, C)                                                                                   \
    static C axis_position_##s(int64_t i, int64_t length, bool align_corners) {                           \
        if (align_corners)                                                                                \
            return length == 1 ? -1 : (C)-1 + (C)i * (2 / (C)(length - 1));                               \
        const C step = 2 / (C)length;                                                                     \
        return (C)-1 + step / 2 + (C)i * step;                                                            \
    }                                                                                                     \
    int32_t tm_k_AffineGrid_##s(tm_run *run, const tm_call *call) {                                       \
        const tamis_tensor *theta = tm_in(run, call, 0), *y = tm_out(run, call, 0);                       \
        const tm_attrs_AffineGrid *a = tm_attributes(call);                                               \
        const int32_t axes = y->rank - 2;                                                                 \
        const int64_t points = tm_product(y->dims, 1, y->rank - 1);                                       \
        for (int64_t i = 0; i < y->dims[0] * points; i++) {                                               \
            const int64_t matrix = i / points * axes * (axes + 1);                                        \
            int64_t rest = i % points;                                                                    \
            C position[3];                                                                                \
            for (int32_t axis = axes; axis >= 1; axis--) {                                                \
                position[axes - axis] = axis_position_##s(rest % y->dims[axis], y->dims[axis], a->align_corners != 0); \
                rest /= y->dims[axis];                                                                    \
            }                                                                                             \
            for (int32_t row = 0; row < axes; row++) {                                                    \
                C sum = 0;                                                                                \
                for (int32_t k = 0; k < axes; k++)                                                        \
                    sum += tm_get_##s(theta->data, matrix + row * (axes + 1) + k) * position[k];          \
                sum += tm_get_##s(theta->data, matrix + row * (axes + 1) + axes);                         \
                tm_set_##s(y->data, i * axes + row, sum);                                                 \
            }                                                                                             \
        }                                                                                                 \
        return 0;                                                                                         \
    }
TM_FOR_FLOAT_TYPES(AFFINE)
