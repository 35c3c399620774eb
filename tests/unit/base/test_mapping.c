/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of base/mapping.c: copies say what was copied, wherever they are, and pages that went back come
 * again.
 */
#include "base/mapping.h"
#include "tests/unit/arena_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)

static uint8_t *noise(size_t bytes, unsigned seed) {
    uint8_t *data = malloc(bytes);
    assert_non_null(data);
    for (size_t i = 0; i < bytes; i++) {
        seed = seed * 1664525u + 1013904223u;
        data[i] = (uint8_t)(seed >> 24);
    }
    return data;
}

/* Bytes of files that are in the process's memory now. */
static size_t resident(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long size, pages, shared;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu %lu", &size, &pages, &shared), 3);
    fclose(file);
    return shared * (size_t)sysconf(_SC_PAGESIZE);
}

static const void *copy_is_right(tm_mappings *mappings, const uint8_t *data, size_t bytes) {
    const void *copy = tm_mappings_copy(&arena, mappings, data, bytes);
    assert_int_equal((uintptr_t)copy % 16, 0);
    assert_memory_equal(copy, data, bytes);
    return copy;
}

/* Small ones, some of odd sizes, and two that do not fit into one window. */
static void copies_of_all_sizes(tm_mappings *mappings) {
    static const size_t sizes[] = {0,      1,        1000, 64 << 10, (64 << 10) + 1,
                                   300001, 40 << 20, 100,  30 << 20, 70000};
    const size_t count = sizeof sizes / sizeof *sizes;
    uint8_t *data[sizeof sizes / sizeof *sizes];
    const void *copies[sizeof sizes / sizeof *sizes];
    for (size_t i = 0; i < count; i++) {
        data[i] = noise(sizes[i] + 3, (unsigned)i);
        copies[i] = copy_is_right(mappings, data[i] + 3, sizes[i]);
    }
    tm_mappings_release(mappings);
    for (size_t i = 0; i < count; i++) {
        assert_memory_equal(copies[i], data[i] + 3, sizes[i]);
        free(data[i]);
    }
}

static void test_copies_in_a_file(void **state) {
    (void)state;
    tm_mappings mappings = {0};
    copies_of_all_sizes(&mappings);
    assert_false(mappings.full);
    assert_true(mappings.copied > 70 * MIB);
    assert_int_equal(mappings.list.count, 2);
}

static void test_copies_without_a_file(void **state) {
    (void)state;
    tm_mappings mappings = {0};
    const char *before = getenv("TMPDIR");
    char *folder = before != NULL ? tm_arena_string(&arena, before) : NULL;
    setenv("TMPDIR", "/nonexistent", 1);
    copies_of_all_sizes(&mappings);
    assert_true(mappings.full);
    assert_int_equal(mappings.list.count, 0);
    if (folder != NULL)
        setenv("TMPDIR", folder, 1);
    else
        unsetenv("TMPDIR");
}

/* A disk that is full: writing to this file fails. */
static void test_no_room_in_the_file(void **state) {
    (void)state;
    uint8_t *data = noise(2 * MIB, 1);
    tm_mappings mappings = {0};
    const void *first = copy_is_right(&mappings, data, MIB);
    int full = open("/dev/full", O_WRONLY);
    assert_true(full >= 0);
    assert_true(dup2(full, mappings.copies->descriptor) >= 0);
    close(full);
    copy_is_right(&mappings, data + MIB, MIB);
    assert_true(mappings.full);
    copy_is_right(&mappings, data, 2 * MIB);
    assert_memory_equal(first, data, MIB);
    free(data);
}

static void test_pages_go_back(void **state) {
    (void)state;
    uint8_t *data = noise(32 * MIB, 2);
    tm_mappings mappings = {0};
    const uint8_t *copy = tm_mappings_copy(&arena, &mappings, data, 32 * MIB);
    size_t before = resident(), most = 0;
    for (size_t at = 0; at < 32 * MIB; at += MIB) {
        assert_memory_equal(copy + at, data + at, MIB);
        tm_mappings_note_read(&mappings, MIB);
        most = resident() > most ? resident() : most;
    }
    assert_true(most < before + 8 * MIB);
    assert_memory_equal(copy, data, 32 * MIB);
    assert_true(resident() > before + 24 * MIB);
    tm_mappings_release(&mappings);
    assert_true(resident() < before + MIB);
    free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_copies_in_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_copies_without_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_room_in_the_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pages_go_back, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
