/* SPDX-License-Identifier: Apache-2.0
 *
 * quantized.c: constants and values that were dequantised; see quantized.h.
 *
 *     %d = DequantizeLinear(%q: u4[2, 32, 16] const, %s[16], %z[16]) {axis = 2}        bytes [16, 64],
 *     %r = Reshape(%d) [64, 16]                                                  ->    scales [16], and
 *     %w: f32[16, 64] = Transpose(%r)                                                  zeros if needed
 *
 * Weights that are bytes beside their product, transposed at most, are taken as they are. For all others the
 * movement is carried out on two tensors of their dims: the differences q - z, as int16, and the scales. If
 * then all differences of a column that are not zero have one scale, and lie within 256 numbers, that column
 * is bytes. So it does not matter how many movements there are, nor whether several constants were laid side
 * by side, nor in which integers, blocks or floats of 4 bits (whose doubles are whole) they were stored.
 */
#include "passes/quantized.h"

#include "ir/evaluate.h"
#include "ir/infer.h"
#include "passes/match.h"
#include "passes/rewrite.h"

#include <string.h>

#define MOST_MOVES 32
#define MOST_STEPS 4 /* from what is stored to a scale */

static bool is_scale_type(tamis_type type) {
    return type == TAMIS_TYPE_FLOAT || type == TAMIS_TYPE_FLOAT16 || type == TAMIS_TYPE_BFLOAT16;
}

static bool is_integer(tamis_type type) {
    return tm_type_is_integer(type) && tm_type_bits(type) <= 8;
}

static const tm_node *dequantizer_of(const tm_value *value) {
    const tm_node *node = value->producer;
    return node != NULL && node->op == TM_OP_DequantizeLinear && is_scale_type(node->inputs[1]->type) ? node
                                                                                                      : NULL;
}

/* ---- movement ---- */

/* Those that fill up with zeros are no moves, nor is a Resize that extrapolates. */
bool tm_quantized_is_move(const tm_node *node) {
    switch (node->op) {
    case TM_OP_Pad:
    case TM_OP_Trilu:
    case TM_OP_CenterCropPad:
        return false;
    case TM_OP_Gather:
    case TM_OP_GatherElements:
    case TM_OP_GatherND:
        return true;
    case TM_OP_Resize:
        return strcmp(tm_node_string(node, "mode"), "nearest") == 0 &&
               tm_node_int(node, "antialias") == 0 &&
               strcmp(tm_node_string(node, "coordinate_transformation_mode"), "tf_crop_and_resize") != 0;
    default:
        return tm_op_has(node->op, TM_MOVE | TM_VIEW);
    }
}

int tm_quantized_moved_inputs(const tm_node *node) {
    return node->op == TM_OP_Concat ? node->input_count : 1;
}

static bool same_number(const tm_value *a, const tm_value *b) {
    double x = 0, y = 0;
    if (a == b)
        return true;
    return a != NULL && b != NULL && a->type == b->type && a->constant != NULL && b->constant != NULL &&
           tm_constant_count(a->constant) == 1 && tm_constant_count(b->constant) == 1 &&
           tm_constant_double(a->constant, 0, &x) && tm_constant_double(b->constant, 0, &y) && x == y;
}

bool tm_quantized_same(const tm_node *a, const tm_node *b) {
    return tm_match_is_single(a->inputs[1]) && tm_match_is_single(tm_infer_input(a, 2)) &&
           tm_node_int(a, "block_size") == 0 && tm_node_int(b, "block_size") == 0 &&
           same_number(a->inputs[1], b->inputs[1]) &&
           same_number(tm_infer_input(a, 2), tm_infer_input(b, 2));
}

/* ---- computed values ---- */

bool tm_quantized_find(const tm_value *value, tm_quantized *out) {
    const tm_node *node = dequantizer_of(value);
    if (node == NULL || !is_integer(node->inputs[0]->type) || node->inputs[0]->constant != NULL)
        return false;
    *out = (tm_quantized){node->inputs[0], node->inputs[1], tm_infer_input(node, 2), false};
    out->by_row = tm_match_is_row_scale(node) && out->zero == NULL;
    return out->by_row || (tm_node_int(node, "block_size") == 0 && tm_match_is_single(out->scale) &&
                           tm_match_is_single(out->zero));
}

static tm_value *as_type(tm_node *before, tm_value *value, tamis_type type) {
    return value == NULL || value->type == type ? value : tm_match_make_cast(before, value, type);
}

