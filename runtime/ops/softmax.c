/* SPDX-License-Identifier: Apache-2.0
 *
 * Softmax, LogSoftmax and Hardmax along one axis.
 *
 * The tensor is [outer, n, inner]. With inner = 1 a row lies in one piece and goes through three passes:
 * its maximum; exp(x - max) with its sum; the scaling. Otherwise PIECE columns are taken side by side,
 * with a maximum and a sum for each. Subtracting the maximum keeps exp from overflowing; a row of
 * -inf alone gives NaN, as the standard's formula does.
 *
 * float16 and bfloat16 do not store the unscaled exp, which would round twice: it is computed again.
 */
#include "runtime/math/math.h"
#include "runtime/ops/element.h"
#include "runtime/ops/fold.h"

#define PIECE 128

typedef struct rows {
    const void *x;
    void *y;
    int64_t outer, n, inner, pieces;
    bool logarithm;
} rows;

static int32_t run_rows(tm_run *run, const tm_call *call, int64_t axis, bool logarithm,
                        int32_t (*row)(void *, int64_t, int64_t),
                        int32_t (*columns)(void *, int64_t, int64_t)) {
    const tamis_tensor *x = tm_in(run, call, 0);
    int32_t at = (int32_t)(axis < 0 ? axis + x->rank : axis);
    rows job = {x->data, tm_out(run, call, 0)->data, 1, 1, 1, 1, logarithm};
    if (x->rank > 0) {
        job.outer = tm_product(x->dims, 0, at);
        job.n = x->dims[at];
        job.inner = tm_product(x->dims, at + 1, x->rank);
    }
    if (job.outer * job.n * job.inner == 0)
        return 0;
    job.pieces = (job.inner + PIECE - 1) / PIECE;
    if (job.inner == 1)
        return tm_parallel(run, job.outer, 4096 / job.n + 1, row, &job);
    int64_t width = job.inner < PIECE ? job.inner : PIECE;
    return tm_parallel(run, job.outer * job.pieces, 4096 / (job.n * width) + 1, columns, &job);
}

/* Where piece number t of the columns starts, and how wide it is. */
static int64_t piece_of(const rows *job, int64_t t, int64_t *out_width) {
    int64_t column = t % job->pieces * PIECE;
    *out_width = job->inner - column < PIECE ? job->inner - column : PIECE;
    return t / job->pieces * job->n * job->inner + column;
}

