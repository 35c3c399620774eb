/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of reductions, arg-reductions and running sums against their naive meaning in double, and of the dims
 * that inference gives when the axes are known only at run time.
 */
#include "tests/unit/ops/float_test.h"

#include "ir/text.h"

static const tm_op ops[] = {TM_OP_ReduceSum,    TM_OP_ReduceMean,     TM_OP_ReduceMax, TM_OP_ReduceMin,
                            TM_OP_ReduceProd,   TM_OP_ReduceL1,       TM_OP_ReduceL2,  TM_OP_ReduceSumSquare,
                            TM_OP_ReduceLogSum, TM_OP_ReduceLogSumExp};
enum { OPS = sizeof ops / sizeof ops[0], RANK = 4 };

static int random_dims(kernel_test *t, int64_t *dims) {
    const int rank = (int)random_int(t, 0, RANK);
    for (int d = 0; d < rank; d++)
        dims[d] = random_int(t, 0, 14) == 0  ? 0
                  : random_int(t, 0, 5) == 0 ? random_int(t, 30, 70)
                                             : random_int(t, 1, 4);
    return rank;
}

typedef struct sums {
    double plain, absolute, square, power, product, largest, smallest, count;
} sums;

static double reduced(tm_op op, const sums *s, bool real) {
    switch (op) {
    case TM_OP_ReduceSum:
        return s->plain;
    case TM_OP_ReduceMean:
        return real ? s->plain / s->count : s->count > 0 ? trunc(s->plain / s->count) : 0;
    case TM_OP_ReduceMax:
        return s->largest;
    case TM_OP_ReduceMin:
        return s->smallest;
    case TM_OP_ReduceProd:
        return s->product;
    case TM_OP_ReduceL1:
        return s->absolute;
    case TM_OP_ReduceL2:
        return sqrt(s->square);
    case TM_OP_ReduceSumSquare:
        return s->square;
    case TM_OP_ReduceLogSum:
        return log(s->plain);
    default:
        return log(s->power);
    }
}

/* Products of many numbers and logarithms of what is negative say nothing. */
static bool is_defined(tm_op op, const sums *s, bool real) {
    if (op == TM_OP_ReduceProd)
        return real || fabs(s->product) < ldexp(1, 31);
    if (op == TM_OP_ReduceMean && !real)
        return s->plain >= 0;
    if (op == TM_OP_ReduceLogSum)
        return real ? s->plain > s->absolute / 8 && s->count > 0 : s->plain > 0;
    return op != TM_OP_ReduceLogSumExp || real || s->count > 0;
}

static void reduce_trial(kernel_test *t, int k) {
    const tm_op op = ops[k % OPS];
    const tamis_type type = wide_types[k / OPS % WIDE_TYPES];
    const bool real = tm_type_is_float(type), keep = random_int(t, 0, 1);
    int64_t dims[RANK + 1], axes[RANK + 1], axis_count = 0, out_dims[RANK + 1], index[RANK + 1] = {0};
    bool folded[RANK + 1] = {false};
    const int rank = random_dims(t, dims);
    for (int d = 0; d < rank; d++)
        if (random_int(t, 0, 1)) {
            folded[d] = true;
            axes[axis_count++] = random_int(t, 0, 1) ? d : d - rank;
        }
    const bool all = axis_count == 0;
    for (int d = 0; d < rank; d++) {
        folded[d] = folded[d] || all;
        out_dims[d] = folded[d] ? 1 : dims[d];
    }
    const tm_constant *x = random_numbers(t, type, rank, dims);
    const tm_constant *inputs[] = {x, all && random_int(t, 0, 1) ? NULL : int_list(t, axis_count, axes)};
    tm_node *node = new_node(t, op, 1, 2, inputs);
    tm_node_set_int(node, "keepdims", keep);
    const tm_constant *y = answer(t, node);
    const int64_t outputs = product_of(out_dims, 0, rank);
    assert_int_equal(tm_constant_count(y), outputs);
    sums *s = TM_NEW_ARRAY(&t->arena, sums, outputs + 1);
    for (int64_t i = 0; i < outputs; i++)
        s[i] = (sums){.product = 1, .largest = -INFINITY, .smallest = INFINITY};
    for (int64_t i = 0; i < tm_constant_count(x); i++) {
        int64_t at = 0;
        for (int d = 0; d < rank; d++)
            at = at * out_dims[d] + (folded[d] ? 0 : index[d]);
        const double v = number(x, i);
        s[at].plain += v;
        s[at].absolute += fabs(v);
        s[at].square += v * v;
        s[at].power += exp(v);
        s[at].product *= v;
        s[at].largest = fmax(s[at].largest, v);
        s[at].smallest = fmin(s[at].smallest, v);
        s[at].count++;
        next_index(rank, dims, index);
    }
    for (int64_t i = 0; i < outputs; i++) {
        const double want = reduced(op, &s[i], real);
        if (!is_defined(op, &s[i], real) || (!real && isinf(want)))
            continue;
        if (real)
            assert_near(y, i, want, 1 + s[i].absolute + s[i].square + fabs(want), 8 + s[i].count);
        else
            assert_int_equal((int64_t)number(y, i), (int64_t)trunc(want));
    }
}
TRIALS(reduce, OPS *WIDE_TYPES * 8)

