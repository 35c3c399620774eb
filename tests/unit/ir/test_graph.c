/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of the op table, element types, constants, graphs, nodes and the verifier. Uses are checked
 * by the verifier after each edit: it counts them against the readers that it meets.
 */
#include "tests/unit/ir/ir_test.h"

#include <math.h>

static void every_op_is_found_by_its_name(void **state) {
    (void)state;
    assert_int_equal(tm_op_find(TM_DOMAIN_ONNX, "Nothing"), TM_OP_INVALID);
    assert_int_equal(tm_op_find(TM_DOMAIN_ML, "Add"), TM_OP_INVALID);
    assert_string_equal(tm_op_get(TM_OP_INVALID)->name, "?");
    for (int op = TM_OP_INVALID + 1; op < TM_OP_COUNT; op++) {
        const tm_op_info *info = tm_op_get((tm_op)op);
        assert_int_equal(tm_op_find(info->domain, info->name), op);
        for (int i = 0; i < info->attribute_count; i++)
            assert_int_equal(tm_op_attribute_index((tm_op)op, info->attributes[i].name), i);
    }
    assert_int_equal(tm_op_attribute_index(TM_OP_Add, "axis"), -1);
    assert_true(tm_op_has(TM_OP_Add, TM_COMMUTATIVE));
}

static void attributes_have_the_defaults_of_their_row(void **state) {
    (void)state;
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n", "4");
    tm_node *node = node1(model->main, TM_OP_Gelu, "y", x)->producer;
    assert_string_equal(tm_node_string(node, "approximate"), "none");
    assert_false(tm_node_has_attribute(node, "approximate"));
    tm_node_set_string(node, "approximate", "tanh");
    assert_string_equal(tm_node_string(node, "approximate"), "tanh");
    tm_node *softmax = node1(model->main, TM_OP_Softmax, "z", x)->producer;
    assert_int_equal(tm_node_int(softmax, "axis"), -1);
    tm_node_set_int(softmax, "axis", 1);
    assert_int_equal(tm_node_int(softmax, "axis"), 1);
    tm_node *concat = node1(model->main, TM_OP_Concat, "c", x)->producer;
    assert_int_equal(tm_node_int(concat, "axis"), TM_NO_DEFAULT);
    tm_node *selu = node1(model->main, TM_OP_Elu, "e", x)->producer;
    assert_true(tm_node_float(selu, "alpha") == 1.0);
    tm_node *shift = node1(model->main, TM_OP_BitShift, "b", x, x)->producer;
    assert_null(tm_node_string(shift, "direction"));
}

static void types(void **state) {
    (void)state;
    int64_t bytes = 0;
    assert_int_equal(tm_type_parse("bf16"), TAMIS_TYPE_BFLOAT16);
    assert_int_equal(tm_type_parse("nothing"), TAMIS_TYPE_UNDEFINED);
    assert_string_equal(tm_type_suffix(TAMIS_TYPE_STRING), "str");
    assert_true(tm_type_size(TAMIS_TYPE_UINT4, 5, &bytes));
    assert_int_equal(bytes, 3);
    assert_false(tm_type_size(TAMIS_TYPE_DOUBLE, INT64_MAX / 2, &bytes));
    assert_false(tm_type_size(TAMIS_TYPE_DOUBLE, -1, &bytes));
    assert_true(tm_type_is_signed(TAMIS_TYPE_INT2));
    assert_false(tm_type_is_integer(TAMIS_TYPE_BOOL));
    assert_true(tm_type_is_float(TAMIS_TYPE_FLOAT4E2M1));
}

static double element(tamis_type type, const void *data, int64_t i) {
    int64_t count = 64;
    double value = 0;
    assert_true(tm_constant_double(tm_constant_create(&arena, type, 1, &count, data), i, &value));
    return value;
}

