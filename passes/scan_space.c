/* SPDX-License-Identifier: Apache-2.0
 *
 * scan_space.c: which axis of the states does each axis of each value in a Scan's step walk along?
 *
 *     Scan(%h0: f32[b, d, n], %a: f32[t, b, d, n], %x: f32[t, b, d]) { (%h, %ai, %xi)
 *       %u = Unsqueeze(%xi, -1)      [0, 1, -]
 *       %m = Mul(%ai, %h)            [0, 1, 2]         the space is [b, d, n], that of the largest state;
 *       %s = Add(%m, %u)             [0, 1, 2]         %xi has axes 0 and 1 of it
 *       %y = ReduceSum(%s, -1)       [0, 1]
 *       return %s, %y }
 *
 * The answer is found by carrying axes along the nodes, forwards and backwards, until nothing changes:
 * elementwise ops align from the right, views may insert and drop axes of one element. A step is a plain
 * recurrence if all its ops are elementwise, views of that kind, or reductions of the last axis of the space,
 * and all dims fit. Then every point of the space (every row, if something is reduced) runs through time on
 * its own, with its states in registers.
 */
#include "passes/scan_space.h"

#include "passes/region_build.h"

#include <string.h>

#define UNKNOWN (-3)
#define MOST_NODES 64

typedef struct finder {
    tm_scan_space *space;
    bool changed, failed;
} finder;

void tm_scan_whole_axes(const int8_t *slice_axes, int rank, int time_axis, int8_t *out_axes) {
    for (int i = 0, from = 0; i <= rank; i++)
        out_axes[i] = i == time_axis ? TM_SCAN_TIME : slice_axes[from++];
}

/* ---- which nodes ---- */

bool tm_scan_reduced_axis(const tm_node *node, int *out_axis) {
    if (node->op != TM_OP_ReduceSum && node->op != TM_OP_ReduceMean && node->op != TM_OP_ReduceMax &&
        node->op != TM_OP_ReduceMin)
        return false;
    const tm_value *axes = node->input_count > 1 ? node->inputs[1] : NULL;
    int64_t axis = 0;
    if (node->inputs[0]->type != TAMIS_TYPE_FLOAT || !tm_value_is_constant(axes) ||
        tm_constant_count(axes->constant) != 1 || !tm_constant_int(axes->constant, 0, &axis))
        return false;
    *out_axis = (int)(axis < 0 ? axis + node->inputs[0]->rank : axis);
    return true;
}

static int next_walked(const tm_value *value, int i) {
    while (i < value->rank && tm_dim_is(value->dims[i], 1))
        i++;
    return i;
}

bool tm_scan_is_view(const tm_node *node) {
    if (node->op != TM_OP_Identity && node->op != TM_OP_Reshape && node->op != TM_OP_Squeeze &&
        node->op != TM_OP_Unsqueeze)
        return false;
    const tm_value *in = node->inputs[0], *out = node->outputs[0];
    if (in->kind != TAMIS_KIND_TENSOR || tm_value_is_constant(in))
        return false;
    int i = next_walked(in, 0), k = next_walked(out, 0);
    while (i < in->rank && k < out->rank && in->dims[i] == out->dims[k]) {
        i = next_walked(in, i + 1);
        k = next_walked(out, k + 1);
    }
    return i == in->rank && k == out->rank;
}

static bool is_plain(const tm_node *node) {
    int axis = 0;
    return tm_region_can_hold(node) || tm_scan_reduced_axis(node, &axis) ||
           tm_scan_is_view(node);
}

/* ---- carrying axes ---- */

static int8_t *axes_of(finder *f, const tm_value *value) {
    return f->space->axes[value->id];
}

/* Axis i of a and axis k of b are the same one, unless one of them repeats. */
static void unify(finder *f, const tm_value *a, int i, const tm_value *b, int k) {
    int8_t *left = &axes_of(f, a)[i], *right = &axes_of(f, b)[k];
    if (*left == *right)
        return;
    if (*left == UNKNOWN || *right == UNKNOWN) {
        int8_t known = *left == UNKNOWN ? *right : *left;
        *left = *right = known;
        f->changed = true;
    } else if (!tm_dim_is(a->dims[i], 1) && !tm_dim_is(b->dims[k], 1)) {
        f->failed = true;
    }
}

