/* SPDX-License-Identifier: Apache-2.0
 *
 * windows.h: Windows, what each window of a convolution sees of an image of bytes, one row for each.
 *
 *     %x: u8[n, 14, 14, 3]  channels last
 *     %r: u8[n, 12, 12, 48] = Windows(%x, %zero) {kernel_shape = [3, 3]}     3 runs of 9 bytes, each filled
 * up to 16
 *
 * A run is what stands side by side in the image: a row of the window, or one tap where taps along the last
 * axis lie apart. The bytes that fill a run up and those outside of the image are the second operand (none:
 * 0), the zero point of x: a product by weights with rows for them too adds nothing for them. Runs are filled
 * up so that each is whole vectors, none of which lies across two lines of tiles (ir/tiles.h).
 */
#ifndef TM_IR_OPS_WINDOWS_H
#define TM_IR_OPS_WINDOWS_H

#include "ir/infer.h"

#define TM_WINDOWS_ALIGNMENT 16

/* The runs of a window of a node whose kernel_shape is set and whose channels are known. */
typedef struct tm_windows_runs {
    int64_t count, taps; /* runs of a window, taps of a run */
    int64_t bytes;       /* of a run, filled up */
} tm_windows_runs;

/* `last_dilation` and `axes` are of the node, `kernel` its kernel_shape. */
tm_windows_runs tm_windows_runs_of(const int64_t *kernel, int axes, int64_t last_dilation, int64_t channels);

#endif
