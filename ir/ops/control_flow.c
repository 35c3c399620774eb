/* SPDX-License-Identifier: Apache-2.0
 *
 * control_flow.c: inference of If, and what it shares with Loop, Scan and sequences.
 *
 * A dim of an inner value may be an expression of outer symbols; then it is good outside as it stands. One
 * that uses a symbol bound inside (a NonZero in a branch) is replaced by a FREE symbol of the
 * outer output, bound once the If has run:
 *
 *     %y: f32[y] = If(%c) { then: f32[n] from NonZero inside   else: f32[4] }
 *
 * Where the condition is itself shape arithmetic, a dim that differs becomes select(condition, a, b),
 * provided that neither expression can fail: dims of values are all evaluated, also those of the branch not
 * taken. If the condition is known, only its branch counts; the other one may be wrong in any way, as
 * exports of squeeze are (a Squeeze of a dim that is not 1 in the branch never taken).
 */
#include "ir/ops/control_flow.h"

#include <string.h>

typedef struct symbol_search {
    const tm_graph *graph;
    bool found;
} symbol_search;

static tm_dim find_inside(void *context, tm_symbol *symbol) {
    symbol_search *search = context;
    const tm_value *value = symbol->value;
    if (symbol->origin != TM_SYMBOL_INPUT &&
        (value == NULL || value->graph == NULL || tm_graph_contains(search->graph, value->graph)))
        search->found = true;
    return NULL;
}

/* Does the dim use a symbol that is bound in `graph` or inside it? Such a dim means nothing outside. */
static bool dim_is_inside(tm_dim dim, const tm_graph *graph) {
    symbol_search search = {graph, false};
    if (dim->late) /* substitution visits each symbol once, however deep the expression */
        (void)tm_dim_substitute(graph->model->dims, dim, find_inside, &search);
    return search.found;
}

tm_dim tm_dim_export(tm_infer_context *context, tm_dim dim, const tm_graph *body, tm_value *value, int axis) {
    return dim_is_inside(dim, body) ? tm_infer_free_of(context, value, axis, NULL) : dim;
}

void tm_value_set_like(tm_value *to, const tm_value *from) {
    tm_value_set_form(to, from, from->rank, from->dims);
}

/* Diagnostics and constraints as they are now, to be gone back to. */
typedef struct mark {
    size_t diagnostics;
    size_t constraints;
} mark;

static mark mark_get(const tm_infer_context *context) {
    return (mark){context->model->diagnostics->list.count, context->model->constraints.count};
}

static void mark_restore(tm_infer_context *context, mark to) {
    context->model->diagnostics->list.count = to.diagnostics;
    context->model->constraints.count = to.constraints;
}

/* ---- If ---- */

#define JOINED_DEPTH 8 /* deeper expressions are not looked into */

/* Evaluating it cannot fail, whatever the symbols are (short of overflow). */
static bool cannot_fail(tm_dim dim, int depth) {
    switch (dim->kind) {
    case TM_DIM_CONST:
    case TM_DIM_SYMBOL:
        return true;
    case TM_DIM_ADD:
    case TM_DIM_MUL:
    case TM_DIM_MIN:
    case TM_DIM_MAX:
    case TM_DIM_EQUAL:
    case TM_DIM_LESS:
        return depth > 0 && cannot_fail(dim->a, depth - 1) && cannot_fail(dim->b, depth - 1);
    case TM_DIM_FLOORDIV:
    case TM_DIM_TRUNCDIV:
    case TM_DIM_FLOORMOD:
        return depth > 0 && cannot_fail(dim->a, depth - 1) && tm_dim_is_constant(dim->b) &&
               dim->b->constant > 0;
    case TM_DIM_BROADCAST:
    case TM_DIM_SELECT:
        break;
    }
    return false;
}

typedef struct branches {
    tm_graph *then_graph, *else_graph;
    tm_dim condition; /* known expression, or NULL */
} branches;

