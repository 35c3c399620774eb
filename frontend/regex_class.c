/* SPDX-License-Identifier: Apache-2.0
 *
 * regex_class.c: sets of characters: [a-z], [^\d_], [[:alpha:]], \w.
 *
 * A set is a list of pairs. Parts of a class are added as they come; at the end the list is sorted and pairs
 * that touch are joined, so that turning it round is taking the gaps. Without regard to case, k, K and the
 * Kelvin sign are one letter: a set then takes in all letters that have an upper or lower case in common
 * with one of its own (base/letters.def). The dotted I and the dotless i stay apart, as in Unicode's
 * folding.
 */
#include "frontend/regex.h"

#include <stdlib.h>
#include <string.h>

void tm_regex_set_add(tm_arena *arena, tm_regex_set *set, int32_t first, int32_t last) {
    tm_push(arena, set, (tm_regex_pair){first, last});
}

static int compare_pairs(const void *a, const void *b) {
    const tm_regex_pair *x = a, *y = b;
    return x->first != y->first ? (x->first < y->first ? -1 : 1) : (x->last > y->last) - (x->last < y->last);
}

static void join(tm_regex_set *set) {
    size_t kept = 0;
    if (set->count > 0)
        qsort(set->items, set->count, sizeof *set->items, compare_pairs);
    for (size_t i = 0; i < set->count; i++) {
        tm_regex_pair pair = set->items[i];
        if (kept > 0 && pair.first <= set->items[kept - 1].last + 1) {
            if (pair.last > set->items[kept - 1].last)
                set->items[kept - 1].last = pair.last;
        } else {
            set->items[kept++] = pair;
        }
    }
    set->count = kept;
}

