/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of the kernels that gather, scatter, select and order, against their naive meaning on random
 * tensors of integers (where answers are exact), with dims of 0 and packed types where they apply.
 */
#include "tests/unit/ops/kernel_test.h"

#include <math.h>

enum { MAX_RANK = 4 };

static int random_dims(kernel_test *t, int least_rank, int64_t least, int64_t *dims) {
    const int rank = (int)random_int(t, least_rank, MAX_RANK);
    for (int d = 0; d < rank; d++)
        dims[d] = random_int(t, 0, 9) == 0 ? least : random_int(t, 1, 5);
    return rank;
}

/* Indices -n..n-1. */
static tm_constant *random_indices(kernel_test *t, int rank, const int64_t *dims, int64_t n) {
    tm_constant *indices = random_tensor(t, TAMIS_TYPE_INT64, rank, dims);
    int64_t *values = tm_arena_copy(&t->arena, indices->data, (size_t)indices->bytes + 1);
    for (int64_t i = 0; i < tm_constant_count(indices); i++)
        values[i] = random_int(t, -n, n - 1);
    indices->data = values;
    return indices;
}
static int64_t index_at(const tm_constant *indices, int64_t i, int64_t n) {
    const int64_t index = ((const int64_t *)indices->data)[i];
    return index + (index < 0 ? n : 0);
}

typedef void (*trial)(kernel_test *t, int k);
static void repeat(trial function, int times) {
    for (int k = 0; k < times; k++) {
        kernel_test t;
        kernel_test_init(&t, (uint64_t)k + 1);
        function(&t, k);
        kernel_test_deinit(&t);
    }
}
#define TRIALS(name, times)                     \
    static void name##_is_exact(void **state) { \
        (void)state;                            \
        repeat(name##_trial, times);            \
    }

static void gather_elements_trial(kernel_test *t, int k) {
    int64_t dims[MAX_RANK], wanted[MAX_RANK], index[MAX_RANK] = {0}, from[MAX_RANK], at = 0;
    const int rank = random_dims(t, 1, 1, dims), axis = (int)random_int(t, 0, rank - 1);
    for (int d = 0; d < rank; d++)
        wanted[d] = d == axis ? random_int(t, 0, 7) : random_int(t, 1, dims[d]);
    const tm_constant *x = random_tensor(t, width_types[k % WIDTH_TYPES], rank, dims), *y = NULL;
    const tm_constant *inputs[] = {x, random_indices(t, rank, wanted, dims[axis])};
    tm_node *node = new_node(t, TM_OP_GatherElements, 1, 2, inputs);
    tm_node_set_int(node, "axis", axis - rank);
    assert_int_equal(run_node(t, node, &y), TM_OK);
    if (wanted[axis] == 0)
        return;
    do {
        memcpy(from, index, sizeof from);
        from[axis] = index_at(inputs[1], at, dims[axis]);
        assert_true(same_bits(bits_of(y, at++), bits_of(x, flat_index(rank, dims, from))));
    } while (next_index(rank, wanted, index));
}
TRIALS(gather_elements, 210)

static void gather_nd_trial(kernel_test *t, int k) {
    int64_t dims[MAX_RANK], shape[3], count = 1;
    const int rank = random_dims(t, 2, 1, dims), batch = (int)random_int(t, 0, 1);
    const int depth = (int)random_int(t, 1, rank - batch);
    shape[0] = batch ? dims[0] : random_int(t, 0, 3);
    shape[1] = random_int(t, 0, 4);
    shape[2] = depth;
    const int64_t inner = depth + batch == rank
                              ? 1
                              : dims[rank - 1] * (depth + batch < rank - 1 ? dims[rank - 2] : 1) *
                                    (depth + batch < rank - 2 ? dims[rank - 3] : 1);
    const tm_constant *x = random_tensor(t, width_types[k % WIDTH_TYPES], rank, dims), *y = NULL;
    tm_constant *indices = random_tensor(t, TAMIS_TYPE_INT64, 3, shape);
    int64_t *values = tm_arena_copy(&t->arena, indices->data, (size_t)indices->bytes + 1);
    indices->data = values;
    for (int64_t i = 0; i < shape[0] * shape[1] * depth; i++)
        values[i] = random_int(t, -dims[batch + i % depth], dims[batch + i % depth] - 1);
    const tm_constant *inputs[] = {x, indices};
    tm_node *node = new_node(t, TM_OP_GatherND, 1, 2, inputs);
    tm_node_set_int(node, "batch_dims", batch);
    assert_int_equal(run_node(t, node, &y), TM_OK);
    for (int64_t row = 0; row < shape[0] * shape[1]; row++) {
        int64_t from = batch ? row / shape[1] : 0;
        for (int d = 0; d < depth; d++)
            from = from * dims[batch + d] + index_at(indices, row * depth + d, dims[batch + d]);
        for (int64_t i = 0; i < inner; i++)
            assert_true(same_bits(bits_of(y, row * inner + i), bits_of(x, from * inner + i)));
        count++;
    }
    assert_int_equal(tm_constant_count(y), (count - 1) * inner);
}
TRIALS(gather_nd, 140)

