/* SPDX-License-Identifier: Apache-2.0
 *
 * ring.h: how the columns of a bottleneck are cut into strips, for the pass that forms such regions and the
 * code generator.
 *
 * A window of y reads rows of v, which are kept in a ring of lines. A strip of y is as wide as the lines may
 * be. All strips make the same number of columns of v; at the edges of the image these are moved into it:
 *
 *     v 56 wide, y in strips of 28, 3 taps, padding 1:   columns -1..28 and 27..56 are needed,
 *                                                        0..29 and 26..55 are made
 */
#ifndef TM_PASSES_RING_H
#define TM_PASSES_RING_H

#include <stdint.h>

typedef struct tm_ring {
    int64_t strips,
        strip;         /* of a row of y, and columns of y of each */
    int64_t shared;    /* columns of y at the start of the last strip that the one before it stores */
    int64_t made;      /* columns of v of a strip */
    int64_t margin;    /* columns of a line before the first tap of a strip */
    int64_t positions; /* columns of a line */
} tm_ring;

/* The fewest strips whose lines fit in a ring when a column of all lines has so many bytes. Widths are at
 * least one, a window of `kernel` taps starts `head` before the image. */
tm_ring tm_ring_cut(int64_t out_wide, int64_t wide, int64_t stride, int64_t kernel, int64_t head,
                    int64_t column_bytes);

#endif
