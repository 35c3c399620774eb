/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of the evaluator: kernel symbols, call records, single nodes, and whole models with late dims
 * and control flow.
 */
#include "tests/unit/ir/ir_test.h"

/* The compiler's arena and the kernels' function have one name; no kernel is written here. */
#define tm_arena tm_kernel_arena
#include "runtime/kernel.h"
#undef tm_arena

static void kernel_symbols(void **state) {
    (void)state;
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n");
    tm_value *nibbles = input("u", TAMIS_TYPE_UINT4, "n");
    tm_value *index = input("i", TAMIS_TYPE_INT64, "1");
    assert_string_equal(tm_kernel_symbol(node1(model->main, TM_OP_Add, "a", x, x)->producer), "tm_k_Add_f32");
    assert_string_equal(tm_kernel_symbol(node1(model->main, TM_OP_Tile, "b", nibbles, index)->producer),
                        "tm_k_Tile_b4");
    assert_string_equal(tm_kernel_symbol(node1(model->main, TM_OP_Where, "c", index, x, x)->producer),
                        "tm_k_Where_w4");
    tm_value *cast = node1(model->main, TM_OP_Cast, "d", x);
    cast->type = TAMIS_TYPE_BFLOAT16;
    assert_string_equal(tm_kernel_symbol(cast->producer), "tm_k_Cast_f32_bf16");
    tm_node *scaler = node1(model->main, TM_OP_Scaler, "e", x)->producer;
    assert_string_equal(tm_kernel_symbol(scaler), "tm_k_ml_Scaler");
    assert_true(tm_kernel_exists(node1(model->main, TM_OP_Identity, "f", x)->producer));
    assert_false(tm_kernel_exists(node1(model->main, TM_OP_MatMul, "g", nibbles, nibbles)->producer));
}

static void call_records_hold_attributes_in_row_order(void **state) {
    (void)state;
    size_t bytes = 0;
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "1", "1", "8", "8");
    tm_node *node = node1(model->main, TM_OP_Conv, "y", x, x, NULL)->producer;
    tm_node_set_ints(node, "pads", (const int64_t[]){1, 2, 3, 4}, 4);
    tm_node_set_int(node, "group", 5);
    tm_call *call = tm_call_create(&arena, node, 9, (const int32_t[]){3, 4, -1, 7}, &bytes);
    const tm_attrs_Conv *a = tm_attributes(call);
    assert_int_equal(call->node, 9);
    assert_int_equal(call->n_in, 3);
    assert_int_equal(call->n_out, 1);
    assert_int_equal(call->values[3], 7);
    assert_int_equal(a->group, 5);
    assert_true(tm_is(a, a->auto_pad, "NOTSET"));
    assert_false(tm_has(a->strides));
    assert_int_equal(a->pads.count, 4);
    assert_int_equal(tm_ints(a, a->pads)[3], 4);
    assert_true(bytes % 8 == 0);

    tm_node *rnn = node1(model->main, TM_OP_RNN, "r", x, x, x)->producer;
    tm_node_set_strings(rnn, "activations", (const char *const[]){"Tanh", "Relu"}, 2);
    tm_node_set_floats(rnn, "activation_alpha", (const double[]){0.5}, 1);
    call = tm_call_create(&arena, rnn, 0, (const int32_t[]){0, 1, 2, 3}, &bytes);
    const tm_attrs_RNN *r = tm_attributes(call);
    assert_true(tm_is(r, tm_strings(r, r->activations)[1], "Relu"));
    assert_true(tm_floats(r, r->activation_alpha)[0] == 0.5);
    assert_true(r->clip != r->clip);

    tm_node *fill = node1(model->main, TM_OP_ConstantOfShape, "f", x)->producer;
    tm_node_set_tensor(fill, "value", tm_constant_create_scalar(&arena, TAMIS_TYPE_DOUBLE, 2.5));
    call = tm_call_create(&arena, fill, 0, (const int32_t[]){0, 1}, &bytes);
    const tm_attrs_ConstantOfShape *c = tm_attributes(call);
    const tm_tensor_attribute *tensor = (const tm_tensor_attribute *)tm_ints(c, c->value);
    assert_int_equal(tensor->type, TAMIS_TYPE_DOUBLE);
    assert_true(*(const double *)(tensor + 1) == 2.5);
}

