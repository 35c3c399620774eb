/* SPDX-License-Identifier: Apache-2.0
 *
 * LRN, LpNormalization and MeanVarianceNormalization.
 *
 *     LRN  y = x / (bias + alpha/size * s)^beta,  s = sum of squares over `size` neighbouring channels
 *     Lp   y = x / norm along an axis (0 where the norm is 0)
 *     MVN  y = (x - mean) / (deviation + 1e-9) over any axes, by default all but the channels
 */
#include "runtime/math/math.h"
#include "runtime/ops/element.h"
#include "runtime/ops/fold.h"
#include "runtime/ops/reduction.h"

#define PIECE 128

/* ---- LRN ---- */
typedef struct response {
    const void *x;
    void *y;
    int64_t channels, space, pieces, before, after; /* neighbours */
    double scale, beta, bias;
} response;

#define X(s, S, C, P)                                                                                 \
    static int32_t response_##s(void *arg, int64_t begin, int64_t end) {                              \
        const response *job = arg;                                                                    \
        for (int64_t t = begin; t < end; t++) {                                                       \
            int64_t column = t % job->pieces * PIECE, plane = t / job->pieces;                        \
            int64_t c = plane % job->channels;                                                        \
            int64_t width = job->space - column < PIECE ? job->space - column : PIECE;                \
            int64_t first = c < job->before ? 0 : c - job->before;                                    \
            int64_t last = c + job->after < job->channels ? c + job->after : job->channels - 1;       \
            const S *x = (const S *)job->x + plane * job->space + column;                             \
            S *y = (S *)job->y + plane * job->space + column;                                         \
            C squares[PIECE];                                                                         \
            for (int64_t j = 0; j < width; j++)                                                       \
                squares[j] = 0;                                                                       \
            for (int64_t i = first; i <= last; i++)                                                   \
                for (int64_t j = 0; j < width; j++) {                                                 \
                    C v = tm_load_##s(x[(i - c) * job->space + j]);                                   \
                    squares[j] += v * v;                                                              \
                }                                                                                     \
            for (int64_t j = 0; j < width; j++) {                                                     \
                C base = (C)job->bias + (C)job->scale * squares[j];                                   \
                y[j] = tm_store_##s(tm_load_##s(x[j]) / tm_pow_##P(base, (C)job->beta));              \
            }                                                                                         \
        }                                                                                             \
        return 0;                                                                                     \
    }                                                                                                 \
    TM_KERNEL(LRN, s) {                                                                               \
        const tm_attrs_LRN *a = tm_attributes(call);                                                  \
        const tamis_tensor *x = tm_in(run, call, 0);                                                  \
        if (x->rank < 2)                                                                              \
            return tm_fail(run, call, TM_RUN_TOO_SMALL, x->rank, 2);                                  \
        if (a->size < 1)                                                                              \
            return tm_fail(run, call, TM_RUN_TOO_SMALL, a->size, 1);                                  \
        response job = {x->data,     tm_out(run, call, 0)->data,                                      \
                        x->dims[1],  tm_product(x->dims, 2, x->rank),                                 \
                        0,           (a->size - 1) / 2,                                               \
                        a->size / 2, a->alpha / (double)a->size,                                      \
                        a->beta,     a->bias};                                                        \
        job.pieces = (job.space + PIECE - 1) / PIECE;                                                 \
        return tm_parallel(run, x->dims[0] * job.channels * job.pieces, 4096 / (PIECE * a->size) + 1, \
                           response_##s, &job);                                                       \
    }
X(f32, float, float, f32)
X(f64, double, double, f64)
X(f16, uint16_t, float, f32)
X(bf16, uint16_t, float, f32)
#undef X

/* ---- LpNormalization ---- */
typedef struct norm {
    const void *x;
    void *y;
    int64_t n, inner, p;
} norm;

#define X(s, S, C, P)                                                                                        \
    static int32_t norm_##s(void *arg, int64_t begin, int64_t end) {                                         \
        const norm *job = arg;                                                                               \
        for (int64_t t = begin; t < end; t++) {                                                              \
            int64_t offset = t / job->inner * job->n * job->inner + t % job->inner;                          \
            const S *x = (const S *)job->x + offset;                                                         \
            S *y = (S *)job->y + offset;                                                                     \
            C length;                                                                                        \
            if (job->p == 1)                                                                                 \
                TM_FOLD(C, length, job->n, 0, tm_load_##s(x[i * job->inner]), a + (v < 0 ? -v : v), a + v);  \
            else                                                                                             \
                TM_FOLD(C, length, job->n, 0, tm_load_##s(x[i * job->inner]), a + v * v, a + v);             \
            length = job->p == 1 ? length : tm_sqrt_##P(length);                                             \
            for (int64_t i = 0; i < job->n; i++)                                                             \
                y[i * job->inner] = tm_store_##s(length == 0 ? 0 : tm_load_##s(x[i * job->inner]) / length); \
        }                                                                                                    \
        return 0;                                                                                            \
    }                                                                                                        \
    TM_KERNEL(LpNormalization, s) {                                                                          \
        const tm_attrs_LpNormalization *a = tm_attributes(call);                                             \
        const tamis_tensor *x = tm_in(run, call, 0);                                                         \
        int32_t axis = (int32_t)(a->axis < 0 ? a->axis + x->rank : a->axis);                                 \
        if (axis < 0 || axis >= x->rank)                                                                     \
            return tm_fail(run, call, TM_RUN_AXIS_RANGE, a->axis, x->rank);                                  \
        norm job = {x->data, tm_out(run, call, 0)->data, x->dims[axis],                                      \
                    tm_product(x->dims, axis + 1, x->rank), a->p};                                           \
        int64_t rows = tm_product(x->dims, 0, axis) * job.inner;                                             \
        return tm_parallel(run, rows, 16384 / (job.n + 1) + 1, norm_##s, &job);                              \
    }
X(f32, float, float, f32)
X(f64, double, double, f64)
X(f16, uint16_t, float, f32)
X(bf16, uint16_t, float, f32)
#undef X

/* ---- MeanVarianceNormalization: for each kept position, three walks over what it folds ---- */
typedef struct spread {
    tm_reduction reduction;
    int64_t length; /* of a run */
} spread;

#define X(s, S, C, P)                                                                              \
    static int32_t spread_##s(void *arg, int64_t begin, int64_t end) {                             \
        const spread *job = arg;                                                                   \
        const tm_reduction *r = &job->reduction;                                                   \
        int64_t outputs = r->inner_folded ? 1 : r->inner;                                          \
        for (int64_t t = begin; t < end; t++) {                                                    \
            int64_t offset = tm_odometer_offset(&r->outer, t / outputs) + t % outputs;             \
            C mean = 0, variance = 0, part;                                                        \
            for (int64_t f = 0; f < r->folded.count; f++) {                                        \
                const S *x = (const S *)r->x + offset + tm_odometer_offset(&r->folded, f);         \
                TM_FOLD_SUM(C, part, job->length, tm_load_##s(x[i]));                              \
                mean += part;                                                                      \
            }                                                                                      \
            mean /= (C)r->total;                                                                   \
            for (int64_t f = 0; f < r->folded.count; f++) {                                        \
                const S *x = (const S *)r->x + offset + tm_odometer_offset(&r->folded, f);         \
                TM_FOLD(C, part, job->length, 0, tm_load_##s(x[i]) - mean, a + v * v, a + v);      \
                variance += part;                                                                  \
            }                                                                                      \
            C deviation = tm_sqrt_##P(variance / (C)r->total) + (C)1e-9;                           \
            for (int64_t f = 0; f < r->folded.count; f++) {                                        \
                int64_t at = offset + tm_odometer_offset(&r->folded, f);                           \
                const S *x = (const S *)r->x + at;                                                 \
                S *y = (S *)r->y + at;                                                             \
                for (int64_t i = 0; i < job->length; i++)                                          \
                    y[i] = tm_store_##s((tm_load_##s(x[i]) - mean) / deviation);                   \
            }                                                                                      \
        }                                                                                          \
        return 0;                                                                                  \
    }                                                                                              \
    TM_KERNEL(MeanVarianceNormalization, s) {                                                      \
        spread job;                                                                                \
        int32_t code = spread_init(run, call, &job);                                               \
        if (code != 0)                                                                             \
            return code;                                                                           \
        int64_t outputs =                                                                          \
            job.reduction.outer.count * (job.reduction.inner_folded ? 1 : job.reduction.inner);    \
        return tm_parallel(run, outputs, 16384 / (job.reduction.total + 1) + 1, spread_##s, &job); \
    }

static int32_t spread_init(tm_run *run, const tm_call *call, spread *out) {
    const tm_attrs_MeanVarianceNormalization *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0);
    static const int64_t usual[] = {0, 2, 3};
    int64_t count = tm_has(a->axes) ? a->axes.count : 3;
    uint32_t flags = 0;
    for (int64_t i = 0; i < count; i++) {
        const int64_t given = tm_has(a->axes) ? tm_ints(a, a->axes)[i] : usual[i];
        const int64_t axis = given < 0 ? given + x->rank : given;
        if (axis < 0 || axis >= x->rank)
            return tm_fail(run, call, TM_RUN_AXIS_RANGE, given, x->rank);
        flags |= 1u << axis;
    }
    tm_reduction_init(&out->reduction, x->rank, x->dims, flags);
    out->reduction.x = x->data;
    out->reduction.y = tm_out(run, call, 0)->data;
    out->length = out->reduction.inner_folded ? out->reduction.inner : 1;
    return 0;
}

X(f32, float, float, f32)
X(f64, double, double, f64)
X(f16, uint16_t, float, f32)
X(bf16, uint16_t, float, f32)
#undef X
