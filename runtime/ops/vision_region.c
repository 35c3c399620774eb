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

#define ALIGN(s, S, C)                                                                                      \
    /* Adds a sample at (v, u) to `value`: the sum of corners, or their maximum. */                         \
    static C sample_##s(const regions *r, const S *map, C v, C u, C value, bool first) {                    \
        const int64_t height = r->x->dims[2], width = r->x->dims[3];                                        \
        if (!(v >= -1 && v <= (C)height && u >= -1 && u <= (C)width))                                       \
            return r->average || (!first && value > 0) ? value : 0;                                         \
        v = v < 0 ? 0 : v;                                                                                  \
        u = u < 0 ? 0 : u;                                                                                  \
        int64_t top = (int64_t)v, left = (int64_t)u, bottom = top + 1, right = left + 1;                    \
        if (top >= height - 1)                                                                              \
            v = (C)(top = bottom = height - 1);                                                             \
        if (left >= width - 1)                                                                              \
            u = (C)(left = right = width - 1);                                                              \
        const C fv = v - (C)top, fu = u - (C)left;                                                          \
        const C a = (1 - fv) * (1 - fu) * tm_load_##s(map[top * width + left]);                             \
        const C b = (1 - fv) * fu * tm_load_##s(map[top * width + right]);                                  \
        const C c = fv * (1 - fu) * tm_load_##s(map[bottom * width + left]);                                \
        const C d = fv * fu * tm_load_##s(map[bottom * width + right]);                                     \
        if (r->average)                                                                                     \
            return value + (a + b + c + d);                                                                 \
        const C ab = a > b ? a : b, cd = c > d ? c : d, best = ab > cd ? ab : cd;                           \
        return first || best > value ? best : value;                                                        \
    }                                                                                                       \
    /* One channel of one region. */                                                                        \
    static void align_##s(const regions *r, int64_t roi, int64_t channel, S *y) {                           \
        const int64_t rows = r->y->dims[2], columns = r->y->dims[3], channels = r->x->dims[1];              \
        const int64_t batch = ((const int64_t *)r->batches->data)[roi];                                     \
        const S *map = (const S *)r->x->data + (batch * channels + channel) * r->x->dims[2] * r->x->dims[3]; \
        const C scale = (C)r->scale, shift = r->half_pixel ? (C)0.5 : 0;                                    \
        C corner[4];                                                                                        \
        for (int i = 0; i < 4; i++)                                                                         \
            corner[i] = tm_get_##s(r->rois->data, roi * 4 + i) * scale - shift;                             \
        C width = corner[2] - corner[0], height = corner[3] - corner[1];                                    \
        if (!r->half_pixel) {                                                                               \
            width = width > 1 ? width : 1;                                                                  \
            height = height > 1 ? height : 1;                                                               \
        }                                                                                                   \
        const C bin_height = height / (C)rows, bin_width = width / (C)columns;                              \
        const int64_t down = r->sampling > 0 ? r->sampling : whole_up((double)bin_height);                  \
        const int64_t across = r->sampling > 0 ? r->sampling : whole_up((double)bin_width);                 \
        const int64_t samples = down * across > 0 ? down * across : 1;                                      \
        for (int64_t bin = 0; bin < rows * columns; bin++) {                                                \
            C value = 0;                                                                                    \
            for (int64_t i = 0; i < down * across; i++) {                                                   \
                const C v = corner[1] + (C)(bin / columns) * bin_height +                                   \
                            ((C)(i / across) + (C)0.5) * bin_height / (C)down;                              \
                const C u = corner[0] + (C)(bin % columns) * bin_width +                                    \
                            ((C)(i % across) + (C)0.5) * bin_width / (C)across;                             \
                value = sample_##s(r, map, v, u, value, i == 0);                                            \
            }                                                                                               \
            y[bin] = tm_store_##s(r->average ? value / (C)samples : value);                                 \
        }                                                                                                   \
    }                                                                                                       \
    static int32_t align_range_##s(void *arg, int64_t begin, int64_t end) {                                 \
        const regions *r = arg;                                                                             \
        const int64_t channels = r->x->dims[1], bins = r->y->dims[2] * r->y->dims[3];                       \
        for (int64_t i = begin; i < end; i++)                                                               \
            align_##s(r, i / channels, i % channels, (S *)r->y->data + i * bins);                           \
        return 0;                                                                                           \
    }                                                                                                       \
    int32_t tm_k_RoiAlign_##s(tm_run *run, const tm_call *call) { return roi_align(run, call, align_range_##s); }

