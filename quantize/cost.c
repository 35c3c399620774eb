/* SPDX-License-Identifier: Apache-2.0
 *
 * cost.c: what a layer costs in float and quantised, on this machine.
 *
 * The layer stands in a model of its own with an input of the samples' size, which is compiled in both forms
 * and timed on one thread; the least of some calls counts. Layers of equal sizes are timed once. Alone, a
 * layer quantises its input in a walk of its own, which in the model is part of what comes before: its time
 * is an upper bound.
 *
 * Where the result is for another target, times are estimated for a core that multiplies bytes three times as
 * fast as floats. Its tiles are 64 deep and 16 wide, so that small layers gain nothing; quantising an input
 * of r rows of k is a walk over it, a scale for each row two more:
 *
 *     float     2 r k n / 100 ns
 *     static    2 r k' n' / 300 ns + r k / 8 ns + 200 ns      k' = k up to a multiple of 64, n' = n of 16
 *     dynamic   2 r k' n' / 300 ns + r k / 2.5 ns + 1000 ns
 *
 * Without samples to tell r, there are no times.
 */
#include "quantize/choose.h"

#include "ir/infer.h"

#include <math.h>
#include <time.h>

#define LEAST_CALLS 5
#define MOST_CALLS 200
#define ENOUGH_NS 3e6

double tm_thread_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

double tm_wall_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* The layer in a graph of its own. The weights and attributes are those of the model it comes from. */
static void make_model(const tm_quantizer *q, tm_arena *arena, const tm_layer *layer, const tm_observation *o,
                       tm_loaded *out) {
    tm_dim dims[TAMIS_MAX_RANK];
    *out = (tm_loaded){.model = tm_model_create(arena, q->diagnostics, layer->name)};
    tm_graph *graph = out->model->main;
    for (int i = 0; i < o->rank; i++)
        dims[i] = tm_dim_constant(out->model->dims, o->dims[i]);
    tm_value *x = tm_value_create(graph, "x");
    tm_value_set_tensor(x, TAMIS_TYPE_FLOAT, o->rank, dims);
    tm_graph_add_input(graph, x);
    tm_value *inputs[2] = {x, tm_value_create_constant(graph, "w", layer->w->constant)};
    tm_node *node = tm_node_create(graph, NULL, layer->node->op, "layer", 2, inputs);
    node->attributes = layer->node->attributes;
    tm_graph_add_output(graph, tm_node_add_output(node, "y"));
}

static tm_code time_build(tm_quantizer *q, tm_build *build, const tamis_tensor *x, double *out_ns) {
    double total = 0, least = 0;
    for (int i = 0; i < MOST_CALLS && (i < LEAST_CALLS || total < ENOUGH_NS); i++) {
        double start = tm_thread_ns();
        TM_TRY(tm_build_run(q, build, x));
        double taken = tm_thread_ns() - start;
        total += taken;
        least = i == 0 || taken < least ? taken : least;
    }
    *out_ns = least;
    return TM_OK;
}

static tm_code time_form(tm_quantizer *q, tm_arena *arena, const tm_layer *layer, const tm_observation *o,
                         const tamis_tensor *x, bool quantized, double *out_ns) {
    tm_loaded loaded;
    tm_build build;
    make_model(q, arena, layer, o, &loaded);
    TM_TRY(tm_infer(loaded.model));
    if (quantized) {
        tm_quantize_find_layers(arena, &loaded);
        TM_TRY(tm_quantize_rewrite(q, &loaded));
    }
    TM_TRY(tm_build_create(q, loaded.model, &build));
    tm_code code = time_build(q, &build, x, out_ns);
    tm_build_destroy(&build);
    return code;
}

