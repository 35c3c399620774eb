/* SPDX-License-Identifier: Apache-2.0
 *
 * HannWindow, HammingWindow, BlackmanWindow and MelWeightMatrix, in double, for any output type.
 *
 *     w[i] = a0 - a1 cos(2 pi i / N) + a2 cos(4 pi i / N),   N = size (periodic) or size - 1
 */
#include "runtime/math/math.h"
#include "runtime/ops/real.h"

#define PI 3.14159265358979323846

static double window_value(const double *a, int64_t i, int64_t n) {
    double angle = 2 * PI * (double)i / (double)(n > 0 ? n : 1);
    return a[0] - a[1] * tm_cos_f64(angle) + a[2] * tm_cos_f64(2 * angle);
}

/* Among integers a window is 1 in the middle and 0 elsewhere: what is 1 but for rounding counts as 1. */
#define WINDOW_AS(C, value) \
    ((C) _Generic((C)0, float: (value), double: (value), default: (double)(float)(value)))

/* The band's triangle over the bins of the spectrum; edges are bin numbers. */
static double triangle(int64_t bin, int64_t left, int64_t centre, int64_t right) {
    if (bin >= centre && bin < right)
        return (double)(right - bin) / (double)(right - centre);
    if (bin >= left && bin <= centre)
        return centre == left ? 1 : (double)(bin - left) / (double)(centre - left);
    return 0;
}

static double mel(double hertz) {
    return 2595 * tm_log_f64(1 + hertz / 700) / 2.302585092994045684;
}

typedef struct bands {
    int64_t count, bins, length, rate;
    double low, step;
} bands;

static bands bands_of(const tm_run *run, const tm_call *call) {
    bands b = {.count = tm_integer_get(tm_in(run, call, 0), 0),
               .length = tm_integer_get(tm_in(run, call, 1), 0),
               .rate = tm_integer_get(tm_in(run, call, 2), 0)};
    double high = mel(tm_real_get(tm_in(run, call, 4), 0));
    b.bins = b.length / 2 + 1;
    b.low = mel(tm_real_get(tm_in(run, call, 3), 0));
    b.step = (high - b.low) / (double)(b.count + 2);
    return b;
}

/* The bin at which edge number i of the bands lies. */
static int64_t edge(const bands *b, int64_t i) {
    double power = ((double)i * b->step + b->low) / 2595 * 2.302585092994045684;
    double hertz = 700 * (tm_exp_f64(power) - 1);
    return (int64_t)tm_floor_f64((double)(b->length + 1) * hertz / (double)b->rate);
}

#define X(s, S, C)                                                                                           \
    static int32_t window_##s(tm_run *run, const tm_call *call, int64_t periodic, double a0, double a1,      \
                              double a2) {                                                                   \
        const double a[3] = {a0, a1, a2};                                                                    \
        tamis_tensor *y = tm_out(run, call, 0);                                                              \
        int64_t size = y->dims[0];                                                                           \
        for (int64_t i = 0; i < size; i++)                                                                   \
            tm_set_##s(y->data, i, WINDOW_AS(C, window_value(a, i, periodic != 0 ? size : size - 1)));       \
        return 0;                                                                                            \
    }                                                                                                        \
    TM_KERNEL(HannWindow, s) {                                                                               \
        return window_##s(run, call, ((const tm_attrs_HannWindow *)tm_attributes(call))->periodic, 0.5, 0.5, \
                          0);                                                                                \
    }                                                                                                        \
    TM_KERNEL(HammingWindow, s) {                                                                            \
        return window_##s(run, call, ((const tm_attrs_HammingWindow *)tm_attributes(call))->periodic,        \
                          25.0 / 46, 21.0 / 46, 0);                                                          \
    }                                                                                                        \
    TM_KERNEL(BlackmanWindow, s) {                                                                           \
        return window_##s(run, call, ((const tm_attrs_BlackmanWindow *)tm_attributes(call))->periodic, 0.42, \
                          0.5, 0.08);                                                                        \
    }                                                                                                        \
    TM_KERNEL(MelWeightMatrix, s) {                                                                          \
        tamis_tensor *y = tm_out(run, call, 0);                                                              \
        bands b = bands_of(run, call);                                                                       \
        if (b.rate < 1 || b.count != y->dims[1] || b.bins != y->dims[0])                                     \
            return tm_fail(run, call, TM_RUN_TOO_SMALL, b.rate, 1);                                          \
        for (int64_t i = 0; i < b.count; i++) {                                                              \
            int64_t left = edge(&b, i), centre = edge(&b, i + 1), right = edge(&b, i + 2);                   \
            for (int64_t bin = 0; bin < b.bins; bin++)                                                       \
                tm_set_##s(y->data, bin *b.count + i, (C)triangle(bin, left, centre, right));                \
        }                                                                                                    \
        return 0;                                                                                            \
    }
TM_FOR_NUMERIC_TYPES(X)
#undef X
