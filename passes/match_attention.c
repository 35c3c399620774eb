/* SPDX-License-Identifier: Apache-2.0
 *
 * match_attention.c: finds attention; see match_attention.h, and recognize_attention.c for the forms.
 */
#include "passes/match_attention.h"

#include "passes/match_range.h"
#include "passes/pair.h"

#include <math.h>

#define MAX_DEPTH 12
#define LEAST_FILL 1e4

static bool match_scores(tm_match *match, tm_value *value, double scale, int depth, tm_attention_form *out);

/* Has the value the dims of the scores? What it is of a mask whose number of keys has another name, such as
 * one that a model calls "total", is broadcast of both; the product by V demands that it is that of the
 * scores. */
static bool has_dims_of_scores(const tm_value *value, const tm_value *mask, tm_attention_form *out) {
    int rank = out->scores->rank;
    if (value->rank != rank || rank < 1 || !tm_match_same_dims(value, 0, out->scores, 0, rank - 1))
        return false;
    tm_dim keys = out->scores->dims[rank - 1], last = value->dims[rank - 1];
    if (last == keys || last == out->keys)
        return true;
    if (mask->rank < 1 || out->keys != NULL ||
        last != tm_dim_broadcast(value->graph->model->dims, mask->dims[mask->rank - 1], keys))
        return false;
    out->keys = last;
    return true;
}

/* What goes into the pairs of quantisers that make the value, or the value. There are several where a node
 * that did nothing stood between them. */
static tm_value *skip_pair(tm_match *match, tm_value *value, const tm_attention_form *out, bool *out_found) {
    tm_value *real;
    *out_found = false;
    while (out->skips_pairs && (real = tm_pair_before(value)) != NULL &&
           value->producer->graph == match->graph) {
        tm_match_add(match, value->producer->inputs[0]->producer);
        tm_match_add(match, value->producer);
        value = real;
        *out_found = true;
    }
    return value;
}

/* The scores are input `input` of `node`; `part` is what the node does to them. */
static bool match_masked(tm_match *match, tm_node *node, int input, tm_mask_part part, int depth,
                         tm_attention_form *out) {
    const tm_value *value = node->outputs[0];
    if (!match_scores(match, node->inputs[input], part.scale, depth - 1, out) ||
        out->part_count == TM_ATTENTION_MAX_PARTS || !has_dims_of_scores(value, part.value, out))
        return false;
    out->parts[out->part_count++] = part;
    return true;
}

/* value = c * tanh(x / c): x. */
static tm_value *match_soft_cap(tm_match *match, const tm_value *value, double *out_cap) {
    double cap;
    tm_value *tanh, *x;
    tm_node *node;
    int saved = match->count;
    if (tm_match_with_number(match, value, TM_OP_Mul, &tanh, out_cap) != NULL &&
        (node = tm_match_op(match, tanh, TM_OP_Tanh)) != NULL) {
        if (tm_match_with_number(match, node->inputs[0], TM_OP_Div, &x, &cap) != NULL &&
            tm_match_near(cap, *out_cap))
            return x;
        if (tm_match_with_number(match, node->inputs[0], TM_OP_Mul, &x, &cap) != NULL &&
            tm_match_near(cap * *out_cap, 1))
            return x;
    }
    match->count = saved;
    return NULL;
}

/* value = x * factor, the factor constant along rows and columns. */
static bool match_head_factor(tm_match *match, tm_value *value, double scale, int depth,
                              tm_attention_form *out) {
    tm_node *node = tm_match_op(match, value, TM_OP_Mul);
    int saved = match->count;
    for (int i = 0; node != NULL && i < 2; i++) {
        tm_value *x = node->inputs[i], *factor = node->inputs[1 - i];
        match->count = saved;
        if (factor->rank < 3 || x->rank != value->rank || !tm_dim_is(factor->dims[factor->rank - 1], 1) ||
            !tm_dim_is(factor->dims[factor->rank - 2], 1) || !tm_match_same_dims(x, 0, value, 0, x->rank) ||
            !match_scores(match, x, scale, depth - 1, out) || out->part_count > 0 ||
            out->head_factor != NULL || out->softcap != 0)
            continue;
        out->head_factor = factor;
        return true;
    }
    return false;
}

/* Scores that are multiplied, by numbers or for each head, or capped. */
static bool match_scaled(tm_match *match, tm_value *value, double scale, int depth, tm_attention_form *out) {
    double number;
    tm_value *x;
    if (scale == 1 && (x = match_soft_cap(match, value, &number)) != NULL) {
        if (number <= 0 || !match_scores(match, x, 1, depth - 1, out) || out->part_count > 0 ||
            out->softcap != 0)
            return false;
        out->softcap = number;
        return true;
    }
    if (tm_match_with_number(match, value, TM_OP_Mul, &x, &number) != NULL)
        return match_scores(match, x, scale * number, depth - 1, out);
    if (tm_match_with_number(match, value, TM_OP_Div, &x, &number) != NULL)
        return match_scores(match, x, scale / number, depth - 1, out);
    return match_head_factor(match, value, scale, depth, out);
}

