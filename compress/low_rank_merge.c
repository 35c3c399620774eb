/* SPDX-License-Identifier: Apache-2.0
 *
 * low_rank_merge.c: adapters that stand beside a product are merged into it.
 *
 *     %y = MatMul(%x, %W) + scale * MatMul(MatMul(%x, %A), %B)      ->      %y = MatMul(%x, %W')
 *     W' = W + scale * A B
 *
 * LoRA is exported so when it was not merged before. Three products become one, and the thin ones, which run
 * far below the speed of the thick one, are gone; answers differ by rounding. It is done where the file gets
 * no larger than before: W is read by this product alone. Products of constants by constants fold elsewhere.
 */
#include "compress/prune.h"

#include "passes/match.h"

#include <string.h>

static bool is_matrix(const tm_value *value) {
    return value != NULL && value->constant != NULL && value->rank == 2 && value->type == TAMIS_TYPE_FLOAT;
}

static tm_node *product_of(const tm_value *value) {
    tm_node *node = value->producer;
    return node != NULL && node->op == TM_OP_MatMul && is_matrix(node->inputs[1]) &&
                   tm_value_single_user(value) != NULL
               ? node
               : NULL;
}

typedef struct adapter {
    tm_node *thick, *down, *up; /* MatMul by W, A, B */
    double scale;
} adapter;

/* scale * MatMul(MatMul(x, A), B); the scale may stand behind either product. */
static bool match_thin(tm_value *value, adapter *out) {
    tm_value *products[2] = {NULL, NULL};
    double number;
    out->scale = 1;
    for (int i = 0; i < 2; i++) {
        tm_node *node = value->producer;
        if (node != NULL && node->op == TM_OP_Mul && tm_value_single_user(value) != NULL) {
            int k = tm_match_number(node->inputs[0], &number) ? 1 : 0;
            if (!tm_match_number(node->inputs[1 - k], &number) || node->inputs[k]->rank != value->rank)
                return false;
            out->scale *= number;
            value = node->inputs[k];
        }
        node = product_of(value);
        if (node == NULL)
            return false;
        products[i] = value;
        value = node->inputs[0];
    }
    out->up = products[0]->producer;
    out->down = products[1]->producer;
    return true;
}

static bool match(const tm_node *add, adapter *out) {
    for (int i = 0; i < 2; i++) {
        out->thick = product_of(add->inputs[i]);
        if (out->thick == NULL || !match_thin(add->inputs[1 - i], out) ||
            out->down->inputs[0] != out->thick->inputs[0] || out->thick->inputs[1]->uses.count > 1)
            continue;
        const int64_t *w = out->thick->inputs[1]->constant->dims, *a = out->down->inputs[1]->constant->dims;
        const int64_t *b = out->up->inputs[1]->constant->dims;
        if (w[0] == a[0] && a[1] == b[0] && w[1] == b[1])
            return true;
    }
    return false;
}

static tm_value *merged(const adapter *m) {
    tm_arena *arena = m->thick->graph->model->arena;
    const tm_constant *w = m->thick->inputs[1]->constant, *a = m->down->inputs[1]->constant;
    int64_t k = w->dims[0], n = w->dims[1], rank = a->dims[1];
    const float *wide = w->data, *down = a->data, *up = m->up->inputs[1]->constant->data;
    float *data = TM_NEW_ARRAY(arena, float, k *n);
    double *row = TM_NEW_ARRAY(arena, double, n);
    for (int64_t i = 0; i < k; i++) {
        for (int64_t j = 0; j < n; j++)
            row[j] = (double)wide[i * n + j];
        for (int64_t r = 0; r < rank; r++)
            for (int64_t j = 0; j < n; j++)
                row[j] += m->scale * (double)down[i * rank + r] * (double)up[r * n + j];
        for (int64_t j = 0; j < n; j++)
            data[i * n + j] = (float)row[j];
    }
    return tm_value_create_constant(m->thick->graph, m->thick->inputs[1]->name,
                                    tm_constant_create(arena, TAMIS_TYPE_FLOAT, 2, w->dims, data));
}

int64_t tm_low_rank_merge(tm_model *model) {
    int64_t count = 0;
    for (tm_node *node = model->main->first, *next; node != NULL; node = next) {
        adapter found;
        next = node->next;
        if (node->op != TM_OP_Add || !match(node, &found) ||
            node->outputs[0]->rank != found.thick->outputs[0]->rank)
            continue;
        tm_value *inputs[2] = {found.thick->inputs[0], merged(&found)};
        tm_match_replace(node, tm_node_create(model->main, node, TM_OP_MatMul, NULL, 2, inputs));
        count++;
    }
    return count;
}
