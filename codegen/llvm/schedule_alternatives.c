/* SPDX-License-Identifier: Apache-2.0
 *
 * schedule_alternatives.c: which schedules can be made of a region, and which of them are worth a try; see
 * schedule.h.
 *
 * What is allowed are the bounds of the generators: registers, the stack (32 KiB), tiles that fill a unit
 * without a rest, parts that divide k. A file of schedules may come from another version or another hand, so
 * all that is read goes through here. Schedules that would change an answer are not allowed: how many queries
 * attention takes side by side decides on its tiles of keys, which say where its sums are scaled, so that is
 * what the cost model says.
 *
 * Alternatives are steps from a schedule in one direction each:
 *
 *     8x3+4+1 u4 128x48 d192  ->  9x3.., 7x3.., 6x3..; u2, u1; half the rows of a unit; d96, d128, d288, d384
 */
#include "codegen/llvm/schedule.h"

#include "ir/tiles.h"

#include <string.h>

#define MOST_ROWS 16
#define MOST_VECTORS 4
#define STACK_BYTES 24576 /* of the buffer of sums */
#define COPY_BYTES 4096   /* of the buffer of copied rows */
#define UNROLLED 128      /* multiply-adds in a round of a tile's loop */
#define CONVOLUTION_ROWS 14

/* ---- what can be made ---- */

/* Sums, a line of columns, a number of A. */
static bool fits_registers(const tm_level *level, int rows, int vectors) {
    if (level->vector_bits == 0)
        return rows >= 1 && rows <= 4 && vectors == 1;
    return rows >= 1 && vectors >= 1 && rows <= MOST_ROWS && vectors <= MOST_VECTORS &&
           rows * vectors + vectors + 1 <= level->vector_registers;
}

/* Do the tiles leave no row over? */
static bool covers(const tm_schedule *s, int64_t m) {
    int64_t left = m > 0 ? m % s->rows : 1;
    if (s->small_rows > 0)
        left = m > 0 ? left % s->small_rows : 1;
    return left == 0 || s->single_rows || s->rows == 1;
}

static bool divides(int part, int64_t whole) {
    return part > 0 && whole % part == 0;
}

static bool contract_is_allowed(const tm_level *level, const tm_product_shape *shape, const tm_schedule *s) {
    int lanes = tm_level_lanes(level);
    int64_t columns = (int64_t)s->vectors * lanes, k = shape->k;
    if (!fits_registers(level, s->rows, s->vectors) || s->small_rows < 0 || s->small_rows >= s->rows ||
        !covers(s, shape->m) || !divides(s->rows, s->block_rows) || !divides((int)columns, s->columns))
        return false;
    if (shape->panel > 0 ? s->columns != shape->panel : s->columns > 16 * columns)
        return false;
    if (s->unroll < 1 || s->unroll * s->rows * s->vectors > UNROLLED)
        return false;
    if (s->unroll > 1 && (!divides(s->unroll, k) || k == 0 || s->depth % s->unroll != 0))
        return false;
    if (s->copy > 0 && (k == 0 || s->unroll > 1 || !divides(s->copy, k) || s->depth % s->copy != 0 ||
                        s->copy % lanes != 0 || (int64_t)s->rows * s->copy * 4 > COPY_BYTES))
        return false;
    int64_t rows = s->depth > 0 ? s->block_rows : s->rows;
    return s->depth >= 0 && s->block_rows <= 4096 && rows * columns * 4 <= STACK_BYTES;
}

