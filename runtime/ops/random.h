/* SPDX-License-Identifier: Apache-2.0
 *
 * random.h: the generator of random ops: SplitMix64 as a function of a counter.
 *
 *     draw i of a stream = mix(key + (i + 1) * 0x9e3779b97f4a7c15)
 *
 * Any element can be drawn alone, so ranges run in parallel and give the same numbers. The key of a stream is
 * made of the op's seed, or, without one, of run->random_state, which each stream moves on; so a run
 * is repeated exactly by giving the same state, and two ops never share a stream.
 */
#ifndef TM_OPS_RANDOM_H
#define TM_OPS_RANDOM_H

#include "runtime/math/math.h"
#include "runtime/ops/element.h"

static inline uint64_t tm_random_mix(uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
static inline uint64_t tm_random_draw(uint64_t key, int64_t i) {
    return tm_random_mix(key + ((uint64_t)i + 1) * 0x9e3779b97f4a7c15u);
}
/* In [0, 1), 53 bits. */
static inline double tm_random_uniform(uint64_t key, int64_t i) {
    return (double)(tm_random_draw(key, i) >> 11) * 0x1p-53;
}
/* A key from the state, which moves on. */
static inline uint64_t tm_random_next_key(tm_run *run) {
    run->random_state += 0x9e3779b97f4a7c15u;
    return tm_random_mix(run->random_state);
}
/* `seed` NaN: the attribute is absent. */
static inline uint64_t tm_random_key(tm_run *run, double seed) {
    return seed == seed ? tm_random_mix(tm_bits_of_f64(seed) + 0x9e3779b97f4a7c15u) : tm_random_next_key(run);
}

#endif
