/* SPDX-License-Identifier: Apache-2.0
 *
 * shape.c: inference of Reshape, Flatten, Squeeze, Unsqueeze, Shape and Size.
 *
 * Reshape's -1 is a division of products of expressions. Factors that both sides share cancel first:
 *
 *     [batch, seq, 768] to [0, -1, 12, 64]:   batch*seq*768 / (batch*12*64)  ->  seq
 *
 * which would not be a plain division, for batch may be 0. What does not cancel stays as a floordiv
 * whose divisor is at least 1, and the two products are demanded to be equal when the model runs.
 *
 * Targets and axes that are known only when the model runs give selections over the input dims (rank
 * needs only their number). A pass may drop the target input once the output dims are known: then
 * the dims stay as they are.
 */
#include "ir/ops/movement.h"

/* A product as a constant and a list of factors, for cancelling; a 0 is a factor, for it cancels too. */
typedef struct factors {
    int64_t constant;
    tm_dim list[8 * TAMIS_MAX_RANK];
    int count;
    bool fits;
} factors;

static void add_factors(factors *product, tm_dim dim) {
    if (dim->kind == TM_DIM_MUL) {
        add_factors(product, dim->a);
        add_factors(product, dim->b);
    } else if (tm_dim_is_constant(dim) && dim->constant != 0) {
        product->fits = product->fits && tm_mul_i64(product->constant, dim->constant, &product->constant);
    } else if (product->count < 8 * TAMIS_MAX_RANK) {
        product->list[product->count++] = dim;
    } else {
        product->fits = false;
    }
}

static int64_t common_divisor(int64_t a, int64_t b) {
    while (b != 0) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a < 0 ? -a : a;
}

static tm_dim product_of(tm_infer_context *context, const factors *product) {
    tm_dim result = tm_infer_const(context, product->constant);
    for (int i = 0; i < product->count; i++)
        result = tm_dim_mul(context->dims, result, product->list[i]);
    return result;
}

/* product(over) / product(under), shared factors cancelled. */
static tm_dim divide_products(tm_infer_context *context, const tm_dim *over, int over_count,
                              const tm_dim *under, int under_count) {
    factors a = {.constant = 1, .fits = true}, b = {.constant = 1, .fits = true};
    for (int i = 0; i < over_count; i++)
        add_factors(&a, over[i]);
    for (int i = 0; i < under_count; i++)
        add_factors(&b, under[i]);
    tm_dims *dims = context->dims;
    tm_dim one = tm_infer_const(context, 1);
    if (!a.fits || !b.fits)
        return tm_dim_floordiv(dims, tm_dim_product(dims, over, over_count),
                               tm_dim_max(dims, tm_dim_product(dims, under, under_count), one));
    for (int i = 0; i < b.count; i++)
        for (int j = 0; j < a.count; j++)
            if (tm_dim_same(a.list[j], b.list[i])) {
                a.list[j] = a.list[--a.count];
                b.list[i--] = b.list[--b.count];
                break;
            }
    int64_t shared = common_divisor(a.constant, b.constant);
    a.constant /= shared;
    b.constant /= shared;
    return tm_dim_floordiv(dims, product_of(context, &a), tm_dim_max(dims, product_of(context, &b), one));
}

/* A target element that the exporter computed from dims says what it means, also when it comes out as 0 or -1
 * at the edge of a dim's range: only numbers and data of the run are looked at for the special meanings. Else
 * every Reshape of a symbolic dim would carry a select over "was it 0". */
static bool means_itself(tm_dim element) {
    return !tm_dim_is_constant(element) && !element->late && element->kind != TM_DIM_SELECT;
}

