/* SPDX-License-Identifier: Apache-2.0
 *
 * base.h: memory, containers, checked arithmetic and diagnostics of the compiler. Knows nothing of tensors.
 *
 * Memory: one arena per compilation owns everything. tm_arena_alloc never returns NULL: when the
 * host has no memory left, it jumps to the arena's recovery point, which each entry of the public
 * API sets with
 *
 *     if (setjmp(arena->recovery) != 0) { ...destroy the arena; return TM_E_OUT_OF_MEMORY; }
 *
 * So no code between has to check, and nothing leaks: things that are not memory (files, mappings,
 * LLVM objects) are registered with tm_arena_on_destroy.
 *
 * Errors: functions that can fail return a tm_code (0 = TM_OK). The function that finds the fault
 * files a tm_diagnostic (message, place, hint) with tm_report, which returns the code; callers
 * just hand it on: `TM_TRY(f(x));`. All unsupported things can be filed before giving up.
 */
#ifndef TM_BASE_H
#define TM_BASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TM_MUST_USE __attribute__((warn_unused_result))
#define TM_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))

/* ---- error codes: base/errors.def is the one list ---- */
typedef enum tm_code {
    TM_OK = 0,
#define TM_ERROR(number, name, exit_code, title, text) TM_E_##name = number,
#include "base/errors.def"
#undef TM_ERROR
} tm_code;

const char *tm_code_title(tm_code code);     /* "unsupported operator"; "ok" for 0 */
const char *tm_code_text(tm_code code);      /* the long text of `tamis explain` */
int tm_code_exit(tm_code code);              /* the process exit code (sysexits) */
tm_code tm_code_next(tm_code code);          /* iterates over the list: start with TM_OK; TM_OK at the end */

#define TM_TRY(expression)               \
    do {                                 \
        tm_code try_code = (expression); \
        if (try_code != TM_OK)           \
            return try_code;             \
    } while (0)

/* ---- arena ---- */
typedef struct tm_arena_block tm_arena_block;
typedef struct tm_arena_cleanup tm_arena_cleanup;
typedef struct tm_arena {
    tm_arena_block *blocks;
    tm_arena_cleanup *cleanups;
    size_t allocated; /* bytes handed out */
    size_t limit;     /* allocation beyond it fails as if memory were out (0: none); for tests and limits */
    jmp_buf recovery;
    bool has_recovery; /* without one, running out of memory ends in __builtin_trap */
} tm_arena;

void tm_arena_init(tm_arena *arena);
void tm_arena_deinit(tm_arena *arena); /* runs the cleanups, newest first, then frees all */
void *tm_arena_alloc(tm_arena *arena, size_t bytes)
    __attribute__((malloc, alloc_size(2), returns_nonnull)); /* zeroed, 16-aligned */
void *tm_arena_alloc_array(tm_arena *arena, size_t count, size_t size)
    __attribute__((malloc, returns_nonnull)); /* checked product */
void *tm_arena_copy(tm_arena *arena, const void *data, size_t bytes) __attribute__((returns_nonnull));
char *tm_arena_string(tm_arena *arena, const char *text) __attribute__((returns_nonnull));
char *tm_arena_string_n(tm_arena *arena, const char *text, size_t bytes) __attribute__((returns_nonnull));
char *tm_arena_format(tm_arena *arena, const char *format, ...) TM_PRINTF(2, 3)
    __attribute__((returns_nonnull));
char *tm_arena_format_v(tm_arena *arena, const char *format, va_list arguments)
    __attribute__((returns_nonnull));
void tm_arena_on_destroy(tm_arena *arena, void (*function)(void *), void *argument);
#define TM_NEW(arena, type) ((type *)tm_arena_alloc((arena), sizeof(type)))
#define TM_NEW_ARRAY(arena, type, count) \
    ((type *)tm_arena_alloc_array((arena), (size_t)(count), sizeof(type)))

/* ---- vector: TM_VECTOR(int) v = {0}; tm_push(arena, &v, 3); v.items[i], v.count ---- */
#define TM_VECTOR(type)  \
    struct {             \
        type *items;     \
        size_t count;    \
        size_t capacity; \
    }
void *tm_vector_grow(tm_arena *arena, void *items, size_t count, size_t *capacity, size_t item_bytes);
#define tm_push(arena, vector, ...)                                                                         \
    do {                                                                                                    \
        if ((vector)->count == (vector)->capacity)                                                          \
            (vector)->items = tm_vector_grow((arena), (vector)->items, (vector)->count, &(vector)->capacity, \
                                             sizeof(*(vector)->items));                                     \
        (vector)->items[(vector)->count++] = (__VA_ARGS__);                                                 \
    } while (0)

