/* SPDX-License-Identifier: Apache-2.0
 *
 * microsoft_other.c: ONNX Runtime's operators that are older or freer forms of standard ones: Pad, Range,
 * ExpandDims, Unique, GridSample and their like, Fourier transforms of real signals, distances, and dropouts.
 *
 *     Rfft(x[..., n])   ->   DFT(Unsqueeze(x, -1)) {onesided}
 *     CDist(a, b)       ->   max(sum(a*a) + sum(b*b)^T - 2 a b^T, 0)
 *
 * Models are compiled for inference, so dropouts pass their data through, and their masks keep everything.
 */
#include "frontend/opset/steps.h"

#include <string.h>

/* ---- freer forms ---- */

tm_code tm_opset_standard(tm_draft *draft) {
    draft->domain = "";
    return TM_OK;
}

/* Pads may have dims [1, 2 * rank], the value may have dims [1]. */
tm_code tm_opset_microsoft_pad(tm_draft *draft) {
    TM_TRY(tm_write_need(draft, 2));
    static const int64_t all = -1;
    tm_value *value = tm_draft_input(draft, 2);
    draft->inputs.items[1] = tm_write_listed(draft, TM_OP_Reshape, draft->inputs.items[1], &all, 1);
    if (value != NULL && value->rank != 0)
        draft->inputs.items[2] = tm_write_listed(draft, TM_OP_Reshape, value, NULL, 0);
    draft->domain = "";
    return TM_OK;
}

/* Operands may have dims [1]; the step may be left out. */
tm_code tm_opset_microsoft_range(tm_draft *draft) {
    TM_TRY(tm_write_need(draft, 2));
    tm_value *inputs[3] = {draft->inputs.items[0], draft->inputs.items[1], tm_draft_input(draft, 2)};
    for (int i = 0; i < 3; i++)
        if (inputs[i] == NULL)
            TM_TRY(tm_draft_constant_like(draft, 1, inputs[0], &inputs[i]));
        else if (inputs[i]->rank != 0)
            inputs[i] = tm_write_listed(draft, TM_OP_Reshape, inputs[i], NULL, 0);
    tm_draft_set_inputs(draft, 3, inputs);
    draft->domain = "";
    return TM_OK;
}

tm_code tm_opset_expand_dims(tm_draft *draft) {
    TM_TRY(tm_write_need(draft, 2));
    static const int64_t one = 1;
    tm_value *axis = draft->inputs.items[1];
    int64_t known;
    if (tm_value_is_constant(axis) && tm_constant_count(axis->constant) == 1 &&
        tm_constant_int(axis->constant, 0, &known))
        axis = tm_draft_constant_ints(draft, &known, 1);
    else
        axis =
            tm_write_listed(draft, TM_OP_Reshape, tm_write_cast(draft, axis, TAMIS_TYPE_INT64), &one, 1);
    tm_draft_set_input(draft, 1, axis);
    draft->domain = "";
    draft->op = "Unsqueeze";
    return TM_OK;
}

/* In the order of first occurrence; without their positions. */
tm_code tm_opset_microsoft_unique(tm_draft *draft) {
    tm_node *node = tm_draft_emit_node(draft, TM_OP_Unique, 1, draft->inputs.items);
    tm_node_set_int(node, "sorted", 0);
    for (size_t i = 0, at = 0; i < 4; i++) {
        if (i == 1) {
            tm_node_add_omitted_output(node);
            continue;
        }
        TM_TRY(tm_write_bind(draft, at++, tm_draft_add_output(draft, node)));
    }
    return TM_OK;
}

tm_code tm_opset_microsoft_grid_sample(tm_draft *draft) {
    draft->domain = "";
    return tm_opset_grid_sample(draft);
}

tm_code tm_opset_identity(tm_draft *draft) {
    draft->domain = "";
    draft->op = "Identity";
    tm_draft_clear_attributes(draft);
    draft->inputs.count = 1;
    return TM_OK;
}

/* Padding and frequencies of words matter for gradients only. */
tm_code tm_opset_torch_embedding(tm_draft *draft) {
    TM_TRY(tm_write_need(draft, 2));
    draft->domain = "";
    draft->op = "Gather";
    draft->inputs.count = 2;
    return TM_OK;
}

