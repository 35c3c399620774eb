/* SPDX-License-Identifier: Apache-2.0
 *
 * rewrite.c: writes what was planned into a model, in forms of the standard:
 *
 *     static    QuantizeLinear(x, s, z), DequantizeLinear before all layers that read x
 *     dynamic   for each row a scale of its own:
 *                   s = Max(ReduceMax(Abs(x), last axis) / 127, tiny)
 *                   x' = DequantizeLinear(QuantizeLinear(x, s, axis = -1, block_size = k), s, likewise)
 *     weights   DequantizeLinear(constant, r), r along the columns; in blocks along the sum for 4 bits;
 *               r = Cast(f16 constant), or Mul(Cast(u8 constant), step), which engines fold
 *     tables    Cast(Gather(constant, i)) * Gather(scales, i); of 4 bits Gather(DequantizeLinear(constant,
 * r), i), since the standard gathers no half bytes
 *
 * A quantiser is made once for each input, before the first layer that reads it. Layers that stay float go on
 * reading the float input. Operands of attention have the same pairs, and its weights one of 0 .. 1; these go
 * first, since their pairs stand further up. Names cost bytes in a file: what the weights become on the way
 * has numbers for names, as it does in any exporter's file.
 */
#include "quantize/layer.h"

#include "ir/infer.h"

#include <math.h>

typedef struct rewriter {
    const tm_quantizer *q;
    tm_loaded *loaded;
    tm_graph *graph;
    tm_value **fixed,
        **by_row; /* rounded inputs in the static and the dynamic form, by observed value, or NULL */
    tm_value *last_axis, *share, *least, *zero; /* constants of the dynamic form, once they are made */
} rewriter;

static tm_value *constant_of(rewriter *r, const char *name, tamis_type type, int rank, const int64_t *dims,
                             const void *data) {
    tm_arena *arena = r->loaded->model->arena;
    return tm_value_create_constant(r->graph, name, tm_constant_create(arena, type, rank, dims, data));
}

static tm_value *number(rewriter *r, const char *name, tamis_type type, double value) {
    return tm_value_create_constant(r->graph, name,
                                    tm_constant_create_scalar(r->loaded->model->arena, type, value));
}

static const char *named(rewriter *r, const char *base, const char *suffix) {
    return tm_arena_format(r->loaded->model->arena, "%s_%s", base, suffix);
}

static tm_node *make(rewriter *r, tm_node *before, tm_op op, const char *name, int count,
                     tm_value *const *inputs) {
    tm_node *node = tm_node_create(r->graph, before, op, NULL, count, inputs);
    tm_node_add_output(node, name);
    return node;
}

/* float32 of constants, times a factor unless that is 0. */
static tm_code widened(rewriter *r, tm_node *before, tm_value *stored, float factor, tm_value **out) {
    tm_node *cast = make(r, before, TM_OP_Cast, NULL, 1, &stored);
    tm_node_set_int(cast, "to", TAMIS_TYPE_FLOAT);
    *out = cast->outputs[0];
    TM_TRY(tm_infer_node(r->loaded->model, cast));
    if (factor == 0)
        return TM_OK;
    tm_node *product = make(r, before, TM_OP_Mul, NULL, 2,
                            (tm_value *[]){*out, number(r, NULL, TAMIS_TYPE_FLOAT, (double)factor)});
    *out = product->outputs[0];
    return tm_infer_node(r->loaded->model, product);
}

/* Scales in as few bytes as hold them: multiples of a step as uint8, numbers of float16 as such. */
static tm_code scales_of(rewriter *r, tm_node *before, const char *name, int rank, const int64_t *dims,
                         const float *scales, float step, tm_value **out) {
    tm_arena *arena = r->loaded->model->arena;
    int64_t count = 1;
    bool half = true;
    for (int i = 0; i < rank; i++)
        count *= dims[i];
    if (step > 0) {
        uint8_t *multiples = TM_NEW_ARRAY(arena, uint8_t, count);
        for (int64_t i = 0; i < count; i++)
            multiples[i] = (uint8_t)nearbyintf(scales[i] / step);
        return widened(r, before, constant_of(r, NULL, TAMIS_TYPE_UINT8, rank, dims, multiples), step, out);
    }
    for (int64_t i = 0; i < count; i++)
        half = half && scales[i] >= TM_SCALE_LEAST_HALF && scales[i] <= TM_SCALE_MOST_HALF &&
               tm_scale_stored(scales[i]) == scales[i];
    if (!half || count < TM_SCALE_FEW) {
        *out = constant_of(r, named(r, name, "scale"), TAMIS_TYPE_FLOAT, rank, dims, scales);
        return TM_OK;
    }
    uint16_t *bits = TM_NEW_ARRAY(arena, uint16_t, count);
    for (int64_t i = 0; i < count; i++) {
        uint32_t wide;
        memcpy(&wide, &scales[i], sizeof wide);
        bits[i] = (uint16_t)((wide >> 13) - (112u << 10)); /* exponents are 112 apart */
    }
    return widened(r, before, constant_of(r, NULL, TAMIS_TYPE_FLOAT16, rank, dims, bits), 0, out);
}

