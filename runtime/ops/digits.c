/* SPDX-License-Identifier: Apache-2.0
 *
 * Digits: numbers as three digits of 8 bits and a power of two for each step, for products by packed weights
 * on units that multiply bytes (ir/bits.h).
 *
 *     x = 2^e (65536 d2 + 256 d1 + d0)      e such that the largest of the step fits
 *                                            below 127 * 65793 = 0x7f7f7f
 *
 * Not rounded are numbers within 2^22 of the largest one whose last bits are zero. A step with an infinity or
 * a NaN has the scale NaN, and so have all sums that it is a part of.
 */
#include "runtime/attributes_layout.h"
#include "runtime/math/bits.h"
#include "runtime/math/math.h"
#include "runtime/ops/elementwise.h"

#define HEAD 32
#define ROOM 16
#define HIGHEST_BIT 22
#define BIAS 127
#define LEAST_EXPONENT 23 /* biased; the scale and its inverse are normal numbers */
#define INFINITE 0x7f800000
#define ZERO 0x4b400000 /* TM_DIGITS_ZERO */

typedef struct job {
    const float *x;
    uint8_t *y;
    int64_t k, step, steps, room;
    int32_t centre;
} job;

static int32_t largest_bits(const float *x, int64_t count) {
    int32_t most = 0;
    for (int64_t i = 0; i < count; i++) {
        int32_t bits = (int32_t)(tm_bits_of_f32(x[i]) & 0x7fffffffu);
        most = bits > most ? bits : most;
    }
    return most;
}

static void record(const job *j, const float *x, int64_t count, uint8_t *to) {
    int64_t room = j->room;
    int32_t most = largest_bits(x, count), less[3] = {0};
    int8_t *high = (int8_t *)to + HEAD, *middle = high + room, *low = middle + room;
    memset(to, 0, HEAD);
    for (int p = 0; p < 3; p++)
        memset(high + p * room + count, 0, (size_t)(room - count));
    /* A little more than the largest, so that what is next to a power of two has a place too. */
    uint32_t exponent = tm_bits_of_f32(tm_f32_of_bits((uint32_t)most) * 1.004f) >> 23;
    exponent = exponent < LEAST_EXPONENT ? LEAST_EXPONENT : exponent;
    float scale = tm_f32_of_bits((exponent - HIGHEST_BIT) << 23);
    float inverse = tm_f32_of_bits((2 * BIAS + HIGHEST_BIT - exponent) << 23);
    if (most >= INFINITE) {
        scale = __builtin_nanf("");
        memset(high, 0, (size_t)(3 * room));
    } else {
        TM_ROW_LOOP for (int64_t i = 0; i < count; i++) {
            int32_t whole = (int32_t)tm_round_even_f32(x[i] * inverse);
            int8_t d0 = (int8_t)whole;
            whole = (whole - d0) >> 8;
            int8_t d1 = (int8_t)whole;
            low[i] = d0;
            middle[i] = d1;
            high[i] = (int8_t)((whole - d1) >> 8);
        }
        for (int64_t i = 0; i < count; i++) {
            less[0] -= high[i];
            less[1] -= middle[i];
            less[2] -= low[i];
        }
    }
    float sum = -(float)((int64_t)less[0] * 65536 + (int64_t)less[1] * 256 + less[2]);
    memcpy(to, &scale, sizeof scale);
    memcpy(to + 4, &sum, sizeof sum);
    for (int p = 0; p < 3; p++)
        less[p] = ZERO + j->centre * less[p];
    memcpy(to + 8, less, sizeof less);
}

static int32_t records(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    for (int64_t i = begin; i < end; i++) {
        int64_t row = i / j->steps, k = i % j->steps * j->step;
        int64_t count = j->k - k < j->step ? j->k - k : j->step;
        record(j, j->x + row * j->k + k, count, j->y + i * (HEAD + 3 * j->room));
    }
    return 0;
}

int32_t tm_k_Digits(tm_run *run, const tm_call *call) {
    const tamis_tensor *x = tm_in(run, call, 0), *y = tm_out(run, call, 0);
    job j = {.x = x->data, .y = y->data, .k = x->dims[x->rank - 1]};
    const tm_attrs_Digits *a = tm_attributes(call);
    j.step = a->step;
    j.centre = (int32_t)a->centre;
    j.steps = (j.k + j.step - 1) / j.step;
    int64_t most = j.k < j.step ? j.k : j.step;
    j.room = (most + ROOM - 1) / ROOM * ROOM;
    return tm_parallel(run, tm_product(x->dims, 0, x->rank - 1) * j.steps, 65536 / (most + 1) + 1, records,
                       &j);
}
