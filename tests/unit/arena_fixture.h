/* SPDX-License-Identifier: Apache-2.0
 *
 * arena_fixture.h: an arena and diagnostics for each test, as its CMocka set-up and tear-down.
 */
#ifndef TM_TESTS_ARENA_FIXTURE_H
#define TM_TESTS_ARENA_FIXTURE_H

#include "base/base.h"

static tm_arena arena;
static tm_diagnostics diagnostics;

static int set_up(void **state) {
    (void)state;
    tm_arena_init(&arena);
    tm_diagnostics_init(&diagnostics, &arena);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    tm_arena_deinit(&arena);
    return 0;
}

#endif