static void nodes_with_constant_inputs_fold(void **state) {
    (void)state;
    const tm_constant *outputs[1];
    const float numbers[] = {1, 2, 3, 4};
    tm_value *a = tm_value_create_constant(
        model->main, "a", tm_constant_create(&arena, TAMIS_TYPE_FLOAT, 2, (const int64_t[]){2, 2}, numbers));
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "2");
    tm_node *sum = node1(model->main, TM_OP_Add, "sum", a, a)->producer;
    tm_node *view = node1(model->main, TM_OP_Flatten, "view", a)->producer;
    tm_node *open = node1(model->main, TM_OP_Add, "open", a, x)->producer;
    tm_node_set_int(view, "axis", 0);
    assert_ok(tm_infer(model));
    assert_ok(tm_evaluate_node(model, sum, false, outputs));
    assert_int_equal(outputs[0]->rank, 2);
    assert_true(((const float *)outputs[0]->data)[3] == 8);
    assert_ok(tm_evaluate_node(model, view, false, outputs));
    assert_int_equal(outputs[0]->dims[1], 4);
    assert_ptr_equal(outputs[0]->data, numbers);
    assert_int_equal(tm_evaluate_node(model, open, true, outputs), TM_E_UNSUPPORTED_FORM);
    assert_int_equal(diagnostics.list.count, 0);
    assert_int_equal(tm_evaluate_node(model, open, false, outputs), TM_E_UNSUPPORTED_FORM);
    assert_int_equal(diagnostics.list.count, 1);
}

/* ---- whole models ---- */

static tamis_tensor tensor(tamis_type type, const void *data, int rank, const int64_t *dims) {
    return (tamis_tensor){.data = (void *)(uintptr_t)data,
                          .dims = (int64_t *)(uintptr_t)dims,
                          .rank = rank,
                          .type = (uint8_t)type,
                          .kind = TAMIS_KIND_TENSOR};
}

static void assert_floats(const tamis_tensor *t, int rank, const int64_t *dims, const float *want) {
    int64_t count = 1;
    assert_int_equal(t->rank, rank);
    for (int i = 0; i < rank; i++) {
        assert_int_equal(t->dims[i], dims[i]);
        count *= dims[i];
    }
    for (int64_t i = 0; i < count; i++)
        if (((const float *)t->data)[i] != want[i])
            fail_msg("element %lld is %g, not %g", (long long)i, (double)((const float *)t->data)[i],
                     (double)want[i]);
}

static void dims_follow_the_inputs(void **state) {
    (void)state;
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n", "2");
    tm_value *shape = input("shape", TAMIS_TYPE_INT64, "1");
    tm_value *flat =
        node1(model->main, TM_OP_Reshape, "flat", node1(model->main, TM_OP_Add, "sum", x, x), shape);
    tm_graph_add_output(model->main, flat);
    assert_ok(tm_infer(model));
    const float numbers[] = {1, 2, 3, 4, 5, 6};
    const int64_t target = -1;
    tamis_tensor inputs[] = {tensor(TAMIS_TYPE_FLOAT, numbers, 2, (const int64_t[]){3, 2}),
                             tensor(TAMIS_TYPE_INT64, &target, 1, (const int64_t[]){1})};
    tamis_tensor output;
    assert_ok(tm_evaluate_model(model, &arena, inputs, &output));
    assert_floats(&output, 1, (const int64_t[]){6}, (const float[]){2, 4, 6, 8, 10, 12});

    inputs[0].dims = (int64_t[]){2, 3};
    assert_int_equal(tm_evaluate_model(model, &arena, inputs, &output), TM_E_EVALUATE);
}

static void constraints_are_checked(void **state) {
    (void)state;
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n", "k");
    tm_value *y = input("y", TAMIS_TYPE_FLOAT, "m", "2");
    tm_graph_add_output(model->main, node1(model->main, TM_OP_MatMul, "z", x, y));
    assert_ok(tm_infer(model));
    assert_int_equal(model->constraints.count, 1);
    const float numbers[] = {1, 2, 3, 4};
    tamis_tensor inputs[] = {tensor(TAMIS_TYPE_FLOAT, numbers, 2, (const int64_t[]){1, 2}),
                             tensor(TAMIS_TYPE_FLOAT, numbers, 2, (const int64_t[]){2, 2})};
    tamis_tensor output;
    assert_ok(tm_evaluate_model(model, &arena, inputs, &output));
    assert_floats(&output, 2, (const int64_t[]){1, 2}, (const float[]){7, 10});
    inputs[1].dims = (int64_t[]){1, 2};
    assert_int_equal(tm_evaluate_model(model, &arena, inputs, &output), TM_E_EVALUATE);
}

