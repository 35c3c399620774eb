/* SPDX-License-Identifier: Apache-2.0
 *
 * resize.h: the plan of a Resize: for each axis that changes, which input positions make an output
 * position, with which weights. resize_plan.c makes it, resize.c carries it out.
 */
#ifndef TM_RUNTIME_OPS_RESIZE_H
#define TM_RUNTIME_OPS_RESIZE_H

#include "runtime/ops/move.h"

enum resize_mode { RESIZE_NEAREST, RESIZE_LINEAR, RESIZE_CUBIC };

typedef struct tm_resize_axis {
    int32_t axis;
    int64_t in, out;
    int64_t taps;
    double scale;
    double start, end; /* of the region of interest */
    int64_t *index;    /* out * taps positions in the input, clamped */
    void *weights;     /* as many, float or double; unused for nearest */
    uint8_t *outside;  /* out flags: takes the extrapolation value */
} tm_resize_axis;

typedef struct tm_resize_plan {
    const tm_attrs_Resize *attributes;
    enum resize_mode mode;
    bool crop; /* tf_crop_and_resize */
    bool wide; /* weights are doubles */
    int64_t dims[TAMIS_MAX_RANK];
    int32_t count; /* of the axes that change, ascending */
    tm_resize_axis axes[TAMIS_MAX_RANK];
} tm_resize_plan;

/* Output dims, and the axes that change with their numbers of taps. */
int32_t tm_resize_prepare(tm_run *run, const tm_call *call, tm_resize_plan *plan);
/* Bytes of the tables, and the tables in memory of that size. */
int64_t tm_resize_table_bytes(const tm_resize_plan *plan);
void tm_resize_tables(tm_resize_plan *plan, void *memory);

#endif
