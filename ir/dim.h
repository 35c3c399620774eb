/* SPDX-License-Identifier: Apache-2.0
 *
 * dim.h: dimensions as expressions.
 *
 * Every dim of every value is a tm_dim: a constant, a symbol, or an operation on them. Dims are
 * hash-consed in a tm_dims, so two dims are the same expression exactly when their pointers are
 * equal, and they are kept in a canonical form: sums of products with constants last,
 *
 *     batch * 2 + batch - batch + seq*0 + 3      ->     2*batch + 3
 *
 * Shape arithmetic in graphs (Shape -> Gather -> Mul -> Concat -> Reshape) is carried as such
 * expressions in tm_value.elements, so Equal, Where and the like exist too, with 0 and 1 as truth.
 *
 * A symbol is bound before anything that needs it runs: INPUT symbols by the dims of graph inputs
 * (equal names are one symbol); LOAD symbols by reading element i of an integer value when that
 * value has been made; FREE symbols by looking at dim `axis` of a value after the op that decides
 * it has run (NonZero, Loop, ...). Symbols have a range, [0, INT64_MAX] (LOAD: all of int64) unless facts
 * say more; facts come from --dim name=lo..hi.
 */
#ifndef TM_IR_DIM_H
#define TM_IR_DIM_H

#include "base/base.h"

struct tm_value;

typedef enum tm_dim_kind {
    TM_DIM_CONST,
    TM_DIM_SYMBOL,
    TM_DIM_ADD,       /* operands a, b; integers of 64 bits, overflow is checked at run time */
    TM_DIM_MUL,
    TM_DIM_FLOORDIV,  /* rounds towards minus infinity; by zero fails at run time */
    TM_DIM_TRUNCDIV,  /* rounds towards zero: ONNX Div on integers */
    TM_DIM_FLOORMOD,  /* sign of the divisor: ONNX Mod fmod=0 */
    TM_DIM_MIN,
    TM_DIM_MAX,
    TM_DIM_BROADCAST, /* a==b or b==1: a; a==1: b; else fails at run time */
    TM_DIM_EQUAL,     /* 0 or 1 */
    TM_DIM_LESS,
    TM_DIM_SELECT     /* a != 0 ? b : c */
} tm_dim_kind;

typedef enum tm_symbol_origin { TM_SYMBOL_INPUT, TM_SYMBOL_LOAD, TM_SYMBOL_FREE } tm_symbol_origin;

typedef struct tm_symbol {
    int32_t number;       /* dense, from 0, in its tm_dims */
    const char *name;     /* unique in its tm_dims */
    tm_symbol_origin origin;
    struct tm_value *value; /* INPUT: the first graph input with it; LOAD, FREE: the value that binds it */
    int64_t index;        /* INPUT, FREE: axis; LOAD: flat element index */
    int64_t low, high;    /* known range, inclusive */
} tm_symbol;

typedef struct tm_dim_node tm_dim_node;
typedef const tm_dim_node *tm_dim;
struct tm_dim_node {
    tm_dim_kind kind;
    bool late;       /* depends on a LOAD or FREE symbol */
    int32_t number;  /* dense, from 0, in order of creation: the deterministic order of dims */
    int64_t constant; /* CONST */
    tm_symbol *symbol; /* SYMBOL */
    tm_dim a, b, c;
    int64_t low, high; /* range of the value, inclusive, saturated */
};

typedef struct tm_dims tm_dims;

tm_dims *tm_dims_create(tm_arena *arena);
size_t tm_dims_symbol_count(const tm_dims *dims);
tm_symbol *tm_dims_symbol_at(const tm_dims *dims, size_t number);

tm_dim tm_dim_constant(tm_dims *dims, int64_t value);
/* The INPUT symbol of that name, made when new. */
tm_dim tm_dim_input(tm_dims *dims, const char *name);
/* A new LOAD or FREE symbol; `name` is a wish, made unique. */
tm_dim tm_dim_fresh(tm_dims *dims, const char *name, tm_symbol_origin origin, struct tm_value *value,
                    int64_t index);
