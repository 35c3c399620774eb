/* SPDX-License-Identifier: Apache-2.0
 *
 * regex_parse.c: a pattern becomes a tree, by recursive descent.
 *
 *     alternative = sequence {"|" sequence}     sequence = {atom [repeat]}
 *     atom = character | class | place | "(" alternative ")"
 *
 * Recursion is as deep as groups are nested, which has a limit. Flags hold from where they stand to the end
 * of their group: the parser keeps them, and a group puts back what it found.
 */
#include "frontend/regex.h"

#include <string.h>

static tm_regex_node *parse_alternative(tm_regex_parser *parser);

void tm_regex_fail(tm_regex_parser *parser, const char *what) {
    if (parser->error == NULL)
        parser->error = tm_arena_format(parser->arena, "%s (at byte %zu)", what, parser->at);
}

bool tm_regex_next_is(const tm_regex_parser *parser, const char *text) {
    size_t size = strlen(text);
    return parser->size - parser->at >= size && memcmp(parser->pattern + parser->at, text, size) == 0;
}

bool tm_regex_accept(tm_regex_parser *parser, const char *text) {
    bool is = parser->error == NULL && tm_regex_next_is(parser, text);
    parser->at += is ? strlen(text) : 0;
    return is;
}

int32_t tm_regex_take(tm_regex_parser *parser) {
    const unsigned char *bytes = (const unsigned char *)parser->pattern + parser->at;
    size_t left = parser->size - parser->at;
    if (left == 0)
        tm_regex_fail(parser, "the pattern ends too early");
    if (parser->error != NULL)
        return -1;
    size_t more = bytes[0] < 0x80 ? 0 : bytes[0] >= 0xf0 ? 3 : bytes[0] >= 0xe0 ? 2 : 1;
    int32_t code = more == 0 ? bytes[0] : bytes[0] & (0x3f >> more);
    bool fine = more == 0 || (bytes[0] >= 0xc2 && bytes[0] < 0xf5 && left > more);
    for (size_t i = 1; i <= more && fine; i++) {
        fine = (bytes[i] & 0xc0) == 0x80;
        code = code << 6 | (bytes[i] & 0x3f);
    }
    if (!fine || code > TM_REGEX_LAST) {
        tm_regex_fail(parser, "the pattern is not UTF-8");
        return -1;
    }
    parser->at += more + 1;
    return code;
}

/* ---- escapes ---- */

static int digit_of(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : 16;
}

/* Digits of a base, `most` at most; -1 when there are none. */
static int32_t take_number(tm_regex_parser *parser, int base, int most) {
    int32_t value = -1;
    for (int n = 0; n < most && parser->at < parser->size; n++) {
        int digit = digit_of(parser->pattern[parser->at]);
        if (digit >= base || value > TM_REGEX_LAST)
            break;
        value = (value < 0 ? 0 : value) * base + digit;
        parser->at++;
    }
    return value;
}

static int32_t take_hex(tm_regex_parser *parser) {
    bool braces = tm_regex_accept(parser, "{");
    size_t from = parser->at;
    int32_t value = take_number(parser, 16, braces ? 8 : 2);
    if (value < 0 || value > TM_REGEX_LAST ||
        (braces ? !tm_regex_accept(parser, "}") : parser->at - from != 2))
        tm_regex_fail(parser, "\\x is followed by two hexadecimal digits, or by a code point in braces");
    return value;
}

int32_t tm_regex_escaped(tm_regex_parser *parser) {
    static const char letters[] = "afnrtv", meanings[] = "\a\f\n\r\t\v";
    if (parser->at == parser->size) {
        tm_regex_fail(parser, "nothing follows the last \\");
        return -1;
    }
    char c = parser->pattern[parser->at];
    char after = parser->at + 1 < parser->size ? parser->pattern[parser->at + 1] : 0;
    if (c == '0' || (c >= '1' && c <= '7' && after >= '0' && after <= '7'))
        return take_number(parser, 8, 3);
    if (tm_regex_accept(parser, "x"))
        return take_hex(parser);
    const char *letter = c != 0 ? strchr(letters, c) : NULL;
    bool alphanumeric = digit_of(c) < 16 || (c >= 'g' && c <= 'z') || (c >= 'G' && c <= 'Z');
    if (letter != NULL) {
        parser->at++;
        return meanings[letter - letters];
    }
    if (c == 'p' || c == 'P' || c == 'C')
        tm_regex_fail(parser,
                      "\\p, \\P and \\C are not supported: write the characters as a class in brackets");
    else if (c >= '1' && c <= '9')
        tm_regex_fail(parser, "RE2's syntax has no backreferences");
    else if (alphanumeric || (unsigned char)c >= 0x80)
        tm_regex_fail(parser, "RE2's syntax has no such escape");
    return tm_regex_take(parser);
}

