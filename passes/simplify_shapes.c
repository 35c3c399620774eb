/* SPDX-License-Identifier: Apache-2.0
 *
 * simplify_shapes.c: movement of data that moves nothing, or that is undone further on.
 *
 *     copies        Identity; Reshape, Expand, Slice, Pad, Tile, Transpose, Cast to what is there already;
 *                   Concat, Sum, Max of one input; Dropout when not training; the element of a new optional
 *     views         Reshape(Unsqueeze(x))                 ->  Reshape(x) with the dims of the result
 *     transposes    Transpose(Transpose(x, p), q)         ->  Transpose(x, p[q]), or x
 *                   Transpose(Relu(Transpose(x, p)), q)   ->  Relu(x) when q undoes p
 *     dims          Shape(DequantizeLinear(x))            ->  Shape(x) when nothing else reads the result
 *
 * Pairs of transposes are found through any chain of elementwise nodes that only the next one reads, as long
 * as their other operands are single numbers or constants, which are transposed instead (and folded later).
 * That is how a layer of a channels-last framework in a channels-first file sheds its pairs of transposes.
 *
 * Comparing dims is comparing pointers, so "the same shape" holds for symbolic shapes too. The nodes that
 * lose their last reader here are dropped by dead_code.
 */
#include "ir/infer.h"
#include "passes/passes.h"
#include "passes/rewrite.h"

#define MAX_CHAIN 16

/* ---- copies ---- */

/* All elements of input i are the number `value`, or the input is omitted. */
static bool input_is_all(const tm_node *node, int i, int64_t value) {
    if (i >= node->input_count || node->inputs[i] == NULL)
        return true;
    const tm_value *input = node->inputs[i];
    if (input->elements == NULL)
        return false;
    for (int64_t k = 0; k < input->element_count; k++)
        if (!tm_dim_is(input->elements[k], value))
            return false;
    return true;
}

static bool is_identity_permutation(const tm_node *node) {
    int64_t perm[TAMIS_MAX_RANK];
    tm_rewrite_permutation(node, perm);
    for (int i = 0; i < node->inputs[0]->rank; i++)
        if (perm[i] != i)
            return false;
    return true;
}

/* Ops whose result is their input 0 when it has the same type and dims, and `input` holds only `value`. */
static const struct {
    tm_op op;
    int input; /* ALWAYS, ONE_INPUT, or its number */
    int64_t value;
} copies[] = {
#define ALWAYS (-1)
#define ONE_INPUT (-2)
    {TM_OP_Identity, ALWAYS, 0}, {TM_OP_Reshape, ALWAYS, 0},   {TM_OP_Flatten, ALWAYS, 0},
    {TM_OP_Squeeze, ALWAYS, 0},  {TM_OP_Unsqueeze, ALWAYS, 0}, {TM_OP_Expand, ALWAYS, 0},
    {TM_OP_Cast, ALWAYS, 0},     {TM_OP_Transpose, ALWAYS, 0}, {TM_OP_Concat, ONE_INPUT, 0},
    {TM_OP_Sum, ONE_INPUT, 0},   {TM_OP_Max, ONE_INPUT, 0},    {TM_OP_Min, ONE_INPUT, 0},
    {TM_OP_Mean, ONE_INPUT, 0},  {TM_OP_Slice, 4, 1},          {TM_OP_Pad, 1, 0},
    {TM_OP_Tile, 1, 1},          {TM_OP_Dropout, 2, 0},        {TM_OP_OptionalGetElement, ALWAYS, 0},
};

static bool copies_input(const tm_node *node) {
    for (size_t i = 0; i < sizeof copies / sizeof *copies; i++) {
        if (copies[i].op != node->op)
            continue;
        if (node->op == TM_OP_Transpose)
            return is_identity_permutation(node);
        if (copies[i].input == ONE_INPUT)
            return node->input_count == 1;
        return copies[i].input == ALWAYS || input_is_all(node, copies[i].input, copies[i].value);
    }
    return false;
}

/* Input 0, or what the optional there was made of. */
static tm_value *copied_value(const tm_node *node) {
    const tm_node *maker = node->inputs[0]->producer;
    bool made = node->op == TM_OP_OptionalGetElement && maker != NULL && maker->op == TM_OP_Optional &&
                maker->input_count > 0 && maker->inputs[0] != NULL;
    return made ? maker->inputs[0] : node->inputs[0];
}

