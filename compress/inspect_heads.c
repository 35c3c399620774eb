/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect_heads.c: heads of attentions, and channels between two products, by their weights alone.
 *
 * A head of an attention adds x V_h O_h to the stream, with weights softmax(x Q_h (x K_h)^T): what it can do
 * is in two matrices, V_h O_h and Q_h K_h^T, each of no higher rank than the head is wide. Their energies
 * (sums of squares) and the number of singular values that hold 99 % of them say which heads are weak or
 * narrow. For that no product is made: the squares of the singular values of A B are the eigenvalues of
 *
 *     D^(1/2) U^T (B B^T) U D^(1/2)        A^T A = U D U^T        [width, width]
 *
 * The products are found from the attention's operands back through views and constant factors, and forward
 * from its result. A channel's energy is |column of the first product|^2 |row of the second|^2.
 */
#include "compress/inspect.h"

#include "quantize/algebra.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FAR 24 /* nodes between a product and what it is for */

/* A product by constant weights, [k, n]; split: the last dim of the view that splits its columns, or -1. */
typedef struct linear {
    const tm_node *node;
    const float *data;
    int64_t k, n, k_step, n_step, split;
} linear;

static bool open_linear(const tm_node *node, linear *out) {
    if (node == NULL || (node->op != TM_OP_MatMul && node->op != TM_OP_Gemm))
        return false;
    const tm_value *w = node->inputs[1];
    if (w->constant == NULL || w->type != TAMIS_TYPE_FLOAT || w->rank != 2 ||
        (node->op == TM_OP_Gemm && tm_node_int(node, "transA") != 0))
        return false;
    bool turned = node->op == TM_OP_Gemm && tm_node_int(node, "transB") != 0;
    const int64_t *dims = w->constant->dims;
    *out = (linear){.node = node,
                    .data = w->constant->data,
                    .k = dims[turned],
                    .n = dims[!turned],
                    .k_step = turned ? 1 : dims[1],
                    .n_step = turned ? dims[1] : 1};
    return true;
}

static int64_t last_dim(const tm_value *value) {
    return value->rank > 0 && tm_dim_is_constant(value->dims[value->rank - 1])
               ? value->dims[value->rank - 1]->constant
               : -1;
}

static bool is_view(tm_op op) {
    return op == TM_OP_Transpose || op == TM_OP_Reshape || op == TM_OP_Identity || op == TM_OP_Dropout ||
           op == TM_OP_Cast || op == TM_OP_Squeeze || op == TM_OP_Unsqueeze || op == TM_OP_Expand;
}

/* What a walk back may pass besides views and arithmetic with constants. */
typedef enum walk {
    WALK_VIEWS,
    WALK_CURVES, /* activations; of a product of two (a gate) the first */
    WALK_SCORES  /* a softmax, masks that are added */
} walk;

/* The operand that the walk goes on with; NULL: it ends here. */
static const tm_value *operand_of(const tm_node *node, walk walk) {
    const tm_value *a = node->input_count > 0 ? node->inputs[0] : NULL;
    const tm_value *b = node->input_count > 1 ? node->inputs[1] : NULL;
    bool arithmetic = node->op == TM_OP_Add || node->op == TM_OP_Sub || node->op == TM_OP_Mul ||
                      node->op == TM_OP_Div;
    if (arithmetic && a->constant != NULL)
        return b;
    if (is_view(node->op) || (arithmetic && (b->constant != NULL || b->rank == 0)))
        return a;
    if (walk == WALK_CURVES)
        return node->op == TM_OP_Relu || node->op == TM_OP_Gelu || node->op == TM_OP_Erf ||
                       node->op == TM_OP_Tanh || node->op == TM_OP_Sigmoid || node->op == TM_OP_Pow ||
                       node->op == TM_OP_Mul
                   ? a
                   : NULL;
    if (walk == WALK_SCORES && node->op == TM_OP_Where)
        return a != NULL && node->inputs[1]->rank > 0 && node->inputs[1]->constant == NULL ? node->inputs[1]
                                                                                          : node->inputs[2];
    return walk == WALK_SCORES && (node->op == TM_OP_Softmax || node->op == TM_OP_Add) ? a : NULL;
}

/* The product that a value is a view of. */
static bool find_linear(const tm_value *value, walk walk, linear *out) {
    int64_t split = -1;
    for (int i = 0; i < FAR && value != NULL && value->producer != NULL; i++) {
        const tm_node *node = value->producer;
        if (open_linear(node, out)) {
            out->split = split;
            return true;
        }
        const tm_value *next = operand_of(node, walk);
        if (node->op == TM_OP_Reshape && next != NULL && last_dim(next) != last_dim(value))
            split = last_dim(value);
        value = next;
    }
    return false;
}