static void small_floats_decode(void **state) {
    (void)state;
    const uint16_t half[] = {0x3c00, 0xfbff, 0x0001, 0x7c00, 0x7e00};
    assert_true(element(TAMIS_TYPE_FLOAT16, half, 0) == 1.0);
    assert_true(element(TAMIS_TYPE_FLOAT16, half, 1) == -65504.0);
    assert_true(element(TAMIS_TYPE_FLOAT16, half, 2) == ldexp(1, -24));
    assert_true(isinf(element(TAMIS_TYPE_FLOAT16, half, 3)));
    assert_true(isnan(element(TAMIS_TYPE_FLOAT16, half, 4)));
    const uint16_t brain[] = {0x3f80, 0xc040};
    assert_true(element(TAMIS_TYPE_BFLOAT16, brain, 1) == -3.0);
    const uint8_t codes[] = {0x7e, 0x7f, 0x80, 0x01, 0xff};
    assert_true(element(TAMIS_TYPE_FLOAT8E4M3FN, codes, 0) == 448.0);
    assert_true(isnan(element(TAMIS_TYPE_FLOAT8E4M3FN, codes, 1)));
    assert_true(element(TAMIS_TYPE_FLOAT8E4M3FNUZ, codes, 1) == 240.0);
    assert_true(isnan(element(TAMIS_TYPE_FLOAT8E4M3FNUZ, codes, 2)));
    assert_true(element(TAMIS_TYPE_FLOAT8E5M2, codes, 3) == ldexp(1, -16));
    assert_true(element(TAMIS_TYPE_FLOAT8E5M2FNUZ, codes, 1) == 57344.0);
    assert_true(element(TAMIS_TYPE_FLOAT8E8M0, codes, 1) == 1.0);
    assert_true(isnan(element(TAMIS_TYPE_FLOAT8E8M0, codes, 4)));
    const uint8_t packed[] = {0x72, 0x9f};
    assert_true(element(TAMIS_TYPE_FLOAT4E2M1, packed, 0) == 1.0);
    assert_true(element(TAMIS_TYPE_FLOAT4E2M1, packed, 1) == 6.0);
    assert_true(element(TAMIS_TYPE_UINT4, packed, 3) == 9.0);
    assert_true(element(TAMIS_TYPE_INT4, packed, 2) == -1.0);
    assert_true(element(TAMIS_TYPE_INT2, packed, 0) == -2.0);
    assert_true(element(TAMIS_TYPE_UINT2, packed, 3) == 1.0);
}

static void scalars_round_trip_in_every_real_type(void **state) {
    (void)state;
    for (int type = 1; type < TAMIS_TYPE_COUNT; type++) {
        double value = 0;
        const tm_constant *one = tm_constant_create_scalar(&arena, (tamis_type)type, 1.0);
        if (type == TAMIS_TYPE_STRING || type == TAMIS_TYPE_COMPLEX64 || type == TAMIS_TYPE_COMPLEX128)
            continue;
        assert_true(tm_constant_double(one, 0, &value));
        assert_true(value == 1.0);
    }
    double value = 0;
    assert_true(tm_constant_double(tm_constant_create_scalar(&arena, TAMIS_TYPE_FLOAT16, 1e6), 0, &value));
    assert_true(isinf(value));
    assert_true(
        tm_constant_double(tm_constant_create_scalar(&arena, TAMIS_TYPE_BFLOAT16, 1.00390625), 0, &value));
    assert_true(value == 1.0);
}

static void names_are_unique(void **state) {
    (void)state;
    tm_value *a = tm_value_create(model->main, "x");
    tm_value *b = tm_value_create(model->main, "x");
    tm_value *c = tm_value_create(model->main, "x.1");
    tm_value *d = tm_value_create(model->main, "x");
    assert_string_equal(a->name, "x");
    assert_string_equal(b->name, "x.1");
    assert_string_equal(c->name, "x.1.1");
    assert_string_equal(d->name, "x.2");
    assert_string_equal(tm_value_create(model->main, NULL)->name, "4");
}

static void small_integer_constants_know_their_elements(void **state) {
    (void)state;
    tm_value *c = constant_i64(model->main, 1, 3, (const int64_t[]){7, -1, 0});
    assert_int_equal(c->element_count, 3);
    assert_true(tm_dim_is(c->elements[1], -1));
    assert_null(scalar(model->main, TAMIS_TYPE_FLOAT, 2)->elements);
    assert_string_equal(type_of(c), "i64[3]");
}

static void uses_follow_edits(void **state) {
    (void)state;
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "4");
    tm_value *y = input("y", TAMIS_TYPE_FLOAT, "4");
    tm_value *sum = node1(model->main, TM_OP_Add, "sum", x, x);
    tm_value *out = node1(model->main, TM_OP_Add, "out", sum, y);
    tm_value_set_tensor(sum, TAMIS_TYPE_FLOAT, 1, x->dims);
    tm_value_set_tensor(out, TAMIS_TYPE_FLOAT, 1, x->dims);
    tm_graph_add_output(model->main, out);
    assert_ok(tm_verify(model));
    assert_int_equal(x->uses.count, 2);
    assert_null(tm_value_single_user(x));
    assert_ptr_equal(tm_value_single_user(y), out->producer);
    assert_null(tm_value_single_user(out));

    tm_node_set_input(sum->producer, 1, y);
    assert_ok(tm_verify(model));
    tm_value_replace(sum, y);
    assert_true(tm_value_unused(sum));
    tm_node_remove(sum->producer);
    assert_null(sum->graph);
    assert_ok(tm_verify(model));
    assert_true(tm_value_unused(x));
    tm_value_replace(out, x);
    assert_ptr_equal(model->main->outputs.items[0], x);
    tm_node_remove(out->producer);
    assert_ok(tm_verify(model));
    assert_int_equal(model->main->node_count, 0);
}

