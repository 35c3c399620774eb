/* SPDX-License-Identifier: Apache-2.0
 *
 * tiles.h: the layout of operands of products of narrow types, which matrix units read.
 *
 * The left operand A [.., K] is kept as tiles of 16 rows by 64 bytes, all K of 16 rows before the next 16
 * rows. Elements of bfloat16, K = 40, so two steps of 32:
 *
 *     tile 0: rows 0..15, k 0..31    tile 1: rows 0..15, k 32..39, zeros    tile 2: rows 16..31, k 0..31 ...
 *
 * The right operand B [K, N], a constant, is kept in panels of 32 columns; a panel has for each step of K two
 * tiles of 16 columns, whose line l holds for each column the elements k = l*G .. l*G + G-1 side by side, G
 * of them being 4 bytes. That is what one instruction multiplies, on units for tiles and on units for
 * vectors.
 *
 * Which values are tiled follows from their readers: those that only regions of kind "tiles" read as A,
 * or "turn" for those of kind "sparse" (ir/sparse.h).
 */
#ifndef TM_IR_TILES_H
#define TM_IR_TILES_H

#include "ir/graph.h"

#define TM_TILE_ROWS 16  /* of A; columns of B */
#define TM_TILE_BYTES 64 /* of a line: K of one step */
#define TM_TILE_TOTAL (TM_TILE_ROWS * TM_TILE_BYTES)
#define TM_TILE_PANEL (2 * TM_TILE_ROWS) /* columns of a panel of B */

/* K of a step. */
static inline int64_t tm_tile_depth(tamis_type type) {
    return TM_TILE_BYTES * 8 / tm_type_bits(type);
}
static inline int64_t tm_tile_steps(tamis_type type, int64_t depth) {
    return (depth + tm_tile_depth(type) - 1) / tm_tile_depth(type);
}
/* May weights be stored so? */
static inline bool tm_type_is_tiled(tamis_type type) {
    return type == TAMIS_TYPE_BFLOAT16 || type == TAMIS_TYPE_INT8;
}
/* MatMul or MatMulInteger. */
bool tm_op_is_product(tm_op op);
/* Softmax, LayerNormalization and their kin: what a region of kind "row" walks its rows for. ReduceMax is one
 * where a quantiser has a scale for each row. */
bool tm_op_is_norm(tm_op op);
/* The product in the body of a region. NULL: none. */
const tm_node *tm_body_product(const tm_graph *body);
/* A factor of it as it comes into the region, before it is rounded and widened. */
const tm_value *tm_outer_factor(const tm_value *factor);
/* Is the value kept as tiles? */
bool tm_value_is_tiled(const tm_value *value);
/* Number of elements that a value takes in memory: of a tiled one with rows and depth filled up. */
tm_dim tm_value_stored_count(const tm_value *value);

#endif