static int32_t reduce(const char *reduction, int32_t a, int32_t b) {
    return strcmp(reduction, "add") == 0   ? (int32_t)((uint32_t)a + (uint32_t)b)
           : strcmp(reduction, "mul") == 0 ? (int32_t)((uint32_t)a * (uint32_t)b)
           : strcmp(reduction, "max") == 0 ? (a > b ? a : b)
           : strcmp(reduction, "min") == 0 ? (a < b ? a : b)
                                           : b;
}
static const char *const reductions[] = {"none", "add", "mul", "max", "min"};

static void scatter_elements_trial(kernel_test *t, int k) {
    const char *reduction = reductions[k % 5];
    int64_t dims[MAX_RANK], wanted[MAX_RANK], index[MAX_RANK] = {0}, to[MAX_RANK], at = 0;
    const int rank = random_dims(t, 1, 1, dims), axis = (int)random_int(t, 0, rank - 1);
    for (int d = 0; d < rank; d++)
        wanted[d] = d == axis ? random_int(t, 0, 9) : random_int(t, 1, dims[d]);
    const tm_constant *x = random_tensor(t, TAMIS_TYPE_INT32, rank, dims), *y = NULL;
    const tm_constant *updates = random_tensor(t, TAMIS_TYPE_INT32, rank, wanted);
    const tm_constant *inputs[] = {x, random_indices(t, rank, wanted, dims[axis]), updates};
    tm_node *node = new_node(t, TM_OP_ScatterElements, 1, 3, inputs);
    tm_node_set_int(node, "axis", axis);
    tm_node_set_string(node, "reduction", reduction);
    assert_int_equal(run_node(t, node, &y), TM_OK);
    int32_t *want = tm_arena_copy(&t->arena, x->data, (size_t)x->bytes);
    if (wanted[axis] > 0)
        do {
            memcpy(to, index, sizeof to);
            to[axis] = index_at(inputs[1], at, dims[axis]);
            int32_t *target = &want[flat_index(rank, dims, to)];
            *target = reduce(reduction, *target, ((const int32_t *)updates->data)[at++]);
        } while (next_index(rank, wanted, index));
    assert_memory_equal(y->data, want, (size_t)x->bytes);
}
TRIALS(scatter_elements, 200)

static void scatter_nd_trial(kernel_test *t, int k) {
    const char *reduction = reductions[k % 5];
    const int64_t dims[2] = {random_int(t, 1, 9), random_int(t, 1, 40)}, rows = random_int(t, 0, 400);
    const int64_t shape[2] = {rows, 1}, updated[2] = {rows, dims[1]};
    const tm_constant *x = random_tensor(t, TAMIS_TYPE_INT32, 2, dims), *y = NULL;
    const tm_constant *updates = random_tensor(t, TAMIS_TYPE_INT32, 2, updated);
    const tm_constant *inputs[] = {x, random_indices(t, 2, shape, dims[0]), updates};
    tm_node *node = new_node(t, TM_OP_ScatterND, 1, 3, inputs);
    tm_node_set_string(node, "reduction", reduction);
    assert_int_equal(run_node(t, node, &y), TM_OK);
    int32_t *want = tm_arena_copy(&t->arena, x->data, (size_t)x->bytes);
    for (int64_t i = 0; i < rows * dims[1]; i++) {
        int32_t *target = &want[index_at(inputs[1], i / dims[1], dims[0]) * dims[1] + i % dims[1]];
        *target = reduce(reduction, *target, ((const int32_t *)updates->data)[i]);
    }
    assert_memory_equal(y->data, want, (size_t)x->bytes);
}
TRIALS(scatter_nd, 50)

/* A better element, or an equal one with a lower index. */
static bool comes_before(bool largest, int8_t a, int64_t i, int8_t b, int64_t j) {
    return a != b ? (largest ? a > b : a < b) : i < j;
}

