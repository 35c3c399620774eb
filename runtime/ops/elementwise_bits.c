/* SPDX-License-Identifier: Apache-2.0
 *
 * elementwise_bits.c: BitwiseAnd, BitwiseOr, BitwiseXor, BitShift, And, Or, Xor.
 *
 * Shifts by the type's width or more give what is shifted in: 0, or to the right of a signed type copies
 * of the sign. C leaves them undefined and CPUs take the count modulo the width, NumPy and this code do
 * neither. A negative count is the same as a large one. Bool bytes are read as "not zero", so that any byte a
 * caller hands in is a truth value, and written as 0 or 1.
 */
#include "runtime/ops/elementwise.h"

#define BITWISE(s, S, C)                           \
    TM_BINARY_KERNEL(BitwiseAnd, s, S, C, S, a &b) \
    TM_BINARY_KERNEL(BitwiseOr, s, S, C, S, a | b) \
    TM_BINARY_KERNEL(BitwiseXor, s, S, C, S, a ^ b)
TM_FOR_INTEGER_TYPES(BITWISE)

/* b as unsigned: a negative count is a large one. */
#define BIT_SHIFT(s, S, C, fill)                                                                            \
    TM_BINARY_ROW(row_left_##s, s, S, C, S,                                                                 \
                  (TM_UNSIGNED(s))b < 8 * sizeof(C) ? (TM_UNSIGNED(s))a << (b & (C)(8 * sizeof(C) - 1)) : 0) \
    TM_BINARY_ROW(row_right_##s, s, S, C, S,                                                                \
                  (TM_UNSIGNED(s))b < 8 * sizeof(C) ? a >> (b & (C)(8 * sizeof(C) - 1)) : (fill))           \
    int32_t tm_k_BitShift_##s(tm_run *run, const tm_call *call) {                                           \
        const tm_attrs_BitShift *attributes = tm_attributes(call);                                          \
        bool left = tm_is(attributes, attributes->direction, "LEFT");                                       \
        return tm_elementwise(run, call, 2, left ? row_left_##s : row_right_##s, NULL);                     \
    }
#define BIT_SHIFT_UNSIGNED(s, S, C) BIT_SHIFT(s, S, C, 0)
#define BIT_SHIFT_SIGNED(s, S, C) BIT_SHIFT(s, S, C, a >> (8 * sizeof(C) - 1))
TM_FOR_UNSIGNED_TYPES(BIT_SHIFT_UNSIGNED)
TM_FOR_SIGNED_TYPES(BIT_SHIFT_SIGNED)

TM_BINARY_ROW(row_and, bool, uint8_t, uint8_t, uint8_t, (a != 0) & (b != 0))
TM_BINARY_ROW(row_or, bool, uint8_t, uint8_t, uint8_t, (a | b) != 0)
TM_BINARY_ROW(row_xor, bool, uint8_t, uint8_t, uint8_t, (a != 0) ^ (b != 0))

int32_t tm_k_And(tm_run *run, const tm_call *call) {
    return tm_elementwise(run, call, 2, row_and, NULL);
}

int32_t tm_k_Or(tm_run *run, const tm_call *call) {
    return tm_elementwise(run, call, 2, row_or, NULL);
}

int32_t tm_k_Xor(tm_run *run, const tm_call *call) {
    return tm_elementwise(run, call, 2, row_xor, NULL);
}
