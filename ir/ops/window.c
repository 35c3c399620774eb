/* SPDX-License-Identifier: Apache-2.0
 *
 * window.c: strides, dilations, pads and kernel sizes as lists; see window.h. Absent lists mean 1 or 0
 * everywhere, as the caller says.
 */
#include "ir/ops/window.h"

int64_t tm_window_item(const tm_node *node, const char *name, int64_t i, int64_t missing) {
    const tm_attribute *list = tm_node_attribute(node, name);
    return list->present && i < list->count ? list->ints[i] : missing;
}

tm_code tm_window_check(tm_node *node, const char *name, int64_t count, int64_t minimum) {
    const tm_attribute *list = tm_node_attribute(node, name);
    if (!list->present || list->count == 0)
        return TM_OK;
    if (list->count != count)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "%s has %lld entries instead of %lld", name,
                             (long long)list->count, (long long)count);
    for (int64_t i = 0; i < count; i++)
        if (list->ints[i] < minimum || list->ints[i] > INT32_MAX)
            return tm_infer_fail(node, TM_E_ATTRIBUTE, "%s holds %lld", name, (long long)list->ints[i]);
    return TM_OK;
}
