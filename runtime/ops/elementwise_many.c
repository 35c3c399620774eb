/* SPDX-License-Identifier: Apache-2.0
 *
 * elementwise_many.c: Max, Min, Sum, Mean of any number of inputs.
 *
 * The output is made in blocks that fit the first-level cache: a block starts as input 0's elements, every
 * other input is folded into it in order, and only then is it stored. So each element is written once, f16
 * sums are rounded once, and the output may be any input's memory. The result of f32 Sum(a, b, c) is
 * (a + b) + c, as if it were two Adds.
 */
#include "runtime/ops/elementwise.h"

#define BLOCK_BYTES 16384

typedef struct block {
    void *values;  /* in the computed type */
    int64_t start; /* flat index of its first element */
    bool first;
} block;

typedef struct many {
    tm_run *run;
    const tm_call *call;
    tm_row_function fold;
    void (*finish)(void *out, int64_t at, const void *values, int64_t count, int32_t inputs);
    int64_t block_elements;
} many;

static int32_t many_range(void *argument, int64_t begin, int64_t end) {
    const many *work = argument;
    _Alignas(64) uint8_t values[BLOCK_BYTES];
    const tamis_tensor *out = tm_out(work->run, work->call, 0);
    for (int64_t at = begin; at < end; at += work->block_elements) {
        int64_t count = end - at < work->block_elements ? end - at : work->block_elements;
        for (int32_t k = 0; k < work->call->n_in; k++) {
            const tamis_tensor *in = tm_in(work->run, work->call, k);
            block state = {values, at, k == 0};
            tm_row row = {.in = {in->data}, .context = &state};
            tm_broadcast plan;
            tm_broadcast_plan(&plan, out, &in, 1);
            tm_broadcast_range(&plan, &row, work->fold, at, at + count);
        }
        work->finish(out->data, at, values, count, work->call->n_in);
    }
    return 0;
}

#define FOLD(op, s, S, C, result)                                      \
    static int32_t fold_##op##_##s(const tm_row *row) {                \
        const block *state = row->context;                             \
        C *values = (C *)state->values + (row->out_at - state->start); \
        const S *x = TM_ROW_IN(row, 0, S);                             \
        int64_t n = row->count, step = row->step[0];                   \
        if (state->first) {                                            \
            for (int64_t i = 0; i < n; i++)                            \
                values[i] = tm_load_##s(x[i * step]);                  \
        } else if (step != 0) {                                        \
            TM_ROW_LOOP for (int64_t i = 0; i < n; i++) {              \
                C a = values[i], b = tm_load_##s(x[i]);                \
                values[i] = result;                                    \
            }                                                          \
        } else {                                                       \
            C b = tm_load_##s(x[0]);                                   \
            TM_ROW_LOOP for (int64_t i = 0; i < n; i++) {              \
                C a = values[i];                                       \
                values[i] = result;                                    \
            }                                                          \
        }                                                              \
        return 0;                                                      \
    }
#define MANY_KERNEL(op, s, S, C, fold_function, finish_function)                                          \
    int32_t tm_k_##op##_##s(tm_run *run, const tm_call *call) {                                           \
        many work = {run, call, fold_function, finish_function, BLOCK_BYTES / (int64_t)sizeof(C)};        \
        return tm_parallel(run, tm_count(tm_out(run, call, 0)), TM_ELEMENTWISE_GRAIN, many_range, &work); \
    }
#define FINISH(name, s, S, C, result)                                                \
    static void name##_##s(void *out, int64_t at, const void *values, int64_t count, \
                           TM_UNUSED int32_t inputs) {                               \
        S *y = (S *)out + at;                                                        \
        const C *from = values;                                                      \
        for (int64_t i = 0; i < count; i++) {                                        \
            C a = from[i];                                                           \
            y[i] = tm_store_##s(result);                                             \
        }                                                                            \
    }

/* NaN in any input is NaN in the result. */
#define EXTREMES(s, S, C)                              \
    FINISH(store, s, S, C, a)                          \
    FOLD(Max, s, S, C, ((a > b) | (a != a)) ? a : b)   \
    FOLD(Min, s, S, C, ((a < b) | (a != a)) ? a : b)   \
    MANY_KERNEL(Max, s, S, C, fold_Max_##s, store_##s) \
    MANY_KERNEL(Min, s, S, C, fold_Min_##s, store_##s)
#pragma clang diagnostic ignored "-Wtautological-compare" /* a != a on integers */
TM_FOR_NUMERIC_TYPES(EXTREMES)

#define SUMS(s, S, C)                                  \
    FOLD(Sum, s, S, C, a + b)                          \
    FINISH(mean, s, S, C, a / (C)inputs)               \
    MANY_KERNEL(Sum, s, S, C, fold_Sum_##s, store_##s) \
    MANY_KERNEL(Mean, s, S, C, fold_Sum_##s, mean_##s)
TM_FOR_FLOAT_TYPES(SUMS)
