/* SPDX-License-Identifier: Apache-2.0
 *
 * text_internal.h: what the files of the text form share.
 *
 *   print.c           models, graphs, nodes
 *   print_constant.c  types, constants, attributes, numbers
 *   lexer.c           bytes to tokens
 *   parse.c           models, graphs, nodes
 *   parse_constant.c  types, constants, attributes
 */
#ifndef TM_IR_TEXT_INTERNAL_H
#define TM_IR_TEXT_INTERNAL_H

#include "ir/text.h"

/* ---- printing ---- */

#define TM_PRINT_ELIDED_ABOVE 16
#define TM_PRINT_LISTED 64 /* larger constants print as hex bytes */

void tm_print_graph(const tm_graph *graph, unsigned flags, int indent, tm_text *out);
void tm_print_indent(int indent, tm_text *out);
void tm_print_name(const char *name, tm_text *out); /* bare or quoted */
void tm_print_type(const tm_value *value, tm_text *out);
void tm_print_data(const tm_constant *constant, unsigned flags, tm_text *out); /* {1, 2}, hex"..", ... */
void tm_print_constant_type(const tm_constant *constant, tm_text *out);        /* f32[2, 3] */
void tm_print_attributes(const tm_node *node, unsigned flags, int indent, tm_text *out);
/* The shortest decimal form that gives the same double (of a float, the same float) back. */
void tm_print_double(double value, bool single, tm_text *out);

/* ---- parsing ---- */

typedef enum tm_token_kind {
    TM_TOKEN_END,
    TM_TOKEN_NAME,   /* Add, main, f32, ai.onnx.ml.Scaler, _ */
    TM_TOKEN_VALUE,  /* %x, %"odd name": text is the name */
    TM_TOKEN_STRING, /* "text": text is the content */
    TM_TOKEN_NUMBER, /* 12, -3, 0.5, 1e-05 */
    TM_TOKEN_MARK,   /* one of ( ) { } [ ] , : = @ ? * -, or .. or ... */
    TM_TOKEN_BAD     /* text says why */
} tm_token_kind;

typedef struct tm_token {
    tm_token_kind kind;
    const char *start; /* in the source */
    size_t size;
    const char *text; /* NUL-terminated */
    size_t text_size; /* of STRING, which may hold NUL bytes */
    int64_t line, column;
} tm_token;

typedef struct tm_pending_symbol { /* `dim n : load %v[3]`, whose value is defined further down */
    tm_symbol *symbol;
    const char *value;
    int64_t line, column;
} tm_pending_symbol;

typedef struct tm_parser {
    tm_arena *arena;
    tm_diagnostics *diagnostics;
    const char *file;
    const char *at, *end, *line_start;
    int64_t line;
    tm_token token; /* the next one */
    tm_model *model;
    tm_map values; /* name -> tm_value, of the whole model */
    TM_VECTOR(tm_pending_symbol) pending;
    int depth;
} tm_parser;

#define TM_PARSE_DEPTH 64 /* nested graphs */

void tm_lexer_start(tm_parser *parser, const char *text, size_t bytes);
void tm_lexer_next(tm_parser *parser);
/* Goes on lexing `used` bytes after the start of the current token. */
void tm_lexer_skip(tm_parser *parser, size_t used);
bool tm_parse_is(const tm_parser *parser, const char *mark); /* the token is that mark */
bool tm_parse_is_name(const tm_parser *parser, const char *name);
bool tm_parse_accept(tm_parser *parser, const char *mark);
/* Files E_TEXT at the token: "expected ... / found ...". */
tm_code tm_parse_fail(tm_parser *parser, const char *expected);
/* Files E_TEXT with a message at a place. */
tm_code tm_parse_error(tm_parser *parser, int64_t line, int64_t column, const char *format, ...)
    TM_PRINTF(4, 5);
TM_MUST_USE tm_code tm_parse_expect(tm_parser *parser, const char *mark);
TM_MUST_USE tm_code tm_parse_int(tm_parser *parser, int64_t *out);
TM_MUST_USE tm_code tm_parse_double(tm_parser *parser, double *out);
TM_MUST_USE tm_code tm_parse_string(tm_parser *parser, const char **out,
                                    size_t *out_size); /* string or bare name */

typedef struct tm_parsed_type {
    tamis_kind kind, item;
    tamis_type type, key;
    int rank;
    tm_dim dims[TAMIS_MAX_RANK]; /* NULL: `?` */
} tm_parsed_type;
TM_MUST_USE tm_code tm_parse_type(tm_parser *parser, tm_parsed_type *out);
TM_MUST_USE tm_code tm_parse_constant(tm_parser *parser,
                                      const tm_constant **out); /* f32[2] {1, 2} or type = data */
TM_MUST_USE tm_code tm_parse_attributes(tm_parser *parser, tm_node *node);
TM_MUST_USE tm_code tm_parse_graph(tm_parser *parser, tm_graph *outer, tm_node *owner, tm_graph **out);

#endif
