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

static void sines(tm_unpacker *u, uint8_t *to, int64_t count) {
    int64_t columns = tm_unpack_number(u), rows = tm_unpack_number(u);
    int kind = (int)tm_unpack_number(u), single = (int)tm_unpack_number(u), first = (int)tm_unpack_number(u);
    int rest = (int)tm_unpack_number(u);
    const uint8_t *frequencies = u->raw, *added = to + 3 * count;
    u->raw += 8 * tm_stored_sines_frequencies(kind, columns);
    if (rest != 0)
        tm_unpack_elements(u, to + 3 * count, count, columns);
    for (int64_t i = 0; i < count; i++) {
        double frequency, row = (double)(first + i / columns % rows);
        int cosine;
        memcpy(&frequency, frequencies + 8 * tm_stored_sines_column(kind, columns, i % columns, &cosine), 8);
        double angle = single != 0 ? (double)((float)row * (float)frequency) : row * frequency;
        float value = (float)(cosine != 0 ? tm_cos_f64(angle) : tm_sin_f64(angle));
        uint32_t bits = tm_bits_of_f32(value) + (uint32_t)(rest != 0 ? (int8_t)added[i] : 0);
        memcpy(to + 4 * i, &bits, 4);
    }
}

int32_t tm_unpack_sines(const tamis_artifact *artifact, void *memory) {
    return tm_unpack_all(artifact, memory, sines);
}
