/* SPDX-License-Identifier: Apache-2.0
 *
 * shape_list.h: one-dimensional integer inputs that describe shapes, axes, starts and the like.
 *
 * Their number of entries is nearly always known. Where only the run tells it, it is an expression like any
 * other dim, bounded by what the op can take, and
 *
 *   - it decides nothing but values (axes of a Slice, of a reduction that keeps its dims): entry i is
 *     select(i < length, entry i, otherwise);
 *   - it must have one value (repeats of a Tile): that is demanded when the model runs;
 *   - it decides the rank (the target of a Reshape): the rank that the model declares for the result is
 *     taken, and the number that goes with it demanded.
 *
 * Reading an entry past the end gives 0 at run time, so all entries up to the bound may be LOAD symbols.
 */
#ifndef TM_IR_OPS_SHAPE_LIST_H
#define TM_IR_OPS_SHAPE_LIST_H

#include "ir/infer.h"

typedef struct tm_shape_list {
    tm_value *value;
    tm_dim length;
    int most; /* entries that there can be */
} tm_shape_list;

/* Input `input` as a list of at most `most` entries; `what` names them in messages. A scalar is a list of
 * one. */
TM_MUST_USE tm_code tm_shape_list_open(tm_infer_context *context, tm_node *node, int input, const char *what,
                                       int most, tm_shape_list *out);
/* The same, demanded to have `count` entries. */
TM_MUST_USE tm_code tm_shape_list_open_exact(tm_infer_context *context, tm_node *node, int input,
                                             const char *what, int count, tm_shape_list *out);
/* The same, its number of entries deciding the rank: see tm_shape_list_decide_rank. */
TM_MUST_USE tm_code tm_shape_list_open_ranked(tm_infer_context *context, tm_node *node, int input,
                                              const char *what, int times, int more, tm_shape_list *out);
/* Two lists of the same number of entries; a constant number of one is that of both. */
TM_MUST_USE tm_code tm_shape_list_same_length(tm_infer_context *context, tm_node *node, tm_shape_list *a,
                                              tm_shape_list *b, const char *what);
/* A number of dims that decides the rank of output 0, which is `more` higher (times = 1) or `more` less the
 * number (times = -1): the number if it is constant, else what the declared rank says, and then demanded. */
TM_MUST_USE tm_code tm_shape_list_decide_rank(tm_infer_context *context, tm_node *node, tm_dim number,
                                              const char *what, int times, int more, int *out_number);
/* Entries that there can be: the number where it is known. */
static inline int tm_shape_list_bound(const tm_shape_list *list) {
    return tm_dim_is_constant(list->length) ? (int)list->length->constant : list->most;
}
/* Entry i, or `otherwise` where the list has none: i may be negative. */
tm_dim tm_shape_list_entry(tm_infer_context *context, const tm_shape_list *list, int i, tm_dim otherwise);
/* Entry i, 0 the last one. */
tm_dim tm_shape_list_entry_from_end(tm_infer_context *context, const tm_shape_list *list, int i,
                                    tm_dim otherwise);

#endif
