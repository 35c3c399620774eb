/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of inference of If, Loop, Scan and sequences: what dims come out of bodies. Each test infers
 * twice: the second run must not make symbols, and must give the same dims.
 */
#include "tests/unit/ir/ir_test.h"

static void infer_twice(void) {
    assert_ok(tm_infer(model));
    size_t symbols = tm_dims_symbol_count(model->dims);
    size_t constraints = model->constraints.count;
    assert_ok(tm_infer(model));
    assert_int_equal(tm_dims_symbol_count(model->dims), symbols);
    assert_int_equal(model->constraints.count, constraints);
    assert_ok(tm_verify(model));
}

static tm_graph *branch(tm_node *node, const char *name) {
    tm_graph *graph = tm_graph_create(model, name, model->main);
    tm_node_set_graph(node, name, graph);
    return graph;
}

static tm_value *if_node(tm_value *condition, tm_graph **out_then, tm_graph **out_else) {
    tm_value *y = node1(model->main, TM_OP_If, "y", condition);
    *out_then = branch(y->producer, "then_branch");
    *out_else = branch(y->producer, "else_branch");
    tm_graph_add_output(model->main, y);
    return y;
}

static void if_keeps_equal_dims_and_frees_the_others(void **state) {
    (void)state;
    tm_graph *yes = NULL;
    tm_graph *no = NULL;
    tm_value *c = scalar_input("c", TAMIS_TYPE_BOOL);
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n", "4");
    tm_value *y = if_node(c, &yes, &no);
    tm_graph_add_output(yes, x);
    tm_value *joined = node1(no, TM_OP_Concat, "joined", x, x);
    tm_node_set_int(joined->producer, "axis", 0);
    tm_graph_add_output(no, joined);
    infer_twice();
    assert_string_equal(type_of(y), "f32[y, 4]");
    assert_ptr_equal(y->dims[0]->symbol->value, y);
}

static void symbols_of_a_branch_do_not_leave_it(void **state) {
    (void)state;
    tm_graph *yes = NULL;
    tm_graph *no = NULL;
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n", "4");
    tm_value *y = if_node(scalar(model->main, TAMIS_TYPE_BOOL, 1), &yes, &no);
    tm_graph_add_output(yes, node1(yes, TM_OP_NonZero, "inner", x));
    tm_graph_add_output(no, x);
    infer_twice();
    assert_string_equal(type_of(y), "i64[2, y]");
    assert_ptr_equal(y->dims[1]->symbol->value, y);
}

static void a_known_condition_decides_alone(void **state) {
    (void)state;
    tm_graph *yes = NULL;
    tm_graph *no = NULL;
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "2");
    tm_value *z = input("z", TAMIS_TYPE_FLOAT, "3");
    tm_value *y = if_node(scalar(model->main, TAMIS_TYPE_BOOL, 0), &yes, &no);
    tm_graph_add_output(yes, node1(yes, TM_OP_Add, "wrong", x, z));
    tm_graph_add_output(no, x);
    infer_twice();
    assert_string_equal(type_of(y), "f32[2]");
    assert_int_equal(diagnostics.list.count, 0);
}

static void a_condition_of_dims_selects(void **state) {
    (void)state;
    tm_graph *yes = NULL;
    tm_graph *no = NULL;
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n");
    tm_value *z = input("z", TAMIS_TYPE_FLOAT, "m");
    tm_value *size = node1(model->main, TM_OP_Shape, "size", x);
    tm_value *c =
        node1(model->main, TM_OP_Equal, "c", size, constant_i64(model->main, 1, 1, (const int64_t[]){1}));
    tm_value *y = if_node(c, &yes, &no);
    tm_graph_add_output(yes, z);
    tm_graph_add_output(no, x);
    infer_twice();
    assert_string_equal(type_of(y), "f32[select(equal(n, 1), m, n)]");
}

