/* SPDX-License-Identifier: Apache-2.0
 *
 * infer_test.h: a small model as text, and what inference makes of it as text: what the test's `describe`
 * writes, or the code of the failure.
 *
 *     wrong += infer_differs("b, 4", describe, "main(%s) {\n%s\nreturn %%y\n}\n", inputs, body);
 */
#ifndef TESTS_UNIT_OPS_INFER_TEST_H
#define TESTS_UNIT_OPS_INFER_TEST_H

#include "ir/infer.h"
#include "ir/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Writes what a test compares of a model whose inference succeeded. */
typedef void (*infer_describe)(tm_model *model, tm_text *text);

/* dims: "b, n, 4" */
static inline void infer_add_dims(const tm_value *value, tm_text *text) {
    for (int i = 0; i < value->rank; i++) {
        tm_text_add(text, "%s", i == 0 ? "" : ", ");
        tm_dim_print(value->dims[i], text);
    }
}

/* known elements: " | 2, n" */
static inline void infer_add_elements(const tm_value *value, tm_text *text) {
    for (int64_t i = 0; value->elements != NULL && i < value->element_count; i++) {
        tm_text_add(text, "%s", i == 0 ? " | " : ", ");
        tm_dim_print(value->elements[i], text);
    }
}

/* 1 and a message if the result is another one, else 0. Inference runs twice: the second time finds the same.
 */
TM_PRINTF(3, 4)
static inline int infer_differs(const char *want, infer_describe describe, const char *format, ...) {
    char source[4096];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(source, sizeof source, format, arguments);
    va_end(arguments);
    assert_in_range(length, 1, sizeof source - 1);
    tm_arena arena;
    tm_diagnostics diagnostics = {0};
    tm_text text, messages;
    tm_model *model = NULL;
    tm_arena_init(&arena);
    tm_diagnostics_init(&diagnostics, &arena);
    tm_text_init(&text, &arena);
    tm_text_init(&messages, &arena);
    tm_code code = tm_parse_model(&arena, &diagnostics, "example", source, (size_t)length, &model);
    for (int i = 0; i < 2 && code == TM_OK; i++)
        code = tm_infer(model);
    if (code == TM_OK)
        code = tm_verify(model);
    if (code == TM_OK)
        describe(model, &text);
    else
        tm_text_add(&text, "E%d", (int)code);
    int differs = strcmp(tm_text_get(&text), want) != 0;
    for (size_t i = 0; i < diagnostics.list.count; i++)
        tm_diagnostic_print(&diagnostics.list.items[i], &messages);
    if (differs)
        print_error("%s  expected %s\n  found    %s\n%s", source, want, tm_text_get(&text),
                    tm_text_get(&messages));
    tm_arena_deinit(&arena);
    return differs;
}

#endif
