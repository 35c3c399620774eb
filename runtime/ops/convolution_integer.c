/* SPDX-License-Identifier: Apache-2.0
 *
 * ConvInteger and QLinearConv: convolution of 8-bit integers minus their zero points, exactly, in int32, by
 * the product of product_integer.h. Padding is the input's zero point, that is 0 after the subtraction.
 * QLinearConv adds an int32 bias, scales in float, rounds half to even and saturates.
 */
#include "runtime/ops/convolution.h"
#include "runtime/ops/product_integer.h"
#include "runtime/ops/real.h"

typedef struct job {
    tm_convolution convolution;
    const tamis_tensor *x, *w, *x_zero, *w_zero;
    int64_t k;
} job;

static void pack(const tm_product_i16 *p, int64_t p0, int64_t depth, int64_t n0, int64_t width,
                 int16_t *panel) {
    const job *j = p->context;
    const tm_window *window = &j->convolution.window;
    tm_segment segments[TM_SEGMENTS];
    int64_t at[TM_WINDOW_AXES];
    int32_t count = tm_segments(window, n0, width, segments);
    int64_t stride = window->stride[window->axes - 1];
    int32_t zero = tm_zero_point(j->x_zero, 0);
    bool is_signed = j->x->type == TAMIS_TYPE_INT8;
    int64_t channel = tm_kernel_position(window, 2 * p0, at) * window->in_count;
    for (int64_t i = 0; i < depth * TM_PAIR_COLUMNS * 2; i++)
        panel[i] = 0;
    for (int64_t row = 0; row < 2 * depth && 2 * p0 + row < j->k; row++) {
        for (int32_t s = 0; s < count; s++) {
            int64_t first, end;
            int64_t from = channel + tm_segment_row(window, &segments[s], at, &first, &end);
            int16_t *to = panel + (row / 2 * TM_PAIR_COLUMNS + segments[s].column) * 2 + row % 2;
            if (is_signed)
                for (int64_t c = first; c < end; c++)
                    to[2 * c] = (int16_t)(((const int8_t *)p->b)[from + c * stride] - zero);
            else
                for (int64_t c = first; c < end; c++)
                    to[2 * c] = (int16_t)(((const uint8_t *)p->b)[from + c * stride] - zero);
        }
        if (!tm_window_next(window->axes, window->kernel, at))
            channel += window->in_count;
    }
}

static void locate(const void *context, int64_t batch, tm_product_i16 *p) {
    const tm_convolution *convolution = context;
    p->a += batch % convolution->groups * p->m * p->pairs * 2;
    p->b = (const char *)p->b + batch * convolution->channels * convolution->window.in_count;
    p->c += batch * p->m * p->n;
}

static int64_t count_or_one(const tamis_tensor *t) {
    return t != NULL ? tm_count(t) : 1;
}

static int64_t wide_bytes(const job *j) {
    return j->w->dims[0] * ((j->k + 1) / 2 * 2) * (int64_t)sizeof(int16_t) + TAMIS_ALIGNMENT;
}

static int32_t convolve(tm_run *run, const job *j, int16_t *wide, int32_t *sums) {
    const tm_convolution *convolution = &j->convolution;
    tm_widen_rows(j->w, 0, j->w->dims[0], j->k, j->w_zero, 0, j->w->dims[0] > 0 ? j->w->dims[0] : 1, wide);
    tm_product_i16 p = {
        convolution->filters, convolution->window.out_count, (j->k + 1) / 2, wide, j->x->data, sums, pack, j};
    return tm_product_run_i16(run, &p, convolution->samples * convolution->groups, locate, convolution);
}

int32_t tm_k_ConvInteger(tm_run *run, const tm_call *call) {
    const tm_attrs_ConvInteger *a = tm_attributes(call);
    tm_window_lists lists = {a->auto_pad, a->dilations, a->pads, a->strides};
    job j = {.x = tm_in(run, call, 0),
             .w = tm_in(run, call, 1),
             .x_zero = tm_in(run, call, 2),
             .w_zero = tm_in(run, call, 3)};
    int32_t code =
        tm_convolution_init(run, call, &j.convolution, j.x, j.w, tm_out(run, call, 0), a->group, lists);
    if (code != 0)
        return code;
    if (count_or_one(j.x_zero) != 1 || !tm_parameter_fits(j.w_zero, j.w->dims[0], j.w->dims[0]))
        return tm_fail(run, call, TM_RUN_LIST_LENGTH, count_or_one(j.w_zero), j.w->dims[0]);
    j.k = j.convolution.channels * j.convolution.window.kernel_count;
    int64_t bytes = wide_bytes(&j);
    int16_t *wide = tm_scratch(run, call, bytes);
    if (wide == NULL)
        return run->code;
    code = convolve(run, &j, wide, tm_out(run, call, 0)->data);
    tm_unscratch(run, wide, bytes);
    return code;
}

