/* SPDX-License-Identifier: Apache-2.0
 *
 * vision_region.c: RoiAlign and MaxRoiPool: pooling over regions of a feature map.
 *
 * RoiAlign cuts a region into output_height x output_width bins and samples each at a grid of points,
 * bilinearly, without rounding coordinates; mode max takes the greatest weighted corner, as ONNX's
 * reference does. MaxRoiPool rounds regions to whole pixels and takes the maximum of each bin.
 */
#include "runtime/ops/element.h"

typedef struct regions {
    const tamis_tensor *x, *rois, *batches, *y;
    bool half_pixel, average;
    int64_t sampling;
    double scale;
} regions;

static int64_t whole_up(double x) {
    if (!(x > 0))
        return 0;
    if (x > 0x1p20)
        return 1 << 20;
    const int64_t whole = (int64_t)x;
    return whole + ((double)whole < x);
}

static __attribute__((noinline)) int32_t roi_align(tm_run *run, const tm_call *call,
                                                   int32_t (*body)(void *arg, int64_t begin, int64_t end)) {
    const tm_attrs_RoiAlign *a = tm_attributes(call);
    regions r = {.x = tm_in(run, call, 0),
                 .rois = tm_in(run, call, 1),
                 .batches = tm_in(run, call, 2),
                 .y = tm_out(run, call, 0)};
    r.half_pixel = tm_is(a, a->coordinate_transformation_mode, "half_pixel");
    r.average = tm_is(a, a->mode, "avg");
    r.sampling = a->sampling_ratio;
    r.scale = a->spatial_scale;
    for (int64_t i = 0; i < r.y->dims[0]; i++) {
        const int64_t batch = ((const int64_t *)r.batches->data)[i];
        if (batch < 0 || batch >= r.x->dims[0])
            return tm_fail(run, call, TM_RUN_POSITION_RANGE, batch, r.x->dims[0]);
    }
    if (tm_count(r.y) == 0)
        return 0;
    if (tm_count(r.x) == 0)
        return tm_fail(run, call, TM_RUN_NO_ELEMENTS, tm_count(r.y), 0);
    return tm_parallel(run, r.y->dims[0] * r.y->dims[1], 16, body, &r);
}
#define N f32
#include "runtime/ops/vision_region.inc"
#define N f64
#include "runtime/ops/vision_region.inc"
#define N f16
#include "runtime/ops/vision_region.inc"
#define N bf16
#include "runtime/ops/vision_region.inc"

/* ---- MaxRoiPool ---- */

static int64_t rounded(double x) {
    x = x > -0x1p31 && x < 0x1p31 ? x : 0;
    return (int64_t)(x < 0 ? x - 0.5 : x + 0.5);
}
static int64_t limited(int64_t x, int64_t high) {
    return x < 0 ? 0 : x > high ? high : x;
}

/* Pixels first..end-1 of bin `i` of `bins` along an axis of the map. */
static void bin_pixels(int64_t start, int64_t length, int64_t i, int64_t bins, int64_t limit, int64_t *first,
                       int64_t *end) {
    *first = limited(start + i * length / bins, limit);
    *end = limited(start + ((i + 1) * length + bins - 1) / bins, limit);
}

#define MAX_POOL(s, S, C)                                                                                    \
    int32_t tm_k_MaxRoiPool_##s(tm_run *run, const tm_call *call) {                                          \
        const tamis_tensor *x = tm_in(run, call, 0), *rois = tm_in(run, call, 1), *y = tm_out(run, call, 0); \
        const tm_attrs_MaxRoiPool *a = tm_attributes(call);                                                  \
        const int64_t rows = y->dims[2], columns = y->dims[3], height = x->dims[2], width = x->dims[3];      \
        for (int64_t i = 0; i < y->dims[0] * y->dims[1]; i++) {                                              \
            const int64_t roi = i / y->dims[1], batch = (int64_t)tm_get_##s(rois->data, roi * 5);            \
            if (batch < 0 || batch >= x->dims[0])                                                            \
                return tm_fail(run, call, TM_RUN_POSITION_RANGE, batch, x->dims[0]);                         \
            int64_t corner[4];                                                                               \
            for (int k = 0; k < 4; k++)                                                                      \
                corner[k] = rounded((double)tm_get_##s(rois->data, roi * 5 + 1 + k) * a->spatial_scale);     \
            const int64_t wide = corner[2] >= corner[0] ? corner[2] - corner[0] + 1 : 1;                     \
            const int64_t high = corner[3] >= corner[1] ? corner[3] - corner[1] + 1 : 1;                     \
            const S *map = (const S *)x->data + (batch * x->dims[1] + i % x->dims[1]) * height * width;      \
            for (int64_t bin = 0; bin < rows * columns; bin++) {                                             \
                int64_t top, bottom, left, right;                                                            \
                bin_pixels(corner[1], high, bin / columns, rows, height, &top, &bottom);                     \
                bin_pixels(corner[0], wide, bin % columns, columns, width, &left, &right);                   \
                bool any = false;                                                                            \
                C best = 0;                                                                                  \
                for (int64_t v = top; v < bottom; v++)                                                       \
                    for (int64_t u = left; u < right; u++) {                                                 \
                        const C value = tm_load_##s(map[v * width + u]);                                     \
                        best = !any || value > best ? value : best;                                          \
                        any = true;                                                                          \
                    }                                                                                        \
                ((S *)y->data)[i * rows * columns + bin] = tm_store_##s(best);                               \
            }                                                                                                \
        }                                                                                                    \
        return 0;                                                                                            \
    }
TM_FOR_FLOAT_TYPES(MAX_POOL)
