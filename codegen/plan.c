/* SPDX-License-Identifier: Apache-2.0
 *
 * plan.c: frame numbers, lifetimes, storage.
 *
 * Every node has a position in one global order: bodies of control flow stand between the begin and the end
 * of their node. A value lives from the position that makes it to its last use; a use inside a body by a
 * value from outside lasts to the end of the outermost control-flow node in between, because the body may run
 * again:
 *
 *     1 Add -> %a          %a lives 1..5: the loop reads it in every round
 *     2 Loop begin
 *     3   Mul(%a, ...) -> %b     %b lives 3..4
 *     4   Neg(%b)
 *     5 Loop end
 *
 * Views (Reshape and the like) share the memory of their root, whose life they prolong. Memory is then given
 * in decreasing order of size: a value takes the slot of nearest size in which no member's life meets its
 * own. That is within a few percent of the lower bound on real graphs and needs no solver.
 */
#include "codegen/plan.h"

#include "codegen/store.h"
#include "ir/infer.h"
#include "ir/tiles.h"

#include <stdio.h>
#include <string.h>

typedef struct planner {
    tm_plan *plan;
    tm_model *model;
    int64_t position;
    tm_map dims;      /* early dims already given -> their offset */
    tm_map constants; /* what tells constants apart -> the first entry of those */
} planner;

int64_t tm_plan_stored_bytes(const tm_plan *plan) {
    if (plan->shared != NULL)
        return 0;
    return plan->coded != NULL ? plan->coded->bytes : plan->weights_bytes;
}

bool tm_value_is_late(const tm_value *value) {
    if (value->kind != TAMIS_KIND_TENSOR)
        return true;
    for (int i = 0; i < value->rank; i++)
        if (value->dims[i]->late)
            return true;
    return false;
}

tm_value *tm_value_root(tm_value *value) {
    while (value->producer != NULL && tm_op_has(value->producer->op, TM_VIEW))
        value = value->producer->inputs[0];
    return value;
}

/* ---- outputs ---- */

static tm_code copy_output(tm_graph *graph, int index) {
    tm_value *value = graph->outputs.items[index];
    tm_node *copy = tm_node_create(graph, NULL, TM_OP_Copy, NULL, 1, &value);
    tm_value *output = tm_node_add_output(copy, value->name);
    output->name = value->name; /* the interface keeps its name, even where an input has it too */
    tm_graph_set_output(graph, index, output);
    return tm_infer_node(graph->model, copy);
}

tm_code tm_plan_prepare_outputs(tm_model *model) {
    tm_graph *graph = model->main;
    for (size_t i = 0; i < graph->outputs.count; i++) {
        tm_value *root = tm_value_root(graph->outputs.items[i]);
        bool shared = root->producer == NULL;
        for (size_t k = 0; k < i && !shared; k++)
            shared = tm_value_root(graph->outputs.items[k]) == root;
        if (shared)
            TM_TRY(copy_output(graph, (int)i));
    }
    return TM_OK;
}

/* ---- numbering and positions ---- */

static void use_symbols(tm_plan *plan, tm_dim dim) {
    if (dim != NULL)
        tm_dim_mark_symbols(dim, plan->symbol_used);
}

/* Values whose dims are the same early expressions share them: prepare() alone writes them. */
static void give_dims(planner *p, tm_plan_value *entry, int rank, int factor) {
    tm_plan *plan = p->plan;
    const tm_node *producer = entry->value->producer; /* loops count their outputs' dims up while they run */
    bool shared = !entry->late && factor == 1 && producer != NULL && !tm_op_has(producer->op, TM_CONTROL);
    tm_text key;
    tm_text_init(&key, plan->arena);
    for (int i = 0; i < rank && (shared || entry->value->constant != NULL); i++)
        tm_text_add(&key, "%d,", entry->value->dims[i]->number);
    if (key.size > 0) {
        int32_t *known = tm_map_get(&p->dims, tm_text_get(&key));
        if (known != NULL) {
            entry->dims_offset = *known;
            return;
        }
        tm_map_set(&p->dims, tm_text_get(&key),
                   tm_arena_copy(plan->arena, &entry->dims_offset, sizeof(int32_t)));
    }
    plan->dims_count += rank * factor;
}

