/* SPDX-License-Identifier: Apache-2.0
 *
 * Sequences and optionals at the border of a model. Inside, a sequence is a tm_sequence: a count and
 * the items' tamis_tensor records. For an input the session makes such a list in memory of its own,
 *
 *     tm_sequence | item 0 | item 1 | ... | dims of item 0 | dims of item 1 | ...
 *
 * whose data pointers are the caller's: nothing of the tensors is copied. An optional of a sequence
 * is a list of one item, which is the sequence.
 */
#include "runtime/runtime_internal.h"

#include <string.h>

static bool block_bytes(const tamis_tensor *items, int64_t count, size_t *out_bytes) {
    if (count < 0 ||
        count > INT64_MAX / (int64_t)(sizeof(tamis_tensor) + TAMIS_MAX_RANK * sizeof(int64_t)) - 1)
        return false;
    size_t bytes = sizeof(tm_sequence) + (size_t)count * sizeof(tamis_tensor);
    for (int64_t i = 0; i < count; i++) {
        if (items[i].rank > TAMIS_MAX_RANK)
            return false;
        bytes += items[i].rank > 0 ? (size_t)items[i].rank * sizeof(int64_t) : 0;
    }
    *out_bytes = bytes;
    return true;
}

/* Makes the input's block at least `bytes` large. */
static bool reserve_block(tamis_session *session, tm_bound_input *bound, size_t bytes) {
    if (bound->sequence != NULL && bound->sequence_bytes >= bytes)
        return true;
    if (bound->sequence != NULL)
        session->host.release(session->host.user, bound->sequence, bound->sequence_bytes);
    bound->sequence = session->host.allocate(session->host.user, bytes);
    bound->sequence_bytes = bound->sequence != NULL ? bytes : 0;
    return bound->sequence != NULL;
}

int tm_host_bind_sequence(tamis_session *session, int input, const tamis_tensor *items, int64_t count,
                          bool nested, tamis_error *error) {
    tm_bound_input *bound = &session->inputs[input];
    const tamis_port *port = &session->model->artifact->inputs[input];
    size_t bytes, outer = nested ? sizeof(tm_sequence) + sizeof(tamis_tensor) : 0;
    if (!block_bytes(items, count, &bytes))
        return tm_host_fail(error, TM_HOST_USAGE, "input %d '%s': bad count or rank of items", input,
                            port->name);
    if (!reserve_block(session, bound, outer + bytes))
        return tm_host_fail(error, TM_HOST_OUT_OF_MEMORY, "out of memory: %zu bytes for input %d", bytes,
                            input);
    tm_sequence *sequence = (tm_sequence *)(void *)((char *)bound->sequence + outer);
    int64_t *dims = (int64_t *)(void *)&sequence->items[count];
    sequence->count = count;
    for (int64_t i = 0; i < count; i++) {
        sequence->items[i] = items[i];
        sequence->items[i].dims = dims;
        if (items[i].kind == TAMIS_KIND_NONE)
            sequence->items[i].kind = TAMIS_KIND_TENSOR;
        for (int32_t d = 0; d < items[i].rank; d++)
            *dims++ = items[i].dims[d];
    }
    if (nested) {
        bound->sequence->count = 1;
        bound->sequence->items[0] =
            (tamis_tensor){.data = sequence, .rank = -1, .type = port->type, .kind = TAMIS_KIND_SEQUENCE};
    }
    bool none = count == 0 && port->kind == TAMIS_KIND_OPTIONAL && !nested;
    session->run.values[port->value].data = none ? NULL : bound->sequence;
    return 0;
}

void tm_host_release_sequences(tamis_session *session) {
    for (int32_t i = 0; i < session->model->artifact->input_count; i++)
        if (session->inputs[i].sequence != NULL)
            session->host.release(session->host.user, session->inputs[i].sequence,
                                  session->inputs[i].sequence_bytes);
}

const tamis_tensor *tamis_tensor_items(const tamis_tensor *value, int64_t *out_count) {
    *out_count = 0;
    if (value == NULL || value->kind == TAMIS_KIND_TENSOR || value->data == NULL)
        return NULL;
    const tm_sequence *sequence = value->data;
    *out_count = sequence->count;
    return sequence->items;
}

const tamis_tensor *tamis_session_output_sequence(const tamis_session *session, int output,
                                                  int64_t *out_count) {
    return tamis_tensor_items(tamis_session_output(session, output), out_count);
}
