/* SPDX-License-Identifier: Apache-2.0
 *
 * window.h: where the windows of a convolution or pool lie.
 *
 * Along spatial axis i, output position o looks at input positions o*stride + k*dilation - head for
 * k = 0..kernel-1, of which those outside of 0..in-1 are padding. Attribute lists that are absent mean
 * ones (strides, dilations) or zeros (pads); auto_pad SAME_* splits the padding that the output dims need.
 */
#ifndef TM_OPS_WINDOW_H
#define TM_OPS_WINDOW_H

#include "runtime/kernel.h"

#define TM_WINDOW_AXES (TAMIS_MAX_RANK - 2)

typedef struct tm_window {
    int32_t axes;
    int64_t in[TM_WINDOW_AXES], out[TM_WINDOW_AXES], kernel[TM_WINDOW_AXES];
    int64_t stride[TM_WINDOW_AXES], dilation[TM_WINDOW_AXES], head[TM_WINDOW_AXES];
    int64_t in_count, out_count, kernel_count;
} tm_window;

/* The lists of an op's attributes that concern windows. */
typedef struct tm_window_lists {
    tm_list auto_pad, dilations, pads, strides;
} tm_window_lists;

/* `in`, `out` and `kernel` are spatial dims. */
void tm_window_init(tm_window *window, int32_t axes, const int64_t *in, const int64_t *out,
                    const int64_t *kernel, const void *attributes, tm_window_lists lists);

/* First and end k (equal when there is none) for which start + k*dilation lies in 0..in-1. */
static inline void tm_window_clip(int64_t start, int64_t dilation, int64_t kernel, int64_t in,
                                  int64_t *out_first, int64_t *out_end) {
    int64_t first = start < 0 ? (-start + dilation - 1) / dilation : 0;
    int64_t end = start < in ? (in - start + dilation - 1) / dilation : 0;
    *out_end = end < kernel ? end : kernel;
    *out_first = first < *out_end ? first : *out_end;
}

/* Steps the odometer `at` over `dims`, last axis first; false when it is back at the start. */
static inline bool tm_window_next(int32_t axes, const int64_t *dims, int64_t *at) {
    for (int32_t i = axes - 1; i >= 0; i--) {
        if (++at[i] < dims[i])
            return true;
        at[i] = 0;
    }
    return false;
}

/* Positions of the kernel, [first, end) on each axis, that some column of a run may find inside of the data:
 * the run starts at input position `start`, for `count` columns along the last axis. False when there are
 * none. A kernel may be much larger than its data. */
static inline bool tm_window_reach(const tm_window *window, const int64_t *start, int64_t count,
                                   int64_t *out_first, int64_t *out_end) {
    bool any = true;
    for (int32_t i = 0; i < window->axes; i++) {
        int64_t dilation = window->dilation[i], last = start[i]; /* where the last column starts */
        if (i + 1 == window->axes && count > 0)
            last += (count - 1) * window->stride[i];
        int64_t end = start[i] < window->in[i] ? (window->in[i] - start[i] + dilation - 1) / dilation : 0;
        out_first[i] = last < 0 ? (-last + dilation - 1) / dilation : 0;
        out_end[i] = end < window->kernel[i] ? end : window->kernel[i];
        any = any && out_first[i] < out_end[i];
    }
    return any;
}

/* Steps the odometer over those. */
static inline bool tm_window_next_in(int32_t axes, const int64_t *first, const int64_t *end, int64_t *at) {
    for (int32_t i = axes - 1; i >= 0; i--) {
        if (++at[i] < end[i])
            return true;
        at[i] = first[i];
    }
    return false;
}

#endif
