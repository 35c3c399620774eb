/* SPDX-License-Identifier: Apache-2.0
 *
 * prune_order.c: in which order the slices of an axis go, and what is lost on the way.
 *
 * What a product loses without some rows A of its weights, when all other rows make up for them as well as
 * they can (least squares, H the moments of the inputs, G = (H + ridge)^-1):
 *
 *     loss = tr(W_A^T (G_AA)^-1 W_A)        W -= G_:A (G_AA)^-1 W_A        G -= G_:A (G_AA)^-1 G_A:
 *
 * So the class with the least loss goes, the others are corrected, and so on: two channels that say the same
 * are not both taken for needless. Of many channels some go at a time, a 32nd of those that are left. Losses
 * are shares of the energy of the readers' outputs; of several readers they are added.
 *
 * The moments of all axes do not fit into memory at once, so there are as many walks over the samples as
 * needed.
 */
#include "compress/prune.h"

#include "quantize/algebra.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROOM ((int64_t)96 << 20) /* bytes of single-precision moments at once */
#define MOST_TERMS 6144          /* of a sum; an axis with a longer one stays whole */
#define AT_ONCE 32

typedef struct elimination {
    const tm_prune_reader *reader;
    const tm_node *node;
    double *g, *w; /* [k, k], [k, n] */
    const double *mean;
    double weight;
} elimination;

static double energy_of(tm_arena *scratch, const double *h, const double *w, int64_t k, int64_t n) {
    double *hw = TM_NEW_ARRAY(scratch, double, k *n), energy = 0;
    tm_algebra_multiply(hw, n, h, k, w, n, k, n, k, 1, 0);
    for (int64_t i = 0; i < k * n; i++)
        energy += hw[i] * w[i];
    return energy;
}

void tm_prune_damp(double *h, int64_t k, double ridge) {
    double mean = 0;
    for (int64_t i = 0; i < k; i++) {
        mean += h[i * k + i] / (double)k;
        for (int64_t j = 0; j < i; j++)
            h[i * k + j] = h[j * k + i];
    }
    for (int64_t i = 0; i < k; i++)
        h[i * k + i] += ridge * mean + 1e-20;
}

bool tm_prune_invert(tm_arena *scratch, double *h, int64_t k) {
    double *copy = tm_arena_copy(scratch, h, sizeof(double) * (size_t)(k * k));
    for (double ridge = 0; ridge < 100; ridge = ridge > 0 ? ridge * 10 : 1e-7) {
        memcpy(h, copy, sizeof(double) * (size_t)(k * k));
        tm_prune_damp(h, k, ridge);
        bool fine = tm_algebra_invert(h, k);
        for (int64_t i = 0; fine && i < k; i++) /* LAPACK need not notice what is no number */
            fine = isfinite(h[i * k + i]) && h[i * k + i] > 0;
        if (fine)
            return true;
    }
    return false;
}

static void find_mean_output(tm_pruner *p, tm_prune_reader *reader, tm_node *node, const elimination *e) {
    tm_node *holder;
    int index;
    const tm_value *bias = tm_prune_bias(node, &holder, &index);
    reader->mean_output = TM_NEW_ARRAY(p->q.arena, double, reader->n);
    tm_algebra_multiply(reader->mean_output, reader->n, e->mean, reader->k, e->w, reader->n, 1, reader->n,
                        reader->k, 1, 0);
    for (int64_t j = 0; bias != NULL && j < reader->n; j++)
        reader->mean_output[j] += (double)((const float *)bias->constant->data)[j];
}

