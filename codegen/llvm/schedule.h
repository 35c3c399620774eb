/* SPDX-License-Identifier: Apache-2.0
 *
 * schedule.h: how a product is cut: a choice made from its shape and the level's caches, kept as data.
 */
#ifndef TM_CODEGEN_LLVM_SCHEDULE_H
#define TM_CODEGEN_LLVM_SCHEDULE_H

#include "codegen/target.h"
#include "ir/graph.h"
#include "ir/text.h"

/* A [m, k] times B [k, n]; 0: known when it runs. */
typedef struct tm_product_shape {
    int64_t m, n, k;
    int panel; /* columns of a panel of B; 0: B lies row after row and is read in place */
} tm_product_shape;

typedef struct tm_schedule {
    int rows, vectors; /* register tile: rows of A, vectors of columns of B */
    int small_rows;    /* of a second tile, for rows that are left; 0: none */
    bool single_rows;  /* are there tiles of one row, for what is left then? */
    int unroll;        /* k done in one round of a tile's loop: divides k and `depth` */
    int block_rows;    /* most rows in a unit of work */
    int columns;       /* in a unit of work: a panel, or some tiles */
    int units;         /* rows are cut further while there are fewer units than this */
    int depth;         /* k of a block of B, which all rows of a unit pass before the next one; 0: all of k */
    int copy;          /* k of A that a tile copies at once, where its rows share a cache set; 0: none */
} tm_schedule;

tm_schedule tm_schedule_choose(const tm_level *level, const tm_product_shape *shape);
/* "8x3+4+1 u4 128x48 d192": tile and smaller tiles, unroll, unit, depth; c64: copy. docs/command.md explains
 * it. */
void tm_schedule_print(const tm_schedule *schedule, tm_text *text);

/* The first MatMul of a contract region. */
const tm_node *tm_region_product(const tm_node *region);
/* How many a contract region holds: all of one A, and equal but for their other operands. */
int tm_region_product_count(const tm_node *region);
/* Is there one B for all rows of A, which are one matrix then? */
bool tm_product_is_shared(const tm_value *b);
/* What is known of the product of a contract region. */
tm_product_shape tm_product_shape_of(const tm_node *region);
/* JSON: a list with a text for each different product of a model whose regions are formed:
 * "?x384x1536 *6 v3 6x2+2+1 u4 384x48 d128 v4 8x3+4+1 u4 128x48 d192". */
void tm_schedule_list(const tm_model *model, const tm_target_choice *target, tm_text *text);

#endif
