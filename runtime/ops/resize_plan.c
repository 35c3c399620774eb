/* SPDX-License-Identifier: Apache-2.0
 *
 * resize_plan.c: output dims, coordinates and weights of Resize.
 *
 * An output position x has the coordinate c in the input, by one of seven formulas (half_pixel: c =
 * (x + 0.5) / scale - 0.5). Around it stand the taps: 1 for nearest, 2 for linear, 4 for cubic; an
 * antialiasing filter is stretched by 1/scale when shrinking. A coordinate on a pixel counts as the right end
 * of the gap before it (fraction 1, not 0), as ONNX's reference has it: for linear, taps c-1 and c with
 * weights 0 and 1. All of it is computed in double, once for each position of an axis.
 */
#include "runtime/ops/resize.h"

static double floor_of(double x) {
    const double whole = (double)(int64_t)x;
    return whole > x ? whole - 1 : whole;
}
static double absolute(double x) {
    return x < 0 ? -x : x;
}

/* Does `text` name the coordinate mode? */
static bool transforms(const tm_resize_plan *plan, const char *text) {
    return tm_is(plan->attributes, plan->attributes->coordinate_transformation_mode, text);
}

static double coordinate(const tm_resize_plan *plan, const tm_resize_axis *axis, int64_t position) {
    const double x = (double)position, in = (double)axis->in, out = (double)axis->out;
    const double length = axis->scale * in; /* may be fractional, as the official cases have it */
    if (transforms(plan, "align_corners"))
        return length == 1 ? 0 : x * (in - 1) / (length - 1);
    if (transforms(plan, "asymmetric"))
        return x / axis->scale;
    if (plan->crop) {
        const double extent = (axis->end - axis->start) * (in - 1);
        return (length == 1 ? extent / 2 : x * extent / (length - 1)) + axis->start * (in - 1);
    }
    if (transforms(plan, "pytorch_half_pixel") && axis->out == 1)
        return 0;
    if (transforms(plan, "tf_half_pixel_for_nn"))
        return (x + 0.5) / axis->scale;
    const double centered = (x + 0.5) / axis->scale - 0.5;
    if (transforms(plan, "half_pixel_symmetric"))
        return in / 2 * (1 - out / length) + centered;
    return centered;
}

static int64_t nearest(const tm_resize_plan *plan, double c) {
    const tm_attrs_Resize *a = plan->attributes;
    const double low = floor_of(c), fraction = c - low;
    bool up = false;
    if (fraction == 0)
        up = false;
    else if (tm_is(a, a->nearest_mode, "ceil"))
        up = true;
    else if (tm_is(a, a->nearest_mode, "round_prefer_ceil"))
        up = fraction >= 0.5;
    else if (tm_is(a, a->nearest_mode, "round_prefer_floor"))
        up = fraction > 0.5;
    return (int64_t)low + up;
}

