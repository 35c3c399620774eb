/* SPDX-License-Identifier: Apache-2.0
 *
 * schedule.h: how the loops of a region are cut, as data: tiles, blocks and units, chosen from the region's
 * sizes and the level's registers and caches, or taken from measurements.
 *
 *     region  -> tm_scheduled            what a choice depends on, with a text that names it
 *             -> tm_schedule             the choice: tm_schedule_default, or an entry of a table
 *             -> "8x3+4+1 u4 128x48 d192"
 *
 * No schedule changes an answer: a sum runs over its terms in one order under all of them. docs/schedules.md
 * explains the texts.
 */
#ifndef TM_CODEGEN_LLVM_SCHEDULE_H
#define TM_CODEGEN_LLVM_SCHEDULE_H

#include "codegen/codegen.h"
#include "codegen/schedule_table.h"
#include "codegen/target.h"
#include "ir/graph.h"
#include "ir/text.h"

#define TM_WINDOW_TERMS 126 /* of the taps of a window's last axis, unrolled for a tile */
#define TM_TILES_MOST_ROWS 12

/* A [m, k] times B [k, n]; 0: known when it runs. */
typedef struct tm_product_shape {
    int64_t m, n, k;
    int panel; /* columns of a panel of B; 0: B lies row after row and is read in place */
} tm_product_shape;

/* Members that a kind of region does not have are 0. */
typedef struct tm_schedule {
    int rows, vectors; /* register tile: rows of A (or positions of an image), vectors of columns of B */
    int small_rows;    /* of a second tile, for rows that are left; 0: none */
    bool single_rows;  /* are there tiles of one row, for what is left then? */
    int unroll;        /* k done in one round of a tile's loop: divides k and `depth` */
    int block_rows;    /* most rows in a unit of work */
    int columns;       /* in a unit of work: a panel, or some tiles */
    int units;         /* rows are cut further while there are fewer units than this */
    int depth;         /* k of a block of B, which all rows of a unit pass before the next one; 0: all of k */
    int copy;          /* k of A that a tile copies at once, where its rows share a cache set; 0: none */
    int unit_kib;      /* of A in a unit, where its rows follow from that */
    int queries;       /* attention: side by side; on matrix units: of a unit */
    int keys;          /* attention on matrix units: of a block */
} tm_schedule;

/* A region as far as its schedule depends on it. */
typedef struct tm_scheduled {
    const char *kind;       /* NULL: none that has schedules */
    tm_product_shape shape; /* of a product; of a convolution the panel */
    int64_t taps;           /* of a window along the last axis */
    int64_t queries, keys;  /* of attention; -1: known when it runs */
    int64_t size, value_size;
    tamis_type factors; /* of tiles: the left one's type */
    bool units;         /* levels with matrix units have loops of their own */
    char signature[96]; /* "contract ?x384x1536 p48": m, k, n, panel */
} tm_scheduled;

tm_scheduled tm_scheduled_of(const tm_node *region);
/* The name of a level in signatures and tables: levels that share the code of such regions share the name. */
const char *tm_scheduled_level(const tm_scheduled *region, const tm_level *level);

tm_schedule tm_schedule_choose(const tm_level *level, const tm_product_shape *shape);
/* The choice of the cost model. */
tm_schedule tm_schedule_default(const tm_level *level, const tm_scheduled *region);
/* Of kind tiles: is a word of A one operand of an instruction? Then A is read where it stands, by tiles of
 * rows that fill its bands. */
bool tm_tiles_words_are_whole(const tm_level *level, const tm_scheduled *region);
/* Of kind tiles: are tiles of three vectors, which are wider than a panel of B, what a level takes? */
bool tm_tiles_may_be_wide(const tm_level *level, const tm_scheduled *region);
/* Of kind tiles: do tiles of the first two counts of rows fill a band of A without a rest? */
bool tm_tiles_fill_bands(const tm_schedule *schedule);
/* Can the generators make it, with the same answers? */
bool tm_schedule_is_allowed(const tm_level *level, const tm_scheduled *region, const tm_schedule *schedule);
/* Alternatives that differ from `base` in one or two members; all are allowed. Returns how many there are. */
#define TM_MOST_ALTERNATIVES 24
int tm_schedule_alternatives(const tm_level *level, const tm_scheduled *region, const tm_schedule *base,
                             tm_schedule out[TM_MOST_ALTERNATIVES]);
/* What the code of the region is made with: the table's entry, where it has an allowed one, else the default.
 * Marks the entry. table: may be NULL. */
tm_schedule tm_schedule_get(tm_schedule_table *table, const tm_level *level, const tm_scheduled *region);
/* The same, of a region. */
tm_schedule tm_schedule_of(const tm_codegen_options *options, const tm_level *level, const tm_node *region);

/* "8x3+4+1 u4 128x48 d192": tile and smaller tiles, unroll, unit, depth. docs/schedules.md explains it. */
void tm_schedule_print(const tm_schedule *schedule, tm_text *text);
/* The other way round; false: no such text. */
bool tm_schedule_parse(const char *text, tm_schedule *out_schedule);
bool tm_schedule_equal(const tm_schedule *a, const tm_schedule *b);

/* The first MatMul of a contract region. */
const tm_node *tm_region_product(const tm_node *region);
/* How many a contract region holds: all of one A, and equal but for their other operands. */
int tm_region_product_count(const tm_node *region);
/* Is there one B for all rows of A, which are one matrix then? */
bool tm_product_is_shared(const tm_value *b);
/* What is known of the product of a contract region. */
tm_product_shape tm_product_shape_of(const tm_node *region);
/* JSON: a list with a text for each different region of a model whose regions are formed:
 * "contract ?x384x1536 p48 *6 v3 6x2+2+1 u4 384x48 d128 v4 8x3+4+1 u4 128x48 d192". table: may be NULL. */
void tm_schedule_list(const tm_model *model, const tm_target_choice *target, tm_schedule_table *table,
                      tm_text *text);

#endif
