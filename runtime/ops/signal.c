/* SPDX-License-Identifier: Apache-2.0
 *
 * DFT along an axis and STFT. Signals end in a dim of 1 (real) or 2 (real and imaginary part).
 *
 * TM_FOURIER_LANES transforms, a group, run side by side in memory of their own: SLOTS of those, each with
 * input, output and spare, share the groups. Lines shorter than the transform are filled up with zeros,
 * longer ones are cut. A line's bits do not depend on the others.
 *
 *     onesided forward   the first n/2 + 1 bins
 *     onesided inverse   the missing bins are conjugates of the given ones; the answer is real
 *
 * The arithmetic is double, except for complex float32 signals: the standard's own answers for those carry
 * float32 roundings above the tolerance that they are compared with (test_dft_inverse has 1.9e-7 where
 * the exact answer is 0), so they are computed in float, factor by factor, as they were made.
 */
#include "runtime/ops/fourier.h"
#include "runtime/ops/real.h"

#define SLOTS 16
#define LANES TM_FOURIER_LANES

typedef struct signal {
    const tamis_tensor *x, *window;
    tamis_tensor *y;
    int64_t n; /* length of the transform */
    const tm_complex_f64 *roots;
    const tm_complex_f32 *short_roots;
    tm_lanes_f64 *scratch; /* 3*n for each slot */
    int64_t lines;         /* transforms */
    int64_t inner;         /* lines that lie side by side */
    int64_t length;        /* elements of a line in x */
    int64_t bins;          /* in y */
    int64_t frames, step;  /* STFT */
    bool inverse, real_output, in_float;
} signal;

/* A lane of an element. */
static inline void set_lane(tm_lanes_f64 *to, int lane, double re, double im) {
    to->re[lane] = re;
    to->im[lane] = im;
}

static int64_t group_count(const signal *job) {
    return (job->lines + LANES - 1) / LANES;
}

static int64_t slot_count(const signal *job) {
    int64_t groups = group_count(job);
    return groups < SLOTS ? groups : SLOTS;
}

static int32_t run_slots(tm_run *run, const tm_call *call, signal *job,
                         int32_t (*body)(void *, int64_t, int64_t)) {
    int64_t n = job->n, slots = slot_count(job);
    if (slots == 0 || job->bins == 0)
        return 0;
    if (n < 1)
        return tm_fail(run, call, TM_RUN_TOO_SMALL, n, 1);
    int64_t lanes = 3 * slots * n * (int64_t)sizeof(tm_lanes_f64);
    int64_t bytes = lanes + n * (int64_t)sizeof(tm_complex_f64);
    uint8_t *memory = tm_scratch(run, call, bytes);
    if (memory == NULL)
        return run->code;
    job->scratch = (tm_lanes_f64 *)(void *)memory;
    job->roots = (const tm_complex_f64 *)(const void *)(memory + lanes);
    job->short_roots = (const tm_complex_f32 *)(const void *)(memory + lanes);
    if (job->in_float)
        tm_fourier_roots_f32(n, job->inverse, (tm_complex_f32 *)(void *)(memory + lanes));
    else
        tm_fourier_roots_f64(n, job->inverse, (tm_complex_f64 *)(void *)(memory + lanes));
    int32_t code = tm_parallel(run, slots, 1, body, job);
    tm_unscratch(run, memory, bytes);
    return code;
}

/* `given` elements of a line from `start` on, a window's factors with them, and zeros behind. */
static void load_line(const signal *job, int64_t start, int64_t given, int64_t parts, tm_lanes_f64 *to,
                      int lane) {
    const tamis_tensor *x = job->x;
    const float *floats = x->type == TAMIS_TYPE_FLOAT ? (const float *)x->data : NULL;
    for (int64_t i = 0; i < given; i++) {
        int64_t at = (start + i * job->inner) * parts;
        double re = floats != NULL ? (double)floats[at] : tm_real_get(x, at), im = 0;
        if (parts == 2)
            im = floats != NULL ? (double)floats[at + 1] : tm_real_get(x, at + 1);
        if (job->window != NULL) {
            double factor = tm_real_get(job->window, i);
            re *= factor;
            im *= factor;
        }
        set_lane(&to[i], lane, re, im);
    }
    for (int64_t i = given; i < job->n; i++)
        set_lane(&to[i], lane, 0, 0);
}

