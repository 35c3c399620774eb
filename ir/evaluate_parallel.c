/* SPDX-License-Identifier: Apache-2.0
 *
 * evaluate_parallel.c: parallel_for of the evaluator: a plain call.
 *
 * The oracle needs no speed, and one range is one of the cuts that a host may choose. The build for the
 * thread sanitizer cuts the range in three and gives each part a thread: so the tests of the kernels look for
 * ranges that touch each other's memory.
 */
#include "ir/evaluate_internal.h"

#ifdef TM_THREADED_EVALUATOR
#include <pthread.h>

enum { PARTS = 3 };

typedef struct part {
    int32_t (*body)(void *argument, int64_t begin, int64_t end);
    void *argument;
    int64_t begin, end;
    int32_t code;
} part;

static void *run_part(void *argument) {
    part *p = argument;
    p->code = p->begin < p->end ? p->body(p->argument, p->begin, p->end) : 0;
    return NULL;
}

int32_t tm_evaluate_parallel(void *user, int64_t count, int64_t grain,
                             int32_t (*body)(void *argument, int64_t begin, int64_t end), void *argument) {
    (void)user;
    if (grain < 1)
        grain = 1;
    pthread_t threads[PARTS];
    part parts[PARTS];
    int32_t code = 0;
    int64_t grains = (count + grain - 1) / grain, begin = 0;
    for (int i = 0; i < PARTS; i++) {
        int64_t end = grains * (i + 1) / PARTS * grain;
        parts[i] = (part){body, argument, begin, i + 1 == PARTS || end > count ? count : end, 0};
        begin = parts[i].end;
        if (pthread_create(&threads[i], NULL, run_part, &parts[i]) != 0)
            __builtin_trap();
    }
    for (int i = 0; i < PARTS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < PARTS && code == 0; i++)
        code = parts[i].code;
    return code;
}
#else
int32_t tm_evaluate_parallel(void *user, int64_t count, int64_t grain,
                             int32_t (*body)(void *argument, int64_t begin, int64_t end), void *argument) {
    (void)user;
    (void)grain;
    return body(argument, 0, count);
}
#endif
