/* SPDX-License-Identifier: Apache-2.0
 *
 * support_scan.c: scan inputs and outputs of Loop and Scan.
 *
 * A Loop's scan output grows by appending: its length is not known before the loop ends, so the
 * buffer doubles ([f32 4] appended three times gives f32[3, 4] in room for 4 rows). A Scan's length is known:
 * its outputs are sized by the first iteration and filled in place, along any axis and in either direction.
 * Positions are counted in elements, since a row of elements of 2 or 4 bits may start inside of a byte.
 */
#include "runtime/ops/move.h"
#include "runtime/support.h"

void tm_scan_begin(tm_run *run, int32_t to) {
    run->values[to].dims[0] = 0;
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
    const int64_t row = tm_count(source);
    tm_buffer *buffer = &run->buffers[run->value_buffers[to]];
    if (buffer->data == NULL || buffer->bytes < tm_type_bytes(source->type, (length + 1) * row)) {
        int64_t wanted = tm_type_bytes(source->type, (length + 1) * row) * 2;
        if (wanted < 64)
            wanted = 64;
        void *data = run->host->allocate(run->host->user, (size_t)wanted);
        if (data == NULL)
            return tm_driver_fail(run, node, TM_RUN_MEMORY, wanted, 0);
        if (buffer->data != NULL) {
            memcpy(data, buffer->data, (size_t)tm_type_bytes(source->type, length * row));
            run->host->release(run->host->user, buffer->data, (size_t)buffer->bytes);
        }
        buffer->data = data;
        buffer->bytes = wanted;
    }
    target->data = buffer->data;
    const int bits = tm_type_width(source->type);
    const int64_t end = tm_type_bytes(source->type, (length + 1) * row);
    if (bits < 8 && end > tm_type_bytes(source->type, length * row))
        ((uint8_t *)buffer->data)[end - 1] = 0; /* its unused bits */
    if (row > 0)
        tm_copy_elements(buffer->data, length * row, source->data, 0, row, bits);
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
    const int64_t inner = tm_product(source->dims, axis + 1, source->rank);
    const int bits = tm_type_width(source->type);
    if (outer == 1 && bits >= 8) {
        target->data = (char *)source->data + index * inner * (bits / 8);
        return 0;
    }
    int32_t code = tm_reserve_value(run, node, to);
    if (code != 0)
        return code;
    int64_t length = source->dims[axis];
    target->data = run->buffers[run->value_buffers[to]].data;
    tm_clear_tail(target, bits);
    for (int64_t o = 0; o < outer; o++)
        tm_copy_elements(target->data, o * inner, source->data, (o * length + index) * inner, inner, bits);
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
    const int64_t inner = tm_product(target->dims, axis + 1, target->rank);
    const int bits = tm_type_width(target->type);
    if (first)
        tm_clear_tail(target, bits);
    for (int64_t o = 0; o < outer; o++)
        tm_copy_elements(target->data, (o * length + index) * inner, source->data, o * inner, inner, bits);
    return 0;
}
