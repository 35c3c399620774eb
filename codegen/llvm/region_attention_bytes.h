/* SPDX-License-Identifier: Apache-2.0
 *
 * region_attention_bytes.h: what the loops of attention on bytes share: their buffers and their two products.
 *
 *     region_attention_bytes.c             units of work, softmax
 *     region_attention_bytes_products.c    the products
 */
#ifndef TM_CODEGEN_LLVM_REGION_ATTENTION_BYTES_H
#define TM_CODEGEN_LLVM_REGION_ATTENTION_BYTES_H

#include "codegen/llvm/region_attention.h"
#include "codegen/llvm/region_tiles.h"

#define TM_ATTENTION_BYTES_QUERIES 128 /* of a unit: the same for all levels */
#define TM_ATTENTION_BYTES_PART 0.125  /* of a score: what is stored, for exp(x) is made as exp(x / 8)^8 */

typedef struct tm_attention_bytes {
    tm_attention shared;
    tm_byte_dot dot;                        /* NULL: products are float32, of whole numbers, and exact */
    bool is_signed;                         /* the left bytes of dot are less 128 */
    int rows;                               /* queries at once in the second product */
    int64_t tile;                           /* keys: the same for all levels */
    int64_t padded;                         /* columns of V in whole vectors */
    bool single;                            /* all keys are known to fit one tile */
    bool spread;                            /* the mask has a row for each query */
    LLVMValueRef query_zero;                /* i32 */
    LLVMValueRef scale;                     /* f32: of the sums of products, to what is stored as scores */
    LLVMValueRef value_scale, value_offset; /* f32: y = sum * value_scale + value_offset */
    LLVMValueRef turned;                    /* Q: words or floats [..][width] */
    LLVMValueRef values;            /* V of the tile: words [keys / 4][padded], bytes [keys][padded] */
    LLVMValueRef key_sums;          /* for dot: what each key's sum starts with, i32 [keys] */
    LLVMValueRef wide;              /* else: floats of the keys at hand, [block][size] */
    LLVMValueRef maxima, totals;    /* of the unit's queries */
    LLVMValueRef factors;           /* [2][width]: of the tile's part, and of what stands there */
    LLVMValueRef offset;            /* added to the answer: none, until it is whole */
    LLVMValueRef first_key;         /* of the tile */
    LLVMValueRef is_first, is_last; /* nothing stands there yet; the answer is whole behind it */
    int tiles;                      /* output of the region that is the answer quantised; 0: none */
} tm_attention_bytes;

/* Where row `row` of Q, K or V starts; rows of K and V beyond the last one are that. */
LLVMValueRef tm_attention_bytes_row(tm_region *r, const tm_attention_bytes *a, int i, LLVMValueRef row);

/* Packs what all queries of the unit read of the tile of keys. */
void tm_attention_bytes_pack(tm_region *r, const tm_attention_bytes *a, LLVMValueRef first,
                             LLVMValueRef count);
/* Turns the queries at hand. */
void tm_attention_bytes_turn(tm_region *r, const tm_attention_bytes *a);
/* Sums of products of `block` keys of the tile, from number `block` on, as vectors of float32. */
void tm_attention_bytes_score(tm_region *r, const tm_attention_bytes *a, LLVMValueRef first,
                              LLVMValueRef block, LLVMValueRef sums[TM_ATTENTION_KEYS][TM_ATTENTION_VECTORS]);
/* Adds the tile's keys, with their weights, to the rows of the answer. */
void tm_attention_bytes_mix(tm_region *r, const tm_attention_bytes *a, LLVMValueRef count);
/* 0: of no keys. */
void tm_attention_bytes_clear(tm_region *r, const tm_attention_bytes *a);

#endif
