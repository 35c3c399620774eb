/* SPDX-License-Identifier: Apache-2.0
 *
 * dim_polynomial.c: sums of products of dims, the canonical form of +, - and *.
 *
 * A dim is taken apart into terms coefficient*product, terms with the same product are added, and the
 * sum is put together again in a fixed order (higher degree first, then by name, constant last):
 *
 *     (seq + 1) * 2 + batch*seq - seq      ->     batch*seq + seq + 2
 *
 * So two linear or polynomial expressions that are equal become the same chain of nodes, hence the same
 * pointer. Products are chains of their own, hash-consed without their coefficient, so adding two sums
 * is merging two sorted lists by comparing pointers. Multiplying out is done as long as the result stays
 * small; beyond the limits, and where coefficients would overflow, the operation stays an opaque node.
 * Canonical polynomials are enough for what shape arithmetic does; a general simplifier would not be
 * deterministic in time.
 */
#include "ir/dim_internal.h"

static bool is_chain(tm_dim dim, tm_dim_kind kind) {
    return dim->kind == kind && !tm_dim_is_opaque(dim);
}

static tm_dim first_factor(tm_dim product) {
    return is_chain(product, TM_DIM_MUL) ? product->a : product;
}
static tm_dim other_factors(tm_dim product) {
    return is_chain(product, TM_DIM_MUL) ? product->b : NULL;
}

static int degree_of(tm_dim product) {
    int degree = 0;
    for (; product != NULL; product = other_factors(product))
        degree++;
    return degree;
}

/* Higher degree first, then factor by factor: an order that multiplication keeps, as division needs. */
static int compare_products(tm_dim a, tm_dim b) {
    if (a == b)
        return 0;
    int degree_a = degree_of(a), degree_b = degree_of(b);
    if (degree_a != degree_b)
        return degree_a > degree_b ? -1 : 1;
    for (; a != NULL && b != NULL; a = other_factors(a), b = other_factors(b)) {
        int order = tm_dim_compare(first_factor(a), first_factor(b));
        if (order != 0)
            return order;
    }
    return 0;
}

/* ---- products ---- */

static tm_dim product_of(tm_dims *dims, const tm_dim *factors, int count) {
    if (count == 0)
        return NULL;
    tm_dim product = factors[count - 1];
    for (int i = count - 2; i >= 0; i--)
        product = tm_dim_intern(dims, TM_DIM_MUL, factors[i], product, NULL, false);
    return product;
}

static bool product_mul(tm_dims *dims, tm_dim a, tm_dim b, tm_dim *out) {
    tm_dim factors[TM_MAX_FACTORS];
    int count = 0;
    while (a != NULL || b != NULL) {
        if (count == TM_MAX_FACTORS)
            return false;
        bool take_a = b == NULL || (a != NULL && tm_dim_compare(first_factor(a), first_factor(b)) <= 0);
        tm_dim *from = take_a ? &a : &b;
        factors[count++] = first_factor(*from);
        *from = other_factors(*from);
    }
    *out = product_of(dims, factors, count);
    return true;
}

static bool product_divide(tm_dims *dims, tm_dim a, tm_dim b, tm_dim *out) {
    tm_dim factors[TM_MAX_FACTORS];
    int count = 0;
    for (; a != NULL; a = other_factors(a)) {
        if (b != NULL && first_factor(a) == first_factor(b))
            b = other_factors(b);
        else
            factors[count++] = first_factor(a);
    }
    if (b != NULL)
        return false;
    *out = product_of(dims, factors, count);
    return true;
}

static tm_dim product_common(tm_dims *dims, tm_dim a, tm_dim b) {
    tm_dim factors[TM_MAX_FACTORS];
    int count = 0;
    while (a != NULL && b != NULL) {
        int order = tm_dim_compare(first_factor(a), first_factor(b));
        if (order == 0)
            factors[count++] = first_factor(a);
        if (order <= 0)
            a = other_factors(a);
        if (order >= 0)
            b = other_factors(b);
    }
    return product_of(dims, factors, count);
}

/* ---- sums ---- */

static tm_term term_of(tm_dim dim) {
    if (dim->kind == TM_DIM_CONST)
        return (tm_term){dim->constant, NULL};
    if (is_chain(dim, TM_DIM_MUL) && dim->a->kind == TM_DIM_CONST)
        return (tm_term){dim->a->constant, dim->b};
    return (tm_term){1, dim};
}

