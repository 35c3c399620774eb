/* SPDX-License-Identifier: Apache-2.0
 *
 * lexer.c: the bytes of an IR text to tokens, one at a time, each with line and column.
 *
 *     %"a b": f32[2]  ->  VALUE "a b", ":", NAME f32, "[", NUMBER 2, "]"
 *
 * Comments run from ";" to the end of the line. The lexer knows no keywords, so every word may be an
 * op's or a graph's name. A byte that starts no token becomes a BAD token whose text says why; the
 * parser files that like any other unexpected token, so arbitrary bytes end in a diagnostic.
 */
#include "ir/text_internal.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static int hex_digit(char c) {
    return is_digit(c)            ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool more(const tm_parser *p) {
    return p->at < p->end;
}

static void skip_space(tm_parser *p) {
    for (; more(p); p->at++) {
        if (*p->at == ';')
            while (p->at + 1 < p->end && p->at[1] != '\n')
                p->at++;
        else if (*p->at == '\n') {
            p->line++;
            p->line_start = p->at + 1;
        } else if (*p->at != ' ' && *p->at != '\t' && *p->at != '\r')
            return;
    }
}

static void bad(tm_parser *p, const char *why) {
    p->token.kind = TM_TOKEN_BAD;
    p->token.text = why;
}

/* The character after a backslash; -1 when it is none. */
static int lex_escape(tm_parser *p) {
    char c = more(p) ? *p->at++ : 0;
    switch (c) {
    case 'n':
        return '\n';
    case 't':
        return '\t';
    case 'r':
        return '\r';
    case '"':
    case '\\':
        return c;
    case 'x':
        break;
    default:
        return -1;
    }
    int high = p->end - p->at >= 2 ? hex_digit(p->at[0]) : -1;
    int low = high >= 0 ? hex_digit(p->at[1]) : -1;
    if (low < 0)
        return -1;
    p->at += 2;
    return high * 16 + low;
}

/* After the opening quote. */
static bool lex_quoted(tm_parser *p) {
    const char *start = p->at;
    while (more(p) && *p->at != '"' && *p->at != '\n' && *p->at != '\\')
        p->at++;
    if (more(p) && *p->at == '"') { /* nothing to decode: the usual case, and that of long hex data */
        p->token.text = tm_arena_string_n(p->arena, start, (size_t)(p->at - start));
        p->token.text_size = (size_t)(p->at++ - start);
        return true;
    }
    tm_text text;
    tm_text_init(&text, p->arena);
    tm_text_add_bytes(&text, start, (size_t)(p->at - start));
    while (more(p) && *p->at != '"' && *p->at != '\n') {
        int c = (unsigned char)*p->at++;
        if (c == '\\' && (c = lex_escape(p)) < 0) {
            bad(p, "an invalid escape in quotes");
            return false;
        }
        char byte = (char)c;
        tm_text_add_bytes(&text, &byte, 1);
    }
    if (!more(p) || *p->at != '"') {
        bad(p, "a string without its closing quote");
        return false;
    }
    p->at++;
    p->token.text = tm_text_get(&text);
    p->token.text_size = text.size;
    return true;
}

static void lex_value(tm_parser *p) {
    p->at++;
    p->token.kind = TM_TOKEN_VALUE;
    if (more(p) && *p->at == '"') {
        p->at++;
        if (lex_quoted(p) && (p->token.text_size == 0 || strlen(p->token.text) != p->token.text_size))
            bad(p, "a name that is empty or holds a NUL byte");
        return;
    }
    const char *start = p->at;
    while (more(p) &&
           (is_letter(*p->at) || is_digit(*p->at) || *p->at == '.' || *p->at == '/' || *p->at == '-'))
        p->at++;
    p->token.text_size = (size_t)(p->at - start);
    p->token.text = tm_arena_string_n(p->arena, start, p->token.text_size);
    if (p->token.text_size == 0)
        bad(p, "'%' without a name");
}

static void lex_name(tm_parser *p) {
    const char *start = p->at;
    p->token.kind = TM_TOKEN_NAME;
    while (more(p) && (is_letter(*p->at) || is_digit(*p->at) || *p->at == '.'))
        p->at++;
    p->token.text_size = (size_t)(p->at - start);
    p->token.text = tm_arena_string_n(p->arena, start, p->token.text_size);
}

static void lex_number(tm_parser *p) {
    const char *start = p->at++;
    p->token.kind = TM_TOKEN_NUMBER;
    while (more(p) && is_digit(*p->at))
        p->at++;
    if (p->end - p->at >= 2 && p->at[0] == '.' && is_digit(p->at[1]))
        for (p->at++; more(p) && is_digit(*p->at);)
            p->at++;
    if (p->end - p->at >= 2 && (*p->at == 'e' || *p->at == 'E')) {
        const char *digits = p->at + (p->at[1] == '-' || p->at[1] == '+' ? 2 : 1);
        if (digits < p->end && is_digit(*digits))
            for (p->at = digits; more(p) && is_digit(*p->at);)
                p->at++;
    }
    p->token.text_size = (size_t)(p->at - start);
    p->token.text = tm_arena_string_n(p->arena, start, p->token.text_size);
}

static void lex_mark(tm_parser *p) {
    const char *start = p->at;
    p->token.kind = TM_TOKEN_MARK;
    if (*p->at == '.')
        while (more(p) && *p->at == '.' && p->at - start < 3)
            p->at++;
    else if (*p->at != 0 && strchr("(){}[],:=@?*-", *p->at) != NULL)
        p->at++;
    p->token.text_size = (size_t)(p->at - start);
    p->token.text = tm_arena_string_n(p->arena, start, p->token.text_size);
    if (p->token.text_size == 0 || (*start == '.' && p->token.text_size == 1)) {
        p->at = start + 1;
        bad(p, "a character that has no meaning here");
    }
}

