/* SPDX-License-Identifier: Apache-2.0
 *
 * move_dequantizers.c: what moves elements of dequantised values moves their bytes.
 *
 *     Slice(DQ(%q: u8))                 ->  DQ(Slice(%q))
 *     Concat(DQ(%q, s, z), DQ(%r, s, z)) -> DQ(Concat(%q, %r), s, z)
 *     Pad(DQ(%q, s, z)) by zeros        ->  DQ(Pad(%q) by z)
 *     MaxPool(DQ(%q))                   ->  DQ(MaxPool(%q))           a positive scale keeps the order
 *     Q(DQ(%q, s, z), s, z)             ->  %q                        a value on the grid stays there
 *     Shape(DQ(%q))                     ->  Shape(%q)
 *
 * Also Split, Gather, Expand, Tile, DepthToSpace, SpaceToDepth, ReverseSequence and Resize to the nearest. A
 * quarter of the bytes is moved, and a product behind meets the DequantizeLinear that makes it one of bytes.
 * Pairs before transposes and views are the matter of simplify_quantizers. Where Slice, Split or Gather cut
 * heads of attention, a pair DQ(Q(%x)) goes behind them as a whole, since attention looks for pairs around
 * it. A table of bytes whose rows are gathered stays one. Bit-exact.
 */
#include "ir/infer.h"
#include "passes/match.h"
#include "passes/quantized.h"
#include "passes/rewrite.h"

#include <float.h>
#include <string.h>

#define MOST_STEPS 8

static bool is_handled(const tm_node *node) {
    switch (node->op) {
    case TM_OP_Pad:
        return true;
    case TM_OP_MaxPool:
        return node->output_count == 1 || node->outputs[1] == NULL;
    default:
        return tm_quantized_is_move(node);
    }
}

/* Pairs before transposes and views are the matter of simplify_quantizers. */
static bool is_of_pair(const tm_node *mover, const tm_node *back) {
    const tm_node *maker = back->inputs[0]->producer;
    return (mover->op == TM_OP_Transpose || tm_op_has(mover->op, TM_VIEW)) && maker != NULL &&
           maker->op == TM_OP_QuantizeLinear;
}

/* The node that dequantises bytes or 16 bits with one scale and zero point; a constant only for Gather. */
static tm_node *dequantizer_of(const tm_value *value, const tm_node *mover) {
    tm_node *node = value->producer;
    if (node == NULL || node->op != TM_OP_DequantizeLinear || node->graph != mover->graph ||
        !tm_quantized_same(node, node))
        return NULL;
    int bits = tm_type_bits(node->inputs[0]->type);
    bool table = mover->op == TM_OP_Gather && mover->inputs[1]->constant == NULL;
    bool fits = (bits == 8 || bits == 16) && tm_type_is_integer(node->inputs[0]->type);
    return fits && (table || node->inputs[0]->constant == NULL) ? node : NULL;
}

static bool is_positive(const tm_value *scale) {
    double number = 0;
    return tm_match_number(scale, &number) && number > 0;
}

/* Is the padding zeros, or of elements of the data? */
static bool pads_zeros(const tm_node *pad) {
    const tm_value *value = tm_infer_input(pad, 2);
    double number = 0;
    return strcmp(tm_node_string(pad, "mode"), "constant") != 0 || value == NULL ||
           (tm_match_number(value, &number) && number == 0);
}

/* Is it dequantised weights, or floats as they are? */
static bool is_weights(const tm_value *value) {
    const tm_node *node = value->producer;
    for (int i = 0; i < MOST_STEPS && node != NULL; i++) {
        if (node->input_count == 0 || node->inputs[0] == NULL)
            return false;
        if (node->op == TM_OP_DequantizeLinear || tm_quantized_is_move(node))
            value = node->inputs[0];
        else
            return false;
        node = value->producer;
    }
    return value->constant != NULL;
}

/* Does the value go, moved and scaled, into a product with another computed one, as heads do? */
static bool reaches_attention(const tm_value *value, int steps) {
    for (size_t i = 0; i < value->uses.count && steps > 0; i++) {
        const tm_node *user = value->uses.items[i].node;
        if (user == NULL)
            continue;
        if (user->op == TM_OP_MatMul) {
            if (!is_weights(user->inputs[0]) && !is_weights(user->inputs[1]))
                return true;
            continue;
        }
        bool passes = user->op == TM_OP_QuantizeLinear || user->op == TM_OP_DequantizeLinear ||
                      user->op == TM_OP_Mul || user->op == TM_OP_Div || tm_quantized_is_move(user);
        for (int k = 0; passes && k < user->output_count; k++)
            if (user->outputs[k] != NULL && reaches_attention(user->outputs[k], steps - 1))
                return true;
    }
    return false;
}

/* The pair's first node, when the pair goes behind as a whole:
 * all that the second makes is cut into heads. */
static tm_node *pair_of(const tm_node *back, tm_op op) {
    tm_node *quantizer = back->inputs[0]->producer;
    if ((op != TM_OP_Slice && op != TM_OP_Split && op != TM_OP_Gather) || quantizer == NULL ||
        quantizer->op != TM_OP_QuantizeLinear || quantizer->graph != back->graph ||
        tm_value_single_user(quantizer->outputs[0]) != back || !tm_quantized_same(quantizer, back))
        return NULL;
    const tm_value *value = back->outputs[0];
    for (size_t i = 0; i < value->uses.count; i++) {
        const tm_node *user = value->uses.items[i].node;
        if (user == NULL || user->op != op || value->uses.items[i].index != 0)
            return NULL;
    }
    return reaches_attention(value, MOST_STEPS) ? quantizer : NULL;
}