static bool tiles_are_allowed(const tm_level *level, const tm_scheduled *region, const tm_schedule *s) {
    tm_schedule chosen = tm_schedule_default(level, region);
    bool narrow = tm_tiles_may_be_wide(level, region) && s->vectors == 2;
    if ((s->vectors != chosen.vectors && !narrow) || s->unit_kib < 1 || s->unit_kib > 65536)
        return false;
    if ((level->units & TM_UNIT_TILES) != 0)
        return s->rows == chosen.rows && s->small_rows == 0 && !s->single_rows;
    if (tm_tiles_words_are_whole(level, region) && (s->small_rows < 1 || !tm_tiles_fill_bands(s)))
        return false;
    bool fits = s->rows <= chosen.rows || fits_registers(level, s->rows, s->vectors);
    return fits && s->rows <= TM_TILES_MOST_ROWS && s->small_rows > 1 && s->small_rows < s->rows &&
           s->single_rows;
}

/* Members that the kind of region does not have are 0, as in the default. */
static bool has_members(const tm_level *level, const tm_scheduled *region, const tm_schedule *s) {
    tm_schedule chosen = tm_schedule_default(level, region);
    bool contract = strcmp(region->kind, "contract") == 0, tiles = strcmp(region->kind, "tiles") == 0;
    return (s->rows > 0) == (chosen.rows > 0) && (s->unroll > 0) == contract &&
           (s->block_rows > 0) == contract && (contract || (s->depth == 0 && s->copy == 0)) &&
           (contract || tiles || (s->small_rows == 0 && !s->single_rows)) && (s->unit_kib > 0) == tiles &&
           (s->queries > 0) == (chosen.queries > 0) && (s->keys > 0) == (chosen.keys > 0);
}

bool tm_schedule_is_allowed(const tm_level *level, const tm_scheduled *region, const tm_schedule *s) {
    if (!has_members(level, region, s))
        return false;
    if (strcmp(region->kind, "contract") == 0)
        return contract_is_allowed(level, &region->shape, s);
    if (strcmp(region->kind, "tiles") == 0)
        return tiles_are_allowed(level, region, s);
    if (strcmp(region->kind, "window") == 0)
        return s->vectors == 1 && s->rows <= CONVOLUTION_ROWS && fits_registers(level, s->rows, 1) &&
               (s->rows <= 4 || s->rows * region->taps <= TM_WINDOW_TERMS);
    if (s->rows > 0)
        return s->rows <= CONVOLUTION_ROWS && fits_registers(level, s->rows, s->vectors) &&
               divides(s->vectors, region->shape.panel / tm_level_lanes(level));
    tm_schedule chosen = tm_schedule_default(level, region);
    return tm_schedule_equal(s, &chosen); /* tiles of keys follow from the queries, and sums from the tiles */
}

/* ---- what is worth a try ---- */

typedef struct list {
    const tm_level *level;
    const tm_scheduled *region;
    const tm_schedule *base;
    tm_schedule *items;
    int count;
} list;

static void try_it(list *l, tm_schedule s) {
    bool known = tm_schedule_equal(&s, l->base) || l->count == TM_MOST_ALTERNATIVES;
    for (int i = 0; i < l->count && !known; i++)
        known = tm_schedule_equal(&s, &l->items[i]);
    if (!known && tm_schedule_is_allowed(l->level, l->region, &s))
        l->items[l->count++] = s;
}

/* Another number of rows, with smaller tiles and units that fit it. */
static tm_schedule with_rows(const list *l, tm_schedule s, int rows) {
    int64_t m = l->region->shape.m, columns = (int64_t)s.vectors * tm_level_lanes(l->level);
    int64_t most = s.depth > 0 ? STACK_BYTES / 4 / columns : s.block_rows;
    s.rows = rows > 0 ? rows : 1;
    s.small_rows = m > 0 ? (int)(m % s.rows) : s.small_rows < s.rows ? s.small_rows : 0;
    s.single_rows = m == 0 && s.rows > 1;
    s.block_rows = (int)(s.block_rows < most ? s.block_rows : most);
    s.block_rows = s.block_rows < s.rows ? s.rows : s.block_rows / s.rows * s.rows;
    return s;
}

static tm_schedule with_depth(const list *l, tm_schedule s, int depth) {
    int unit = s.copy > 0 ? s.copy : 32;
    s.depth = depth / unit * unit;
    return with_rows(l, s, s.rows);
}