static __attribute__((noinline)) int32_t roi_align(tm_run *run, const tm_call *call,
                                                   int32_t (*body)(void *arg, int64_t begin, int64_t end)) {
    const tm_attrs_RoiAlign *a = tm_attributes(call);
    regions r = {.x = tm_in(run, call, 0), .rois = tm_in(run, call, 1), .batches = tm_in(run, call, 2), .y = tm_out(run, call, 0)};
    r.half_pixel = tm_is(a, a->coordinate_transformation_mode, "half_pixel");
    r.average = tm_is(a, a->mode, "avg");
    r.sampling = a->sampling_ratio;
    r.scale = a->spatial_scale;
    for (int64_t i = 0; i < r.y->dims[0]; i++) {
        const int64_t batch = ((const int64_t *)r.batches->data)[i];
        if (batch < 0 || batch >= r.x->dims[0])
            return tm_fail(run, call, TM_RUN_INDEX_RANGE, batch, r.x->dims[0]);
    }
    if (tm_count(r.y) == 0)
        return 0;
    if (tm_count(r.x) == 0)
        return tm_fail(run, call, TM_RUN_VALUE, tm_count(r.y), 0);
    return tm_parallel(run, r.y->dims[0] * r.y->dims[1], 16, body, &r);
}
TM_FOR_FLOAT_TYPES(ALIGN)

/* ---- MaxRoiPool ---- */

static int64_t rounded(double x) {
    x = x > -0x1p31 && x < 0x1p31 ? x : 0;
    return (int64_t)(x < 0 ? x - 0.5 : x + 0.5);
}
static int64_t limited(int64_t x, int64_t high) { return x < 0 ? 0 : x > high ? high : x; }

/* Pixels first..end-1 of bin `i` of `bins` along an axis of the map. */
static void bin_pixels(int64_t start, int64_t length, int64_t i, int64_t bins, int64_t limit, int64_t *first, int64_t *end) {
    *first = limited(start + i * length / bins, limit);
    *end = limited(start + ((i + 1) * length + bins - 1) / bins, limit);
}

#define MAX_POOL(s, S, C)                                                                                     \
    int32_t tm_k_MaxRoiPool_##s(tm_run *run, const tm_call *call) {                                           \
        const tamis_tensor *x = tm_in(run, call, 0), *rois = tm_in(run, call, 1), *y = tm_out(run, call, 0);  \
        const tm_attrs_MaxRoiPool *a = tm_attributes(call);                                                   \
        const int64_t rows = y->dims[2], columns = y->dims[3], height = x->dims[2], width = x->dims[3];       \
        for (int64_t i = 0; i < y->dims[0] * y->dims[1]; i++) {                                               \
            const int64_t roi = i / y->dims[1], batch = (int64_t)tm_get_##s(rois->data, roi * 5);             \
            if (batch < 0 || batch >= x->dims[0])                                                             \
                return tm_fail(run, call, TM_RUN_INDEX_RANGE, batch, x->dims[0]);                             \
            int64_t corner[4];                                                                                \
            for (int k = 0; k < 4; k++)                                                                       \
                corner[k] = rounded((double)tm_get_##s(rois->data, roi * 5 + 1 + k) * a->spatial_scale);      \
            const int64_t wide = corner[2] >= corner[0] ? corner[2] - corner[0] + 1 : 1;                      \
            const int64_t high = corner[3] >= corner[1] ? corner[3] - corner[1] + 1 : 1;                      \
            const S *map = (const S *)x->data + (batch * x->dims[1] + i % x->dims[1]) * height * width;       \
            for (int64_t bin = 0; bin < rows * columns; bin++) {                                              \
                int64_t top, bottom, left, right;                                                             \
                bin_pixels(corner[1], high, bin / columns, rows, height, &top, &bottom);                      \
                bin_pixels(corner[0], wide, bin % columns, columns, width, &left, &right);                    \
                bool any = false;                                                                             \
                C best = 0;                                                                                   \
                for (int64_t v = top; v < bottom; v++)                                                        \
                    for (int64_t u = left; u < right; u++) {                                                  \
                        const C value = tm_load_##s(map[v * width + u]);                                      \
                        best = !any || value > best ? value : best;                                           \
                        any = true;                                                                           \
                    }                                                                                         \
                ((S *)y->data)[i * rows * columns + bin] = tm_store_##s(best);                                \
            }                                                                                                 \
        }                                                                                                     \
        return 0;                                                                                             \
    }
TM_FOR_FLOAT_TYPES(MAX_POOL)
