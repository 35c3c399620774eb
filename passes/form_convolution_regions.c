/* SPDX-License-Identifier: Apache-2.0
 *
 * form_convolution_regions.c: convolutions and pools between transposes become loops over channels-last data.
 *
 *     %i = Transpose(%x), Conv(%i, W), Transpose, Add bias, Relu   ->   Region "convolution"; W is packed
 *     the same with a depthwise Conv or a pool                     ->   Region "window"
 *     the first with a depthwise Conv alone behind it              ->   Region "bottleneck"
 *     Mul(%x, %gate) before the first, gate [n, 1, 1, c]           ->   in the Region "convolution" of a
 * kernel of one
 *
 * channels_last makes these forms. The region reads its data where they lie, so the transposes cost nothing.
 * Bytes become floats, less their zero point, where a depthwise convolution or pool reads them. Elementwise
 * nodes behind it come along as they do behind products (tm_region_epilogue). A bottleneck is formed where
 * the tensor between the two is large, its rows fit on the stack, and what is elementwise there reads nothing
 * but numbers of channels.
 */
#include "ir/ops/window.h"
#include "passes/layout.h"
#include "passes/passes.h"
#include "passes/region_build.h"
#include "passes/rewrite.h"
#include "passes/ring.h"
#include "passes/window_form.h"

#include <string.h>

#define MOST_NODES 24
#define WINDOW_PANEL 16
#define MANY_POSITIONS 56
#define LEAST_GATED 8 /* positions that share the scaled weights */
#define MOST_LINES 14
#define MOST_STRIPS 8
#define LARGE_BYTES 524288 /* of a tensor that does not stay near the core */

static bool is_plain(const tm_node *node, const tm_window_form *form) {
    int axes = node->inputs[0]->rank - 2;
    for (int i = 0; i < 2 * axes; i++)
        if (form->pads[i] != 0)
            return false;
    return true;
}

static bool is_candidate(const tm_node *node) {
    tm_window_form form;
    bool convolution = node->op == TM_OP_Conv;
    if (convolution ? !tm_window_form_convolution(node, &form)
                    : (node->op != TM_OP_MaxPool && node->op != TM_OP_AveragePool) ||
                          node->inputs[0]->type != TAMIS_TYPE_FLOAT || !tm_window_form_pool(node, &form))
        return false;
    if (convolution && node->input_count > 2 && node->inputs[2] != NULL)
        return false;
    const tm_node *first = node->inputs[0]->producer, *last = tm_value_single_user(node->outputs[0]);
    bool before = tm_layout_is_to_first(first) && first->graph == node->graph &&
                  tm_value_single_user(node->inputs[0]) == node;
    if (last == NULL || last->graph != node->graph || !tm_layout_is_to_last(last))
        return false;
    return form.depthwise ? before : is_plain(node, &form);
}

/* The width of panels that leaves the least work for tiles of a vector of 16 by up to 14 positions: cycles
 * for one term of all filters. */
static int panel_width(int64_t filters, int64_t positions) {
    static const int most[] = {14, 14, 9};
    int best = 16;
    double least = 0;
    for (int vectors = 1; vectors <= 3; vectors++) {
        int64_t panels = (filters + 16 * vectors - 1) / (16 * vectors);
        int64_t tiles = (positions + most[vectors - 1] - 1) / most[vectors - 1];
        double rows = (double)positions / (double)tiles;
        double products = vectors * rows / 2, loads = (vectors + rows) / 2;
        double cost = (double)(panels * tiles) * (products > loads ? products : loads);
        if (vectors == 1 || cost < 0.99 * least) {
            least = cost;
            best = 16 * vectors;
        }
    }
    return best;
}

/* Positions of a row that tiles are cut from; for a point, of all rows. */
static int64_t row_length(const tm_node *node, bool point) {
    const tm_value *out = node->outputs[0];
    int64_t length = 1;
    for (int i = point ? 0 : out->rank - 1; i < out->rank; i++) {
        if (i == 1)
            continue;
        if (!tm_dim_is_constant(out->dims[i]) || out->dims[i]->constant == 0)
            return MANY_POSITIONS;
        length *= out->dims[i]->constant;
    }
    return length;
}

