/* SPDX-License-Identifier: Apache-2.0
 *
 * schedule_text.c: schedules as texts and back; see schedule.h.
 *
 * A text is words with a space between them, those of members that are not 0:
 *
 *     8x3+4+1      tile, second tile, single rows
 *     u4 d192 c64  unroll, depth, copy
 *     128x48       rows x columns of a unit
 *     a1024        KiB of A in a unit
 *     q32 k64      attention: queries side by side; on matrix units those of a unit, and keys of a block
 */
#include "codegen/llvm/schedule.h"

#include <string.h>

#define MOST_NUMBER 1000000000

void tm_schedule_print(const tm_schedule *s, tm_text *text) {
    const char *space = "";
    if (s->rows > 0) {
        tm_text_add(text, "%dx%d", s->rows, s->vectors);
        if (s->small_rows > 0)
            tm_text_add(text, "+%d", s->small_rows);
        if (s->single_rows)
            tm_text_add(text, "+1");
        space = " ";
    }
    const struct {
        const char *format;
        int first, second;
    } words[] = {{"%su%d", s->unroll, 0},          {"%s%dx%d", s->block_rows, s->columns},
                 {"%sd%d", s->depth, 0},           {"%sc%d", s->copy, 0},
                 {"%sa%d", s->unit_kib, 0},        {"%sq%d", s->queries, 0},
                 {"%sk%d", s->keys, 0}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (words[i].first > 0) {
            tm_text_add(text, words[i].format, space, words[i].first, words[i].second);
            space = " ";
        }
}

/* A number above 0; false: there is none. */
static bool number(const char **at, int *out) {
    int64_t value = 0;
    const char *start = *at;
    for (; **at >= '0' && **at <= '9' && value < MOST_NUMBER; (*at)++)
        value = value * 10 + (**at - '0');
    *out = (int)value;
    return *at > start && value > 0 && value < MOST_NUMBER;
}

static bool pair(const char **at, int *first, int *second) {
    return number(at, first) && *(*at)++ == 'x' && number(at, second);
}

/* "8x3+4+1" */
static bool tiles(const char **at, tm_schedule *s) {
    if (!pair(at, &s->rows, &s->vectors))
        return false;
    for (int rows; **at == '+';) {
        ++*at;
        if (s->single_rows || !number(at, &rows) || (rows > 1 && s->small_rows > 0))
            return false;
        if (rows == 1)
            s->single_rows = true;
        else
            s->small_rows = rows;
    }
    return true;
}

static bool word(const char **at, tm_schedule *s) {
    static const char letters[] = "udcaqk";
    int *const numbers[] = {&s->unroll, &s->depth, &s->copy, &s->unit_kib, &s->queries, &s->keys};
    const char *letter = **at != 0 ? strchr(letters, **at) : NULL;
    if (letter != NULL) {
        int *to = numbers[letter - letters];
        ++*at;
        return *to == 0 && number(at, to);
    }
    return s->block_rows == 0 && pair(at, &s->block_rows, &s->columns);
}

bool tm_schedule_parse(const char *text, tm_schedule *out) {
    tm_schedule s = {0};
    const char *at = text;
    if (*at >= '0' && *at <= '9' && !tiles(&at, &s))
        return false;
    while (at == text || *at == ' ') {
        at += *at == ' ';
        if (!word(&at, &s))
            return false;
    }
    *out = s;
    return *at == 0;
}

/* A second tile of one row is a single row. */
bool tm_schedule_equal(const tm_schedule *a, const tm_schedule *b) {
    int small_a = a->small_rows > 1 ? a->small_rows : 0, small_b = b->small_rows > 1 ? b->small_rows : 0;
    bool single_a = a->single_rows || a->small_rows == 1, single_b = b->single_rows || b->small_rows == 1;
    return a->rows == b->rows && a->vectors == b->vectors && small_a == small_b && single_a == single_b &&
           a->unroll == b->unroll && a->block_rows == b->block_rows &&
           a->columns == b->columns && a->depth == b->depth && a->copy == b->copy &&
           a->unit_kib == b->unit_kib && a->queries == b->queries && a->keys == b->keys;
}