static void empty_sets_have_identities(void **state) {
    (void)state;
    static const double want[OPS] = {0, NAN, -INFINITY, INFINITY, 1, 0, 0, 0, -INFINITY, -INFINITY};
    for (int k = 0; k < OPS; k++) {
        kernel_test t;
        kernel_test_init(&t, 1);
        const int64_t axis = 1;
        const tm_constant *x = random_numbers(&t, TAMIS_TYPE_FLOAT, 2, (int64_t[]){3, 0});
        const tm_constant *inputs[] = {x, int_list(&t, 1, &axis)};
        const tm_constant *y = answer(&t, new_node(&t, ops[k], 1, 2, inputs));
        for (int i = 0; i < 3; i++)
            assert_true(number(y, i) == want[k] || (isnan(want[k]) && isnan(number(y, i))));
        kernel_test_deinit(&t);
    }
}

static const tamis_type arg_types[] = {TAMIS_TYPE_FLOAT,  TAMIS_TYPE_BFLOAT16, TAMIS_TYPE_INT8,
                                       TAMIS_TYPE_UINT64, TAMIS_TYPE_DOUBLE,   TAMIS_TYPE_INT16};

static void arg_trial(kernel_test *t, int k) {
    const tamis_type type = arg_types[k % 6];
    const bool last = random_int(t, 0, 1), smallest = random_int(t, 0, 1);
    const int64_t dims[] = {random_int(t, 0, 4), random_int(t, 1, 80),
                            random_int(t, 0, 1) ? 1 : random_int(t, 0, 150)};
    const tm_constant *x = random_numbers(t, type, 3, dims);
    tm_node *node = new_node(t, smallest ? TM_OP_ArgMin : TM_OP_ArgMax, 1, 1, &x);
    tm_node_set_int(node, "axis", -2);
    tm_node_set_int(node, "keepdims", 0);
    tm_node_set_int(node, "select_last_index", last);
    const tm_constant *y = answer(t, node);
    for (int64_t i = 0; i < dims[0] * dims[2]; i++) {
        const int64_t from = i / dims[2] * dims[1] * dims[2] + i % dims[2];
        int64_t best = 0;
        for (int64_t j = 1; j < dims[1]; j++) {
            const double v = number(x, from + j * dims[2]), old = number(x, from + best * dims[2]);
            if (smallest ? v < old : v > old)
                best = j;
            else if (last && v == old)
                best = j;
        }
        assert_int_equal(((const int64_t *)y->data)[i], best);
    }
}
TRIALS(arg, 120)

