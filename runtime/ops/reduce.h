/* SPDX-License-Identifier: Apache-2.0
 *
 * reduce.h: the loops of reductions that fold with one accumulator.
 *
 *     TM_REDUCE(sum_f32, float, float, PLAIN, 0, a + v, a + v, PLAIN2)
 *
 * makes the body sum_f32(arg, begin, end) over the outputs of a tm_reduction: S is the stored type, A the
 * accumulator's, LOAD(stored) the element as an A, `step` and `join` as in fold.h, FINISH(a, total) the
 * output. Outputs are summed alone, in the order of the odometer, whatever range they fall in.
 */
#ifndef TM_OPS_REDUCE_H
#define TM_OPS_REDUCE_H

#include "runtime/ops/element.h"
#include "runtime/ops/fold.h"
#include "runtime/ops/reduction.h"

#define TM_REDUCE_PIECE 128 /* columns side by side */

/* Number of parallel items: outputs, or pieces of `inner` outputs. */
static inline int64_t tm_reduce_items(const tm_reduction *job) {
    return job->inner_folded ? job->outer.count
                             : job->outer.count * ((job->inner + TM_REDUCE_PIECE - 1) / TM_REDUCE_PIECE);
}

#define TM_REDUCE(name, S, A, LOAD, start, step, join, FINISH)                                             \
    static int32_t name(void *arg, int64_t begin, int64_t end) {                                           \
        const tm_reduction *job = arg;                                                                     \
        S *y = job->y;                                                                                     \
        int64_t pieces = job->inner_folded ? 1 : (job->inner + TM_REDUCE_PIECE - 1) / TM_REDUCE_PIECE;     \
        for (int64_t t = begin; t < end; t++) {                                                            \
            int64_t column = t % pieces * TM_REDUCE_PIECE, o = t / pieces;                                 \
            int64_t width = job->inner - column < TM_REDUCE_PIECE ? job->inner - column : TM_REDUCE_PIECE; \
            const S *x = (const S *)job->x + tm_odometer_offset(&job->outer, o) + column;                  \
            if (job->inner_folded) {                                                                       \
                A result = (start);                                                                        \
                for (int64_t f = 0; f < job->folded.count; f++) {                                          \
                    const S *run = x + tm_odometer_offset(&job->folded, f);                                \
                    A part;                                                                                \
                    TM_FOLD(A, part, job->inner, start, LOAD(run[i]), step, join);                         \
                    A v = part, a = result;                                                                \
                    result = (A)(join);                                                                    \
                }                                                                                          \
                y[o] = (S)FINISH(result, job->total);                                                      \
                continue;                                                                                  \
            }                                                                                              \
            A results[TM_REDUCE_PIECE];                                                                    \
            for (int64_t j = 0; j < width; j++)                                                            \
                results[j] = (start);                                                                      \
            for (int64_t f = 0; f < job->folded.count; f++) {                                              \
                const S *run = x + tm_odometer_offset(&job->folded, f);                                    \
                for (int64_t j = 0; j < width; j++) {                                                      \
                    A v = LOAD(run[j]), a = results[j];                                                    \
                    results[j] = (A)(step);                                                                \
                }                                                                                          \
            }                                                                                              \
            for (int64_t j = 0; j < width; j++)                                                            \
                y[o * job->inner + column + j] = (S)FINISH(results[j], job->total);                        \
        }                                                                                                  \
        return 0;                                                                                          \
    }

/* Prepares the job of a reduction op from its inputs and runs `body`. With `noop` and no axes, the output
 * folds each element by itself (so ReduceSumSquare still squares). */
int32_t tm_reduce_run(tm_run *run, const tm_call *call, int64_t noop,
                      int32_t (*body)(void *, int64_t, int64_t));

#define TM_REDUCE_KERNEL(op, s, body)                                   \
    TM_KERNEL(op, s) {                                                  \
        const tm_attrs_##op *a = tm_attributes(call);                   \
        return tm_reduce_run(run, call, a->noop_with_empty_axes, body); \
    }

#define TM_REDUCE_KEEP(x) (x)
#define TM_REDUCE_DONE(a, total) (a)

#endif