static void differing_ranks_need_a_declaration(void **state) {
    (void)state;
    tm_graph *yes = NULL;
    tm_graph *no = NULL;
    tm_value *c = scalar_input("c", TAMIS_TYPE_BOOL);
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n");
    tm_value *z = input("z", TAMIS_TYPE_FLOAT, "n", "4");
    tm_value *y = if_node(c, &yes, &no);
    tm_graph_add_output(yes, x);
    tm_graph_add_output(no, z);
    assert_int_equal(tm_infer(model), TM_E_UNKNOWN_RANK);
    diagnostics.list.count = 0;
    tm_value_set_tensor(y, TAMIS_TYPE_FLOAT, 2, z->dims);
    infer_twice();
    assert_int_equal(y->rank, 2);
}

static void differing_ranks_of_an_exported_squeeze(void **state) {
    (void)state;
    tm_graph *yes = NULL;
    tm_graph *no = NULL;
    tm_value *c = scalar_input("c", TAMIS_TYPE_BOOL);
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n", "m");
    tm_value *y = if_node(c, &yes, &no);
    tm_value *axes = constant_i64(model->main, 1, 1, (const int64_t[]){1});
    tm_graph_add_output(yes, node1(yes, TM_OP_Squeeze, "squeezed", x, axes));
    tm_graph_add_output(no, x);
    infer_twice();
    assert_string_equal(type_of(y), "f32[n]");
}

/* Loop(limit, condition, initial...) with a body of iter, cond, carried inputs; cond passes through. */
static tm_graph *loop(tm_value *limit, tm_value *condition, int carried, tm_value *const *initial,
                      int outputs, tm_value **out_outputs) {
    tm_value *inputs[8] = {limit, condition};
    for (int i = 0; i < carried; i++)
        inputs[i + 2] = initial[i];
    tm_node *node = tm_node_create(model->main, NULL, TM_OP_Loop, "loop", carried + 2, inputs);
    tm_graph *body = tm_graph_create(model, "body", model->main);
    tm_node_set_graph(node, "body", body);
    for (int i = 0; i < carried + 2; i++)
        tm_graph_add_input(body, tm_value_create(body, i == 0 ? "iter" : i == 1 ? "cond" : "carried"));
    tm_graph_add_output(body, node1(body, TM_OP_Identity, "go", body->inputs.items[1]));
    for (int i = 0; i < outputs; i++) {
        out_outputs[i] = tm_node_add_output(node, "out");
        tm_graph_add_output(model->main, out_outputs[i]);
    }
    return body;
}

static void loop_keeps_invariant_dims_and_knows_its_trip_count(void **state) {
    (void)state;
    tm_value *out[2];
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n", "4");
    tm_value *limit = scalar_input("limit", TAMIS_TYPE_INT64);
    tm_graph *body = loop(limit, NULL, 1, &x, 2, out);
    tm_value *sum = node1(body, TM_OP_Add, "sum", body->inputs.items[2], x);
    tm_graph_add_output(body, sum);
    tm_graph_add_output(body, sum);
    infer_twice();
    assert_string_equal(type_of(out[0]), "f32[n, 4]");
    assert_string_equal(type_of(out[1]), "f32[max(limit, 0), n, 4]");
}

static void growing_dims_become_free(void **state) {
    (void)state;
    tm_value *out[2];
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n", "4");
    tm_value *c = scalar_input("c", TAMIS_TYPE_BOOL);
    tm_value *past = tm_value_create_constant(
        model->main, "past",
        tm_constant_create(&arena, TAMIS_TYPE_FLOAT, 2, (const int64_t[]){0, 4}, &arena));
    tm_graph *body = loop(NULL, c, 1, &past, 2, out);
    tm_value *grown = node1(body, TM_OP_Concat, "grown", body->inputs.items[2], x);
    tm_node_set_int(grown->producer, "axis", 0);
    tm_graph_add_output(body, grown);
    tm_graph_add_output(body, node1(body, TM_OP_NonZero, "nz", x));
    infer_twice();
    assert_string_equal(type_of(grown), "f32[carried + n, 4]");
    assert_string_equal(type_of(out[0]), "f32[out, 4]");
    assert_string_equal(type_of(out[1]), "i64[out.1, 2, out.1.1]");
    assert_ptr_equal(out[1]->dims[2]->symbol->value, out[1]);
}

