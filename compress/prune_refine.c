/* SPDX-License-Identifier: Apache-2.0
 *
 * prune_refine.c: repairs what the cut did further up, layer after layer.
 *
 * A reader of a pruned model does not read what it read before: x' instead of x, since layers before it were
 * cut too. And where its result is added to a stream, that stream is off as well: r' instead of r. So its
 * weights are fitted once more, in the order of the layers, to what the whole model had there:
 *
 *     minimise |x' V + r' - (x W + r)|^2 + ridge |V - V_before|^2
 *     V = (x'^T x' + ridge)^-1 (x'^T t + ridge V_before)        t = x W + r - r'
 *
 * (about the means, where there is a bias). For that both models run side by side on the samples. Readers are
 * taken in groups, each of which needs the pruned model compiled anew with the weights of those before.
 */
#include "compress/prune.h"

#include "quantize/algebra.h"

#include <math.h>
#include <string.h>

#define GROUPS 6
#define MOST_BYTES ((int64_t)512 << 20)

/* What is summed for a reader. */
typedef struct fit {
    const tm_prune_reader *reader;
    const tm_node *node; /* in the pruned model */
    int64_t k;           /* terms that are left */
    int input, stream;   /* outputs of the pruned build; stream -1: none */
    float *w;            /* [reader->k, n] of the whole model */
    float *squares;      /* sum of x'^T x', the upper triangle */
    double *products;    /* sum of x'^T t */
    double *x_sum, *t_sum;
    int64_t rows;
} fit;

/* What the reader's result is added to, beside its bias; NULL: nothing of the same size. */
tm_value *tm_prune_stream(tm_node *node) {
    tm_node *holder = node, *next;
    int index;
    if (tm_prune_bias(node, &holder, &index) == NULL)
        holder = node;
    next = tm_value_single_user(holder->outputs[0]);
    if (node->op == TM_OP_Conv || next == NULL || next->op != TM_OP_Add)
        return NULL;
    tm_value *y = holder->outputs[0], *other = next->inputs[next->inputs[0] == y ? 1 : 0];
    if (other == y || other->constant != NULL || other->rank != y->rank || other->type != y->type)
        return NULL;
    for (int k = 0; k < y->rank; k++)
        if (!tm_dim_same(y->dims[k], other->dims[k]))
            return NULL;
    return other;
}

static int64_t count_of(const tamis_tensor *x) {
    int64_t count = 1;
    for (int i = 0; i < x->rank; i++)
        count *= x->dims[i];
    return count;
}

static void add_sample(tm_pruner *p, fit *f, const tm_pruned *whole, const tm_build *cut) {
    tm_arena scratch;
    tm_arena_init(&scratch);
    tm_quantize_borrow_recovery(&p->q, &scratch);
    const tm_prune_reader *reader = f->reader;
    const tm_node *node = whole->slices.sinks.items[reader->sink].node;
    int64_t rows, cut_rows, n = reader->n, k = f->k;
    const float *x = tm_prune_rows(
        &scratch, node, tamis_session_output(p->observing.session, p->first_observed + reader->observed),
        reader->k, &rows);
    const float *y =
        tm_prune_rows(&scratch, f->node, tamis_session_output(cut->session, f->input), k, &cut_rows);
    if (rows == 0 || rows != cut_rows) {
        tm_arena_deinit(&scratch);
        return;
    }
    float *t = TM_NEW_ARRAY(&scratch, float, rows *n);
    tm_algebra_add_rows(t, x, f->w, rows, n, reader->k, false);
    if (f->stream >= 0 && reader->stream >= 0) {
        const tamis_tensor *before =
            tamis_session_output(p->observing.session, p->first_observed + reader->stream);
        const tamis_tensor *now = tamis_session_output(cut->session, f->stream);
        const float *a = before->data, *b = now->data;
        for (int64_t i = 0; i < rows * n && count_of(before) == rows * n && count_of(now) == rows * n; i++)
            t[i] += a[i] - b[i];
    }
    float *product = TM_NEW_ARRAY(&scratch, float, k *n);
    tm_algebra_add_moments(f->squares, y, rows, k);
    tm_algebra_add_rows(product, y, t, k, n, rows, true);
    for (int64_t i = 0; i < k * n; i++)
        f->products[i] += (double)product[i];
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < k; j++)
            f->x_sum[j] += (double)y[i * k + j];
        for (int64_t j = 0; j < n; j++)
            f->t_sum[j] += (double)t[i * n + j];
    }
    f->rows += rows;
    tm_arena_deinit(&scratch);
}

static tm_code run_both(tm_pruner *p, tm_build *cut, const tm_pruned *whole, fit *fits, int count) {
    const tm_samples *samples = p->q.samples;
    const tamis_tensor *inputs;
    TM_TRY(samples->rewind(samples->self));
    for (int64_t at = 0; at < p->q.sample_count; at++) {
        TM_TRY(samples->next(samples->self, &inputs));
        if (inputs == NULL)
            break;
        if (tm_prune_holds_out(p->q.sample_count, at))
            continue;
        TM_TRY(tm_build_run(&p->q, &p->observing, inputs));
        TM_TRY(tm_build_run(&p->q, cut, inputs));
        for (int i = 0; i < count; i++)
            add_sample(p, &fits[i], whole, cut);
    }
    return TM_OK;
}

