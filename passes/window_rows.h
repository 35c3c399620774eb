/* SPDX-License-Identifier: Apache-2.0
 *
 * window_rows.h: convolutions of bytes as products of what their windows see.
 */
#ifndef TM_PASSES_WINDOW_ROWS_H
#define TM_PASSES_WINDOW_ROWS_H

#include "ir/graph.h"
#include "ir/ops/windows.h"

/* The weights [M, C, kernel...] of the ConvInteger `node` as a matrix whose rows stand as Windows puts what
 * they multiply. */
tm_value *tm_windows_weights(tm_node *node, const tm_windows_runs *runs);
/* What the windows of `node` see of x, which lies channels last, one row for each; `zero` (or NULL) around
 * it. */
TM_MUST_USE tm_code tm_windows_rows(tm_node *node, tm_value *x, tm_value *zero, const int64_t *pads,
                                    tm_value **out);

#endif
