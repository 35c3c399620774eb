/* SPDX-License-Identifier: Apache-2.0
 *
 * microsoft.c: operators of ONNX Runtime that are compositions of standard ones.
 *
 * Optimised and quantised models in the wild contain them. Written out in standard ops they need no
 * kernels, and the passes that fuse regions see the same graph as in models that were not optimised:
 *
 *     SkipLayerNormalization(x, skip, gamma, beta)   ->   LayerNormalization(Add(x, skip), gamma, beta)
 */
#include "frontend/opset/opset.h"

#include <string.h>

static tm_value *add(tm_draft *draft, tm_value *a, tm_value *b) {
    return b == NULL ? a : tm_draft_emit(draft, TM_OP_Add, 2, (tm_value *[]){a, b});
}

tm_code tm_opset_standard(tm_draft *draft) {
    draft->domain = "";
    return TM_OK;
}

tm_code tm_opset_rms_normalization(tm_draft *draft) {
    draft->domain = "";
    draft->op = "RMSNormalization";
    if (tm_draft_has_output(draft, 1))
        return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM,
                             "SimplifiedLayerNormalization with its second output");
    draft->outputs.count = 1;
    return TM_OK;
}

tm_code tm_opset_skip_normalization(tm_draft *draft) {
    bool simplified = strcmp(draft->op, "SkipSimplifiedLayerNormalization") == 0;
    tm_value *skip = tm_draft_input(draft, 1);
    tm_value *gamma = tm_draft_input(draft, 2);
    tm_value *beta = simplified ? NULL : tm_draft_input(draft, 3);
    tm_value *bias = tm_draft_input(draft, simplified ? 3 : 4);
    if (skip == NULL || gamma == NULL)
        return tm_draft_fail(draft, TM_E_ARITY, "input, skip and gamma are needed");
    if (tm_draft_has_output(draft, 1) || tm_draft_has_output(draft, 2))
        return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM, "%s with its outputs of training", draft->op);
    tm_value *sum = add(draft, draft->inputs.items[0], bias);
    if (tm_draft_has_output(draft, 3)) {
        tm_node *node;
        TM_TRY(tm_opset_emit_output(draft, 3, TM_OP_Add, 2, (tm_value *[]){sum, skip}, &node));
        sum = node->outputs[0];
    } else {
        sum = add(draft, sum, skip);
    }
    double epsilon = tm_draft_float(draft, "epsilon", (double)1e-12f);
    tm_node *node;
    TM_TRY(tm_opset_emit_output(draft, 0, simplified ? TM_OP_RMSNormalization : TM_OP_LayerNormalization,
                                beta != NULL ? 3 : 2, (tm_value *[]){sum, gamma, beta}, &node));
    tm_node_set_float(node, "epsilon", epsilon);
    return TM_OK;
}

tm_code tm_opset_gelu(tm_draft *draft) {
    bool fast = strcmp(draft->op, "FastGelu") == 0;
    tm_value *x = add(draft, draft->inputs.items[0], tm_draft_input(draft, 1));
    tm_draft_clear_attributes(draft);
    tm_draft_set_inputs(draft, 1, &x);
    tm_draft_set_string(draft, "approximate", fast ? "tanh" : "none");
    draft->domain = "";
    draft->op = "Gelu";
    return TM_OK;
}

tm_code tm_opset_quick_gelu(tm_draft *draft) {
    tm_draft_set_float(draft, "alpha", tm_draft_float(draft, "alpha", (double)1.702f));
    draft->domain = "";
    draft->op = "Swish";
    return TM_OK;
}

/* Swaps the last two dims when `flag` is set. */
static tm_code transposed(tm_draft *draft, size_t index, const char *flag, tm_value **out_value) {
    *out_value = draft->inputs.items[index];
    if (tm_draft_int(draft, flag, 0) == 0)
        return TM_OK;
    int rank;
    TM_TRY(tm_draft_rank(draft, *out_value, &rank));
    if (rank < 2)
        return TM_OK;
    int64_t perm[TAMIS_MAX_RANK];
    for (int i = 0; i < rank; i++)
        perm[i] = i < rank - 2 ? i : 2 * rank - 3 - i;
    tm_node *node = tm_draft_emit_node(draft, TM_OP_Transpose, 1, out_value);
    tm_node_set_ints(node, "perm", perm, rank);
    *out_value = tm_draft_add_output(draft, node);
    return TM_OK;
}

tm_code tm_opset_fused_matmul(tm_draft *draft) {
    if (tm_draft_int(draft, "transBatchA", 0) != 0 || tm_draft_int(draft, "transBatchB", 0) != 0)
        return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM, "FusedMatMul with transBatchA or transBatchB");
    if (draft->inputs.count != 2 || draft->inputs.items[1] == NULL)
        return tm_draft_fail(draft, TM_E_ARITY, "FusedMatMul has two inputs");
    double alpha = tm_draft_float(draft, "alpha", 1.0);
    tm_value *operands[2];
    TM_TRY(transposed(draft, 0, "transA", &operands[0]));
    TM_TRY(transposed(draft, 1, "transB", &operands[1]));
    tm_draft_clear_attributes(draft);
    draft->domain = "";
    draft->op = "MatMul";
    if (alpha != 1.0) {
        tm_value *scale;
        TM_TRY(tm_draft_constant_like(draft, alpha, operands[0], &scale));
        operands[0] = tm_draft_emit(draft, TM_OP_MatMul, 2, operands);
        operands[1] = scale;
        draft->op = "Mul";
    }
    tm_draft_set_inputs(draft, 2, operands);
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
