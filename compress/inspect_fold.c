/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect_fold.c: parts of a graph that read constants only, so that a compiler computes them once.
 *
 *     %ab = MatMul(%a, %b)    %s = Mul(%ab, 0.5)    %w = Add(%base, %s)    %y = MatMul(%x, %w)
 *
 * is one part, which makes %w: an adapter of low rank (LoRA) that was never merged. Control flow and random
 * draws are no such parts.
 */
#include "compress/inspect.h"

#include <string.h>

typedef struct walk {
    tm_arena *arena;
    bool *constant;                   /* by value id: made of constants */
    TM_VECTOR(const tm_node *) nodes; /* of the part that is collected */
    int64_t bytes_in;
    bool product, sum;
} walk;

static bool reads_constants(const walk *w, const tm_node *node) {
    int known = 0;
    if (tm_op_has(node->op, TM_CONTROL) || tm_op_has(node->op, TM_RANDOM) || node->op == TM_OP_Identity)
        return false;
    for (int i = 0; i < node->input_count; i++) {
        if (node->inputs[i] == NULL)
            continue;
        if (node->inputs[i]->constant == NULL && !w->constant[node->inputs[i]->id])
            return false;
        known++;
    }
    return known > 0;
}

static bool has(const walk *w, const tm_node *node) {
    for (size_t i = 0; i < w->nodes.count; i++)
        if (w->nodes.items[i] == node)
            return true;
    return false;
}

static void collect(walk *w, const tm_node *node) {
    if (has(w, node) || w->nodes.count > 256)
        return;
    tm_push(w->arena, &w->nodes, node);
    bool of_constants = node->op == TM_OP_MatMul || node->op == TM_OP_Gemm;
    w->product |= of_constants;
    w->sum |= node->op == TM_OP_Add && node->outputs[0]->rank >= 2;
    for (int i = 0; i < node->input_count; i++) {
        const tm_value *input = node->inputs[i];
        if (input == NULL)
            continue;
        if (input->constant != NULL)
            w->bytes_in += input->constant->bytes;
        else if (input->producer != NULL)
            collect(w, input->producer);
    }
}

static const char *op_names(tm_arena *arena, const walk *w) {
    tm_text text;
    tm_text_init(&text, arena);
    for (size_t i = w->nodes.count; i > 0 && text.size < 80; i--)
        tm_text_add(&text, "%s%s", text.size > 0 ? ", " : "", tm_op_get(w->nodes.items[i - 1]->op)->name);
    return tm_text_get(&text);
}

static int64_t bytes_of(const tm_value *value) {
    int64_t count = 1, bytes;
    for (int i = 0; i < value->rank; i++)
        if (!tm_dim_is_constant(value->dims[i]) || !tm_mul_i64(count, value->dims[i]->constant, &count))
            return -1;
    return tm_type_size(value->type, count, &bytes) ? bytes : -1;
}

/* Is the output read by something that is no such part? */
static bool leaves(const walk *w, const tm_value *value) {
    for (size_t i = 0; i < value->uses.count; i++) {
        const tm_node *user = value->uses.items[i].node;
        if (user == NULL || user->outputs[0] == NULL || !w->constant[user->outputs[0]->id])
            return true;
    }
    return false;
}

static void look_at(walk *w, const tm_graph *graph, tm_inspect_report *report) {
    for (const tm_node *node = graph->first; node != NULL; node = node->next) {
        bool made = reads_constants(w, node);
        for (int i = 0; i < node->output_count; i++)
            if (node->outputs[i] != NULL)
                w->constant[node->outputs[i]->id] = made;
    }
    for (const tm_node *node = graph->first; node != NULL; node = node->next) {
        const tm_value *value = node->outputs[0];
        if (value == NULL || !w->constant[value->id] || !leaves(w, value))
            continue;
        w->nodes.count = 0;
        w->bytes_in = 0;
        w->product = w->sum = false;
        collect(w, node);
        tm_push(w->arena, &report->foldable,
                (tm_foldable_report){.output = value->name,
                                     .ops = op_names(w->arena, w),
                                     .nodes = (int64_t)w->nodes.count,
                                     .bytes_in = w->bytes_in,
                                     .bytes_out = bytes_of(value),
                                     .adapter = w->product && w->sum});
    }
}

void tm_inspect_foldable(tm_arena *arena, const tm_model *model, tm_inspect_report *report) {
    walk w = {.arena = arena, .constant = TM_NEW_ARRAY(arena, bool, model->value_count + 1)};
    look_at(&w, model->main, report);
}
