/* SPDX-License-Identifier: Apache-2.0
 *
 * Inference of convolutions: Conv, ConvInteger, QLinearConv, ConvTranspose, DeformConv and
 * CausalConvWithState.
 *
 *     X[n, c, in...] * W[m, c/group, kernel...]  ->  Y[n, m, out...]
 *     out = floordiv(in + pads - ((kernel - 1)*dilation + 1), stride) + 1
 *
 * for each spatial axis; with auto_pad SAME_* out = ceildiv(in, stride). Kernel dims come from W, so they
 * may be expressions too; the attribute kernel_shape must agree.
 */
#include "ir/infer.h"
#include "ir/ops/window.h"

#include <string.h>

static const tamis_type float_types[] = {TAMIS_TYPE_FLOAT, TAMIS_TYPE_DOUBLE, TAMIS_TYPE_FLOAT16,
                                         TAMIS_TYPE_BFLOAT16, 0};
static const tamis_type integer8[] = {TAMIS_TYPE_UINT8, TAMIS_TYPE_INT8, 0};

static bool is_same(const char *auto_pad) {
    return strcmp(auto_pad, "SAME_UPPER") == 0 || strcmp(auto_pad, "SAME_LOWER") == 0;
}

static tm_code check_attributes(tm_node *node, int spatial) {
    TM_TRY(tm_window_check(node, "strides", spatial, 1));
    TM_TRY(tm_window_check(node, "dilations", spatial, 1));
    TM_TRY(tm_window_check(node, "kernel_shape", spatial, 0));
    TM_TRY(tm_window_check(node, "pads", 2 * (int64_t)spatial, -INT32_MAX));
    if (tm_node_int(node, "group") < 1)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "group is %lld", (long long)tm_node_int(node, "group"));
    return TM_OK;
}

static tm_code check_auto_pad(tm_node *node) {
    const char *auto_pad = tm_node_string(node, "auto_pad");
    if (!is_same(auto_pad) && strcmp(auto_pad, "VALID") != 0 && strcmp(auto_pad, "NOTSET") != 0)
        return tm_infer_fail(node, TM_E_ATTRIBUTE,
                             "auto_pad is neither NOTSET, VALID, SAME_UPPER nor SAME_LOWER");
    return TM_OK;
}

/* (kernel - 1)*dilation + 1 */
static tm_dim extent(tm_infer_context *context, tm_dim kernel, int64_t dilation) {
    tm_dim one = tm_infer_const(context, 1);
    tm_dim gaps =
        tm_dim_mul(context->dims, tm_dim_sub(context->dims, kernel, one), tm_infer_const(context, dilation));
    return tm_dim_add(context->dims, gaps, one);
}

static tm_dim forward_dim(tm_infer_context *context, tm_node *node, tm_dim in, tm_dim kernel, int i,
                          int spatial) {
    tm_dims *dims = context->dims;
    const char *auto_pad = node->op == TM_OP_DeformConv ? "NOTSET" : tm_node_string(node, "auto_pad");
    tm_dim stride = tm_infer_const(context, tm_window_item(node, "strides", i, 1));
    if (is_same(auto_pad))
        return tm_dim_ceildiv(dims, in, stride);
    int64_t pads = 0;
    if (strcmp(auto_pad, "VALID") != 0)
        pads = tm_window_item(node, "pads", i, 0) + tm_window_item(node, "pads", i + spatial, 0);
    tm_dim room = tm_dim_add(dims, in, tm_infer_const(context, pads));
    room = tm_dim_sub(dims, room, extent(context, kernel, tm_window_item(node, "dilations", i, 1)));
    return tm_dim_add(dims, tm_dim_floordiv(dims, room, stride), tm_infer_const(context, 1));
}

/* A transposed convolution turns the formula round: out = stride*(in - 1) + output_padding + extent - pads.
 */
static tm_dim transposed_dim(tm_infer_context *context, tm_node *node, tm_dim in, tm_dim kernel, int i,
                             int spatial) {
    tm_dims *dims = context->dims;
    const tm_attribute *shape = tm_node_attribute(node, "output_shape");
    if (shape->present && shape->count > 0) /* entries for batch and channels are tolerated in front */
        return tm_infer_const(context, shape->ints[shape->count - spatial + i]);
    tm_dim stride = tm_infer_const(context, tm_window_item(node, "strides", i, 1));
    const char *auto_pad = tm_node_string(node, "auto_pad");
    if (is_same(auto_pad))
        return tm_dim_mul(dims, in, stride);
    int64_t pads = 0;
    if (strcmp(auto_pad, "VALID") != 0)
        pads = tm_window_item(node, "pads", i, 0) + tm_window_item(node, "pads", i + spatial, 0);
    tm_dim steps = tm_dim_mul(dims, tm_dim_sub(dims, in, tm_infer_const(context, 1)), stride);
    tm_dim out = tm_dim_add(dims, steps, extent(context, kernel, tm_window_item(node, "dilations", i, 1)));
    return tm_dim_add(dims, out,
                      tm_infer_const(context, tm_window_item(node, "output_padding", i, 0) - pads));
}

