/* SPDX-License-Identifier: Apache-2.0
 *
 * flex_attention.c: FlexAttention, attention whose scores and probabilities go through graphs of the model's.
 *
 *     Y = FlexAttention(Q, K, V) {score_mod(s) -> t, prob_mod(p) -> q}
 *
 *     s = Cast(MatMul(Q * c, Transpose(K * c)))      c = sqrt(scale), the scale 1/sqrt(head size) unless it
 * is given t = score_mod(s)   p = Softmax(t)   q = prob_mod(p) Y = Cast(MatMul(q, Cast(V)))
 *
 * These are the steps of the standard's own function, with the bodies' nodes put in their place, so that
 * they are fused with the softmax around them like any others. K and V are repeated where fewer heads have
 * them than Q. Without graphs and conversions it is the Attention of the standard domain, which has a loop
 * of its own.
 */
#include "frontend/opset/write_out.h"
#include "frontend/opset/opset.h"

#include <string.h>

static tm_value *cast(tm_draft *draft, tm_value *x, tamis_type from, tamis_type to) {
    return from == to ? x : tm_write_cast(draft, x, to);
}

/* K or V with as many heads as Q: each is shared by a run of Q's heads. */
static tm_value *with_heads_of(tm_draft *draft, tm_value *x, tm_value *q) {
    tm_value *batch = tm_write_dims(draft, q, 0, 1), *rest = tm_write_dims(draft, x, 2, 2);
    tm_value *heads = tm_write_dims(draft, q, 1, 1), *own = tm_write_dims(draft, x, 1, 1);
    tm_value *share = tm_write_binary(draft, TM_OP_Div, heads, own);
    tm_value *repeated = tm_write_concat(draft, 0, 4, (tm_value *[]){batch, own, share, rest});
    tm_value *wide = tm_write_unsqueeze(draft, x, 1, (int64_t[]){2});
    wide = tm_write_binary(draft, TM_OP_Expand, wide, repeated);
    return tm_write_reshape_to(draft, wide,
                                 tm_write_concat(draft, 0, 3, (tm_value *[]){batch, heads, rest}));
}

/* The square root of the scale: both operands take it, as in the standard's function. */
static tm_value *root_of_scale(tm_draft *draft, tm_value *q, tamis_type type) {
    tm_arena *arena = draft->importer->arena;
    tm_value *scale;
    if (tm_draft_has(draft, "scale")) {
        scale = tm_draft_constant(
            draft, tm_constant_create_scalar(arena, TAMIS_TYPE_FLOAT, tm_draft_float(draft, "scale", 1)));
    } else {
        tm_value *scalar = tm_draft_constant_ints(draft, NULL, 0);
        tm_value *size = tm_write_binary(draft, TM_OP_Reshape, tm_write_dims(draft, q, 3, 1), scalar);
        tm_value *root =
            tm_write_unary(draft, TM_OP_Sqrt, cast(draft, size, TAMIS_TYPE_INT64, TAMIS_TYPE_FLOAT));
        tm_value *one = tm_draft_constant(draft, tm_constant_create_scalar(arena, TAMIS_TYPE_FLOAT, 1));
        scale = tm_write_binary(draft, TM_OP_Div, one, root);
    }
    return cast(draft, tm_write_unary(draft, TM_OP_Sqrt, scale), TAMIS_TYPE_FLOAT, type);
}

/* Puts the nodes of a modifier here. */
static tm_code modify(tm_draft *draft, const char *name, tm_value **value) {
    const tm_draft_attribute *attribute = tm_draft_find(draft, name);
    if (attribute == NULL)
        return TM_OK;
    if (attribute->kind != TM_ATTRIBUTE_GRAPH || attribute->graph->n_input != 1 ||
        attribute->graph->n_output != 1)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "%s is not a graph with one input and one output", name);
    const char *path = tm_arena_format(draft->importer->arena, "%s/FlexAttention_%lld.%s", draft->scope->path,
                                       (long long)draft->place.node_index, name);
    return tm_inline_body(draft->importer, attribute->scope, draft->scope->graph, attribute->graph, path,
                          &draft->place, value, value);
}

static bool is_float(tamis_type type) {
    return type == TAMIS_TYPE_FLOAT || type == TAMIS_TYPE_DOUBLE || type == TAMIS_TYPE_FLOAT16 ||
           type == TAMIS_TYPE_BFLOAT16;
}

/* What the expansion depends on: rank 4 everywhere, and the element types. */
static tm_code check(tm_draft *draft, tamis_type *out_type, tamis_type *out_precision) {
    for (size_t i = 0; i < 3; i++) {
        int rank;
        if (tm_draft_input(draft, i) == NULL)
            return tm_draft_fail(draft, TM_E_ARITY, "queries, keys and values are needed");
        TM_TRY(tm_draft_rank(draft, draft->inputs.items[i], &rank));
        if (rank != 4)
            return tm_draft_fail(draft, TM_E_SHAPE, "input %zu has rank %d, expected 4", i, rank);
    }
    *out_type = tm_draft_type(draft, draft->inputs.items[0]);
    if (!is_float(*out_type))
        return tm_draft_fail(draft, TM_E_TYPE, "the queries have no float type that is known here");
    tamis_type usual = *out_type == TAMIS_TYPE_DOUBLE ? TAMIS_TYPE_DOUBLE : TAMIS_TYPE_FLOAT;
    *out_precision = (tamis_type)tm_draft_int(draft, "softmax_precision", (int64_t)usual);
    if (!is_float(*out_precision))
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "softmax_precision is no float type");
    return TM_OK;
}

tm_code tm_opset_flex_attention(tm_draft *draft) {
    tamis_type type, precision;
    TM_TRY(check(draft, &type, &precision));
    if (type == precision && !tm_draft_has(draft, "score_mod") && !tm_draft_has(draft, "prob_mod")) {
        draft->domain = "";
        draft->op = "Attention";
        return TM_OK;
    }
    tm_value *q = draft->inputs.items[0];
    tm_value *k = with_heads_of(draft, draft->inputs.items[1], q);
    tm_value *v = with_heads_of(draft, draft->inputs.items[2], q);
    tm_value *root = root_of_scale(draft, q, type);
    tm_value *scaled = tm_write_binary(draft, TM_OP_Mul, k, root);
    tm_value *keys = tm_write_transpose(draft, scaled, 4, (int64_t[]){0, 1, 3, 2});
    tm_value *scores =
        tm_write_binary(draft, TM_OP_MatMul, tm_write_binary(draft, TM_OP_Mul, q, root), keys);
    scores = cast(draft, scores, type, precision);
    TM_TRY(modify(draft, "score_mod", &scores));
    tm_value *chances = tm_write_unary(draft, TM_OP_Softmax, scores);
    TM_TRY(modify(draft, "prob_mod", &chances));
    tm_value *operands[2] = {chances, cast(draft, v, type, precision)};
    tm_node *last;
    if (type == precision)
        return tm_opset_emit_output(draft, 0, TM_OP_MatMul, 2, operands, &last);
    tm_value *product = tm_draft_emit(draft, TM_OP_MatMul, 2, operands);
    TM_TRY(tm_opset_emit_output(draft, 0, TM_OP_Cast, 1, &product, &last));
    tm_node_set_int(last, "to", (int64_t)type);
    return TM_OK;
}