void tm_quantized_widen(tm_node *before, tm_quantized *quantized) {
    bool is_signed = tm_type_is_signed(quantized->integers->type);
    tamis_type byte = is_signed ? TAMIS_TYPE_INT8 : TAMIS_TYPE_UINT8;
    quantized->integers = as_type(before, quantized->integers, byte);
    quantized->zero = as_type(before, quantized->zero, byte);
    quantized->scale = as_type(before, quantized->scale, TAMIS_TYPE_FLOAT);
}

/* ---- constants ---- */

/* The first result of a node of constants, which goes again; NULL: it cannot be had. */
static tm_value *evaluated(tm_node *node, int output) {
    tm_model *model = node->graph->model;
    tm_graph *graph = node->graph;
    const tm_constant **results =
        TM_NEW_ARRAY(model->arena, const tm_constant *, (size_t)node->output_count + 1);
    bool done =
        tm_infer_node(model, node) == TM_OK && tm_evaluate_node(model, node, true, results) == TM_OK;
    tm_node_remove(node);
    return done && results[output] != NULL ? tm_value_create_constant(graph, NULL, results[output]) : NULL;
}

static tm_value *evaluated_cast(tm_node *before, tm_value *value, tamis_type type) {
    if (value == NULL || value->type == type)
        return value;
    return evaluated(tm_match_make_cast(before, value, type)->producer, 0);
}

/* One number, or one for each position of the axis. */
static bool is_along(const tm_value *parameter, const tm_value *integers, int64_t node_axis, int axis) {
    if (parameter == NULL || tm_match_is_single(parameter))
        return true;
    node_axis += node_axis < 0 ? integers->rank : 0;
    return parameter->rank == 1 && node_axis == axis;
}

/* A scale for each position may be of dims [1] for a matrix of one column: one number then. */
static bool take_bytes(tm_node *before, const tm_node *node, int axis, tm_quantized *out) {
    *out = (tm_quantized){node->inputs[0], node->inputs[1], tm_infer_input(node, 2), false};
    int64_t node_axis = tm_node_int(node, "axis");
    if (!tm_match_is_byte(out->integers) || tm_node_int(node, "block_size") != 0 ||
        !is_along(out->scale, out->integers, node_axis, axis) ||
        !is_along(out->zero, out->integers, node_axis, axis))
        return false;
    out->scale = evaluated_cast(before, out->scale, TAMIS_TYPE_FLOAT);
    return out->scale != NULL;
}

static bool has_constants(const tm_node *node, int from) {
    for (int i = from; i < node->input_count; i++)
        if (node->inputs[i] != NULL && node->inputs[i]->constant == NULL)
            return false;
    return true;
}

/* What the node of a value makes of other inputs, which are constant. */
static tm_value *evaluated_with(tm_node *before, const tm_value *value, tm_value **inputs) {
    const tm_node *node = value->producer;
    tm_node *copy = tm_rewrite_copy(before->graph, before, node, node->input_count, inputs);
    int output = 0;
    for (int i = 0; i < node->output_count; i++) {
        (void)tm_node_add_output(copy, NULL);
        output = node->outputs[i] == value ? i : output;
    }
    return evaluated(copy, output);
}

/* A value that a few nodes compute from constants, as a constant; NULL: it is none. */
static tm_value *computed(tm_node *before, tm_value *value, int depth) {
    tm_node *node = value->producer;
    if (value->constant != NULL)
        return value;
    if (node == NULL || depth == 0 || tm_node_subgraph_count(node) > 0 || tm_op_has(node->op, TM_RANDOM))
        return NULL;
    tm_value **inputs = TM_NEW_ARRAY(before->graph->model->arena, tm_value *, node->input_count + 1);
    for (int i = 0; i < node->input_count; i++)
        if (node->inputs[i] != NULL && (inputs[i] = computed(before, node->inputs[i], depth - 1)) == NULL)
            return NULL;
    return evaluated_with(before, value, inputs);
}

/* Scales may be stored in few bytes, as float16 that is cast or as multiples of a step: then the node reads
 * the numbers. Has it constants then? */
static bool settles(tm_node *node) {
    if (dequantizer_of(node->outputs[0]) == NULL)
        return false;
    tm_value *scale = computed(node, node->inputs[1], MOST_STEPS);
    if (scale != NULL && scale != node->inputs[1])
        tm_node_set_input(node, 1, scale);
    return has_constants(node, 0);
}

