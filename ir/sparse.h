/* SPDX-License-Identifier: Apache-2.0
 *
 * sparse.h: weights of bytes that are mostly zero, in the form that sparse products read.
 *
 * A matrix [K, N] is looked at in groups of 4 terms of k in one column, the words that products of bytes
 * multiply at once (ir/tiles.h); groups of four zeros are left out. Columns stand in panels of 64. For each
 * panel the section has the place of its stream, in bytes from the start of the constant; the stream has for
 * each chunk of 96 groups, which stay in the nearest cache with the rows that they multiply, and for each two
 * columns a list:
 *
 *     count: u8, columns: 2 x u8    count times: weights: 2 x 4 x s8, groups within the chunk: 2 x u8
 *
 * [8, 2] = 0 0 0 0 5 6 7 8, 1 2 3 4 0 0 0 0:  1 0 1  5 6 7 8 1 2 3 4  1 0. Two columns take turns because one
 * sum waits for its last product longer than there are rows to multiply meanwhile. Columns with few groups
 * come first: the two of a list then have about the same number, the shorter one is filled up with zeros, and
 * a processor foresees the end of a list that is as long as the one before. Columns of the panel that the
 * matrix does not have are without groups. At four zeros of five all that is a quarter of the dense form.
 *
 * The left factor is turned, so that a vector holds the same group of neighbouring rows: 64 rows, and for
 * each group (K filled up to steps of tiles) the 4 bytes of row after row.
 */
#ifndef TM_IR_SPARSE_H
#define TM_IR_SPARSE_H

#include "ir/graph.h"
#include "ir/tiles.h"

#define TM_SPARSE_GROUP 4                                         /* terms of k */
#define TM_SPARSE_PANEL 64                                        /* columns */
#define TM_SPARSE_PAIR 2                                          /* columns of a list */
#define TM_SPARSE_CHUNK 96                                        /* groups */
#define TM_SPARSE_ROWS 64                                         /* of the left factor */
#define TM_SPARSE_HEAD (1 + TM_SPARSE_PAIR)                       /* bytes before the records of a list */
#define TM_SPARSE_RECORD (TM_SPARSE_PAIR * (TM_SPARSE_GROUP + 1)) /* bytes of a group of each column */
#define TM_SPARSE_PLACE 8                                         /* bytes of a place */

/* The packed form of a constant that tiles could hold as INT8. */
typedef struct tm_sparse {
    const uint8_t *data;
    int64_t bytes;
} tm_sparse;

/* Groups in all, and those that are not zero. */
int64_t tm_sparse_groups(const tm_constant *constant);
int64_t tm_sparse_filled_groups(const tm_constant *constant);
const tm_sparse *tm_sparse_pack(tm_arena *arena, const tm_constant *constant);
/* Is the value a left factor, turned? "turn" makes such values, and so do regions that keep rows in lanes
 * when only sparse products read them. */
bool tm_value_is_turned(const tm_value *value);
/* Do the products of a region of kind "sparse" keep the rows in the lanes up to their outputs? Those are
 * bytes then, and all operands but the factors are numbers, or one for each column or each row. */
bool tm_sparse_keeps_turned(const tm_node *region);

#endif
