/* SPDX-License-Identifier: Apache-2.0
 *
 * text_match.c: RegexFullMatch: does all of a string match the pattern?
 *
 * The compiler has made a program of the pattern (base/regex.def). All ways through it are followed at once:
 * the threads are the set instructions that may take the next character, each listed once, so a string of n
 * characters and a program of m instructions take n * m steps at most, whatever the pattern. Bytes that are
 * no UTF-8 are characters that no set contains.
 */
#include "runtime/ops/text.h"

enum {
#define TM_REGEX_INSTRUCTION(number, name) REGEX_##name = number,
#include "base/regex.def"
#undef TM_REGEX_INSTRUCTION
};
enum {
#define TM_REGEX_CONDITION(number, name) REGEX_##name = number,
#include "base/regex.def"
#undef TM_REGEX_CONDITION
};
enum { BEFORE_TEXT = -2, AFTER_TEXT = -3 }; /* characters that are none */

typedef struct instruction {
    int64_t number, x, y;
} instruction;

typedef struct matcher {
    const instruction *instructions;
    const int64_t *pairs;
    int64_t count, pair_count;
    int64_t *threads, *next_threads; /* numbers of set instructions */
    int64_t thread_count;
    int64_t *stack; /* an instruction is pushed by two others at most, and by no set twice */
    int64_t *seen;  /* by instruction: the step that came to it last */
    int64_t step;
    bool matched; /* MATCH was reached in this step */
} matcher;

/* Every number in the program must stay inside of it. */
static bool is_sound(const matcher *m) {
    for (int64_t i = 0; i < m->count; i++) {
        const instruction *at = &m->instructions[i];
        bool fine = at->number == REGEX_MATCH || i + 1 < m->count;
        if (at->number == REGEX_SPLIT)
            fine = at->x >= 0 && at->x < m->count && at->y >= 0 && at->y < m->count;
        else if (at->number == REGEX_SET)
            fine =
                fine && at->x >= 0 && at->y >= 0 && at->x <= m->pair_count && at->y <= m->pair_count - at->x;
        if (!fine)
            return false;
    }
    return true;
}

static bool in_set(const matcher *m, const instruction *set, int32_t code) {
    int64_t low = set->x, end = set->x + set->y;
    for (int64_t high = end; low < high;) {
        const int64_t middle = low + (high - low) / 2;
        if (m->pairs[2 * middle + 1] < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < end && m->pairs[2 * low] <= code;
}

static bool is_word(int32_t code) {
    return (code >= '0' && code <= '9') || (code >= 'A' && code <= 'Z') || (code >= 'a' && code <= 'z') ||
           code == '_';
}

static bool holds(int64_t condition, int32_t before, int32_t after) {
    switch (condition) {
    case REGEX_TEXT_BEGIN:
        return before == BEFORE_TEXT;
    case REGEX_TEXT_END:
        return after == AFTER_TEXT;
    case REGEX_LINE_BEGIN:
        return before == BEFORE_TEXT || before == '\n';
    case REGEX_LINE_END:
        return after == AFTER_TEXT || after == '\n';
    case REGEX_WORD_EDGE:
        return is_word(before) != is_word(after);
    default:
        return is_word(before) == is_word(after);
    }
}

/* Adds the threads that come from instruction `start` between two characters. */
static void follow(matcher *m, int64_t start, int32_t before, int32_t after) {
    int64_t depth = 0;
    m->stack[depth++] = start;
    while (depth > 0) {
        const int64_t i = m->stack[--depth];
        const instruction *at = &m->instructions[i];
        if (m->seen[i] == m->step)
            continue;
        m->seen[i] = m->step;
        if (at->number == REGEX_SET) {
            m->next_threads[m->thread_count++] = i;
        } else if (at->number == REGEX_SPLIT) {
            m->stack[depth++] = at->y;
            m->stack[depth++] = at->x;
        } else if (at->number == REGEX_ASSERT) {
            if (holds(at->x, before, after))
                m->stack[depth++] = i + 1;
        } else {
            m->matched = true;
        }
    }
}

static int32_t peek(tamis_string text, int64_t at) {
    return at < text.size ? tm_text_next(text, &at) : AFTER_TEXT;
}

/* Makes the collected threads those of the next character. */
static int64_t turn(matcher *m) {
    int64_t *threads = m->next_threads, count = m->thread_count;
    m->next_threads = m->threads;
    m->threads = threads;
    m->thread_count = 0;
    m->matched = false;
    m->step++;
    return count;
}

static bool matches(matcher *m, tamis_string text) {
    m->thread_count = 0;
    (void)turn(m);
    follow(m, 0, BEFORE_TEXT, peek(text, 0));
    for (int64_t at = 0; at < text.size;) {
        const int64_t count = turn(m);
        if (count == 0)
            return false;
        const int32_t code = tm_text_next(text, &at), after = peek(text, at);
        for (int64_t k = 0; k < count; k++)
            if (in_set(m, &m->instructions[m->threads[k]], code))
                follow(m, m->threads[k] + 1, code, after);
    }
    return m->matched;
}

int32_t tm_k_RegexFullMatch(tm_run *run, const tm_call *call) {
    const tm_attrs_RegexFullMatch *a = tm_attributes(call);
    const tamis_tensor *x = tm_in(run, call, 0);
    const int64_t *program = tm_ints(a, a->program), size = a->program.count;
    if (size < 4 || program[0] < 1 || program[0] > (size - 1) / 3)
        return tm_fail(run, call, TM_RUN_VALUE, size, 4);
    matcher m = {.instructions = (const instruction *)(const void *)(program + 1), .count = program[0]};
    m.pairs = program + 1 + 3 * m.count;
    m.pair_count = (size - 1 - 3 * m.count) / 2;
    if (!is_sound(&m))
        return tm_fail(run, call, TM_RUN_VALUE, m.count, m.pair_count);
    const int64_t bytes = (5 * m.count + 1) * (int64_t)sizeof(int64_t);
    int64_t *memory = tm_scratch(run, call, bytes);
    if (memory == NULL)
        return TM_RUN_MEMORY;
    m.threads = memory;
    m.next_threads = memory + m.count;
    m.seen = memory + 2 * m.count;
    m.stack = memory + 3 * m.count;
    for (int64_t i = 0; i < m.count; i++)
        m.seen[i] = -1;
    uint8_t *y = tm_out(run, call, 0)->data;
    for (int64_t i = 0; i < tm_count(x); i++)
        y[i] = matches(&m, ((const tamis_string *)x->data)[i]);
    tm_unscratch(run, memory, bytes);
    return 0;
}
