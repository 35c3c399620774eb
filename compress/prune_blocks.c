/* SPDX-License-Identifier: Apache-2.0
 *
 * prune_blocks.c: whole branches of a residual stream: an attention, an MLP, a state space layer.
 *
 *     %n = LayerNormalization(%x)      %h = ...      %y = MatMul(%h, %down)      %z = Add(%x, %y + bias)
 *
 * When the branch goes, its mean takes its place: %z = Add(%x, mean). A block is an axis of one slice, so
 * that it is measured and chosen like the others; all products that only the branch needs cost nothing
 * without it, bodies of loops and scans among them.
 */
#include "compress/prune.h"

#include <string.h>

/* The Add where the branch of the reader ends, and which operand of it is the branch. */
static tm_node *end_of(tm_node *node, int *out_index) {
    tm_node *holder = node;
    int index;
    if (tm_prune_stream(node) == NULL)
        return NULL;
    if (tm_prune_bias(node, &holder, &index) == NULL)
        holder = node;
    tm_node *end = tm_value_single_user(holder->outputs[0]);
    *out_index = end->inputs[0] == holder->outputs[0] ? 0 : 1;
    return end;
}

/* What bodies read of the main graph, by value id. */
static void mark_captured(const tm_graph *body, bool *marked) {
    for (size_t i = 0; i < body->outputs.count; i++)
        if (body->outputs.items[i]->graph == body->model->main)
            marked[body->outputs.items[i]->id] = true;
    for (const tm_node *node = body->first; node != NULL; node = node->next) {
        for (int i = 0; i < node->input_count; i++)
            if (node->inputs[i] != NULL && node->inputs[i]->graph == body->model->main)
                marked[node->inputs[i]->id] = true;
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            mark_captured(tm_node_subgraph(node, i), marked);
    }
}

/* Marks what the marked values are computed from, all but operand `branch` of `end` (NULL: of no node). */
static void spread(const tm_model *model, const tm_node *end, int branch, bool *marked) {
    for (const tm_node *node = model->main->last; node != NULL; node = node->previous) {
        bool any = false;
        for (int i = 0; i < node->output_count; i++)
            any = any || (node->outputs[i] != NULL && marked[node->outputs[i]->id]);
        for (int i = 0; any && i < node->input_count; i++)
            if (node->inputs[i] != NULL && (node != end || i != branch))
                marked[node->inputs[i]->id] = true;
        for (int i = 0; any && i < tm_node_subgraph_count(node); i++)
            mark_captured(tm_node_subgraph(node, i), marked);
    }
}

/* Values that the model needs without the branch. False: the branch does not come from the stream. */
static bool find_needed(const tm_model *model, const tm_node *end, int branch, bool *needed,
                        bool *of_branch) {
    of_branch[end->inputs[branch]->id] = true;
    spread(model, NULL, 0, of_branch);
    if (!of_branch[end->inputs[1 - branch]->id])
        return false;
    for (size_t i = 0; i < model->main->outputs.count; i++)
        needed[model->main->outputs.items[i]->id] = true;
    spread(model, end, branch, needed);
    return !needed[end->inputs[branch]->id];
}

void tm_prune_find_blocks(tm_pruner *p, const tm_pruned *pruned) {
    const tm_model *model = pruned->loaded.model;
    size_t readers = p->readers.count;
    for (size_t r = 0; r < readers; r++) {
        tm_prune_reader *reader = &p->readers.items[r];
        int branch = 0;
        tm_node *node = pruned->slices.sinks.items[reader->sink].node, *end = end_of(node, &branch);
        if (end == NULL || p->axes.items[reader->axis].unfit)
            continue;
        tm_arena scratch;
        tm_arena_init(&scratch);
        tm_quantize_borrow_recovery(&p->q, &scratch);
        bool *needed = TM_NEW_ARRAY(&scratch, bool, model->value_count);
        bool *of_branch = TM_NEW_ARRAY(&scratch, bool, model->value_count);
        if (find_needed(model, end, branch, needed, of_branch)) {
            tm_prune_axis block = {.name = p->axes.items[reader->axis].name,
                                   .axis_class = -1,
                                   .count = 1,
                                   .channels = 1,
                                   .reader = (int)r,
                                   .is_block = true,
                                   .harm = -1,
                                   .use = -1};
            block.errors = TM_NEW_ARRAY(p->q.arena, double, 2);
            block.errors[1] = 1;
            int number = (int)p->axes.count;
            tm_push(p->q.arena, &p->axes, block);
            for (size_t i = 0; i < p->costs.count; i++) {
                tm_prune_cost *cost = &p->costs.items[i];
                if (!needed[cost->value] && cost->count < TM_PRUNE_FACTORS)
                    cost->axes[cost->count++] = number;
            }
            for (size_t i = 0; i < readers; i++)
                if (p->readers.items[i].block < 0 &&
                    !needed[pruned->slices.sinks.items[p->readers.items[i].sink].node->outputs[0]->id])
                    p->readers.items[i].block = number;
        }
        tm_arena_deinit(&scratch);
    }
}

bool tm_prune_is_gone(const tm_pruner *p, const tm_prune_reader *reader) {
    return reader->block >= 0 && p->axes.items[reader->block].gone > 0;
}

void tm_prune_drop_blocks(const tm_pruner *p, const tm_pruned *pruned) {
    tm_model *model = pruned->loaded.model;
    for (size_t i = 0; i < p->axes.count; i++) {
        const tm_prune_axis *axis = &p->axes.items[i];
        if (!axis->is_block || axis->gone == 0)
            continue;
        const tm_prune_reader *reader = &p->readers.items[axis->reader];
        int branch = 0;
        tm_node *end = end_of(pruned->slices.sinks.items[reader->sink].node, &branch);
        float *mean = TM_NEW_ARRAY(model->arena, float, reader->n);
        for (int64_t j = 0; j < reader->n; j++)
            mean[j] = (float)reader->mean_output[j];
        const int64_t *dims = tm_arena_copy(model->arena, &reader->n, sizeof reader->n);
        tm_node_set_input(
            end, branch,
            tm_value_create_constant(model->main, NULL,
                                     tm_constant_create(model->arena, TAMIS_TYPE_FLOAT, 1, dims, mean)));
    }
}