/* False: the moments are of no use. */
static bool open_reader(tm_pruner *p, tm_arena *scratch, const tm_pruned *pruned, tm_prune_reader *reader,
                        tm_moments *moments, elimination *e) {
    int64_t k = reader->k;
    tm_node *node = pruned->slices.sinks.items[reader->sink].node;
    *e = (elimination){.reader = reader, .node = node, .g = moments->h, .mean = moments->mean};
    e->w = tm_prune_matrix(scratch, node, k, reader->n);
    find_mean_output(p, reader, node, e);
    tm_prune_damp(e->g, k, 0);
    reader->energy = energy_of(scratch, e->g, e->w, k, reader->n);
    tm_prune_damp(e->g, k, p->options->ridge);
    if (p->axes.items[reader->axis].is_rank)
        return moments->rows > 0 && isfinite(reader->energy);
    e->weight = 1 / fmax(reader->energy, 1e-30);
    return moments->rows > 0 && isfinite(reader->energy) && tm_prune_invert(scratch, e->g, k);
}

/* Rows of the reader that belong to the classes. */
static int64_t rows_of(const tm_prune_reader *reader, const int32_t *classes, int count, int64_t *out) {
    int64_t rows = 0;
    for (int64_t c = 0; c < reader->k / reader->taps; c++)
        for (int i = 0; i < count; i++)
            if (reader->class_of[c] == classes[i]) {
                for (int64_t t = 0; t < reader->taps; t++)
                    out[rows++] = c * reader->taps + t;
                break;
            }
    return rows;
}

/* The inverse of G_AA; NULL when it has none. */
static double *block_inverse(tm_arena *scratch, const elimination *e, const int64_t *rows, int64_t count) {
    int64_t k = e->reader->k;
    double *block = TM_NEW_ARRAY(scratch, double, count *count + 1);
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < count; j++)
            block[i * count + j] = e->g[rows[i] * k + rows[j]];
    return tm_algebra_invert(block, count) ? block : NULL;
}

/* tr(W_A^T B W_A) and B W_A. */
static double loss_of(tm_arena *scratch, const elimination *e, const int64_t *rows, int64_t count,
                      const double *block, double **out_part) {
    int64_t n = e->reader->n;
    double *w = TM_NEW_ARRAY(scratch, double, count *n + 1),
           *part = TM_NEW_ARRAY(scratch, double, count *n + 1);
    double loss = 0;
    for (int64_t i = 0; i < count; i++)
        memcpy(w + i * n, e->w + rows[i] * n, sizeof(double) * (size_t)n);
    tm_algebra_multiply(part, n, block, count, w, n, count, n, count, 1, 0);
    for (int64_t i = 0; i < count * n; i++)
        loss += w[i] * part[i];
    *out_part = part;
    return loss;
}

/* Of one class alone. A class of a single row needs no matrices. */
static double score_of(const tm_pruner *p, const elimination *e, int32_t class) {
    tm_arena scratch;
    tm_arena_init(&scratch);
    tm_quantize_borrow_recovery(&p->q, &scratch);
    int64_t *rows = TM_NEW_ARRAY(&scratch, int64_t, e->reader->k + 1), n = e->reader->n;
    int64_t count = rows_of(e->reader, &class, 1, rows);
    double loss = 0, *part;
    if (count == 1) {
        for (int64_t j = 0; j < n; j++)
            loss += e->w[rows[0] * n + j] * e->w[rows[0] * n + j];
        loss /= fmax(e->g[rows[0] * e->reader->k + rows[0]], 1e-30);
    } else if (count > 1) {
        double *block = block_inverse(&scratch, e, rows, count);
        loss = block != NULL ? loss_of(&scratch, e, rows, count, block, &part) : 0;
    }
    tm_arena_deinit(&scratch);
    return loss * e->weight;
}