/* The only node that reads a value, besides those that ask for its shape; NULL: there are others. */
static const tm_node *user_of(const tm_value *value) {
    const tm_node *found = NULL;
    for (size_t i = 0; i < value->uses.count; i++) {
        const tm_node *node = value->uses.items[i].node;
        if (node != NULL && node->op == TM_OP_Shape)
            continue;
        if (node == NULL || (found != NULL && found != node))
            return NULL;
        found = node;
    }
    return found;
}

/* The product that reads a value through views alone. */
static bool find_reader(const tm_value *value, linear *out) {
    for (int i = 0; i < FAR; i++) {
        const tm_node *node = user_of(value);
        if (node == NULL)
            return false;
        if (open_linear(node, out))
            return node->inputs[0] == value;
        if (!is_view(node->op))
            return false;
        value = node->outputs[0];
    }
    return false;
}

/* ---- energies ---- */

/* A^T A of `width` columns from `from` on; or A A^T of so many rows. */
static void find_gram(tm_arena *scratch, const linear *a, bool rows, int64_t from, int64_t width,
                      double *out) {
    int64_t terms = rows ? a->n : a->k;
    int64_t step = rows ? a->k_step : a->n_step, along = rows ? a->n_step : a->k_step;
    double *part = TM_NEW_ARRAY(scratch, double, width *terms);
    double *turned = TM_NEW_ARRAY(scratch, double, width *terms);
    for (int64_t i = 0; i < width; i++)
        for (int64_t t = 0; t < terms; t++)
            part[i * terms + t] = turned[t * width + i] = (double)a->data[(from + i) * step + t * along];
    tm_algebra_multiply(out, width, part, terms, turned, width, width, width, terms, 1, 0);
}

/* Energy of the product of two matrices of these Gram matrices, and how many singular values hold 99 % of
 * it. */
static void find_product(tm_arena *scratch, double *a, const double *b, int64_t width, double *out_energy,
                         int64_t *out_rank) {
    double *values = TM_NEW_ARRAY(scratch, double, width);
    double *half = TM_NEW_ARRAY(scratch, double, width *width);
    double *turned = TM_NEW_ARRAY(scratch, double, width *width), sum = 0, total = 0;
    *out_energy = 0;
    *out_rank = -1;
    if (!tm_algebra_eigen(scratch, a, NULL, width, values))
        return;
    for (int64_t i = 0; i < width; i++)
        for (int64_t j = 0; j < width; j++)
            turned[j * width + i] = a[i * width + j] *= sqrt(fmax(values[i], 0));
    tm_algebra_multiply(half, width, a, width, b, width, width, width, width, 1, 0);
    tm_algebra_multiply(a, width, half, width, turned, width, width, width, width, 1, 0);
    if (!tm_algebra_eigen(scratch, a, NULL, width, values))
        return;
    for (int64_t i = 0; i < width; i++)
        total += fmax(values[i], 0);
    *out_rank = 0;
    for (int64_t i = width - 1; i >= 0 && sum < 0.99 * total; i--, (*out_rank)++)
        sum += fmax(values[i], 0);
    *out_energy = total;
}

static const char *name_of(tm_arena *arena, const tm_node *node) {
    return tm_arena_format(arena, "%s '%s'", tm_op_get(node->op)->name,
                           node->name != NULL && node->name[0] != 0 ? node->name : node->outputs[0]->name);
}

static void add_heads(tm_arena *arena, const linear *q, const linear *k, const linear *v, const linear *o,
                      int64_t heads, tm_inspect_report *report) {
    int64_t width = o->k / heads, wide = q->n / heads, shared = heads / (v->n / width);
    tm_arena scratch;
    tm_axis_inspection axis = {.name = name_of(arena, o->node), .slices = heads, .width = width};
    axis.energy = TM_NEW_ARRAY(arena, double, heads);
    axis.scores_energy = TM_NEW_ARRAY(arena, double, heads);
    axis.rank = TM_NEW_ARRAY(arena, int64_t, heads);
    axis.scores_rank = TM_NEW_ARRAY(arena, int64_t, heads);
    for (int64_t h = 0; h < heads; h++) {
        tm_arena_init(&scratch);
        memcpy(scratch.recovery, arena->recovery, sizeof scratch.recovery);
        scratch.has_recovery = arena->has_recovery;
        int64_t most = width > wide ? width : wide;
        double *a = TM_NEW_ARRAY(&scratch, double, most *most);
        double *b = TM_NEW_ARRAY(&scratch, double, most *most);
        find_gram(&scratch, v, false, h / shared * width, width, a);
        find_gram(&scratch, o, true, h * width, width, b);
        find_product(&scratch, a, b, width, &axis.energy[h], &axis.rank[h]);
        find_gram(&scratch, q, false, h * wide, wide, a);
        find_gram(&scratch, k, false, h / shared * wide, wide, b);
        find_product(&scratch, a, b, wide, &axis.scores_energy[h], &axis.scores_rank[h]);
        tm_arena_deinit(&scratch);
    }
    tm_push(arena, &report->axes, axis);
}

