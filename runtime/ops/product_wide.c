/* SPDX-License-Identifier: Apache-2.0
 *
 * The matrix product for double and 64-bit integers; see product.h.
 */
#include "runtime/ops/product.h"
#include "runtime/ops/element.h"

#define T double
#define N f64
#define INTERLEAVE_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define INTERLEAVE_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#include "runtime/ops/product.inc"

#define T uint64_t
#define N u64
#define INTERLEAVE_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define INTERLEAVE_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#include "runtime/ops/product.inc"
