/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of the pass driver: levels, disabled passes, the limit of rewrites, print_after, and that the
 * pipeline ends where nothing changes any more.
 */
#include "ir/text.h"
#include "passes/passes.h"
#include "tests/unit/arena_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/arena_fixture.h"

/* The passes that form regions run last, and make of these models what other tests look at. */
static const char *const disabled[] = {
#define TM_PASS(name, level, reason)
#define TM_FINAL_PASS(name, level, reason) #name,
#include "passes/passes.def"
#undef TM_PASS
    "common_subexpressions", "drop_shape_inputs"};
#define DISABLED (sizeof disabled / sizeof *disabled)

/* Exported shape arithmetic around one Reshape, and a product that is computed twice. */
static const char source[] = "main(%x: f32[batch, seq, 12]) {\n"
                             "  const %zero: i64[] = {0}\n"
                             "  const %one: i64[] = {1}\n"
                             "  const %axes: i64[1] = {0}\n"
                             "  const %heads: i64[1] = {4}\n"
                             "  const %minus: i64[1] = {-1}\n"
                             "  const %half: f32[1] = {0.25}\n"
                             "  const %two: f32[1] = {2}\n"
                             "  %shape = Shape(%x)\n"
                             "  %b = Gather(%shape, %zero)\n"
                             "  %s = Gather(%shape, %one)\n"
                             "  %b1 = Unsqueeze(%b, %axes)\n"
                             "  %s1 = Unsqueeze(%s, %axes)\n"
                             "  %target = Concat(%b1, %s1, %heads, %minus) {axis = 0}\n"
                             "  %scale = Mul(%half, %two)\n"
                             "  %p = Mul(%x, %scale)\n"
                             "  %q = Mul(%scale, %x)\n"
                             "  %sum = Add(%p, %q)\n"
                             "  %y = Reshape(%sum, %target)\n"
                             "  return %y\n"
                             "}\n";

static tm_pass_options graph_passes(int level) {
    return (tm_pass_options){.level = level,
                             .bisect_limit = -1,
                             .verify = true,
                             .disabled = disabled,
                             .disabled_count = DISABLED - 2};
}

static tm_model *parse(const char *text) {
    tm_model *model = NULL;
    assert_int_equal(tm_parse_model(&arena, &diagnostics, NULL, text, strlen(text), &model), TM_OK);
    return model;
}

static const char *print(const tm_model *model) {
    tm_text text;
    tm_text_init(&text, &arena);
    tm_print_model(model, 0, &text);
    return tm_text_get(&text);
}

static const char *run(const tm_pass_options *options) {
    tm_model *model = parse(source);
    assert_int_equal(tm_passes_run(model, options, NULL), TM_OK);
    return print(model);
}

static void shape_arithmetic_disappears(void **state) {
    (void)state;
    const tm_pass_options options = graph_passes(2);
    const char *text = run(&options);
    assert_int_equal(parse(text)->main->node_count, 3);
    assert_non_null(strstr(text, ": f32[1] = {0.5}\n"));
    assert_non_null(strstr(text, "%y: f32[batch, seq, 4, 3] = Reshape(%sum)"));
    assert_non_null(strstr(text, "Add(%p, %p)"));
    tm_model *again = parse(text);
    assert_int_equal(tm_passes_run(again, &options, NULL), TM_OK);
    assert_string_equal(print(again), text);
}

static void level_zero_keeps_what_is_not_constant(void **state) {
    (void)state;
    const tm_pass_options options = graph_passes(0);
    const char *text = run(&options);
    assert_non_null(strstr(text, "Reshape(%sum, %target)"));
    assert_null(strstr(text, "%scale: f32[1] = Mul"));
}

static void passes_can_be_disabled(void **state) {
    (void)state;
    tm_pass_options options = graph_passes(2);
    options.disabled_count = DISABLED;
    const char *text = run(&options);
    assert_non_null(strstr(text, "Add(%p, %q)"));
    assert_non_null(strstr(text, "Reshape(%sum, %target)"));
}

static void the_limit_stops_rewrites(void **state) {
    (void)state;
    tm_pass_options options = graph_passes(3);
    options.bisect_limit = 0;
    tm_model *model = parse(source);
    assert_int_equal(tm_passes_run(model, &options, NULL), TM_OK);
    assert_int_equal(model->main->node_count, 11);
    const char *last = print(model);
    int changes = 0;
    for (options.bisect_limit = 1; options.bisect_limit < 40; options.bisect_limit++) {
        const char *text = run(&options);
        changes += strcmp(text, last) != 0;
        last = text;
    }
    assert_in_range(changes, 10, 30);
    options.bisect_limit = -1;
    assert_string_equal(run(&options), last);
}

static void print_after_logs_the_model(void **state) {
    (void)state;
    tm_pass_options options = graph_passes(2);
    options.print_after = "dead_code";
    tm_text log;
    tm_text_init(&log, &arena);
    assert_int_equal(tm_passes_run(parse(source), &options, &log), TM_OK);
    assert_int_equal(strncmp(tm_text_get(&log), "; after dead_code, round 1\nmain(", 32), 0);
}

static void faults_are_reported(void **state) {
    (void)state;
    const tm_pass_options options = graph_passes(2);
    assert_int_equal(tm_passes_run_one(parse(source), "no_such_pass", &options), TM_E_USAGE);
    tm_model *bad = parse("main(%x: f32[2], %z: f32[3]) {\n  %y = Add(%x, %z)\n  return %y\n}\n");
    assert_int_equal(tm_passes_run(bad, &options, NULL), TM_E_SHAPE);
}

static void pinned_dims_become_numbers(void **state) {
    (void)state;
    const tm_pass_options options = graph_passes(2);
    tm_model *model = parse(source);
    tm_symbol_set_range(tm_dims_find_symbol(model->dims, "batch"), 2, 2);
    tm_symbol_set_range(tm_dims_find_symbol(model->dims, "seq"), 5, 5);
    assert_int_equal(tm_passes_run(model, &options, NULL), TM_OK);
    const char *text = print(model);
    assert_non_null(strstr(text, "main(%x: f32[2, 5, 12])"));
    assert_non_null(strstr(text, "%y: f32[2, 5, 4, 3] = Reshape(%sum)"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(shape_arithmetic_disappears, set_up, tear_down),
        cmocka_unit_test_setup_teardown(level_zero_keeps_what_is_not_constant, set_up, tear_down),
        cmocka_unit_test_setup_teardown(passes_can_be_disabled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_limit_stops_rewrites, set_up, tear_down),
        cmocka_unit_test_setup_teardown(print_after_logs_the_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(faults_are_reported, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pinned_dims_become_numbers, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