static void both_branches_of_an_if(void **state) {
    (void)state;
    tm_value *c = scalar_input("c", TAMIS_TYPE_BOOL);
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n");
    tm_value *y = node1(model->main, TM_OP_If, "y", c);
    tm_graph *yes = tm_graph_create(model, "yes", model->main);
    tm_graph *no = tm_graph_create(model, "no", model->main);
    tm_node_set_graph(y->producer, "then_branch", yes);
    tm_node_set_graph(y->producer, "else_branch", no);
    tm_graph_add_output(yes, x);
    tm_value *joined = node1(no, TM_OP_Concat, "joined", x, x);
    tm_node_set_int(joined->producer, "axis", 0);
    tm_graph_add_output(no, joined);
    tm_graph_add_output(model->main, node1(model->main, TM_OP_Add, "z", y, y));
    assert_ok(tm_infer(model));
    const float numbers[] = {1, 2};
    uint8_t condition = 1;
    tamis_tensor inputs[] = {tensor(TAMIS_TYPE_BOOL, &condition, 0, NULL),
                             tensor(TAMIS_TYPE_FLOAT, numbers, 1, (const int64_t[]){2})};
    tamis_tensor output;
    assert_ok(tm_evaluate_model(model, &arena, inputs, &output));
    assert_floats(&output, 1, (const int64_t[]){2}, (const float[]){2, 4});
    condition = 0;
    assert_ok(tm_evaluate_model(model, &arena, inputs, &output));
    assert_floats(&output, 1, (const int64_t[]){4}, (const float[]){2, 4, 2, 4});
}

/* Fibonacci: (a, b) -> (b, a + b), collecting a; c grows by a row each turn. */
static void loops_carry_swap_grow_and_collect(void **state) {
    (void)state;
    tm_value *limit = scalar_input("limit", TAMIS_TYPE_INT64);
    tm_value *a = input("a", TAMIS_TYPE_FLOAT, "1");
    tm_value *b = input("b", TAMIS_TYPE_FLOAT, "1");
    tm_node *node =
        tm_node_create(model->main, NULL, TM_OP_Loop, "loop", 5, (tm_value *[]){limit, NULL, a, b, a});
    tm_graph *body = tm_graph_create(model, "body", model->main);
    tm_node_set_graph(node, "body", body);
    for (int i = 0; i < 5; i++)
        tm_graph_add_input(body, tm_value_create(body, "in"));
    tm_value **in = body->inputs.items;
    tm_value *grown = node1(body, TM_OP_Concat, "grown", in[4], in[3]);
    tm_node_set_int(grown->producer, "axis", 0);
    tm_graph_add_output(body, in[1]);
    tm_graph_add_output(body, in[3]);
    tm_graph_add_output(body, node1(body, TM_OP_Add, "sum", in[2], in[3]));
    tm_graph_add_output(body, grown);
    tm_graph_add_output(body, in[2]);
    for (int i = 0; i < 4; i++)
        tm_graph_add_output(model->main, tm_node_add_output(node, "out"));
    assert_ok(tm_infer(model));
    assert_ok(tm_verify(model));
    const float zero = 0;
    const float one = 1;
    int64_t turns = 5;
    const int64_t dims[] = {1};
    tamis_tensor inputs[] = {tensor(TAMIS_TYPE_INT64, &turns, 0, NULL),
                             tensor(TAMIS_TYPE_FLOAT, &zero, 1, dims),
                             tensor(TAMIS_TYPE_FLOAT, &one, 1, dims)};
    tamis_tensor outputs[4];
    assert_ok(tm_evaluate_model(model, &arena, inputs, outputs));
    assert_floats(&outputs[0], 1, dims, (const float[]){5});
    assert_floats(&outputs[1], 1, dims, (const float[]){8});
    assert_floats(&outputs[2], 1, (const int64_t[]){6}, (const float[]){0, 1, 1, 2, 3, 5});
    assert_floats(&outputs[3], 2, (const int64_t[]){5, 1}, (const float[]){0, 1, 1, 2, 3});
    turns = 0;
    assert_ok(tm_evaluate_model(model, &arena, inputs, outputs));
    assert_floats(&outputs[1], 1, dims, (const float[]){1});
    assert_floats(&outputs[3], 2, (const int64_t[]){0, 1}, NULL);
}

