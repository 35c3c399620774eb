/* SPDX-License-Identifier: Apache-2.0
 *
 * dim_text.c: the text form of dims.
 *
 *     expression = term { ("+" | "-") term }
 *     term       = factor { "*" factor }
 *     factor     = number | "-" factor | name | function "(" expression { "," expression } ")" | "("
 * expression ")" name       = letters, digits, "_" and ".", not starting with a digit; or a string in double
 * quotes
 *
 * Printing follows the canonical chains, so it needs no parentheses; sums and products that were left
 * opaque print as add(a, b) and mul(a, b), which the parser hands to the same constructors. So
 * parse(print(d)) is the same pointer. Expressions of absurd size print as "...", which does not parse:
 * a hostile model could otherwise ask for text of exponential length.
 */
#include "ir/dim_internal.h"

#include <string.h>

#define MAX_PRINTED_NODES 100000
#define MAX_DEPTH 500

static const char *const function_names[] = {
    [TM_DIM_ADD] = "add",           [TM_DIM_MUL] = "mul",
    [TM_DIM_FLOORDIV] = "floordiv", [TM_DIM_TRUNCDIV] = "truncdiv",
    [TM_DIM_FLOORMOD] = "floormod", [TM_DIM_MIN] = "min",
    [TM_DIM_MAX] = "max",           [TM_DIM_BROADCAST] = "broadcast",
    [TM_DIM_EQUAL] = "equal",       [TM_DIM_LESS] = "less",
    [TM_DIM_SELECT] = "select",
};

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* ---- printing ---- */

void tm_dim_print_name(const char *name, tm_text *out) {
    bool bare = is_letter(name[0]);
    for (const char *c = name; *c != 0; c++)
        bare = bare && (is_letter(*c) || is_digit(*c) || *c == '.');
    if (bare) {
        tm_text_add(out, "%s", name);
        return;
    }
    tm_text_add(out, "\"");
    tm_text_add_escaped(out, name, strlen(name));
    tm_text_add(out, "\"");
}

static void print_sum(tm_dim dim, tm_text *out);

static void print_factor(tm_dim dim, tm_text *out) {
    if (dim->kind == TM_DIM_CONST) {
        tm_text_add(out, "%lld", (long long)dim->constant);
        return;
    }
    if (dim->kind == TM_DIM_SYMBOL) {
        tm_dim_print_name(dim->symbol->name, out);
        return;
    }
    tm_text_add(out, "%s(", function_names[dim->kind]);
    print_sum(dim->a, out);
    tm_text_add(out, ", ");
    print_sum(dim->b, out);
    if (dim->c != NULL) {
        tm_text_add(out, ", ");
        print_sum(dim->c, out);
    }
    tm_text_add(out, ")");
}

static bool is_chain(tm_dim dim, tm_dim_kind kind) {
    return dim->kind == kind && !tm_dim_is_opaque(dim);
}

static void print_product(tm_dim dim, tm_text *out) {
    for (; is_chain(dim, TM_DIM_MUL); dim = dim->b) {
        print_factor(dim->a, out);
        tm_text_add(out, "*");
    }
    print_factor(dim, out);
}

static void print_term(tm_dim term, bool first, tm_text *out) {
    int64_t coefficient = 1;
    tm_dim product = term;
    if (term->kind == TM_DIM_CONST) {
        coefficient = term->constant;
        product = NULL;
    } else if (is_chain(term, TM_DIM_MUL) && term->a->kind == TM_DIM_CONST) {
        coefficient = term->a->constant;
        product = term->b;
    }
    if (!first) {
        bool negative = coefficient < 0 && coefficient != INT64_MIN;
        tm_text_add(out, "%s", negative ? " - " : " + ");
        coefficient = negative ? -coefficient : coefficient;
    }
    if (product == NULL)
        tm_text_add(out, "%lld", (long long)coefficient);
    else if (coefficient == -1)
        tm_text_add(out, "-");
    else if (coefficient != 1)
        tm_text_add(out, "%lld*", (long long)coefficient);
    if (product != NULL)
        print_product(product, out);
}

static void print_sum(tm_dim dim, tm_text *out) {
    bool first = true;
    for (; is_chain(dim, TM_DIM_ADD); dim = dim->b) {
        print_term(dim->a, first, out);
        first = false;
    }
    print_term(dim, first, out);
}

