/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of the walk of inference and of the helpers of infer functions: symbols that are found again,
 * errors that are filed once and all, constraints.
 */
#include "tests/unit/ir/ir_test.h"

static void dims_of_dynamic_ops_are_the_same_symbols_in_every_run(void **state) {
    (void)state;
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n", "4");
    tm_value *y = node1(model->main, TM_OP_NonZero, "y", x);
    tm_value *z = node1(model->main, TM_OP_Identity, "z", y);
    tm_graph_add_output(model->main, z);
    assert_ok(tm_infer(model));
    tm_dim first = y->dims[1];
    size_t symbols = tm_dims_symbol_count(model->dims);
    assert_ptr_equal(z->dims[1], first);
    assert_true(first->late);
    assert_ok(tm_infer(model));
    assert_ptr_equal(y->dims[1], first);
    assert_int_equal(tm_dims_symbol_count(model->dims), symbols);
    assert_ok(tm_verify(model));
}

static void elements_of_a_shape_tensor_become_symbols(void **state) {
    (void)state;
    tm_infer_context context = {model, model->dims, &arena};
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n", "4");
    tm_value *shape = input("shape", TAMIS_TYPE_INT64, "2");
    tm_value *y = node1(model->main, TM_OP_Expand, "y", x, shape);
    assert_ok(tm_infer(model));
    size_t symbols = tm_dims_symbol_count(model->dims);
    tm_dim zero = tm_infer_element(&context, shape, 0);
    assert_int_equal(zero->kind, TM_DIM_SYMBOL);
    assert_int_equal(zero->symbol->origin, TM_SYMBOL_LOAD);
    assert_ptr_equal(zero->symbol->value, shape);
    assert_true(zero->low == INT64_MIN);
    assert_ok(tm_infer(model));
    assert_ptr_equal(tm_infer_element(&context, shape, 0), zero);
    assert_int_equal(tm_dims_symbol_count(model->dims), symbols);
    assert_int_equal(y->rank, 2);

    tm_value *flags = input("flags", TAMIS_TYPE_BOOL, "m");
    tm_dim flag = tm_infer_element(&context, flags, 5);
    assert_true(flag->low == 0 && flag->high == 1);
    assert_null(flags->elements);
    assert_ptr_equal(tm_infer_element(&context, flags, 5), flag);
}

static void constants_are_read(void **state) {
    (void)state;
    tm_infer_context context = {model, model->dims, &arena};
    int64_t out[4];
    int64_t count = 0;
    tm_value *axes = constant_i64(model->main, 1, 2, (const int64_t[]){1, -1});
    assert_true(tm_dim_is(tm_infer_element(&context, axes, 1), -1));
    assert_true(tm_infer_constant_elements(&context, axes, out, 4, &count));
    assert_int_equal(count, 2);
    assert_int_equal(out[1], -1);
    assert_false(tm_infer_constant_elements(&context, axes, out, 1, &count));
    assert_false(tm_infer_constant_elements(&context, NULL, out, 1, &count));
}

static void unequal_dims_are_an_error_and_unknown_ones_a_constraint(void **state) {
    (void)state;
    tm_infer_context context = {model, model->dims, &arena};
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n", "m", "4", "n + 1");
    tm_node *node = node1(model->main, TM_OP_Identity, "y", x)->producer;
    assert_ok(tm_infer_equal(&context, node, x->dims[0], x->dims[0], "same"));
    assert_int_equal(model->constraints.count, 0);
    assert_ok(tm_infer_equal(&context, node, x->dims[0], x->dims[1], "maybe"));
    assert_ok(tm_infer_equal(&context, node, x->dims[1], x->dims[0], "maybe"));
    assert_int_equal(model->constraints.count, 1);
    assert_int_equal(tm_infer_equal(&context, node, x->dims[0], x->dims[3], "never"), TM_E_SHAPE);
    assert_int_equal(diagnostics.list.count, 1);
    assert_string_equal(diagnostics.list.items[0].expected, "n");
}

static void independent_faults_are_all_filed_and_consequences_are_not(void **state) {
    (void)state;
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "2");
    tm_value *y = input("y", TAMIS_TYPE_FLOAT, "3");
    tm_value *bad = node1(model->main, TM_OP_Add, "bad", x, y);
    node1(model->main, TM_OP_Add, "consequence", bad, x);
    node1(model->main, TM_OP_Add, "arity", x);
    tm_value *good = node1(model->main, TM_OP_Add, "good", x, x);
    assert_int_equal(tm_infer(model), TM_E_SHAPE);
    assert_int_equal(diagnostics.list.count, 2);
    assert_int_equal(diagnostics.list.items[1].code, TM_E_ARITY);
    assert_string_equal(type_of(good), "f32[2]");
}

static void inputs_need_ranks(void **state) {
    (void)state;
    tm_value *x = tm_value_create(model->main, "x");
    x->type = TAMIS_TYPE_FLOAT;
    tm_graph_add_input(model->main, x);
    assert_int_equal(tm_infer(model), TM_E_UNKNOWN_RANK);
}

static void broadcasting(void **state) {
    (void)state;
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n", "1", "4");
    tm_value *y = input("y", TAMIS_TYPE_FLOAT, "m", "1");
    assert_ok(tm_infer_node(model, node1(model->main, TM_OP_Add, "z", x, y)->producer));
    assert_string_equal(type_of(model->main->last->outputs[0]), "f32[n, m, 4]");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(dims_of_dynamic_ops_are_the_same_symbols_in_every_run),
        TEST(elements_of_a_shape_tensor_become_symbols),
        TEST(constants_are_read),
        TEST(unequal_dims_are_an_error_and_unknown_ones_a_constraint),
        TEST(independent_faults_are_all_filed_and_consequences_are_not),
        TEST(inputs_need_ranks),
        TEST(broadcasting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
