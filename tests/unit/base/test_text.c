/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of base/text.c: building, growing, and escaping of foreign bytes.
 *
 * Escaping must keep well-formed UTF-8 and show everything else byte by byte, so that a reader can undo
 * it; the cases stand at the borders of the forms (overlong, surrogate, beyond U+10FFFF, cut short).
 */
#include "base/base.h"

#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static tm_arena arena;

static int set_up(void **state) {
    (void)state;
    tm_arena_init(&arena);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    tm_arena_deinit(&arena);
    return 0;
}

static void test_empty(void **state) {
    (void)state;
    tm_text text;
    tm_text_init(&text, &arena);
    assert_null(text.data);
    assert_string_equal(tm_text_get(&text), "");
    tm_text_add_bytes(&text, NULL, 0);
    tm_text_add(&text, "%s", "");
    tm_text_add_escaped(&text, "", 0);
    assert_string_equal(tm_text_get(&text), "");
}

static void test_grows(void **state) {
    (void)state;
    tm_text text;
    tm_text_init(&text, &arena);
    char expected[4000];
    size_t length = 0;
    for (int i = 0; i < 500; i++) {
        tm_text_add(&text, "%d,", i);
        length += (size_t)snprintf(expected + length, sizeof expected - length, "%d,", i);
        assert_int_equal(text.size, length);
    }
    assert_string_equal(tm_text_get(&text), expected);
    tm_text_add_bytes(&text, "a\0b", 3);
    assert_int_equal(text.size, length + 3);
    assert_memory_equal(text.data + length, "a\0b", 4);
}

static const char *escaped(const char *data, size_t bytes) {
    tm_text text;
    tm_text_init(&text, &arena);
    tm_text_add_escaped(&text, data, bytes);
    return tm_text_get(&text);
}

#define assert_escaped(literal, expected) assert_string_equal(escaped(literal, sizeof(literal) - 1), expected)

static void test_escapes(void **state) {
    (void)state;
    assert_escaped("plain /layer.0/Add:0", "plain /layer.0/Add:0");
    assert_escaped("say \"hi\"\\\n\t", "say \\\"hi\\\"\\\\\\n\\t");
    assert_escaped("\x1b[31m\r\0\x7f", "\\x1b[31m\\x0d\\x00\\x7f");
    assert_escaped("Gr\xc3\xb6\xc3\x9f"
                   "e \xe2\x82\xac \xf0\x9f\x98\x80",
                   "Gr\xc3\xb6\xc3\x9f"
                   "e \xe2\x82\xac \xf0\x9f\x98\x80");
    assert_escaped("\xc2\x9b", "\\xc2\\x9b"); /* control above U+007F */
    assert_escaped("\xc0\xaf", "\\xc0\\xaf"); /* overlong */
    assert_escaped("\xe0\x80\xaf", "\\xe0\\x80\\xaf");
    assert_escaped("\xf0\x80\x80\xaf", "\\xf0\\x80\\x80\\xaf");
    assert_escaped("\xed\xa0\x80", "\\xed\\xa0\\x80");          /* surrogate */
    assert_escaped("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"); /* beyond U+10FFFF */
    assert_escaped("\xff", "\\xff");
    assert_escaped("\xe2\x82", "\\xe2\\x82"); /* cut short */
    assert_escaped("\xe2"
                   "ab",
                   "\\xe2"
                   "ab");
}

static void test_printable_keeps_quotes_and_lines(void **state) {
    (void)state;
    tm_text text;
    tm_text_init(&text, &arena);
    const char *message = "no \"x\" in a\\b\nsecond\x1b line";
    tm_text_add_printable(&text, message, strlen(message));
    assert_string_equal(tm_text_get(&text), "no \"x\" in a\\b\n    second\\x1b line");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_grows),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_printable_keeps_quotes_and_lines),
    };
    return cmocka_run_group_tests_name("base/text", tests, set_up, tear_down);
}
