/* SPDX-License-Identifier: Apache-2.0
 *
 * simplify_quantizers.c: pairs of QuantizeLinear and DequantizeLinear stand behind what only moves elements,
 * once.
 *
 *     Transpose(DQ(Q(%x)))            ->  DQ(Q(Transpose(%x)))
 *     Reshape(DQ(%b: u8))             ->  DQ(Reshape(%b))           bytes are moved, not floats
 *     Q(DQ(Q(%x, s, z), s, z), s, z)  ->  Q(%x, s, z)               a value on the grid stays there
 *     Q(Clip(DQ(Q(%x))))              ->  Q(Clip(%x))               with --math=fast, not in written models
 *
 * Exporters put pairs around every operator. Moved behind, a pair meets the next quantiser, and transposes
 * meet the attention or convolution whose heads or channels they move. Parameters are one number for all
 * elements, so that they do not move. Bit-exact but for the last: a value is
 * rounded once where it was rounded twice. The bound, with the quantiser behind it, lets nothing through that
 * the first one would cut off by more than its rounding. Models that are written as ONNX keep the pair:
 * engines take a quantised convolution or product by the pair behind it.
 */
#include "ir/infer.h"
#include "passes/match.h"
#include "passes/rewrite.h"

#include <math.h>

/* A node of this op with one scale and zero point. */
static tm_node *maker(const tm_value *value, tm_op op) {
    tm_node *node = value->producer;
    return node != NULL && node->op == op && tm_match_is_single(node->inputs[1]) &&
                   tm_match_is_single(tm_infer_input(node, 2)) && tm_node_int(node, "block_size") == 0
               ? node
               : NULL;
}

static bool moves(const tm_node *node) {
    return node->op == TM_OP_Transpose || node->op == TM_OP_Reshape || node->op == TM_OP_Squeeze ||
           node->op == TM_OP_Unsqueeze || node->op == TM_OP_Flatten;
}

/* Behind the moving node `mover` comes a copy of `node`, which stood before it and made its operand. */
static tm_code put_behind(tm_node *mover, tm_node *node) {
    tm_value *moved = mover->outputs[0], *inputs[3];
    for (int i = 0; i < node->input_count; i++)
        inputs[i] = node->inputs[i];
    tm_node *copy = tm_rewrite_copy(mover->graph, mover->next, node, node->input_count, inputs);
    tm_value *behind = tm_node_add_output(copy, NULL);
    tm_value_set_tensor(behind, moved->type, moved->rank, moved->dims);
    tm_rewrite_replace(moved, behind);
    tm_node_set_input(mover, 0, node->inputs[0]);
    tm_value *result = tm_value_create(mover->graph, NULL); /* a view may know its dims from nowhere else */
    tm_value_set_tensor(result, node->inputs[0]->type, moved->rank, moved->dims);
    tm_node_set_output(mover, 0, result);
    TM_TRY(tm_infer_node(mover->graph->model, mover));
    tm_node_set_input(copy, 0, mover->outputs[0]);
    return tm_infer_node(mover->graph->model, copy);
}

static tm_code move_behind(tm_pass_context *context, tm_node *mover) {
    tm_node *back = maker(mover->inputs[0], TM_OP_DequantizeLinear);
    if (back == NULL || back->graph != mover->graph || mover->outputs[0] == NULL ||
        tm_value_single_user(back->outputs[0]) != mover || back->inputs[0]->constant != NULL ||
        tm_rewrite_is_output(mover->outputs[0]))
        return TM_OK;
    tm_node *quantizer = maker(back->inputs[0], TM_OP_QuantizeLinear);
    bool pair = quantizer != NULL && quantizer->graph == mover->graph &&
                tm_value_single_user(quantizer->outputs[0]) == back;
    if ((!pair && context->options->without_integers) || !tm_pass_allow(context))
        return TM_OK;
    TM_TRY(put_behind(mover, back));
    return pair ? put_behind(mover, quantizer) : TM_OK;
}

static bool same_number(const tm_value *a, const tm_value *b) {
    double x = 0, y = 0;
    if (a == b)
        return true;
    return a != NULL && b != NULL && a->type == b->type && tm_match_number(a, &x) && tm_match_number(b, &y) &&
           x == y;
}