static bool match_scores(tm_match *match, tm_value *value, double scale, int depth, tm_attention_form *out) {
    double fill;
    bool pair;
    value = skip_pair(match, value, out, &pair);
    tm_node *node =
        depth > 0 && value->producer != NULL ? tm_match_op(match, value, value->producer->op) : NULL;
    int saved = match->count;
    if (node == NULL)
        return false;
    switch ((int)node->op) {
    case TM_OP_MatMul:
        *out = (tm_attention_form){.q = node->inputs[0], .kt = node->inputs[1], .v = out->v, .scores = value,
                           .scale = scale, .guarded = out->guarded, .zeroed = out->zeroed,
                           .skips_pairs = out->skips_pairs, .quantized = out->quantized};
        return true;
    case TM_OP_Mul:
    case TM_OP_Div:
        return match_scaled(match, value, scale, depth, out);
    case TM_OP_Sub:
        return match_masked(match, node, 0,
                            (tm_mask_part){.value = node->inputs[1], .scale = scale, .subtracted = true},
                            depth, out);
    case TM_OP_Add:
        if (match_masked(match, node, 0, (tm_mask_part){.value = node->inputs[1], .scale = scale}, depth,
                         out))
            return true;
        match->count = saved;
        return match_masked(match, node, 1, (tm_mask_part){.value = node->inputs[0], .scale = scale}, depth,
                            out);
    case TM_OP_Where:
        for (int i = 1; i <= 2; i++) {
            tm_mask_part part = {
                .value = node->inputs[0], .is_condition = true, .keep = i == 1, .scale = scale};
            match->count = saved;
            if (!tm_match_number(node->inputs[3 - i], &fill))
                continue;
            part.fill = fill;
            if (match_masked(match, node, i, part, depth, out))
                return true;
        }
        return false;
    default:
        return false;
    }
}

/* p; p behind its guard; or p set to zero where a condition holds. */
static bool match_probabilities(tm_match *match, tm_value *value, tm_attention_form *out) {
    double zero;
    value = skip_pair(match, value, out, &out->quantized);
    tm_node *where = tm_match_op(match, value, TM_OP_Where);
    if (where != NULL) {
        bool inner;
        const tm_value *chosen = where->inputs[2];
        value = skip_pair(match, where->inputs[2], out, &inner);
        out->quantized = out->quantized || inner;
        tm_node *test = tm_match_op(match, where->inputs[0], TM_OP_IsNaN);
        out->guarded = test != NULL && (test->inputs[0] == value || test->inputs[0] == chosen);
        out->zeroed = test == NULL ? where->inputs[0] : NULL;
        if ((test != NULL && !out->guarded) || !tm_match_number(where->inputs[1], &zero) || zero != 0 ||
            value->rank != where->outputs[0]->rank ||
            !tm_match_same_dims(value, 0, where->outputs[0], 0, value->rank))
            return false;
    }
    tm_node *softmax = tm_match_op(match, value, TM_OP_Softmax);
    if (softmax == NULL)
        return false;
    int64_t axis = tm_node_int(softmax, "axis");
    return (axis == -1 || axis == value->rank - 1) &&
           match_scores(match, softmax->inputs[0], 1, MAX_DEPTH, out);
}

/* Does no other mask hide keys, beside the fill of part `filled`? Two that do tell the keys of a row that
 * sees none apart: those that are filled have -1e4, those that a sum hides -1e4 and their scores. */
static bool hides_alone(const tm_attention_form *a, int filled) {
    double fill = fabs(a->parts[filled].fill * a->parts[filled].scale);
    for (int i = 0; i < a->part_count; i++) {
        const tm_mask_part *part = &a->parts[i];
        double room = fmin(TM_MATCH_REASONABLE, fill / 4 / part->scale);
        if (i != filled && (part->is_condition || !tm_match_is_bounded(part->value, TM_MATCH_REASONABLE) ||
                            !tm_match_is_bounded_but_products(part->value, room)))
            return false;
    }
    return true;
}

/* Is what is added to the fill of part `filled` lost in its rounding? Else a row that is filled throughout is
 * the softmax of that. Parts stand in the order in which they are done to the scores. */
static bool swallows(const tm_attention_form *a, int filled) {
    double step = a->scores->type == TAMIS_TYPE_DOUBLE ? 0x1p-54 : 0x1p-25;
    double fill = fabs(a->parts[filled].fill * a->parts[filled].scale);
    for (int i = filled + 1; i < a->part_count; i++)
        if (!tm_match_is_bounded(a->parts[i].value, fill * step / a->parts[i].scale))
            return false;
    return true;
}

/* Probabilities set to zero exactly where the scores were filled are those of a fill of minus infinity,
 * guarded. */
