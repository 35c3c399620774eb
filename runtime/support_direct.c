/* SPDX-License-Identifier: Apache-2.0
 *
 * support_direct.c: one call from arrays to answers, without the runtime library.
 *
 * The functions of a generated header,
 *
 *     int64_t t2_workspace_bytes(int64_t N);
 *     int32_t t2_run(void *workspace, int64_t N, const float *x, float *y);
 *
 * end here. The caller's workspace holds the context and the planned memory, so a model whose dims are all
 * known from its inputs never allocates; others, and kernels that need scratch, use aligned_alloc and free of
 * the C library. Everything runs on the calling thread.
 */
#include "runtime/float_mode.h"
#include "runtime/kernel.h"
#include "runtime/support.h"

void *aligned_alloc(size_t alignment, size_t bytes);
void free(void *memory);

static void *allocate(void *user, size_t bytes) {
    (void)user;
    return aligned_alloc(TAMIS_ALIGNMENT, (bytes + TAMIS_ALIGNMENT - 1) & ~(size_t)(TAMIS_ALIGNMENT - 1));
}

static void release(void *user, void *memory, size_t bytes) {
    (void)user;
    (void)bytes;
    free(memory);
}

static int32_t serial_for(void *user, int64_t count, int64_t grain,
                          int32_t (*body)(void *arg, int64_t begin, int64_t end), void *arg) {
    (void)user;
    (void)grain;
    return body(arg, 0, count);
}

static const tamis_host serial_host = {NULL, allocate, release, serial_for, NULL};

static void set_input_dims(tm_run *run, const tamis_artifact *artifact, const int64_t *dims) {
    for (int32_t i = 0; i < artifact->input_count; i++) {
        tamis_tensor *t = &run->values[artifact->inputs[i].value];
        for (int32_t d = 0; d < t->rank; d++)
            t->dims[d] = *dims++;
    }
}

int64_t tm_direct_bytes(const tamis_artifact *artifact, const int64_t *dims) {
    tm_run run;
    int64_t bytes = tm_run_bytes(artifact);
    void *memory = allocate(NULL, (size_t)bytes);
    if (memory == NULL)
        return -TM_RUN_MEMORY;
    tm_run_init(&run, artifact, memory, &serial_host);
    set_input_dims(&run, artifact, dims);
    int64_t length;
    int32_t code = tm_slices_prepare(&run, artifact, &length);
    free(memory);
    return code != 0 ? -(int64_t)code : bytes + run.workspace_bytes;
}

int32_t tm_direct_run(const tamis_artifact *artifact, const int64_t *dims, const void *const *inputs,
                      void *const *outputs, void *memory, const void *weights) {
    tm_run run;
    int32_t level = artifact->cpu_level();
    if (level < 0)
        return TM_RUN_CPU;
    tm_run_init(&run, artifact, memory, &serial_host);
    run.level = level;
    if (weights != NULL)
        run.weights = weights;
    set_input_dims(&run, artifact, dims);
    int64_t length;
    int32_t code = tm_slices_prepare(&run, artifact, &length);
    if (code != 0)
        return code;
    run.workspace = (uint8_t *)memory + tm_run_bytes(artifact);
    for (int32_t i = 0; i < artifact->input_count; i++)
        run.values[artifact->inputs[i].value].data = (void *)(uintptr_t)inputs[i];
    for (int32_t i = 0; i < artifact->value_count; i++)
        if (artifact->value_infos[i].storage == TM_STORAGE_OUTPUT)
            run.values[i].data = outputs[artifact->value_infos[i].argument];
    tm_run_bind(&run, artifact);
    uint64_t mode = tm_float_mode_get();
    if ((run.flags & TM_RUN_STRICT) == 0)
        (void)tm_float_mode_enter();
    code = length > 0 ? tm_slices_execute(&run, artifact, length, 1) : artifact->execute(&run);
    tm_float_mode_set(mode);
    tm_run_deinit(&run, artifact);
    return code;
}
