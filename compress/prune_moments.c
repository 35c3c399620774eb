/* SPDX-License-Identifier: Apache-2.0
 *
 * prune_moments.c: second moments of what readers read, over the samples.
 *
 *     H = mean of x x^T - m m^T     m = mean of x, if what is constant can go into the bias
 *
 * Rows of a product are those of its left side. A row of a convolution is what its kernel sees at a position,
 * in the order of its weights; of each sample so many positions are taken, spread evenly.
 */
#include "compress/prune.h"

#include "quantize/algebra.h"

#include <math.h>

#define MOST_POSITIONS 256 /* of a convolution, in a sample */

typedef struct collection {
    tm_pruner *p;
    const bool *wanted;
    float **sums;   /* by reader: of x x^T, the upper triangle */
    double **means; /* sums of x */
    int64_t *rows;
    const tm_pruned *pruned; /* attributes of the convolutions */
} collection;

static tm_node *node_of(const collection *c, int reader) {
    return c->pruned->slices.sinks.items[c->p->readers.items[reader].sink].node;
}

static int64_t number(const tm_node *node, const char *list, int i, int64_t otherwise) {
    const tm_attribute *attribute = tm_node_attribute(node, list);
    return attribute->present && i < attribute->count ? attribute->ints[i] : otherwise;
}

typedef struct window {
    int axes;
    int64_t channels, in[TAMIS_MAX_RANK], out[TAMIS_MAX_RANK], kernel[TAMIS_MAX_RANK];
    int64_t stride[TAMIS_MAX_RANK], dilation[TAMIS_MAX_RANK], pad[TAMIS_MAX_RANK];
    int64_t taps, positions;
} window;

static bool open_window(const tm_node *node, const tamis_tensor *x, window *w) {
    *w = (window){.axes = x->rank - 2, .channels = x->dims[1], .taps = 1, .positions = 1};
    for (int i = 0; i < w->axes; i++) {
        w->in[i] = x->dims[i + 2];
        w->kernel[i] = node->inputs[1]->constant->dims[i + 2];
        w->stride[i] = number(node, "strides", i, 1);
        w->dilation[i] = number(node, "dilations", i, 1);
        w->pad[i] = number(node, "pads", i, 0);
        int64_t span = (w->kernel[i] - 1) * w->dilation[i] + 1;
        w->out[i] = (w->in[i] + w->pad[i] + number(node, "pads", w->axes + i, 0) - span) / w->stride[i] + 1;
        w->taps *= w->kernel[i];
        w->positions *= w->out[i] > 0 ? w->out[i] : 0;
    }
    return w->positions > 0;
}

/* What the kernel sees at a position: [channels, kernel...]. */
static void see(const window *w, const float *image, int64_t position, float *to) {
    int64_t at[TAMIS_MAX_RANK], plane = 1;
    for (int i = w->axes - 1; i >= 0; i--) {
        at[i] = position % w->out[i] * w->stride[i] - w->pad[i];
        position /= w->out[i];
        plane *= w->in[i];
    }
    for (int64_t c = 0; c < w->channels; c++)
        for (int64_t t = 0; t < w->taps; t++) {
            int64_t rest = t, offset = 0, step = 1;
            bool inside = true;
            for (int i = w->axes - 1; i >= 0; i--) {
                int64_t k = at[i] + rest % w->kernel[i] * w->dilation[i];
                rest /= w->kernel[i];
                inside = inside && k >= 0 && k < w->in[i];
                offset += k * step;
                step *= w->in[i];
            }
            *to++ = inside ? image[c * plane + offset] : 0;
        }
}

const float *tm_prune_rows(tm_arena *scratch, const tm_node *node, const tamis_tensor *x, int64_t k,
                           int64_t *out_rows) {
    int64_t count = 1;
    for (int i = 0; i < x->rank; i++)
        count *= x->dims[i];
    *out_rows = count / k;
    if (node->op != TM_OP_Conv)
        return x->data;
    window w;
    *out_rows = 0;
    if (!open_window(node, x, &w) || w.channels * w.taps != k)
        return NULL;
    int64_t all = w.positions * x->dims[0], most = all < MOST_POSITIONS ? all : MOST_POSITIONS;
    float *rows = TM_NEW_ARRAY(scratch, float, most *k);
    for (int64_t i = 0; i < most; i++) {
        int64_t at = i * all / most, image = at / w.positions;
        see(&w, (const float *)x->data + image * (count / x->dims[0]), at % w.positions, rows + i * k);
    }
    *out_rows = most;
    return rows;
}

