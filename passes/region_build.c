/* SPDX-License-Identifier: Apache-2.0
 *
 * region_build.c: moves nodes into the body of a Region.
 *
 *     %1 = Mul(%x, %s)                  %y = Region(%x, %b) {kind = "map", body = graph (%p, %q) {
 *     %y = Add(%1, %b)          ->          %r = Mul(%p, 2.0)   ; %s was the constant 2.0
 *                                           %t = Add(%r, %q)
 *                                           return %t } }
 *
 * Scalars stay in the body as constants, so that generated code holds them as immediates; all other
 * outside values become inputs, each once.
 */
#include "passes/region_build.h"

#include "ir/bits.h"
#include "ir/infer.h"
#include "ir/tiles.h"
#include "passes/match.h"
#include "passes/rewrite.h"

#include <string.h>

bool tm_region_is_scalar(const tm_value *value) {
    return tm_value_is_constant(value) && tm_constant_count(value->constant) == 1 &&
           value->type != TAMIS_TYPE_STRING;
}

bool tm_region_same_dims(const tm_value *a, const tm_value *b) {
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i])
            return false;
    return true;
}

bool tm_region_broadcasts(const tm_value *operand, const tm_value *out) {
    if (operand->kind != TAMIS_KIND_TENSOR || operand->rank > out->rank)
        return false;
    for (int i = 0; i < operand->rank; i++) {
        tm_dim dim = operand->dims[i], whole = out->dims[out->rank - operand->rank + i];
        if (dim != whole && !tm_dim_is(dim, 1))
            return false;
    }
    return true;
}

static bool all_types(const tm_node *node, bool (*allowed)(tamis_type)) {
    for (int i = 0; i < node->input_count; i++)
        if (node->inputs[i] != NULL && !allowed(node->inputs[i]->type))
            return false;
    return node->output_count == 1 && allowed(node->outputs[0]->type);
}

static bool is_f32(tamis_type type) {
    return type == TAMIS_TYPE_FLOAT;
}
static bool is_number(tamis_type type) {
    return type == TAMIS_TYPE_FLOAT || type == TAMIS_TYPE_INT32 || type == TAMIS_TYPE_INT64;
}
static bool is_any(tamis_type type) {
    return is_number(type) || type == TAMIS_TYPE_BOOL;
}
static bool is_byte(tamis_type type) {
    return type == TAMIS_TYPE_INT8 || type == TAMIS_TYPE_UINT8;
}

static bool known_power(const tm_node *node) {
    double power = 0;
    return tm_region_is_scalar(node->inputs[1]) && node->inputs[1]->rank <= node->inputs[0]->rank &&
           tm_constant_double(node->inputs[1]->constant, 0, &power) &&
           (power == 2 || power == 3 || power == 0.5 || power == -0.5);
}

/* Floats to integers saturate in a way of their own: left to the kernel. */
static bool known_cast(const tm_node *node) {
    tamis_type from = node->inputs[0]->type, to = node->outputs[0]->type;
    bool known = (is_any(from) || is_byte(from)) && (is_any(to) || is_byte(to));
    return known && (from != TAMIS_TYPE_FLOAT || to == TAMIS_TYPE_FLOAT || to == TAMIS_TYPE_BOOL);
}

/* One scale and zero point for all, or one for each position of the last axis, or for each row: what walks as
 * an operand of a chain does. `real` and `integer` are the two sides of the node. */
static bool known_scale(const tm_node *node, const tm_value *real, const tm_value *integer) {
    const tm_value *scale = node->inputs[1], *zero = node->input_count > 2 ? node->inputs[2] : NULL;
    if (real->type != TAMIS_TYPE_FLOAT || scale->type != TAMIS_TYPE_FLOAT ||
        (zero != NULL && zero->type != integer->type))
        return false;
    if (tm_match_is_row_scale(node))
        return true;
    if (tm_node_int(node, "block_size") != 0)
        return false;
    int64_t axis = tm_node_int(node, "axis");
    bool one = scale->rank == 0 || tm_dim_is(scale->dims[0], 1);
    return one || axis == -1 || axis == real->rank - 1;
}

static bool known_quantization(const tm_node *node) {
    const tm_value *x = node->inputs[0], *y = node->outputs[0];
    if (node->op == TM_OP_QuantizeLinear) {
        int64_t precision = tm_node_int(node, "precision");
        return is_byte(y->type) && (precision == 0 || precision == TAMIS_TYPE_FLOAT) &&
               known_scale(node, x, y);
    }
    return (is_byte(x->type) || x->type == TAMIS_TYPE_INT32) && known_scale(node, y, x);
}

