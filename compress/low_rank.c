/* SPDX-License-Identifier: Apache-2.0
 *
 * low_rank.c: a product by one matrix as two by thin ones.
 *
 *     %y = MatMul(%x, %W)     ->     %t = MatMul(%x, %A)  %y = MatMul(%t, %B)      A [k, r], B [r, n]
 *
 * Of all matrices of rank r, A B is the one that changes the layer's outputs the least on the samples: not W
 * but H^(1/2) W is cut off at its r largest singular values, H the moments of the inputs. Whichever side is
 * smaller:
 *
 *     n < k     v: eigenvectors of W^T H W                   A = W v      B = v^T
 *     else      z: eigenvectors of (W W^T) H, z^T H z = 1    A = z        B = z^T H W
 *
 * What a rank loses is the sum of the eigenvalues left out. The rank is an axis like others: measured at
 * about half of the flops, and chosen by time saved per harm. Two products that are no cheaper are no step.
 */
#include "compress/prune.h"

#include "passes/match.h"
#include "quantize/algebra.h"

#include <math.h>

void tm_low_rank_add(tm_pruner *p, int number, const tm_node *node) {
    tm_prune_reader *reader = &p->readers.items[number];
    const char *name = node->name != NULL && node->name[0] != 0 ? node->name : node->outputs[0]->name;
    int64_t rank = reader->k < reader->n ? reader->k : reader->n;
    tm_prune_axis axis = {.name = tm_arena_string(p->q.arena, name),
                          .axis_class = -1,
                          .count = (int)rank,
                          .channels = 1,
                          .is_rank = true,
                          .reader = number,
                          .harm = -1,
                          .use = -1};
    axis.unfit = node->op == TM_OP_Conv || tm_prune_keeps(p->options, axis.name);
    reader->axis = (int)p->axes.count;
    tm_push(p->q.arena, &p->axes, axis);
}

/* Eigenvectors are rows of `vectors`, ascending: the last is the most important. */
static void keep_factors(tm_pruner *p, tm_prune_axis *axis, const double *left, const double *right,
                         const double *values) {
    tm_prune_reader *reader = &p->readers.items[axis->reader];
    int64_t k = reader->k, n = reader->n, rank = axis->count;
    reader->left = TM_NEW_ARRAY(p->q.arena, float, k *rank);
    reader->right = TM_NEW_ARRAY(p->q.arena, float, rank *n);
    for (int64_t r = 0; r < rank; r++) {
        int64_t from = rank - 1 - r;
        for (int64_t i = 0; i < k; i++)
            reader->left[i * rank + r] = (float)left[i * rank + from];
        for (int64_t j = 0; j < n; j++)
            reader->right[r * n + j] = (float)right[from * n + j];
        axis->errors[r + 1] = axis->errors[r] + fmax(values[r], 0) / fmax(reader->energy, 1e-30);
    }
}

static double *transposed(tm_arena *scratch, const double *x, int64_t rows, int64_t columns) {
    double *y = TM_NEW_ARRAY(scratch, double, rows *columns);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            y[j * rows + i] = x[i * columns + j];
    return y;
}

void tm_low_rank_order(tm_pruner *p, tm_arena *scratch, tm_prune_axis *axis, double *h, const double *w) {
    const tm_prune_reader *reader = &p->readers.items[axis->reader];
    int64_t k = reader->k, n = reader->n, rank = axis->count;
    double *hw = TM_NEW_ARRAY(scratch, double, k *n), *square = TM_NEW_ARRAY(scratch, double, rank *rank);
    double *values = TM_NEW_ARRAY(scratch, double, rank), *turned = transposed(scratch, w, k, n);
    tm_algebra_multiply(hw, n, h, k, w, n, k, n, k, 1, 0);
    if (n < k) {
        double *left = TM_NEW_ARRAY(scratch, double, k *n);
        tm_algebra_multiply(square, n, turned, k, hw, n, n, n, k, 1, 0);
        axis->unfit = !tm_algebra_eigen(scratch, square, NULL, n, values);
        if (axis->unfit)
            return;
        tm_algebra_multiply(left, n, w, n, transposed(scratch, square, n, n), n, k, n, n, 1, 0);
        keep_factors(p, axis, left, square, values);
        return;
    }
    double *right = TM_NEW_ARRAY(scratch, double, k *n);
    tm_algebra_multiply(square, k, w, n, turned, k, k, k, n, 1, 0);
    axis->unfit = !tm_algebra_eigen(scratch, square, h, k, values);
    if (axis->unfit)
        return;
    tm_algebra_multiply(right, n, square, k, hw, n, k, n, k, 1, 0);
    keep_factors(p, axis, transposed(scratch, square, k, k), right, values);
}

static int64_t rank_of(const tm_prune_axis *axis, int gone) {
    return axis->count - gone;
}

double tm_low_rank_share(const tm_pruner *p, const tm_prune_axis *axis, int gone) {
    const tm_prune_reader *reader = &p->readers.items[axis->reader];
    double k = (double)reader->k, n = (double)reader->n;
    return gone == 0 ? 1 : (double)rank_of(axis, gone) * (k + n) / (k * n);
}

int tm_low_rank_next(const tm_pruner *p, const tm_prune_axis *axis, int gone) {
    int64_t step = 1, rank = rank_of(axis, gone);
    while (step < p->options->multiple && step * 8 <= axis->count)
        step *= 2;
    rank -= rank % step != 0 ? rank % step : step;
    while (rank > 0 && tm_low_rank_share(p, axis, axis->count - (int)rank) > 0.9)
        rank -= step;
    return rank > 0 ? axis->count - (int)rank : -1;
}

static tm_value *part_of(tm_model *model, const char *name, const float *from, int64_t rows, int64_t columns,
                         int64_t step) {
    float *data = TM_NEW_ARRAY(model->arena, float, rows *columns);
    int64_t *dims = TM_NEW_ARRAY(model->arena, int64_t, 2);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            data[i * columns + j] = from[i * step + j];
    dims[0] = rows;
    dims[1] = columns;
    return tm_value_create_constant(model->main, name,
                                    tm_constant_create(model->arena, TAMIS_TYPE_FLOAT, 2, dims, data));
}

tm_code tm_low_rank_apply(const tm_pruner *p, const tm_pruned *pruned) {
    tm_model *model = pruned->loaded.model;
    for (size_t i = 0; i < p->axes.count; i++) {
        const tm_prune_axis *axis = &p->axes.items[i];
        if (!axis->is_rank || axis->gone == 0)
            continue;
        const tm_prune_reader *reader = &p->readers.items[axis->reader];
        tm_node *node = pruned->slices.sinks.items[reader->sink].node;
        int64_t rank = rank_of(axis, axis->gone);
        tm_value *left = part_of(model, node->inputs[1]->name, reader->left, reader->k, rank, axis->count),
                 *thin;
        tm_value *right = part_of(model, node->inputs[1]->name, reader->right, rank, reader->n, reader->n);
        TM_TRY(tm_match_make_pair(node, TM_OP_MatMul, node->inputs[0], left, &thin));
        tm_node_set_input(node, 0, thin);
        tm_node_set_input(node, 1, right);
        if (node->op == TM_OP_Gemm)
            tm_node_set_int(node, "transB", 0);
    }
    return TM_OK;
}
