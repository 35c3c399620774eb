/* SPDX-License-Identifier: Apache-2.0
 *
 * prune_axes.c: the axes that may be cut, what reads them, and what they cost.
 *
 * A class of slices can be judged where a constant weight reads it: what is lost without it follows from the
 * second moments of the inputs there. An axis that no such product reads (the width of queries and keys, that
 * only their product sums over) stays as it is.
 *
 * A product's cost is its multiplications and additions times the share of each of its axes that stays; a
 * convolution between two cut axes counts both.
 */
#include "compress/prune.h"

#include <string.h>

tm_value *tm_prune_bias(tm_node *node, tm_node **out_node, int *out_index) {
    *out_node = node;
    *out_index = 2;
    if (node->op == TM_OP_MatMul) {
        *out_node = tm_value_single_user(node->outputs[0]);
        if (*out_node == NULL || (*out_node)->op != TM_OP_Add)
            return NULL;
        *out_index = (*out_node)->inputs[0] == node->outputs[0] ? 1 : 0;
    } else if (node->input_count < 3) {
        return NULL;
    }
    tm_value *bias = (*out_node)->inputs[*out_index];
    return bias != NULL && bias->constant != NULL && bias->rank == 1 && bias->type == TAMIS_TYPE_FLOAT ? bias
                                                                                                       : NULL;
}

/* ---- matrices ---- */

static bool is_turned(const tm_node *node) {
    return node->op == TM_OP_Conv || (node->op == TM_OP_Gemm && tm_node_int(node, "transB") != 0);
}

double *tm_prune_matrix(tm_arena *arena, const tm_node *node, int64_t k, int64_t n) {
    const float *w = node->inputs[1]->constant->data;
    double *matrix = TM_NEW_ARRAY(arena, double, k *n);
    bool turned = is_turned(node);
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < n; j++)
            matrix[i * n + j] = (double)w[turned ? j * k + i : i * n + j];
    return matrix;
}

void tm_prune_set_matrix(tm_node *node, const double *matrix, int64_t k, int64_t n) {
    const tm_value *old = node->inputs[1];
    tm_arena *arena = node->graph->model->arena;
    float *data = TM_NEW_ARRAY(arena, float, k *n);
    bool turned = is_turned(node);
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < n; j++)
            data[turned ? j * k + i : i * n + j] = (float)matrix[i * n + j];
    tm_node_set_input(node, 1,
                      tm_value_create_constant(
                          node->graph, old->name,
                          tm_constant_create(arena, TAMIS_TYPE_FLOAT, old->rank, old->constant->dims, data)));
}

/* ---- readers ---- */

static bool is_reader(const tm_sink *sink) {
    const tm_node *node = sink->node;
    if (sink->w == NULL || node->inputs[0] != sink->x || node->inputs[1] != sink->w ||
        sink->w->constant == NULL || sink->x->constant != NULL || sink->w->type != TAMIS_TYPE_FLOAT ||
        sink->x_count != sink->w_count)
        return false;
    switch (node->op) {
    case TM_OP_MatMul:
        return sink->w->rank == 2;
    case TM_OP_Gemm:
        return tm_node_int(node, "transA") == 0 && tm_node_float(node, "alpha") == 1 &&
               tm_node_float(node, "beta") == 1;
    case TM_OP_Conv:
        return tm_node_int(node, "group") == 1 && strcmp(tm_node_string(node, "auto_pad"), "NOTSET") == 0;
    default:
        return false;
    }
}

bool tm_prune_keeps(const tm_compress_options *options, const char *name) {
    for (size_t i = 0; i < options->keep_count; i++)
        if (strstr(name, options->keep[i]) != NULL)
            return true;
    return false;
}

/* Class -1: one of its own, of which nothing may go. */
static int axis_of(tm_pruner *p, int32_t axis_class, const tm_node *node) {
    for (size_t i = 0; i < p->axes.count && axis_class >= 0; i++)
        if (p->axes.items[i].axis_class == axis_class)
            return (int)i;
    const char *name = node->name != NULL && node->name[0] != 0 ? node->name : node->outputs[0]->name;
    tm_prune_axis axis = {.name = tm_arena_string(p->q.arena, name), .axis_class = axis_class};
    axis.unfit = tm_prune_keeps(p->options, axis.name);
    tm_push(p->q.arena, &p->axes, axis);
    return (int)p->axes.count - 1;
}