/* The filter at a distance from its center. */
static double filter(const tm_resize_plan *plan, double x) {
    x = absolute(x);
    if (plan->mode == RESIZE_LINEAR)
        return x < 1 ? 1 - x : 0;
    const double a = plan->attributes->cubic_coeff_a;
    if (x <= 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

/* The first tap relative to the pixel at or before the coordinate, for a filter stretched by 1/scale. */
static int64_t first_tap(const tm_resize_plan *plan, const tm_resize_axis *axis) {
    const double reach = plan->mode == RESIZE_CUBIC ? 2 : 1;
    const double scale = plan->attributes->antialias != 0 && axis->scale < 1 ? axis->scale : 1;
    return (int64_t)floor_of(-reach / scale) + 1;
}

static int64_t clamp_index(int64_t i, int64_t length) {
    return i < 0 ? 0 : i >= length ? length - 1 : i;
}

static void fill_position(const tm_resize_plan *plan, tm_resize_axis *axis, int64_t position) {
    const tm_attrs_Resize *a = plan->attributes;
    const double c = coordinate(plan, axis, position);
    int64_t *index = axis->index + position * axis->taps;
    axis->outside[position] = plan->crop && (c < 0 || c > (double)(axis->in - 1));
    if (plan->mode == RESIZE_NEAREST) {
        index[0] = clamp_index(nearest(plan, c), axis->in);
        return;
    }
    const double low = floor_of(c), fraction = c == low ? 1 : c - low;
    const int64_t pixel = c == low ? (int64_t)low - 1 : (int64_t)low, first = first_tap(plan, axis);
    const double stretch = a->antialias != 0 && axis->scale < 1 ? axis->scale : 1;
    double sum = 0;
    for (int64_t k = 0; k < axis->taps; k++) {
        const int64_t at = pixel + first + k;
        const bool excluded = a->exclude_outside != 0 && (at < 0 || at >= axis->in);
        sum += excluded ? 0 : filter(plan, stretch * ((double)(first + k) - fraction));
    }
    if (sum == 0 || (a->antialias == 0 && a->exclude_outside == 0))
        sum = 1;
    for (int64_t k = 0; k < axis->taps; k++) {
        const int64_t at = pixel + first + k;
        const bool excluded = a->exclude_outside != 0 && (at < 0 || at >= axis->in);
        const double weight = excluded ? 0 : filter(plan, stretch * ((double)(first + k) - fraction)) / sum;
        index[k] = clamp_index(at, axis->in);
        if (plan->wide)
            ((double *)axis->weights)[position * axis->taps + k] = weight;
        else
            ((float *)axis->weights)[position * axis->taps + k] = (float)weight;
    }
}

int64_t tm_resize_table_bytes(const tm_resize_plan *plan) {
    int64_t bytes = 0;
    for (int32_t i = 0; i < plan->count; i++)
        bytes += plan->axes[i].out * plan->axes[i].taps * 16 + (plan->axes[i].out + 15) / 16 * 16;
    return bytes;
}

void tm_resize_tables(tm_resize_plan *plan, void *memory) {
    char *at = memory;
    for (int32_t i = 0; i < plan->count; i++) {
        tm_resize_axis *axis = &plan->axes[i];
        const int64_t entries = axis->out * axis->taps;
        axis->index = (int64_t *)(void *)at;
        axis->weights = at + entries * 8;
        axis->outside = (uint8_t *)at + entries * 16;
        at += entries * 16 + (axis->out + 15) / 16 * 16;
        for (int64_t position = 0; position < axis->out; position++)
            fill_position(plan, axis, position);
    }
}

/* Element i of an optional float list in float, double or half. */
static double float_at(const tamis_tensor *t, int64_t i) {
    return t->type == TAMIS_TYPE_DOUBLE    ? tm_get_f64(t->data, i)
           : t->type == TAMIS_TYPE_FLOAT16 ? (double)tm_get_f16(t->data, i)
                                           : (double)tm_get_f32(t->data, i);
}

/* One scale for all axes: the least or the greatest. */
static void keep_ratio(tm_resize_plan *plan, const tamis_tensor *x, double *scales, const int32_t *axes,
                       int32_t count) {
    const bool larger = tm_is(plan->attributes, plan->attributes->keep_aspect_ratio_policy, "not_smaller");
    double scale = count > 0 ? scales[axes[0]] : 1;
    for (int32_t i = 1; i < count; i++)
        if (larger ? scales[axes[i]] > scale : scales[axes[i]] < scale)
            scale = scales[axes[i]];
    for (int32_t i = 0; i < count; i++) {
        scales[axes[i]] = scale;
        plan->dims[axes[i]] = (int64_t)(scale * (double)x->dims[axes[i]] + 0.5);
    }
}

/* Scales by axis and output dims. */
static int32_t find_dims(tm_run *run, const tm_call *call, tm_resize_plan *plan, double *scales,
                         const int32_t *axes, int32_t count) {
    const tamis_tensor *x = tm_in(run, call, 0), *given = tm_in(run, call, 2), *sizes = tm_in(run, call, 3);
    const tm_attrs_Resize *a = plan->attributes;
    for (int32_t i = 0; i < x->rank; i++) {
        scales[i] = 1;
        plan->dims[i] = x->dims[i];
    }
    const bool by_size = sizes != NULL && tm_count(sizes) > 0;
    const int64_t entries = by_size ? tm_count(sizes) : given != NULL ? tm_count(given) : 0;
    if (entries != count)
        return tm_fail(run, call, TM_RUN_LIST_LENGTH, entries, count);
    for (int32_t i = 0; i < count; i++) {
        const int32_t axis = axes[i];
        const int64_t dim = x->dims[axis];
        if (by_size) {
            plan->dims[axis] = tm_index_at(sizes, i);
            scales[axis] = dim > 0 ? (double)plan->dims[axis] / (double)dim : 1;
        } else {
            const float scale = ((const float *)given->data)[i];
            const float length = (float)dim * scale;
            if (!(scale > 0) || !(length < 0x1p62f))
                return tm_fail(run, call, TM_RUN_SCALE, i, count);
            scales[axis] = (double)scale;
            plan->dims[axis] = (int64_t)length;
        }
        if (plan->dims[axis] < 0)
            return tm_fail(run, call, TM_RUN_DIM_NEGATIVE, plan->dims[axis], axis);
    }
    if (by_size && !tm_is(a, a->keep_aspect_ratio_policy, "stretch"))
        keep_ratio(plan, x, scales, axes, count);
    return 0;
}

int32_t tm_resize_prepare(tm_run *run, const tm_call *call, tm_resize_plan *plan) {
    const tamis_tensor *x = tm_in(run, call, 0), *roi = tm_in(run, call, 1);
    const tm_attrs_Resize *a = tm_attributes(call);
    double scales[TAMIS_MAX_RANK];
    int32_t axes[TAMIS_MAX_RANK], number[TAMIS_MAX_RANK];
    const int32_t count = tm_has(a->axes) ? a->axes.count : x->rank;
    plan->attributes = a;
    plan->count = 0;
    plan->crop = transforms(plan, "tf_crop_and_resize");
    plan->mode = tm_is(a, a->mode, "linear")  ? RESIZE_LINEAR
                 : tm_is(a, a->mode, "cubic") ? RESIZE_CUBIC
                                              : RESIZE_NEAREST;
    for (int32_t i = 0; i < x->rank; i++)
        number[i] = -1;
    for (int32_t i = 0; i < count; i++) {
        const int64_t axis = tm_has(a->axes) ? tm_ints(a, a->axes)[i] : i;
        axes[i] = (int32_t)(axis + (axis < 0 ? x->rank : 0));
        number[axes[i]] = i;
    }
    if (plan->crop && (roi == NULL || tm_count(roi) != 2 * count))
        return tm_fail(run, call, TM_RUN_LIST_LENGTH, roi == NULL ? 0 : tm_count(roi), 2 * count);
    int32_t code = find_dims(run, call, plan, scales, axes, count);
    if (code != 0)
        return code;
    for (int32_t axis = 0; axis < x->rank; axis++) {
        if (number[axis] < 0)
            continue;
        tm_resize_axis one = {
            .axis = axis, .in = x->dims[axis], .out = plan->dims[axis], .scale = scales[axis]};
        one.start = plan->crop ? float_at(roi, number[axis]) : 0;
        one.end = plan->crop ? float_at(roi, number[axis] + count) : 1;
        if (one.in == one.out && absolute(one.scale - 1) <= 1e-9 && one.start == 0 && one.end == 1)
            continue;
        one.taps = plan->mode == RESIZE_NEAREST ? 1 : 2 - 2 * first_tap(plan, &one);
        plan->axes[plan->count++] = one;
    }
    return 0;
}
