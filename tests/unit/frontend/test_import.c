/* SPDX-License-Identifier: Apache-2.0
 *
 * Graphs as exporters write them: dims, names, order, captures, control flow, initializers.
 *
 * Each test is a small model with one trait that was seen in a real file, or one fault; faults must be
 * found, named by the right code, and say where they are.
 */
#include "tests/unit/frontend/kit.h"

static void dims_of_inputs(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    kit_input(&k, k.graph, "x", TAMIS_TYPE_FLOAT, "batch,4,12*s18,?,-1,0");
    kit_input(&k, k.graph, "y", TAMIS_TYPE_INT64, "batch");
    kit_input(&k, k.graph, "z", TAMIS_TYPE_INT64, "");
    kit_node(&k, k.graph, "Identity", "x", "out");
    kit_output(&k, k.graph, "out");
    assert_int_equal(kit_import(&k), TM_OK);
    const tm_value *x = k.result->main->inputs.items[0];
    const tm_value *y = k.result->main->inputs.items[1];
    assert_int_equal(x->rank, 6);
    assert_string_equal(x->dims[0]->symbol->name, "batch");
    assert_ptr_equal(x->dims[0], y->dims[0]);
    assert_ptr_equal(x->dims[0]->symbol->value, x);
    assert_true(tm_dim_is(x->dims[1], 4));
    assert_string_equal(x->dims[2]->symbol->name, "12*s18");
    assert_string_equal(x->dims[3]->symbol->name, "x.3");
    assert_string_equal(x->dims[4]->symbol->name, "x.4");
    assert_int_equal(x->dims[4]->symbol->origin, TM_SYMBOL_INPUT);
    assert_true(tm_dim_is(x->dims[5], 0));
    assert_int_equal(k.result->main->inputs.items[2]->rank, 0);
    kit_deinit(&k);
}

static void odd_names_and_equal_node_names(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    kit_input(&k, k.graph, "in::x:0", TAMIS_TYPE_FLOAT, "1");
    kit_node(&k, k.graph, "Relu", "in::x:0", "12")->name = kit_text(&k, "same");
    kit_node(&k, k.graph, "Relu", "12", "{\"a\": \"b\"}")->name = kit_text(&k, "same");
    kit_output(&k, k.graph, "{\"a\": \"b\"}");
    kit_opset(&k, "com.example.unused", 7);
    assert_int_equal(kit_import(&k), TM_OK);
    assert_string_equal(k.result->main->outputs.items[0]->name, "{\"a\": \"b\"}");
    assert_string_equal(k.result->main->first->name, "same");
    assert_string_equal(k.result->main->last->name, "same");
    kit_deinit(&k);
}

static void graph_without_nodes(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    kit_input(&k, k.graph, "x", TAMIS_TYPE_FLOAT, "n");
    kit_output(&k, k.graph, "x");
    assert_int_equal(kit_import(&k), TM_OK);
    assert_ptr_equal(k.result->main->outputs.items[0], k.result->main->inputs.items[0]);
    assert_null(k.result->main->first);
    kit_deinit(&k);
}

static void initializer_that_is_an_input(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    kit_input(&k, k.graph, "x", TAMIS_TYPE_FLOAT, "2");
    kit_input(&k, k.graph, "w", TAMIS_TYPE_FLOAT, "2");
    kit_floats(&k, k.graph, "w", 2, (float[]){1, 2});
    kit_node(&k, k.graph, "Add", "x,w", "y");
    kit_output(&k, k.graph, "y");
    assert_int_equal(kit_import(&k), TM_OK);
    assert_int_equal(k.result->main->inputs.count, 1);
    assert_true(tm_value_is_constant(k.result->main->first->inputs[1]));
    kit_deinit(&k);
}

static void unsorted_nodes(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    kit_input(&k, k.graph, "x", TAMIS_TYPE_FLOAT, "2");
    kit_node(&k, k.graph, "Exp", "c", "y");
    kit_node(&k, k.graph, "Neg", "x", "a");
    kit_node(&k, k.graph, "Add", "a,b", "c");
    kit_node(&k, k.graph, "Relu", "x", "b");
    kit_output(&k, k.graph, "y");
    assert_int_equal(kit_import(&k), TM_OK);
    assert_string_equal(kit_ops(&k, k.result->main), "Neg Relu Add Exp");
    assert_int_equal(k.result->main->first->file_index, 1);
    kit_deinit(&k);
}