bool tm_region_can_hold(const tm_node *node) {
    if (node->output_count != 1 || node->outputs[0] == NULL || node->input_count > 16)
        return false;
    switch (node->op) {
    case TM_OP_Add:
    case TM_OP_Sub:
    case TM_OP_Mul:
    case TM_OP_Neg:
    case TM_OP_Abs:
        return all_types(node, is_number);
    case TM_OP_Div:
    case TM_OP_Max:
    case TM_OP_Min:
    case TM_OP_Sqrt:
    case TM_OP_Floor:
    case TM_OP_Ceil:
    case TM_OP_Reciprocal:
    case TM_OP_Relu:
    case TM_OP_Exp:
    case TM_OP_Log:
    case TM_OP_Tanh:
    case TM_OP_Erf:
    case TM_OP_Sin:
    case TM_OP_Cos:
    case TM_OP_Sigmoid:
    case TM_OP_LeakyRelu:
    case TM_OP_Swish:
    case TM_OP_HardSigmoid:
    case TM_OP_HardSwish:
    case TM_OP_PRelu:
    case TM_OP_Gelu:
    case TM_OP_Clip:
        return all_types(node, is_f32);
    case TM_OP_Pow:
        return all_types(node, is_f32) && known_power(node);
    case TM_OP_Where:
    case TM_OP_Equal:
    case TM_OP_Less:
    case TM_OP_LessOrEqual:
    case TM_OP_Greater:
    case TM_OP_GreaterOrEqual:
    case TM_OP_Not:
    case TM_OP_And:
    case TM_OP_Or:
    case TM_OP_IsNaN:
        return all_types(node, is_any);
    case TM_OP_Cast:
        return known_cast(node);
    case TM_OP_QuantizeLinear:
    case TM_OP_DequantizeLinear:
        return known_quantization(node);
    default:
        return false;
    }
}

/* Leading dims repeat up to some axis and walk from there on; unit dims of the output do not matter. */
static bool rows_fit(const tm_value *operand, const tm_value *out) {
    if (!tm_region_broadcasts(operand, out))
        return false;
    bool walking = false;
    for (int i = 0; i + 1 < operand->rank; i++) {
        bool walks = !tm_dim_is(operand->dims[i], 1);
        if (walking && !walks && !tm_dim_is(out->dims[out->rank - operand->rank + i], 1))
            return false;
        walking = walking || walks;
    }
    return true;
}

static bool epilogue_fits(const tm_node *node, const tm_value *running) {
    if (!tm_region_can_hold(node) || !tm_region_same_dims(node->outputs[0], running))
        return false;
    for (int i = 0; i < node->input_count; i++) {
        const tm_value *input = node->inputs[i];
        if (input == NULL || input == running || (tm_region_is_scalar(input) && input->rank <= running->rank))
            continue;
        if (!rows_fit(input, running))
            return false;
    }
    return true;
}

int tm_region_epilogue(tm_node **nodes, int count, int capacity) {
    tm_value *running = nodes[count - 1]->outputs[0];
    const tm_graph *graph = nodes[0]->graph;
    while (count < capacity) {
        /* x * x reads one value twice: the chain ends there, since it has no single reader. */
        tm_node *next = tm_value_single_user(running);
        if (next == NULL || next->graph != graph || !epilogue_fits(next, running))
            break;
        nodes[count++] = next;
        running = next->outputs[0];
    }
    return count;
}

static bool is_packed_as(const tm_constant *a, const tm_constant *b) {
    return a->panel != 0 && a->data == b->data && a->type == b->type && a->rank == b->rank &&
           memcmp(a->dims, b->dims, (size_t)a->rank * sizeof(*a->dims)) == 0 && a->stored == b->stored &&
           a->panel == b->panel && (a->sparse == NULL) == (b->sparse == NULL) &&
           a->panel_groups == b->panel_groups && a->panel_channels_last == b->panel_channels_last &&
           a->slot == b->slot && a->slot_turned == b->slot_turned;
}

static bool is_packed_with(const tm_constant *a, const tm_constant *b) {
    if (a->bits == NULL || b->bits == NULL)
        return a->bits == b->bits;
    const struct tm_bits *x = a->bits, *y = b->bits;
    return x->scale->data == y->scale->data && x->block == y->block && x->zero_point == y->zero_point &&
           (x->zero == NULL ? y->zero == NULL : y->zero != NULL && x->zero->data == y->zero->data);
}

tm_value *tm_region_packed(tm_graph *graph, const char *name, const tm_constant *packed) {
    tm_model *model = graph->model;
    for (size_t i = 0; i < model->values.count; i++) {
        tm_value *known = model->values.items[i];
        if (known->constant != NULL && is_packed_as(known->constant, packed) &&
            is_packed_with(known->constant, packed) && tm_graph_contains(known->graph, graph))
            return known;
    }
    return tm_value_create_constant(graph, name, tm_arena_copy(model->arena, packed, sizeof(*packed)));
}

