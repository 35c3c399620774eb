/* SPDX-License-Identifier: Apache-2.0
 *
 * support_scan.c: scan inputs and outputs of Loop and Scan.
 *
 * A Loop's scan output grows by appending: its length is not known before the loop ends, so the
 * buffer doubles ([f32 4] appended three times gives f32[3, 4] in room for 4 rows). A Scan's length is known:
 * its outputs are sized by the first iteration and filled in place, along any axis and in either direction.
 */
#include "runtime/kernel.h"
#include "runtime/support.h"

void tm_scan_begin(tm_run *run, int32_t to) {
    run->values[to].dims[0] = 0;
}

static int64_t element_bytes(const tamis_tensor *t, int64_t count) {
    return tm_type_bytes(t->type, count);
}

int32_t tm_scan_append(tm_run *run, int32_t node, int32_t to, int32_t from) {
    tamis_tensor *target = &run->values[to];
    const tamis_tensor *source = &run->values[from];
    int64_t length = target->dims[0];
    for (int32_t i = 0; i < source->rank; i++) {
        if (length > 0 && target->dims[i + 1] != source->dims[i])
            return tm_driver_fail(run, node, TM_RUN_DIM_MISMATCH, target->dims[i + 1], source->dims[i]);
        target->dims[i + 1] = source->dims[i];
    }
    int64_t row = element_bytes(source, tm_count(source));
    tm_buffer *buffer = &run->buffers[run->value_buffers[to]];
    if (buffer->data == NULL || buffer->bytes < (length + 1) * row) {
        int64_t wanted = (length + 1) * row * 2;
        if (wanted < 64)
            wanted = 64;
        void *data = run->host->allocate(run->host->user, (size_t)wanted);
        if (data == NULL)
            return tm_driver_fail(run, node, TM_RUN_MEMORY, wanted, 0);
        if (buffer->data != NULL) {
            memcpy(data, buffer->data, (size_t)(length * row));
            run->host->release(run->host->user, buffer->data, (size_t)buffer->bytes);
        }
        buffer->data = data;
        buffer->bytes = wanted;
    }
    target->data = buffer->data;
    if (row > 0)
        memcpy((char *)buffer->data + length * row, source->data, (size_t)row);
    target->dims[0] = length + 1;
    return 0;
}

int32_t tm_scan_slice(tm_run *run, int32_t node, int32_t to, int32_t from, int32_t axis, int64_t index) {
    tamis_tensor *target = &run->values[to];
    const tamis_tensor *source = &run->values[from];
    for (int32_t i = 0, k = 0; i < source->rank; i++)
        if (i != axis)
            target->dims[k++] = source->dims[i];
    int64_t outer = tm_product(source->dims, 0, axis);
    int64_t inner = element_bytes(source, tm_product(source->dims, axis + 1, source->rank));
    if (outer == 1) {
        target->data = (char *)source->data + index * inner;
        return 0;
    }
    int32_t code = tm_reserve_value(run, node, to);
    if (code != 0)
        return code;
    int64_t length = source->dims[axis];
    target->data = run->buffers[run->value_buffers[to]].data;
    for (int64_t o = 0; o < outer; o++)
        memcpy((char *)target->data + o * inner, (const char *)source->data + (o * length + index) * inner,
               (size_t)inner);
    return 0;
}

int32_t tm_scan_store(tm_run *run, int32_t node, int32_t to, int32_t from, int32_t axis, int64_t index,
                      int64_t length, int32_t first) {
    tamis_tensor *target = &run->values[to];
    const tamis_tensor *source = &run->values[from];
    bool planned = run->value_buffers[to] < 0;
    for (int32_t i = 0, k = 0; i < target->rank; i++) {
        int64_t dim = i == axis ? length : source->dims[k++];
        if ((planned || !first) && target->dims[i] != dim)
            return tm_driver_fail(run, node, TM_RUN_DIM_MISMATCH, target->dims[i], dim);
        target->dims[i] = dim;
    }
    if (first && !planned) {
        int32_t code = tm_reserve_value(run, node, to);
        if (code != 0)
            return code;
    }
    int64_t outer = tm_product(target->dims, 0, axis);
    int64_t inner = element_bytes(target, tm_product(target->dims, axis + 1, target->rank));
    for (int64_t o = 0; o < outer; o++)
        memcpy((char *)target->data + (o * length + index) * inner, (const char *)source->data + o * inner,
               (size_t)inner);
    return 0;
}