static void carry_elementwise(finder *f, const tm_node *node) {
    const tm_value *out = node->outputs[0];
    for (int o = 0; o < node->input_count; o++) {
        const tm_value *in = node->inputs[o];
        for (int i = 0; in != NULL && !tm_region_is_scalar(in) && i < in->rank; i++)
            unify(f, in, i, out, out->rank - in->rank + i);
    }
}

static void carry_view(finder *f, const tm_value *in, const tm_value *out) {
    int i = next_walked(in, 0), k = next_walked(out, 0);
    while (i < in->rank && k < out->rank) {
        unify(f, in, i, out, k);
        i = next_walked(in, i + 1);
        k = next_walked(out, k + 1);
    }
}

static void carry_reduction(finder *f, const tm_node *node, int axis) {
    const tm_value *in = node->inputs[0], *out = node->outputs[0];
    int8_t last = (int8_t)(f->space->rank - 1), *known = &axes_of(f, in)[axis];
    if (*known == UNKNOWN && !tm_dim_is(in->dims[axis], 1)) {
        *known = last;
        f->changed = true;
    }
    f->failed = f->failed || (*known != last && !tm_dim_is(in->dims[axis], 1));
    for (int i = 0, to = 0; i < in->rank && to < out->rank; i++) {
        if (i != axis)
            unify(f, in, i, out, to);
        to += i != axis || out->rank == in->rank;
    }
}

static void carry(finder *f, const tm_node *node) {
    int axis = 0;
    if (tm_scan_reduced_axis(node, &axis))
        carry_reduction(f, node, axis);
    else if (tm_scan_is_view(node))
        carry_view(f, node->inputs[0], node->outputs[0]);
    else
        carry_elementwise(f, node);
}

static void carry_all(finder *f) {
    const tm_scan_space *s = f->space;
    do {
        f->changed = false;
        for (int i = 0; i < s->states; i++)
            for (int d = 0; d < s->step->inputs.items[i]->rank; d++)
                unify(f, s->step->inputs.items[i], d, s->step->outputs.items[i], d);
        for (const tm_node *node = s->step->first; node != NULL && !f->failed; node = node->next)
            carry(f, node);
    } while (f->changed && !f->failed);
}

/* ---- does all of it fit? ---- */

/* Known axes in rising order, with the dims of the space;
 * the last axis of the space is the value's last one. */
static bool fits(const tm_scan_space *s, const tm_value *value) {
    int8_t *axes = s->axes[value->id];
    int before = -1;
    for (int i = 0; i < value->rank; i++) {
        if (tm_dim_is(value->dims[i], 1)) {
            axes[i] = TM_SCAN_REPEATS;
            continue;
        }
        if (axes[i] <= before || value->dims[i] != s->dims[axes[i]])
            return false;
        before = axes[i];
    }
    return true;
}

static bool has_axis(const tm_scan_space *s, const tm_value *value, int axis) {
    for (int i = 0; i < value->rank; i++)
        if (s->axes[value->id][i] == axis)
            return true;
    return tm_dim_is(s->dims[axis], 1);
}

/* A value that is stored must be one element for each point; for each row, if rows are whole. */
static bool may_store(tm_scan_space *s, const tm_value *value) {
    for (int axis = 0; axis + 1 < s->rank; axis++)
        if (!has_axis(s, value, axis))
            return false;
    s->reduces = s->reduces || !has_axis(s, value, s->rank - 1);
    return true;
}

/* Do the elements of a row lie side by side? */
static bool is_loadable(const tm_scan_space *s, const int8_t *axes, int rank) {
    bool row = false;
    for (int i = 0; i < rank; i++) {
        if (row && axes[i] != TM_SCAN_REPEATS)
            return false;
        row = row || axes[i] == s->rank - 1;
    }
    return true;
}

