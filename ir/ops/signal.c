/* SPDX-License-Identifier: Apache-2.0
 *
 * Inference of DFT, STFT, the windows, MelWeightMatrix and Det. Lengths are inputs, so dims are made of
 * their elements: DFT along `axis` with length n, one-sided, has n/2 + 1 bins there, whichever dim the axis
 * turns out to be: out[d] = select(axis == d, n/2 + 1, in[d]).
 */
#include "ir/infer.h"

static const tamis_type float_types[] = {TAMIS_TYPE_FLOAT, TAMIS_TYPE_DOUBLE, TAMIS_TYPE_FLOAT16,
                                         TAMIS_TYPE_BFLOAT16, 0};
static const tamis_type index_types[] = {TAMIS_TYPE_INT64, TAMIS_TYPE_INT32, 0};

static tm_code need_scalar(tm_infer_context *context, tm_node *node, int input, const tamis_type *types) {
    TM_TRY(tm_infer_need(node, input, -1));
    TM_TRY(tm_infer_need_type(node, input, types));
    const tm_value *value = tm_infer_input(node, input);
    if (value->rank > 1)
        return tm_infer_fail(node, TM_E_SHAPE, "input %d must be a scalar", input);
    if (value->rank == 0)
        return TM_OK;
    return tm_infer_equal(context, node, value->dims[0], tm_infer_const(context, 1), "elements of a scalar");
}

/* The last dim of a signal: its real part, or both parts. 0 and more than 2 that come at run time are the
 * kernel's to refuse. */
static tm_code need_parts(tm_node *node, tm_dim parts) {
    if (parts->high < 1 || parts->low > 2)
        return tm_infer_fail(
            node, TM_E_SHAPE,
            "the last dim of the signal holds its real and imaginary parts: it must be 1 or 2");
    return TM_OK;
}

static tm_dim bins(tm_infer_context *context, tm_dim length) {
    tm_dim half = tm_dim_floordiv(context->dims, length, tm_infer_const(context, 2));
    return tm_dim_add(context->dims, half, tm_infer_const(context, 1));
}

/* A length that is an element of an input; lengths are not negative. */
static tm_dim length_of(tm_infer_context *context, tm_node *node, int input) {
    return tm_infer_element(context, tm_infer_input(node, input), 0);
}

tm_code tm_infer_dft(tm_infer_context *context, tm_node *node) {
    tm_dims *dims = context->dims;
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(node, 0, float_types));
    tm_value *x = tm_infer_input(node, 0);
    if (x->rank < 2)
        return tm_infer_fail(node, TM_E_SHAPE, "the input has %d dims; a signal and its parts are needed",
                             x->rank);
    TM_TRY(need_parts(node, x->dims[x->rank - 1]));
    tm_dim axis = tm_infer_const(context, -2);
    if (tm_infer_input(node, 2) != NULL) {
        TM_TRY(need_scalar(context, node, 2, index_types));
        axis = tm_infer_element(context, tm_infer_input(node, 2), 0);
    }
    if (tm_dim_is_constant(axis)) {
        int at;
        TM_TRY(tm_infer_axis(node, axis->constant, x->rank, &at));
        if (at == x->rank - 1)
            return tm_infer_fail(node, TM_E_ATTRIBUTE,
                                 "the last dim holds real and imaginary parts: no axis for DFT");
    }
    axis = tm_dim_floormod(dims, axis, tm_infer_const(context, x->rank));
    bool one_sided = tm_node_int(node, "onesided") != 0, inverse = tm_node_int(node, "inverse") != 0;
    tm_dim length = tm_infer_const(context, 0);
    if (tm_infer_input(node, 1) != NULL) {
        TM_TRY(need_scalar(context, node, 1, index_types));
        length = length_of(context, node, 1);
    } else {
        for (int d = 0; d < x->rank; d++) {
            tm_dim here = tm_dim_equal(dims, axis, tm_infer_const(context, d));
            length = tm_dim_add(dims, length, tm_dim_mul(dims, here, x->dims[d]));
        }
        if (one_sided && inverse)
            length = tm_dim_mul(dims, tm_infer_const(context, 2),
                                tm_dim_sub(dims, length, tm_infer_const(context, 1)));
    }
    tm_dim result = one_sided && !inverse ? bins(context, length) : length;
    tm_dim out[TAMIS_MAX_RANK];
    for (int d = 0; d < x->rank - 1; d++)
        out[d] =
            tm_dim_select(dims, tm_dim_equal(dims, axis, tm_infer_const(context, d)), result, x->dims[d]);
    out[x->rank - 1] = tm_infer_const(context, one_sided && inverse ? 1 : 2);
    tm_infer_set(node, 0, x->type, x->rank, out);
    return TM_OK;
}