tm_value *tm_region_tile_weights(tm_graph *graph, const tm_value *weights, tamis_type stored) {
    tm_constant packed = *weights->constant;
    packed.stored = stored;
    packed.panel = TM_TILE_PANEL;
    return tm_region_packed(graph, weights->name, &packed);
}

typedef struct builder {
    tm_model *model;
    tm_graph *body;
    tm_node *const *nodes;
    int count;
    bool quantized;                    /* a node quantises, or multiplies bytes */
    TM_VECTOR(const tm_value *) outer; /* values of the outer graph that have one inside, ... */
    TM_VECTOR(tm_value *) inner;       /* ... at the same place: bodies are small */
    TM_VECTOR(tm_value *) outer_inputs;
} builder;

bool tm_region_is_among(tm_node *const *nodes, int count, const tm_node *node) {
    for (int i = 0; i < count; i++)
        if (nodes[i] == node)
            return true;
    return false;
}

bool tm_region_is_read_outside(tm_node *const *nodes, int count, const tm_value *value) {
    for (size_t i = 0; i < value->uses.count; i++)
        if (value->uses.items[i].node == NULL || !tm_region_is_among(nodes, count, value->uses.items[i].node))
            return true;
    return false;
}

/* A region stands where its last node stood, so candidates between its nodes come before it: they are found
 * first and then formed. */
tm_code tm_region_form_each(tm_pass_context *context, tm_graph *graph,
                            bool (*is_candidate)(const tm_node *node), tm_region_form form) {
    TM_VECTOR(tm_node *) found = {0};
    for (tm_node *node = graph->first; node != NULL; node = node->next) {
        for (int i = 0; i < tm_node_subgraph_count(node) && node->op != TM_OP_Region; i++)
            TM_TRY(tm_region_form_each(context, tm_node_subgraph(node, i), is_candidate, form));
        if (is_candidate(node))
            tm_push(context->model->arena, &found, node);
    }
    for (size_t i = 0; i < found.count; i++) {
        tm_node *node = found.items[i];
        bool removed = node->outputs[0]->graph == NULL;
        if (removed || !is_candidate(node))
            continue;
        if (!tm_pass_allow(context))
            return TM_OK;
        TM_TRY(form(context, node, &node));
    }
    return TM_OK;
}

static tm_value *known_inner(const builder *b, const tm_value *value) {
    for (size_t i = b->outer.count; i-- > 0;)
        if (b->outer.items[i] == value)
            return b->inner.items[i];
    return NULL;
}

static void set_inner(builder *b, const tm_value *value, tm_value *inner) {
    tm_push(b->model->arena, &b->outer, value);
    tm_push(b->model->arena, &b->inner, inner);
}

/* A single number is written into the body as a scalar, unless its rank is seen: Add(f32[], f32[1, 1] const)
 * has two dims, and Attention wants its operands with theirs. */
static bool rank_is_seen(const builder *b, const tm_value *value) {
    for (size_t u = 0; u < value->uses.count; u++) {
        const tm_node *node = value->uses.items[u].node;
        if (node == NULL || !tm_region_is_among(b->nodes, b->count, node))
            continue;
        bool covered = false;
        for (int i = 0; i < node->input_count; i++)
            covered = covered || (node->inputs[i] != NULL && !tm_region_is_scalar(node->inputs[i]) &&
                                  node->inputs[i]->rank >= value->rank);
        bool quantizes = node->op == TM_OP_QuantizeLinear || node->op == TM_OP_DequantizeLinear;
        if (!(tm_op_has(node->op, TM_ELEMENTWISE) || quantizes) || !covered)
            return true;
    }
    return false;
}

bool tm_region_is_quantized(const tm_node *node) {
    return node->op == TM_OP_QuantizeLinear || node->op == TM_OP_MatMulInteger;
}

bool tm_region_reads_number(const tm_node *node, const tm_value *number, bool quantized) {
    double value = 0;
    if (number->type == TAMIS_TYPE_FLOAT && tm_constant_double(number->constant, 0, &value) && value == 1)
        return false;
    return node->op == TM_OP_QuantizeLinear || node->op == TM_OP_DequantizeLinear ||
           (node->op == TM_OP_Mul && quantized);
}

static bool is_parameter(const builder *b, const tm_value *value) {
    for (size_t u = 0; u < value->uses.count; u++) {
        const tm_node *node = value->uses.items[u].node;
        if (node != NULL && tm_region_is_among(b->nodes, b->count, node) &&
            tm_region_reads_number(node, value, b->quantized))
            return true;
    }
    return false;
}