bool tm_prune_holds_out(int64_t count, int64_t sample) {
    return count >= TM_HELD_OUT && sample % TM_HELD_OUT == TM_HELD_OUT - 1;
}

static tm_code collect(tm_quantizer *q, tm_build *build, int64_t sample, void *argument) {
    collection *c = argument;
    if (tm_prune_holds_out(q->sample_count, sample))
        return TM_OK;
    for (size_t r = 0; r < c->p->readers.count; r++) {
        if (!c->wanted[r])
            continue;
        tm_arena scratch;
        tm_arena_init(&scratch);
        tm_quantize_borrow_recovery(q, &scratch);
        const tamis_tensor *x =
            tamis_session_output(build->session, c->p->first_observed + c->p->readers.items[r].observed);
        int64_t k = c->p->readers.items[r].k, rows;
        const float *data = tm_prune_rows(&scratch, node_of(c, (int)r), x, k, &rows);
        if (rows > 0)
            tm_algebra_add_moments(c->sums[r], data, rows, k);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < k; j++)
                c->means[r][j] += (double)data[i * k + j];
        c->rows[r] += rows;
        tm_arena_deinit(&scratch);
    }
    return TM_OK;
}

static void finish(const tm_prune_reader *reader, const float *sums, double *means, int64_t rows,
                   tm_moments *out) {
    int64_t k = reader->k;
    for (int64_t i = 0; i < k; i++)
        means[i] = rows > 0 ? means[i] / (double)rows : 0;
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = i; j < k; j++)
            out->h[i * k + j] = (rows > 0 ? (double)sums[i * k + j] / (double)rows : 0) -
                                (reader->has_bias ? means[i] * means[j] : 0);
    out->mean = means;
    out->rows = rows;
}

/* A build of the whole model with the readers' inputs as outputs, and what their results are added to. */
static tm_code observe(tm_pruner *p) {
    tm_pruned pruned;
    tm_code code = tm_pruned_create(p, &pruned);
    if (code == TM_OK) {
        tm_graph *graph = pruned.loaded.model->main;
        p->first_observed = (int)graph->outputs.count;
        for (size_t i = 0; i < p->observed.count; i++)
            tm_graph_add_output(graph, pruned.loaded.model->values.items[p->observed.items[i]]);
        code = tm_build_create(&p->q, pruned.loaded.model, &p->observing);
    }
    tm_pruned_destroy(&pruned);
    return code;
}

tm_code tm_prune_collect(tm_pruner *p, tm_arena *arena, const bool *wanted, tm_moments *out) {
    tm_arena scratch;
    tm_pruned pruned;
    if (p->observing.session == NULL)
        TM_TRY(observe(p));
    tm_arena_init(&scratch);
    tm_quantize_borrow_recovery(&p->q, &scratch);
    collection c = {.p = p, .wanted = wanted, .pruned = &pruned};
    c.sums = TM_NEW_ARRAY(&scratch, float *, p->readers.count + 1);
    c.means = TM_NEW_ARRAY(&scratch, double *, p->readers.count + 1);
    c.rows = TM_NEW_ARRAY(&scratch, int64_t, p->readers.count + 1);
    for (size_t r = 0; r < p->readers.count; r++) {
        int64_t k = p->readers.items[r].k;
        out[r] = (tm_moments){0};
        if (!wanted[r])
            continue;
        c.sums[r] = TM_NEW_ARRAY(&scratch, float, k *k);
        c.means[r] = TM_NEW_ARRAY(arena, double, k);
        out[r].h = TM_NEW_ARRAY(arena, double, k *k);
    }
    tm_code code = tm_pruned_create(p, &pruned);
    if (code == TM_OK)
        code = tm_each_sample(&p->q, p->q.options->most_samples, &p->observing, collect, &c);
    for (size_t r = 0; code == TM_OK && r < p->readers.count; r++)
        if (wanted[r])
            finish(&p->readers.items[r], c.sums[r], c.means[r], c.rows[r], &out[r]);
    tm_pruned_destroy(&pruned);
    tm_arena_deinit(&scratch);
    return code;
}
