/* SPDX-License-Identifier: Apache-2.0
 *
 * merge_branches.c: parallel convolutions of one input that are summed are one convolution.
 *
 *     %a = Conv(%x, %w3) {kernel_shape = [3, 3], pads = 1}
 *     %b = Conv(%x, %w1) {kernel_shape = [1, 1]}
 *     %c = Mul(%x, %f)
 *     %z = Add(Add(%a, %b), %c)
 *  ->
 *     %z = Conv(%x, %w) {kernel_shape = [3, 3], pads = 1}          w = w3, and in its middle + w1 + f
 *
 * Networks that are trained with branches (RepVGG, RepLKNet, UniRepLKNet, MobileOne) are often exported with
 * them. A branch joins another one, its base, when all its taps lie on taps of the base: a smaller kernel in
 * a larger one, a dilated one in a dense one, a depthwise one in one with fewer groups; so nothing is
 * computed that was not before. The input itself and the input times a factor for each channel (a
 * BatchNormalization of it) are kernels of one. Terms of the sum that are no branches stay.
 *
 * Only for constant float32 weights and biases. Not bit-exact: weights are added before they are multiplied;
 * not with --math=strict. An input that would be rounded to bfloat16 as a factor of a product stays an
 * addend.
 */
#include "ir/infer.h"
#include "ir/ops/window.h"
#include "passes/match.h"
#include "passes/window_form.h"

#include <string.h>

#define MOST_TERMS 16
#define AXES TM_WINDOW_FORM_AXES

typedef struct branch {
    tm_value *x;
    tm_node *node;              /* the Conv, or NULL: x times `factor` */
    const tm_constant *weights; /* of the Conv */
    const tm_constant *bias;    /* or NULL */
    const tm_constant *factor;  /* a number for each channel or one for all, or NULL: 1 */
    int axes;
    int64_t filters, channels, groups; /* channels of x */
    int64_t kernel[AXES], dilation[AXES], stride[AXES], head[AXES];
} branch;

/* ---- what a term is ---- */

static bool is_row(const tm_value *value, int64_t count) {
    return value->constant != NULL && value->type == TAMIS_TYPE_FLOAT && value->rank == 1 &&
           tm_constant_count(value->constant) == count;
}

static bool read_convolution(tm_node *node, branch *out) {
    const tm_value *weights = node->inputs[1], *bias = node->input_count > 2 ? node->inputs[2] : NULL;
    int64_t pads[2 * AXES];
    const tm_constant *w = weights->constant;
    if (w == NULL || weights->type != TAMIS_TYPE_FLOAT || w->panel != 0 || w->rank < 3 ||
        w->rank > 2 + AXES || tm_constant_count(w) == 0 || node->inputs[0]->rank != w->rank ||
        (bias != NULL && !is_row(bias, w->dims[0])) || !tm_window_form_pads(node, w->dims + 2, pads))
        return false;
    *out = (branch){.x = node->inputs[0],
                    .node = node,
                    .weights = w,
                    .axes = w->rank - 2,
                    .filters = w->dims[0],
                    .groups = tm_node_int(node, "group"),
                    .bias = bias != NULL ? bias->constant : NULL};
    if (out->groups < 1 || out->filters % out->groups != 0)
        return false;
    out->channels = w->dims[1] * out->groups;
    for (int i = 0; i < out->axes; i++) {
        out->kernel[i] = w->dims[2 + i];
        out->dilation[i] = tm_window_item(node, "dilations", i, 1);
        out->stride[i] = tm_window_item(node, "strides", i, 1);
        out->head[i] = pads[i];
    }
    return true;
}

/* Has the constant one element, or one for each of `channels` along axis 1 of a value of that rank? */
static bool is_channel_factor(const tm_value *factor, int rank, int64_t channels) {
    const tm_constant *c = factor->constant;
    if (c == NULL || factor->type != TAMIS_TYPE_FLOAT || c->rank > rank)
        return false;
    int64_t count = tm_constant_count(c);
    return count == 1 ||
           (count == channels && c->rank >= rank - 1 && c->dims[c->rank - (rank - 1)] == channels);
}

