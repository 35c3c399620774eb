/* SPDX-License-Identifier: Apache-2.0
 *
 * support.c: memory of a run: buffers that grow, the arena of handles, scratch.
 *
 * A value whose dims depend on data has a buffer: tm_reserve() makes it large enough and points the
 * frame entry at it. Buffers are kept from run to run, so a run whose sizes were seen before does not
 * allocate. Sequences and strings live in the arena, a chain of chunks that the next execute()
 * starts over.
 *
 * Why not one heap block a value and run: a decoding loop would then call the allocator once
 * for each value and step.
 */
#include "runtime/kernel.h"
#include "runtime/support.h"

#define ARENA_CHUNK ((int64_t)65536)

typedef struct tm_arena_chunk {
    struct tm_arena_chunk *next; /* older chunks, or chunks kept for reuse after the current one */
    int64_t bytes;               /* of the whole chunk */
    int64_t used;                /* header included */
    int64_t padding;
} tm_arena_chunk;

static const uint8_t type_bits[TAMIS_TYPE_COUNT] = {
#define TM_TYPE(number, name, text, suffix, bits) [number] = bits,
#include "tamis/types.def"
#undef TM_TYPE
};

int64_t tm_type_bytes(int32_t type, int64_t count) {
    int64_t bits = type_bits[type];
    return bits >= 8 ? count * (bits / 8) : (count * bits + 7) / 8;
}

/* Makes buffer `number` hold at least `bytes`, keeping the first `keep` bytes. */
static int32_t grow(tm_run *run, int32_t node, int32_t number, int64_t bytes, int64_t keep) {
    tm_buffer *buffer = &run->buffers[number];
    if (buffer->bytes >= bytes && buffer->data != NULL)
        return 0;
    int64_t wanted = bytes < 64 ? 64 : bytes;
    if (buffer->bytes > 0 && wanted < buffer->bytes + buffer->bytes / 2)
        wanted = buffer->bytes + buffer->bytes / 2;
    void *data = run->host->allocate(run->host->user, (size_t)wanted);
    if (data == NULL)
        return tm_driver_fail(run, node, TM_RUN_MEMORY, wanted, 0);
    if (keep > 0)
        memcpy(data, buffer->data, (size_t)keep);
    if (buffer->data != NULL)
        run->host->release(run->host->user, buffer->data, (size_t)buffer->bytes);
    buffer->data = data;
    buffer->bytes = wanted;
    return 0;
}

static bool value_bytes(const tamis_tensor *t, int64_t *out_bytes) {
    int64_t count = 1;
    for (int32_t i = 0; i < t->rank; i++)
        if (t->dims[i] < 0 || __builtin_mul_overflow(count, t->dims[i], &count))
            return false;
    if (count > INT64_MAX / 16)
        return false;
    *out_bytes = tm_type_bytes(t->type, count);
    return true;
}

int32_t tm_reserve_bytes(tm_run *run, int32_t node, int32_t value, int64_t bytes) {
    int32_t number = run->value_buffers[value];
    if (number < 0)
        return 0;
    int32_t code = grow(run, node, number, bytes, 0);
    if (code == 0)
        run->values[value].data = run->buffers[number].data;
    return code;
}

int32_t tm_reserve(tm_run *run, const tm_call *call, int32_t value, int64_t bytes) {
    return tm_reserve_bytes(run, call->node, value, bytes);
}

int32_t tm_output(tm_run *run, const tm_call *call, int k, int32_t rank, const int64_t *dims) {
    tamis_tensor *t = tm_out(run, call, k);
    if (t == NULL)
        return 0;
    int32_t value = call->values[call->n_in + k];
    if (t->rank != rank)
        return tm_fail(run, call, TM_RUN_DIM_MISMATCH, t->rank, rank);
    if (run->value_buffers[value] < 0) { /* planned ahead: the dims must be the planned ones */
        for (int32_t i = 0; i < rank; i++)
            if (t->dims[i] != dims[i])
                return tm_fail(run, call, TM_RUN_OUTPUT_DIM, t->dims[i], dims[i]);
        return 0;
    }
    for (int32_t i = 0; i < rank; i++)
        t->dims[i] = dims[i];
    return tm_reserve_value(run, call->node, value);
}

int32_t tm_reserve_value(tm_run *run, int32_t node, int32_t value) {
    tamis_tensor *t = &run->values[value];
    int64_t bytes;
    for (int32_t i = 0; i < t->rank; i++)
        if (t->dims[i] < 0)
            return tm_driver_fail(run, node, TM_RUN_DIM_NEGATIVE, t->dims[i], i);
    if (!value_bytes(t, &bytes))
        return tm_driver_fail(run, node, TM_RUN_DIM_OVERFLOW, 0, 0);
    return tm_reserve_bytes(run, node, value, bytes);
}

void *tm_arena(tm_run *run, const tm_call *call, int64_t bytes) {
    bytes = (bytes + 15) & ~(int64_t)15;
    tm_arena_chunk *chunk = run->arena;
    if (chunk == NULL || chunk->bytes - chunk->used < bytes) {
        int64_t size = (int64_t)sizeof(tm_arena_chunk) + bytes;
        int64_t wanted = chunk != NULL && chunk->bytes < (int64_t)1 << 26 ? chunk->bytes * 2 : ARENA_CHUNK;
        if (size < wanted)
            size = wanted;
        tm_arena_chunk *fresh = run->host->allocate(run->host->user, (size_t)size);
        if (fresh == NULL) {
            tm_fail(run, call, TM_RUN_MEMORY, size, 0);
            return NULL;
        }
        fresh->next = chunk;
        fresh->bytes = size;
        fresh->used = (int64_t)sizeof(tm_arena_chunk);
        run->arena = chunk = fresh;
    }
    void *memory = (char *)chunk + chunk->used;
    chunk->used += bytes;
    return memory;
}

