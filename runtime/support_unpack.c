/* SPDX-License-Identifier: Apache-2.0
 *
 * support_unpack.c: makes the weights that a run reads out of coded ones; see include/tamis/stored.h.
 *
 * The check value is compared before anything is read, so that what follows may believe every number.
 * Elements that are smaller than what is made of them are decoded to the end of its place and widened from
 * there on forwards, so no other memory is needed.
 */
#include "runtime/unpack.h"

#include "runtime/ops/element.h"

/* One of sixteen values. */
static int half(tm_unpacker *u, tm_stored_model *model, uint16_t *seen) {
    u->range >>= TM_STORED_BITS;
    uint32_t at = u->code / u->range;
    at = at < (1u << TM_STORED_BITS) ? at : (1u << TM_STORED_BITS) - 1;
    int value = 0;
    for (int i = 0; i < 16; i++) /* the last share is more than `at` can be */
        value += tm_stored_share(model, i) <= at;
    uint32_t low = value > 0 ? tm_stored_share(model, value - 1) : 0;
    uint32_t high = value < 15 ? tm_stored_share(model, value) : 1u << TM_STORED_BITS;
    u->code -= low * u->range;
    u->range *= high - low;
    while (u->range < 1u << 24) {
        u->range <<= 8;
        u->code = u->code << 8 | *u->stream++;
    }
    tm_stored_learn(model, value, *seen);
    *seen += *seen < 1000;
    return value;
}

static unsigned byte(tm_unpacker *u, tm_stored_byte *b) {
    int high = half(u, &b->models[16], &b->seen[16]);
    return (unsigned)(high << 4 | half(u, &b->models[high], &b->seen[high]));
}

int64_t tm_unpack_number(tm_unpacker *u) {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        unsigned next = byte(u, &u->models.bytes[TM_STORED_BYTES - 1]);
        value |= (uint64_t)(next & 127) << shift;
        if (next < 128)
            return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
    }
}

void tm_unpack_elements(tm_unpacker *u, uint8_t *to, int64_t count, int64_t columns) {
    int64_t list = tm_unpack_number(u);
    int size = 1 << (list & 7), top = size - 1;
    unsigned mask = (unsigned)(list / TM_STORED_MASK);
    if ((list & TM_STORED_FRESH) != 0)
        for (int i = 0; i < TM_STORED_BYTES - 1; i++)
            tm_stored_begin(&u->models.bytes[i]);
    uint8_t *start = to;
    for (int64_t i = 0; i < count; i++, to += size) {
        uint64_t value = 0;
        for (int k = top; k >= 0; k--) {
            int context = top - k;
            if (k == top) { /* zero before it, above it */
                int zeros =
                    (i > 0 && to[top - size] == 0) + 2 * (i >= columns && to[top - columns * size] == 0);
                context = zeros == 0 ? 0 : 7 + zeros;
            }
            unsigned next = (mask >> k & 1) != 0 ? byte(u, &u->models.bytes[context]) : *u->raw++;
            value |= (uint64_t)next << (8 * k);
            if (k == top && next == 0 && (list & TM_STORED_SKIP) != 0)
                break;
        }
        memcpy(to, &value, (size_t)size);
    }
    if ((list & TM_STORED_TURN) == 0)
        return;
    for (to = start; count-- > 0; to += size) { /* the sign's bit goes back to the top */
        uint64_t value = 0;
        memcpy(&value, to, (size_t)size);
        value = value >> 1 | value << (8 * size - 1);
        memcpy(to, &value, (size_t)size);
    }
}

/* Entry i of a raw table of float32, or of float16 (`narrow`). */
static uint32_t entry(const uint8_t *table, int64_t i, int64_t narrow) {
    uint32_t bits = 0;
    memcpy(&bits, table + (narrow != 0 ? 2 : 4) * i, narrow != 0 ? 2 : 4);
    return narrow != 0 ? tm_bits_of_f32(tm_load_f16((uint16_t)bits)) : bits;
}

static void widen(tm_unpacker *u, uint8_t *to, int64_t count) {
    int64_t brain = tm_unpack_number(u), columns = tm_unpack_number(u);
    const uint8_t *from = to + 2 * count;
    tm_unpack_elements(u, to + 2 * count, count, columns);
    for (int64_t i = 0; i < count; i++) {
        uint16_t narrow;
        memcpy(&narrow, from + 2 * i, 2);
        float wide = brain != 0 ? tm_load_bf16(narrow) : tm_load_f16(narrow);
        memcpy(to + 4 * i, &wide, 4);
    }
}

