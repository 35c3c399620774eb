/* SPDX-License-Identifier: Apache-2.0
 *
 * window_form.c: convolutions and pools that have loops made for them; see window_form.h.
 *
 *     auto_pad SAME_UPPER, 3 taps, stride 2, 224 positions   ->   pads 0 and 1
 *
 * Padding that depends on dims which are not known has no form: such nodes stay with their kernels.
 */
#include "passes/window_form.h"

#include "ir/ops/window.h"
#include "passes/match.h"
#include "passes/region_build.h"

#include <string.h>

#define MOST_GATHERED (16 << 20) /* bytes of the rows of a sample; more would not stay near the core */
#define MOST_TAPS 9              /* so many times the image, where its size is not known */
#define LEAST_FILTERS 4 /* of a group: fewer would leave most of a vector idle */

static bool resolve_axis(const tm_node *node, int axis, int64_t kernel, int64_t *head, int64_t *tail) {
    const char *mode = tm_node_string(node, "auto_pad");
    int axes = node->inputs[0]->rank - 2;
    *head = *tail = 0;
    if (strcmp(mode, "NOTSET") == 0) {
        *head = tm_window_item(node, "pads", axis, 0);
        *tail = tm_window_item(node, "pads", axis + axes, 0);
    }
    if (strcmp(mode, "NOTSET") == 0 || strcmp(mode, "VALID") == 0)
        return true;
    int64_t stride = tm_window_item(node, "strides", axis, 1);
    int64_t extent = (kernel - 1) * tm_window_item(node, "dilations", axis, 1) + 1, all = extent - 1;
    if (stride != 1) {
        tm_dim in = node->inputs[0]->dims[2 + axis], out = node->outputs[0]->dims[2 + axis];
        if (!tm_dim_is_constant(in) || !tm_dim_is_constant(out))
            return false;
        all = (out->constant - 1) * stride + extent - in->constant;
        all = all < 0 ? 0 : all;
    }
    bool upper = strcmp(mode, "SAME_UPPER") == 0;
    *head = upper ? all / 2 : all - all / 2;
    *tail = all - *head;
    return true;
}

bool tm_window_form_pads(const tm_node *node, const int64_t *kernel, int64_t *out_pads) {
    int axes = node->inputs[0]->rank - 2;
    for (int i = 0; i < axes; i++)
        if (kernel[i] < 1 || !resolve_axis(node, i, kernel[i], &out_pads[i], &out_pads[axes + i]))
            return false;
    return true;
}

static bool has_space(const tm_node *node) {
    const tm_value *x = node->inputs[0];
    return (x->type == TAMIS_TYPE_FLOAT || tm_match_is_byte(x)) && x->rank >= 3 &&
           x->rank <= 2 + TM_WINDOW_FORM_AXES && !tm_value_is_constant(x);
}

bool tm_window_form_fills(int64_t filters) {
    return filters >= LEAST_FILTERS;
}

bool tm_window_form_convolution(const tm_node *node, tm_window_form *out) {
    const tm_value *weights = node->inputs[1];
    *out = (tm_window_form){.point = true};
    if (!has_space(node) || node->inputs[0]->type != TAMIS_TYPE_FLOAT || !tm_value_is_constant(weights) ||
        weights->constant->panel != 0 || tm_constant_count(weights->constant) == 0)
        return false;
    int64_t groups = tm_node_int(node, "group");
    const int64_t *dims = weights->constant->dims;
    if (groups < 1 || dims[0] % groups != 0 || !tm_window_form_pads(node, dims + 2, out->pads))
        return false;
    int axes = weights->rank - 2;
    out->depthwise = groups > 1 && dims[1] == 1 && dims[0] == groups;
    out->point = groups == 1;
    for (int i = 0; i < axes; i++)
        out->point = out->point && dims[2 + i] == 1 && tm_window_item(node, "strides", i, 1) == 1 &&
                     out->pads[i] == 0 && out->pads[axes + i] == 0;
    return out->depthwise || tm_window_form_fills(dims[0] / groups);
}