static void try_vectors(list *l, const tm_schedule *b, int vectors) {
    tm_schedule s = *b;
    int rows = MOST_ROWS;
    while (rows > 1 && !fits_registers(l->level, rows, vectors))
        rows--;
    s.vectors = vectors;
    s.columns = l->region->shape.panel > 0 ? s.columns : 4 * vectors * tm_level_lanes(l->level);
    if (l->region->shape.m > 0) { /* shared out evenly */
        int64_t m = l->region->shape.m, tiles = (m + rows - 1) / rows;
        rows = (int)((m + tiles - 1) / tiles);
    }
    while (s.unroll > 1 && s.unroll * rows * vectors > UNROLLED)
        s.unroll /= 2;
    try_it(l, with_rows(l, s, rows));
}

static void try_contract(list *l) {
    const tm_schedule b = *l->base;
    static const int rows[] = {1, -1, -2, 2, -3};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        try_it(l, with_rows(l, b, b.rows + rows[i]));
    for (int vectors = 1; vectors <= MOST_VECTORS; vectors++)
        if (vectors != b.vectors)
            try_vectors(l, &b, vectors);
    const int depth = b.depth > 0 ? b.depth : 256;
    const int depths[] = {0, depth / 2, depth * 2 / 3, depth, depth * 4 / 3, depth * 2, depth * 4};
    for (size_t i = 0; i < sizeof(depths) / sizeof(depths[0]); i++)
        try_it(l, with_depth(l, b, depths[i]));
    tm_schedule s = b;
    for (s.unroll = 1; s.unroll <= 8; s.unroll *= 2)
        try_it(l, s);
    s = b;
    s.copy = b.copy > 0 ? 0 : 64;
    s.unroll = 1;
    try_it(l, s);
    s = b;
    s.block_rows = b.block_rows / 2 / b.rows * b.rows;
    try_it(l, s);
    s.block_rows = b.block_rows * 2;
    try_it(l, s);
    if (l->region->shape.panel == 0) {
        s = b;
        s.columns = b.columns / 2;
        try_it(l, s);
        s.columns = b.columns * 2;
        try_it(l, s);
    }
}

/* Convolutions and windows: positions by vectors. */
static void try_positions(list *l) {
    const tm_schedule b = *l->base;
    tm_schedule s = b;
    for (s.vectors = 1; s.vectors <= MOST_VECTORS; s.vectors++)
        for (s.rows = CONVOLUTION_ROWS; s.rows > 0; s.rows--)
            if (s.vectors != b.vectors && fits_registers(l->level, s.rows, s.vectors)) {
                try_it(l, s);
                break;
            }
    static const int steps[] = {1, 2, -1, -2, -4, -6};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        s = b;
        s.rows += steps[i];
        try_it(l, s);
    }
}

static void try_tiles(list *l) {
    static const int steps[] = {-2, -4, 2};
    for (int kib = 128; kib <= 4096; kib *= 2) {
        tm_schedule s = *l->base;
        s.unit_kib = kib;
        try_it(l, s);
    }
    tm_schedule narrow = *l->base;
    narrow.vectors = 2;
    try_it(l, narrow);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        tm_schedule s = *l->base;
        s.rows += steps[i];
        s.small_rows = s.rows >= 8 ? 4 : 2;
        try_it(l, s);
    }
}

int tm_schedule_alternatives(const tm_level *level, const tm_scheduled *region, const tm_schedule *base,
                             tm_schedule out[TM_MOST_ALTERNATIVES]) {
    list l = {.level = level, .region = region, .base = base, .items = out};
    if (strcmp(region->kind, "contract") == 0)
        try_contract(&l);
    else if (strcmp(region->kind, "tiles") == 0)
        try_tiles(&l);
    else if (base->rows > 0)
        try_positions(&l);
    return l.count;
}