/* ---- text builder ---- */
typedef struct tm_text {
    tm_arena *arena;
    char *data; /* always NUL-terminated once something was added; NULL before */
    size_t size;
    size_t capacity;
} tm_text;
void tm_text_init(tm_text *text, tm_arena *arena);
void tm_text_add(tm_text *text, const char *format, ...) TM_PRINTF(2, 3);
void tm_text_add_bytes(tm_text *text, const void *data, size_t bytes);
/* Adds `bytes` of a foreign name with control bytes, quotes and backslashes as \n, \t, \", \\, \xHH. */
void tm_text_add_escaped(tm_text *text, const char *data, size_t bytes);
/* Adds our own text that may quote foreign bytes: only control bytes and broken UTF-8 become \xHH, lines
 * after the first are indented by four spaces. */
void tm_text_add_printable(tm_text *text, const char *data, size_t bytes);
const char *tm_text_get(const tm_text *text); /* "" when empty */

/* ---- maps ---- */
typedef struct tm_map_entry tm_map_entry;
typedef struct tm_map { /* strings to pointers; keys are copied; iteration in insertion order */
    tm_arena *arena;
    tm_map_entry *entries; /* in insertion order */
    size_t count, capacity;
    uint32_t *slots;
    size_t slot_count;
} tm_map;
struct tm_map_entry {
    const char *key;
    void *value;
    uint64_t hash;
};
void tm_map_init(tm_map *map, tm_arena *arena);
void *tm_map_get(const tm_map *map, const char *key);                /* NULL: absent */
bool tm_map_has(const tm_map *map, const char *key);
void tm_map_set(tm_map *map, const char *key, void *value);          /* replaces */
void tm_map_remove(tm_map *map, const char *key); /* entry stays with value NULL, key absent */
uint64_t tm_hash_bytes(const void *data, size_t bytes, uint64_t seed);

/* ---- checked arithmetic: false on overflow, *out untouched ---- */
static inline TM_MUST_USE bool tm_add_size(size_t a, size_t b, size_t *out) {
    return !__builtin_add_overflow(a, b, out);
}
static inline TM_MUST_USE bool tm_mul_size(size_t a, size_t b, size_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline TM_MUST_USE bool tm_add_i64(int64_t a, int64_t b, int64_t *out) {
    return !__builtin_add_overflow(a, b, out);
}
static inline TM_MUST_USE bool tm_sub_i64(int64_t a, int64_t b, int64_t *out) {
    return !__builtin_sub_overflow(a, b, out);
}
static inline TM_MUST_USE bool tm_mul_i64(int64_t a, int64_t b, int64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}

/* ---- diagnostics ---- */
typedef struct tm_place { /* any member may be NULL (node_index -1) */
    const char *file;
    const char *path;   /* "main", "main/Loop_3.body" */
    int64_t node_index; /* in its graph, as in the file */
    const char *op;     /* "Add", "com.microsoft.Gelu" */
    const char *node;   /* the node's name */
    const char *tensor;
    int64_t line, column; /* text input; 0: none */
} tm_place;

typedef struct tm_diagnostic {
    tm_code code;
    tm_place place;
    const char *message;
    const char *expected; /* or NULL */
    const char *found;    /* or NULL */
    const char *hint;     /* or NULL */
} tm_diagnostic;

typedef struct tm_diagnostics {
    tm_arena *arena;
    TM_VECTOR(tm_diagnostic) list;
} tm_diagnostics;

void tm_diagnostics_init(tm_diagnostics *diagnostics, tm_arena *arena);
/* Files a diagnostic; returns its code. `hint` may be NULL; strings are copied, foreign names in
 * `place` are stored as they are and escaped when printed. */
tm_code tm_report(tm_diagnostics *diagnostics, tm_code code, const tm_place *place, const char *hint,
                  const char *format, ...) TM_PRINTF(5, 6);
/* The same with expected and found lines. */
tm_code tm_report_mismatch(tm_diagnostics *diagnostics, tm_code code, const tm_place *place, const char *hint,
                           const char *expected, const char *found, const char *format, ...) TM_PRINTF(7, 8);
/* "model.onnx:main:node 3:Add '/layer/Add': error E0123: message\n    expected ...\n    hint: ...\n" */
void tm_diagnostic_print(const tm_diagnostic *diagnostic, tm_text *out);

#endif
