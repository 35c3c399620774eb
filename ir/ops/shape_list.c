/* SPDX-License-Identifier: Apache-2.0
 *
 * shape_list.c: shapes, axes and starts given by tensors whose length may be known only when the model runs.
 *
 * The three cases of shape_list.h take one path with lists of known length: the simplifying constructors drop
 * a selection whose condition is known, and a demand that is met is not recorded. So Slice with two starts
 * has the formulas of its two starts, and Slice with n of them, on a tensor of rank 2,
 *
 *     start of axis 0 = select(0 < n, select(axes[0] == 0, starts[0], ...), 0)
 *
 * Why the declared rank is trusted only so far: exporters' hints may be wrong. A wrong one makes the demanded
 * length wrong too, so the run stops with an error rather than with another shape.
 */
#include "ir/ops/shape_list.h"

static tm_code read_list(tm_infer_context *context, tm_node *node, int input, const char *what,
                         tm_shape_list *out) {
    TM_TRY(tm_infer_need(node, input, -1));
    tm_value *value = tm_infer_input(node, input);
    if (!tm_type_is_integer(value->type))
        return tm_infer_fail(node, TM_E_TYPE, "%s must be integers, not %s", what, tm_type_text(value->type));
    if (value->rank > 1)
        return tm_infer_fail(node, TM_E_SHAPE, "%s must have one dim, not %d", what, value->rank);
    *out = (tm_shape_list){value, value->rank == 0 ? tm_infer_const(context, 1) : value->dims[0], 0};
    return TM_OK;
}

tm_code tm_shape_list_open(tm_infer_context *context, tm_node *node, int input, const char *what, int most,
                           tm_shape_list *out) {
    TM_TRY(read_list(context, node, input, what, out));
    out->most = most;
    if (out->length->low > most)
        return tm_infer_fail(node, TM_E_SHAPE, "%lld %s where at most %d fit", (long long)out->length->low,
                             what, most);
    tm_dim fitting = tm_dim_min(context->dims, out->length, tm_infer_const(context, most));
    return tm_infer_equal(context, node, out->length, fitting, what);
}

tm_code tm_shape_list_open_exact(tm_infer_context *context, tm_node *node, int input, const char *what,
                                 int count, tm_shape_list *out) {
    TM_TRY(read_list(context, node, input, what, out));
    TM_TRY(tm_infer_equal(context, node, out->length, tm_infer_const(context, count), what));
    out->length = tm_infer_const(context, count);
    out->most = count;
    return TM_OK;
}

tm_code tm_shape_list_open_ranked(tm_infer_context *context, tm_node *node, int input, const char *what,
                                  int times, int more, tm_shape_list *out) {
    TM_TRY(read_list(context, node, input, what, out));
    TM_TRY(tm_shape_list_decide_rank(context, node, out->length, what, times, more, &out->most));
    out->length = tm_infer_const(context, out->most);
    return TM_OK;
}

tm_code tm_shape_list_same_length(tm_infer_context *context, tm_node *node, tm_shape_list *a,
                                  tm_shape_list *b, const char *what) {
    TM_TRY(tm_infer_equal(context, node, a->length, b->length, what));
    if (tm_dim_is_constant(a->length))
        b->length = a->length;
    else
        a->length = b->length;
    return TM_OK;
}

tm_code tm_shape_list_decide_rank(tm_infer_context *context, tm_node *node, tm_dim number, const char *what,
                                  int times, int more, int *out_number) {
    const tm_value *output = tm_infer_output(node, 0);
    int64_t count = number->constant, rank = 0;
    if (!tm_dim_is_constant(number)) {
        int declared = output != NULL ? tm_infer_declared_rank(output) : -1;
        if (declared < 0)
            return tm_infer_fail(
                node, TM_E_UNKNOWN_RANK,
                "the number of %s is known only when the model runs, so the rank is not known; declare "
                "the type of '%s' in the model or pin the dims of the inputs with --dim",
                what, output != NULL ? output->name : "");
        count = (int64_t)times * (declared - more);
        if (count < 0)
            return tm_infer_fail(node, TM_E_SHAPE,
                                 "'%s' is declared with rank %d, which no number of %s gives", output->name,
                                 declared, what);
        TM_TRY(tm_infer_equal(context, node, number, tm_infer_const(context, count), what));
    }
    if (count > TAMIS_MAX_RANK || (rank = more + times * count) > TAMIS_MAX_RANK)
        return tm_infer_fail(node, TM_E_UNSUPPORTED_FORM, "%lld %s are more than %d dims", (long long)count,
                             what, TAMIS_MAX_RANK);
    if (rank < 0)
        return tm_infer_fail(node, TM_E_SHAPE, "%lld %s are more than there are dims", (long long)count,
                             what);
    *out_number = (int)count;
    return TM_OK;
}

tm_dim tm_shape_list_entry(tm_infer_context *context, const tm_shape_list *list, int i, tm_dim otherwise) {
    tm_dim there = tm_dim_less(context->dims, tm_infer_const(context, i), list->length);
    if (i < 0 || i >= list->most || tm_dim_is(there, 0))
        return otherwise;
    return tm_dim_select(context->dims, there, tm_infer_element(context, list->value, i), otherwise);
}

tm_dim tm_shape_list_entry_from_end(tm_infer_context *context, const tm_shape_list *list, int i,
                                    tm_dim otherwise) {
    if (tm_dim_is_constant(list->length))
        return tm_shape_list_entry(context, list, (int)list->length->constant - 1 - i, otherwise);
    tm_dim result = otherwise;
    for (int length = i + 1; length <= list->most; length++)
        result = tm_dim_select(context->dims,
                               tm_dim_equal(context->dims, list->length, tm_infer_const(context, length)),
                               tm_infer_element(context, list->value, length - 1 - i), result);
    return result;
}