/* One expression for what is `a` after the then branch and `b` after the other; NULL: there is none. */
static tm_dim join_expressions(tm_infer_context *context, const branches *both, tm_dim a, tm_dim b) {
    if (dim_is_inside(a, both->then_graph) || dim_is_inside(b, both->else_graph))
        return NULL;
    if (tm_dim_same(a, b))
        return a;
    if (both->condition != NULL && cannot_fail(a, JOINED_DEPTH) && cannot_fail(b, JOINED_DEPTH))
        return tm_dim_select(context->dims, both->condition, a, b);
    return NULL;
}

static void join_elements(tm_infer_context *context, tm_node *node, int output, const branches *both,
                          const tm_value *a, const tm_value *b) {
    if (a->elements == NULL || b->elements == NULL || a->element_count != b->element_count)
        return;
    tm_dim *elements = TM_NEW_ARRAY(context->arena, tm_dim, a->element_count > 0 ? a->element_count : 1);
    for (int64_t i = 0; i < a->element_count; i++) {
        elements[i] = join_expressions(context, both, a->elements[i], b->elements[i]);
        if (elements[i] == NULL)
            return;
    }
    tm_infer_set_elements(context, node, output, elements, a->element_count);
}

static void take_output(tm_infer_context *context, tm_node *node, int output, const tm_graph *branch) {
    tm_value *value = node->outputs[output];
    const tm_value *from = branch->outputs.items[output];
    tm_dim dims[TAMIS_MAX_RANK];
    for (int axis = 0; axis < from->rank; axis++)
        dims[axis] = tm_dim_export(context, from->dims[axis], branch, value, axis);
    tm_value_set_form(value, from, from->rank, dims);
    value->open_rank |= from->open_rank;
    bool known = from->elements != NULL;
    for (int64_t i = 0; known && i < from->element_count; i++)
        known = !dim_is_inside(from->elements[i], branch);
    if (known)
        tm_infer_set_elements(context, node, output, from->elements, from->element_count);
}

/* Where the branches' ranks differ, only one of them can run: the one with the declared rank, or, as
 * exporters write squeeze(dim) of a dim they do not know, the one that squeezes. If the other one is taken
 * after all, the run fails. */
static const tm_graph *branch_of_rank(const branches *both, int output, int declared) {
    const tm_value *a = both->then_graph->outputs.items[output];
    const tm_value *b = both->else_graph->outputs.items[output];
    if (declared == a->rank || declared == b->rank)
        return declared == a->rank ? both->then_graph : both->else_graph;
    if (a->producer != NULL && a->producer->op == TM_OP_Squeeze)
        return both->then_graph;
    return b->producer != NULL && b->producer->op == TM_OP_Squeeze ? both->else_graph : NULL;
}

static bool ranks_differ(const tm_value *a, const tm_value *b) {
    return a->rank != b->rank && a->kind == TAMIS_KIND_TENSOR;
}

/* Where the ranks differ: one of them counts, or the lower one is padded. */
static tm_code settle_rank(tm_infer_context *context, tm_node *node, int output, const branches *both,
                           const tm_graph **out_only) {
    tm_value *value = node->outputs[output];
    const tm_value *a = both->then_graph->outputs.items[output];
    const tm_value *b = both->else_graph->outputs.items[output];
    *out_only = branch_of_rank(both, output, value->rank);
    if (*out_only != NULL)
        return TM_OK;
    if (!tm_pads_to(a, b) && !tm_pads_to(b, a))
        return tm_infer_fail(
            node, TM_E_UNKNOWN_RANK,
            "the branches give output %d, '%s', %d and %d dims, and its rank is not declared", output,
            value->name, a->rank, b->rank);
    value->open_rank = true;
    return a->rank < b->rank ? tm_pad_output(context, both->then_graph, output, b->rank)
                             : tm_pad_output(context, both->else_graph, output, a->rank);
}

