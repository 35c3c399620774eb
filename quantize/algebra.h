/* SPDX-License-Identifier: Apache-2.0
 *
 * algebra.h: dense linear algebra, by OpenBLAS. It is loaded when it is first needed, since only few of the
 * command's uses need it, and its start-up makes threads.
 */
#ifndef TM_QUANTIZE_ALGEBRA_H
#define TM_QUANTIZE_ALGEBRA_H

#include "base/base.h"

/* NULL, or what is missing (static text). Before any other function here; safe from several threads. */
TM_MUST_USE const char *tm_algebra_load(void);

/* The upper triangle of h [k, k] += x^T x, x [rows, k]; row-major. */
void tm_algebra_add_moments(float *h, const float *x, int64_t rows, int64_t k);
/* h [k, k], its upper triangle given: the upper triangular U with U^T U = h^-1. False: h is not positive
 * definite. */
TM_MUST_USE bool tm_algebra_inverse_factor(double *h, int64_t k);
/* c [m, n] -= a^T b, a [r, m] with rows `a_step` apart, b [r, n]. */
void tm_algebra_subtract_product(float *c, const float *a, const float *b, int64_t m, int64_t n, int64_t r,
                                 int64_t a_step);
/* h [k, k], its upper triangle given: its inverse, all of it. False: h is not positive definite. */
TM_MUST_USE bool tm_algebra_invert(double *h, int64_t k);
/* c [m, n] = scale * a [m, r] b [r, n] + keep * c; rows are `_step` apart. */
void tm_algebra_multiply(double *c, int64_t c_step, const double *a, int64_t a_step, const double *b,
                         int64_t b_step, int64_t m, int64_t n, int64_t r, double scale, double keep);
/* c [m, n] += a b, a [m, r] or, turned, [r, m]; b [r, n]. */
void tm_algebra_add_rows(float *c, const float *a, const float *b, int64_t m, int64_t n, int64_t r,
                         bool turned);
/* Eigenvalues, ascending, and eigenvectors, rows of `a` afterwards, of a symmetric matrix [k, k]; with `b`,
 * positive definite, those of a b: x with x^T b x = 1. `b` is overwritten. False: it has none in these
 * digits. */
TM_MUST_USE bool tm_algebra_eigen(tm_arena *scratch, double *a, double *b, int64_t k, double *out_values);
/* The eigenvalues of x^T x, x [rows, k], in ascending order. `gram` is room for [k, k]. False: they were not
 * found. */
TM_MUST_USE bool tm_algebra_energies(const float *x, int64_t rows, int64_t k, double *gram,
                                     double *out_energies);

#endif