static tm_plan_value *number(planner *p, tm_value *value, int dims_factor) {
    tm_plan *plan = p->plan;
    if (plan->frame[value->id] >= 0)
        return &plan->values.items[plan->frame[value->id]];
    tm_plan_value entry = {.value = value,
                           .root = (int32_t)plan->values.count,
                           .late = tm_value_is_late(value),
                           .dims_offset = plan->dims_count,
                           .begin = p->position,
                           .end = p->position};
    int rank = value->kind == TAMIS_KIND_TENSOR ? value->rank : 0;
    give_dims(p, &entry, rank, dims_factor);
    plan->frame[value->id] = (int32_t)plan->values.count;
    for (int i = 0; i < rank; i++)
        use_symbols(plan, value->dims[i]);
    tm_push(plan->arena, &plan->values, entry);
    return &plan->values.items[plan->values.count - 1];
}

static int32_t buffers(planner *p, int count) {
    int32_t first = p->plan->buffer_count;
    p->plan->buffer_count += count;
    return first;
}

/* An entry with the same bytes in the same layout, or NULL; those of one size and one sample are compared in
 * full. */
typedef struct alike {
    struct alike *next;
    int32_t frame;
} alike;

static bool same_layout(const tm_constant *a, const tm_constant *b) {
    return a->bits == b->bits && a->bytes == b->bytes && a->panel == b->panel && a->stored == b->stored &&
           (a->sparse == NULL) == (b->sparse == NULL) && a->panel_groups == b->panel_groups &&
           a->panel_channels_last == b->panel_channels_last &&
           (a->panel == 0 || (a->type == b->type && a->rank == b->rank &&
                              memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0));
}

static const tm_plan_value *find_equal(planner *p, const tm_constant *constant, int32_t frame) {
    tm_plan *plan = p->plan;
    const char *data = constant->data;
    size_t bytes = (size_t)constant->bytes, part = bytes < 256 ? bytes : 256;
    uint64_t hash = tm_hash_bytes(data + (bytes - part) / 2, part, bytes);
    char key[24];
    snprintf(key, sizeof key, "%016llx", (unsigned long long)hash);
    alike *first = tm_map_get(&p->constants, key);
    for (const alike *a = first; a != NULL; a = a->next) {
        const tm_plan_value *other = &plan->values.items[a->frame];
        const tm_constant *known = other->constant;
        if (same_layout(known, constant) && (known->data == data || memcmp(known->data, data, bytes) == 0))
            return other;
    }
    alike *entry = TM_NEW(plan->arena, alike);
    *entry = (alike){first, frame};
    tm_map_set(&p->constants, key, entry);
    return NULL;
}

static bool stands_in_weights(const tm_value *value) {
    return value != NULL && (tm_value_is_constant(value) || value->slot != NULL);
}

static void number_constant(planner *p, tm_value *value) {
    tm_plan *plan = p->plan;
    if (plan->frame[value->id] >= 0)
        return;
    tm_plan_value *entry = number(p, value, 1);
    const tm_constant *constant = value->slot != NULL ? value->slot->initial : value->constant;
    bool fixed = value->slot == NULL && constant->slot == NULL;
    entry->storage = TM_STORAGE_CONSTANT;
    entry->constant = constant;
    if (value->type == TAMIS_TYPE_STRING) {
        entry->storage = TM_STORAGE_NONE;
        entry->unfixed = true;
        return;
    }
    const tm_plan_value *equal = fixed ? find_equal(p, constant, plan->frame[value->id]) : NULL;
    if (equal != NULL) {
        entry->shares = true;
        entry->argument = equal->argument;
        return;
    }
    int64_t alignment = tm_constant_stored_bytes(constant) >= TAMIS_ALIGNMENT ? TAMIS_ALIGNMENT : 16;
    plan->weights_bytes = (plan->weights_bytes + alignment - 1) & ~(alignment - 1);
    entry->argument = plan->weights_bytes;
    plan->weights_bytes += tm_constant_stored_bytes(constant);
}

