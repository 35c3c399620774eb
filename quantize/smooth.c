/* SPDX-License-Identifier: Apache-2.0
 *
 * smooth.c: moves range from the channels of a layer's input to the rows of its weights, or between the
 * products of two layers, without changing what is computed:
 *
 *     x W = (x / s) (s W)        s_c = most |x_c|^a / most |W_c|^(1 - a)       smooth=a: a few loud channels
 * of x no longer spoil the one scale that x has s_c = sqrt(most |V_c| / most |W_c|)           equalize: V
 * makes x
 *
 * x / s costs nothing where what makes x takes it in: the scale and bias of a norm, or the columns and bias
 * of a product (through a Relu too, as s > 0), if layers that get the new weights are all that reads x.
 * Elsewhere `smooth` multiplies x by 1 / s in front of the quantiser, which then does it in the same walk,
 * and `equalize` does nothing.
 *
 * The factors belong to an observed value; each model that is loaded afterwards gets them.
 */
#include "quantize/layer.h"

#include "ir/infer.h"

#include <math.h>

/* What takes 1 / s in: a node with constants along the channels. */
typedef struct absorber {
    tm_node *norm;    /* inputs 1 (and 2) */
    tm_node *product; /* input 1: columns along its last axis, or the first one where it is turned */
    tm_node *bias;    /* an Add; input `bias_input`. Or the product itself (Gemm) */
    int bias_input;
} absorber;

static bool is_row_of(const tm_value *value, int64_t channels) {
    return value != NULL && value->constant != NULL && value->type == TAMIS_TYPE_FLOAT && value->rank == 1 &&
           value->constant->dims[0] == channels;
}

/* Is each reader of x a layer that multiplies matrices, of that many rows? */
static bool only_layers_read(const tm_loaded *loaded, int observed, int64_t channels) {
    size_t layers = 0;
    for (size_t i = 0; i < loaded->layers.count; i++) {
        const tm_layer *layer = &loaded->layers.items[i];
        if (layer->observed == observed && layer->node->op != TM_OP_Conv && layer->k == channels)
            layers++;
    }
    return layers == loaded->observed.items[observed]->uses.count;
}

static bool find_absorber(const tm_loaded *loaded, int observed, int64_t channels, absorber *out) {
    *out = (absorber){0};
    const tm_value *x = loaded->observed.items[observed];
    tm_node *node = x->producer;
    if (node == NULL || !only_layers_read(loaded, observed, channels))
        return false;
    if (node->op == TM_OP_LayerNormalization) {
        out->norm = node;
        return is_row_of(node->inputs[1], channels) &&
               (node->input_count < 3 || node->inputs[2] == NULL || is_row_of(node->inputs[2], channels));
    }
    if (node->op == TM_OP_Relu && tm_value_single_user(node->inputs[0]) == node)
        node = node->inputs[0]->producer;
    if (node != NULL && node->op == TM_OP_Add) {
        out->bias = node;
        out->bias_input = is_row_of(node->inputs[1], channels) ? 1 : 0;
        const tm_value *sum = node->inputs[1 - out->bias_input];
        if (!is_row_of(node->inputs[out->bias_input], channels) || tm_value_single_user(sum) != node)
            return false;
        node = sum->producer;
    }
    if (node == NULL || (node->op != TM_OP_MatMul && node->op != TM_OP_Gemm))
        return false;
    if (node->op == TM_OP_Gemm && node->input_count > 2 && node->inputs[2] != NULL) {
        if (out->bias != NULL || !is_row_of(node->inputs[2], channels) || tm_node_float(node, "beta") != 1)
            return false;
        out->bias = node;
        out->bias_input = 2;
    }
    const tm_value *w = node->inputs[1];
    bool turned = node->op == TM_OP_Gemm && tm_node_int(node, "transB") != 0;
    out->product = node;
    return w->constant != NULL && w->type == TAMIS_TYPE_FLOAT && w->rank == 2 &&
           w->constant->dims[turned ? 0 : 1] == channels &&
           (node->op == TM_OP_MatMul || tm_node_float(node, "alpha") == 1);
}

/* A constant of the node times factors along an axis (or over them). */
static void scale_input(tm_node *node, int input, int axis, const float *factors, bool divide) {
    const tm_value *old = node->inputs[input];
    const tm_constant *c = old->constant;
    tm_arena *arena = node->graph->model->arena;
    int64_t inner = 1, count = tm_constant_count(c), size = c->dims[axis];
    for (int d = axis + 1; d < c->rank; d++)
        inner *= c->dims[d];
    float *data = TM_NEW_ARRAY(arena, float, count);
    for (int64_t i = 0; i < count; i++) {
        float f = factors[i / inner % size];
        data[i] = ((const float *)c->data)[i] * (divide ? 1 / f : f);
    }
    tm_constant *scaled = tm_constant_create(arena, TAMIS_TYPE_FLOAT, c->rank, c->dims, data);
    tm_node_set_input(node, input, tm_value_create_constant(node->graph, old->name, scaled));
}

static void absorb(const absorber *a, const float *factors) {
    if (a->norm != NULL) {
        scale_input(a->norm, 1, 0, factors, true);
        if (a->norm->input_count > 2 && a->norm->inputs[2] != NULL)
            scale_input(a->norm, 2, 0, factors, true);
        return;
    }
    bool turned = a->product->op == TM_OP_Gemm && tm_node_int(a->product, "transB") != 0;
    scale_input(a->product, 1, turned ? 0 : 1, factors, true);
    if (a->bias != NULL)
        scale_input(a->bias, a->bias_input, 0, factors, true);
}

