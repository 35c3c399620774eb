/* SPDX-License-Identifier: Apache-2.0
 *
 * fourier.h: discrete Fourier transforms of any length, in float or double.
 *
 * A transform of p*m elements is m transforms of p elements, those i, i + m, i + 2m..., whose results
 * are turned by powers of a root of unity, and then p transforms of m contiguous elements:
 *
 *     X[q + p*k] = sum over i of root^(i*q) * (sum over r of x[i + r*m] * root_p^(r*q)) * root_m^(i*k)
 *
 * Factors 2, 3, 4 and 5 have short forms; any other prime is a direct sum. Roots come from one
 * table of the n-th roots, each computed from the exact fraction of a turn, so errors do not grow with n.
 *
 * Several transforms of one length run side by side, one in each lane of a vector: all they do is alike,
 * whatever the length, and a lane computes what it would compute alone.
 */
#ifndef TM_OPS_FOURIER_H
#define TM_OPS_FOURIER_H

#include "runtime/kernel.h"

#define TM_FOURIER_LANES 4

typedef struct tm_complex_f64 {
    double re, im;
} tm_complex_f64;
typedef struct tm_complex_f32 {
    float re, im;
} tm_complex_f32;

typedef double tm_fourier_vector_f64 __attribute__((vector_size(TM_FOURIER_LANES * sizeof(double))));
typedef float tm_fourier_vector_f32 __attribute__((vector_size(TM_FOURIER_LANES * sizeof(float))));

/* The same element of each transform. */
typedef struct tm_lanes_f64 {
    tm_fourier_vector_f64 re, im;
} tm_lanes_f64;
typedef struct tm_lanes_f32 {
    tm_fourier_vector_f32 re, im;
} tm_lanes_f32;

/* Fill n roots exp(-2 pi i k / n), conjugated for the inverse. */
void tm_fourier_roots_f64(int64_t n, bool inverse, tm_complex_f64 *roots);
void tm_fourier_roots_f32(int64_t n, bool inverse, tm_complex_f32 *roots);
/* to[k] = sum over j of x[j] * root^(j*k), not scaled. Destroys x; `spare` has n elements. */
void tm_fourier_f64(int64_t n, bool inverse, const tm_complex_f64 *roots, tm_lanes_f64 *x, tm_lanes_f64 *to,
                    tm_lanes_f64 *spare);
void tm_fourier_f32(int64_t n, bool inverse, const tm_complex_f32 *roots, tm_lanes_f32 *x, tm_lanes_f32 *to,
                    tm_lanes_f32 *spare);

#endif