/* ---- activations ---- */

static tm_code round_static(rewriter *r, tm_node *before, tm_value *x, const tm_linear *linear,
                            tm_value **out) {
    const tamis_type type = linear->is_signed ? TAMIS_TYPE_INT8 : TAMIS_TYPE_UINT8;
    tm_value *inputs[3] = {x, number(r, named(r, x->name, "scale"), TAMIS_TYPE_FLOAT, (double)linear->scale),
                           number(r, named(r, x->name, "zero_point"), type, linear->zero)};
    tm_node *down = make(r, before, TM_OP_QuantizeLinear, named(r, x->name, "quantized"), 3, inputs);
    TM_TRY(tm_infer_node(r->loaded->model, down));
    inputs[0] = down->outputs[0];
    tm_node *up = make(r, before, TM_OP_DequantizeLinear, named(r, x->name, "dequantized"), 3, inputs);
    *out = up->outputs[0];
    return tm_infer_node(r->loaded->model, up);
}

static void make_row_constants(rewriter *r) {
    static const int64_t one = 1, last = -1;
    if (r->last_axis != NULL)
        return;
    r->last_axis = constant_of(r, NULL, TAMIS_TYPE_INT64, 1, &one, &last);
    r->share = number(r, NULL, TAMIS_TYPE_FLOAT, 1.0 / 127);
    r->least = number(r, NULL, TAMIS_TYPE_FLOAT, 1e-30);
    r->zero = number(r, NULL, TAMIS_TYPE_INT8, 0);
}

static tm_code round_rows(rewriter *r, tm_node *before, tm_value *x, int64_t k, tm_value **out) {
    tm_model *model = r->loaded->model;
    make_row_constants(r);
    tm_node *size = make(r, before, TM_OP_Abs, NULL, 1, &x);
    TM_TRY(tm_infer_node(model, size));
    tm_node *most = make(r, before, TM_OP_ReduceMax, NULL, 2,
                         (tm_value *[]){size->outputs[0], r->last_axis});
    TM_TRY(tm_infer_node(model, most));
    tm_node *share = make(r, before, TM_OP_Mul, NULL, 2, (tm_value *[]){most->outputs[0], r->share});
    TM_TRY(tm_infer_node(model, share));
    tm_node *scale = make(r, before, TM_OP_Max, NULL, 2,
                          (tm_value *[]){share->outputs[0], r->least});
    TM_TRY(tm_infer_node(model, scale));
    tm_value *inputs[3] = {x, scale->outputs[0], r->zero};
    tm_node *down = make(r, before, TM_OP_QuantizeLinear, NULL, 2, inputs);
    tm_node_set_int(down, "axis", -1);
    tm_node_set_int(down, "block_size", k);
    tm_node_set_int(down, "output_dtype", TAMIS_TYPE_INT8);
    TM_TRY(tm_infer_node(model, down));
    inputs[0] = down->outputs[0];
    tm_node *up = make(r, before, TM_OP_DequantizeLinear, NULL, 2, inputs);
    tm_node_set_int(up, "axis", -1);
    tm_node_set_int(up, "block_size", k);
    *out = up->outputs[0];
    return tm_infer_node(model, up);
}

static tm_code round_input(rewriter *r, const tm_layer *layer, tm_quantize_form form) {
    int i = layer->observed;
    if (form > TM_QUANTIZE_INT8_DYNAMIC)
        return TM_OK;
    tm_value **have = form == TM_QUANTIZE_INT8 ? &r->fixed[i] : &r->by_row[i];
    if (*have == NULL)
        TM_TRY(form == TM_QUANTIZE_INT8
                   ? round_static(r, layer->node, layer->x, &r->q->observations[i].linear, have)
                   : round_rows(r, layer->node, layer->x, layer->k, have));
    tm_node_set_input(layer->node, 0, *have);
    return TM_OK;
}

