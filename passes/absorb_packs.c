/* SPDX-License-Identifier: Apache-2.0
 *
 * absorb_packs.c: a region whose result a product reads stores it as tiles itself.
 *
 *     %y: f32 = Region(..) {kind = "tiles": .., Gelu}
 *     %t: bf16 = Region(%y) {kind = "pack": Cast}
 *  ->
 *     %t: bf16 = Region(..) {kind = "tiles": .., Gelu, Cast}
 *
 * Products, norms, depthwise convolutions, pools and attention on bytes do that; the latter keeps the float
 * output, which nobody else may read, for sums that are not whole yet. When others read %y too, the region
 * has both outputs: a pass over memory less, and half the bytes (a quarter, of quantised values) where only
 * products read the value. Rows of bfloat16 must be whole steps of tiles, since regions store no padding,
 * which might be NaN; bytes times the weights' zeros are zero.
 */
#include "passes/passes.h"
#include "passes/region_build.h"

#include "ir/infer.h"
#include "ir/tiles.h"
#include "passes/rewrite.h"

#include <string.h>

#define MOST_INPUTS 3 /* of a node in a pack */

static bool is_kind(const tm_node *node, const char *kind) {
    return node != NULL && node->op == TM_OP_Region && strcmp(tm_node_string(node, "kind"), kind) == 0;
}

static const tm_node *find_norm(const tm_node *region) {
    const tm_node *node = tm_node_graph(region, "body")->first;
    while (node != NULL && node->op != TM_OP_LayerNormalization && node->op != TM_OP_RMSNormalization &&
           node->op != TM_OP_ReduceMax)
        node = node->next;
    return node;
}

/* Rows of the last dim alone. */
static bool has_single_rows(const tm_node *region, const tm_value *value) {
    const tm_node *norm = find_norm(region);
    if (norm == NULL || norm->op == TM_OP_ReduceMax)
        return norm != NULL && value->output_index == 0;
    int64_t axis = tm_node_int(norm, "axis");
    return axis == -1 || axis == value->rank - 1;
}

/* The body of several products that are done together has the same nodes for each. */
static bool holds_several_products(const tm_node *region) {
    int products = 0;
    for (const tm_node *node = tm_node_graph(region, "body")->first; node != NULL; node = node->next)
        products += tm_op_is_product(node->op);
    return products > 1;
}

/* Attention on bytes, for this reader alone, whose heads are whole vectors of columns on all levels. */
static bool is_attention(const tm_node *maker, const tm_value *value, tamis_type type) {
    if (!is_kind(maker, "attention_bytes") || tm_value_single_user(value) == NULL || value->rank != 3 ||
        type != TAMIS_TYPE_UINT8)
        return false;
    int64_t heads = tm_node_int(tm_node_graph(maker, "body")->last, "q_num_heads");
    return heads > 0 && value->dims[2]->kind == TM_DIM_CONST &&
           value->dims[2]->constant % (heads * TM_TILE_ROWS) == 0;
}

/* May the region store the output as tiles of that type? */
static bool can_store(const tm_node *maker, const tm_value *value, tamis_type type) {
    if (value->rank == 0)
        return false;
    tm_dim depth = value->dims[value->rank - 1];
    bool whole = depth->kind == TM_DIM_CONST && depth->constant % tm_tile_depth(type) == 0;
    bool window = is_kind(maker, "window") && tm_value_single_user(value) != NULL; /* stores one output */
    return (window || is_attention(maker, value, type) ||
            (is_kind(maker, "tiles") && !holds_several_products(maker)) ||
            (is_kind(maker, "row") && has_single_rows(maker, value))) &&
           value->type == TAMIS_TYPE_FLOAT && (whole || type != TAMIS_TYPE_BFLOAT16);
}

/* May the region do without the output in float32? The first output of rows holds the norm's input between
 * walks when that is computed and stored nowhere else. */
static bool can_drop(const tm_node *maker, const tm_value *value) {
    if (tm_value_single_user(value) == NULL || is_kind(maker, "attention_bytes"))
        return false;
    if (is_kind(maker, "tiles") || is_kind(maker, "window") || value->output_index > 0)
        return true;
    if (find_norm(maker)->op == TM_OP_ReduceMax) /* nothing is held between its walks */
        return true;
    const tm_value *input = find_norm(maker)->inputs[0];
    const tm_graph *body = tm_node_graph(maker, "body");
    for (size_t i = 1; i < body->outputs.count; i++)
        if (body->outputs.items[i] == input)
            return true;
    return input->producer == NULL;
}

/* A chain that quantises and dequantises, for readers that want floats. */
static bool is_quantizer(const tm_node *region) {
    if (!is_kind(region, "map"))
        return false;
    const tm_node *node = tm_node_graph(region, "body")->first;
    while (node != NULL && node->op != TM_OP_QuantizeLinear)
        node = node->next;
    return node != NULL && region->output_count == 1;
}

