/* SPDX-License-Identifier: Apache-2.0
 *
 * prune_rules_sum.c: operators that sum over slices: products, convolutions, reductions. There classes end:
 * the two sides of the sum are tied, and a class that goes takes its terms with it.
 *
 *     %y[m, n] = sum over k of %a[m, k] * %w[k, n]      a[:, k] ~ w[k, :], a sink
 *
 * Grouped convolutions stay regular if whole groups go, or the same channels of all of them.
 */
#include "compress/slices.h"

#include "passes/match.h"

#include <string.h>

/* ---- products ---- */

static void matmul(tm_slices *s, tm_node *node) {
    tm_value *a = node->inputs[0], *b = node->inputs[1], *y = node->outputs[0];
    int a_sum = a->rank - 1, b_sum = b->rank > 1 ? b->rank - 2 : 0;
    int batch = y->rank - (a->rank > 1) - (b->rank > 1);
    tm_slices_unite_axes(s, a, a_sum, b, b_sum);
    tm_slices_add_sink(s, node, a, a_sum, b, b_sum);
    for (int k = 0; k < a->rank - 2; k++)
        tm_slices_link_axes(s, a, k, y, batch - (a->rank - 2) + k);
    for (int k = 0; k < b->rank - 2; k++)
        tm_slices_link_axes(s, b, k, y, batch - (b->rank - 2) + k);
    if (a->rank > 1)
        tm_slices_link_axes(s, a, a->rank - 2, y, batch);
    if (b->rank > 1)
        tm_slices_link_axes(s, b, b->rank - 1, y, y->rank - 1);
}

/* Clears the zeros of a result's axis where what is added to it is not zero. */
static void add_bias(tm_slices *s, const tm_value *bias, int bias_axis, const tm_value *y, int y_axis) {
    int32_t first = tm_slices_first(s, y, y_axis);
    int32_t from = bias_axis >= 0 && bias_axis < bias->rank ? tm_slices_first(s, bias, bias_axis) : 0;
    for (int64_t i = 0, n = tm_slices_count(s, y, y_axis); i < n; i++)
        s->zero[first + i] = s->zero[first + i] && from != 0 && s->zero[from + i];
    if (from != 0)
        tm_slices_unite_axes(s, bias, bias_axis, y, y_axis);
}

static void gemm(tm_slices *s, tm_node *node) {
    tm_value *a = node->inputs[0], *b = node->inputs[1], *y = node->outputs[0];
    tm_value *c = node->input_count > 2 ? node->inputs[2] : NULL;
    int a_sum = tm_node_int(node, "transA") != 0 ? 0 : 1, b_sum = tm_node_int(node, "transB") != 0 ? 1 : 0;
    tm_slices_unite_axes(s, a, a_sum, b, b_sum);
    tm_slices_add_sink(s, node, a, a_sum, b, b_sum);
    tm_slices_link_axes(s, a, 1 - a_sum, y, 0);
    tm_slices_link_axes(s, b, 1 - b_sum, y, 1);
    tm_slices_say_zeros(s, node, TM_ZERO_ANY, 1);
    for (int k = 0; c != NULL && k < 2; k++)
        add_bias(s, c, c->rank - 2 + k, y, k);
}

/* ---- einsum ---- */

/* Terms of letters only, none twice in a term; false: something else. */
static bool read_equation(const char *text, int operands, char terms[][TAMIS_MAX_RANK + 1], int most) {
    int term = 0, size = 0;
    for (; *text != 0; text++) {
        if (*text == ' ')
            continue;
        if (*text == ',' || *text == '-') {
            text += *text == '-' && text[1] == '>';
            terms[term++][size] = 0;
            size = 0;
            if (term > operands || term >= most)
                return false;
            continue;
        }
        bool letter = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z');
        if (!letter || size == TAMIS_MAX_RANK || memchr(terms[term], *text, (size_t)size) != NULL)
            return false;
        terms[term][size++] = *text;
    }
    terms[term][size] = 0;
    return term == operands;
}

static void einsum(tm_slices *s, tm_node *node) {
    enum { MOST = 5 };
    char terms[MOST][TAMIS_MAX_RANK + 1];
    int count = node->input_count;
    const char *equation = tm_node_string(node, "equation");
    if (count >= MOST || equation == NULL || !read_equation(equation, count, terms, MOST)) {
        for (int i = 0; i < count; i++)
            tm_slices_pin_all(s, node->inputs[i]);
        tm_slices_pin_all(s, node->outputs[0]);
        return;
    }
    for (int i = 0; i < count; i++)
        for (int k = 0; terms[i][k] != 0; k++) {
            const char *at = strchr(terms[count], terms[i][k]);
            if (at != NULL) {
                tm_slices_link_axes(s, node->inputs[i], k, node->outputs[0], (int)(at - terms[count]));
                continue;
            }
            bool met = false;
            for (int j = 0; j < count; j++) {
                const char *other = j != i ? strchr(terms[j], terms[i][k]) : NULL;
                if (other == NULL)
                    continue;
                int axis = (int)(other - terms[j]);
                tm_slices_unite_axes(s, node->inputs[i], k, node->inputs[j], axis);
                if (j > i && !met)
                    tm_slices_add_sink(s, node, node->inputs[i], k, node->inputs[j], axis);
                met = true;
            }
            if (!met)
                tm_slices_add_sink(s, node, node->inputs[i], k, NULL, 0);
        }
}

