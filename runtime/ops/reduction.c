/* SPDX-License-Identifier: Apache-2.0
 *
 * Turns the axes of a reduction into loops; see reduction.h.
 */
#include "runtime/ops/reduction.h"
#include "runtime/ops/real.h"
#include "runtime/ops/reduce.h"

int32_t tm_reduction_flags(tm_run *run, const tm_call *call, const tamis_tensor *x, const tamis_tensor *axes,
                           bool noop, uint32_t *out_flags) {
    int64_t count = axes != NULL ? tm_count(axes) : 0;
    uint32_t flags = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t axis = tm_integer_get(axes, i);
        if (axis < -x->rank || axis >= x->rank)
            return tm_fail(run, call, TM_RUN_AXIS_RANGE, axis, x->rank);
        uint32_t bit = 1u << (axis < 0 ? axis + x->rank : axis);
        if ((flags & bit) != 0)
            return tm_fail(run, call, TM_RUN_AXIS_TWICE, axis, x->rank);
        flags |= bit;
    }
    if (count == 0 && !noop)
        flags = (1u << x->rank) - 1;
    *out_flags = flags;
    return 0;
}

static void add_dim(tm_odometer *odometer, int64_t dim, int64_t stride) {
    odometer->dims[odometer->rank] = dim;
    odometer->strides[odometer->rank++] = stride;
    odometer->count *= dim;
}

void tm_reduction_init(tm_reduction *out, int32_t rank, const int64_t *dims, uint32_t flags) {
    int64_t merged[TAMIS_MAX_RANK];
    bool folds[TAMIS_MAX_RANK];
    int32_t count = 0;
    for (int32_t d = 0; d < rank; d++) {
        bool folded = (flags >> d & 1) != 0;
        if (dims[d] == 1)
            continue;
        if (count > 0 && folds[count - 1] == folded) {
            merged[count - 1] *= dims[d];
            continue;
        }
        merged[count] = dims[d];
        folds[count++] = folded;
    }
    out->outer.rank = out->folded.rank = 0;
    out->outer.count = out->folded.count = 1;
    out->inner = count > 0 ? merged[count - 1] : 1;
    out->inner_folded = count > 0 && folds[count - 1];
    int64_t strides[TAMIS_MAX_RANK], stride = 1;
    for (int32_t d = count - 1; d >= 0; d--) {
        strides[d] = stride;
        stride *= merged[d];
    }
    for (int32_t d = 0; d < count - 1; d++)
        add_dim(folds[d] ? &out->folded : &out->outer, merged[d], strides[d]);
    out->total = out->folded.count * (out->inner_folded ? out->inner : 1);
}

int32_t tm_reduce_run(tm_run *run, const tm_call *call, int64_t noop,
                      int32_t (*body)(void *, int64_t, int64_t)) {
    const tamis_tensor *x = tm_in(run, call, 0);
    uint32_t flags;
    int32_t code = tm_reduction_flags(run, call, x, tm_in(run, call, 1), noop != 0, &flags);
    if (code != 0)
        return code;
    tm_reduction job;
    tm_reduction_init(&job, x->rank, x->dims, flags);
    job.x = x->data;
    job.y = tm_out(run, call, 0)->data;
    int64_t items = tm_reduce_items(&job), work = job.total * (job.inner_folded ? 1 : TM_REDUCE_PIECE);
    return tm_parallel(run, items, 16384 / (work + 1) + 1, body, &job);
}
