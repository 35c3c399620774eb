/* SPDX-License-Identifier: Apache-2.0
 *
 * form_contract_regions.c: MatMul takes the elementwise nodes after it along.
 *
 *     MatMul(x, W), Add bias, Gelu, Add residual  ->  Region "contract"; W is packed when it is written
 *
 * The epilogue follows the single reader of the running value as long as dims stay the same. The rows are one
 * loop, so its other operands walk along all of the last leading dims or none: bias[n], positions[seq, n],
 * residuals. Several products of one x whose chains are alike and read nothing else that is computed
 * (queries, keys and values) become one region with several outputs. Constant weights become a constant of
 * their own that the region alone reads, marked as packed. Any other B is read where it lies.
 */
#include "passes/passes.h"
#include "passes/region_products.h"

#define LEAST_COLUMNS 4
#define DEEP 256
#define ROW_COLUMNS 64
#define FEW_COLUMNS 8
#define SHORT 16

static bool is_weights(const tm_value *value) {
    return tm_value_is_constant(value) && value->type == TAMIS_TYPE_FLOAT && value->rank == 2 &&
           value->constant->panel == 0 && value->constant->dims[1] >= LEAST_COLUMNS &&
           value->constant->dims[0] >= 1;
}

static int64_t known(tm_dim dim) {
    return dim->kind == TM_DIM_CONST ? dim->constant : 0;
}

/* Does each leading dim of the operand walk along that of the product, or repeat? */
static bool matrices_fit(const tm_value *operand, const tm_value *out) {
    for (int i = 0; i + 2 < operand->rank; i++)
        if (!tm_dim_is(operand->dims[i], 1) && operand->dims[i] != out->dims[out->rank - operand->rank + i])
            return false;
    return true;
}

/* A product of computed matrices reads B in place. The library's kernel is the better one for a single row by
 * a wide B, which it reads in longer pieces, and for few columns, which it sums along k. */
static bool is_in_place(const tm_node *node) {
    const tm_value *a = node->inputs[0], *b = node->inputs[1], *out = node->outputs[0];
    if (b->rank < 2 || !matrices_fit(a, out) || !matrices_fit(b, out))
        return false;
    int64_t m = known(a->dims[a->rank - 2]), k = known(b->dims[b->rank - 2]), n = known(b->dims[b->rank - 1]);
    return !(m == 1 && (n == 0 || n > ROW_COLUMNS)) && !(n > 0 && n < FEW_COLUMNS && (k == 0 || k > SHORT));
}

static bool is_candidate(const tm_node *node) {
    return node->op == TM_OP_MatMul && node->inputs[0]->type == TAMIS_TYPE_FLOAT &&
           node->inputs[0]->rank >= 2 &&
           ((is_weights(node->inputs[1]) && !tm_value_is_constant(node->inputs[0])) || is_in_place(node));
}

/* Columns of a panel. The widths have tiles of their own (codegen/llvm/schedule.c) that are not equally fast,
 * and the zeros that fill up the last panel take time too. The tile for the widest is large, so short sums do
 * without. */
static int panel_columns(int64_t depth, int64_t columns) {
    static const struct {
        int columns, cost; /* of a column */
    } forms[] = {{48, 100}, {32, 108}, {16, 125}, {TM_PANEL_COLUMNS, 101}};
    int64_t least = INT64_MAX;
    int best = 0;
    for (int i = 0; i < (depth < DEEP ? 3 : 4); i++) {
        int64_t panels = (columns + forms[i].columns - 1) / forms[i].columns;
        int64_t cost = panels * forms[i].columns * forms[i].cost;
        if (cost < least)
            best = forms[i].columns;
        least = cost < least ? cost : least;
    }
    return best;
}

/* The packed form of the weights: one for all products by them. */
static tm_value *packed_copy(tm_graph *graph, const tm_value *weights) {
    tm_constant packed = *weights->constant;
    packed.stored = TAMIS_TYPE_FLOAT;
    packed.panel = panel_columns(packed.dims[0], packed.dims[1]);
    return tm_region_packed(graph, weights->name, &packed);
}

static tm_chain follow(tm_node *matmul) {
    tm_chain c = {.nodes = {matmul}};
    c.count = tm_region_epilogue(c.nodes, 1, TM_CHAIN_NODES);
    return c;
}

/* Those of the same A as chains[0] that are like it. */
static int find_alike(tm_chain *chains) {
    const tm_value *a = chains[0].nodes[0]->inputs[0];
    int count = 1;
    if (!is_weights(chains[0].nodes[0]->inputs[1]) || !tm_chains_are_alike(&chains[0], &chains[0]))
        return 1;
    for (size_t i = 0; i < a->uses.count && count < TM_CHAINS; i++) {
        tm_node *node = a->uses.items[i].node;
        if (node == NULL || node->graph != chains[0].nodes[0]->graph || node == chains[0].nodes[0] ||
            !is_candidate(node) || node->inputs[0] != a || !is_weights(node->inputs[1]) ||
            !tm_chain_is_near(chains[0].nodes[0], node))
            continue;
        chains[count] = follow(node);
        count += tm_chains_are_alike(&chains[0], &chains[count]);
    }
    return count;
}

static tm_code form(tm_pass_context *context, tm_node *matmul, tm_node **out_region) {
    tm_chain chains[TM_CHAINS] = {follow(matmul)};
    int products = find_alike(chains);
    for (int p = 0; p < products; p++) {
        tm_node *product = chains[p].nodes[0];
        if (is_weights(product->inputs[1]))
            tm_node_set_input(product, 1, packed_copy(matmul->graph, product->inputs[1]));
    }
    return tm_chains_build(context->model, "contract", chains, products, out_region);
}

tm_code tm_pass_form_contract_regions(tm_pass_context *context) {
    return tm_region_form_each(context, context->model->main, is_candidate, form);
}