static tm_code quantize_once(tm_pass_context *context, const tm_node *outer) {
    const tm_node *back = maker(outer->inputs[0], TM_OP_DequantizeLinear);
    const tm_node *inner = back != NULL ? maker(back->inputs[0], TM_OP_QuantizeLinear) : NULL;
    if (inner == NULL || inner->outputs[0]->type != outer->outputs[0]->type ||
        !same_number(inner->inputs[1], outer->inputs[1]) ||
        !same_number(tm_infer_input(inner, 2), tm_infer_input(outer, 2)) ||
        !same_number(back->inputs[1], outer->inputs[1]) ||
        !same_number(tm_infer_input(back, 2), tm_infer_input(outer, 2)) ||
        !tm_rewrite_can_replace(outer->outputs[0], inner->outputs[0]) || !tm_pass_allow(context))
        return TM_OK;
    tm_rewrite_replace(outer->outputs[0], inner->outputs[0]);
    return TM_OK;
}

/* ---- pairs before a bound ---- */

/* What a quantiser can give. Returns whether that is known. */
static bool range_of(const tm_node *quantizer, double *out_low, double *out_high, double *out_step) {
    tamis_type type = quantizer->outputs[0]->type;
    const tm_value *zero = tm_infer_input(quantizer, 2);
    double z = 0, low = type == TAMIS_TYPE_INT8 ? -128 : 0;
    if ((type != TAMIS_TYPE_INT8 && type != TAMIS_TYPE_UINT8) ||
        !tm_match_number(quantizer->inputs[1], out_step) ||
        (zero != NULL && (zero->constant == NULL || !tm_constant_double(zero->constant, 0, &z))))
        return false;
    *out_low = (low - z) * *out_step;
    *out_high = (low + 255 - z) * *out_step;
    return true;
}

/* What a Relu or Clip lets through. */
static bool bounds_of(const tm_node *node, double *out_low, double *out_high) {
    *out_low = node->op == TM_OP_Relu ? 0 : -INFINITY;
    *out_high = INFINITY;
    if (node->op == TM_OP_Relu)
        return true;
    return node->op == TM_OP_Clip &&
           (tm_infer_input(node, 1) == NULL || tm_match_number(node->inputs[1], out_low)) &&
           (tm_infer_input(node, 2) == NULL || tm_match_number(node->inputs[2], out_high));
}

static tm_code skip_pair(tm_pass_context *context, const tm_node *outer) {
    tm_node *bound = outer->inputs[0]->producer;
    double low, high, step, most, least, outer_low, outer_high, outer_step;
    if (context->options->strict_math || context->options->onnx_forms || bound == NULL ||
        !bounds_of(bound, &least, &most) || tm_value_single_user(bound->outputs[0]) != outer)
        return TM_OK;
    const tm_node *back = maker(bound->inputs[0], TM_OP_DequantizeLinear);
    const tm_node *inner = back != NULL ? maker(back->inputs[0], TM_OP_QuantizeLinear) : NULL;
    if (inner == NULL || inner->graph != bound->graph || !same_number(inner->inputs[1], back->inputs[1]) ||
        !same_number(tm_infer_input(inner, 2), tm_infer_input(back, 2)) ||
        !range_of(inner, &low, &high, &step) || !range_of(outer, &outer_low, &outer_high, &outer_step))
        return TM_OK;
    least = least > outer_low ? least : outer_low;
    most = most < outer_high ? most : outer_high;
    if (low > least + step / 2 || high < most - step / 2 || !tm_pass_allow(context))
        return TM_OK;
    tm_node_set_input(bound, 0, inner->inputs[0]);
    return TM_OK;
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    if (moves(node))
        return move_behind(context, node);
    if (node->op == TM_OP_QuantizeLinear && tm_match_is_single(node->inputs[1]) &&
        tm_node_int(node, "block_size") == 0) {
        TM_TRY(skip_pair(context, node));
        return quantize_once(context, node);
    }
    return TM_OK;
}

tm_code tm_pass_simplify_quantizers(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
