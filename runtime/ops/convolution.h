/* SPDX-License-Identifier: Apache-2.0
 *
 * convolution.h: what all convolutions share: their dims, and the columns of an im2col panel.
 *
 * A convolution is, for each sample and group, the product of the weights [m, c*kernel] with a matrix
 * [c*kernel, out positions] that is never built: panels of it are filled when the product needs them.
 * The columns of a panel are cut into segments, runs of output positions that differ on the last axis
 * only. For one row (channel, kernel position) a segment is then a strided run of one input row.
 */
#ifndef TM_OPS_CONVOLUTION_H
#define TM_OPS_CONVOLUTION_H

#include "runtime/ops/window.h"

typedef struct tm_convolution {
    tm_window window;
    int64_t samples, groups;
    int64_t channels; /* of the input, in one group */
    int64_t filters;  /* output channels, in one group */
} tm_convolution;

/* For input x and weights w [filters*groups, channels, kernel]; fails where dims do not fit. */
int32_t tm_convolution_init(tm_run *run, const tm_call *call, tm_convolution *out, const tamis_tensor *x,
                            const tamis_tensor *w, const tamis_tensor *y, int64_t groups,
                            tm_window_lists lists);
/* Is the input itself the matrix: kernel 1, stride 1, no padding? */
bool tm_convolution_is_plain(const tm_convolution *convolution);

/* Rows are short: wide unrolling would leave most of a row to the scalar rest. */
#define TM_SHORT_ROW _Pragma("clang loop interleave_count(1)")

#define TM_SEGMENTS 32 /* columns of the widest panel */

typedef struct tm_segment {
    int64_t column, count;
    int64_t start[TM_WINDOW_AXES]; /* input position for kernel position 0 */
} tm_segment;

/* Cuts output positions n0..n0+width into segments; returns their number. */
int32_t tm_segments(const tm_window *window, int64_t n0, int64_t width, tm_segment *segments);
/* Where row (kernel position `at`) of a segment reads: the offset of its first element in one channel and the
 * columns
 * [*first, *end) of the segment that lie inside of the input. */
int64_t tm_segment_row(const tm_window *window, const tm_segment *segment, const int64_t *at, int64_t *first,
                       int64_t *end);
/* Splits row number k of the matrix into its channel (returned) and kernel position. */
int64_t tm_kernel_position(const tm_window *window, int64_t k, int64_t *at);

#endif
