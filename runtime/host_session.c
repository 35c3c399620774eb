/* SPDX-License-Identifier: Apache-2.0
 *
 * A session: one execution context of a model. It owns the frame (an entry for each value, the
 * table of all dims, the buffers) in one block, and memory for the workspace and the outputs.
 *
 *     set_input ... -> prepare (dims, workspace size) -> bind (data pointers) -> execute -> output
 *
 * A run repeats only what changed: prepare() runs again when the dims of an input differ from the last
 * time, binding when a pointer does. So the second run on inputs of the same dims makes no
 * allocation, and costs a comparison of the dims besides the model itself.
 *
 * Subnormals count as zero while compiled code runs (softmax of trained models is several times
 * slower with them), unless strict_math is set; the caller's mode is restored afterwards.
 */
#include "runtime/runtime_internal.h"
#include "runtime/support.h"

#include <string.h>

/* ---- life ---- */

void tamis_session_options_init(tamis_session_options *options) {
    *options = (tamis_session_options){0};
}

static size_t aligned(size_t bytes) {
    return (bytes + TAMIS_ALIGNMENT - 1) & ~(size_t)(TAMIS_ALIGNMENT - 1);
}

int tamis_session_create(tamis_model *model, const tamis_session_options *options,
                         tamis_session **out_session, tamis_error *out_error) {
    *out_session = NULL;
    const tamis_artifact *artifact = model->artifact;
    const tamis_host *host = options != NULL && options->host != NULL ? options->host : tamis_default_host();
    size_t inputs_at = aligned(sizeof(tamis_session));
    size_t outputs_at = inputs_at + aligned(sizeof(tm_bound_input) * (size_t)artifact->input_count);
    size_t frame_at = outputs_at + aligned(sizeof(tm_bound_output) * (size_t)artifact->output_count);
    size_t bytes = frame_at + (size_t)tm_run_bytes(artifact);
    char *memory = host->allocate(host->user, bytes);
    if (memory == NULL)
        return tm_host_fail(out_error, TM_HOST_OUT_OF_MEMORY, "out of memory: %zu bytes for a session",
                            bytes);
    memset(memory, 0, frame_at);
    tamis_session *session = (tamis_session *)(void *)memory;
    session->model = model;
    session->host = *host;
    session->bytes = bytes;
    session->inputs = (tm_bound_input *)(void *)(memory + inputs_at);
    session->outputs = (tm_bound_output *)(void *)(memory + outputs_at);
    if (host == tamis_default_host()) {
        session->threads = options != NULL ? options->threads : 0;
        session->host.user = &session->threads;
    }
    tm_host_store_init(&session->store, &session->host, &session->cached);
    tm_run_init(&session->run, artifact, memory + frame_at, &session->cached);
    if (model->weights != NULL)
        session->run.weights = model->weights;
    session->run.level = model->level;
    session->run.flags |= options != NULL && options->strict_math ? TM_RUN_STRICT : 0;
    session->run.random_state = options != NULL ? options->seed : 0;
    for (int32_t i = 0; i < artifact->output_count; i++)
        session->outputs[i].root = -1;
    for (int32_t i = 0; i < artifact->value_count; i++)
        if (artifact->value_infos[i].storage == TM_STORAGE_OUTPUT)
            session->outputs[artifact->value_infos[i].argument].root = i;
    *out_session = session;
    return 0;
}

void tamis_session_destroy(tamis_session *session) {
    if (session == NULL)
        return;
    const tamis_artifact *artifact = session->model->artifact;
    tamis_host host = session->host;
    tm_host_release_values(session);
    for (int32_t i = 0; i < artifact->output_count; i++)
        if (session->outputs[i].own != NULL)
            host.release(host.user, session->outputs[i].own, (size_t)session->outputs[i].own_bytes);
    if (session->own_workspace != NULL)
        host.release(host.user, session->own_workspace, (size_t)session->own_workspace_bytes);
    tm_run_deinit(&session->run, artifact);
    tm_host_store_deinit(&session->store);
    /* host.user of the default host points into the block that goes away; its release() ignores it. */
    host.release(host.user, session, session->bytes);
}

