/* SPDX-License-Identifier: Apache-2.0
 *
 * Windows: rows of what the windows of a convolution see of an image of bytes (ir/ops/windows.h).
 *
 * Where the last axis has a dilation of one, the taps of a row of the window are one run of bytes; else each
 * tap is. Each output position is filled with the zero point first, then taps inside of the image are copied.
 */
#include "runtime/attributes_layout.h"
#include "runtime/ops/window.h"

#define ALIGNMENT 16 /* of runs */

typedef struct job {
    tm_window window;
    const tamis_tensor *x, *y;
    int64_t channels, row, run, taps; /* bytes of a row and of a run; taps of a run */
    int byte;
} job;

static void copy_run(const job *j, const uint8_t *image, const int64_t *start, const int64_t *at,
                     uint8_t *to) {
    const tm_window *w = &j->window;
    int32_t last = w->axes - 1;
    int64_t from = 0;
    for (int32_t i = 0; i < w->axes; i++) {
        int64_t position = start[i] + at[i] * w->dilation[i];
        if (i < last && (position < 0 || position >= w->in[i]))
            return;
        from = from * w->in[i] + position;
    }
    int64_t position = start[last] + at[last] * w->dilation[last];
    int64_t first = position < 0 ? -position : 0;
    int64_t end = w->in[last] - position < j->taps ? w->in[last] - position : j->taps;
    if (first < end)
        memcpy(to + first * j->channels, image + (from + first) * j->channels,
               (size_t)((end - first) * j->channels));
}

static int32_t rows(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const tm_window *w = &j->window;
    int64_t kernel[TM_WINDOW_AXES];
    for (int32_t i = 0; i < w->axes; i++)
        kernel[i] = w->kernel[i];
    kernel[w->axes - 1] /= j->taps;
    for (int64_t row = begin; row < end; row++) {
        int64_t start[TM_WINDOW_AXES], at[TM_WINDOW_AXES] = {0}, rest = row;
        for (int32_t i = w->axes - 1; i >= 0; i--) {
            start[i] = rest % w->out[i] * w->stride[i] - w->head[i];
            rest /= w->out[i];
        }
        const uint8_t *image = (const uint8_t *)j->x->data + rest * w->in_count * j->channels;
        uint8_t *to = (uint8_t *)j->y->data + row * j->row;
        memset(to, j->byte, (size_t)j->row);
        do {
            copy_run(j, image, start, at, to);
            to += j->run;
        } while (tm_window_next(w->axes, kernel, at));
    }
    return 0;
}

int32_t tm_k_Windows(tm_run *run, const tm_call *call) {
    const tm_attrs_Windows *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0), *zero = tm_in(run, call, 1), *y = tm_out(run, call, 0);
    int32_t axes = x->rank - 2;
    job j = {.x = x, .y = y, .channels = x->dims[axes + 1], .row = y->dims[axes + 1]};
    tm_window_lists lists = {a->auto_pad, a->dilations, a->pads, a->strides};
    tm_window_init(&j.window, axes, x->dims + 1, y->dims + 1, tm_ints(a, a->kernel_shape), a, lists);
    j.taps = j.window.dilation[axes - 1] == 1 ? j.window.kernel[axes - 1] : 1;
    j.run = (j.taps * j.channels + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    j.byte = zero != NULL ? *(const uint8_t *)zero->data : 0;
    return tm_parallel(run, y->dims[0] * j.window.out_count, 65536 / (j.row + 1) + 1, rows, &j);
}