static void solve(tm_pruner *p, tm_arena *scratch, const fit *f, int number, tm_prune_repair *io) {
    int64_t k = f->k, n = f->reader->n;
    double rows = (double)f->rows, ridge = 0, *v = io->matrices[number];
    bool centred = f->reader->has_bias;
    if (f->rows == 0 || v == NULL)
        return;
    double *h = TM_NEW_ARRAY(scratch, double, k *k), *right = TM_NEW_ARRAY(scratch, double, k *n);
    for (int64_t i = 0; i < k; i++) {
        double x = centred ? f->x_sum[i] / rows : 0;
        for (int64_t j = i; j < k; j++)
            h[i * k + j] = h[j * k + i] = (double)f->squares[i * k + j] / rows - x * f->x_sum[j] / rows;
        ridge += p->options->ridge * h[i * k + i] / (double)k;
        for (int64_t j = 0; j < n; j++)
            right[i * n + j] = f->products[i * n + j] / rows - x * f->t_sum[j] / rows;
    }
    ridge += 1e-20;
    for (int64_t i = 0; i < k; i++)
        h[i * k + i] += ridge;
    for (int64_t i = 0; i < k * n; i++)
        right[i] += ridge * v[i];
    if (!tm_prune_invert(scratch, h, k))
        return;
    tm_algebra_multiply(v, n, h, k, right, n, k, n, k, 1, 0);
    for (int64_t j = 0; centred && io->shifts[number] != NULL && j < n; j++) {
        double shift = f->t_sum[j];
        for (int64_t i = 0; i < k; i++)
            shift -= f->x_sum[i] * v[i * n + j];
        io->shifts[number][j] = shift / rows;
    }
}

/* The pruned model with what the readers from `from` to `to` read and are added to as outputs. */
static tm_code build_cut(tm_pruner *p, tm_arena *scratch, tm_pruned *cut, const tm_prune_repair *repair,
                         int from, int to, fit *fits, int *out_count, tm_build *out) {
    tm_graph *graph = cut->loaded.model->main;
    TM_TRY(tm_prune_apply(p, cut, repair));
    int outputs = (int)graph->outputs.count;
    *out_count = 0;
    for (int r = from; r < to; r++) {
        const tm_prune_reader *reader = &p->readers.items[r];
        tm_node *node = cut->slices.sinks.items[reader->sink].node;
        if (repair->matrices[r] == NULL)
            continue;
        fit *f = &fits[(*out_count)++];
        tm_value *stream = tm_prune_stream(node);
        *f = (fit){.reader = reader, .node = node, .k = repair->rows[r], .input = outputs++, .stream = -1};
        tm_graph_add_output(graph, node->inputs[0]);
        if (stream != NULL) {
            f->stream = outputs++;
            tm_graph_add_output(graph, stream);
        }
        f->squares = TM_NEW_ARRAY(scratch, float, f->k * f->k);
        f->products = TM_NEW_ARRAY(scratch, double, f->k * reader->n);
        f->x_sum = TM_NEW_ARRAY(scratch, double, f->k);
        f->t_sum = TM_NEW_ARRAY(scratch, double, reader->n);
    }
    return tm_build_create(&p->q, cut->loaded.model, out);
}

static void set_weights(tm_arena *scratch, const tm_pruned *whole, fit *fits, int count) {
    for (int i = 0; i < count; i++) {
        int64_t size = fits[i].reader->k * fits[i].reader->n;
        tm_arena part;
        tm_arena_init(&part);
        memcpy(part.recovery, scratch->recovery, sizeof part.recovery);
        part.has_recovery = scratch->has_recovery;
        const double *w = tm_prune_matrix(&part, whole->slices.sinks.items[fits[i].reader->sink].node,
                                          fits[i].reader->k, fits[i].reader->n);
        fits[i].w = TM_NEW_ARRAY(scratch, float, size);
        for (int64_t j = 0; j < size; j++)
            fits[i].w[j] = (float)w[j];
        tm_arena_deinit(&part);
    }
}

static tm_code refine_group(tm_pruner *p, const tm_pruned *whole, int from, int to, tm_prune_repair *io) {
    tm_arena scratch;
    tm_pruned cut;
    tm_build build = {0};
    int count = 0;
    tm_arena_init(&scratch);
    tm_quantize_borrow_recovery(&p->q, &scratch);
    fit *fits = TM_NEW_ARRAY(&scratch, fit, to - from + 1);
    tm_code code = tm_pruned_create(p, &cut);
    if (code == TM_OK)
        code = build_cut(p, &scratch, &cut, io, from, to, fits, &count, &build);
    set_weights(&scratch, whole, fits, count);
    if (code == TM_OK && count > 0)
        code = run_both(p, &build, whole, fits, count);
    for (int i = 0; code == TM_OK && i < count; i++)
        solve(p, &scratch, &fits[i], (int)(fits[i].reader - p->readers.items), io);
    tm_build_destroy(&build);
    tm_pruned_destroy(&cut);
    tm_arena_deinit(&scratch);
    return code;
}

tm_code tm_prune_refine(tm_pruner *p, tm_prune_repair *io) {
    tm_pruned whole;
    int count = (int)p->readers.count, repaired = 0;
    for (int r = 0; r < count; r++)
        repaired += io->matrices[r] != NULL;
    int each = (repaired + GROUPS - 1) / GROUPS;
    tm_code code = repaired > 0 ? tm_pruned_create(p, &whole) : TM_OK;
    for (int from = 0, to = 0; code == TM_OK && repaired > 0 && from < count; from = to) {
        int64_t bytes = 0;
        int found = 0;
        for (to = from; to < count && found < each && bytes < MOST_BYTES; to++)
            if (io->matrices[to] != NULL) {
                bytes += io->rows[to] * (io->rows[to] * 4 + p->readers.items[to].n * 8);
                found++;
            }
        if (found > 0)
            code = refine_group(p, &whole, from, to, io);
    }
    if (repaired > 0)
        tm_pruned_destroy(&whole);
    return code;
}
