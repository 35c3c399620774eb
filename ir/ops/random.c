/* SPDX-License-Identifier: Apache-2.0
 *
 * random.c: inference of the random ops. Their values are drawn at run time and never folded; only
 * type and dims are known: from the attributes (RandomNormal, RandomUniform), from the input (...Like,
 * Bernoulli), or one row of samples for each row of probabilities (Multinomial).
 */
#include "ir/infer.h"

static tm_code draw_type(tm_node *node, tamis_type otherwise, tamis_type *out_type) {
    int64_t type = tm_node_int(node, "dtype");
    if (type == TM_NO_DEFAULT)
        type = otherwise;
    if (type <= TAMIS_TYPE_UNDEFINED || type >= TAMIS_TYPE_COUNT)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "dtype is no element type");
    *out_type = (tamis_type)type;
    return TM_OK;
}

static tm_code from_attributes(tm_infer_context *context, tm_node *node) {
    tamis_type type;
    tm_dim dims[TAMIS_MAX_RANK];
    const tm_attribute *shape = tm_node_attribute(node, "shape");
    TM_TRY(draw_type(node, TAMIS_TYPE_FLOAT, &type));
    if (!shape->present || shape->count > TAMIS_MAX_RANK)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "attribute shape is missing or too long");
    for (int64_t i = 0; i < shape->count; i++) {
        if (shape->ints[i] < 0)
            return tm_infer_fail(node, TM_E_ATTRIBUTE, "attribute shape has a negative dim");
        dims[i] = tm_infer_const(context, shape->ints[i]);
    }
    tm_infer_set(node, 0, type, (int)shape->count, dims);
    return TM_OK;
}

tm_code tm_infer_random(tm_infer_context *context, tm_node *node) {
    tamis_type type;
    if (node->op == TM_OP_RandomNormal || node->op == TM_OP_RandomUniform)
        return from_attributes(context, node);
    TM_TRY(tm_infer_need(node, 0, node->op == TM_OP_Multinomial ? 2 : -1));
    tm_value *x = tm_infer_input(node, 0);
    TM_TRY(draw_type(node, x->type, &type));
    if (node->op == TM_OP_Multinomial) {
        int64_t samples = tm_node_int(node, "sample_size");
        if (samples < 0)
            return tm_infer_fail(node, TM_E_ATTRIBUTE, "sample_size is negative");
        tm_dim dims[2] = {x->dims[0], tm_infer_const(context, samples)};
        tm_infer_set(node, 0, type, 2, dims);
        return TM_OK;
    }
    tm_infer_set_like(node, 0, type, x);
    return TM_OK;
}
