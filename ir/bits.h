/* SPDX-License-Identifier: Apache-2.0
 *
 * bits.h: the layout of weights of 2, 4 and 8 bits that products unpack in registers, and of what is
 * multiplied with them where a CPU has dot products of bytes.
 *
 * Weights [N, K] with scales (and zero points) for blocks along K lie in panels of 64 columns n. In a panel
 * block follows block; a block is its 64 scales as float32, its 64 zero points as bytes or float32 (none: one
 * number for all), and lines. A line is 256 bytes, a word of 32 bits for each column, with the next 32 / bits
 * elements of its row:
 *
 *     8 bits: k0 k1 k2 k3                               from the lowest byte up
 *     4 bits: k0 k1 k2 k3 in the low halves of the bytes, k4 k5 k6 k7 in the high ones
 *     2 bits: k0..k3, k4..k7, k8..k11, k12..k15 likewise
 *
 * so that a shift and a mask make four neighbours the bytes of a word. Elements and zero points are unsigned:
 * signed ones are moved up by half of their range. What the matrix does not have is zero.
 *
 * Numbers x[k] are written for such words as three digits each: x = s (65536 d2 + 256 d1 + d0), the digits
 * from -128 to 127, s a power of two for each step of at most 256 numbers, by the largest of which it is
 * chosen: 22 or 23 bits below that one are kept. A step is a record of TM_DIGITS_HEAD bytes (s, and what
 * follows below) and three rows of bytes, d2, d1 and d0, filled up to 16. Sums of digits by weights are exact
 * in int32. They start at
 *
 *     TM_DIGITS_ZERO - centre * (d[0] + d[1] + ..)
 *
 * which are the bits of 1.5 * 2^23 as a float, less the centre of the weights: sums of less than 2^22 are
 * float numbers then that nothing has to convert, TM_DIGITS_OFFSET too large.
 */
#ifndef TM_IR_BITS_H
#define TM_IR_BITS_H

#include "ir/graph.h"

#define TM_BITS_PANEL 64
#define TM_BITS_LINE 256
#define TM_BITS_STEP 256 /* most k of a step */
#define TM_DIGITS_HEAD 32
#define TM_DIGITS_SUM 4   /* where in it: the sum of all numbers, in s, as f32 */
#define TM_DIGITS_START 8 /* three times i32: what the sums of d2, d1, d0 by weights start at */

#define TM_DIGITS_ZERO 0x4b400000
#define TM_DIGITS_OFFSET 0x1.8p23

/* What a constant needs beside its elements to be packed so. */
struct tm_bits {
    const tm_constant *scale,
        *zero;      /* [N, blocks]; zero: also f32, or NULL where all zero points are `zero_point` */
    int64_t block;  /* along K */
    int zero_point; /* unsigned */
};

typedef struct tm_bits_form {
    int bits;
    int64_t n, k, block, blocks;
    int64_t step, steps; /* k of a step; a block is whole steps, the last one of a row may be shorter */
    bool float_zeros;
    int64_t head, block_bytes; /* of a block: before its lines; of a whole one with them */
    int64_t panel_bytes, panels;
} tm_bits_form;

/* Can blocks of that size be packed? */
bool tm_bits_can_pack(int64_t k, int64_t block);
int64_t tm_bits_step(int64_t k, int64_t block);
/* The number that weights are less in sums: the zero point of all, or the middle of their range. */
int tm_bits_centre(const struct tm_bits *bits, int width);
/* Bytes of a row of digits in a record, and of the record. */
int64_t tm_digits_room(int64_t k, int64_t step);
int64_t tm_digits_record(int64_t k, int64_t step);
tm_bits_form tm_bits_form_of(const tm_constant *constant);
/* Writes step `step` of a panel, with the head of the block that it begins; returns the number of bytes. */
#define TM_BITS_MOST_BYTES (TM_BITS_PANEL * 8 + TM_BITS_PANEL * TM_BITS_STEP)
int64_t tm_bits_pack(const tm_constant *constant, const tm_bits_form *form, int64_t panel, int64_t step,
                     uint8_t *to);

#endif
