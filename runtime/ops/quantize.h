/* SPDX-License-Identifier: Apache-2.0
 *
 * quantize.h: which scale belongs to which element, and blocks of elements as float.
 *
 * Scales are one for the tensor, one for each position of an axis, or one for each block along the axis.
 * In memory order the elements then fall into runs along which the scale stands still or
 * steps by one:
 *
 *     x [4, 64], axis 1, block 32: runs of 32, scale still       x [64, 4], axis 0, block 32: runs of 4,
 * scale steps x [2, 3, 5], axis 1:         runs of 5, scale still        x [2, 3], axis 1:            runs of
 * 3, scale steps
 */
#ifndef TM_OPS_QUANTIZE_H
#define TM_OPS_QUANTIZE_H

#include "runtime/ops/elementwise.h"

#define TM_QUANTIZE_BLOCK 256

typedef struct tm_scale_layout {
    int64_t dim, inner, block; /* of the axis, of all dims behind it; block 0: per axis */
    bool per_tensor;
} tm_scale_layout;

typedef struct tm_scale_run {
    int64_t count; /* elements, at most TM_QUANTIZE_BLOCK */
    int64_t index; /* of the first scale */
    int64_t step;  /* of the scale: 0 or 1 */
} tm_scale_run;

tm_scale_layout tm_scale_layout_of(const tamis_tensor *x, const tamis_tensor *scale, int64_t axis,
                                   int64_t block);
tm_scale_run tm_scale_run_at(const tm_scale_layout *layout, int64_t at, int64_t end);
/* `count` elements (step 0: the same one) as float or int32; false: the type is not among them. */
bool tm_read_floats(float *to, int32_t type, const void *data, int64_t at, int64_t step, int64_t count);
bool tm_read_integers(int32_t *to, int32_t type, const void *data, int64_t at, int64_t step, int64_t count);
bool tm_write_floats(const float *from, int32_t type, void *data, int64_t at, int64_t count);

#endif