static tm_code check_transposed(tm_node *node, int spatial) {
    TM_TRY(tm_window_check(node, "output_padding", spatial, 0));
    const tm_attribute *shape = tm_node_attribute(node, "output_shape");
    if (shape->present && shape->count != 0 && shape->count != spatial && shape->count != spatial + 2)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "output_shape has %lld entries for %d spatial axes",
                             (long long)shape->count, spatial);
    return TM_OK;
}

static tm_code check_types(tm_node *node, int weight, tamis_type *out_type) {
    if (node->op == TM_OP_Conv || node->op == TM_OP_ConvTranspose) {
        TM_TRY(tm_infer_need_type(node, 0, float_types));
        TM_TRY(tm_infer_same_type(node, 0, 1));
        if (tm_infer_input(node, 2) != NULL)
            TM_TRY(tm_infer_same_type(node, 0, 2));
        *out_type = tm_infer_input(node, 0)->type;
        return TM_OK;
    }
    TM_TRY(tm_infer_need_type(node, 0, integer8));
    TM_TRY(tm_infer_need_type(node, weight, integer8));
    *out_type = TAMIS_TYPE_INT32;
    if (node->op == TM_OP_QLinearConv) {
        TM_TRY(tm_infer_need(node, 7, -1));
        TM_TRY(tm_infer_need_type(node, 7, integer8));
        *out_type = tm_infer_input(node, 7)->type;
    }
    return TM_OK;
}

/* Spatial dims of the output. */
static tm_code set_space(tm_infer_context *context, tm_node *node, const tm_value *x, const tm_value *w,
                         tm_dim *out) {
    int spatial = x->rank - 2;
    for (int i = 0; i < spatial; i++) {
        tm_dim kernel = w->dims[i + 2];
        int64_t stated = tm_window_item(node, "kernel_shape", i, -1);
        if (stated >= 0)
            TM_TRY(tm_infer_equal(context, node, kernel, tm_infer_const(context, stated),
                                  "kernel_shape and weights"));
        out[i + 2] = node->op == TM_OP_ConvTranspose
                         ? transposed_dim(context, node, x->dims[i + 2], kernel, i, spatial)
                         : forward_dim(context, node, x->dims[i + 2], kernel, i, spatial);
        if (tm_dim_is_constant(out[i + 2]) && out[i + 2]->constant < 0)
            return tm_infer_fail(node, TM_E_SHAPE,
                                 "the kernel is larger than the padded input on spatial axis %d", i);
    }
    return TM_OK;
}

tm_code tm_infer_conv(tm_infer_context *context, tm_node *node) {
    tm_dims *dims = context->dims;
    int weight = node->op == TM_OP_QLinearConv ? 3 : 1;
    int bias = node->op == TM_OP_QLinearConv ? 8 : 2;
    bool transposed = node->op == TM_OP_ConvTranspose;
    TM_TRY(tm_infer_need(node, 0, -1));
    tm_value *x = tm_infer_input(node, 0);
    if (x->rank < 3)
        return tm_infer_fail(node, TM_E_SHAPE, "the input has %d dims; batch, channels and space are needed",
                             x->rank);
    TM_TRY(tm_infer_need(node, weight, x->rank));
    tm_value *w = tm_infer_input(node, weight);
    tamis_type type;
    TM_TRY(check_types(node, weight, &type));
    int spatial = x->rank - 2;
    TM_TRY(check_attributes(node, spatial));
    TM_TRY(check_auto_pad(node));
    if (transposed)
        TM_TRY(check_transposed(node, spatial));
    tm_dim group = tm_infer_const(context, tm_node_int(node, "group"));
    tm_dim out[TAMIS_MAX_RANK] = {x->dims[0]};
    if (transposed) {
        TM_TRY(tm_infer_equal(context, node, x->dims[1], w->dims[0], "channels of input and weights"));
        out[1] = tm_dim_mul(dims, w->dims[1], group);
    } else {
        TM_TRY(tm_infer_equal(context, node, x->dims[1], tm_dim_mul(dims, w->dims[1], group),
                              "channels of input and weights"));
        out[1] = w->dims[0];
    }
    tm_value *b = node->op == TM_OP_ConvInteger ? NULL : tm_infer_input(node, bias);
    if (b != NULL) {
        TM_TRY(tm_infer_need(node, bias, 1));
        if (node->op == TM_OP_QLinearConv)
            TM_TRY(tm_infer_need_type(node, bias, (tamis_type[]){TAMIS_TYPE_INT32, 0}));
        TM_TRY(tm_infer_equal(context, node, b->dims[0], out[1], "length of the bias and output channels"));
    }
    TM_TRY(set_space(context, node, x, w, out));
    tm_infer_set(node, 0, type, x->rank, out);
    return TM_OK;
}

