/* SPDX-License-Identifier: Apache-2.0
 *
 * subpixel_convolutions.c: a transposed convolution is a convolution that makes all phases of its stride as
 * channels.
 *
 *     %y = ConvTranspose(%x: f32[n, c, h], %w: f32[c, m, 4]) {strides = [2], pads = [1, 1]}
 *  ->
 *     %c: f32[n, 2*m, h + 1] = Conv(%x, %v: f32[2*m, c, 2]) {pads = [1, 1]}
 *     %t = Transpose(%c) to channels last, Reshape [n, h + 1, 2*m] to [n, 2*h + 2, m]
 *     %y = Pad(%t) {-1, -1}, Transpose to channels first          v[r*m + f, c, u] = w[c, f, r + 2*(1 - u)]
 *
 * Element s*q + r of the whole result is the sum over t of x[q - t] * w[r + s*t], so that each phase r is a
 * convolution by every s-th tap, turned round; all have ceil(taps / s) of them. In space, phases lie between
 * positions: one copy, in which all channels of some neighbours are in one piece. Then convolutions have
 * loops made for them, and products where kernel and stride are equal; the transposes meet those of
 * channels_last.
 *
 * Where the stride does not divide the taps the last ones of some phases are zeros. Those turn an infinity of
 * x into NaN, so with --math=strict such nodes stay. Only for constant weights and bias of float32, no
 * dilation, and enough filters to fill vectors.
 */
#include "ir/infer.h"
#include "ir/ops/window.h"
#include "passes/layout.h"
#include "passes/match.h"
#include "passes/window_form.h"

#include <math.h>
#include <string.h>

#define AXES TM_WINDOW_FORM_AXES
#define LEAST_FILTERS 4 /* of all phases */
#define LEAST_GROUPED 8 /* of a group: fewer leave most of a vector idle */

typedef struct transposed {
    int axes;
    int64_t channels, filters, groups; /* of a group; groups */
    int64_t kernel[AXES], stride[AXES];
    int64_t taps[AXES];     /* of a phase */
    int64_t pads[2 * AXES]; /* of the convolution, at heads and tails */
    int64_t crop[2 * AXES]; /* of the phases in space */
    int64_t phases;
} transposed;

/* What of the result to leave out at the edges of an axis:
 * whole steps by less padding, the rest by cropping. */
static bool read_edges(const tm_node *node, int axis, transposed *t) {
    int64_t stride = t->stride[axis], taps = t->taps[axis], all = t->axes;
    int64_t head = tm_window_item(node, "pads", axis, 0),
            tail = tm_window_item(node, "pads", axis + t->axes, 0);
    tail += stride * taps - t->kernel[axis] - tm_window_item(node, "output_padding", axis, 0);
    if (head < 0 || tail < 0)
        return false;
    int64_t lead = head / stride < taps - 1 ? head / stride : taps - 1;
    int64_t trail = tail / stride < taps - 1 ? tail / stride : taps - 1;
    t->pads[axis] = taps - 1 - lead;
    t->pads[all + axis] = taps - 1 - trail;
    t->crop[axis] = head - lead * stride;
    t->crop[all + axis] = tail - trail * stride;
    return true;
}

