/* SPDX-License-Identifier: Apache-2.0
 *
 * Sessions on the artifact written by hand: answers, refusals, the caller's memory, and that a second run
 * with the same dims allocates nothing.
 */
#include "tests/unit/runtime/artifact_by_hand.c"
#include "runtime/runtime_internal.h"
#include "tamis/runtime.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

typedef struct counter {
    int allocations, live;
    int fail_at; /* the allocation with this number fails; 0: none */
} counter;

static void *count_allocate(void *user, size_t bytes) {
    counter *c = user;
    c->allocations++;
    if (c->allocations == c->fail_at)
        return NULL;
    c->live++;
    return aligned_alloc(TAMIS_ALIGNMENT, (bytes + 63) / 64 * 64);
}

static void count_release(void *user, void *memory, size_t bytes) {
    counter *c = user;
    (void)bytes;
    c->live--;
    free(memory);
}

static int32_t run_inline(void *user, int64_t count, int64_t grain, int32_t (*body)(void *, int64_t, int64_t),
                          void *arg) {
    (void)user;
    (void)grain;
    return body(arg, 0, count);
}

typedef struct fixture {
    counter counter;
    tamis_host host;
    tamis_model *model;
    tamis_session *session;
    tamis_error error;
} fixture;

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    if (f == NULL)
        return -1;
    f->host = (tamis_host){&f->counter, count_allocate, count_release, run_inline, NULL};
    tamis_session_options options;
    tamis_session_options_init(&options);
    options.host = &f->host;
    *state = f;
    hand_prepares = 0;
    return tamis_model_create(&hand_artifact, &f->model, &f->error) ||
           tamis_session_create(f->model, &options, &f->session, &f->error);
}

static int teardown(void **state) {
    fixture *f = *state;
    tamis_session_destroy(f->session);
    tamis_model_destroy(f->model);
    int live = f->counter.live;
    free(f);
    return live;
}

static int set_x(fixture *f, int64_t batch, const float *x) {
    return tamis_session_set_input(f->session, 0, TAMIS_TYPE_FLOAT, 2, (int64_t[]){batch, 4}, x, &f->error);
}

static void gives_the_sum_and_a_late_output(void **state) {
    fixture *f = *state;
    const float x[8] = {0, 1, 2, 3, 4, 5, 6, -7};
    assert_int_equal(set_x(f, 2, x), 0);
    assert_int_equal(tamis_session_run(f->session, &f->error), 0);
    const tamis_tensor *y = tamis_session_output(f->session, 0), *big = tamis_session_output(f->session, 1);
    assert_int_equal(y->rank, 2);
    assert_int_equal(y->dims[0], 2);
    for (int i = 0; i < 8; i++)
        assert_true(((const float *)y->data)[i] == x[i] + 1);
    assert_int_equal(big->dims[0], 5);
    assert_true(((const float *)big->data)[0] == 3);
    assert_null(tamis_session_output(f->session, 2));
}

static void second_run_allocates_nothing(void **state) {
    fixture *f = *state;
    const float x[8] = {5, 5, 5, 5, 5, 5, 5, 5}, z[8] = {0};
    assert_int_equal(set_x(f, 2, x), 0);
    assert_int_equal(tamis_session_run(f->session, &f->error), 0);
    int before = f->counter.allocations;
    assert_int_equal(set_x(f, 2, z), 0);
    assert_int_equal(tamis_session_run(f->session, &f->error), 0);
    assert_int_equal(f->counter.allocations, before);
    assert_int_equal(hand_prepares, 1);
    assert_true(((const float *)tamis_session_output(f->session, 0)->data)[0] == 1);
    assert_int_equal(set_x(f, 1, z), 0); /* other dims: computed anew, in the memory there is */
    assert_int_equal(tamis_session_run(f->session, &f->error), 0);
    assert_int_equal(f->counter.allocations, before);
    assert_int_equal(hand_prepares, 2);
    assert_int_equal(tamis_session_output(f->session, 0)->dims[0], 1);
}

