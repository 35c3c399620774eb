/* SPDX-License-Identifier: Apache-2.0
 *
 * region_tiles.h: what the generators of products of narrow types share.
 *
 * One loop over units stands in region_tiles.c; what a unit does is emitted for matrix units
 * (region_tiles_amx.c) or for vectors (region_tiles_vector.c). The element type, how many k a 4-byte group
 * has and the instruction that multiplies tiles are a row of data, tm_tile_form.
 */
#ifndef TM_CODEGEN_LLVM_REGION_TILES_H
#define TM_CODEGEN_LLVM_REGION_TILES_H

#include "codegen/llvm/contract.h"

#define TM_TILES_MOST_PANELS 3 /* 96 columns, two tiles of 48 */

typedef struct tm_tile_form {
    tamis_type type;      /* of the left factor */
    int group;            /* elements of 4 bytes */
    const char *multiply; /* intrinsic: sums, left, right, as numbers of tile registers */
} tm_tile_form;

/* A product on tiles, and the unit at hand: one panel of B, or some, by some rows of A. */
typedef struct tm_tiles {
    tm_contract shared;
    const tm_tile_form *form;
    LLVMValueRef steps;       /* of K */
    LLVMValueRef band_bytes;  /* of 16 rows of A */
    LLVMValueRef panel_bytes; /* of B */
    LLVMValueRef from, to;    /* rows of the unit */
    LLVMValueRef column;      /* first of the panel */
    LLVMValueRef panel, next; /* its data; where the next panel stands */
    LLVMValueRef panels;      /* of the unit: 1, or up to TM_TILES_MOST_PANELS side by side */
    LLVMValueRef panels_left; /* of the product, from the unit's first on */
    int start;                /* what the sums start with less than 0, as an input; see shared.start */
    /* state of a generator over the units of a call */
    LLVMValueRef ahead, ahead_bytes; /* of the next panel: slot of the byte fetched next, bytes of a step */
    LLVMValueRef fetched;            /* first column of the tiles at hand */
    LLVMValueRef sums, copy;         /* stack buffers */
    LLVMValueRef waiting_sums, waiting_row, waiting_column, waiting_done, waiting_rows,
        waiting_which; /* slots */
} tm_tiles;

LLVMValueRef tm_tiles_address(tm_region *r, LLVMValueRef base, LLVMValueRef bytes);
/* Where 16 rows of A start. */
LLVMValueRef tm_tiles_band(tm_region *r, const tm_tiles *t, LLVMValueRef row);

/* How words of 4 bytes are multiplied. */
typedef struct tm_word_form {
    tamis_type type;    /* of the left factor */
    unsigned units;     /* that a level must have */
    int lanes;          /* of its vectors; 0: any */
    bool x86;           /* is an instruction of x86-64 with vectors */
    bool signed_left;   /* the left bytes less 128 are multiplied */
    int parts;          /* vectors that a word is taken apart into */
    tamis_type element; /* of a part; 4 bytes each */
    /* Takes words (vector of i32) of the left or right factor apart. NULL: the word is its only part. */
    void (*split)(tm_region *r, LLVMValueRef words, bool left, LLVMValueRef *out_parts);
    LLVMValueRef (*add)(tm_region *r, LLVMValueRef sum, LLVMValueRef left, LLVMValueRef right);
} tm_word_form;
/* The first that the level has. */
const tm_word_form *tm_word_form_of(const tm_region *r, tamis_type type);

#define TM_WORD_MOST_PARTS 4

/* Adds the products of the bytes of `left`, unsigned, and `right`, signed, to the sums, all vectors of i32:
 * one instruction. NULL: the level has none. *out_signed: `left` are signed bytes, 128 less than those meant.
 */
typedef LLVMValueRef (*tm_byte_dot)(tm_region *r, LLVMValueRef sums, LLVMValueRef left, LLVMValueRef right);
tm_byte_dot tm_byte_dot_of(const tm_region *r, bool *out_signed);

/* Before the first unit, for each, and behind the last. */
void tm_tiles_amx_begin(tm_region *r, tm_tiles *t);
void tm_tiles_amx_unit(tm_region *r, tm_tiles *t);
void tm_tiles_amx_end(tm_region *r, tm_tiles *t);
/* Panels of a unit at the level, at most: 1 or TM_TILES_MOST_PANELS. */
int tm_tiles_vector_panels(tm_region *r, const tm_tiles *t);
void tm_tiles_vector_begin(tm_region *r, tm_tiles *t);
void tm_tiles_vector_unit(tm_region *r, tm_tiles *t);

#endif
