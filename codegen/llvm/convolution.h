/* SPDX-License-Identifier: Apache-2.0
 *
 * convolution.h: sums of a tile of a convolution by packed weights, for all generators of such regions.
 *
 * A tile is some neighbouring positions of the output by some vectors of filters, in registers. Rows of the
 * product are read where the image has them: position i of a tile lies at a fixed distance from the first,
 * and the terms are nested loops with a step in x each, in the order of the packed rows
 *
 *     3x3, stride 1, 64 channels last:   for each row of taps (step: a row of x), 192 neighbours (step 1)
 */
#ifndef TM_CODEGEN_LLVM_CONVOLUTION_H
#define TM_CODEGEN_LLVM_CONVOLUTION_H

#include "codegen/llvm/contract.h"
#include "codegen/llvm/space.h"

#define TM_CONVOLUTION_ROWS 14
#define TM_CONVOLUTION_VECTORS 4

typedef struct tm_depth_loop {
    int64_t count;
    LLVMValueRef step; /* in x */
} tm_depth_loop;

typedef struct tm_shape {
    int width, height; /* positions along the last axis, and the one before it */
} tm_shape;

typedef struct tm_convolution {
    tm_contract shared;
    tm_space space;
    int64_t groups, channels, filters; /* channels and filters of a group */
    int64_t depth, panels;             /* panels of a group */
    int rows, vectors;                 /* most positions of a tile, and its vectors */
    tm_depth_loop loops[TM_SPACE_AXES + 1];
    int loop_count;
} tm_convolution;

typedef struct tm_tile {
    tm_shape shape;
    LLVMValueRef x;                                   /* first position */
    LLVMValueRef panel;                               /* the weights' columns */
    LLVMValueRef gate;                                /* factors of the terms, or NULL */
    LLVMValueRef ahead; /* weights to fetch into the second cache while the tile is made, or NULL */
    int64_t pace;       /* floats of them for each term */
    LLVMValueRef sums[TM_CONVOLUTION_ROWS][TM_CONVOLUTION_VECTORS]; /* slots of the vectors */
    LLVMValueRef offsets[TM_CONVOLUTION_ROWS];               /* of positions, in x */
} tm_tile;

/* For the body's first convolution. Also for the count of units. */
void tm_convolution_set_up(tm_region *r, tm_convolution *c);
/* Vectors of a tile and loops over the terms; not for the count of units. */
void tm_convolution_set_up_tiles(tm_region *r, tm_convolution *c);
/* Emits the sums of the tile whose shape, x and panel are given. */
void tm_convolution_sum(tm_region *r, const tm_convolution *c, tm_tile *t);
LLVMValueRef tm_convolution_load_sum(tm_region *r, const tm_tile *t, int position, int vector);

#endif
