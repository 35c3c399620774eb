/* SPDX-License-Identifier: Apache-2.0
 *
 * layout.h: values of a graph and their twins, the same data with channels last.
 *
 *     %c: f32[n, 64, 28, 28]      twin:  %t: f32[n, 28, 28, 64]
 *
 * A pass walks a graph in order and makes twins; where only one of the two is there, a Transpose makes the
 * other. For data whose spatial dims are all 1 that is a view.
 */
#ifndef TM_PASSES_LAYOUT_H
#define TM_PASSES_LAYOUT_H

#include "passes/passes.h"

typedef struct tm_layout {
    tm_pass_context *context;
    tm_model *model;
    tm_value **twins; /* by id, for values that were there when the walk began */
    int32_t twin_count;
    TM_VECTOR(tm_node *) replaced; /* nodes whose outputs all have twins: they go when the walk is over */
} tm_layout;

void tm_layout_begin(tm_layout *layout, tm_pass_context *context);
/* Replaces what is left of the nodes that have been replaced by twins. */
TM_MUST_USE tm_code tm_layout_end(tm_layout *layout);

/* The twin that there is, or NULL. */
tm_value *tm_layout_twin(const tm_layout *layout, const tm_value *value);
void tm_layout_set_twin(tm_layout *layout, const tm_value *value, tm_value *twin);
/* The twin, made before `before` when there is none. */
TM_MUST_USE tm_code tm_layout_need_twin(tm_layout *layout, tm_node *before, tm_value *value,
                                        tm_value **out_twin);
/* A transposed value, before `before`: to channels last, or back. */
TM_MUST_USE tm_code tm_layout_to_last(tm_node *before, tm_value *value, tm_value **out_value);
TM_MUST_USE tm_code tm_layout_to_first(tm_node *before, tm_value *value, tm_value **out_value);

/* Where axis `axis` of a value of this rank lies in its twin. */
int tm_layout_axis(int axis, int rank);
bool tm_layout_is_to_last(const tm_node *transpose);
bool tm_layout_is_to_first(const tm_node *transpose);
/* Are all dims but the first two known to be 1? */
bool tm_layout_is_point(const tm_value *value);
/* A constant transposed at compile time; perm[i] is the old axis of the new axis i. */
tm_value *tm_layout_transposed_constant(tm_graph *graph, const tm_constant *constant, const int64_t *perm);

#endif