static int observe(tm_pruner *p, const tm_value *value) {
    for (size_t i = 0; i < p->observed.count; i++)
        if (p->observed.items[i] == value->id)
            return (int)i;
    tm_push(p->q.arena, &p->observed, value->id);
    return (int)p->observed.count - 1;
}

static void add_reader(tm_pruner *p, const tm_slices *s, int number) {
    const tm_sink *sink = &s->sinks.items[number];
    int32_t first = tm_slices_first(s, sink->x, sink->x_axis);
    const int64_t *dims = sink->w->constant->dims;
    tm_node *holder;
    int index;
    tm_prune_reader reader = {.sink = number, .taps = 1, .block = -1};
    reader.class_of = TM_NEW_ARRAY(p->q.arena, int32_t, sink->x_count);
    bool any = false;
    for (int64_t i = 0; i < sink->x_count; i++) {
        reader.class_of[i] = tm_slices_class(s, first + (int32_t)i);
        any = any || reader.class_of[i] != 0;
    }
    const tm_value *stream = tm_prune_stream(sink->node);
    bool may_end_branch = p->options->blocks && stream != NULL; /* its mean is asked for */
    if (!any && !p->options->low_rank && !may_end_branch)
        return;
    for (int k = 2; sink->node->op == TM_OP_Conv && k < sink->w->rank; k++)
        reader.taps *= dims[k];
    reader.k = sink->x_count * reader.taps;
    reader.n = tm_constant_count(sink->w->constant) / reader.k;
    reader.has_bias = !p->options->low_rank && tm_prune_bias(sink->node, &holder, &index) != NULL;
    reader.observed = observe(p, sink->x);
    reader.stream = stream != NULL ? observe(p, stream) : -1;
    if (!p->options->low_rank)
        reader.axis = axis_of(p, any ? tm_slices_axis_class(s, first) : -1, sink->node);
    tm_push(p->q.arena, &p->readers, reader);
    if (p->options->low_rank)
        tm_low_rank_add(p, (int)p->readers.count - 1, sink->node);
}

/* Classes of all readers of the axis, in the order of their slices. */
static void list_classes(tm_pruner *p, int number, const tm_slices *s) {
    tm_prune_axis *axis = &p->axes.items[number];
    tm_arena scratch;
    tm_arena_init(&scratch);
    tm_quantize_borrow_recovery(&p->q, &scratch);
    bool *seen = TM_NEW_ARRAY(&scratch, bool, s->slice_count);
    int64_t channels = 0;
    for (int turn = 0; turn < 2; turn++) { /* counts, then lists */
        axis->count = 0;
        axis->pinned = 0;
        memset(seen, 0, sizeof(bool) * (size_t)s->slice_count);
        for (size_t r = 0; r < p->readers.count; r++) {
            const tm_prune_reader *reader = &p->readers.items[r];
            for (int64_t i = 0; reader->axis == number && i < reader->k / reader->taps; i++) {
                int32_t class = reader->class_of[i];
                channels += turn == 0 && class != 0;
                axis->pinned += class == 0;
                if (class == 0 || seen[class])
                    continue;
                seen[class] = true;
                if (turn == 1)
                    axis->classes[axis->count] = class;
                axis->count++;
            }
        }
        if (turn == 0)
            axis->classes = TM_NEW_ARRAY(p->q.arena, int32_t, axis->count + 1);
    }
    int readers = 0;
    for (size_t r = 0; r < p->readers.count; r++)
        readers += p->readers.items[r].axis == number;
    axis->channels = axis->count > 0 ? channels / readers / axis->count : 0;
    axis->channels = axis->channels > 0 ? axis->channels : 1;
    axis->pinned /= (double)(readers * axis->channels);
    axis->harm = axis->use = -1;
    tm_arena_deinit(&scratch);
}

bool *tm_prune_gone(const tm_pruner *p, tm_arena *arena, const tm_slices *s) {
    bool *gone = TM_NEW_ARRAY(arena, bool, s->slice_count);
    for (size_t i = 0; i < p->axes.count; i++)
        for (int k = 0; k < p->axes.items[i].gone && p->axes.items[i].classes != NULL; k++)
            gone[p->axes.items[i].classes[k]] = true;
    tm_slices_spare(s, gone);
    return gone;
}

/* ---- costs ---- */