/* The If reads 'a', which stands behind it, only inside of its branch. */
static void capture_orders_nodes(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    kit_input(&k, k.graph, "c", TAMIS_TYPE_BOOL, "");
    kit_input(&k, k.graph, "x", TAMIS_TYPE_FLOAT, "2");
    Onnx__NodeProto *node = kit_node(&k, k.graph, "If", "c", "y");
    Onnx__GraphProto *yes = kit_body(&k, "yes");
    kit_output(&k, yes, "a");
    Onnx__GraphProto *no = kit_body(&k, "no");
    kit_node(&k, no, "Neg", "x", "y");
    kit_output(&k, no, "y");
    kit_graph(&k, node, "then_branch", yes);
    kit_graph(&k, node, "else_branch", no);
    kit_node(&k, k.graph, "Relu", "x", "a");
    kit_output(&k, k.graph, "y");
    assert_int_equal(kit_import(&k), TM_OK);
    assert_string_equal(kit_ops(&k, k.result->main), "Relu If");
    const tm_node *branch = k.result->main->last;
    assert_ptr_equal(tm_node_graph(branch, "then_branch")->outputs.items[0],
                     k.result->main->first->outputs[0]);
    /* The inner y shadows the outer one and gives way to its name. */
    assert_string_equal(branch->outputs[0]->name, "y");
    assert_string_equal(tm_node_graph(branch, "else_branch")->outputs.items[0]->name, "y.1");
    assert_string_equal(tm_node_graph(branch, "else_branch")->first->file_path, "main/If_0.else_branch");
    kit_deinit(&k);
}

static void expect_failure(kit *k, tm_code code, const char *text) {
    assert_int_equal(kit_import(k), code);
    assert_int_equal(k->diagnostics.list.items[0].code, code);
    if (strstr(kit_message(k), text) == NULL)
        fail_msg("'%s' is not in '%s'", text, kit_message(k));
    kit_deinit(k);
}

static void cycle(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    kit_input(&k, k.graph, "x", TAMIS_TYPE_FLOAT, "2");
    kit_node(&k, k.graph, "Add", "x,b", "a");
    kit_node(&k, k.graph, "Relu", "a", "b");
    kit_output(&k, k.graph, "b");
    expect_failure(&k, TM_E_CYCLE, "'b' -> 'a' -> 'b'");
}

static void undefined_value(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    kit_node(&k, k.graph, "Relu", "nowhere", "y");
    kit_output(&k, k.graph, "y");
    expect_failure(&k, TM_E_UNDEFINED_VALUE, "input 0 is not defined");
}

static void undefined_output(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    kit_output(&k, k.graph, "y");
    expect_failure(&k, TM_E_UNDEFINED_VALUE, "makes the graph's output");
}

static void value_defined_twice(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    kit_input(&k, k.graph, "x", TAMIS_TYPE_FLOAT, "2");
    kit_node(&k, k.graph, "Relu", "x", "y");
    kit_node(&k, k.graph, "Neg", "x", "y");
    kit_output(&k, k.graph, "y");
    expect_failure(&k, TM_E_DUPLICATE_VALUE, "second time");
}

static void all_unsupported_ops_are_listed(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    kit_input(&k, k.graph, "x", TAMIS_TYPE_FLOAT, "2");
    kit_node(&k, k.graph, "com.example.Foo", "x", "a");
    kit_node(&k, k.graph, "Bar", "a", "b");
    kit_node(&k, k.graph, "com.example.Foo", "b", "c");
    kit_output(&k, k.graph, "c");
    assert_int_equal(kit_import(&k), TM_E_UNSUPPORTED_OP);
    assert_int_equal(k.diagnostics.list.count, 2);
    assert_string_equal(kit_message(&k),
                        "operator com.example.Foo is not supported (2 nodes, this is the first)");
    assert_string_equal(k.diagnostics.list.items[1].message, "operator Bar is not supported");
    assert_int_equal(k.diagnostics.list.items[1].place.node_index, 1);
    kit_deinit(&k);
}

static void newer_opset(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 99);
    expect_failure(&k, TM_E_UNSUPPORTED_OPSET, "version 99");
}

static void wrong_attribute_kind(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    kit_input(&k, k.graph, "x", TAMIS_TYPE_FLOAT, "2");
    kit_float(&k, kit_node(&k, k.graph, "Gather", "x,x", "y"), "axis", 1.0f);
    kit_output(&k, k.graph, "y");
    expect_failure(&k, TM_E_ATTRIBUTE, "wrong kind");
}

static void unknown_attribute(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    kit_input(&k, k.graph, "x", TAMIS_TYPE_FLOAT, "2");
    kit_int(&k, kit_node(&k, k.graph, "Relu", "x", "y"), "colour", 1);
    kit_output(&k, k.graph, "y");
    expect_failure(&k, TM_E_ATTRIBUTE, "no attribute 'colour'");
}

static void wrong_arity(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    kit_input(&k, k.graph, "x", TAMIS_TYPE_FLOAT, "2");
    kit_node(&k, k.graph, "Add", "x", "y");
    kit_output(&k, k.graph, "y");
    expect_failure(&k, TM_E_ARITY, "wrong number of inputs");
}

