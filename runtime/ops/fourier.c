/* SPDX-License-Identifier: Apache-2.0
 *
 * Fourier transforms; see fourier.h.
 */
#include "runtime/ops/fourier.h"
#include "runtime/math/math.h"
#include "runtime/ops/element.h"

#define PI 3.14159265358979323846

/* exp(2 pi i k / n), from an angle of at most an eighth of a turn. */
static tm_complex_f64 root(int64_t k, int64_t n) {
    int64_t eighth = 8 * k / n, rest = 8 * k - eighth * n; /* k/n = (eighth + rest/n) / 8 */
    if (eighth % 2 != 0)
        rest = n - rest;
    double angle = PI / 4 * ((double)rest / (double)n), c = tm_cos_f64(angle), s = tm_sin_f64(angle);
    if (eighth % 4 == 1 || eighth % 4 == 2) {
        double swap = c;
        c = s;
        s = swap;
    }
    return (tm_complex_f64){eighth >= 2 && eighth < 6 ? -c : c, eighth >= 4 ? -s : s};
}

/* A single 2 first, then fours, then odd primes. */
static int64_t factor_of(int64_t n) {
    if (__builtin_ctzll((uint64_t)n) % 2 != 0)
        return 2;
    if (n % 4 == 0)
        return 4;
    for (int64_t p = 3; p * p <= n; p += 2)
        if (n % p == 0)
            return p;
    return n;
}

#define T double
#define N f64
#include "runtime/ops/fourier.inc"

#define T float
#define N f32
#include "runtime/ops/fourier.inc"
