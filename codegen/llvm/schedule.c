/* SPDX-License-Identifier: Apache-2.0
 *
 * schedule.c: the choice of schedules for products; see schedule.h.
 *
 * A tile is as large as the registers allow. Of n rows and v vectors, one k costs n broadcasts and v loads
 * for n*v multiply-adds, so tiles near the square are the cheapest: with 32 registers of 512 bits 8 x 3 (11
 * loads for 24 multiply-adds) and 6 x 4, each for panels of its width; 14 x 2 is what a panel of 32 columns
 * leaves.
 *
 * Where k is large, B is cut in blocks of `depth` along k. All rows of a unit pass a block before the next
 * one, so that a block comes from memory once and while it is used the next one is fetched; the sums wait in
 * a buffer on the stack. The depths are what measured best on a first cache of 48 KiB and a second one of 2
 * MiB; levels with smaller caches take half. Small k is one block.
 *
 * Rows of A whose distance is a multiple of half the size of a way of the first cache (4 KiB) fall in one or
 * two of its sets, and 14 rows push each other out of 12 ways. They are copied side by side then, some k at a
 * time: the copying goes on beside the multiply-adds. Tiles of fewer rows have room.
 */
#include "codegen/llvm/schedule.h"

#define SHALLOW 256      /* k below this is one block */
#define WAY 4096         /* bytes: 64 sets of 64 bytes */
#define COPY 64          /* divides WAY / 2 */
#define SUMS_BYTES 24576 /* of the buffer of sums */
#define UNITS 8          /* enough to share among some threads evenly */

static void choose_tile(tm_schedule *s, const tm_level *level, int panel, int lanes) {
    s->rows = 4, s->vectors = 1;
    if (level->vector_bits == 512 && panel % (3 * lanes) == 0)
        s->rows = 8, s->vectors = 3;
    else if (level->vector_bits == 512 && panel % (4 * lanes) == 0)
        s->rows = 6, s->vectors = 4;
    else if (level->vector_bits == 512)
        s->rows = 14, s->vectors = 2;
    else if (level->vector_bits == 256)
        s->rows = 6, s->vectors = 2;
    else if (level->vector_bits == 128)
        s->rows = 6, s->vectors = 4;
    if (s->vectors * lanes > panel)
        s->vectors = panel / lanes;
}

tm_schedule tm_schedule_choose(const tm_level *level, const tm_value *b) {
    tm_schedule s = {.unroll = 1, .block_rows = 84};
    int lanes = tm_level_lanes(level);
    int64_t k = b->constant->dims[0];
    choose_tile(&s, level, b->constant->panel, lanes);
    if (k < SHALLOW) {
        s.block_rows -= s.block_rows % s.rows;
        s.unroll = s.rows * s.vectors <= 8 && k % 2 == 0 ? 2 : 1;
        return s;
    }
    s.units = UNITS;
    s.small_rows = s.rows >= 8 ? 4 : s.rows * s.vectors >= 16 ? 2 : 0;
    s.depth = s.vectors == 4 || level->vector_bits < 512 ? 128 : s.vectors == 3 ? 192 : 256;
    s.block_rows = SUMS_BYTES / 4 / (s.vectors * lanes) / s.rows * s.rows;
    if (k * 4 % (WAY / 2) == 0 && s.rows > 8)
        s.copy = COPY;
    /* More would not fit in the registers that hold addresses. */
    if (k % 4 == 0 && s.copy == 0)
        s.unroll = s.vectors == 4 ? 2 : 4;
    return s;
}

void tm_schedule_print(const tm_schedule *s, tm_text *text) {
    tm_text_add(text, "tile %dx%d", s->rows, s->vectors);
    if (s->small_rows > 0)
        tm_text_add(text, " then %d", s->small_rows);
    tm_text_add(text, ", unroll %d, block %d rows", s->unroll, s->block_rows);
    if (s->depth > 0)
        tm_text_add(text, ", depth %d", s->depth);
    if (s->copy > 0)
        tm_text_add(text, ", copy %d", s->copy);
}
