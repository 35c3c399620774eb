/* SPDX-License-Identifier: Apache-2.0
 *
 * weights.c: the weights of each layer as integers, by the method that the options ask for.
 *
 * All methods see a matrix [k, n] whose columns are summed along; convolutions and transposed weights are
 * brought to it. Weights that several layers share are quantised once for each.
 */
#include "quantize/choose.h"

#include <math.h>

static void note_read(const tm_layer *layer, int64_t floats) {
    tm_mappings_note_read(layer->node->graph->model->mappings, sizeof(float) * (size_t)floats);
}

/* Element (i, j) of the matrix lies at i * n + j of the weights, or at j * k + i where columns come first. */
float *tm_layer_matrix(tm_arena *arena, const tm_layer *layer) {
    const float *from = layer->w->constant->data;
    float *matrix = TM_NEW_ARRAY(arena, float, layer->k * layer->n);
    for (int64_t i = 0; i < layer->k; i++)
        for (int64_t j = 0; j < layer->n; j++)
            matrix[i * layer->n + j] =
                layer->channel_axis == 0 ? from[j * layer->k + i] : from[i * layer->n + j];
    note_read(layer, layer->k * layer->n);
    return matrix;
}

static bool has_only_numbers(const float *matrix, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(matrix[i]))
            return false;
    return true;
}

/* Why the layer stays float whatever the figures say, or NULL. */
static const char *why_float(const tm_quantizer *q, const tm_layer *layer) {
    bool table = layer->observed < 0;
    if (layer->unfit != NULL)
        return layer->unfit;
    if (tm_is_kept(q, layer->name))
        return "kept by an option";
    if (table && !q->options->tables)
        return "tables are left as they are";
    if (layer->node->op == TM_OP_Conv && q->options->form == TM_QUANTIZE_INT8_DYNAMIC)
        return "convolutions have no rows to scale";
    return NULL;
}

#define SLICE 1024

/* A table in slices of its rows, which are the columns of the matrix: it may be most of a model. Eight bits
 * have a scale for each row, four one for each block of it. */
static bool quantize_table(tm_quantizer *q, const tm_layer *layer, int bits, tm_quantized *all) {
    int64_t k = layer->k, n = layer->n, block = bits == 4 && q->options->block < k ? q->options->block : k;
    int64_t blocks = (k + block - 1) / block;
    double errors = 0, squares = 0;
    *all = (tm_quantized){.bits = bits, .k = k, .n = n, .block = block, .turned = true};
    all->values = TM_NEW_ARRAY(q->arena, int8_t, k *n);
    all->scales = TM_NEW_ARRAY(q->arena, float, blocks *n);
    bool zeros = bits == 4 && !q->options->plain_rounding;
    all->zeros = zeros ? TM_NEW_ARRAY(q->arena, int8_t, blocks *n) : NULL;
    for (int64_t from = 0; from < n; from += SLICE) {
        int64_t count = n - from < SLICE ? n - from : SLICE;
        const float *rows = (const float *)layer->w->constant->data + from * k;
        tm_arena scratch;
        tm_arena_init(&scratch);
        tm_quantize_borrow_recovery(q, &scratch);
        float *matrix = TM_NEW_ARRAY(&scratch, float, k *count);
        tm_quantized slice;
        double square = 0;
        bool fine = has_only_numbers(rows, k * count);
        for (int64_t i = 0; i < k * count; i++) {
            matrix[i % k * count + i / k] = rows[i];
            square += (double)rows[i] * (double)rows[i];
        }
        if (fine) {
            if (zeros)
                tm_quantize_affine(&scratch, matrix, k, count, block, q->options->half_quadratic,
                                   &slice);
            else
                tm_quantize_symmetric(&scratch, matrix, k, count, bits, block, NULL, &slice);
            for (int64_t i = 0; i < k * count; i++)
                all->values[from * k + i] = slice.values[i % k * count + i / k];
            for (int64_t b = 0; b < blocks; b++) {
                memcpy(all->scales + b * n + from, slice.scales + b * count, sizeof(float) * (size_t)count);
                if (zeros)
                    memcpy(all->zeros + b * n + from, slice.zeros + b * count, (size_t)count);
            }
            errors += slice.error * slice.error * square;
            squares += square;
        }
        tm_arena_deinit(&scratch);
        note_read(layer, k * count);
        if (!fine)
            return false;
    }
    all->error = squares > 0 ? sqrt(errors / squares) : 0;
    if (bits == 8)
        tm_quantized_share_step(all, layer->w->constant->data);
    return true;
}