/* ---- weights ---- */

/* [rows, columns] as the layer has its weights: columns first where they are turned. Packed for 4 bits. The
 * quantiser's own memory, where that is it. */
static const void *laid_out(tm_arena *arena, const int8_t *from, int64_t rows, int64_t columns, bool turned,
                            int bits) {
    int64_t count = rows * columns;
    if (bits == 8 && !turned)
        return from;
    uint8_t *to = TM_NEW_ARRAY(arena, uint8_t, count + 1);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            int64_t at = turned ? j * rows + i : i * columns + j;
            unsigned value = (unsigned)from[i * columns + j];
            if (bits == 8)
                to[at] = (uint8_t)value;
            else
                to[at / 2] |= (uint8_t)((value & 15) << (at % 2 * 4));
        }
    return to;
}

static const float *laid_out_scales(tm_arena *arena, const float *from, int64_t rows, int64_t columns,
                                    bool turned) {
    float *to = TM_NEW_ARRAY(arena, float, rows *columns);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            to[turned ? j * rows + i : i * columns + j] = from[i * columns + j];
    return to;
}

static tamis_type weight_type(const tm_quantized *w) {
    return w->bits == 8 ? TAMIS_TYPE_INT8 : w->zeros != NULL ? TAMIS_TYPE_UINT4 : TAMIS_TYPE_INT4;
}

static tm_value *integers(rewriter *r, const tm_layer *layer, const tm_quantized *w) {
    bool turned = layer->channel_axis == 0;
    const void *data = w->turned ? laid_out(r->loaded->model->arena, w->values, w->n, w->k, false, w->bits)
                                 : laid_out(r->loaded->model->arena, w->values, w->k, w->n, turned, w->bits);
    return constant_of(r, named(r, layer->w->name, "quantized"), weight_type(w), layer->w->rank,
                       layer->w->constant->dims, data);
}

static tm_code dequantized_weights(rewriter *r, const tm_layer *layer, const tm_quantized *w,
                                   tm_value **out) {
    tm_arena *arena = r->loaded->model->arena;
    bool turned = layer->channel_axis == 0, blocks = w->block < w->k;
    int64_t rows = (w->k + w->block - 1) / w->block;
    const int64_t dims[2] = {turned ? w->n : rows, turned ? rows : w->n};
    const char *name = layer->w->name;
    tm_value *inputs[3] = {integers(r, layer, w)};
    TM_TRY(scales_of(r, layer->node, name, blocks ? 2 : 1, blocks ? dims : &w->n,
                     laid_out_scales(arena, w->scales, rows, w->n, turned), w->step, &inputs[1]));
    if (w->zeros != NULL)
        inputs[2] =
            constant_of(r, named(r, name, "zero_point"), weight_type(w), blocks ? 2 : 1,
                        blocks ? dims : &w->n, laid_out(arena, w->zeros, rows, w->n, turned, w->bits));
    tm_node *node = make(r, layer->node, TM_OP_DequantizeLinear, NULL,
                         w->zeros != NULL ? 3 : 2, inputs);
    int axis = blocks ? layer->sum_axis : layer->channel_axis;
    if (axis != 1) /* the default */
        tm_node_set_int(node, "axis", axis);
    if (blocks)
        tm_node_set_int(node, "block_size", w->block);
    *out = node->outputs[0];
    return tm_infer_node(r->loaded->model, node);
}

static tm_code rewrite_table(rewriter *r, const tm_layer *layer, const tm_quantized *w) {
    tm_model *model = r->loaded->model;
    tm_value *indices = layer->node->inputs[1], *result = layer->node->outputs[0];
    const int64_t one = 1, last = -1;
    if (w->bits == 4) {
        tm_value *all;
        TM_TRY(dequantized_weights(r, layer, w, &all));
        tm_node_set_input(layer->node, 0, all);
        return TM_OK;
    }
    tm_node *rows = make(r, layer->node, TM_OP_Gather, NULL, 2,
                         (tm_value *[]){integers(r, layer, w), indices});
    TM_TRY(tm_infer_node(model, rows));
    tm_value *all;
    TM_TRY(scales_of(r, layer->node, layer->w->name, 1, &w->n, w->scales, w->step, &all));
    tm_node *scales = make(r, layer->node, TM_OP_Gather, NULL, 2,
                           (tm_value *[]){all, indices});
    TM_TRY(tm_infer_node(model, scales));
    tm_value *axes =
        constant_of(r, NULL, TAMIS_TYPE_INT64, 1, &one, tm_arena_copy(model->arena, &last, sizeof last));
    tm_node *wide = make(r, layer->node, TM_OP_Unsqueeze, NULL, 2,
                         (tm_value *[]){scales->outputs[0], axes});
    TM_TRY(tm_infer_node(model, wide));
    tm_node *cast = make(r, layer->node, TM_OP_Cast, NULL, 1, &rows->outputs[0]);
    tm_node_set_int(cast, "to", TAMIS_TYPE_FLOAT);
    TM_TRY(tm_infer_node(model, cast));
    tm_node *product = make(r, layer->node, TM_OP_Mul, layer->node->name, 2,
                            (tm_value *[]){cast->outputs[0], wide->outputs[0]});
    TM_TRY(tm_infer_node(model, product));
    tm_value_replace(result, product->outputs[0]);
    tm_node_remove(layer->node);
    return TM_OK;
}

