/* SPDX-License-Identifier: Apache-2.0
 *
 * microsoft_language.c: norms, activations, embeddings and products that ONNX Runtime's optimiser makes of
 * the layers of language models.
 *
 *     SkipLayerNormalization(x, skip, gamma, beta)   ->   LayerNormalization(Add(x, skip), gamma, beta)
 *     EmbedLayerNormalization(ids, ...)              ->   LayerNormalization(Gather(words, ids) + positions +
 * ...)
 *
 * Written out in standard ops they need no kernels, and the passes that fuse regions see the same graph as in
 * models that were not optimised.
 */
#include "frontend/opset/write_out.h"
#include "frontend/opset/opset.h"

#include <string.h>

/* ---- norms ---- */

/* x may have another type than the scale, which is that of the result. */
static tm_value *as_scale(tm_draft *draft, tm_value *x, tm_value *scale) {
    tamis_type type = tm_draft_type(draft, x), wanted = tm_draft_type(draft, scale);
    bool same = type == wanted || type == TAMIS_TYPE_UNDEFINED || wanted == TAMIS_TYPE_UNDEFINED;
    return same ? x : tm_write_binary(draft, TM_OP_CastLike, x, scale);
}

tm_code tm_opset_layer_normalization(tm_draft *draft) {
    if (tm_draft_input(draft, 1) != NULL)
        draft->inputs.items[0] = as_scale(draft, draft->inputs.items[0], draft->inputs.items[1]);
    draft->domain = "";
    return TM_OK;
}

/* 1 / sqrt(mean(x^2) + epsilon) over the dims from `axis` on, in float: what RMSNormalization keeps to
 * itself. */
static tm_code bind_inverse(tm_draft *draft, size_t index, tm_value *x, int64_t axis, double epsilon) {
    int rank;
    if (!tm_draft_has_output(draft, index))
        return TM_OK;
    TM_TRY(tm_draft_rank(draft, x, &rank));
    int64_t axes[TAMIS_MAX_RANK], count = 0;
    for (int64_t d = axis < 0 ? axis + rank : axis; d >= 0 && d < rank; d++)
        axes[count++] = d;
    x = tm_write_cast(draft, x, TAMIS_TYPE_FLOAT);
    tm_value *square = tm_write_binary(draft, TM_OP_Mul, x, x);
    tm_value *mean =
        tm_write_binary(draft, TM_OP_ReduceMean, square, tm_draft_constant_ints(draft, axes, count));
    mean = tm_write_add(draft, mean, tm_write_number(draft, epsilon, x));
    mean = tm_draft_emit(draft, TM_OP_Sqrt, 1, &mean);
    tm_node *node;
    return tm_opset_emit_output(draft, index, TM_OP_Reciprocal, 1, &mean, &node);
}

tm_code tm_opset_rms_normalization(tm_draft *draft) {
    if (tm_draft_input(draft, 1) == NULL)
        return tm_draft_fail(draft, TM_E_ARITY, "the scale is needed");
    int64_t axis = tm_draft_int(draft, "axis", -1);
    double epsilon = tm_draft_float(draft, "epsilon", (double)1e-5f);
    tm_value *x = draft->inputs.items[0];
    draft->inputs.items[0] = as_scale(draft, x, draft->inputs.items[1]);
    TM_TRY(bind_inverse(draft, 1, x, axis, epsilon));
    draft->finished = false;
    draft->outputs.count = 1;
    draft->domain = "";
    draft->op = "RMSNormalization";
    return TM_OK;
}

