/* SPDX-License-Identifier: Apache-2.0
 *
 * coder.c: a range coder with adaptive models; see coder.h.
 *
 * The range is cut in proportion to the shares of sixteen values, and the part of the value that comes is the
 * next range. Bytes that can no longer change leave at the top; one that a carry might still raise is held
 * back:
 *
 *     low   00 7f ff ff 12...     7f is held, two of ff are counted: a carry makes 80 00 00 of them
 *
 * Which bytes of the elements are worth coding is tried out on as much of them as tells: a byte of noise
 * takes less when it is stored as it is. So are frequencies that other constants left, against fresh ones.
 */
#include "codegen/coder.h"

#include <math.h>
#include <string.h>

#define TRIED 32768 /* elements that tell enough */

/* ---- pieces ---- */

void tm_pieces_add(tm_pieces *pieces, const void *data, size_t bytes) {
    const uint8_t *from = data;
    while (bytes > 0) {
        size_t used = (size_t)(pieces->bytes % TM_PIECE_BYTES);
        if (used == 0)
            tm_push(pieces->arena, &pieces->list, tm_arena_alloc(pieces->arena, TM_PIECE_BYTES));
        size_t part = TM_PIECE_BYTES - used < bytes ? TM_PIECE_BYTES - used : bytes;
        memcpy(pieces->list.items[pieces->list.count - 1] + used, from, part);
        pieces->bytes += (int64_t)part;
        from += part;
        bytes -= part;
    }
}

const uint8_t *tm_pieces_get(const tm_pieces *pieces, size_t i, size_t *out_bytes) {
    int64_t left = pieces->bytes - (int64_t)i * TM_PIECE_BYTES;
    *out_bytes = (size_t)(left < TM_PIECE_BYTES ? left : TM_PIECE_BYTES);
    return pieces->list.items[i];
}

/* ---- the coder ---- */

static void put_byte(tm_coder *coder, uint8_t byte) {
    tm_pieces_add(&coder->stream, &byte, 1);
}

static void shift(tm_coder *coder) {
    if (coder->held_count == 0 || coder->low < 0xff000000u || coder->low > UINT32_MAX) {
        uint8_t carry = (uint8_t)(coder->low >> 32);
        if (coder->held_count > 0)
            put_byte(coder, (uint8_t)(coder->held + carry));
        for (; coder->held_count > 1; coder->held_count--)
            put_byte(coder, (uint8_t)(0xff + carry));
        coder->held_count = 0;
        coder->held = (uint8_t)(coder->low >> 24);
    }
    coder->held_count++;
    coder->low = coder->low << 8 & UINT32_MAX;
}

static void code_half(tm_coder *coder, tm_stored_model *model, uint16_t *seen, int value) {
    uint32_t low = value > 0 ? tm_stored_share(model, value - 1) : 0;
    uint32_t high = value < 15 ? tm_stored_share(model, value) : 1u << TM_STORED_BITS;
    coder->range >>= TM_STORED_BITS;
    coder->low += (uint64_t)low * coder->range;
    coder->range *= high - low;
    while (coder->range < 1u << 24) {
        coder->range <<= 8;
        shift(coder);
    }
    tm_stored_learn(model, value, *seen);
    *seen = (uint16_t)(*seen + (*seen < 1000));
}

static void code_byte(tm_coder *coder, tm_stored_byte *byte, unsigned value) {
    unsigned high = value >> 4;
    code_half(coder, &byte->models[16], &byte->seen[16], (int)high);
    code_half(coder, &byte->models[high], &byte->seen[high], (int)(value & 15));
}

void tm_coder_init(tm_coder *coder, tm_arena *arena) {
    memset(coder, 0, sizeof *coder);
    coder->raw.arena = coder->stream.arena = arena;
    coder->range = UINT32_MAX;
    for (int i = 0; i < TM_STORED_BYTES; i++)
        tm_stored_begin(&coder->models.bytes[i]);
}

