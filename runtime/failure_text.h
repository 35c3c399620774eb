/* SPDX-License-Identifier: Apache-2.0
 *
 * failure_text.h: the words of a failure of compiled code, from include/tamis/failures.def.
 *
 *     INDEX_RANGE, a = 9, b = 5  ->  "index 9 is out of range: allowed are -5 to 4"
 *
 * For hosts: the runtime library and the compiler's evaluator. Compiled code records numbers only.
 */
#ifndef TM_RUNTIME_FAILURE_TEXT_H
#define TM_RUNTIME_FAILURE_TEXT_H

#include "tamis/artifact.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static inline const char *tm_failure_type_text(int64_t type) {
    static const char *const texts[TAMIS_TYPE_COUNT] = {
#define TM_TYPE(number, name, text, suffix, bits) [number] = text,
#include "tamis/types.def"
#undef TM_TYPE
    };
    return type > 0 && type < TAMIS_TYPE_COUNT && texts[type] != NULL ? texts[type] : "?";
}

static inline const char *tm_failure_template(int32_t code, int64_t b) {
    bool empty = b <= 0 && (code == TM_RUN_INDEX_RANGE || code == TM_RUN_POSITION_RANGE ||
                            code == TM_RUN_AXIS_RANGE || code == TM_RUN_SEQUENCE);
    if (empty)
        return "{a} is out of range: there are 0 entries to choose from";
    switch (code) {
#define TM_FAILURE(number, name, text) \
    case number:                       \
        return text;
#include "tamis/failures.def"
#undef TM_FAILURE
    default:
        return "it failed ({a}, {b}) in a way that this version of the runtime does not know";
    }
}

/* Writes the text for a code and its details, cut to `bytes`. */
static inline void tm_failure_text(int32_t code, int64_t a, int64_t b, char *out, size_t bytes) {
    const int64_t less = b > INT64_MIN ? b - 1 : b, minus = b > INT64_MIN ? -b : b;
    const struct {
        const char *token;
        int64_t number;
        bool type;
    } tokens[] = {{"{a}", a, false},      {"{b}", b, false}, {"{-b}", minus, false},
                  {"{b-1}", less, false}, {"{ta}", a, true}, {"{tb}", b, true}};
    size_t used = 0;
    out[0] = 0;
    for (const char *at = tm_failure_template(code, b); *at != 0 && used + 1 < bytes;) {
        size_t k = 0, count = sizeof tokens / sizeof *tokens;
        while (k < count && strncmp(at, tokens[k].token, strlen(tokens[k].token)) != 0)
            k++;
        if (k == count)
            snprintf(out + used, bytes - used, "%c", *at++);
        else if (tokens[k].type)
            snprintf(out + used, bytes - used, "%s", tm_failure_type_text(tokens[k].number));
        else
            snprintf(out + used, bytes - used, "%lld", (long long)tokens[k].number);
        if (k < count)
            at += strlen(tokens[k].token);
        used += strlen(out + used);
    }
}

#endif