/* The bits of a table: the option's, else those of the form. */
static int table_bits(const tm_quantize_options *options) {
    return options->table_bits != 0 ? options->table_bits : options->form == TM_QUANTIZE_INT4 ? 4 : 8;
}

static tm_code quantize_layer(tm_quantizer *q, const tm_layer *layer, tm_layer_plan *plan,
                              tm_arena *scratch) {
    bool table = layer->observed < 0;
    float *matrix = table ? NULL : tm_layer_matrix(scratch, layer);
    if (table ? !quantize_table(q, layer, table_bits(q->options), &plan->weights)
              : !has_only_numbers(matrix, layer->k * layer->n)) {
        plan->quantize = false;
        plan->reason = "its weights are not all numbers";
        return TM_OK;
    }
    if (table && plan->weights.bits == 4 && tm_has_budget(q->options))
        (void)quantize_table(q, layer, 8, &plan->eight);
    if (table)
        return TM_OK;
    bool four = q->options->form == TM_QUANTIZE_INT4 && layer->sum_axis >= 0;
    int64_t block = four && q->options->block < layer->k ? q->options->block : layer->k;
    if (four && !q->options->plain_rounding)
        tm_quantize_affine(q->arena, matrix, layer->k, layer->n, block,
                           q->options->half_quadratic, &plan->weights);
    else if (four)
        tm_quantize_symmetric(q->arena, matrix, layer->k, layer->n, 4, block, NULL, &plan->weights);
    if (!four || tm_has_budget(q->options)) {
        tm_quantized *eight = four ? &plan->eight : &plan->weights;
        tm_quantize_symmetric(q->arena, matrix, layer->k, layer->n, 8, layer->k, NULL, eight);
        tm_quantized_share_step(eight, matrix);
    }
    return TM_OK;
}

void tm_correct_biases(tm_quantizer *q, const tm_loaded *loaded) {
    for (int i = 0; i < q->layer_count; i++) {
        if (!q->plans[i].quantize)
            continue;
        tm_arena scratch;
        tm_arena_init(&scratch);
        tm_quantize_borrow_recovery(q, &scratch);
        const tm_layer *layer = &loaded->layers.items[i];
        if (layer->observed >= 0)
            tm_correct_bias(q, layer, tm_layer_matrix(&scratch, layer), &scratch, &q->plans[i]);
        tm_arena_deinit(&scratch);
    }
}

tm_code tm_quantize_weights(tm_quantizer *q, const tm_loaded *loaded) {
    tm_code code = TM_OK;
    for (int i = 0; i < q->layer_count && code == TM_OK; i++) {
        const tm_layer *layer = &loaded->layers.items[i];
        tm_layer_plan *plan = &q->plans[i];
        plan->reason = why_float(q, layer);
        plan->form = q->options->form;
        plan->has_rows = layer->observed >= 0 && layer->node->op != TM_OP_Conv;
        plan->is_table = layer->observed < 0;
        plan->quantize = plan->reason == NULL;
        if (!plan->quantize)
            continue;
        plan->reason = "quantised";
        tm_arena scratch;
        tm_arena_init(&scratch);
        tm_quantize_borrow_recovery(q, &scratch);
        code = quantize_layer(q, layer, plan, &scratch);
        tm_arena_deinit(&scratch);
        tm_mappings_release(loaded->model->mappings);
    }
    return code;
}
