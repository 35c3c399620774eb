/* SPDX-License-Identifier: Apache-2.0
 *
 * palette_means.c: k-means on a line.
 *
 * The elements (a part of many) are sorted once, with running sums of them; then the elements nearest to an
 * entry are a stretch of that list, whose ends are found by halving and whose mean by two of the sums. A
 * round costs k log n, so rounds go on until nothing moves. Entries start between even quantiles and even
 * steps of the range: quantiles alone leave the tails bare, steps the middle.
 */
#include "compress/palette.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE 262144
#define ROUNDS 200

static int by_value(const void *a, const void *b) {
    const float *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

int tm_palette_nearest(const float *palette, int entries, float x) {
    int low = 0, high = entries - 1;
    while (low < high) {
        int middle = (low + high) / 2;
        if (x <= 0.5f * (palette[middle] + palette[middle + 1]))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The first of the sorted elements above x. */
static int64_t above(const float *sorted, int64_t count, double x) {
    int64_t low = 0, high = count;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if ((double)sorted[middle] <= x)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void start(const float *sorted, int64_t count, int entries, double *means) {
    double low = (double)sorted[0], high = (double)sorted[count - 1];
    for (int i = 0; i < entries; i++) {
        double share = ((double)i + 0.5) / entries;
        double quantile = (double)sorted[(int64_t)(share * (double)count)];
        means[i] = 0.5 * (quantile + low + share * (high - low));
    }
}

static bool move(const float *sorted, const double *sums, int64_t count, int entries, double *means) {
    bool moved = false;
    int64_t first = 0;
    for (int i = 0; i < entries; i++) {
        int64_t end = i + 1 < entries ? above(sorted, count, 0.5 * (means[i] + means[i + 1])) : count;
        end = end < first ? first : end;
        double mean = end > first ? (sums[end] - sums[first]) / (double)(end - first) : means[i];
        moved |= fabs(mean - means[i]) > 1e-9 * fabs(mean);
        means[i] = mean;
        first = end;
    }
    return moved;
}

/* Element i of runs of `run` neighbours that are `stride` apart. */
static float at(const float *x, int64_t i, int64_t stride, int64_t run) {
    return x[i / run * stride + i % run];
}

void tm_palette_fit(tm_arena *scratch, const float *x, int64_t count, int64_t stride, int64_t run,
                    int entries, float *out_palette) {
    int64_t part = count < SAMPLE ? count : SAMPLE, zeros = 0;
    float *sorted = TM_NEW_ARRAY(scratch, float, part);
    double *sums = TM_NEW_ARRAY(scratch, double, part + 1), *means = TM_NEW_ARRAY(scratch, double, entries);
    for (int64_t i = 0; i < part; i++) {
        sorted[i] = at(x, (int64_t)((double)i * (double)count / (double)part), stride, run);
        zeros += sorted[i] == 0;
    }
    qsort(sorted, (size_t)part, sizeof *sorted, by_value);
    for (int64_t i = 0; i < part; i++)
        sums[i + 1] = sums[i] + (double)sorted[i];
    start(sorted, part, entries, means);
    for (int round = 0; round < ROUNDS && move(sorted, sums, part, entries, means); round++)
        ;
    for (int i = 0; i < entries; i++)
        out_palette[i] = (float)means[i];
    if (100 * zeros >= part)
        out_palette[tm_palette_nearest(out_palette, entries, 0)] = 0;
}
