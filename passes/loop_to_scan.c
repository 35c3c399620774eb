/* SPDX-License-Identifier: Apache-2.0
 *
 * loop_to_scan.c: a Loop that takes slice i of tensors in round i, and nothing else from i, is a Scan.
 *
 *     %l = SequenceEmpty()
 *     %h, %s = Loop(%n, , %h0, %l) { (%i, , %hi, %si)          %h, %y = Scan(%h0, %x) { (%hi, %xi)
 *       %xi = Gather(%x, %i) {axis = 1}                          %g = Add(%hi, %xi)
 *       %g = Add(%hi, %xi)                              ->       return %g, %g }
 *       return true, %g, SequenceInsert(%si, %g) }                 scan_input_axes = [1]
 *     %y = ConcatFromSequence(%s) {axis = 0, new_axis = 1}         scan_output_axes = [0]
 *
 * Exports of loops over time look like this; as a Scan, the memory of its outputs is known beforehand, and a
 * plain step becomes a region. %n must be the length of each sliced axis, known by its expression, and the
 * loop must have no condition of its own.
 */
#include "passes/passes.h"

#include "ir/infer.h"
#include "passes/rewrite.h"

#include <string.h>

#define MOST 64 /* carried values; slices */

typedef struct plan {
    tm_node *loop;
    tm_graph *body;
    tm_dim count;
    tm_node *slices[MOST];      /* Gather nodes of the body */
    int64_t backwards[MOST];    /* 1: from the end */
    int slice_count, carried;
    tm_node *joins[MOST]; /* of each carried sequence: the ConcatFromSequence that reads it at the end; NULL:
                             a state */
} plan;

/* ---- does it fit? ---- */

static bool is_known_true(const tm_value *value) {
    int64_t truth = 0;
    if (value->constant != NULL)
        return tm_constant_int(value->constant, 0, &truth) && truth != 0;
    return value->elements != NULL && value->element_count == 1 && tm_dim_is_constant(value->elements[0]) &&
           value->elements[0]->constant != 0;
}

static tm_dim trip_count(const tm_node *loop) {
    const tm_value *limit = loop->inputs[0];
    if (limit == NULL || limit->elements == NULL || limit->element_count != 1 ||
        (loop->inputs[1] != NULL && !is_known_true(loop->inputs[1])) ||
        !is_known_true(tm_node_graph(loop, "body")->outputs.items[0]))
        return NULL;
    return limit->elements[0];
}

static int64_t gather_axis(const tm_node *gather) {
    int64_t axis = tm_node_int(gather, "axis");
    return axis < 0 ? axis + gather->inputs[0]->rank : axis;
}

/* Element 0 of the index, counted from the loop's start or its end; false: it is neither. */
static bool is_round(const plan *p, const tm_value *index, bool *out_backwards) {
    tm_dims *dims = p->loop->graph->model->dims;
    const tm_value *number = p->body->inputs.items[0];
    if (index->rank != 0 || index->elements == NULL || number->elements == NULL)
        return false;
    tm_dim last = tm_dim_sub(dims, p->count, tm_dim_constant(dims, 1));
    *out_backwards = index->elements[0] == tm_dim_sub(dims, last, number->elements[0]);
    return *out_backwards || index->elements[0] == number->elements[0];
}

static bool is_slice(const plan *p, const tm_node *node, bool *out_backwards) {
    return node->op == TM_OP_Gather && node->graph == p->body &&
           is_round(p, node->inputs[1], out_backwards) &&
           !tm_graph_contains(p->body, node->inputs[0]->graph) &&
           node->inputs[0]->dims[gather_axis(node)] == p->count;
}

/* Every reader of the iteration number, and of what is computed from it, takes that slice of a tensor from
 * outside. */
static bool find_slices(plan *p, const tm_value *index, int depth) {
    for (size_t i = 0; i < index->uses.count; i++) {
        tm_node *node = index->uses.items[i].node;
        bool backwards = false;
        if (node == NULL || node->graph != p->body || depth == 0)
            return false;
        if (is_slice(p, node, &backwards)) {
            if (p->slice_count == MOST)
                return false;
            p->backwards[p->slice_count] = backwards;
            p->slices[p->slice_count++] = node;
        } else if (tm_node_subgraph_count(node) > 0 || node->output_count != 1 ||
                   !find_slices(p, node->outputs[0], depth - 1)) {
            return false;
        }
    }
    return true;
}