/* x, or x times a constant, for the x of `base`. */
static bool read_scaled(tm_value *value, const branch *base, branch *out) {
    tm_node *mul = value->producer;
    *out = (branch){.x = base->x,
                    .axes = base->axes,
                    .filters = base->channels,
                    .channels = base->channels,
                    .groups = base->channels};
    for (int i = 0; i < base->axes; i++)
        out->kernel[i] = out->dilation[i] = out->stride[i] = 1;
    if (value == base->x)
        return true;
    if (mul == NULL || mul->op != TM_OP_Mul || mul->graph != base->node->graph)
        return false;
    for (int i = 0; i < 2; i++)
        if (mul->inputs[i] == base->x &&
            is_channel_factor(mul->inputs[1 - i], base->axes + 2, base->channels)) {
            out->factor = mul->inputs[1 - i]->constant;
            return true;
        }
    return false;
}

/* ---- merging ---- */

/* The base's tap on which tap `tap` of the branch lies, along an axis; -1: none. */
static int64_t tap_of(const branch *base, const branch *part, int axis, int64_t tap) {
    int64_t at = tap * part->dilation[axis] - part->head[axis] + base->head[axis];
    if (at < 0 || at % base->dilation[axis] != 0 || at / base->dilation[axis] >= base->kernel[axis])
        return -1;
    return at / base->dilation[axis];
}

static bool lies_in(const branch *base, const branch *part) {
    if (part->x != base->x || part->axes != base->axes || part->filters != base->filters ||
        part->channels != base->channels || part->groups % base->groups != 0)
        return false;
    for (int axis = 0; axis < base->axes; axis++) {
        if (part->stride[axis] != base->stride[axis])
            return false;
        for (int64_t tap = 0; tap < part->kernel[axis]; tap++)
            if (tap_of(base, part, axis, tap) < 0)
                return false;
    }
    return true;
}

/* Adds the weights of `part` to those of the base. */
static void add_weights(const branch *base, const branch *part, float *sum) {
    int64_t within = base->channels / base->groups, own = part->channels / part->groups, taps = 1,
            base_taps = 1;
    const float *data = part->weights != NULL ? part->weights->data : NULL;
    for (int axis = 0; axis < base->axes; axis++) {
        taps *= part->kernel[axis];
        base_taps *= base->kernel[axis];
    }
    for (int64_t m = 0; m < part->filters; m++)
        for (int64_t c = 0; c < own; c++) {
            int64_t channel = m / (part->filters / part->groups) * own + c;
            channel -= m / (base->filters / base->groups) * within;
            for (int64_t tap = 0; tap < taps; tap++) {
                int64_t at = 0, scale = 1, rest = tap;
                for (int axis = base->axes - 1; axis >= 0; axis--) {
                    at += scale * tap_of(base, part, axis, rest % part->kernel[axis]);
                    rest /= part->kernel[axis];
                    scale *= base->kernel[axis];
                }
                double weight = 1;
                if (data != NULL)
                    weight = data[(m * own + c) * taps + tap];
                else if (part->factor != NULL)
                    (void)tm_constant_double(part->factor, tm_constant_count(part->factor) == 1 ? 0 : m,
                                             &weight);
                sum[(m * within + channel) * base_taps + at] += (float)weight;
            }
        }
}

static tm_value *float_constant(tm_graph *graph, int rank, const int64_t *dims, const float *data) {
    return tm_value_create_constant(
        graph, NULL, tm_constant_create(graph->model->arena, TAMIS_TYPE_FLOAT, rank, dims, data));
}

static tm_value *merged_bias(tm_graph *graph, const branch *base, const branch *part) {
    if (base->bias == NULL && part->bias == NULL)
        return NULL;
    float *sum = TM_NEW_ARRAY(graph->model->arena, float, base->filters);
    for (int64_t i = 0; i < base->filters; i++)
        sum[i] = (base->bias != NULL ? ((const float *)base->bias->data)[i] : 0) +
                 (part->bias != NULL ? ((const float *)part->bias->data)[i] : 0);
    return float_constant(graph, 1, &base->filters, sum);
}