static void refuses_inputs_that_do_not_fit(void **state) {
    fixture *f = *state;
    const float x[12] = {0};
    tamis_session *s = f->session;
    assert_int_equal(tamis_session_run(s, &f->error), TM_HOST_USAGE); /* not set */
    assert_non_null(strstr(f->error.message, "'x' is not set"));
    assert_int_equal(tamis_session_set_input(s, 0, TAMIS_TYPE_DOUBLE, 2, (int64_t[]){1, 4}, x, &f->error),
                     TM_HOST_RUN);
    assert_non_null(strstr(f->error.message, "expected f32[batch, 4]"));
    assert_non_null(strstr(f->error.message, "found    f64[1, 4]"));
    assert_int_equal(tamis_session_set_input(s, 0, TAMIS_TYPE_FLOAT, 1, (int64_t[]){4}, x, &f->error),
                     TM_HOST_RUN);
    assert_int_equal(tamis_session_set_input(s, 0, TAMIS_TYPE_FLOAT, 2, (int64_t[]){1, 5}, x, &f->error),
                     TM_HOST_RUN);
    assert_non_null(strstr(f->error.message, "wrong dims"));
    assert_int_equal(tamis_session_set_input(s, 0, TAMIS_TYPE_FLOAT, 2, (int64_t[]){-1, 4}, x, &f->error),
                     TM_HOST_RUN);
    assert_int_equal(
        tamis_session_set_input(s, 0, TAMIS_TYPE_FLOAT, 2, (int64_t[]){INT64_MAX, 4}, x, &f->error),
        TM_HOST_RUN);
    assert_int_equal(tamis_session_set_input(s, 1, TAMIS_TYPE_FLOAT, 2, (int64_t[]){1, 4}, x, &f->error),
                     TM_HOST_USAGE);
    assert_int_equal(tamis_session_set_input(s, 0, TAMIS_TYPE_FLOAT, 2, (int64_t[]){1, 4}, NULL, &f->error),
                     TM_HOST_USAGE);
    assert_int_equal(tamis_session_set_input_sequence(s, 0, NULL, 0, &f->error), TM_HOST_RUN);
    assert_int_equal(tamis_session_set_input_optional_sequence(s, 0, NULL, 0, &f->error), TM_HOST_RUN);
}

static void names_the_node_that_failed(void **state) {
    fixture *f = *state;
    const float x[4] = {1, 2, 666, 4}, good[4] = {0};
    assert_int_equal(set_x(f, 1, x), 0);
    assert_int_equal(tamis_session_run(f->session, &f->error), TM_HOST_RUN);
    assert_non_null(strstr(f->error.message, "Add first: a value is not allowed: 666"));
    assert_int_equal(set_x(f, 1, good), 0);
    assert_int_equal(tamis_session_run(f->session, &f->error), 0);
}

static void takes_the_callers_memory(void **state) {
    fixture *f = *state;
    const float x[8] = {0};
    float y[8], big[1];
    static _Alignas(TAMIS_ALIGNMENT) char workspace[256];
    assert_int_equal(set_x(f, 2, x), 0);
    assert_int_equal(tamis_session_prepare(f->session, &f->error), 0);
    assert_int_equal(tamis_session_workspace_bytes(f->session), 32);
    assert_int_equal(tamis_session_set_workspace(f->session, workspace + 1, 128, &f->error), TM_HOST_USAGE);
    assert_int_equal(tamis_session_set_workspace(f->session, workspace, 31, &f->error), 0);
    assert_int_equal(tamis_session_run(f->session, &f->error), TM_HOST_USAGE);
    assert_int_equal(tamis_session_set_workspace(f->session, workspace, sizeof workspace, &f->error), 0);
    assert_int_equal(tamis_session_set_output(f->session, 0, y, 28, &f->error), 0);
    assert_int_equal(tamis_session_run(f->session, &f->error), TM_HOST_USAGE);
    assert_int_equal(tamis_session_set_output(f->session, 0, y, sizeof y, &f->error), 0);
    assert_int_equal(tamis_session_set_output(f->session, 1, big, sizeof big, &f->error), 0);
    int before = f->counter.allocations;
    assert_int_equal(tamis_session_run(f->session, &f->error), 0);
    assert_int_equal(f->counter.allocations, before + 1); /* the buffer of the late output */
    assert_ptr_equal(tamis_session_output(f->session, 0)->data, y);
    assert_true(y[7] == 1 && ((const float *)(const void *)workspace)[7] == 1);
}

