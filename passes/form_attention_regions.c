/* SPDX-License-Identifier: Apache-2.0
 *
 * form_attention_regions.c: Attention nodes whose form the tile loop covers become attention regions.
 *
 * Covered: f32, head sizes known and up to 256, no cache operands, no soft cap, one output, a mask that is
 * bool or f32 and whose dims are those of the scores or 1. All others keep the library kernel, which does
 * every form.
 *
 * A constant mask that hides exactly the keys behind each query says what is_causal says, for which tiles of
 * keys are left out without a look at it; one of nothing but zeros says nothing:
 *
 *     %y = Attention(%q, %k, %v, [[0, -inf], [0, 0]])   ->   %y = Attention(%q, %k, %v) {is_causal = 1}
 *
 * Each query sees at least its own key, beside which a key with -1e4 or less weighs nothing.
 */
#include "passes/passes.h"
#include "passes/region_build.h"

#include <math.h>

#define LARGEST_HEAD 256
#define LEAST_FILL 1e4

static bool heads(const tm_node *node, const tm_value *value, const char *attribute, int64_t *out_heads,
                  int64_t *out_size) {
    if (value->type != TAMIS_TYPE_FLOAT || (value->rank != 3 && value->rank != 4))
        return false;
    tm_dim last = value->dims[value->rank - 1];
    if (last->kind != TM_DIM_CONST)
        return false;
    if (value->rank == 4) {
        if (value->dims[1]->kind != TM_DIM_CONST)
            return false;
        *out_heads = value->dims[1]->constant;
        *out_size = last->constant;
    } else {
        *out_heads = tm_node_int(node, attribute);
        if (*out_heads < 1 || last->constant % *out_heads != 0)
            return false;
        *out_size = last->constant / *out_heads;
    }
    return *out_heads >= 1 && *out_size >= 1 && *out_size <= LARGEST_HEAD;
}

static bool mask_fits(const tm_value *mask, const tm_value *query, const tm_value *key, int64_t head_count) {
    if (mask->type != TAMIS_TYPE_BOOL && mask->type != TAMIS_TYPE_FLOAT)
        return false;
    tm_dim scores[4] = {query->dims[0], NULL, query->dims[query->rank - 2], key->dims[key->rank - 2]};
    if (mask->rank < 2 || mask->rank > 4 || tm_dim_is(mask->dims[mask->rank - 1], 1))
        return false;
    for (int i = 0; i < mask->rank; i++) {
        int axis = 4 - mask->rank + i;
        tm_dim dim = mask->dims[i];
        bool same = axis == 1 ? tm_dim_is(dim, head_count) : dim == scores[axis];
        if (!same && !tm_dim_is(dim, 1))
            return false;
    }
    return true;
}

static bool is_candidate(const tm_node *node) {
    if (node->op != TM_OP_Attention || node->input_count < 3)
        return false;
    for (int i = 4; i < node->input_count; i++)
        if (node->inputs[i] != NULL)
            return false;
    for (int i = 1; i < node->output_count; i++)
        if (node->outputs[i] != NULL)
            return false;
    double softcap = tm_node_float(node, "softcap");
    if (!(isnan(softcap) || softcap == 0) || tm_node_has_attribute(node, "softmax_precision"))
        return false;
    const tm_value *q = node->inputs[0], *k = node->inputs[1], *v = node->inputs[2];
    int64_t q_heads, k_heads, v_heads, size, k_size, v_size;
    if (!heads(node, q, "q_num_heads", &q_heads, &size) ||
        !heads(node, k, "kv_num_heads", &k_heads, &k_size) ||
        !heads(node, v, "kv_num_heads", &v_heads, &v_size))
        return false;
    if (q->rank != k->rank || k->rank != v->rank || size != k_size || k_heads != v_heads ||
        q_heads % k_heads != 0)
        return false;
    if (q->dims[0] != k->dims[0] || k->dims[0] != v->dims[0] || k->dims[k->rank - 2] != v->dims[v->rank - 2])
        return false;
    const tm_value *mask = node->input_count > 3 ? node->inputs[3] : NULL;
    return mask == NULL || mask_fits(mask, q, k, q_heads);
}

/* What a mask does, for all batches and heads. */
typedef enum mask_kind { MASK_ANY, MASK_NOTHING, MASK_CAUSAL } mask_kind;

static mask_kind classify(const tm_value *mask, bool strict) {
    if (mask->constant == NULL || tm_dim_is(mask->dims[mask->rank - 2], 1))
        return MASK_ANY;
    int64_t rows = mask->dims[mask->rank - 2]->constant, keys = mask->dims[mask->rank - 1]->constant;
    int64_t count = tm_constant_count(mask->constant), hidden = 0, behind = 0;
    double fill = strict ? -INFINITY : -LEAST_FILL;
    for (int64_t i = 0; i < count; i++) {
        double x;
        if (mask->type == TAMIS_TYPE_BOOL)
            x = ((const uint8_t *)mask->constant->data)[i] != 0 ? 0 : -INFINITY;
        else if (!tm_constant_double(mask->constant, i, &x))
            return MASK_ANY;
        bool is_behind = i % keys > i / keys % rows;
        if (x != 0 && !(is_behind && x <= fill))
            return MASK_ANY;
        behind += is_behind;
        hidden += x != 0;
    }
    return hidden == 0 ? MASK_NOTHING : hidden == behind ? MASK_CAUSAL : MASK_ANY;
}

static void replace_mask(tm_node *node, bool strict) {
    const tm_value *mask = node->input_count > 3 ? node->inputs[3] : NULL;
    mask_kind kind = mask != NULL ? classify(mask, strict) : MASK_ANY;
    if (kind == MASK_ANY)
        return;
    tm_node_set_input(node, 3, NULL);
    if (kind == MASK_CAUSAL)
        tm_node_set_int(node, "is_causal", 1);
}

static tm_code form(tm_pass_context *context, tm_node *node, tm_node **out_region) {
    replace_mask(node, context->options->strict_math);
    return tm_region_build(context->model, "attention", &node, 1, out_region);
}

tm_code tm_pass_form_attention_regions(tm_pass_context *context) {
    return tm_region_form_each(context, context->model->main, is_candidate, form);
}
