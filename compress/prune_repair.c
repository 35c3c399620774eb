/* SPDX-License-Identifier: Apache-2.0
 *
 * prune_repair.c: the weights that remain make up for those that went, by least squares over the samples:
 *
 *     minimise |x W - x_S V|^2 + ridge |V - W_S|^2        S: what stays of the inputs
 *     V = (H_SS + ridge)^-1 (H_S: W + ridge W_S)
 *
 * With moments about the mean, what is constant goes into the bias: m W - m_S V.
 */
#include "compress/prune.h"

#include "ir/infer.h"
#include "quantize/algebra.h"

#include <math.h>
#include <string.h>

#define ROOM ((int64_t)96 << 20)

/* Rows of the reader that stay. */
static int64_t kept_rows(const tm_prune_reader *reader, const bool *gone, int64_t *out) {
    int64_t rows = 0;
    for (int64_t c = 0; c < reader->k / reader->taps; c++)
        for (int64_t t = 0; t < reader->taps && !gone[reader->class_of[c]]; t++)
            out[rows++] = c * reader->taps + t;
    return rows;
}

static void pick_rows(const double *from, int64_t step, const int64_t *rows, int64_t count, double *to) {
    for (int64_t i = 0; i < count; i++)
        memcpy(to + i * step, from + rows[i] * step, sizeof(double) * (size_t)step);
}

/* Solves for one reader; NULL matrix: it stays as it was cut. */
static void repair_reader(tm_pruner *p, tm_arena *arena, tm_arena *scratch, int number, const tm_node *node,
                          const bool *gone, tm_moments *moments, const void *argument,
                          tm_prune_repair *out) {
    (void)argument;
    const tm_prune_reader *reader = &p->readers.items[number];
    int64_t k = reader->k, n = reader->n, *rows = TM_NEW_ARRAY(scratch, int64_t, k + 1);
    int64_t kept = kept_rows(reader, gone, rows);
    double *w = tm_prune_matrix(scratch, node, k, n), *h = moments->h, ridge = 0, lost = 0;
    double *full = TM_NEW_ARRAY(scratch, double, kept *k),
           *square = TM_NEW_ARRAY(scratch, double, kept *kept);
    double *right = TM_NEW_ARRAY(scratch, double, kept *n), *v = TM_NEW_ARRAY(arena, double, kept *n);
    tm_prune_damp(h, k, 0);
    for (int64_t i = 0; i < k; i++)
        ridge += p->options->ridge * h[i * k + i] / (double)k;
    ridge += 1e-20;
    pick_rows(h, k, rows, kept, full);
    for (int64_t i = 0; i < kept; i++) {
        for (int64_t j = 0; j < kept; j++)
            square[i * kept + j] = full[i * k + rows[j]] + (i == j ? ridge : 0);
        memcpy(right + i * n, w + rows[i] * n, sizeof(double) * (size_t)n);
    }
    tm_algebra_multiply(right, n, full, k, w, n, kept, n, k, 1, ridge);
    if (!tm_prune_invert(scratch, square, kept))
        return;
    tm_algebra_multiply(v, n, square, kept, right, n, kept, n, kept, 1, 0);
    double *change = tm_arena_copy(scratch, w, sizeof(double) * (size_t)(k * n));
    for (int64_t i = 0; i < kept; i++)
        for (int64_t j = 0; j < n; j++)
            change[rows[i] * n + j] -= v[i * n + j];
    double *product = TM_NEW_ARRAY(scratch, double, k *n);
    tm_algebra_multiply(product, n, h, k, change, n, k, n, k, 1, 0);
    for (int64_t i = 0; i < k * n; i++)
        lost += product[i] * change[i];
    out->errors[number] = lost / fmax(reader->energy, 1e-30);
    out->matrices[number] = v;
    out->rows[number] = kept;
    if (!reader->has_bias)
        return;
    out->shifts[number] = TM_NEW_ARRAY(arena, double, n);
    tm_algebra_multiply(out->shifts[number], n, moments->mean, k, change, n, 1, n, k, 1, 0);
}

/* One pass over the samples, for the readers that are wanted. */
static tm_code visit_some(tm_pruner *p, tm_arena *arena, const bool *wanted, tm_prune_visit visit,
                          const void *argument, tm_prune_repair *out) {
    tm_arena scratch;
    tm_pruned pruned;
    tm_arena_init(&scratch);
    tm_quantize_borrow_recovery(&p->q, &scratch);
    tm_moments *moments = TM_NEW_ARRAY(&scratch, tm_moments, p->readers.count);
    tm_code code = tm_prune_collect(p, &scratch, wanted, moments);
    if (code == TM_OK) {
        code = tm_pruned_create(p, &pruned);
        const bool *gone = code == TM_OK ? tm_prune_gone(p, &scratch, &pruned.slices) : NULL;
        for (size_t r = 0; code == TM_OK && r < p->readers.count; r++)
            if (wanted[r] && moments[r].rows > 0)
                visit(p, arena, &scratch, (int)r, pruned.slices.sinks.items[p->readers.items[r].sink].node,
                      gone, &moments[r], argument, out);
        tm_pruned_destroy(&pruned);
    }
    tm_arena_deinit(&scratch);
    return code;
}