/* ---- inputs ---- */

static int wrong_input(const tamis_session *session, int input, const char *what, int type, int rank,
                       const int64_t *dims, tamis_error *error) {
    const tamis_port *port = &session->model->artifact->inputs[input];
    char expected[256], found[256];
    tm_host_print_shape(expected, sizeof expected, port->type, port->rank, port->dims, port->dim_texts);
    tm_host_print_shape(found, sizeof found, type, rank, dims, NULL);
    return tm_host_fail(error, TM_HOST_RUN,
                        "input %d '%s' has the wrong %s\n    expected %s\n    found    %s", input, port->name,
                        what, expected, found);
}

int tamis_session_set_input(tamis_session *session, int input, tamis_type type, int rank, const int64_t *dims,
                            const void *data, tamis_error *out_error) {
    const tamis_artifact *artifact = session->model->artifact;
    if (input < 0 || input >= artifact->input_count)
        return tm_host_fail(out_error, TM_HOST_USAGE, "there is no input %d: the model has %d", input,
                            artifact->input_count);
    const tamis_port *port = &artifact->inputs[input];
    if (port->kind != TAMIS_KIND_TENSOR)
        return tm_host_fail(out_error, TM_HOST_RUN,
                            "input %d '%s' is not a tensor\n    hint: use tamis_session_set_input_value",
                            input, port->name);
    if (type != port->type)
        return wrong_input(session, input, "type", type, rank, dims, out_error);
    if (rank != port->rank)
        return wrong_input(session, input, "rank", type, rank, dims, out_error);
    tamis_tensor *value = &session->run.values[port->value];
    bool changed = !session->inputs[input].set;
    for (int i = 0; i < rank; i++) {
        if (dims[i] < 0 || (port->dims[i] >= 0 && port->dims[i] != dims[i]))
            return wrong_input(session, input, "dims", type, rank, dims, out_error);
        changed |= value->dims[i] != dims[i];
    }
    int64_t bytes = tm_host_type_bytes(type, tm_host_count(rank, dims));
    if (bytes < 0)
        return wrong_input(session, input, "size", type, rank, dims, out_error);
    if (data == NULL && bytes > 0)
        return tm_host_fail(out_error, TM_HOST_USAGE, "input %d '%s' has no data", input, port->name);
    if (changed) {
        for (int i = 0; i < rank; i++)
            value->dims[i] = dims[i];
        session->prepared = false;
    }
    if (value->data != data || changed) {
        value->data =
            (void *)(uintptr_t)data; /* the frame has one type for all values; inputs are only read */
        session->bound = false;
    }
    session->inputs[input].set = true;
    return 0;
}

int tamis_session_set_input_value(tamis_session *session, int input, const tamis_tensor *value,
                                  tamis_error *out_error) {
    const tamis_artifact *artifact = session->model->artifact;
    if (input < 0 || input >= artifact->input_count)
        return tm_host_fail(out_error, TM_HOST_USAGE, "there is no input %d: the model has %d", input,
                            artifact->input_count);
    bool is_tensor = value->kind == TAMIS_KIND_TENSOR || value->kind == TAMIS_KIND_NONE;
    if (is_tensor && artifact->inputs[input].kind == TAMIS_KIND_TENSOR)
        return tamis_session_set_input(session, input, (tamis_type)value->type, value->rank, value->dims,
                                       value->data, out_error);
    int code = tm_host_bind_value(session, input, value, out_error);
    if (code != 0)
        return code;
    session->inputs[input].set = true;
    session->bound = false;
    return 0;
}

int tamis_session_set_input_sequence(tamis_session *session, int input, const tamis_tensor *items,
                                     int64_t count, tamis_error *out_error) {
    const tamis_artifact *artifact = session->model->artifact;
    bool optional = input >= 0 && input < artifact->input_count &&
                    artifact->inputs[input].kind == TAMIS_KIND_OPTIONAL;
    tamis_tensor list = {.data = (void *)(uintptr_t)items, /* only read */
                         .dims = &count,
                         .rank = 1,
                         .kind = optional ? TAMIS_KIND_OPTIONAL : TAMIS_KIND_SEQUENCE};
    return tamis_session_set_input_value(session, input, &list, out_error);
}