static bool remove_copy(tm_pass_context *context, tm_node *node) {
    if (node->input_count < 1 || node->inputs[0] == NULL || node->output_count < 1 ||
        node->outputs[0] == NULL)
        return false;
    tm_value *input = copied_value(node), *output = node->outputs[0];
    bool handle = input->kind != TAMIS_KIND_TENSOR && tm_value_same_form(input, output);
    if (tm_value_unused(output) || !copies_input(node) || (!handle && !tm_rewrite_same_type(input, output)) ||
        !tm_rewrite_can_replace(output, input) || !tm_pass_allow(context))
        return false;
    tm_rewrite_replace(output, input);
    return true;
}

/* ---- dims ---- */

static bool only_dims_are_read(const tm_value *value) {
    for (size_t i = 0; i < value->uses.count; i++)
        if (value->uses.items[i].node == NULL || value->uses.items[i].node->op != TM_OP_Shape)
            return false;
    return true;
}

/* An operand of the value's producer with its dims. */
static tm_value *same_dims_before(const tm_value *value) {
    const tm_node *maker = value->producer;
    for (int i = 0; maker != NULL && i < maker->input_count; i++) {
        tm_value *x = maker->inputs[i];
        bool same =
            x != NULL && x->kind == TAMIS_KIND_TENSOR && x->rank == value->rank && !tm_value_is_constant(x);
        for (int k = 0; k < value->rank && same; k++)
            same = x->dims[k] == value->dims[k];
        if (same)
            return x;
    }
    return NULL;
}

static void read_dims_earlier(tm_pass_context *context, tm_node *node) {
    tm_value *source = NULL;
    while (node->op == TM_OP_Shape && node->inputs[0]->kind == TAMIS_KIND_TENSOR &&
           only_dims_are_read(node->inputs[0]) && (source = same_dims_before(node->inputs[0])) != NULL &&
           tm_pass_allow(context))
        tm_node_set_input(node, 0, source);
}

/* ---- views ---- */

static bool is_view(const tm_node *node) {
    return node != NULL && tm_op_has(node->op, TM_VIEW) && node->op != TM_OP_Identity;
}

/* The outer view reads what the inner one reads: only its own result's dims count. */
static void merge_views(tm_pass_context *context, tm_node *node) {
    const tm_node *inner = is_view(node) ? node->inputs[0]->producer : NULL;
    tm_value *output = node->output_count > 0 ? node->outputs[0] : NULL;
    if (!is_view(inner) || output == NULL || output->rank < 0 || tm_value_unused(output) ||
        !tm_pass_allow(context))
        return;
    tm_node *merged = tm_node_create(node->graph, node, TM_OP_Reshape, node->name, 1, inner->inputs);
    merged->file_index = node->file_index;
    merged->file_path = node->file_path;
    tm_node_set_output(merged, 0, output);
    tm_node_remove(node);
}

/* ---- transposes ---- */

static void compose(const tm_node *inner, const tm_node *outer, int64_t out[TAMIS_MAX_RANK]) {
    int64_t p[TAMIS_MAX_RANK], q[TAMIS_MAX_RANK];
    tm_rewrite_permutation(inner, p);
    tm_rewrite_permutation(outer, q);
    for (int i = 0; i < outer->inputs[0]->rank; i++)
        out[i] = p[q[i]];
}

static bool is_transpose(const tm_node *node) {
    return node != NULL && node->op == TM_OP_Transpose && node->inputs[0] != NULL &&
           node->inputs[0]->rank >= 0;
}

static bool undoes(const tm_node *inner, const tm_node *outer) {
    int64_t both[TAMIS_MAX_RANK];
    compose(inner, outer, both);
    for (int i = 0; i < outer->inputs[0]->rank; i++)
        if (both[i] != i)
            return false;
    return true;
}

static void merge_transposes(tm_pass_context *context, tm_node *node) {
    const tm_node *inner = is_transpose(node) ? node->inputs[0]->producer : NULL;
    if (!is_transpose(inner) || node->outputs[0] == NULL || tm_value_unused(node->outputs[0]))
        return;
    tm_value *source = inner->inputs[0];
    if (undoes(inner, node) && tm_rewrite_can_replace(node->outputs[0], source)) {
        if (tm_pass_allow(context))
            tm_rewrite_replace(node->outputs[0], source);
        return;
    }
    int64_t perm[TAMIS_MAX_RANK];
    compose(inner, node, perm);
    if (!tm_pass_allow(context))
        return;
    tm_node_set_ints(node, "perm", perm, source->rank);
    tm_node_set_input(node, 0, source);
}

