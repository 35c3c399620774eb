/* SPDX-License-Identifier: Apache-2.0
 *
 * region_attention.h: what the two loops of attention share: the operands, where their rows stand, the mask.
 *
 * region_attention.c takes vectors along the keys and the head; region_attention_small.c along the queries, for
 * heads of a few numbers.
 */
#ifndef TM_CODEGEN_LLVM_REGION_ATTENTION_H
#define TM_CODEGEN_LLVM_REGION_ATTENTION_H

#include "codegen/llvm/region.h"

typedef struct tm_attention {
    const tm_node *node; /* in the body */
    int inputs[4];       /* Q, K, V, mask in the region; -1: none */
    int64_t heads, kv_heads;
    int64_t size, value_size; /* of a head */
    bool single;              /* all keys are known to fit one tile: no running maximum */
    int group;                /* queries at once */
    bool causal;
    double scale;
    int tile; /* keys */
    LLVMValueRef data[4], out;
    LLVMValueRef queries, keys;
    LLVMValueRef batch, head, kv_head, first_query, query_count;
    LLVMValueRef turned_k, weights, maximum, sum;
    LLVMValueRef mask_base, mask_query, mask_key; /* strides; NULL: repeats */
} tm_attention;

/* Where a row of operand i (Q, K, V: 0 to 2) or of the output starts, for the current batch and head; and the
 * elements from one row to the next. */
LLVMValueRef tm_attention_row(tm_region *r, const tm_attention *a, int i, LLVMValueRef row);
LLVMValueRef tm_attention_out(tm_region *r, const tm_attention *a, LLVMValueRef row);
int64_t tm_attention_row_step(const tm_region *r, const tm_attention *a, int i);
int64_t tm_attention_out_step(const tm_region *r, const tm_attention *a);

/* Are heads so small that queries are taken side by side? */
bool tm_attention_is_small(const tm_region *r, const tm_attention *a);
/* The unit's queries. */
void tm_attention_small_block(tm_region *r, tm_attention *a);

#endif