static tm_value *loop_output(const tm_node *loop, int i) { /* NULL: omitted */
    return i < loop->output_count ? loop->outputs[i] : NULL;
}

/* Starts empty, gets one tensor at its end in each round, and is joined after the loop. */
static tm_node *joined_sequence(const plan *p, int i) {
    const tm_value *start = p->loop->inputs[2 + i], *in = p->body->inputs.items[2 + i];
    const tm_value *out = p->body->outputs.items[1 + i], *end = loop_output(p->loop, i);
    const tm_node *insert = out->producer;
    if (start->producer == NULL || start->producer->op != TM_OP_SequenceEmpty || in->uses.count != 1 ||
        out->uses.count != 1 || insert == NULL || insert->op != TM_OP_SequenceInsert ||
        insert->graph != p->body || insert->inputs[0] != in ||
        (insert->input_count > 2 && insert->inputs[2] != NULL) || end == NULL)
        return NULL;
    const tm_value *item = insert->inputs[1];
    tm_node *join = tm_value_single_user(end);
    if (join == NULL || join->op != TM_OP_ConcatFromSequence || join->graph != p->loop->graph ||
        item->graph != p->body || item->rank < 1)
        return NULL;
    return join;
}

static bool fits(tm_node *loop, plan *p) {
    *p = (plan){.loop = loop, .body = tm_node_graph(loop, "body"), .carried = loop->input_count - 2};
    p->count = trip_count(loop);
    if (p->count == NULL || p->count->low < 0 || p->carried > MOST ||
        !find_slices(p, p->body->inputs.items[0], 8) || p->slice_count == 0 ||
        p->body->inputs.items[1]->uses.count >
            (p->body->outputs.items[0] == p->body->inputs.items[1] ? 1u : 0u))
        return false;
    for (int i = 0; i < p->carried; i++) {
        if (p->body->inputs.items[2 + i]->kind == TAMIS_KIND_TENSOR)
            continue;
        p->joins[i] = joined_sequence(p, i);
        if (p->joins[i] == NULL)
            return false;
    }
    return true;
}

/* ---- the Scan ---- */

static int64_t join_axis(const tm_node *join, int item_rank) {
    int64_t axis = tm_node_int(join, "axis");
    int rank = tm_node_int(join, "new_axis") != 0 ? item_rank + 1 : item_rank;
    return axis < 0 ? axis + rank : axis;
}

/* The stacked items; a join along one of their own axes then merges two axes. */
static void replace_join(const plan *p, tm_node *join, const tm_value *item, tm_value *stacked) {
    tm_value *result = stacked;
    if (tm_node_int(join, "new_axis") == 0) {
        tm_dims *dims = join->graph->model->dims;
        tm_dim joined[TAMIS_MAX_RANK];
        for (int i = 0; i < item->rank; i++)
            joined[i] = item->dims[i];
        int64_t axis = join_axis(join, item->rank);
        joined[axis] = tm_dim_mul(dims, p->count, joined[axis]);
        tm_node *reshape = tm_node_create(join->graph, join, TM_OP_Reshape, join->name, 1, &stacked);
        result = tm_node_add_output(reshape, NULL);
        tm_value_set_tensor(result, item->type, item->rank, joined);
    }
    tm_rewrite_replace(join->outputs[0], result);
    tm_node_remove(join);
}

/* What computed the slices' indices. */
static void drop_unused(tm_graph *step) {
    for (tm_node *node = step->last, *before = NULL; node != NULL; node = before) {
        before = node->previous;
        bool used = tm_node_subgraph_count(node) > 0;
        for (int i = 0; i < node->output_count; i++)
            used = used || (node->outputs[i] != NULL && node->outputs[i]->uses.count > 0);
        if (!used)
            tm_node_remove(node);
    }
}

