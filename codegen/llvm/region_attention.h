/* SPDX-License-Identifier: Apache-2.0
 *
 * region_attention.h: what the loops of attention share: the operands, where their rows stand, the mask.
 *
 *     region_attention.c            units of work; many queries side by side
 *     region_attention_schedule.c   the shapes of their loops
 *     region_attention_scores.c     their first product
 *     region_attention_softmax.c    a tile of keys: scores, softmax, mixing
 *     region_attention_mix.c        their second product, with columns of V in the lanes
 *     region_attention_one.c        the single query of a decoder's step
 *     region_attention_tiles.c      bfloat16 on tiles
 *     region_attention_bytes.c      quantised values
 */
#ifndef TM_CODEGEN_LLVM_REGION_ATTENTION_H
#define TM_CODEGEN_LLVM_REGION_ATTENTION_H

#include "codegen/llvm/region.h"

#define TM_ATTENTION_VECTORS 4  /* vectors of queries at once, at most */
#define TM_ATTENTION_FUSED 16   /* largest head that is mixed together with the weights */
#define TM_ATTENTION_UNROLLED 4 /* head sizes without a loop */
#define TM_ATTENTION_QUERIES 32 /* that go through the keys together, at most: the same for all levels */
#define TM_ATTENTION_HEADS 8    /* that share K and V in a unit of a single query, at most */
#define TM_ATTENTION_KEYS 16    /* keys at once, at most */

typedef struct tm_attention {
    const tm_node *node; /* in the body */
    int inputs[4];       /* Q, K, V, mask in the region; -1: none */
    int64_t heads, kv_heads;
    int64_t size, value_size; /* of a head */
    int vectors;              /* of queries at once */
    int width;                /* lanes of these */
    int block;                /* keys at once */
    int columns;              /* of V at once */
    int chunk;                /* columns of Q that are turned at once */
    int rows;         /* queries at once with columns of V in the lanes; 0: queries are in the lanes */
    bool fused;       /* the weights' loop mixes */
    bool whole;       /* the keys are known to be whole blocks */
    bool single;      /* all keys are known to fit one tile: no running maximum */
    int threes, twos; /* groups of three, and of two, vectors of columns of V, where these are in the lanes */
    bool packs;       /* columns of V are copied together for the next queries */
    bool near;        /* K and V are taken to stay in the second cache */
    bool by_tiles;    /* a tile of keys is used by all queries of the unit before the next one */
    bool causal;
    double scale;
    int tile; /* keys */
    LLVMValueRef data[4], out;
    LLVMValueRef queries, keys;
    LLVMValueRef batch, head, kv_head, first_query, query_count;
    LLVMValueRef turned, scores, mixed; /* [chunk][width], [tile + block][width], [value_size][width] */
    LLVMValueRef factors;               /* [width]: of the rows of the answer */
    LLVMValueRef maxima, totals;        /* of all queries of the unit, when they wait for the next tile */
    LLVMValueRef packed;                /* columns of V of a tile */
    LLVMValueRef list;                  /* of keys with weights; then where their rows of V start */
    LLVMValueRef mask_base, mask_query, mask_key; /* strides */
    LLVMValueRef least;                           /* a mask of no more hides a key */
    LLVMValueRef skipped;                         /* slot: was a tile left out? NULL: it does not matter */
    /* of the queries at hand */
    LLVMValueRef query, lanes;                 /* the first, and how many */
    LLVMValueRef number[TM_ATTENTION_VECTORS]; /* of the query in each lane, for causal attention */
    LLVMValueRef maximum[TM_ATTENTION_VECTORS], sum[TM_ATTENTION_VECTORS], shift[TM_ATTENTION_VECTORS],
        down[TM_ATTENTION_VECTORS];                              /* the first two are slots */
    LLVMValueRef q[TM_ATTENTION_UNROLLED][TM_ATTENTION_VECTORS]; /* Q, of such small heads */
    LLVMValueRef sums[TM_ATTENTION_FUSED][TM_ATTENTION_VECTORS]; /* slots of what is mixed in registers */
} tm_attention;

/* Operands, sizes, scale: what the node says. Also for the count of units. */
void tm_attention_set_up(tm_region *r, tm_attention *a);
/* Where a row of operand i (Q, K, V: 0 to 2) or of the output (3) starts, for the current batch and head. */
LLVMValueRef tm_attention_row(tm_region *r, const tm_attention *a, int i, LLVMValueRef row);