tm_code tm_infer_stft(tm_infer_context *context, tm_node *node) {
    tm_dims *dims = context->dims;
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(node, 0, float_types));
    TM_TRY(need_scalar(context, node, 1, index_types));
    tm_value *x = tm_infer_input(node, 0), *window = tm_infer_input(node, 2);
    if (x->rank != 2 && x->rank != 3)
        return tm_infer_fail(node, TM_E_SHAPE, "the signal has %d dims instead of 3", x->rank);
    if (x->rank == 3)
        TM_TRY(need_parts(node, x->dims[2]));
    tm_dim length = x->dims[1];
    if (window != NULL) {
        TM_TRY(tm_infer_need(node, 2, 1));
        TM_TRY(tm_infer_same_type(node, 0, 2));
        length = window->dims[0];
    }
    if (tm_infer_input(node, 3) != NULL) {
        TM_TRY(need_scalar(context, node, 3, index_types));
        length = length_of(context, node, 3);
        if (window != NULL)
            TM_TRY(tm_infer_equal(context, node, length, window->dims[0], "frame_length and window"));
    }
    tm_dim frames = tm_dim_floordiv(dims, tm_dim_sub(dims, x->dims[1], length), length_of(context, node, 1));
    tm_dim out[4] = {x->dims[0], tm_dim_add(dims, frames, tm_infer_const(context, 1)),
                     tm_node_int(node, "onesided") != 0 ? bins(context, length) : length,
                     tm_infer_const(context, 2)};
    tm_infer_set(node, 0, x->type, 4, out);
    return TM_OK;
}

static tm_code output_type(tm_node *node, tamis_type *out) {
    int64_t type = tm_node_int(node, "output_datatype");
    if (type <= TAMIS_TYPE_UNDEFINED || type >= TAMIS_TYPE_COUNT)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "output_datatype is %lld", (long long)type);
    *out = (tamis_type)type;
    return TM_OK;
}

tm_code tm_infer_window(tm_infer_context *context, tm_node *node) {
    tamis_type type;
    TM_TRY(need_scalar(context, node, 0, index_types));
    TM_TRY(output_type(node, &type));
    tm_dim size = length_of(context, node, 0);
    tm_infer_set(node, 0, type, 1, &size);
    return TM_OK;
}

tm_code tm_infer_mel_weight_matrix(tm_infer_context *context, tm_node *node) {
    tamis_type type;
    for (int i = 0; i < 3; i++)
        TM_TRY(need_scalar(context, node, i, index_types));
    for (int i = 3; i < 5; i++)
        TM_TRY(need_scalar(context, node, i, float_types));
    TM_TRY(output_type(node, &type));
    tm_dim out[2] = {bins(context, length_of(context, node, 1)), length_of(context, node, 0)};
    tm_infer_set(node, 0, type, 2, out);
    return TM_OK;
}

tm_code tm_infer_det(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(node, 0, float_types));
    tm_value *x = tm_infer_input(node, 0);
    if (x->rank < 2)
        return tm_infer_fail(node, TM_E_SHAPE, "the input has %d dims; a matrix is needed", x->rank);
    TM_TRY(tm_infer_equal(context, node, x->dims[x->rank - 1], x->dims[x->rank - 2],
                          "rows and columns of the matrix"));
    tm_infer_set(node, 0, x->type, x->rank - 2, x->dims);
    return TM_OK;
}
