/* SPDX-License-Identifier: Apache-2.0
 *
 * window_form.h: which convolutions and pools have loops made for them, and what their attributes come to.
 */
#ifndef TM_PASSES_WINDOW_FORM_H
#define TM_PASSES_WINDOW_FORM_H

#include "ir/graph.h"

#define TM_WINDOW_FORM_AXES 3

typedef struct tm_window_form {
    int64_t pads[2 * TM_WINDOW_FORM_AXES]; /* at the heads, then at the tails; auto_pad resolved */
    bool depthwise;                        /* each channel by itself */
    bool point;                            /* kernel and strides of one, no padding, one group */
} tm_window_form;

/* Are so many filters of a group enough for loops of their own? */
bool tm_window_form_fills(int64_t filters);
/* float32, constant weights, up to three spatial axes, enough filters to fill vectors. */
bool tm_window_form_convolution(const tm_node *node, tm_window_form *out);
/* Of bytes by the constant `weights`, one group: as a product by rows that hold what each window sees. The
 * node is any convolution with these weights. */
bool tm_window_form_integer(const tm_node *node, const tm_value *weights, tm_window_form *out);
/* The nodes that make floats of bytes before the Transpose of a depthwise convolution or pool, in order: a
 * Cast, and maybe the Sub of a zero point. Returns how many; each is read by the next one alone. */
int tm_window_form_bytes(const tm_node *transpose, tm_node *out_nodes[2]);
/* Of float32 or bytes. */
bool tm_window_form_pool(const tm_node *node, tm_window_form *out);
/* Padding at the heads and tails in numbers, of a convolution or pool of a rank known to fit with such a
 * kernel; false: it depends on dims that are not known. */
bool tm_window_form_pads(const tm_node *node, const int64_t *kernel, int64_t *out_pads);

#endif
