/* SPDX-License-Identifier: Apache-2.0
 *
 * prune_rules_move.c: operators that move elements, and attention.
 *
 * A view is cut into blocks, the shortest runs of axes on both sides with the same number of elements:
 *
 *     [batch, seq, 768] -> [batch, seq, 12, 64]       {batch} {seq} {768 | 12, 64}
 *
 * Axes that face each other alone are tied one by one. In other blocks the flat index is written in digits,
 * such that each axis is a run of them: 768 is (12, 64). One digit is free, and slices with the same value of
 * it go together; axes without it are pinned. Only the first axis of a block may be symbolic.
 */
#include "compress/slices.h"

#include "passes/match.h"

/* Operands that are no data: sizes, axes, positions. */
static void pin_operands(tm_slices *s, const tm_node *node, int from) {
    for (int i = from; i < node->input_count; i++)
        tm_slices_pin_all(s, node->inputs[i]);
}

/* ---- views ---- */

typedef struct side {
    const tm_value *value;
    int from, to;                    /* axes of the block */
    int axes[TAMIS_MAX_RANK], count; /* those that are not 1 */
    int64_t inner[TAMIS_MAX_RANK], size[TAMIS_MAX_RANK];
} side;

static void pin_side(tm_slices *s, const side *side) {
    for (int k = side->from; k < side->to; k++)
        tm_slices_pin(s, side->value, k);
}

/* Fills the axes that are not 1, their constant parts and strides; false: symbolic in the middle, or too
 * large. */
static bool measure(tm_dims *dims, side *side, tm_dim *out_outer, int64_t *out_total) {
    *out_outer = tm_dim_constant(dims, 1);
    *out_total = 1;
    side->count = 0;
    for (int k = 0; k < TAMIS_MAX_RANK; k++)
        side->size[k] = side->inner[k] = 0;
    for (int k = side->from; k < side->to; k++)
        if (!tm_dim_is(side->value->dims[k], 1))
            side->axes[side->count++] = k;
    for (int i = side->count - 1; i >= 0; i--) {
        tm_dim dim = side->value->dims[side->axes[i]];
        side->size[i] = tm_slices_period(dim);
        side->inner[i] = *out_total;
        if (side->size[i] <= 0 || !tm_mul_i64(*out_total, side->size[i], out_total) ||
            *out_total > INT32_MAX || (i > 0 && !tm_dim_is_constant(dim)))
            return false;
        if (i == 0)
            *out_outer = tm_dim_floordiv(dims, dim, tm_dim_constant(dims, side->size[i]));
    }
    return true;
}

/* Strides at which a digit begins, from the outermost; ends with 1. 0: the sides do not nest. */
static int find_digits(const side *a, const side *b, int64_t total, int64_t *out_strides) {
    int count = 0, i = 0, j = 0;
    int64_t at = total;
    while (at > 1) {
        int64_t x = i < a->count ? a->inner[i] : 1, y = j < b->count ? b->inner[j] : 1;
        int64_t next = x > y ? x : y;
        i += x == next;
        j += y == next;
        if (next <= 0 || at % next != 0 || count == 2 * TAMIS_MAX_RANK)
            return 0;
        if (next < at)
            out_strides[count++] = next;
        at = next;
    }
    return count;
}

/* Index in the side of the axis that has the digit. */
static int axis_with(const side *side, int64_t stride) {
    for (int i = 0; i < side->count; i++)
        if (stride >= side->inner[i] && stride < side->inner[i] * side->size[i])
            return i;
    return -1;
}

static void tie_digit(tm_slices *s, const side *in, const side *out, int64_t stride, int64_t size) {
    int a = axis_with(in, stride), b = axis_with(out, stride);
    for (int i = 0; i < in->count; i++)
        if (i != a)
            tm_slices_pin(s, in->value, in->axes[i]);
    for (int i = 0; i < out->count; i++)
        if (i != b)
            tm_slices_pin(s, out->value, out->axes[i]);
    if (a < 0 || b < 0) {
        pin_side(s, in);
        pin_side(s, out);
        return;
    }
    int32_t x = tm_slices_first(s, in->value, in->axes[a]), y = tm_slices_first(s, out->value, out->axes[b]);
    if (x == 0 || y == 0) {
        pin_side(s, in);
        pin_side(s, out);
        return;
    }
    int64_t x_step = stride / in->inner[a], y_step = stride / out->inner[b];
    for (int64_t i = 0; i < in->size[a]; i++)
        for (int64_t j = i / x_step % size * y_step; j < out->size[b]; j += y_step * size)
            for (int64_t k = j; k < j + y_step; k++)
                tm_slices_link(s, x + (int32_t)i, y + (int32_t)k);
}