/* Vector j of row `row` in a buffer whose rows are `width` floats. */
LLVMValueRef tm_attention_get(tm_region *r, const tm_attention *a, LLVMValueRef buffer, LLVMValueRef row,
                              int j);
void tm_attention_put(tm_region *r, const tm_attention *a, LLVMValueRef value, LLVMValueRef buffer,
                      LLVMValueRef row, int j);

/* Which the `width` queries of the unit from number `part` on are, or what is left of them. */
void tm_attention_choose_queries(tm_region *r, tm_attention *a, LLVMValueRef part);

/* Where the mask stands for the current batch and head. */
void tm_attention_set_mask(tm_region *r, tm_attention *a);
/* Puts what the mask adds to the scores of `count` keys from `first` on into their places; is any of it more
 * than `least`? */
LLVMValueRef tm_attention_spread_mask(tm_region *r, const tm_attention *a, LLVMValueRef first,
                                      LLVMValueRef count);
/* Turns the queries at hand round, times the scale, from this column on. */
void tm_attention_turn_columns(tm_region *r, const tm_attention *a, int64_t column);
/* Scores of the tile, and into slots the largest of them. */
void tm_attention_score(tm_region *r, const tm_attention *a, LLVMValueRef first, LLVMValueRef count,
                        LLVMValueRef *best);

/* One tile of keys, from `first` on, for the queries at hand. */
void tm_attention_tile(tm_region *r, tm_attention *a, LLVMValueRef first, LLVMValueRef end);
/* Divides by the sums and hands the answers over; rows that saw no key are NaN, as Softmax of nothing but
 * -inf is. */
void tm_attention_finish(tm_region *r, const tm_attention *a);

/* Elements from one row of an operand (3: of the output) to the next. */
int64_t tm_attention_row_stride(const tm_region *r, const tm_attention *a, int i);
/* How many groups of queries a unit has: the same for all levels. */
int tm_attention_groups(const tm_region *r, const tm_attention *a);
/* Chooses the shapes of the loops. */
void tm_attention_schedule(tm_region *r, tm_attention *a);
/* The shapes for the last queries, if these may fill half of the vectors or less and nobody knows yet. */
bool tm_attention_narrow(tm_region *r, const tm_attention *a, tm_attention *out);

/* Columns of V in the lanes of the second product. */
typedef struct tm_attention_columns {
    LLVMValueRef first; /* in a row of V */
    LLVMValueRef mask;  /* of the last vector; NULL: all of it */
    int vectors;
} tm_attention_columns;

/* Mixes `count` keys into the answers of some queries from `query` on. */
typedef void tm_attention_mixer(tm_region *r, const void *context, const tm_attention_columns *columns,
                                LLVMValueRef query, LLVMValueRef count);
/* `groups` groups of `vectors` vectors of columns from *first on, which moves behind them, for all queries at
 * hand, `rows` at once. */
void tm_attention_mix_groups(tm_region *r, const tm_attention *a, int rows, int64_t *first, int vectors,
                             int64_t groups, LLVMValueRef count, tm_attention_mixer *mix,
                             const void *context);
/* Queries at once where columns of V are in the lanes of the second product; 0: queries are. */
int tm_attention_rows_at_once(const tm_region *r, const tm_attention *a);
/* Bytes of the columns of V that are used at once, for a tile of keys. */
int64_t tm_attention_packed_bytes(const tm_region *r, const tm_attention *a);
/* Adds the listed keys to the rows of the answer, which are multiplied by their factors before; if all keys
 * are in this tile, divided by them after (multiplied, with fast math). */
void tm_attention_mix(tm_region *r, const tm_attention *a, LLVMValueRef count, const LLVMValueRef *factors);
void tm_attention_clear_rows(tm_region *r, const tm_attention *a);
/* Divides (multiplies, with fast math). */
void tm_attention_divide_rows(tm_region *r, const tm_attention *a, const LLVMValueRef *factors);

/* Is there a single query, as far as that may be, with heads of whole vectors? NULL: no. */
LLVMValueRef tm_attention_is_one(tm_region *r, const tm_attention *a);
/* How many heads of Q that read the same K and V are a unit; 1 if there are several queries. The same for all
 * levels. */
LLVMValueRef tm_attention_shared_heads(tm_region *r, const tm_attention *a);
/* The query of the unit's heads, from the current one on. */
void tm_attention_one(tm_region *r, const tm_attention *a);

#endif