static void number_graph(planner *p, tm_graph *graph);

/* Body inputs by kind: Loop has (iteration, condition, carried...), Scan has (state..., slices...). */
static void number_body_inputs(planner *p, tm_node *node, tm_graph *body) {
    size_t scalars = node->op == TM_OP_Loop ? 2 : 0;
    size_t slices = node->op == TM_OP_Scan ? (size_t)tm_node_int(node, "num_scan_inputs") : 0;
    for (size_t i = 0; i < body->inputs.count; i++) {
        bool carried = i >= scalars && i < body->inputs.count - slices;
        tm_plan_value *entry = number(p, body->inputs.items[i], carried ? 2 : 1);
        if (i < scalars) {
            entry->storage = TM_STORAGE_WORKSPACE;
            continue;
        }
        entry->storage = TM_STORAGE_BUFFER;
        entry->unfixed = true;
        entry->argument = buffers(p, carried ? 2 : 1);
        p->plan->allocates |= carried;
    }
}

static void number_output(planner *p, tm_node *node, int i) {
    tm_plan_value *entry = number(p, node->outputs[i], 1);
    if (tm_op_has(node->op, TM_VIEW)) {
        int32_t source = tm_plan_frame(p->plan, node->inputs[0]);
        const tm_plan_value *of = &p->plan->values.items[source];
        entry->storage = TM_STORAGE_ALIAS;
        entry->argument = source;
        entry->root = of->root;
        entry->unfixed = p->plan->values.items[of->root].unfixed;
        return;
    }
    tm_graph *body = node->op == TM_OP_Loop ? tm_node_subgraph(node, 0) : NULL;
    bool appended = body != NULL && (size_t)i + 2 >= body->inputs.count;
    if (!entry->late && !appended) {
        entry->storage = TM_STORAGE_WORKSPACE;
        return;
    }
    entry->storage = TM_STORAGE_BUFFER;
    entry->argument = -1; /* shared by lifetime later */
    entry->unfixed = true;
    p->plan->allocates = true;
}

static void number_node(planner *p, tm_node *node) {
    p->position++;
    for (int i = 0; i < node->input_count; i++)
        if (stands_in_weights(node->inputs[i]))
            number_constant(p, node->inputs[i]);
    bool control = tm_op_has(node->op, TM_CONTROL);
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL)
            number_output(p, node, i);
    if (!control)
        return;
    int64_t begin = p->position;
    for (int i = 0; i < tm_node_subgraph_count(node); i++) {
        tm_graph *body = tm_node_subgraph(node, i);
        number_body_inputs(p, node, body);
        number_graph(p, body);
    }
    p->position++;
    /* Body inputs and outputs of control flow live from its begin to its end. */
    for (int i = 0; i < tm_node_subgraph_count(node); i++) {
        tm_graph *body = tm_node_subgraph(node, i);
        for (size_t k = 0; k < body->inputs.count; k++) {
            tm_plan_value *entry = &p->plan->values.items[tm_plan_frame(p->plan, body->inputs.items[k])];
            entry->begin = begin;
            entry->end = p->position;
        }
    }
    for (int i = 0; i < node->output_count; i++)
        if (node->outputs[i] != NULL)
            p->plan->values.items[tm_plan_frame(p->plan, node->outputs[i])].end = p->position;
}

