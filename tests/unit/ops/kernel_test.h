/* SPDX-License-Identifier: Apache-2.0
 *
 * kernel_test.h: runs one op on constants, through inference and its kernel, and compares elements as bits.
 */
#ifndef TM_TESTS_UNIT_OPS_KERNEL_TEST_H
#define TM_TESTS_UNIT_OPS_KERNEL_TEST_H

#include "ir/evaluate.h"
#include "ir/infer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

typedef struct kernel_test {
    tm_arena arena;
    tm_diagnostics diagnostics;
    tm_model *model;
    uint64_t random;
} kernel_test;

static inline void kernel_test_init(kernel_test *t, uint64_t seed) {
    *t = (kernel_test){.random = seed * 0x9e3779b97f4a7c15u + 1};
    tm_arena_init(&t->arena);
    tm_diagnostics_init(&t->diagnostics, &t->arena);
    t->model = tm_model_create(&t->arena, &t->diagnostics, "test");
}
static inline void kernel_test_deinit(kernel_test *t) {
    tm_arena_deinit(&t->arena);
}

static inline uint64_t next_random(kernel_test *t) {
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return t->random;
}
/* low..high, inclusive */
static inline int64_t random_int(kernel_test *t, int64_t low, int64_t high) {
    return low + (int64_t)(next_random(t) >> 11) % (high - low + 1);
}

/* A tensor of random bits. */
static inline tm_constant *random_tensor(kernel_test *t, tamis_type type, int rank, const int64_t *dims) {
    int64_t count = 1, bytes = 0;
    for (int i = 0; i < rank; i++)
        count *= dims[i];
    assert_true(tm_type_size(type, count, &bytes));
    uint8_t *data = tm_arena_alloc(&t->arena, (size_t)bytes + 1);
    for (int64_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)next_random(t);
    return tm_constant_create(&t->arena, type, rank,
                              tm_arena_copy(&t->arena, dims, (size_t)rank * sizeof *dims), data);
}
static inline tm_constant *int_list(kernel_test *t, int64_t count, const int64_t *values) {
    return tm_constant_create_i64(&t->arena, 1, &count, values);
}

typedef struct element_bits {
    uint64_t low, high;
} element_bits;
static inline element_bits bits_of(const tm_constant *c, int64_t i) {
    const int bits = tm_type_bits(c->type);
    element_bits out = {0, 0};
    if (bits < 8)
        out.low = ((const uint8_t *)c->data)[i * bits / 8] >> (i * bits % 8) & ((1u << bits) - 1u);
    else
        memcpy(&out, (const char *)c->data + i * (bits / 8), (size_t)bits / 8);
    return out;
}
static inline bool same_bits(element_bits a, element_bits b) {
    return a.low == b.low && a.high == b.high;
}

static inline tm_node *new_node(kernel_test *t, tm_op op, int outputs, int count,
                                const tm_constant *const *inputs) {
    tm_value *values[16] = {NULL};
    for (int i = 0; i < count; i++)
        values[i] = inputs[i] == NULL ? NULL : tm_value_create_constant(t->model->main, NULL, inputs[i]);
    tm_node *node = tm_node_create(t->model->main, NULL, op, NULL, count, values);
    for (int i = 0; i < outputs; i++)
        tm_node_add_output(node, NULL);
    return node;
}

/* Runs the node; dims of the answers must be those that inference tells. */
static inline tm_code run_node(kernel_test *t, tm_node *node, const tm_constant **out) {
    tm_code code = tm_infer_node(t->model, node);
    if (code == TM_OK)
        code = tm_evaluate_node(t->model, node, true, out);
    for (int i = 0; code == TM_OK && i < node->output_count; i++) {
        assert_int_equal(out[i]->rank, node->outputs[i]->rank);
        for (int d = 0; d < out[i]->rank; d++)
            if (!node->outputs[i]->dims[d]->late)
                assert_int_equal(out[i]->dims[d], node->outputs[i]->dims[d]->constant);
    }
    return code;
}

/* Calls visit for all indices below dims, in row-major order. */
static inline bool next_index(int rank, const int64_t *dims, int64_t *index) {
    for (int d = rank - 1; d >= 0; d--) {
        if (++index[d] < dims[d])
            return true;
        index[d] = 0;
    }
    return false;
}
static inline int64_t flat_index(int rank, const int64_t *dims, const int64_t *index) {
    int64_t at = 0;
    for (int d = 0; d < rank; d++)
        at = at * dims[d] + index[d];
    return at;
}

/* One type for each width of elements. */
static const tamis_type width_types[] = {TAMIS_TYPE_UINT2,     TAMIS_TYPE_INT4,  TAMIS_TYPE_UINT8,
                                         TAMIS_TYPE_FLOAT16,   TAMIS_TYPE_FLOAT, TAMIS_TYPE_INT64,
                                         TAMIS_TYPE_COMPLEX128};
enum { WIDTH_TYPES = sizeof width_types / sizeof *width_types };

#endif
