/* SPDX-License-Identifier: Apache-2.0
 *
 * elementwise.c: inference of elementwise ops: broadcast, compare, where, same, clip, test.
 *
 * Beside types and dims, these carry known elements of integer and bool tensors, since they are what
 * shape arithmetic is made of:
 *
 *     %s = Shape(%x)              elements [batch, seq]
 *     %t = Mul(%s, [1, 2])        elements [batch, 2*seq]
 *     %m = Equal(%t, [-1, -1])    elements [0, 0]
 *     %r = Where(%m, %u, %t)      elements [batch, 2*seq]
 *
 * Elements are exact integers, while int32 wraps around: constants that do not fit the type end the
 * carrying; symbolic ones are dims, which are far from the limits.
 */
#include "ir/infer.h"

#include <string.h>

typedef tm_dim (*combine)(tm_dims *dims, tm_dim a, tm_dim b);

static bool carries_elements(const tm_value *value) {
    return value->type == TAMIS_TYPE_INT64 || value->type == TAMIS_TYPE_INT32 ||
           value->type == TAMIS_TYPE_BOOL;
}

static tm_dim truth(tm_dims *dims, bool value) {
    return tm_dim_constant(dims, value ? 1 : 0);
}

static tm_dim not_of(tm_dims *dims, tm_dim a) {
    return tm_dim_sub(dims, truth(dims, true), a);
}

/* ---- what an op does to two elements; NULL: not carried ---- */
static tm_dim combine_div(tm_dims *dims, tm_dim a, tm_dim b) {
    return tm_dim_is(b, 0) ? NULL : tm_dim_truncdiv(dims, a, b);
}

static tm_dim combine_mod(tm_dims *dims, tm_dim a, tm_dim b) {
    return tm_dim_is(b, 0) ? NULL : tm_dim_floormod(dims, a, b);
}

static tm_dim combine_and(tm_dims *dims, tm_dim a, tm_dim b) {
    return tm_dim_min(dims, a, b);
}

static tm_dim combine_or(tm_dims *dims, tm_dim a, tm_dim b) {
    return tm_dim_max(dims, a, b);
}

static tm_dim combine_xor(tm_dims *dims, tm_dim a, tm_dim b) {
    return not_of(dims, tm_dim_equal(dims, a, b));
}

static tm_dim combine_greater(tm_dims *dims, tm_dim a, tm_dim b) {
    return tm_dim_less(dims, b, a);
}

static tm_dim combine_greater_equal(tm_dims *dims, tm_dim a, tm_dim b) {
    return not_of(dims, tm_dim_less(dims, a, b));
}

static tm_dim combine_less_equal(tm_dims *dims, tm_dim a, tm_dim b) {
    return not_of(dims, tm_dim_less(dims, b, a));
}

static combine combine_of(const tm_node *node) {
    switch (node->op) {
    case TM_OP_Add:
    case TM_OP_Sum:
        return tm_dim_add;
    case TM_OP_Sub:
        return tm_dim_sub;
    case TM_OP_Mul:
        return tm_dim_mul;
    case TM_OP_Div:
        return combine_div;
    case TM_OP_Mod:
        return tm_node_int(node, "fmod") == 0 ? combine_mod : NULL;
    case TM_OP_Max:
        return tm_dim_max;
    case TM_OP_Min:
        return tm_dim_min;
    case TM_OP_And:
        return combine_and;
    case TM_OP_Or:
        return combine_or;
    case TM_OP_Xor:
        return combine_xor;
    case TM_OP_Equal:
        return tm_dim_equal;
    case TM_OP_Less:
        return tm_dim_less;
    case TM_OP_Greater:
        return combine_greater;
    case TM_OP_GreaterOrEqual:
        return combine_greater_equal;
    case TM_OP_LessOrEqual:
        return combine_less_equal;
    default:
        return NULL;
    }
}

/* ---- elements under broadcasting ---- */

/* Number of elements of dims that are all constant and few; false otherwise. */
static bool few_elements(int rank, const tm_dim *dims, int64_t *out_count) {
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        if (!tm_dim_is_constant(dims[i]) || !tm_mul_i64(count, dims[i]->constant, &count) ||
            count > TM_MAX_ELEMENTS)
            return false;
    *out_count = count;
    return true;
}

/* The element of `value` that stands at flat index `flat` of the broadcast dims. */
static int64_t broadcast_index(const tm_value *value, int rank, const tm_dim *dims, int64_t flat) {
    int64_t index = 0;
    int64_t stride = 1;
    for (int i = rank - 1; i >= 0; i--) {
        int64_t position = flat % dims[i]->constant;
        flat /= dims[i]->constant;
        int own = i - (rank - value->rank);
        if (own < 0)
            break;
        int64_t dim = value->dims[own]->constant;
        index += dim == 1 ? 0 : position * stride;
        stride *= dim;
    }
    return index;
}

