/* SPDX-License-Identifier: Apache-2.0
 *
 * gradient.c: Gradient, by differentiating the nodes between the tensors that it names, backwards.
 *
 *     c = Add(a, b)   d = Mul(c, a)   da, db = Gradient(a, b) {xs = [a, b], y = d}
 *
 *     dd = 1   dc = Mul(dd, a)   da = Mul(dd, c) + dc   db = dc
 *
 * Each node that leads from xs to y gives a part of the gradient of each of its inputs; the parts of a value
 * are added. Values computed on the way forward are read again; if Gradient is called with other tensors
 * than those that it names, the nodes are first written down a second time with these.
 *
 * An input that was broadcast takes the sum of its gradient over the axes along which it was; so the dims of
 * both must be known to be equal or 1, and the graph's types must be known when the node is read: it stands
 * in the main graph.
 */
#include "frontend/opset/write_out.h"
#include "frontend/opset/opset.h"

#include <string.h>

typedef struct pair {
    tm_value *from, *to;
} pair;

typedef struct differentiation {
    tm_draft *draft;
    TM_VECTOR(tm_node *) nodes; /* from the independent tensors to y, in order */
    TM_VECTOR(pair) replaced;   /* named tensors and what is computed from them -> values at the call */
    TM_VECTOR(pair) gradients;  /* value -> the sum of parts so far */
    tm_value *y;
} differentiation;

static pair *find(pair *pairs, size_t count, const tm_value *value) {
    for (size_t i = 0; i < count; i++)
        if (pairs[i].from == value)
            return &pairs[i];
    return NULL;
}

static tm_value *replacement(const differentiation *d, tm_value *value) {
    const pair *found = find(d->replaced.items, d->replaced.count, value);
    return found != NULL ? found->to : value;
}

/* ---- the nodes between ---- */

static bool is_in(tm_node *const *nodes, size_t count, const tm_node *node) {
    for (size_t i = 0; i < count; i++)
        if (nodes[i] == node)
            return true;
    return false;
}

/* Nodes before the draft that y needs and that need one of the named tensors. */
static void collect(differentiation *d) {
    tm_arena *arena = d->draft->importer->scratch;
    TM_VECTOR(tm_node *) needed = {0};
    tm_node *end = d->y->producer;
    if (end != NULL && find(d->replaced.items, d->replaced.count, d->y) == NULL)
        tm_push(arena, &needed, end);
    for (tm_node *node = end; node != NULL; node = node->previous) {
        if (!is_in(needed.items, needed.count, node))
            continue;
        for (int i = 0; i < node->input_count; i++) {
            tm_value *x = node->inputs[i];
            if (x == NULL || x->producer == NULL || x->graph != d->y->graph ||
                find(d->replaced.items, d->replaced.count, x) != NULL ||
                is_in(needed.items, needed.count, x->producer))
                continue;
            tm_push(arena, &needed, x->producer);
        }
    }
    for (tm_node *node = d->y->graph->first; node != NULL; node = node->next) {
        bool depends = false;
        for (int i = 0; i < node->input_count && !depends; i++)
            depends = node->inputs[i] != NULL &&
                      (find(d->replaced.items, d->replaced.count, node->inputs[i]) != NULL ||
                       (node->inputs[i]->producer != NULL &&
                        is_in(d->nodes.items, d->nodes.count, node->inputs[i]->producer)));
        if (depends && is_in(needed.items, needed.count, node))
            tm_push(arena, &d->nodes, node);
    }
}

/* The nodes once more, reading the tensors of the call. */
static void replay(differentiation *d) {
    tm_draft *draft = d->draft;
    tm_arena *arena = draft->importer->scratch;
    for (size_t n = 0; n < d->nodes.count; n++) {
        const tm_node *node = d->nodes.items[n];
        tm_value **inputs = TM_NEW_ARRAY(arena, tm_value *, node->input_count + 1);
        for (int i = 0; i < node->input_count; i++)
            inputs[i] = replacement(d, node->inputs[i]);
        tm_node *copy = tm_draft_emit_node(draft, node->op, node->input_count, inputs);
        for (int i = 0; i < tm_op_get(node->op)->attribute_count; i++)
            copy->attributes[i] = node->attributes[i];
        for (int i = 0; i < node->output_count; i++) {
            pair made = {node->outputs[i], tm_draft_add_output(draft, copy)};
            tm_push(arena, &d->replaced, made);
        }
        d->nodes.items[n] = copy;
    }
    d->y = replacement(d, d->y);
}

