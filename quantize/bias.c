/* SPDX-License-Identifier: Apache-2.0
 *
 * bias.c: bias correction. Rounded weights move the mean of a column's sums by what the mean input makes of
 * their errors; the bias takes that back:
 *
 *     E[x W'] - E[x W] = E[x] (W' - W)        b' = b - E[x] (W' - W)
 *
 * Only where there is a bias: an operator of its own would cost more than it mends.
 */
#include "quantize/layer.h"

void tm_correct_bias(tm_quantizer *q, const tm_layer *layer, const float *matrix, tm_arena *scratch,
                     tm_layer_plan *plan) {
    const tm_observation *o = layer->observed >= 0 ? &q->observations[layer->observed] : NULL;
    if (o == NULL || layer->bias == NULL || layer->node->op == TM_OP_Conv || o->channel_sum == NULL ||
        o->channels != layer->k || o->rows == 0 || layer->bias->constant->dims[0] != layer->n)
        return;
    float *rounded = TM_NEW_ARRAY(scratch, float, layer->k * layer->n);
    double *shift = TM_NEW_ARRAY(scratch, double, layer->n);
    float *bias = TM_NEW_ARRAY(q->arena, float, layer->n);
    tm_dequantize(&plan->weights, rounded);
    for (int64_t i = 0; i < layer->k; i++)
        for (int64_t j = 0; j < layer->n; j++)
            shift[j] += o->channel_sum[i] / (double)o->rows *
                        ((double)rounded[i * layer->n + j] - (double)matrix[i * layer->n + j]);
    for (int64_t j = 0; j < layer->n; j++)
        bias[j] = (float)((double)((const float *)layer->bias->constant->data)[j] - shift[j]);
    plan->bias = tm_constant_create(q->arena, TAMIS_TYPE_FLOAT, 1,
                                    tm_arena_copy(q->arena, &layer->n, sizeof layer->n), bias);
}