static bool all_known(tm_infer_context *context, const tm_node *node) {
    for (int i = 0; i < node->input_count; i++) {
        const tm_dim *elements;
        int64_t count, own;
        if (!carries_elements(node->inputs[i]) ||
            !tm_infer_known_elements(context, node->inputs[i], &elements, &count) ||
            !few_elements(node->inputs[i]->rank, node->inputs[i]->dims, &own) || own != count)
            return false;
    }
    return true;
}

static bool fits_type(tm_dim dim, tamis_type type) {
    return type != TAMIS_TYPE_INT32 || !tm_dim_is_constant(dim) ||
           (dim->constant >= INT32_MIN && dim->constant <= INT32_MAX);
}

static void carry_combined(tm_infer_context *context, tm_node *node) {
    tm_value *out = tm_infer_output(node, 0);
    combine function = combine_of(node);
    int64_t count;
    if (function == NULL || !carries_elements(out) || !few_elements(out->rank, out->dims, &count) ||
        !all_known(context, node))
        return;
    tm_dim *elements = TM_NEW_ARRAY(context->arena, tm_dim, count);
    for (int64_t i = 0; i < count; i++) {
        tm_dim result = NULL;
        for (int k = 0; k < node->input_count; k++) {
            tm_value *input = node->inputs[k];
            tm_dim element = input->elements[broadcast_index(input, out->rank, out->dims, i)];
            result = k == 0 ? element : function(context->dims, result, element);
            if (result == NULL || !fits_type(result, out->type))
                return;
        }
        elements[i] = result;
    }
    tm_infer_set_elements(context, node, 0, elements, count);
}

/* ---- infer functions ---- */

static tm_code infer_broadcast_as(tm_infer_context *context, tm_node *node, tamis_type type) {
    int rank;
    tm_dim dims[TAMIS_MAX_RANK];
    TM_TRY(tm_infer_broadcast_dims(context, node, node->inputs, node->input_count, &rank, dims));
    tm_infer_set(node, 0, type, rank, dims);
    carry_combined(context, node);
    return TM_OK;
}

/* All inputs are tensors; from `first` on they are of one type. */
static tm_code need_inputs(tm_node *node, int first) {
    for (int i = 0; i < node->input_count; i++) {
        TM_TRY(tm_infer_need(node, i, -1));
        if (i > first)
            TM_TRY(tm_infer_same_type(node, first, i));
    }
    return TM_OK;
}

tm_code tm_infer_broadcast(tm_infer_context *context, tm_node *node) {
    static const tamis_type only_bool[] = {TAMIS_TYPE_BOOL, 0};
    TM_TRY(need_inputs(node, node->op == TM_OP_Pow ? node->input_count : 0));
    if (node->op == TM_OP_And || node->op == TM_OP_Or || node->op == TM_OP_Xor)
        TM_TRY(tm_infer_need_type(node, 0, only_bool));
    if (node->op == TM_OP_BitShift) {
        const tm_attribute *direction = tm_node_attribute(node, "direction");
        const char *text = direction->present ? direction->s : "";
        if (strcmp(text, "LEFT") != 0 && strcmp(text, "RIGHT") != 0)
            return tm_infer_fail(node, TM_E_ATTRIBUTE, "direction must be LEFT or RIGHT");
    }
    return infer_broadcast_as(context, node, node->inputs[0]->type);
}

tm_code tm_infer_compare(tm_infer_context *context, tm_node *node) {
    TM_TRY(need_inputs(node, 0));
    return infer_broadcast_as(context, node, TAMIS_TYPE_BOOL);
}

static void carry_where(tm_infer_context *context, tm_node *node) {
    tm_value *out = tm_infer_output(node, 0);
    int64_t count;
    if (!carries_elements(out) || !few_elements(out->rank, out->dims, &count) || !all_known(context, node))
        return;
    tm_dim *elements = TM_NEW_ARRAY(context->arena, tm_dim, count);
    for (int64_t i = 0; i < count; i++) {
        tm_dim pick[3];
        for (int k = 0; k < 3; k++)
            pick[k] = node->inputs[k]->elements[broadcast_index(node->inputs[k], out->rank, out->dims, i)];
        elements[i] = tm_dim_select(context->dims, pick[0], pick[1], pick[2]);
    }
    tm_infer_set_elements(context, node, 0, elements, count);
}

