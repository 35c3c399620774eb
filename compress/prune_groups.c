/* SPDX-License-Identifier: Apache-2.0
 *
 * prune_groups.c: the classes of slices, see slices.h.
 *
 * Slices of all axes of all values are numbered; union-find over the numbers holds the classes, and its
 * smallest number, 0, is the pinned one, so that whatever is united with it is pinned. A second union-find
 * over axes tells which axes are cut alike.
 *
 * Zeros go forward only: a slice of a result is zero because of those of the operands, never the other way.
 */
#include "compress/slices.h"

#include <string.h>

#define MOST_SLICES (1 << 20) /* of an axis; longer ones are pinned: tables of words */
#define MOST_TURNS 24

int64_t tm_slices_period(tm_dim dim) {
    if (dim->kind == TM_DIM_CONST)
        return dim->constant;
    if (dim->kind == TM_DIM_MUL) {
        int64_t product;
        return tm_mul_i64(tm_slices_period(dim->a), tm_slices_period(dim->b), &product) ? product : 1;
    }
    if (dim->kind != TM_DIM_ADD)
        return 1;
    int64_t a = tm_slices_period(dim->a), b = tm_slices_period(dim->b);
    while (b != 0) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a > 0 ? a : 1;
}

int32_t tm_slices_first(const tm_slices *s, const tm_value *value, int axis) {
    return value->id < s->value_count && s->first[value->id] != NULL ? s->first[value->id][axis] : 0;
}

int64_t tm_slices_count(const tm_slices *s, const tm_value *value, int axis) {
    return tm_slices_first(s, value, axis) != 0 ? tm_slices_period(value->dims[axis]) : 0;
}

