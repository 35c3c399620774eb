/* SPDX-License-Identifier: Apache-2.0
 *
 * Model-local functions: inlining, attribute references, operator sets, recursion.
 *
 * Each test builds a model with one or two functions in the domain "local" and looks at the nodes that
 * stand in the main graph afterwards.
 */
#include "tests/unit/frontend/kit.h"

static Onnx__FunctionProto *add_function(kit *k, const char *name, const char *inputs, const char *outputs) {
    Onnx__FunctionProto *function = kit_new_function_proto(k);
    function->name = kit_text(k, name);
    function->domain = kit_text(k, "local");
    function->input = kit_split(k, inputs, &function->n_input);
    function->output = kit_split(k, outputs, &function->n_output);
    KIT_ADD(k, k->model, functions, function);
    return function;
}

static Onnx__NodeProto *add_node(kit *k, Onnx__FunctionProto *function, const char *op, const char *inputs,
                                 const char *outputs) {
    Onnx__NodeProto *node = kit_make_node(k, op, inputs, outputs);
    KIT_ADD(k, function, node, node);
    return node;
}

static void start(kit *k, int64_t opset) {
    kit_init(k, opset);
    kit_opset(k, "local", 1);
    kit_input(k, k->graph, "x", TAMIS_TYPE_FLOAT, "2,3");
}

static void nested_calls(void **state) {
    (void)state;
    kit k;
    start(&k, 17);
    add_node(&k, add_function(&k, "inner", "a", "b"), "Relu", "a", "b");
    Onnx__FunctionProto *outer = add_function(&k, "outer", "a", "c");
    add_node(&k, outer, "Neg", "b", "c"); /* not in order */
    add_node(&k, outer, "local.inner", "a", "b");
    kit_node(&k, k.graph, "local.outer", "x", "b");
    kit_node(&k, k.graph, "local.outer", "b", "y");
    kit_output(&k, k.graph, "y");
    assert_int_equal(kit_import(&k), TM_OK);
    assert_string_equal(kit_ops(&k, k.result->main), "Relu Neg Relu Neg");
    assert_string_equal(k.result->main->outputs.items[0]->name, "y");
    assert_string_equal(k.result->main->first->next->outputs[0]->name, "b");
    assert_string_equal(k.result->main->first->file_path, "main/outer:0/inner:1");
    kit_deinit(&k);
}

static void attribute_references(void **state) {
    (void)state;
    kit k;
    start(&k, 17);
    Onnx__FunctionProto *function = add_function(&k, "f", "a", "b,c,d");
    kit_reference(&k, add_node(&k, function, "LeakyRelu", "a", "b"), "alpha", 1, "slope");
    kit_reference(&k, add_node(&k, function, "Elu", "a", "c"), "alpha", 1, "size");
    kit_reference(&k, add_node(&k, function, "Celu", "a", "d"), "alpha", 1, "absent");
    KIT_ADD(&k, function, attribute, kit_text(&k, "slope"));
    Onnx__AttributeProto *size = kit_attribute(&k, NULL, "size", 1);
    size->has_f = 1;
    size->f = 0.25f;
    KIT_ADD(&k, function, attribute_proto, size);
    kit_float(&k, kit_node(&k, k.graph, "local.f", "x", "p,q,r"), "slope", 0.5f);
    kit_output(&k, k.graph, "p");
    assert_int_equal(kit_import(&k), TM_OK);
    const tm_node *node = k.result->main->first;
    assert_true(tm_node_float(node, "alpha") == 0.5);
    assert_true(tm_node_float(node->next, "alpha") == 0.25);
    assert_false(tm_node_has_attribute(node->next->next, "alpha"));
    kit_deinit(&k);
}