static bool read(const tm_pass_context *context, const tm_node *node, transposed *out) {
    const tm_value *x = node->inputs[0], *weights = node->inputs[1];
    const tm_attribute *shape = tm_node_attribute(node, "output_shape");
    const tm_constant *w = weights->constant;
    if (x->type != TAMIS_TYPE_FLOAT || x->rank < 3 || x->rank > 2 + AXES || tm_value_is_constant(x) ||
        w == NULL || w->panel != 0 || tm_constant_count(w) == 0 || (shape->present && shape->count > 0) ||
        strcmp(tm_node_string(node, "auto_pad"), "NOTSET") != 0 ||
        (node->input_count > 2 && node->inputs[2] != NULL && node->inputs[2]->constant == NULL))
        return false;
    *out = (transposed){
        .axes = x->rank - 2, .filters = w->dims[1], .groups = tm_node_int(node, "group"), .phases = 1};
    if (out->groups < 1 || w->dims[0] % out->groups != 0)
        return false;
    out->channels = w->dims[0] / out->groups;
    for (int i = 0; i < out->axes; i++) {
        out->kernel[i] = w->dims[2 + i];
        out->stride[i] = tm_window_item(node, "strides", i, 1);
        out->taps[i] = (out->kernel[i] + out->stride[i] - 1) / out->stride[i];
        out->phases *= out->stride[i];
        if (tm_window_item(node, "dilations", i, 1) != 1 || !read_edges(node, i, out) ||
            (context->options->strict_math && out->kernel[i] % out->stride[i] != 0))
            return false;
    }
    for (int64_t i = 0; i < tm_constant_count(w); i++)
        if (!isfinite(((const float *)w->data)[i])) /* counts over the padding */
            return false;
    return out->filters * out->phases >= (out->groups > 1 ? LEAST_GROUPED : LEAST_FILTERS);
}

/* The tap of w for tap `at` of a phase, both row-major over the axes; -1: a zero. */
static int64_t tap_of(const transposed *t, int64_t phase, int64_t at) {
    int64_t tap = 0, scale = 1;
    for (int axis = t->axes - 1; axis >= 0; axis--) {
        int64_t turned = t->taps[axis] - 1 - at % t->taps[axis];
        int64_t one = phase % t->stride[axis] + t->stride[axis] * turned;
        if (one >= t->kernel[axis])
            return -1;
        tap += one * scale;
        scale *= t->kernel[axis];
        at /= t->taps[axis];
        phase /= t->stride[axis];
    }
    return tap;
}

/* [groups * phases * filters, channels, taps...] */
static tm_value *phase_weights(tm_graph *graph, const transposed *t, const tm_constant *w) {
    int64_t dims[2 + AXES] = {t->groups * t->phases * t->filters, t->channels}, taps = 1, old_taps = 1;
    for (int i = 0; i < t->axes; i++) {
        dims[2 + i] = t->taps[i];
        taps *= t->taps[i];
        old_taps *= t->kernel[i];
    }
    float *data = TM_NEW_ARRAY(graph->model->arena, float, dims[0] * dims[1] * taps);
    const float *old = w->data;
    for (int64_t row = 0; row < dims[0]; row++)
        for (int64_t c = 0; c < t->channels; c++)
            for (int64_t at = 0; at < taps; at++) {
                int64_t group = row / (t->phases * t->filters), phase = row / t->filters % t->phases;
                int64_t tap = tap_of(t, phase, at);
                int64_t from = (group * t->channels + c) * t->filters + row % t->filters;
                data[(row * t->channels + c) * taps + at] = tap < 0 ? 0 : old[from * old_taps + tap];
            }
    return tm_value_create_constant(
        graph, NULL, tm_constant_create(graph->model->arena, TAMIS_TYPE_FLOAT, 2 + t->axes, dims, data));
}

static tm_value *phase_bias(tm_graph *graph, const transposed *t, const tm_constant *bias) {
    int64_t count = t->groups * t->phases * t->filters;
    float *data = TM_NEW_ARRAY(graph->model->arena, float, count);
    for (int64_t i = 0; i < count; i++)
        data[i] = ((const float *)bias->data)[i / (t->phases * t->filters) * t->filters + i % t->filters];
    return tm_value_create_constant(
        graph, NULL, tm_constant_create(graph->model->arena, TAMIS_TYPE_FLOAT, 1, &count, data));
}