void tm_dim_print(tm_dim dim, tm_text *out) {
    const tm_dim_entry *entry = tm_dim_entry_of(dim);
    if (entry->size > MAX_PRINTED_NODES || entry->depth > MAX_DEPTH / 2)
        tm_text_add(out, "...");
    else
        print_sum(dim, out);
}

/* ---- parsing ---- */

typedef struct dim_parser {
    tm_dims *dims;
    const char *at, *end;
    int depth;
    const char *error;
} dim_parser;

static tm_dim fail(dim_parser *p, const char *error) {
    if (p->error == NULL)
        p->error = error;
    return NULL;
}

static char peek(dim_parser *p) {
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t'))
        p->at++;
    return p->at < p->end ? *p->at : 0;
}

static bool accept(dim_parser *p, char c) {
    if (peek(p) != c)
        return false;
    p->at++;
    return true;
}

static tm_dim parse_sum(dim_parser *p);

static tm_dim parse_number(dim_parser *p, bool negative) {
    uint64_t value = 0, limit = (uint64_t)INT64_MAX + (negative ? 1 : 0);
    for (; p->at < p->end && is_digit(*p->at); p->at++) {
        uint64_t digit = (uint64_t)(*p->at - '0');
        if (value > (limit - digit) / 10)
            return fail(p, "the number does not fit into 64 bits");
        value = value * 10 + digit;
    }
    return tm_dim_constant(p->dims, negative ? (int64_t)(0u - value) : (int64_t)value);
}

