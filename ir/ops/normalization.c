/* SPDX-License-Identifier: Apache-2.0
 *
 * Inference of normalisations and softmaxes. The output is as the input; BatchNormalization and
 * LayerNormalization also give statistics. Parameters have one element for each channel (dim 1), or
 * broadcast to the dims that are normalised together.
 */
#include "ir/infer.h"

static const tamis_type float_types[] = {TAMIS_TYPE_FLOAT, TAMIS_TYPE_DOUBLE, TAMIS_TYPE_FLOAT16,
                                         TAMIS_TYPE_BFLOAT16, 0};

tm_code tm_infer_batch_normalization(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    tm_value *x = tm_infer_input(node, 0);
    TM_TRY(tm_infer_need_type(node, 0, float_types));
    tm_dim channels = x->rank > 1 ? x->dims[1] : tm_infer_const(context, 1);
    for (int i = 1; i < 5; i++) {
        TM_TRY(tm_infer_need(node, i, 1));
        TM_TRY(tm_infer_need_type(node, i, float_types));
        TM_TRY(tm_infer_equal(context, node, tm_infer_input(node, i)->dims[0], channels,
                              "channels and their parameters"));
    }
    tm_infer_set_like(node, 0, x->type, x);
    tm_infer_set(node, 1, tm_infer_input(node, 3)->type, 1, &channels);
    tm_infer_set(node, 2, tm_infer_input(node, 4)->type, 1, &channels);
    return TM_OK;
}

tm_code tm_infer_layer_normalization(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need(node, 1, -1));
    TM_TRY(tm_infer_need_type(node, 0, float_types));
    TM_TRY(tm_infer_same_type(node, 0, 1));
    tm_value *x = tm_infer_input(node, 0);
    int axis;
    TM_TRY(tm_infer_axis(node, tm_node_int(node, "axis"), x->rank, &axis));
    for (int i = 1; i < 3; i++) {
        tm_value *parameter = tm_infer_input(node, i);
        if (parameter == NULL)
            continue;
        TM_TRY(tm_infer_need(node, i, -1));
        TM_TRY(tm_infer_same_type(node, 0, i));
        if (parameter->rank > x->rank)
            return tm_infer_fail(node, TM_E_SHAPE, "scale or bias has more dims than the input");
        for (int d = 0; d < parameter->rank; d++) {
            tm_dim have = parameter->dims[parameter->rank - 1 - d], whole = x->dims[x->rank - 1 - d];
            tm_dim one = tm_dim_equal(context->dims, have, tm_dim_constant(context->dims, 1));
            TM_TRY(tm_infer_equal(context, node, tm_dim_select(context->dims, one, whole, have), whole,
                                  "dims of scale or bias"));
        }
    }
    tamis_type stash = (tamis_type)tm_node_int(node, "stash_type");
    if (stash != TAMIS_TYPE_FLOAT && stash != TAMIS_TYPE_BFLOAT16 && stash != TAMIS_TYPE_FLOAT16 &&
        stash != TAMIS_TYPE_DOUBLE)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "stash_type is not a float type");
    tm_dim dims[TAMIS_MAX_RANK];
    for (int d = 0; d < x->rank; d++)
        dims[d] = d < axis ? x->dims[d] : tm_infer_const(context, 1);
    tm_infer_set_like(node, 0, x->type, x);
    tm_infer_set(node, 1, stash, x->rank, dims);
    tm_infer_set(node, 2, stash, x->rank, dims);
    return TM_OK;
}

tm_code tm_infer_channel_normalization(tm_infer_context *context, tm_node *node) {
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(node, 0, float_types));
    tm_value *x = tm_infer_input(node, 0);
    if (x->rank < 2)
        return tm_infer_fail(node, TM_E_SHAPE, "the input has %d dims; samples and channels are needed",
                             x->rank);
    const char *counted = node->op == TM_OP_GroupNormalization ? "num_groups"
                          : node->op == TM_OP_LRN              ? "size"
                                                               : NULL;
    if (counted != NULL && tm_node_int(node, counted) < 1)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "%s must be given and positive", counted);
    for (int i = 1; i < 3 && node->op != TM_OP_LRN; i++) {
        TM_TRY(tm_infer_need(node, i, 1));
        TM_TRY(tm_infer_same_type(node, 0, i));
        TM_TRY(tm_infer_equal(context, node, tm_infer_input(node, i)->dims[0], x->dims[1],
                              "channels and their parameters"));
    }
    tm_infer_set_like(node, 0, x->type, x);
    return TM_OK;
}

tm_code tm_infer_along_axis(tm_infer_context *context, tm_node *node) {
    (void)context;
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(node, 0, float_types));
    tm_value *x = tm_infer_input(node, 0);
    int axis;
    if (node->op == TM_OP_MeanVarianceNormalization) {
        const tm_attribute *axes = tm_node_attribute(node, "axes");
        if (!axes->present && x->rank < 4)
            return tm_infer_fail(node, TM_E_SHAPE, "the input has %d dims; axes 0, 2 and 3 are meant",
                                 x->rank);
        for (int64_t i = 0; axes->present && i < axes->count; i++)
            TM_TRY(tm_infer_axis(node, axes->ints[i], x->rank, &axis));
    } else if (x->rank > 0 || node->op == TM_OP_LpNormalization) {
        TM_TRY(tm_infer_axis(node, tm_node_int(node, "axis"), x->rank, &axis));
    }
    if (node->op == TM_OP_LpNormalization && tm_node_int(node, "p") != 1 && tm_node_int(node, "p") != 2)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "p must be 1 or 2");
    tm_infer_set_like(node, 0, x->type, x);
    return TM_OK;
}
