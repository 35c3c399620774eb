/* SPDX-License-Identifier: Apache-2.0
 *
 * pair.c: pairs of QuantizeLinear and DequantizeLinear: DQ(Q(%x, %scale, %zero), %scale, %zero).
 *
 * The two must have the same parameters, as numbers or as values: only then does a pair no more than round
 * and cut off.
 */
#include "passes/pair.h"

#include "ir/infer.h"
#include "passes/match.h"
#include "passes/quantized.h"
#include "passes/rewrite.h"

#define MOST_VISITS 64 /* of values, in search of what is never negative */

/* A constant of one element, of any type. */
static bool number_of(const tm_value *value, double *out_number) {
    return tm_value_is_constant(value) && tm_constant_count(value->constant) == 1 &&
           tm_constant_double(value->constant, 0, out_number);
}

static bool same_parameter(const tm_node *a, const tm_node *b, int i) {
    const tm_value *x = tm_infer_input(a, i), *y = tm_infer_input(b, i);
    double m = 0, n = 0;
    return x == y || (number_of(x, &m) && number_of(y, &n) && m == n);
}

tm_value *tm_pair_before(const tm_value *value) {
    const tm_node *node = value != NULL ? value->producer : NULL;
    if (node == NULL || node->op != TM_OP_DequantizeLinear)
        return NULL;
    const tm_node *quantizer = node->inputs[0]->producer;
    bool pair = quantizer != NULL && quantizer->op == TM_OP_QuantizeLinear &&
                quantizer->inputs[0]->type == value->type && tm_node_int(quantizer, "block_size") == 0 &&
                same_parameter(quantizer, node, 1) && same_parameter(quantizer, node, 2);
    return pair ? quantizer->inputs[0] : NULL;
}

bool tm_pair_is_of_bytes(const tm_value *value) {
    double number;
    if (tm_pair_before(value) == NULL || !tm_match_is_byte(value->producer->inputs[0]))
        return false;
    const tm_node *node = value->producer;
    const tm_value *zero = tm_infer_input(node, 2);
    return tm_match_is_single(node->inputs[1]) && number_of(node->inputs[1], &number) && number > 0 &&
           tm_match_is_single(zero) && (zero == NULL || number_of(zero, &number));
}

static tm_code make_like(tm_node *before, const tm_node *like, tm_value *scale, tm_value *x, tm_value **out) {
    tm_value *inputs[3] = {x, scale, tm_infer_input(like, 2)};
    tm_node *node = tm_rewrite_copy(before->graph, before, like, inputs[2] != NULL ? 3 : 2, inputs);
    *out = tm_node_add_output(node, NULL);
    return tm_infer_node(before->graph->model, node);
}

tm_value *tm_pair_inside(tm_value *value) {
    tm_value *real = tm_pair_before(value);
    return real != NULL ? real : value;
}

tm_code tm_pair_around(tm_node *before, const tm_value *like, double by, tm_value *x, tm_value **out) {
    tm_graph *graph = before->graph;
    double number;
    *out = x;
    if (tm_pair_before(like) == NULL)
        return TM_OK;
    tm_value *scale = like->producer->inputs[1];
    if (by != 1 && number_of(scale, &number))
        scale = tm_value_create_constant(
            graph, NULL, tm_constant_create_scalar(graph->model->arena, scale->type, number / by));
    TM_TRY(make_like(before, like->producer->inputs[0]->producer, scale, x, out));
    return make_like(before, like->producer, scale, *out, out);
}

/* ---- pairs that took a Relu over ---- */

/* The largest number of a quantiser of whole numbers whose least one is zero; false: it is not. */
static bool starts_at_zero(const tm_node *quantizer, double *out_high) {
    const tm_value *zero = tm_infer_input(quantizer, 2);
    tamis_type type = quantizer->outputs[0]->type;
    int bits = tm_type_bits(type);
    double low = tm_type_is_signed(type) ? -(double)((int64_t)1 << (bits - 1)) : 0, z = 0, scale = 0;
    if (!tm_type_is_integer(type) ||
        (zero != NULL && (zero->constant == NULL || !tm_constant_double(zero->constant, 0, &z))))
        return false;
    *out_high = 0;
    if (z != low || !tm_match_number(quantizer->inputs[1], &scale))
        return false;
    *out_high = (double)(((int64_t)1 << bits) - 1) * scale;
    return true;
}

/* Is it one known number, from `least` on? */
static bool is_number_from(const tm_value *value, double least) {
    double number;
    return tm_match_number(value, &number) && number >= least;
}

/* `visits`: how many values may still be looked at. */
static bool is_never_negative(const tm_value *value, int *visits) {
    double low, high;
    if (is_number_from(value, 0))
        return true;
    const tm_node *node = value->producer;
    if (node == NULL || --*visits < 0)
        return false;
    switch (node->op) {
    case TM_OP_Relu:
    case TM_OP_Softmax:
    case TM_OP_Sigmoid:
    case TM_OP_HardSigmoid:
    case TM_OP_Exp:
    case TM_OP_Sqrt:
    case TM_OP_Abs:
        return true;
    case TM_OP_Clip:
        return tm_infer_input(node, 1) != NULL && tm_match_number(node->inputs[1], &low) && low >= 0 &&
               (tm_infer_input(node, 2) == NULL || (tm_match_number(node->inputs[2], &high) && high >= 0));
    case TM_OP_Pow:
        return tm_match_number(node->inputs[1], &high) && high == 2;
    case TM_OP_DequantizeLinear:
        return tm_pair_before(value) != NULL && (starts_at_zero(node->inputs[0]->producer, &high) ||
                                                 is_never_negative(tm_pair_before(value), visits));
    case TM_OP_Add:
        for (int i = 0; i < 2; i++) {
            const tm_node *other = tm_pair_inside(node->inputs[1 - i])->producer;
            if (is_number_from(node->inputs[i], 1) && other != NULL &&
                (other->op == TM_OP_Erf || other->op == TM_OP_Tanh))
                return true;
        }
        return is_never_negative(node->inputs[0], visits) && is_never_negative(node->inputs[1], visits);
    case TM_OP_Mul:
        return tm_pair_inside(node->inputs[0]) == tm_pair_inside(node->inputs[1]) ||
               (is_never_negative(node->inputs[0], visits) && is_never_negative(node->inputs[1], visits));
    case TM_OP_MaxPool:
    case TM_OP_AveragePool:
    case TM_OP_GlobalAveragePool:
    case TM_OP_GlobalMaxPool:
    case TM_OP_ReduceMean:
    case TM_OP_ReduceMax:
        return is_never_negative(node->inputs[0], visits);
    default:
        break;
    }
    if (!tm_quantized_is_move(node))
        return false;
    for (int i = 0; i < tm_quantized_moved_inputs(node); i++)
        if (!is_never_negative(node->inputs[i], visits))
            return false;
    return true;
}

bool tm_pair_cuts(const tm_value *value, double *out_high) {
    const tm_value *real = tm_pair_before(value);
    int visits = MOST_VISITS;
    return real != NULL && starts_at_zero(value->producer->inputs[0]->producer, out_high) &&
           !is_never_negative(real, &visits);
}