/* Columns are heads one after the other, if the view that splits them ends in a head's width. */
static bool fits(const linear *x, int64_t width) {
    return width > 0 && x->n % width == 0 && (x->split < 0 || x->split == width);
}

/* `heads`: -1: as the view of the values says. */
static void inspect_attention(tm_arena *arena, const tm_value *queries, const tm_value *keys,
                              const tm_value *values, const tm_value *result, int64_t heads,
                              tm_inspect_report *report) {
    linear q, k, v, o;
    if (!find_linear(queries, WALK_VIEWS, &q) || !find_linear(keys, WALK_VIEWS, &k) ||
        !find_linear(values, WALK_VIEWS, &v) || !find_reader(result, &o))
        return;
    if (heads < 0)
        heads = v.split > 0 ? o.k / v.split : -1;
    if (heads < 1 || o.k % heads != 0 || q.n % heads != 0)
        return;
    int64_t width = o.k / heads, wide = q.n / heads;
    if (!fits(&v, width) || !fits(&q, wide) || !fits(&k, wide) || heads % (v.n / width) != 0 ||
        k.n / wide != v.n / width)
        return;
    add_heads(arena, &q, &k, &v, &o, heads, report);
}

/* The product of queries and keys that a softmax is made of; NULL: there is none. */
static const tm_node *find_scores(const tm_value *value) {
    bool softmax = false;
    for (int i = 0; i < FAR && value != NULL && value->producer != NULL; i++) {
        const tm_node *node = value->producer;
        if (node->op == TM_OP_MatMul)
            return softmax && node->inputs[1]->constant == NULL ? node : NULL;
        softmax = softmax || node->op == TM_OP_Softmax;
        value = operand_of(node, WALK_SCORES);
    }
    return NULL;
}

/* ---- channels ---- */

static void inspect_channels(tm_arena *arena, const linear *down, tm_inspect_report *report) {
    linear up;
    if (!find_linear(down->node->inputs[0], WALK_CURVES, &up) || up.n != down->k || up.split >= 0)
        return;
    tm_axis_inspection axis = {.name = name_of(arena, down->node), .slices = down->k, .width = 1};
    axis.energy = TM_NEW_ARRAY(arena, double, down->k);
    for (int64_t c = 0; c < down->k; c++) {
        double in = 0, out = 0;
        for (int64_t i = 0; i < up.k; i++)
            in += pow((double)up.data[i * up.k_step + c * up.n_step], 2);
        for (int64_t j = 0; j < down->n; j++)
            out += pow((double)down->data[c * down->k_step + j * down->n_step], 2);
        axis.energy[c] = in * out;
    }
    tm_push(arena, &report->axes, axis);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* How many slices, the weakest first, have together no more than 1 % and 10 % of the energy. */
static void count_weak(tm_arena *arena, tm_axis_inspection *axis) {
    double *sorted = tm_arena_copy(arena, axis->energy, sizeof(double) * (size_t)axis->slices);
    double total = 0, sum = 0;
    qsort(sorted, (size_t)axis->slices, sizeof *sorted, ascending);
    for (int64_t i = 0; i < axis->slices; i++)
        total += sorted[i];
    for (int64_t i = 0; i < axis->slices; i++) {
        sum += sorted[i];
        axis->weak_1 += sum <= 0.01 * total;
        axis->weak_10 += sum <= 0.1 * total;
    }
    axis->total = total;
}

void tm_inspect_axes(tm_arena *arena, const tm_model *model, tm_inspect_report *report) {
    for (const tm_node *node = model->main->first; node != NULL; node = node->next) {
        linear product;
        if (node->op == TM_OP_Attention && node->output_count > 0) {
            bool said = tm_node_attribute(node, "q_num_heads")->present;
            inspect_attention(arena, node->inputs[0], node->inputs[1], node->inputs[2], node->outputs[0],
                              said ? tm_node_int(node, "q_num_heads") : -1, report);
        } else if (open_linear(node, &product)) {
            inspect_channels(arena, &product, report);
        } else if (node->op == TM_OP_MatMul) {
            const tm_node *first = find_scores(node->inputs[0]);
            if (first != NULL)
                inspect_attention(arena, first->inputs[0], first->inputs[1], node->inputs[1],
                                  node->outputs[0], -1, report);
        }
    }
    for (size_t i = 0; i < report->axes.count; i++)
        count_weak(arena, &report->axes.items[i]);
}