static void scratch_is_kept_for_the_next_run(void **state) {
    fixture *f = *state;
    const tamis_host *host = f->session->run.host;
    for (size_t bytes = 1; bytes < 5000; bytes += 37) { /* any size comes back under its class */
        void *memory = host->allocate(host->user, bytes);
        assert_non_null(memory);
        memset(memory, 1, bytes);
        host->release(host->user, memory, bytes);
    }
    for (int run = 0, before = 0; run < 3; run++) {
        void *blocks[4];
        for (size_t i = 0; i < 4; i++)
            blocks[i] = host->allocate(host->user, 100000 * (i + 1));
        for (size_t i = 0; i < 4; i++)
            host->release(host->user, blocks[i], 100000 * (i + 1));
        assert_true(run == 0 || f->counter.allocations == before);
        before = f->counter.allocations;
    }
}

static void no_elements_are_fine(void **state) {
    fixture *f = *state;
    assert_int_equal(set_x(f, 0, NULL), 0);
    assert_int_equal(tamis_session_run(f->session, &f->error), 0);
    assert_int_equal(tamis_session_output(f->session, 0)->dims[0], 0);
}

static void every_failing_allocation_is_reported(void **state) {
    (void)state;
    const float x[4] = {9, 9, 9, 9};
    bool succeeded = false;
    for (int fail_at = 1; !succeeded && fail_at < 20; fail_at++) {
        counter c = {.fail_at = fail_at};
        tamis_host host = {&c, count_allocate, count_release, run_inline, NULL};
        tamis_session_options options = {.host = &host};
        tamis_model *model;
        tamis_session *session;
        tamis_error error;
        assert_int_equal(tamis_model_create(&hand_artifact, &model, &error), 0);
        int code = tamis_session_create(model, &options, &session, &error);
        if (code == 0)
            code = tamis_session_set_input(session, 0, TAMIS_TYPE_FLOAT, 2, (int64_t[]){1, 4}, x, &error);
        if (code == 0)
            code = tamis_session_run(session, &error);
        assert_true(code == 0 || code == TM_HOST_OUT_OF_MEMORY);
        succeeded = code == 0;
        tamis_session_destroy(session);
        tamis_model_destroy(model);
        assert_int_equal(c.live, 0);
    }
    assert_true(succeeded);
}

static void subnormals_are_flushed_and_the_mode_comes_back(void **state) {
    fixture *f = *state;
    const float x[4] = {0};
    uint64_t before = tm_float_mode_get();
    assert_int_equal(set_x(f, 1, x), 0);
    assert_int_equal(tamis_session_run(f->session, &f->error), 0);
    assert_int_equal(tm_float_mode_get(), before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gives_the_sum_and_a_late_output, setup, teardown),
        cmocka_unit_test_setup_teardown(second_run_allocates_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_inputs_that_do_not_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(names_the_node_that_failed, setup, teardown),
        cmocka_unit_test_setup_teardown(takes_the_callers_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(scratch_is_kept_for_the_next_run, setup, teardown),
        cmocka_unit_test_setup_teardown(no_elements_are_fine, setup, teardown),
        cmocka_unit_test(every_failing_allocation_is_reported),
        cmocka_unit_test_setup_teardown(subnormals_are_flushed_and_the_mode_comes_back, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
