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
/* "tile 8x3 then 4 then 1, unroll 4, unit 128x48, depth 192". */
void tm_schedule_print(const tm_schedule *schedule, tm_text *text);

#endif