/* Are the rows that the windows of an image see few enough to be written down? */
static bool fits_gathered(const tm_node *node, const int64_t *weights, const tm_window_form *form) {
    const tm_value *out = node->outputs[0];
    int64_t taps = 1, bytes = weights[1];
    for (int i = 2; i < out->rank; i++) {
        taps *= weights[i];
        bytes *= weights[i];
    }
    for (int i = 2; i < out->rank; i++) {
        if (!tm_dim_is_constant(out->dims[i]))
            return form->point || taps <= MOST_TAPS;
        if (out->dims[i]->constant > 0 && bytes > MOST_GATHERED / out->dims[i]->constant)
            return form->point;
        bytes *= out->dims[i]->constant;
    }
    return true;
}

bool tm_window_form_integer(const tm_node *node, const tm_value *weights, tm_window_form *out) {
    const tm_value *x = node->inputs[0];
    *out = (tm_window_form){.point = true};
    if (x->rank < 3 || x->rank > 2 + TM_WINDOW_FORM_AXES || tm_value_is_constant(x) ||
        !tm_value_is_constant(weights) || weights->constant->panel != 0 || weights->rank != x->rank ||
        tm_constant_count(weights->constant) == 0 || tm_node_int(node, "group") != 1)
        return false;
    const int64_t *dims = weights->constant->dims;
    if (!tm_dim_is(x->dims[1], dims[1]) || !tm_window_form_pads(node, dims + 2, out->pads))
        return false;
    int axes = weights->rank - 2;
    for (int i = 0; i < axes; i++)
        out->point = out->point && dims[2 + i] == 1 && tm_window_item(node, "strides", i, 1) == 1 &&
                     out->pads[i] == 0 && out->pads[axes + i] == 0;
    return tm_window_form_fills(dims[0]) && fits_gathered(node, dims, out);
}

int tm_window_form_bytes(const tm_node *transpose, tm_node *out_nodes[2]) {
    const tm_node *reader = tm_value_single_user(transpose->outputs[0]);
    tm_window_form form;
    if (reader == NULL || reader->graph != transpose->graph)
        return 0;
    bool pool = reader->op == TM_OP_MaxPool || reader->op == TM_OP_AveragePool;
    if (!(pool ? tm_window_form_pool(reader, &form)
               : reader->op == TM_OP_Conv && tm_window_form_convolution(reader, &form)) ||
        !form.depthwise)
        return 0;
    const tm_node *next = transpose;
    tm_node *subtraction = NULL, *node = transpose->inputs[0]->producer;
    if (node != NULL && node->op == TM_OP_Sub && node->graph == transpose->graph &&
        tm_match_is_single(node->inputs[1]) && tm_value_single_user(node->outputs[0]) == next) {
        next = subtraction = node;
        node = node->inputs[0]->producer;
    }
    if (node == NULL || node->op != TM_OP_Cast || node->graph != transpose->graph ||
        tm_value_single_user(node->outputs[0]) != next || node->outputs[0]->type != TAMIS_TYPE_FLOAT ||
        (node->inputs[0]->type != TAMIS_TYPE_UINT8 && node->inputs[0]->type != TAMIS_TYPE_INT8))
        return 0;
    out_nodes[0] = node;
    out_nodes[1] = subtraction;
    return subtraction != NULL ? 2 : 1;
}

bool tm_window_form_pool(const tm_node *node, tm_window_form *out) {
    *out = (tm_window_form){.depthwise = true};
    const tm_attribute *kernel = tm_node_attribute(node, "kernel_shape");
    if (!has_space(node) || !kernel->present || (node->output_count > 1 && node->outputs[1] != NULL))
        return false;
    bool ceiling = tm_node_int(node, "ceil_mode") != 0;
    if (ceiling && strcmp(tm_node_string(node, "auto_pad"), "NOTSET") != 0)
        return false;
    if (ceiling && node->op == TM_OP_AveragePool && tm_node_int(node, "count_include_pad") != 0)
        return false;
    return tm_window_form_pads(node, kernel->ints, out->pads);
}