tm_code tm_opset_skip_normalization(tm_draft *draft) {
    bool simplified = strcmp(draft->op, "SkipSimplifiedLayerNormalization") == 0;
    tm_value *skip = tm_draft_input(draft, 1), *gamma = tm_draft_input(draft, 2);
    tm_value *beta = simplified ? NULL : tm_draft_input(draft, 3);
    tm_value *bias = tm_draft_input(draft, simplified ? 3 : 4);
    if (skip == NULL || gamma == NULL)
        return tm_draft_fail(draft, TM_E_ARITY, "input, skip and gamma are needed");
    if (simplified && tm_draft_has_output(draft, 1))
        return tm_draft_fail(
            draft, TM_E_UNSUPPORTED_FORM,
            "SkipSimplifiedLayerNormalization with the output mean, which this norm does not "
            "compute; drop the output");
    tm_value *sum = tm_write_add(draft, draft->inputs.items[0], bias);
    tm_node *node;
    if (tm_draft_has_output(draft, 3)) {
        TM_TRY(tm_opset_emit_output(draft, 3, TM_OP_Add, 2, (tm_value *[]){sum, skip}, &node));
        sum = node->outputs[0];
    } else {
        sum = tm_write_add(draft, sum, skip);
    }
    double epsilon = tm_draft_float(draft, "epsilon", (double)1e-12f);
    TM_TRY(tm_opset_emit_output(draft, 0, simplified ? TM_OP_RMSNormalization : TM_OP_LayerNormalization,
                                beta != NULL ? 3 : 2, (tm_value *[]){sum, gamma, beta}, &node));
    tm_node_set_float(node, "epsilon", epsilon);
    if (simplified)
        return bind_inverse(draft, 2, sum, -1, epsilon);
    for (size_t i = 1; i < 3 && (tm_draft_has_output(draft, 1) || tm_draft_has_output(draft, 2)); i++) {
        if (!tm_draft_has_output(draft, i))
            tm_node_add_omitted_output(node);
        else
            TM_TRY(tm_draft_bind(draft, i, tm_node_add_output(node, tm_opset_output_name(draft, i))));
    }
    return TM_OK;
}

/* ---- embeddings ---- */

enum { IDS, SEGMENTS, WORDS, POSITIONS, SEGMENT_TABLE, GAMMA, BETA, MASK, POSITION_IDS };

/* How many ones each row of the mask has; without a mask, zeros. */
static tm_code bind_mask_index(tm_draft *draft) {
    tm_value *mask = tm_draft_input(draft, MASK);
    tm_node *node;
    if (!tm_draft_has_output(draft, 1))
        return TM_OK;
    if (mask == NULL)
        return tm_write_bind(
            draft, 1,
            tm_write_cast(draft,
                          tm_write_zeros(draft, tm_write_dims(draft, draft->inputs.items[IDS], 0, 1),
                                         draft->inputs.items[IDS]),
                          TAMIS_TYPE_INT32));
    tm_value *ones = tm_write_binary(draft, TM_OP_Equal, mask, tm_write_number(draft, 1, mask));
    tm_value *inputs[2] = {tm_write_cast(draft, ones, TAMIS_TYPE_INT32),
                           tm_draft_constant_ints(draft, (int64_t[]){1}, 1)};
    TM_TRY(tm_opset_emit_output(draft, 1, TM_OP_ReduceSum, 2, inputs, &node));
    tm_node_set_int(node, "keepdims", 0);
    return TM_OK;
}

tm_code tm_opset_embed_normalization(tm_draft *draft) {
    for (size_t i = 0; i <= BETA; i++)
        if (i != SEGMENTS && i != SEGMENT_TABLE && tm_draft_input(draft, i) == NULL)
            return tm_draft_fail(draft, TM_E_ARITY, "input %zu may not be omitted", i);
    tm_value **inputs = draft->inputs.items, *segments = tm_draft_input(draft, SEGMENTS);
    tm_value *position_ids = tm_draft_input(draft, POSITION_IDS), *positions;
    if ((segments != NULL) != (tm_draft_input(draft, SEGMENT_TABLE) != NULL))
        return tm_draft_fail(draft, TM_E_ARITY, "segment_ids and segment_embedding must be given together");
    if (position_ids != NULL)
        positions = tm_write_binary(draft, TM_OP_Gather, inputs[POSITIONS], position_ids);
    else
        positions =
            tm_write_slice(draft, inputs[POSITIONS], 0, tm_draft_constant_ints(draft, (int64_t[]){0}, 1),
                           tm_write_dims(draft, inputs[IDS], 1, 1));
    tm_value *sum = tm_write_binary(draft, TM_OP_Gather, inputs[WORDS], inputs[IDS]);
    sum = tm_write_add(draft, sum, positions);
    if (segments != NULL)
        sum = tm_write_add(draft, sum, tm_write_binary(draft, TM_OP_Gather, inputs[SEGMENT_TABLE], segments));
    tm_node *node;
    TM_TRY(tm_opset_emit_output(draft, 0, TM_OP_LayerNormalization, 3,
                                (tm_value *[]){sum, inputs[GAMMA], inputs[BETA]}, &node));
    tm_node_set_float(node, "epsilon", tm_draft_float(draft, "epsilon", (double)1e-12f));
    TM_TRY(bind_mask_index(draft));
    return tm_write_bind(draft, 2, sum);
}