/* Takes the classes out of a reader; the share of energy that is lost. */
static double eliminate(const tm_pruner *p, elimination *e, const int32_t *classes, int count) {
    tm_arena scratch;
    tm_arena_init(&scratch);
    tm_quantize_borrow_recovery(&p->q, &scratch);
    int64_t k = e->reader->k, n = e->reader->n;
    int64_t *rows = TM_NEW_ARRAY(&scratch, int64_t, k + 1), size = rows_of(e->reader, classes, count, rows);
    double *block = block_inverse(&scratch, e, rows, size), *part, loss = 0;
    if (size > 0 && block != NULL) {
        double *column = TM_NEW_ARRAY(&scratch, double, k *size),
               *row = TM_NEW_ARRAY(&scratch, double, size *k);
        double *scaled = TM_NEW_ARRAY(&scratch, double, k *size);
        loss = loss_of(&scratch, e, rows, size, block, &part);
        for (int64_t i = 0; i < size; i++)
            for (int64_t j = 0; j < k; j++)
                row[i * k + j] = column[j * size + i] = e->g[rows[i] * k + j];
        tm_algebra_multiply(e->w, n, column, size, part, n, k, n, size, -1, 1);
        tm_algebra_multiply(scaled, size, column, size, block, size, k, size, size, 1, 0);
        tm_algebra_multiply(e->g, k, scaled, size, row, k, k, k, size, -1, 1);
        for (int64_t i = 0; i < size; i++) { /* rounding leaves crumbs */
            memset(e->w + rows[i] * n, 0, sizeof(double) * (size_t)n);
            for (int64_t j = 0; j < k; j++)
                e->g[rows[i] * k + j] = e->g[j * k + rows[i]] = 0;
        }
    }
    tm_arena_deinit(&scratch);
    return loss * e->weight;
}

typedef struct ranked {
    double score;
    int32_t class;
} ranked;

static int by_score(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score ? -1 : 1) : x->class - y->class;
}

/* Keeps the weights as they are now, with about half of the axis gone: they are measured alone. */
static void keep_probe(const tm_pruner *p, const elimination *e, const int32_t *taken, int count) {
    const tm_prune_reader *reader = e->reader;
    int64_t k = reader->k, n = reader->n, kept = 0, number = reader - p->readers.items;
    tm_arena scratch;
    tm_arena_init(&scratch);
    tm_quantize_borrow_recovery(&p->q, &scratch);
    bool *gone = TM_NEW_ARRAY(&scratch, bool, k);
    int64_t *rows = TM_NEW_ARRAY(&scratch, int64_t, k + 1);
    for (int64_t i = 0, size = rows_of(reader, taken, count, rows); i < size; i++)
        gone[rows[i]] = true;
    double *matrix = TM_NEW_ARRAY(p->q.arena, double, k *n);
    double *shift = TM_NEW_ARRAY(p->q.arena, double, n), *old = tm_prune_matrix(&scratch, e->node, k, n);
    for (int64_t i = 0; i < k; i++) {
        for (int64_t j = 0; j < n; j++)
            shift[j] += e->mean[i] * (old[i * n + j] - (gone[i] ? 0 : e->w[i * n + j]));
        if (!gone[i])
            memcpy(matrix + kept++ * n, e->w + i * n, sizeof(double) * (size_t)n);
    }
    p->probes.matrices[number] = matrix;
    p->probes.shifts[number] = reader->has_bias ? shift : NULL;
    tm_arena_deinit(&scratch);
}

static void order_axis(const tm_pruner *p, tm_prune_axis *axis, elimination *readers, int reader_count) {
    tm_arena scratch;
    tm_arena_init(&scratch);
    tm_quantize_borrow_recovery(&p->q, &scratch);
    ranked *left = TM_NEW_ARRAY(&scratch, ranked, axis->count + 1);
    int32_t *taken = TM_NEW_ARRAY(&scratch, int32_t, axis->count + 1);
    int count = axis->count, gone = 0;
    for (int i = 0; i < count; i++)
        left[i].class = axis->classes[i];
    while (count > 0) {
        for (int i = 0; i < count; i++) {
            left[i].score = 0;
            for (int r = 0; r < reader_count; r++)
                left[i].score += score_of(p, &readers[r], left[i].class);
        }
        qsort(left, (size_t)count, sizeof *left, by_score);
        int batch = count / AT_ONCE > 1 ? count / AT_ONCE : 1;
        batch = gone < axis->probe && gone + batch > axis->probe ? axis->probe - gone : batch;
        double loss = 0;
        for (int i = 0; i < batch; i++)
            taken[i] = axis->classes[gone + i] = left[i].class;
        for (int r = 0; r < reader_count; r++)
            loss += eliminate(p, &readers[r], taken, batch);
        for (int i = 0; i < batch; i++, gone++)
            axis->errors[gone + 1] = axis->errors[gone] + loss / batch / reader_count;
        for (int r = 0; r < reader_count && gone == axis->probe && p->options->repair; r++)
            keep_probe(p, &readers[r], axis->classes, gone);
        memmove(left, left + batch, sizeof *left * (size_t)(count - batch));
        count -= batch;
    }
    tm_arena_deinit(&scratch);
}

