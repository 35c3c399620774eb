/* SPDX-License-Identifier: Apache-2.0
 *
 * Normalisations whose statistics are those of a contiguous row: LayerNormalization, RMSNormalization,
 * InstanceNormalization, GroupNormalization.
 *
 *     y = (x - mean) / sqrt(variance + epsilon) * scale + bias          (RMS: mean = 0, no bias)
 *
 * They differ in the row and in where its parameters lie:
 *
 *     Layer, RMS   the dims from `axis` on       one for each element of the row
 *     Instance     one channel of one sample     one for the row
 *     Group        one group of channels         one for each channel of the row
 *
 * The variance is the mean of squared differences from the mean, in a second pass over the row: the
 * difference of two large sums would lose its digits.
 */
#include "runtime/math/math.h"
#include "runtime/ops/fold.h"
#include "runtime/ops/real.h"

typedef struct normalization {
    const void *x, *scale, *bias; /* bias NULL: none */
    void *y;
    int64_t n;        /* elements of a row */
    int64_t channel;  /* elements that share one parameter; 0: parameters are elementwise */
    int64_t channels; /* Group, Instance: parameters in all */
    double epsilon;
    bool centred;
    const tamis_tensor *mean_out, *deviation_out; /* or NULL */
    const tamis_tensor *x_tensor, *scale_tensor,
        *bias_tensor; /* not NULL: parameters broadcast in an odd way */
} normalization;

static void put_statistics(const normalization *job, int64_t row, double mean, double inverse) {
    if (job->mean_out != NULL)
        tm_real_set(job->mean_out, row, mean);
    if (job->deviation_out != NULL)
        tm_real_set(job->deviation_out, row, inverse);
}