/* Symbols of inputs have the sizes of the sample; those that data decide are taken as one. */
static int64_t *symbols_of(const tm_model *model, tm_arena *arena, const tamis_tensor *inputs) {
    size_t count = tm_dims_symbol_count(model->dims);
    int64_t *symbols = TM_NEW_ARRAY(arena, int64_t, count + 1);
    for (size_t i = 0; i < count; i++)
        symbols[i] = 1;
    for (size_t i = 0; i < model->main->inputs.count; i++) {
        const tm_value *value = model->main->inputs.items[i];
        for (int k = 0; value->kind == TAMIS_KIND_TENSOR && k < value->rank && k < inputs[i].rank; k++)
            if (value->dims[k]->kind == TM_DIM_SYMBOL)
                symbols[value->dims[k]->symbol->number] = inputs[i].dims[k];
    }
    return symbols;
}

static double size_of(const tm_value *value, const int64_t *symbols) {
    double size = 1;
    for (int k = 0; k < value->rank; k++) {
        int64_t dim = 1;
        size *= tm_dim_evaluate(value->dims[k], symbols, &dim) ? (double)dim : 1;
    }
    return size;
}

static double flops_of(const tm_node *node, const int64_t *symbols) {
    if (node->op != TM_OP_MatMul && node->op != TM_OP_Gemm && node->op != TM_OP_Conv &&
        node->op != TM_OP_ConvTranspose)
        return 0;
    const tm_value *x = node->inputs[0], *w = node->inputs[1];
    if (node->op == TM_OP_Conv || node->op == TM_OP_ConvTranspose) {
        int64_t wide = 1;
        const tm_value *runs =
            node->op == TM_OP_Conv ? node->outputs[0] : x; /* each element meets a filter */
        (void)tm_dim_evaluate(w->dims[0], symbols, &wide);
        return 2 * size_of(runs, symbols) * size_of(w, symbols) / (double)(wide > 0 ? wide : 1);
    }
    int64_t k = 1;
    int axis = node->op == TM_OP_Gemm && tm_node_int(node, "transA") != 0 ? 0 : x->rank - 1;
    (void)tm_dim_evaluate(x->dims[axis], symbols, &k);
    return 2 * size_of(node->outputs[0], symbols) * (double)k;
}

double tm_prune_flops(const tm_model *model, tm_arena *scratch, const tamis_tensor *inputs) {
    const int64_t *symbols = symbols_of(model, scratch, inputs);
    double flops = 0;
    for (const tm_node *node = model->main->first; node != NULL; node = node->next)
        flops += flops_of(node, symbols);
    return flops;
}

static void add_factors(const tm_pruner *p, const tm_slices *s, const tm_value *value, tm_prune_cost *cost) {
    for (int k = 0; k < value->rank; k++) {
        int32_t first = tm_slices_first(s, value, k);
        int32_t class = first != 0 ? tm_slices_axis_class(s, first) : 0;
        for (size_t i = 0; first != 0 && i < p->axes.count && cost->count < 4; i++) {
            bool known = p->axes.items[i].axis_class != class;
            for (int j = 0; j < cost->count; j++)
                known = known || cost->axes[j] == (int)i;
            if (!known)
                cost->axes[cost->count++] = (int)i;
        }
    }
}

void tm_prune_find_axes(tm_pruner *p, const tm_pruned *pruned, const tamis_tensor *inputs) {
    const tm_slices *s = &pruned->slices;
    p->slice_count = s->slice_count;
    for (size_t i = 0; i < s->sinks.count; i++)
        if (is_reader(&s->sinks.items[i]))
            add_reader(p, s, (int)i);
    for (size_t i = 0; i < p->axes.count && !p->options->low_rank; i++)
        list_classes(p, (int)i, s);
    tm_arena scratch;
    tm_arena_init(&scratch);
    tm_quantize_borrow_recovery(&p->q, &scratch);
    const int64_t *symbols = symbols_of(pruned->loaded.model, &scratch, inputs);
    for (const tm_node *node = pruned->loaded.model->main->first; node != NULL; node = node->next) {
        tm_prune_cost cost = {.flops = flops_of(node, symbols), .value = node->outputs[0]->id};
        if (cost.flops == 0)
            continue;
        if (p->options->low_rank) {
            for (size_t r = 0; r < p->readers.count; r++)
                if (s->sinks.items[p->readers.items[r].sink].node == node)
                    cost.axes[cost.count++] = p->readers.items[r].axis;
        } else {
            add_factors(p, s, node->inputs[0], &cost);
            add_factors(p, s, node->inputs[1], &cost);
        }
        p->flops += cost.flops;
        tm_push(p->q.arena, &p->costs, cost);
    }
    if (p->options->blocks && !p->options->low_rank)
        tm_prune_find_blocks(p, pruned);
    tm_arena_deinit(&scratch);
}
