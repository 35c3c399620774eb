/* SPDX-License-Identifier: Apache-2.0
 *
 * dim_simplify.c: division, remainder, min, max, broadcast, comparisons and choice.
 *
 * Each constructor tries what it knows and makes a node only when nothing decides:
 *
 *     floordiv(4*n + 6, 4)                ->  n + 1           whole multiples leave the division
 *     floordiv(floordiv(n, 2) + 1, 2)     ->  floordiv(n + 2, 4) -> ...
 *     floordiv(batch*seq*768, batch*12)   ->  64*seq          common factors cancel
 *     max(n - 1, n)                       ->  n               the difference has a known sign
 *     broadcast(n, 4)                     ->  4               or it fails when the model runs
 *
 * A result need only be right where the original has a value: (n*8)/n is 8 although n may be 0, since
 * dividing by 0 fails; whoever depends on the failure has to check it apart. That is what makes
 * Reshape(x, [n, -1]) come out as a plain number.
 *
 * min, max and broadcast are associative and commutative: nested ones are flattened, decided pair by
 * pair, sorted, and put together again, so that every order of writing them gives the same dim.
 */
#include "ir/dim_internal.h"

#define MAX_OPERANDS 32

static tm_dim negate(tm_dims *dims, tm_dim a) {
    return tm_dim_mul(dims, tm_dim_constant(dims, -1), a);
}

static tm_dim plain(tm_dims *dims, tm_dim_kind kind, tm_dim a, tm_dim b) {
    return tm_dim_intern(dims, kind, a, b, NULL, false);
}

/* 0 <= a < b */
static bool lies_below(tm_dim a, tm_dim b) {
    return a->low >= 0 && tm_dim_known_below(a, b, -1);
}

/* ---- division ---- */