#define X(s, S, C, P)                                                                                      \
    /* Parameters that are neither one for each element of the row nor one for all. */                     \
    static void odd_##s(const normalization *job, int64_t r, C mean, C inverse) {                          \
        const tamis_tensor *x = job->x_tensor, *bias = job->bias_tensor;                                   \
        for (int64_t i = r * job->n; i < (r + 1) * job->n; i++) {                                          \
            C scale = tm_get_##s(job->scale, tm_broadcast_offset(job->scale_tensor, x->rank, x->dims, i)); \
            C y = (tm_get_##s(job->x, i) - mean) * inverse * scale;                                        \
            if (bias != NULL)                                                                              \
                y += tm_get_##s(job->bias, tm_broadcast_offset(bias, x->rank, x->dims, i));                \
            tm_set_##s(job->y, i, y);                                                                      \
        }                                                                                                  \
    }                                                                                                      \
    static void scaled_##s(const normalization *job, int64_t r, C mean, C inverse) {                       \
        const S *restrict x = (const S *)job->x + r * job->n;                                              \
        S *restrict y = (S *)job->y + r * job->n;                                                          \
        const S *scale = job->scale, *bias = job->bias;                                                    \
        if (job->scale_tensor != NULL) {                                                                   \
            odd_##s(job, r, mean, inverse);                                                                \
        } else if (job->channel == 0 && bias != NULL) {                                                    \
            for (int64_t i = 0; i < job->n; i++)                                                           \
                y[i] = tm_store_##s((tm_load_##s(x[i]) - mean) * inverse * tm_load_##s(scale[i]) +         \
                                    tm_load_##s(bias[i]));                                                 \
        } else if (job->channel == 0) {                                                                    \
            for (int64_t i = 0; i < job->n; i++)                                                           \
                y[i] = tm_store_##s((tm_load_##s(x[i]) - mean) * inverse * tm_load_##s(scale[i]));         \
        } else {                                                                                           \
            int64_t parts = job->n / job->channel;                                                         \
            for (int64_t c = 0; c < parts; c++) {                                                          \
                int64_t at = (r * parts + c) % job->channels;                                              \
                C factor = inverse * tm_load_##s(scale[at]),                                               \
                  offset = bias != NULL ? tm_load_##s(bias[at]) : 0;                                       \
                for (int64_t i = c * job->channel; i < (c + 1) * job->channel; i++)                        \
                    y[i] = tm_store_##s((tm_load_##s(x[i]) - mean) * factor + offset);                     \
            }                                                                                              \
        }                                                                                                  \
    }                                                                                                      \
    static int32_t rows_##s(void *arg, int64_t begin, int64_t end) {                                       \
        const normalization *job = arg;                                                                    \
        for (int64_t r = begin; r < end; r++) {                                                            \
            const S *x = (const S *)job->x + r * job->n;                                                   \
            C mean = 0, squares;                                                                           \
            if (job->centred) {                                                                            \
                TM_FOLD_SUM(C, mean, job->n, tm_load_##s(x[i]));                                           \
                mean /= (C)job->n;                                                                         \
            }                                                                                              \
            TM_FOLD_SUM(C, squares, job->n, (tm_load_##s(x[i]) - mean) * (tm_load_##s(x[i]) - mean));      \
            C inverse = 1 / tm_sqrt_##P(squares / (C)job->n + (C)job->epsilon);                            \
            put_statistics(job, r, (double)mean, (double)inverse);                                         \
            scaled_##s(job, r, mean, inverse);                                                             \
        }                                                                                                  \
        return 0;                                                                                          \
    }
X(f32, float, float, f32)
X(f64, double, double, f64)
X(f16, uint16_t, float, f32)
X(bf16, uint16_t, float, f32)
#undef X

/* Rows without elements have no mean: 0 / 0. */
static void fill_statistics(const tamis_tensor *out, double value) {
    for (int64_t row = 0; out != NULL && row < tm_count(out); row++)
        tm_real_set(out, row, value);
}

static int32_t run_normalization(tm_run *run, const tm_call *call, normalization *job,
                                 int32_t (*body)(void *, int64_t, int64_t)) {
    const tamis_tensor *x = tm_in(run, call, 0), *bias = tm_in(run, call, 2);
    job->x = x->data;
    job->scale = tm_in(run, call, 1)->data;
    job->bias = bias != NULL ? bias->data : NULL;
    job->y = tm_out(run, call, 0)->data;
    if (tm_count(x) == 0) {
        fill_statistics(job->mean_out, __builtin_nan(""));
        fill_statistics(job->deviation_out, __builtin_nan(""));
        return 0;
    }
    return tm_parallel(run, tm_count(x) / job->n, 16384 / job->n + 1, body, job);
}

/* Does `t` have exactly the dims of x from `axis` on (leading ones aside)? */
static bool is_row(const tamis_tensor *t, const tamis_tensor *x, int32_t axis) {
    if (t->rank < x->rank - axis && tm_product(x->dims, axis, x->rank - t->rank) != 1)
        return false;
    for (int32_t d = 1; d <= t->rank; d++)
        if (t->dims[t->rank - d] != (d <= x->rank - axis ? x->dims[x->rank - d] : 1))
            return false;
    return true;
}

/* Layer and RMS: rows are the dims from `axis` on. */
static normalization from_axis(const tm_run *run, const tm_call *call, int64_t axis, double epsilon) {
    const tamis_tensor *x = tm_in(run, call, 0), *scale = tm_in(run, call, 1), *bias = tm_in(run, call, 2);
    int32_t at = (int32_t)(axis < 0 ? axis + x->rank : axis);
    normalization job = {.n = tm_product(x->dims, at, x->rank), .epsilon = epsilon};
    if (!is_row(scale, x, at) || (bias != NULL && !is_row(bias, x, at))) {
        job.x_tensor = x;
        job.scale_tensor = scale;
        job.bias_tensor = bias;
    }
    return job;
}

#define X(s, S, C)                                                                                 \
    TM_KERNEL(LayerNormalization, s) {                                                             \
        const tm_attrs_LayerNormalization *a = tm_attributes(call);                                \
        normalization job = from_axis(run, call, a->axis, a->epsilon);                             \
        job.centred = true;                                                                        \
        job.mean_out = tm_out(run, call, 1);                                                       \
        job.deviation_out = tm_out(run, call, 2);                                                  \
        return run_normalization(run, call, &job, rows_##s);                                       \
    }                                                                                              \
    TM_KERNEL(RMSNormalization, s) {                                                               \
        const tm_attrs_RMSNormalization *a = tm_attributes(call);                                  \
        normalization job = from_axis(run, call, a->axis, a->epsilon);                             \
        return run_normalization(run, call, &job, rows_##s);                                       \
    }                                                                                              \
    TM_KERNEL(InstanceNormalization, s) {                                                          \
        const tm_attrs_InstanceNormalization *a = tm_attributes(call);                             \
        const tamis_tensor *x = tm_in(run, call, 0);                                               \
        int64_t n = tm_product(x->dims, 2, x->rank);                                               \
        normalization job = {                                                                      \
            .n = n, .channel = n, .channels = x->dims[1], .epsilon = a->epsilon, .centred = true}; \
        return run_normalization(run, call, &job, rows_##s);                                       \
    }                                                                                              \
    TM_KERNEL(GroupNormalization, s) {                                                             \
        const tm_attrs_GroupNormalization *a = tm_attributes(call);                                \
        const tamis_tensor *x = tm_in(run, call, 0);                                               \
        int64_t channels = x->dims[1], spatial = tm_product(x->dims, 2, x->rank);                  \
        if (a->num_groups < 1 || channels % a->num_groups != 0)                                    \
            return tm_fail(run, call, TM_RUN_NOT_MULTIPLE, channels, a->num_groups);               \
        normalization job = {.n = channels / a->num_groups * spatial,                              \
                             .channel = spatial,                                                   \
                             .channels = channels,                                                 \
                             .epsilon = a->epsilon,                                                \
                             .centred = true};                                                     \
        return run_normalization(run, call, &job, rows_##s);                                       \
    }
TM_FOR_FLOAT_TYPES(X)
#undef X
