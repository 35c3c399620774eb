/* SPDX-License-Identifier: Apache-2.0
 *
 * Light curves on stdin (float32, 100 times two filters each), the likeliest kind of each on stdout.
 *
 *     tamis compile --emit=obj t2.onnx -o t2.o          writes t2.h too
 *     cc t2.c t2.o -o t2 && ./t2 <curves.f32
 */
#include "t2.h"

#include <stdio.h>
#include <stdlib.h>

enum { CURVE = 100 * 2, KINDS = 14, BATCH = 64 };

int main(void) {
    static float x[BATCH * CURVE], y[BATCH * KINDS];
    void *workspace = aligned_alloc(64, (size_t)(t2_workspace_bytes(BATCH) + 63) / 64 * 64);
    if (workspace == NULL)
        return 1;
    for (size_t count; (count = fread(x, CURVE * sizeof(float), BATCH, stdin)) > 0;) {
        if (t2_run(workspace, (int64_t)count, x, y) != 0)
            return 1;
        for (const float *p = y; p < y + count * KINDS; p += KINDS) {
            int best = 0;
            for (int kind = 1; kind < KINDS; kind++)
                best = p[kind] > p[best] ? kind : best;
            printf("%d %.4f\n", best, p[best]);
        }
    }
    free(workspace);
}
