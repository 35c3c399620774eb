/* SPDX-License-Identifier: Apache-2.0
 *
 * Dims of convolutions and the columns of their im2col panels; see convolution.h.
 */
#include "runtime/ops/convolution.h"

int32_t tm_convolution_init(tm_run *run, const tm_call *call, tm_convolution *out, const tamis_tensor *x,
                            const tamis_tensor *w, const tamis_tensor *y, int64_t groups,
                            tm_window_lists lists) {
    tm_window_init(&out->window, x->rank - 2, x->dims + 2, y->dims + 2, w->dims + 2, tm_attributes(call),
                   lists);
    out->samples = x->dims[0];
    out->groups = groups;
    out->channels = w->dims[1];
    out->filters = w->dims[0] / groups;
    if (x->dims[1] != out->channels * groups)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, x->dims[1], out->channels * groups);
    if (w->dims[0] % groups != 0)
        return tm_fail(run, call, TM_RUN_NOT_MULTIPLE, w->dims[0], groups);
    return 0;
}

bool tm_convolution_is_plain(const tm_convolution *convolution) {
    const tm_window *window = &convolution->window;
    for (int32_t i = 0; i < window->axes; i++)
        if (window->kernel[i] != 1 || window->stride[i] != 1 || window->head[i] != 0 ||
            window->in[i] != window->out[i])
            return false;
    return true;
}

int32_t tm_segments(const tm_window *window, int64_t n0, int64_t width, tm_segment *segments) {
    int32_t count = 0, last = window->axes - 1;
    for (int64_t done = 0; done < width;) {
        tm_segment *segment = &segments[count++];
        int64_t position = n0 + done;
        int64_t column = position % window->out[last];
        int64_t room = window->out[last] - column;
        segment->column = done;
        segment->count = room < width - done ? room : width - done;
        for (int32_t i = last; i >= 0; i--) {
            segment->start[i] = position % window->out[i] * window->stride[i] - window->head[i];
            position /= window->out[i];
        }
        done += segment->count;
    }
    return count;
}

/* Steps of `stride` that cover a distance. Divisions of 64 bits cost more than the short row they are for. */
static int64_t steps(int64_t distance, int64_t stride) {
    if (stride == 1)
        return distance;
    if (stride == 2)
        return (distance + 1) >> 1;
    return (distance + stride - 1) / stride;
}

int64_t tm_segment_row(const tm_window *window, const tm_segment *segment, const int64_t *at, int64_t *first,
                       int64_t *end) {
    int32_t last = window->axes - 1;
    int64_t offset = 0;
    *first = *end = 0;
    for (int32_t i = 0; i < last; i++) {
        int64_t position = segment->start[i] + at[i] * window->dilation[i];
        if (position < 0 || position >= window->in[i])
            return 0;
        offset = (offset + position) * window->in[i + 1];
    }
    int64_t start = segment->start[last] + at[last] * window->dilation[last];
    int64_t stride = window->stride[last];
    *first = start < 0 ? steps(-start, stride) : 0;
    *end = start < window->in[last] ? steps(window->in[last] - start, stride) : 0;
    *end = *end < segment->count ? *end : segment->count;
    *first = *first < *end ? *first : *end;
    return offset + start;
}

int64_t tm_kernel_position(const tm_window *window, int64_t k, int64_t *at) {
    for (int32_t i = window->axes - 1; i >= 0; i--) {
        const int64_t size = window->kernel[i] > 0 ? window->kernel[i] : 1; /* kernels may be empty */
        at[i] = k % size;
        k /= size;
    }
    return k;
}
