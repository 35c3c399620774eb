/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of QuantizeLinear and DequantizeLinear against their formulas, for all layouts of scales (one, along
 * an axis, in blocks) and all integer types, and of the random ops: that they repeat and are spread as asked.
 */
#include "tests/unit/ops/kernel_test.h"

#include <math.h>

typedef struct layout {
    int rank;
    int64_t dims[3], scale_dims[3];
    int scale_rank, axis;
    int64_t block;
} layout;

static const layout layouts[] = {
    {2, {5, 300}, {0}, 0, 1, 0},           {2, {5, 300}, {1}, 1, 1, 0},   {3, {2, 3, 70}, {3}, 1, 1, 0},
    {2, {40, 7}, {7}, 1, -1, 0},           {2, {3, 10}, {3, 3}, 2, 1, 4}, {3, {2, 10, 5}, {2, 4, 5}, 3, 1, 3},
    {3, {2, 3, 64}, {2, 3, 2}, 3, -1, 32}, {2, {0, 4}, {4}, 1, 1, 0},
};

typedef struct range {
    tamis_type type;
    double low, high;
} range;

static const range ranges[] = {{TAMIS_TYPE_UINT8, 0, 255},    {TAMIS_TYPE_INT8, -128, 127},
                               {TAMIS_TYPE_UINT16, 0, 65535}, {TAMIS_TYPE_INT16, -32768, 32767},
                               {TAMIS_TYPE_UINT4, 0, 15},     {TAMIS_TYPE_INT4, -8, 7},
                               {TAMIS_TYPE_UINT2, 0, 3},      {TAMIS_TYPE_INT2, -2, 1}};

static double number_at(const tm_constant *c, int64_t i) {
    double x = NAN;
    assert_true(tm_constant_double(c, i, &x));
    return x;
}

static const tm_constant *converted(kernel_test *t, const tm_constant *x, tamis_type type) {
    const tm_constant *y = NULL;
    tm_node *node = new_node(t, TM_OP_Cast, 1, 1, &x);
    tm_node_set_int(node, "to", type);
    assert_int_equal(run_node(t, node, &y), TM_OK);
    return y;
}

/* Multiples of a quarter, low..high quarters. */
static const tm_constant *quarters(kernel_test *t, tamis_type type, int rank, const int64_t *dims,
                                   int64_t low, int64_t high) {
    tm_constant *x = random_tensor(t, TAMIS_TYPE_FLOAT, rank, dims);
    float *values = tm_arena_copy(&t->arena, x->data, (size_t)x->bytes + 1);
    for (int64_t i = 0; i < tm_constant_count(x); i++)
        values[i] = (float)random_int(t, low, high) / 4;
    x->data = values;
    return converted(t, x, type);
}

static int64_t scale_index(const layout *l, const int64_t *index) {
    int axis = l->axis < 0 ? l->axis + l->rank : l->axis;
    int64_t at = 0;
    if (l->block == 0)
        return l->scale_rank == 0 || l->scale_dims[0] == 1 ? 0 : index[axis];
    for (int i = 0; i < l->rank; i++)
        at = at * l->scale_dims[i] + (i == axis ? index[i] / l->block : index[i]);
    return at;
}

static void layout_trial(const layout *l, const range *r, uint64_t seed) {
    kernel_test t;
    kernel_test_init(&t, seed);
    int64_t index[3] = {0}, at = 0;
    const tm_constant *x = quarters(&t, TAMIS_TYPE_FLOAT, l->rank, l->dims, -400, 400);
    const tm_constant *scale = quarters(&t, TAMIS_TYPE_FLOAT, l->scale_rank, l->scale_dims, 1, 9);
    const tm_constant *zero =
        quarters(&t, r->type, l->scale_rank, l->scale_dims, (int64_t)r->low > -9 ? 0 : -8, 4);
    const tm_constant *inputs[] = {x, scale, zero}, *q = NULL, *back = NULL;
    tm_node *node = new_node(&t, TM_OP_QuantizeLinear, 1, 3, inputs);
    tm_node_set_int(node, "axis", l->axis);
    tm_node_set_int(node, "block_size", l->block);
    assert_int_equal(run_node(&t, node, &q), TM_OK);
    const tm_constant *again[] = {q, scale, zero};
    node = new_node(&t, TM_OP_DequantizeLinear, 1, 3, again);
    tm_node_set_int(node, "axis", l->axis);
    tm_node_set_int(node, "block_size", l->block);
    assert_int_equal(run_node(&t, node, &back), TM_OK);
    if (tm_constant_count(x) > 0)
        do {
            int64_t s = scale_index(l, index);
            float quotient = (float)number_at(x, at) / (float)number_at(scale, s);
            double want = fmin(fmax(nearbyintf(quotient) + number_at(zero, s), r->low), r->high);
            assert_true(number_at(q, at) == want);
            assert_true(number_at(back, at) == (want - number_at(zero, s)) * number_at(scale, s));
            at++;
        } while (next_index(l->rank, l->dims, index));
    kernel_test_deinit(&t);
}

static void layouts_and_types(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        for (size_t k = 0; k < sizeof ranges / sizeof *ranges; k++)
            layout_trial(&layouts[i], &ranges[k], i * 16 + k);
}