tm_code tm_infer_where(tm_infer_context *context, tm_node *node) {
    static const tamis_type only_bool[] = {TAMIS_TYPE_BOOL, 0};
    int rank;
    tm_dim dims[TAMIS_MAX_RANK];
    TM_TRY(need_inputs(node, 1));
    TM_TRY(tm_infer_need_type(node, 0, only_bool));
    TM_TRY(tm_infer_broadcast_dims(context, node, node->inputs, 3, &rank, dims));
    tm_infer_set(node, 0, node->inputs[1]->type, rank, dims);
    carry_where(context, node);
    return TM_OK;
}

static tm_dim element_of_unary(tm_infer_context *context, const tm_node *node, tm_dim x) {
    tm_dim zero = tm_infer_const(context, 0);
    switch (node->op) {
    case TM_OP_Neg:
        return tm_dim_sub(context->dims, zero, x);
    case TM_OP_Abs:
        return tm_dim_max(context->dims, x, tm_dim_sub(context->dims, zero, x));
    case TM_OP_Relu:
        return tm_dim_max(context->dims, x, zero);
    case TM_OP_Not:
        return not_of(context->dims, x);
    default:
        return NULL;
    }
}

/* Output 0 is like input 0: the functions of one input, and all ops that keep their data's shape. */
tm_code tm_infer_same(tm_infer_context *context, tm_node *node) {
    const tm_dim *known;
    int64_t count;
    TM_TRY(tm_infer_need(node, 0, -1));
    tm_value *x = tm_infer_input(node, 0);
    tm_infer_set_like(node, 0, x->type, x);
    if (!carries_elements(x) || !tm_infer_known_elements(context, x, &known, &count))
        return TM_OK;
    tm_dim *elements = TM_NEW_ARRAY(context->arena, tm_dim, count);
    for (int64_t i = 0; i < count; i++) {
        elements[i] = element_of_unary(context, node, known[i]);
        if (elements[i] == NULL || !fits_type(elements[i], x->type))
            return TM_OK;
    }
    tm_infer_set_elements(context, node, 0, elements, count);
    return TM_OK;
}

tm_code tm_infer_clip(tm_infer_context *context, tm_node *node) {
    const tm_dim *known, *bounds[3] = {NULL, NULL, NULL};
    int64_t count, one;
    TM_TRY(tm_infer_need(node, 0, -1));
    tm_value *x = tm_infer_input(node, 0);
    bool carried = carries_elements(x) && tm_infer_known_elements(context, x, &known, &count);
    for (int i = 1; i < 3; i++) {
        tm_value *bound = tm_infer_input(node, i);
        if (bound == NULL)
            continue;
        TM_TRY(tm_infer_need(node, i, -1));
        TM_TRY(tm_infer_same_type(node, 0, i));
        if (bound->rank > 1)
            return tm_infer_fail(node, TM_E_SHAPE, "the bounds of Clip must be scalars");
        if (bound->rank == 1)
            TM_TRY(
                tm_infer_equal(context, node, bound->dims[0], tm_infer_const(context, 1), "bound of Clip"));
        carried = carried && tm_infer_known_elements(context, bound, &bounds[i], &one) && one == 1;
    }
    tm_infer_set_like(node, 0, x->type, x);
    if (!carried)
        return TM_OK;
    tm_dim *elements = TM_NEW_ARRAY(context->arena, tm_dim, count);
    for (int64_t i = 0; i < count; i++) {
        elements[i] = bounds[1] != NULL ? tm_dim_max(context->dims, known[i], bounds[1][0]) : known[i];
        elements[i] = bounds[2] != NULL ? tm_dim_min(context->dims, elements[i], bounds[2][0]) : elements[i];
    }
    tm_infer_set_elements(context, node, 0, elements, count);
    return TM_OK;
}

/* IsNaN, IsInf */
tm_code tm_infer_test(tm_infer_context *context, tm_node *node) {
    (void)context;
    TM_TRY(tm_infer_need(node, 0, -1));
    tm_infer_set_like(node, 0, TAMIS_TYPE_BOOL, tm_infer_input(node, 0));
    return TM_OK;
}

tm_code tm_infer_dropout(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    for (int i = 1; i < 3; i++)
        if (tm_infer_input(node, i) != NULL)
            TM_TRY(tm_infer_need_one(context, node, i, "ratio and training_mode must have one element"));
    tm_value *x = tm_infer_input(node, 0);
    tm_infer_set_like(node, 0, x->type, x);
    tm_infer_set_like(node, 1, TAMIS_TYPE_BOOL, x);
    return TM_OK;
}