static tm_code join_output(tm_infer_context *context, tm_node *node, int output, const branches *both) {
    tm_value *value = node->outputs[output];
    const tm_value *a = both->then_graph->outputs.items[output];
    const tm_value *b = both->else_graph->outputs.items[output];
    tm_dim dims[TAMIS_MAX_RANK];
    if (!tm_value_same_form(a, b))
        return tm_infer_fail(node, TM_E_TYPE, "the branches give output %d different types, %s and %s",
                             output, tm_value_form_text(context->arena, a),
                             tm_value_form_text(context->arena, b));
    if (ranks_differ(a, b)) {
        const tm_graph *only = NULL;
        TM_TRY(settle_rank(context, node, output, both, &only));
        if (only != NULL) {
            take_output(context, node, output, only);
            return TM_OK;
        }
        a = both->then_graph->outputs.items[output];
        b = both->else_graph->outputs.items[output];
    }
    value->open_rank |= a->open_rank || b->open_rank;
    /* What holds nothing takes the other's rank; a sequence of either rank has none. */
    bool mixed = a->rank >= 0 && b->rank >= 0 && a->rank != b->rank;
    int rank = mixed ? -1 : a->rank >= 0 ? a->rank : b->rank;
    for (int axis = 0; axis < rank; axis++) {
        tm_dim dim = NULL;
        if (a->rank >= 0 && b->rank >= 0)
            dim = join_expressions(context, both, a->dims[axis], b->dims[axis]);
        else
            dim = tm_dim_export(context, (a->rank >= 0 ? a : b)->dims[axis],
                                a->rank >= 0 ? both->then_graph : both->else_graph, value, axis);
        dims[axis] = dim != NULL ? dim : tm_infer_free_of(context, value, axis, NULL);
    }
    tm_value_set_form(value, a, rank, dims);
    join_elements(context, node, output, both, a, b);
    return TM_OK;
}

static bool any_rank_differs(const tm_node *node, const branches *both) {
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL &&
            ranks_differ(both->then_graph->outputs.items[i], both->else_graph->outputs.items[i]))
            return true;
    return false;
}

tm_code tm_infer_if(tm_infer_context *context, tm_node *node) {
    branches both = {tm_node_graph(node, "then_branch"), tm_node_graph(node, "else_branch"), NULL};
    const tm_dim *elements = NULL;
    int64_t count = 0;
    TM_TRY(tm_infer_need(node, 0, -1));
    TM_TRY(tm_infer_need_type(node, 0, (const tamis_type[]){TAMIS_TYPE_BOOL, TAMIS_TYPE_UNDEFINED}));
    if (both.then_graph == NULL || both.else_graph == NULL)
        return tm_infer_fail(node, TM_E_ATTRIBUTE, "a branch is missing");
    if ((int)both.then_graph->outputs.count != node->output_count ||
        (int)both.else_graph->outputs.count != node->output_count)
        return tm_infer_fail(node, TM_E_ARITY, "the branches have %zu and %zu outputs, the node %d",
                             both.then_graph->outputs.count, both.else_graph->outputs.count,
                             node->output_count);
    if (tm_infer_known_elements(context, node->inputs[0], &elements, &count) && count == 1)
        both.condition = elements[0];
    if (both.condition != NULL && tm_dim_is_constant(both.condition)) {
        bool yes = both.condition->constant != 0;
        mark before = mark_get(context);
        (void)tm_infer_graph(context, yes ? both.else_graph : both.then_graph);
        mark_restore(context, before);
        TM_TRY(tm_infer_graph(context, yes ? both.then_graph : both.else_graph));
        for (int i = 0; i < node->output_count; i++)
            if (node->outputs[i] != NULL)
                take_output(context, node, i, yes ? both.then_graph : both.else_graph);
        return TM_OK;
    }
    mark before = mark_get(context);
    tm_code then_code = tm_infer_graph(context, both.then_graph);
    tm_code else_code = tm_infer_graph(context, both.else_graph);
    if ((then_code != TM_OK || else_code != TM_OK || any_rank_differs(node, &both)) &&
        tm_fold_condition(context, node->inputs[0]) != NULL) {
        mark_restore(context, before);
        return tm_infer_if(context, node); /* the condition is known now */
    }
    TM_TRY(then_code);
    TM_TRY(else_code);
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL)
            TM_TRY(join_output(context, node, i, &both));
    return TM_OK;
}

