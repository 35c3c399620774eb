/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of schedules as data: texts and back, what is allowed, that all defaults and alternatives over a
 * class of shapes are, and what a table changes; and when a measurement counts.
 */
#include "codegen/llvm/schedule.h"
#include "compiler/tune.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static tm_arena arena;

static int setup(void **state) {
    (void)state;
    tm_arena_init(&arena);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tm_arena_deinit(&arena);
    return 0;
}

static const char *text_of(const tm_schedule *schedule) {
    tm_text text;
    tm_text_init(&text, &arena);
    tm_schedule_print(schedule, &text);
    return tm_text_get(&text);
}

static const tm_level *level_named(const char *triple, const char *suffix) {
    const tm_target *target = tm_target_find(triple);
    for (int i = 0; i < target->level_count; i++)
        if (strcmp(target->levels[i].suffix, suffix) == 0)
            return &target->levels[i];
    fail_msg("no level %s", suffix);
    return NULL;
}

static tm_scheduled product(int64_t m, int64_t k, int64_t n, int panel) {
    tm_scheduled s = {.kind = "contract", .shape = {.m = m, .n = n, .k = k, .panel = panel}};
    strcpy(s.signature, "contract");
    return s;
}

/* ---- texts ---- */

static void texts_round_trip(void **state) {
    (void)state;
    static const char *const texts[] = {"8x3+4+1 u4 128x48 d192",
                                        "6x4+2+1 u1 96x64 d128 c64",
                                        "1x2 u1 84x32",
                                        "14x2+1 u1 84x32",
                                        "32x2 a1024",
                                        "12x2+4+1 a512",
                                        "q16",
                                        "q128 k64",
                                        "14x2"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        tm_schedule schedule;
        assert_true(tm_schedule_parse(texts[i], &schedule));
        assert_string_equal(text_of(&schedule), texts[i]);
    }
}

static void other_texts_are_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"",
                                        " ",
                                        "8",
                                        "8x",
                                        "x3",
                                        "8x3 ",
                                        "8x3  u4",
                                        "8x3+",
                                        "8x3+4+2",
                                        "8x3+1+4",
                                        "8x3 u0",
                                        "8x3 u4 u4",
                                        "8x3 d-1",
                                        "8x3 z4",
                                        "8x3 u99999999999",
                                        "8x3 12x3 12x3",
                                        "q16 k8x8",
                                        "q16 t128",
                                        "\"",
                                        "8x3\n",
                                        "8x3+4+1 u4 128x48 d192 "};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        tm_schedule schedule;
        if (tm_schedule_parse(texts[i], &schedule))
            fail_msg("'%s' was taken", texts[i]);
    }
}

/* ---- what can be made ---- */

static bool allowed(const char *suffix, const tm_scheduled *region, const char *text) {
    tm_schedule schedule;
    assert_true(tm_schedule_parse(text, &schedule));
    return tm_schedule_is_allowed(level_named("x86_64-linux-gnu", suffix), region, &schedule);
}

static void products_have_bounds(void **state) {
    (void)state;
    tm_scheduled symbolic = product(0, 384, 1536, 48), known = product(33, 384, 1536, 48);
    assert_true(allowed("v4", &symbolic, "8x3+4+1 u4 128x48 d192"));
    assert_true(allowed("v4", &symbolic, "9x3+1 u1 126x48"));
    assert_false(allowed("v3", &symbolic, "8x3+4+1 u4 128x48 d192")); /* registers */
    assert_false(allowed("v4", &symbolic, "10x3+4+1 u4 120x48 d192"));
    assert_false(allowed("v4", &symbolic, "8x3+4 u4 128x48 d192"));   /* rows would be left over */
    assert_true(allowed("v4", &known, "7x3+5 u4 126x48 d192"));
    assert_false(allowed("v4", &known, "7x3+4 u4 126x48 d192"));
    assert_false(allowed("v4", &symbolic, "8x3+4+1 u4 127x48 d192")); /* no whole tiles */
    assert_false(allowed("v4", &symbolic, "8x3+4+1 u4 128x96 d192")); /* no panel */
    assert_false(allowed("v4", &symbolic, "8x2+4+1 u4 128x48 d192"));
    assert_false(allowed("v4", &symbolic, "8x3+4+1 u5 128x48 d192")); /* does not divide k */
    assert_false(allowed("v4", &symbolic, "8x3+4+1 u4 128x48 d190"));
    assert_false(allowed("v4", &symbolic, "8x3+4+1 u4 256x48 d192")); /* stack */
    assert_true(allowed("v4", &symbolic, "8x3+4+1 u1 128x48 d192 c64"));
    assert_false(allowed("v4", &symbolic, "8x3+4+1 u1 128x48 d192 c40"));
    assert_false(allowed("v4", &symbolic, "q16")); /* of another kind */
    assert_false(allowed("v4", &symbolic, "8x3"));
    assert_false(allowed("v4", &symbolic, "8x3+4+1 u4 128x48 d192 q16"));
}