/* The base's Conv with the branch in it, before `before`. */
static tm_code merge(tm_node *before, const branch *base, const branch *part, tm_value **out) {
    tm_graph *graph = before->graph;
    const tm_constant *old = base->weights;
    int64_t count = tm_constant_count(old);
    float *sum = tm_arena_copy(graph->model->arena, old->data, (size_t)count * sizeof(float));
    add_weights(base, part, sum);
    tm_value *inputs[3] = {base->x, float_constant(graph, old->rank, old->dims, sum),
                           merged_bias(graph, base, part)};
    tm_node *made =
        tm_node_create(graph, before, TM_OP_Conv, base->node->name, inputs[2] != NULL ? 3 : 2, inputs);
    for (int i = 0; i < tm_op_get(TM_OP_Conv)->attribute_count; i++)
        made->attributes[i] = base->node->attributes[i];
    *out = tm_node_add_output(made, NULL);
    return tm_infer_node(graph->model, made);
}

/* ---- sums ---- */

typedef struct sum {
    tm_value *terms[MOST_TERMS];
    bool alone[MOST_TERMS]; /* nothing but the sum reads the term */
    int count;
} sum;

static bool is_term(const tm_value *value, const tm_value *result) {
    return value->rank == result->rank && tm_match_same_dims(value, 0, result, 0, result->rank);
}

/* The terms of a tree of Adds, whose inner nodes have one reader and the dims of the result. */
static bool collect(tm_node *add, const tm_value *result, sum *out) {
    for (int i = 0; i < 2; i++) {
        tm_value *value = add->inputs[i];
        tm_node *inner = value->producer;
        bool alone = tm_value_single_user(value) == add;
        if (inner != NULL && inner->op == TM_OP_Add && inner->graph == add->graph && alone &&
            is_term(value, result)) {
            if (!collect(inner, result, out))
                return false;
            continue;
        }
        if (out->count == MOST_TERMS)
            return false;
        out->alone[out->count] = alone;
        out->terms[out->count++] = value;
    }
    return true;
}

/* Is term `part` of the sum a branch that lies in term `base`? */
static bool finds(const tm_pass_context *context, const tm_node *root, const sum *s, int base, int part,
                  branch *out) {
    const tm_value *result = root->outputs[0];
    tm_node *of = s->terms[base]->producer, *other = s->terms[part]->producer;
    if (base == part || of == NULL || of->op != TM_OP_Conv || of->graph != root->graph || !s->alone[base] ||
        !is_term(s->terms[base], result) || !is_term(s->terms[part], result) ||
        !read_convolution(of, &out[0]))
        return false;
    if (other != NULL && other->op == TM_OP_Conv && other->graph == root->graph && s->alone[part])
        return read_convolution(other, &out[1]) && lies_in(&out[0], &out[1]);
    return context->options->factors != TAMIS_TYPE_BFLOAT16 &&
           read_scaled(s->terms[part], &out[0], &out[1]) && lies_in(&out[0], &out[1]);
}

/* One pair of terms becomes one. */
static tm_code merge_pair(tm_pass_context *context, tm_node *root, sum *s, bool *changed, bool *out_merged) {
    branch pair[2];
    *out_merged = false;
    for (int base = 0; base < s->count; base++)
        for (int part = 0; part < s->count; part++) {
            if (!finds(context, root, s, base, part, pair) || (!*changed && !tm_pass_allow(context)))
                continue;
            TM_TRY(merge(root, &pair[0], &pair[1], &s->terms[base]));
            s->alone[base] = true;
            memmove(s->terms + part, s->terms + part + 1, (size_t)(s->count - part - 1) * sizeof(*s->terms));
            memmove(s->alone + part, s->alone + part + 1, (size_t)(s->count - part - 1) * sizeof(*s->alone));
            s->count--;
            *changed = *out_merged = true;
            return TM_OK;
        }
    return TM_OK;
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    sum s = {.count = 0};
    bool changed = false, merged = true;
    if (node->op != TM_OP_Add || context->options->strict_math ||
        node->outputs[0]->type != TAMIS_TYPE_FLOAT || node->outputs[0]->rank < 3 ||
        !collect(node, node->outputs[0], &s))
        return TM_OK;
    while (merged)
        TM_TRY(merge_pair(context, node, &s, &changed, &merged));
    if (!changed)
        return TM_OK;
    tm_value *result = s.terms[0];
    for (int i = 1; i < s.count; i++)
        TM_TRY(tm_match_make(node, TM_OP_Add, 2, (tm_value *[]){result, s.terms[i]}, &result));
    tm_match_replace(node, result->producer);
    return TM_OK;
}

tm_code tm_pass_merge_branches(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
