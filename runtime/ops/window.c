/* SPDX-License-Identifier: Apache-2.0
 *
 * Geometry of convolutions and pools from their attributes; see window.h.
 */
#include "runtime/ops/window.h"

void tm_window_init(tm_window *window, int32_t axes, const int64_t *in, const int64_t *out,
                    const int64_t *kernel, const void *attributes, tm_window_lists lists) {
    bool upper = tm_is(attributes, lists.auto_pad, "SAME_UPPER");
    bool same = upper || tm_is(attributes, lists.auto_pad, "SAME_LOWER");
    bool explicit = !same && !tm_is(attributes, lists.auto_pad, "VALID") && lists.pads.count > 0;
    window->axes = axes;
    window->in_count = window->out_count = window->kernel_count = 1;
    for (int32_t i = 0; i < axes; i++) {
        window->in[i] = in[i];
        window->out[i] = out[i];
        window->kernel[i] = kernel[i];
        window->stride[i] = lists.strides.count > 0 ? tm_ints(attributes, lists.strides)[i] : 1;
        window->dilation[i] = lists.dilations.count > 0 ? tm_ints(attributes, lists.dilations)[i] : 1;
        window->head[i] = explicit ? tm_ints(attributes, lists.pads)[i] : 0;
        if (same) {
            int64_t need =
                (out[i] - 1) * window->stride[i] + (kernel[i] - 1) * window->dilation[i] + 1 - in[i];
            need = need < 0 ? 0 : need;
            window->head[i] = upper ? need / 2 : need - need / 2;
        }
        window->in_count *= in[i];
        window->out_count *= out[i];
        window->kernel_count *= kernel[i];
    }
}