/* ---- carried values of Loop and Scan ---- */

/* A carried input's dim becomes FREE; says whether that is news. */
static bool free_dim(tm_infer_context *context, tm_value *input, int axis) {
    tm_dim dim = tm_infer_free_of(context, input, axis, NULL);
    bool news = input->dims[axis] != dim;
    input->dims[axis] = dim;
    return news;
}

/* Makes carried inputs more general where the body gave something else back. Sequences and optionals may lose
 * their rank, once: `mixed` tells which did. */
static bool generalise(tm_infer_context *context, const tm_carried *carried, bool *mixed) {
    bool changed = false;
    for (int k = 0; k < carried->count; k++) {
        tm_value *input = carried->body->inputs.items[carried->first_input + k];
        const tm_value *output = carried->body->outputs.items[carried->first_output + k];
        if (!tm_value_same_form(output, input))
            continue;
        if (input->kind != TAMIS_KIND_TENSOR && input->rank >= 0 && output->rank != input->rank) {
            mixed[k] = changed = true;
            tm_value_set_form(input, output, -1, NULL);
        }
        if (input->rank < 0 && output->rank >= 0 && !mixed[k]) {
            tm_dim dims[TAMIS_MAX_RANK];
            for (int axis = 0; axis < output->rank; axis++)
                dims[axis] = tm_dim_export(context, output->dims[axis], carried->body, input, axis);
            tm_value_set_form(input, output, output->rank, dims);
            changed = true;
        }
        for (int axis = 0; output->rank == input->rank && axis < input->rank; axis++)
            if (input->dims[axis] != output->dims[axis] && free_dim(context, input, axis))
                changed = true;
    }
    return changed;
}

/* Output k of the Loop, an optional now, gives its old readers the element. */
static void unwrap_output(tm_node *node, int k) {
    tm_value *element = tm_infer_output(node, k);
    if (element == NULL)
        return;
    tm_value *optional = tm_value_create(node->graph, NULL);
    tm_node_set_output(node, k, optional);
    tm_node *get =
        tm_node_create(node->graph, node->next, TM_OP_OptionalGetElement, node->name, 1, &optional);
    get->file_index = node->file_index;
    get->file_path = node->file_path;
    tm_node_set_output(get, 0, element);
}

/* A Loop may carry an optional at first and its element afterwards. Both ends are made explicit:
 *
 *     %r: sequence f32 = Loop(%n, %c, %o: optional sequence f32) { (i, cond, o) -> (cond, s: sequence f32) }
 *
 *     %q: optional sequence f32 = Loop(...) { ... -> (cond, Optional(s)) }
 *     %r: sequence f32 = OptionalGetElement(%q)
 */
static tm_code wrap_elements(tm_node *node, const tm_carried *carried) {
    tm_graph *body = carried->body;
    for (int k = 0; k < carried->count; k++) {
        const tm_value *input = body->inputs.items[carried->first_input + k];
        tm_value *output = body->outputs.items[carried->first_output + k];
        if (input->kind != TAMIS_KIND_OPTIONAL || output->type != input->type ||
            output->kind != input->item || output->kind == TAMIS_KIND_OPTIONAL)
            continue;
        tm_node *wrap = tm_node_create(body, NULL, TM_OP_Optional, NULL, 1, &output);
        tm_graph_set_output(body, carried->first_output + k, tm_node_add_output(wrap, NULL));
        unwrap_output(node, k);
        TM_TRY(tm_infer_node(body->model, wrap));
    }
    return TM_OK;
}

