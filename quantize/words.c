/* SPDX-License-Identifier: Apache-2.0
 *
 * words.c: options that are words behind a form or a goal; see words.h.
 */
#include "quantize/words.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_NAMES 8 /* in a hint */

bool tm_number_parse(const char *text, const char *unit, double low, double high, double *out) {
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || errno != 0 || (*end != 0 && strcmp(end, unit) != 0) ||
        !(value >= low && value <= high))
        return false;
    *out = value;
    return true;
}

/* "block=16..256 (a power of two)" */
static void add_form(tm_text *out, const tm_word *word) {
    tm_text_add(out, "%s", word->name);
    if (word->kind == TM_WORD_CHOICE)
        tm_text_add(out, "=%s", word->choices);
    else if (word->kind == TM_WORD_PARTS)
        tm_text_add(out, "=PART");
    else if (word->kind >= TM_WORD_NUMBER)
        tm_text_add(out, "=%.10g..%.10g%s", word->low, word->high,
                    word->kind == TM_WORD_COUNT   ? " (whole)"
                    : word->kind == TM_WORD_POWER ? " (a power of two)"
                                                  : "");
}

static const char *form_of(tm_arena *arena, const tm_word *word) {
    tm_text text;
    tm_text_init(&text, arena);
    add_form(&text, word);
    return tm_text_get(&text);
}

static const char *all_forms(tm_arena *arena, const tm_word_table *table) {
    tm_text text;
    tm_text_init(&text, arena);
    for (size_t i = 0; i < table->count; i++) {
        tm_text_add(&text, i > 0 ? ", " : "");
        add_form(&text, &table->words[i]);
    }
    return tm_text_get(&text);
}

/* "it is of int4 and int8" */
static const char *users_of(tm_arena *arena, const tm_word_table *table, const tm_word *word) {
    tm_text text;
    bool any = false;
    tm_text_init(&text, arena);
    tm_text_add(&text, "it is of ");
    for (int i = 0; i < table->form_count; i++)
        if (word->forms >> i & 1) {
            tm_text_add(&text, "%s%s", any ? ", " : "", table->forms[i]);
            any = true;
        }
    return tm_text_get(&text);
}

static bool take_choice(const tm_word *word, const char *text) {
    size_t size = strlen(text);
    int index = 0;
    for (const char *at = word->choices; at != NULL; index++) {
        if (strncmp(at, text, size) == 0 && size > 0 && (at[size] == '|' || at[size] == 0)) {
            *(int *)word->to = index;
            return true;
        }
        at = strchr(at, '|');
        at = at != NULL ? at + 1 : NULL;
    }
    return false;
}

static bool take_value(tm_arena *arena, const tm_word *word, const char *text) {
    double value;
    if (word->kind == TM_WORD_CHOICE)
        return take_choice(word, text);
    if (word->kind == TM_WORD_PARTS) {
        tm_parts *parts = word->to;
        tm_push(arena, &parts->list, text);
        return *text != 0;
    }
    if (!tm_number_parse(text, "", word->low, word->high, &value))
        return false;
    if (word->kind == TM_WORD_NUMBER) {
        *(double *)word->to = value;
        return true;
    }
    int64_t count = (int64_t)value;
    *(int64_t *)word->to = count;
    return (double)count == value && (word->kind != TM_WORD_POWER || (count & (count - 1)) == 0);
}

static tm_code take(tm_arena *arena, tm_diagnostics *diagnostics, const char *text,
                    const tm_word_table *table) {
    const char *equals = strchr(text, '='), *option = table->option;
    size_t size = equals != NULL ? (size_t)(equals - text) : strlen(text);
    tm_word *word = table->words, *end = table->words + table->count;
    while (word < end && (strlen(word->name) != size || strncmp(word->name, text, size) != 0))
        word++;
    if (word == end)
        return tm_report(diagnostics, TM_E_USAGE, NULL, all_forms(arena, table), "%s: '%s' is no option",
                         option, text);
    if (word->forms != 0 && !(word->forms >> table->form & 1))
        return tm_report(diagnostics, TM_E_USAGE, NULL, users_of(arena, table, word),
                         "%s: %s has no use for '%s'", option, table->forms[table->form], word->name);
    if (word->given && word->kind != TM_WORD_PARTS)
        return tm_report(diagnostics, TM_E_USAGE, NULL, NULL, "%s: '%s' is given twice", option, word->name);
    word->given = true;
    if (word->kind == TM_WORD_FLAG || word->kind == TM_WORD_CLEAR) {
        *(bool *)word->to = word->kind == TM_WORD_FLAG;
        return equals == NULL ? TM_OK
                              : tm_report(diagnostics, TM_E_USAGE, NULL, word->name,
                                          "%s: '%s': the word takes no value", option, text);
    }
    if (equals != NULL && take_value(arena, word, equals + 1))
        return TM_OK;
    return tm_report(diagnostics, TM_E_USAGE, NULL, NULL, "%s: '%s' is none of %s", option, text,
                     form_of(arena, word));
}

tm_code tm_words_parse(tm_arena *arena, tm_diagnostics *diagnostics, const char *text,
                       const tm_word_table *table) {
    for (const char *at = text; at != NULL;) {
        size_t size = strcspn(at, ",");
        TM_TRY(take(arena, diagnostics, tm_arena_string_n(arena, at, size), table));
        at = at[size] == ',' ? at + size + 1 : NULL;
    }
    return TM_OK;
}

bool tm_word_given(const tm_word_table *table, const char *name) {
    for (size_t i = 0; i < table->count; i++)
        if (strcmp(table->words[i].name, name) == 0)
            return table->words[i].given;
    return false;
}

tm_code tm_parts_check(tm_arena *arena, tm_diagnostics *diagnostics, const char *option,
                       const char *const *parts, size_t count, const tm_names *names) {
    for (size_t i = 0; i < count; i++) {
        bool found = false;
        for (size_t k = 0; k < names->list.count && !found; k++)
            found = strstr(names->list.items[k], parts[i]) != NULL;
        if (found)
            continue;
        tm_text hint;
        tm_text_init(&hint, arena);
        tm_text_add(&hint, "layers are ");
        for (size_t k = 0; k < names->list.count && k < MOST_NAMES; k++)
            tm_text_add(&hint, "%s'%s'", k > 0 ? ", " : "", names->list.items[k]);
        if (names->list.count > MOST_NAMES)
            tm_text_add(&hint, " and %zu more", names->list.count - MOST_NAMES);
        return tm_report(diagnostics, TM_E_USAGE, NULL, names->list.count > 0 ? tm_text_get(&hint) : NULL,
                         "%s: keep=%s: no layer has this in its name", option, parts[i]);
    }
    return TM_OK;
}
