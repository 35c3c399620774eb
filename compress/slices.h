/* SPDX-License-Identifier: Apache-2.0
 *
 * slices.h: which slices of which axes go together.
 *
 * A slice is an index of an axis of a value. What an operator does ties slices of its operands and results:
 * column 5 of `up` makes channel 5 of %h, to which element 5 of `b` is added, and which row 5 of `down`
 * reads. Tied slices are one class: they stay or go together. Where a class ends is a sum over the axis (a
 * sink): there, one term is missing when the class goes.
 *
 *     %h = MatMul(%x, %up)       up[:, 5] ~ h[.., 5]
 *     %a = Add(%h, %b)           h[.., 5] ~ b[5] ~ a[.., 5]
 *     %y = MatMul(%a, %down)     a[.., 5] ~ down[5, :], a sink
 *
 * Slices that an operator needs all of (a norm's, a softmax's, those of inputs and outputs of the model) are
 * pinned: one class of its own that never goes. An operator without a rule pins everything it touches, so
 * what is not understood costs compression, not answers.
 *
 * A view that splits an axis, [.., 12 * 64] -> [.., 12, 64], leaves a rectangle only if whole heads go, or
 * the same channels of all heads. The first is taken, unless it turns out pinned; then the analysis is made
 * again with the other, for the first such view and those of its form (the same in other layers): what looks
 * bad further on may be so because of it. The same holds for the groups of a convolution.
 *
 * An axis whose dim is symbolic times a number, 12*batch as views of attention make it, has the slices 0..11,
 * each of them `batch` times.
 */
#ifndef TM_COMPRESS_SLICES_H
#define TM_COMPRESS_SLICES_H

#include "ir/graph.h"

/* A sum over an axis. `w` NULL: of the values of x alone. Index i of x meets index i % w_count of w. */
typedef struct tm_sink {
    tm_node *node;
    tm_value *x, *w;
    int x_axis, w_axis;
    int64_t x_count, w_count;
} tm_sink;

/* One of several ways to keep an operator's result a rectangle. */
typedef struct tm_slice_choice {
    int way;       /* the one that is tried; past the last: all is pinned */
    uint64_t form; /* of the view or convolution: alike where it is equal */
    int32_t first; /* slices that are all pinned if it was a bad one */
    int64_t count;
} tm_slice_choice;

typedef struct tm_slices {
    tm_arena *arena;
    tm_model *model;
    int32_t value_count; /* of the model when it was analysed */
    int32_t *
        *first; /* by value id and axis: number of its slice 0; 0: the axis has none. NULL: no axis has */
    int32_t *parent;      /* by slice: union-find; class 0 is pinned */
    int32_t *axis_of;     /* by slice: number of its axis */
    int32_t *axis_parent; /* by axis: union-find of axes with tied slices */
    uint8_t *zero;        /* by slice: all of it is known to be zero */
    int32_t *hits,
        *links; /* by slice: scratch of the rules: tied operands' slices, and those that are zero */
    int32_t slice_count, axis_count;
    TM_VECTOR(tm_sink) sinks;
    TM_VECTOR(tm_slice_choice) choices; /* of the views and grouped convolutions, in the order of the nodes */
    size_t choice;                      /* the next one */
} tm_slices;

/* Vectors that several nodes read get a copy for each, so that equal biases tie nothing. Before the analysis.
 */
void tm_slices_separate(tm_model *model);
/* Analyses the main graph. */
TM_MUST_USE tm_code tm_slices_find(tm_arena *arena, tm_model *model, tm_slices *out);

/* Slices of an axis: 0, where there is one slice or none that can be told apart. */
int64_t tm_slices_count(const tm_slices *s, const tm_value *value, int axis);
/* Number of the axis' slice 0; 0: it has none. */
int32_t tm_slices_first(const tm_slices *s, const tm_value *value, int axis);
int32_t tm_slices_class(const tm_slices *s, int32_t slice);
int32_t tm_slices_axis_class(const tm_slices *s, int32_t slice);
/* How many slices a dim stands for: its constant factor. */
int64_t tm_slices_period(tm_dim dim);

/* ---- for the rules ---- */

typedef enum tm_zero_rule {
    TM_ZERO_NEVER,
    TM_ZERO_ALL, /* a result's slice is zero if all operands' that are tied to it are: moves, f(0) = 0 */
    TM_ZERO_ANY  /* if one is: products */
} tm_zero_rule;

void tm_slices_pin(tm_slices *s, const tm_value *value, int axis);
void tm_slices_pin_all(tm_slices *s, const tm_value *value); /* NULL: nothing */
void tm_slices_unite(tm_slices *s, int32_t a, int32_t b);
/* An operand's slice and a result's: united, and remembered for the zero rule. */
void tm_slices_link(tm_slices *s, int32_t operand, int32_t result);
/* All slices of two axes, one by one; where they do not match, both are pinned. A dim of 1 that is repeated
 * ties nothing. */
void tm_slices_unite_axes(tm_slices *s, const tm_value *a, int a_axis, const tm_value *b, int b_axis);
void tm_slices_link_axes(tm_slices *s, const tm_value *operand, int operand_axis, const tm_value *result,
                         int result_axis);
void tm_slices_add_sink(tm_slices *s, tm_node *node, tm_value *x, int x_axis, tm_value *w, int w_axis);
/* The next choice: which of the ways is tried, or -1 when none is left. An axis that is pinned as a whole
 * then shows that it was a bad one. */
int tm_slices_choose(tm_slices *s, int ways, uint64_t form, const tm_value *value, int axis);

/* Sets the zeros of a node's results: slices that are tied to `least` slices of operands or more. */
void tm_slices_say_zeros(tm_slices *s, const tm_node *node, tm_zero_rule rule, int least);

/* What a node ties; what it says of zeros afterwards. */
typedef void tm_slice_rule(tm_slices *s, tm_node *node);
typedef struct tm_slice_row {
    tm_op op;
    tm_slice_rule *rule;
    tm_zero_rule zero;
} tm_slice_row;
/* NULL: there is none. prune_rules.c; the lists of the other files. */
const tm_slice_row *tm_slices_rule(tm_op op);
extern const tm_slice_row tm_slice_rows_move[], tm_slice_rows_sum[]; /* end with TM_OP_INVALID */

/* ---- prune_cut.c ---- */

/* Lets one slice of each axis stay. */
void tm_slices_spare(const tm_slices *s, bool *gone);
/* Slices of the axis that stay. */
int64_t tm_slices_kept(const tm_slices *s, const bool *gone, const tm_value *value, int axis);
/* Takes the classes out of the model of the analysis: `gone` by class, spared. The model is inferred anew. */
TM_MUST_USE tm_code tm_slices_cut(const tm_slices *s, const bool *gone);

/* ---- prune_zeros.c ---- */

/* Marks classes that add nothing to any sum: the term of one side of each is zero. How many. */
int64_t tm_slices_mark_zeros(const tm_slices *s, bool *gone);
/* Takes them out until there are none. *out_count: classes. */
TM_MUST_USE tm_code tm_prune_zeros(tm_model *model, int64_t *out_count);

#endif