/* The convolution, channels last. */
static tm_code convolve(tm_node *node, const transposed *t, tm_value **out) {
    bool biased = node->input_count > 2 && node->inputs[2] != NULL;
    tm_value *inputs[3] = {node->inputs[0], phase_weights(node->graph, t, node->inputs[1]->constant),
                           biased ? phase_bias(node->graph, t, node->inputs[2]->constant) : NULL};
    tm_node *made = tm_node_create(node->graph, node, TM_OP_Conv, node->name, biased ? 3 : 2, inputs);
    tm_node_set_int(made, "group", t->groups);
    tm_node_set_ints(made, "kernel_shape", t->taps, t->axes);
    tm_node_set_ints(made, "pads", t->pads, 2 * (int64_t)t->axes);
    tm_value *result = tm_node_add_output(made, NULL);
    TM_TRY(tm_infer_node(node->graph->model, made));
    return tm_layout_to_last(node, result, out);
}

/* [n, q..., groups * phases * filters] -> [n, q * stride..., groups * filters] */
static tm_code shuffle(tm_node *node, const transposed *t, tm_value **x) {
    tm_dims *dims = node->graph->model->dims;
    tm_dim cut[3 + 2 * AXES], merged[2 + AXES];
    int64_t perm[3 + 2 * AXES];
    int rank = 3 + 2 * t->axes, group = 1 + t->axes;
    cut[0] = merged[0] = (*x)->dims[0];
    cut[group] = tm_dim_constant(dims, t->groups);
    cut[rank - 1] = tm_dim_constant(dims, t->filters);
    merged[1 + t->axes] = tm_dim_constant(dims, t->groups * t->filters);
    perm[0] = 0, perm[rank - 2] = group, perm[rank - 1] = rank - 1;
    for (int i = 0; i < t->axes; i++) {
        cut[1 + i] = (*x)->dims[1 + i];
        cut[group + 1 + i] = tm_dim_constant(dims, t->stride[i]);
        merged[1 + i] = tm_dim_mul(dims, cut[1 + i], cut[group + 1 + i]);
        perm[1 + 2 * i] = 1 + i, perm[2 + 2 * i] = group + 1 + i;
    }
    *x = tm_match_view(node, *x, rank, cut);
    TM_TRY(tm_match_make_transpose(node, *x, perm, x));
    *x = tm_match_view(node, *x, 2 + t->axes, merged);
    return TM_OK;
}

static tm_code crop(tm_node *node, const transposed *t, tm_value **x) {
    int64_t pads[2 * (2 + AXES)] = {0}, count = 2 * (2 + (int64_t)t->axes);
    bool any = false;
    for (int i = 0; i < t->axes; i++) {
        pads[1 + i] = -t->crop[i];
        pads[3 + t->axes + i] = -t->crop[t->axes + i];
        any = any || t->crop[i] != 0 || t->crop[t->axes + i] != 0;
    }
    if (!any)
        return TM_OK;
    tm_constant *list = tm_constant_create_i64(node->graph->model->arena, 1, &count, pads);
    return tm_match_make(node, TM_OP_Pad, 2,
                         (tm_value *[]){*x, tm_value_create_constant(node->graph, NULL, list)}, x);
}

static tm_code rewrite(tm_pass_context *context, tm_node *node) {
    transposed t;
    tm_value *result;
    if (node->op != TM_OP_ConvTranspose || !read(context, node, &t) || !tm_pass_allow(context))
        return TM_OK;
    TM_TRY(convolve(node, &t, &result));
    if (t.phases > 1)
        TM_TRY(shuffle(node, &t, &result));
    TM_TRY(crop(node, &t, &result));
    int64_t perm[TAMIS_MAX_RANK];
    for (int i = 0; i < result->rank; i++)
        perm[i] = tm_layout_axis(i, result->rank);
    tm_node *back = tm_node_create(node->graph, node, TM_OP_Transpose, NULL, 1, &result);
    tm_node_set_ints(back, "perm", perm, result->rank);
    tm_match_replace(node, back);
    return TM_OK;
}

tm_code tm_pass_subpixel_convolutions(tm_pass_context *context) {
    return tm_match_each(context, rewrite);
}
