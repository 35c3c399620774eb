/* SPDX-License-Identifier: Apache-2.0
 *
 * float_test.h: random tensors of numbers, and answers that are compared as numbers. What may differ is
 * derived from the type: one rounding of the answer, and one rounding in the type of sums for each term.
 */
#ifndef TM_TESTS_UNIT_OPS_FLOAT_TEST_H
#define TM_TESTS_UNIT_OPS_FLOAT_TEST_H

#include "tests/unit/ops/kernel_test.h"

#include <math.h>

static const tamis_type float_types[] = {TAMIS_TYPE_FLOAT, TAMIS_TYPE_DOUBLE, TAMIS_TYPE_FLOAT16,
                                         TAMIS_TYPE_BFLOAT16};
static const tamis_type wide_types[] = {TAMIS_TYPE_FLOAT,    TAMIS_TYPE_DOUBLE, TAMIS_TYPE_FLOAT16,
                                        TAMIS_TYPE_BFLOAT16, TAMIS_TYPE_INT32,  TAMIS_TYPE_INT64,
                                        TAMIS_TYPE_UINT32,   TAMIS_TYPE_UINT64};
enum { FLOAT_TYPES = 4, WIDE_TYPES = 8 };

static inline uint16_t half_bits(double value) {
    const _Float16 half = (_Float16)value;
    uint16_t bits;
    memcpy(&bits, &half, sizeof bits);
    return bits;
}
/* Exact for the numbers that random_numbers makes. */
static inline uint16_t bfloat_bits(double value) {
    const float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    return (uint16_t)(bits >> 16);
}

static inline void set_number(void *data, tamis_type type, int64_t i, double value) {
    switch (type) {
    case TAMIS_TYPE_FLOAT:
        ((float *)data)[i] = (float)value;
        break;
    case TAMIS_TYPE_DOUBLE:
        ((double *)data)[i] = value;
        break;
    case TAMIS_TYPE_FLOAT16:
        ((uint16_t *)data)[i] = half_bits(value);
        break;
    case TAMIS_TYPE_BFLOAT16:
        ((uint16_t *)data)[i] = bfloat_bits(value);
        break;
    case TAMIS_TYPE_INT8:
        ((int8_t *)data)[i] = (int8_t)value;
        break;
    case TAMIS_TYPE_UINT8:
    case TAMIS_TYPE_BOOL:
        ((uint8_t *)data)[i] = (uint8_t)value;
        break;
    case TAMIS_TYPE_INT16:
        ((int16_t *)data)[i] = (int16_t)value;
        break;
    case TAMIS_TYPE_UINT16:
        ((uint16_t *)data)[i] = (uint16_t)value;
        break;
    case TAMIS_TYPE_INT32:
        ((int32_t *)data)[i] = (int32_t)value;
        break;
    case TAMIS_TYPE_UINT32:
        ((uint32_t *)data)[i] = (uint32_t)value;
        break;
    case TAMIS_TYPE_INT64:
        ((int64_t *)data)[i] = (int64_t)value;
        break;
    case TAMIS_TYPE_UINT64:
        ((uint64_t *)data)[i] = (uint64_t)value;
        break;
    default:
        fail();
    }
}

/* Floats in -1..1 (multiples of 1/64), integers in -9..9 (0..9 unsigned). */
static inline tm_constant *random_numbers(kernel_test *t, tamis_type type, int rank, const int64_t *dims) {
    tm_constant *out = random_tensor(t, type, rank, dims);
    void *data = tm_arena_copy(&t->arena, out->data, (size_t)out->bytes + 1);
    for (int64_t i = 0; i < tm_constant_count(out); i++)
        set_number(data, type, i,
                   tm_type_is_float(type) ? (double)random_int(t, -64, 64) / 64
                                          : (double)random_int(t, tm_type_is_signed(type) ? -9 : 0, 9));
    out->data = data;
    return out;
}

static inline double number(const tm_constant *c, int64_t i) {
    double value = 0;
    assert_true(tm_constant_double(c, i, &value));
    return value;
}

/* Size of one rounding of numbers near 1. */
static inline double rounding_of(tamis_type type) {
    return type == TAMIS_TYPE_FLOAT      ? ldexp(1, -24)
           : type == TAMIS_TYPE_DOUBLE   ? ldexp(1, -53)
           : type == TAMIS_TYPE_FLOAT16  ? ldexp(1, -11)
           : type == TAMIS_TYPE_BFLOAT16 ? ldexp(1, -8)
                                         : 0;
}

/* `terms` roundings of numbers up to `magnitude` in the type of sums, and one of the answer (twice, for
 * functions). */
static inline double allowed(tamis_type type, double want, double magnitude, double terms) {
    double sums = type == TAMIS_TYPE_DOUBLE ? ldexp(1, -53) : tm_type_is_float(type) ? ldexp(1, -24) : 0;
    double smallest = type == TAMIS_TYPE_FLOAT16 ? ldexp(1, -24) : 0;
    return 2 * rounding_of(type) * fabs(want) + (terms + 4) * sums * magnitude + smallest;
}

static inline void assert_near(const tm_constant *c, int64_t i, double want, double magnitude, double terms) {
    double found = number(c, i);
    if (isnan(want) && isnan(found))
        return;
    if (found == want || fabs(found - want) <= allowed(c->type, want, magnitude, terms))
        return;
    print_error("element %lld of %s: found %.17g, expected %.17g\n", (long long)i, tm_type_text(c->type),
                found, want);
    fail();
}

/* The answer of a node with these inputs and, through `set`, attributes. */
static inline const tm_constant *answer(kernel_test *t, tm_node *node) {
    const tm_constant *out[8] = {NULL};
    assert_int_equal(run_node(t, node, out), TM_OK);
    return out[0];
}

typedef void (*trial)(kernel_test *t, int k);
static inline void repeat_trial(trial function, int times) {
    for (int k = 0; k < times; k++) {
        kernel_test t;
        kernel_test_init(&t, (uint64_t)k + 1);
        function(&t, k);
        kernel_test_deinit(&t);
    }
}
#define TRIALS(name, times)                \
    static void name(void **state) {       \
        (void)state;                       \
        repeat_trial(name##_trial, times); \
    }

static inline int64_t product_of(const int64_t *dims, int from, int to) {
    int64_t n = 1;
    for (int i = from; i < to; i++)
        n *= dims[i];
    return n;
}

#endif
