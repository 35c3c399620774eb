/* SPDX-License-Identifier: Apache-2.0
 *
 * match.c: finding decomposed forms.
 *
 * Exporters spell one thing in many ways: 0.5*x*(1 + erf) or x*(1 + erf)*0.5, a/sqrt(v) or
 * a*reciprocal(sqrt(v)) or a*pow(v, -0.5). The helpers here take away such differences, so that a pass states
 * its form once:
 *
 *     flatten:           Mul(Mul(%x, 0.5), %e)         ->  0.5 * {%x, %e}, in any grouping and order
 *     root mean square:  Div(1, Sqrt(Add(mean, eps)))  ->  the thing squared, its axes, eps
 *
 * What has a second reader is never looked through: flattening stops there, and a match that holds
 * such a node is not closed. So no work is done twice, and nothing that must stay alive is lost.
 */
#include "passes/match.h"

#include "ir/infer.h"

#include <math.h>

#define MAX_ONES ((int64_t)1 << 20)
#define MAX_SWEEP 64

static tm_code visit_graph(tm_pass_context *context, tm_graph *graph,
                           tm_code (*rewrite)(tm_pass_context *, tm_node *)) {
    size_t count = 0;
    tm_node **nodes = TM_NEW_ARRAY(context->model->arena, tm_node *, graph->node_count + 1);
    for (tm_node *node = graph->first; node != NULL; node = node->next)
        nodes[count++] = node;
    for (size_t i = 0; i < count; i++) {
        for (int k = 0; nodes[i]->graph != NULL && k < tm_node_subgraph_count(nodes[i]); k++)
            TM_TRY(visit_graph(context, tm_node_subgraph(nodes[i], k), rewrite));
        if (nodes[i]->graph != NULL)
            TM_TRY(rewrite(context, nodes[i]));
    }
    return TM_OK;
}

tm_code tm_match_each(tm_pass_context *context, tm_code (*rewrite)(tm_pass_context *, tm_node *)) {
    return visit_graph(context, context->model->main, rewrite);
}

/* ---- sets of nodes ---- */

static bool contains(const tm_match *match, const tm_node *node) {
    for (int i = 0; i < match->count; i++)
        if (match->nodes[i] == node)
            return true;
    return false;
}

void tm_match_add(tm_match *match, tm_node *node) {
    if (!contains(match, node) && match->count < TM_MATCH_NODES)
        match->nodes[match->count++] = node;
}

tm_node *tm_match_op(tm_match *match, const tm_value *value, tm_op op) {
    tm_node *node = value != NULL ? value->producer : NULL;
    if (node == NULL || node->op != op || node->graph != match->graph || match->count == TM_MATCH_NODES)
        return NULL;
    tm_match_add(match, node);
    return node;
}

bool tm_match_closed(const tm_match *match, const tm_node *root) {
    for (int i = 0; i < match->count; i++) {
        const tm_node *node = match->nodes[i];
        for (int k = 0; node != root && k < node->output_count; k++) {
            const tm_value *value = node->outputs[k];
            for (size_t u = 0; value != NULL && u < value->uses.count; u++) {
                const tm_node *user = value->uses.items[u].node;
                if (user == NULL || (user != root && !contains(match, user)))
                    return false;
            }
        }
    }
    return true;
}

/* Removes the producer when nothing reads it or is bound by it, and then what it was the last to read. */
static void sweep(tm_value *value, int depth) {
    tm_node *node = value != NULL ? value->producer : NULL;
    if (node == NULL || node->graph == NULL || depth == 0 || tm_node_subgraph_count(node) > 0)
        return;
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL &&
            (node->outputs[i]->uses.count > 0 || node->outputs[i]->symbols.count > 0))
            return;
    tm_value **inputs = node->inputs; /* removal leaves the array alone */
    int count = node->input_count;
    tm_node_remove(node);
    for (int i = 0; i < count; i++)
        sweep(inputs[i], depth - 1);
}

