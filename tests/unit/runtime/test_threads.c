/* SPDX-License-Identifier: Apache-2.0
 *
 * Several threads at once on one artifact, each with a session of its own and all on one pool: the answers
 * are the same bits as those of one thread. The build for the thread sanitizer looks for races meanwhile.
 */
#include "tamis/compiler.h"
#include "tamis/runtime.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL TM_SOURCE_DIR "/examples/t2/t2.onnx"

enum { THREADS = 4, RUNS = 12, BATCH = 33, INPUT = BATCH * 200, OUTPUT = BATCH * 14 };

static float input[INPUT], wanted[OUTPUT];

typedef struct worker {
    tamis_model *model;
    int threads; /* of its session; 0: the pool's choice */
    int wrong;
} worker;

static int answer(tamis_session *session, float *out) {
    const int64_t dims[] = {BATCH, 100, 2};
    if (tamis_session_set_input(session, 0, TAMIS_TYPE_FLOAT, 3, dims, input, NULL) != 0 ||
        tamis_session_run(session, NULL) != 0)
        return 1;
    memcpy(out, tamis_session_output(session, 0)->data, OUTPUT * sizeof(float));
    return 0;
}

static void *run_sessions(void *argument) {
    worker *w = argument;
    float found[OUTPUT];
    for (int i = 0; i < RUNS; i++) {
        tamis_session_options options;
        tamis_session_options_init(&options);
        options.threads = w->threads;
        tamis_session *session = NULL;
        tamis_set_threads(1 + i % 3); /* others run while this changes */
        if (tamis_session_create(w->model, &options, &session, NULL) != 0)
            w->wrong++;
        for (int k = 0; k < 3 && session != NULL; k++)
            w->wrong += answer(session, found) != 0 || memcmp(found, wanted, sizeof found) != 0;
        tamis_session_destroy(session);
    }
    return NULL;
}

static void sessions_in_threads(void **state) {
    (void)state;
    char path[] = "/tmp/tamis-threads-XXXXXX.so";
    int file = mkstemps(path, 3);
    assert_true(file >= 0);
    close(file);
    tamis_compile_options options;
    tamis_compile_options_init(&options);
    options.name = "model";
    tamis_result *result = NULL;
    assert_int_equal(tamis_compile_file(MODEL, path, &options, &result), 0);
    tamis_result_destroy(result);
    tamis_model *model = NULL;
    tamis_session *session = NULL;
    assert_int_equal(tamis_model_load(path, &model, NULL), 0);
    unlink(path);
    for (int i = 0; i < INPUT; i++)
        input[i] = (float)(i % 17) * 0.125f - 1;
    tamis_set_threads(1);
    assert_int_equal(tamis_session_create(model, NULL, &session, NULL), 0);
    assert_int_equal(answer(session, wanted), 0);
    tamis_session_destroy(session);

    pthread_t threads[THREADS];
    worker workers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (worker){model, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, run_sessions, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].wrong, 0);
    }
    tamis_model_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sessions_in_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