/* Input 2 of the layer, or that of the Add behind it. */
static void set_bias(rewriter *r, const tm_layer *layer, const tm_constant *bias) {
    tm_node *node = layer->node;
    int input = 2;
    if (node->op == TM_OP_MatMul) {
        node = tm_value_single_user(node->outputs[0]);
        input = node->inputs[0] == layer->bias ? 0 : 1;
    }
    tm_node_set_input(node, input, tm_value_create_constant(r->graph, layer->bias->name, bias));
}

static tm_code rewrite_layer(rewriter *r, const tm_layer *layer, const tm_layer_plan *plan) {
    if (layer->observed < 0)
        return rewrite_table(r, layer, tm_plan_weights(plan));
    tm_value *weights;
    TM_TRY(round_input(r, layer, plan->form));
    TM_TRY(dequantized_weights(r, layer, tm_plan_weights(plan), &weights));
    tm_node_set_input(layer->node, 1, weights);
    if (plan->bias != NULL && layer->bias != NULL)
        set_bias(r, layer, plan->bias);
    return TM_OK;
}

/* ---- attentions ---- */

/* The operand's pair stands right behind what makes it,
 * before all that read it: layers may be among those. */
static tm_code round_operand(rewriter *r, int observed) {
    tm_value *x = r->loaded->observed.items[observed];
    tm_node *before = x->producer != NULL ? x->producer->next : r->graph->first;
    if (r->fixed[observed] != NULL)
        return TM_OK;
    return round_static(r, before, x, &r->q->observations[observed].linear, &r->fixed[observed]);
}

static tm_code rewrite_attention(rewriter *r, const tm_attention *attention) {
    static const tm_linear weights = {.scale = 1.0f / 255};
    for (int i = 0; i < TM_ATTENTION_OPERANDS; i++)
        TM_TRY(round_operand(r, attention->observed[i]));
    tm_value *rounded;
    TM_TRY(round_static(r, attention->mix, attention->mix->inputs[0], &weights, &rounded));
    tm_node_set_input(attention->mix, 0, rounded);
    tm_node_set_input(attention->mix, 1, r->fixed[attention->observed[TM_ATTENTION_VALUES]]);
    tm_node_set_input(attention->scores, 0, r->fixed[attention->observed[TM_ATTENTION_QUERIES]]);
    tm_node_set_input(attention->scores, 1, r->fixed[attention->observed[TM_ATTENTION_KEYS]]);
    return TM_OK;
}

tm_code tm_quantize_rewrite(const tm_quantizer *q, tm_loaded *loaded) {
    rewriter r = {.q = q, .loaded = loaded, .graph = loaded->model->main};
    r.fixed = TM_NEW_ARRAY(loaded->model->arena, tm_value *, loaded->observed.count + 1);
    r.by_row = TM_NEW_ARRAY(loaded->model->arena, tm_value *, loaded->observed.count + 1);
    for (int i = 0; i < q->attention_count && i < (int)loaded->attentions.count; i++)
        if (q->attention_plans[i].quantize)
            TM_TRY(rewrite_attention(&r, &loaded->attentions.items[i]));
    bool any = false;
    for (size_t i = 0; i < loaded->layers.count; i++)
        if (q->plans[i].quantize) {
            TM_TRY(rewrite_layer(&r, &loaded->layers.items[i], &q->plans[i]));
            any = true;
        }
    if (any)
        TM_TRY(tm_narrow_constants(loaded));
    return tm_verify(loaded->model);
}