static void a_round_that_fails_for_special_dims_is_tried_with_free_ones(void **state) {
    (void)state;
    tm_value *out[1];
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "2");
    tm_value *initial = input("initial", TAMIS_TYPE_FLOAT, "3");
    tm_value *limit = scalar_input("limit", TAMIS_TYPE_INT64);
    tm_graph *body = loop(limit, NULL, 1, &initial, 1, out);
    /* 3 and 2 do not broadcast: only with a free dim can the body be typed. */
    tm_graph_add_output(body, node1(body, TM_OP_Add, "sum", body->inputs.items[2], x));
    infer_twice();
    assert_string_equal(type_of(out[0]), "f32[out]");
    assert_int_equal(diagnostics.list.count, 0);
}

static void loop_refuses_changing_ranks_and_types(void **state) {
    (void)state;
    tm_value *out[1];
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n");
    tm_value *z = input("z", TAMIS_TYPE_FLOAT, "n", "n");
    tm_graph *body = loop(scalar_input("limit", TAMIS_TYPE_INT64), NULL, 1, &x, 1, out);
    tm_graph_add_output(body, z);
    assert_int_equal(tm_infer(model), TM_E_UNKNOWN_RANK);
    tm_graph_set_output(body, 1, scalar_input("s", TAMIS_TYPE_INT64));
    assert_int_equal(tm_infer(model), TM_E_TYPE);
}

static void an_empty_sequence_learns_its_rank_from_the_body(void **state) {
    (void)state;
    tm_value *out[1];
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n", "4");
    tm_value *zero = scalar(model->main, TAMIS_TYPE_INT64, 0);
    tm_value *empty = make_node(model->main, TM_OP_SequenceEmpty, "empty", 0, NULL);
    tm_graph *body = loop(scalar_input("limit", TAMIS_TYPE_INT64), NULL, 1, &empty, 1, out);
    tm_value *sequence = node1(body, TM_OP_SequenceInsert, "longer", body->inputs.items[2], x);
    tm_graph_add_output(body, sequence);
    node1(body, TM_OP_SequenceAt, "item", sequence, zero);
    tm_value *early = node1(body, TM_OP_SequenceAt, "early", body->inputs.items[2], zero);
    infer_twice();
    assert_string_equal(type_of(empty), "seq f32?");
    assert_string_equal(type_of(out[0]), "seq f32[n, 4]");
    assert_string_equal(type_of(early), "f32[n, 4]");
}

static void scan_slices_and_stacks(void **state) {
    (void)state;
    tm_value *state_value = input("s", TAMIS_TYPE_FLOAT, "b");
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "b", "t");
    tm_value *final = node1(model->main, TM_OP_Scan, "final", state_value, x);
    tm_node *node = final->producer;
    tm_value *stacked = tm_node_add_output(node, "stacked");
    tm_graph *body = tm_graph_create(model, "body", model->main);
    tm_node_set_graph(node, "body", body);
    tm_node_set_int(node, "num_scan_inputs", 1);
    tm_node_set_ints(node, "scan_input_axes", (const int64_t[]){-1}, 1);
    tm_node_set_ints(node, "scan_output_axes", (const int64_t[]){1}, 1);
    tm_graph_add_input(body, tm_value_create(body, "state"));
    tm_graph_add_input(body, tm_value_create(body, "item"));
    tm_value *sum = node1(body, TM_OP_Add, "sum", body->inputs.items[0], body->inputs.items[1]);
    tm_graph_add_output(body, sum);
    tm_graph_add_output(body, sum);
    infer_twice();
    assert_string_equal(type_of(body->inputs.items[1]), "f32[b]");
    assert_string_equal(type_of(final), "f32[b]");
    assert_string_equal(type_of(stacked), "f32[b, t]");
}

