/* SPDX-License-Identifier: Apache-2.0
 *
 * region_products.c: finds chains of products that are alike and builds their region; see region_products.h.
 *
 *     %q = MatMul(%x, %A), Add %a                          %q, %k = Region(%x, %A, %a, %B, %b)
 *     %k = MatMul(%x, %B), Add %b                     ->
 *
 * Operands that may differ are there from the start, so that all products can stand where the first one does.
 * Code is made for the first product, in which each operand has one pointer for all that it is used for:
 * values that the first chain reads in several places stand for one value of another chain.
 */
#include "passes/region_products.h"

#include <string.h>

#define NEAR 32 /* nodes */

static bool same_attributes(const tm_node *a, const tm_node *b) {
    for (int i = 0; i < tm_op_get(a->op)->attribute_count; i++) {
        const tm_attribute *x = &a->attributes[i], *y = &b->attributes[i];
        if (x->present != y->present || x->count > 0 || y->count > 0 || x->i != y->i || x->f != y->f ||
            x->s_size != y->s_size || (x->s_size > 0 && memcmp(x->s, y->s, (size_t)x->s_size) != 0))
            return false;
    }
    return true;
}

/* May y be what x is, as an operand of nodes that are the same? Numbers in the body are equal. */
static bool same_role(const tm_node *node, bool quantized, const tm_value *x, const tm_value *y) {
    if (x == NULL || y == NULL)
        return x == y;
    if (x->type != y->type || x->producer != NULL || y->producer != NULL || !tm_region_same_dims(x, y))
        return false;
    if (!tm_region_is_scalar(x) && !tm_region_is_scalar(y))
        return true;
    if (!tm_region_is_scalar(x) || !tm_region_is_scalar(y))
        return false;
    if (tm_region_reads_number(node, x, quantized) && tm_region_reads_number(node, y, quantized))
        return true;
    return x->constant->bytes == y->constant->bytes &&
           memcmp(x->constant->data, y->constant->data, (size_t)x->constant->bytes) == 0;
}

/* Does y stand for x in all nodes before `node`, and in its operands before `operand`? */
static bool stands_for(const tm_chain *a, const tm_chain *b, const tm_value *x, const tm_value *y, int node,
                       int operand) {
    for (int i = 0; i <= node; i++)
        for (int k = 0; k < (i < node ? a->nodes[i]->input_count : operand); k++)
            if (a->nodes[i]->inputs[k] == x && b->nodes[i]->inputs[k] != y)
                return false;
    return true;
}

static bool is_quantized(const tm_chain *c) {
    for (int i = 0; i < c->count; i++)
        if (tm_region_is_quantized(c->nodes[i]))
            return true;
    return false;
}

bool tm_chains_are_alike(const tm_chain *a, const tm_chain *b) {
    if (a->count != b->count || a->nodes[0]->inputs[0] != b->nodes[0]->inputs[0])
        return false;
    bool quantized = is_quantized(a);
    for (int i = 0; i < a->count; i++) {
        const tm_node *x = a->nodes[i], *y = b->nodes[i];
        if (x->op != y->op || x->input_count != y->input_count || !same_attributes(x, y) ||
            x->outputs[0]->type != y->outputs[0]->type || !tm_region_same_dims(x->outputs[0], y->outputs[0]))
            return false;
        const tm_value *running_x = i == 0 ? x->inputs[0] : a->nodes[i - 1]->outputs[0];
        const tm_value *running_y = i == 0 ? y->inputs[0] : b->nodes[i - 1]->outputs[0];
        for (int k = 0; k < x->input_count; k++)
            if ((x->inputs[k] == running_x) != (y->inputs[k] == running_y) ||
                (x->inputs[k] != running_x && (!same_role(x, quantized, x->inputs[k], y->inputs[k]) ||
                                               !stands_for(a, b, x->inputs[k], y->inputs[k], i, k))))
                return false;
    }
    return true;
}

bool tm_chain_is_near(const tm_node *from, const tm_node *node) {
    for (int steps = 0; steps < NEAR && from != NULL; steps++, from = from->next)
        if (from == node)
            return true;
    return false;
}

/* The node of the list that stands first in its graph. */
static tm_node *earliest(tm_node *from, tm_node *const *list, int count) {
    while (from != NULL && !tm_region_is_among(list, count, from))
        from = from->next;
    return from;
}

tm_code tm_chains_build(tm_model *model, const char *kind, const tm_chain *chains, int count,
                        tm_node **out_region) {
    tm_node *nodes[TM_CHAINS * TM_CHAIN_NODES], *last[TM_CHAINS];
    tm_value *outputs[TM_CHAINS];
    int node_count = 0;
    for (int p = 0; p < count; p++) {
        for (int i = 0; i < chains[p].count; i++)
            nodes[node_count++] = chains[p].nodes[i];
        last[p] = nodes[node_count - 1];
        outputs[p] = last[p]->outputs[0];
    }
    /* All of them read only what is there before the first. */
    tm_node *place = count > 1 ? earliest(nodes[0], last, count) : last[0];
    return tm_region_build_outputs(model, kind, nodes, node_count, outputs, count, place, out_region);
}