static bool contains(const tm_regex_set *set, int32_t code) {
    size_t low = 0;
    for (size_t high = set->count; low < high;) {
        size_t middle = (low + high) / 2;
        if (set->items[middle].last < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < set->count && set->items[low].first <= code;
}

/* Adds the other case of each letter in the set, one step; the set must be joined. */
static void add_cases(tm_arena *arena, tm_regex_set *set) {
    static const struct {
        int32_t first, last, step, delta;
    } ranges[] = {
#define TM_UPPER(first, last, step, delta) {first, last, step, delta},
#define TM_LOWER(first, last, step, delta) {first, last, step, delta},
#include "base/letters.def"
#undef TM_UPPER
#undef TM_LOWER
    };
    tm_regex_set old = *set;
    tm_regex_set added = {0};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        for (int32_t code = ranges[i].first; code <= ranges[i].last; code += ranges[i].step) {
            const int32_t other = code + ranges[i].delta;
            if (code == 0x130 || code == 0x131 || contains(&old, code) == contains(&old, other))
                continue;
            const int32_t missing = contains(&old, code) ? other : code;
            tm_regex_set_add(arena, &added, missing, missing);
        }
    for (size_t i = 0; i < added.count; i++)
        tm_push(arena, set, added.items[i]);
    join(set);
}

static void negate(tm_arena *arena, tm_regex_set *set) {
    tm_regex_set gaps = {0};
    int32_t next = 0;
    for (size_t i = 0; i < set->count; i++) {
        if (set->items[i].first > next)
            tm_regex_set_add(arena, &gaps, next, set->items[i].first - 1);
        next = set->items[i].last + 1;
    }
    if (next <= TM_REGEX_LAST)
        tm_regex_set_add(arena, &gaps, next, TM_REGEX_LAST);
    *set = gaps;
}

static int64_t size_of(const tm_regex_set *set) {
    int64_t size = 0;
    for (size_t i = 0; i < set->count; i++)
        size += set->items[i].last - set->items[i].first + 1;
    return size;
}

void tm_regex_set_finish(tm_arena *arena, tm_regex_set *set, bool fold, bool turn) {
    join(set);
    for (int64_t before = -1; fold && before != size_of(set);) {
        before = size_of(set);
        add_cases(arena, set);
    }
    if (turn)
        negate(arena, set);
}

/* ---- classes with names ---- */

typedef struct named_class {
    const char *name;
    tm_regex_pair pairs[5]; /* up to one that ends with 0 */
} named_class;

/* Adds the class, in both cases on demand and then turned round on demand. */
static void add_class(tm_regex_parser *parser, tm_regex_set *set, const named_class *class, bool turn) {
    tm_regex_set own = {0};
    for (int i = 0; i < 5 && class->pairs[i].last != 0; i++)
        tm_push(parser->arena, &own, class->pairs[i]);
    tm_regex_set_finish(parser->arena, &own, parser->flags.fold, turn);
    for (size_t i = 0; i < own.count; i++)
        tm_push(parser->arena, set, own.items[i]);
}

bool tm_regex_accept_shorthand(tm_regex_parser *parser, tm_regex_set *set) {
    static const named_class classes[] = {{"\\d", {{'0', '9'}}},
                                          {"\\s", {{'\t', '\n'}, {'\f', '\r'}, {' ', ' '}}},
                                          {"\\w", {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}},
                                          {"\\D", {{'0', '9'}}},
                                          {"\\S", {{'\t', '\n'}, {'\f', '\r'}, {' ', ' '}}},
                                          {"\\W", {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}}};
    for (int i = 0; i < 6; i++)
        if (tm_regex_accept(parser, classes[i].name)) {
            add_class(parser, set, &classes[i], i >= 3);
            return true;
        }
    return false;
}

/* [:alpha:] or [:^alpha:] */
static bool accept_named(tm_regex_parser *parser, tm_regex_set *set) {
    static const named_class classes[] = {{"alnum:]", {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}}},
                                          {"alpha:]", {{'A', 'Z'}, {'a', 'z'}}},
                                          {"ascii:]", {{0, 0x7f}}},
                                          {"blank:]", {{'\t', '\t'}, {' ', ' '}}},
                                          {"cntrl:]", {{0, 0x1f}, {0x7f, 0x7f}}},
                                          {"digit:]", {{'0', '9'}}},
                                          {"graph:]", {{'!', '~'}}},
                                          {"lower:]", {{'a', 'z'}}},
                                          {"print:]", {{' ', '~'}}},
                                          {"punct:]", {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}}},
                                          {"space:]", {{'\t', '\r'}, {' ', ' '}}},
                                          {"upper:]", {{'A', 'Z'}}},
                                          {"word:]", {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}},
                                          {"xdigit:]", {{'0', '9'}, {'A', 'F'}, {'a', 'f'}}}};
    if (!tm_regex_accept(parser, "[:"))
        return false;
    bool turn = tm_regex_accept(parser, "^");
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (tm_regex_accept(parser, classes[i].name)) {
            add_class(parser, set, &classes[i], turn);
            return true;
        }
    tm_regex_fail(parser, "there is no class [:name:] of that name");
    return true;
}

static int32_t take_member(tm_regex_parser *parser) {
    return tm_regex_accept(parser, "\\") ? tm_regex_escaped(parser) : tm_regex_take(parser);
}

void tm_regex_class(tm_regex_parser *parser, tm_regex_set *set) {
    bool turn = tm_regex_accept(parser, "^");
    for (bool first = true; first || !tm_regex_next_is(parser, "]"); first = false) {
        if (parser->at == parser->size)
            tm_regex_fail(parser, "a class lacks its ]");
        if (parser->error != NULL)
            return;
        if (accept_named(parser, set) || tm_regex_accept_shorthand(parser, set))
            continue;
        int32_t low = take_member(parser), high = low;
        bool is_range = tm_regex_next_is(parser, "-") && parser->at + 1 < parser->size &&
                        parser->pattern[parser->at + 1] != ']';
        if (is_range) {
            parser->at++;
            high = take_member(parser);
        }
        if (high < low)
            tm_regex_fail(parser, "a range ends before it begins");
        if (parser->error == NULL)
            tm_regex_set_add(parser->arena, set, low, high);
    }
    (void)tm_regex_accept(parser, "]");
    tm_regex_set_finish(parser->arena, set, parser->flags.fold, turn);
}