static void view_block(tm_slices *s, side *in, side *out) {
    tm_dims *dims = s->model->dims;
    tm_dim in_outer, out_outer;
    int64_t in_total, out_total, strides[2 * TAMIS_MAX_RANK];
    bool regular = measure(dims, in, &in_outer, &in_total);
    regular = measure(dims, out, &out_outer, &out_total) && regular;
    if (in->count == 1 && out->count == 1) {
        tm_slices_link_axes(s, in->value, in->axes[0], out->value, out->axes[0]);
        return;
    }
    int digits = regular && in_outer == out_outer && in_total == out_total
                     ? find_digits(in, out, in_total, strides)
                     : 0;
    uint64_t form = (uint64_t)in->count;
    for (int i = 0; i < in->count + out->count; i++)
        form = form * 1000003 + (uint64_t)(i < in->count ? in->size[i] : out->size[i - in->count]);
    int way = digits > 0 && in->count > 0 ? tm_slices_choose(s, digits, form, in->value, in->axes[0]) : -1;
    if (way < 0) {
        pin_side(s, in);
        pin_side(s, out);
        return;
    }
    int a = axis_with(in, strides[way]);
    if (a >= 0) { /* the axis that shows whether the choice was good */
        tm_slice_choice *choice = &s->choices.items[s->choice - 1];
        choice->first = tm_slices_first(s, in->value, in->axes[a]);
        choice->count = tm_slices_count(s, in->value, in->axes[a]);
    }
    tie_digit(s, in, out, strides[way], (way == 0 ? in_total : strides[way - 1]) / strides[way]);
}

/* The next pair of axes, both further on, up to which the products of dims agree. */
static void next_block(tm_dims *dims, side *in, side *out) {
    tm_dim products[TAMIS_MAX_RANK + 1];
    for (int j = out->from; j < out->value->rank; j++)
        products[j] = tm_dim_product(dims, out->value->dims + out->from, j + 1 - out->from);
    for (int i = in->from; i < in->value->rank; i++) {
        tm_dim product = tm_dim_product(dims, in->value->dims + in->from, i + 1 - in->from);
        for (int j = out->from; j < out->value->rank; j++)
            if (products[j] == product && (i + 1 < in->value->rank) == (j + 1 < out->value->rank)) {
                in->to = i + 1;
                out->to = j + 1;
                return;
            }
    }
    in->to = in->value->rank;
    out->to = out->value->rank;
}

static void view(tm_slices *s, tm_node *node) {
    side in = {.value = node->inputs[0]}, out = {.value = node->outputs[0]};
    pin_operands(s, node, 1);
    if (node->input_count > 1 && node->op == TM_OP_Reshape) { /* dims that only the run knows */
        tm_slices_pin_all(s, in.value);
        tm_slices_pin_all(s, out.value);
        return;
    }
    while (in.from < in.value->rank || out.from < out.value->rank) {
        next_block(s->model->dims, &in, &out);
        view_block(s, &in, &out);
        in.from = in.to;
        out.from = out.to;
    }
}

static void transpose(tm_slices *s, tm_node *node) {
    const tm_value *x = node->inputs[0], *y = node->outputs[0];
    const tm_attribute *perm = tm_node_attribute(node, "perm");
    for (int k = 0; k < y->rank; k++)
        tm_slices_link_axes(s, x, perm->present ? (int)perm->ints[k] : x->rank - 1 - k, y, k);
}

/* ---- parts of an axis ---- */

static int axis_of(const tm_node *node, int rank) {
    int64_t axis = tm_node_int(node, "axis");
    axis += axis < 0 ? rank : 0;
    return axis >= 0 && axis < rank ? (int)axis : 0;
}

/* Slice `at` of `whole` and on stands for those of `part`, along an axis; of a part of one slice, it is
 * needed. */
