/* SPDX-License-Identifier: Apache-2.0
 *
 * move_quantizers.c: values are quantised before they are moved.
 *
 *     Q(Transpose(%x), s, z)              ->  Transpose(Q(%x, s, z))
 *     Q(Concat(%x, %y), s, z)             ->  Concat(Q(%x, s, z), Q(%y, s, z))
 *     Q(MaxPool(%x), s, z)                ->  MaxPool(Q(%x, s, z))          a positive scale keeps the order
 *     Q(Split(%x)), all alike             ->  Split(Q(%x))
 *
 * What makes %x stores bytes itself then, and a quarter of the bytes is moved. Views between go along, but a
 * view alone stays: a product packs what it quantises, and a quantiser before the view would be a pass of its
 * own. Slice and Gather stay too, for they may take one row of many. Other readers of a value that is moved
 * would need both, and keep it as it is. Bit-exact.
 */
#include "ir/infer.h"
#include "passes/match.h"
#include "passes/quantized.h"
#include "passes/rewrite.h"

#define MOST_VIEWS 4

/* To bytes, by constants: what is computed may not be there where the mover stands. */
static bool is_quantizer(const tm_node *node) {
    const tm_value *zero = tm_infer_input(node, 2);
    return node->op == TM_OP_QuantizeLinear && tm_quantized_same(node, node) &&
           node->inputs[1]->constant != NULL && (zero == NULL || zero->constant != NULL) &&
           tm_type_bits(node->outputs[0]->type) == 8 && tm_node_int(node, "precision") == 0;
}

static bool keeps_order(const tm_node *quantizer) {
    double scale = 0;
    return tm_match_number(quantizer->inputs[1], &scale) && scale > 0;
}

/* A node that moves elements and no view, or a pool of maxima.
 * Those that leave most of them out come first. */
static bool moves(const tm_node *node, const tm_node *quantizer) {
    switch (node->op) {
    case TM_OP_MaxPool:
        return (node->output_count == 1 || node->outputs[1] == NULL) && keeps_order(quantizer);
    case TM_OP_Slice:
    case TM_OP_Gather:
    case TM_OP_GatherElements:
    case TM_OP_GatherND:
        return false;
    default:
        return tm_quantized_is_move(node) && !tm_op_has(node->op, TM_VIEW);
    }
}

/* Do all results go into quantisers alike, or is there one? */
static bool all_quantized(const tm_node *mover, const tm_node *quantizer) {
    for (int i = 0; i < mover->output_count; i++) {
        const tm_value *value = mover->outputs[i];
        if (value == NULL)
            continue;
        const tm_node *reader = tm_value_single_user(value);
        if (value->symbols.count > 0 || tm_rewrite_is_output(value) || reader == NULL ||
            reader->graph != mover->graph || !is_quantizer(reader) || !tm_quantized_same(reader, quantizer) ||
            reader->outputs[0]->type != quantizer->outputs[0]->type)
            return false;
    }
    return true;
}

/* The quantiser steps over the node that makes its operand. */
static tm_code step_over(tm_node *mover, tm_node *quantizer) {
    int parts = tm_quantized_moved_inputs(mover);
    for (int i = 0; i < parts; i++) {
        tm_value *value = mover->inputs[i];
        TM_TRY(tm_rewrite_copy_over(mover, quantizer, &value));
        tm_node_set_input(mover, i, value);
    }
    for (int i = 0; i < mover->output_count; i++) {
        if (mover->outputs[i] == NULL)
            continue;
        tm_node *reader = tm_value_single_user(mover->outputs[i]);
        tm_value *result = reader->outputs[0];
        tm_node_set_output(reader, 0, tm_value_create(mover->graph, NULL));
        tm_node_remove(reader);
        tm_node_set_output(mover, i, result);
    }
    return tm_infer_node(mover->graph->model, mover);
}

/* The node behind whose result the quantiser may step before: a view, or one that moves; NULL: neither. */
static tm_node *node_before(const tm_node *quantizer) {
    tm_node *node = quantizer->inputs[0]->producer;
    bool view = node != NULL && tm_op_has(node->op, TM_VIEW);
    if (node == NULL || node->graph != quantizer->graph || !(view || moves(node, quantizer)) ||
        !all_quantized(node, quantizer))
        return NULL;
    for (int i = 0; i < tm_quantized_moved_inputs(node); i++)
        if (node->inputs[i]->constant != NULL || tm_value_single_user(node->inputs[i]) != node)
            return NULL;
    return node;
}

/* Is there something that moves behind the quantiser, or behind the views there? */
static bool has_mover(const tm_node *quantizer) {
    const tm_value *value = quantizer->inputs[0];
    for (int i = 0; i < MOST_VIEWS; i++) {
        const tm_node *node = value->producer;
        if (node == NULL || node->graph != quantizer->graph)
            return false;
        if (moves(node, quantizer))
            return true;
        if (!tm_op_has(node->op, TM_VIEW) || tm_value_single_user(node->inputs[0]) != node)
            return false;
        value = node->inputs[0];
    }
    return false;
}

static tm_code rewrite(tm_pass_context *context, tm_node *quantizer) {
    while (is_quantizer(quantizer) && has_mover(quantizer)) {
        tm_node *node = node_before(quantizer);
        if (node == NULL || !tm_pass_allow(context))
            return TM_OK;
        TM_TRY(step_over(node, quantizer));
        int parts = tm_quantized_moved_inputs(node);
        for (int i = 1; i < parts; i++)
            TM_TRY(rewrite(context, node->inputs[i]->producer));
        quantizer = node->inputs[0]->producer;
    }
    return TM_OK;
}

tm_code tm_pass_move_quantizers(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
