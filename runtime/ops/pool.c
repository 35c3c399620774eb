/* SPDX-License-Identifier: Apache-2.0
 *
 * MaxPool, AveragePool, LpPool, and the global ones.
 *
 * A plane (one channel of one sample) is pooled a row of the output at a time: for each position in the
 * window, the run of inputs that the row's columns see there is folded into a row of accumulators. So the
 * inner loop goes over columns, and the order of a sum is that of the window. Positions of the window that no
 * column finds inside of the data are left out: a window may be much larger than its data.
 *
 *     window 2x2, stride 2:   acc[j] = fold(fold(fold(x[0][2j], x[0][2j+1]), x[1][2j]), x[1][2j+1])
 *
 * MaxPool with Indices looks at each window by itself. Averages divide by the number of positions: those
 * inside of the data, or with count_include_pad those inside of data and padding (not what ceil_mode adds).
 */
#include "runtime/math/math.h"
#include "runtime/ops/convolution.h"
#include "runtime/ops/element.h"

#define PIECE 256

typedef struct pool {
    tm_window window;
    const void *x;
    void *y;
    int64_t *indices;
    int64_t p;
    bool count_padding, column_major;
    int64_t bound[TM_WINDOW_AXES]; /* end of data and padding behind it */
} pool;

static void pool_init(tm_run *run, const tm_call *call, pool *out, tm_list kernel, tm_window_lists lists) {
    const void *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0), *indices = tm_out(run, call, 1);
    tm_window *window = &out->window;
    tm_window_init(window, x->rank - 2, x->dims + 2, y->dims + 2, tm_ints(a, kernel), a, lists);
    bool listed = lists.pads.count > 0 && tm_is(a, lists.auto_pad, "NOTSET");
    bool valid = !listed && (tm_is(a, lists.auto_pad, "NOTSET") || tm_is(a, lists.auto_pad, "VALID"));
    for (int32_t i = 0; i < window->axes; i++) {
        int64_t tail = listed  ? tm_ints(a, lists.pads)[window->axes + i]
                       : valid ? 0
                               : window->kernel[i] * window->dilation[i];
        out->bound[i] = window->in[i] + tail;
    }
    out->x = x->data;
    out->y = y->data;
    out->indices = indices != NULL ? indices->data : NULL;
    out->p = 0;
    out->count_padding = out->column_major = false;
}

static int32_t run_planes(tm_run *run, const tm_call *call, pool *job,
                          int32_t (*body)(void *, int64_t, int64_t)) {
    const tamis_tensor *x = tm_in(run, call, 0);
    int64_t work = job->window.out_count * job->window.kernel_count;
    return tm_parallel(run, x->dims[0] * x->dims[1], 32768 / (work + 1) + 1, body, job);
}

/* acc[j] = fold(acc[j], x) over one run of the input. */
#define FOLD_RUN(s, C, step, expression)                 \
    TM_SHORT_ROW for (int64_t j = first; j < end; j++) { \
        C v = tm_load_##s(from[j * (step)]), a = acc[j]; \
        acc[j] = (C)(expression);                        \
    }
/* A row of one column, as of pools over all that there is: along the last axis of the window. */
#define FOLD_COLUMN(s, S, C, name, expression)                                                         \
    static void name##_column_##s(const pool *job, const S *x, const tm_segment *segment,              \
                                  const int64_t *low, const int64_t *high, int64_t *at, C *acc) {      \
        const tm_window *window = &job->window;                                                        \
        const int32_t last = window->axes - 1;                                                         \
        const int64_t run = high[last] - low[last], step = window->dilation[last];                     \
        C a = acc[0];                                                                                  \
        do {                                                                                           \
            int64_t first, end;                                                                        \
            const S *from = x + tm_segment_row(window, segment, at, &first, &end);                     \
            for (int64_t i = 0; i < run; i++) {                                                        \
                C v = tm_load_##s(from[i * step]);                                                     \
                a = (C)(expression);                                                                   \
            }                                                                                          \
            at[last] = high[last] - 1;                                                                 \
        } while (tm_window_next_in(window->axes, low, high, at));                                      \
        acc[0] = a;                                                                                    \
    }
