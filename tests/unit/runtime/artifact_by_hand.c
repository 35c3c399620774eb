/* SPDX-License-Identifier: Apache-2.0
 *
 * An artifact written by hand: what the compiler would emit for
 *
 *     main(x: f32[batch, 4]) {
 *       %t = Add(%x, 1)       workspace
 *       %y = Identity(%t)     output: f32[batch, 4]
 *       %big = NonZero-like   late output: the elements of %t above 2, f32[n]
 *     }
 *
 * It is the first test of the runtime, which needs neither LLVM nor a model for it, and it shows in a few
 * lines what include/tamis/artifact.h asks of an artifact. Element 666 makes it fail as a kernel would.
 * Included by the tests.
 */
#include "runtime/support.h"
#include "tamis/artifact.h"

#include <string.h>

enum { VALUE_X, VALUE_T, VALUE_Y, VALUE_BIG, VALUE_COUNT };
enum { DIMS_X = 0, DIMS_T = 2, DIMS_Y = 4, DIMS_BIG = 6, DIMS_SLOT = 7, DIMS_COUNT = 8 };

static const tm_value_info hand_values[VALUE_COUNT] = {
    [VALUE_X] =
        {.argument = 0, .dims_offset = DIMS_X, .rank = 2, .type = 1, .kind = 1, .storage = TM_STORAGE_INPUT},
    [VALUE_T] = {.argument = 0,
                 .dims_offset = DIMS_T,
                 .rank = 2,
                 .type = 1,
                 .kind = 1,
                 .storage = TM_STORAGE_WORKSPACE},
    [VALUE_Y] =
        {.argument = 0, .dims_offset = DIMS_Y, .rank = 2, .type = 1, .kind = 1, .storage = TM_STORAGE_OUTPUT},
    [VALUE_BIG] = {.argument = 0,
                   .dims_offset = DIMS_BIG,
                   .rank = 1,
                   .type = 1,
                   .kind = 1,
                   .storage = TM_STORAGE_BUFFER},
};

static const int64_t hand_dims[DIMS_COUNT] = {0, 4, 0, 4, 0, 4, 0, 0};

static const int64_t hand_port_dims[] = {-1, 4};
static const char *const hand_port_texts[] = {"batch", "4"};
static const int64_t hand_late_dims[] = {-1};
static const char *const hand_late_texts[] = {"n"};
static const tamis_port hand_inputs[] = {{.name = "x",
                                          .value = VALUE_X,
                                          .rank = 2,
                                          .type = 1,
                                          .kind = 1,
                                          .dims = hand_port_dims,
                                          .dim_texts = hand_port_texts}};
static const tamis_port hand_outputs[] = {{.name = "y",
                                           .value = VALUE_Y,
                                           .rank = 2,
                                           .type = 1,
                                           .kind = 1,
                                           .dims = hand_port_dims,
                                           .dim_texts = hand_port_texts},
                                          {.name = "big",
                                           .value = VALUE_BIG,
                                           .rank = 1,
                                           .type = 1,
                                           .kind = 1,
                                           .late = 1,
                                           .dims = hand_late_dims,
                                           .dim_texts = hand_late_texts}};

static const char hand_nodes[] = "Add first\0NonZero second";
static const char *const hand_levels[] = {"any"};

static int hand_prepares; /* calls of prepare(), for the tests */
static int32_t hand_level;

static int32_t hand_cpu_level(void) {
    return hand_level;
}

static int32_t hand_prepare(tm_run *run) {
    hand_prepares++;
    int64_t batch = run->dims[DIMS_X], bytes;
    if (run->dims[DIMS_X + 1] != 4)
        return tm_driver_fail(run, 0, TM_RUN_INPUT_DIM, 4, run->dims[DIMS_X + 1]);
    if (__builtin_mul_overflow(batch, 16, &bytes))
        return tm_driver_fail(run, 0, TM_RUN_DIM_RANGE, batch, INT64_MAX / 16);
    run->dims[DIMS_T] = batch;
    run->dims[DIMS_Y] = batch;
    run->dims[DIMS_SLOT] = 0;
    run->workspace_bytes = bytes;
    return 0;
}

typedef struct hand_job {
    const float *x;
    float *t;
} hand_job;

static int32_t hand_add(void *argument, int64_t begin, int64_t end) {
    const hand_job *job = argument;
    for (int64_t i = begin; i < end; i++) {
        if (job->x[i] == 666)
            return TM_RUN_VALUE;
        job->t[i] = job->x[i] + 1;
    }
    return 0;
}

static int32_t hand_execute(tm_run *run) {
    const tamis_tensor *x = &run->values[VALUE_X], *t = &run->values[VALUE_T], *y = &run->values[VALUE_Y];
    tamis_tensor *big = &run->values[VALUE_BIG];
    int64_t count = x->dims[0] * 4, above = 0;
    hand_job job = {x->data, t->data};
    int32_t code = run->host->parallel_for(run->host->user, count, 16, hand_add, &job);
    if (code != 0)
        return tm_driver_fail(run, 0, code, 666, 665);
    if (count > 0)
        memcpy(y->data, t->data, (size_t)count * 4);
    for (int64_t i = 0; i < count; i++)
        above += job.t[i] > 2;
    big->dims[0] = above;
    code = tm_reserve_value(run, 1, VALUE_BIG);
    if (code != 0)
        return code;
    float *to = big->data;
    for (int64_t i = 0; i < count; i++)
        if (job.t[i] > 2)
            *to++ = job.t[i];
    return 0;
}

static const tamis_artifact hand_artifact = {
    .magic = TAMIS_MAGIC,
    .abi_version = TAMIS_ABI_VERSION,
    .struct_bytes = sizeof(tamis_artifact),
    .level_count = 1,
    .name = "hand",
    .producer = "by hand",
    .target = "any",
    .levels = hand_levels,
    .input_count = 1,
    .output_count = 2,
    .inputs = hand_inputs,
    .outputs = hand_outputs,
    .value_count = VALUE_COUNT,
    .buffer_count = 1,
    .dims_count = DIMS_COUNT,
    .slot_count = 1,
    .slot_dims = DIMS_SLOT,
    .allocates = 1,
    .node_count = 2,
    .value_infos = hand_values,
    .dims_template = hand_dims,
    .node_names = hand_nodes,
    .cpu_level = hand_cpu_level,
    .prepare = hand_prepare,
    .execute = hand_execute,
};
