/* SPDX-License-Identifier: Apache-2.0
 *
 * drop_quantizers.c: with --integers=float, values are not rounded.
 *
 *     DQ(Q(%x, s, z), s, z)             ->  %x
 *     DQ(Q(%x: from Conv, s, 0), s, 0)  ->  Clip(%x, 0, 255 * s)     where the quantiser was the activation
 *     DQ(Transpose(%b: u8))             ->  Transpose(DQ(%b)), where it meets the quantiser
 *
 * and what DynamicQuantizeLinear and DequantizeLinear make of %x is %x.
 *
 * Quantisers take out a Relu or Clip where the one behind it cuts off the same: where the range of a pair
 * starts at zero, and its operand may be less, the bounds stay. Other ranges come of samples, and nothing is
 * lost without them. Pairs go when the passes before have found attention and norms around them.
 *
 * Not bit-exact: this is the model before it was quantised, but for its weights.
 */
#include "ir/infer.h"
#include "passes/match.h"
#include "passes/pair.h"
#include "passes/quantized.h"
#include "passes/rewrite.h"

#define DEEPEST 16

static tm_value *number(const tm_node *before, tamis_type type, double value) {
    return tm_value_create_constant(before->graph, NULL,
                                    tm_constant_create_scalar(before->graph->model->arena, type, value));
}

static tm_code drop_pair(tm_pass_context *context, tm_node *back, tm_value *real) {
    const tm_node *quantizer = back->inputs[0]->producer;
    double high;
    bool bounded = tm_pair_cuts(back->outputs[0], &high);
    if (!tm_type_is_integer(quantizer->outputs[0]->type) || !tm_quantized_same(quantizer, back))
        return TM_OK;
    if (!bounded && !tm_rewrite_can_replace(back->outputs[0], real))
        return TM_OK;
    if (!tm_pass_allow(context))
        return TM_OK;
    if (bounded) {
        tm_value *inputs[3] = {real, number(back, real->type, 0), number(back, real->type, high)};
        TM_TRY(tm_match_make(back, TM_OP_Clip, 3, inputs, &real));
    }
    tm_rewrite_replace(back->outputs[0], real);
    return TM_OK;
}

static tm_code take(tm_pass_context *context, tm_node *back, int depth);

/* Behind something that moves integers: it moves floats. */
static tm_code step_over(tm_pass_context *context, tm_node *back, int depth) {
    const tm_value *moved = back->inputs[0];
    tm_node *mover = moved->producer;
    if (mover == NULL || mover->graph != back->graph || !tm_quantized_same(back, back) ||
        !(tm_quantized_is_move(mover) || (mover->op == TM_OP_MaxPool && mover->output_count == 1)) ||
        !tm_pass_allow(context))
        return TM_OK;
    tm_value **inputs = TM_NEW_ARRAY(context->model->arena, tm_value *, mover->input_count);
    for (int i = 0; i < mover->input_count; i++) {
        inputs[i] = mover->inputs[i];
        if (i < tm_quantized_moved_inputs(mover))
            TM_TRY(tm_rewrite_copy_over(back, back, &inputs[i]));
    }
    tm_node *copy = tm_rewrite_copy(back->graph, back, mover, mover->input_count, inputs);
    tm_value *result = NULL;
    for (int i = 0; i < mover->output_count; i++) {
        tm_value *output = tm_node_add_output(copy, NULL);
        if (mover->outputs[i] == NULL)
            continue;
        tm_value_set_tensor(output, back->outputs[0]->type, mover->outputs[i]->rank, mover->outputs[i]->dims);
        result = mover->outputs[i] == moved ? output : result;
    }
    TM_TRY(tm_infer_node(context->model, copy));
    tm_rewrite_replace(back->outputs[0], result);
    tm_node_remove(back);
    for (int i = 0; i < tm_quantized_moved_inputs(copy); i++)
        TM_TRY(take(context, copy->inputs[i]->producer, depth + 1));
    return TM_OK;
}

/* Of a quantiser that finds its scale, whose range covers all that there is. */
static tm_value *before_dynamic(const tm_node *back) {
    const tm_node *node = back->inputs[0]->producer;
    return node != NULL && node->op == TM_OP_DynamicQuantizeLinear && back->inputs[0] == node->outputs[0] &&
                   back->inputs[1] == node->outputs[1] && tm_infer_input(back, 2) == node->outputs[2]
               ? node->inputs[0]
               : NULL;
}

static tm_code take(tm_pass_context *context, tm_node *back, int depth) {
    tm_value *real = tm_pair_before(back->outputs[0]), *dynamic = before_dynamic(back);
    if (real != NULL)
        return drop_pair(context, back, real);
    if (dynamic != NULL && tm_rewrite_can_replace(back->outputs[0], dynamic) && tm_pass_allow(context))
        tm_rewrite_replace(back->outputs[0], dynamic);
    if (dynamic != NULL)
        return TM_OK;
    return depth < DEEPEST ? step_over(context, back, depth) : TM_OK;
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    if (!context->options->without_integers || node->op != TM_OP_DequantizeLinear ||
        node->inputs[0]->constant != NULL || tm_value_unused(node->outputs[0]))
        return TM_OK;
    return take(context, node, 0);
}

tm_code tm_pass_drop_quantizers(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
