/* SPDX-License-Identifier: Apache-2.0
 *
 * elementwise.c: broadcasting and the parallel loop of elementwise kernels; see elementwise.h.
 *
 * The plan for f32[8, 16, 64] + f32[16, 1]:
 *
 *     out      8  16  64        strides  1024 64 1
 *     input 0  8  16  64                 1024 64 1
 *     input 1     16   1                    0  1 0
 *     merged   8  16  64        rows of 64: input 0 steps, input 1 stands still
 *
 * Two neighbouring dims merge when every operand walks over both as over one.
 */
#include "runtime/ops/elementwise.h"

static int64_t input_dim(const tamis_tensor *in, int32_t rank, int32_t i) {
    int32_t own = i - (rank - in->rank);
    return own >= 0 ? in->dims[own] : 1;
}

TM_SMALL void tm_broadcast_plan(tm_broadcast *plan, const tamis_tensor *out, const tamis_tensor *const *in,
                                int32_t inputs) {
    int64_t dense[TM_ROW_INPUTS];
    int32_t last = TAMIS_MAX_RANK; /* loops are built from the innermost, at the arrays' end */
    plan->inputs = inputs;
    plan->count = tm_count(out);
    for (int32_t k = 0; k < inputs; k++)
        dense[k] = 1;
    for (int32_t i = out->rank - 1; i >= 0; i--) {
        int64_t dim = out->dims[i];
        int64_t stride[TM_ROW_INPUTS];
        bool merge = last < TAMIS_MAX_RANK;
        for (int32_t k = 0; k < inputs; k++) {
            int64_t own = input_dim(in[k], out->rank, i);
            stride[k] = own == 1 ? 0 : dense[k];
            dense[k] *= own;
            merge = merge && stride[k] == plan->strides[k][last] * plan->dims[last];
        }
        if (dim == 1)
            continue;
        if (merge) {
            plan->dims[last] *= dim;
            continue;
        }
        plan->dims[--last] = dim;
        for (int32_t k = 0; k < inputs; k++)
            plan->strides[k][last] = stride[k];
    }
    plan->rank = TAMIS_MAX_RANK - last;
    for (int32_t i = 0; i < plan->rank; i++) {
        plan->dims[i] = plan->dims[last + i];
        for (int32_t k = 0; k < inputs; k++)
            plan->strides[k][i] = plan->strides[k][last + i];
    }
    if (plan->rank == 0) { /* one element */
        plan->rank = 1;
        plan->dims[0] = 1;
        for (int32_t k = 0; k < inputs; k++)
            plan->strides[k][0] = 0;
    }
}

TM_SMALL int32_t tm_broadcast_range(const tm_broadcast *plan, tm_row *row, tm_row_function function,
                                    int64_t begin, int64_t end) {
    int32_t inner = plan->rank - 1;
    int64_t index[TAMIS_MAX_RANK];
    int64_t rest = begin;
    for (int32_t i = inner; i >= 0; i--) {
        index[i] = rest % plan->dims[i];
        rest /= plan->dims[i];
    }
    for (int32_t k = 0; k < plan->inputs; k++) {
        row->step[k] = plan->strides[k][inner];
        row->at[k] = 0;
        for (int32_t i = 0; i <= inner; i++)
            row->at[k] += index[i] * plan->strides[k][i];
    }
    for (int64_t at = begin; at < end;) {
        int64_t left = plan->dims[inner] - index[inner];
        row->out_at = at;
        row->count = left < end - at ? left : end - at;
        int32_t code = function(row);
        if (code != 0)
            return code;
        at += row->count;
        for (int32_t k = 0; k < plan->inputs; k++)
            row->at[k] -= index[inner] * plan->strides[k][inner];
        index[inner] = 0;
        for (int32_t i = inner - 1; i >= 0; i--) {
            for (int32_t k = 0; k < plan->inputs; k++)
                row->at[k] += plan->strides[k][i];
            if (++index[i] < plan->dims[i])
                break;
            for (int32_t k = 0; k < plan->inputs; k++)
                row->at[k] -= plan->strides[k][i] * plan->dims[i];
            index[i] = 0;
        }
    }
    return 0;
}

typedef struct job {
    tm_broadcast plan;
    tm_row row;
    tm_row_function function;
} job;

static int32_t run_range(void *argument, int64_t begin, int64_t end) {
    const job *work = argument;
    tm_row row = work->row;
    return tm_broadcast_range(&work->plan, &row, work->function, begin, end);
}

TM_SMALL int32_t tm_elementwise(tm_run *run, const tm_call *call, int32_t inputs, tm_row_function function,
                                const void *context) {
    job work = {.function = function};
    const tamis_tensor *in[TM_ROW_INPUTS];
    const tamis_tensor *out = tm_out(run, call, 0);
    for (int32_t k = 0; k < inputs; k++) {
        in[k] = tm_in(run, call, k);
        work.row.in[k] = in[k]->data;
    }
    work.row.out = out->data;
    work.row.context = context;
    tm_broadcast_plan(&work.plan, out, in, inputs);
    return tm_parallel(run, work.plan.count, TM_ELEMENTWISE_GRAIN, run_range, &work);
}

static int32_t run_flat(void *argument, int64_t begin, int64_t end) {
    const job *work = argument;
    tm_row row = work->row;
    row.at[0] = begin;
    row.out_at = begin;
    row.count = end - begin;
    row.step[0] = 1;
    return work->function(&row);
}

TM_SMALL int32_t tm_unary(tm_run *run, const tm_call *call, int k, tm_row_function function,
                          const void *context) {
    job work = {.function = function};
    const tamis_tensor *in = tm_in(run, call, 0);
    work.row.in[0] = in->data;
    work.row.out = tm_out(run, call, k)->data;
    work.row.context = context;
    return tm_parallel(run, tm_count(in), TM_ELEMENTWISE_GRAIN, run_flat, &work);
}