/* `panel` 0: the width that suits the convolution best. */
static tm_value *packed(const tm_node *node, const tm_window_form *form, int panel) {
    const tm_value *weights = node->inputs[1];
    tm_constant copy = *weights->constant;
    int64_t groups = form->depthwise ? 1 : tm_node_int(node, "group");
    copy.panel_groups = (int)groups;
    copy.panel_channels_last =
        node->inputs[0]->producer != NULL && tm_layout_is_to_first(node->inputs[0]->producer);
    if (panel == 0)
        panel = panel_width(copy.dims[0] / groups, row_length(node, form->point));
    copy.panel = form->depthwise ? WINDOW_PANEL : panel;
    return tm_region_packed(node->graph, weights->name, &copy);
}

/* ---- bottlenecks ---- */

static bool known_dims(const tm_value *value, int from) {
    for (int i = from; i < value->rank; i++)
        if (!tm_dim_is_constant(value->dims[i]))
            return false;
    return true;
}

/* Do the nodes from `first` on read what they do not make only along the last dim? */
static bool reads_channels_only(tm_node *const *nodes, int first, int count) {
    for (int i = first; i < count; i++)
        for (int k = 0; k < nodes[i]->input_count; k++) {
            const tm_value *x = nodes[i]->inputs[k];
            if (x == NULL || tm_region_is_among(nodes, count, x->producer))
                continue;
            for (int axis = 0; axis + 1 < x->rank; axis++)
                if (!tm_dim_is(x->dims[axis], 1))
                    return false;
        }
    return true;
}

/* Channels of a pass when a depthwise `node` takes the rows of the value from a ring; 0: it should not. The
 * more, the fewer times all of x is walked, and a tile of one vector waits for its loads. */
static int ring_panel(const tm_value *value, const tm_node *node, const tm_window_form *form) {
    static const double position[] = {0.75, 1.15, 1.8}; /* cycles for a term of so many vectors */
    const int64_t *kernel = node->inputs[1]->constant->dims + 2;
    if (value->rank != 4 || !known_dims(value, 1) || !known_dims(node->outputs[0], 1))
        return 0;
    for (int i = 0; i < 2; i++)
        if (tm_window_item(node, "dilations", i, 1) != 1 || form->pads[i] < 0 || form->pads[2 + i] < 0)
            return 0;
    int64_t high = value->dims[1]->constant, wide = value->dims[2]->constant,
            channels = value->dims[3]->constant;
    int64_t out_wide = node->outputs[0]->dims[3]->constant;
    if (tm_window_item(node, "strides", 0, 1) > kernel[0] || kernel[0] > MOST_LINES || out_wide < 1 ||
        high * wide * channels * 4 < LARGE_BYTES)
        return 0;
    int best = 0;
    double least = 0;
    for (int vectors = 1; vectors <= 3; vectors++) {
        int panel = vectors * WINDOW_PANEL;
        tm_ring ring = tm_ring_cut(out_wide, wide, tm_window_item(node, "strides", 1, 1), kernel[1],
                                   form->pads[1], kernel[0] * panel * 4);
        int64_t work = (channels + panel - 1) / panel * ring.strips * ring.made;
        double cost = (double)work * position[vectors - 1];
        if (ring.strips <= MOST_STRIPS && (best == 0 || cost < least)) {
            best = panel;
            least = cost;
        }
    }
    return best;
}

/* The depthwise convolution that alone reads what the nodes make, if the two are a bottleneck. */
static tm_node *depthwise_behind(tm_node *const *nodes, int first, int count, tm_window_form *out,
                                 int *out_panel) {
    const tm_value *value = nodes[count - 1]->outputs[0];
    tm_node *transpose = tm_value_single_user(value);
    if (transpose == NULL || transpose->graph != nodes[0]->graph || !tm_layout_is_to_first(transpose))
        return NULL;
    tm_node *node = tm_value_single_user(transpose->outputs[0]);
    if (node == NULL || node->op != TM_OP_Conv || !is_candidate(node) ||
        !tm_window_form_convolution(node, out) || !out->depthwise ||
        !reads_channels_only(nodes, first, count))
        return NULL;
    *out_panel = ring_panel(value, node, out);
    return *out_panel > 0 ? node : NULL;
}

