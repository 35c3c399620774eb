/* SPDX-License-Identifier: Apache-2.0
 *
 * Conv and ConvTranspose for all float types. The work is in convolution.inc, for float and double;
 * float16 and bfloat16 are converted as a whole, summed in float and rounded once.
 */
#include "runtime/ops/convolution.h"
#include "runtime/ops/element.h"
#include "runtime/ops/product.h"

#define T float
#define N f32
#include "runtime/ops/convolution.inc"

#define T double
#define N f64
#include "runtime/ops/convolution.inc"

static int32_t conv_shape(tm_run *run, const tm_call *call, tm_convolution *out) {
    const tm_attrs_Conv *a = tm_attributes(call);
    tm_window_lists lists = {a->auto_pad, a->dilations, a->pads, a->strides};
    return tm_convolution_init(run, call, out, tm_in(run, call, 0), tm_in(run, call, 1), tm_out(run, call, 0),
                               a->group, lists);
}

/* The convolution that is undone: its input is y, its output x. */
static int32_t transpose_shape(tm_run *run, const tm_call *call, tm_convolution *out) {
    const tm_attrs_ConvTranspose *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0), *w = tm_in(run, call, 1), *y = tm_out(run, call, 0);
    tm_window_lists lists = {a->auto_pad, a->dilations, a->pads, a->strides};
    tm_window *window = &out->window;
    tm_window_init(window, x->rank - 2, y->dims + 2, x->dims + 2, w->dims + 2, a, lists);
    bool upper = tm_is(a, a->auto_pad, "SAME_UPPER");
    if (upper || tm_is(a, a->auto_pad, "SAME_LOWER") || a->output_shape.count > 0)
        for (int32_t i = 0; i < window->axes; i++) {
            int64_t more = a->output_padding.count > 0 ? tm_ints(a, a->output_padding)[i] : 0;
            int64_t all = (window->out[i] - 1) * window->stride[i] + more +
                          (window->kernel[i] - 1) * window->dilation[i] + 1 - window->in[i];
            all = all < 0 ? 0 : all;
            window->head[i] = upper ? all / 2 : all - all / 2;
        }
    out->samples = x->dims[0];
    out->groups = a->group;
    out->channels = x->dims[1] / a->group;
    out->filters = w->dims[1];
    if (w->dims[0] != x->dims[1])
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, x->dims[1], w->dims[0]);
    if (x->dims[1] % a->group != 0)
        return tm_fail(run, call, TM_RUN_NOT_MULTIPLE, x->dims[1], a->group);
    return 0;
}

static int64_t column_count(const tm_convolution *convolution) {
    return convolution->filters * convolution->window.kernel_count * convolution->window.out_count;
}

static const void *bias_of(const tm_run *run, const tm_call *call) {
    const tamis_tensor *bias = tm_in(run, call, 2);
    return bias != NULL ? bias->data : NULL;
}

#define X(s, T)                                                                                   \
    TM_KERNEL(Conv, s) {                                                                          \
        tm_convolution convolution;                                                               \
        int32_t code = conv_shape(run, call, &convolution);                                       \
        if (code != 0)                                                                            \
            return code;                                                                          \
        job_##s job = {&convolution,       tm_in(run, call, 0)->data,  tm_in(run, call, 1)->data, \
                       bias_of(run, call), tm_out(run, call, 0)->data, NULL};                     \
        return convolve_##s(run, &job);                                                           \
    }                                                                                             \
    TM_KERNEL(ConvTranspose, s) {                                                                 \
        tm_convolution convolution;                                                               \
        int32_t code = transpose_shape(run, call, &convolution);                                  \
        if (code != 0)                                                                            \
            return code;                                                                          \
        int64_t bytes = column_count(&convolution) * (int64_t)sizeof(T) + TAMIS_ALIGNMENT;        \
        T *columns = tm_scratch(run, call, bytes);                                                \
        if (columns == NULL)                                                                      \
            return run->code;                                                                     \
        job_##s job = {&convolution,       tm_in(run, call, 0)->data,  tm_in(run, call, 1)->data, \
                       bias_of(run, call), tm_out(run, call, 0)->data, columns};                  \
        code = transpose_##s(run, &job);                                                          \
        tm_unscratch(run, columns, bytes);                                                        \
        return code;                                                                              \
    }
X(f32, float)
X(f64, double)
#undef X

/* Converts the inputs, calls `work`, converts the output. */
#define X(s, S, C)                                                                                        \
    static int32_t through_float_##s(tm_run *run, const tm_call *call, const tm_convolution *convolution, \
                                     int64_t columns, int32_t (*work)(tm_run *, const job_f32 *)) {       \
        tamis_tensor *y = tm_out(run, call, 0);                                                           \
        int64_t counts[3] = {0, 0, 0}, total = tm_count(y) + columns;                                     \
        for (int i = 0; i < 3; i++) {                                                                     \
            counts[i] = tm_in(run, call, i) != NULL ? tm_count(tm_in(run, call, i)) : 0;                  \
            total += counts[i];                                                                           \
        }                                                                                                 \
        int64_t bytes = total * (int64_t)sizeof(float) + TAMIS_ALIGNMENT;                                 \
        float *wide = tm_scratch(run, call, bytes);                                                       \
        if (wide == NULL)                                                                                 \
            return run->code;                                                                             \
        float *next = wide, *parts[3];                                                                    \
        for (int i = 0; i < 3; i++) {                                                                     \
            parts[i] = next;                                                                              \
            const S *from = counts[i] > 0 ? tm_in(run, call, i)->data : NULL;                             \
            for (int64_t j = 0; j < counts[i]; j++)                                                       \
                next[j] = tm_load_##s(from[j]);                                                           \
            next += counts[i];                                                                            \
        }                                                                                                 \
        job_f32 job = {convolution, parts[0],                                                             \
                       parts[1],    tm_in(run, call, 2) != NULL ? parts[2] : NULL,                        \
                       next,        next + tm_count(y)};                                                  \
        int32_t code = work(run, &job);                                                                   \
        S *to = y->data;                                                                                  \
        for (int64_t j = 0; j < tm_count(y); j++)                                                         \
            to[j] = tm_store_##s(next[j]);                                                                \
        tm_unscratch(run, wide, bytes);                                                                   \
        return code;                                                                                      \
    }                                                                                                     \
    TM_KERNEL(Conv, s) {                                                                                  \
        tm_convolution convolution;                                                                       \
        int32_t code = conv_shape(run, call, &convolution);                                               \
        return code != 0 ? code : through_float_##s(run, call, &convolution, 0, convolve_f32);            \
    }                                                                                                     \
    TM_KERNEL(ConvTranspose, s) {                                                                         \
        tm_convolution convolution;                                                                       \
        int32_t code = transpose_shape(run, call, &convolution);                                          \
        if (code != 0)                                                                                    \
            return code;                                                                                  \
        return through_float_##s(run, call, &convolution, column_count(&convolution), transpose_f32);     \
    }
TM_FOR_HALF_TYPES(X)
#undef X
