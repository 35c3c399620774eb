/* SPDX-License-Identifier: Apache-2.0
 *
 * space.c: the windows of a convolution or pool; see space.h.
 *
 * Strides of x are products of its dims, so that known dims become constants in addresses and other dims are
 * read from the frame once.
 */
#include "codegen/llvm/space.h"

#include "ir/ops/window.h"

static bool is_window(const tm_node *node) {
    return node->op == TM_OP_Conv || node->op == TM_OP_MaxPool || node->op == TM_OP_AveragePool;
}

/* Dim `axis` of a value of the body; when it is not known, dim `own` of the region's operand that has it too.
 */
static LLVMValueRef dim_of(tm_region *r, const tm_value *value, int axis, int operand, int own) {
    tm_dim dim = value->dims[axis];
    return dim->kind == TM_DIM_CONST ? tm_int(r, dim->constant) : tm_operand_dim(r, operand, own);
}

static void set_up_axis(tm_region *r, tm_space *space, int axis) {
    const tm_node *window = space->window;
    space->kernel[axis] = window->op == TM_OP_Conv ? window->inputs[1]->dims[2 + axis]->constant
                                                   : tm_window_item(window, "kernel_shape", axis, 1);
    space->stride[axis] = tm_window_item(window, "strides", axis, 1);
    space->dilation[axis] = tm_window_item(window, "dilations", axis, 1);
    space->head[axis] = tm_window_item(window, "pads", axis, 0);
    space->in[axis] =
        dim_of(r, window->inputs[0], 2 + axis, space->x, space->channels_last ? 1 + axis : 2 + axis);
    space->out[axis] = dim_of(r, space->product->outputs[0], 1 + axis, r->node->input_count, 1 + axis);
}

const tm_node *tm_space_window(const tm_region *r, bool last) {
    const tm_node *found = NULL;
    for (const tm_node *n = r->body->first; n != NULL; n = n->next)
        if (is_window(n) && (last || found == NULL))
            found = n;
    return found;
}

/* Data and gate: both come from outside, the gate repeats along space. */
static void find_data(const tm_region *r, tm_space *space, const tm_value *data) {
    /* bytes, less their zero point */
    while (data->producer != NULL && (data->producer->op == TM_OP_Sub || data->producer->op == TM_OP_Cast))
        data = data->producer->inputs[0];
    space->x = tm_region_input_number(r->body, data);
    space->gate = -1;
    if (space->x >= 0 || data->producer == NULL || data->producer->op != TM_OP_Mul)
        return;
    const tm_node *mul = data->producer;
    int a = tm_region_input_number(r->body, mul->inputs[0]),
        b = tm_region_input_number(r->body, mul->inputs[1]);
    if (a < 0 || b < 0)
        return;
    bool first = true;
    for (int i = 1; i + 1 < data->rank; i++)
        first = first && mul->inputs[0]->dims[i] == data->dims[i];
    space->x = first ? a : b;
    space->gate = first ? b : a;
}

void tm_space_set_up(tm_region *r, tm_space *space, const tm_node *window) {
    const tm_value *x = window->inputs[0];
    space->window = window;
    space->product = space->window->outputs[0]->uses.items[0].node;
    space->channels_last = x->producer != NULL;
    find_data(r, space, space->channels_last ? x->producer->inputs[0] : x);
    space->axes = x->rank - 2;
    for (int i = 0; i < space->axes; i++)
        set_up_axis(r, space, i);
    space->samples = tm_operand_dim(r, r->node->input_count, 0);
    const tm_value *out = space->product->outputs[0];
    space->channels = dim_of(r, out, 1 + space->axes, r->node->input_count, 1 + space->axes);
    LLVMValueRef step = tm_int(r, 1);
    if (space->channels_last) {
        space->channel_step = step;
        step = dim_of(r, x, 1, space->x, 1 + space->axes);
    }
    for (int i = space->axes - 1; i >= 0; i--) {
        space->step[i] = step;
        step = tm_mul(r, step, space->in[i]);
    }
    if (!space->channels_last) {
        space->channel_step = step;
        step = tm_mul(r, step, dim_of(r, x, 1, space->x, 1));
    }
    space->sample_step = step;
}

void tm_space_set_up_contract(tm_region *r, tm_contract *c) {
    tm_space space = {0};
    tm_space_set_up(r, &space, tm_space_window(r, true));
    c->product = space.product;
    c->n = space.channels;
}
