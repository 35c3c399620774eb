/* SPDX-License-Identifier: Apache-2.0
 *
 * recognize_integer_convolutions.c: convolutions of quantised values by quantised weights are convolutions of
 * integers.
 *
 *     %x = DequantizeLinear(%q: u8, s, z)               %i: i32 = ConvInteger(%q, %v, z, t)
 *     %w = DequantizeLinear(%v: s8 const, r, t)    ->   %f: f32 = Cast(%i)
 *     %y = Conv(%x, %w, %b)                             %y = Add(Mul(%f, s * r), %b)    r, b along channels
 *
 *     QLinearConv(%q, s, z, %v, r, t, u, w, %b)    ->   Cast(Add(%i, %b)), Mul by s * r / u, QuantizeLinear
 * by 1
 *
 * as recognize_integer_products does for products, of which channels_last makes the rest. Depthwise
 * convolutions, small groups, and windows of an image's few channels have too few terms for tiles: floats,
 * whose sums of bytes are exact too, as long as they stay below 2^24, walk their windows faster. Those that
 * arrive as integers become
 *
 *     Cast(Conv(Cast(%q) - z, v - t))    between floats, with an answer of int32
 *
 * Which convolutions these are says tm_window_form_integer. Not bit-exact for the first form: its sums were
 * rounded in float32.
 */
#include "ir/infer.h"
#include "ir/ops/window.h"
#include "ir/ops/windows.h"
#include "passes/match.h"
#include "passes/quantized.h"
#include "passes/rewrite.h"
#include "passes/window_form.h"

/* Cycles on vectors of 16 lanes: of a run of bytes that is gathered, and of each vector in it. */
#define RUN_CYCLES 12
#define VECTOR_CYCLES 6
#define FEW_CHANNELS 4 /* of an image: runs of more fill vectors */

/* One for each filter, under the channels of a result of this rank; one for all stays. */
static tm_value *along_channels(tm_node *before, tm_value *value, int rank) {
    tm_dim dims[TAMIS_MAX_RANK];
    if (tm_match_is_single(value))
        return value;
    for (int i = 0; i + 1 < rank; i++)
        dims[i] = i == 0 ? value->dims[0] : tm_dim_constant(before->graph->model->dims, 1);
    return tm_match_view(before, value, rank - 1, dims);
}

/* A scale or zero point of weights: constant, one number or one for each filter. */
static bool is_along_filters(const tm_value *parameter, const tm_value *weights) {
    return parameter == NULL || (parameter->constant != NULL &&
                                 (tm_match_is_single(parameter) ||
                                  (parameter->rank == 1 && parameter->dims[0] == weights->dims[0])));
}

/* Bytes and their zero points (or NULL). */
typedef struct operands {
    tm_value *x, *x_zero, *w, *w_zero;
} operands;

static tm_code integer_sums(tm_node *node, const operands *o, tm_value **out) {
    int count = o->w_zero != NULL ? 4 : o->x_zero != NULL ? 3 : 2;
    return tm_rewrite_convolution(node, TM_OP_ConvInteger, count,
                                  (tm_value *[]){o->x, o->w, o->x_zero, o->w_zero}, out);
}

/* ---- in floats ---- */

/* Less its zero point, one number or one for each filter, in float32. */
static tm_code centred(tm_node *before, tm_value *value, tm_value *zero, tm_value **out) {
    double number = 1;
    *out = tm_match_make_cast(before, value, TAMIS_TYPE_FLOAT);
    if (zero == NULL || (zero->constant != NULL && tm_match_is_single(zero) &&
                         tm_constant_double(zero->constant, 0, &number) && number == 0))
        return TM_OK;
    if (!tm_match_is_single(zero)) {
        tm_dim dims[TAMIS_MAX_RANK];
        for (int i = 0; i < value->rank; i++)
            dims[i] = i == 0 ? zero->dims[0] : tm_dim_constant(before->graph->model->dims, 1);
        zero = tm_match_view(before, zero, value->rank, dims);
    }
    return tm_match_make_pair(before, TM_OP_Sub, *out, tm_match_make_cast(before, zero, TAMIS_TYPE_FLOAT),
                              out);
}

