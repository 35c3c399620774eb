/* SPDX-License-Identifier: Apache-2.0
 *
 * The text cases of tests/ir: NAME.ir must parse and its print must be a fixed point of parse and print;
 * NAME.bad.ir must be refused with the diagnostics in NAME.err.
 */
#include "ir/text.h"
#include "tests/unit/cases.h"

#include <setjmp.h>

#include <cmocka.h>

#define FOLDER "tests/ir"

static const char *print(tm_arena *arena, const tm_model *model) {
    tm_text text;
    tm_text_init(&text, arena);
    tm_print_model(model, 0, &text);
    return tm_text_get(&text);
}

static tm_model *parse(tm_arena *arena, tm_diagnostics *diagnostics, const char *name, const char *text) {
    tm_model *model = NULL;
    if (tm_parse_model(arena, diagnostics, name, text, strlen(text), &model) != TM_OK)
        return NULL;
    return model;
}

static bool check_good(tm_arena *arena, const char *name) {
    tm_diagnostics diagnostics;
    tm_diagnostics_init(&diagnostics, arena);
    tm_model *model = parse(arena, &diagnostics, name, case_read(arena, case_path(arena, FOLDER, name)));
    const char *once = model == NULL ? NULL : print(arena, model);
    tm_model *again = once == NULL ? NULL : parse(arena, &diagnostics, name, once);
    bool good = again != NULL && strcmp(print(arena, again), once) == 0;
    if (!good)
        printf("%s does not round-trip:\n%s%s\n", name, case_diagnostics(arena, &diagnostics),
               once == NULL ? "" : once);
    return good;
}

static bool check_bad(tm_arena *arena, const char *name) {
    tm_diagnostics diagnostics;
    tm_diagnostics_init(&diagnostics, arena);
    if (parse(arena, &diagnostics, name, case_read(arena, case_path(arena, FOLDER, name))) != NULL) {
        printf("%s is not refused\n", name);
        return false;
    }
    const char *stem = case_stem(arena, name, ".bad.ir");
    return case_check(arena, case_path(arena, FOLDER, tm_arena_format(arena, "%s.err", stem)),
                      case_diagnostics(arena, &diagnostics));
}

static void text_cases(void **state) {
    (void)state;
    tm_arena arena;
    tm_arena_init(&arena);
    int good = 0, bad = 0, failed = 0;
    for (const char **name = case_list(&arena, FOLDER); *name != NULL; name++) {
        if (case_ends_with(*name, ".bad.ir")) {
            failed += !check_bad(&arena, *name);
            bad++;
        } else if (case_ends_with(*name, ".ir")) {
            failed += !check_good(&arena, *name);
            good++;
        }
    }
    tm_arena_deinit(&arena);
    assert_int_equal(failed, 0);
    assert_true(good > 0 && bad > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(text_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
