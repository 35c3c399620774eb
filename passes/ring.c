/* SPDX-License-Identifier: Apache-2.0
 *
 * ring.c: strips of a bottleneck; see ring.h.
 *
 * A strip that lies at the right edge is moved left, so that its first column may lie before its first tap:
 * the margin. One at the left edge is moved right, behind the padding.
 */
#include "passes/ring.h"

#define RING_BYTES 24576 /* of the stack */

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

tm_ring tm_ring_cut(int64_t out_wide, int64_t wide, int64_t stride, int64_t kernel, int64_t head,
                    int64_t column_bytes) {
    tm_ring ring = {0};
    do {
        ring.strips++;
        ring.strip = (out_wide + ring.strips - 1) / ring.strips;
        int64_t reach = (ring.strip - 1) * stride + kernel;
        int64_t first = (out_wide - ring.strip) * stride - head; /* tap of the last strip */
        ring.made = ring.strips > 1 && reach < wide ? reach : wide;
        ring.margin = larger(first - (wide - ring.made), 0);
        ring.positions = ring.margin + larger(reach, head + ring.made);
    } while (ring.positions * column_bytes > RING_BYTES && ring.strip > 1);
    ring.strips =
        (out_wide + ring.strip - 1) / ring.strip; /* rounding up may have left some without columns */
    ring.shared = ring.strips * ring.strip - out_wide;
    return ring;
}