/* ---- parts ---- */

/* The gradient summed over the axes along which `to` was broadcast. */
static tm_code summed_like(const differentiation *d, tm_value *gradient, tm_value *to, tm_value **out_value) {
    tm_draft *draft = d->draft;
    int from_rank, rank;
    int64_t leading[TAMIS_MAX_RANK], units[TAMIS_MAX_RANK];
    int64_t unit_count = 0;
    TM_TRY(tm_draft_rank(draft, gradient, &from_rank));
    TM_TRY(tm_draft_rank(draft, to, &rank));
    const int more = from_rank - rank;
    for (int i = 0; i < more; i++)
        leading[i] = i;
    for (int i = 0; i < rank; i++) {
        tm_dim own = to->dims[i], whole = gradient->dims[i + more];
        if (tm_dim_same(own, whole))
            continue;
        if (!tm_dim_is(own, 1))
            return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM,
                                 "Gradient of a broadcast whose dims are not known to be equal or 1; "
                                 "give the inputs fixed dims, or pin them with --dim");
        units[unit_count++] = i;
    }
    if (more > 0) {
        tm_node *sum =
            tm_draft_emit_node(draft, TM_OP_ReduceSum, 2,
                               (tm_value *[]){gradient, tm_draft_constant_ints(draft, leading, more)});
        tm_node_set_int(sum, "keepdims", 0);
        gradient = tm_draft_add_output(draft, sum);
    }
    if (unit_count > 0)
        gradient = tm_write_binary(draft, TM_OP_ReduceSum, gradient,
                                     tm_draft_constant_ints(draft, units, unit_count));
    *out_value = gradient;
    return TM_OK;
}

static bool leads_to_xs(const differentiation *d, const tm_value *x) {
    for (size_t i = 0; i < d->replaced.count; i++)
        if (d->replaced.items[i].to == x)
            return true;
    return x->producer != NULL && is_in(d->nodes.items, d->nodes.count, x->producer);
}

/* Adds a part to the gradient of input `index`, if that leads to xs. */
static tm_code add_part(differentiation *d, const tm_node *node, int index, tm_value *part) {
    tm_value *x = node->inputs[index];
    if (!leads_to_xs(d, x))
        return TM_OK;
    TM_TRY(summed_like(d, part, x, &part));
    pair *found = find(d->gradients.items, d->gradients.count, x);
    if (found != NULL)
        found->to = tm_write_binary(d->draft, TM_OP_Add, found->to, part);
    else
        tm_push(d->draft->importer->scratch, &d->gradients, (pair){x, part});
    return TM_OK;
}

static tm_value *transposed(tm_draft *draft, tm_value *x) {
    return tm_write_transpose(draft, x, 2, (int64_t[]){1, 0});
}

static tm_code differentiate_matmul(differentiation *d, const tm_node *node, tm_value *g) {
    tm_draft *draft = d->draft;
    for (int i = 0; i < 2; i++) {
        int rank;
        TM_TRY(tm_draft_rank(draft, node->inputs[i], &rank));
        if (rank != 2)
            return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM, "Gradient of MatMul of other ranks than 2");
    }
    TM_TRY(
        add_part(d, node, 0, tm_write_binary(draft, TM_OP_MatMul, g, transposed(draft, node->inputs[1]))));
    return add_part(d, node, 1,
                    tm_write_binary(draft, TM_OP_MatMul, transposed(draft, node->inputs[0]), g));
}

static tm_code differentiate_binary(differentiation *d, const tm_node *node, tm_value *g) {
    tm_draft *draft = d->draft;
    tm_value *a = node->inputs[0], *b = node->inputs[1], *y = node->outputs[0];
    switch (node->op) {
    case TM_OP_Add:
        TM_TRY(add_part(d, node, 0, g));
        return add_part(d, node, 1, g);
    case TM_OP_Sub:
        TM_TRY(add_part(d, node, 0, g));
        return add_part(d, node, 1, tm_write_unary(draft, TM_OP_Neg, g));
    case TM_OP_Mul:
        TM_TRY(add_part(d, node, 0, tm_write_binary(draft, TM_OP_Mul, g, b)));
        return add_part(d, node, 1, tm_write_binary(draft, TM_OP_Mul, g, a));
    case TM_OP_Div:
        g = tm_write_binary(draft, TM_OP_Div, g, b);
        TM_TRY(add_part(d, node, 0, g));
        return add_part(d, node, 1,
                        tm_write_unary(draft, TM_OP_Neg, tm_write_binary(draft, TM_OP_Mul, g, y)));
    default:
        return differentiate_matmul(d, node, g);
    }
}

