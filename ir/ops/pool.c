/* SPDX-License-Identifier: Apache-2.0
 *
 * Inference of pools: windows slide over the spatial axes of X[n, c, in...].
 *
 *     out = floordiv(in + pads - ((kernel - 1)*dilation + 1), stride) + 1
 *
 * With ceil_mode the division rounds up, but a window that would start in the padding behind the data is
 * dropped: 7 wide, kernel 1, stride 2, ceil: starts 0 2 4 6, never 8.
 */
#include "ir/infer.h"
#include "ir/ops/window.h"

#include <string.h>

static const tamis_type float_types[] = {TAMIS_TYPE_FLOAT, TAMIS_TYPE_DOUBLE, TAMIS_TYPE_FLOAT16,
                                         TAMIS_TYPE_BFLOAT16, 0};
static const tamis_type max_types[] = {TAMIS_TYPE_FLOAT,
                                       TAMIS_TYPE_DOUBLE,
                                       TAMIS_TYPE_FLOAT16,
                                       TAMIS_TYPE_BFLOAT16,
                                       TAMIS_TYPE_INT8,
                                       TAMIS_TYPE_UINT8,
                                       0};

static tm_dim pooled_dim(tm_infer_context *context, tm_node *node, tm_dim in, int i, int spatial) {
    tm_dims *dims = context->dims;
    const char *auto_pad = tm_node_string(node, "auto_pad");
    tm_dim one = tm_infer_const(context, 1);
    tm_dim stride = tm_infer_const(context, tm_window_item(node, "strides", i, 1));
    if (strcmp(auto_pad, "SAME_UPPER") == 0 || strcmp(auto_pad, "SAME_LOWER") == 0)
        return tm_dim_ceildiv(dims, in, stride);
    bool valid = strcmp(auto_pad, "VALID") == 0;
    int64_t head = valid ? 0 : tm_window_item(node, "pads", i, 0),
            tail = valid ? 0 : tm_window_item(node, "pads", i + spatial, 0);
    int64_t window =
        (tm_window_item(node, "kernel_shape", i, 1) - 1) * tm_window_item(node, "dilations", i, 1) + 1;
    tm_dim room = tm_dim_add(dims, in, tm_infer_const(context, head + tail - window));
    if (tm_node_int(node, "ceil_mode") == 0)
        return tm_dim_add(dims, tm_dim_floordiv(dims, room, stride), one);
    tm_dim steps = tm_dim_ceildiv(dims, room, stride);
    tm_dim start = tm_dim_mul(dims, steps, stride);
    tm_dim inside = tm_dim_less(dims, start, tm_dim_add(dims, in, tm_infer_const(context, head)));
    return tm_dim_add(dims, steps, inside);
}

tm_code tm_infer_pool(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(node, 0, node->op == TM_OP_MaxPool ? max_types : float_types));
    tm_value *x = tm_infer_input(node, 0);
    if (x->rank < 3)
        return tm_infer_fail(node, TM_E_SHAPE, "the input has %d dims; batch, channels and space are needed",
                             x->rank);
    int spatial = x->rank - 2;
    if (tm_node_attribute(node, "kernel_shape")->count != spatial)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "kernel_shape must have %d entries", spatial);
    TM_TRY(tm_window_check(node, "kernel_shape", spatial, 1));
    TM_TRY(tm_window_check(node, "strides", spatial, 1));
    TM_TRY(tm_window_check(node, "dilations", spatial, 1));
    TM_TRY(tm_window_check(node, "pads", 2 * (int64_t)spatial, 0));
    tm_dim dims[TAMIS_MAX_RANK] = {x->dims[0], x->dims[1]};
    for (int i = 0; i < spatial; i++) {
        dims[i + 2] = pooled_dim(context, node, x->dims[i + 2], i, spatial);
        if (tm_dim_is_constant(dims[i + 2]) && dims[i + 2]->constant < 0)
            return tm_infer_fail(node, TM_E_SHAPE,
                                 "the window is larger than the padded input on spatial axis %d", i);
    }
    tm_infer_set(node, 0, x->type, x->rank, dims);
    tm_infer_set(node, 1, TAMIS_TYPE_INT64, x->rank, dims);
    return TM_OK;
}

tm_code tm_infer_global_pool(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(node, 0, float_types));
    tm_value *x = tm_infer_input(node, 0);
    if (x->rank < 2)
        return tm_infer_fail(node, TM_E_SHAPE, "the input has %d dims; batch and channels are needed",
                             x->rank);
    tm_dim dims[TAMIS_MAX_RANK] = {x->dims[0], x->dims[1]};
    for (int i = 2; i < x->rank; i++)
        dims[i] = tm_infer_const(context, 1);
    tm_infer_set(node, 0, x->type, x->rank, dims);
    return TM_OK;
}