bool tm_polynomial_of(tm_dim dim, tm_polynomial *out) {
    out->count = 0;
    dim = tm_dim_settle(dim);
    for (; is_chain(dim, TM_DIM_ADD); dim = dim->b) {
        if (out->count >= TM_MAX_TERMS - 1)
            return false;
        out->terms[out->count++] = term_of(dim->a);
    }
    out->terms[out->count] = term_of(dim);
    if (out->terms[out->count].coefficient != 0)
        out->count++;
    return true;
}

bool tm_polynomial_add(const tm_polynomial *p, int64_t scale, const tm_polynomial *q, tm_polynomial *out) {
    int i = 0, j = 0, count = 0;
    while (i < p->count || j < q->count) {
        int order = i == p->count   ? 1
                    : j == q->count ? -1
                                    : compare_products(p->terms[i].product, q->terms[j].product);
        tm_term term = {0, NULL};
        if (order <= 0)
            term = p->terms[i++];
        if (order >= 0) {
            int64_t scaled;
            term.product = q->terms[j].product;
            if (!tm_mul_i64(q->terms[j++].coefficient, scale, &scaled) ||
                !tm_add_i64(term.coefficient, scaled, &term.coefficient))
                return false;
        }
        if (term.coefficient == 0)
            continue;
        if (count == TM_MAX_TERMS)
            return false;
        out->terms[count++] = term;
    }
    out->count = count;
    return true;
}

static bool multiply_by_term(tm_dims *dims, const tm_polynomial *p, tm_term term, tm_polynomial *out) {
    out->count = p->count;
    for (int i = 0; i < p->count; i++)
        if (!tm_mul_i64(p->terms[i].coefficient, term.coefficient, &out->terms[i].coefficient) ||
            !product_mul(dims, p->terms[i].product, term.product, &out->terms[i].product))
            return false;
    return true;
}

bool tm_polynomial_mul(tm_dims *dims, const tm_polynomial *p, const tm_polynomial *q, tm_polynomial *out) {
    if (p->count > 1 && q->count > 1 && p->count * q->count > TM_GROWTH_LIMIT)
        return false;
    if (p->count < q->count) {
        const tm_polynomial *swap = p;
        p = q;
        q = swap;
    }
    tm_polynomial sum = {.count = 0}, part, next;
    for (int i = 0; i < q->count; i++) {
        if (!multiply_by_term(dims, p, q->terms[i], &part) || !tm_polynomial_add(&sum, 1, &part, &next))
            return false;
        sum = next;
    }
    *out = sum;
    return true;
}

bool tm_polynomial_divide(tm_dims *dims, const tm_polynomial *p, const tm_polynomial *q, tm_polynomial *out) {
    if (q->count == 0)
        return false;
    tm_polynomial rest = *p, part, next;
    out->count = 0;
    for (int step = 0; rest.count > 0; step++) {
        tm_term term = rest.terms[0], divisor = q->terms[0];
        if (step == TM_MAX_TERMS || (divisor.coefficient == -1 && term.coefficient == INT64_MIN) ||
            term.coefficient % divisor.coefficient != 0 ||
            !product_divide(dims, term.product, divisor.product, &term.product))
            return false;
        term.coefficient /= divisor.coefficient;
        if (!multiply_by_term(dims, q, term, &part) || !tm_polynomial_add(&rest, -1, &part, &next))
            return false;
        rest = next;
        out->terms[out->count++] = term;
    }
    return true;
}

static uint64_t magnitude(int64_t value) {
    return value < 0 ? 0u - (uint64_t)value : (uint64_t)value;
}

int64_t tm_polynomial_content(const tm_polynomial *p, int64_t with) {
    uint64_t divisor = magnitude(with);
    for (int i = 0; i < p->count && divisor != 1; i++)
        for (uint64_t other = magnitude(p->terms[i].coefficient); other != 0;) {
            uint64_t rest = divisor % other;
            divisor = other;
            other = rest;
        }
    return divisor == 0 || divisor > INT64_MAX ? 1 : (int64_t)divisor;
}

static void divide_terms(tm_dims *dims, tm_polynomial *p, int64_t content, tm_dim common) {
    for (int i = 0; i < p->count; i++) {
        p->terms[i].coefficient /= content;
        if (!product_divide(dims, p->terms[i].product, common, &p->terms[i].product))
            __builtin_unreachable();
    }
}

