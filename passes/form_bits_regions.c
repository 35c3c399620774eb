/* SPDX-License-Identifier: Apache-2.0
 *
 * form_bits_regions.c: products by packed weights with the elementwise nodes after them.
 *
 *     MatMulNBits(x, W, s, z, _, bias), Gelu  ->  %d = Digits(x)
 *                                                 Region "bits" (x, W, bias, %d); W is packed when it is
 * written
 *
 * W, its scales and its zero points become one constant (ir/bits.h), from which the loops unpack in
 * registers. %d is read where a CPU multiplies bytes, x everywhere else; products of one x share it. A bias
 * is an Add of the chain. All zero points being one number, as those of weights that are quantised about
 * zero, none are stored.
 */
#include "passes/passes.h"
#include "passes/region_build.h"

#include "ir/bits.h"
#include "ir/infer.h"

#define MOST_NODES 24

static bool is_candidate(const tm_node *node) {
    if (node->op != TM_OP_MatMulNBits || node->inputs[0]->rank < 2 || tm_value_is_constant(node->inputs[0]))
        return false;
    const tm_value *b = node->inputs[1], *zero = node->input_count > 3 ? node->inputs[3] : NULL;
    return tm_value_is_constant(b) && b->constant->bits == NULL && tm_value_is_constant(node->inputs[2]) &&
           (zero == NULL || tm_value_is_constant(zero)) &&
           tm_bits_can_pack(b->constant->dims[1], tm_node_int(node, "block_size"));
}

/* Are all elements one number? */
static bool is_uniform(const tm_constant *zero, int64_t *out_number) {
    int64_t first = 0, other = 0, count = tm_constant_count(zero);
    if (count == 0 || !tm_constant_int(zero, 0, &first))
        return false;
    for (int64_t i = 1; i < count; i++)
        if (!tm_constant_int(zero, i, &other) || other != first)
            return false;
    *out_number = first;
    return true;
}

static tm_value *packed_copy(const tm_node *node) {
    const tm_value *weights = node->inputs[1], *zero = node->input_count > 3 ? node->inputs[3] : NULL;
    struct tm_bits *bits = TM_NEW(node->graph->model->arena, struct tm_bits);
    int64_t number = 0;
    bool uniform = zero == NULL || is_uniform(zero->constant, &number);
    int half = tm_type_is_signed(weights->type) ? 1 << (tm_type_bits(weights->type) - 1) : 0;
    *bits = (struct tm_bits){.scale = node->inputs[2]->constant,
                             .zero = uniform ? NULL : zero->constant,
                             .block = tm_node_int(node, "block_size"),
                             .zero_point = uniform ? (int)number + half : 0};
    tm_constant packed = *weights->constant;
    packed.panel = TM_BITS_PANEL;
    packed.stored = weights->type;
    packed.bits = bits;
    return tm_region_packed(node->graph, weights->name, &packed);
}

/* The digits of x for its packed weights, once for all products with such ones.
 * They are made right behind x. */
static tm_code digits(tm_node *product, tm_value **out_digits) {
    tm_value *x = product->inputs[0];
    const tm_constant *weights = product->inputs[1]->constant;
    int64_t step = tm_bits_step(weights->dims[1], weights->bits->block);
    int64_t centre = tm_bits_centre(weights->bits, tm_type_bits(weights->type));
    tm_graph *graph = product->graph;
    for (size_t i = 0; i < x->uses.count; i++) {
        tm_node *node = x->uses.items[i].node;
        if (node != NULL && node->op == TM_OP_Digits && node->graph == graph &&
            tm_node_int(node, "step") == step && tm_node_int(node, "centre") == centre) {
            *out_digits = node->outputs[0];
            return TM_OK;
        }
    }
    bool here = x->producer != NULL && x->producer->graph == graph;
    tm_node *node =
        tm_node_create(graph, here ? x->producer->next : graph->first, TM_OP_Digits, product->name, 1, &x);
    tm_node_set_int(node, "centre", centre);
    tm_node_set_int(node, "step", step);
    *out_digits = tm_node_add_output(node, NULL);
    return tm_infer_node(graph->model, node);
}

/* The bias becomes an Add behind the product. */
static tm_code split_bias(tm_node *product) {
    tm_value *bias = product->input_count > 5 ? product->inputs[5] : NULL, *y = product->outputs[0];
    if (bias == NULL)
        return TM_OK;
    tm_model *model = product->graph->model;
    tm_value *sum = tm_value_create(product->graph, NULL);
    tm_value_set_tensor(sum, y->type, y->rank, y->dims);
    tm_value *inputs[2] = {sum, bias};
    tm_node *add = tm_node_create(product->graph, product->next, TM_OP_Add, product->name, 2, inputs);
    tm_node_set_output(add, 0, y);
    tm_node_set_output(product, 0, sum);
    tm_node_trim_inputs(product, product->inputs[3] != NULL ? 4 : 3);
    TM_TRY(tm_infer_node(model, product));
    return tm_infer_node(model, add);
}

static tm_code form(tm_pass_context *context, tm_node *product, tm_node **out_region) {
    tm_value *shared = NULL;
    tm_node *nodes[MOST_NODES] = {product};
    TM_TRY(split_bias(product));
    tm_node_set_input(product, 1, packed_copy(product));
    TM_TRY(digits(product, &shared));
    int count = tm_region_epilogue(nodes, 1, MOST_NODES);
    TM_TRY(tm_region_build(context->model, "bits", nodes, count, out_region));
    tm_graph *body = tm_node_graph(*out_region, "body");
    tm_value *inner = tm_value_create(body, NULL);
    tm_value_set_tensor(inner, shared->type, shared->rank, shared->dims);
    tm_graph_add_input(body, inner);
    tm_node_set_input(*out_region, (*out_region)->input_count, shared);
    return TM_OK;
}

tm_code tm_pass_form_bits_regions(tm_pass_context *context) {
    return tm_region_form_each(context, context->model->main, is_candidate, form);
}
