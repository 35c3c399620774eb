/* SPDX-License-Identifier: Apache-2.0
 *
 * text.c: StringConcat and StringSplit.
 *
 * A string of the result is a slice of an input's wherever it can be, so splitting copies no bytes: input
 * strings outlive the run's values. What is put together stands in the run's arena, a block for each row of
 * the output. Both run in one thread, as the arena belongs to one.
 */
#include "runtime/ops/elementwise.h"
#include "runtime/ops/text.h"

typedef struct concatenation {
    tm_run *run;
    const tm_call *call;
} concatenation;

static int32_t row_concat(const tm_row *row) {
    const concatenation *c = row->context;
    const tamis_string *x = TM_ROW_IN(row, 0, tamis_string), *y = TM_ROW_IN(row, 1, tamis_string);
    tamis_string *z = TM_ROW_OUT(row, tamis_string);
    int64_t bytes = 0;
    for (int64_t i = 0; i < row->count; i++)
        if (__builtin_add_overflow(bytes, x[i * row->step[0]].size + y[i * row->step[1]].size, &bytes))
            return tm_fail(c->run, c->call, TM_RUN_MEMORY, INT64_MAX, 0);
    char *memory = tm_arena(c->run, c->call, bytes);
    if (memory == NULL)
        return TM_RUN_MEMORY;
    for (int64_t i = 0; i < row->count; i++) {
        const tamis_string a = x[i * row->step[0]], b = y[i * row->step[1]];
        memmove(memory, a.data, (size_t)a.size);
        memmove(memory + a.size, b.data, (size_t)b.size);
        z[i] = (tamis_string){memory, a.size + b.size};
        memory += a.size + b.size;
    }
    return 0;
}

int32_t tm_k_StringConcat(tm_run *run, const tm_call *call) {
    const tamis_tensor *z = tm_out(run, call, 0);
    const concatenation c = {run, call};
    tm_broadcast plan;
    tm_broadcast_plan(&plan, z, (const tamis_tensor *[]){tm_in(run, call, 0), tm_in(run, call, 1)}, 2);
    tm_row row = {
        .out = z->data, .in = {tm_in(run, call, 0)->data, tm_in(run, call, 1)->data}, .context = &c};
    return plan.count > 0 ? tm_broadcast_range(&plan, &row, row_concat, 0, plan.count) : 0;
}

/* ---- StringSplit ---- */

/* White space as Unicode has it. */
static bool is_space(int32_t code) {
    return (code >= 9 && code <= 13) || (code >= 28 && code <= 32) || code == 0x85 || code == 0xa0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 ||
           code == 0x202f || code == 0x205f || code == 0x3000;
}

/* The first byte from `at` on that begins a space (or no space, with `wanted` false). */
static int64_t find_space(tamis_string text, int64_t at, bool wanted) {
    for (int64_t next = at; at < text.size; at = next)
        if (is_space(tm_text_next(text, &next)) == wanted)
            break;
    return at;
}

/* Where the spaces at the end begin. */
static int64_t end_of_words(tamis_string text) {
    int64_t end = 0, at = 0;
    while (at < text.size)
        if (!is_space(tm_text_next(text, &at)))
            end = at;
    return end;
}

static int64_t split_spaces(tamis_string text, int64_t most, tamis_string *out) {
    int64_t count = 0;
    text.size = end_of_words(text);
    for (int64_t at = find_space(text, 0, false); at < text.size; count++) {
        int64_t end = count == most ? text.size : find_space(text, at, true);
        if (out != NULL)
            out[count] = (tamis_string){text.data + at, end - at};
        at = find_space(text, end, false);
    }
    return count;
}

/* Cuts at most `most` times; returns the number of parts, and stores them unless `out` is NULL. */
static int64_t split(tamis_string text, tamis_string delimiter, int64_t most, tamis_string *out) {
    if (delimiter.size == 0)
        return split_spaces(text, most, out);
    int64_t count = 0, from = 0;
    for (int64_t at = 0; count < most && at + delimiter.size <= text.size;) {
        if (!tm_text_stands(text, at, delimiter)) {
            at++;
            continue;
        }
        if (out != NULL)
            out[count] = (tamis_string){text.data + from, at - from};
        from = at += delimiter.size;
        count++;
    }
    if (out != NULL)
        out[count] = (tamis_string){text.data + from, text.size - from};
    return count + 1;
}

int32_t tm_k_StringSplit(tm_run *run, const tm_call *call) {
    const tm_attrs_StringSplit *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0);
    const tamis_string *texts = x->data, delimiter = tm_text_of(a, a->delimiter);
    const int64_t most = a->maxsplit < 0 ? INT64_MAX : a->maxsplit, count = tm_count(x);
    int64_t dims[TAMIS_MAX_RANK], width = 0;
    if (x->rank >= TAMIS_MAX_RANK)
        return tm_fail(run, call, TM_RUN_INPUT_RANK, TAMIS_MAX_RANK - 1, x->rank);
    int32_t code = tm_output(run, call, 1, x->rank, x->dims);
    int64_t *counts = tm_out(run, call, 1) != NULL ? tm_out(run, call, 1)->data : NULL;
    for (int64_t i = 0; i < count && code == 0; i++) {
        const int64_t parts = split(texts[i], delimiter, most, NULL);
        width = parts > width ? parts : width;
        if (counts != NULL)
            counts[i] = parts;
    }
    for (int32_t d = 0; d < x->rank; d++)
        dims[d] = x->dims[d];
    dims[x->rank] = width;
    if (code == 0)
        code = tm_output(run, call, 0, x->rank + 1, dims);
    if (code != 0 || tm_out(run, call, 0) == NULL)
        return code;
    tamis_string *y = tm_out(run, call, 0)->data;
    for (int64_t i = 0; i < count; i++, y += width)
        for (int64_t k = split(texts[i], delimiter, most, y); k < width; k++)
            y[k] = (tamis_string){"", 0};
    return 0;
}