/* The three outputs satisfy the formulas for data on both sides of zero, on one, and all zero. */
static void dynamic_quantisation(void **state) {
    (void)state;
    static const float data[][3] = {{-1.5f, 0.25f, 2}, {1, 2, 3}, {-3, -2, -1}, {0, 0, 0}};
    static const int64_t dims[] = {3};
    for (size_t i = 0; i < sizeof data / sizeof *data; i++) {
        kernel_test t;
        kernel_test_init(&t, 1);
        const tm_constant *x = tm_constant_create(&t.arena, TAMIS_TYPE_FLOAT, 1, dims, data[i]), *y[3];
        assert_int_equal(run_node(&t, new_node(&t, TM_OP_DynamicQuantizeLinear, 3, 1, &x), y), TM_OK);
        float scale = (float)number_at(y[1], 0), zero = (float)number_at(y[2], 0);
        float low = fminf(0, fminf(data[i][0], data[i][2])), high = fmaxf(0, fmaxf(data[i][0], data[i][2]));
        assert_true(scale == (low == high ? 1 : (high - low) / 255));
        assert_true(zero == nearbyintf(-low / scale));
        for (int k = 0; k < 3; k++)
            assert_true(number_at(y[0], k) == nearbyintf(data[i][k] / scale) + zero);
        kernel_test_deinit(&t);
    }
}

/* DynamicScale finds what DynamicQuantizeLinear does, also of several tensors, of many parts, of none and of
 * NaN. */
static void dynamic_scales(void **state) {
    (void)state;
    static const int64_t counts[] = {0, 1, 15, 17, 16384, 16385, 100000, 1100000};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        kernel_test t;
        kernel_test_init(&t, i + 1);
        float *data = tm_arena_alloc(&t.arena, (size_t)(counts[i] + 1) * sizeof *data);
        for (int64_t k = 0; k < counts[i]; k++)
            data[k] = (float)random_int(&t, -1000, 3000) / 64;
        if (counts[i] > 20)
            data[counts[i] - 1] = NAN;
        const tm_constant *x = tm_constant_create(&t.arena, TAMIS_TYPE_FLOAT, 1, &counts[i], data), *y[3],
                          *s[3];
        const int64_t half = counts[i] / 2, rest = counts[i] - half;
        const tm_constant *parts[] = {tm_constant_create(&t.arena, TAMIS_TYPE_FLOAT, 1, &half, data),
                                      tm_constant_create(&t.arena, TAMIS_TYPE_FLOAT, 1, &rest, data + half)};
        assert_int_equal(run_node(&t, new_node(&t, TM_OP_DynamicQuantizeLinear, 3, 1, &x), y), TM_OK);
        for (int count = 1; count <= 2; count++) {
            assert_int_equal(
                run_node(&t, new_node(&t, TM_OP_DynamicScale, 3, count, count == 1 ? &x : parts), s), TM_OK);
            assert_true(number_at(s[0], 0) == number_at(y[1], 0) && number_at(s[1], 0) == number_at(y[2], 0));
            assert_true((float)number_at(s[2], 0) == 1 / (float)number_at(s[0], 0));
        }
        kernel_test_deinit(&t);
    }
}

/* ---- random: never folded, so a whole model runs ---- */

#define DRAWS 20000

static void draw(tm_op op, double seed, float *out) {
    static const int64_t shape[] = {4, DRAWS / 4};
    kernel_test t;
    kernel_test_init(&t, 1);
    tamis_tensor y = {0};
    tm_node *node = new_node(&t, op, 1, 0, NULL);
    tm_node_set_ints(node, "shape", shape, 2);
    tm_node_set_float(node, "seed", seed);
    tm_graph_add_output(t.model->main, node->outputs[0]);
    assert_int_equal(tm_infer(t.model), TM_OK);
    assert_int_equal(tm_evaluate_model(t.model, &t.arena, NULL, &y), TM_OK);
    assert_true(y.rank == 2 && y.dims[1] == shape[1]);
    memcpy(out, y.data, DRAWS * sizeof *out);
    kernel_test_deinit(&t);
}

/* The same seed draws the same numbers; mean and variance are within five standard deviations. */
static void random_draws(void **state) {
    (void)state;
    static const tm_op ops[] = {TM_OP_RandomNormal, TM_OP_RandomUniform};
    static const double mean[] = {0, 0.5}, variance[] = {1, 1.0 / 12};
    static float a[DRAWS], b[DRAWS], c[DRAWS];
    for (int k = 0; k < 2; k++) {
        draw(ops[k], 7, a);
        draw(ops[k], 7, b);
        draw(ops[k], 8, c);
        double sum = 0, squares = 0;
        for (int i = 0; i < DRAWS; i++) {
            double x = (double)a[i] - mean[k];
            sum += x;
            squares += x * x;
        }
        assert_memory_equal(a, b, sizeof a);
        assert_true(memcmp(a, c, sizeof a) != 0);
        assert_true(fabs(sum / DRAWS) < 5 * sqrt(variance[k] / DRAWS));
        assert_true(fabs(squares / DRAWS - variance[k]) < 5 * sqrt(2.0 / DRAWS) * variance[k]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts_and_types),
        cmocka_unit_test(dynamic_quantisation),
        cmocka_unit_test(dynamic_scales),
        cmocka_unit_test(random_draws),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
