/* SPDX-License-Identifier: Apache-2.0
 *
 * ArgMax and ArgMin: the position of the largest (smallest) element along an axis; the first one, or with
 * select_last_index the last. A NaN counts as larger (smaller) than all.
 *
 * The tensor is [outer, n, inner]. With inner = 1 a row is first folded to its extremum, which
 * vectorises, and then searched for it. Otherwise PIECE columns keep value and position side by side.
 */
#include "runtime/ops/element.h"
#include "runtime/ops/fold.h"

#define PIECE 128

typedef struct rows {
    const void *x;
    int64_t *y;
    int64_t outer, n, inner, pieces;
    bool last;
} rows;

static int32_t run_rows(tm_run *run, const tm_call *call, int64_t axis, int64_t last,
                        int32_t (*body)(void *, int64_t, int64_t)) {
    const tamis_tensor *x = tm_in(run, call, 0);
    int32_t at = (int32_t)(axis < 0 ? axis + x->rank : axis);
    rows job = {x->data,     tm_out(run, call, 0)->data,           tm_product(x->dims, 0, at),
                x->dims[at], tm_product(x->dims, at + 1, x->rank), 0,
                last != 0};
    if (job.outer * job.inner == 0)
        return 0;
    if (job.n == 0)
        return tm_fail(run, call, TM_RUN_NO_ELEMENTS, 1, 0);
    job.pieces = (job.inner + PIECE - 1) / PIECE;
    int64_t width = job.inner < PIECE ? job.inner : PIECE;
    return tm_parallel(run, job.outer * job.pieces, 16384 / (job.n * width) + 1, body, &job);
}

/* `better`: does v beat a? Equality of a NaN with itself is meant. */
#define SAME(v, a) ((v) == (a) || ((v) != (v) && (a) != (a)))
#define ARG(name, s, S, C, better)                                                     \
    static int64_t row_##name##_##s(const S *x, int64_t n, bool last) {                \
        C best, first = tm_load_##s(x[0]);                                             \
        TM_FOLD(C, best, n, first, tm_load_##s(x[i]), better ? v : a, better ? v : a); \
        for (int64_t i = 0; i < n; i++) {                                              \
            int64_t at = last ? n - 1 - i : i;                                         \
            C v = tm_load_##s(x[at]);                                                  \
            if (SAME(v, best))                                                         \
                return at;                                                             \
        }                                                                              \
        return 0;                                                                      \
    }                                                                                  \
    static int32_t name##_##s(void *arg, int64_t begin, int64_t end) {                 \
        const rows *job = arg;                                                         \
        for (int64_t t = begin; t < end; t++) {                                        \
            int64_t column = t % job->pieces * PIECE, o = t / job->pieces;             \
            int64_t width = job->inner - column < PIECE ? job->inner - column : PIECE; \
            const S *x = (const S *)job->x + o * job->n * job->inner + column;         \
            int64_t *y = job->y + o * job->inner + column;                             \
            if (job->inner == 1) {                                                     \
                *y = row_##name##_##s(x, job->n, job->last);                           \
                continue;                                                              \
            }                                                                          \
            C best[PIECE];                                                             \
            for (int64_t j = 0; j < width; j++) {                                      \
                best[j] = tm_load_##s(x[j]);                                           \
                y[j] = 0;                                                              \
            }                                                                          \
            for (int64_t i = 1; i < job->n; i++)                                       \
                for (int64_t j = 0; j < width; j++) {                                  \
                    C v = tm_load_##s(x[i * job->inner + j]), a = best[j];             \
                    bool take = SAME(v, a) ? job->last : a == a && (better);           \
                    best[j] = take ? v : a;                                            \
                    y[j] = take ? i : y[j];                                            \
                }                                                                      \
        }                                                                              \
        return 0;                                                                      \
    }
#define X(s, S, C)                                                               \
    ARG(largest, s, S, C, v > a || v != v)                                       \
    ARG(smallest, s, S, C, v < a || v != v)                                      \
    TM_KERNEL(ArgMax, s) {                                                       \
        const tm_attrs_ArgMax *a = tm_attributes(call);                          \
        return run_rows(run, call, a->axis, a->select_last_index, largest_##s);  \
    }                                                                            \
    TM_KERNEL(ArgMin, s) {                                                       \
        const tm_attrs_ArgMin *a = tm_attributes(call);                          \
        return run_rows(run, call, a->axis, a->select_last_index, smallest_##s); \
    }
TM_FOR_NUMERIC_TYPES(X)
#undef X
