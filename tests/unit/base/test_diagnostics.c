/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of base/diagnostics.c and base/status.c: the printed form, copying, and the list of errors.
 *
 * The messages are part of the command's interface, so their exact text is compared.
 */
#include "base/base.h"
#include "tests/unit/arena_fixture.h"

#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *printed_last(void) {
    tm_text text;
    tm_text_init(&text, &arena);
    tm_diagnostic_print(&diagnostics.list.items[diagnostics.list.count - 1], &text);
    return tm_text_get(&text);
}

static void test_full_place(void **state) {
    (void)state;
    char name[] = "/layer/Add\x1b";
    tm_place place = {.file = "model.onnx",
                      .path = "main/Loop_3.body",
                      .node_index = 3,
                      .op = "Add",
                      .node = name,
                      .tensor = "a\"b"};
    tm_code code = tm_report_mismatch(&diagnostics, TM_E_SHAPE, &place, "check axis", "[batch,4]",
                                      "[batch,5]", "dims of %s do not fit", "x");
    assert_int_equal(code, TM_E_SHAPE);
    memset(name, 'z', sizeof name - 1);
    assert_string_equal(printed_last(), "model.onnx:main/Loop_3.body:node 3:Add '/layer/Add\\x1b':tensor "
                                        "'a\\\"b': error E0111: dims of x do not fit\n"
                                        "    expected [batch,4]\n"
                                        "    found    [batch,5]\n"
                                        "    hint: check axis\n");
}

static void test_text_place(void **state) {
    (void)state;
    tm_place place = {.file = "case.ir", .line = 12, .column = 7, .node_index = -1};
    assert_int_equal(tm_report(&diagnostics, TM_E_TEXT, &place, NULL, "unknown word"), TM_E_TEXT);
    assert_string_equal(printed_last(), "case.ir:12:7: error E0113: unknown word\n");
}

static void test_nameless_node(void **state) {
    (void)state;
    tm_place place = {.file = "m.onnx", .path = "main", .node_index = 12, .op = "Gather", .node = ""};
    assert_int_equal(tm_report(&diagnostics, TM_E_SHAPE, &place, NULL, "x"), TM_E_SHAPE);
    assert_string_equal(printed_last(), "m.onnx:main:node 12:Gather: error E0111: x\n");
}

static void test_no_place(void **state) {
    (void)state;
    assert_int_equal(tm_report(&diagnostics, TM_E_LINK, NULL, NULL, "ld.lld: a\nld.lld: b"), TM_E_LINK);
    assert_string_equal(printed_last(), "error E0301: ld.lld: a\n    ld.lld: b\n");
    tm_place zeros = {0};
    assert_int_equal(tm_report(&diagnostics, TM_E_LINK, &zeros, NULL, "x"), TM_E_LINK);
    assert_string_equal(printed_last(), "error E0301: x\n");
}

static void test_keeps_order(void **state) {
    (void)state;
    size_t before = diagnostics.list.count;
    for (int i = 0; i < 20; i++)
        (void)tm_report(&diagnostics, TM_E_UNSUPPORTED_OP, NULL, NULL, "%d", i);
    assert_int_equal(diagnostics.list.count, before + 20);
    assert_string_equal(diagnostics.list.items[before + 7].message, "7");
}

static void test_error_list(void **state) {
    (void)state;
    int count = 0;
    for (tm_code code = tm_code_next(TM_OK); code != TM_OK; code = tm_code_next(code)) {
        int exit_code = tm_code_exit(code);
        assert_true(strlen(tm_code_title(code)) > 3);
        assert_true(strlen(tm_code_text(code)) > 20);
        assert_true(exit_code == 1 || exit_code == 2 || exit_code == 65 || exit_code == 66 ||
                    exit_code == 69 || exit_code == 70 || exit_code == 73 || exit_code == 74);
        assert_true(++count < 1000);
    }
    assert_true(count > 20);
    assert_string_equal(tm_code_title(TM_OK), "ok");
    assert_int_equal(tm_code_exit(TM_OK), 0);
    assert_int_equal(tm_code_exit(TM_E_USAGE), 2);
    assert_string_equal(tm_code_title((tm_code)9999), "unknown error");
    assert_int_equal(tm_code_exit((tm_code)9999), 70);
    assert_int_equal(tm_code_next((tm_code)9999), TM_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_place), cmocka_unit_test(test_text_place),
        cmocka_unit_test(test_no_place),   cmocka_unit_test(test_keeps_order),
        cmocka_unit_test(test_error_list), cmocka_unit_test(test_nameless_node),
    };
    return cmocka_run_group_tests_name("base/diagnostics", tests, set_up, tear_down);
}
