/* SPDX-License-Identifier: Apache-2.0
 *
 * load.c: a model from its file, and its layers.
 *
 * Weights often stand behind a Transpose or a Cast, and batch norms belong into the convolution before them,
 * so the passes that uncover weights run first. Those that leave the forms of the standard, or that only
 * inference of this compiler understands, do not: the result must be a model that can be written.
 *
 * A layer is a MatMul, Gemm or Conv of float32 by a constant, or, as only its weights matter, a Gather of
 * rows of a constant table. Layers that share an input share what is observed of it, and its quantiser.
 */
#include "quantize/layer.h"

#include "compiler/internal.h"
#include "frontend/import.h"
#include "ir/text.h"
#include "passes/match.h"
#include "passes/passes.h"
#include "quantize/words.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdio.h>
#include <string.h>

static const char *const first_passes[] = {
    "fold_constants",           "inline_if",      "simplify_shapes",
    "common_subexpressions",    "fold_constants", "recognize_layer_normalization",
    "fold_batch_normalization", "fold_constants", "dead_code"};

static bool is_quantized(tm_op op) {
    return op == TM_OP_QuantizeLinear || op == TM_OP_DequantizeLinear || op == TM_OP_DynamicQuantizeLinear ||
           op == TM_OP_MatMulInteger || op == TM_OP_ConvInteger || op == TM_OP_QLinearMatMul ||
           op == TM_OP_QLinearConv || op == TM_OP_MatMulNBits;
}

static tm_code refuse_quantized(const tm_quantizer *q, const tm_graph *graph) {
    for (const tm_node *node = graph->first; node != NULL; node = node->next)
        if (is_quantized(node->op)) {
            tm_place place = tm_node_place(node);
            return tm_report(q->diagnostics, TM_E_USAGE, &place, "give the float model",
                             "the model is quantised already: it has %s", tm_op_get(node->op)->name);
        }
    return TM_OK;
}

static tm_code import(const tm_quantizer *q, tm_arena *arena, tm_model **out_model) {
    tm_import_options import;
    tm_import_options_of(q->compile, &import);
    size_t size = strlen(q->path);
    if (size < 3 || strcmp(q->path + size - 3, ".ir") != 0)
        return tm_import_file(arena, q->diagnostics, q->path, &import, out_model);
    FILE *file = fopen(q->path, "rb");
    if (file == NULL)
        return tm_report(q->diagnostics, TM_E_OPEN_INPUT, NULL, NULL, "cannot open %s", q->path);
    tm_text text;
    tm_text_init(&text, arena);
    char buffer[4096];
    for (size_t got; (got = fread(buffer, 1, sizeof buffer, file)) > 0;)
        tm_text_add_bytes(&text, buffer, got);
    fclose(file);
    return tm_parse_model(arena, q->diagnostics, q->path, tm_text_get(&text), text.size, out_model);
}

static bool is_float_constant(const tm_value *value, int rank) {
    return value != NULL && value->constant != NULL && value->type == TAMIS_TYPE_FLOAT &&
           (rank < 0 || value->rank == rank) && tm_constant_count(value->constant) > 0;
}

int tm_quantize_observe(tm_arena *arena, tm_loaded *loaded, tm_value *x) {
    for (size_t i = 0; i < loaded->observed.count; i++)
        if (loaded->observed.items[i] == x)
            return (int)i;
    tm_push(arena, &loaded->observed, x);
    return (int)loaded->observed.count - 1;
}

static tm_value *bias_of(const tm_node *node) {
    if (node->op == TM_OP_MatMul) { /* an Add of a row that alone reads the product */
        const tm_node *next = tm_value_single_user(node->outputs[0]);
        if (next == NULL || next->op != TM_OP_Add)
            return NULL;
        tm_value *other = next->inputs[next->inputs[0] == node->outputs[0] ? 1 : 0];
        return is_float_constant(other, 1) ? other : NULL;
    }
    tm_value *bias = node->input_count > 2 ? node->inputs[2] : NULL;
    return is_float_constant(bias, 1) ? bias : NULL;
}

