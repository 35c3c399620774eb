/* SPDX-License-Identifier: Apache-2.0
 *
 * recognize_layer_normalization.c: LayerNormalization spelled out, in both ways that exporters have.
 *
 *     centred:    d = x - mean(x);  y = d / sqrt(mean(d*d) + eps) * scale + bias
 *     by factor:  s = scale / sqrt(mean(d*d) + eps);  y = x*s + (bias - mean(x)*s)
 *
 * over the last dims of float32 or float64. Square, root and quotient come in many forms (match.c).
 * Scale and bias are taken along when they are rows: one element for each element of the normalised dims,
 * constant or not. A factor that varies over other dims, as in adaptive layer norms, stays a node of its own
 * behind a normalisation with a scale of ones.
 *
 * Not bit-exact: the kernel takes the mean of squares in another order and multiplies by the inverse root.
 */
#include "passes/match.h"

typedef struct layer_normalization {
    tm_value *x, *scale, *bias; /* scale, bias: NULL if there is none */
    int axis;
    double epsilon;
    tm_node *root;
} layer_normalization;

/* d = x - mean(x) over the dims from `axis` on. */
static bool match_centred(tm_match *match, const tm_value *difference, int axis, tm_value **out_x,
                          tm_value **out_mean) {
    int mean_axis;
    tm_value *averaged;
    tm_node *sub = tm_match_op(match, difference, TM_OP_Sub);
    if (sub == NULL || !tm_match_mean(match, sub->inputs[1], &averaged, &mean_axis) ||
        averaged != sub->inputs[0] || mean_axis != axis)
        return false;
    *out_x = averaged;
    *out_mean = sub->inputs[1];
    return true;
}

/* node = d / sqrt(...) or d * (1 / sqrt(...)), and the scale and bias that follow. */
static bool match_quotient(tm_match *match, tm_node *node, layer_normalization *out) {
    tm_match_deviation deviation = {0};
    tm_value *difference = NULL, *mean;
    bool quotient = node->op == TM_OP_Div;
    for (int i = 0; difference == NULL && i < (quotient ? 1 : 2); i++)
        if (tm_match_root_mean_square(match, node->inputs[1 - i], !quotient, &deviation))
            difference = node->inputs[i];
    if (difference == NULL || deviation.squared != difference ||
        !match_centred(match, difference, deviation.axis, &out->x, &mean))
        return false;
    out->axis = deviation.axis;
    out->epsilon = deviation.epsilon;
    out->root = node;
    tm_node *next = tm_match_next_by_row(out->root, TM_OP_Mul, out->x, out->axis, &out->scale);
    if (next != NULL) {
        tm_match_add(match, out->root);
        out->root = next;
    }
    next = tm_match_next_by_row(out->root, TM_OP_Add, out->x, out->axis, &out->bias);
    if (next != NULL) {
        tm_match_add(match, out->root);
        out->root = next;
    }
    return true;
}

/* factor = 1 / sqrt(...), or that times a row. */
static bool match_factor(tm_match *match, tm_value *factor, tm_match_deviation *deviation,
                         tm_value **out_scale) {
    *out_scale = NULL;
    if (tm_match_root_mean_square(match, factor, true, deviation))
        return true;
    tm_node *mul = tm_match_op(match, factor, TM_OP_Mul);
    for (int i = 0; mul != NULL && i < 2; i++)
        if (tm_match_root_mean_square(match, mul->inputs[i], true, deviation)) {
            *out_scale = mul->inputs[1 - i];
            return tm_match_is_row(*out_scale, deviation->squared, deviation->axis);
        }
    return false;
}

/* scaled = x * factor, shift = bias - mean * factor, or the shift is subtracted: mean * factor. */
static bool match_terms(tm_match *match, const tm_value *scaled, const tm_value *shift, bool added,
                        layer_normalization *out) {
    tm_match_deviation deviation = {0};
    tm_node *product = tm_match_op(match, scaled, TM_OP_Mul), *sub = NULL;
    if (added && (sub = tm_match_op(match, shift, TM_OP_Sub)) == NULL)
        return false;
    tm_node *moved = tm_match_op(match, added ? sub->inputs[1] : shift, TM_OP_Mul);
    if (product == NULL || moved == NULL)
        return false;
    int saved = match->count;
    for (int i = 0; i < 4; i++) {
        match->count = saved;
        tm_value *factor = product->inputs[i & 1], *mean;
        if (factor != moved->inputs[i >> 1] || !match_factor(match, factor, &deviation, &out->scale) ||
            !match_centred(match, deviation.squared, deviation.axis, &out->x, &mean))
            continue;
        out->axis = deviation.axis;
        out->epsilon = deviation.epsilon;
        out->bias = added ? sub->inputs[0] : NULL;
        return out->x == product->inputs[1 - (i & 1)] && mean == moved->inputs[1 - (i >> 1)] &&
               (out->bias == NULL || tm_match_is_row(out->bias, out->x, out->axis));
    }
    return false;
}

static bool match_by_factor(tm_match *match, tm_node *node, layer_normalization *out) {
    out->root = node;
    if (node->op == TM_OP_Sub)
        return match_terms(match, node->inputs[0], node->inputs[1], false, out);
    for (int i = 0; i < 2; i++) {
        match->count = 0;
        if (match_terms(match, node->inputs[i], node->inputs[1 - i], true, out))
            return true;
    }
    return false;
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    tm_match match = {.graph = node->graph};
    layer_normalization found = {0};
    bool quotient = node->op == TM_OP_Div || node->op == TM_OP_Mul;
    if (!quotient && node->op != TM_OP_Add && node->op != TM_OP_Sub)
        return TM_OK;
    if (!tm_match_is_real(node->outputs[0]) ||
        !(quotient ? match_quotient(&match, node, &found) : match_by_factor(&match, node, &found)) ||
        !tm_match_closed(&match, found.root))
        return TM_OK;
    tm_node *root = found.root;
    tm_value *ones = found.scale == NULL ? tm_match_ones(root->graph, found.x, found.axis) : NULL;
    if ((found.scale == NULL && ones == NULL) || !tm_pass_allow(context))
        return TM_OK;
    tm_value *inputs[3] = {found.x, ones, NULL};
    if (found.scale != NULL)
        inputs[1] = tm_match_row(root, found.scale, found.x, found.axis);
    if (found.bias != NULL)
        inputs[2] = tm_match_row(root, found.bias, found.x, found.axis);
    tm_node *made =
        tm_node_create(root->graph, root, TM_OP_LayerNormalization, NULL, found.bias != NULL ? 3 : 2, inputs);
    tm_node_set_int(made, "axis", found.axis - found.x->rank);
    tm_node_set_float(made, "epsilon", found.epsilon);
    tm_match_replace(root, made);
    return TM_OK;
}

tm_code tm_pass_recognize_layer_normalization(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