/* ---- atoms ---- */

static tm_regex_node *new_node(tm_regex_parser *parser, tm_regex_kind kind) {
    tm_regex_node *node = TM_NEW(parser->arena, tm_regex_node);
    node->kind = kind;
    node->pairs = -1;
    return node;
}

static tm_regex_node *new_place(tm_regex_parser *parser, int condition) {
    tm_regex_node *node = new_node(parser, TM_REGEX_PLACE);
    node->condition = condition;
    return node;
}

static tm_regex_node *new_character(tm_regex_parser *parser, int32_t code) {
    tm_regex_node *node = new_node(parser, TM_REGEX_CHARACTER);
    if (code >= 0)
        tm_regex_set_add(parser->arena, &node->set, code, code);
    tm_regex_set_finish(parser->arena, &node->set, parser->flags.fold, false);
    return node;
}

/* Flags of (?i-s) or (?i-s:x); parser->at is behind the question mark. False: they were for the rest of the
 * group around, and there is no group here. */
static bool parse_flags(tm_regex_parser *parser) {
    bool value = true, any = false;
    for (;; any = true) {
        bool *flag = tm_regex_next_is(parser, "i")   ? &parser->flags.fold
                     : tm_regex_next_is(parser, "m") ? &parser->flags.lines
                     : tm_regex_next_is(parser, "s") ? &parser->flags.dot_all
                                                     : NULL;
        if (flag != NULL) {
            *flag = value;
            parser->at++;
        } else if (tm_regex_accept(parser, "U")) {
            continue;
        } else if (value && tm_regex_accept(parser, "-")) {
            value = any = false;
            if (tm_regex_next_is(parser, ")") || tm_regex_next_is(parser, ":"))
                break;
        } else {
            break;
        }
    }
    if (tm_regex_accept(parser, ":"))
        return true;
    if (!any || !tm_regex_accept(parser, ")"))
        tm_regex_fail(parser, "unknown flags or group: RE2's syntax has (?:x), (?P<name>x), (?imsU-imsU:x), "
                              "and no look-around");
    return false;
}