/* The layer alone in float and in the forms, by a quantiser of its own for it. */
static tm_code time_layer(const tm_quantizer *q, int i, const tm_layer *layer, tm_layer_cost *out) {
    tm_quantize_options options = *q->options;
    options.threads = 1;
    tm_observation o = q->observations[layer->observed];
    tm_layer_plan plan = q->plans[i];
    tm_quantize_form forms[TM_QUANTIZE_FORMS];
    int form_count = tm_forms_of(q, i, forms);
    tm_quantizer alone = *q;
    plan.bias = NULL;
    alone.options = &options;
    alone.plans = &plan;
    alone.observations = &o;
    alone.layer_count = 1;
    tm_arena arena;
    tm_arena_init(&arena);
    tm_quantize_borrow_recovery(q, &arena);
    alone.arena = &arena;
    int64_t count = 1;
    for (int d = 0; d < o.rank; d++)
        count *= o.dims[d];
    float *data = TM_NEW_ARRAY(&arena, float, count + 1);
    for (int64_t k = 0; k < count; k++) /* spread over the range, so that nothing is subnormal */
        data[k] = o.range.low + (o.range.high - o.range.low) * (float)(k % 101) / 100;
    tamis_tensor x = {
        .data = data, .dims = o.dims, .rank = o.rank, .type = TAMIS_TYPE_FLOAT, .kind = TAMIS_KIND_TENSOR};
    tm_code code = time_form(&alone, &arena, layer, &o, &x, false, &out->in_float);
    for (int f = 0; f < form_count && code == TM_OK; f++) {
        plan.form = forms[f];
        code = time_form(&alone, &arena, layer, &o, &x, true, &out->in_form[forms[f]]);
    }
    tm_arena_deinit(&arena);
    return code;
}

static void estimate_layer(const tm_quantizer *q, const tm_layer *layer, tm_layer_cost *out) {
    const tm_observation *o = &q->observations[layer->observed];
    double k = (double)layer->k, n = (double)layer->n, rows = 1;
    int last = layer->node->op == TM_OP_Conv ? 1 : o->rank - 1; /* channels */
    for (int d = 0; d < o->rank; d++)
        rows *= d == last ? 1 : (double)o->dims[d];
    double tiles = 2 * rows * ceil(k / 64) * 64 * ceil(n / 16) * 16 / 300;
    double elements = rows * (double)o->dims[last];
    *out = (tm_layer_cost){.in_float = 2 * rows * k * n / 100};
    out->in_form[TM_QUANTIZE_INT8] = tiles + elements / 8 + 200;
    out->in_form[TM_QUANTIZE_INT8_DYNAMIC] = tiles + elements / 2.5 + 1000;
    out->in_form[TM_QUANTIZE_INT8_WEIGHTS] = out->in_form[TM_QUANTIZE_INT4] = out->in_float;
}

static bool are_alike(const tm_quantizer *q, const tm_layer *a, const tm_layer *b) {
    const tm_observation *x = &q->observations[a->observed], *y = &q->observations[b->observed];
    return a->node->op == b->node->op && a->k == b->k && a->n == b->n && a->channel_axis == b->channel_axis &&
           x->rank == y->rank && memcmp(x->dims, y->dims, sizeof(int64_t) * (size_t)x->rank) == 0 &&
           (a->node->op != TM_OP_Conv || a->node == b->node);
}

bool tm_times_are_measured(const tm_quantizer *q) {
    return q->samples != NULL && q->compile->target == NULL && q->compile->cpu == NULL;
}

tm_code tm_measure_layers(tm_quantizer *q, const tm_loaded *loaded) {
    if (!tm_goes_by_time(q))
        return TM_OK;
    for (int i = 0; i < q->layer_count; i++) {
        const tm_layer *layer = &loaded->layers.items[i];
        tm_layer_cost *cost = &q->costs[i];
        if (!q->plans[i].quantize || layer->observed < 0)
            continue;
        if (!tm_times_are_measured(q)) {
            estimate_layer(q, layer, cost);
            continue;
        }
        for (int k = 0; k < i && cost->in_float == 0; k++)
            if (q->costs[k].in_float > 0 && are_alike(q, layer, &loaded->layers.items[k]))
                *cost = q->costs[k];
        if (cost->in_float == 0)
            TM_TRY(time_layer(q, i, layer, cost));
    }
    return TM_OK;
}