static tm_code check_offsets(tm_infer_context *context, tm_node *node, const tm_dim *out) {
    tm_dims *dims = context->dims;
    tm_value *x = tm_infer_input(node, 0), *w = tm_infer_input(node, 1);
    static const char *const names[] = {[2] = "offsets", [4] = "the mask"};
    tm_dim kernel = tm_dim_product(dims, w->dims + 2, w->rank - 2);
    tm_dim planes = tm_dim_mul(dims, kernel, tm_infer_const(context, tm_node_int(node, "offset_group")));
    for (int i = 2; i <= 4; i += 2) {
        if (i == 4 && tm_infer_input(node, i) == NULL)
            return TM_OK;
        TM_TRY(tm_infer_need(node, i, x->rank));
        TM_TRY(tm_infer_same_type(node, 0, i));
        const tm_value *value = tm_infer_input(node, i);
        tm_dim wanted = i == 2 ? tm_dim_mul(dims, planes, tm_infer_const(context, x->rank - 2)) : planes;
        const char *what = tm_arena_format(context->arena, "dims of %s", names[i]);
        for (int d = 0; d < x->rank; d++)
            TM_TRY(tm_infer_equal(context, node, value->dims[d], d == 1 ? wanted : out[d], what));
    }
    return TM_OK;
}

tm_code tm_infer_deform_conv(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(node, 0, float_types));
    tm_value *x = tm_infer_input(node, 0);
    if (x->rank < 3)
        return tm_infer_fail(node, TM_E_SHAPE, "the input has %d dims; batch, channels and space are needed",
                             x->rank);
    TM_TRY(tm_infer_need(node, 1, x->rank));
    TM_TRY(tm_infer_same_type(node, 0, 1));
    TM_TRY(check_attributes(node, x->rank - 2));
    if (tm_node_int(node, "offset_group") < 1)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "offset_group is %lld",
                             (long long)tm_node_int(node, "offset_group"));
    tm_value *w = tm_infer_input(node, 1), *b = tm_infer_input(node, 3);
    tm_dim out[TAMIS_MAX_RANK] = {x->dims[0], w->dims[0]};
    tm_dim group = tm_infer_const(context, tm_node_int(node, "group"));
    TM_TRY(tm_infer_equal(context, node, x->dims[1], tm_dim_mul(context->dims, w->dims[1], group),
                          "channels of input and weights"));
    if (b != NULL) {
        TM_TRY(tm_infer_need(node, 3, 1));
        TM_TRY(tm_infer_same_type(node, 0, 3));
        TM_TRY(tm_infer_equal(context, node, b->dims[0], out[1], "length of the bias and output channels"));
    }
    TM_TRY(set_space(context, node, x, w, out));
    TM_TRY(check_offsets(context, node, out));
    tm_infer_set(node, 0, x->type, x->rank, out);
    return TM_OK;
}

tm_code tm_infer_causal_conv(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, 3));
    TM_TRY(tm_infer_need(node, 1, 3));
    TM_TRY(tm_infer_need_type(node, 0, float_types));
    TM_TRY(tm_infer_same_type(node, 0, 1));
    tm_value *x = tm_infer_input(node, 0), *w = tm_infer_input(node, 1);
    tm_value *bias = tm_infer_input(node, 2), *past = tm_infer_input(node, 3);
    tm_dim one = tm_infer_const(context, 1);
    TM_TRY(tm_infer_equal(context, node, x->dims[1], w->dims[0], "channels of input and weights"));
    TM_TRY(tm_infer_equal(context, node, w->dims[1], one, "second dim of the weights and 1"));
    tm_dim state[3] = {x->dims[0], x->dims[1], tm_dim_sub(context->dims, w->dims[2], one)};
    if (bias != NULL) {
        TM_TRY(tm_infer_need(node, 2, 1));
        TM_TRY(tm_infer_same_type(node, 0, 2));
        TM_TRY(tm_infer_equal(context, node, bias->dims[0], x->dims[1], "length of the bias and channels"));
    }
    if (past != NULL) {
        TM_TRY(tm_infer_need(node, 3, 3));
        TM_TRY(tm_infer_same_type(node, 0, 3));
        for (int i = 0; i < 3; i++)
            TM_TRY(tm_infer_equal(context, node, past->dims[i], state[i], "dims of past_state"));
    }
    const char *activation = tm_node_string(node, "activation");
    if (strcmp(activation, "none") != 0 && strcmp(activation, "silu") != 0 &&
        strcmp(activation, "swish") != 0)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "activation is neither none, silu nor swish");
    tm_infer_set_like(node, 0, x->type, x);
    tm_infer_set(node, 1, x->type, 3, state);
    return TM_OK;
}
