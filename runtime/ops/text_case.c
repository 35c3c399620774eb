/* SPDX-License-Identifier: Apache-2.0
 *
 * text_case.c: StringNormalizer: drops stop words, changes the case of the rest.
 *
 *     ["Monday", "the", "Sunday"], stopwords ["The"], UPPER    ->    ["MONDAY", "SUNDAY"]
 *
 * Letters are Unicode's, mapped one to one (base/letters.def): a sharp s has no upper case, and a final
 * sigma is a sigma. Of the locale two things count, since no other locale of glibc maps letters in its own
 * way: in "C" and "POSIX" only ASCII letters have a case, and the Turkic languages have a dotted and a
 * dotless i. Where stop words are compared without regard to case, words are compared in the case that is
 * asked for, in lower case for NONE.
 */
#include "runtime/ops/text.h"

enum letters { LETTERS_UNICODE, LETTERS_ASCII, LETTERS_TURKIC };
enum letter_case { CASE_KEPT, CASE_UPPER, CASE_LOWER };

typedef struct letter_range {
    int32_t first, last, step, delta;
} letter_range;

static const letter_range upper[] = {
#define TM_UPPER(first, last, step, delta) {first, last, step, delta},
#include "base/letters.def"
#undef TM_UPPER
};
static const letter_range lower[] = {
#define TM_LOWER(first, last, step, delta) {first, last, step, delta},
#include "base/letters.def"
#undef TM_LOWER
};

static int32_t look_up(const letter_range *ranges, int32_t count, int32_t code) {
    int32_t low = 0;
    for (int32_t high = count; low < high;) {
        const int32_t middle = (low + high) / 2;
        if (ranges[middle].last < code)
            low = middle + 1;
        else
            high = middle;
    }
    const letter_range *range = &ranges[low];
    if (low == count || code < range->first || (code - range->first) % range->step != 0)
        return code;
    return code + range->delta;
}

static int32_t change(int32_t code, enum letter_case to, enum letters letters) {
    if (letters == LETTERS_ASCII && code >= 0x80)
        return code;
    if (to == CASE_UPPER) {
        if (letters == LETTERS_TURKIC && code == 'i')
            return 0x130;
        return look_up(upper, sizeof upper / sizeof *upper, code);
    }
    if (letters == LETTERS_TURKIC && code == 'I')
        return 0x131;
    return look_up(lower, sizeof lower / sizeof *lower, code);
}

/* A word in a case, a character at a time: two cursors compare words without a copy. */
typedef struct cursor {
    tamis_string text;
    int64_t at;
    enum letter_case to;
    enum letters letters;
} cursor;

/* Writes the next character in its case; 0 bytes at the end. */
static int64_t next_changed(cursor *c, char *bytes) {
    if (c->at >= c->text.size)
        return 0;
    const int64_t from = c->at;
    const int32_t code = tm_text_next(c->text, &c->at);
    if (code >= 0 && c->to != CASE_KEPT)
        return tm_text_put(bytes, change(code, c->to, c->letters));
    for (int64_t i = from; i < c->at; i++)
        bytes[i - from] = c->text.data[i];
    return c->at - from;
}

static bool same_in_case(tamis_string a, tamis_string b, enum letter_case to, enum letters letters) {
    cursor x = {a, 0, to, letters}, y = {b, 0, to, letters};
    char p[4], q[4];
    for (;;) {
        const int64_t n = next_changed(&x, p), m = next_changed(&y, q);
        if (!tm_text_same((tamis_string){p, n}, (tamis_string){q, m}))
            return false;
        if (n == 0)
            return true;
    }
}

static bool begins_with(tamis_string text, const char *name, int64_t *out_size) {
    int64_t size = 0;
    while (name[size] != 0)
        size++;
    *out_size = size;
    return tm_text_stands(text, 0, (tamis_string){name, size});
}

static enum letters letters_of(tamis_string locale) {
    static const char *const names[] = {"C", "POSIX", "tr", "az", "crh", "ku"};
    int64_t size;
    for (int i = 0; i < 6; i++) {
        if (!begins_with(locale, names[i], &size))
            continue;
        if (locale.size == size)
            return i < 2 ? LETTERS_ASCII : LETTERS_TURKIC;
        if (i >= 2 && (locale.data[size] == '_' || locale.data[size] == '-')) /* tr_TR.UTF-8, tr-TR */
            return LETTERS_TURKIC;
    }
    return LETTERS_UNICODE;
}

static bool is_stop_word(const tm_attrs_StringNormalizer *a, tamis_string text, enum letter_case to,
                         enum letters letters) {
    for (int32_t i = 0; i < a->stopwords.count; i++)
        if (same_in_case(text, tm_text_of(a, tm_strings(a, a->stopwords)[i]), to, letters))
            return true;
    return false;
}

static int32_t change_text(tm_run *run, const tm_call *call, cursor from, tamis_string *out) {
    char bytes[4];
    int64_t size = 0;
    for (cursor c = from; c.at < c.text.size;)
        size += next_changed(&c, bytes);
    char *memory = tm_arena(run, call, size);
    if (memory == NULL)
        return TM_RUN_MEMORY;
    *out = (tamis_string){memory, size};
    while (from.at < from.text.size)
        memory += next_changed(&from, memory);
    return 0;
}

int32_t tm_k_StringNormalizer(tm_run *run, const tm_call *call) {
    const tm_attrs_StringNormalizer *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0);
    const tamis_string *texts = x->data;
    const enum letters letters = letters_of(tm_text_of(a, a->locale));
    const enum letter_case to = tm_is(a, a->case_change_action, "UPPER")   ? CASE_UPPER
                                : tm_is(a, a->case_change_action, "LOWER") ? CASE_LOWER
                                                                           : CASE_KEPT;
    const enum letter_case compared = a->is_case_sensitive != 0 ? CASE_KEPT
                                      : to == CASE_UPPER        ? CASE_UPPER
                                                                : CASE_LOWER;
    const int64_t count = tm_count(x);
    uint8_t *stopped = tm_scratch(run, call, count);
    if (stopped == NULL)
        return TM_RUN_MEMORY;
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i++) {
        stopped[i] = is_stop_word(a, texts[i], compared, letters);
        kept += !stopped[i];
    }
    const bool one_empty = kept == 0 && a->stopwords.count > 0;
    const int64_t dims[2] = {1, one_empty ? 1 : kept};
    int32_t code = tm_output(run, call, 0, x->rank, x->rank == 2 ? dims : dims + 1);
    tamis_string *y = code == 0 ? tm_out(run, call, 0)->data : NULL;
    if (code == 0 && one_empty)
        y[0] = (tamis_string){"", 0};
    for (int64_t i = 0; i < count && code == 0; i++) {
        if (stopped[i])
            continue;
        if (to == CASE_KEPT)
            *y++ = texts[i];
        else
            code = change_text(run, call, (cursor){texts[i], 0, to, letters}, y++);
    }
    tm_unscratch(run, stopped, count);
    return code;
}