static void number_graph(planner *p, tm_graph *graph) {
    for (tm_node *node = graph->first; node != NULL; node = node->next)
        number_node(p, node);
    for (size_t i = 0; i < graph->outputs.count; i++)
        if (stands_in_weights(graph->outputs.items[i]))
            number_constant(p, graph->outputs.items[i]);
}

/* ---- lifetimes ---- */

typedef struct lifetimes {
    planner *p;
    int64_t position;
    TM_VECTOR(tm_graph *) graphs; /* open graphs, outermost first */
    TM_VECTOR(int64_t) ends;      /* end position of the control node that holds graphs[i] */
} lifetimes;

static void extend(tm_plan *plan, int32_t frame, int64_t end) {
    tm_plan_value *entry = &plan->values.items[frame];
    if (entry->end < end)
        entry->end = end;
    tm_plan_value *root = &plan->values.items[entry->root];
    if (root->end < end)
        root->end = end;
}

static int64_t count_positions(const tm_graph *graph) {
    int64_t n = 0;
    for (const tm_node *node = graph->first; node != NULL; node = node->next) {
        n++;
        if (!tm_op_has(node->op, TM_CONTROL))
            continue;
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            n += count_positions(tm_node_subgraph(node, i));
        n++;
    }
    return n;
}

/* A use at `position` of a value defined in an outer graph lasts to the end of that graph's control node. */
static void use(lifetimes *l, const tm_value *value, int64_t position) {
    if (value == NULL || tm_plan_frame(l->p->plan, value) < 0)
        return;
    for (size_t i = 0; i + 1 < l->graphs.count; i++)
        if (l->graphs.items[i] == value->graph) {
            position = l->ends.items[i + 1];
            break;
        }
    extend(l->p->plan, tm_plan_frame(l->p->plan, value), position);
}

static void live_graph(lifetimes *l, tm_graph *graph, int64_t end) {
    tm_arena *arena = l->p->plan->arena;
    tm_push(arena, &l->graphs, graph);
    tm_push(arena, &l->ends, end);
    for (tm_node *node = graph->first; node != NULL; node = node->next) {
        l->position++;
        int64_t last = l->position;
        if (tm_op_has(node->op, TM_CONTROL)) {
            for (int i = 0; i < tm_node_subgraph_count(node); i++)
                last += count_positions(tm_node_subgraph(node, i));
            last++;
        }
        for (int i = 0; i < node->input_count; i++)
            use(l, node->inputs[i], last);
        if (!tm_op_has(node->op, TM_CONTROL)) /* the body of a region reads its own inputs alone */
            continue;
        for (int i = 0; i < tm_node_subgraph_count(node); i++)
            live_graph(l, tm_node_subgraph(node, i), last);
        l->position++;
    }
    for (size_t i = 0; i < graph->outputs.count; i++)
        use(l, graph->outputs.items[i], end);
    l->graphs.count--;
    l->ends.count--;
}

/* ---- memory ---- */

static int64_t hint_bytes(const tm_value *value, const int64_t *symbols) {
    int64_t count = 1, bytes = 0;
    if (tm_value_is_tiled(value)) {
        if (!tm_dim_evaluate(tm_value_stored_count(value), symbols, &count) || count < 0)
            return INT64_MAX / 4;
        return tm_type_size(value->type, count, &bytes) ? bytes : INT64_MAX / 4;
    }
    for (int i = 0; i < value->rank; i++) {
        int64_t dim = 16;
        if (!tm_dim_evaluate(value->dims[i], symbols, &dim) || dim < 0)
            dim = 16;
        if (!tm_mul_i64(count, dim, &count))
            return INT64_MAX / 4;
    }
    return tm_type_size(value->type, count, &bytes) ? bytes : INT64_MAX / 4;
}

/* Does `next` begin in the region that reads `old` last, and may it be written over it? */
static bool takes_over(const tm_plan_value *next, const tm_plan_value *old) {
    return next->begin == old->end && old->begin < next->begin && tm_plan_may_reuse(next->value, old->value);
}

