/* SPDX-License-Identifier: Apache-2.0
 *
 * elementwise.h: the loop around elementwise kernels. A kernel gives a function for one row, that is a
 * run of the output along which each input either steps by one element or stands still:
 *
 *     static int32_t add_row(const tm_row *row) {
 *         const float *a = TM_ROW_IN(row, 0, float), *b = TM_ROW_IN(row, 1, float);
 *         float *y = TM_ROW_OUT(row, float);
 *         TM_ROW_LOOP for (int64_t i = 0; i < row->count; i++)
            y[i] = a[i * row->step[0]] + b[i * row->step[1]];
 *         return 0;
 *     }
 *
 * tm_elementwise() broadcasts the inputs against the output: unit dims fall away and dims that are
 * contiguous in all operands merge, so that [8, 16, 64] + [64] runs as 128 rows and equal shapes as one.
 * Large outputs are cut into parallel ranges; a row function sees no range, so answers do not depend
 * on threads. The output may be the same memory as an input of the same number of elements.
 *
 * It is one function for all kernels (rows come as a pointer), so a kernel costs its rows only.
 */
#ifndef TM_OPS_ELEMENTWISE_H
#define TM_OPS_ELEMENTWISE_H

#include "runtime/ops/element.h"

#define TM_ROW_INPUTS 3
#define TM_ELEMENTWISE_GRAIN 16384

typedef struct tm_row {
    void *out; /* the tensors' data; positions in elements, since sub-byte elements have no address */
    const void *in[TM_ROW_INPUTS];
    int64_t out_at;
    int64_t at[TM_ROW_INPUTS];
    int64_t step[TM_ROW_INPUTS]; /* 0 or 1 */
    int64_t count;
    const void *context;
} tm_row;

typedef int32_t (*tm_row_function)(const tm_row *row);

#define TM_ROW_IN(row, k, type) ((const type *)(row)->in[k] + (row)->at[k])
#define TM_ROW_OUT(row, type) ((type *)(row)->out + (row)->out_at)
/* Iterations are independent even where the output is an input's memory. */
#define TM_ROW_LOOP _Pragma("clang loop vectorize(assume_safety) interleave_count(2)")
#pragma clang diagnostic ignored \
    "-Wpass-failed" /* a loop that does not vectorise for some type is no fault */

/* Control code that runs once a call: small rather than fast. */
#define TM_SMALL __attribute__((minsize, noinline))

/* The row of a binary op: `result` is an expression of C a, C b (and const void *context). */
#define TM_BINARY_ROW(name, s, S, C, O, result)                       \
    static int32_t name(const tm_row *row) {                          \
        const S *x = TM_ROW_IN(row, 0, S), *z = TM_ROW_IN(row, 1, S); \
        O *y = TM_ROW_OUT(row, O);                                    \
        int64_t n = row->count;                                       \
        if (row->step[0] != 0 && row->step[1] != 0) {                 \
            TM_ROW_LOOP for (int64_t i = 0; i < n; i++) {             \
                C a = tm_load_##s(x[i]), b = tm_load_##s(z[i]);       \
                y[i] = (O)(result);                                   \
            }                                                         \
        } else if (row->step[0] != 0) {                               \
            C b = tm_load_##s(z[0]);                                  \
            TM_ROW_LOOP for (int64_t i = 0; i < n; i++) {             \
                C a = tm_load_##s(x[i]);                              \
                y[i] = (O)(result);                                   \
            }                                                         \
        } else {                                                      \
            C a = tm_load_##s(x[0]);                                  \
            TM_ROW_LOOP for (int64_t i = 0; i < n; i++) {             \
                C b = tm_load_##s(z[i]);                              \
                y[i] = (O)(result);                                   \
            }                                                         \
        }                                                             \
        return 0;                                                     \
    }
/* The kernel with that row. */
#define TM_BINARY_KERNEL(op, s, S, C, O, result)                   \
    TM_BINARY_ROW(row_##op##_##s, s, S, C, O, result)              \
    int32_t tm_k_##op##_##s(tm_run *run, const tm_call *call) {    \
        return tm_elementwise(run, call, 2, row_##op##_##s, NULL); \
    }
/* The kernel of a unary op: `result` is an expression of C a; `attributes` is row->context. */
#define TM_UNARY_KERNEL(op, s, S, C, O, result)                             \
    static int32_t row_##op##_##s(const tm_row *row) {                      \
        const S *x = TM_ROW_IN(row, 0, S);                                  \
        O *y = TM_ROW_OUT(row, O);                                          \
        int64_t n = row->count;                                             \
        TM_UNUSED const tm_attrs_##op *attributes = row->context;           \
        TM_ROW_LOOP for (int64_t i = 0; i < n; i++) {                       \
            C a = tm_load_##s(x[i]);                                        \
            y[i] = (O)(result);                                             \
        }                                                                   \
        return 0;                                                           \
    }                                                                       \
    int32_t tm_k_##op##_##s(tm_run *run, const tm_call *call) {             \
        return tm_unary(run, call, 0, row_##op##_##s, tm_attributes(call)); \
    }
#define TM_UNUSED __attribute__((unused))

/* How the inputs lie against the output: loops from the outermost to the innermost. */
typedef struct tm_broadcast {
    int32_t rank;
    int32_t inputs;
    int64_t count;
    int64_t dims[TAMIS_MAX_RANK];
    int64_t strides[TM_ROW_INPUTS][TAMIS_MAX_RANK];
} tm_broadcast;

void tm_broadcast_plan(tm_broadcast *plan, const tamis_tensor *out, const tamis_tensor *const *in,
                       int32_t inputs);
/* Calls row on the pieces of the output's range; `row` has out, in and context set. */
int32_t tm_broadcast_range(const tm_broadcast *plan, tm_row *row, tm_row_function function, int64_t begin,
                           int64_t end);

/* Output 0 from inputs 0..inputs-1 of the call. Returns the code of the lowest range that failed, not
 * yet recorded. */
int32_t tm_elementwise(tm_run *run, const tm_call *call, int32_t inputs, tm_row_function function,
                       const void *context);
/* The same for output `k` from input 0, without broadcasting. */
int32_t tm_unary(tm_run *run, const tm_call *call, int k, tm_row_function function, const void *context);

#endif