static void scans_go_along_any_axis_in_both_directions(void **state) {
    (void)state;
    tm_value *initial = input("s", TAMIS_TYPE_FLOAT, "2");
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "2", "t");
    tm_node *node = tm_node_create(model->main, NULL, TM_OP_Scan, "scan", 2, (tm_value *[]){initial, x});
    tm_graph *body = tm_graph_create(model, "body", model->main);
    tm_node_set_graph(node, "body", body);
    tm_node_set_int(node, "num_scan_inputs", 1);
    tm_node_set_ints(node, "scan_input_axes", (const int64_t[]){1}, 1);
    tm_node_set_ints(node, "scan_input_directions", (const int64_t[]){1}, 1);
    tm_node_set_ints(node, "scan_output_axes", (const int64_t[]){-1}, 1);
    tm_graph_add_input(body, tm_value_create(body, "state"));
    tm_graph_add_input(body, tm_value_create(body, "item"));
    tm_value *sum = node1(body, TM_OP_Add, "sum", body->inputs.items[0], body->inputs.items[1]);
    tm_graph_add_output(body, sum);
    tm_graph_add_output(body, sum);
    for (int i = 0; i < 2; i++)
        tm_graph_add_output(model->main, tm_node_add_output(node, "out"));
    assert_ok(tm_infer(model));
    const float zeros[] = {0, 0};
    const float numbers[] = {1, 2, 3, 10, 20, 30};
    tamis_tensor inputs[] = {tensor(TAMIS_TYPE_FLOAT, zeros, 1, (const int64_t[]){2}),
                             tensor(TAMIS_TYPE_FLOAT, numbers, 2, (const int64_t[]){2, 3})};
    tamis_tensor outputs[2];
    assert_ok(tm_evaluate_model(model, &arena, inputs, outputs));
    assert_floats(&outputs[0], 1, (const int64_t[]){2}, (const float[]){6, 60});
    assert_floats(&outputs[1], 2, (const int64_t[]){2, 3}, (const float[]){3, 5, 6, 30, 50, 60});
}

/* Builds, infers and evaluates with an arena of at most `limit` bytes; says whether that was enough. Under a
 * leak checker this also shows that the evaluator's heap goes away with the arena. */
static bool runs_within(size_t limit) {
    const float numbers[] = {1, 0, 3};
    tm_arena_deinit(&arena);
    tm_arena_init(&arena);
    arena.limit = limit;
    arena.has_recovery = true;
    if (setjmp(arena.recovery) != 0)
        return false;
    tm_diagnostics_init(&diagnostics, &arena);
    model = tm_model_create(&arena, &diagnostics, "test.ir");
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n");
    tm_value *y = node1(model->main, TM_OP_NonZero, "y", node1(model->main, TM_OP_Add, "sum", x, x));
    tm_graph_add_output(model->main, y);
    assert_ok(tm_infer(model));
    assert_ok(tm_verify(model));
    tamis_tensor in = tensor(TAMIS_TYPE_FLOAT, numbers, 1, (const int64_t[]){3});
    tamis_tensor out;
    assert_ok(tm_evaluate_model(model, &arena, &in, &out));
    assert_int_equal(out.dims[1], 2);
    assert_int_equal(((const int64_t *)out.data)[1], 2);
    return true;
}

static void running_out_of_memory_anywhere(void **state) {
    (void)state;
    size_t limit = 64;
    while (!runs_within(limit))
        limit += 64;
    assert_true(limit > 1024);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(kernel_symbols),
        TEST(call_records_hold_attributes_in_row_order),
        TEST(nodes_with_constant_inputs_fold),
        TEST(dims_follow_the_inputs),
        TEST(constraints_are_checked),
        TEST(both_branches_of_an_if),
        TEST(loops_carry_swap_grow_and_collect),
        TEST(scans_go_along_any_axis_in_both_directions),
        TEST(running_out_of_memory_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
