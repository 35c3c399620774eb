/* SPDX-License-Identifier: Apache-2.0
 *
 * window.h: the list attributes of convolutions and pools, with one entry for each spatial axis.
 */
#ifndef TM_IR_OPS_WINDOW_H
#define TM_IR_OPS_WINDOW_H

#include "ir/infer.h"

/* Item i of a list attribute, or `missing` when the list is absent or shorter. */
int64_t tm_window_item(const tm_node *node, const char *name, int64_t i, int64_t missing);
/* A list that is present and not empty has `count` items, from `minimum` to INT32_MAX. */
TM_MUST_USE tm_code tm_window_check(tm_node *node, const char *name, int64_t count, int64_t minimum);

#endif