tm_code tm_prune_each_reader(tm_pruner *p, tm_arena *arena,
                             bool (*takes)(const tm_pruner *, const tm_prune_reader *), tm_prune_visit visit,
                             const void *argument, tm_prune_repair *out) {
    size_t count = p->readers.count;
    bool *wanted = TM_NEW_ARRAY(arena, bool, count + 1);
    for (size_t at = 0; at < count;) {
        int64_t left = ROOM;
        bool any = false;
        memset(wanted, 0, sizeof(bool) * count);
        for (; at < count; at++) {
            const tm_prune_reader *reader = &p->readers.items[at];
            int64_t bytes = reader->k * reader->k * 4;
            if (!takes(p, reader))
                continue;
            if (any && bytes > left)
                break;
            left -= bytes;
            wanted[at] = any = true;
        }
        if (any)
            TM_TRY(visit_some(p, arena, wanted, visit, argument, out));
    }
    return TM_OK;
}

void tm_prune_repair_init(const tm_pruner *p, tm_arena *arena, tm_prune_repair *out) {
    size_t count = p->readers.count;
    *out = (tm_prune_repair){.matrices = TM_NEW_ARRAY(arena, double *, count + 1),
                             .rows = TM_NEW_ARRAY(arena, int64_t, count + 1),
                             .shifts = TM_NEW_ARRAY(arena, double *, count + 1),
                             .errors = TM_NEW_ARRAY(arena, double, count + 1)};
    for (size_t r = 0; r < count; r++)
        out->errors[r] = -1;
}

static bool is_cut(const tm_pruner *p, const tm_prune_reader *reader) {
    const tm_prune_axis *axis = &p->axes.items[reader->axis];
    return axis->gone != 0 && !axis->is_rank && !tm_prune_is_gone(p, reader);
}

tm_code tm_prune_find_repair(tm_pruner *p, tm_arena *arena, tm_prune_repair *out) {
    tm_prune_repair_init(p, arena, out);
    if (p->options->repair)
        TM_TRY(tm_prune_each_reader(p, arena, is_cut, repair_reader, NULL, out));
    return tm_prune_refine(p, out);
}

/* ---- into a model ---- */

/* Which columns of a reader's weights stay, whose axis may be cut too. */
static int64_t kept_columns(const tm_slices *s, const bool *gone, const tm_node *node, int64_t n,
                            int64_t *out) {
    const tm_value *w = node->inputs[1];
    int axis = node->op == TM_OP_MatMul || (node->op == TM_OP_Gemm && tm_node_int(node, "transB") == 0);
    int32_t first = tm_slices_first(s, w, axis);
    int64_t count = 0;
    for (int64_t j = 0; j < n; j++)
        if (first == 0 || !gone[tm_slices_class(s, first + (int32_t)j)])
            out[count++] = j;
    return count;
}

typedef struct columns {
    int64_t *list, count;
} columns;

static void set_reader(tm_node *node, tm_arena *arena, const double *matrix, const double *shift, int64_t k,
                       int64_t n, const columns *kept) {
    double *picked = TM_NEW_ARRAY(arena, double, k * kept->count + 1);
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < kept->count; j++)
            picked[i * kept->count + j] = matrix[i * n + kept->list[j]];
    tm_prune_set_matrix(node, picked, k, kept->count);
    tm_node *holder;
    int index;
    tm_value *bias = tm_prune_bias(node, &holder, &index);
    if (shift == NULL || bias == NULL || tm_constant_count(bias->constant) != kept->count)
        return;
    tm_arena *model = node->graph->model->arena;
    float *data = tm_arena_copy(model, bias->constant->data, sizeof(float) * (size_t)kept->count);
    for (int64_t j = 0; j < kept->count; j++)
        data[j] += (float)shift[kept->list[j]];
    tm_node_set_input(
        holder, index,
        tm_value_create_constant(node->graph, bias->name,
                                 tm_constant_create(model, TAMIS_TYPE_FLOAT, 1, bias->constant->dims, data)));
}

tm_code tm_prune_apply(const tm_pruner *p, tm_pruned *pruned, const tm_prune_repair *repair) {
    tm_arena *scratch = pruned->slices.arena;
    const tm_slices *s = &pruned->slices;
    bool *gone = tm_prune_gone(p, scratch, s);
    columns *kept = TM_NEW_ARRAY(scratch, columns, p->readers.count + 1);
    for (size_t r = 0; r < p->readers.count; r++) {
        const tm_prune_reader *reader = &p->readers.items[r];
        kept[r].list = TM_NEW_ARRAY(scratch, int64_t, reader->n + 1);
        kept[r].count = kept_columns(s, gone, s->sinks.items[reader->sink].node, reader->n, kept[r].list);
    }
    TM_TRY(tm_slices_cut(s, gone));
    for (size_t r = 0; repair != NULL && r < p->readers.count; r++) {
        tm_node *node = s->sinks.items[p->readers.items[r].sink].node;
        int64_t count = tm_constant_count(node->inputs[1]->constant);
        if (repair->matrices[r] != NULL && kept[r].count > 0)
            set_reader(node, scratch, repair->matrices[r], repair->shifts[r], count / kept[r].count,
                       p->readers.items[r].n, &kept[r]);
    }
    TM_TRY(tm_low_rank_apply(p, pruned));
    tm_prune_drop_blocks(p, pruned);
    return tm_infer(pruned->loaded.model);
}
