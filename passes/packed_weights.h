/* SPDX-License-Identifier: Apache-2.0
 *
 * packed_weights.h: constants of 2, 4 and 8 bits that are dequantised, where they can stay as they are.
 *
 *     %w = DequantizeLinear(%q, %s, %z)
 *     MatMul(%x, %w)                       a product unpacks them where it uses them
 *     Gather(%w, %i)                       only what is gathered is dequantised
 *
 * fold_constants asks who may have them so, recognize_packed_products makes it so.
 */
#ifndef TM_PASSES_PACKED_WEIGHTS_H
#define TM_PASSES_PACKED_WEIGHTS_H

#include "passes/passes.h"

/* What multiplies: the weights as the transpose of a matrix [n, k]. */
typedef struct tm_packed_weights {
    tm_value *packed, *scale, *zero; /* constants; zero: or NULL */
    int64_t n, k, block;
    bool turned;   /* they lie as [k, n] */
    bool single;   /* one scale for all; and one zero point */
    int64_t whole; /* elements of a row before it was cut to k, or k */
} tm_packed_weights;

/* A product of floats by such weights. */
typedef struct tm_packed_product {
    tm_packed_weights weights;
    tm_value *bias; /* or NULL */
} tm_packed_product;
bool tm_packed_product_find(const tm_node *node, tm_packed_product *out);

/* A Gather from such weights, and how what it takes is dequantised. */
typedef struct tm_packed_table {
    const tm_node *dequantize;
    int axis; /* that is gathered */
    enum {
        TM_TABLE_SINGLE, /* one */
        TM_TABLE_ACROSS, /* one for each position of another axis */
        TM_TABLE_ALONG,  /* one for each position of that axis, of two */
        TM_TABLE_BLOCKS  /* in blocks along another axis */
    } scales;
} tm_packed_table;
bool tm_packed_table_find(const tm_node *node, tm_packed_table *out);

/* Do only such products and gathers read the value, through views of it too? */
bool tm_packed_only(const tm_value *value);

#endif