/* ---- Fourier transforms ---- */

static tm_code read_signal(tm_draft *draft, int *out_rank, int64_t *out_axes) {
    if (tm_draft_int(draft, "normalized", 0) != 0 || tm_draft_int(draft, "onesided", 1) != 1)
        return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM,
                             "%s that is normalized or not onesided; ONNX Runtime has none either",
                             draft->op);
    *out_axes = tm_draft_int(draft, "signal_ndim", 1);
    TM_TRY(tm_draft_rank(draft, draft->inputs.items[0], out_rank));
    if (*out_axes < 1 || *out_axes > *out_rank - (strcmp(draft->op, "Irfft") == 0))
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "signal_ndim is %lld for an input of rank %d",
                             (long long)*out_axes, *out_rank);
    return TM_OK;
}

static tm_value *transform(tm_draft *draft, tm_value *x, int64_t axis, bool inverse, bool onesided) {
    tm_value *inputs[3] = {x, NULL, tm_draft_constant_int(draft, axis)};
    tm_node *node = tm_draft_emit_node(draft, TM_OP_DFT, 3, inputs);
    tm_node_set_int(node, "inverse", inverse);
    tm_node_set_int(node, "onesided", onesided);
    return tm_draft_add_output(draft, node);
}

/* Along the last axis from real to half of the spectrum, then along the others; Irfft the other way round. */
tm_code tm_opset_rfft(tm_draft *draft) {
    int rank;
    int64_t axes;
    TM_TRY(read_signal(draft, &rank, &axes));
    static const int64_t last = -1;
    tm_value *x = tm_write_listed(draft, TM_OP_Unsqueeze, draft->inputs.items[0], &last, 1);
    for (int64_t i = 0; i < axes; i++)
        x = transform(draft, x, rank - 1 - i, false, i == 0);
    return tm_write_bind(draft, 0, x);
}

tm_code tm_opset_irfft(tm_draft *draft) {
    int rank;
    int64_t axes;
    TM_TRY(read_signal(draft, &rank, &axes));
    static const int64_t last = -1;
    tm_value *x = draft->inputs.items[0];
    for (int64_t i = axes - 1; i >= 0; i--)
        x = transform(draft, x, rank - 2 - i, true, i == 0);
    return tm_write_bind(draft, 0, tm_write_listed(draft, TM_OP_Squeeze, x, &last, 1));
}

/* ---- distances ---- */

tm_code tm_opset_cdist(tm_draft *draft) {
    TM_TRY(tm_write_need(draft, 2));
    const char *metric = tm_draft_string(draft, "metric", "sqeuclidean");
    bool root = strcmp(metric, "euclidean") == 0;
    if (!root && strcmp(metric, "sqeuclidean") != 0)
        return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM,
                             "CDist with metric '%s'; there are euclidean and sqeuclidean", metric);
    static const int64_t rows = 1;
    static const int64_t turn[2] = {1, 0};
    tm_value *a = draft->inputs.items[0], *b = draft->inputs.items[1], *zero, *two;
    tm_value *left = tm_write_listed(draft, TM_OP_ReduceSumSquare, a, &rows, 1);
    tm_value *right = tm_write_listed(draft, TM_OP_ReduceSumSquare, b, &rows, 1);
    TM_TRY(tm_draft_constant_like(draft, 0, a, &zero));
    TM_TRY(tm_draft_constant_like(draft, 2, a, &two));
    tm_value *squares =
        tm_write_binary(draft, TM_OP_Add, left, tm_write_transpose(draft, right, 2, turn));
    tm_value *product = tm_write_binary(draft, TM_OP_MatMul, a, tm_write_transpose(draft, b, 2, turn));
    product = tm_write_binary(draft, TM_OP_Mul, product, two);
    tm_value *y =
        tm_write_binary(draft, TM_OP_Max, tm_write_binary(draft, TM_OP_Sub, squares, product), zero);
    return tm_write_bind(draft, 0, root ? tm_draft_emit(draft, TM_OP_Sqrt, 1, &y) : y);
}

