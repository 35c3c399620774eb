/* SPDX-License-Identifier: Apache-2.0
 *
 * GlobalAveragePool, GlobalMaxPool and GlobalLpPool: each plane (all of one channel) folds to one number.
 */
#include "runtime/math/math.h"
#include "runtime/ops/element.h"
#include "runtime/ops/fold.h"

typedef struct planes {
    const void *x;
    void *y;
    int64_t size;
    int64_t p;
} planes;

static planes planes_of(const tm_run *run, const tm_call *call) {
    const tamis_tensor *x = tm_in(run, call, 0);
    return (planes){x->data, tm_out(run, call, 0)->data, tm_product(x->dims, 2, x->rank), 0};
}

static int32_t run_planes(tm_run *run, const tm_call *call, planes *job,
                          int32_t (*body)(void *, int64_t, int64_t)) {
    const tamis_tensor *x = tm_in(run, call, 0);
    return tm_parallel(run, x->dims[0] * x->dims[1], 32768 / (job->size + 1) + 1, body, job);
}

#define ABS(v) ((v) < 0 ? -(v) : (v))
#define POWER_f32 tm_pow_f32
#define POWER_f16 tm_pow_f32
#define POWER_bf16 tm_pow_f32
#define POWER_f64 tm_pow_f64
#define SQUARE_ROOT(C, v) \
    ((C)(sizeof(C) == 4 ? (C)__builtin_sqrtf((float)(v)) : (C)__builtin_sqrt((double)(v))))

#define FOLD(s, S, C, name, start, step, join, finish)                        \
    static int32_t name##_##s(void *arg, int64_t begin, int64_t end) {        \
        const planes *job = arg;                                              \
        for (int64_t plane = begin; plane < end; plane++) {                   \
            const S *x = (const S *)job->x + plane * job->size;               \
            C all;                                                            \
            TM_FOLD(C, all, job->size, start, tm_load_##s(x[i]), step, join); \
            ((S *)job->y)[plane] = tm_store_##s(finish);                      \
        }                                                                     \
        return 0;                                                             \
    }

#define X(s, S, C)                                                                                      \
    FOLD(s, S, C, average, 0, a + v, a + v, all / (C)job->size)                                         \
    FOLD(s, S, C, largest, (C) - tm_inf_f32(), v > a || v != v ? v : a, v > a || v != v ? v : a, all)   \
    FOLD(s, S, C, norm1, 0, a + ABS(v), a + v, all)                                                     \
    FOLD(s, S, C, norm2, 0, a + v * v, a + v, SQUARE_ROOT(C, all))                                      \
    FOLD(s, S, C, norm, 0, a + POWER_##s(ABS(v), (C)job->p), a + v, POWER_##s(all, (C)1 / (C)job->p))   \
    TM_KERNEL(GlobalAveragePool, s) {                                                                   \
        planes job = planes_of(run, call);                                                              \
        return run_planes(run, call, &job, average_##s);                                                \
    }                                                                                                   \
    TM_KERNEL(GlobalMaxPool, s) {                                                                       \
        planes job = planes_of(run, call);                                                              \
        return run_planes(run, call, &job, largest_##s);                                                \
    }                                                                                                   \
    TM_KERNEL(GlobalLpPool, s) {                                                                        \
        planes job = planes_of(run, call);                                                              \
        job.p = ((const tm_attrs_GlobalLpPool *)tm_attributes(call))->p;                                \
        return run_planes(run, call, &job, job.p == 1 ? norm1_##s : job.p == 2 ? norm2_##s : norm_##s); \
    }
TM_FOR_FLOAT_TYPES(X)
#undef X
