/* SPDX-License-Identifier: Apache-2.0
 *
 * quantized.h: the one fact behind all forms of quantised values: bytes, a scale and a zero point.
 */
#ifndef TM_PASSES_QUANTIZED_H
#define TM_PASSES_QUANTIZED_H

#include "ir/graph.h"

/* value = (integers - zero) * scale, integers of 8 bits, scales of float32. */
typedef struct tm_quantized {
    tm_value *integers, *scale, *zero; /* zero: or NULL */
    bool by_row;                       /* a scale for each row of the last axis, [.., 1], and no zero point */
} tm_quantized;

/* A computed value that DequantizeLinear makes of bytes, or of integers of fewer bits, with one scale and
 * zero point, or a scale for each row, in float32, float16 or bfloat16. Only looks: what it gives is as the
 * node has it. */
bool tm_quantized_find(const tm_value *value, tm_quantized *out);
/* Brings what was found to bytes and scales of float32, by Casts before `before`. */
void tm_quantized_widen(tm_node *before, tm_quantized *quantized);

/* Constant weights that DequantizeLinear makes, with what only moves their elements behind it, in the dims of
 * `value`. Scale and zero point are one number, or one for each position of `axis`. The results are
 * constants; no nodes are left. */
bool tm_quantized_weights(tm_node *before, tm_value *value, int axis, tm_quantized *out);

/* Does the node only move elements: of its first input, of all of them if it is a Concat? Views do. */
bool tm_quantized_is_move(const tm_node *node);
int tm_quantized_moved_inputs(const tm_node *node);
/* Have the two nodes, QuantizeLinear or DequantizeLinear, one scale and zero point for all elements, and the
 * same? */
bool tm_quantized_same(const tm_node *a, const tm_node *b);

#endif