static void attention_keeps_its_tiles_of_keys(void **state) {
    (void)state;
    tm_scheduled head = {.kind = "attention", .queries = -1, .keys = -1, .size = 64, .value_size = 64};
    assert_true(allowed("v4", &head, "q32"));
    assert_false(allowed("v4", &head, "q16")); /* other tiles of keys: another order of sums */
    tm_scheduled tiles = head;
    tiles.kind = "attention_tiles";
    tiles.units = true;
    assert_true(allowed("v4_amx", &tiles, "q128 k64"));
    assert_false(allowed("v4_amx", &tiles, "q128 k32"));
    assert_false(allowed("v4_amx", &tiles, "q32"));
    assert_true(allowed("v4_dot", &tiles, "q32"));
}

/* Where a word of A is one operand, nothing copies it: tiles of rows divide its bands. */
static void whole_words_are_read_in_place(void **state) {
    (void)state;
    tm_scheduled pairs = {.kind = "tiles", .units = true, .factors = TAMIS_TYPE_BFLOAT16}, bytes = pairs;
    bytes.factors = TAMIS_TYPE_UINT8;
    assert_true(allowed("v4_dot", &pairs, "8x2+4+1 a1024"));
    assert_true(allowed("v4_dot", &pairs, "12x2+4+1 a1024"));
    assert_false(allowed("v4_dot", &pairs, "10x2+4+1 a1024"));
    assert_true(allowed("v4", &pairs, "12x2+4+1 a1024"));
    assert_true(allowed("v4_vnni", &pairs, "12x2+4+1 a1024"));
    assert_false(allowed("v4_vnni", &bytes, "12x2+2+1 a1024"));
    assert_true(allowed("v3_vnni", &bytes, "6x2+4+1 a1024"));
    assert_false(allowed("v3_vnni", &bytes, "5x2+2+1 a1024"));
    assert_true(allowed("v4_vnni", &bytes, "4x2+2+1 a128"));
    assert_false(allowed("v4_vnni", &bytes, "8x3+4+1 a1024"));
    bytes.shape.k = 64;
    bytes.shape.n = 96; /* columns of three panels are two tiles of three vectors */
    assert_true(allowed("v4_vnni", &bytes, "8x3+4+1 a1024"));
    assert_true(allowed("v4_vnni", &bytes, "8x2+4+1 a1024"));
    assert_false(allowed("v3_vnni", &bytes, "6x3+4+1 a1024"));
    assert_true(allowed("v4_amx", &pairs, "32x2 a256"));
    assert_false(allowed("v4_amx", &pairs, "8x2+4+1 a1024"));
}

static void check_region(const tm_level *level, const tm_scheduled *region) {
    tm_schedule base = tm_schedule_default(level, region), again, others[TM_MOST_ALTERNATIVES];
    if (!tm_schedule_is_allowed(level, region, &base))
        fail_msg("%s at %s: the default '%s' is not allowed", region->signature, level->name, text_of(&base));
    int count = tm_schedule_alternatives(level, region, &base, others);
    assert_in_range(count, 0, TM_MOST_ALTERNATIVES);
    for (int i = 0; i <= count; i++) {
        const tm_schedule *s = i == 0 ? &base : &others[i - 1];
        assert_true(tm_schedule_parse(text_of(s), &again));
        assert_true(tm_schedule_equal(s, &again));
        assert_true(tm_schedule_is_allowed(level, region, &again));
        assert_true(i == 0 || !tm_schedule_equal(s, &base));
        for (int k = 0; k + 1 < i; k++)
            assert_false(tm_schedule_equal(s, &others[k]));
    }
}

static void check_products(const tm_level *level) {
    static const int64_t sizes[] = {0, 1, 2, 3, 7, 14, 16, 33, 48, 64, 100, 257, 384, 512, 1024, 4096};
    static const int panels[] = {0, 16, 32, 48, 64};
    enum { COUNT = sizeof(sizes) / sizeof(sizes[0]) };
    for (int m = 0; m < COUNT; m++)
        for (int k = 0; k < COUNT; k++)
            for (int n = 0; n < COUNT; n++)
                for (int p = 0; p < 5; p++) {
                    if (panels[p] > 0 && (sizes[k] == 0 || sizes[n] == 0))
                        continue;
                    tm_scheduled region = product(sizes[m], sizes[k], sizes[n], panels[p]);
                    check_region(level, &region);
                }
}

