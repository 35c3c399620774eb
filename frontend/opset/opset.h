/* SPDX-License-Identifier: Apache-2.0
 *
 * opset.h: the functions of the table in table.c. Each takes a draft in an old form (or of a foreign
 * domain) and leaves it in the form of a row of ir/ops.def.
 */
#ifndef TM_FRONTEND_OPSET_H
#define TM_FRONTEND_OPSET_H

#include "frontend/draft.h"

/* One row of the table: the function's name here, without tm_opset_. */
#define TM_OPSET(domain, op, from, to, function) tm_code tm_opset_##function(tm_draft *draft);
#include "frontend/opset/table.def"
#undef TM_OPSET

/* ---- helpers shared by the functions ---- */

/* The name that output `index` of the draft gets in the model; NULL: omitted. */
const char *tm_opset_output_name(const tm_draft *draft, size_t index);
/* A helper node whose output is output `index` of the draft, bound. */
TM_MUST_USE tm_code tm_opset_emit_output(tm_draft *draft, size_t index, tm_op op, int count,
                                         tm_value *const *inputs, tm_node **out_node);
tm_value *tm_opset_floats(tm_draft *draft, const double *values, int64_t count); /* f32, rank 1 */
/* x with `count` axes of size 1 after its last: x of rank `rank`. */
tm_value *tm_opset_unsqueeze_after(tm_draft *draft, tm_value *x, int rank, int count);

#endif