tm_dim tm_dim_of_symbol(tm_dims *dims, tm_symbol *symbol);
tm_symbol *tm_dims_find_symbol(const tm_dims *dims, const char *name); /* NULL: none */
/* Facts: narrows a symbol's range; low == high pins it (call before inference). */
void tm_symbol_set_range(tm_symbol *symbol, int64_t low, int64_t high);

/* Simplifying constructors. Constants fold (when they do not overflow); ranges decide min, max,
 * broadcast, comparisons; floordiv(4*n, 4) = n, (n*8)/n = 8 if n >= 1, and the like. */
tm_dim tm_dim_add(tm_dims *dims, tm_dim a, tm_dim b);
tm_dim tm_dim_sub(tm_dims *dims, tm_dim a, tm_dim b);
tm_dim tm_dim_mul(tm_dims *dims, tm_dim a, tm_dim b);
tm_dim tm_dim_floordiv(tm_dims *dims, tm_dim a, tm_dim b);
tm_dim tm_dim_ceildiv(tm_dims *dims, tm_dim a, tm_dim b); /* -floordiv(-a, b) */
tm_dim tm_dim_truncdiv(tm_dims *dims, tm_dim a, tm_dim b);
tm_dim tm_dim_floormod(tm_dims *dims, tm_dim a, tm_dim b);
tm_dim tm_dim_min(tm_dims *dims, tm_dim a, tm_dim b);
tm_dim tm_dim_max(tm_dims *dims, tm_dim a, tm_dim b);
tm_dim tm_dim_clamp(tm_dims *dims, tm_dim x, tm_dim low, tm_dim high); /* min(max(x, low), high) */
tm_dim tm_dim_broadcast(tm_dims *dims, tm_dim a, tm_dim b); /* NULL: known to fail */
tm_dim tm_dim_equal(tm_dims *dims, tm_dim a, tm_dim b);
tm_dim tm_dim_less(tm_dims *dims, tm_dim a, tm_dim b);
tm_dim tm_dim_select(tm_dims *dims, tm_dim condition, tm_dim yes, tm_dim no);
tm_dim tm_dim_product(tm_dims *dims, const tm_dim *list, int count); /* 1 for none */

static inline bool tm_dim_is_constant(tm_dim dim) { return dim->kind == TM_DIM_CONST; }
static inline bool tm_dim_is(tm_dim dim, int64_t value) {
    return dim->kind == TM_DIM_CONST && dim->constant == value;
}
/* Known to be equal (same expression), known to differ (disjoint ranges or constant difference). */
static inline bool tm_dim_same(tm_dim a, tm_dim b) { return a == b; }
bool tm_dim_differ(tm_dims *dims, tm_dim a, tm_dim b);

/* Replaces symbols: `map(symbol)` gives the new dim or NULL to keep it. With `map` NULL, only symbols that
 * facts have pinned since the dim was made become their constants. */
tm_dim tm_dim_substitute(tm_dims *dims, tm_dim dim, tm_dim (*map)(void *context, tm_symbol *symbol),
                         void *context);
/* Value under the symbols' values (indexed by number);
 * false on overflow, division by zero, failed broadcast. */
TM_MUST_USE bool tm_dim_evaluate(tm_dim dim, const int64_t *symbols, int64_t *out_value);
/* Sets mentioned[number] for every symbol in the dim. */
void tm_dim_mark_symbols(tm_dim dim, bool *mentioned);
/* "2*batch + 3", "floordiv(n - 1, 2)", "broadcast(a, b)": operators + - *, functions by name. */
void tm_dim_print(tm_dim dim, tm_text *out);
/* Parses that form; unknown names become INPUT symbols. NULL and *out_error on bad text. */
tm_dim tm_dim_parse(tm_dims *dims, const char *text, const char **out_error);

#endif
