/* SPDX-License-Identifier: Apache-2.0
 *
 * dim_internal.h: what the files of the dim algebra share.
 *
 *   dim.c             symbols, hash-consing, ranges
 *   dim_polynomial.c  sums of products: the canonical form of +, -, *
 *   dim_simplify.c    division, min, max, broadcast, comparisons
 *   dim_bounds.c      what is known about a - b
 *   dim_evaluate.c    values under given symbols, substitution
 *   dim_text.c        text form
 *
 * A dim is a tm_dim_node at the start of a tm_dim_entry. In canonical form
 *
 *     ADD  is a chain  ADD(term, ADD(term, ... last))    terms in order of their products, constant last
 *     term is          product, or MUL(CONST coefficient, product), or CONST
 *     product is       factor, or MUL(factor, product)   factors in tm_dim_compare order
 *     factor is        SYMBOL, any function, or an opaque ADD or MUL
 *
 * An opaque ADD or MUL is one that was left as it is, because folding it would overflow or grow too large.
 */
#ifndef TM_IR_DIM_INTERNAL_H
#define TM_IR_DIM_INTERNAL_H

#include "ir/dim.h"

typedef struct tm_dim_entry tm_dim_entry;
struct tm_dim_entry {
    tm_dim_node node; /* first: a tm_dim is a pointer to its entry */
    tm_dims *owner;
    tm_dim_entry *next; /* in the hash bucket */
    uint64_t hash;
    bool opaque;
    int32_t depth; /* nesting; chains of ADD and MUL count once */
    int64_t size;  /* nodes of the tree, saturated */
    /* state of a walk, valid when stamp == owner->stamp */
    uint64_t stamp;
    tm_dim_entry *parent;
    int next_child;
    bool failed;
    int64_t value;
    tm_dim replacement;
};

typedef struct tm_symbol_entry {
    tm_symbol symbol; /* first */
    tm_dim_entry *node;
} tm_symbol_entry;

struct tm_dims {
    tm_arena *arena;
    tm_dim_entry **buckets;
    size_t bucket_count;
    int32_t count;
    TM_VECTOR(tm_symbol_entry *) symbols;
    tm_map by_name;
    tm_map suffixes; /* wish -> last number tried, for unique names */
    uint64_t stamp;
};

static inline tm_dim_entry *tm_dim_entry_of(tm_dim dim) {
    return (tm_dim_entry *)(uintptr_t)dim;
}
static inline bool tm_dim_is_opaque(tm_dim dim) {
    return tm_dim_entry_of(dim)->opaque;
}

/* The node as it stands, without simplification. */
tm_dim tm_dim_intern(tm_dims *dims, tm_dim_kind kind, tm_dim a, tm_dim b, tm_dim c, bool opaque);
/* A constant when the range has one value, else the dim itself. */
tm_dim tm_dim_settle(tm_dim dim);
/* Total order that depends on structure and names only, never on the order of creation. Constants last. */
int tm_dim_compare(tm_dim a, tm_dim b);
int64_t tm_saturating_add(int64_t a, int64_t b);
int64_t tm_saturating_mul(int64_t a, int64_t b);

/* ---- polynomials ---- */
#define TM_MAX_TERMS 64   /* longer sums become opaque */
#define TM_MAX_FACTORS 32 /* longer products become opaque */
#define TM_GROWTH_LIMIT 16

typedef struct tm_term {
    int64_t coefficient; /* not 0 */
    tm_dim product;      /* NULL: the constant term */
} tm_term;
typedef struct tm_polynomial {
    int count;
    tm_term terms[TM_MAX_TERMS]; /* in canonical order */
} tm_polynomial;

/* All return false when a limit or an overflow is in the way; *out is then undefined. */
TM_MUST_USE bool tm_polynomial_of(tm_dim dim, tm_polynomial *out);
/* p + scale * q */
TM_MUST_USE bool tm_polynomial_add(const tm_polynomial *p, int64_t scale, const tm_polynomial *q,
                                   tm_polynomial *out);
TM_MUST_USE bool tm_polynomial_mul(tm_dims *dims, const tm_polynomial *p, const tm_polynomial *q,
                                   tm_polynomial *out);
/* p / q when it leaves no rest */
TM_MUST_USE bool tm_polynomial_divide(tm_dims *dims, const tm_polynomial *p, const tm_polynomial *q,
                                      tm_polynomial *out);
/* Divides both by their greatest common factor; false when that is 1. */
bool tm_polynomial_cancel(tm_dims *dims, tm_polynomial *p, tm_polynomial *q);
int64_t tm_polynomial_content(const tm_polynomial *p,
                              int64_t with); /* gcd of all coefficients and `with`, >= 1 */
void tm_polynomial_range(const tm_polynomial *p, int64_t *out_low, int64_t *out_high);
tm_dim tm_polynomial_dim(tm_dims *dims, const tm_polynomial *p);
/* Is a - b known to be at most `limit`? */
bool tm_dim_known_below(tm_dim a, tm_dim b, int64_t limit);

/* ---- evaluation of one node ---- */
TM_MUST_USE bool tm_dim_apply(tm_dim_kind kind, int64_t a, int64_t b, int64_t c, int64_t *out_value);

/* ---- text ---- */
/* Parses the longest expression at the start of the text; *out_used bytes were taken. */
tm_dim tm_dim_parse_part(tm_dims *dims, const char *text, size_t bytes, size_t *out_used,
                         const char **out_error);
/* A symbol's name as the text form has it: bare, or in quotes. */
void tm_dim_print_name(const char *name, tm_text *out);

#endif
