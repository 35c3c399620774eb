/* SPDX-License-Identifier: Apache-2.0
 *
 * support_frame.c: lays out a context from an artifact's tables, and helps drivers with dims.
 *
 * The tables (tm_value_info, dims_template) are constant data of the artifact; a context is one block:
 *
 *     tamis_tensor values[value_count] | int64 dims[dims_count] | tm_buffer buffers[buffer_count] | int32
 * value_buffers[]
 *
 * prepare() fills dims; tm_run_bind() then turns storage classes into pointers. Why tables and not emitted
 * stores: a graph of 1,000 nodes would need some 30 KB of code for what a short loop does.
 */
#include "runtime/kernel.h"
#include "runtime/ops/real.h"
#include "runtime/support.h"

static int64_t round_up(int64_t n) {
    return (n + TAMIS_ALIGNMENT - 1) & ~(int64_t)(TAMIS_ALIGNMENT - 1);
}

int64_t tm_run_bytes(const tamis_artifact *artifact) {
    return round_up(artifact->value_count * (int64_t)sizeof(tamis_tensor)) +
           round_up(artifact->dims_count * 8) +
           round_up(artifact->buffer_count * (int64_t)sizeof(tm_buffer)) +
           round_up(artifact->value_count * 4);
}

void tm_run_init(tm_run *run, const tamis_artifact *artifact, void *memory, const tamis_host *host) {
    memset(run, 0, sizeof(*run));
    char *at = memory;
    run->values = (tamis_tensor *)(void *)at;
    at += round_up(artifact->value_count * (int64_t)sizeof(tamis_tensor));
    run->dims = (int64_t *)(void *)at;
    at += round_up(artifact->dims_count * 8);
    run->buffers = (tm_buffer *)(void *)at;
    at += round_up(artifact->buffer_count * (int64_t)sizeof(tm_buffer));
    int32_t *value_buffers = (int32_t *)(void *)at;
    run->value_buffers = value_buffers;
    run->weights = artifact->unpack == NULL ? artifact->weights : NULL; /* unpacked ones are the host's */
    run->flags = artifact->flags;
    run->host = host;
    memcpy(run->dims, artifact->dims_template, (size_t)artifact->dims_count * 8);
    memset(run->buffers, 0, (size_t)artifact->buffer_count * sizeof(tm_buffer));
    for (int32_t i = 0; i < artifact->value_count; i++) {
        const tm_value_info *info = &artifact->value_infos[i];
        run->values[i] = (tamis_tensor){.data = NULL,
                                        .dims = run->dims + info->dims_offset,
                                        .rank = info->rank,
                                        .type = info->type,
                                        .kind = info->kind,
                                        .item = info->item,
                                        .key = info->key};
        value_buffers[i] = info->storage == TM_STORAGE_BUFFER ? (int32_t)info->argument : -1;
    }
}

void tm_run_deinit(tm_run *run, const tamis_artifact *artifact) {
    for (int32_t i = 0; i < artifact->buffer_count; i++)
        if (run->buffers[i].bytes > 0)
            run->host->release(run->host->user, run->buffers[i].data, (size_t)run->buffers[i].bytes);
    tm_arena_destroy(run);
}

void tm_run_bind(tm_run *run, const tamis_artifact *artifact) {
    for (int32_t i = 0; i < artifact->value_count; i++) {
        const tm_value_info *info = &artifact->value_infos[i];
        switch (info->storage) {
        case TM_STORAGE_CONSTANT:
            run->values[i].data = (void *)(uintptr_t)(run->weights + info->argument);
            break;
        case TM_STORAGE_WORKSPACE:
            run->values[i].data = run->workspace + run->dims[artifact->slot_dims + info->argument];
            break;
        default:
            break;
        }
    }
    for (int32_t i = 0; run->slots != NULL && i < artifact->slot_form_count; i++)
        if (run->slots[i] != NULL)
            run->values[artifact->slot_forms[i].value].data = (void *)(uintptr_t)run->slots[i];
    /* Sources stand before their aliases in the frame or are of a storage resolved above or by the host. */
    for (int32_t i = 0; i < artifact->value_count; i++)
        if (artifact->value_infos[i].storage == TM_STORAGE_ALIAS)
            run->values[i].data = run->values[artifact->value_infos[i].argument].data;
}

int32_t tm_driver_fail(tm_run *run, int32_t node, int32_t code, int64_t a, int64_t b) {
    if (run->code == 0) {
        run->code = code;
        run->node = node;
        run->detail[0] = a;
        run->detail[1] = b;
    }
    return code;
}

