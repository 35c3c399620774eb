/* SPDX-License-Identifier: Apache-2.0
 *
 * BatchNormalization: each channel has one mean and one variance over all samples.
 *
 *     y = (x - mean) / sqrt(variance + epsilon) * scale + bias
 *
 * For inference they are inputs. In training mode they are computed, and two more outputs are the
 * running statistics, old * momentum + new * (1 - momentum). Data, scale and statistics may have
 * three different types.
 */
#include "runtime/math/math.h"
#include "runtime/ops/fold.h"
#include "runtime/ops/real.h"

typedef struct batch_normalization {
    const tamis_tensor *x, *scale, *bias, *mean, *variance;
    tamis_tensor *y, *running_mean, *running_variance;
    int64_t samples, channels, size;
    double epsilon, momentum;
} batch_normalization;

static batch_normalization job_of(const tm_run *run, const tm_call *call) {
    const tm_attrs_BatchNormalization *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0);
    return (batch_normalization){x,
                                 tm_in(run, call, 1),
                                 tm_in(run, call, 2),
                                 tm_in(run, call, 3),
                                 tm_in(run, call, 4),
                                 tm_out(run, call, 0),
                                 tm_out(run, call, 1),
                                 tm_out(run, call, 2),
                                 x->rank > 0 ? x->dims[0] : 1,
                                 x->rank > 1 ? x->dims[1] : 1,
                                 tm_product(x->dims, 2, x->rank),
                                 a->epsilon,
                                 a->momentum};
}

#define X(s, S, C, P)                                                                                      \
    static void plane_##s(const batch_normalization *job, int64_t plane, C mean, C factor, C bias) {       \
        const S *restrict x = (const S *)job->x->data + plane * job->size;                                 \
        S *restrict y = (S *)job->y->data + plane * job->size;                                             \
        for (int64_t i = 0; i < job->size; i++)                                                            \
            y[i] = tm_store_##s((tm_load_##s(x[i]) - mean) * factor + bias);                               \
    }                                                                                                      \
    static int32_t planes_##s(void *arg, int64_t begin, int64_t end) {                                     \
        const batch_normalization *job = arg;                                                              \
        for (int64_t plane = begin; plane < end; plane++) {                                                \
            int64_t c = plane % job->channels;                                                             \
            C deviation = tm_sqrt_##P((C)tm_real_get(job->variance, c) + (C)job->epsilon);                 \
            plane_##s(job, plane, (C)tm_real_get(job->mean, c), (C)tm_real_get(job->scale, c) / deviation, \
                      (C)tm_real_get(job->bias, c));                                                       \
        }                                                                                                  \
        return 0;                                                                                          \
    }                                                                                                      \
    /* Statistics of channels begin..end, then their planes. */                                            \
    static int32_t training_##s(void *arg, int64_t begin, int64_t end) {                                   \
        const batch_normalization *job = arg;                                                              \
        C count = (C)(job->samples * job->size), part;                                                     \
        for (int64_t c = begin; c < end; c++) {                                                            \
            C mean = 0, variance = 0;                                                                      \
            for (int64_t n = 0; n < job->samples; n++) {                                                   \
                const S *x = (const S *)job->x->data + (n * job->channels + c) * job->size;                \
                TM_FOLD_SUM(C, part, job->size, tm_load_##s(x[i]));                                        \
                mean += part;                                                                              \
            }                                                                                              \
            mean /= count;                                                                                 \
            for (int64_t n = 0; n < job->samples; n++) {                                                   \
                const S *x = (const S *)job->x->data + (n * job->channels + c) * job->size;                \
                TM_FOLD_SUM(C, part, job->size, (tm_load_##s(x[i]) - mean) * (tm_load_##s(x[i]) - mean));  \
                variance += part;                                                                          \
            }                                                                                              \
            variance /= count;                                                                             \
            C factor = (C)tm_real_get(job->scale, c) / tm_sqrt_##P(variance + (C)job->epsilon);            \
            for (int64_t n = 0; n < job->samples; n++)                                                     \
                plane_##s(job, n * job->channels + c, mean, factor, (C)tm_real_get(job->bias, c));         \
            double keep = job->momentum, take = 1 - job->momentum;                                         \
            if (job->running_mean != NULL)                                                                 \
                tm_real_set(job->running_mean, c, tm_real_get(job->mean, c) * keep + (double)mean * take); \
            if (job->running_variance != NULL)                                                             \
                tm_real_set(job->running_variance, c,                                                      \
                            tm_real_get(job->variance, c) * keep + (double)variance * take);               \
        }                                                                                                  \
        return 0;                                                                                          \
    }                                                                                                      \
    TM_KERNEL(BatchNormalization, s) {                                                                     \
        const tm_attrs_BatchNormalization *a = tm_attributes(call);                                        \
        batch_normalization job = job_of(run, call);                                                       \
        if (a->training_mode != 0)                                                                         \
            return tm_parallel(run, job.channels, 16384 / (job.samples * job.size + 1) + 1, training_##s,  \
                               &job);                                                                      \
        return tm_parallel(run, job.samples * job.channels, 16384 / (job.size + 1) + 1, planes_##s, &job); \
    }
X(f32, float, float, f32)
X(f64, double, double, f64)
X(f16, uint16_t, float, f32)
X(bf16, uint16_t, float, f32)
#undef X