#define FOLD_ROWS(s, S, C, name, initial, expression)                                       \
    FOLD_COLUMN(s, S, C, name, expression)                                                  \
    static void name##_##s(const pool *job, const S *restrict x, const tm_segment *segment, \
                           C *restrict acc) {                                               \
        const tm_window *window = &job->window;                                             \
        int64_t at[TM_WINDOW_AXES], low[TM_WINDOW_AXES], high[TM_WINDOW_AXES];              \
        int64_t stride = window->stride[window->axes - 1];                                  \
        for (int64_t j = 0; j < segment->count; j++)                                        \
            acc[j] = (initial);                                                             \
        if (!tm_window_reach(window, segment->start, segment->count, low, high))            \
            return;                                                                         \
        for (int32_t i = 0; i < window->axes; i++)                                          \
            at[i] = low[i];                                                                 \
        if (segment->count == 1) {                                                          \
            name##_column_##s(job, x, segment, low, high, at, acc);                         \
            return;                                                                         \
        }                                                                                   \
        do {                                                                                \
            int64_t first, end;                                                             \
            const S *from = x + tm_segment_row(window, segment, at, &first, &end);          \
            if (stride == 1)                                                                \
                FOLD_RUN(s, C, 1, expression)                                               \
            else if (stride == 2)                                                           \
                FOLD_RUN(s, C, 2, expression)                                               \
            else                                                                            \
                FOLD_RUN(s, C, stride, expression)                                          \
        } while (tm_window_next_in(window->axes, low, high, at));                           \
    }

/* All planes begin..end: `fold` the rows, then `finish` a row of accumulators (segment, acc). */
#define POOL_BODY(s, S, C, name, fold, finish)                                    \
    static int32_t name##_##s(void *arg, int64_t begin, int64_t end) {            \
        const pool *job = arg;                                                    \
        const tm_window *window = &job->window;                                   \
        int64_t width = window->out[window->axes - 1];                            \
        for (int64_t plane = begin; plane < end; plane++) {                       \
            const S *x = (const S *)job->x + plane * window->in_count;            \
            S *y = (S *)job->y + plane * window->out_count;                       \
            for (int64_t done = 0; done < window->out_count;) {                   \
                int64_t room = width - done % width;                              \
                tm_segment segment;                                               \
                C acc[PIECE];                                                     \
                tm_segments(window, done, room < PIECE ? room : PIECE, &segment); \
                fold##_##s(job, x, &segment, acc);                                \
                finish;                                                           \
                for (int64_t j = 0; j < segment.count; j++)                       \
                    y[done + j] = tm_store_##s(acc[j]);                           \
                done += segment.count;                                            \
            }                                                                     \
        }                                                                         \
        return 0;                                                                 \
    }

/* ---- MaxPool ---- */
#define LOWEST_f32 (-tm_inf_f32())
#define LOWEST_f64 (-tm_inf_f64())
#define LOWEST_f16 (-tm_inf_f32())
#define LOWEST_bf16 (-tm_inf_f32())
#define LOWEST_i8 INT8_MIN
#define LOWEST_u8 0

#define X(s, S, C)                                                                              \
    FOLD_ROWS(s, S, C, fold_max, LOWEST_##s, v > a || v != v ? v : a)                           \
    POOL_BODY(s, S, C, max, fold_max, )                                                         \
    static int32_t max_indices_##s(void *arg, int64_t begin, int64_t end) {                     \
        const pool *job = arg;                                                                  \
        const tm_window *window = &job->window;                                                 \
        for (int64_t plane = begin; plane < end; plane++) {                                     \
            const S *x = (const S *)job->x + plane * window->in_count;                          \
            for (int64_t o = 0; o < window->out_count; o++) {                                   \
                int64_t best = max_of_window_##s(window, x, o);                                 \
                int64_t to = plane * window->out_count + o;                                     \
                ((S *)job->y)[to] = best >= 0 ? x[best] : tm_store_##s(LOWEST_##s);             \
                job->indices[to] = best < 0 ? -1 : plane * window->in_count + place(job, best); \
            }                                                                                   \
        }                                                                                       \
        return 0;                                                                               \
    }                                                                                           \
    TM_KERNEL(MaxPool, s) {                                                                     \
        const tm_attrs_MaxPool *a = tm_attributes(call);                                        \
        tm_window_lists lists = {a->auto_pad, a->dilations, a->pads, a->strides};               \
        pool job;                                                                               \
        pool_init(run, call, &job, a->kernel_shape, lists);                                     \
        job.column_major = a->storage_order != 0;                                               \
        return run_planes(run, call, &job, job.indices != NULL ? max_indices_##s : max_##s);    \
    }

/* An offset in row-major order as one in column-major order. */
static int64_t place(const pool *job, int64_t offset) {
    const tm_window *window = &job->window;
    if (!job->column_major)
        return offset;
    int64_t result = 0, rest = window->in_count;
    for (int32_t i = window->axes - 1; i >= 0; i--) {
        rest /= window->in[i];
        result += offset % window->in[i] * rest;
        offset /= window->in[i];
    }
    return result;
}

#define Y(s, S, C)                                                                         \
    static int64_t max_of_window_##s(const tm_window *window, const S *x, int64_t o) {     \
        tm_segment segment;                                                                \
        int64_t at[TM_WINDOW_AXES], low[TM_WINDOW_AXES], high[TM_WINDOW_AXES], best = -1;  \
        C largest = 0;                                                                     \
        tm_segments(window, o, 1, &segment);                                               \
        if (!tm_window_reach(window, segment.start, 1, low, high))                         \
            return best;                                                                   \
        for (int32_t i = 0; i < window->axes; i++)                                         \
            at[i] = low[i];                                                                \
        do {                                                                               \
            int64_t first, end, from = tm_segment_row(window, &segment, at, &first, &end); \
            if (first >= end)                                                              \
                continue;                                                                  \
            C v = tm_load_##s(x[from]);                                                    \
            if (best < 0 || v > largest || (v != v && largest == largest)) {               \
                largest = v;                                                               \
                best = from;                                                               \
            }                                                                              \
        } while (tm_window_next_in(window->axes, low, high, at));                          \
        return best;                                                                       \
    }
