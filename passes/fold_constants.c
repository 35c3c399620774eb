/* SPDX-License-Identifier: Apache-2.0
 *
 * fold_constants.c: values that are known when the model is compiled become constants.
 *
 * Two ways to know a value: all inputs of its node are constant, then the node is evaluated with the same
 * C kernel that the artifact would call; or inference knows all its elements as numbers, as for the
 * shape arithmetic of static dims:
 *
 *     %s: i64[2] = Shape(%x)          with %x: f32[2, 3]      const %s: i64[2] = {2, 3}
 *     %w: f32[4] = Mul(%a, %b)        with constants          const %w: f32[4] = {...}
 *
 * Why through kernels: an op has one meaning, so folding cannot give another answer than running. A node
 * whose evaluation fails stays, and fails when the model runs, as the standard has it.
 *
 * Random ops, control flow and handles are not folded. Neither are nodes whose result is large and larger
 * than their inputs: an Expand of one number to a gigabyte is better run than stored. Weights of 2 or 4 bits
 * stay packed unless they are few: who quantises a model so far wants it small, and unpacked it is 4 to 16
 * times as large. So do those of 8 bits that only products and Gather read (packed_weights.h). A model that
 * is written as ONNX keeps all weights that are quantised, and bytes that are cast to number the entries of a
 * palette.
 */
#include "ir/evaluate.h"
#include "ir/infer.h"
#include "passes/packed_weights.h"
#include "passes/passes.h"
#include "passes/rewrite.h"

#include <string.h>

#define LARGE_BYTES ((int64_t)16 << 20)
#define UNPACKED_BYTES ((int64_t)64 << 10)
#define PALETTE_BYTES 512

/* What the value binds is known now: later inference sees numbers in place of the symbols. */
static void pin_symbols(tm_value *value) {
    for (size_t i = 0; i < value->symbols.count; i++) {
        tm_symbol *symbol = value->symbols.items[i];
        int64_t known = 0;
        if (symbol->origin == TM_SYMBOL_FREE) {
            if (symbol->index < value->constant->rank)
                tm_symbol_set_range(symbol, value->constant->dims[symbol->index],
                                    value->constant->dims[symbol->index]);
        } else if (symbol->index < tm_constant_count(value->constant) &&
                   tm_constant_int(value->constant, symbol->index, &known)) {
            tm_symbol_set_range(symbol, known, known);
        }
    }
}

static void replace_by(tm_value *value, const tm_constant *constant) {
    tm_value *known = tm_value_create_constant(value->graph, NULL, constant);
    tm_rewrite_replace(value, known);
    pin_symbols(known);
}

/* ---- values with known elements ---- */

static bool all_known(const tm_value *value) {
    if (value->elements == NULL || value->constant != NULL || value->kind != TAMIS_KIND_TENSOR ||
        value->rank < 0)
        return false;
    int64_t count = 1;
    for (int i = 0; i < value->rank; i++)
        if (!tm_dim_is_constant(value->dims[i]) || !tm_mul_i64(count, value->dims[i]->constant, &count))
            return false;
    for (int64_t i = 0; i < value->element_count; i++)
        if (!tm_dim_is_constant(value->elements[i]))
            return false;
    return count == value->element_count && tm_type_bits(value->type) >= 8;
}

static const tm_constant *constant_of_elements(tm_arena *arena, const tm_value *value) {
    int64_t dims[TAMIS_MAX_RANK] = {0};
    size_t size = (size_t)tm_type_bits(value->type) / 8;
    for (int i = 0; i < value->rank; i++)
        dims[i] = value->dims[i]->constant;
    char *data = tm_arena_alloc_array(arena, (size_t)value->element_count + 1, size);
    for (int64_t i = 0; i < value->element_count; i++)
        memcpy(data + (size_t)i * size, &value->elements[i]->constant, size); /* low bytes first */
    return tm_constant_create(arena, value->type, value->rank, dims, data);
}

static void fold_known_elements(tm_pass_context *context, tm_node *node) {
    for (int i = 0; i < node->output_count; i++) {
        tm_value *value = node->outputs[i];
        if (value == NULL || tm_value_unused(value) || !all_known(value) || !tm_pass_allow(context))
            continue;
        replace_by(value, constant_of_elements(context->model->arena, value));
    }
}