/* ---- training ops in inference ---- */

/* True when the input says that the node trains, or may say so when the model runs. */
static bool trains(const tm_draft *draft, size_t index) {
    tm_value *mode = tm_draft_input(draft, index);
    int64_t value = 1;
    return mode != NULL &&
           (!tm_value_is_constant(mode) || !tm_constant_int(mode->constant, 0, &value) || value != 0);
}

/* A bit for each element, all set, in words of 32. */
static tm_code bit_mask(tm_draft *draft, tm_value *x) {
    tm_value *size = tm_draft_emit(draft, TM_OP_Size, 1, &x);
    tm_value *more = tm_write_binary(draft, TM_OP_Add, size, tm_draft_constant_int(draft, 31));
    tm_value *words = tm_write_binary(draft, TM_OP_Div, more, tm_draft_constant_int(draft, 32));
    static const int64_t one = 1;
    tm_value *dims = tm_write_listed(draft, TM_OP_Reshape, words, &one, 1);
    tm_value *ones = tm_write_scalar(draft, TAMIS_TYPE_UINT32, 4294967295.0);
    return tm_write_bind(draft, 1, tm_write_binary(draft, TM_OP_Expand, ones, dims));
}

tm_code tm_opset_microsoft_dropout(tm_draft *draft) {
    bool biased = strcmp(draft->op, "BitmaskDropout") != 0, bits = draft->op[1] == 'i' && draft->op[2] == 't';
    TM_TRY(tm_write_need(draft, biased ? 2 : 1));
    if (trains(draft, biased ? 4 : 2))
        return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM,
                             "%s in training mode; export the model for inference", draft->op);
    tm_value *x = draft->inputs.items[0], *residual = biased ? tm_draft_input(draft, 2) : NULL;
    if (biased)
        x = tm_write_binary(draft, TM_OP_Add, x, draft->inputs.items[1]);
    tm_value *y = residual != NULL ? tm_write_binary(draft, TM_OP_Add, x, residual)
                                   : tm_draft_emit(draft, TM_OP_Identity, 1, &x);
    if (tm_draft_has_output(draft, 1) && bits)
        TM_TRY(bit_mask(draft, x));
    if (tm_draft_has_output(draft, 1) && !bits) {
        tm_value *yes = tm_write_scalar(draft, TAMIS_TYPE_BOOL, 1);
        tm_value *dims = tm_draft_emit(draft, TM_OP_Shape, 1, &x);
        TM_TRY(tm_write_bind(draft, 1, tm_write_binary(draft, TM_OP_Expand, yes, dims)));
    }
    return tm_write_bind(draft, 0, y);
}

/* No element of any input is NaN (unless isinf_only) or infinite (unless isnan_only). */
tm_code tm_opset_is_all_finite(tm_draft *draft) {
    bool nan = tm_draft_int(draft, "isinf_only", 0) == 0,
         infinite = tm_draft_int(draft, "isnan_only", 0) == 0;
    if (!nan && !infinite)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "isinf_only and isnan_only exclude each other");
    TM_TRY(tm_write_need(draft, draft->inputs.count));
    tm_value *any = NULL;
    for (size_t i = 0; i < draft->inputs.count; i++) {
        tm_value *x = draft->inputs.items[i], *odd = NULL;
        if (nan)
            odd = tm_draft_emit(draft, TM_OP_IsNaN, 1, &x);
        if (infinite) {
            tm_value *found = tm_draft_emit(draft, TM_OP_IsInf, 1, &x);
            odd = odd == NULL ? found : tm_write_binary(draft, TM_OP_Or, odd, found);
        }
        tm_node *reduce = tm_draft_emit_node(draft, TM_OP_ReduceMax, 1, &odd);
        tm_node_set_int(reduce, "keepdims", 0);
        odd = tm_draft_add_output(draft, reduce);
        any = any == NULL ? odd : tm_write_binary(draft, TM_OP_Or, any, odd);
    }
    return tm_write_bind(draft, 0, tm_draft_emit(draft, TM_OP_Not, 1, &any));
}
