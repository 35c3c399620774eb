/* SPDX-License-Identifier: Apache-2.0
 *
 * region_coarse.c: is a value of a region wanted to the precision of a byte only?
 *
 *     %g = Gelu(%x)    %m = Mul(%g, 40)    %q: u8 = QuantizeLinear(%m, 1)        %g is, %m is
 *
 * A byte has 255 steps, so that an error of 2^-12 of a value is a sixteenth of a step at most, whatever the
 * scale, which need not be known. It is still that behind operators that scale or bound, each of which may
 * add what it rounds; not behind a sum, whose operands may cancel. Functions whose results are such values
 * are made by shorter polynomials (runtime/math/coarse_f32.inc). Where the result leaves the region, its
 * readers are asked.
 *
 * A function of what the region has quantised is wanted no better: half a step of its operand moves it by
 * more.
 */
#include "codegen/llvm/region.h"

#define FARTHEST 6 /* operators between the value and its quantiser */

static bool is_byte(const tm_value *value) {
    return value->type == TAMIS_TYPE_UINT8 || value->type == TAMIS_TYPE_INT8;
}

static bool is_coarse(const tm_node *region, const tm_value *value, int depth);

/* Is the operand of the node wanted so, which reads it? */
static bool reads_coarsely(const tm_node *region, const tm_node *node, const tm_value *value, int depth) {
    switch (node->op) {
    case TM_OP_QuantizeLinear:
    case TM_OP_DynamicQuantizeLinear:
        return node->inputs[0] == value && is_byte(node->outputs[0]);
    case TM_OP_DynamicScale:
        return true;
    case TM_OP_Mul:
    case TM_OP_Neg:
    case TM_OP_Abs:
    case TM_OP_Relu:
    case TM_OP_LeakyRelu:
    case TM_OP_Clip:
    case TM_OP_Max:
    case TM_OP_Min:
    case TM_OP_ReduceMax:
    case TM_OP_ReduceMin:
    case TM_OP_Identity:
    case TM_OP_Transpose:
    case TM_OP_Reshape:
        return is_coarse(region, node->outputs[0], depth + 1);
    case TM_OP_Div:
        return node->inputs[0] == value && node->inputs[1] != value &&
               is_coarse(region, node->outputs[0], depth + 1);
    default:
        return false;
    }
}

/* Is what the region `node` makes of its input wanted so? */
static bool region_reads_coarsely(const tm_node *node, const tm_value *value, int depth) {
    const tm_graph *body = tm_node_graph(node, "body");
    for (int i = 0; i < node->input_count; i++)
        if (node->inputs[i] == value && !is_coarse(node, body->inputs.items[i], depth + 1))
            return false;
    return true;
}

/* `region` is the one whose body has the value; NULL: it is of a graph. */
static bool is_coarse(const tm_node *region, const tm_value *value, int depth) {
    if (value == NULL || depth > FARTHEST || value->uses.count == 0)
        return false;
    for (size_t i = 0; i < value->uses.count; i++) {
        const tm_use *use = &value->uses.items[i];
        const tm_node *node = use->node;
        bool coarse = false;
        if (node != NULL && node->op == TM_OP_Region)
            coarse = region_reads_coarsely(node, value, depth);
        else if (node != NULL)
            coarse = reads_coarsely(region, node, value, depth);
        else if (region != NULL && use->graph == tm_node_graph(region, "body"))
            coarse = is_coarse(NULL, region->outputs[use->index], depth + 1);
        if (!coarse)
            return false;
    }
    return true;
}

/* Does the node make a byte in memory of a byte in memory? Such a table is exact: QLinearSigmoid is one. */
static bool is_table(const tm_node *region, const tm_node *node) {
    const tm_node *before = node->inputs[0]->producer, *after = tm_value_single_user(node->outputs[0]);
    if (before == NULL || before->op != TM_OP_DequantizeLinear || before->inputs[0]->producer != NULL ||
        after == NULL || after->op != TM_OP_QuantizeLinear)
        return false;
    const tm_graph *body = tm_node_graph(region, "body");
    for (size_t i = 0; i < body->outputs.count; i++)
        if (body->outputs.items[i] == after->outputs[0])
            return true;
    return false;
}

/* Was the value rounded to a byte's steps in this body? */
static bool was_quantized(const tm_value *value) {
    const tm_node *back = value->producer;
    const tm_node *quantizer =
        back != NULL && back->op == TM_OP_DequantizeLinear ? back->inputs[0]->producer : NULL;
    return quantizer != NULL && quantizer->op == TM_OP_QuantizeLinear && is_byte(quantizer->outputs[0]);
}

bool tm_region_is_coarse(const tm_node *region, const tm_node *node) {
    bool function = node->op == TM_OP_Gelu || node->op == TM_OP_Swish || node->op == TM_OP_Sigmoid ||
                    node->op == TM_OP_Tanh || node->op == TM_OP_Exp;
    return function && !is_table(region, node) &&
           (was_quantized(node->inputs[0]) || is_coarse(region, node->outputs[0], 0));
}