static tm_code reshape(tm_infer_context *context, tm_node *node) {
    tm_dims *dims = context->dims;
    tm_value *data = tm_infer_input(node, 0);
    tm_shape_list target;
    TM_TRY(tm_shape_list_open_ranked(context, node, 1, "dims of the target shape", 1, 0, &target));
    const int rank = target.most;
    const bool allow_zero = tm_node_int(node, "allowzero") != 0;
    tm_dim zero = tm_infer_const(context, 0), one = tm_infer_const(context, 1),
           minus_one = tm_infer_const(context, -1);
    tm_dim out[TAMIS_MAX_RANK], given[TAMIS_MAX_RANK], inferred[TAMIS_MAX_RANK];
    int unknown = 0, certain = 0;
    for (int i = 0; i < rank; i++) {
        tm_dim element = tm_infer_element(context, target.value, i);
        if (tm_dim_is_constant(element) && element->constant < -1)
            return tm_infer_fail(node, TM_E_SHAPE, "dim %d of the target shape is %lld", i,
                                 (long long)element->constant);
        const bool literal = means_itself(element);
        inferred[i] = literal ? zero : tm_dim_equal(dims, element, minus_one);
        unknown += !tm_dim_is(inferred[i], 0);
        certain += tm_dim_is(inferred[i], 1);
        if (!allow_zero && tm_dim_is(element, 0) && i >= data->rank)
            return tm_infer_fail(node, TM_E_SHAPE,
                                 "dim %d of the target shape is 0, but the input has rank %d", i, data->rank);
        if (!allow_zero && !literal && i < data->rank)
            element = tm_dim_select(dims, tm_dim_equal(dims, element, zero), data->dims[i], element);
        given[i] = tm_dim_select(dims, inferred[i], one, element);
    }
    if (certain > 1)
        return tm_infer_fail(node, TM_E_SHAPE, "the target shape has -1 more than once");
    tm_dim quotient = unknown > 0 ? divide_products(context, data->dims, data->rank, given, rank) : one;
    for (int i = 0; i < rank; i++)
        out[i] = tm_dim_select(dims, inferred[i], quotient, given[i]);
    TM_TRY(tm_infer_equal(context, node, tm_dim_product(dims, data->dims, data->rank),
                          tm_dim_product(dims, out, rank), "the number of elements"));
    tm_infer_set(node, 0, data->type, rank, out);
    return TM_OK;
}

static tm_code flatten(tm_infer_context *context, tm_node *node) {
    const tm_value *data = tm_infer_input(node, 0);
    const int rank = data->rank;
    int64_t axis = tm_node_int(node, "axis");
    if (axis < -rank || axis > rank)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "axis is %lld for a tensor of rank %d", (long long)axis,
                             rank);
    axis += axis < 0 ? rank : 0;
    const tm_dim out[2] = {tm_dim_product(context->dims, data->dims, (int)axis),
                           tm_dim_product(context->dims, data->dims + axis, rank - (int)axis)};
    tm_infer_set(node, 0, data->type, 2, out);
    return TM_OK;
}

/* Which dims go, 0 or 1 each. Without axes those of 1 go; beside one that is certain to go, and with no
 * declared rank, a dim that may turn out to be 1 stays, and it is an error of the run if it does. */
static tm_code squeezed_flags(tm_infer_context *context, tm_node *node, tm_dim *out_removed,
                              tm_dim *out_count) {
    tm_dims *dims = context->dims;
    const tm_value *data = tm_infer_input(node, 0);
    tm_dim zero = tm_infer_const(context, 0), one = tm_infer_const(context, 1), axes[TAMIS_MAX_RANK];
    *out_count = zero;
    if (tm_infer_input(node, 1) != NULL) {
        tm_shape_list list;
        TM_TRY(tm_movement_axes(context, node, 1, data->rank, axes, &list));
        for (int i = 0; i < data->rank; i++) {
            out_removed[i] = zero;
            for (int k = 0; k < tm_shape_list_bound(&list); k++)
                out_removed[i] =
                    tm_dim_max(dims, out_removed[i], tm_dim_equal(dims, axes[k], tm_infer_const(context, i)));
        }
        *out_count = list.length;
        return TM_OK;
    }
    int certain = 0;
    for (int i = 0; i < data->rank; i++) {
        out_removed[i] = tm_dim_equal(dims, data->dims[i], one);
        certain += tm_dim_is(out_removed[i], 1);
        *out_count = tm_dim_add(dims, *out_count, out_removed[i]);
    }
    if (tm_dim_is_constant(*out_count) || certain == 0 || tm_infer_declared_rank(node->outputs[0]) >= 0)
        return TM_OK;
    for (int i = 0; i < data->rank; i++) {
        if (tm_dim_is_constant(out_removed[i]))
            continue;
        TM_TRY(tm_infer_equal(context, node, out_removed[i], zero,
                              "without axes, a dim must not turn out to be 1"));
        out_removed[i] = zero;
    }
    *out_count = tm_infer_const(context, certain);
    return TM_OK;
}

/* Dim j of the output is the j-th input dim that is not removed. */
static tm_code squeeze(tm_infer_context *context, tm_node *node) {
    tm_dims *dims = context->dims;
    const tm_value *data = tm_infer_input(node, 0);
    tm_dim removed[TAMIS_MAX_RANK], out[TAMIS_MAX_RANK], number = NULL;
    tm_dim zero = tm_infer_const(context, 0), one = tm_infer_const(context, 1);
    int count = 0;
    TM_TRY(squeezed_flags(context, node, removed, &number));
    TM_TRY(
        tm_shape_list_decide_rank(context, node, number, "dims that are squeezed", -1, data->rank, &count));
    const int rank = data->rank - count;
    for (int j = 0; j < rank; j++)
        out[j] = zero;
    tm_dim kept = zero, gone = zero; /* how many so far */
    for (int i = 0; i < data->rank; i++) {
        TM_TRY(tm_infer_equal(context, node, tm_dim_select(dims, removed[i], data->dims[i], one), one,
                              "a squeezed dim and 1"));
        for (int j = 0; j < rank; j++) {
            tm_dim here = tm_dim_equal(dims, kept, tm_infer_const(context, j));
            out[j] =
                tm_dim_select(dims, removed[i], out[j], tm_dim_select(dims, here, data->dims[i], out[j]));
        }
        kept = tm_dim_add(dims, kept, tm_dim_sub(dims, one, removed[i]));
        gone = tm_dim_add(dims, gone, removed[i]);
    }
    TM_TRY(tm_infer_equal(context, node, gone, tm_infer_const(context, count),
                          "the number of dims that are squeezed"));
    tm_infer_set(node, 0, data->type, rank, out);
    return TM_OK;
}