TM_FOR_FLOAT_TYPES(Y)
Y(i8, int8_t, int8_t)
Y(u8, uint8_t, uint8_t)
#undef Y
TM_FOR_FLOAT_TYPES(X)
X(i8, int8_t, int8_t)
X(u8, uint8_t, uint8_t)
#undef X

/* ---- AveragePool ---- */
/* Number of positions that count for each column of a segment. */
static void count_positions(const pool *job, const tm_segment *segment, int64_t *counts) {
    const tm_window *window = &job->window;
    int32_t last = window->axes - 1;
    int64_t outer = 1, first, end;
    for (int32_t i = 0; i < last; i++) {
        int64_t start = segment->start[i], limit = job->count_padding ? job->bound[i] : window->in[i];
        tm_window_clip(start, window->dilation[i], window->kernel[i], limit, &first, &end);
        outer *= job->count_padding ? end : end - first;
    }
    for (int64_t j = 0; j < segment->count; j++) {
        int64_t start = segment->start[last] + j * window->stride[last];
        int64_t limit = job->count_padding ? job->bound[last] : window->in[last];
        tm_window_clip(start, window->dilation[last], window->kernel[last], limit, &first, &end);
        counts[j] = outer * (job->count_padding ? end : end - first);
    }
}

#define DIVIDE                                  \
    int64_t counts[PIECE];                      \
    count_positions(job, &segment, counts);     \
    for (int64_t j = 0; j < segment.count; j++) \
        acc[j] = counts[j] > 0 ? acc[j] / (float)counts[j] : 0;

#define X(s, S, C)                                                                \
    FOLD_ROWS(s, S, C, fold_sum, 0, a + v)                                        \
    POOL_BODY(s, S, C, average, fold_sum, DIVIDE)                                 \
    TM_KERNEL(AveragePool, s) {                                                   \
        const tm_attrs_AveragePool *a = tm_attributes(call);                      \
        tm_window_lists lists = {a->auto_pad, a->dilations, a->pads, a->strides}; \
        pool job;                                                                 \
        pool_init(run, call, &job, a->kernel_shape, lists);                       \
        job.count_padding = a->count_include_pad != 0;                            \
        return run_planes(run, call, &job, average_##s);                          \
    }
TM_FOR_FLOAT_TYPES(X)
#undef X

/* ---- LpPool: (sum of |x|^p)^(1/p) ---- */
#define ABS(v) ((v) < 0 ? -(v) : (v))
#define POWER_f32 tm_pow_f32
#define POWER_f16 tm_pow_f32
#define POWER_bf16 tm_pow_f32
#define POWER_f64 tm_pow_f64
#define ROOT(s, C)                                                                       \
    for (int64_t j = 0; j < segment.count; j++)                                          \
        acc[j] = job->p == 1   ? acc[j]                                                  \
                 : job->p == 2 ? (C)(sizeof(C) == 4 ? (C)__builtin_sqrtf((float)acc[j])  \
                                                    : (C)__builtin_sqrt((double)acc[j])) \
                               : POWER_##s(acc[j], (C)1 / (C)job->p);

#define X(s, S, C)                                                                \
    FOLD_ROWS(s, S, C, fold_lp, 0,                                                \
              a + (job->p == 2   ? v * v                                          \
                   : job->p == 1 ? ABS(v)                                         \
                                 : POWER_##s(ABS(v), (C)job->p)))                 \
    POOL_BODY(s, S, C, lp, fold_lp, ROOT(s, C))                                   \
    TM_KERNEL(LpPool, s) {                                                        \
        const tm_attrs_LpPool *a = tm_attributes(call);                           \
        tm_window_lists lists = {a->auto_pad, a->dilations, a->pads, a->strides}; \
        pool job;                                                                 \
        pool_init(run, call, &job, a->kernel_shape, lists);                       \
        job.p = a->p;                                                             \
        return run_planes(run, call, &job, lp_##s);                               \
    }
TM_FOR_FLOAT_TYPES(X)
#undef X
