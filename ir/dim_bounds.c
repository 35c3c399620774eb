/* SPDX-License-Identifier: Apache-2.0
 *
 * dim_bounds.c: is a - b known to stay below a limit?
 *
 * The range of a difference of polynomials decides most questions, since equal terms cancel:
 *
 *     (n - 1) - n          is  -1
 *
 * Where it does not, a term is replaced by something that is not smaller, and the question asked again:
 *
 *     min(n, 5) - n        <=  n - n                   min is at most each operand
 *     floordiv(n, 2) - n   <=  n - n                   of a dividend that is not negative
 *     n - max(m, n)        <=  n - n
 *     select(c, n, 0) - n  both  n - n  and  0 - n
 *
 * The search is bounded in depth and in steps; where it gives up, nothing is known, and the operation
 * stays in the expression.
 */
#include "ir/dim_internal.h"

#define MAX_DEPTH 4
#define MAX_STEPS 64

typedef struct search {
    int64_t limit;
    int steps;
} search;

static bool stays_below(search *s, const tm_polynomial *p, int depth);

/* p with term i replaced by scale * dim + shift. */
static bool with_term(search *s, const tm_polynomial *p, int i, int64_t scale, tm_dim dim, int64_t shift,
                      int depth) {
    tm_polynomial term = {.count = 1, .terms = {p->terms[i]}}, constant = {.count = 1, .terms = {{1, NULL}}};
    tm_polynomial rest, other, sum, shifted;
    return tm_polynomial_add(p, -1, &term, &rest) && tm_polynomial_of(dim, &other) &&
           tm_polynomial_add(&rest, scale, &other, &sum) &&
           tm_polynomial_add(&sum, shift, &constant, &shifted) && stays_below(s, &shifted, depth - 1);
}

/* Some operand (min under a positive, max under a negative coefficient) does as the larger value. */
static bool with_some_operand(search *s, const tm_polynomial *p, int i, int depth) {
    tm_dim chain = p->terms[i].product;
    tm_dim_kind kind = chain->kind;
    for (; chain != NULL; chain = chain->kind == kind ? chain->b : NULL)
        if (with_term(s, p, i, p->terms[i].coefficient, chain->kind == kind ? chain->a : chain, 0, depth))
            return true;
    return false;
}

static bool with_quotient(search *s, const tm_polynomial *p, int i, int depth) {
    int64_t coefficient = p->terms[i].coefficient, k = p->terms[i].product->b->constant;
    tm_dim dividend = p->terms[i].product->a;
    if (p->terms[i].product->b->kind != TM_DIM_CONST || k <= 0)
        return false;
    if (coefficient % k == 0)
        return coefficient > 0
                   ? with_term(s, p, i, coefficient / k, dividend, 0, depth)
                   : with_term(s, p, i, coefficient / k, dividend, (coefficient / k) * (1 - k), depth);
    return coefficient > 0 && dividend->low >= 0 && with_term(s, p, i, coefficient, dividend, 0, depth);
}

static bool try_term(search *s, const tm_polynomial *p, int i, int depth) {
    tm_dim product = p->terms[i].product;
    int64_t coefficient = p->terms[i].coefficient;
    if (product == NULL)
        return false;
    switch (product->kind) {
    case TM_DIM_MIN:
        return coefficient > 0 && with_some_operand(s, p, i, depth);
    case TM_DIM_MAX:
        return coefficient < 0 && with_some_operand(s, p, i, depth);
    case TM_DIM_FLOORDIV:
        return with_quotient(s, p, i, depth);
    case TM_DIM_FLOORMOD:
        return coefficient > 0 && product->a->low >= 0 && product->b->low >= 0 &&
               with_term(s, p, i, coefficient, product->a, 0, depth);
    case TM_DIM_SELECT:
        return with_term(s, p, i, coefficient, product->b, 0, depth) &&
               with_term(s, p, i, coefficient, product->c, 0, depth);
    case TM_DIM_BROADCAST:
        return with_term(s, p, i, coefficient, product->a, 0, depth) &&
               with_term(s, p, i, coefficient, product->b, 0, depth);
    default:
        return false;
    }
}

static bool stays_below(search *s, const tm_polynomial *p, int depth) {
    int64_t low, high;
    tm_polynomial_range(p, &low, &high);
    if (high <= s->limit)
        return true;
    for (int i = 0; i < p->count && depth > 0; i++)
        if (s->steps++ < MAX_STEPS && try_term(s, p, i, depth))
            return true;
    return false;
}

bool tm_dim_known_below(tm_dim a, tm_dim b, int64_t limit) {
    tm_polynomial p, q, difference;
    search s = {limit, 0};
    int64_t largest;
    if (tm_sub_i64(a->high, b->low, &largest) && largest <= limit)
        return true;
    return tm_polynomial_of(a, &p) && tm_polynomial_of(b, &q) && tm_polynomial_add(&p, -1, &q, &difference) &&
           stays_below(&s, &difference, MAX_DEPTH);
}

bool tm_dim_differ(tm_dims *dims, tm_dim a, tm_dim b) {
    (void)dims;
    return tm_dim_known_below(a, b, -1) || tm_dim_known_below(b, a, -1);
}
