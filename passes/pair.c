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
#include "passes/rewrite.h"

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
