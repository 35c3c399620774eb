/* SPDX-License-Identifier: Apache-2.0
 *
 * prune_rules.c: what operators tie that work on elements, along an axis, or channel by channel; and the
 * table of all rules.
 *
 * Elementwise, slices that stand upon each other are tied. Along a norm's or a softmax's axis all slices are
 * needed. Of the functions with f(0) = 0, a slice of zeros gives zeros, so a channel that is zero stays it up
 * to the product that reads it.
 */
#include "compress/slices.h"

#include "passes/match.h"

/* ---- elementwise ---- */

static bool keeps_zero(const tm_node *node) {
    double low, high;
    switch (node->op) {
    case TM_OP_Abs:
    case TM_OP_Neg:
    case TM_OP_Sign:
    case TM_OP_Floor:
    case TM_OP_Ceil:
    case TM_OP_Round:
    case TM_OP_Relu:
    case TM_OP_Sqrt:
    case TM_OP_Sin:
    case TM_OP_Tan:
    case TM_OP_Asin:
    case TM_OP_Atan:
    case TM_OP_Sinh:
    case TM_OP_Asinh:
    case TM_OP_Tanh:
    case TM_OP_Atanh:
    case TM_OP_Erf:
    case TM_OP_Softsign:
    case TM_OP_Elu:
    case TM_OP_Selu:
    case TM_OP_Celu:
    case TM_OP_Gelu:
    case TM_OP_Swish:
    case TM_OP_HardSwish:
    case TM_OP_LeakyRelu:
    case TM_OP_Mish:
    case TM_OP_Cast:
    case TM_OP_CastLike:
    case TM_OP_PRelu:
    case TM_OP_Identity:
    case TM_OP_Dropout:
        return true;
    case TM_OP_Clip: /* bounds on both sides of zero */
        low = high = 0;
        return (node->input_count < 2 || node->inputs[1] == NULL ||
                (tm_match_number(node->inputs[1], &low) && low <= 0)) &&
               (node->input_count < 3 || node->inputs[2] == NULL ||
                (tm_match_number(node->inputs[2], &high) && high >= 0));
    case TM_OP_Pow:
        return tm_match_number(node->inputs[1], &high) && high > 0;
    default:
        return false;
    }
}

static void elementwise(tm_slices *s, tm_node *node) {
    const tm_value *result = node->outputs[0];
    for (int i = 0; i < node->input_count; i++) {
        const tm_value *x = node->inputs[i];
        for (int k = 0; x != NULL && k < x->rank; k++)
            tm_slices_link_axes(s, x, k, result, result->rank - x->rank + k);
    }
    switch (node->op) {
    case TM_OP_Mul:
    case TM_OP_And:
    case TM_OP_BitwiseAnd:
        tm_slices_say_zeros(s, node, TM_ZERO_ANY, 1);
        break;
    case TM_OP_Add:
    case TM_OP_Sub:
    case TM_OP_Sum:
    case TM_OP_Max:
    case TM_OP_Min:
    case TM_OP_Mean:
        tm_slices_say_zeros(s, node, TM_ZERO_ALL, node->input_count);
        break;
    default:
        if (keeps_zero(node) && node->inputs[0]->rank == result->rank) {
            for (int k = 0; k < result->rank; k++) {
                int32_t x = tm_slices_first(s, node->inputs[0], k), y = tm_slices_first(s, result, k);
                int64_t n = tm_slices_count(s, node->inputs[0], k);
                for (int64_t i = 0; n == tm_slices_count(s, result, k) && i < n; i++)
                    s->zero[y + i] = s->zero[x + i];
            }
        }
    }
}

/* Identity and Dropout; a mask of what was dropped is not asked for in inference. */
static void copy(tm_slices *s, tm_node *node) {
    if (node->output_count > 1)
        tm_slices_pin_all(s, node->outputs[1]);
    if (node->input_count > 0 && node->inputs[0]->kind == TAMIS_KIND_TENSOR)
        elementwise(s, node);
}

/* ---- along an axis ---- */

static int axis_of(const tm_node *node, const tm_value *x) {
    int64_t axis = tm_node_int(node, "axis");
    axis += axis < 0 ? x->rank : 0;
    return axis >= 0 && axis < x->rank ? (int)axis : 0;
}

