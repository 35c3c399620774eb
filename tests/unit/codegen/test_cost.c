/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of the cost of nodes: flops and bytes as expressions of the dims, of operators, regions, and a scan
 * within one.
 */
#include "codegen/cost.h"
#include "ir/infer.h"
#include "ir/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static tm_arena arena;
static tm_model *model;

static int teardown(void **state) {
    (void)state;
    tm_arena_deinit(&arena);
    return 0;
}

static void parse(const char *text) {
    static tm_diagnostics diagnostics;
    tm_arena_init(&arena);
    tm_diagnostics_init(&diagnostics, &arena);
    assert_int_equal(tm_parse_model(&arena, &diagnostics, NULL, text, strlen(text), &model), TM_OK);
    assert_int_equal(tm_infer(model), TM_OK);
}

static const char *text_of(tm_dim dim) {
    tm_text text;
    tm_text_init(&text, &arena);
    tm_dim_print(dim, &text);
    return tm_text_get(&text);
}

/* Of the last node. */
static void costs(const char *flops, const char *bytes) {
    const tm_node *node = model->main->last;
    assert_string_equal(text_of(tm_cost_flops(model->dims, node)), flops);
    assert_string_equal(text_of(tm_cost_bytes(model->dims, node)), bytes);
}

static void products(void **state) {
    (void)state;
    parse("main(%x: f32[n, 6], %w: f32[6, 5]) {\n  %y = MatMul(%x, %w)\n  return %y\n}\n");
    costs("60*n", "44*n + 120");
    teardown(NULL);
    parse("main(%x: f32[6, n], %w: f32[6, 5]) {\n  %y = Gemm(%x, %w) {transA = 1}\n  return %y\n}\n");
    costs("60*n", "44*n + 120");
    teardown(NULL);
    parse("main(%x: f32[n, 4, 8, 8], %w: f32[6, 2, 3, 3]) {\n"
          "  %y = Conv(%x, %w) {group = 2, pads = [1, 1, 1, 1]}\n  return %y\n}\n");
    costs("13824*n", "2560*n + 432");
    teardown(NULL);
    parse("main(%q: f32[b, 2, s, 8], %k: f32[b, 2, t, 8], %v: f32[b, 2, t, 8]) {\n"
          "  %y = Attention(%q, %k, %v)\n  return %y\n}\n");
    costs("64*b*s*t", "128*b*s + 128*b*t");
}

static void recurrences(void **state) {
    (void)state;
    parse("main(%x: f32[t, b, 3], %w: f32[1, 16, 3], %r: f32[1, 16, 4]) {\n"
          "  %y = LSTM(%x, %w, %r) {hidden_size = 4}\n  return %y\n}\n");
    costs("224*b*t", "28*b*t + 448");
}

/* A table is read where it is asked; one operand twice is read once; what moves has no flops. */
static void movement(void **state) {
    (void)state;
    parse("main(%w: f32[1000, 4], %i: i64[n]) {\n  %y = Gather(%w, %i)\n  return %y\n}\n");
    costs("0", "40*n");
    teardown(NULL);
    parse("main(%x: f32[n, 4]) {\n  %y = Mul(%x, %x)\n  return %y\n}\n");
    costs("4*n", "32*n");
    teardown(NULL);
    parse("main(%x: f32[n, 4]) {\n  %y = Transpose(%x) {perm = [1, 0]}\n  return %y\n}\n");
    costs("0", "32*n");
}

static void regions(void **state) {
    (void)state;
    parse("main(%x: f32[n, 4], %w: f32[4, 4], %r: f32[n, 4]) {\n"
          "  %b = tamis.Region(%x, %w, %r) {kind = \"contract\",\n"
          "      body = r(%p: f32[n, 4], %q: f32[4, 4], %s: f32[n, 4]) {\n"
          "    %1 = MatMul(%p, %q)\n"
          "    %2 = Add(%1, %s)\n"
          "    return %2 } }\n"
          "  return %b\n}\n");
    costs("36*n", "48*n + 64");
    teardown(NULL);
    parse("main(%h0: f32[n, 7], %x: f32[t, n, 7]) {\n"
          "  %h, %y = tamis.Region(%h0, %x) {kind = \"scan\",\n"
          "      body = r(%a: f32[n, 7], %b: f32[t, n, 7]) {\n"
          "    %c, %d = Scan(%a, %b) {num_scan_inputs = 1, body = step(%i: f32[n, 7], %j: f32[n, 7]) {\n"
          "      %s = Add(%i, %j)\n"
          "      %e = Exp(%s)\n"
          "      return %s, %e } }\n"
          "    return %c, %d } }\n"
          "  return %h, %y\n}\n");
    costs("14*n*t", "56*n*t + 56*n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(products, teardown), cmocka_unit_test_teardown(recurrences, teardown),
        cmocka_unit_test_teardown(movement, teardown), cmocka_unit_test_teardown(regions, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