static int32_t root(int32_t *parent, int32_t i) {
    while (parent[i] != i) {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    return i;
}

int32_t tm_slices_class(const tm_slices *s, int32_t slice) {
    return root(s->parent, slice);
}

int32_t tm_slices_axis_class(const tm_slices *s, int32_t slice) {
    return root(s->axis_parent, s->axis_of[slice]);
}

/* The smaller number stays: 0 is the pinned class. */
static void join(int32_t *parent, int32_t a, int32_t b) {
    a = root(parent, a);
    b = root(parent, b);
    if (a < b)
        parent[b] = a;
    else
        parent[a] = b;
}

void tm_slices_unite(tm_slices *s, int32_t a, int32_t b) {
    join(s->parent, a, b);
    if (a != 0 && b != 0)
        join(s->axis_parent, s->axis_of[a], s->axis_of[b]);
}

void tm_slices_link(tm_slices *s, int32_t operand, int32_t result) {
    tm_slices_unite(s, operand, result);
    s->links[result]++;
    s->hits[result] += s->zero[operand];
}

void tm_slices_pin(tm_slices *s, const tm_value *value, int axis) {
    int32_t first = tm_slices_first(s, value, axis);
    for (int64_t i = 0, n = tm_slices_count(s, value, axis); i < n; i++)
        join(s->parent, 0, first + (int32_t)i);
}

void tm_slices_pin_all(tm_slices *s, const tm_value *value) {
    for (int i = 0; value != NULL && i < value->rank; i++)
        tm_slices_pin(s, value, i);
}

static bool do_match(tm_slices *s, const tm_value *a, int a_axis, const tm_value *b, int b_axis) {
    if (tm_dim_is(a->dims[a_axis], 1) || tm_dim_is(b->dims[b_axis], 1))
        return false;
    int64_t n = tm_slices_count(s, a, a_axis);
    if (n == tm_slices_count(s, b, b_axis))
        return n > 0;
    tm_slices_pin(s, a, a_axis);
    tm_slices_pin(s, b, b_axis);
    return false;
}

void tm_slices_unite_axes(tm_slices *s, const tm_value *a, int a_axis, const tm_value *b, int b_axis) {
    if (!do_match(s, a, a_axis, b, b_axis))
        return;
    int32_t x = tm_slices_first(s, a, a_axis), y = tm_slices_first(s, b, b_axis);
    for (int64_t i = 0, n = tm_slices_count(s, a, a_axis); i < n; i++)
        tm_slices_unite(s, x + (int32_t)i, y + (int32_t)i);
}

void tm_slices_link_axes(tm_slices *s, const tm_value *operand, int operand_axis, const tm_value *result,
                         int result_axis) {
    if (!do_match(s, operand, operand_axis, result, result_axis))
        return;
    int32_t x = tm_slices_first(s, operand, operand_axis), y = tm_slices_first(s, result, result_axis);
    for (int64_t i = 0, n = tm_slices_count(s, operand, operand_axis); i < n; i++)
        tm_slices_link(s, x + (int32_t)i, y + (int32_t)i);
}

void tm_slices_add_sink(tm_slices *s, tm_node *node, tm_value *x, int x_axis, tm_value *w, int w_axis) {
    tm_sink sink = {.node = node, .x = x, .w = w, .x_axis = x_axis, .w_axis = w_axis};
    sink.x_count = tm_slices_count(s, x, x_axis);
    sink.w_count = w != NULL ? tm_slices_count(s, w, w_axis) : 0;
    if (sink.x_count > 0)
        tm_push(s->arena, &s->sinks, sink);
}

int tm_slices_choose(tm_slices *s, int ways, uint64_t form, const tm_value *value, int axis) {
    if (s->choice == s->choices.count)
        tm_push(s->arena, &s->choices, (tm_slice_choice){0});
    tm_slice_choice *choice = &s->choices.items[s->choice++];
    choice->form = form;
    choice->first = tm_slices_first(s, value, axis);
    choice->count = choice->way < ways ? tm_slices_count(s, value, axis) : 0;
    return choice->way < ways ? choice->way : -1;
}

/* ---- numbering ---- */

static bool is_tracked(const tm_model *model, const tm_value *value) {
    return value->graph == model->main && value->kind == TAMIS_KIND_TENSOR && value->rank > 0 &&
           value->type != TAMIS_TYPE_STRING && tm_type_bits(value->type) % 8 == 0;
}

static void number_slices(tm_slices *s) {
    int64_t slices = 1;
    int32_t axes = 1;
    s->first = TM_NEW_ARRAY(s->arena, int32_t *, s->model->value_count);
    for (size_t i = 0; i < s->model->values.count; i++) {
        const tm_value *value = s->model->values.items[i];
        if (!is_tracked(s->model, value) || (value->producer == NULL && value->uses.count == 0))
            continue;
        s->first[value->id] = TM_NEW_ARRAY(s->arena, int32_t, value->rank);
        for (int k = 0; k < value->rank; k++) {
            int64_t n = tm_slices_period(value->dims[k]);
            if (n <= 1 || n > MOST_SLICES || slices + n > INT32_MAX)
                continue;
            s->first[value->id][k] = (int32_t)slices;
            slices += n;
            axes++;
        }
    }
    s->slice_count = (int32_t)slices;
    s->axis_count = axes;
    s->parent = TM_NEW_ARRAY(s->arena, int32_t, slices);
    s->axis_of = TM_NEW_ARRAY(s->arena, int32_t, slices);
    s->zero = TM_NEW_ARRAY(s->arena, uint8_t, slices);
    s->hits = TM_NEW_ARRAY(s->arena, int32_t, slices);
    s->links = TM_NEW_ARRAY(s->arena, int32_t, slices);
    s->axis_parent = TM_NEW_ARRAY(s->arena, int32_t, axes);
}

static void number_axes(tm_slices *s) {
    int32_t axis = 1;
    for (size_t i = 0; i < s->model->values.count; i++) {
        const tm_value *value = s->model->values.items[i];
        for (int k = 0; s->first[value->id] != NULL && k < value->rank; k++) {
            int32_t first = s->first[value->id][k];
            for (int64_t j = 0, n = tm_slices_count(s, value, k); j < n; j++)
                s->axis_of[first + j] = axis;
            axis += first != 0;
        }
    }
}

/* ---- zeros of constants ---- */

static bool is_zero(const tm_constant *constant, int64_t from, int64_t count) {
    if (constant->type == TAMIS_TYPE_FLOAT) {
        const float *data = (const float *)constant->data + from;
        for (int64_t i = 0; i < count; i++)
            if (data[i] != 0)
                return false;
        return true;
    }
    double value;
    for (int64_t i = 0; i < count; i++)
        if (!tm_constant_double(constant, from + i, &value) || value != 0)
            return false;
    return true;
}

static void find_zeros(tm_slices *s, const tm_value *value) {
    const tm_constant *constant = value->constant;
    for (int axis = 0; axis < value->rank; axis++) {
        int32_t first = tm_slices_first(s, value, axis);
        int64_t n = constant->dims[axis], inner = 1, outer = 1;
        for (int k = 0; k < value->rank; k++) {
            inner *= k > axis ? constant->dims[k] : 1;
            outer *= k < axis ? constant->dims[k] : 1;
        }
        for (int64_t i = 0; first != 0 && i < n; i++) {
            bool zero = true;
            for (int64_t o = 0; zero && o < outer; o++)
                zero = is_zero(constant, (o * n + i) * inner, inner);
            s->zero[first + i] = zero;
        }
    }
}

/* ---- the walk ---- */

void tm_slices_say_zeros(tm_slices *s, const tm_node *node, tm_zero_rule rule, int least) {
    for (int i = 0; rule != TM_ZERO_NEVER && i < node->output_count; i++) {
        const tm_value *value = node->outputs[i];
        for (int k = 0; value != NULL && k < value->rank; k++) {
            int32_t first = tm_slices_first(s, value, k);
            for (int64_t j = first, end = first + tm_slices_count(s, value, k); j < end; j++)
                s->zero[j] = s->links[j] >= least && s->hits[j] >= (rule == TM_ZERO_ALL ? s->links[j] : 1);
        }
    }
}

static void visit(tm_slices *s, tm_node *node) {
    const tm_slice_row *row = tm_node_subgraph_count(node) == 0 ? tm_slices_rule(node->op) : NULL;
    if (row != NULL) {
        row->rule(s, node);
        if (row->zero != TM_ZERO_NEVER)
            tm_slices_say_zeros(s, node, row->zero, 1);
        return;
    }
    for (int i = 0; i < node->input_count; i++)
        tm_slices_pin_all(s, node->inputs[i]);
    for (int i = 0; i < node->output_count; i++)
        tm_slices_pin_all(s, node->outputs[i]);
}

/* What the model takes and gives, and what bodies read, stays as it is. */
static void pin_borders(tm_slices *s) {
    const tm_graph *graph = s->model->main;
    for (size_t i = 0; i < graph->inputs.count; i++)
        tm_slices_pin_all(s, graph->inputs.items[i]);
    for (size_t i = 0; i < s->model->values.count; i++) {
        const tm_value *value = s->model->values.items[i];
        for (size_t k = 0; s->first[value->id] != NULL && k < value->uses.count; k++) {
            const tm_node *node = value->uses.items[k].node;
            if (node == NULL || node->graph != graph)
                tm_slices_pin_all(s, value);
        }
    }
}

static void walk(tm_slices *s) {
    for (int32_t i = 0; i < s->slice_count; i++)
        s->parent[i] = i;
    for (int32_t i = 0; i < s->axis_count; i++)
        s->axis_parent[i] = i;
    memset(s->hits, 0, sizeof(int32_t) * (size_t)s->slice_count);
    memset(s->links, 0, sizeof(int32_t) * (size_t)s->slice_count);
    s->sinks.count = 0;
    s->choice = 0;
    pin_borders(s);
    for (tm_node *node = s->model->main->first; node != NULL; node = node->next)
        visit(s, node);
}

static bool is_bad(const tm_slices *s, const tm_slice_choice *choice) {
    bool bad = choice->count > 0;
    for (int64_t k = 0; bad && k < choice->count; k++)
        bad = tm_slices_class(s, choice->first + (int32_t)k) == 0;
    return bad;
}

/* Goes to the next way where the first choice that left nothing was made, and those like it. */
static bool change_choices(tm_slices *s) {
    const tm_slice_choice *first = NULL;
    int way = 0;
    for (size_t i = 0; i < s->choices.count; i++) {
        tm_slice_choice *choice = &s->choices.items[i];
        if ((first != NULL && (choice->form != first->form || choice->way != way)) || !is_bad(s, choice))
            continue;
        way = first == NULL ? choice->way : way;
        first = first == NULL ? choice : first;
        choice->way++;
    }
    return first != NULL;
}

tm_code tm_slices_find(tm_arena *arena, tm_model *model, tm_slices *out) {
    *out = (tm_slices){.arena = arena, .model = model, .value_count = model->value_count};
    number_slices(out);
    number_axes(out);
    for (size_t i = 0; i < model->values.count; i++)
        if (out->first[model->values.items[i]->id] != NULL && model->values.items[i]->constant != NULL)
            find_zeros(out, model->values.items[i]);
    walk(out);
    for (int turn = 0; turn < MOST_TURNS && change_choices(out); turn++)
        walk(out);
    return TM_OK;
}

/* ---- vectors that several nodes read ---- */

static bool is_vector(const tm_value *value) {
    int long_axes = 0;
    for (int i = 0; i < value->rank; i++)
        long_axes += value->constant->dims[i] != 1;
    return long_axes <= 1;
}

void tm_slices_separate(tm_model *model) {
    size_t count = model->values.count;
    for (size_t i = 0; i < count; i++) {
        tm_value *value = model->values.items[i];
        if (value->constant == NULL || value->graph != model->main || !is_vector(value))
            continue;
        for (size_t k = value->uses.count; k-- > 1;) {
            const tm_use use = value->uses.items[k];
            if (use.node != NULL && use.node->graph == model->main)
                tm_node_set_input(use.node, use.index,
                                  tm_value_create_constant(model->main, value->name, value->constant));
        }
    }
}