/* Axes [from, to) are needed whole; the others are tied one by one. */
static void needs_axes(tm_slices *s, tm_node *node, int from, int to) {
    const tm_value *x = node->inputs[0];
    for (int i = 0; i < node->output_count; i++) {
        const tm_value *y = node->outputs[i];
        for (int k = 0; y != NULL && k < y->rank; k++) {
            if (y->rank != x->rank || (k >= from && k < to))
                tm_slices_pin(s, y, k);
            else
                tm_slices_unite_axes(s, x, k, y, k);
        }
    }
    for (int k = 0; k < x->rank; k++)
        if (node->outputs[0]->rank != x->rank || (k >= from && k < to))
            tm_slices_pin(s, x, k);
}

/* Softmax and its kin, TopK, CumSum, ArgMax with its axis kept. */
static void along_axis(tm_slices *s, tm_node *node) {
    int axis = axis_of(node, node->inputs[0]);
    for (int i = 1; i < node->input_count; i++)
        tm_slices_pin_all(s, node->inputs[i]);
    if (node->op == TM_OP_CumSum) {
        int64_t given = 0;
        bool known =
            tm_value_is_constant(node->inputs[1]) && tm_constant_int(node->inputs[1]->constant, 0, &given);
        axis = (int)(given < 0 ? given + node->inputs[0]->rank : given);
        needs_axes(s, node, known ? axis : 0, known ? axis + 1 : node->inputs[0]->rank);
        return;
    }
    needs_axes(s, node, axis, axis + 1);
}

static void norm(tm_slices *s, tm_node *node) {
    for (int i = 1; i < node->input_count; i++)
        tm_slices_pin_all(s, node->inputs[i]);
    needs_axes(s, node, axis_of(node, node->inputs[0]), node->inputs[0]->rank);
}

/* ---- channel by channel ---- */

static bool is_zero_at(const tm_slices *s, const tm_value *value, int axis, int64_t i) {
    int32_t first = value != NULL ? tm_slices_first(s, value, axis) : 0;
    return first != 0 && s->zero[first + i] != 0;
}

/* Scale and shift for each channel: zeros where both are. */
static void channel_norm(tm_slices *s, tm_node *node) {
    const tm_value *x = node->inputs[0], *y = node->outputs[0];
    bool batch = node->op == TM_OP_BatchNormalization;
    if (batch && tm_node_int(node, "training_mode") != 0) {
        for (int i = 0; i < node->input_count; i++)
            tm_slices_pin_all(s, node->inputs[i]);
        for (int i = 0; i < node->output_count; i++)
            tm_slices_pin_all(s, node->outputs[i]);
        return;
    }
    for (int k = 0; k < x->rank; k++) {
        tm_slices_unite_axes(s, x, k, y, k);
        if (!batch && k > 1)
            tm_slices_pin(s, x, k);
    }
    for (int i = 1; i < node->input_count && x->rank > 1; i++)
        tm_slices_unite_axes(s, node->inputs[i], 0, y, 1);
    int32_t first = x->rank > 1 ? tm_slices_first(s, y, 1) : 0;
    for (int64_t i = 0; first != 0 && i < tm_slices_count(s, y, 1); i++)
        s->zero[first + i] = is_zero_at(s, node->inputs[1], 0, i) && is_zero_at(s, node->inputs[2], 0, i);
}

/* Whole groups go. */
static void group_norm(tm_slices *s, tm_node *node) {
    const tm_value *x = node->inputs[0], *y = node->outputs[0];
    int64_t groups = tm_node_int(node, "num_groups"), n = tm_slices_count(s, x, 1);
    channel_norm(s, node);
    if (groups <= 0 || n == 0 || n % groups != 0) {
        tm_slices_pin(s, y, 1);
        return;
    }
    int32_t first = tm_slices_first(s, y, 1);
    for (int64_t i = 0; i < n; i++)
        tm_slices_unite(s, first + (int32_t)(i / (n / groups) * (n / groups)), first + (int32_t)i);
}