int tamis_session_set_input_optional_sequence(tamis_session *session, int input, const tamis_tensor *items,
                                              int64_t count, tamis_error *out_error) {
    tamis_tensor list = {
        .data = (void *)(uintptr_t)items, .dims = &count, .rank = 1, .kind = TAMIS_KIND_SEQUENCE};
    tamis_tensor optional = {
        .data = &list, .dims = (int64_t[]){1}, .rank = 1, .kind = TAMIS_KIND_OPTIONAL};
    return tamis_session_set_input_value(session, input, &optional, out_error);
}

/* ---- memory ---- */

int tamis_session_prepare(tamis_session *session, tamis_error *out_error) {
    const tamis_artifact *artifact = session->model->artifact;
    if (session->prepared)
        return 0;
    for (int32_t i = 0; i < artifact->input_count; i++)
        if (!session->inputs[i].set)
            return tm_host_fail(out_error, TM_HOST_USAGE, "input %d '%s' is not set", i,
                                artifact->inputs[i].name);
    session->run.code = 0;
    session->bound = false;
    if (tm_slices_prepare(&session->run, artifact, &session->slice) != 0)
        return tm_host_fail_run(out_error, session);
    session->prepared = true;
    return 0;
}

int64_t tamis_session_workspace_bytes(const tamis_session *session) {
    return session->run.workspace_bytes;
}

int tamis_session_set_workspace(tamis_session *session, void *memory, int64_t bytes, tamis_error *out_error) {
    if (memory != NULL && (uintptr_t)memory % TAMIS_ALIGNMENT != 0)
        return tm_host_fail(out_error, TM_HOST_USAGE, "the workspace is not aligned to %d bytes",
                            TAMIS_ALIGNMENT);
    session->given_workspace = memory;
    session->given_workspace_bytes = memory != NULL ? bytes : 0;
    session->bound = false;
    return 0;
}

int tamis_session_set_output(tamis_session *session, int output, void *data, int64_t bytes,
                             tamis_error *out_error) {
    const tamis_artifact *artifact = session->model->artifact;
    if (output < 0 || output >= artifact->output_count)
        return tm_host_fail(out_error, TM_HOST_USAGE, "there is no output %d: the model has %d", output,
                            artifact->output_count);
    tm_bound_output *bound = &session->outputs[output];
    if (bound->given != data)
        session->bound = false;
    bound->given = data;
    bound->given_bytes = data != NULL ? bytes : 0;
    return 0;
}

/* Makes *memory hold `bytes`; the old content is lost. */
static bool ensure(tamis_session *session, void **memory, int64_t *have, int64_t bytes) {
    if (*memory != NULL && *have >= bytes)
        return true;
    if (*memory != NULL)
        session->host.release(session->host.user, *memory, (size_t)*have);
    *have = bytes > TAMIS_ALIGNMENT ? bytes : TAMIS_ALIGNMENT;
    *memory = session->host.allocate(session->host.user, (size_t)*have);
    if (*memory == NULL)
        *have = 0;
    return *memory != NULL;
}

static int64_t output_bytes(const tamis_session *session, int output) {
    const tamis_tensor *value = &session->run.values[session->model->artifact->outputs[output].value];
    return tm_host_type_bytes(value->type, tm_host_count(value->rank, value->dims));
}

static int bind_output(tamis_session *session, int output, tamis_error *error) {
    const tamis_port *port = &session->model->artifact->outputs[output];
    tm_bound_output *bound = &session->outputs[output];
    if (bound->root < 0)
        return 0;
    int64_t bytes = output_bytes(session, output);
    if (bytes < 0)
        return tm_host_fail(error, TM_HOST_RUN, "output %d '%s' is too large", output, port->name);
    if (bound->given != NULL && bound->given_bytes < bytes)
        return tm_host_fail(error, TM_HOST_USAGE,
                            "memory of output %d '%s' is too small\n    expected %lld bytes\n"
                            "    found    %lld bytes",
                            output, port->name, (long long)bytes, (long long)bound->given_bytes);
    if (bound->given == NULL && !ensure(session, &bound->own, &bound->own_bytes, bytes))
        return tm_host_fail(error, TM_HOST_OUT_OF_MEMORY, "out of memory: %lld bytes for output %d '%s'",
                            (long long)bytes, output, port->name);
    session->run.values[bound->root].data = bound->given != NULL ? bound->given : bound->own;
    return 0;
}

