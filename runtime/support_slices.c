/* SPDX-License-Identifier: Apache-2.0
 *
 * support_slices.c: a batch in slices, each through the whole model before the next.
 *
 *     N = 256, workspace 33 MB    ->    32 slices of 8 samples, workspace 1 MB: it stays in the cache
 *
 * Compiled models whose samples do not meet say so (tamis_port.sliced). A slice runs in a context of its own,
 * laid out in memory that the run provides for the first range and the host for others; so slices are also
 * what threads share, instead of the loops inside. Slices are short enough for the workspace to fit the
 * second-level cache, but not shorter than what lets weights be read less often than activations: the
 * workspace of a slice is as large as the weights. Answers are those of the whole batch, since no kernel's
 * arithmetic depends on how many samples there are.
 */
#include "runtime/kernel.h"
#include "runtime/support.h"

#define SLICE_WORKSPACE ((int64_t)1 << 20)

typedef struct slices {
    tm_run *run;
    const tamis_artifact *artifact;
    int64_t samples, length, count;
} slices;

static int64_t count_samples(const tm_run *run, const tamis_artifact *artifact) {
    for (int32_t i = 0; i < artifact->input_count; i++)
        if (artifact->inputs[i].sliced)
            return run->values[artifact->inputs[i].value].dims[0];
    return 0;
}

static void set_samples(tm_run *run, const tamis_artifact *artifact, int64_t samples) {
    for (int32_t i = 0; i < artifact->input_count; i++)
        if (artifact->inputs[i].sliced)
            run->values[artifact->inputs[i].value].dims[0] = samples;
}

int32_t tm_slices_prepare(tm_run *run, const tamis_artifact *artifact, int64_t *out_length) {
    *out_length = 0;
    int32_t code = artifact->prepare(run);
    int64_t most = artifact->weights_bytes > SLICE_WORKSPACE ? artifact->weights_bytes : SLICE_WORKSPACE;
    if (code != 0 || artifact->output_count == 0 || !artifact->outputs[0].sliced ||
        run->workspace_bytes <= most)
        return code;
    int64_t samples = count_samples(run, artifact);
    if (samples < 2)
        return 0;
    int64_t length = most / (run->workspace_bytes / samples + 1);
    length = length < 1 ? 1 : length;
    int64_t count = (samples + length - 1) / length;
    length = (samples + count - 1) / count;
    set_samples(run, artifact, length);
    code = artifact->prepare(run);
    int64_t bytes = tm_run_bytes(artifact) + run->workspace_bytes;
    set_samples(run, artifact, samples);
    if (code == 0)
        code = artifact->prepare(run);
    run->workspace_bytes = bytes;
    *out_length = length;
    return code;
}

static int32_t serial_for(void *user, int64_t count, int64_t grain,
                          int32_t (*body)(void *arg, int64_t begin, int64_t end), void *arg) {
    (void)user;
    (void)grain;
    return body(arg, 0, count);
}

/* Where sample `first` of a value with `rank` dims stands. */
static void *sample_at(void *data, const tamis_tensor *value, int64_t first) {
    int64_t elements = first;
    for (int32_t i = 1; i < value->rank; i++)
        elements *= value->dims[i];
    return (uint8_t *)data + tm_type_bytes(value->type, elements);
}

static void bind_slice(const slices *s, tm_run *own, int64_t first) {
    const tamis_artifact *artifact = s->artifact;
    for (int32_t i = 0; i < artifact->input_count; i++) {
        const tamis_port *port = &artifact->inputs[i];
        const tamis_tensor *whole = &s->run->values[port->value];
        own->values[port->value].data = port->sliced ? sample_at(whole->data, whole, first) : whole->data;
    }
    for (int32_t i = 0; i < artifact->value_count; i++)
        if (artifact->value_infos[i].storage == TM_STORAGE_OUTPUT) {
            const tamis_tensor *whole = &s->run->values[i];
            const tamis_port *port = &artifact->outputs[artifact->value_infos[i].argument];
            own->values[i].data = sample_at(whole->data, &s->run->values[port->value], first);
        }
    tm_run_bind(own, artifact);
}

static int32_t run_slices(const slices *s, tm_run *own, int64_t workspace_bytes, int64_t begin, int64_t end) {
    const tamis_artifact *artifact = s->artifact;
    for (int32_t i = 0; i < artifact->input_count; i++) {
        int32_t value = artifact->inputs[i].value;
        for (int32_t d = 0; d < own->values[value].rank; d++)
            own->values[value].dims[d] = s->run->values[value].dims[d];
    }
    int64_t prepared = -1;
    for (int64_t k = begin; k < end; k++) {
        int64_t first = k * s->length;
        int64_t length = s->samples - first < s->length ? s->samples - first : s->length;
        if (length != prepared) {
            set_samples(own, artifact, length);
            int32_t code = artifact->prepare(own);
            if (code == 0 && own->workspace_bytes > workspace_bytes)
                code = tm_driver_fail(own, -1, TM_RUN_MEMORY, own->workspace_bytes, 0);
            if (code != 0)
                return code;
            prepared = length;
        }
        bind_slice(s, own, first);
        int32_t code = artifact->execute(own);
        if (code != 0)
            return code;
    }
    return 0;
}

/* Slices begin..end in a context in `memory`; a failure is recorded in the run when it is `noted`. */
static int32_t run_range(const slices *s, void *memory, int64_t begin, int64_t end, bool noted) {
    tamis_host host = *s->run->host;
    host.parallel_for = serial_for;
    tm_run own;
    int64_t frame = tm_run_bytes(s->artifact);
    tm_run_init(&own, s->artifact, memory, &host);
    own.level = s->run->level;
    own.flags = s->run->flags;
    own.weights = s->run->weights;
    own.slots = s->run->slots;
    own.workspace = (uint8_t *)memory + frame;
    int32_t code = run_slices(s, &own, s->run->workspace_bytes - frame, begin, end);
    tm_run_deinit(&own, s->artifact);
    if (code != 0 && noted)
        tm_driver_fail(s->run, own.node, own.code, own.detail[0], own.detail[1]);
    return code;
}

static int32_t run_part(void *argument, int64_t begin, int64_t end) {
    const slices *s = argument;
    tm_run *run = s->run;
    if (begin == 0) /* the run's own workspace */
        return run_range(s, run->workspace, begin, end, false);
    void *memory = run->host->allocate(run->host->user, (size_t)run->workspace_bytes);
    if (memory == NULL)
        return TM_RUN_MEMORY;
    int32_t code = run_range(s, memory, begin, end, false);
    run->host->release(run->host->user, memory, (size_t)run->workspace_bytes);
    return code;
}

int32_t tm_slices_execute(tm_run *run, const tamis_artifact *artifact, int64_t length, int32_t serial) {
    slices s = {.run = run, .artifact = artifact, .samples = count_samples(run, artifact), .length = length};
    s.count = (s.samples + length - 1) / length;
    int32_t code = serial ? run_part(&s, 0, s.count)
                          : run->host->parallel_for(run->host->user, s.count, 1, run_part, &s);
    if (code != 0) { /* once more, one after the other: the first failure is the message */
        code = run_range(&s, run->workspace, 0, s.count, true);
        if (code == 0)
            code = tm_driver_fail(run, -1, TM_RUN_MEMORY, run->workspace_bytes, 0);
    }
    return code;
}