static tm_graph *make_step(const plan *p) {
    tm_model *model = p->loop->graph->model;
    tm_graph *step = p->body;
    size_t kept = 0;
    for (int i = 0; i < p->carried; i++)
        if (p->joins[i] == NULL)
            step->inputs.items[kept++] = step->inputs.items[2 + i];
    step->inputs.count = kept;
    for (int i = 0; i < p->slice_count; i++) {
        tm_value *old = p->slices[i]->outputs[0], *slice = tm_value_create(step, NULL);
        tm_value_set_tensor(slice, old->type, old->rank, old->dims);
        tm_graph_add_input(step, slice);
        tm_value_replace(old, slice);
    }
    drop_unused(step);
    size_t count = step->outputs.count;
    tm_value **results = TM_NEW_ARRAY(model->arena, tm_value *, count + 1);
    for (size_t i = 0; i < count; i++)
        results[i] = step->outputs.items[i];
    tm_graph_clear_outputs(step);
    for (int i = 0; i < p->carried; i++)
        if (p->joins[i] == NULL)
            tm_graph_add_output(step, results[1 + i]);
    for (int i = 0; i < p->carried; i++)
        if (p->joins[i] != NULL) {
            tm_node *insert = results[1 + i]->producer;
            tm_graph_add_output(step, insert->inputs[1]);
            tm_node_remove(insert);
        }
    for (size_t i = 1 + (size_t)p->carried; i < count; i++)
        tm_graph_add_output(step, results[i]);
    return step;
}

static tm_node *make_scan(plan *p) {
    tm_node *loop = p->loop;
    tm_value *inputs[2 * MOST];
    int64_t input_axes[MOST], output_axes[MOST];
    int input_count = 0, output_count = 0;
    for (int i = 0; i < p->carried; i++)
        if (p->joins[i] == NULL)
            inputs[input_count++] = loop->inputs[2 + i];
    for (int i = 0; i < p->slice_count; i++) {
        input_axes[i] = gather_axis(p->slices[i]);
        inputs[input_count++] = p->slices[i]->inputs[0];
    }
    for (int i = 0; i < p->carried; i++)
        if (p->joins[i] != NULL) {
            const tm_node *insert = p->body->outputs.items[1 + i]->producer;
            output_axes[output_count++] = join_axis(p->joins[i], insert->inputs[1]->rank);
        }
    int joined = output_count;
    for (int i = p->carried; i < loop->output_count && output_count < MOST; i++)
        output_axes[output_count++] = 0;
    tm_node *scan = tm_node_create(loop->graph, loop, TM_OP_Scan, loop->name, input_count, inputs);
    scan->file_index = loop->file_index;
    scan->file_path = loop->file_path;
    tm_node_set_int(scan, "num_scan_inputs", p->slice_count);
    tm_node_set_ints(scan, "scan_input_axes", input_axes, p->slice_count);
    tm_node_set_ints(scan, "scan_input_directions", p->backwards, p->slice_count);
    tm_node_set_ints(scan, "scan_output_axes", output_axes, output_count);
    tm_graph *step = make_step(p);
    loop->attributes[tm_op_attribute_index(TM_OP_Loop, "body")] = (tm_attribute){.present = false};
    tm_node_set_graph(scan, "body", step);
    for (int i = 0; i < p->carried; i++)
        if (p->joins[i] == NULL)
            tm_node_set_output(scan, scan->output_count, loop_output(loop, i));
    for (int i = 0; i < joined; i++)
        (void)tm_node_add_output(scan, NULL);
    for (int i = p->carried; i < loop->output_count; i++)
        tm_node_set_output(scan, scan->output_count, loop->outputs[i]);
    return scan;
}

static tm_code replace_loop(tm_pass_context *context, plan *p, tm_node **out_scan) {
    tm_node *scan = make_scan(p);
    TM_TRY(tm_infer_node(context->model, scan));
    int states = scan->input_count - p->slice_count;
    for (int i = 0, k = states; i < p->carried; i++)
        if (p->joins[i] != NULL) {
            replace_join(p, p->joins[i], tm_node_graph(scan, "body")->outputs.items[k], scan->outputs[k]);
            k++;
        }
    tm_node_remove(p->loop);
    *out_scan = scan;
    return TM_OK;
}

static tm_code convert_in_graph(tm_pass_context *context, tm_graph *graph) {
    for (tm_node *node = graph->first; node != NULL; node = node->next) {
        plan p;
        if (node->op == TM_OP_Loop && fits(node, &p)) {
            if (!tm_pass_allow(context))
                return TM_OK;
            TM_TRY(replace_loop(context, &p, &node));
        }
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            TM_TRY(convert_in_graph(context, tm_node_subgraph(node, i)));
    }
    return TM_OK;
}

tm_code tm_pass_loop_to_scan(tm_pass_context *context) {
    return convert_in_graph(context, context->model->main);
}
