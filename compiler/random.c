/* SPDX-License-Identifier: Apache-2.0
 *
 * random.c: seeded elements, for inputs that are only there to be run on. Integers are 0 or 1, which are
 * valid indices, masks and token numbers in nearly every model.
 */
#include "compiler/internal.h"

/* splitmix64 */
uint64_t tm_random_next(uint64_t *seed) {
    uint64_t z = (*seed += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void tm_random_fill(tamis_type type, void *data, int64_t count, uint64_t *seed) {
    float *floats = data;
    double *doubles = data;
    uint8_t *bytes = data;
    size_t item = (size_t)tm_type_bits(type) / 8;
    for (int64_t i = 0; i < count; i++) {
        uint64_t r = tm_random_next(seed);
        double unit = (double)(r >> 11) * 0x1p-52 - 1;
        if (type == TAMIS_TYPE_FLOAT)
            floats[i] = (float)unit;
        else if (type == TAMIS_TYPE_DOUBLE)
            doubles[i] = unit;
        else if (type == TAMIS_TYPE_FLOAT16) /* sign, exponent of 1/2..1, ten bits of mantissa */
            ((uint16_t *)data)[i] = (uint16_t)(0x3800u | (r & 0x83ffu));
        else if (type == TAMIS_TYPE_BFLOAT16)
            ((uint16_t *)data)[i] = (uint16_t)(0x3f00u | (r & 0x807fu));
        else if (item >= 1)
            bytes[(size_t)i * item] = (uint8_t)(r >> 63);
    }
}