static void topk_trial(kernel_test *t, int k) {
    int64_t dims[MAX_RANK], inner = 1;
    const int rank = random_dims(t, 1, 1, dims), axis = (int)random_int(t, 0, rank - 1);
    const bool largest = k % 2 == 0;
    dims[axis] = random_int(t, 1, 600); /* more than 256: ties */
    for (int d = axis + 1; d < rank; d++)
        inner *= dims[d];
    const int64_t n = dims[axis], wanted = random_int(t, 0, n);
    const tm_constant *x = random_tensor(t, TAMIS_TYPE_INT8, rank, dims), *y[2] = {NULL};
    const tm_constant *inputs[] = {x, int_list(t, 1, &wanted)};
    tm_node *node = new_node(t, TM_OP_TopK, 2, 2, inputs);
    tm_node_set_int(node, "axis", axis);
    tm_node_set_int(node, "largest", largest);
    assert_int_equal(run_node(t, node, y), TM_OK);
    const int8_t *values = x->data, *found = y[0]->data;
    const int64_t *indices = y[1]->data;
    for (int64_t row = 0; row < tm_constant_count(x) / n; row++) {
        const int64_t from = row / inner * n * inner + row % inner,
                      to = row / inner * wanted * inner + row % inner;
        for (int64_t i = 0; i < wanted; i++) {
            const int64_t at = indices[to + i * inner];
            int64_t rank_of = 0;
            for (int64_t j = 0; j < n; j++)
                rank_of += j != at &&
                           comes_before(largest, values[from + j * inner], j, values[from + at * inner], at);
            assert_int_equal(rank_of, i);
            assert_int_equal(found[to + i * inner], values[from + at * inner]);
        }
    }
}
TRIALS(topk, 30)

static void unique_trial(kernel_test *t, int k) {
    int64_t dims[2] = {random_int(t, 1, 40), random_int(t, 1, 2)};
    const bool sorted = k % 2 == 0, along = k % 4 < 2;
    tm_constant *x = random_tensor(t, TAMIS_TYPE_UINT8, 2, dims);
    uint8_t *values = tm_arena_copy(&t->arena, x->data, (size_t)x->bytes);
    for (int64_t i = 0; i < x->bytes; i++)
        values[i] %= 5;
    x->data = values;
    const tm_constant *input = x, *y[4] = {NULL};
    tm_node *node = new_node(t, TM_OP_Unique, 4, 1, &input);
    tm_node_set_int(node, "sorted", sorted);
    if (along)
        tm_node_set_int(node, "axis", 0);
    assert_int_equal(run_node(t, node, y), TM_OK);
    const int64_t size = along ? dims[1] : 1, all = along ? dims[0] : dims[0] * dims[1],
                  found = y[0]->dims[0];
    const int64_t *first = y[1]->data, *inverse = y[2]->data, *counts = y[3]->data;
    const uint8_t *groups = y[0]->data;
    int64_t total = 0;
    for (int64_t g = 0; g < found; g++) {
        total += counts[g];
        assert_int_equal(inverse[first[g]], g);
        if (g > 0 && sorted)
            assert_true(memcmp(groups + (g - 1) * size, groups + g * size, (size_t)size) < 0);
        else if (g > 0)
            assert_true(first[g - 1] < first[g]);
    }
    assert_int_equal(total, all);
    for (int64_t i = 0; i < all; i++) {
        assert_memory_equal(values + i * size, groups + inverse[i] * size, (size_t)size);
        assert_true(first[inverse[i]] <= i);
    }
}
TRIALS(unique, 60)

static void non_zero_trial(kernel_test *t, int k) {
    (void)k;
    int64_t dims[MAX_RANK], index[MAX_RANK] = {0}, at = 0, found = 0;
    const int rank = random_dims(t, 1, 0, dims);
    tm_constant *x = random_tensor(t, TAMIS_TYPE_FLOAT, rank, dims);
    float *values = tm_arena_copy(&t->arena, x->data, (size_t)x->bytes + 1);
    for (int64_t i = 0; i < tm_constant_count(x); i++)
        values[i] = random_int(t, 0, 1) ? 1.0f : random_int(t, 0, 1) ? 0.0f : -0.0f;
    x->data = values;
    const tm_constant *input = x, *y = NULL;
    assert_int_equal(run_node(t, new_node(t, TM_OP_NonZero, 1, 1, &input), &y), TM_OK);
    if (tm_constant_count(x) > 0)
        do {
            if (values[at++] != 1.0f)
                continue;
            for (int d = 0; d < rank; d++)
                assert_int_equal(((const int64_t *)y->data)[d * y->dims[1] + found], index[d]);
            found++;
        } while (next_index(rank, dims, index));
    assert_int_equal(y->dims[1], found);
}
TRIALS(non_zero, 40)