static tm_value *expanded_like(tm_draft *draft, tm_value *x, tm_value *like) {
    return tm_write_binary(draft, TM_OP_Expand, x, tm_write_unary(draft, TM_OP_Shape, like));
}

/* A sum gives its gradient to all that it added; dims that fell away come back first. */
static tm_code differentiate_sum(differentiation *d, const tm_node *node, tm_value *g) {
    tm_draft *draft = d->draft;
    tm_value *axes = node->input_count > 1 ? node->inputs[1] : NULL;
    if (axes != NULL && tm_node_int(node, "keepdims") == 0)
        g = tm_write_binary(draft, TM_OP_Unsqueeze, g, axes);
    return add_part(d, node, 0, expanded_like(draft, g, node->inputs[0]));
}

/* y'(x) * g for functions of one input, by x or by y. */
static tm_code differentiate_unary(differentiation *d, const tm_node *node, tm_value *g) {
    tm_draft *draft = d->draft;
    tm_value *x = node->inputs[0], *y = node->outputs[0], *factor = NULL;
    tm_value *one = tm_write_number(draft, 1, y), *zero = tm_write_number(draft, 0, y);
    switch (node->op) {
    case TM_OP_Neg:
        return add_part(d, node, 0, tm_write_unary(draft, TM_OP_Neg, g));
    case TM_OP_Exp:
        factor = y;
        break;
    case TM_OP_Log:
        return add_part(d, node, 0, tm_write_binary(draft, TM_OP_Div, g, x));
    case TM_OP_Sqrt:
        return add_part(d, node, 0,
                        tm_write_binary(draft, TM_OP_Div, g, tm_write_binary(draft, TM_OP_Add, y, y)));
    case TM_OP_Tanh:
        factor = tm_write_binary(draft, TM_OP_Sub, one, tm_write_binary(draft, TM_OP_Mul, y, y));
        break;
    case TM_OP_Sigmoid:
        factor = tm_write_binary(draft, TM_OP_Mul, y, tm_write_binary(draft, TM_OP_Sub, one, y));
        break;
    case TM_OP_Relu:
        factor =
            tm_write_binary(draft, TM_OP_CastLike, tm_write_binary(draft, TM_OP_Greater, x, zero), y);
        break;
    case TM_OP_ReduceSum:
        return differentiate_sum(d, node, g);
    default: /* Identity, Expand */
        return add_part(d, node, 0, g);
    }
    return add_part(d, node, 0, tm_write_binary(draft, TM_OP_Mul, g, factor));
}

static bool is_one_of(tm_op op, const tm_op *ops, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (op == ops[i])
            return true;
    return false;
}

static bool is_unary(tm_op op) {
    static const tm_op ops[] = {TM_OP_Identity, TM_OP_Neg,     TM_OP_Exp,  TM_OP_Log,    TM_OP_Sqrt,
                                TM_OP_Tanh,     TM_OP_Sigmoid, TM_OP_Relu, TM_OP_Expand, TM_OP_ReduceSum};
    return is_one_of(op, ops, sizeof ops / sizeof *ops);
}

static bool is_binary(tm_op op) {
    static const tm_op ops[] = {TM_OP_Add, TM_OP_Sub, TM_OP_Mul, TM_OP_Div, TM_OP_MatMul};
    return is_one_of(op, ops, sizeof ops / sizeof *ops);
}

/* Names all operators that a gradient would reach and that have no derivative here, each once. The target of
 * an Expand and the axes of a sum get none. */