static void sequences_know_what_does_not_vary(void **state) {
    (void)state;
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "n", "4");
    tm_value *z = input("z", TAMIS_TYPE_FLOAT, "m", "4");
    tm_value *i = scalar_input("i", TAMIS_TYPE_INT64);
    tm_value *sequence = node1(model->main, TM_OP_SequenceConstruct, "s", x, z);
    tm_value *any = node1(model->main, TM_OP_SequenceAt, "any", sequence, i);
    tm_value *last =
        node1(model->main, TM_OP_SequenceAt, "last", sequence, scalar(model->main, TAMIS_TYPE_INT64, -1));
    tm_value *length = node1(model->main, TM_OP_SequenceLength, "length", sequence);
    tm_value *erased = node1(model->main, TM_OP_SequenceErase, "erased", sequence, i);
    tm_value *joined = node1(model->main, TM_OP_ConcatFromSequence, "joined", sequence);
    tm_node_set_int(joined->producer, "axis", 0);
    tm_value *stacked = node1(model->main, TM_OP_ConcatFromSequence, "stacked", erased);
    tm_node_set_int(stacked->producer, "axis", -1);
    tm_node_set_int(stacked->producer, "new_axis", 1);
    infer_twice();
    assert_string_equal(type_of(sequence), "seq f32[s, 4]");
    assert_string_equal(type_of(any), "f32[any, 4]");
    assert_string_equal(type_of(last), "f32[m, 4]");
    assert_true(tm_dim_is(length->elements[0], 2));
    assert_string_equal(type_of(joined), "f32[m + n, 4]");
    assert_string_equal(type_of(stacked), "f32[stacked, 4, stacked.1]");
}

static void splitting_to_a_sequence(void **state) {
    (void)state;
    tm_value *x = input("x", TAMIS_TYPE_FLOAT, "6", "n");
    tm_value *rows = node1(model->main, TM_OP_SplitToSequence, "rows", x);
    tm_node_set_int(rows->producer, "keepdims", 0);
    tm_value *even =
        node1(model->main, TM_OP_SplitToSequence, "even", x, scalar(model->main, TAMIS_TYPE_INT64, 3));
    tm_value *uneven =
        node1(model->main, TM_OP_SplitToSequence, "uneven", x, scalar(model->main, TAMIS_TYPE_INT64, 4));
    tm_value *list = node1(model->main, TM_OP_SplitToSequence, "list", x,
                           constant_i64(model->main, 1, 2, (const int64_t[]){2, 4}));
    infer_twice();
    assert_string_equal(type_of(rows), "seq f32[n]");
    assert_string_equal(type_of(even), "seq f32[3, n]");
    assert_string_equal(type_of(uneven), "seq f32[uneven, n]");
    assert_string_equal(type_of(list), "seq f32[list, n]");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(if_keeps_equal_dims_and_frees_the_others),
        TEST(symbols_of_a_branch_do_not_leave_it),
        TEST(a_known_condition_decides_alone),
        TEST(a_condition_of_dims_selects),
        TEST(differing_ranks_need_a_declaration),
        TEST(differing_ranks_of_an_exported_squeeze),
        TEST(loop_keeps_invariant_dims_and_knows_its_trip_count),
        TEST(growing_dims_become_free),
        TEST(a_round_that_fails_for_special_dims_is_tried_with_free_ones),
        TEST(loop_refuses_changing_ranks_and_types),
        TEST(an_empty_sequence_learns_its_rank_from_the_body),
        TEST(scan_slices_and_stacks),
        TEST(sequences_know_what_does_not_vary),
        TEST(splitting_to_a_sequence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