static void nodes_move_and_inputs_grow(void **state) {
    (void)state;
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "4");
    tm_value *a = node1(model->main, TM_OP_Sum, "a", x);
    tm_value *b = node1(model->main, TM_OP_Sum, "b", x);
    tm_value_set_tensor(a, TAMIS_TYPE_FLOAT, 1, x->dims);
    tm_value_set_tensor(b, TAMIS_TYPE_FLOAT, 1, x->dims);
    tm_node_move_before(b->producer, a->producer);
    assert_ptr_equal(model->main->first, b->producer);
    tm_node_set_input(a->producer, 1, b);
    assert_int_equal(a->producer->input_count, 2);
    assert_ok(tm_verify(model));
    tm_node_move_before(b->producer, NULL);
    assert_int_equal(tm_verify(model), TM_E_VERIFY);
    tm_node_trim_inputs(a->producer, 1);
    assert_ok(tm_verify(model));
    tm_value *before =
        tm_node_add_output(tm_node_create(model->main, a->producer, TM_OP_Sum, "c", 1, &x), "c");
    tm_value_set_tensor(before, TAMIS_TYPE_FLOAT, 1, x->dims);
    assert_ptr_equal(model->main->first, before->producer);
    assert_ok(tm_verify(model));
}

static void removing_a_node_drops_the_uses_of_its_bodies(void **state) {
    (void)state;
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "4");
    tm_value *c = scalar_input("c", TAMIS_TYPE_BOOL);
    tm_value *y = node1(model->main, TM_OP_If, "y", c);
    tm_node *node = y->producer;
    for (int i = 0; i < 2; i++) {
        tm_graph *branch = tm_graph_create(model, "branch", model->main);
        tm_value *t = node1(branch, TM_OP_Add, "t", x, x);
        tm_value_set_tensor(t, TAMIS_TYPE_FLOAT, 1, x->dims);
        tm_graph_add_output(branch, i == 0 ? t : x);
        tm_node_set_graph(node, i == 0 ? "then_branch" : "else_branch", branch);
    }
    tm_value_set_tensor(y, TAMIS_TYPE_FLOAT, 1, x->dims);
    assert_ok(tm_verify(model));
    assert_int_equal(x->uses.count, 5);
    assert_int_equal(tm_node_subgraph_count(node), 2);
    assert_true(tm_graph_contains(model->main, tm_node_subgraph(node, 1)));
    assert_false(tm_graph_contains(tm_node_subgraph(node, 1), model->main));
    tm_node_remove(node);
    assert_int_equal(x->uses.count, 0);
    assert_int_equal(c->uses.count, 0);
    assert_ok(tm_verify(model));
}

static void the_verifier_finds_faults(void **state) {
    (void)state;
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "4");
    tm_value *y = node1(model->main, TM_OP_Add, "y", x, x);
    assert_int_equal(tm_verify(model), TM_E_VERIFY); /* no type */
    tm_value_set_tensor(y, TAMIS_TYPE_FLOAT, 1, x->dims);
    assert_ok(tm_verify(model));
    x->uses.count--;
    assert_int_equal(tm_verify(model), TM_E_VERIFY);
    x->uses.count++;
    y->output_index = 1;
    assert_int_equal(tm_verify(model), TM_E_VERIFY);
    y->output_index = 0;
    tm_node_set_input(y->producer, 2, x);
    assert_int_equal(tm_verify(model), TM_E_VERIFY); /* arity */
    tm_node_trim_inputs(y->producer, 2);
    assert_ok(tm_verify(model));
    tm_node_set_input(y->producer, 0, y);
    assert_int_equal(tm_verify(model), TM_E_VERIFY);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_op_is_found_by_its_name),
        TEST(attributes_have_the_defaults_of_their_row),
        TEST(types),
        TEST(small_floats_decode),
        TEST(scalars_round_trip_in_every_real_type),
        TEST(names_are_unique),
        TEST(small_integer_constants_know_their_elements),
        TEST(uses_follow_edits),
        TEST(nodes_move_and_inputs_grow),
        TEST(removing_a_node_drops_the_uses_of_its_bodies),
        TEST(the_verifier_finds_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