/* Transposes and nothing between them are carried out on the bytes. */
static bool take_transposed(tm_node *before, tm_value *value, int axis, tm_quantized *out, int depth) {
    tm_node *node = value->producer;
    int64_t perm[TAMIS_MAX_RANK];
    if (node == NULL || depth == 0)
        return false;
    if (node->op == TM_OP_DequantizeLinear)
        return settles(node) && take_bytes(before, node, axis, out);
    if (node->op == TM_OP_Identity)
        return take_transposed(before, node->inputs[0], axis, out, depth - 1);
    if (node->op != TM_OP_Transpose)
        return false;
    tm_rewrite_permutation(node, perm);
    tm_value *turned;
    if (!take_transposed(before, node->inputs[0], (int)perm[axis], out, depth - 1) ||
        tm_match_make_transpose(before, out->integers, perm, &turned) != TM_OK)
        return false;
    out->integers = evaluated(turned->producer, 0);
    return out->integers != NULL;
}

/* ---- movement carried out ---- */

/* What is moved: differences of integers from their zero points, or a scale for each of them. */
typedef enum part { DIFFERENCES, SCALES } part;

/* A number of a parameter for each element of x. */
typedef struct walk {
    int64_t dim, inner, block, count; /* of the axis, behind it; elements with one parameter; parameters */
} walk;

static walk walk_of(const tm_node *node) {
    const tm_constant *x = node->inputs[0]->constant;
    int64_t axis = tm_node_int(node, "axis"), block = tm_node_int(node, "block_size");
    walk w = {1, 1, block > 0 ? block : 1, tm_constant_count(node->inputs[1]->constant)};
    axis += axis < 0 ? x->rank : 0;
    for (int i = 0; i < x->rank; i++) {
        w.dim = i == axis ? x->dims[i] : w.dim;
        w.inner *= i > axis ? x->dims[i] : 1;
    }
    return w;
}

static int64_t parameter_at(const walk *w, int64_t i) {
    if (w->count == 1)
        return 0;
    int64_t position = i / w->inner % w->dim / w->block;
    if (w->block == 1 && w->count == w->dim)
        return position;
    int64_t blocks = (w->dim + w->block - 1) / w->block;
    return (i / (w->inner * w->dim) * blocks + position) * w->inner + i % w->inner;
}

/* Floats of 4 bits are halves of whole numbers. */
static tm_value *differences(tm_node *before, const tm_node *node, const walk *w, int64_t count) {
    tm_arena *arena = before->graph->model->arena;
    const tm_constant *x = node->inputs[0]->constant;
    const tm_constant *zero = tm_infer_input(node, 2) != NULL ? node->inputs[2]->constant : NULL;
    bool halves = x->type == TAMIS_TYPE_FLOAT4E2M1;
    int16_t *to = TM_NEW_ARRAY(arena, int16_t, count + 1);
    for (int64_t i = 0; i < count; i++) {
        double number = 0, z = 0;
        int64_t at = parameter_at(w, i);
        if (!tm_constant_double(x, i, &number) || (zero != NULL && !tm_constant_double(zero, at, &z)))
            return NULL;
        to[i] = (int16_t)(halves ? 2 * (number - z) : number - z);
    }
    return tm_value_create_constant(before->graph, NULL,
                                    tm_constant_create(arena, TAMIS_TYPE_INT16, x->rank, x->dims, to));
}

static tm_value *scales(tm_node *before, const tm_node *node, const walk *w, int64_t count) {
    tm_arena *arena = before->graph->model->arena;
    const tm_constant *x = node->inputs[0]->constant;
    double factor = x->type == TAMIS_TYPE_FLOAT4E2M1 ? 0.5 : 1;
    float *to = TM_NEW_ARRAY(arena, float, count + 1);
    for (int64_t i = 0; i < count; i++) {
        double number = 0;
        if (!tm_constant_double(node->inputs[1]->constant, parameter_at(w, i), &number))
            return NULL;
        to[i] = (float)(number * factor);
    }
    return tm_value_create_constant(before->graph, NULL,
                                    tm_constant_create(arena, TAMIS_TYPE_FLOAT, x->rank, x->dims, to));
}

static tm_value *dequantized(tm_node *before, const tm_node *node, part wanted) {
    tamis_type type = node->inputs[0]->type;
    if (!(is_integer(type) || type == TAMIS_TYPE_FLOAT4E2M1) ||
        tm_constant_count(node->inputs[1]->constant) == 0)
        return NULL;
    walk w = walk_of(node);
    int64_t count = tm_constant_count(node->inputs[0]->constant);
    return wanted == DIFFERENCES ? differences(before, node, &w, count) : scales(before, node, &w, count);
}