static tm_code check_operators(const differentiation *d) {
    tm_arena *arena = d->draft->importer->scratch;
    TM_VECTOR(tm_node *) reached = {0};
    TM_VECTOR(tm_op) refused = {0};
    tm_push(arena, &reached, d->y->producer);
    for (size_t n = d->nodes.count; n > 0; n--) {
        tm_node *node = d->nodes.items[n - 1];
        if (!is_in(reached.items, reached.count, node))
            continue;
        if (!is_unary(node->op) && !is_binary(node->op) &&
            !is_one_of(node->op, refused.items, refused.count))
            tm_push(arena, &refused, node->op);
        int count = is_unary(node->op) ? 1 : node->input_count;
        for (int i = 0; i < count; i++)
            if (node->inputs[i] != NULL && node->inputs[i]->producer != NULL)
                tm_push(arena, &reached, node->inputs[i]->producer);
    }
    const char *names = "";
    for (size_t i = refused.count; i > 0; i--)
        names = tm_arena_format(arena, "%s%s%s", names, i < refused.count ? ", " : "",
                                tm_op_get(refused.items[i - 1])->name);
    if (refused.count == 0)
        return TM_OK;
    return tm_draft_fail(d->draft, TM_E_UNSUPPORTED_FORM,
                         "Gradient of %s; tamis differentiates Add, Sub, Mul, Div, MatMul, Neg, Exp, Log, "
                         "Sqrt, Tanh, Sigmoid, Relu, ReduceSum, Expand and Identity",
                         names);
}

static tm_code differentiate(differentiation *d, const tm_node *node) {
    const pair *found = find(d->gradients.items, d->gradients.count, node->outputs[0]);
    if (found == NULL)
        return TM_OK;
    return is_unary(node->op) ? differentiate_unary(d, node, found->to)
                              : differentiate_binary(d, node, found->to);
}

/* ---- the node ---- */

/* A tensor like `x` full of one value. */
static tm_value *filled_like(tm_draft *draft, double value, tm_value *x) {
    return expanded_like(draft, tm_write_number(draft, value, x), x);
}

/* Pairs the tensors of xs and zs with the node's inputs. */
static tm_code read_names(differentiation *d, size_t *out_count) {
    tm_draft *draft = d->draft;
    const tm_draft_attribute *lists[] = {tm_draft_find(draft, "xs"), tm_draft_find(draft, "zs")};
    const char *y = tm_draft_string(draft, "y", NULL);
    size_t input = 0;
    if (lists[0] == NULL || y == NULL)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "xs and y are needed");
    for (int l = 0; l < 2; l++) {
        for (int64_t i = 0; lists[l] != NULL && i < lists[l]->value.count; i++, input++) {
            pair named = {NULL, tm_draft_input(draft, input)};
            if (named.to == NULL || lists[l]->kind != TM_ATTRIBUTE_STRINGS ||
                !tm_scope_find(draft->scope, lists[l]->value.strings[i], &named.from) || named.from == NULL)
                return tm_draft_fail(draft, TM_E_ATTRIBUTE,
                                     "tensor %zu of xs and zs is not defined, or has no input", input);
            tm_push(draft->importer->scratch, &d->replaced, named);
        }
        if (l == 0)
            *out_count = input;
    }
    if (!tm_scope_find(draft->scope, y, &d->y) || d->y == NULL)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "no node before this one makes y, '%s'", y);
    if (draft->scope->graph != draft->importer->model->main)
        return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM, "Gradient inside of control flow");
    return TM_OK;
}

tm_code tm_opset_gradient(tm_draft *draft) {
    differentiation d = {.draft = draft};
    size_t count = 0;
    TM_TRY(read_names(&d, &count));
    collect(&d);
    TM_TRY(check_operators(&d));
    bool other = false;
    for (size_t i = 0; i < d.replaced.count; i++)
        other |= d.replaced.items[i].from != d.replaced.items[i].to;
    if (other)
        replay(&d);
    tm_push(draft->importer->scratch, &d.gradients, (pair){d.y, filled_like(draft, 1, d.y)});
    for (size_t n = d.nodes.count; n > 0; n--)
        TM_TRY(differentiate(&d, d.nodes.items[n - 1]));
    for (size_t i = 0; i < count && i < draft->outputs.count; i++) {
        tm_value *x = d.replaced.items[i].to;
        const pair *found = find(d.gradients.items, d.gradients.count, x);
        tm_value *gradient = found != NULL ? found->to : filled_like(draft, 0, x);
        tm_node *last;
        TM_TRY(tm_opset_emit_output(draft, i, TM_OP_Identity, 1, &gradient, &last));
    }
    return TM_OK;
}