/* Is every sum of products of bytes, with the bias, a float32? */
static bool is_exact(const tm_constant *weights, const tm_value *bias) {
    double most = 255.0 * 255.0 * (double)(tm_constant_count(weights) / weights->dims[0]), least = 0;
    if (bias != NULL && bias->constant == NULL)
        return false;
    for (int64_t i = 0; bias != NULL && i < tm_constant_count(bias->constant); i++) {
        double number = 0;
        (void)tm_constant_double(bias->constant, i, &number);
        number = number < 0 ? -number : number;
        least = number > least ? number : least;
    }
    return most + least < (double)(1 << 24);
}

/* Does a position of an image of few channels take longer to gather and to multiply, four bytes at a time in
 * tiles of 32 filters, than to multiply in floats where it lies? So it is where nothing can be gathered. */
static bool gathers_too_much(const tm_node *node, const tm_value *weights) {
    tm_window_form form;
    const int64_t *dims = weights->constant->dims;
    int axes = weights->rank - 2;
    if (!tm_window_form_integer(node, weights, &form))
        return tm_window_form_fills(dims[0]);
    if (dims[1] > FEW_CHANNELS || form.point)
        return false;
    int64_t terms = tm_constant_count(weights->constant) / dims[0];
    tm_windows_runs runs =
        tm_windows_runs_of(dims + 2, axes, tm_window_item(node, "dilations", axes - 1, 1), dims[1]);
    int64_t gathered = runs.count * (RUN_CYCLES + VECTOR_CYCLES * runs.bytes / TM_WINDOWS_ALIGNMENT);
    int64_t multiplied = runs.count * runs.bytes / 4 * ((dims[0] + 31) / 32);
    return terms * ((dims[0] + 15) / 16) * 5 / 8 < gathered + multiplied;
}

/* Whose sums are exact in floats: depthwise ones, groups that have loops made for them, and one group where
 * tiles are slower. By constant weights. */
static bool is_in_floats(const tm_node *node, const operands *o, const tm_value *bias) {
    const tm_value *x = o->x, *w = o->w;
    if (!tm_match_is_byte(x) || !tm_match_is_byte(w) || w->constant == NULL ||
        tm_constant_count(w->constant) == 0 || x->constant != NULL)
        return false;
    int64_t groups = tm_node_int(node, "group");
    const int64_t *dims = w->constant->dims;
    bool depthwise = dims[1] == 1 && dims[0] == groups;
    bool faster = groups == 1 ? gathers_too_much(node, w)
                              : groups > 1 && dims[0] % groups == 0 &&
                                    (depthwise || tm_window_form_fills(dims[0] / groups));
    return faster && tm_match_is_single(o->x_zero) && is_along_filters(o->w_zero, w) &&
           is_exact(w->constant, bias);
}

static tm_code float_sums(tm_node *node, const operands *o, tm_value **out) {
    tm_value *inputs[2];
    TM_TRY(centred(node, o->x, o->x_zero, &inputs[0]));
    TM_TRY(centred(node, o->w, o->w_zero, &inputs[1]));
    return tm_rewrite_convolution(node, TM_OP_Conv, 2, inputs, out);
}

/* The sums as float32. */
static tm_code real_sums(tm_node *node, const operands *o, bool floats, tm_value **out) {
    if (floats)
        return float_sums(node, o, out);
    TM_TRY(integer_sums(node, o, out));
    *out = tm_match_make_cast(node, *out, TAMIS_TYPE_FLOAT);
    return TM_OK;
}

/* ---- Conv ---- */

static tm_code rewrite_dequantized(tm_pass_context *context, tm_node *node) {
    tm_window_form form;
    tm_quantized left, right;
    if (!tm_quantized_find(node->inputs[0], &left) || left.by_row ||
        !tm_quantized_weights(node, node->inputs[1], 0, &right))
        return TM_OK;
    tamis_type type = node->outputs[0]->type;
    operands o = {left.integers, left.zero, right.integers, right.zero};
    tm_value *bias = tm_infer_input(node, 2), *result, *scale;
    bool floats = is_in_floats(node, &o, NULL);
    if (!(floats || tm_window_form_integer(node, o.w, &form)) || !tm_pass_allow(context))
        return TM_OK;
    int rank = node->outputs[0]->rank;
    tm_quantized_widen(node, &left);
    o.x = left.integers;
    o.x_zero = left.zero;
    TM_TRY(tm_match_make_pair(node, TM_OP_Mul, left.scale, right.scale, &scale));
    TM_TRY(real_sums(node, &o, floats, &result));
    TM_TRY(tm_match_make_pair(node, TM_OP_Mul, result, along_channels(node, scale, rank), &result));
    if (bias != NULL) {
        bias = type == TAMIS_TYPE_FLOAT ? bias : tm_match_make_cast(node, bias, TAMIS_TYPE_FLOAT);
        TM_TRY(tm_match_make_pair(node, TM_OP_Add, result, along_channels(node, bias, rank), &result));
    }
    if (type != TAMIS_TYPE_FLOAT)
        result = tm_match_make_cast(node, result, type);
    tm_match_replace(node, result->producer);
    return TM_OK;
}

