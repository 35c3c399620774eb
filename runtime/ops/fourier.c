/* SPDX-License-Identifier: Apache-2.0
 *
 * Fourier transforms; see fourier.h.
 */
#include "runtime/ops/fourier.h"
#include "runtime/math/math.h"

#define PI 3.14159265358979323846

/* cos and sin of k/n of a turn, from an angle of at most an eighth of a turn. */
static tm_complex root(int64_t k, int64_t n) {
    int64_t eighth = 8 * k / n, rest = 8 * k - eighth * n; /* k/n = (eighth + rest/n) / 8 */
    if (eighth % 2 != 0)
        rest = n - rest;
    double angle = PI / 4 * ((double)rest / (double)n), c = tm_cos_f64(angle), s = tm_sin_f64(angle);
    if (eighth % 4 == 1 || eighth % 4 == 2) {
        double swap = c;
        c = s;
        s = swap;
    }
    return (tm_complex){eighth >= 2 && eighth < 6 ? -c : c, eighth >= 4 ? -s : s};
}

void tm_fourier_roots(int64_t n, bool inverse, tm_complex *roots) {
    for (int64_t k = 0; k < n; k++) {
        roots[k] = root(k, n);
        if (!inverse)
            roots[k].im = -roots[k].im;
    }
}

static int64_t smallest_factor(int64_t n) {
    if (n % 4 == 0)
        return 4;
    for (int64_t p = 2; p * p <= n; p++)
        if (n % p == 0)
            return p;
    return n;
}

static tm_complex multiply(tm_complex a, tm_complex b) {
    return (tm_complex){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

/* Elements k, k + m, k + 2m... of `to` from the p parts' element k, already turned: a direct sum. */
static void combine(const tm_fourier *plan, int64_t p, int64_t m, int64_t k, tm_complex *to, tm_complex *turned) {
    int64_t step = plan->n / p; /* roots of order p */
    for (int64_t q = 0; q < p; q++) {
        tm_complex sum = turned[0];
        int64_t at = 0;
        for (int64_t r = 1; r < p; r++) {
            at += q;
            at = at >= p ? at - p : at;
            tm_complex term = multiply(turned[r], plan->roots[at * step]);
            sum.re += term.re;
            sum.im += term.im;
        }
        to[k + q * m] = sum;
    }
}

/* n elements of `from`, `stride` apart. Depth is the number of factors, at most 62. */
static void transform(const tm_fourier *plan, int64_t n, const tm_complex *from, int64_t stride, tm_complex *to,
                      tm_complex *spare) {
    if (n == 1) {
        to[0] = from[0];
        return;
    }
    int64_t p = smallest_factor(n), m = n / p, step = plan->n / n;
    for (int64_t r = 0; r < p; r++)
        transform(plan, m, from + r * stride, stride * p, to + r * m, spare);
    for (int64_t k = 0; k < m; k++) {
        for (int64_t r = 0; r < p; r++)
            spare[r] = r == 0 ? to[k] : multiply(to[r * m + k], plan->roots[r * k * step]);
        combine(plan, p, m, k, to, spare);
    }
}

void tm_fourier_transform(const tm_fourier *plan, const tm_complex *from, tm_complex *to, tm_complex *spare) {
    if (plan->n > 0)
        transform(plan, plan->n, from, 1, to, spare);
}
