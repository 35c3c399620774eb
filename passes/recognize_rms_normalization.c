/* SPDX-License-Identifier: Apache-2.0
 *
 * recognize_rms_normalization.c: RMSNormalization spelled out.
 *
 *     y = x / sqrt(mean(x*x) + eps) * scale
 *
 * over the last dims of float32 or float64, the root as Sqrt, Pow or Reciprocal, the scale on the quotient or
 * on the inverse root. It runs after layer norms have been found, whose core has the same form. As there, a
 * scale that is not a row stays a node of its own, and the normalisation gets ones.
 *
 * Not bit-exact: the kernel sums squares in another order.
 */
#include "passes/match.h"

typedef struct rms_normalization {
    tm_value *x, *scale; /* scale NULL: none */
    int axis;
    double epsilon;
    tm_node *root;
} rms_normalization;

/* factor = 1 / sqrt(mean(x*x) + eps), or that times a row. */
static bool match_factor(tm_match *match, tm_value *factor, const tm_value *x, tm_match_deviation *deviation,
                         tm_value **out_scale) {
    if (tm_match_root_mean_square(match, factor, true, deviation))
        return deviation->squared == x;
    tm_node *mul = tm_match_op(match, factor, TM_OP_Mul);
    for (int i = 0; mul != NULL && i < 2; i++)
        if (tm_match_root_mean_square(match, mul->inputs[i], true, deviation) && deviation->squared == x &&
            tm_match_is_row(mul->inputs[1 - i], x, deviation->axis)) {
            *out_scale = mul->inputs[1 - i];
            return true;
        }
    return false;
}

static bool match_quotient(tm_match *match, tm_node *node, rms_normalization *out) {
    tm_match_deviation deviation = {0};
    if (node->op == TM_OP_Div) {
        if (!tm_match_root_mean_square(match, node->inputs[1], false, &deviation) ||
            deviation.squared != node->inputs[0])
            return false;
        out->x = node->inputs[0];
    }
    for (int i = 0; out->x == NULL && i < 2; i++) {
        match->count = 0;
        if (match_factor(match, node->inputs[1 - i], node->inputs[i], &deviation, &out->scale))
            out->x = node->inputs[i];
    }
    out->axis = deviation.axis;
    out->epsilon = deviation.epsilon;
    out->root = node;
    return out->x != NULL;
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    tm_match match = {.graph = node->graph};
    rms_normalization found = {0};
    if ((node->op != TM_OP_Div && node->op != TM_OP_Mul) || !tm_match_is_real(node->outputs[0]) ||
        !match_quotient(&match, node, &found))
        return TM_OK;
    tm_node *next =
        found.scale == NULL ? tm_match_next_by_row(node, TM_OP_Mul, found.x, found.axis, &found.scale) : NULL;
    if (next != NULL) {
        tm_match_add(&match, node);
        found.root = next;
    }
    tm_node *root = found.root;
    if (!tm_match_closed(&match, root))
        return TM_OK;
    tm_value *ones = found.scale == NULL ? tm_match_ones(root->graph, found.x, found.axis) : NULL;
    if ((found.scale == NULL && ones == NULL) || !tm_pass_allow(context))
        return TM_OK;
    tm_value *inputs[2] = {found.x, ones};
    if (found.scale != NULL)
        inputs[1] = tm_match_row(root, found.scale, found.x, found.axis);
    tm_node *made = tm_node_create(root->graph, root, TM_OP_RMSNormalization, NULL, 2, inputs);
    tm_node_set_int(made, "axis", found.axis - found.x->rank);
    tm_node_set_float(made, "epsilon", found.epsilon);
    tm_match_replace(root, made);
    return TM_OK;
}

tm_code tm_pass_recognize_rms_normalization(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
