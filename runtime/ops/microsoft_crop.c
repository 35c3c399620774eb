/* SPDX-License-Identifier: Apache-2.0
 *
 * CropAndResize: a crop of an image for each box, resized to one size, corners on corners.
 *
 *     output row i of h reads image row  y1 * (H - 1) + i * (y2 - y1) * (H - 1) / (h - 1)
 *
 * and of one row, the middle of the box. Rows and columns outside of the image give extrapolation_value.
 * Positions are in the precision of the data, float at least: at the image's edge a rounding decides whether
 * a position is inside. A sum, product or quotient of two floats in double, rounded to float, is the float
 * one, so all types share the code that finds positions.
 */
#include "runtime/attributes_microsoft.h"
#include "runtime/math/math.h"
#include "runtime/ops/real.h"

typedef struct crops {
    const tamis_tensor *x, *boxes, *images, *y;
    double outside;
    bool nearest, single; /* single: positions are floats */
} crops;

typedef struct position {
    int64_t low, high;
    double part; /* of the way from low to high */
    bool inside;
} position;

static double narrow(const crops *c, double x) {
    return c->single ? (double)(float)x : x;
}

/* Where output `i` of `count` reads an axis of `length`. */
static position position_of(const crops *c, double from, double to, int64_t i, int64_t count,
                            int64_t length) {
    double last = (double)(length - 1), at;
    if (count == 1)
        at = narrow(c, 0.5 * narrow(c, from + to) * last);
    else if (i == count - 1)
        at = narrow(c, to * last);
    else if (i == 0)
        at = narrow(c, from * last);
    else {
        double step = narrow(c, narrow(c, narrow(c, to - from) * last) / (double)(count - 1));
        at = narrow(c, narrow(c, from * last) + narrow(c, (double)i * step));
    }
    position p = {0, 0, 0, at >= 0 && at <= last};
    if (!p.inside)
        return p;
    p.low = (int64_t)at;
    p.part = at - (double)p.low;
    p.high = p.low + (p.part > 0);
    if (c->nearest) /* halves go away from zero */
        p.low = p.part >= 0.5 ? p.high : p.low;
    return p;
}

static int32_t check_images(tm_run *run, const tm_call *call, const crops *c) {
    for (int64_t i = 0; i < c->boxes->dims[0]; i++) {
        int64_t image = tm_integer_get(c->images, i);
        if (image < 0 || image >= c->x->dims[0])
            return tm_fail(run, call, TM_RUN_INDEX_RANGE, image, c->x->dims[0]);
    }
    return 0;
}

#define CROP(s, S, C)                                                                                     \
    static void crop_point_##s(const crops *c, int64_t box, position row, position column, int64_t at) {  \
        int64_t height = c->x->dims[2], width = c->x->dims[3], plane = c->y->dims[2] * c->y->dims[3];     \
        const S *x =                                                                                      \
            (const S *)c->x->data + tm_integer_get(c->images, box) * c->x->dims[1] * height * width;      \
        S *y = (S *)c->y->data + box * c->x->dims[1] * plane + at;                                        \
        bool inside = row.inside && column.inside;                                                        \
        C across = (C)column.part, down = (C)row.part;                                                    \
        for (int64_t i = 0; i < c->x->dims[1]; i++, x += height * width, y += plane) {                    \
            if (!inside || c->nearest) {                                                                  \
                *y = inside ? x[row.low * width + column.low] : tm_store_##s((C)c->outside);              \
                continue;                                                                                 \
            }                                                                                             \
            C a = tm_load_##s(x[row.low * width + column.low]);                                           \
            C b = tm_load_##s(x[row.low * width + column.high]);                                          \
            C d = tm_load_##s(x[row.high * width + column.low]);                                          \
            C e = tm_load_##s(x[row.high * width + column.high]);                                         \
            C top = a + (b - a) * across, bottom = d + (e - d) * across;                                  \
            *y = tm_store_##s(top + (bottom - top) * down);                                               \
        }                                                                                                 \
    }                                                                                                     \
    static int32_t crop_boxes_##s(void *arg, int64_t begin, int64_t end) {                                \
        const crops *c = arg;                                                                             \
        int64_t rows = c->y->dims[2], columns = c->y->dims[3];                                            \
        for (int64_t box = begin; box < end; box++)                                                       \
            for (int64_t at = 0; at < rows * columns; at++) {                                             \
                double from[4];                                                                           \
                for (int64_t k = 0; k < 4; k++)                                                           \
                    from[k] = tm_real_get(c->boxes, box * 4 + k);                                         \
                position row = position_of(c, from[0], from[2], at / columns, rows, c->x->dims[2]);       \
                position column = position_of(c, from[1], from[3], at % columns, columns, c->x->dims[3]); \
                crop_point_##s(c, box, row, column, at);                                                  \
            }                                                                                             \
        return 0;                                                                                         \
    }                                                                                                     \
    TM_KERNEL(ms_CropAndResize, s) {                                                                      \
        const tm_attrs_CropAndResize *a = tm_attributes(call);                                            \
        crops c = {.x = tm_in(run, call, 0),                                                              \
                   .boxes = tm_in(run, call, 1),                                                          \
                   .images = tm_in(run, call, 2),                                                         \
                   .y = tm_out(run, call, 0),                                                             \
                   .outside = a->extrapolation_value,                                                     \
                   .nearest = tm_is(a, a->mode, "nearest"),                                               \
                   .single = sizeof(C) == sizeof(float)};                                                 \
        int32_t code = check_images(run, call, &c);                                                       \
        return code != 0 ? code : tm_parallel(run, c.boxes->dims[0], 1, crop_boxes_##s, &c);              \
    }
TM_FOR_FLOAT_TYPES(CROP)
