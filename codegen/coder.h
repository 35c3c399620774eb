/* SPDX-License-Identifier: Apache-2.0
 *
 * coder.h: the writing side of coded weights: numbers, raw bytes and coded elements of
 * include/tamis/stored.h. What the reading side does stands in runtime/support_unpack.c.
 */
#ifndef TM_CODEGEN_CODER_H
#define TM_CODEGEN_CODER_H

#include "base/base.h"
#include "tamis/stored.h"

/* Bytes in pieces, so that growing copies nothing. */
#define TM_PIECE_BYTES 65536
typedef struct tm_pieces {
    tm_arena *arena;
    TM_VECTOR(uint8_t *) list;
    int64_t bytes;
} tm_pieces;
void tm_pieces_add(tm_pieces *pieces, const void *data, size_t bytes);
/* Piece i and how many bytes of it are used. */
const uint8_t *tm_pieces_get(const tm_pieces *pieces, size_t i, size_t *out_bytes);

typedef struct tm_coder {
    tm_pieces raw, stream;
    uint64_t low;
    uint32_t range;
    uint8_t held;       /* the byte that a carry may still change */
    int64_t held_count; /* with bytes of 255 behind it */
    tm_stored_models models;
} tm_coder;

typedef struct tm_elements {
    const void *data;
    int64_t count, columns; /* columns: how far away the element above is */
    int size;               /* 1, 2, 4, 8 */
    bool turn;              /* floats, whose sign comes last */
} tm_elements;

void tm_coder_init(tm_coder *coder, tm_arena *arena);
void tm_coder_number(tm_coder *coder, int64_t value);
void tm_coder_raw(tm_coder *coder, const void *data, size_t bytes);
void tm_coder_elements(tm_coder *coder, const tm_elements *elements);
/* What these would take, in bytes: measured on a part of many. */
double tm_coder_cost(const tm_coder *coder, const tm_elements *elements);
void tm_coder_end(tm_coder *coder);

#endif