static tm_code check_carried(tm_node *node, const tm_carried *carried) {
    for (int k = 0; k < carried->count; k++) {
        const tm_value *input = carried->body->inputs.items[carried->first_input + k];
        const tm_value *output = carried->body->outputs.items[carried->first_output + k];
        if (!tm_value_same_form(output, input))
            return tm_infer_fail(node, TM_E_TYPE, "carried value '%s' is %s at first but %s after the body",
                                 input->name, tm_value_form_text(node->graph->model->arena, input),
                                 tm_value_form_text(node->graph->model->arena, output));
        if (input->kind == TAMIS_KIND_TENSOR && input->rank != output->rank)
            return tm_infer_fail(node, TM_E_UNKNOWN_RANK,
                                 "carried value '%s' has %d dims at first but %d after the body", input->name,
                                 input->rank, output->rank);
    }
    return TM_OK;
}

/* Carried inputs start as the initial values are. Where these hold nothing yet, the file may still say what
 * rank the body works with. */
static void start_carried(tm_infer_context *context, tm_value *input, const tm_value *initial) {
    int declared = input->declared_rank;
    tm_dim dims[TAMIS_MAX_RANK];
    if (initial->kind == TAMIS_KIND_TENSOR || initial->rank >= 0 || declared < 0 ||
        !tm_value_same_form(input, initial)) {
        tm_value_set_like(input, initial);
        return;
    }
    for (int axis = 0; axis < declared; axis++)
        dims[axis] = tm_infer_free_of(context, input, axis, NULL);
    tm_value_set_form(input, initial, declared, dims);
}

/* The body is inferred until its carried dims stay. They start as those of the initial values; a round that
 * fails may have failed because these were too special (a cache of length 0), so then all are freed once
 * before the failure counts. Each round frees a dim or learns a rank, so it ends. */
tm_code tm_infer_carried(tm_infer_context *context, tm_node *node, const tm_carried *carried) {
    tm_graph *body = carried->body;
    bool all_free = false, *mixed = TM_NEW_ARRAY(context->arena, bool, carried->count + 1);
    for (int k = 0; k < carried->count; k++)
        start_carried(context, body->inputs.items[carried->first_input + k], carried->initial[k]);
    for (;;) {
        mark before = mark_get(context);
        tm_code code = tm_infer_graph(context, body);
        if (code == TM_OK)
            code = wrap_elements(node, carried);
        bool changed = generalise(context, carried, mixed);
        if (!changed && code == TM_OK)
            return check_carried(node, carried);
        if (!changed && all_free)
            return code;
        if (!changed) {
            all_free = true;
            for (int k = 0; k < carried->count; k++) {
                tm_value *input = body->inputs.items[carried->first_input + k];
                for (int axis = 0; axis < input->rank; axis++)
                    if (free_dim(context, input, axis))
                        changed = true;
            }
            if (!changed)
                return code;
        }
        mark_restore(context, before);
        for (int k = 0; k < carried->count; k++)
            body->inputs.items[carried->first_input + k]->elements = NULL;
    }
}

void tm_infer_carried_outputs(tm_infer_context *context, tm_node *node, const tm_carried *carried) {
    for (int k = 0; k < carried->count && k < node->output_count; k++) {
        tm_value *value = node->outputs[k];
        const tm_value *initial = carried->initial[k];
        const tm_value *input = carried->body->inputs.items[carried->first_input + k];
        tm_dim dims[TAMIS_MAX_RANK];
        if (value == NULL)
            continue;
        for (int axis = 0; axis < input->rank; axis++) {
            bool stays = initial->rank < 0 || input->dims[axis] == initial->dims[axis];
            dims[axis] = stays ? tm_dim_export(context, input->dims[axis], carried->body, value, axis)
                               : tm_infer_free_of(context, value, axis, NULL);
        }
        tm_value_set_form(value, input, input->rank, dims);
    }
}