static int hex_digit(char c) {
    return is_digit(c)            ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* One character of a quoted name after its backslash; -1 on a bad escape. */
static int parse_escape(dim_parser *p) {
    static const char letters[] = "n\nt\tr\r\"\"\\\\";
    char c = *p->at++;
    if (c == 'x' && p->end - p->at >= 2 && hex_digit(p->at[0]) >= 0 && hex_digit(p->at[1]) >= 0) {
        p->at += 2;
        return hex_digit(p->at[-2]) * 16 + hex_digit(p->at[-1]);
    }
    for (size_t i = 0; c != 0 && i + 1 < sizeof letters; i += 2)
        if (letters[i] == c)
            return letters[i + 1];
    return -1;
}

static tm_dim parse_quoted(dim_parser *p) {
    tm_text name;
    tm_text_init(&name, p->dims->arena);
    while (p->at < p->end && *p->at != '"' && *p->at != '\n') {
        int c = (unsigned char)*p->at++;
        if (c == '\\')
            c = p->at < p->end ? parse_escape(p) : -1;
        if (c <= 0)
            return fail(p, "the name has an invalid escape");
        char byte = (char)c;
        tm_text_add_bytes(&name, &byte, 1);
    }
    if (!accept(p, '"'))
        return fail(p, "the quoted name does not end");
    return tm_dim_input(p->dims, tm_text_get(&name));
}

static tm_dim call(dim_parser *p, tm_dim_kind kind, const tm_dim *a) {
    tm_dim broadcast;
    switch (kind) {
    case TM_DIM_ADD:
        return tm_dim_add(p->dims, a[0], a[1]);
    case TM_DIM_MUL:
        return tm_dim_mul(p->dims, a[0], a[1]);
    case TM_DIM_FLOORDIV:
        return tm_dim_floordiv(p->dims, a[0], a[1]);
    case TM_DIM_TRUNCDIV:
        return tm_dim_truncdiv(p->dims, a[0], a[1]);
    case TM_DIM_FLOORMOD:
        return tm_dim_floormod(p->dims, a[0], a[1]);
    case TM_DIM_MIN:
        return tm_dim_min(p->dims, a[0], a[1]);
    case TM_DIM_MAX:
        return tm_dim_max(p->dims, a[0], a[1]);
    case TM_DIM_BROADCAST:
        broadcast = tm_dim_broadcast(p->dims, a[0], a[1]);
        return broadcast != NULL ? broadcast : fail(p, "the dims cannot be broadcast");
    case TM_DIM_EQUAL:
        return tm_dim_equal(p->dims, a[0], a[1]);
    case TM_DIM_LESS:
        return tm_dim_less(p->dims, a[0], a[1]);
    case TM_DIM_SELECT:
        return tm_dim_select(p->dims, a[0], a[1], a[2]);
    case TM_DIM_CONST:
    case TM_DIM_SYMBOL:
        break;
    }
    return fail(p, "unknown function");
}

static tm_dim parse_call(dim_parser *p, const char *name, size_t bytes) {
    tm_dim arguments[3] = {NULL, NULL, NULL};
    size_t kind = TM_DIM_ADD;
    while (kind <= TM_DIM_SELECT &&
           (strlen(function_names[kind]) != bytes || memcmp(function_names[kind], name, bytes) != 0))
        kind++;
    if (kind > TM_DIM_SELECT)
        return fail(p, "unknown function");
    int count = kind == TM_DIM_SELECT ? 3 : 2;
    for (int i = 0; i < count; i++) {
        if (i > 0 && !accept(p, ','))
            return fail(p, "expected ',' and another argument");
        arguments[i] = parse_sum(p);
        if (arguments[i] == NULL)
            return NULL;
    }
    if (!accept(p, ')'))
        return fail(p, "expected ')'");
    return call(p, (tm_dim_kind)kind, arguments);
}

static tm_dim parse_factor(dim_parser *p) {
    char c = peek(p);
    if (is_digit(c))
        return parse_number(p, false);
    if (accept(p, '-')) {
        if (p->at < p->end && is_digit(*p->at))
            return parse_number(p, true);
        if (++p->depth > MAX_DEPTH)
            return fail(p, "nested too deeply");
        tm_dim operand = parse_factor(p);
        p->depth--;
        return operand == NULL ? NULL : tm_dim_mul(p->dims, tm_dim_constant(p->dims, -1), operand);
    }
    if (accept(p, '"'))
        return parse_quoted(p);
    if (accept(p, '(')) {
        tm_dim inner = parse_sum(p);
        return inner == NULL || accept(p, ')') ? inner : fail(p, "expected ')'");
    }
    const char *start = p->at;
    while (p->at < p->end && (is_letter(*p->at) || (p->at > start && (is_digit(*p->at) || *p->at == '.'))))
        p->at++;
    size_t bytes = (size_t)(p->at - start);
    if (bytes == 0)
        return fail(p, "expected a dim: a number, a name, or an expression");
    if (p->at < p->end && *p->at == '(') {
        p->at++;
        return parse_call(p, start, bytes);
    }
    return tm_dim_input(p->dims, tm_arena_string_n(p->dims->arena, start, bytes));
}

static tm_dim parse_term(dim_parser *p) {
    tm_dim product = parse_factor(p);
    while (product != NULL && accept(p, '*')) {
        tm_dim factor = parse_factor(p);
        product = factor == NULL ? NULL : tm_dim_mul(p->dims, product, factor);
    }
    return product;
}

static tm_dim parse_sum(dim_parser *p) {
    if (++p->depth > MAX_DEPTH)
        return fail(p, "nested too deeply");
    tm_dim sum = parse_term(p);
    while (sum != NULL && (peek(p) == '+' || peek(p) == '-')) {
        bool minus = *p->at++ == '-';
        tm_dim term = parse_term(p);
        if (term == NULL)
            return NULL;
        sum = minus ? tm_dim_sub(p->dims, sum, term) : tm_dim_add(p->dims, sum, term);
    }
    p->depth--;
    return sum;
}

tm_dim tm_dim_parse_part(tm_dims *dims, const char *text, size_t bytes, size_t *out_used,
                         const char **out_error) {
    dim_parser parser = {dims, text, text + bytes, 0, NULL};
    tm_dim dim = parse_sum(&parser);
    *out_used = (size_t)(parser.at - text);
    *out_error = parser.error;
    return dim;
}

tm_dim tm_dim_parse(tm_dims *dims, const char *text, const char **out_error) {
    dim_parser parser = {dims, text, text + strlen(text), 0, NULL};
    tm_dim dim = parse_sum(&parser);
    if (dim != NULL && peek(&parser) != 0)
        dim = fail(&parser, "unexpected text after the expression");
    if (out_error != NULL)
        *out_error = parser.error;
    return dim;
}