void tm_lexer_next(tm_parser *p) {
    skip_space(p);
    p->token = (tm_token){.kind = TM_TOKEN_END, .start = p->at, .line = p->line, .text = ""};
    p->token.column = p->at - p->line_start + 1;
    if (!more(p))
        return;
    char c = *p->at;
    bool negative = c == '-' && p->at + 1 < p->end && is_digit(p->at[1]);
    if (c == '%') {
        lex_value(p);
    } else if (c == '"') {
        p->token.kind = TM_TOKEN_STRING;
        p->at++;
        lex_quoted(p);
    } else if (is_digit(c) || negative) {
        lex_number(p);
    } else if (is_letter(c)) {
        lex_name(p);
    } else {
        lex_mark(p);
    }
    p->token.size = (size_t)(p->at - p->token.start);
}

void tm_lexer_start(tm_parser *p, const char *text, size_t bytes) {
    p->at = p->line_start = text;
    p->end = text + bytes;
    p->line = 1;
    tm_lexer_next(p);
}

void tm_lexer_skip(tm_parser *p, size_t used) {
    p->at = p->token.start + used;
    tm_lexer_next(p);
}

/* ---- what the parser asks of tokens ---- */

bool tm_parse_is(const tm_parser *p, const char *mark) {
    return p->token.kind == TM_TOKEN_MARK && strcmp(p->token.text, mark) == 0;
}

bool tm_parse_is_name(const tm_parser *p, const char *name) {
    return p->token.kind == TM_TOKEN_NAME && strcmp(p->token.text, name) == 0;
}

bool tm_parse_accept(tm_parser *p, const char *mark) {
    if (!tm_parse_is(p, mark))
        return false;
    tm_lexer_next(p);
    return true;
}

tm_code tm_parse_fail(tm_parser *p, const char *expected) {
    tm_place place = {.file = p->file, .node_index = -1, .line = p->token.line, .column = p->token.column};
    const char *found = "the end of the text";
    if (p->token.kind == TM_TOKEN_BAD)
        found = p->token.text;
    else if (p->token.kind != TM_TOKEN_END)
        found = tm_arena_string_n(p->arena, p->token.start, p->token.size < 60 ? p->token.size : 60);
    return tm_report_mismatch(p->diagnostics, TM_E_TEXT, &place, NULL, expected, found, "unexpected text");
}

tm_code tm_parse_error(tm_parser *p, int64_t line, int64_t column, const char *format, ...) {
    tm_place place = {.file = p->file, .node_index = -1, .line = line, .column = column};
    va_list arguments;
    va_start(arguments, format);
    const char *message = tm_arena_format_v(p->arena, format, arguments);
    va_end(arguments);
    return tm_report(p->diagnostics, TM_E_TEXT, &place, NULL, "%s", message);
}

tm_code tm_parse_expect(tm_parser *p, const char *mark) {
    if (tm_parse_accept(p, mark))
        return TM_OK;
    return tm_parse_fail(p, tm_arena_format(p->arena, "'%s'", mark));
}

tm_code tm_parse_int(tm_parser *p, int64_t *out) {
    char *end = NULL;
    if (p->token.kind != TM_TOKEN_NUMBER)
        return tm_parse_fail(p, "an integer");
    errno = 0;
    long long value = strtoll(p->token.text, &end, 10);
    if (*end != 0 || errno != 0)
        return tm_parse_fail(p, "an integer of 64 bits");
    *out = value;
    tm_lexer_next(p);
    return TM_OK;
}

/* nan(BITS): a NaN with that pattern of 64 bits */
static tm_code parse_nan(tm_parser *p, double *out) {
    *out = (double)NAN;
    if (!tm_parse_accept(p, "("))
        return TM_OK;
    char *end = NULL;
    if (p->token.kind != TM_TOKEN_NUMBER)
        return tm_parse_fail(p, "the bits of a NaN");
    uint64_t bits = strtoull(p->token.text, &end, 10);
    if (*end != 0)
        return tm_parse_fail(p, "the bits of a NaN");
    memcpy(out, &bits, sizeof bits);
    tm_lexer_next(p);
    return tm_parse_expect(p, ")");
}

tm_code tm_parse_double(tm_parser *p, double *out) {
    bool negative = tm_parse_accept(p, "-");
    if (tm_parse_is_name(p, "inf")) {
        *out = negative ? -(double)INFINITY : (double)INFINITY;
        tm_lexer_next(p);
        return TM_OK;
    }
    if (!negative && tm_parse_is_name(p, "nan")) {
        tm_lexer_next(p);
        return parse_nan(p, out);
    }
    if (negative || p->token.kind != TM_TOKEN_NUMBER)
        return tm_parse_fail(p, "a number");
    char *text = tm_arena_string(p->arena, p->token.text), *point = strchr(text, '.'), *end = NULL;
    if (point != NULL) /* strtod follows the locale of the host program */
        *point = localeconv()->decimal_point[0];
    *out = strtod(text, &end);
    if (*end != 0)
        return tm_parse_fail(p, "a number");
    tm_lexer_next(p);
    return TM_OK;
}

tm_code tm_parse_string(tm_parser *p, const char **out, size_t *out_size) {
    if (p->token.kind != TM_TOKEN_STRING && p->token.kind != TM_TOKEN_NAME)
        return tm_parse_fail(p, "a name or a string");
    if (out_size == NULL && strlen(p->token.text) != p->token.text_size)
        return tm_parse_fail(p, "a string without NUL bytes");
    *out = p->token.text;
    if (out_size != NULL)
        *out_size = p->token.text_size;
    tm_lexer_next(p);
    return TM_OK;
}