static tm_code multiply(tm_loaded *loaded, int observed, const float *factors, int64_t channels) {
    tm_value *x = loaded->observed.items[observed];
    tm_model *model = loaded->model;
    tm_node *before = NULL;
    float *inverse = TM_NEW_ARRAY(model->arena, float, channels);
    for (int64_t c = 0; c < channels; c++)
        inverse[c] = 1 / factors[c];
    for (size_t i = 0; i < loaded->layers.count && before == NULL; i++)
        if (loaded->layers.items[i].observed == observed)
            before = loaded->layers.items[i].node;
    tm_constant *row = tm_constant_create(model->arena, TAMIS_TYPE_FLOAT, 1, &channels, inverse);
    tm_value *inputs[2] = {x, tm_value_create_constant(x->graph, NULL, row)};
    tm_node *node = tm_node_create(model->main, before, TM_OP_Mul, NULL, 2, inputs);
    tm_value *smooth = tm_node_add_output(node, NULL);
    for (size_t i = 0; i < loaded->layers.count; i++)
        if (loaded->layers.items[i].observed == observed)
            tm_node_set_input(loaded->layers.items[i].node, 0, smooth);
    return tm_infer_node(model, node);
}

tm_code tm_smooth_apply(const tm_quantizer *q, tm_arena *arena, tm_loaded *loaded) {
    for (int i = 0; i < (int)loaded->observed.count; i++) { /* those of layers: attentions are found later */
        const float *factors = q->factors[i];
        absorber a;
        if (factors == NULL)
            continue;
        const tm_value *x = loaded->observed.items[i];
        int64_t channels = x->dims[x->rank - 1]->constant;
        bool absorbed = find_absorber(loaded, i, channels, &a);
        for (size_t k = 0; k < loaded->layers.count; k++)
            if (loaded->layers.items[k].observed == i)
                scale_input(loaded->layers.items[k].node, 1, loaded->layers.items[k].sum_axis, factors,
                            false);
        if (absorbed)
            absorb(&a, factors);
        else
            TM_TRY(multiply(loaded, i, factors, channels));
    }
    loaded->layers.count = loaded->observed.count = 0;
    tm_quantize_find_layers(arena, loaded);
    return TM_OK;
}

/* ---- choosing factors ---- */

/* Largest magnitudes of the rows (by channel) of all weights that read the value. False: one of them is no
 * matrix. */
static bool measure_rows(const tm_loaded *loaded, int observed, int64_t channels, float *out_most) {
    bool any = false;
    for (size_t i = 0; i < loaded->layers.count; i++) {
        const tm_layer *layer = &loaded->layers.items[i];
        if (layer->observed != observed)
            continue;
        if (layer->node->op == TM_OP_Conv || layer->k != channels || layer->unfit != NULL)
            return false;
        const float *w = layer->w->constant->data;
        for (int64_t c = 0; c < channels; c++)
            for (int64_t j = 0; j < layer->n; j++)
                out_most[c] = fmaxf(
                    out_most[c], fabsf(layer->channel_axis == 0 ? w[j * layer->k + c] : w[c * layer->n + j]));
        any = true;
    }
    return any;
}

static void measure_columns(const absorber *a, int64_t channels, float *out_most) {
    const tm_constant *w = a->product->inputs[1]->constant;
    bool turned =
        w->dims[1] != channels || (a->product->op == TM_OP_Gemm && tm_node_int(a->product, "transB") != 0);
    int64_t k = tm_constant_count(w) / channels;
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < k; i++)
            out_most[c] =
                fmaxf(out_most[c], fabsf(((const float *)w->data)[turned ? c * k + i : i * channels + c]));
}

static float *choose_factors(const tm_quantizer *q, const tm_loaded *loaded, int i) {
    const tm_observation *o = &q->observations[i];
    const tm_value *x = loaded->observed.items[i];
    int64_t channels =
        x->rank > 0 && tm_dim_is_constant(x->dims[x->rank - 1]) ? x->dims[x->rank - 1]->constant : 0;
    float *rows = TM_NEW_ARRAY(q->arena, float, channels + 1),
          *from = TM_NEW_ARRAY(q->arena, float, channels + 1);
    absorber a;
    bool absorbed = find_absorber(loaded, i, channels, &a);
    double share = q->options->smooth;
    if (channels == 0 || !measure_rows(loaded, i, channels, rows))
        return NULL;
    if (q->options->equalize && share == 0) {
        if (!absorbed || a.product == NULL)
            return NULL;
        measure_columns(&a, channels, from);
        share = 0.5;
    } else if (o->channel_most == NULL || o->channels != channels) {
        return NULL;
    } else {
        memcpy(from, o->channel_most, sizeof(float) * (size_t)channels);
    }
    for (int64_t c = 0; c < channels; c++) {
        double s = pow(fmax((double)from[c], 1e-5), share) / pow(fmax((double)rows[c], 1e-5), 1 - share);
        rows[c] = (float)fmin(fmax(s, 1e-4), 1e4);
    }
    return rows;
}

void tm_smooth_choose(tm_quantizer *q, const tm_loaded *loaded) {
    float **factors = TM_NEW_ARRAY(q->arena, float *, q->observed_count + 1);
    for (int i = 0; i < q->observed_count; i++)
        factors[i] = choose_factors(q, loaded, i);
    q->factors = factors;
}