static tm_code order_axes(tm_pruner *p, tm_arena *scratch, const int *axes, int count, tm_moments *moments) {
    tm_pruned pruned;
    tm_code code = tm_pruned_create(p, &pruned);
    for (int i = 0; code == TM_OK && i < count; i++) {
        tm_prune_axis *axis = &p->axes.items[axes[i]];
        elimination *readers = TM_NEW_ARRAY(scratch, elimination, p->readers.count);
        int found = 0;
        for (size_t r = 0; r < p->readers.count && !axis->unfit; r++)
            if (p->readers.items[r].axis == axes[i])
                axis->unfit =
                    !open_reader(p, scratch, &pruned, &p->readers.items[r], &moments[r], &readers[found++]);
        if (axis->errors == NULL)
            axis->errors = TM_NEW_ARRAY(p->q.arena, double, axis->count + 1);
        if (!axis->unfit && axis->is_rank)
            tm_low_rank_order(p, scratch, axis, readers[0].g, readers[0].w);
        else if (!axis->unfit)
            order_axis(p, axis, readers, found);
    }
    tm_pruned_destroy(&pruned);
    return code;
}

/* The next axes whose readers fit into the room. */
static int next_axes(tm_pruner *p, size_t *at, int *axes, bool *wanted) {
    int64_t left = ROOM;
    int count = 0;
    for (; *at < p->axes.count; (*at)++) {
        tm_prune_axis *axis = &p->axes.items[*at];
        int64_t bytes = 0;
        if (axis->is_block)
            continue;
        for (size_t r = 0; r < p->readers.count; r++) {
            const tm_prune_reader *reader = &p->readers.items[r];
            if (reader->axis != (int)*at)
                continue;
            axis->unfit = axis->unfit || reader->k > MOST_TERMS;
            bytes += axis->unfit ? 0 : reader->k * reader->k * 4;
        }
        if (axis->unfit)
            continue;
        if (count > 0 && bytes > left)
            break;
        left -= bytes;
        for (size_t r = 0; r < p->readers.count; r++)
            wanted[r] = wanted[r] || p->readers.items[r].axis == (int)*at;
        axes[count++] = (int)*at;
    }
    return count;
}

tm_code tm_prune_order(tm_pruner *p) {
    tm_code code = TM_OK;
    tm_prune_repair_init(p, p->q.arena, &p->probes);
    for (size_t at = 0; code == TM_OK && at < p->axes.count;) {
        tm_arena scratch;
        tm_arena_init(&scratch);
        tm_quantize_borrow_recovery(&p->q, &scratch);
        int *axes = TM_NEW_ARRAY(&scratch, int, p->axes.count);
        bool *wanted = TM_NEW_ARRAY(&scratch, bool, p->readers.count);
        tm_moments *moments = TM_NEW_ARRAY(&scratch, tm_moments, p->readers.count);
        int count = next_axes(p, &at, axes, wanted);
        if (count > 0)
            code = tm_prune_collect(p, &scratch, wanted, moments);
        if (count > 0 && code == TM_OK)
            code = order_axes(p, &scratch, axes, count, moments);
        tm_arena_deinit(&scratch);
    }
    return code;
}