#define X(s, S, C, P)                                                                                     \
    static int32_t row_##s(void *arg, int64_t begin, int64_t end) {                                       \
        const rows *job = arg;                                                                            \
        for (int64_t r = begin; r < end; r++) {                                                           \
            const S *restrict x = (const S *)job->x + r * job->n;                                         \
            S *restrict y = (S *)job->y + r * job->n;                                                     \
            C largest, sum = 0;                                                                           \
            TM_FOLD_MAX(C, largest, job->n, -(C)tm_inf_f32(), tm_load_##s(x[i]));                         \
            for (int64_t i0 = 0; i0 < job->n; i0 += PIECE) {                                              \
                int64_t width = job->n - i0 < PIECE ? job->n - i0 : PIECE;                                \
                C powers[PIECE], part;                                                                    \
                for (int64_t i = 0; i < width; i++)                                                       \
                    powers[i] = tm_exp_##P(tm_load_##s(x[i0 + i]) - largest);                             \
                TM_FOLD_SUM(C, part, width, powers[i]);                                                   \
                sum += part;                                                                              \
                if (sizeof(S) == sizeof(C) && !job->logarithm)                                            \
                    for (int64_t i = 0; i < width; i++)                                                   \
                        y[i0 + i] = (S)powers[i];                                                         \
            }                                                                                             \
            C scale = job->logarithm ? tm_log_##P(sum) : 1 / sum;                                         \
            if (job->logarithm)                                                                           \
                for (int64_t i = 0; i < job->n; i++)                                                      \
                    y[i] = tm_store_##s(tm_load_##s(x[i]) - largest - scale);                             \
            else if (sizeof(S) == sizeof(C))                                                              \
                for (int64_t i = 0; i < job->n; i++)                                                      \
                    y[i] = tm_store_##s(tm_load_##s(y[i]) * scale);                                       \
            else                                                                                          \
                for (int64_t i = 0; i < job->n; i++)                                                      \
                    y[i] = tm_store_##s(tm_exp_##P(tm_load_##s(x[i]) - largest) * scale);                 \
        }                                                                                                 \
        return 0;                                                                                         \
    }                                                                                                     \
    static int32_t columns_##s(void *arg, int64_t begin, int64_t end) {                                   \
        const rows *job = arg;                                                                            \
        for (int64_t t = begin; t < end; t++) {                                                           \
            int64_t width, start = piece_of(job, t, &width), step = job->inner;                           \
            const S *restrict x = (const S *)job->x + start;                                              \
            S *restrict y = (S *)job->y + start;                                                          \
            C largest[PIECE], sum[PIECE];                                                                 \
            for (int64_t j = 0; j < width; j++) {                                                         \
                largest[j] = -(C)tm_inf_f32();                                                            \
                sum[j] = 0;                                                                               \
            }                                                                                             \
            for (int64_t i = 0; i < job->n; i++)                                                          \
                for (int64_t j = 0; j < width; j++) {                                                     \
                    C v = tm_load_##s(x[i * step + j]);                                                   \
                    largest[j] = v > largest[j] || v != v ? v : largest[j];                               \
                }                                                                                         \
            for (int64_t i = 0; i < job->n; i++)                                                          \
                for (int64_t j = 0; j < width; j++)                                                       \
                    sum[j] += tm_exp_##P(tm_load_##s(x[i * step + j]) - largest[j]);                      \
            for (int64_t j = 0; j < width; j++)                                                           \
                sum[j] = job->logarithm ? tm_log_##P(sum[j]) : 1 / sum[j];                                \
            for (int64_t i = 0; i < job->n; i++)                                                          \
                for (int64_t j = 0; j < width; j++) {                                                     \
                    C v = tm_load_##s(x[i * step + j]) - largest[j];                                      \
                    y[i * step + j] = tm_store_##s(job->logarithm ? v - sum[j] : tm_exp_##P(v) * sum[j]); \
                }                                                                                         \
        }                                                                                                 \
        return 0;                                                                                         \
    }                                                                                                     \
    TM_KERNEL(Softmax, s) {                                                                               \
        const tm_attrs_Softmax *a = tm_attributes(call);                                                  \
        return run_rows(run, call, a->axis, false, row_##s, columns_##s);                                 \
    }                                                                                                     \
    TM_KERNEL(LogSoftmax, s) {                                                                            \
        const tm_attrs_LogSoftmax *a = tm_attributes(call);                                               \
        return run_rows(run, call, a->axis, true, row_##s, columns_##s);                                  \
    }
X(f32, float, float, f32)
X(f64, double, double, f64)
X(f16, uint16_t, float, f32)
X(bf16, uint16_t, float, f32)
#undef X

/* ---- Hardmax: 1 at the first largest element, or the first NaN; 0 elsewhere ---- */
#define X(s, S, C)                                                              \
    static int32_t hard_##s(void *arg, int64_t begin, int64_t end) {            \
        const rows *job = arg;                                                  \
        for (int64_t t = begin; t < end; t++) {                                 \
            int64_t width, start = piece_of(job, t, &width), step = job->inner; \
            const S *x = (const S *)job->x + start;                             \
            S *y = (S *)job->y + start;                                         \
            for (int64_t j = 0; j < width; j++) {                               \
                int64_t best = 0;                                               \
                C largest = tm_load_##s(x[j]);                                  \
                for (int64_t i = 1; i < job->n && largest == largest; i++) {    \
                    C v = tm_load_##s(x[i * step + j]);                         \
                    if (v > largest || v != v) {                                \
                        largest = v;                                            \
                        best = i;                                               \
                    }                                                           \
                }                                                               \
                for (int64_t i = 0; i < job->n; i++)                            \
                    y[i * step + j] = tm_store_##s(i == best ? 1 : 0);          \
            }                                                                   \
        }                                                                       \
        return 0;                                                               \
    }                                                                           \
    TM_KERNEL(Hardmax, s) {                                                     \
        const tm_attrs_Hardmax *a = tm_attributes(call);                        \
        return run_rows(run, call, a->axis, false, hard_##s, hard_##s);         \
    }
TM_FOR_FLOAT_TYPES(X)
#undef X
