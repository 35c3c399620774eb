/* SPDX-License-Identifier: Apache-2.0
 *
 * CumSum and CumProd along an axis that is an input; `exclusive` leaves the element itself out,
 * `reverse` starts at the end. The tensor is [outer, n, inner]; for inner > 1 the loop over columns
 * vectorises. Integers wrap around.
 */
#include "runtime/ops/real.h"

#define PIECE 128

typedef struct rows {
    const void *x;
    void *y;
    int64_t n, inner, pieces;
    bool exclusive, reverse;
} rows;

static int32_t run_rows(tm_run *run, const tm_call *call, int64_t exclusive, int64_t reverse,
                        int32_t (*body)(void *, int64_t, int64_t)) {
    const tamis_tensor *x = tm_in(run, call, 0);
    int64_t axis = tm_integer_get(tm_in(run, call, 1), 0);
    if (axis < -x->rank || axis >= x->rank)
        return tm_fail(run, call, TM_RUN_AXIS_RANGE, axis, x->rank);
    int32_t at = (int32_t)(axis < 0 ? axis + x->rank : axis);
    rows job = {x->data,     tm_out(run, call, 0)->data,
                x->dims[at], tm_product(x->dims, at + 1, x->rank),
                0,           exclusive != 0,
                reverse != 0};
    int64_t outer = tm_product(x->dims, 0, at);
    if (outer * job.n * job.inner == 0)
        return 0;
    job.pieces = (job.inner + PIECE - 1) / PIECE;
    int64_t width = job.inner < PIECE ? job.inner : PIECE;
    return tm_parallel(run, outer * job.pieces, 16384 / (job.n * width) + 1, body, &job);
}

#define SCAN(name, s, S, C, start, expression)                                         \
    static int32_t name##_##s(void *arg, int64_t begin, int64_t end) {                 \
        const rows *job = arg;                                                         \
        for (int64_t t = begin; t < end; t++) {                                        \
            int64_t column = t % job->pieces * PIECE;                                  \
            int64_t offset = t / job->pieces * job->n * job->inner + column;           \
            int64_t width = job->inner - column < PIECE ? job->inner - column : PIECE; \
            const S *x = (const S *)job->x + offset;                                   \
            S *y = (S *)job->y + offset;                                               \
            C state[PIECE];                                                            \
            for (int64_t j = 0; j < width; j++)                                        \
                state[j] = (start);                                                    \
            for (int64_t i = 0; i < job->n; i++) {                                     \
                int64_t row = (job->reverse ? job->n - 1 - i : i) * job->inner;        \
                for (int64_t j = 0; j < width; j++) {                                  \
                    C a = state[j], v = (C)tm_load_##s(x[row + j]);                    \
                    state[j] = (C)(expression);                                        \
                    y[row + j] = tm_store_##s(job->exclusive ? a : state[j]);          \
                }                                                                      \
            }                                                                          \
        }                                                                              \
        return 0;                                                                      \
    }
#define X(s, S, C)                                                         \
    SCAN(sum, s, S, C, 0, a + v)                                           \
    SCAN(product, s, S, C, 1, a *v)                                        \
    TM_KERNEL(CumSum, s) {                                                 \
        const tm_attrs_CumSum *a = tm_attributes(call);                    \
        return run_rows(run, call, a->exclusive, a->reverse, sum_##s);     \
    }                                                                      \
    TM_KERNEL(CumProd, s) {                                                \
        const tm_attrs_CumProd *a = tm_attributes(call);                   \
        return run_rows(run, call, a->exclusive, a->reverse, product_##s); \
    }
TM_FOR_FLOAT_TYPES(X)
#undef X
#define X(s, S, C)               \
    SCAN(sum, s, S, C, 0, a + v) \
    SCAN(product, s, S, C, 1, a *v)
X(u32, uint32_t, uint32_t)
X(u64, uint64_t, uint64_t)
#undef X
/* Signed integers are the unsigned ones, bit for bit. */
#define X(s, unsigned_s)                                                            \
    TM_KERNEL(CumSum, s) {                                                          \
        const tm_attrs_CumSum *a = tm_attributes(call);                             \
        return run_rows(run, call, a->exclusive, a->reverse, sum_##unsigned_s);     \
    }                                                                               \
    TM_KERNEL(CumProd, s) {                                                         \
        const tm_attrs_CumProd *a = tm_attributes(call);                            \
        return run_rows(run, call, a->exclusive, a->reverse, product_##unsigned_s); \
    }
X(i32, u32)
X(u32, u32)
X(i64, u64)
X(u64, u64)
#undef X