static bool meets(const tm_plan *plan, const tm_plan_slot *slot, const tm_plan_value *entry) {
    for (size_t i = 0; i < slot->members.count; i++) {
        const tm_plan_value *other = &plan->values.items[slot->members.items[i]];
        if (entry->begin <= other->end && other->begin <= entry->end && !takes_over(entry, other) &&
            !takes_over(other, entry))
            return true;
    }
    return false;
}

/* Is the memory of a member taken over, or taken over by it? */
static bool continues(const tm_plan *plan, const tm_plan_slot *slot, const tm_plan_value *entry) {
    for (size_t i = 0; i < slot->members.count; i++) {
        const tm_plan_value *other = &plan->values.items[slot->members.items[i]];
        if (takes_over(entry, other) || takes_over(other, entry))
            return true;
    }
    return false;
}

typedef struct sized {
    int32_t frame;
    int64_t hint;
} sized;

static void sort_by_size(sized *list, size_t count) { /* stable merge by decreasing size */
    if (count < 2)
        return;
    size_t half = count / 2;
    sort_by_size(list, half);
    sort_by_size(list + half, count - half);
    for (size_t i = 0, k = half; i < k && k < count; i++)
        if (list[i].hint < list[k].hint) {
            sized moved = list[k];
            memmove(list + i + 1, list + i, (k - i) * sizeof(sized));
            list[i] = moved;
            k++;
        }
}

/* Of the slots that are free in its life, the one whose memory it takes over, which is in the cache, else the
 * smallest. */
static void place(tm_plan *plan, int32_t frame, int64_t hint) {
    tm_plan_value *entry = &plan->values.items[frame];
    tm_plan_slot *best = NULL;
    for (size_t i = 0; i < plan->slots.count; i++) {
        tm_plan_slot *slot = &plan->slots.items[i];
        if ((best != NULL && slot->hint >= best->hint && slot->hint != hint) || meets(plan, slot, entry))
            continue;
        if (best == NULL || slot->hint < best->hint || continues(plan, slot, entry))
            best = slot;
    }
    if (best == NULL) {
        tm_push(plan->arena, &plan->slots, (tm_plan_slot){.hint = hint});
        best = &plan->slots.items[plan->slots.count - 1];
    }
    tm_push(plan->arena, &best->members, frame);
    entry->argument = best - plan->slots.items;
}

/* Buffers are shared like slots, without sizes: they grow. */
static void place_buffers(tm_plan *plan) {
    TM_VECTOR(tm_plan_slot) shared = {0};
    int32_t first = plan->buffer_count;
    for (size_t v = 0; v < plan->values.count; v++) {
        tm_plan_value *entry = &plan->values.items[v];
        if (entry->storage != TM_STORAGE_BUFFER || entry->argument >= 0)
            continue;
        size_t i = 0;
        while (i < shared.count && meets(plan, &shared.items[i], entry))
            i++;
        if (i == shared.count)
            tm_push(plan->arena, &shared, (tm_plan_slot){0});
        tm_push(plan->arena, &shared.items[i].members, (int32_t)v);
        entry->argument = first + (int64_t)i;
    }
    plan->buffer_count += (int32_t)shared.count;
}

static void place_workspace(tm_plan *plan) {
    size_t symbol_count = tm_dims_symbol_count(plan->model->dims);
    int64_t *symbols = TM_NEW_ARRAY(plan->arena, int64_t, symbol_count + 1);
    for (size_t i = 0; i < symbol_count; i++) {
        const tm_symbol *symbol = tm_dims_symbol_at(plan->model->dims, i);
        symbols[i] = symbol->low > 16 ? symbol->low : symbol->high < 16 ? symbol->high : 16;
    }
    sized *list = TM_NEW_ARRAY(plan->arena, sized, plan->values.count + 1);
    size_t count = 0;
    for (size_t v = 0; v < plan->values.count; v++)
        if (plan->values.items[v].storage == TM_STORAGE_WORKSPACE)
            list[count++] = (sized){(int32_t)v, hint_bytes(plan->values.items[v].value, symbols)};
    sort_by_size(list, count);
    for (size_t i = 0; i < count; i++)
        place(plan, list[i].frame, list[i].hint);
}

