/* SPDX-License-Identifier: Apache-2.0
 *
 * knapsack.c: the classic table over capacities: best[c] is the largest gain of the items so far that weigh
 * no more than c. In which way an item was taken at each (item, c) is kept to walk back.
 *
 * Capacity counts in thousandths, which is finer than the figures that it is used with are known. Weights are
 * rounded up, so what is taken never weighs more than allowed; an item of no weight takes no room.
 */
#include "quantize/choose.h"

#include <math.h>

#define STEPS 1000

void tm_knapsack(tm_arena *arena, int count, int ways, const double *gains, const double *weights,
                 double capacity, int8_t *out_taken) {
    double *best = TM_NEW_ARRAY(arena, double, STEPS + 1);
    int8_t *took = TM_NEW_ARRAY(arena, int8_t, (int64_t)(count + 1) * (STEPS + 1));
    int *steps = TM_NEW_ARRAY(arena, int, (int64_t)count *ways + 1);
    for (int i = 0; i < count * ways; i++) {
        double share = capacity > 0     ? ceil(weights[i] / capacity * STEPS - 1e-9)
                       : weights[i] > 0 ? STEPS + 1
                                        : 0;
        bool fits = gains[i] > 0 && share <= STEPS; /* neither is so for what is no number */
        steps[i] = !fits ? STEPS + 1 : share < 0 ? 0 : (int)share;
    }
    for (int i = 0; i < count; i++) {
        for (int c = STEPS; c >= 0; c--) { /* so that best[c - ..] is still without item i */
            double without = best[c];
            took[(int64_t)i * (STEPS + 1) + c] = -1;
            for (int w = 0; w < ways; w++) {
                int step = steps[i * ways + w];
                double with = step <= c ? (step == 0 ? without : best[c - step]) + gains[i * ways + w] : 0;
                if (step <= c && with > best[c]) {
                    best[c] = with;
                    took[(int64_t)i * (STEPS + 1) + c] = (int8_t)w;
                }
            }
        }
    }
    for (int i = count - 1, c = STEPS; i >= 0; i--) {
        out_taken[i] = took[(int64_t)i * (STEPS + 1) + c];
        if (out_taken[i] >= 0)
            c -= steps[i * ways + out_taken[i]];
    }
}
