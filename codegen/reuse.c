/* SPDX-License-Identifier: Apache-2.0
 *
 * reuse.c: may a region's output lie where an input lies that nothing reads afterwards?
 *
 *     %y = Region(%x, %b)     x[n, 64] has its last reader here: y[i] = f(x[i], b) can be written over x[i]
 *
 * Yes when every element of the input is read before that element of the output is written: the input has the
 * output's type and dims, so that both are walked alike, and
 *
 *   map       always
 *   contract, tiles, convolution, window
 *             when the input is not a factor of the product, which other elements need too, nor summed along
 *             its rows, and there is one product only: another may need it later
 *   row       when no later walk reads the input: what is computed before the normalisation is written in the
 *             first walk, and the row of the main output holds what is between walks (region_row.c); and when
 *             rows are not known to be short and no whole vectors: the vector that starts the next row would
 *             overlap the masked store that ends this one, and wait until that is in the cache. Rows of 24
 *             take five times as long in place
 *
 * Least and largest elements are set before anything is read: never.
 *
 * Inputs that show the same memory in two ways (a value and a view of it) never are.
 */
#include "codegen/plan.h"

#include "ir/tiles.h"

#include <string.h>

static bool is_norm(const tm_node *node) {
    return tm_op_is_norm(node->op);
}

#define MOST_NODES 128

typedef struct search {
    const tm_value *input;
    bool (*stops)(const tm_node *); /* nodes whose first operand is not looked at, or NULL */
    const tm_node *seen[MOST_NODES];
    int count;
} search;

/* Is the input needed for `value`? Yes also when the body is too large to tell. */
static bool reads(search *s, const tm_value *value) {
    if (value == s->input)
        return true;
    if (value == NULL || value->producer == NULL)
        return false;
    const tm_node *node = value->producer;
    for (int i = 0; i < s->count; i++)
        if (s->seen[i] == node)
            return false;
    if (s->count == MOST_NODES)
        return true;
    s->seen[s->count++] = node;
    for (int i = s->stops != NULL && s->stops(node) ? 1 : 0; i < node->input_count; i++)
        if (reads(s, node->inputs[i]))
            return true;
    return false;
}

#define WIDEST_VECTOR 64 /* bytes */
#define SHORT_ROW 2048   /* beyond this a stall per row does not count */

static bool is_short_and_ragged(const tm_value *value) {
    tm_dim last = value->rank > 0 ? value->dims[value->rank - 1] : NULL;
    if (last == NULL || !tm_dim_is_constant(last))
        return false;
    int64_t bytes = last->constant * (int64_t)tm_type_bits(value->type) / 8;
    return bytes < SHORT_ROW && bytes % WIDEST_VECTOR != 0;
}

static bool row_allows(const tm_graph *body, int output, const tm_value *input) {
    search s = {.input = input, .stops = is_norm};
    if (is_short_and_ragged(input) || reads(&s, body->outputs.items[0]))
        return false;
    const tm_node *norm = body->first;
    while (norm != NULL && !is_norm(norm))
        norm = norm->next;
    return norm != NULL && (output == 0 || norm->inputs[0] != input);
}

/* Does an element of the node's result need many of its operands' elements? ReduceSum is there for zero
 * points. */
static bool mixes(const tm_node *node) {
    return tm_op_is_product(node->op) || node->op == TM_OP_ReduceSum || node->op == TM_OP_Conv ||
           node->op == TM_OP_MaxPool || node->op == TM_OP_AveragePool;
}

static bool contract_allows(const tm_graph *body, const tm_value *input) {
    search s = {.input = input};
    for (const tm_node *node = body->first; node != NULL; node = node->next)
        for (int i = 0; mixes(node) && i < node->input_count; i++)
            if (reads(&s, node->inputs[i]))
                return false;
    return true;
}

static bool same_form(const tm_value *a, const tm_value *b) {
    if (a->type != b->type || a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i])
            return false;
    return true;
}

bool tm_plan_may_reuse(const tm_value *output, const tm_value *root) {
    const tm_node *node = output->producer;
    int found = -1;
    if (node == NULL || node->op != TM_OP_Region)
        return false;
    for (int i = 0; i < node->input_count; i++)
        if (tm_value_root(node->inputs[i]) == root) {
            if (found >= 0)
                return false;
            found = i;
        }
    if (found < 0 || !same_form(node->inputs[found], output))
        return false;
    const tm_graph *body = tm_node_graph(node, "body");
    const tm_node *maker = body->outputs.items[output->output_index]->producer;
    if (maker != NULL && (maker->op == TM_OP_ReduceMin || maker->op == TM_OP_ReduceMax))
        return false;
    const char *kind = tm_node_string(node, "kind");
    if (strcmp(kind, "map") == 0)
        return true;
    if (strcmp(kind, "tiles") == 0 || strcmp(kind, "sparse") == 0)
        return contract_allows(body, body->inputs.items[found]);
    if (strcmp(kind, "contract") == 0 || strcmp(kind, "convolution") == 0 || strcmp(kind, "window") == 0)
        return node->output_count == 1 && contract_allows(body, body->inputs.items[found]);
    return strcmp(kind, "row") == 0 && row_allows(body, output->output_index, body->inputs.items[found]);
}