bool tm_polynomial_cancel(tm_dims *dims, tm_polynomial *p, tm_polynomial *q) {
    if (p->count == 0 || q->count == 0)
        return false;
    int64_t content = tm_polynomial_content(q, tm_polynomial_content(p, p->terms[0].coefficient));
    tm_dim common = p->terms[0].product;
    for (int i = 1; i < p->count && common != NULL; i++)
        common = product_common(dims, common, p->terms[i].product);
    for (int i = 0; i < q->count && common != NULL; i++)
        common = product_common(dims, common, q->terms[i].product);
    if (content == 1 && common == NULL)
        return false;
    divide_terms(dims, p, content, common);
    divide_terms(dims, q, content, common);
    return true;
}

void tm_polynomial_range(const tm_polynomial *p, int64_t *out_low, int64_t *out_high) {
    int64_t low = 0, high = 0;
    for (int i = 0; i < p->count; i++) {
        int64_t coefficient = p->terms[i].coefficient;
        tm_dim product = p->terms[i].product;
        int64_t at_low = product == NULL ? coefficient : tm_saturating_mul(coefficient, product->low);
        int64_t at_high = product == NULL ? coefficient : tm_saturating_mul(coefficient, product->high);
        /* An end that has been reached by saturation stays: adding to it must not come back inside. */
        if (low != INT64_MIN)
            low = tm_saturating_add(low, at_low < at_high ? at_low : at_high);
        if (high != INT64_MAX)
            high = tm_saturating_add(high, at_low < at_high ? at_high : at_low);
    }
    *out_low = low;
    *out_high = high;
}

tm_dim tm_polynomial_dim(tm_dims *dims, const tm_polynomial *p) {
    tm_dim sum = NULL;
    for (int i = p->count - 1; i >= 0; i--) {
        tm_dim term = tm_dim_constant(dims, p->terms[i].coefficient);
        if (p->terms[i].product != NULL)
            term = p->terms[i].coefficient == 1
                       ? p->terms[i].product
                       : tm_dim_intern(dims, TM_DIM_MUL, term, p->terms[i].product, NULL, false);
        sum = sum == NULL ? term : tm_dim_intern(dims, TM_DIM_ADD, term, sum, NULL, false);
    }
    return sum == NULL ? tm_dim_constant(dims, 0) : sum;
}

/* ---- the constructors ---- */

static tm_dim opaque(tm_dims *dims, tm_dim_kind kind, tm_dim a, tm_dim b) {
    bool swap = tm_dim_compare(a, b) > 0;
    return tm_dim_intern(dims, kind, swap ? b : a, swap ? a : b, NULL, true);
}

tm_dim tm_dim_add(tm_dims *dims, tm_dim a, tm_dim b) {
    tm_polynomial p, q, sum;
    a = tm_dim_settle(a);
    b = tm_dim_settle(b);
    if (tm_dim_is(a, 0))
        return b;
    if (tm_dim_is(b, 0))
        return a;
    if (!tm_polynomial_of(a, &p) || !tm_polynomial_of(b, &q) || !tm_polynomial_add(&p, 1, &q, &sum))
        return opaque(dims, TM_DIM_ADD, a, b);
    return tm_polynomial_dim(dims, &sum);
}

tm_dim tm_dim_sub(tm_dims *dims, tm_dim a, tm_dim b) {
    tm_polynomial p, q, difference;
    a = tm_dim_settle(a);
    b = tm_dim_settle(b);
    if (tm_polynomial_of(a, &p) && tm_polynomial_of(b, &q) && tm_polynomial_add(&p, -1, &q, &difference))
        return tm_polynomial_dim(dims, &difference);
    return opaque(dims, TM_DIM_ADD, a, tm_dim_mul(dims, tm_dim_constant(dims, -1), b));
}

tm_dim tm_dim_mul(tm_dims *dims, tm_dim a, tm_dim b) {
    tm_polynomial p, q, product;
    a = tm_dim_settle(a);
    b = tm_dim_settle(b);
    if (tm_dim_is(a, 1))
        return b;
    if (tm_dim_is(b, 1))
        return a;
    if (!tm_polynomial_of(a, &p) || !tm_polynomial_of(b, &q) || !tm_polynomial_mul(dims, &p, &q, &product))
        return opaque(dims, TM_DIM_MUL, a, b);
    return tm_polynomial_dim(dims, &product);
}

tm_dim tm_dim_product(tm_dims *dims, const tm_dim *list, int count) {
    tm_dim product = tm_dim_constant(dims, 1);
    for (int i = 0; i < count; i++)
        product = tm_dim_mul(dims, product, list[i]);
    return product;
}