void tm_coder_number(tm_coder *coder, int64_t value) {
    uint64_t left = (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
    for (; left > 127; left >>= 7)
        code_byte(coder, &coder->models.bytes[TM_STORED_BYTES - 1], (unsigned)(left & 127) | 128);
    code_byte(coder, &coder->models.bytes[TM_STORED_BYTES - 1], (unsigned)left);
}

void tm_coder_raw(tm_coder *coder, const void *data, size_t bytes) {
    tm_pieces_add(&coder->raw, data, bytes);
}

void tm_coder_end(tm_coder *coder) {
    for (int i = 0; i < 5; i++)
        shift(coder);
}

/* ---- elements ---- */

static uint64_t element(const tm_elements *e, int64_t i) {
    uint64_t value = 0;
    memcpy(&value, (const uint8_t *)e->data + i * e->size, (size_t)e->size);
    int bits = 8 * e->size;
    if (e->turn)
        value = (value << 1 | value >> (bits - 1)) & (bits < 64 ? (1ull << bits) - 1 : UINT64_MAX);
    return value;
}

/* Where byte k of an element has its models, given the elements before it. */
static int context(const tm_elements *e, int64_t i, int k) {
    int top = e->size - 1;
    if (k != top)
        return top - k;
    int zeros = (i > 0 && element(e, i - 1) >> (8 * top) == 0) +
                2 * (i >= e->columns && element(e, i - e->columns) >> (8 * top) == 0);
    return zeros == 0 ? 0 : 7 + zeros;
}

static double half_cost(tm_stored_model *model, uint16_t *seen, unsigned value) {
    uint32_t low = value > 0 ? tm_stored_share(model, (int)value - 1) : 0;
    uint32_t high = value < 15 ? tm_stored_share(model, (int)value) : 1u << TM_STORED_BITS;
    tm_stored_learn(model, (int)value, *seen);
    *seen = (uint16_t)(*seen + (*seen < 1000));
    return TM_STORED_BITS - (double)log2f((float)(high - low));
}

/* Bits for each element, of byte k, by models that start as those of `from` or anew; out_skipped: of the
 * elements that were tried, those whose highest byte is zero. */
static double byte_cost(const tm_elements *e, int k, const tm_stored_models *from, bool skips, int64_t first,
                        int64_t count) {
    tm_stored_models models;
    if (from != NULL)
        models = *from;
    else
        for (int i = 0; i < TM_STORED_BYTES; i++)
            tm_stored_begin(&models.bytes[i]);
    double bits = 0;
    for (int64_t i = first; i < first + count; i++) {
        uint64_t value = element(e, i);
        if (skips && k < e->size - 1 && value >> (8 * (e->size - 1)) == 0)
            continue;
        tm_stored_byte *byte = &models.bytes[context(e, i, k)];
        unsigned part = (unsigned)(value >> (8 * k)) & 255;
        bits += half_cost(&byte->models[16], &byte->seen[16], part >> 4);
        bits += half_cost(&byte->models[part >> 4], &byte->seen[part >> 4], part & 15);
    }
    return bits;
}

typedef struct coding {
    unsigned mask;
    bool fresh, skips;
    double bytes;
} coding;

static bool may_skip(const tm_elements *e, int64_t *out_zeros) {
    *out_zeros = 0;
    int top = 8 * (e->size - 1);
    for (int64_t i = 0; i < e->count; i++) {
        uint64_t value = element(e, i);
        if (value == 0)
            ++*out_zeros;
        else if (value >> top == 0)
            return false;
    }
    return *out_zeros > 0 && e->size > 1;
}

static coding choose(const tm_stored_models *models, const tm_elements *e) {
    coding best = {.bytes = -1};
    int64_t zeros, count = e->count < TRIED ? e->count : TRIED, first = (e->count - count) / 2;
    bool skips = may_skip(e, &zeros);
    for (int fresh = 0; fresh < 2; fresh++) {
        coding c = {.fresh = fresh != 0, .skips = skips};
        for (int k = 0; k < e->size; k++) {
            double share = skips && k < e->size - 1 ? (double)(e->count - zeros) : (double)e->count;
            double coded = byte_cost(e, k, fresh != 0 ? NULL : models, skips, first, count) / 8;
            if (count < e->count) /* what is learnt is paid for once */
                coded *= (double)e->count / (double)count;
            if (coded < share || (skips && k == e->size - 1))
                c.mask |= 1u << k;
            c.bytes += coded < share || (skips && k == e->size - 1) ? coded : share;
        }
        if (best.bytes < 0 || c.bytes < best.bytes)
            best = c;
    }
    return best;
}

double tm_coder_cost(const tm_coder *coder, const tm_elements *elements) {
    return elements->count > 0 ? choose(&coder->models, elements).bytes + 2 : 2;
}

static int log2_of(int size) {
    return size == 8 ? 3 : size == 4 ? 2 : size == 2 ? 1 : 0;
}

void tm_coder_elements(tm_coder *coder, const tm_elements *e) {
    coding c = choose(&coder->models, e);
    tm_coder_number(coder, log2_of(e->size) | (e->turn ? TM_STORED_TURN : 0) |
                               (c.skips ? TM_STORED_SKIP : 0) | (c.fresh ? TM_STORED_FRESH : 0) |
                               TM_STORED_MASK * (int64_t)c.mask);
    if (c.fresh)
        for (int i = 0; i < TM_STORED_BYTES - 1; i++)
            tm_stored_begin(&coder->models.bytes[i]);
    int top = e->size - 1;
    for (int64_t i = 0; i < e->count; i++) {
        uint64_t value = element(e, i);
        for (int k = top; k >= 0; k--) {
            uint8_t part = (uint8_t)(value >> (8 * k));
            if ((c.mask >> k & 1) != 0)
                code_byte(coder, &coder->models.bytes[context(e, i, k)], part);
            else
                tm_coder_raw(coder, &part, 1);
            if (k == top && part == 0 && c.skips)
                break;
        }
    }
}
