/* SPDX-License-Identifier: Apache-2.0
 *
 * control_flow.h: what inference of If, Loop, Scan and of sequences share.
 */
#ifndef TM_IR_OPS_CONTROL_FLOW_H
#define TM_IR_OPS_CONTROL_FLOW_H

#include "ir/infer.h"

/* `dim` where it may stand outside of `body`, else the FREE symbol of (value, axis). */
tm_dim tm_dim_export(tm_infer_context *context, tm_dim dim, const tm_graph *body, tm_value *value, int axis);
/* Makes `to` what `from` is, dims included; no elements. */
void tm_value_set_like(tm_value *to, const tm_value *from);
/* May dims of this kind stand in a tensor? Not a FREE symbol of a sequence ("varies"), nor what is made of
 * one. */
bool tm_dim_varies(tm_infer_context *context, tm_dim dim);
/* Output 0 of the node = an item of input `from`, a sequence or optional; varying dims become FREE. */
TM_MUST_USE tm_code tm_infer_item(tm_infer_context *context, tm_node *node, const tm_value *from);

/* ---- open_rank.c ---- */
/* The truth of a condition that is computed from constants,
 * which becomes its known element; NULL: it is not. */
tm_dim tm_fold_condition(tm_infer_context *context, tm_value *condition);
/* Is `high` as `low` with dims of 1 before it? */
bool tm_pads_to(const tm_value *low, const tm_value *high);
/* Gives the branch's output dims of 1 up to the rank. */
TM_MUST_USE tm_code tm_pad_output(tm_infer_context *context, tm_graph *branch, int output, int rank);
/* Marks outputs whose rank is open, or refuses the node that could tell. */
TM_MUST_USE tm_code tm_infer_open_ranks(tm_node *node);
/* No output of the graph has an open rank. `node` (or NULL) is for the message. */
TM_MUST_USE tm_code tm_infer_fixed_ranks(tm_node *node, const tm_graph *graph);

/* Values carried from one run of a body to the next: number k starts as `initial[k]`, is input
 * first_input + k of the body and output first_output + k. */
typedef struct tm_carried {
    tm_graph *body;
    tm_value **initial;
    int count;
    int first_input;
    int first_output;
} tm_carried;
/* Types the body: the least general dims of the carried inputs under which the body gives them back. */
TM_MUST_USE tm_code tm_infer_carried(tm_infer_context *context, tm_node *node, const tm_carried *carried);
/* Sets output k of the node for each carried value k. */
void tm_infer_carried_outputs(tm_infer_context *context, tm_node *node, const tm_carried *carried);

#endif
