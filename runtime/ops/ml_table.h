/* SPDX-License-Identifier: Apache-2.0
 *
 * ml_table.h: look-up of keys. A column is a list of strings or numbers in any of the forms that attributes
 * and tensors have; a table says at which place of its column a key stands:
 *
 *     column {"a", "c", "b"}      tm_table_find(table, column of x, i) -> 2 where x[i] is "b", -1 where it is
 * "q"
 */
#ifndef TM_OPS_ML_TABLE_H
#define TM_OPS_ML_TABLE_H

#include "runtime/ops/ml_common.h"

typedef struct tm_column {
    int32_t type; /* of the elements: STRING, or a numeric type */
    int64_t count;
    const void *data;           /* numbers as `stored` */
    int32_t stored;             /* INT64 and DOUBLE for list attributes, the tensor's type else */
    const void *attributes;     /* of `lists` */
    const tm_list *lists;       /* strings that are attributes, or NULL */
    const tamis_string *strings; /* strings of a tensor, or NULL */
} tm_column;

/* The attribute of the four that is there: a tensor before a list. */
tm_column tm_column_of(const void *attributes, tm_list floats, tm_list ints, tm_list strings, tm_list tensor);
tm_column tm_column_of_tensor(const tamis_tensor *tensor);
tamis_string tm_column_text(const tm_column *column, int64_t i);

typedef struct tm_table {
    tm_column keys;
    int32_t *slots; /* key + 1, or 0 */
    uint64_t mask;
} tm_table;

/* The table is scratch memory: give it back. Of equal keys the first holds, or the last one. */
int32_t tm_table_create(tm_run *run, const tm_call *call, const tm_column *keys, bool last_holds,
                        tm_table *out_table);
void tm_table_release(tm_run *run, tm_table *table);
/* The place of element i of a column of the keys' kind, or -1. */
int64_t tm_table_find(const tm_table *table, const tm_column *column, int64_t i);

#endif
