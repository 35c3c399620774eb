/* SPDX-License-Identifier: Apache-2.0
 *
 * The default host's threads: all indices once, cuts at the grain, the lowest failure, nested calls,
 * several callers at once, and a child after fork; and the even tasks of regions.
 */
#include "tamis/runtime.h"
#include "runtime/runtime_internal.h"
#include "runtime/support.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { COUNT = 1000, GRAIN = 16 };

typedef struct job {
    _Atomic int seen[COUNT];
    _Atomic int calls, bad_cuts;
    int64_t fail_from;
} job;

static int32_t visit(void *argument, int64_t begin, int64_t end) {
    job *j = argument;
    j->calls++;
    if (begin % GRAIN != 0 || (end % GRAIN != 0 && end != COUNT))
        j->bad_cuts++;
    for (int64_t i = begin; i < end; i++) {
        j->seen[i]++;
        if (j->fail_from >= 0 && i >= j->fail_from)
            return (int32_t)i;
    }
    return 0;
}

static int32_t run(job *j, int64_t fail_from) {
    memset(j, 0, sizeof *j);
    j->fail_from = fail_from;
    const tamis_host *host = tamis_default_host();
    return host->parallel_for(host->user, COUNT, GRAIN, visit, j);
}

static bool all_seen_once(job *j) {
    for (int i = 0; i < COUNT; i++)
        if (j->seen[i] != 1)
            return false;
    return true;
}

static void covers_everything_once(void **state) {
    (void)state;
    static job j;
    for (int threads = 1; threads <= 8; threads++) {
        tamis_set_threads(threads);
        for (int k = 0; k < 200; k++) {
            assert_int_equal(run(&j, -1), 0);
            assert_true(all_seen_once(&j));
            assert_int_equal(j.bad_cuts, 0);
            assert_true(j.calls >= 1 && j.calls <= threads);
        }
    }
    tamis_set_threads(0);
}

/* What the body of a region gets, and what this test hands through it. */
typedef struct region_argument {
    tm_run *run;
    const tm_call *call;
} region_argument;

typedef struct region_count {
    _Atomic int64_t units, most, calls;
} region_count;

static int32_t count_units(void *argument, int64_t begin, int64_t end) {
    region_count *found = (void *)(uintptr_t)((region_argument *)argument)->call;
    int64_t size = end - begin;
    found->units += size;
    found->calls++;
    for (int64_t most = found->most; size > most && !atomic_compare_exchange_weak(&found->most, &most, size);)
        continue;
    return 0;
}

static void regions_are_cut_evenly(void **state) {
    (void)state;
    tm_run run = {.host = tamis_default_host()};
    tamis_set_threads(2);
    for (int64_t count = 0; count <= 100; count++)
        for (int64_t grain = 1; grain <= 20; grain++) {
            region_count found = {.units = 0};
            assert_int_equal(tm_region_parallel(&run, (const void *)&found, count, grain, count_units), 0);
            assert_int_equal(found.units, count);
            assert_int_equal(found.calls, count == 0 ? 0 : count <= grain ? 1 : 2);
            assert_int_equal(found.most, count <= grain ? count : (count + 1) / 2);
        }
    tamis_set_threads(0);
}

static void lowest_failure_wins(void **state) {
    (void)state;
    static job j;
    tamis_set_threads(4);
    for (int k = 0; k < 100; k++)
        assert_int_equal(run(&j, 300), 300);
    tamis_set_threads(0);
}

static int32_t nested_body(void *argument, int64_t begin, int64_t end) {
    job *j = argument;
    for (int64_t i = begin; i < end; i++) {
        const tamis_host *host = tamis_default_host();
        if (i == 0 || i == end - 1)
            host->parallel_for(host->user, 1, 1, visit, j);
    }
    return 0;
}

static void nested_calls_run_inline(void **state) {
    (void)state;
    static job j;
    memset(&j, 0, sizeof j);
    j.fail_from = -1;
    tamis_set_threads(4);
    const tamis_host *host = tamis_default_host();
    assert_int_equal(host->parallel_for(host->user, 64, 1, nested_body, &j), 0);
    assert_true(j.seen[0] >= 1);
    tamis_set_threads(0);
}

static void *caller(void *argument) {
    static _Thread_local job j;
    _Atomic int *failures = argument;
    for (int k = 0; k < 300; k++)
        if (run(&j, -1) != 0 || !all_seen_once(&j))
            (*failures)++;
    return NULL;
}

static void callers_do_not_wait_for_each_other(void **state) {
    (void)state;
    pthread_t threads[4];
    _Atomic int failures = 0;
    tamis_set_threads(3);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, caller, &failures), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(failures, 0);
    tamis_set_threads(0);
}

#if defined(__has_feature)
#if __has_feature(thread_sanitizer) /* it does not allow new threads after fork */
#define SKIP_FORK
#endif
#endif

static void works_in_a_child(void **state) {
    (void)state;
#ifdef SKIP_FORK
    skip();
#endif
    static job j;
    tamis_set_threads(4);
    assert_int_equal(run(&j, -1), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(20);
        int good = run(&j, -1) == 0 && all_seen_once(&j) && j.calls > 1;
        _exit(good ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(run(&j, -1), 0);
    assert_true(all_seen_once(&j));
    tamis_set_threads(0);
}

static void memory_is_aligned(void **state) {
    (void)state;
    const tamis_host *host = tamis_default_host();
    for (size_t bytes = 0; bytes < 300; bytes += 7) {
        void *memory = host->allocate(host->user, bytes);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % TAMIS_ALIGNMENT, 0);
        memset(memory, 1, bytes);
        host->release(host->user, memory, bytes);
    }
    assert_null(host->allocate(host->user, SIZE_MAX - 3));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(covers_everything_once),  cmocka_unit_test(lowest_failure_wins),
        cmocka_unit_test(regions_are_cut_evenly),
        cmocka_unit_test(nested_calls_run_inline), cmocka_unit_test(callers_do_not_wait_for_each_other),
        cmocka_unit_test(works_in_a_child),        cmocka_unit_test(memory_is_aligned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