/* An operand that means the same, or can be made to, when the other operands are transposed. */
static bool is_layout_free(const tm_value *operand, int rank) {
    if (operand->kind != TAMIS_KIND_TENSOR || operand->rank > rank)
        return false;
    bool single = true;
    for (int i = 0; i < operand->rank; i++)
        single = single && tm_dim_is(operand->dims[i], 1);
    return single || (operand->constant != NULL && operand->rank == rank);
}

static bool can_commute(const tm_node *node, const tm_value *moved) {
    if (!tm_op_has(node->op, TM_ELEMENTWISE) || node->output_count != 1 || node->outputs[0] == NULL ||
        node->outputs[0]->rank != moved->rank)
        return false;
    for (int i = 0; i < moved->rank; i++)
        if (node->outputs[0]->dims[i] != moved->dims[i])
            return false;
    int count = 0;
    for (int i = 0; i < node->input_count; i++)
        if (node->inputs[i] == moved)
            count++;
        else if (node->inputs[i] != NULL && !is_layout_free(node->inputs[i], moved->rank))
            return false;
    return count == 1;
}

/* The operand under the permutation that undoes `outer`'s partner: a transposed constant, or itself. */
static tm_value *transposed_operand(tm_node *user, tm_value *operand, const tm_node *outer) {
    bool single = true;
    for (int i = 0; i < operand->rank; i++)
        single = single && tm_dim_is(operand->dims[i], 1);
    if (single)
        return operand;
    int64_t perm[TAMIS_MAX_RANK];
    tm_rewrite_permutation(outer, perm);
    tm_node *transpose = tm_node_create(user->graph, user, TM_OP_Transpose, NULL, 1, &operand);
    tm_node_set_ints(transpose, "perm", perm, operand->rank);
    return tm_node_add_output(transpose, NULL);
}

/* The types of the nodes made here are needed by the next rewrite; inference runs after the pass anyway. */
static tm_code commute(tm_node *node, const tm_value *moved, tm_value *source, const tm_node *outer) {
    for (int i = 0; i < node->input_count; i++) {
        tm_value *operand = node->inputs[i];
        if (operand == NULL)
            continue;
        tm_value *other = operand == moved ? source : transposed_operand(node, operand, outer);
        if (other == operand)
            continue;
        tm_node_set_input(node, i, other);
        if (operand != moved)
            TM_TRY(tm_infer_node(node->graph->model, other->producer));
    }
    return tm_infer_node(node->graph->model, node);
}

static tm_code sink_transpose(tm_pass_context *context, tm_node *first) {
    tm_node *chain[MAX_CHAIN];
    int count = 0;
    if (!is_transpose(first) || first->outputs[0] == NULL)
        return TM_OK;
    const tm_value *moved = first->outputs[0];
    tm_node *user = tm_value_single_user(moved);
    while (user != NULL && user->graph == first->graph && count < MAX_CHAIN && can_commute(user, moved)) {
        chain[count++] = user;
        moved = user->outputs[0];
        user = tm_value_single_user(moved);
    }
    if (count == 0 || !is_transpose(user) || user->graph != first->graph || user->outputs[0] == NULL ||
        !undoes(first, user) || !tm_rewrite_can_replace(user->outputs[0], moved) || !tm_pass_allow(context))
        return TM_OK;
    const tm_value *before = first->outputs[0];
    tm_value *source = first->inputs[0];
    for (int i = 0; i < count; i++) {
        TM_TRY(commute(chain[i], before, source, user));
        before = source = chain[i]->outputs[0];
    }
    tm_rewrite_replace(user->outputs[0], source);
    return TM_OK;
}

static tm_code visit_graph(tm_pass_context *context, tm_graph *graph) {
    for (tm_node *node = graph->first, *next; node != NULL; node = next) {
        next = node->next;
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            TM_TRY(visit_graph(context, tm_node_subgraph(node, i)));
        if (remove_copy(context, node))
            continue;
        TM_TRY(sink_transpose(context, node));
        merge_transposes(context, node);
        read_dims_earlier(context, node);
        merge_views(context, node);
    }
    return TM_OK;
}

tm_code tm_pass_simplify_shapes(tm_pass_context *context) {
    return visit_graph(context, context->model->main);
}