/* Is `gate` a factor for each channel of each sample, or of all, of data with these dims? */
static bool is_gate(const tm_value *gate, const tm_value *data) {
    int last = data->rank - 1;
    if (gate->rank != data->rank || gate->type != TAMIS_TYPE_FLOAT || gate->constant != NULL ||
        gate->dims[last] != data->dims[last] ||
        (gate->dims[0] != data->dims[0] && !tm_dim_is(gate->dims[0], 1)))
        return false;
    for (int i = 1; i < last; i++)
        if (!tm_dim_is(gate->dims[i], 1))
            return false;
    return true;
}

/* The Mul that gates the data of a convolution with a kernel of one, which alone reads it; or NULL. Rounding
 * is not that of the nodes as they stand. */
static tm_node *gate_before(const tm_pass_context *context, const tm_node *node, const tm_window_form *form) {
    const tm_node *transpose = node->inputs[0]->producer;
    const tm_constant *weights = node->inputs[1]->constant;
    tm_value *data = transpose->inputs[0];
    tm_node *mul = data->producer;
    int64_t positions = 1;
    if (context->options->strict_math || form->depthwise || mul == NULL || mul->op != TM_OP_Mul ||
        mul->graph != node->graph || tm_value_single_user(data) != transpose)
        return NULL;
    for (int i = 2; i < weights->rank; i++)
        if (weights->dims[i] != 1)
            return NULL;
    for (int i = 1; i + 1 < data->rank; i++)
        positions *= tm_dim_is_constant(data->dims[i]) ? data->dims[i]->constant : MANY_POSITIONS;
    for (int i = 0; i < 2; i++)
        if (positions >= LEAST_GATED && is_gate(mul->inputs[i], data) &&
            tm_region_same_dims(mul->inputs[1 - i], data) && mul->inputs[1 - i]->constant == NULL)
            return mul;
    return NULL;
}

static tm_code form(tm_pass_context *context, tm_node *node, tm_node **out_region) {
    tm_node *nodes[MOST_NODES];
    tm_window_form form, behind;
    int count = 0, first, panel = 0;
    bool convolution = node->op == TM_OP_Conv, gated = false;
    (void)(convolution ? tm_window_form_convolution(node, &form) : tm_window_form_pool(node, &form));
    tm_node *before = node->inputs[0]->producer;
    if (tm_layout_is_to_first(before) && before->graph == node->graph &&
        tm_value_single_user(node->inputs[0]) == node) {
        tm_node *gate = convolution ? gate_before(context, node, &form) : NULL;
        if (gate != NULL)
            nodes[count++] = gate;
        gated = gate != NULL;
        tm_node *bytes[2];
        int widened = form.depthwise ? tm_window_form_bytes(before, bytes) : 0;
        for (int i = 0; i < widened; i++)
            nodes[count++] = bytes[i];
        nodes[count++] = before;
    }
    nodes[count++] = node;
    nodes[count++] = tm_value_single_user(node->outputs[0]);
    first = count;
    count = tm_region_epilogue(nodes, count, MOST_NODES);
    const char *kind = form.depthwise ? "window" : "convolution";
    bool dense = convolution && !gated && !form.depthwise && node->inputs[0]->rank == 4 &&
                 tm_node_int(node, "group") == 1;
    tm_node *depthwise =
        dense && count + 3 <= MOST_NODES ? depthwise_behind(nodes, first, count, &behind, &panel) : NULL;
    if (convolution)
        tm_node_set_input(node, 1, packed(node, &form, depthwise != NULL ? panel : 0));
    if (depthwise != NULL) {
        nodes[count++] = depthwise->inputs[0]->producer;
        tm_node_set_input(depthwise, 1, packed(depthwise, &behind, 0));
        nodes[count++] = depthwise;
        nodes[count++] = tm_value_single_user(depthwise->outputs[0]);
        count = tm_region_epilogue(nodes, count, MOST_NODES);
        kind = "bottleneck";
    }
    return tm_region_build(context->model, kind, nodes, count, out_region);
}

tm_code tm_pass_form_convolution_regions(tm_pass_context *context) {
    return tm_region_form_each(context, context->model->main, is_candidate, form);
}
