/* SPDX-License-Identifier: Apache-2.0
 *
 * optional.c: the kernels of optionals: lists of no item or one (runtime/sequence.h).
 *
 *     Optional(x) -> [x]      Optional() -> NULL      OptionalGetElement([x]) -> x
 *
 * OptionalHasElement and OptionalGetElement also take what is no optional: that has itself as its element.
 */
#include "runtime/ops/handle.h"

int32_t tm_k_Optional(tm_run *run, const tm_call *call) {
    const tamis_tensor *x = tm_in(run, call, 0);
    tm_out(run, call, 0)->data = NULL;
    if (x == NULL)
        return 0;
    tm_sequence *list = tm_list_create(run, call, 1);
    if (list == NULL)
        return run->code;
    tm_out(run, call, 0)->data = list;
    return tm_item_copy(run, call, &list->items[0], x);
}

int32_t tm_k_OptionalHasElement(tm_run *run, const tm_call *call) {
    const tamis_tensor *x = tm_in(run, call, 0);
    const bool has = x != NULL && (x->kind != TAMIS_KIND_OPTIONAL || tm_list_length(x) > 0);
    *(uint8_t *)tm_out(run, call, 0)->data = has;
    return 0;
}

int32_t tm_k_OptionalGetElement(tm_run *run, const tm_call *call) {
    const tamis_tensor *x = tm_in(run, call, 0);
    if (x->kind != TAMIS_KIND_OPTIONAL)
        return tm_item_give(run, call, x);
    if (tm_list_length(x) == 0)
        return tm_fail(run, call, TM_RUN_EMPTY, 0, 0);
    return tm_item_give(run, call, tm_list_item(x, 0));
}
