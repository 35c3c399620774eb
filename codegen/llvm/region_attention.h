/* SPDX-License-Identifier: Apache-2.0
 *
 * region_attention.h: what the loops of attention share: the operands, where their rows stand, the mask.
 *
 * region_attention.c takes many queries side by side, region_attention_one.c the single query of a decoder's
 * step, region_attention_tiles.c bfloat16 on tiles.
 */
#ifndef TM_CODEGEN_LLVM_REGION_ATTENTION_H
#define TM_CODEGEN_LLVM_REGION_ATTENTION_H

#include "codegen/llvm/region.h"

#define TM_ATTENTION_VECTORS 4   /* vectors of queries at once, at most */
#define TM_ATTENTION_FUSED 16    /* largest head that is mixed together with the weights */
#define TM_ATTENTION_UNROLLED 4  /* head sizes without a loop */

typedef struct tm_attention {
    const tm_node *node; /* in the body */
    int inputs[4];       /* Q, K, V, mask in the region; -1: none */
    int64_t heads, kv_heads;
    int64_t size, value_size; /* of a head */
    int vectors;              /* of queries at once */
    int width;                /* lanes of these */
    int block;                /* keys at once */
    int columns;              /* of V at once */
    bool fused;               /* the weights' loop mixes */
    bool whole;               /* the keys are known to be whole blocks */
    bool single;              /* all keys are known to fit one tile: no running maximum */
    bool causal;
    double scale;
    int tile; /* keys */
    LLVMValueRef data[4], out;
    LLVMValueRef queries, keys;
    LLVMValueRef batch, head, kv_head, first_query, query_count;
    LLVMValueRef turned, scores, mixed; /* [size][width], [tile + block][width], [value_size][width] */
    LLVMValueRef list;                  /* of keys with weights; then where their rows of V start */
    LLVMValueRef mask_base, mask_query, mask_key; /* strides */
    /* of the queries at hand */
    LLVMValueRef query, lanes; /* the first, and how many */
    LLVMValueRef number[TM_ATTENTION_VECTORS]; /* of the query in each lane, for causal attention */
    LLVMValueRef maximum[TM_ATTENTION_VECTORS], sum[TM_ATTENTION_VECTORS], shift[TM_ATTENTION_VECTORS], down[TM_ATTENTION_VECTORS]; /* the first two are slots */
    LLVMValueRef q[TM_ATTENTION_UNROLLED][TM_ATTENTION_VECTORS];                                 /* Q, of such small heads */
    LLVMValueRef sums[TM_ATTENTION_FUSED][TM_ATTENTION_VECTORS];                                 /* slots of what is mixed in registers */
} tm_attention;

/* Operands, sizes, scale: what the node says. Also for the count of units. */
void tm_attention_set_up(tm_region *r, tm_attention *a);
/* Where a row of operand i (Q, K, V: 0 to 2) or of the output (3) starts, for the current batch and head. */
LLVMValueRef tm_attention_row(tm_region *r, const tm_attention *a, int i, LLVMValueRef row);

/* Is there a single query, with heads of whole vectors? */
bool tm_attention_is_one(const tm_region *r, const tm_attention *a);
/* The unit's query. */
void tm_attention_one(tm_region *r, const tm_attention *a);

#endif