static tm_value *replay(tm_node *before, tm_value *value, part wanted, int depth) {
    tm_node *node = value->producer;
    if (node == NULL || depth == 0)
        return NULL;
    if (node->op == TM_OP_DequantizeLinear)
        return settles(node) ? dequantized(before, node, wanted) : NULL;
    if (node->op == TM_OP_Cast && is_scale_type(node->inputs[0]->type))
        return replay(before, node->inputs[0], wanted, depth - 1);
    int parts = tm_quantized_moved_inputs(node);
    if (!tm_quantized_is_move(node) || !has_constants(node, parts))
        return NULL;
    tm_value **inputs = TM_NEW_ARRAY(before->graph->model->arena, tm_value *, node->input_count);
    for (int i = 0; i < node->input_count; i++) {
        inputs[i] = node->inputs[i];
        if (i < parts && (inputs[i] = replay(before, inputs[i], wanted, depth - 1)) == NULL)
            return NULL;
    }
    return evaluated_with(before, value, inputs);
}

/* Of one column: the scale of what is not zero, and the zero point that brings all into 8 bits. */
typedef struct column {
    float scale;
    int least, most;
    bool scaled;
} column;

static bool measure(const tm_constant *d, const float *scales, const walk *w, column *columns) {
    const int16_t *numbers = d->data;
    for (int64_t i = 0; i < tm_constant_count(d); i++) {
        column *c = &columns[i / w->inner % w->dim];
        if (!c->scaled || (c->most == 0 && c->least == 0 && numbers[i] != 0))
            c->scale = scales[i];
        c->scaled = true;
        if (numbers[i] != 0 && scales[i] != c->scale)
            return false;
        c->least = numbers[i] < c->least ? numbers[i] : c->least;
        c->most = numbers[i] > c->most ? numbers[i] : c->most;
        if (c->most - c->least > 255)
            return false;
    }
    return true;
}

static int zero_of(const column *c) {
    return c->least < -128 ? -128 - c->least : c->most > 127 ? 127 - c->most : 0;
}

static tm_value *made(tm_node *before, tamis_type type, int rank, const int64_t *dims, const void *data) {
    return tm_value_create_constant(before->graph, NULL,
                                    tm_constant_create(before->graph->model->arena, type, rank, dims, data));
}

static bool take_moved(tm_node *before, tm_value *value, int axis, tm_quantized *out) {
    tm_arena *arena = before->graph->model->arena;
    const tm_value *moved = replay(before, value, DIFFERENCES, MOST_MOVES);
    const tm_value *scaled = moved != NULL ? replay(before, value, SCALES, MOST_MOVES) : NULL;
    if (scaled == NULL)
        return false;
    const tm_constant *d = moved->constant;
    walk w = {d->dims[axis], 1, 1, d->dims[axis]};
    for (int i = axis + 1; i < d->rank; i++)
        w.inner *= d->dims[i];
    column *columns = TM_NEW_ARRAY(arena, column, w.dim + 1);
    if (!measure(d, scaled->constant->data, &w, columns))
        return false;
    int64_t count = tm_constant_count(d);
    int8_t *bytes = TM_NEW_ARRAY(arena, int8_t, count + 1), *zeros = TM_NEW_ARRAY(arena, int8_t, w.dim + 1);
    float *scales = TM_NEW_ARRAY(arena, float, w.dim + 1);
    bool any = false;
    for (int64_t i = 0; i < w.dim; i++) {
        scales[i] = columns[i].scale;
        zeros[i] = (int8_t)zero_of(&columns[i]);
        any = any || zeros[i] != 0;
    }
    for (int64_t i = 0; i < count; i++)
        bytes[i] = (int8_t)(((const int16_t *)d->data)[i] + zeros[i / w.inner % w.dim]);
    out->integers = made(before, TAMIS_TYPE_INT8, d->rank, d->dims, bytes);
    out->scale = made(before, TAMIS_TYPE_FLOAT, 1, &w.dim, scales);
    out->zero = any ? made(before, TAMIS_TYPE_INT8, 1, &w.dim, zeros) : NULL;
    return true;
}

bool tm_quantized_weights(tm_node *before, tm_value *value, int axis, tm_quantized *out) {
    for (int i = 0; i < value->rank; i++)
        if (!tm_dim_is_constant(value->dims[i]) || value->dims[i]->constant == 0)
            return false;
    return take_transposed(before, value, axis, out, MOST_MOVES) || take_moved(before, value, axis, out);
}
