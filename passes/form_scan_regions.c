/* SPDX-License-Identifier: Apache-2.0
 *
 * form_scan_regions.c: a Scan whose step is a plain recurrence becomes a region.
 *
 *     %h, %y = Scan(%h0, %a, %x)          %h, %y = Region(%h0, %a, %x, %d) {kind = "scan",
 *       { ... reads %d ... }        ->        body = { %s, %o = Scan(...) { ... } return %s, %o } }
 *
 * The region's body is the Scan itself, so its meaning is that of the standard; what the step reads from
 * outside becomes inputs. passes/scan_space.c says which steps are plain: state-space models, linear
 * recurrences, gates, running statistics. Each point of the states then runs through time with the states in
 * registers, in place of a round of kernel calls and copies for each step. Before map regions, which would
 * take the steps' nodes.
 */
#include "passes/passes.h"

#include "ir/infer.h"
#include "passes/region_build.h"
#include "passes/rewrite.h"
#include "passes/scan_space.h"

#include <string.h>

typedef struct move {
    tm_graph *body, *step;
    TM_VECTOR(tm_value *) outer; /* inputs of the region: those of the Scan, then what the step reads */
    size_t scanned;              /* those of the Scan */
} move;

static tm_value *add_input(move *m, tm_value *value) {
    tm_value *inner = tm_value_create(m->body, NULL);
    tm_value_set_tensor(inner, value->type, value->rank, value->dims);
    tm_graph_add_input(m->body, inner);
    tm_push(m->body->model->arena, &m->outer, value);
    return inner;
}

static tm_value *captured_input(move *m, tm_value *value) {
    for (size_t i = m->scanned; i < m->outer.count; i++)
        if (m->outer.items[i] == value)
            return m->body->inputs.items[i];
    return add_input(m, value);
}

/* What the step reads: lists of axes and single numbers stay, as constants of its own; all else becomes an
 * input. */
static void bring_in(move *m) {
    for (tm_node *node = m->step->first; node != NULL; node = node->next)
        for (int i = 0; i < node->input_count; i++) {
            tm_value *value = node->inputs[i];
            if (value == NULL || (value->graph == m->step && !tm_value_is_constant(value)))
                continue;
            if (tm_region_is_scalar(value) || (i > 0 && !tm_region_can_hold(node)))
                tm_node_set_input(node, i, tm_value_create_constant(m->step, NULL, value->constant));
            else
                tm_node_set_input(node, i, captured_input(m, value));
        }
}

/* A large constant of the step moves out to where the region reads it. */
static void hoist_constants(tm_graph *step, tm_graph *to) {
    for (tm_node *node = step->first; node != NULL; node = node->next)
        for (int i = 0; i < node->input_count; i++)
            if (tm_value_is_constant(node->inputs[i]) && node->inputs[i]->graph == step)
                node->inputs[i]->graph = to;
}

static tm_node *copy_scan(move *m, const tm_node *scan) {
    tm_value **inputs = TM_NEW_ARRAY(m->body->model->arena, tm_value *, scan->input_count + 1);
    for (int i = 0; i < scan->input_count; i++)
        inputs[i] = add_input(m, scan->inputs[i]);
    m->scanned = m->outer.count;
    tm_node *copy = tm_node_create(m->body, NULL, TM_OP_Scan, scan->name, scan->input_count, inputs);
    int attributes = tm_op_get(TM_OP_Scan)->attribute_count;
    memcpy(copy->attributes, scan->attributes, (size_t)attributes * sizeof(*scan->attributes));
    m->step->outer = m->body;
    tm_node_set_graph(copy, "body", m->step);
    return copy;
}

static tm_code form(tm_pass_context *context, tm_node *scan, tm_node **out_region) {
    tm_model *model = context->model;
    move m = {.body = tm_graph_create(model, "region", scan->graph), .step = tm_node_graph(scan, "body")};
    hoist_constants(m.step, scan->graph);
    tm_node *copy = copy_scan(&m, scan);
    bring_in(&m);
    tm_node *region =
        tm_node_create(scan->graph, scan, TM_OP_Region, scan->name, (int)m.outer.count, m.outer.items);
    region->file_index = scan->file_index;
    region->file_path = scan->file_path;
    tm_node_set_string(region, "kind", "scan");
    tm_node_set_graph(region, "body", m.body);
    for (int i = 0; i < scan->output_count; i++) {
        tm_value *old = scan->outputs[i];
        if (old == NULL || old->uses.count == 0) {
            tm_node_add_omitted_output(copy);
            continue;
        }
        tm_value *inner = tm_node_add_output(copy, NULL), *output = tm_node_add_output(region, NULL);
        tm_value_set_tensor(inner, old->type, old->rank, old->dims);
        tm_value_set_tensor(output, old->type, old->rank, old->dims);
        tm_graph_add_output(m.body, inner);
        tm_rewrite_replace(old, output);
    }
    scan->attributes[tm_op_attribute_index(TM_OP_Scan, "body")] =
        (tm_attribute){.present = false}; /* the copy's now */
    tm_node_remove(scan);
    *out_region = region;
    return tm_infer_node(model, region);
}

static bool is_candidate(const tm_node *node) {
    tm_scan_space space;
    if (node->op != TM_OP_Scan)
        return false;
    bool any = false;
    for (int i = 0; i < node->output_count; i++)
        any = any || (node->outputs[i] != NULL && node->outputs[i]->uses.count > 0);
    return any && tm_scan_space_find(node, &space);
}

tm_code tm_pass_form_scan_regions(tm_pass_context *context) {
    return tm_region_form_each(context, context->model->main, is_candidate, form);
}