/* Dim p of the output is 1 when p is an axis, otherwise the input dim after those used before. */
static tm_code unsqueeze(tm_infer_context *context, tm_node *node) {
    tm_dims *dims = context->dims;
    const tm_value *data = tm_infer_input(node, 0);
    tm_dim axes[TAMIS_MAX_RANK], out[TAMIS_MAX_RANK];
    tm_shape_list list;
    TM_TRY(tm_shape_list_open_ranked(context, node, 1, "axes", 1, data->rank, &list));
    const int count = list.most, rank = data->rank + count;
    TM_TRY(tm_movement_axes(context, node, 1, rank, axes, &list));
    tm_dim zero = tm_infer_const(context, 0), one = tm_infer_const(context, 1), used = zero;
    for (int p = 0; p < rank; p++) {
        tm_dim inserted = zero, dim = one;
        for (int k = 0; k < count; k++)
            inserted = tm_dim_max(dims, inserted, tm_dim_equal(dims, axes[k], tm_infer_const(context, p)));
        for (int i = 0; i < data->rank; i++)
            dim =
                tm_dim_select(dims, tm_dim_equal(dims, used, tm_infer_const(context, i)), data->dims[i], dim);
        out[p] = tm_dim_select(dims, inserted, one, dim);
        used = tm_dim_add(dims, used, tm_dim_sub(dims, one, inserted));
    }
    TM_TRY(tm_infer_equal(context, node, used, tm_infer_const(context, data->rank),
                          "the dims between the axes, which must be different and in range,"));
    tm_infer_set(node, 0, data->type, rank, out);
    return TM_OK;
}

tm_code tm_infer_reshape(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    tm_value *data = tm_infer_input(node, 0), *output = tm_infer_output(node, 0);
    const bool dropped =
        node->op != TM_OP_Flatten && node->input_count == 1 && output != NULL && output->rank >= 0;
    if (dropped) {
        tm_dim out[TAMIS_MAX_RANK];
        for (int i = 0; i < output->rank; i++)
            out[i] = output->dims[i];
        TM_TRY(tm_infer_equal(context, node, tm_dim_product(context->dims, data->dims, data->rank),
                              tm_dim_product(context->dims, out, output->rank), "the number of elements"));
        tm_infer_set(node, 0, data->type, output->rank, out);
    } else if (node->op == TM_OP_Flatten) {
        TM_TRY(flatten(context, node));
    } else if (node->op == TM_OP_Squeeze) {
        TM_TRY(squeeze(context, node));
    } else if (node->op == TM_OP_Unsqueeze) {
        TM_TRY(unsqueeze(context, node));
    } else {
        TM_TRY(reshape(context, node));
    }
    const tm_dim *elements = NULL;
    int64_t count = 0;
    if (tm_infer_known_elements(context, data, &elements, &count))
        tm_infer_set_elements(context, node, 0, elements, count);
    return TM_OK;
}

tm_code tm_infer_shape(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    const tm_value *data = tm_infer_input(node, 0);
    if (node->op == TM_OP_Size) {
        tm_infer_set(node, 0, TAMIS_TYPE_INT64, 0, NULL);
        tm_dim count = tm_dim_product(context->dims, data->dims, data->rank);
        tm_infer_set_elements(context, node, 0, &count, 1);
        return TM_OK;
    }
    const int64_t rank = data->rank;
    int64_t start = tm_node_int(node, "start"), end = tm_node_int(node, "end");
    if (end == TM_NO_DEFAULT)
        end = rank;
    start += start < 0 ? rank : 0;
    end += end < 0 ? rank : 0;
    start = start < 0 ? 0 : start > rank ? rank : start;
    end = end < start ? start : end > rank ? rank : end;
    tm_dim length = tm_infer_const(context, end - start);
    tm_infer_set(node, 0, TAMIS_TYPE_INT64, 1, &length);
    tm_infer_set_elements(context, node, 0, data->dims + start, end - start);
    return TM_OK;
}