static bool check_interface(tm_scan_space *s) {
    int8_t whole[TAMIS_MAX_RANK];
    for (int k = 0; k < s->inputs; k++) {
        const tm_value *slice = s->step->inputs.items[s->states + k];
        tm_scan_whole_axes(s->axes[slice->id], slice->rank,
                           tm_scan_axis(s->scan, "scan_input_axes", k, slice->rank + 1), whole);
        if (!is_loadable(s, whole, slice->rank + 1))
            return false;
    }
    for (int i = 0; i < (int)s->step->outputs.count; i++) {
        const tm_value *value = s->step->outputs.items[i];
        int k = i - s->states;
        if (i < s->states && !tm_region_same_dims(value, s->step->inputs.items[i]))
            return false;
        if (i >= s->scan->output_count || (i >= s->states && s->scan->outputs[i] == NULL))
            continue;
        int time = k < 0 ? value->rank : tm_scan_axis(s->scan, "scan_output_axes", k, value->rank + 1);
        tm_scan_whole_axes(s->axes[value->id], value->rank, time, whole);
        if (!is_loadable(s, whole, value->rank + (k >= 0)) || !may_store(s, value))
            return false;
    }
    for (int i = 0; i < s->states; i++)
        if (!may_store(s, s->step->inputs.items[i]))
            return false;
    return true;
}

static bool check_values(tm_scan_space *s) {
    for (size_t i = 0; i < s->step->inputs.count; i++)
        if (!fits(s, s->step->inputs.items[i]))
            return false;
    for (const tm_node *node = s->step->first; node != NULL; node = node->next) {
        int axis = 0;
        s->reduces = s->reduces || tm_scan_reduced_axis(node, &axis);
        for (int i = 0; i < node->input_count; i++) {
            const tm_value *value = node->inputs[i];
            if (value != NULL && !tm_region_is_scalar(value) && !(i > 0 && !tm_region_can_hold(node)) &&
                (value->kind != TAMIS_KIND_TENSOR || !fits(s, value) ||
                 (value->graph != s->step && !is_loadable(s, s->axes[value->id], value->rank))))
                return false;
        }
        if (!fits(s, node->outputs[0]))
            return false;
    }
    return true;
}

static bool is_step(const tm_scan_space *s) {
    int nodes = 0;
    for (size_t i = 0; i < s->step->inputs.count; i++)
        if (s->step->inputs.items[i]->kind != TAMIS_KIND_TENSOR || s->step->inputs.items[i]->rank < 0)
            return false;
    for (const tm_node *node = s->step->first; node != NULL; node = node->next)
        if (++nodes > MOST_NODES || !is_plain(node))
            return false;
    for (size_t i = 0; i < s->step->outputs.count; i++) /* no constants and captured values */
        if (s->step->outputs.items[i]->graph != s->step || tm_value_is_constant(s->step->outputs.items[i]))
            return false;
    return true;
}

bool tm_scan_space_find(const tm_node *scan, tm_scan_space *out) {
    *out = (tm_scan_space){.scan = scan, .step = tm_node_graph(scan, "body")};
    out->inputs = (int)tm_node_int(scan, "num_scan_inputs");
    out->states = (int)out->step->inputs.count - out->inputs;
    if (out->states < 1 || !is_step(out))
        return false;
    tm_model *model = scan->graph->model;
    out->axes = tm_arena_alloc_array(model->arena, (size_t)model->value_count, sizeof *out->axes);
    memset(out->axes, UNKNOWN, (size_t)model->value_count * sizeof *out->axes);
    const tm_value *largest = out->step->inputs.items[0];
    for (int i = 1; i < out->states; i++)
        if (out->step->inputs.items[i]->rank > largest->rank)
            largest = out->step->inputs.items[i];
    out->rank = largest->rank;
    while (out->rank > 1 && tm_dim_is(largest->dims[out->rank - 1], 1))
        out->rank--;
    if (out->rank < 1)
        return false;
    for (int i = 0; i < out->rank; i++) {
        out->dims[i] = largest->dims[i];
        out->axes[largest->id][i] = (int8_t)i;
    }
    finder f = {.space = out};
    carry_all(&f);
    if (f.failed || !check_values(out) || !check_interface(out))
        return false;
    return !out->reduces || (tm_dim_is_constant(out->dims[out->rank - 1]) &&
                             out->dims[out->rank - 1]->constant <= TM_SCAN_ROW);
}
