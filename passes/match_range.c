/* SPDX-License-Identifier: Apache-2.0
 *
 * match_range.c: how large the numbers of a mask can be.
 *
 * Masks come from conditions: Where(c, 0, -3.4e38), or (1 - Cast(c)) * -1e4. Going up from the mask, a
 * constant has the range of its elements, a condition that was cast to numbers 0 to 1, and arithmetic on
 * ranges gives the rest:
 *
 *     1 - [0, 1] = [0, 1];   [0, 1] * -1e4 = [-1e4, 0]
 *
 * Products of matrices are position biases when they are added to scores, and as large as those.
 * What comes from anywhere else has no known range. Float32 overflows beyond FLT_MAX, so a range that leaves
 * it is not known either.
 */
#include "passes/match_range.h"

#include <float.h>
#include <math.h>

#define MAX_DEPTH 24
#define MAX_ELEMENTS ((int64_t)1 << 22)

typedef struct range {
    bool known;
    double low, high;
} range;

static const range unknown = {false, 0, 0};

static range make_range(double low, double high) {
    return low >= -(double)FLT_MAX && high <= (double)FLT_MAX ? (range){true, low, high} : unknown;
}

static range unite(range a, range b) {
    if (!a.known || !b.known)
        return unknown;
    return (range){true, fmin(a.low, b.low), fmax(a.high, b.high)};
}

static range of_constant(const tm_constant *constant) {
    int64_t count = tm_constant_count(constant);
    range result = {true, INFINITY, -INFINITY};
    if (count < 1 || count > MAX_ELEMENTS || constant->slot != NULL)
        return unknown;
    for (int64_t i = 0; i < count; i++) {
        double number;
        if (!tm_constant_double(constant, i, &number) || !isfinite(number))
            return unknown;
        result = unite(result, (range){true, number, number});
    }
    return result;
}

static range range_of(const tm_value *value, double product, int depth);

static range of_product(range a, range b) {
    if (!a.known || !b.known)
        return unknown;
    double products[4] = {a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high};
    range result = {true, products[0], products[0]};
    for (int i = 1; i < 4; i++)
        result = unite(result, (range){true, products[i], products[i]});
    return make_range(result.low, result.high);
}

/* `product`: how large what a product of matrices gives is taken to be. */
static range of_node(const tm_node *node, double product, int depth) {
    range a, b;
    if (node->op == TM_OP_Cast)
        return node->inputs[0]->type == TAMIS_TYPE_BOOL ? make_range(0, 1)
                                                        : range_of(node->inputs[0], product, depth);
    if (node->op == TM_OP_MatMul || node->op == TM_OP_Gemm || node->op == TM_OP_Einsum)
        return make_range(-product, product);
    if (node->op == TM_OP_Where)
        return unite(range_of(node->inputs[1], product, depth), range_of(node->inputs[2], product, depth));
    if (node->op == TM_OP_Concat) {
        a = range_of(node->inputs[0], product, depth);
        for (int i = 1; i < node->input_count; i++)
            a = unite(a, range_of(node->inputs[i], product, depth));
        return a;
    }
    if (node->op == TM_OP_Pad) {
        bool zeros = node->input_count < 3 || node->inputs[2] == NULL;
        a = zeros ? make_range(0, 0) : range_of(node->inputs[2], product, depth);
        return unite(a, range_of(node->inputs[0], product, depth));
    }
    if (tm_op_has(node->op, TM_VIEW) || node->op == TM_OP_Expand || node->op == TM_OP_Transpose ||
        node->op == TM_OP_Slice || node->op == TM_OP_Gather || node->op == TM_OP_Tile ||
        node->op == TM_OP_Trilu)
        return node->op == TM_OP_Trilu ? unite(make_range(0, 0), range_of(node->inputs[0], product, depth))
                                       : range_of(node->inputs[0], product, depth);
    if (node->op != TM_OP_Add && node->op != TM_OP_Sub && node->op != TM_OP_Mul)
        return unknown;
    a = range_of(node->inputs[0], product, depth);
    b = range_of(node->inputs[1], product, depth);
    if (node->op == TM_OP_Mul)
        return of_product(a, b);
    if (!a.known || !b.known)
        return unknown;
    return node->op == TM_OP_Add ? make_range(a.low + b.low, a.high + b.high)
                                 : make_range(a.low - b.high, a.high - b.low);
}

static range range_of(const tm_value *value, double product, int depth) {
    if (value == NULL || depth == 0 || value->kind != TAMIS_KIND_TENSOR)
        return unknown;
    if (value->constant != NULL)
        return of_constant(value->constant);
    if (value->type == TAMIS_TYPE_BOOL)
        return make_range(0, 1);
    return value->producer != NULL ? of_node(value->producer, product, depth - 1) : unknown;
}

static bool is_bounded(const tm_value *value, double product, double limit) {
    range found = range_of(value, product, MAX_DEPTH);
    return found.known && found.low >= -limit && found.high <= limit;
}

bool tm_match_is_bounded(const tm_value *value, double limit) {
    return is_bounded(value, TM_MATCH_REASONABLE, limit);
}

bool tm_match_is_bounded_but_products(const tm_value *value, double limit) {
    return is_bounded(value, 0, limit);
}
