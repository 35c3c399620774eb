/* SPDX-License-Identifier: Apache-2.0
 *
 * order.h: numbers of any type as unsigned keys of 64 bits, in the same order, and a stable sort.
 *
 * A float's bits compare like its value once negative ones are complemented and positive ones get the
 * top bit: -1.0f -> 0x407fffff, 1.0f -> 0xbf800000. Both zeros get one key, all NaN the greatest. So
 * TopK, Unique and the like need no code per type but the loading of keys.
 */
#ifndef TM_RUNTIME_OPS_ORDER_H
#define TM_RUNTIME_OPS_ORDER_H

#include "runtime/ops/element.h"

static inline uint64_t tm_key_of_double(double x) {
    const uint64_t bits = tm_bits_of_f64(x == 0 ? 0.0 : x);
    return x != x ? UINT64_MAX : bits >> 63 != 0 ? ~bits : bits | (uint64_t)1 << 63;
}
static inline uint64_t tm_key_of_float(float x) {
    const uint32_t bits = tm_bits_of_f32(x == 0 ? 0.0f : x);
    return x != x ? UINT64_MAX : bits >> 31 != 0 ? ~bits : bits | (uint32_t)1 << 31;
}
static inline uint64_t tm_key_of_signed(int64_t x) {
    return (uint64_t)x ^ (uint64_t)1 << 63;
}

/* keys[i] = key of element at + i*stride. */
typedef void (*tm_key_loader)(const void *data, int64_t at, int64_t stride, int64_t count, uint64_t *keys);
#define TM_KEYS(s, key)                                                                                 \
    static void keys_##s(const void *data, int64_t at, int64_t stride, int64_t count, uint64_t *keys) { \
        for (int64_t i = 0; i < count; i++)                                                             \
            keys[i] = key(tm_get_##s(data, at + i * stride));                                           \
    }
#define TM_KEYS_ALL                \
    TM_KEYS(f32, tm_key_of_float)  \
    TM_KEYS(f16, tm_key_of_float)  \
    TM_KEYS(bf16, tm_key_of_float) \
    TM_KEYS(f64, tm_key_of_double) \
    TM_KEYS(i8, tm_key_of_signed)  \
    TM_KEYS(i16, tm_key_of_signed) \
    TM_KEYS(i32, tm_key_of_signed) \
    TM_KEYS(i64, tm_key_of_signed) \
    TM_KEYS(u8, (uint64_t))        \
    TM_KEYS(u16, (uint64_t))       \
    TM_KEYS(u32, (uint64_t))       \
    TM_KEYS(u64, (uint64_t))

/* Sorts `index` (count entries; `spare` has room for as many) so that entries for which `before(context,
 * a, b)` holds come first; others keep their order. */
typedef bool (*tm_before)(const void *context, int64_t a, int64_t b);
void tm_stable_sort(int64_t *index, int64_t *spare, int64_t count, tm_before before, const void *context);

#endif
