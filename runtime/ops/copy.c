/* SPDX-License-Identifier: Apache-2.0
 *
 * copy.c: Copy, a value under another name and in its own memory.
 *
 * The compiler puts it where a graph output is also an input, a constant, or another output, because
 * each output is written to the caller's memory. Handles are shared, not copied: they never change.
 */
#include "runtime/kernel.h"

int32_t tm_k_Copy(tm_run *run, const tm_call *call) {
    const tamis_tensor *x = tm_in(run, call, 0);
    tamis_tensor *y = tm_out(run, call, 0);
    if (x->kind != TAMIS_KIND_TENSOR) {
        y->data = x->data;
        return 0;
    }
    int64_t bytes = tm_type_bytes(x->type, tm_count(x));
    if (bytes > 0)
        memcpy(y->data, x->data, (size_t)bytes);
    return 0;
}
