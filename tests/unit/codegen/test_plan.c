/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of memory planning: which values share a slot, above all which outputs of regions may lie where an
 * input of theirs dies.
 */
#include "codegen/plan.h"
#include "ir/infer.h"
#include "ir/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static tm_arena arena;
static tm_model *model;
static tm_plan *plan;

static void plan_of(const char *text) {
    static tm_diagnostics diagnostics;
    tm_arena_init(&arena);
    tm_diagnostics_init(&diagnostics, &arena);
    assert_int_equal(tm_parse_model(&arena, &diagnostics, NULL, text, strlen(text), &model), TM_OK);
    assert_int_equal(tm_infer(model), TM_OK);
    assert_int_equal(tm_plan_create(model, &plan), TM_OK);
}

static const tm_plan_value *entry(const char *name) {
    for (size_t i = 0; i < plan->values.count; i++)
        if (strcmp(plan->values.items[i].value->name, name) == 0)
            return &plan->values.items[i];
    fail_msg("no value %s", name);
    return NULL;
}

static bool share(const char *a, const char *b) {
    assert_int_equal(entry(a)->storage, TM_STORAGE_WORKSPACE);
    assert_int_equal(entry(b)->storage, TM_STORAGE_WORKSPACE);
    return entry(a)->argument == entry(b)->argument;
}

static void lifetimes(void **state) {
    (void)state;
    plan_of("main(%x: f32[n, 4]) {\n"
            "  %a = Neg(%x)\n"
            "  %b = Exp(%a)\n"
            "  %c = Neg(%b)\n"
            "  %y = Exp(%c)\n"
            "  return %y\n}\n");
    assert_false(share("a", "b")); /* kernels may read an element after others are written */
    assert_true(share("a", "c"));
    assert_int_equal(entry("y")->storage, TM_STORAGE_OUTPUT);
    tm_arena_deinit(&arena);
}

/* Bodies of regions are no positions of the model: a life behind them ends where the last reader stands. */
static void lifetimes_behind_regions(void **state) {
    (void)state;
    plan_of("main(%x: f32[n, 4], %w: f32[4, 4]) {\n"
            "  %a = tamis.Region(%x, %w) {kind = \"contract\", body = r(%p: f32[n, 4], %q: f32[4, 4]) {\n"
            "    %1 = MatMul(%p, %q)\n"
            "    %2 = Exp(%1)\n"
            "    %3 = Neg(%2)\n"
            "    return %3 } }\n"
            "  %b = Exp(%a)\n"
            "  %c = Neg(%b)\n"
            "  %d = tamis.Region(%c) {kind = \"map\", body = r(%s: f32[n, 4]) {\n"
            "    %4 = Exp(%s)\n"
            "    return %4 } }\n"
            "  %y = Exp(%d)\n"
            "  return %y\n}\n");
    assert_false(share("a", "b"));
    assert_true(share("a", "c"));
    assert_true(share("c", "d"));
    assert_int_equal(plan->slots.count, 2);
    assert_int_equal(entry("d")->end, entry("d")->begin + 1);
    tm_arena_deinit(&arena);
}

static void map_over_input(void **state) {
    (void)state;
    plan_of("main(%x: f32[n, 4], %v: f32[4]) {\n"
            "  %a = Neg(%x)\n"
            "  %row = Neg(%v)\n"
            "  %b = tamis.Region(%a, %row) {kind = \"map\", body = r(%p: f32[n, 4], %q: f32[4]) {\n"
            "    %1 = Add(%p, %q)\n"
            "    return %1 } }\n"
            "  %y = Exp(%b)\n"
            "  return %y\n}\n");
    assert_true(share("a", "b"));
    assert_false(share("row", "b"));
    tm_arena_deinit(&arena);
}

/* The input has a later reader; a view of it is read too. */
static void map_beside_input(void **state) {
    (void)state;
    plan_of("main(%x: f32[4, 4]) {\n"
            "  const %axes: i64[1] = {0}\n"
            "  %a = Neg(%x)\n"
            "  %b = tamis.Region(%a) {kind = \"map\", body = r(%p: f32[4, 4]) {\n"
            "    %1 = Exp(%p)\n"
            "    return %1 } }\n"
            "  %y = Add(%a, %b)\n"
            "  %c = Neg(%x)\n"
            "  %d = Unsqueeze(%c, %axes)\n"
            "  %d1 = Squeeze(%d, %axes)\n"
            "  %e = tamis.Region(%c, %d1) {kind = \"map\", body = r(%s: f32[4, 4], %t: f32[4, 4]) {\n"
            "    %2 = Add(%s, %t)\n"
            "    return %2 } }\n"
            "  %f = Exp(%e)\n"
            "  return %y, %f\n}\n");
    assert_false(share("a", "b"));
    assert_false(share("c", "e"));
    tm_arena_deinit(&arena);
}