static const char *why_unfit(const tm_node *node) {
    if (node->op == TM_OP_Gemm && (tm_node_int(node, "transA") != 0 || tm_node_float(node, "alpha") != 1))
        return "its Gemm scales or transposes";
    if (node->inputs[0]->rank < 2)
        return "its input is a vector";
    return NULL;
}

/* Fills what follows from the weights; false: the node is no layer. */
static bool describe(tm_node *node, tm_layer *layer) {
    *layer = (tm_layer){.node = node, .observed = -1};
    bool table = node->op == TM_OP_Gather;
    if (!table && node->op != TM_OP_MatMul && node->op != TM_OP_Gemm && node->op != TM_OP_Conv)
        return false;
    layer->w = node->inputs[table ? 0 : 1];
    if (!is_float_constant(layer->w, node->op == TM_OP_Conv ? -1 : 2) ||
        (table && (tm_node_int(node, "axis") != 0 || node->inputs[1] == NULL)))
        return false;
    const int64_t *dims = layer->w->constant->dims;
    bool turned =
        node->op == TM_OP_Conv || table || (node->op == TM_OP_Gemm && tm_node_int(node, "transB") != 0);
    layer->channel_axis = turned ? 0 : 1;
    layer->sum_axis = layer->w->rank == 2 ? 1 - layer->channel_axis : -1;
    layer->n = dims[layer->channel_axis];
    layer->k = tm_constant_count(layer->w->constant) / layer->n;
    if (!table) {
        layer->x = node->inputs[0];
        layer->bias = bias_of(node);
        layer->unfit = why_unfit(node);
        if (layer->x->type != TAMIS_TYPE_FLOAT || layer->x->constant != NULL)
            return false;
    }
    return true;
}

void tm_quantize_find_layers(tm_arena *arena, tm_loaded *loaded) {
    tm_layer layer;
    for (tm_node *node = loaded->model->main->first; node != NULL; node = node->next) {
        if (!describe(node, &layer))
            continue;
        if (layer.x != NULL)
            layer.observed = tm_quantize_observe(arena, loaded, layer.x);
        layer.name = node->name != NULL && node->name[0] != 0 ? node->name : node->outputs[0]->name;
        tm_push(arena, &loaded->layers, layer);
    }
}

tm_code tm_layers_check_keep(const tm_quantizer *q, const tm_loaded *loaded, const char *option,
                             const char *const *parts, size_t count) {
    tm_names names = {0};
    for (size_t i = 0; i < loaded->layers.count; i++)
        tm_push(q->arena, &names.list, loaded->layers.items[i].name);
    for (size_t i = 0; i < loaded->attentions.count; i++)
        tm_push(q->arena, &names.list, loaded->attentions.items[i].name);
    return tm_parts_check(q->arena, q->diagnostics, option, parts, count, &names);
}

void tm_quantize_unload(tm_arena *arena) {
    tm_arena_deinit(arena);
#ifdef __GLIBC__
    malloc_trim(0); /* what was copied out of the file is large, and stays in the process otherwise */
#endif
}

tm_code tm_quantize_load(const tm_quantizer *q, tm_arena *arena, tm_loaded *out) {
    *out = (tm_loaded){0};
    TM_TRY(import(q, arena, &out->model));
    TM_TRY(refuse_quantized(q, out->model->main));
    TM_TRY(tm_apply_dim_facts(out->model, q->compile->dims, q->compile->dim_count));
    tm_pass_options passes = {.level = 2, .bisect_limit = -1, .strict_math = q->compile->strict_math};
    for (size_t i = 0; i < sizeof first_passes / sizeof *first_passes; i++)
        TM_TRY(tm_passes_run_one(out->model, first_passes[i], &passes));
    tm_quantize_find_layers(arena, out);
    if (q->factors != NULL)
        TM_TRY(tm_smooth_apply(q, arena, out));
    tm_quantize_find_attentions(q, arena, out);
    return TM_OK;
}