static void filled_tensors_have_the_value(void **state) {
    (void)state;
    kernel_test t;
    kernel_test_init(&t, 1);
    for (int k = 0; k < 8 * WIDTH_TYPES; k++) {
        const int64_t dims[3] = {random_int(&t, 0, 5), random_int(&t, 1, 7), random_int(&t, 1, 300)}, one = 1;
        const tm_constant *value = random_tensor(&t, width_types[k % WIDTH_TYPES], 1, &one), *y = NULL;
        const tm_constant *shape = int_list(&t, 3, dims);
        tm_node *node = new_node(&t, TM_OP_ConstantOfShape, 1, 1, &shape);
        tm_node_set_tensor(node, "value", value);
        assert_int_equal(run_node(&t, node, &y), TM_OK);
        assert_int_equal(y->type, value->type);
        for (int64_t i = 0; i < tm_constant_count(y); i++)
            assert_true(same_bits(bits_of(y, i), bits_of(value, 0)));
    }
    kernel_test_deinit(&t);
}

/* Growing by an even factor and shrinking back by nearest pixels is the identity. */
static void resize_there_and_back(void **state) {
    (void)state;
    static const tamis_type types[] = {TAMIS_TYPE_UINT8, TAMIS_TYPE_BOOL, TAMIS_TYPE_FLOAT16,
                                       TAMIS_TYPE_INT32, TAMIS_TYPE_DOUBLE};
    kernel_test t;
    kernel_test_init(&t, 1);
    for (size_t k = 0; k < 5 * (sizeof types / sizeof *types); k++) {
        const int64_t dims[4] = {random_int(&t, 1, 3), random_int(&t, 1, 3), random_int(&t, 1, 9),
                                 random_int(&t, 1, 9)};
        const int64_t large[4] = {dims[0], dims[1], 3 * dims[2], 5 * dims[3]};
        const tm_constant *x = random_tensor(&t, types[k % 5], 4, dims), *up = NULL, *down = NULL;
        const tm_constant *grow[] = {x, NULL, NULL, int_list(&t, 4, large)};
        assert_int_equal(run_node(&t, new_node(&t, TM_OP_Resize, 1, 4, grow), &up), TM_OK);
        const tm_constant *shrink[] = {up, NULL, NULL, int_list(&t, 4, dims)};
        assert_int_equal(run_node(&t, new_node(&t, TM_OP_Resize, 1, 4, shrink), &down), TM_OK);
        assert_memory_equal(down->data, x->data, (size_t)x->bytes);
    }
    kernel_test_deinit(&t);
}

/* The formula of pytorch_half_pixel puts a single pixel at 0, where cubic and linear give the first one. */
static void resize_to_one_pixel(void **state) {
    (void)state;
    kernel_test t;
    kernel_test_init(&t, 1);
    static const int64_t dims[] = {1, 1, 1, 2}, one[] = {1, 1, 1, 1};
    static const float values[] = {-2, 3};
    static const char *const modes[] = {"cubic", "linear"};
    const tm_constant *x = tm_constant_create(&t.arena, TAMIS_TYPE_FLOAT, 4, dims, values);
    for (int i = 0; i < 4; i++) {
        const tm_constant *inputs[] = {x, NULL, NULL, int_list(&t, 4, one)}, *y = NULL;
        tm_node *node = new_node(&t, TM_OP_Resize, 1, 4, inputs);
        tm_node_set_string(node, "mode", modes[i % 2]);
        tm_node_set_string(node, "coordinate_transformation_mode", "pytorch_half_pixel");
        tm_node_set_int(node, "exclude_outside", i / 2);
        assert_int_equal(run_node(&t, node, &y), TM_OK);
        assert_true(*(const float *)y->data == -2);
    }
    kernel_test_deinit(&t);
}

static void float_ranges_need_finite_operands(void **state) {
    (void)state;
    kernel_test t;
    kernel_test_init(&t, 1);
    static const float finite[] = {0, 5, 1}, odd[] = {NAN, INFINITY, -INFINITY};
    for (int k = -1; k < 9; k++) {
        const tm_constant *inputs[3], *y = NULL;
        for (int i = 0; i < 3; i++)
            inputs[i] = tm_constant_create(&t.arena, TAMIS_TYPE_FLOAT, 0, NULL,
                                           k >= 0 && i == k / 3 ? &odd[k % 3] : &finite[i]);
        const tm_code code = run_node(&t, new_node(&t, TM_OP_Range, 1, 3, inputs), &y);
        assert_true((code == TM_OK) == (k < 0));
    }
    kernel_test_deinit(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gather_elements_is_exact),
        cmocka_unit_test(gather_nd_is_exact),
        cmocka_unit_test(scatter_elements_is_exact),
        cmocka_unit_test(scatter_nd_is_exact),
        cmocka_unit_test(topk_is_exact),
        cmocka_unit_test(unique_is_exact),
        cmocka_unit_test(non_zero_is_exact),
        cmocka_unit_test(filled_tensors_have_the_value),
        cmocka_unit_test(resize_there_and_back),
        cmocka_unit_test(resize_to_one_pixel),
        cmocka_unit_test(float_ranges_need_finite_operands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
