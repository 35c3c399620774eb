/* SPDX-License-Identifier: Apache-2.0
 *
 * knapsack.c: the classic table over capacities: best[c] is the largest gain of the items so far that weigh
 * no more than c. Which item was taken last at each (item, c) is kept as bits to walk back.
 *
 * Capacity counts in thousandths, which is finer than the figures that it is used with are known. Weights are
 * rounded up, so what is taken never weighs more than allowed; an item of no weight takes no room.
 */
#include "quantize/choose.h"

#include <math.h>

#define STEPS 1000

void tm_knapsack(tm_arena *arena, int count, const double *gains, const double *weights, double capacity,
                 bool *out_taken) {
    double *best = TM_NEW_ARRAY(arena, double, STEPS + 1);
    bool *took = TM_NEW_ARRAY(arena, bool, (int64_t)(count + 1) * (STEPS + 1));
    int *steps = TM_NEW_ARRAY(arena, int, count + 1);
    for (int i = 0; i < count; i++) {
        double share = capacity > 0     ? ceil(weights[i] / capacity * STEPS - 1e-9)
                       : weights[i] > 0 ? STEPS + 1
                                        : 0;
        steps[i] = share > STEPS ? STEPS + 1 : share < 0 ? 0 : (int)share;
        out_taken[i] = false;
        if (!(gains[i] > 0) || !(weights[i] <= INFINITY))
            continue;
        for (int c = STEPS; c >= steps[i]; c--)
            if (best[c - steps[i]] + gains[i] > best[c]) {
                best[c] = best[c - steps[i]] + gains[i];
                took[(int64_t)i * (STEPS + 1) + c] = true;
            }
    }
    for (int i = count - 1, c = STEPS; i >= 0; i--)
        if (took[(int64_t)i * (STEPS + 1) + c]) {
            out_taken[i] = true;
            c -= steps[i];
        }
}
