/* SPDX-License-Identifier: Apache-2.0
 *
 * sparse_prune.c: zeros within the weights of products, singly or in blocks of 4 terms of a column.
 *
 * As rounding by second moments does (quantize/gptq.c), one row of weights after the other is dealt with, and
 * what a weight that becomes zero would have added is put into the rows below, as the moments of the inputs
 * say:
 *
 *     U^T U = H^-1, U upper triangular        loss of w_ij: w_ij^2 / U_ii^2
 *     e = w_ij / U_ii                         w_kj -= e * U_ik for k > i
 *
 * Which ones go is decided for a group of rows at a time: those blocks of the group with the least loss, as
 * many as the share asks for. A block of 4 terms is what one step of a product of bytes reads.
 *
 * A share that is over the budget is refused; the largest within it, found by halving, takes its place.
 */
#include "compress/prune.h"

#include "quantize/algebra.h"

#include <math.h>
#include <stdlib.h>

#define GROUP 128
#define MOST_TERMS 6144
#define TURNS 4

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

/* Marks blocks of the rows [from, to) that go: by block and column. */
static void choose_blocks(tm_arena *scratch, const float *w, const double *u, int64_t k, int64_t n,
                          int64_t from, int64_t to, int64_t block, double share, bool *gone) {
    int64_t blocks = (to - from + block - 1) / block, count = blocks * n;
    float *losses = TM_NEW_ARRAY(scratch, float, count), *sorted;
    for (int64_t i = from; i < to; i++) {
        float scale = (float)(1 / (u[i * k + i] * u[i * k + i]));
        for (int64_t j = 0; j < n; j++)
            losses[(i - from) / block * n + j] += w[i * n + j] * w[i * n + j] * scale;
    }
    sorted = tm_arena_copy(scratch, losses, sizeof(float) * (size_t)count);
    qsort(sorted, (size_t)count, sizeof *sorted, by_size);
    int64_t wanted = (int64_t)(share * (double)count + 0.5), taken = 0;
    float limit = wanted > 0 ? sorted[wanted - 1] : -1;
    for (int64_t i = 0; i < count; i++) {
        gone[i] = losses[i] < limit;
        taken += gone[i];
    }
    for (int64_t i = 0; i < count && taken < wanted; i++) /* of those that lose as much as the last one */
        if (!gone[i] && losses[i] <= limit) {
            gone[i] = true;
            taken++;
        }
}

/* Rows [from, to): zeros, and losses over U_ii in `errors` [GROUP, n]. */
static void clear_group(float *w, const double *u, int64_t k, int64_t n, int64_t from, int64_t to,
                        int64_t block, const bool *gone, float *errors) {
    for (int64_t i = from; i < to; i++) {
        float *row = w + i * n, *e = errors + (i - from) * n;
        const bool *mask = gone + (i - from) / block * n;
        for (int64_t j = 0; j < n; j++) {
            e[j] = mask[j] ? row[j] / (float)u[i * k + i] : 0;
            row[j] = mask[j] ? 0 : row[j];
        }
        for (int64_t below = i + 1; below < to; below++)
            for (int64_t j = 0; j < n; j++)
                w[below * n + j] -= e[j] * (float)u[i * k + below];
    }
}

/* False: the moments are of no use. `h`: damped, all of it; it becomes U. */
static bool sparsen(tm_arena *scratch, float *w, double *h, int64_t k, int64_t n, int64_t block,
                    double share) {
    if (!tm_algebra_inverse_factor(h, k))
        return false;
    float *errors = TM_NEW_ARRAY(scratch, float, GROUP *n), *rows = TM_NEW_ARRAY(scratch, float, GROUP *k);
    bool *gone = TM_NEW_ARRAY(scratch, bool, GROUP *n);
    for (int64_t i = 0; i < k; i++)
        if (!(h[i * k + i] > 0 && isfinite(h[i * k + i])))
            return false;
    for (int64_t from = 0; from < k; from += GROUP) {
        int64_t to = from + GROUP < k ? from + GROUP : k;
        choose_blocks(scratch, w, h, k, n, from, to, block, share, gone);
        clear_group(w, h, k, n, from, to, block, gone, errors);
        for (int64_t i = from; i < to; i++)
            for (int64_t j = to; j < k; j++)
                rows[(i - from) * (k - to) + j - to] = (float)h[i * k + j];
        if (to < k)
            tm_algebra_subtract_product(w + to * n, rows, errors, k - to, n, to - from, k - to);
    }
    return true;
}

static void sparsen_reader(tm_pruner *p, tm_arena *arena, tm_arena *scratch, int number, const tm_node *node,
                           const bool *gone, tm_moments *moments, const void *share, tm_prune_repair *out) {
    (void)gone;
    const tm_prune_reader *reader = &p->readers.items[number];
    int64_t k = reader->k, n = reader->n;
    double *matrix = tm_prune_matrix(arena, node, k, n);
    float *w = TM_NEW_ARRAY(scratch, float, k *n);
    for (int64_t i = 0; i < k * n; i++)
        w[i] = (float)matrix[i];
    tm_prune_damp(moments->h, k, fmax(p->options->ridge, 1e-4));
    if (!sparsen(scratch, w, moments->h, k, n, p->options->block, *(const double *)share))
        return;
    for (int64_t i = 0; i < k * n; i++)
        matrix[i] = (double)w[i];
    out->matrices[number] = matrix;
    out->rows[number] = k;
}

static bool is_fit(const tm_pruner *p, const tm_prune_reader *reader) {
    return !p->axes.items[reader->axis].unfit && reader->k <= MOST_TERMS;
}

static tm_code try_share(tm_pruner *p, tm_arena *arena, double share, tm_prune_repair *repair,
                         tm_divergence *out, tm_divergence *out_held_out, double *out_use) {
    tm_prune_repair_init(p, arena, repair);
    TM_TRY(tm_prune_each_reader(p, arena, is_fit, sparsen_reader, &share, repair));
    TM_TRY(tm_prune_measure(p, repair, 0, out, out_held_out, NULL, NULL));
    *out_use = tm_prune_use(p->q.options, out, out_held_out);
    return TM_OK;
}

tm_code tm_sparse_choose(tm_pruner *p, tm_prune_repair *repair, tm_compress_report *report) {
    double share = p->options->amount, use = 0, low = 0, high = share;
    tm_arena *arena = p->q.arena;
    TM_TRY(try_share(p, arena, share, repair, &report->whole, &report->held_out, &use));
    report->budget_met = use <= p->room;
    report->sparsity = share;
    if (use <= p->room) {
        report->budget = use > 0 ? tm_arena_format(arena, "met: %.0f %% of it is used", use * 100) : NULL;
        return TM_OK;
    }
    const char *asked = tm_prune_figures(arena, &report->whole, &report->held_out);
    report->whole = report->held_out = (tm_divergence){0};
    tm_prune_repair_init(p, arena, repair);
    report->sparsity = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        tm_prune_repair next;
        tm_divergence d, held_out;
        TM_TRY(try_share(p, arena, (low + high) / 2, &next, &d, &held_out, &use));
        if (use > p->room) {
            high = (low + high) / 2;
            continue;
        }
        low = report->sparsity = (low + high) / 2;
        *repair = next;
        report->whole = d;
        report->held_out = held_out;
        report->budget_met = true;
    }
    report->budget = low > 0 ? "met" : "met by the model as it was";
    report->refused =
        tm_arena_format(arena, "the goal is over the budget with %.0f %% zeros: %s. Within it: %.0f %%",
                        share * 100, asked, low * 100);
    return TM_OK;
}
