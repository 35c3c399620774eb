/* SPDX-License-Identifier: Apache-2.0
 *
 * schedule.h: how a product is cut: a choice made from its shape and the level's caches, kept as data.
 */
#ifndef TM_CODEGEN_LLVM_SCHEDULE_H
#define TM_CODEGEN_LLVM_SCHEDULE_H

#include "codegen/target.h"
#include "ir/graph.h"
#include "ir/text.h"

typedef struct tm_schedule {
    int rows, vectors; /* register tile: rows of A, vectors of columns of B */
    int small_rows;    /* of a second tile, for the rows that are left; single rows after it, or alone if 0 */
    int unroll;        /* k done in one round of a tile's loop: divides k and `depth` */
    int block_rows;    /* most rows in a unit of work */
    int units;         /* rows are cut further while there are fewer units than this */
    int depth;         /* k of a block of B, which all rows of a unit pass before the next one; 0: all of k */
    int copy;          /* k of A that a tile copies at once, where its rows share a cache set; 0: none */
} tm_schedule;

/* Of a product by the packed constant b [k, n], at one level of the target. */
tm_schedule tm_schedule_choose(const tm_level *level, const tm_value *b);
/* "tile 8x3 then 4, unroll 4, block 128 rows, depth 384". */
void tm_schedule_print(const tm_schedule *schedule, tm_text *text);

#endif
