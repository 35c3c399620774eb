/* SPDX-License-Identifier: Apache-2.0
 *
 * digits.c: inference of Digits, numbers as three digits for products by packed weights (ir/bits.h).
 *
 *     %x: f32[m, 600]  ->  %d: u8[m, 2400] = Digits(%x) {centre = 8, step = 256}     3 records of 32 + 3 *
 * 256 bytes
 */
#include "ir/bits.h"
#include "ir/infer.h"

tm_code tm_infer_digits(tm_infer_context *context, tm_node *node) {
    static const tamis_type real[] = {TAMIS_TYPE_FLOAT, 0};
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(node, 0, real));
    const tm_value *x = tm_infer_input(node, 0);
    int64_t step = tm_node_int(node, "step");
    if (step < 1 || step > TM_BITS_STEP)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "step must be 1 to %d", TM_BITS_STEP);
    if (x->rank < 1 || !tm_dim_is_constant(x->dims[x->rank - 1]))
        return tm_infer_fail(node, TM_E_SHAPE, "the last dim must be known");
    tm_dim out[TAMIS_MAX_RANK];
    for (int i = 0; i < x->rank; i++)
        out[i] = x->dims[i];
    int64_t k = x->dims[x->rank - 1]->constant;
    out[x->rank - 1] = tm_infer_const(context, (k + step - 1) / step * tm_digits_record(k, step));
    tm_infer_set(node, 0, TAMIS_TYPE_UINT8, x->rank, out);
    return TM_OK;
}
