/* SPDX-License-Identifier: Apache-2.0
 *
 * CausalConvWithState: one filter for each channel over the past state followed by the input.
 *
 *     y[t] = bias + sum over j of w[j] * z[t + j],   z = past (k - 1 elements, or zeros) then x
 *
 * and the last k - 1 elements of z are the next state. Optionally y = y * sigmoid(y). Sums are in float.
 */
#include "runtime/math/math.h"
#include "runtime/ops/element.h"

#define PIECE 256

typedef struct causal {
    const void *x, *w, *bias, *past;
    void *y, *present; /* may be NULL */
    int64_t channels, length, kernel;
    bool silu;
} causal;

#define X(s, S, C, P)                                                                                        \
    static inline S element_##s(const S *past, const S *x, int64_t state, int64_t i) {                       \
        return i >= state ? x[i - state] : past != NULL ? past[i] : (S)0;                                    \
    }                                                                                                        \
    static int32_t causal_##s(void *arg, int64_t begin, int64_t end) {                                       \
        const causal *job = arg;                                                                             \
        int64_t state = job->kernel - 1, length = job->length;                                               \
        for (int64_t plane = begin; plane < end; plane++) {                                                  \
            int64_t channel = plane % job->channels;                                                         \
            const S *x = (const S *)job->x + plane * length, *w = (const S *)job->w + channel * job->kernel; \
            const S *past = job->past != NULL ? (const S *)job->past + plane * state : NULL;                 \
            S *y = (S *)job->y + plane * length;                                                             \
            C bias = job->bias != NULL ? tm_load_##s(((const S *)job->bias)[channel]) : 0;                   \
            for (int64_t t0 = 0; t0 < length; t0 += PIECE) {                                                 \
                int64_t width = length - t0 < PIECE ? length - t0 : PIECE;                                   \
                C sums[PIECE];                                                                               \
                for (int64_t t = 0; t < width; t++)                                                          \
                    sums[t] = bias;                                                                          \
                for (int64_t j = 0; j < job->kernel; j++) {                                                  \
                    C weight = tm_load_##s(w[j]);                                                            \
                    int64_t before = state - j - t0; /* columns that see the state */                        \
                    before = before < 0 ? 0 : before < width ? before : width;                               \
                    for (int64_t t = 0; t < before; t++)                                                     \
                        sums[t] += weight * tm_load_##s(element_##s(past, x, state, t0 + t + j));            \
                    for (int64_t t = before; t < width; t++)                                                 \
                        sums[t] += weight * tm_load_##s(x[t0 + t + j - state]);                              \
                }                                                                                            \
                if (job->silu)                                                                               \
                    for (int64_t t = 0; t < width; t++)                                                      \
                        sums[t] *= tm_sigmoid_##P(sums[t]);                                                  \
                for (int64_t t = 0; t < width; t++)                                                          \
                    y[t0 + t] = tm_store_##s(sums[t]);                                                       \
            }                                                                                                \
            for (int64_t i = 0; i < state && job->present != NULL; i++)                                      \
                ((S *)job->present)[plane * state + i] = element_##s(past, x, state, length + i);            \
        }                                                                                                    \
        return 0;                                                                                            \
    }                                                                                                        \
    TM_KERNEL(CausalConvWithState, s) {                                                                      \
        causal job = causal_of(run, call);                                                                   \
        int64_t planes = tm_in(run, call, 0)->dims[0] * job.channels;                                        \
        return tm_parallel(run, planes, 8192 / (job.length * job.kernel + 1) + 1, causal_##s, &job);         \
    }

static const void *data_of(const tamis_tensor *t) {
    return t != NULL ? t->data : NULL;
}

static causal causal_of(const tm_run *run, const tm_call *call) {
    const tm_attrs_CausalConvWithState *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0), *w = tm_in(run, call, 1), *present = tm_out(run, call, 1);
    return (causal){.x = x->data,
                    .w = w->data,
                    .bias = data_of(tm_in(run, call, 2)),
                    .past = data_of(tm_in(run, call, 3)),
                    .y = tm_out(run, call, 0)->data,
                    .present = present != NULL ? present->data : NULL,
                    .channels = x->dims[1],
                    .length = x->dims[2],
                    .kernel = w->dims[2],
                    .silu = tm_is(a, a->activation, "silu") || tm_is(a, a->activation, "swish")};
}

X(f32, float, float, f32)
X(f64, double, double, f64)
X(f16, uint16_t, float, f32)
X(bf16, uint16_t, float, f32)
#undef X