static int64_t floor_quotient(int64_t a, int64_t b) {
    return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

/* p = k*whole + rest, with the constant of rest in 0..k-1. */
static void split_multiples(const tm_polynomial *p, int64_t k, tm_polynomial *whole, tm_polynomial *rest) {
    whole->count = rest->count = 0;
    for (int i = 0; i < p->count; i++) {
        tm_term term = p->terms[i];
        int64_t quotient = term.product == NULL ? floor_quotient(term.coefficient, k) : term.coefficient / k;
        if (term.product != NULL && term.coefficient % k != 0) {
            rest->terms[rest->count++] = term;
            continue;
        }
        int64_t remainder = term.coefficient - quotient * k;
        if (quotient != 0)
            whole->terms[whole->count++] = (tm_term){quotient, term.product};
        if (remainder != 0)
            rest->terms[rest->count++] = (tm_term){remainder, NULL};
    }
}

static int64_t constant_of(const tm_polynomial *p) {
    return p->count > 0 && p->terms[p->count - 1].product == NULL ? p->terms[p->count - 1].coefficient : 0;
}

/* floordiv(g*x + r, g*k) = floordiv(x + floordiv(r, g), k) */
static int64_t reduce_fraction(tm_polynomial *rest, int64_t k) {
    bool has_constant = constant_of(rest) != 0;
    tm_polynomial variable = *rest;
    variable.count -= has_constant ? 1 : 0;
    int64_t common = tm_polynomial_content(&variable, k);
    int count = 0;
    for (int i = 0; i < rest->count; i++) {
        tm_term term = rest->terms[i];
        term.coefficient = floor_quotient(term.coefficient, common);
        if (term.coefficient != 0)
            rest->terms[count++] = term;
    }
    rest->count = count;
    return k / common;
}

static tm_dim floordiv_rest(tm_dims *dims, tm_polynomial *rest, int64_t k);

/* floordiv(-x, k) = -floordiv(x + k - 1, k): the leading coefficient is positive in canonical form. */
static tm_dim floordiv_negative(tm_dims *dims, const tm_polynomial *rest, int64_t k) {
    tm_polynomial shift = {.count = 1, .terms = {{k - 1, NULL}}}, turned;
    if (!tm_polynomial_add(&shift, -1, rest, &turned))
        return NULL;
    tm_dim quotient = floordiv_rest(dims, &turned, k);
    return quotient == NULL ? NULL : negate(dims, quotient);
}

/* floordiv(floordiv(x, m) + r, k) = floordiv(x + m*r, m*k), or NULL when the rest is not of that form. */
static tm_dim floordiv_nested(tm_dims *dims, const tm_polynomial *rest, int64_t k) {
    int64_t r = constant_of(rest), shift, divisor;
    if (rest->count != (r != 0 ? 2 : 1) || rest->terms[0].coefficient != 1)
        return NULL;
    tm_dim inner = rest->terms[0].product;
    if (inner->kind != TM_DIM_FLOORDIV || inner->b->kind != TM_DIM_CONST || inner->b->constant <= 0 ||
        !tm_mul_i64(inner->b->constant, r, &shift) || !tm_mul_i64(inner->b->constant, k, &divisor))
        return NULL;
    return tm_dim_floordiv(dims, tm_dim_add(dims, inner->a, tm_dim_constant(dims, shift)),
                           tm_dim_constant(dims, divisor));
}

static tm_dim floordiv_rest(tm_dims *dims, tm_polynomial *rest, int64_t k) {
    int64_t low, high;
    k = reduce_fraction(rest, k);
    tm_polynomial_range(rest, &low, &high);
    if (low != INT64_MIN && high != INT64_MAX && floor_quotient(low, k) == floor_quotient(high, k))
        return tm_dim_constant(dims, floor_quotient(low, k));
    if (rest->terms[0].coefficient < 0)
        return floordiv_negative(dims, rest, k);
    tm_dim nested = floordiv_nested(dims, rest, k);
    if (nested != NULL)
        return nested;
    return plain(dims, TM_DIM_FLOORDIV, tm_polynomial_dim(dims, rest), tm_dim_constant(dims, k));
}

static tm_dim floordiv_constant(tm_dims *dims, const tm_polynomial *p, int64_t k) {
    tm_polynomial whole, rest;
    split_multiples(p, k, &whole, &rest);
    tm_dim quotient = rest.count == 0 ? tm_dim_constant(dims, 0) : floordiv_rest(dims, &rest, k);
    return quotient == NULL ? NULL : tm_dim_add(dims, tm_polynomial_dim(dims, &whole), quotient);
}

/* What floor and truncating division share: exact quotients, common factors. NULL: *a and *b, now
 * without common factors, are still to be divided. */
static tm_dim divide_common(tm_dims *dims, tm_dim_kind kind, tm_dim *a, tm_dim *b) {
    tm_polynomial p, q, quotient;
    int64_t value;
    *a = tm_dim_settle(*a);
    *b = tm_dim_settle(*b);
    if (tm_dim_is(*b, 0))
        return plain(dims, kind, *a, *b);
    if (tm_dim_is_constant(*a) && tm_dim_is_constant(*b))
        return tm_dim_apply(kind, (*a)->constant, (*b)->constant, 0, &value) ? tm_dim_constant(dims, value)
                                                                             : plain(dims, kind, *a, *b);
    if (!tm_polynomial_of(*a, &p) || !tm_polynomial_of(*b, &q))
        return NULL;
    if (tm_polynomial_divide(dims, &p, &q, &quotient))
        return tm_polynomial_dim(dims, &quotient);
    if (tm_polynomial_cancel(dims, &p, &q)) {
        *a = tm_polynomial_dim(dims, &p);
        *b = tm_polynomial_dim(dims, &q);
    }
    return NULL;
}

tm_dim tm_dim_floordiv(tm_dims *dims, tm_dim a, tm_dim b) {
    tm_dim known = divide_common(dims, TM_DIM_FLOORDIV, &a, &b);
    if (known != NULL)
        return known;
    tm_polynomial p;
    if (b->kind == TM_DIM_CONST && b->constant != INT64_MIN &&
        tm_polynomial_of(b->constant < 0 ? negate(dims, a) : a, &p)) {
        known = floordiv_constant(dims, &p, b->constant < 0 ? -b->constant : b->constant);
        if (known != NULL)
            return known;
    }
    if (lies_below(a, b))
        return tm_dim_constant(dims, 0);
    return plain(dims, TM_DIM_FLOORDIV, a, b);
}

tm_dim tm_dim_ceildiv(tm_dims *dims, tm_dim a, tm_dim b) {
    return negate(dims, tm_dim_floordiv(dims, negate(dims, a), b));
}

tm_dim tm_dim_truncdiv(tm_dims *dims, tm_dim a, tm_dim b) {
    tm_dim known = divide_common(dims, TM_DIM_TRUNCDIV, &a, &b);
    if (known != NULL)
        return known;
    bool signs_known = (a->low >= 0 || a->high <= 0) && (b->low >= 0 || b->high <= 0) &&
                       a->low != INT64_MIN && b->low != INT64_MIN;
    if (!signs_known)
        return plain(dims, TM_DIM_TRUNCDIV, a, b);
    bool negative_a = a->low < 0, negative_b = b->low < 0;
    tm_dim quotient =
        tm_dim_floordiv(dims, negative_a ? negate(dims, a) : a, negative_b ? negate(dims, b) : b);
    return negative_a != negative_b ? negate(dims, quotient) : quotient;
}

/* floormod by a positive constant: coefficients count modulo k only. */
static tm_dim floormod_constant(tm_dims *dims, const tm_polynomial *p, int64_t k) {
    tm_polynomial rest = {.count = 0};
    int64_t low, high;
    for (int i = 0; i < p->count; i++) {
        tm_term term = p->terms[i];
        term.coefficient -= floor_quotient(term.coefficient, k) * k;
        if (term.coefficient != 0)
            rest.terms[rest.count++] = term;
    }
    if (rest.count == 0)
        return tm_dim_constant(dims, 0);
    int64_t common = tm_polynomial_content(&rest, k);
    for (int i = 0; i < rest.count; i++)
        rest.terms[i].coefficient /= common;
    k /= common;
    tm_dim inner = tm_polynomial_dim(dims, &rest);
    tm_polynomial_range(&rest, &low, &high);
    if (low < 0 || high >= k)
        inner = plain(dims, TM_DIM_FLOORMOD, inner, tm_dim_constant(dims, k));
    return tm_dim_mul(dims, tm_dim_constant(dims, common), inner);
}

tm_dim tm_dim_floormod(tm_dims *dims, tm_dim a, tm_dim b) {
    tm_polynomial p, q, quotient;
    int64_t value;
    a = tm_dim_settle(a);
    b = tm_dim_settle(b);
    if (tm_dim_is(b, 0))
        return plain(dims, TM_DIM_FLOORMOD, a, b);
    if (tm_dim_is_constant(a) && tm_dim_is_constant(b))
        return tm_dim_apply(TM_DIM_FLOORMOD, a->constant, b->constant, 0, &value)
                   ? tm_dim_constant(dims, value)
                   : plain(dims, TM_DIM_FLOORMOD, a, b);
    if (!tm_polynomial_of(a, &p) || !tm_polynomial_of(b, &q))
        return plain(dims, TM_DIM_FLOORMOD, a, b);
    if (tm_polynomial_divide(dims, &p, &q, &quotient))
        return tm_dim_constant(dims, 0);
    if (b->kind == TM_DIM_CONST && b->constant > 0)
        return floormod_constant(dims, &p, b->constant);
    if (b->kind == TM_DIM_CONST && b->constant != INT64_MIN)
        return negate(dims, tm_dim_floormod(dims, negate(dims, a), tm_dim_constant(dims, -b->constant)));
    return lies_below(a, b) ? a : plain(dims, TM_DIM_FLOORMOD, a, b);
}

static bool known_at_most(tm_dim a, tm_dim b) {
    return tm_dim_known_below(a, b, 0);
}

static bool excludes(tm_dim dim, int64_t value) {
    return value < dim->low || value > dim->high;
}

/* ---- min, max, broadcast ---- */

/* The result for two operands if it is known, else NULL. */
/* min(x, c, ...) with c of at least 2, where x is whole: it broadcasts with x only if it is x. */
static bool is_cut_of(tm_dim cut, tm_dim whole) {
    if (cut->kind != TM_DIM_MIN)
        return false;
    bool found = false;
    for (tm_dim at = cut; at != NULL; at = at->kind == TM_DIM_MIN ? at->b : NULL) {
        tm_dim operand = at->kind == TM_DIM_MIN ? at->a : at;
        found = found || operand == whole;
        if (operand != whole && operand->low < 2)
            return false;
    }
    return found;
}

static tm_dim decide(tm_dims *dims, tm_dim_kind kind, tm_dim a, tm_dim b, bool *fails) {
    if (a == b)
        return a;
    if (kind == TM_DIM_MIN)
        return known_at_most(a, b) ? a : known_at_most(b, a) ? b : NULL;
    if (kind == TM_DIM_MAX)
        return known_at_most(a, b) ? b : known_at_most(b, a) ? a : NULL;
    if (tm_dim_is(a, 1))
        return b;
    if (tm_dim_is(b, 1))
        return a;
    if (excludes(a, 1) && excludes(b, 1)) {
        *fails = *fails || tm_dim_differ(dims, a, b);
        return tm_dim_is_constant(a) || (!tm_dim_is_constant(b) && tm_dim_compare(a, b) < 0) ? a : b;
    }
    if (is_cut_of(b, a))
        return a;
    if (is_cut_of(a, b))
        return b;
    return excludes(a, 1) ? a : excludes(b, 1) ? b : NULL;
}

static bool flatten(tm_dim_kind kind, tm_dim dim, tm_dim *list, int *count) {
    for (; dim != NULL; dim = dim->kind == kind ? dim->b : NULL) {
        if (*count == MAX_OPERANDS)
            return false;
        tm_dim operand = dim->kind == kind ? dim->a : dim;
        if (operand->kind == kind) {
            if (!flatten(kind, operand, list, count))
                return false;
            continue;
        }
        list[(*count)++] = tm_dim_settle(operand);
    }
    return true;
}

static void sort(tm_dim *list, int count) {
    for (int i = 1; i < count; i++)
        for (int j = i; j > 0 && tm_dim_compare(list[j - 1], list[j]) > 0; j--) {
            tm_dim swap = list[j];
            list[j] = list[j - 1];
            list[j - 1] = swap;
        }
}

/* NULL: a broadcast that is known to fail. */
static tm_dim combine(tm_dims *dims, tm_dim_kind kind, tm_dim a, tm_dim b) {
    tm_dim list[MAX_OPERANDS];
    int count = 0;
    bool fails = false;
    a = tm_dim_settle(a);
    b = tm_dim_settle(b);
    if (!flatten(kind, a, list, &count) || !flatten(kind, b, list, &count)) {
        bool swap = tm_dim_compare(a, b) > 0;
        return plain(dims, kind, swap ? b : a, swap ? a : b);
    }
    for (int i = 0; i < count; i++)
        for (int j = i + 1; j < count;) {
            tm_dim known = decide(dims, kind, list[i], list[j], &fails);
            if (known == NULL) {
                j++;
                continue;
            }
            bool changed = list[i] != known;
            list[i] = known;
            list[j] = list[--count];
            j = changed ? i + 1 : j;
        }
    if (fails)
        return NULL;
    sort(list, count);
    tm_dim result = list[count - 1];
    for (int i = count - 2; i >= 0; i--)
        result = plain(dims, kind, list[i], result);
    return result;
}

tm_dim tm_dim_min(tm_dims *dims, tm_dim a, tm_dim b) {
    return combine(dims, TM_DIM_MIN, a, b);
}

tm_dim tm_dim_max(tm_dims *dims, tm_dim a, tm_dim b) {
    return combine(dims, TM_DIM_MAX, a, b);
}

tm_dim tm_dim_broadcast(tm_dims *dims, tm_dim a, tm_dim b) {
    return combine(dims, TM_DIM_BROADCAST, a, b);
}

tm_dim tm_dim_clamp(tm_dims *dims, tm_dim x, tm_dim low, tm_dim high) {
    return tm_dim_min(dims, tm_dim_max(dims, x, low), high);
}

/* ---- truth ---- */

tm_dim tm_dim_equal(tm_dims *dims, tm_dim a, tm_dim b) {
    a = tm_dim_settle(a);
    b = tm_dim_settle(b);
    if (a == b)
        return tm_dim_constant(dims, 1);
    if (tm_dim_differ(dims, a, b))
        return tm_dim_constant(dims, 0);
    bool swap = tm_dim_compare(a, b) > 0;
    return plain(dims, TM_DIM_EQUAL, swap ? b : a, swap ? a : b);
}

tm_dim tm_dim_less(tm_dims *dims, tm_dim a, tm_dim b) {
    a = tm_dim_settle(a);
    b = tm_dim_settle(b);
    if (known_at_most(b, a))
        return tm_dim_constant(dims, 0);
    if (tm_dim_known_below(a, b, -1))
        return tm_dim_constant(dims, 1);
    return plain(dims, TM_DIM_LESS, a, b);
}

/* Is yes == no whenever the condition x == c holds? It is when x - c divides yes - no. This decides what a
 * Reshape makes of a target that is a symbol: select(equal(b, 0), b*n, b) is b. */
static bool agree_when(tm_dims *dims, tm_dim condition, tm_dim yes, tm_dim no) {
    tm_polynomial a, b, difference, zero, quotient;
    return condition->kind == TM_DIM_EQUAL && tm_polynomial_of(yes, &a) && tm_polynomial_of(no, &b) &&
           tm_polynomial_add(&a, -1, &b, &difference) && tm_polynomial_of(condition->a, &a) &&
           tm_polynomial_of(condition->b, &b) && tm_polynomial_add(&a, -1, &b, &zero) &&
           tm_polynomial_divide(dims, &difference, &zero, &quotient);
}

tm_dim tm_dim_select(tm_dims *dims, tm_dim condition, tm_dim yes, tm_dim no) {
    condition = tm_dim_settle(condition);
    yes = tm_dim_settle(yes);
    no = tm_dim_settle(no);
    if (yes == no || excludes(condition, 0))
        return yes;
    if (tm_dim_is(condition, 0))
        return no;
    if (tm_dim_is(yes, 1) && tm_dim_is(no, 0) && condition->low >= 0 && condition->high <= 1)
        return condition;
    return agree_when(dims, condition, yes, no)
               ? no
               : tm_dim_intern(dims, TM_DIM_SELECT, condition, yes, no, false);
}
