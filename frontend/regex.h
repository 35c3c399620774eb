/* SPDX-License-Identifier: Apache-2.0
 *
 * regex.h: regular expressions in RE2's syntax, for RegexFullMatch.
 *
 * A pattern is parsed into a tree (regex_parse.c, with its classes in regex_class.c), and the tree becomes
 * the program that the kernel runs (regex.c; base/regex.def says what a program is).
 *
 * What the syntax has: characters, escapes (\n, \x{263a}, \Q...\E), . and classes with ranges, \d \s \w and
 * [:names:]; x|y, x*, x+, x?, x{n,m} and their lazy forms (which match the same strings as a whole); groups
 * with or without a name or flags i, m, s, U; ^ $ \A \z \b \B. Refused: \p{...} classes of Unicode and \C,
 * which RE2 has; backreferences and look-around, which it has not.
 */
#ifndef TM_FRONTEND_REGEX_H
#define TM_FRONTEND_REGEX_H

#include "base/base.h"

enum {
#define TM_REGEX_INSTRUCTION(number, name) TM_REGEX_##name = number,
#include "base/regex.def"
#undef TM_REGEX_INSTRUCTION
};
enum {
#define TM_REGEX_CONDITION(number, name) TM_REGEX_##name = number,
#include "base/regex.def"
#undef TM_REGEX_CONDITION
};

#define TM_REGEX_LAST 0x10ffff      /* the last code point */
#define TM_REGEX_REPEATS 1000       /* the largest number in x{n,m}, as in RE2 */
#define TM_REGEX_NESTING 1000       /* groups in groups, as in RE2 */
#define TM_REGEX_INSTRUCTIONS 50000 /* of a program */

typedef struct tm_regex_pair {
    int32_t first, last;
} tm_regex_pair;
typedef TM_VECTOR(tm_regex_pair) tm_regex_set;

typedef enum tm_regex_kind {
    TM_REGEX_SEQUENCE,    /* the children one after the other */
    TM_REGEX_ALTERNATIVE, /* one of the children */
    TM_REGEX_REPEAT,      /* the child `least` to `most` times; most -1: without end */
    TM_REGEX_CHARACTER,   /* one of the set */
    TM_REGEX_PLACE        /* a condition */
} tm_regex_kind;

typedef struct tm_regex_node {
    tm_regex_kind kind;
    struct tm_regex_node *child, *next;
    tm_regex_set set;
    int64_t pairs; /* where the set stands in the program; -1: not yet */
    int condition;
    int least, most;
} tm_regex_node;

typedef struct tm_regex_flags {
    bool fold, lines, dot_all; /* i, m, s; U changes nothing here */
} tm_regex_flags;

typedef struct tm_regex_parser {
    tm_arena *arena;
    const char *pattern;
    size_t size, at;
    tm_regex_flags flags;
    int depth;
    const char *error; /* NULL: none so far */
} tm_regex_parser;

/* Compiles a pattern. NULL, or what is wrong with it. */
TM_MUST_USE const char *tm_regex_compile(tm_arena *arena, const char *pattern, size_t size,
                                         const int64_t **out_program, int64_t *out_count);

/* ---- regex_parse.c ---- */
/* The tree of the parser's pattern; NULL and parser->error when it has none. */
tm_regex_node *tm_regex_parse(tm_regex_parser *parser);
/* Notes the first error, with the pattern's byte where it stands. */
void tm_regex_fail(tm_regex_parser *parser, const char *what);
bool tm_regex_next_is(const tm_regex_parser *parser, const char *text);
bool tm_regex_accept(tm_regex_parser *parser, const char *text);
/* The next character of the pattern; -1 at its end or after an error. */
int32_t tm_regex_take(tm_regex_parser *parser);
/* The character that an escape stands for; parser->at is behind the backslash. */
int32_t tm_regex_escaped(tm_regex_parser *parser);

/* ---- regex_class.c ---- */
void tm_regex_set_add(tm_arena *arena, tm_regex_set *set, int32_t first, int32_t last);
/* Sorts the pairs, joins those that touch; adds both cases of the letters in it, and turns it round, on
 * demand. */
void tm_regex_set_finish(tm_arena *arena, tm_regex_set *set, bool fold, bool negate);
/* Adds \d, \s, \w, \D, \S or \W when one comes next. */
bool tm_regex_accept_shorthand(tm_regex_parser *parser, tm_regex_set *set);
/* A class in brackets; parser->at is behind the opening one. */
void tm_regex_class(tm_regex_parser *parser, tm_regex_set *set);

#endif