/* Keeps the newest chunk only: it is as large as all older ones together. */
void tm_arena_reset(tm_run *run) {
    tm_arena_chunk *chunk = run->arena;
    if (chunk == NULL)
        return;
    for (tm_arena_chunk *old = chunk->next; old != NULL;) {
        tm_arena_chunk *next = old->next;
        run->host->release(run->host->user, old, (size_t)old->bytes);
        old = next;
    }
    chunk->next = NULL;
    chunk->used = (int64_t)sizeof(tm_arena_chunk);
}

void tm_arena_destroy(tm_run *run) {
    tm_arena_reset(run);
    if (run->arena != NULL)
        run->host->release(run->host->user, run->arena, (size_t)run->arena->bytes);
    run->arena = NULL;
}

void *tm_scratch(tm_run *run, const tm_call *call, int64_t bytes) {
    void *memory = run->host->allocate(run->host->user, (size_t)(bytes > 0 ? bytes : 1));
    if (memory == NULL)
        tm_fail(run, call, TM_RUN_MEMORY, bytes, 0);
    return memory;
}

void tm_unscratch(tm_run *run, void *memory, int64_t bytes) {
    if (memory != NULL)
        run->host->release(run->host->user, memory, (size_t)(bytes > 0 ? bytes : 1));
}

/* ---- copies between values: control flow ---- */

/* Copies dims and data of `from` into `to`, whose data go to buffer `number` (or to its fixed memory). */
static int32_t copy_into(tm_run *run, int32_t node, tamis_tensor *to, const tamis_tensor *from,
                         int32_t number, bool set_dims, void **out_data) {
    if (to->kind != TAMIS_KIND_TENSOR) {
        *out_data = from->data;
        return 0;
    }
    int64_t bytes;
    if (!value_bytes(from, &bytes))
        return tm_driver_fail(run, node, TM_RUN_DIM_OVERFLOW, 0, 0);
    void *data = to->data;
    if (number >= 0) {
        int32_t code = grow(run, node, number, bytes, 0);
        if (code != 0)
            return code;
        data = run->buffers[number].data;
    }
    for (int32_t i = 0; set_dims && i < to->rank; i++)
        to->dims[i] = from->dims[i];
    if (data != from->data && bytes > 0)
        memmove(data, from->data, (size_t)bytes);
    *out_data = data;
    return 0;
}

int32_t tm_copy_value(tm_run *run, int32_t node, int32_t to, int32_t from) {
    tamis_tensor *target = &run->values[to];
    const tamis_tensor *source = &run->values[from];
    if (target->kind == TAMIS_KIND_TENSOR && target->rank != source->rank)
        return tm_driver_fail(run, node, TM_RUN_DIM_MISMATCH, target->rank, source->rank);
    if (target->kind == TAMIS_KIND_TENSOR && run->value_buffers[to] < 0)
        for (int32_t i = 0; i < target->rank; i++)
            if (target->dims[i] != source->dims[i])
                return tm_driver_fail(run, node, TM_RUN_DIM_MISMATCH, target->dims[i], source->dims[i]);
    void *data = NULL;
    int32_t code =
        copy_into(run, node, target, source, run->value_buffers[to], run->value_buffers[to] >= 0, &data);
    if (code == 0)
        target->data = data;
    return code;
}

/* Phase one copies data into each target's second buffer and the dims behind its dims (the planner
 * gives carried values twice the dims, and handles two unused buffers); phase two makes them visible. */
int32_t tm_carry(tm_run *run, int32_t node, const int32_t *pairs, int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        int32_t number = run->value_buffers[pairs[2 * i]];
        tamis_tensor *to = &run->values[pairs[2 * i]];
        const tamis_tensor *from = &run->values[pairs[2 * i + 1]];
        if (to->kind != TAMIS_KIND_TENSOR) {
            run->buffers[number + 1].data = from->data;
            continue;
        }
        if (to->rank != from->rank)
            return tm_driver_fail(run, node, TM_RUN_DIM_MISMATCH, to->rank, from->rank);
        void *data = NULL;
        int32_t code = copy_into(run, node, to, from, number + 1, false, &data);
        if (code != 0)
            return code;
        for (int32_t d = 0; d < to->rank; d++)
            to->dims[to->rank + d] = from->dims[d];
    }
    for (int32_t i = 0; i < count; i++) {
        tm_buffer *buffers = &run->buffers[run->value_buffers[pairs[2 * i]]];
        tamis_tensor *to = &run->values[pairs[2 * i]];
        to->data = buffers[1].data;
        if (to->kind != TAMIS_KIND_TENSOR)
            continue;
        tm_buffer current = buffers[1];
        buffers[1] = buffers[0];
        buffers[0] = current;
        for (int32_t d = 0; d < to->rank; d++)
            to->dims[d] = to->dims[to->rank + d];
    }
    return 0;
}
