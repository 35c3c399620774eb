/* SPDX-License-Identifier: Apache-2.0
 *
 * support_unpack_sines.c: unpack() of artifacts with tables of sines, such as positions of transformers have.
 *
 *     table[row, column] = sin or cos(row * frequency of the column)     (stored.h: which of them)
 *
 * The compiler stores such a table only if each value lies so far from where it would be rounded otherwise
 * that any sine of nearly double precision gives the same float32. What a model's table has besides, having
 * been made by a lesser sine, is coded as what is to be added to the bits.
 */
#include "runtime/math/math.h"
#include "runtime/unpack.h"

#include "runtime/ops/element.h"

static uint32_t rounded(float value, int rounding) {
    return rounding == TM_STORED_FLOAT32   ? tm_bits_of_f32(value)
           : rounding == TM_STORED_FLOAT16 ? tm_store_f16(value)
                                           : tm_store_bf16(value);
}

static uint32_t widened(uint32_t bits, int rounding) {
    return tm_bits_of_f32(rounding == TM_STORED_FLOAT16 ? tm_load_f16((uint16_t)bits)
                                                        : tm_load_bf16((uint16_t)bits));
}

static void sines(tm_unpacker *u, uint8_t *to, int64_t count) {
    int64_t columns = tm_unpack_number(u), rows = tm_unpack_number(u);
    int kind = (int)tm_unpack_number(u), single = (int)tm_unpack_number(u);
    int type = (int)tm_unpack_number(u), rounding = type & ~TM_STORED_WIDENED;
    int64_t rest = tm_unpack_number(u), size = type == rounding && type != TM_STORED_FLOAT32 ? 2 : 4;
    const uint8_t *frequencies = u->raw, *added = to + (size - 1) * count;
    u->raw += 8 * tm_stored_sines_frequencies(kind, columns);
    if (rest != 0)
        tm_unpack_elements(u, to + (size - 1) * count, count, columns);
    for (int64_t i = 0; i < count; i++) {
        double frequency, row = (double)(i / columns % rows);
        int cosine;
        memcpy(&frequency, frequencies + 8 * tm_stored_sines_column(kind, columns, i % columns, &cosine), 8);
        double angle = single != 0 ? (double)((float)row * (float)frequency) : row * frequency;
        float value = (float)(cosine != 0 ? tm_cos_f64(angle) : tm_sin_f64(angle));
        uint32_t bits = rounded(value, rounding) + (uint32_t)(rest != 0 ? (int8_t)added[i] : 0);
        bits = type != rounding ? widened(bits, rounding) : bits;
        memcpy(to + size * i, &bits, (size_t)size);
    }
}

int32_t tm_unpack_sines(const tamis_artifact *artifact, void *memory) {
    return tm_unpack_all(artifact, memory, sines);
}