/* The elements that conjugate symmetry implies. */
static void complete_lines(const signal *job, tm_lanes_f64 *to) {
    int64_t n = job->n;
    const tm_fourier_vector_f64 zero = {0};
    to[0].im = zero;
    if (n % 2 == 0)
        to[n / 2].im = zero;
    for (int64_t i = n / 2 + 1; i < n; i++)
        to[i] = (tm_lanes_f64){to[n - i].re, -to[n - i].im};
}

/* from -> to, with 3*n elements at `from`. */
static void transform_group(const signal *job, tm_lanes_f64 *from) {
    int64_t n = job->n;
    if (!job->in_float) {
        double scale = job->inverse ? 1 / (double)n : 1;
        tm_lanes_f64 *to = from + n;
        tm_fourier_f64(n, job->inverse, job->roots, from, to, to + n);
        for (int64_t i = 0; i < n && job->inverse; i++)
            to[i] = (tm_lanes_f64){to[i].re * scale, to[i].im * scale};
        return;
    }
    float scale = job->inverse ? (float)(1 / (double)n) : 1;
    tm_lanes_f32 *to = (tm_lanes_f32 *)(void *)from, *x = (tm_lanes_f32 *)(void *)(from + 2 * n),
                 *spare = x + n;
    for (int64_t i = 0; i < n; i++)
        x[i] = (tm_lanes_f32){__builtin_convertvector(from[i].re, tm_fourier_vector_f32),
                              __builtin_convertvector(from[i].im, tm_fourier_vector_f32)};
    tm_fourier_f32(n, job->inverse, job->short_roots, x, to, spare);
    for (int64_t i = 0; i < n; i++)
        from[n + i] = (tm_lanes_f64){__builtin_convertvector(to[i].re * scale, tm_fourier_vector_f64),
                                     __builtin_convertvector(to[i].im * scale, tm_fourier_vector_f64)};
}

/* The bins of a lane, `step` elements apart in y. */
static void store_line(const signal *job, const tm_lanes_f64 *from, int lane, int64_t start, int64_t step) {
    tamis_tensor *y = job->y;
    float *floats = y->type == TAMIS_TYPE_FLOAT ? (float *)y->data : NULL;
    int parts = job->real_output ? 1 : 2;
    for (int64_t k = 0; k < job->bins; k++) {
        int64_t at = (start + k * step) * parts;
        if (floats != NULL) {
            floats[at] = (float)from[k].re[lane];
            if (parts == 2)
                floats[at + 1] = (float)from[k].im[lane];
            continue;
        }
        tm_real_set(y, at, from[k].re[lane]);
        if (parts == 2)
            tm_real_set(y, at + 1, from[k].im[lane]);
    }
}

static int32_t dft_slots(void *arg, int64_t begin, int64_t end) {
    const signal *job = arg;
    int64_t n = job->n, parts = job->x->dims[job->x->rank - 1], slots = slot_count(job);
    int64_t given = job->length < n ? job->length : n;
    if (job->real_output && given > n / 2 + 1)
        given = n / 2 + 1;
    for (int64_t slot = begin; slot < end; slot++) {
        tm_lanes_f64 *from = job->scratch + slot * 3 * n;
        for (int64_t group = slot; group < group_count(job); group += slots) {
            for (int lane = 0; lane < LANES; lane++) {
                int64_t line = group * LANES + lane;
                int64_t start = line / job->inner * job->length * job->inner + line % job->inner;
                load_line(job, start, line < job->lines ? given : 0, parts, from, lane);
            }
            if (job->real_output)
                complete_lines(job, from);
            transform_group(job, from);
            for (int lane = 0; lane < LANES && group * LANES + lane < job->lines; lane++) {
                int64_t line = group * LANES + lane;
                int64_t start = line / job->inner * job->bins * job->inner + line % job->inner;
                store_line(job, from + n, lane, start, job->inner);
            }
        }
    }
    return 0;
}