static void tie_part(tm_slices *s, const tm_value *part, const tm_value *whole, int axis, int64_t at,
                     bool join) {
    int32_t x = tm_slices_first(s, part, axis), y = tm_slices_first(s, whole, axis);
    int64_t n = part->dims[axis]->constant;
    for (int64_t i = 0; y != 0 && i < n; i++) {
        int32_t one = x == 0 ? 0 : x + (int32_t)i, other = y + (int32_t)(at + i);
        if (x == 0)
            tm_slices_unite(s, other, 0);
        else if (join)
            tm_slices_link(s, one, other);
        else
            tm_slices_link(s, other, one);
    }
    if (y == 0)
        tm_slices_pin(s, part, axis);
}

static void split_or_concat(tm_slices *s, tm_node *node) {
    bool join = node->op == TM_OP_Concat;
    const tm_value *whole = join ? node->outputs[0] : node->inputs[0];
    if (!join)
        pin_operands(s, node, 1);
    tm_value *const *parts = join ? node->inputs : node->outputs;
    int count = join ? node->input_count : node->output_count, axis = axis_of(node, whole->rank);
    bool known = tm_dim_is_constant(whole->dims[axis]);
    for (int i = 0; i < count; i++)
        known = known && parts[i] != NULL && tm_dim_is_constant(parts[i]->dims[axis]);
    int64_t at = 0;
    for (int i = 0; i < count; i++) {
        if (parts[i] == NULL)
            continue;
        for (int k = 0; k < whole->rank; k++)
            if (k != axis && join)
                tm_slices_link_axes(s, parts[i], k, whole, k);
            else if (k != axis)
                tm_slices_link_axes(s, whole, k, parts[i], k);
        if (known) {
            tie_part(s, parts[i], whole, axis, at, join);
            at += parts[i]->dims[axis]->constant;
        } else {
            tm_slices_pin(s, parts[i], axis);
        }
    }
    if (!known)
        tm_slices_pin(s, whole, axis);
}

/* Along Concat's other axes a slice is zero if it is in all parts. */
static void concat(tm_slices *s, tm_node *node) {
    split_or_concat(s, node);
    tm_slices_say_zeros(s, node, TM_ZERO_ALL, node->input_count);
    const tm_value *y = node->outputs[0];
    int axis = axis_of(node, y->rank);
    int32_t first = tm_slices_first(s, y, axis);
    for (int64_t i = first, n = tm_slices_count(s, y, axis); i < first + n; i++)
        s->zero[i] = s->links[i] > 0 && s->hits[i] == s->links[i];
}

static void slice(tm_slices *s, tm_node *node) {
    const tm_value *x = node->inputs[0], *y = node->outputs[0];
    int64_t starts[TAMIS_MAX_RANK], axes[TAMIS_MAX_RANK], steps[TAMIS_MAX_RANK];
    int count = 0, axis_count = 0, step_count = 0;
    pin_operands(s, node, 1);
    bool known = node->inputs[1]->type == TAMIS_TYPE_INT64 && tm_match_ints(node->inputs[1], starts, &count);
    bool have_axes = node->input_count > 3 && node->inputs[3] != NULL;
    bool have_steps = node->input_count > 4 && node->inputs[4] != NULL;
    if (have_axes)
        known = known && tm_match_ints(node->inputs[3], axes, &axis_count) && axis_count == count;
    if (have_steps)
        known = known && tm_match_ints(node->inputs[4], steps, &step_count) && step_count == count;
    for (int k = 0; k < x->rank; k++) {
        int at = -1;
        for (int i = 0; i < count; i++)
            if ((have_axes ? axes[i] + (axes[i] < 0 ? x->rank : 0) : i) == k)
                at = i;
        bool whole = known && at < 0;
        bool part = known && at >= 0 && tm_dim_is_constant(x->dims[k]) && tm_dim_is_constant(y->dims[k]) &&
                    (!have_steps || steps[at] == 1);
        if (whole) {
            tm_slices_link_axes(s, x, k, y, k);
        } else if (part) {
            int64_t n = x->dims[k]->constant, from = starts[at] + (starts[at] < 0 ? n : 0);
            tie_part(s, y, x, k, from < 0 ? 0 : from > n ? n : from, false);
        } else {
            tm_slices_pin(s, x, k);
            tm_slices_pin(s, y, k);
        }
    }
}

