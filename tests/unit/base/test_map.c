/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of base/map.c: finding, replacing, removing, and insertion order under growth.
 *
 * A long random walk of sets and removals is compared with a plain array as the model, which is
 * also what decides the order of iteration.
 */
#include "base/base.h"

#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_empty(void **state) {
    (void)state;
    tm_arena arena;
    tm_arena_init(&arena);
    tm_map map;
    tm_map_init(&map, &arena);
    assert_null(tm_map_get(&map, "x"));
    assert_false(tm_map_has(&map, ""));
    tm_map_remove(&map, "x");
    assert_int_equal(map.count, 0);
    tm_arena_deinit(&arena);
}

static void test_set_replace_remove(void **state) {
    (void)state;
    tm_arena arena;
    tm_arena_init(&arena);
    tm_map map;
    tm_map_init(&map, &arena);
    int one, two;
    char key[] = "key";
    tm_map_set(&map, key, &one);
    key[0] = 'K';
    assert_ptr_equal(tm_map_get(&map, "key"), &one);
    assert_false(tm_map_has(&map, "Key"));
    tm_map_set(&map, "key", &two);
    assert_int_equal(map.count, 1);
    assert_ptr_equal(tm_map_get(&map, "key"), &two);
    tm_map_set(&map, "null", NULL);
    assert_true(tm_map_has(&map, "null"));
    tm_map_set(&map, "", &one);
    assert_ptr_equal(tm_map_get(&map, ""), &one);
    tm_map_remove(&map, "key");
    assert_false(tm_map_has(&map, "key"));
    assert_null(map.entries[0].key);
    assert_null(map.entries[0].value);
    tm_map_set(&map, "key", &one);
    assert_string_equal(map.entries[map.count - 1].key, "key");
    tm_arena_deinit(&arena);
}

enum { KEYS = 300, STEPS = 5000 };

static void test_random_walk(void **state) {
    (void)state;
    static int values[KEYS];
    static int order[STEPS];
    static bool present[KEYS];
    memset(present, 0, sizeof present);
    size_t order_count = 0;
    tm_arena arena;
    tm_arena_init(&arena);
    tm_map map;
    tm_map_init(&map, &arena);
    uint32_t random = 1;
    for (int step = 0; step < STEPS; step++) {
        random = random * 1664525u + 1013904223u;
        int k = (int)((random >> 8) % KEYS);
        char key[16];
        snprintf(key, sizeof key, "k%d", k);
        if ((random >> 28) < 5) {
            tm_map_remove(&map, key);
            for (size_t i = 0; present[k] && i < order_count; i++)
                if (order[i] == k)
                    order[i] = -1;
            present[k] = false;
        } else {
            tm_map_set(&map, key, &values[k]);
            if (!present[k])
                order[order_count++] = k;
            present[k] = true;
        }
        assert_int_equal(tm_map_has(&map, key), present[k]);
    }
    assert_int_equal(map.count, order_count);
    for (size_t i = 0; i < order_count; i++)
        assert_ptr_equal(map.entries[i].value, order[i] < 0 ? NULL : &values[order[i]]);
    for (int k = 0; k < KEYS; k++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", k);
        assert_ptr_equal(tm_map_get(&map, key), present[k] ? &values[k] : NULL);
    }
    tm_arena_deinit(&arena);
}

static void test_hash(void **state) {
    (void)state;
    /* XXH3's published value for no bytes and seed 0: artifacts store such hashes, so it must not drift. */
    assert_true(tm_hash_bytes(NULL, 0, 0) == 0x2d06800538d394c2u);
    assert_true(tm_hash_bytes("a", 1, 0) != tm_hash_bytes("b", 1, 0));
    assert_true(tm_hash_bytes("a", 1, 0) != tm_hash_bytes("a", 1, 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_set_replace_remove),
        cmocka_unit_test(test_random_walk),
        cmocka_unit_test(test_hash),
    };
    return cmocka_run_group_tests_name("base/map", tests, NULL, NULL);
}