void tm_match_replace(tm_node *root, tm_node *node) {
    tm_value **inputs = root->inputs;
    int count = root->input_count;
    node->name = root->name;
    node->file_index = root->file_index;
    node->file_path = root->file_path;
    tm_node_set_output(node, 0, root->outputs[0]);
    tm_node_remove(root);
    for (int i = 0; i < count; i++)
        sweep(inputs[i], MAX_SWEEP);
}

/* ---- numbers ---- */

bool tm_match_number(const tm_value *value, double *out_number) {
    return value != NULL && value->constant != NULL && tm_type_is_float(value->type) &&
           tm_constant_count(value->constant) == 1 && tm_constant_double(value->constant, 0, out_number);
}

bool tm_match_is_single(const tm_value *value) {
    return value == NULL || value->rank == 0 || (value->rank == 1 && tm_dim_is(value->dims[0], 1));
}

bool tm_match_near(double a, double b) {
    return fabs(a - b) <= 2e-6 * fabs(b);
}

tm_node *tm_match_with_number(tm_match *match, const tm_value *value, tm_op op, tm_value **out_x,
                              double *out_number) {
    int saved = match->count;
    tm_node *node = tm_match_op(match, value, op);
    int orders = tm_op_has(op, TM_COMMUTATIVE) ? 2 : 1;
    for (int i = 0; node != NULL && node->input_count == 2 && i < orders; i++) {
        if (!tm_match_number(node->inputs[1 - i], out_number) || node->inputs[i]->rank != value->rank)
            continue;
        *out_x = node->inputs[i];
        return node;
    }
    match->count = saved;
    return NULL;
}

bool tm_match_ints(const tm_value *value, int64_t out[TAMIS_MAX_RANK], int *out_count) {
    int64_t count = value != NULL && value->constant != NULL ? tm_constant_count(value->constant) : -1;
    if (count < 0 || count > TAMIS_MAX_RANK)
        return false;
    for (int64_t i = 0; i < count; i++)
        if (!tm_constant_int(value->constant, i, &out[i]))
            return false;
    *out_count = (int)count;
    return true;
}

/* ---- products ---- */

static bool flatten(tm_match *match, tm_value *value, tm_match_product *out, bool top) {
    double number;
    if (tm_match_number(value, &number)) {
        out->constant *= number;
        return true;
    }
    tm_value *x;
    if (top || tm_value_single_user(value) != NULL) {
        if (tm_match_with_number(match, value, TM_OP_Div, &x, &number) != NULL) {
            out->constant /= number;
            return flatten(match, x, out, false);
        }
        tm_node *node = tm_match_op(match, value, TM_OP_Mul);
        if (node != NULL)
            return flatten(match, node->inputs[0], out, false) && flatten(match, node->inputs[1], out, false);
    }
    if (out->count == TM_MATCH_FACTORS)
        return false;
    out->factors[out->count++] = value;
    return true;
}

bool tm_match_flatten(tm_match *match, tm_value *value, tm_match_product *out) {
    *out = (tm_match_product){.constant = 1};
    if (!flatten(match, value, out, true))
        return false;
    for (int i = 0; i < out->count; i++)
        if (out->factors[i]->rank > value->rank)
            return false;
    return true;
}

/* ---- means ---- */

/* The axes are the last ones, and kept: the first of them. */
static bool last_axes(const tm_node *node, int rank, int *out_axis) {
    int64_t axes[TAMIS_MAX_RANK];
    int count = 0;
    bool all = node->input_count < 2 || node->inputs[1] == NULL;
    if (rank < 1 || tm_node_int(node, "keepdims") != 1 ||
        (!all && !tm_match_ints(node->inputs[1], axes, &count)))
        return false;
    if (count == 0) {
        *out_axis = 0;
        return tm_node_int(node, "noop_with_empty_axes") == 0;
    }
    bool reduced[TAMIS_MAX_RANK] = {false};
    for (int i = 0; i < count; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + rank : axes[i];
        if (axis < 0 || axis >= rank || reduced[axis])
            return false;
        reduced[axis] = true;
    }
    for (int i = rank - count; i < rank; i++)
        if (!reduced[i])
            return false;
    *out_axis = rank - count;
    return true;
}