/* ---- QLinearConv and ConvInteger ---- */

/* The scales are multiplied and divided in this order by the operator's kernel, too. */
static tm_code rewrite_qlinear(tm_pass_context *context, tm_node *node) {
    tm_value *const *x = node->inputs;
    tm_value *bias = tm_infer_input(node, 8), *result, *scale;
    tm_window_form form;
    operands o = {x[0], x[2], x[3], x[5]};
    bool floats = is_in_floats(node, &o, bias);
    if (!tm_match_is_byte(x[0]) || !tm_match_is_byte(x[3]) || !tm_match_is_single(x[1]) ||
        !tm_match_is_single(x[2]) || !tm_match_is_single(x[6]) || !tm_match_is_single(x[7]) ||
        x[1]->type != TAMIS_TYPE_FLOAT || x[4]->type != TAMIS_TYPE_FLOAT || x[6]->type != TAMIS_TYPE_FLOAT ||
        !is_along_filters(x[4], x[3]) || !is_along_filters(x[5], x[3]) ||
        !(floats || tm_window_form_integer(node, x[3], &form)) || !tm_pass_allow(context))
        return TM_OK;
    int rank = node->outputs[0]->rank;
    TM_TRY(tm_match_make_pair(node, TM_OP_Mul, x[1], x[4], &scale));
    TM_TRY(tm_match_make_pair(node, TM_OP_Div, scale, x[6], &scale));
    if (floats)
        TM_TRY(float_sums(node, &o, &result));
    else
        TM_TRY(integer_sums(node, &o, &result));
    if (bias != NULL && floats)
        bias = tm_match_make_cast(node, bias, TAMIS_TYPE_FLOAT);
    if (bias != NULL)
        TM_TRY(tm_match_make_pair(node, TM_OP_Add, result, along_channels(node, bias, rank), &result));
    if (!floats)
        result = tm_match_make_cast(node, result, TAMIS_TYPE_FLOAT);
    TM_TRY(tm_match_make_pair(node, TM_OP_Mul, result, along_channels(node, scale, rank), &result));
    tm_value *one = tm_value_create_constant(
        node->graph, NULL, tm_constant_create_scalar(context->model->arena, TAMIS_TYPE_FLOAT, 1));
    TM_TRY(tm_match_make(node, TM_OP_QuantizeLinear, 3, (tm_value *[]){result, one, x[7]}, &result));
    tm_match_replace(node, result->producer);
    return TM_OK;
}

static tm_code rewrite_integer(tm_pass_context *context, tm_node *node) {
    operands o = {node->inputs[0], tm_infer_input(node, 2), node->inputs[1], tm_infer_input(node, 3)};
    tm_value *sums;
    if (!is_in_floats(node, &o, NULL) || !tm_pass_allow(context))
        return TM_OK;
    TM_TRY(float_sums(node, &o, &sums));
    tm_node *reader = tm_value_single_user(node->outputs[0]);
    if (reader != NULL && reader->op == TM_OP_Cast && reader->graph == node->graph &&
        tm_node_int(reader, "to") == TAMIS_TYPE_FLOAT && tm_rewrite_can_replace(reader->outputs[0], sums)) {
        tm_rewrite_replace(reader->outputs[0], sums);
        return TM_OK;
    }
    tm_match_replace(node, tm_match_make_cast(node, sums, TAMIS_TYPE_INT32)->producer);
    return TM_OK;
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    if (context->options->without_integers)
        return TM_OK;
    if (node->op == TM_OP_QLinearConv)
        return rewrite_qlinear(context, node);
    if (node->op == TM_OP_ConvInteger)
        return rewrite_integer(context, node);
    return node->op == TM_OP_Conv && !context->options->strict_math ? rewrite_dequantized(context, node)
                                                                    : TM_OK;
}

tm_code tm_pass_recognize_integer_convolutions(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