static void check_others(const tm_level *level) {
    static const int64_t lengths[] = {-1, 0, 1, 7, 16, 17, 100, 128, 200};
    static const int64_t heads[] = {1, 2, 8, 32, 64, 80, 128, 256};
    for (size_t q = 0; q < 9; q++)
        for (size_t k = 0; k < 9; k++)
            for (size_t h = 0; h < 8; h++)
                for (int units = 0; units < 2; units++)
                    check_region(level, &(tm_scheduled){.kind = units ? "attention_tiles" : "attention",
                                                        .queries = lengths[q],
                                                        .keys = lengths[k],
                                                        .size = heads[h],
                                                        .value_size = heads[(h + q) % 8],
                                                        .units = units != 0});
    for (int panel = 16; panel <= 48; panel += 16) {
        check_region(level, &(tm_scheduled){.kind = "convolution", .shape = {.panel = panel}});
        check_region(level, &(tm_scheduled){.kind = "bottleneck", .shape = {.panel = panel}});
    }
    for (int64_t taps = 1; taps <= 200; taps++)
        check_region(level, &(tm_scheduled){.kind = "window", .taps = taps});
    static const tamis_type factors[] = {TAMIS_TYPE_BFLOAT16, TAMIS_TYPE_UINT8};
    for (int i = 0; i < 2; i++)
        check_region(level, &(tm_scheduled){.kind = "tiles",
                                            .shape = {.k = 384, .n = 384},
                                            .factors = factors[i],
                                            .units = true});
}

static void defaults_and_alternatives_are_allowed(void **state) {
    (void)state;
    const tm_target *target;
    for (size_t t = 0; (target = tm_target_at(t)) != NULL; t++)
        for (int i = 0; i < target->level_count; i++) {
            check_others(&target->levels[i]);
            if (i == 0 || strcmp(target->levels[i].folder, target->levels[i - 1].folder) != 0)
                check_products(&target->levels[i]);
        }
}

/* ---- tables ---- */

static void a_table_is_looked_up(void **state) {
    (void)state;
    const tm_level *v3 = level_named(NULL, "v3"), *v4 = level_named(NULL, "v4"),
                   *amx = level_named(NULL, "v4_amx");
    tm_scheduled region = product(0, 384, 1536, 48);
    strcpy(region.signature, "contract ?x384x1536 p48");
    tm_schedule_entry entries[] = {
        {.region = "contract ?x384x1536 p48", .level = "v4", .schedule = "9x3+1 u1 126x48"},
        {.region = "contract ?x384x1536 p48", .level = "v3", .schedule = "9x3+1 u1 126x48"},
        {.region = "contract ?x384x1536", .level = "v4", .schedule = "9x3+1 u1 126x48"}};
    tm_schedule_table table = {entries, 3};
    tm_schedule found = tm_schedule_get(&table, v4, &region), chosen = tm_schedule_default(v3, &region);
    assert_string_equal(text_of(&found), "9x3+1 u1 126x48");
    assert_int_equal(found.units, tm_schedule_default(v4, &region).units); /* not varied */
    found = tm_schedule_get(&table, amx, &region); /* shares the code */
    assert_string_equal(text_of(&found), "9x3+1 u1 126x48");
    found = tm_schedule_get(&table, v3, &region);
    assert_true(tm_schedule_equal(&found, &chosen));
    assert_true(entries[0].used && !entries[0].refused && entries[1].refused && !entries[2].used);
    found = tm_schedule_get(NULL, v3, &region);
    assert_true(tm_schedule_equal(&found, &chosen));
}

/* ---- measurements ---- */

static void noise_does_not_count(void **state) {
    (void)state;
    double median;
    assert_true(tm_tune_is_faster((double[]){0.9, 0.95, 0.8, 0.9, 1.2, 0.91, 0.9}, 7, &median));
    assert_true(median > 0.89 && median < 0.92);
    assert_false(
        tm_tune_is_faster((double[]){0.9, 1.1, 0.9, 1.2, 0.9, 1.3, 0.9}, 7, &median)); /* scattered */
    assert_false(
        tm_tune_is_faster((double[]){0.99, 0.99, 0.98, 0.99, 0.99, 0.99, 0.99}, 7, &median)); /* small */
    assert_false(tm_tune_is_faster((double[]){1, 1, 1, 1, 1, 1, 1}, 7, &median));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_round_trip),
        cmocka_unit_test(other_texts_are_refused),
        cmocka_unit_test(products_have_bounds),
        cmocka_unit_test(attention_keeps_its_tiles_of_keys),
        cmocka_unit_test(whole_words_are_read_in_place),
        cmocka_unit_test(defaults_and_alternatives_are_allowed),
        cmocka_unit_test(a_table_is_looked_up),
        cmocka_unit_test(noise_does_not_count),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
