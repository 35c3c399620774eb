/* SPDX-License-Identifier: Apache-2.0
 *
 * fourier.h: discrete Fourier transforms of any length, in double.
 *
 * Length n splits into its prime factors: a transform of p*m is p transforms of m, over every p-th
 * element, combined by p-point sums. A prime length is one direct sum. Roots of unity come from one table
 * of the n-th roots, each computed from the exact fraction of a turn, so errors do not grow with n.
 */
#ifndef TM_OPS_FOURIER_H
#define TM_OPS_FOURIER_H

#include "runtime/kernel.h"

typedef struct tm_complex {
    double re, im;
} tm_complex;

typedef struct tm_fourier {
    int64_t n;
    const tm_complex *roots; /* exp(-2 pi i k / n); conjugated for the inverse */
} tm_fourier;

/* Fills n roots. */
void tm_fourier_roots(int64_t n, bool inverse, tm_complex *roots);
/* to[k] = sum over j of from[j] * root^(j*k); `spare` has n elements. Not scaled. */
void tm_fourier_transform(const tm_fourier *plan, const tm_complex *from, tm_complex *to, tm_complex *spare);

#endif
