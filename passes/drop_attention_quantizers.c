/* SPDX-License-Identifier: Apache-2.0
 *
 * drop_attention_quantizers.c: a softmax and its two products that are no attention work on floats.
 *
 *     %s = MatMul(DQ(Q(%q)), DQ(Q(%k)))                       %s = MatMul(%q, %k)
 *     %p = Softmax(Add(Div(DQ(Q(%s)), 8), %mask))      ->     %p = Softmax(Add(Div(%s, 8), %mask))
 *     %y = MatMul(DQ(Q(%p)), DQ(Q(%v)))                       %y = MatMul(%p, %v)
 *
 * Quantisers put the pair wherever a product has an operand; here both are computed, so that nothing would be
 * packed ahead, and the pairs keep passes from seeing what is between them: recognize_attention, which looks
 * through them, has taken what it could by now, and may take more in the next round. Without them the answer
 * is nearer to the model's before it was quantised. Only around a softmax: elsewhere a quantiser's bounds may
 * be the model's activation.
 *
 * Not bit-exact: what the pairs had rounded is not rounded.
 */
#include "passes/match.h"
#include "passes/pair.h"

#define DEEPEST 8

static bool is_computed_product(const tm_node *node) {
    return node != NULL && node->op == TM_OP_MatMul && node->inputs[0]->constant == NULL &&
           node->inputs[1]->constant == NULL;
}

/* Drops the pairs in front of the node's inputs. Returns whether there were any. */
static bool drop_operands(tm_pass_context *context, tm_node *node) {
    bool found = false;
    for (int i = 0; i < node->input_count; i++) {
        tm_value *real = tm_pair_before(node->inputs[i]);
        if (real == NULL || !tm_pass_allow(context))
            continue;
        tm_node_set_input(node, i, real);
        found = true;
    }
    return found;
}

static bool is_between(tm_op op) {
    return op == TM_OP_Add || op == TM_OP_Sub || op == TM_OP_Mul || op == TM_OP_Div || op == TM_OP_Where;
}

/* Does the value come from a product of two computed matrices? Drops the pairs on the way and in front. */
static bool drop_scores(tm_pass_context *context, tm_node *reader, int input, int depth) {
    const tm_value *value = reader->inputs[input];
    tm_value *real = tm_pair_before(value);
    tm_node *node = real != NULL ? real->producer : value->producer;
    bool found = false;
    if (node == NULL || depth > DEEPEST)
        return false;
    if (is_computed_product(node)) {
        (void)drop_operands(context, node);
        found = true;
    }
    for (int i = 0; is_between(node->op) && i < node->input_count; i++)
        found = drop_scores(context, node, i, depth + 1) || found;
    if (found && real != NULL && tm_pass_allow(context))
        tm_node_set_input(reader, input, real);
    return found;
}

/* Readers of the weights that multiply them by computed values. */
static void drop_weights(tm_pass_context *context, const tm_value *weights) {
    for (size_t i = 0; i < weights->uses.count; i++) {
        tm_node *reader = weights->uses.items[i].node;
        if (reader == NULL || (reader->op != TM_OP_QuantizeLinear && !is_computed_product(reader)))
            continue;
        if (reader->op != TM_OP_QuantizeLinear) {
            (void)drop_operands(context, reader);
            continue;
        }
        const tm_value *bytes = reader->outputs[0];
        for (size_t k = 0; k < bytes->uses.count; k++) {
            const tm_node *back = bytes->uses.items[k].node;
            if (back == NULL || back->op != TM_OP_DequantizeLinear)
                continue;
            tm_node *product = tm_value_single_user(back->outputs[0]);
            if (is_computed_product(product) && drop_operands(context, product)) {
                drop_weights(context, weights); /* the list of uses has changed */
                return;
            }
        }
    }
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    if (node->op != TM_OP_Softmax || context->options->strict_math)
        return TM_OK;
    if (drop_scores(context, node, 0, 0))
        drop_weights(context, node->outputs[0]);
    return TM_OK;
}

tm_code tm_pass_drop_attention_quantizers(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
