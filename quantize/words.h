/* SPDX-License-Identifier: Apache-2.0
 *
 * words.h: options that are words behind a form or a goal.
 *
 *     --quantize=int4,block=128,keep=head       --prune=flops:0.5,ridge=0.01
 *
 * A table says what each word takes and where it goes, so that all of them are checked alike, and every
 * error names the option, the word and what it could have been.
 */
#ifndef TM_QUANTIZE_WORDS_H
#define TM_QUANTIZE_WORDS_H

#include "base/base.h"

typedef enum tm_word_kind {
    TM_WORD_FLAG,   /* bool: set */
    TM_WORD_CLEAR,  /* bool: cleared */
    TM_WORD_NUMBER, /* double */
    TM_WORD_COUNT,  /* int64_t */
    TM_WORD_POWER,  /* int64_t, a power of two */
    TM_WORD_CHOICE, /* int: the index of one of `choices` */
    TM_WORD_PARTS   /* tm_parts: parts of names, one each time */
} tm_word_kind;

typedef struct tm_parts {
    TM_VECTOR(const char *) list;
} tm_parts;

typedef struct tm_word {
    const char *name;
    tm_word_kind kind;
    void *to;
    double low, high;
    const char *choices; /* "minmax|mse" */
    unsigned forms;      /* bits of the forms that have a use for it; 0: all */
    bool given;          /* filled */
} tm_word;

typedef struct tm_word_table {
    const char *option; /* "--quantize" */
    tm_word *words;
    size_t count;
    const char *const *forms; /* their names */
    int form_count, form;     /* the form that was given */
} tm_word_table;

/* The words of "gptq,block=32"; NULL: there are none. E_USAGE filed. */
TM_MUST_USE tm_code tm_words_parse(tm_arena *arena, tm_diagnostics *diagnostics, const char *text,
                                   const tm_word_table *table);
bool tm_word_given(const tm_word_table *table, const char *name);

/* A number within bounds, followed by one of "", or `unit` (may be "") if it is not needed. */
bool tm_number_parse(const char *text, const char *unit, double low, double high, double *out);

/* Names that parts of names are looked for in. */
typedef struct tm_names {
    TM_VECTOR(const char *) list;
} tm_names;
/* Is each part in some name? E_USAGE filed for the first that is in none, as "--quantize: keep=PART: ..". */
TM_MUST_USE tm_code tm_parts_check(tm_arena *arena, tm_diagnostics *diagnostics, const char *option,
                                   const char *const *parts, size_t count, const tm_names *names);

#endif