/* What the mover is of the integers (or of what is quantised): its first inputs replaced. */
static tm_code moved(tm_node *mover, tm_value *const *sources, tm_value *fill, tm_node **out) {
    int parts = tm_quantized_moved_inputs(mover), count = mover->input_count;
    if (fill != NULL && count < 3)
        count = 3;
    tm_value **inputs = TM_NEW_ARRAY(mover->graph->model->arena, tm_value *, count);
    for (int i = 0; i < count; i++)
        inputs[i] = i < parts ? sources[i] : i < mover->input_count ? mover->inputs[i] : NULL;
    if (fill != NULL)
        inputs[2] = fill;
    *out = tm_rewrite_copy(mover->graph, mover, mover, count, inputs);
    (*out)->file_index = mover->file_index;
    (*out)->file_path = mover->file_path;
    for (int i = 0; i < mover->output_count; i++) {
        const tm_value *result = mover->outputs[i];
        if (result == NULL) {
            tm_node_add_omitted_output(*out);
            continue;
        }
        tm_value *value = tm_node_add_output(*out, NULL); /* a view may know its dims from nowhere else */
        tm_value_set_tensor(value, sources[0]->type, result->rank, result->dims);
    }
    return tm_infer_node(mover->graph->model, *out);
}

static tm_code rewrite_move(tm_pass_context *context, tm_node *mover) {
    const tm_node *back = dequantizer_of(mover->inputs[0], mover);
    int parts = tm_quantized_moved_inputs(mover);
    if (back == NULL || is_of_pair(mover, back) ||
        (mover->op == TM_OP_MaxPool && !is_positive(back->inputs[1])) ||
        (mover->op == TM_OP_Pad && !pads_zeros(mover)))
        return TM_OK;
    tm_value **sources = TM_NEW_ARRAY(context->model->arena, tm_value *, parts);
    const tm_node *quantizer = parts == 1 ? pair_of(back, mover->op) : NULL;
    sources[0] = quantizer != NULL ? quantizer->inputs[0] : back->inputs[0];
    for (int i = 1; i < parts; i++) {
        const tm_node *other = dequantizer_of(mover->inputs[i], mover);
        if (other == NULL || !tm_quantized_same(back, other) ||
            other->inputs[0]->type != sources[0]->type)
            return TM_OK;
        sources[i] = other->inputs[0];
    }
    for (int i = 0; i < mover->output_count; i++)
        if (mover->outputs[i] != NULL &&
            (tm_rewrite_is_output(mover->outputs[i]) || mover->outputs[i]->symbols.count > 0))
            return TM_OK;
    if (!tm_pass_allow(context))
        return TM_OK;
    tm_value *fill = mover->op == TM_OP_Pad ? tm_infer_input(back, 2) : NULL;
    if (fill != NULL)
        fill = tm_match_view(mover, fill, 0, NULL);
    else if (mover->op == TM_OP_Pad)
        fill = tm_value_create_constant(
            mover->graph, NULL, tm_constant_create_scalar(context->model->arena, sources[0]->type, 0));
    tm_node *copy;
    TM_TRY(moved(mover, sources, fill, &copy));
    for (int i = 0; i < mover->output_count; i++) {
        if (mover->outputs[i] == NULL)
            continue;
        tm_value *value = copy->outputs[i];
        if (quantizer != NULL)
            TM_TRY(tm_rewrite_copy_over(mover, quantizer, &value));
        TM_TRY(tm_rewrite_copy_over(mover, back, &value));
        tm_rewrite_replace(mover->outputs[i], value);
    }
    tm_node_remove(mover);
    return TM_OK;
}

/* Integers of 16 bits at most, times a scale that is no subnormal, divided by it again, are themselves. */
static tm_code drop_round_trip(tm_pass_context *context, const tm_node *quantizer) {
    const tm_node *back = quantizer->inputs[0]->producer;
    double scale = 0;
    if (back == NULL || back->op != TM_OP_DequantizeLinear || !tm_quantized_same(quantizer, back) ||
        back->inputs[0]->type != quantizer->outputs[0]->type ||
        !tm_type_is_integer(quantizer->outputs[0]->type) || !tm_match_number(back->inputs[1], &scale) ||
        back->inputs[1]->type != TAMIS_TYPE_FLOAT || scale < FLT_MIN || scale > FLT_MAX / 131072 ||
        !tm_rewrite_can_replace(quantizer->outputs[0], back->inputs[0]) || !tm_pass_allow(context))
        return TM_OK;
    tm_rewrite_replace(quantizer->outputs[0], back->inputs[0]);
    return TM_OK;
}

/* The dims of floats that nothing else may need. */
static tm_code ask_integers(tm_pass_context *context, tm_node *shape) {
    const tm_node *back = shape->inputs[0]->producer;
    if (back != NULL && back->op == TM_OP_DequantizeLinear && tm_pass_allow(context))
        tm_node_set_input(shape, 0, back->inputs[0]);
    return TM_OK;
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    if (context->options->without_integers) /* drop_quantizers moves them the other way */
        return TM_OK;
    if (node->op == TM_OP_Shape || node->op == TM_OP_Size)
        return ask_integers(context, node);
    if (node->op == TM_OP_QuantizeLinear)
        return drop_round_trip(context, node);
    return is_handled(node) ? rewrite_move(context, node) : TM_OK;
}

tm_code tm_pass_move_dequantizers(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