static int bind(tamis_session *session, tamis_error *error) {
    int64_t needed = session->run.workspace_bytes;
    if (session->given_workspace != NULL && session->given_workspace_bytes < needed)
        return tm_host_fail(error, TM_HOST_USAGE,
                            "the workspace is too small\n    expected %lld bytes\n    found    %lld bytes",
                            (long long)needed, (long long)session->given_workspace_bytes);
    if (session->given_workspace == NULL && needed > 0 &&
        !ensure(session, &session->own_workspace, &session->own_workspace_bytes, needed))
        return tm_host_fail(error, TM_HOST_OUT_OF_MEMORY, "out of memory: %lld bytes of workspace",
                            (long long)needed);
    session->run.workspace =
        session->given_workspace != NULL ? session->given_workspace : session->own_workspace;
    if (session->run.workspace == NULL)
        session->run.workspace = (uint8_t *)session; /* no bytes are needed; a base for empty slots */
    for (int32_t i = 0; i < session->model->artifact->output_count; i++) {
        int code = bind_output(session, i, error);
        if (code != 0)
            return code;
    }
    session->run.slots = session->adapter != NULL ? (const void *const *)session->adapter->forms : NULL;
    session->adapter_version = session->adapter != NULL ? session->adapter->version : 0;
    tm_run_bind(&session->run, session->model->artifact);
    session->bound = true;
    return 0;
}

/* ---- running ---- */

/* Copies outputs that the plan placed elsewhere (late ones, and those that are inputs or constants)
 * into the memory that the caller gave for them. */
static int deliver(tamis_session *session, tamis_error *error) {
    const tamis_artifact *artifact = session->model->artifact;
    for (int32_t i = 0; i < artifact->output_count; i++) {
        tm_bound_output *bound = &session->outputs[i];
        const tamis_tensor *value = &session->run.values[artifact->outputs[i].value];
        if (bound->given == NULL || value->kind != TAMIS_KIND_TENSOR || value->data == bound->given)
            continue;
        int64_t bytes = output_bytes(session, i);
        if (bytes < 0 || bytes > bound->given_bytes)
            return tm_host_fail(error, TM_HOST_USAGE,
                                "memory of output %d '%s' is too small\n    expected %lld bytes\n"
                                "    found    %lld bytes",
                                i, artifact->outputs[i].name, (long long)bytes,
                                (long long)bound->given_bytes);
        if (bytes > 0)
            memcpy(bound->given, value->data, (size_t)bytes);
    }
    return 0;
}

int tamis_session_run(tamis_session *session, tamis_error *out_error) {
    int code = tamis_session_prepare(session, out_error);
    if (code != 0)
        return code;
    if (session->adapter != NULL && session->adapter->version != session->adapter_version)
        session->bound = false;
    if (!session->bound) {
        code = bind(session, out_error);
        if (code != 0)
            return code;
    }
    bool flush = (session->run.flags & TM_RUN_STRICT) == 0;
    uint64_t mode = flush ? tm_float_mode_enter() : 0;
    session->run.code = 0;
    const tamis_artifact *artifact = session->model->artifact;
    int32_t failed = session->slice > 0 ? tm_slices_execute(&session->run, artifact, session->slice,
                                                            session->model->profiled)
                                        : artifact->execute(&session->run);
    if (flush)
        tm_float_mode_set(mode);
    if (failed != 0)
        return tm_host_fail_run(out_error, session);
    return deliver(session, out_error);
}

const tamis_tensor *tamis_session_output(const tamis_session *session, int output) {
    const tamis_artifact *artifact = session->model->artifact;
    if (output < 0 || output >= artifact->output_count)
        return NULL;
    return &session->run.values[artifact->outputs[output].value];
}
