/* SPDX-License-Identifier: Apache-2.0
 *
 * microsoft.c: operators of ONNX Runtime that are compositions of standard ones: products of quantised
 * tensors.
 *
 * Optimised and quantised models in the wild contain them. Written out in standard ops they need no
 * kernels, and the passes that fuse regions see the same graph as in models that were not optimised:
 *
 *     DynamicQuantizeMatMul(a, b, sb)   ->   MatMulInteger(DynamicQuantizeLinear(a), b) * (sa * sb)
 */
#include "frontend/opset/opset.h"

tm_code tm_opset_standard(tm_draft *draft) {
    draft->domain = "";
    return TM_OK;
}

/* Cast(MatMulInteger(a, b, za, zb)) * (sa * sb) + bias */
static void integer_product(tm_draft *draft, tm_value *const *operands, tm_value *scale_a, tm_value *scale_b,
                            tm_value *bias) {
    tm_value *sum = tm_draft_emit(draft, TM_OP_MatMulInteger, 4, operands);
    tm_value *scale = tm_draft_emit(draft, TM_OP_Mul, 2, (tm_value *[]){scale_a, scale_b});
    tm_value *product = tm_draft_emit(draft, TM_OP_CastLike, 2, (tm_value *[]){sum, scale});
    tm_draft_clear_attributes(draft);
    draft->domain = "";
    draft->op = "Mul";
    if (bias != NULL) {
        product = tm_draft_emit(draft, TM_OP_Mul, 2, (tm_value *[]){product, scale});
        scale = bias;
        draft->op = "Add";
    }
    tm_draft_set_inputs(draft, 2, (tm_value *[]){product, scale});
}

tm_code tm_opset_matmul_integer_to_float(tm_draft *draft) {
    for (size_t i = 0; i < 4; i++)
        if (tm_draft_input(draft, i) == NULL)
            return tm_draft_fail(draft, TM_E_ARITY, "matrices and scales are needed");
    tm_value *operands[4] = {draft->inputs.items[0], draft->inputs.items[1], tm_draft_input(draft, 4),
                             tm_draft_input(draft, 5)};
    integer_product(draft, operands, draft->inputs.items[2], draft->inputs.items[3],
                    tm_draft_input(draft, 6));
    return TM_OK;
}

tm_code tm_opset_dynamic_quantize_matmul(tm_draft *draft) {
    if (tm_draft_input(draft, 1) == NULL || tm_draft_input(draft, 2) == NULL)
        return tm_draft_fail(draft, TM_E_ARITY, "matrices and b_scale are needed");
    tm_node *quantize = tm_draft_emit_node(draft, TM_OP_DynamicQuantizeLinear, 1, draft->inputs.items);
    tm_value *a = tm_draft_add_output(draft, quantize);
    tm_value *scale = tm_draft_add_output(draft, quantize);
    tm_value *zero = tm_draft_add_output(draft, quantize);
    tm_value *operands[4] = {a, draft->inputs.items[1], zero, tm_draft_input(draft, 3)};
    integer_product(draft, operands, scale, draft->inputs.items[2], tm_draft_input(draft, 4));
    return TM_OK;
}