/* Does each node read the one before, and else only constants and numbers from outside? */
static bool is_chain(const tm_node *pack) {
    const tm_graph *body = tm_node_graph(pack, "body");
    const tm_value *value = body->inputs.items[0];
    if (body->first->op == TM_OP_Windows) /* gathers rows, of which there are others than in its input */
        return false;
    for (int i = 1; i < pack->input_count; i++)
        if (!tm_region_is_scalar(pack->inputs[i]))
            return false;
    for (const tm_node *node = body->first; node != NULL; node = node->next) {
        bool reads = false;
        for (int i = 0; i < node->input_count; i++)
            reads = reads || node->inputs[i] == value;
        if (!reads || node->input_count > MOST_INPUTS)
            return false;
        value = node->outputs[0];
    }
    return value == body->outputs.items[0];
}

/* A number that the pack reads becomes an input of the maker, once. */
static tm_value *share_input(tm_node *maker, tm_value *outer) {
    tm_graph *body = tm_node_graph(maker, "body");
    for (int i = 0; i < maker->input_count; i++)
        if (maker->inputs[i] == outer)
            return body->inputs.items[i];
    tm_value *inner = tm_value_create(body, NULL);
    tm_value_set_tensor(inner, outer->type, outer->rank, outer->dims);
    tm_graph_add_input(body, inner);
    tm_node_set_input(maker, maker->input_count, outer);
    return inner;
}

/* Appends what the pack computes to the maker's body, where `value` stands for the pack's input. */
static tm_value *copy_body(tm_node *maker, const tm_node *pack, tm_value *value) {
    tm_graph *body = tm_node_graph(maker, "body");
    const tm_graph *from = tm_node_graph(pack, "body");
    for (const tm_node *node = from->first; node != NULL; node = node->next) {
        tm_value *inputs[MOST_INPUTS];
        for (int i = 0; i < node->input_count; i++) {
            const tm_value *input = node->inputs[i];
            int outer = 0;
            for (size_t k = 1; k < from->inputs.count; k++)
                outer = from->inputs.items[k] == input ? (int)k : outer;
            inputs[i] = input == NULL             ? NULL
                        : input->constant != NULL ? tm_value_create_constant(body, NULL, input->constant)
                        : outer > 0               ? share_input(maker, pack->inputs[outer])
                                                  : value;
        }
        tm_node *copy = tm_node_create(body, NULL, node->op, node->name, node->input_count, inputs);
        for (int i = 0; i < tm_op_get(node->op)->attribute_count; i++)
            copy->attributes[i] = node->attributes[i];
        value = tm_node_add_output(copy, NULL);
        const tm_value *result = node->outputs[0];
        tm_value_set_tensor(value, result->type, result->rank, result->dims);
    }
    return value;
}

static tm_code absorb(tm_model *model, tm_node *pack) {
    tm_value *value = pack->inputs[0], *tiles = pack->outputs[0], *output;
    tm_node *maker = value->producer;
    tm_graph *body = tm_node_graph(maker, "body");
    tm_value *stored = copy_body(maker, pack, body->outputs.items[value->output_index]);
    if (can_drop(maker, value)) {
        tm_graph_set_output(body, value->output_index, stored);
        output = tm_value_create(maker->graph, NULL);
        tm_value_set_tensor(output, tiles->type, value->rank, value->dims);
        int index = value->output_index;
        tm_value_replace(tiles, output);
        tm_node_remove(pack);
        tm_node_set_output(maker, index, output);
        return tm_infer_node(model, maker);
    }
    tm_graph_add_output(body, stored);
    output = tm_node_add_output(maker, NULL);
    tm_value_set_tensor(output, tiles->type, value->rank, value->dims);
    tm_value_replace(tiles, output);
    tm_node_remove(pack);
    return tm_infer_node(model, maker);
}

static tm_code absorb_in_graph(tm_pass_context *context, tm_graph *graph) {
    for (tm_node *node = graph->first, *next; node != NULL; node = next) {
        next = node->next;
        for (int i = 0; i < tm_node_subgraph_count(node) && node->op != TM_OP_Region; i++)
            TM_TRY(absorb_in_graph(context, tm_node_subgraph(node, i)));
        if (!(is_kind(node, "pack") || is_quantizer(node)) || node->inputs[0]->graph != graph ||
            !is_chain(node) || !can_store(node->inputs[0]->producer, node->inputs[0], node->outputs[0]->type))
            continue;
        if (!tm_pass_allow(context))
            return TM_OK;
        TM_TRY(absorb(context->model, node));
    }
    return TM_OK;
}

tm_code tm_pass_absorb_packs(tm_pass_context *context) {
    return absorb_in_graph(context, context->model->main);
}