/* If in If in If ...: the innermost branch reads x from the main graph. */
static void nest(kit *k, int depth) {
    kit_init(k, 17);
    kit_input(k, k->graph, "c", TAMIS_TYPE_BOOL, "");
    kit_input(k, k->graph, "x", TAMIS_TYPE_FLOAT, "2");
    Onnx__GraphProto *graph = k->graph;
    for (int i = 0; i < depth; i++) {
        Onnx__NodeProto *node = kit_node(k, graph, "If", "c", "y");
        Onnx__GraphProto *inner = kit_body(k, "inner");
        Onnx__GraphProto *other = kit_body(k, "other");
        kit_output(k, other, "x");
        kit_graph(k, node, "then_branch", inner);
        kit_graph(k, node, "else_branch", other);
        kit_output(k, graph, "y");
        graph = inner;
    }
    kit_node(k, graph, "Relu", "x", "y");
    kit_output(k, graph, "y");
}

static void nested_control_flow(void **state) {
    (void)state;
    kit k;
    nest(&k, 24);
    assert_int_equal(kit_import(&k), TM_OK);
    kit_deinit(&k);
    nest(&k, 64);
    assert_int_equal(kit_import(&k), TM_OK);
    kit_deinit(&k);
    nest(&k, 65);
    expect_failure(&k, TM_E_LIMIT, "too deep");
    nest(&k, 200);
    expect_failure(&k, TM_E_LIMIT, "too deep");
}

static void constants_of_all_forms(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    kit_float(&k, kit_node(&k, k.graph, "Constant", "", "f"), "value_float", 2.5f);
    kit_int(&k, kit_node(&k, k.graph, "Constant", "", "i"), "value_int", -3);
    kit_ints(&k, kit_node(&k, k.graph, "Constant", "", "is"), "value_ints", 2, (int64_t[]){4, 5});
    kit_string(&k, kit_node(&k, k.graph, "Constant", "", "s"), "value_string", "text");
    const char *names[] = {"f", "i", "is", "s"};
    for (size_t i = 0; i < 4; i++)
        kit_output(&k, k.graph, names[i]);
    assert_int_equal(kit_import(&k), TM_OK);
    assert_null(k.result->main->first);
    tm_value *const *values = k.result->main->outputs.items;
    double number;
    assert_true(tm_constant_double(values[0]->constant, 0, &number));
    assert_true(number == 2.5);
    assert_int_equal(values[1]->constant->rank, 0);
    assert_int_equal(values[2]->constant->dims[0], 2);
    assert_true(tm_dim_is(values[2]->elements[1], 5));
    assert_memory_equal(((const tamis_string *)values[3]->constant->data)->data, "text", 4);
    assert_string_equal(values[3]->name, "s");
    kit_deinit(&k);
}

/* Declared types of control flow outputs are kept for inference; others are not trusted. */
static void declared_rank_is_a_hint(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    kit_input(&k, k.graph, "c", TAMIS_TYPE_BOOL, "");
    kit_input(&k, k.graph, "x", TAMIS_TYPE_FLOAT, "2");
    Onnx__NodeProto *node = kit_node(&k, k.graph, "If", "c", "y");
    Onnx__GraphProto *branch = kit_body(&k, "b");
    kit_output(&k, branch, "x");
    kit_graph(&k, node, "then_branch", branch);
    kit_graph(&k, node, "else_branch", branch);
    kit_output(&k, k.graph, "y")->type = kit_type(&k, TAMIS_TYPE_FLOAT, "a,b,c");
    assert_int_equal(kit_import(&k), TM_OK);
    assert_int_equal(k.result->main->outputs.items[0]->rank, 3);
    assert_null(tm_dims_find_symbol(k.result->dims, "a"));
    kit_deinit(&k);
}

static void node_limit_counts(void **state) {
    (void)state;
    kit k;
    kit_init(&k, 17);
    kit_input(&k, k.graph, "x", TAMIS_TYPE_FLOAT, "2");
    for (int i = 0; i < 3; i++)
        kit_node(&k, k.graph, "Relu", "x", tm_arena_format(&k.arena, "y%d", i));
    k.options.limits.nodes = 2;
    assert_int_equal(kit_import(&k), TM_E_LIMIT);
    assert_non_null(strstr(k.diagnostics.list.items[0].hint, "--limit-nodes"));
    kit_deinit(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dims_of_inputs),
        cmocka_unit_test(odd_names_and_equal_node_names),
        cmocka_unit_test(graph_without_nodes),
        cmocka_unit_test(initializer_that_is_an_input),
        cmocka_unit_test(unsorted_nodes),
        cmocka_unit_test(capture_orders_nodes),
        cmocka_unit_test(cycle),
        cmocka_unit_test(undefined_value),
        cmocka_unit_test(undefined_output),
        cmocka_unit_test(value_defined_twice),
        cmocka_unit_test(all_unsupported_ops_are_listed),
        cmocka_unit_test(newer_opset),
        cmocka_unit_test(wrong_attribute_kind),
        cmocka_unit_test(unknown_attribute),
        cmocka_unit_test(wrong_arity),
        cmocka_unit_test(nested_control_flow),
        cmocka_unit_test(constants_of_all_forms),
        cmocka_unit_test(declared_rank_is_a_hint),
        cmocka_unit_test(node_limit_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