/* The function was written for opset 11, where Squeeze has its axes as attribute. */
static void own_opset(void **state) {
    (void)state;
    kit k;
    start(&k, 17);
    Onnx__FunctionProto *function = add_function(&k, "f", "a", "b");
    Onnx__OperatorSetIdProto *opset = kit_new_operator_set_id_proto(&k);
    opset->has_version = 1;
    opset->version = 11;
    KIT_ADD(&k, function, opset_import, opset);
    kit_ints(&k, add_node(&k, function, "Squeeze", "a", "b"), "axes", 1, (int64_t[]){1});
    kit_node(&k, k.graph, "local.f", "x", "y");
    kit_output(&k, k.graph, "y");
    assert_int_equal(kit_import(&k), TM_OK);
    assert_int_equal(kit_input_int(k.result->main->first, 1, 0), 1);
    kit_deinit(&k);
}

static void omitted_inputs_and_passed_values(void **state) {
    (void)state;
    kit k;
    start(&k, 17);
    Onnx__FunctionProto *function = add_function(&k, "f", "a,low,high", "b,a");
    add_node(&k, function, "Clip", "a,low,high", "b");
    kit_node(&k, k.graph, "local.f", "x,,x", "y,z");
    kit_output(&k, k.graph, "y");
    kit_output(&k, k.graph, "z");
    assert_int_equal(kit_import(&k), TM_OK);
    assert_string_equal(kit_ops(&k, k.result->main), "Clip Identity");
    assert_null(k.result->main->first->inputs[1]);
    assert_non_null(k.result->main->first->inputs[2]);
    assert_string_equal(k.result->main->outputs.items[1]->name, "z");
    kit_deinit(&k);
}

static void function_bodies_see_no_outer_names(void **state) {
    (void)state;
    kit k;
    start(&k, 17);
    add_node(&k, add_function(&k, "f", "a", "b"), "Add", "a,x", "b");
    kit_node(&k, k.graph, "local.f", "x", "y");
    kit_output(&k, k.graph, "y");
    assert_int_equal(kit_import(&k), TM_E_UNDEFINED_VALUE);
    kit_deinit(&k);
}

static void recursion(void **state) {
    (void)state;
    kit k;
    start(&k, 17);
    kit_input(&k, k.graph, "c", TAMIS_TYPE_BOOL, "");
    Onnx__FunctionProto *f = add_function(&k, "f", "a,c", "b");
    Onnx__NodeProto *node = add_node(&k, f, "If", "c", "b");
    Onnx__GraphProto *branch = kit_body(&k, "branch");
    kit_node(&k, branch, "local.g", "a,c", "r");
    kit_output(&k, branch, "r");
    kit_graph(&k, node, "then_branch", branch);
    kit_graph(&k, node, "else_branch", branch);
    add_node(&k, add_function(&k, "g", "a,c", "b"), "local.f", "a,c", "b");
    kit_node(&k, k.graph, "local.f", "x,c", "y");
    kit_output(&k, k.graph, "y");
    assert_int_equal(kit_import(&k), TM_E_RECURSION);
    kit_deinit(&k);
}

/* Each function calls the next one twice: 2^40 nodes. */
static void explosion(void **state) {
    (void)state;
    kit k;
    start(&k, 17);
    for (int i = 0; i < 40; i++) {
        Onnx__FunctionProto *f = add_function(&k, tm_arena_format(&k.arena, "f%d", i), "a", "c");
        const char *next = i == 39 ? "Relu" : tm_arena_format(&k.arena, "local.f%d", i + 1);
        add_node(&k, f, next, "a", "b");
        add_node(&k, f, next, "b", "c");
    }
    kit_node(&k, k.graph, "local.f0", "x", "y");
    kit_output(&k, k.graph, "y");
    k.options.limits.nodes = 1000;
    assert_int_equal(kit_import(&k), TM_E_LIMIT);
    kit_deinit(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nested_calls),
        cmocka_unit_test(attribute_references),
        cmocka_unit_test(own_opset),
        cmocka_unit_test(omitted_inputs_and_passed_values),
        cmocka_unit_test(function_bodies_see_no_outer_names),
        cmocka_unit_test(recursion),
        cmocka_unit_test(explosion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