/* ---- activations ---- */

tm_code tm_opset_gelu(tm_draft *draft) {
    bool fast = strcmp(draft->op, "FastGelu") == 0;
    tm_value *x = tm_write_add(draft, draft->inputs.items[0], tm_draft_input(draft, 1));
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

/* The left half of x + bias times Gelu of the right one. */
tm_code tm_opset_bias_split_gelu(tm_draft *draft) {
    tm_value *halves[2], *x = tm_write_add(draft, draft->inputs.items[0], tm_draft_input(draft, 1));
    tm_write_split(draft, x, -1, 2, NULL, halves);
    halves[1] = tm_draft_emit(draft, TM_OP_Gelu, 1, &halves[1]);
    tm_draft_set_inputs(draft, 2, halves);
    draft->domain = "";
    draft->op = "Mul";
    return TM_OK;
}

tm_code tm_opset_bias_add(tm_draft *draft) {
    tm_value *bias = tm_draft_input(draft, 1), *skip = tm_draft_input(draft, 2);
    if (bias == NULL || skip == NULL)
        return tm_draft_fail(draft, TM_E_ARITY, "bias and skip are needed");
    tm_draft_set_inputs(draft, 2, (tm_value *[]){tm_write_add(draft, draft->inputs.items[0], bias), skip});
    draft->domain = "";
    draft->op = "Add";
    return TM_OK;
}

/* ---- products ---- */

/* `batch` brings dim 0 before the last: [m, b, k] -> [b, m, k]; `swap` then swaps the last two. */
static tm_code transposed(tm_draft *draft, size_t index, bool swap, bool batch, tm_value **out_value) {
    *out_value = draft->inputs.items[index];
    if (!swap && !batch)
        return TM_OK;
    int rank;
    TM_TRY(tm_draft_rank(draft, *out_value, &rank));
    if (rank < 2)
        return TM_OK;
    int64_t perm[TAMIS_MAX_RANK];
    for (int i = 0; i < rank; i++)
        perm[i] = batch && i < rank - 1 ? (i + 1) % (rank - 1) : i;
    if (swap) {
        int64_t last = perm[rank - 1];
        perm[rank - 1] = perm[rank - 2];
        perm[rank - 2] = last;
    }
    *out_value = tm_write_transpose(draft, *out_value, rank, perm);
    return TM_OK;
}

tm_code tm_opset_fused_matmul(tm_draft *draft) {
    if (draft->inputs.count != 2 || draft->inputs.items[1] == NULL)
        return tm_draft_fail(draft, TM_E_ARITY, "%s has two inputs", draft->op);
    double alpha = tm_draft_float(draft, "alpha", 1.0);
    tm_value *operands[2];
    TM_TRY(transposed(draft, 0, tm_draft_int(draft, "transA", 0) != 0,
                      tm_draft_int(draft, "transBatchA", 0) != 0, &operands[0]));
    TM_TRY(transposed(draft, 1, tm_draft_int(draft, "transB", 0) != 0,
                      tm_draft_int(draft, "transBatchB", 0) != 0, &operands[1]));
    tm_draft_clear_attributes(draft);
    draft->domain = "";
    draft->op = "MatMul";
    if (alpha != 1.0) {
        tm_value *scale = tm_write_number(draft, alpha, operands[0]);
        operands[0] = tm_write_binary(draft, TM_OP_MatMul, operands[0], operands[1]);
        operands[1] = scale;
        draft->op = "Mul";
    }
    tm_draft_set_inputs(draft, 2, operands);
    return TM_OK;
}
