/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of base/arena.c and base/vector.c: alignment, zeroing, clean-up order, and running out of memory.
 *
 * Memory runs out by the arena's limit, at every possible allocation in turn: the work is repeated
 * with a limit that rises until it succeeds, and each failure must arrive at the recovery point
 * with everything registered released.
 */
#include "base/base.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_alignment_and_zero(void **state) {
    (void)state;
    tm_arena arena;
    tm_arena_init(&arena);
    for (size_t bytes = 0; bytes < 3000; bytes += 7) {
        unsigned char *memory = tm_arena_alloc(&arena, bytes);
        assert_int_equal((uintptr_t)memory % 16, 0);
        for (size_t i = 0; i < bytes; i++)
            assert_int_equal(memory[i], 0);
        memset(memory, 0xff, bytes);
    }
    unsigned char *large = tm_arena_alloc(&arena, 5 << 20);
    large[0] = large[(5 << 20) - 1] = 1;
    tm_arena_deinit(&arena);
    assert_null(arena.blocks);
    assert_int_equal(arena.allocated, 0);
}

static void test_allocations_do_not_overlap(void **state) {
    (void)state;
    tm_arena arena;
    tm_arena_init(&arena);
    enum { COUNT = 500 };
    unsigned char *memory[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        size_t bytes = i % 17 == 0 ? 40000 : i + 1;
        memory[i] = tm_arena_alloc(&arena, bytes);
        memset(memory[i], (int)(i & 0xff), bytes);
    }
    for (size_t i = 0; i < COUNT; i++) {
        size_t bytes = i % 17 == 0 ? 40000 : i + 1;
        assert_int_equal(memory[i][0], i & 0xff);
        assert_int_equal(memory[i][bytes - 1], i & 0xff);
    }
    tm_arena_deinit(&arena);
}

static void test_strings(void **state) {
    (void)state;
    tm_arena arena;
    tm_arena_init(&arena);
    assert_string_equal(tm_arena_string(&arena, "abc"), "abc");
    assert_string_equal(tm_arena_string_n(&arena, "abcdef", 2), "ab");
    assert_string_equal(tm_arena_string_n(&arena, NULL, 0), "");
    assert_string_equal(tm_arena_format(&arena, "%s-%d", "x", 42), "x-42");
    assert_memory_equal(tm_arena_copy(&arena, "a\0b", 3), "a\0b", 3);
    assert_non_null(tm_arena_copy(&arena, NULL, 0));
    tm_arena_deinit(&arena);
}

typedef struct cleanup_note {
    char **cursor;
    char letter;
} cleanup_note;

static void append(void *argument) {
    cleanup_note *note = argument;
    *(*note->cursor)++ = note->letter;
}

static void test_cleanups_run_newest_first(void **state) {
    (void)state;
    char order[4] = {0};
    char *cursor = order;
    cleanup_note notes[3] = {{&cursor, 'a'}, {&cursor, 'b'}, {&cursor, 'c'}};
    tm_arena arena;
    tm_arena_init(&arena);
    for (int i = 0; i < 3; i++)
        tm_arena_on_destroy(&arena, append, &notes[i]);
    tm_arena_deinit(&arena);
    assert_string_equal(order, "cba");
}

static void count_down(void *argument) {
    --*(int *)argument;
}

/* A small piece of work of many allocations; `open` counts resources not yet released. */
static void work(tm_arena *arena, int *open) {
    TM_VECTOR(int) numbers = {0};
    for (int i = 0; i < 100; i++)
        tm_push(arena, &numbers, i);
    ++*open;
    tm_arena_on_destroy(arena, count_down, open);
    tm_map map;
    tm_map_init(&map, arena);
    for (size_t i = 0; i < numbers.count; i++)
        tm_map_set(&map, tm_arena_format(arena, "key %d", numbers.items[i]), arena);
    tm_text text;
    tm_text_init(&text, arena);
    for (size_t i = 0; i < map.count; i++)
        tm_text_add(&text, "%s,", map.entries[i].key);
    ++*open;
    tm_arena_on_destroy(arena, count_down, open);
    tm_diagnostics diagnostics;
    tm_diagnostics_init(&diagnostics, arena);
    (void)tm_report(&diagnostics, TM_E_SHAPE, NULL, "hint", "message %d", 1);
}

static bool succeeds_within(size_t limit) {
    int open = 0;
    tm_arena arena;
    tm_arena_init(&arena);
    arena.limit = limit;
    arena.has_recovery = true;
    bool done = false;
    if (setjmp(arena.recovery) == 0) {
        work(&arena, &open);
        done = true;
    }
    assert_true(limit == 0 || arena.allocated <= limit);
    tm_arena_deinit(&arena);
    assert_int_equal(open, 0);
    return done;
}

static void test_every_failing_allocation(void **state) {
    (void)state;
    size_t limit = 16;
    int failures = 0;
    while (!succeeds_within(limit)) {
        limit += 16;
        failures++;
    }
    assert_true(failures > 100);
    assert_true(succeeds_within(0));
}

static void test_sizes_that_overflow(void **state) {
    (void)state;
    tm_arena arena;
    volatile int jumps = 0;
    volatile int attempt = 0;
    tm_arena_init(&arena);
    arena.has_recovery = true;
    if (setjmp(arena.recovery) != 0)
        jumps++;
    volatile size_t huge = SIZE_MAX;
    switch (attempt++) {
    case 0:
        tm_arena_alloc_array(&arena, huge / 2, 3);
        break;
    case 1:
        tm_arena_alloc(&arena, huge - 3);
        break;
    case 2:
        tm_arena_string_n(&arena, "", huge);
        break;
    case 3: {
        size_t capacity = huge / 2 + 1;
        tm_vector_grow(&arena, NULL, 0, &capacity, 1);
        break;
    }
    default:
        break;
    }
    assert_int_equal(jumps, 4);
    tm_arena_deinit(&arena);
}

static void test_checked_arithmetic(void **state) {
    (void)state;
    size_t size = 7;
    int64_t number = 7;
    assert_false(tm_add_size(SIZE_MAX, 1, &size));
    assert_false(tm_mul_size(SIZE_MAX, 2, &size));
    assert_true(tm_add_size(2, 3, &size) && size == 5);
    assert_true(tm_mul_size(SIZE_MAX, 1, &size) && size == SIZE_MAX);
    assert_false(tm_add_i64(INT64_MAX, 1, &number));
    assert_false(tm_sub_i64(INT64_MIN, 1, &number));
    assert_false(tm_mul_i64(INT64_MIN, -1, &number));
    assert_true(tm_sub_i64(2, 5, &number) && number == -3);
    assert_true(tm_add_i64(-2, 5, &number) && number == 3);
    assert_true(tm_mul_i64(-2, 5, &number) && number == -10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alignment_and_zero),
        cmocka_unit_test(test_allocations_do_not_overlap),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_cleanups_run_newest_first),
        cmocka_unit_test(test_every_failing_allocation),
        cmocka_unit_test(test_sizes_that_overflow),
        cmocka_unit_test(test_checked_arithmetic),
    };
    return cmocka_run_group_tests_name("base/arena", tests, NULL, NULL);
}