/* ---- nodes with constant inputs ---- */

static bool is_foldable(const tm_node *node) {
    if (tm_op_has(node->op, TM_RANDOM | TM_CONTROL | TM_HANDLE) || tm_node_subgraph_count(node) > 0)
        return false;
    bool used = false;
    for (int i = 0; i < node->output_count; i++)
        used = used || (node->outputs[i] != NULL && !tm_value_unused(node->outputs[i]));
    for (int i = 0; i < node->input_count; i++)
        if (node->inputs[i] != NULL && node->inputs[i]->constant == NULL)
            return false;
    return used;
}

/* Makes elements of whole bytes of packed ones: DequantizeLinear, Cast. */
static bool unpacks(const tm_node *node) {
    return node->input_count > 0 && node->inputs[0] != NULL && node->outputs[0] != NULL &&
           tm_type_bits(node->inputs[0]->type) < 8 && tm_type_bits(node->outputs[0]->type) >= 8;
}

static bool is_too_large(const tm_node *node) {
    int64_t in = 0, out = 0;
    for (int i = 0; i < node->input_count; i++)
        if (node->inputs[i] != NULL && !tm_add_i64(in, node->inputs[i]->constant->bytes, &in))
            return true;
    for (int i = 0; i < node->output_count; i++) {
        const tm_value *value = node->outputs[i];
        int64_t count = 1, bytes = 0;
        if (value == NULL)
            continue;
        for (int k = 0; k < value->rank; k++)
            if (tm_dim_is_constant(value->dims[k]) && !tm_mul_i64(count, value->dims[k]->constant, &count))
                return true;
        if (!tm_type_size(value->type, count, &bytes) || !tm_add_i64(out, bytes, &out))
            return true;
    }
    return out > in && out > (unpacks(node) ? UNPACKED_BYTES : LARGE_BYTES);
}

/* Weights of 8 bits whose readers unpack them themselves, once other passes have seen to that. */
static bool stays_packed(const tm_pass_context *context, const tm_node *node) {
    return node->op == TM_OP_DequantizeLinear && context->options->level >= 1 &&
           tm_value_is_constant(node->inputs[0]) &&
           tm_constant_count(node->inputs[0]->constant) * (int64_t)sizeof(float) > UNPACKED_BYTES &&
           tm_packed_only(node->outputs[0]);
}

/* Bytes that a model written as ONNX keeps: weights that are quantised, numbers of a palette's entries. */
static bool stays_small(const tm_node *node) {
    const tm_value *from = node->input_count > 0 ? node->inputs[0] : NULL;
    if (node->op == TM_OP_DequantizeLinear)
        return true;
    return node->op == TM_OP_Cast && from->constant != NULL && tm_type_bits(from->type) <= 8 &&
           tm_type_is_integer(from->type) && tm_type_is_integer(node->outputs[0]->type) &&
           from->constant->bytes >= PALETTE_BYTES;
}

static void fold_node(tm_pass_context *context, tm_node *node) {
    const tm_constant **results =
        TM_NEW_ARRAY(context->model->arena, const tm_constant *, (size_t)node->output_count + 1);
    if ((context->options->onnx_forms && stays_small(node)) || stays_packed(context, node) ||
        !is_foldable(node) || is_too_large(node) ||
        tm_evaluate_node(context->model, node, true, results) != TM_OK || !tm_pass_allow(context))
        return;
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL && results[i] != NULL)
            replace_by(node->outputs[i], results[i]);
}

static void fold_graph(tm_pass_context *context, tm_graph *graph) {
    for (tm_node *node = graph->first; node != NULL; node = node->next) {
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            fold_graph(context, tm_node_subgraph(node, i));
        if (!tm_op_has(node->op, TM_RANDOM))
            fold_known_elements(context, node);
        fold_node(context, node);
    }
}

tm_code tm_pass_fold_constants(tm_pass_context *context) {
    fold_graph(context, context->model->main);
    return TM_OK;
}
