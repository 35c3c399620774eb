/* SPDX-License-Identifier: Apache-2.0
 *
 * sparse.h: weights of bytes that are mostly zero, in the form that sparse products read.
 *
 * A matrix [K, N] is looked at in groups of 4 terms of k in one column, the words that products of bytes
 * multiply at once (ir/tiles.h); groups of four zeros are left out. Columns stand in panels of 32. For each
 * panel the section has the place of its stream, in bytes from the start of the constant; the stream has for
 * each chunk of 64 groups, which stay in the nearest cache with the rows that they multiply, and for each
 * column a list:
 *
 *     count: u8, column: u8    count times: weights: 4 x s8, group within the chunk: u8
 *
 * [8, 1] = 0 0 0 0 5 6 7 8:  1 0  5 6 7 8 1. Short lists come first: a processor foresees the end of a list
 * that is as long as the one before. Columns of the panel that the matrix does not have are empty lists. At
 * four zeros of five that is a quarter of the dense form.
 *
 * The left factor is turned, so that a vector holds the same group of neighbouring rows: 128 rows, and for
 * each group (K filled up to steps of tiles) the 4 bytes of row after row.
 */
#ifndef TM_IR_SPARSE_H
#define TM_IR_SPARSE_H

#include "ir/graph.h"
#include "ir/tiles.h"

#define TM_SPARSE_GROUP 4  /* terms of k */
#define TM_SPARSE_CHUNK 64 /* groups */
#define TM_SPARSE_ROWS 128 /* of the left factor */
#define TM_SPARSE_HEAD 2   /* bytes before the records of a list */
#define TM_SPARSE_RECORD 5 /* bytes of a group with its number */
#define TM_SPARSE_PLACE 8  /* bytes of a place */

/* The packed form of a constant that tiles could hold as INT8. */
typedef struct tm_sparse {
    const uint8_t *data;
    int64_t bytes;
} tm_sparse;

/* Groups in all, and those that are not zero. */
int64_t tm_sparse_groups(const tm_constant *constant);
int64_t tm_sparse_filled_groups(const tm_constant *constant);
const tm_sparse *tm_sparse_pack(tm_arena *arena, const tm_constant *constant);
/* Is the value a left factor, turned? */
bool tm_value_is_turned(const tm_value *value);

#endif