static void skip_name(tm_regex_parser *parser) {
    size_t from = parser->at;
    while (parser->at < parser->size) {
        char c = parser->pattern[parser->at];
        if (!(digit_of(c) < 10 || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'))
            break;
        parser->at++;
    }
    if (parser->at == from || !tm_regex_accept(parser, ">"))
        tm_regex_fail(parser, "the name of a group is not made of letters, digits and _");
}

static tm_regex_node *parse_group(tm_regex_parser *parser) {
    tm_regex_flags outer = parser->flags;
    bool looks_behind = tm_regex_next_is(parser, "?<=") || tm_regex_next_is(parser, "?<!");
    if (!looks_behind && (tm_regex_accept(parser, "?P<") || tm_regex_accept(parser, "?<")))
        skip_name(parser);
    else if (tm_regex_accept(parser, "?") && !parse_flags(parser))
        return new_node(parser, TM_REGEX_SEQUENCE);
    if (++parser->depth > TM_REGEX_NESTING)
        tm_regex_fail(parser, "groups are nested too deep");
    tm_regex_node *node = parser->error == NULL ? parse_alternative(parser) : NULL;
    parser->depth--;
    parser->flags = outer;
    if (!tm_regex_accept(parser, ")"))
        tm_regex_fail(parser, "a group lacks its )");
    return node;
}

/* \Q...\E: characters without a meaning, each an atom. */
static tm_regex_node *parse_quoted(tm_regex_parser *parser) {
    tm_regex_node *sequence = new_node(parser, TM_REGEX_SEQUENCE), **end = &sequence->child;
    while (parser->error == NULL && parser->at < parser->size && !tm_regex_accept(parser, "\\E")) {
        *end = new_character(parser, tm_regex_take(parser));
        end = &(*end)->next;
    }
    return sequence;
}

static tm_regex_node *parse_escape(tm_regex_parser *parser) {
    static const struct {
        const char *text;
        int condition;
    } places[] = {{"\\A", TM_REGEX_TEXT_BEGIN},
                  {"\\z", TM_REGEX_TEXT_END},
                  {"\\b", TM_REGEX_WORD_EDGE},
                  {"\\B", TM_REGEX_NO_WORD_EDGE}};
    for (int i = 0; i < 4; i++)
        if (tm_regex_accept(parser, places[i].text))
            return new_place(parser, places[i].condition);
    tm_regex_node *node = new_node(parser, TM_REGEX_CHARACTER);
    if (tm_regex_accept_shorthand(parser, &node->set)) {
        tm_regex_set_finish(parser->arena, &node->set, false, false);
        return node;
    }
    parser->at++;
    return new_character(parser, tm_regex_escaped(parser));
}

static tm_regex_node *parse_atom(tm_regex_parser *parser) {
    tm_regex_node *node = new_node(parser, TM_REGEX_CHARACTER);
    if (tm_regex_accept(parser, "("))
        return parse_group(parser);
    if (tm_regex_accept(parser, "^"))
        return new_place(parser, parser->flags.lines ? TM_REGEX_LINE_BEGIN : TM_REGEX_TEXT_BEGIN);
    if (tm_regex_accept(parser, "$"))
        return new_place(parser, parser->flags.lines ? TM_REGEX_LINE_END : TM_REGEX_TEXT_END);
    if (tm_regex_accept(parser, "[")) {
        tm_regex_class(parser, &node->set);
        return node;
    }
    if (tm_regex_accept(parser, ".")) {
        if (!parser->flags.dot_all)
            tm_regex_set_add(parser->arena, &node->set, '\n', '\n');
        tm_regex_set_finish(parser->arena, &node->set, false, true);
        return node;
    }
    if (tm_regex_next_is(parser, "\\"))
        return parse_escape(parser);
    return new_character(parser, tm_regex_take(parser));
}

/* ---- repetition ---- */

/* {n}, {n,} or {n,m}; anything else is text. */
static bool accept_counts(tm_regex_parser *parser, int *least, int *most) {
    size_t start = parser->at;
    if (!tm_regex_accept(parser, "{"))
        return false;
    *least = *most = take_number(parser, 10, 9);
    bool comma = tm_regex_accept(parser, ",");
    if (comma)
        *most = take_number(parser, 10, 9);
    if (*least < 0 || !tm_regex_accept(parser, "}")) {
        parser->at = start;
        return false;
    }
    if (*least > TM_REGEX_REPEATS || *most > TM_REGEX_REPEATS || (*most >= 0 && *most < *least))
        tm_regex_fail(parser, "the numbers of a repetition are above 1000 or fall");
    return true;
}

static bool accept_repeat(tm_regex_parser *parser, int *least, int *most) {
    *least = 0;
    *most = -1;
    if (tm_regex_accept(parser, "*"))
        return true;
    if (tm_regex_accept(parser, "+"))
        return *least = 1, true;
    if (tm_regex_accept(parser, "?"))
        return *most = 1, true;
    return accept_counts(parser, least, most);
}

static tm_regex_node *repeated(tm_regex_parser *parser, tm_regex_node *atom) {
    int least, most;
    if (!accept_repeat(parser, &least, &most))
        return atom;
    (void)tm_regex_accept(parser, "?"); /* lazy: the same strings */
    tm_regex_node *node = new_node(parser, TM_REGEX_REPEAT);
    node->child = atom;
    node->least = least;
    node->most = most;
    if (accept_repeat(parser, &least, &most))
        tm_regex_fail(parser, "a repetition of a repetition needs a group between");
    return node;
}

static tm_regex_node *parse_sequence(tm_regex_parser *parser) {
    tm_regex_node *sequence = new_node(parser, TM_REGEX_SEQUENCE), **end = &sequence->child;
    while (parser->error == NULL && parser->at < parser->size && !tm_regex_next_is(parser, "|") &&
           !tm_regex_next_is(parser, ")")) {
        int least, most;
        if (accept_repeat(parser, &least, &most)) {
            tm_regex_fail(parser, "there is nothing to repeat");
        } else if (tm_regex_accept(parser, "\\Q")) {
            tm_regex_node *quoted = parse_quoted(parser);
            *end = quoted;
            /* A repetition after it is one of its last character. */
            tm_regex_node **last = &quoted->child;
            while (*last != NULL && (*last)->next != NULL)
                last = &(*last)->next;
            if (*last != NULL)
                *last = repeated(parser, *last);
            end = &quoted->next;
        } else {
            *end = repeated(parser, parse_atom(parser));
            end = *end != NULL ? &(*end)->next : end;
        }
    }
    return sequence;
}

static tm_regex_node *parse_alternative(tm_regex_parser *parser) {
    tm_regex_node *alternative = new_node(parser, TM_REGEX_ALTERNATIVE), **end = &alternative->child;
    do {
        *end = parse_sequence(parser);
        end = &(*end)->next;
    } while (tm_regex_accept(parser, "|"));
    return alternative;
}

tm_regex_node *tm_regex_parse(tm_regex_parser *parser) {
    tm_regex_node *tree = parse_alternative(parser);
    if (parser->at < parser->size)
        tm_regex_fail(parser, "a ) closes no group");
    return parser->error == NULL ? tree : NULL;
}