bool tm_match_mean(tm_match *match, const tm_value *value, tm_value **out_x, int *out_axis) {
    tm_node *node = tm_match_op(match, value, TM_OP_ReduceMean);
    if (node == NULL || !last_axes(node, node->inputs[0]->rank, out_axis))
        return false;
    *out_x = node->inputs[0];
    return true;
}

static tm_value *match_square(tm_match *match, tm_value *value) {
    double exponent;
    tm_value *x;
    if (tm_match_with_number(match, value, TM_OP_Pow, &x, &exponent) != NULL)
        return exponent == 2 ? x : NULL;
    tm_node *node = tm_match_op(match, value, TM_OP_Mul);
    return node != NULL && node->inputs[0] == node->inputs[1] ? node->inputs[0] : NULL;
}

/* sqrt(u), or 1 / sqrt(u): u. */
static tm_value *match_root(tm_match *match, tm_value *value, bool inverse) {
    double number;
    tm_value *x;
    if (tm_match_with_number(match, value, TM_OP_Pow, &x, &number) != NULL)
        return number == (inverse ? -0.5 : 0.5) ? x : NULL;
    tm_node *node = tm_match_op(match, value, TM_OP_Sqrt);
    if (node != NULL) {
        tm_node *reciprocal = inverse ? tm_match_op(match, node->inputs[0], TM_OP_Reciprocal) : NULL;
        return !inverse ? node->inputs[0] : reciprocal != NULL ? reciprocal->inputs[0] : NULL;
    }
    if (!inverse)
        return NULL;
    if ((node = tm_match_op(match, value, TM_OP_Reciprocal)) != NULL)
        return match_root(match, node->inputs[0], false);
    if ((node = tm_match_op(match, value, TM_OP_Div)) != NULL && tm_match_number(node->inputs[0], &number) &&
        number == 1 && node->inputs[1]->rank == value->rank)
        return match_root(match, node->inputs[1], false);
    return NULL;
}

bool tm_match_root_mean_square(tm_match *match, tm_value *value, bool inverse, tm_match_deviation *out) {
    int saved = match->count;
    tm_value *sum = match_root(match, value, inverse), *mean = NULL, *square = NULL;
    if (sum != NULL && tm_match_with_number(match, sum, TM_OP_Add, &mean, &out->epsilon) != NULL &&
        out->epsilon >= 0 && tm_match_mean(match, mean, &square, &out->axis)) {
        out->squared = match_square(match, square);
        if (out->squared != NULL && out->squared->rank == value->rank)
            return true;
    }
    match->count = saved;
    return false;
}

/* ---- rows of parameters ---- */

bool tm_match_is_row(const tm_value *parameter, const tm_value *x, int axis) {
    int extra = parameter->rank - (x->rank - axis);
    if (parameter->type != x->type || parameter->kind != TAMIS_KIND_TENSOR || extra < 0 ||
        parameter->rank > x->rank)
        return false;
    for (int i = 0; i < extra; i++)
        if (!tm_dim_is(parameter->dims[i], 1))
            return false;
    return tm_match_same_dims(parameter, extra, x, axis, x->rank - axis);
}

tm_node *tm_match_next_by_row(const tm_node *root, tm_op op, const tm_value *x, int axis,
                              tm_value **out_row) {
    tm_node *user = tm_value_single_user(root->outputs[0]);
    if (user == NULL || user->op != op || user->graph != root->graph)
        return NULL;
    tm_value *other = user->inputs[0] == root->outputs[0] ? user->inputs[1] : user->inputs[0];
    if (!tm_match_is_row(other, x, axis))
        return NULL;
    *out_row = other;
    return user;
}

tm_value *tm_match_row(tm_node *before, tm_value *parameter, const tm_value *x, int axis) {
    return tm_match_view(before, parameter, x->rank - axis, x->dims + axis);
}