static bool take_zeroed(tm_attention_form *a) {
    tm_mask_part *filled = NULL;
    for (int i = 0; a->zeroed != NULL && i < a->part_count; i++) {
        tm_mask_part *part = &a->parts[i];
        if (part->is_condition && !part->keep && part->value == a->zeroed && part->fill <= -LEAST_FILL &&
            hides_alone(a, i))
            filled = part;
    }
    if (filled != NULL) {
        filled->fill = -INFINITY;
        a->guarded = true;
    }
    return a->zeroed == NULL || filled != NULL;
}

/* Batches and heads of Q, K and V agree; or K and V have one head. Two dims that a product sums over agree
 * when it runs. */
static bool shapes_agree(const tm_attention_form *a) {
    int rank = a->scores->rank, lead = rank - 2;
    const tm_value *q = a->q, *kt = a->kt, *v = a->v;
    if (rank < 2 || q->rank != rank || kt->rank != rank || v->rank != rank ||
        (rank < 4 && kt->constant != NULL))
        return false;
    bool shared_head = rank == 4 && tm_dim_is(kt->dims[1], 1) && tm_dim_is(v->dims[1], 1);
    for (int i = 0; i < lead; i++)
        if (!(shared_head && i == 1) && (q->dims[i] != kt->dims[i] || q->dims[i] != v->dims[i]))
            return false;
    return true;
}

/* Will the parts, added up, do what they do one after the other? */
static bool masks_are_sums(const tm_attention_form *a) {
    for (int i = 0; i < a->part_count; i++) {
        const tm_mask_part *part = &a->parts[i];
        if (!(part->scale > 0) || (!part->is_condition && part->scale > 1 &&
                                   !tm_match_is_bounded(part->value, TM_ATTENTION_SWALLOWING)))
            return false;
        if (!part->is_condition)
            continue;
        if (isnan(part->fill) || part->fill * part->scale > -LEAST_FILL)
            return false;
        if (!isinf(part->fill) && !(hides_alone(a, i) && swallows(a, i)))
            return false;
    }
    return true;
}

bool tm_attention_masks_are_finite(const tm_attention_form *a) {
    if (a->part_count > 1)
        return false;
    for (int i = 0; i < a->part_count; i++)
        if (a->parts[i].is_condition ? isinf(a->parts[i].fill)
                                     : !tm_match_is_bounded(a->parts[i].value, INFINITY))
            return false;
    return true;
}

/* Masks of more than 4 dims need leading dims that can be merged. */
static bool has_mask_view(const tm_attention_form *a) {
    int rank = a->scores->rank;
    for (int p = 0; p < a->part_count && rank > 4; p++) {
        const tm_value *m = a->parts[p].value;
        bool ones = true, full = m->rank == rank;
        for (int i = 0; i < m->rank - 3; i++) {
            ones = ones && tm_dim_is(m->dims[i], 1);
            full = full && m->dims[i] == a->scores->dims[i];
        }
        if (!ones && (!full || a->part_count > 1))
            return false;
    }
    return true;
}

int tm_attention_axis(const tm_value *value, tm_dim dim) {
    for (int i = 0; i < value->rank; i++)
        if (value->dims[i] == dim)
            return i;
    return -1;
}

/* Is the node equal for NaN and infinity in Q, K and V too? A sum keeps a NaN where a fill replaces it; V is
 * not read where a mask is minus infinity, though 0 times NaN is NaN; and a guard on the probabilities hides
 * all NaN, not only that of rows which see nothing. */
static bool is_exact(const tm_attention_form *a) {
    bool exact = !a->guarded && a->zeroed == NULL;
    for (int i = 0; i < a->part_count; i++)
        exact = exact && !a->parts[i].is_condition && tm_match_is_bounded(a->parts[i].value, INFINITY);
    return exact;
}

bool tm_attention_is_plain(const tm_node *node) {
    if (node->input_count < 3)
        return false;
    for (int i = 4; i < node->input_count; i++)
        if (node->inputs[i] != NULL)
            return false;
    for (int i = 1; i < node->output_count; i++)
        if (node->outputs[i] != NULL)
            return false;
    return true;
}

bool tm_attention_find(tm_node *node, bool strict, tm_attention_form *out) {
    tm_match match = {.graph = node->graph};
    *out = (tm_attention_form){.skips_pairs = !strict};
    if (node->op != TM_OP_MatMul || !tm_match_is_real(node->outputs[0]))
        return false;
    out->v = node->inputs[1];
    return match_probabilities(&match, node->inputs[0], out) && tm_match_closed(&match, node) &&
           (!strict || is_exact(out)) && shapes_agree(out) &&
           (out->keys == NULL || tm_attention_axis(out->v, out->scores->dims[out->scores->rank - 1]) >= 0) &&
           take_zeroed(out) && masks_are_sums(out) && has_mask_view(out);
}

tm_node *tm_match_attention(tm_node *root, bool strict) {
    tm_attention_form found;
    return tm_attention_find(root, strict, &found) && found.head_factor == NULL ? found.scores->producer
                                                                                : NULL;
}