static void contract_over_residual(void **state) {
    (void)state;
    plan_of("main(%x: f32[n, 4], %z: f32[n, 4], %w: f32[4, 4]) {\n"
            "  %a = Neg(%x)\n"
            "  %r = Neg(%z)\n"
            "  %b = tamis.Region(%a, %w, %r) {kind = \"contract\",\n"
            "      body = r(%p: f32[n, 4], %q: f32[4, 4], %s: f32[n, 4]) {\n"
            "    %1 = MatMul(%p, %q)\n"
            "    %2 = Add(%1, %s)\n"
            "    return %2 } }\n"
            "  %y = Exp(%b)\n"
            "  return %y\n}\n");
    assert_false(share("a", "b"));
    assert_true(share("r", "b"));
    tm_arena_deinit(&arena);
}

/* Sum and result may replace the addends; what the last walk reads may not be replaced. */
static void row_over_inputs(void **state) {
    (void)state;
    plan_of("main(%x: f32[n, 32], %g: f32[32]) {\n"
            "  %a = Neg(%x)\n"
            "  %b = Exp(%x)\n"
            "  %c = Abs(%x)\n"
            "  %d, %sum = tamis.Region(%a, %b, %c, %g) {kind = \"row\",\n"
            "      body = r(%p: f32[n, 32], %q: f32[n, 32], %r: f32[n, 32], %s: f32[32]) {\n"
            "    %1 = Add(%p, %q)\n"
            "    %2 = RMSNormalization(%1, %s)\n"
            "    %3 = Add(%2, %r)\n"
            "    return %3, %1 } }\n"
            "  %y = Add(%d, %sum)\n"
            "  return %y\n}\n");
    assert_false(share("c", "d"));
    assert_false(share("c", "sum"));
    assert_false(share("d", "sum"));
    assert_true(share("a", "d") || share("b", "d"));
    assert_true(share("a", "sum") || share("b", "sum"));
    tm_arena_deinit(&arena);
}

/* An output of the first walk must not replace what the second walk reads again. */
static void row_beside_input(void **state) {
    (void)state;
    plan_of("main(%x: f32[n, 32], %v: f32[n, 32]) {\n"
            "  %a = Neg(%x)\n"
            "  %b, %c = tamis.Region(%a, %v) {kind = \"row\", body = r(%p: f32[n, 32], %q: f32[n, 32]) {\n"
            "    %1 = Exp(%q)\n"
            "    %2 = Softmax(%p)\n"
            "    %3 = Add(%2, %1)\n"
            "    return %3, %1 } }\n"
            "  %y = Add(%b, %c)\n"
            "  return %y\n}\n");
    assert_false(share("a", "c"));
    assert_true(share("a", "b"));
    tm_arena_deinit(&arena);
}

/* A vector of the next row would overlap the masked end of this one, unless rows are long. */
static void row_of_no_whole_vectors(void **state) {
    (void)state;
    static const struct {
        const char *width;
        bool shares;
    } cases[] = {{"24", false}, {"16", true}, {"1000", true}, {"k", true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "main(%%x: f32[n, %s]) {\n"
                 "  %%a = Neg(%%x)\n"
                 "  %%b = tamis.Region(%%a) {kind = \"row\", body = r(%%p: f32[n, %s]) {\n"
                 "    %%1 = Softmax(%%p)\n"
                 "    return %%1 } }\n"
                 "  %%y = Neg(%%b)\n"
                 "  return %%y\n}\n",
                 cases[i].width, cases[i].width);
        plan_of(text);
        assert_int_equal(share("a", "b"), cases[i].shares);
        tm_arena_deinit(&arena);
    }
}

/* Symbols of dims that share parts a thousand times over are found in one walk. */
static void symbols_of_shared_dims(void **state) {
    (void)state;
    tm_arena_init(&arena);
    tm_diagnostics diagnostics;
    tm_diagnostics_init(&diagnostics, &arena);
    model = tm_model_create(&arena, &diagnostics, NULL);
    model->main = tm_graph_create(model, "main", NULL);
    tm_dim n = tm_dim_input(model->dims, "n"), deep = n;
    for (int i = 0; i < 200; i++)
        deep = tm_dim_floordiv(model->dims, tm_dim_mul(model->dims, deep, tm_dim_add(model->dims, deep, n)),
                               tm_dim_constant(model->dims, 3 + i));
    tm_value *x = tm_value_create(model->main, "x");
    tm_value_set_tensor(x, TAMIS_TYPE_FLOAT, 1, &deep);
    tm_graph_add_input(model->main, x);
    assert_int_equal(tm_plan_create(model, &plan), TM_OK);
    assert_true(plan->symbol_used[n->symbol->number]);
    tm_arena_deinit(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(lifetimes),
                                       cmocka_unit_test(lifetimes_behind_regions),
                                       cmocka_unit_test(map_over_input),
                                       cmocka_unit_test(map_beside_input),
                                       cmocka_unit_test(contract_over_residual),
                                       cmocka_unit_test(row_over_inputs),
                                       cmocka_unit_test(row_beside_input),
                                       cmocka_unit_test(row_of_no_whole_vectors),
                                       cmocka_unit_test(symbols_of_shared_dims)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
