/* SPDX-License-Identifier: Apache-2.0
 *
 * region_bits.h: what the generators of products by packed weights share.
 *
 * One loop over units stands in region_bits.c, with the unit that unpacks to floats; region_bits_dot.c has
 * the unit of CPUs that multiply bytes.
 */
#ifndef TM_CODEGEN_LLVM_REGION_BITS_H
#define TM_CODEGEN_LLVM_REGION_BITS_H

#include "codegen/llvm/contract.h"
#include "ir/bits.h"

typedef struct tm_bits_product {
    tm_contract shared;
    tm_bits_form form;
    int zero_point;        /* of all weights, where none are packed */
    int centre;            /* of the digits */
    int digits;            /* the operand with the digits of A, or -1 */
    LLVMValueRef from, to; /* rows of the unit */
    LLVMValueRef column;   /* the first of its panel */
    LLVMValueRef panel;    /* its data */
    LLVMValueRef sums;     /* stack buffers */
    LLVMValueRef weights;
} tm_bits_product;

/* k of which a unit unpacks the weights at once, and its rows. */
int64_t tm_bits_stretch(const tm_bits_form *form);
int64_t tm_bits_unit_rows(const tm_bits_form *form);
/* Address in bytes; f32 vector of 64 in the head of a block at `at` bytes: scale, and zero point as a float.
 */
LLVMValueRef tm_bits_address(tm_region *r, LLVMValueRef base, LLVMValueRef bytes);
LLVMValueRef tm_bits_scale(tm_region *r, const tm_bits_product *p, LLVMValueRef at, LLVMValueRef column);
LLVMValueRef tm_bits_zero(tm_region *r, const tm_bits_product *p, LLVMValueRef at, LLVMValueRef column);
/* Words of `lanes` columns of the line at `at`. */
LLVMValueRef tm_bits_words(tm_region *r, const tm_bits_product *p, LLVMValueRef at, LLVMValueRef column);

/* Can the level multiply digits? */
bool tm_bits_has_dot(const tm_region *r);
void tm_bits_dot_begin(tm_region *r, tm_bits_product *p);
void tm_bits_dot_unit(tm_region *r, tm_bits_product *p);

#endif