static void cumulative_trial(kernel_test *t, int k) {
    const tamis_type type = wide_types[k % WIDE_TYPES];
    const bool product = k / WIDE_TYPES % 2, exclusive = random_int(t, 0, 1), reverse = random_int(t, 0, 1);
    const int64_t dims[] = {random_int(t, 0, 3), random_int(t, 0, 9), random_int(t, 0, 140)},
                  axis = random_int(t, 0, 1) ? 1 : -2;
    const int64_t one = 1;
    const tm_constant *x = random_numbers(t, type, 3, dims);
    const tm_constant *inputs[] = {x, tm_constant_create_i64(&t->arena, 0, &one, &axis)};
    tm_node *node = new_node(t, product ? TM_OP_CumProd : TM_OP_CumSum, 1, 2, inputs);
    tm_node_set_int(node, "exclusive", exclusive);
    tm_node_set_int(node, "reverse", reverse);
    const tm_constant *y = answer(t, node);
    for (int64_t i = 0; i < dims[0] * dims[2]; i++) {
        double value = product, size = 0;
        for (int64_t j = 0; j < dims[1]; j++) {
            const int64_t at =
                (i / dims[2] * dims[1] + (reverse ? dims[1] - 1 - j : j)) * dims[2] + i % dims[2];
            const double before = value;
            value = product ? value * number(x, at) : value + number(x, at);
            size += fabs(number(x, at));
            const double want = exclusive ? before : value;
            if (tm_type_is_float(type))
                assert_near(y, at, want, size + fabs(want), (double)dims[1]);
            else
                assert_int_equal((int32_t)(int64_t)number(y, at), (int32_t)(int64_t)want);
        }
    }
}
TRIALS(cumulative, 160)

/* Axes that are an input at run time: dims remain expressions of their elements. */
static void late_axes_give_expressions(void **state) {
    (void)state;
    static const char text[] = "main(%x: f32[2, 3, n], %axes: i64[1]) {\n"
                               "  %y = ReduceSum(%x, %axes)\n"
                               "  %z = ReduceSum(%x, %axes) {keepdims = 0}\n"
                               "  return %y, %z\n"
                               "}\n";
    kernel_test t;
    kernel_test_init(&t, 1);
    tm_model *model;
    assert_int_equal(tm_parse_model(&t.arena, &t.diagnostics, "test", text, sizeof text - 1, &model), TM_OK);
    assert_int_equal(tm_infer(model), TM_OK);
    const tm_value *y = model->main->outputs.items[0], *z = model->main->outputs.items[1];
    assert_int_equal(y->rank, 3);
    assert_int_equal(z->rank, 2);
    int64_t symbols[16] = {0}, value;
    static const int64_t kept[3][3] = {{1, 3, 7}, {2, 1, 7}, {2, 3, 1}},
                         dropped[3][2] = {{3, 7}, {2, 7}, {2, 3}};
    for (int64_t axis = -3; axis < 3; axis++) {
        for (size_t i = 0; i < tm_dims_symbol_count(model->dims); i++)
            symbols[i] = tm_dims_symbol_at(model->dims, i)->origin == TM_SYMBOL_LOAD ? axis : 7;
        for (int d = 0; d < 3; d++) {
            assert_true(tm_dim_evaluate(y->dims[d], symbols, &value));
            assert_int_equal(value, kept[(axis + 3) % 3][d]);
        }
        for (int d = 0; d < 2; d++) {
            assert_true(tm_dim_evaluate(z->dims[d], symbols, &value));
            assert_int_equal(value, dropped[(axis + 3) % 3][d]);
        }
    }
    kernel_test_deinit(&t);
}

/* Sizes computed in the graph: the product of a shape's elements is an expression. */
static void elements_are_carried(void **state) {
    (void)state;
    static const char text[] = "main(%x: f32[2, n, 5]) {\n"
                               "  %s = Shape(%x)\n"
                               "  %p = ReduceProd(%s) {keepdims = 0}\n"
                               "  return %p\n"
                               "}\n";
    kernel_test t;
    kernel_test_init(&t, 1);
    tm_model *model;
    assert_int_equal(tm_parse_model(&t.arena, &t.diagnostics, "test", text, sizeof text - 1, &model), TM_OK);
    assert_int_equal(tm_infer(model), TM_OK);
    const tm_value *p = model->main->outputs.items[0];
    assert_int_equal(p->element_count, 1);
    tm_dim n = tm_dim_input(model->dims, "n");
    assert_ptr_equal(p->elements[0], tm_dim_mul(model->dims, n, tm_dim_constant(model->dims, 10)));
    kernel_test_deinit(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reduce),
        cmocka_unit_test(empty_sets_have_identities),
        cmocka_unit_test(arg),
        cmocka_unit_test(cumulative),
        cmocka_unit_test(late_axes_give_expressions),
        cmocka_unit_test(elements_are_carried),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