/* Outputs of fixed size are written straight into the caller's memory. */
static void place_outputs(tm_plan *plan) {
    tm_graph *graph = plan->model->main;
    for (size_t i = 0; i < graph->outputs.count; i++) {
        tm_plan_value *entry = &plan->values.items[tm_plan_frame(plan, graph->outputs.items[i])];
        tm_plan_value *root = &plan->values.items[entry->root];
        extend(plan, tm_plan_frame(plan, graph->outputs.items[i]), INT64_MAX);
        if (root->storage == TM_STORAGE_WORKSPACE && !entry->late) {
            root->storage = TM_STORAGE_OUTPUT;
            root->argument = (int64_t)i;
        }
    }
}

/* Slots are no inputs of the artifact. */
static void detach_slots(tm_graph *graph) {
    size_t count = 0;
    for (size_t i = 0; i < graph->inputs.count; i++)
        if (graph->inputs.items[i]->slot == NULL)
            graph->inputs.items[count++] = graph->inputs.items[i];
    graph->inputs.count = count;
}

tm_code tm_plan_create(tm_model *model, tm_plan **out_plan) {
    tm_plan *plan = TM_NEW(model->arena, tm_plan);
    plan->model = model;
    plan->arena = model->arena;
    detach_slots(model->main);
    plan->frame = TM_NEW_ARRAY(plan->arena, int32_t, model->value_count + 1);
    for (int32_t i = 0; i < model->value_count; i++)
        plan->frame[i] = -1;
    plan->symbol_used = TM_NEW_ARRAY(plan->arena, bool, tm_dims_symbol_count(model->dims) + 1);
    planner p = {.plan = plan, .model = model};
    tm_map_init(&p.dims, plan->arena);
    tm_map_init(&p.constants, plan->arena);
    for (size_t i = 0; i < model->main->inputs.count; i++) {
        tm_plan_value *entry = number(&p, model->main->inputs.items[i], 1);
        entry->storage = TM_STORAGE_INPUT;
        entry->argument = (int64_t)i;
    }
    number_graph(&p, model->main);
    for (size_t i = 0; i < model->constraints.count; i++) {
        use_symbols(plan, model->constraints.items[i].a);
        use_symbols(plan, model->constraints.items[i].b);
    }
    lifetimes l = {.p = &p};
    live_graph(&l, model->main, count_positions(model->main) + 1);
    place_outputs(plan);
    place_workspace(plan);
    place_buffers(plan);
    plan->symbol_dims = plan->dims_count;
    plan->dims_count += (int32_t)tm_dims_symbol_count(model->dims);
    plan->slot_dims = plan->dims_count;
    plan->dims_count += (int32_t)plan->slots.count;
    *out_plan = plan;
    return TM_OK;
}

tm_symbol **tm_plan_input_symbols(const tm_plan *plan, size_t *out_count) {
    const tm_graph *graph = plan->model->main;
    tm_symbol **symbols = TM_NEW_ARRAY(plan->arena, tm_symbol *, tm_dims_symbol_count(plan->model->dims) + 1);
    size_t count = 0;
    for (size_t i = 0; i < graph->inputs.count; i++)
        for (int d = 0; d < graph->inputs.items[i]->rank; d++) {
            tm_dim dim = graph->inputs.items[i]->dims[d];
            bool known = dim->kind != TM_DIM_SYMBOL;
            for (size_t k = 0; k < count && !known; k++)
                known = symbols[k] == dim->symbol;
            if (!known)
                symbols[count++] = dim->symbol;
        }
    *out_count = count;
    return symbols;
}
