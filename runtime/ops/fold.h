/* SPDX-License-Identifier: Apache-2.0
 *
 * fold.h: sums and the like over a run of elements, in TM_LANES interleaved partial results.
 *
 *     float sum;
 *     TM_FOLD(float, sum, n, 0, x[i] * x[i], a + v, a + v);
 *
 * `value` is the element number i; `step` makes the new partial result from the old one `a` and the
 * element `v`, `join` the one of two partial results `a` and `v`. Floats must not be reordered, so a
 * plain loop would not vectorise; here the order is fixed too, but wide. It depends on the count alone:
 * fewer than TM_LANES elements are folded one after the other.
 */
#ifndef TM_OPS_FOLD_H
#define TM_OPS_FOLD_H

#include <stdint.h>

#define TM_LANES 32
#define TM_FOLD_LOOP _Pragma("clang loop unroll(disable) vectorize(enable)")
#pragma clang diagnostic ignored \
    "-Wpass-failed" /* a fold that does not vectorise for some type is no fault */

#define TM_FOLD(C, result, count, start, value, step, join)      \
    do {                                                         \
        C lanes_[TM_LANES];                                      \
        int64_t whole_ = (count) / TM_LANES * TM_LANES;          \
        lanes_[0] = (start);                                     \
        if (whole_ == 0) {                                       \
            for (int64_t i = 0; i < (count); i++) {              \
                C v = (value), a = lanes_[0];                    \
                lanes_[0] = (C)(step);                           \
            }                                                    \
            (result) = lanes_[0];                                \
            break;                                               \
        }                                                        \
        for (int j_ = 1; j_ < TM_LANES; j_++)                    \
            lanes_[j_] = (start);                                \
        for (int64_t i_ = 0; i_ < whole_; i_ += TM_LANES) {      \
            TM_FOLD_LOOP for (int j_ = 0; j_ < TM_LANES; j_++) { \
                int64_t i = i_ + j_;                             \
                C v = (value), a = lanes_[j_];                   \
                lanes_[j_] = (C)(step);                          \
            }                                                    \
        }                                                        \
        for (int64_t i = whole_; i < (count); i++) {             \
            C v = (value), a = lanes_[i - whole_];               \
            lanes_[i - whole_] = (C)(step);                      \
        }                                                        \
        for (int half_ = TM_LANES / 2; half_ > 0; half_ /= 2)    \
            for (int j_ = 0; j_ < half_; j_++) {                 \
                C a = lanes_[j_], v = lanes_[j_ + half_];        \
                lanes_[j_] = (C)(join);                          \
            }                                                    \
        (result) = lanes_[0];                                    \
    } while (0)

#define TM_FOLD_SUM(C, result, count, value) TM_FOLD(C, result, count, 0, value, a + v, a + v)
#define TM_FOLD_MAX(C, result, count, start, value) \
    TM_FOLD(C, result, count, start, value, v > a || v != v ? v : a, v > a || v != v ? v : a)

#endif