/* ---- convolutions ---- */

static bool is_zero_at(const tm_slices *s, const tm_value *value, int axis, int64_t i) {
    int32_t first = tm_slices_first(s, value, axis);
    return first != 0 && s->zero[first + i] != 0;
}

/* x [N, groups * i, ...]; w has axis `in` with i and `out` with o channels for each group: of a Conv
 * [groups * o, i], of a ConvTranspose [groups * i, o]. One of w's axes runs over all groups, `wide`. */
typedef struct grouped {
    tm_value *x, *w, *y;
    int64_t groups, inputs, outputs; /* of a group */
    int in_axis, out_axis;
} grouped;

static int32_t in_slice(const tm_slices *s, const grouped *g, int64_t group, int64_t i) {
    int32_t first = tm_slices_first(s, g->w, g->in_axis);
    return first == 0 ? 0 : first + (int32_t)(g->in_axis == 0 ? group * g->inputs + i : i);
}

static int32_t out_slice(const tm_slices *s, const grouped *g, int64_t group, int64_t o) {
    int32_t first = tm_slices_first(s, g->w, g->out_axis);
    return first == 0 ? 0 : first + (int32_t)(g->out_axis == 0 ? group * g->outputs + o : o);
}

static void whole_groups(tm_slices *s, const grouped *g) {
    int32_t x = tm_slices_first(s, g->x, 1), y = tm_slices_first(s, g->y, 1);
    tm_slices_pin(s, g->w, 1);
    for (int64_t group = 0; group < g->groups; group++) {
        int32_t lead = x + (int32_t)(group * g->inputs);
        for (int64_t i = 0; i < g->inputs; i++) {
            tm_slices_unite(s, lead, lead + (int32_t)i);
            if (g->in_axis == 0)
                tm_slices_unite(s, lead, in_slice(s, g, group, i));
        }
        for (int64_t o = 0; o < g->outputs; o++) {
            tm_slices_unite(s, lead, y + (int32_t)(group * g->outputs + o));
            if (g->out_axis == 0)
                tm_slices_unite(s, lead, out_slice(s, g, group, o));
        }
    }
}

static void same_of_all_groups(tm_slices *s, tm_node *node, const grouped *g) {
    int32_t x = tm_slices_first(s, g->x, 1), y = tm_slices_first(s, g->y, 1);
    for (int64_t group = 0; group < g->groups; group++) {
        for (int64_t i = 0; i < g->inputs; i++) /* one of a group is needed: pinned by slice 0 */
            tm_slices_unite(s, x + (int32_t)(group * g->inputs + i), in_slice(s, g, group, i));
        for (int64_t o = 0; o < g->outputs; o++)
            tm_slices_unite(s, y + (int32_t)(group * g->outputs + o), out_slice(s, g, group, o));
    }
    for (int64_t group = 1; group < g->groups; group++) {
        for (int64_t i = 0; i < g->inputs; i++)
            tm_slices_unite(s, x + (int32_t)i, x + (int32_t)(group * g->inputs + i));
        for (int64_t o = 0; o < g->outputs; o++)
            tm_slices_unite(s, y + (int32_t)o, y + (int32_t)(group * g->outputs + o));
    }
    tm_slices_add_sink(s, node, g->x, 1, g->w, g->in_axis);
}

/* A result's channel is zero where its filters are, and its bias. Of a depthwise one, where its input is. */
static void say_zero_channels(tm_slices *s, const grouped *g, const tm_value *bias) {
    int32_t y = tm_slices_first(s, g->y, 1);
    for (int64_t c = 0, n = tm_slices_count(s, g->y, 1); c < n; c++) {
        int64_t group = c / g->outputs;
        bool zero = g->out_axis == 0 || g->groups == 1
                        ? is_zero_at(s, g->w, g->out_axis, g->out_axis == 0 ? c : c % g->outputs)
                        : false;
        if (g->inputs == 1)
            zero = zero || is_zero_at(s, g->x, 1, group);
        s->zero[y + c] = zero && (bias == NULL || is_zero_at(s, bias, 0, c));
    }
}

