/* SPDX-License-Identifier: Apache-2.0
 *
 * reduction.h: which elements a reduction folds, for any set of axes.
 *
 * Unit dims fall away and neighbours that are both kept or both reduced merge, so [a, b, c, d] over (1, 2)
 * is three dims: kept a, reduced b*c, kept d. The last one is `inner`. If it is reduced, an output element
 * folds runs of `inner` contiguous elements; if it is kept, runs of `inner` output elements are folded
 * side by side. The dims before it are odometers: outer ones step over outputs, folded ones over what
 * an output folds.
 */
#ifndef TM_OPS_REDUCTION_H
#define TM_OPS_REDUCTION_H

#include "runtime/kernel.h"

typedef struct tm_odometer {
    int32_t rank;
    int64_t count;
    int64_t dims[TAMIS_MAX_RANK];
    int64_t strides[TAMIS_MAX_RANK]; /* in the input */
} tm_odometer;

typedef struct tm_reduction {
    tm_odometer outer, folded;
    int64_t inner;
    bool inner_folded;
    int64_t total; /* elements that one output folds */
    const void *x;
    void *y;
} tm_reduction;

/* `flags`: bit d is set when axis d is reduced. */
void tm_reduction_init(tm_reduction *out, int32_t rank, const int64_t *dims, uint32_t flags);
/* Reduced axes of an op with an axes input: none given means all, or nothing at all with `noop`. Fails on an
 * axis out of range. */
int32_t tm_reduction_flags(tm_run *run, const tm_call *call, const tamis_tensor *x, const tamis_tensor *axes,
                           bool noop, uint32_t *out_flags);

static inline int64_t tm_odometer_offset(const tm_odometer *odometer, int64_t position) {
    int64_t offset = 0;
    for (int32_t i = odometer->rank - 1; i >= 0; i--) {
        offset += position % odometer->dims[i] * odometer->strides[i];
        position /= odometer->dims[i];
    }
    return offset;
}

#endif