static int32_t dft(tm_run *run, const tm_call *call) {
    const tm_attrs_DFT *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0), *length = tm_in(run, call, 1),
                       *axis_input = tm_in(run, call, 2);
    int64_t axis = axis_input != NULL ? tm_integer_get(axis_input, 0) : -2;
    int32_t at = (int32_t)(axis < 0 ? axis + x->rank : axis);
    if (at < 0 || at >= x->rank - 1)
        return tm_fail(run, call, TM_RUN_AXIS_RANGE, axis, x->rank - 1);
    int64_t parts = x->dims[x->rank - 1];
    if (parts != 1 && parts != 2)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, parts, parts < 1 ? 1 : 2);
    bool one_sided = a->onesided != 0;
    signal job = {.x = x, .y = tm_out(run, call, 0), .inverse = a->inverse != 0};
    job.real_output = one_sided && job.inverse;
    job.length = x->dims[at];
    job.in_float = x->type == TAMIS_TYPE_FLOAT && x->dims[x->rank - 1] == 2 && !one_sided;
    job.n = length != NULL ? tm_integer_get(length, 0) : job.real_output ? 2 * (job.length - 1) : job.length;
    job.bins = job.y->dims[at];
    if (job.bins != (one_sided && !job.inverse ? job.n / 2 + 1 : job.n))
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, job.bins, job.n);
    job.inner = tm_product(x->dims, at + 1, x->rank - 1);
    job.lines = tm_product(x->dims, 0, at) * job.inner;
    return run_slots(run, call, &job, dft_slots);
}

static int32_t stft_slots(void *arg, int64_t begin, int64_t end) {
    const signal *job = arg;
    int64_t n = job->n, parts = job->x->rank > 2 ? job->x->dims[2] : 1, slots = slot_count(job);
    for (int64_t slot = begin; slot < end; slot++) {
        tm_lanes_f64 *from = job->scratch + slot * 3 * n;
        for (int64_t group = slot; group < group_count(job); group += slots) {
            for (int lane = 0; lane < LANES; lane++) {
                int64_t line = group * LANES + lane;
                int64_t start = line / job->frames * job->length + line % job->frames * job->step;
                load_line(job, start, line < job->lines ? n : 0, parts, from, lane);
            }
            transform_group(job, from);
            for (int lane = 0; lane < LANES && group * LANES + lane < job->lines; lane++)
                store_line(job, from + n, lane, (group * LANES + lane) * job->bins, 1);
        }
    }
    return 0;
}

static int32_t stft(tm_run *run, const tm_call *call) {
    const tamis_tensor *x = tm_in(run, call, 0), *window = tm_in(run, call, 2), *length = tm_in(run, call, 3);
    signal job = {.x = x, .window = window, .y = tm_out(run, call, 0), .length = x->dims[1], .inner = 1};
    job.step = tm_integer_get(tm_in(run, call, 1), 0);
    job.n = length != NULL ? tm_integer_get(length, 0) : window != NULL ? window->dims[0] : x->dims[1];
    job.frames = job.y->dims[1];
    job.bins = job.y->dims[2];
    job.lines = x->dims[0] * job.frames;
    if (x->rank > 2 && x->dims[2] != 1 && x->dims[2] != 2)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, x->dims[2], x->dims[2] < 1 ? 1 : 2);
    if (job.step < 1)
        return tm_fail(run, call, TM_RUN_TOO_SMALL, job.step, 1);
    if (job.frames > 0 && (job.frames - 1) * job.step + job.n > job.length)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, (job.frames - 1) * job.step + job.n, job.length);
    if (window != NULL && window->dims[0] != job.n)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, window->dims[0], job.n);
    if (job.bins > job.n)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, job.bins, job.n);
    return run_slots(run, call, &job, stft_slots);
}

#define X(s, S, C)              \
    TM_KERNEL(DFT, s) {         \
        return dft(run, call);  \
    }                           \
    TM_KERNEL(STFT, s) {        \
        return stft(run, call); \
    }
TM_FOR_FLOAT_TYPES(X)
#undef X
