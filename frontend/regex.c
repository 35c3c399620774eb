/* SPDX-License-Identifier: Apache-2.0
 *
 * regex.c: the tree of a pattern becomes a program, and RegexFullMatch gets it as an attribute.
 *
 * A repetition with numbers is written out: x{2,4} as x x (x (x)?)?, where both question marks jump to the
 * same end. So the kernel needs no counters, and a limit on the program's length stands where numbers
 * multiply.
 *
 * The program is made here because classes become long lists and cases need tables: an artifact has only the
 * few instructions that its pattern needs and the loop that follows them.
 */
#include "frontend/opset/opset.h"
#include "frontend/regex.h"

typedef struct instruction {
    int64_t number, x, y;
} instruction;

typedef struct writer {
    tm_arena *arena;
    TM_VECTOR(instruction) code;
    tm_regex_set pairs;
} writer;

static int64_t put(writer *w, int64_t number, int64_t x, int64_t y) {
    if (w->code.count <= TM_REGEX_INSTRUCTIONS)
        tm_push(w->arena, &w->code, (instruction){number, x, y});
    return (int64_t)w->code.count - 1;
}

static bool is_full(const writer *w) {
    return w->code.count > TM_REGEX_INSTRUCTIONS;
}

static void put_node(writer *w, tm_regex_node *node);

static void put_alternative(writer *w, tm_regex_node *node) {
    TM_VECTOR(int64_t) ends = {0};
    for (tm_regex_node *child = node->child; child != NULL && !is_full(w); child = child->next) {
        bool last = child->next == NULL;
        int64_t fork = last ? -1 : put(w, TM_REGEX_SPLIT, 0, 0);
        put_node(w, child);
        if (last)
            break;
        tm_push(w->arena, &ends, put(w, TM_REGEX_SPLIT, 0, 0));
        w->code.items[fork].x = fork + 1;
        w->code.items[fork].y = (int64_t)w->code.count;
    }
    for (size_t i = 0; i < ends.count; i++)
        w->code.items[ends.items[i]].x = w->code.items[ends.items[i]].y = (int64_t)w->code.count;
}

static void put_repeat(writer *w, tm_regex_node *node) {
    TM_VECTOR(int64_t) forks = {0};
    int copies = node->most < 0 ? node->least : node->most;
    for (int i = 0; i < copies && !is_full(w); i++) {
        size_t before = w->code.count;
        if (i >= node->least)
            tm_push(w->arena, &forks, put(w, TM_REGEX_SPLIT, 0, 0));
        put_node(w, node->child);
        if (w->code.count == before) /* a thousand times nothing */
            break;
    }
    if (node->most < 0) {
        int64_t fork = put(w, TM_REGEX_SPLIT, 0, 0);
        tm_push(w->arena, &forks, fork);
        put_node(w, node->child);
        put(w, TM_REGEX_SPLIT, fork, fork);
    }
    for (size_t i = 0; i < forks.count; i++) {
        w->code.items[forks.items[i]].x = forks.items[i] + 1;
        w->code.items[forks.items[i]].y = (int64_t)w->code.count;
    }
}

/* Recursion is as deep as the tree, which the parser limits. */
static void put_node(writer *w, tm_regex_node *node) {
    switch (node->kind) {
    case TM_REGEX_SEQUENCE:
        for (tm_regex_node *child = node->child; child != NULL && !is_full(w); child = child->next)
            put_node(w, child);
        return;
    case TM_REGEX_ALTERNATIVE:
        put_alternative(w, node);
        return;
    case TM_REGEX_REPEAT:
        put_repeat(w, node);
        return;
    case TM_REGEX_CHARACTER:
        if (node->pairs < 0) {
            node->pairs = (int64_t)w->pairs.count;
            for (size_t i = 0; i < node->set.count; i++)
                tm_push(w->arena, &w->pairs, node->set.items[i]);
        }
        put(w, TM_REGEX_SET, node->pairs, (int64_t)node->set.count);
        return;
    case TM_REGEX_PLACE:
        put(w, TM_REGEX_ASSERT, node->condition, 0);
        return;
    }
}

const char *tm_regex_compile(tm_arena *arena, const char *pattern, size_t size, const int64_t **out_program,
                             int64_t *out_count) {
    tm_regex_parser parser = {.arena = arena, .pattern = pattern, .size = size};
    tm_regex_node *tree = tm_regex_parse(&parser);
    if (tree == NULL)
        return parser.error;
    writer w = {.arena = arena};
    put_node(&w, tree);
    put(&w, TM_REGEX_MATCH, 0, 0);
    if (is_full(&w))
        return "its repetitions multiply to too many states";
    size_t count = 1 + 3 * w.code.count + 2 * w.pairs.count, at = 0;
    int64_t *program = TM_NEW_ARRAY(arena, int64_t, count);
    program[at++] = (int64_t)w.code.count;
    for (size_t i = 0; i < w.code.count; i++) {
        program[at++] = w.code.items[i].number;
        program[at++] = w.code.items[i].x;
        program[at++] = w.code.items[i].y;
    }
    for (size_t i = 0; i < w.pairs.count; i++) {
        program[at++] = w.pairs.items[i].first;
        program[at++] = w.pairs.items[i].last;
    }
    *out_program = program;
    *out_count = (int64_t)count;
    return NULL;
}

tm_code tm_opset_regex_full_match(tm_draft *draft) {
    const tm_draft_attribute *attribute = tm_draft_find(draft, "pattern");
    if (attribute == NULL || attribute->kind != TM_ATTRIBUTE_STRING)
        return tm_draft_fail(draft, TM_E_ATTRIBUTE, "the pattern is missing");
    const int64_t *program;
    int64_t count;
    const char *error = tm_regex_compile(draft->importer->scratch, attribute->value.s,
                                         (size_t)attribute->value.s_size, &program, &count);
    if (error != NULL)
        return tm_draft_fail(draft, TM_E_UNSUPPORTED_FORM, "the pattern is not supported: %s", error);
    tm_draft_set_ints(draft, "program", program, count);
    return TM_OK;
}