/* Pools and resizing: positions are needed, samples and channels go through. */
static void spatial(tm_slices *s, tm_node *node) {
    const tm_value *x = node->inputs[0];
    if (node->output_count > 1 && node->outputs[1] != NULL) { /* places of maxima count all channels */
        tm_slices_pin_all(s, x);
        tm_slices_pin_all(s, node->outputs[0]);
        tm_slices_pin_all(s, node->outputs[1]);
        return;
    }
    for (int k = 0; k < x->rank; k++) {
        if (k < 2)
            tm_slices_link_axes(s, x, k, node->outputs[0], k);
        else
            tm_slices_pin(s, node->outputs[0], k);
    }
    for (int k = 2; k < x->rank; k++)
        tm_slices_pin(s, x, k);
}

/* By factors, of which that of the channels is 1; with sizes, all is pinned. */
static void resize(tm_slices *s, tm_node *node) {
    const tm_value *x = node->inputs[0];
    double factor = 0;
    for (int i = 1; i < node->input_count; i++)
        tm_slices_pin_all(s, node->inputs[i]);
    bool by_factors = node->input_count == 3 && tm_value_is_constant(node->inputs[2]) &&
                      node->inputs[2]->constant->dims[0] == x->rank && x->rank > 2 &&
                      !tm_node_has_attribute(node, "axes");
    for (int k = 0; by_factors && k < 2; k++)
        by_factors = tm_constant_double(node->inputs[2]->constant, k, &factor) && factor == 1;
    if (by_factors) {
        spatial(s, node);
        return;
    }
    tm_slices_pin_all(s, x);
    tm_slices_pin_all(s, node->outputs[0]);
}

/* ---- the table ---- */

static const tm_slice_row own[] = {{TM_OP_Identity, copy, TM_ZERO_NEVER},
                                   {TM_OP_Dropout, copy, TM_ZERO_NEVER},
                                   {TM_OP_Softmax, along_axis, TM_ZERO_NEVER},
                                   {TM_OP_LogSoftmax, along_axis, TM_ZERO_NEVER},
                                   {TM_OP_Hardmax, along_axis, TM_ZERO_NEVER},
                                   {TM_OP_LpNormalization, along_axis, TM_ZERO_NEVER},
                                   {TM_OP_TopK, along_axis, TM_ZERO_NEVER},
                                   {TM_OP_ArgMax, along_axis, TM_ZERO_NEVER},
                                   {TM_OP_ArgMin, along_axis, TM_ZERO_NEVER},
                                   {TM_OP_CumSum, along_axis, TM_ZERO_NEVER},
                                   {TM_OP_LayerNormalization, norm, TM_ZERO_NEVER},
                                   {TM_OP_RMSNormalization, norm, TM_ZERO_NEVER},
                                   {TM_OP_BatchNormalization, channel_norm, TM_ZERO_NEVER},
                                   {TM_OP_InstanceNormalization, channel_norm, TM_ZERO_NEVER},
                                   {TM_OP_GroupNormalization, group_norm, TM_ZERO_NEVER},
                                   {TM_OP_AveragePool, spatial, TM_ZERO_ALL},
                                   {TM_OP_MaxPool, spatial, TM_ZERO_ALL},
                                   {TM_OP_LpPool, spatial, TM_ZERO_ALL},
                                   {TM_OP_GlobalAveragePool, spatial, TM_ZERO_ALL},
                                   {TM_OP_GlobalMaxPool, spatial, TM_ZERO_ALL},
                                   {TM_OP_GlobalLpPool, spatial, TM_ZERO_ALL},
                                   {TM_OP_Resize, resize, TM_ZERO_NEVER},
                                   {TM_OP_INVALID, NULL, TM_ZERO_NEVER}};
static const tm_slice_row each_element = {TM_OP_INVALID, elementwise, TM_ZERO_NEVER};

const tm_slice_row *tm_slices_rule(tm_op op) {
    const tm_slice_row *const lists[] = {own, tm_slice_rows_move, tm_slice_rows_sum};
    if (tm_op_has(op, TM_ELEMENTWISE))
        return &each_element;
    for (int i = 0; i < 3; i++)
        for (const tm_slice_row *row = lists[i]; row->op != TM_OP_INVALID; row++)
            if (row->op == op)
                return row;
    return NULL;
}
