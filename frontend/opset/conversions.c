/* SPDX-License-Identifier: Apache-2.0
 *
 * conversions.c: element types that a schema allows and the op's kernels do not have, by conversion.
 *
 *     Erf-9(x: i32)                         ->   Cast(Erf(Cast(x) {to: f64})) {to: i32}
 *     RMSNormalization(x: f16, scale: f32)  ->   RMSNormalization(Cast(x) {to: f32}, scale)
 *     QLinearMatMul(a: f8e4m3fn, ..)        ->   QuantizeLinear(MatMul(dequantised a, dequantised b), ..)
 *
 * They are rare, so what counts is that they are right and add nothing to kernels. Where the type is not
 * known yet (in bodies whose inputs declare none) the node stays as it is.
 */
#include "frontend/opset/opset.h"

static tm_value *cast(tm_draft *draft, tm_value *x, tamis_type type) {
    tm_node *node = tm_draft_emit_node(draft, TM_OP_Cast, 1, &x);
    tm_node_set_int(node, "to", type);
    return tm_draft_add_output(draft, node);
}

/* The draft becomes a Cast of `value`. */
static tm_code become_cast(tm_draft *draft, tm_value *value, tamis_type type) {
    tm_draft_clear_attributes(draft);
    tm_draft_set_inputs(draft, 1, &value);
    tm_draft_set_int(draft, "to", type);
    draft->op = "Cast";
    return TM_OK;
}

tm_code tm_opset_erf(tm_draft *draft) {
    tamis_type type = tm_draft_type(draft, draft->inputs.items[0]);
    if (!tm_type_is_integer(type))
        return TM_OK;
    tm_value *wide = cast(draft, draft->inputs.items[0], TAMIS_TYPE_DOUBLE);
    return become_cast(draft, tm_draft_emit(draft, TM_OP_Erf, 1, &wide), type);
}

/* The result has the scale's type; both go to the wider one of the two, at least f32. */
tm_code tm_opset_scaled_normalization(tm_draft *draft) {
    tm_value *x = draft->inputs.items[0], *scale = tm_draft_input(draft, 1);
    if (scale == NULL)
        return TM_OK;
    tamis_type type = tm_draft_type(draft, x), result = tm_draft_type(draft, scale);
    if (type == result || !tm_type_is_float(type) || !tm_type_is_float(result))
        return TM_OK;
    bool wide = type == TAMIS_TYPE_DOUBLE || result == TAMIS_TYPE_DOUBLE;
    tamis_type common = wide ? TAMIS_TYPE_DOUBLE : TAMIS_TYPE_FLOAT;
    tm_node *node = tm_draft_emit_node(draft, TM_OP_RMSNormalization, 2,
                                       (tm_value *[]){cast(draft, x, common), cast(draft, scale, common)});
    tm_node_set_int(node, "axis", tm_draft_int(draft, "axis", -1));
    tm_node_set_float(node, "epsilon", tm_draft_float(draft, "epsilon", 1e-5));
    tm_node_set_int(node, "stash_type", common);
    return become_cast(draft, tm_draft_add_output(draft, node), result);
}

/* ---- QLinearMatMul ---- */

static bool is_float8(tm_draft *draft, size_t index) {
    tm_value *value = tm_draft_input(draft, index);
    tamis_type type = value != NULL ? tm_draft_type(draft, value) : TAMIS_TYPE_UNDEFINED;
    return type >= TAMIS_TYPE_FLOAT8E4M3FN && type <= TAMIS_TYPE_FLOAT8E5M2FNUZ;
}

/* (x - zero) * scale in f32, from inputs index .. index + 2. A list of parameters is one for each row
 * (of A) or column (of B). */
static tm_code dequantised(tm_draft *draft, size_t index, bool rows, tm_value **out_value) {
    tm_value *parts[3];
    int data_rank = 0;
    for (size_t k = 0; k < 3; k++) {
        tm_value *given = draft->inputs.items[index + k];
        int rank;
        TM_TRY(tm_draft_rank(draft, given, &rank));
        data_rank = k == 0 ? rank : data_rank;
        parts[k] = cast(draft, given, TAMIS_TYPE_FLOAT);
        if (k > 0 && rows && rank == 1 && data_rank > 1)
            parts[k] = tm_opset_unsqueeze_after(draft, parts[k], 1, 1);
    }
    tm_value *difference = tm_draft_emit(draft, TM_OP_Sub, 2, (tm_value *[]){parts[0], parts[2]});
    *out_value = tm_draft_emit(draft, TM_OP_Mul, 2, (tm_value *[]){difference, parts[1]});
    return TM_OK;
}

tm_code tm_opset_quantized_matmul(tm_draft *draft) {
    if (!is_float8(draft, 0) && !is_float8(draft, 3) && !is_float8(draft, 7))
        return TM_OK;
    for (size_t i = 0; i < 8; i++)
        if (tm_draft_input(draft, i) == NULL)
            return tm_draft_fail(draft, TM_E_ARITY, "input %zu may not be omitted", i);
    tm_value *a, *b;
    TM_TRY(dequantised(draft, 0, true, &a));
    TM_TRY(dequantised(draft, 3, false, &b));
    tm_value *product = tm_draft_emit(draft, TM_OP_MatMul, 2, (tm_value *[]){a, b});
    tm_value *scale = cast(draft, draft->inputs.items[6], TAMIS_TYPE_FLOAT);
    tm_draft_set_inputs(draft, 3, (tm_value *[]){product, scale, draft->inputs.items[7]});
    draft->op = "QuantizeLinear";
    return TM_OK;
}