static void palette(tm_unpacker *u, uint8_t *to, int64_t count) {
    int64_t size = tm_unpack_number(u), entries = tm_unpack_number(u), chunk = tm_unpack_number(u);
    int64_t columns = tm_unpack_number(u);
    const uint8_t *table = u->raw, *from = to + (size - 1) * count;
    u->raw += (count + chunk - 1) / chunk * entries * size;
    tm_unpack_elements(u, to + (size - 1) * count, count, columns);
    for (int64_t i = 0; i < count; i++) {
        int64_t number = from[i];
        memcpy(to + size * i, table + (i / chunk * entries + number) * size, (size_t)size);
    }
}

static void linear(tm_unpacker *u, uint8_t *to, int64_t count) {
    int64_t size = tm_unpack_number(u), narrow = tm_unpack_number(u), scales = tm_unpack_number(u);
    int64_t columns = tm_unpack_number(u), rows = tm_unpack_number(u), block = tm_unpack_number(u);
    const uint8_t *table = u->raw, *from = to + (4 - size) * count;
    u->raw += scales * (narrow != 0 ? 2 : 4);
    tm_unpack_elements(u, to + (4 - size) * count, count, columns);
    for (int64_t i = 0; i < count; i++) {
        uint16_t wide = from[size * i];
        if (size == 2)
            memcpy(&wide, from + 2 * i, 2);
        int32_t number = size == 2 ? (int16_t)wide : (int8_t)wide;
        int64_t scale = scales == 1 ? 0 : tm_stored_scale(i, columns, rows, block);
        float value = (float)number * tm_f32_of_bits(entry(table, scale, narrow));
        memcpy(to + 4 * i, &value, 4);
    }
}

static void range(tm_unpacker *u, uint8_t *to, int64_t count) {
    int64_t size = tm_unpack_number(u), is_float = tm_unpack_number(u), start = tm_unpack_number(u);
    int64_t step = tm_unpack_number(u), inner = tm_unpack_number(u), length = tm_unpack_number(u);
    for (int64_t i = 0; i < count; i++) {
        int64_t value = start + step * (i / inner % length);
        if (is_float != 0)
            value = (int64_t)tm_bits_of_f32((float)value);
        memcpy(to + size * i, &value, (size_t)size);
    }
}

static void record(tm_unpacker *u, uint8_t *to, int64_t count, tm_stored_form form, tm_unpack_table *sines) {
    switch (form) {
    case TM_STORED_PLAIN: {
        int64_t columns = tm_unpack_number(u);
        tm_unpack_elements(u, to, count, columns);
        return;
    }
    case TM_STORED_WIDEN:
        widen(u, to, count);
        return;
    case TM_STORED_PALETTE:
        palette(u, to, count);
        return;
    case TM_STORED_LINEAR:
        linear(u, to, count);
        return;
    case TM_STORED_RANGE:
        range(u, to, count);
        return;
    case TM_STORED_SINES:
        sines(u, to, count);
        return;
    }
}

static uint64_t check(uint64_t hash, const uint8_t *data, uint64_t bytes) {
    for (; bytes > 0;) {
        uint64_t word = 0, part = bytes < 8 ? bytes : 8;
        if (part == 8)
            memcpy(&word, data, 8);
        else
            memcpy(&word, data, part);
        hash = tm_stored_mix(hash, word);
        data += part;
        bytes -= part;
    }
    return hash;
}

int32_t tm_unpack_all(const tamis_artifact *artifact, uint8_t *memory, tm_unpack_table *sines) {
    tm_stored_header header;
    tm_unpacker u;
    memcpy(&header, artifact->weights, sizeof header);
    uint64_t bytes = header.raw_bytes + header.stream_bytes;
    if (bytes != (uint64_t)artifact->stored_bytes - sizeof header ||
        check(tm_stored_check(&header), artifact->weights + sizeof header, bytes) != header.check)
        return TM_RUN_DAMAGED;
    u.raw = artifact->weights + sizeof header;
    u.stream = u.raw + header.raw_bytes;
    u.range = UINT32_MAX;
    u.code = 0;
    for (int i = 0; i < 4; i++)
        u.code = u.code << 8 | *u.stream++;
    for (int i = 0; i < TM_STORED_BYTES; i++)
        tm_stored_begin(&u.models.bytes[i]);
    memset(memory, 0, (size_t)artifact->weights_bytes);
    uint8_t *to = memory;
    for (uint32_t i = 0; i < header.records; i++) {
        tm_stored_form form = (tm_stored_form)tm_unpack_number(&u);
        to += tm_unpack_number(&u); /* from the end of the last constant */
        int64_t count = tm_unpack_number(&u), each = tm_unpack_number(&u);
        record(&u, to, count, form, sines);
        to += count * each;
    }
    return 0;
}

int32_t tm_unpack(const tamis_artifact *artifact, void *memory) {
    return tm_unpack_all(artifact, memory, NULL);
}
