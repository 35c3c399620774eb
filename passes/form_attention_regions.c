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
 *
 * Where Q, K and V are pairs of quantisers of bytes, attention reads the bytes and computes in integers,
 * unless
 * --math=strict: then the region, of kind attention_bytes, takes the DequantizeLinear in. They are signed
 * there, so that the products that make them are alike. Heads are whole words of four bytes, up to 128 bytes.
 * A single query, as the step of a decoder has it, waits for memory and leaves lanes empty: that is float32,
 * and as anywhere else where pairs are of no use they are not applied.
 */
#include "ir/infer.h"
#include "passes/match.h"
#include "passes/match_attention.h"
#include "passes/pair.h"
#include "passes/passes.h"
#include "passes/region_build.h"

#include <math.h>

#define LARGEST_HEAD 256
#define LARGEST_OF_BYTES 128 /* whose buffers stay below 32 KiB of stack on all levels */
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
    if (node->op != TM_OP_Attention || !tm_attention_is_plain(node))
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

/* ---- bytes ---- */

/* Lengths that differ are those of a decoder, whose steps have one query. */
static bool may_be_one_query(const tm_value *q, const tm_value *k) {
    tm_dim queries = q->dims[q->rank - 2];
    return tm_dim_is(queries, 1) || (!tm_dim_is_constant(queries) && queries != k->dims[k->rank - 2]);
}

static bool computes_in_bytes(const tm_node *node) {
    int64_t count, size, value_size;
    for (int i = 0; i < 3; i++)
        if (!tm_pair_is_of_bytes(node->inputs[i]))
            return false;
    return heads(node, node->inputs[0], "q_num_heads", &count, &size) && size % 4 == 0 &&
           size <= LARGEST_OF_BYTES && heads(node, node->inputs[2], "kv_num_heads", &count, &value_size) &&
           value_size <= LARGEST_OF_BYTES && !may_be_one_query(node->inputs[0], node->inputs[1]);
}

/* Removes what nobody reads any more. */
static void remove_unused(tm_value *value) {
    while (value->producer != NULL && tm_value_unused(value)) {
        tm_node *node = value->producer;
        if (node->op != TM_OP_DequantizeLinear && node->op != TM_OP_QuantizeLinear)
            return;
        value = node->inputs[0];
        tm_node_remove(node);
    }
}

static void drop_pairs(tm_node *node) {
    for (int i = 0; i < 3; i++) {
        tm_value *pair = node->inputs[i], *real = tm_pair_before(pair);
        if (real == NULL)
            continue;
        tm_node_set_input(node, i, real);
        remove_unused(pair);
    }
}

static tm_value *own_number(const tm_node *node, tamis_type type, double number) {
    tm_graph *graph = node->graph;
    return tm_value_create_constant(graph, NULL,
                                    tm_constant_create_scalar(graph->model->arena, type, number));
}

/* A quantiser and a DequantizeLinear of the attention's own, of signed bytes: the same grid with its zero
 * point moved. Their parameters are values of their own too: whether those of two layers are equal by chance
 * must not make two regions of them. */
static tm_code widen(tm_node *attention, int i, tm_node **out) {
    tm_value *pair = attention->inputs[i], *bytes = pair->producer->inputs[0];
    const tm_node *quantizer = bytes->producer;
    const tm_value *zero_point = tm_infer_input(quantizer, 2);
    double zero = 0, scale = 1;
    if (zero_point != NULL)
        (void)tm_constant_double(zero_point->constant, 0, &zero);
    zero -= bytes->type == TAMIS_TYPE_UINT8 ? 128 : 0;
    (void)tm_constant_double(quantizer->inputs[1]->constant, 0, &scale);
    tm_value *inputs[3] = {quantizer->inputs[0], own_number(attention, quantizer->inputs[1]->type, scale),
                           own_number(attention, TAMIS_TYPE_INT8, zero)};
    tm_node *before = quantizer->graph == attention->graph ? quantizer->next : attention;
    tm_node *copy =
        tm_node_create(attention->graph, before, TM_OP_QuantizeLinear, quantizer->name, 3, inputs);
    inputs[0] = tm_node_add_output(copy, NULL);
    TM_TRY(tm_infer_node(attention->graph->model, copy));
    *out =
        tm_node_create(attention->graph, attention, TM_OP_DequantizeLinear, pair->producer->name, 3, inputs);
    tm_value *value = tm_node_add_output(*out, NULL);
    tm_value_set_tensor(value, pair->type, pair->rank, pair->dims);
    tm_node_set_input(attention, i, value);
    remove_unused(pair);
    return TM_OK;
}

static tm_code form_bytes(tm_pass_context *context, tm_node *node, tm_node **out_region) {
    tm_node *nodes[4] = {NULL, NULL, NULL, node};
    for (int i = 0; i < 3; i++)
        TM_TRY(widen(node, i, &nodes[i]));
    return tm_region_build(context->model, "attention_bytes", nodes, 4, out_region);
}

static tm_code form(tm_pass_context *context, tm_node *node, tm_node **out_region) {
    bool strict = context->options->strict_math;
    replace_mask(node, strict);
    if (!strict && computes_in_bytes(node))
        return form_bytes(context, node, out_region);
    if (!strict)
        drop_pairs(node);
    return tm_region_build(context->model, "attention", &node, 1, out_region);
}

tm_code tm_pass_form_attention_regions(tm_pass_context *context) {
    return tm_region_form_each(context, context->model->main, is_candidate, form);
}