tm_value *tm_match_ones(tm_graph *graph, const tm_value *x, int axis) {
    tm_arena *arena = graph->model->arena;
    int64_t dims[TAMIS_MAX_RANK], count = 1;
    for (int i = axis; i < x->rank; i++) {
        dims[i - axis] = tm_dim_is_constant(x->dims[i]) ? x->dims[i]->constant : MAX_ONES + 1;
        if (dims[i - axis] > MAX_ONES || !tm_mul_i64(count, dims[i - axis], &count) || count > MAX_ONES)
            return NULL;
    }
    bool wide = x->type == TAMIS_TYPE_DOUBLE;
    void *data = tm_arena_alloc_array(arena, (size_t)count + 1, wide ? sizeof(double) : sizeof(float));
    for (int64_t i = 0; i < count; i++)
        if (wide)
            ((double *)data)[i] = 1;
        else
            ((float *)data)[i] = 1;
    return tm_value_create_constant(graph, NULL,
                                    tm_constant_create(arena, x->type, x->rank - axis, dims, data));
}

/* ---- values ---- */

bool tm_match_is_byte(const tm_value *value) {
    return value->type == TAMIS_TYPE_UINT8 || value->type == TAMIS_TYPE_INT8;
}

bool tm_match_is_row_scale(const tm_node *quantizer) {
    const tm_value *x = quantizer->inputs[0], *scale = quantizer->inputs[1];
    int64_t axis = tm_node_int(quantizer, "axis"), block = tm_node_int(quantizer, "block_size");
    if (x->rank < 1 || scale->rank != x->rank || !(axis == -1 || axis == x->rank - 1))
        return false;
    tm_dim length = x->dims[x->rank - 1];
    return tm_dim_is_constant(length) && length->constant <= block && tm_dim_is(scale->dims[x->rank - 1], 1);
}

bool tm_match_is_real(const tm_value *value) {
    return value != NULL && value->kind == TAMIS_KIND_TENSOR && value->rank >= 0 &&
           (value->type == TAMIS_TYPE_FLOAT || value->type == TAMIS_TYPE_DOUBLE);
}

bool tm_match_same_dims(const tm_value *a, int a_from, const tm_value *b, int b_from, int count) {
    for (int i = 0; i < count; i++)
        if (a->dims[a_from + i] != b->dims[b_from + i])
            return false;
    return true;
}

tm_value *tm_match_view(tm_node *before, tm_value *x, int rank, const tm_dim *dims) {
    bool same = x->rank == rank;
    for (int i = 0; same && i < rank; i++)
        same = x->dims[i] == dims[i];
    if (same)
        return x;
    tm_node *node = tm_node_create(before->graph, before, TM_OP_Reshape, NULL, 1, &x);
    tm_value *view = tm_node_add_output(node, NULL);
    tm_value_set_tensor(view, x->type, rank, dims);
    return view;
}

tm_code tm_match_make(tm_node *before, tm_op op, int input_count, tm_value *const *inputs,
                      tm_value **out_value) {
    tm_node *node = tm_node_create(before->graph, before, op, NULL, input_count, inputs);
    *out_value = tm_node_add_output(node, NULL);
    return tm_infer_node(before->graph->model, node);
}

tm_code tm_match_make_pair(tm_node *before, tm_op op, tm_value *a, tm_value *b, tm_value **out_value) {
    return tm_match_make(before, op, 2, (tm_value *[]){a, b}, out_value);
}

tm_value *tm_match_make_cast(tm_node *before, tm_value *value, tamis_type to) {
    tm_node *node = tm_node_create(before->graph, before, TM_OP_Cast, NULL, 1, &value);
    tm_node_set_int(node, "to", to);
    tm_value *result = tm_node_add_output(node, NULL);
    tm_value_set_tensor(result, to, value->rank, value->dims);
    return result;
}

tm_code tm_match_make_transpose(tm_node *before, tm_value *x, const int64_t *perm, tm_value **out_value) {
    tm_node *node = tm_node_create(before->graph, before, TM_OP_Transpose, NULL, 1, &x);
    tm_node_set_ints(node, "perm", perm, x->rank);
    *out_value = tm_node_add_output(node, NULL);
    return tm_infer_node(before->graph->model, node);
}