typedef struct ending {
    int32_t *sums;
    int64_t size, filters;
    const tamis_tensor *x_scale, *w_scale, *y_scale, *y_zero, *bias, *y;
} ending;

static int32_t requantise_planes(void *arg, int64_t begin, int64_t end) {
    const ending *e = arg;
    int32_t zero = tm_zero_point(e->y_zero, 0);
    for (int64_t plane = begin; plane < end; plane++) {
        int64_t filter = plane % e->filters;
        int32_t *sums = e->sums + plane * e->size;
        uint32_t bias = e->bias != NULL ? ((const uint32_t *)e->bias->data)[filter] : 0;
        float w_scale = (float)tm_real_get(e->w_scale, tm_count(e->w_scale) == 1 ? 0 : filter);
        float scale = (float)tm_real_get(e->x_scale, 0) * w_scale / (float)tm_real_get(e->y_scale, 0);
        for (int64_t i = 0; i < e->size; i++)
            sums[i] = (int32_t)((uint32_t)sums[i] + bias);
        tm_requantise(sums, e->size, &scale, 0, zero, e->y->type, (uint8_t *)e->y->data + plane * e->size);
    }
    return 0;
}

int32_t tm_k_QLinearConv(tm_run *run, const tm_call *call) {
    const tm_attrs_QLinearConv *a = tm_attributes(call);
    tm_window_lists lists = {a->auto_pad, a->dilations, a->pads, a->strides};
    job j = {.x = tm_in(run, call, 0),
             .w = tm_in(run, call, 3),
             .x_zero = tm_in(run, call, 2),
             .w_zero = tm_in(run, call, 5)};
    const tamis_tensor *y = tm_out(run, call, 0);
    int32_t code = tm_convolution_init(run, call, &j.convolution, j.x, j.w, y, a->group, lists);
    if (code != 0)
        return code;
    const tamis_tensor *x_scale = tm_in(run, call, 1), *w_scale = tm_in(run, call, 4);
    const tamis_tensor *y_scale = tm_in(run, call, 6), *y_zero = tm_in(run, call, 7);
    int64_t filters = j.w->dims[0];
    if (!tm_parameter_fits(j.w_zero, filters, filters) || !tm_parameter_fits(w_scale, filters, filters))
        return tm_fail(run, call, TM_RUN_LIST_LENGTH, tm_count(w_scale), filters);
    if (count_or_one(j.x_zero) != 1 || tm_count(x_scale) != 1 || tm_count(y_scale) != 1 ||
        count_or_one(y_zero) != 1)
        return tm_fail(run, call, TM_RUN_LIST_LENGTH,
                       tm_count(x_scale) != 1 ? tm_count(x_scale) : tm_count(y_scale), 1);
    j.k = j.convolution.channels * j.convolution.window.kernel_count;
    int64_t sum_bytes = tm_count(y) * (int64_t)sizeof(int32_t) + TAMIS_ALIGNMENT,
            bytes = sum_bytes + wide_bytes(&j);
    char *memory = tm_scratch(run, call, bytes);
    if (memory == NULL)
        return run->code;
    code = convolve(run, &j, (int16_t *)(void *)(memory + sum_bytes), (int32_t *)(void *)memory);
    ending e = {(int32_t *)(void *)memory,
                j.convolution.window.out_count,
                j.convolution.filters * j.convolution.groups,
                x_scale,
                w_scale,
                y_scale,
                y_zero,
                tm_in(run, call, 8),
                y};
    if (code == 0)
        code = tm_parallel(run, y->dims[0] * y->dims[1], 16384 / (e.size + 1) + 1, requantise_planes, &e);
    tm_unscratch(run, memory, bytes);
    return code;
}