static void convolution(tm_slices *s, tm_node *node) {
    bool turned = node->op == TM_OP_ConvTranspose;
    tm_value *x = node->inputs[0], *w = node->inputs[1], *y = node->outputs[0];
    tm_value *bias = node->input_count > 2 ? node->inputs[2] : NULL;
    grouped g = {
        .x = x, .w = w, .y = y, .groups = tm_node_int(node, "group"), .in_axis = !turned, .out_axis = turned};
    tm_slices_unite_axes(s, x, 0, y, 0);
    for (int k = 2; k < x->rank; k++) {
        tm_slices_pin(s, x, k);
        tm_slices_pin(s, w, k);
        tm_slices_pin(s, y, k);
    }
    bool known = tm_dim_is_constant(x->dims[1]) && tm_dim_is_constant(y->dims[1]) && g.groups > 0;
    if (bias != NULL)
        tm_slices_unite_axes(s, bias, 0, y, 1);
    if (!known) {
        tm_slices_pin_all(s, w);
        tm_slices_pin(s, x, 1);
        tm_slices_pin(s, y, 1);
        return;
    }
    g.inputs = x->dims[1]->constant / g.groups;
    g.outputs = y->dims[1]->constant / g.groups;
    if (g.groups == 1) {
        tm_slices_unite_axes(s, x, 1, w, g.in_axis);
        tm_slices_unite_axes(s, w, g.out_axis, y, 1);
        tm_slices_add_sink(s, node, x, 1, w, g.in_axis);
    } else if (tm_slices_count(s, x, 1) == 0 || tm_slices_count(s, y, 1) == 0) {
        tm_slices_pin_all(s, w);
        tm_slices_pin(s, x, 1);
        tm_slices_pin(s, y, 1);
    } else {
        int way = tm_slices_choose(
            s, g.inputs > 1 && g.outputs > 1 ? 2 : 1,
            ((uint64_t)g.groups << 40) ^ (uint64_t)(g.inputs << 20) ^ (uint64_t)g.outputs, x, 1);
        if (way == 0)
            whole_groups(s, &g);
        else if (way == 1)
            same_of_all_groups(s, node, &g);
        else {
            tm_slices_pin_all(s, w);
            tm_slices_pin(s, x, 1);
            tm_slices_pin(s, y, 1);
        }
    }
    say_zero_channels(s, &g, bias);
}

/* ---- reductions ---- */

static bool reduced_axes(const tm_node *node, bool out[TAMIS_MAX_RANK]) {
    const tm_value *x = node->inputs[0], *axes = node->input_count > 1 ? node->inputs[1] : NULL;
    int64_t list[TAMIS_MAX_RANK];
    int count = 0;
    for (int k = 0; k < TAMIS_MAX_RANK; k++)
        out[k] = axes == NULL && tm_node_int(node, "noop_with_empty_axes") == 0;
    if (axes == NULL)
        return true;
    if (!tm_match_ints(axes, list, &count) || count == 0)
        return false;
    for (int i = 0; i < count; i++) {
        int64_t axis = list[i] < 0 ? list[i] + x->rank : list[i];
        if (axis < 0 || axis >= x->rank)
            return false;
        out[axis] = true;
    }
    return true;
}

static void reduction(tm_slices *s, tm_node *node) {
    tm_value *x = node->inputs[0], *y = node->outputs[0];
    bool reduced[TAMIS_MAX_RANK], keep = tm_node_int(node, "keepdims") != 0;
    bool sum = node->op == TM_OP_ReduceSum || node->op == TM_OP_ReduceL1 || node->op == TM_OP_ReduceL2 ||
               node->op == TM_OP_ReduceSumSquare;
    if (node->input_count > 1)
        tm_slices_pin_all(s, node->inputs[1]);
    if (!reduced_axes(node, reduced)) {
        tm_slices_pin_all(s, x);
        tm_slices_pin_all(s, y);
        return;
    }
    for (int k = 0, at = 0; k < x->rank; k++) {
        if (!reduced[k])
            tm_slices_link_axes(s, x, k, y, at);
        else if (sum)
            tm_slices_add_sink(s, node, x, k, NULL, 0);
        else
            tm_slices_pin(s, x, k);
        at += keep || !reduced[k];
    }
    if (sum || node->op == TM_OP_ReduceMean || node->op == TM_OP_ReduceMax || node->op == TM_OP_ReduceMin)
        tm_slices_say_zeros(s, node, TM_ZERO_ALL, 1);
}

const tm_slice_row tm_slice_rows_sum[] = {{TM_OP_MatMul, matmul, TM_ZERO_ANY},
                                          {TM_OP_Gemm, gemm, TM_ZERO_NEVER},
                                          {TM_OP_Einsum, einsum, TM_ZERO_ANY},
                                          {TM_OP_Conv, convolution, TM_ZERO_NEVER},
                                          {TM_OP_ConvTranspose, convolution, TM_ZERO_NEVER},
                                          {TM_OP_ReduceSum, reduction, TM_ZERO_NEVER},
                                          {TM_OP_ReduceMean, reduction, TM_ZERO_NEVER},
                                          {TM_OP_ReduceMax, reduction, TM_ZERO_NEVER},
                                          {TM_OP_ReduceMin, reduction, TM_ZERO_NEVER},
                                          {TM_OP_ReduceProd, reduction, TM_ZERO_NEVER},
                                          {TM_OP_ReduceL1, reduction, TM_ZERO_NEVER},
                                          {TM_OP_ReduceL2, reduction, TM_ZERO_NEVER},
                                          {TM_OP_ReduceLogSum, reduction, TM_ZERO_NEVER},
                                          {TM_OP_ReduceLogSumExp, reduction, TM_ZERO_NEVER},
                                          {TM_OP_ReduceSumSquare, reduction, TM_ZERO_NEVER},
                                          {TM_OP_INVALID, NULL, TM_ZERO_NEVER}};