/* Constant indices: a row of them picks slices, one alone needs its slice. Others may need any. */
static void gather(tm_slices *s, tm_node *node) {
    const tm_value *x = node->inputs[0], *indices = node->inputs[1], *y = node->outputs[0];
    int axis = axis_of(node, x->rank), width = indices->rank;
    for (int k = 0; k < x->rank; k++)
        if (k != axis)
            tm_slices_link_axes(s, x, k, y, k < axis ? k : k + width - 1);
    int64_t n = tm_slices_count(s, x, axis);
    if (indices->constant == NULL || width > 1 || !tm_dim_is_constant(x->dims[axis])) {
        tm_slices_pin(s, x, axis);
        for (int k = 0; k < width; k++)
            tm_slices_unite_axes(s, indices, k, y, axis + k);
        return;
    }
    int32_t from = tm_slices_first(s, x, axis), to = width == 1 ? tm_slices_first(s, y, axis) : 0;
    for (int64_t i = 0, count = tm_constant_count(indices->constant); i < count && n > 0; i++) {
        int64_t at = 0;
        if (!tm_constant_int(indices->constant, i, &at) || at < -n || at >= n)
            continue;
        at += at < 0 ? n : 0;
        if (to == 0)
            tm_slices_unite(s, from + (int32_t)at, 0);
        else
            tm_slices_link(s, from + (int32_t)at, to + (int32_t)i);
    }
    if (width == 1)
        tm_slices_unite_axes(s, indices, 0, y, axis);
    if (n == 0 && width == 1)
        tm_slices_pin(s, y, axis);
}

static void pad(tm_slices *s, tm_node *node) {
    const tm_value *x = node->inputs[0], *y = node->outputs[0];
    int64_t pads[2 * TAMIS_MAX_RANK] = {0};
    pin_operands(s, node, 1);
    bool known = tm_value_is_constant(node->inputs[1]) &&
                 (node->input_count < 4 || node->inputs[3] == NULL) &&
                 tm_constant_count(node->inputs[1]->constant) == 2 * x->rank;
    for (int i = 0; known && i < 2 * x->rank; i++)
        known = tm_constant_int(node->inputs[1]->constant, i, &pads[i]);
    for (int k = 0; k < x->rank; k++) {
        if (known && pads[k] == 0 && pads[x->rank + k] == 0) {
            tm_slices_unite_axes(s, x, k, y, k);
        } else {
            tm_slices_pin(s, x, k);
            tm_slices_pin(s, y, k);
        }
    }
}

/* Axes that are repeated have free slices of their own. */
static void expand(tm_slices *s, tm_node *node) {
    const tm_value *x = node->inputs[0], *y = node->outputs[0];
    pin_operands(s, node, 1);
    for (int k = 0; k < x->rank; k++)
        tm_slices_link_axes(s, x, k, y, y->rank - x->rank + k);
    for (int k = 0; k < y->rank; k++)
        if (!tm_dim_is_constant(y->dims[k]))
            tm_slices_pin(s, y, k);
}

static void fill(tm_slices *s, tm_node *node) {
    pin_operands(s, node, 0);
    for (int k = 0; k < node->outputs[0]->rank; k++)
        if (!tm_dim_is_constant(node->outputs[0]->dims[k]))
            tm_slices_pin(s, node->outputs[0], k);
}

static void tile(tm_slices *s, tm_node *node) {
    const tm_value *x = node->inputs[0], *y = node->outputs[0];
    pin_operands(s, node, 1);
    for (int k = 0; k < x->rank; k++) {
        int32_t from = tm_slices_first(s, x, k), to = tm_slices_first(s, y, k);
        bool known = tm_dim_is_constant(x->dims[k]) && tm_dim_is_constant(y->dims[k]) && from != 0 && to != 0;
        for (int64_t i = 0; known && i < y->dims[k]->constant; i++)
            tm_slices_link(s, from + (int32_t)(i % x->dims[k]->constant), to + (int32_t)i);
        if (!known) {
            tm_slices_pin(s, x, k);
            tm_slices_pin(s, y, k);
        }
    }
}