/* Axes of a reduction stay in the body, with their rank. */
static bool is_axes(const builder *b, const tm_value *value) {
    for (size_t u = 0; u < value->uses.count; u++) {
        const tm_node *node = value->uses.items[u].node;
        if (node != NULL && node->op == TM_OP_ReduceMax && tm_region_is_among(b->nodes, b->count, node))
            return value->constant != NULL && value->type == TAMIS_TYPE_INT64;
    }
    return false;
}

/* Scales and zero points that are packed with the weights are no operands: they stay in the body for whoever
 * reads it as IR. */
static bool is_packed_parameter(const builder *b, const tm_value *value) {
    for (size_t u = 0; u < value->uses.count; u++) {
        const tm_use *use = &value->uses.items[u];
        if (use->node == NULL || !tm_region_is_among(b->nodes, b->count, use->node))
            continue;
        if (use->node->op != TM_OP_MatMulNBits || use->index < 2 ||
            !tm_value_is_constant(use->node->inputs[1]) || use->node->inputs[1]->constant->bits == NULL)
            return false;
    }
    return value->constant != NULL;
}

static tm_value *inner_value(builder *b, tm_value *value) {
    if (value == NULL)
        return NULL;
    tm_value *inner = known_inner(b, value);
    if (inner != NULL)
        return inner;
    if (is_axes(b, value) || is_packed_parameter(b, value)) {
        inner = tm_value_create_constant(b->body, NULL, value->constant);
    } else if (tm_region_is_scalar(value) && !rank_is_seen(b, value) && !is_parameter(b, value)) {
        tm_constant *scalar =
            tm_constant_create(b->model->arena, value->type, 0, NULL, value->constant->data);
        inner = tm_value_create_constant(b->body, NULL, scalar);
    } else {
        inner = tm_value_create(b->body, NULL);
        tm_value_set_tensor(inner, value->type, value->rank, value->dims);
        tm_graph_add_input(b->body, inner);
        tm_push(b->model->arena, &b->outer_inputs, value);
    }
    set_inner(b, value, inner);
    return inner;
}

static void clone(builder *b, const tm_node *node) {
    tm_value *inputs[64];
    for (int i = 0; i < node->input_count; i++)
        inputs[i] = inner_value(b, node->inputs[i]);
    tm_node *copy = tm_node_create(b->body, NULL, node->op, node->name, node->input_count, inputs);
    int attributes = tm_op_get(node->op)->attribute_count;
    if (attributes > 0)
        memcpy(copy->attributes, node->attributes, (size_t)attributes * sizeof(*node->attributes));
    for (int i = 0; i < node->output_count; i++) {
        if (node->outputs[i] == NULL) {
            tm_node_add_omitted_output(copy);
            continue;
        }
        tm_value *output = tm_node_add_output(copy, NULL);
        tm_value_set_tensor(output, node->outputs[i]->type, node->outputs[i]->rank, node->outputs[i]->dims);
        set_inner(b, node->outputs[i], output);
    }
}

tm_code tm_region_build_outputs(tm_model *model, const char *kind, tm_node *const *nodes, int count,
                                tm_value *const *outputs, int output_count, tm_node *before,
                                tm_node **out_region) {
    const tm_node *last = nodes[count - 1];
    builder b = {.model = model, .nodes = nodes, .count = count};
    b.body = tm_graph_create(model, "region", last->graph);
    for (int i = 0; i < count; i++)
        b.quantized = b.quantized || tm_region_is_quantized(nodes[i]);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < nodes[i]->input_count; k++)
            if (nodes[i]->inputs[k] != NULL &&
                !tm_region_is_among(nodes, count, nodes[i]->inputs[k]->producer))
                (void)inner_value(&b, nodes[i]->inputs[k]);
    for (int i = 0; i < count; i++)
        clone(&b, nodes[i]);
    tm_node *region = tm_node_create(last->graph, before, TM_OP_Region, last->name, (int)b.outer_inputs.count,
                                     b.outer_inputs.items);
    region->file_index = last->file_index;
    region->file_path = last->file_path;
    tm_node_set_string(region, "kind", kind);
    tm_node_set_graph(region, "body", b.body);
    for (int i = 0; i < output_count; i++) {
        tm_graph_add_output(b.body, known_inner(&b, outputs[i]));
        tm_value *output = tm_node_add_output(region, NULL);
        tm_value_set_tensor(output, outputs[i]->type, outputs[i]->rank, outputs[i]->dims);
        tm_rewrite_replace(outputs[i], output);
    }
    for (int i = count - 1; i >= 0; i--)
        tm_node_remove(nodes[i]);
    *out_region = region;
    return tm_infer_node(model, region);
}

tm_code tm_region_build(tm_model *model, const char *kind, tm_node *const *nodes, int count,
                        tm_node **out_region) {
    tm_node *last = nodes[count - 1];
    return tm_region_build_outputs(model, kind, nodes, count, &last->outputs[0], 1, last, out_region);
}
