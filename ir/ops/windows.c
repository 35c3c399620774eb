/* SPDX-License-Identifier: Apache-2.0
 *
 * windows.c: inference of Windows; see windows.h.
 *
 *     x[n, in..., c]  ->  y[n, out..., runs * bytes],   out = floordiv(in + pads - extent, stride) + 1
 */
#include "ir/ops/windows.h"

#include "ir/ops/window.h"

#include <string.h>

tm_windows_runs tm_windows_runs_of(const int64_t *kernel, int axes, int64_t last_dilation, int64_t channels) {
    tm_windows_runs runs = {1, 1, 0};
    for (int i = 0; i < axes; i++)
        runs.count *= kernel[i];
    if (last_dilation == 1) {
        runs.taps = kernel[axes - 1];
        runs.count /= runs.taps;
    }
    runs.bytes =
        (runs.taps * channels + TM_WINDOWS_ALIGNMENT - 1) / TM_WINDOWS_ALIGNMENT * TM_WINDOWS_ALIGNMENT;
    return runs;
}

static tm_code check(tm_infer_context *context, tm_node *node, int axes) {
    static const tamis_type bytes[] = {TAMIS_TYPE_UINT8, TAMIS_TYPE_INT8, 0};
    TM_TRY(tm_infer_need_type(node, 0, bytes));
    if (axes < 1 || !tm_dim_is_constant(node->inputs[0]->dims[axes + 1]))
        return tm_infer_fail(node, TM_E_SHAPE, "the input needs batch, space and a known number of channels");
    if (tm_infer_input(node, 1) != NULL) {
        TM_TRY(tm_infer_same_type(node, 0, 1));
        TM_TRY(tm_infer_need_one(context, node, 1, "the zero point"));
    }
    const tm_attribute *kernel = tm_node_attribute(node, "kernel_shape");
    if (!kernel->present || kernel->count != axes)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "kernel_shape needs %d entries", axes);
    if (strcmp(tm_node_string(node, "auto_pad"), "NOTSET") != 0)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "auto_pad must be NOTSET");
    TM_TRY(tm_window_check(node, "kernel_shape", axes, 1));
    TM_TRY(tm_window_check(node, "strides", axes, 1));
    TM_TRY(tm_window_check(node, "dilations", axes, 1));
    return tm_window_check(node, "pads", 2 * (int64_t)axes, -INT32_MAX);
}

tm_code tm_infer_windows(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    const tm_value *x = tm_infer_input(node, 0);
    int axes = x->rank - 2;
    TM_TRY(check(context, node, axes));
    tm_dims *dims = context->dims;
    tm_dim out[TAMIS_MAX_RANK] = {x->dims[0]};
    const int64_t *kernel = tm_node_attribute(node, "kernel_shape")->ints;
    for (int i = 0; i < axes; i++) {
        int64_t extent = (kernel[i] - 1) * tm_window_item(node, "dilations", i, 1) + 1;
        int64_t pads = tm_window_item(node, "pads", i, 0) + tm_window_item(node, "pads", i + axes, 0);
        tm_dim room = tm_dim_add(dims, x->dims[1 + i], tm_infer_const(context, pads));
        room = tm_dim_sub(dims, room, tm_infer_const(context, extent));
        tm_dim stride = tm_infer_const(context, tm_window_item(node, "strides", i, 1));
        out[1 + i] = tm_dim_add(dims, tm_dim_floordiv(dims, room, stride), tm_infer_const(context, 1));
        if (tm_dim_is_constant(out[1 + i]) && out[1 + i]->constant < 0)
            return tm_infer_fail(node, TM_E_SHAPE,
                                 "the kernel is larger than the padded input on spatial axis %d", i);
    }
    tm_windows_runs runs = tm_windows_runs_of(kernel, axes, tm_window_item(node, "dilations", axes - 1, 1),
                                              x->dims[axes + 1]->constant);
    out[axes + 1] = tm_infer_const(context, runs.count * runs.bytes);
    tm_infer_set(node, 0, x->type, x->rank, out);
    return TM_OK;
}