static void trilu(tm_slices *s, tm_node *node) {
    const tm_value *x = node->inputs[0], *y = node->outputs[0];
    for (int k = 0; k < x->rank; k++) {
        tm_slices_link_axes(s, x, k, y, k);
        if (k >= x->rank - 2)
            tm_slices_pin(s, y, k);
    }
}

/* What it says of dims stays what it was: the cut writes the old numbers behind it. */
static void shape(tm_slices *s, tm_node *node) {
    tm_slices_pin_all(s, node->outputs[0]);
}

/* ---- attention ---- */

/* Four axes [batch, heads, length, width], without a cache: a head of keys goes with the heads that read it.
 */
static void attention(tm_slices *s, tm_node *node) {
    const tm_value *y = node->outputs[0];
    bool plain = y->rank == 4 && node->output_count == 1;
    for (int i = 0; i < node->input_count; i++)
        plain = plain && (i < 4 || node->inputs[i] == NULL) && (i > 2 || node->inputs[i]->rank == 4);
    int64_t heads = plain ? tm_slices_count(s, node->inputs[0], 1) : 0;
    int64_t keys = plain ? tm_slices_period(node->inputs[1]->dims[1]) : 0;
    if (heads == 0 || keys < 2 || heads % keys != 0) {
        for (int i = 0; i < node->input_count; i++)
            tm_slices_pin_all(s, node->inputs[i]);
        for (int i = 0; i < node->output_count; i++)
            tm_slices_pin_all(s, node->outputs[i]);
        return;
    }
    const tm_value *q = node->inputs[0], *k = node->inputs[1], *v = node->inputs[2];
    const tm_value *mask = node->input_count > 3 ? node->inputs[3] : NULL;
    int32_t first[3] = {tm_slices_first(s, q, 1), tm_slices_first(s, k, 1), tm_slices_first(s, v, 1)};
    for (int i = 0; i < 4; i++) {
        if (i == 1)
            continue;
        tm_slices_pin(s, q, i);
        tm_slices_pin(s, k, i);
        tm_slices_pin(s, v, i);
        tm_slices_pin(s, y, i);
    }
    tm_slices_unite_axes(s, q, 1, y, 1);
    for (int64_t i = 0; i < heads; i++) {
        int64_t key = i / (heads / keys);
        tm_slices_unite(s, first[0] + (int32_t)i, first[1] + (int32_t)key);
        tm_slices_unite(s, first[0] + (int32_t)i, first[2] + (int32_t)key);
    }
    for (int i = 0; mask != NULL && i < mask->rank; i++) {
        if (mask->rank == 4 && i == 1)
            tm_slices_unite_axes(s, mask, 1, y, 1);
        else
            tm_slices_pin(s, mask, i);
    }
    for (int64_t i = 0, to = tm_slices_first(s, y, 1); i < heads; i++)
        s->zero[to + i] = s->zero[first[2] + i / (heads / keys)];
}

const tm_slice_row tm_slice_rows_move[] = {{TM_OP_Reshape, view, TM_ZERO_ALL},
                                           {TM_OP_Squeeze, view, TM_ZERO_ALL},
                                           {TM_OP_Unsqueeze, view, TM_ZERO_ALL},
                                           {TM_OP_Flatten, view, TM_ZERO_ALL},
                                           {TM_OP_Transpose, transpose, TM_ZERO_ALL},
                                           {TM_OP_Concat, concat, TM_ZERO_NEVER},
                                           {TM_OP_Split, split_or_concat, TM_ZERO_ALL},
                                           {TM_OP_Slice, slice, TM_ZERO_ALL},
                                           {TM_OP_Gather, gather, TM_ZERO_ALL},
                                           {TM_OP_Pad, pad, TM_ZERO_NEVER},
                                           {TM_OP_Expand, expand, TM_ZERO_ALL},
                                           {TM_OP_ConstantOfShape, fill, TM_ZERO_NEVER},
                                           {TM_OP_Tile, tile, TM_ZERO_ALL},
                                           {TM_OP_Trilu, trilu, TM_ZERO_ALL},
                                           {TM_OP_Shape, shape, TM_ZERO_NEVER},
                                           {TM_OP_Attention, attention, TM_ZERO_NEVER},
                                           {TM_OP_INVALID, NULL, TM_ZERO_NEVER}};