int32_t tm_check_equal(tm_run *run, int32_t node, int64_t a, int64_t b) {
    return a == b ? 0 : tm_driver_fail(run, node, TM_RUN_DIM_MISMATCH, a, b);
}

int32_t tm_check_elements(tm_run *run, int32_t node, int64_t from, int64_t to) {
    return from == to ? 0 : tm_driver_fail(run, node, TM_RUN_ELEMENTS, from, to);
}

int32_t tm_check_range(tm_run *run, int32_t input, int64_t given, int64_t low, int64_t high) {
    if (given >= low && given <= high)
        return 0;
    return tm_driver_fail(run, input, TM_RUN_INPUT_DIM, given < low ? low : high, given);
}

int32_t tm_check_input_dim(tm_run *run, int32_t input, int64_t expected, int64_t given) {
    return expected == given ? 0 : tm_driver_fail(run, input, TM_RUN_INPUT_DIM, expected, given);
}

/* Did evaluating dims fail or overflow? Gives recorded failures their node. */
int32_t tm_check_dims(tm_run *run, int32_t node, int32_t overflow) {
    if (run->code != 0 && run->node < 0)
        run->node = node;
    return overflow ? tm_driver_fail(run, node, TM_RUN_DIM_OVERFLOW, 0, 0) : run->code;
}

int32_t tm_forgive_dims(tm_run *run, int32_t overflow) {
    int32_t failed = overflow | run->code;
    run->code = 0;
    return failed;
}

int32_t tm_check_dim(tm_run *run, int32_t node, int32_t axis, int64_t dim) {
    return dim >= 0 ? 0 : tm_driver_fail(run, node, TM_RUN_DIM_NEGATIVE, dim, axis);
}

int64_t tm_broadcast_dim(tm_run *run, int64_t a, int64_t b) {
    if (a == b || b == 1)
        return a;
    if (a != 1)
        tm_driver_fail(run, -1, TM_RUN_DIM_MISMATCH, a, b);
    return b;
}

static int64_t divisor(tm_run *run, int64_t a, int64_t b) {
    if (b != 0 && !(a == INT64_MIN && b == -1))
        return b;
    tm_driver_fail(run, -1, TM_RUN_DIM_DIVIDE, a, b);
    return 1;
}

int64_t tm_truncdiv_dim(tm_run *run, int64_t a, int64_t b) {
    return a / divisor(run, a, b);
}

int64_t tm_floormod_dim(tm_run *run, int64_t a, int64_t b) {
    b = divisor(run, a, b);
    int64_t r = a % b;
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

int64_t tm_floordiv_dim(tm_run *run, int64_t a, int64_t b) {
    b = divisor(run, a, b);
    return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}

int64_t tm_load_element(const tm_run *run, int32_t value, int64_t i) {
    const tamis_tensor *t = &run->values[value];
    int64_t count = 1;
    for (int32_t k = 0; k < t->rank; k++)
        count *= t->dims[k];
    return i >= count ? 0 : tm_integer_get(&run->values[value], i);
}

/* A loop as a row of tasks; the first two members are what the body of a region reads. */
typedef struct region_loop {
    tm_run *run;
    const tm_call *call;
    int32_t (*body)(void *arg, int64_t begin, int64_t end);
    int64_t count, tasks;
} region_loop;

static int64_t first_unit(const region_loop *loop, int64_t task) {
    int64_t each = loop->count / loop->tasks, more = loop->count % loop->tasks;
    return task * each + task * more / loop->tasks;
}

static int32_t region_tasks(void *arg, int64_t begin, int64_t end) {
    const region_loop *loop = arg;
    return loop->body(arg, first_unit(loop, begin), first_unit(loop, end));
}

/* Units of a region may be cut anywhere, so its tasks are as even as can be, and an even number: of 32 units
 * with a grain of 15 each of two threads gets 16, where whole grains would give them 30 and 2. */
int32_t tm_region_parallel(tm_run *run, const tm_call *call, int64_t count, int64_t grain,
                           int32_t (*body)(void *arg, int64_t begin, int64_t end)) {
    region_loop loop = {run, call, body, count, 1};
    if (count <= grain)
        return count > 0 ? body(&loop, 0, count) : 0;
    loop.tasks = (count - 1) / grain + 1;
    loop.tasks += loop.tasks % 2 != 0 && loop.tasks < count;
    return run->host->parallel_for(run->host->user, loop.tasks, 1, region_tasks, &loop);
}
