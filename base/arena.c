/* SPDX-License-Identifier: Apache-2.0
 *
 * arena.c: memory that is given back all at once.
 *
 * An arena is a list of blocks; an allocation takes the next bytes of the newest one:
 *
 *     blocks -> [ header | a | bb | ccc | free..... ] -> [ header | big tensor ] -> NULL
 *
 * Block sizes double from 16 KiB to 1 MiB, so small compilations stay small and large ones make few
 * calls of calloc. An allocation that is large against the block gets a block of its own, which
 * is put behind the newest so that the room left there is still used. Memory comes from calloc: it is
 * zero without touching pages that nobody writes.
 *
 * Why an arena: a compilation makes very many small objects that all die together and point to each
 * other freely. One owner makes leaks and double frees impossible, and a single place that can run
 * out of memory; it jumps to `recovery`, so nothing else has to look at NULL.
 *
 * The hostile build (TM_HOSTILE) gives each allocation its own block of exactly its size, where the
 * address sanitizer sees every overrun, and overwrites blocks before they are freed.
 */
#include "base/base.h"

#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tm_arena_block {
    tm_arena_block *next;
    size_t size; /* of data */
    size_t used;
    alignas(16) unsigned char data[];
};

struct tm_arena_cleanup {
    tm_arena_cleanup *next;
    void (*function)(void *);
    void *argument;
};

enum {
    ALIGNMENT = 16,
#ifdef TM_HOSTILE
    FIRST_BLOCK = 16,
    LAST_BLOCK = 16
#else
    FIRST_BLOCK = 16 << 10,
    LAST_BLOCK = 1 << 20
#endif
};

void tm_arena_init(tm_arena *arena) {
    memset(arena, 0, sizeof *arena);
}

void tm_arena_deinit(tm_arena *arena) {
    for (tm_arena_cleanup *cleanup = arena->cleanups; cleanup != NULL; cleanup = cleanup->next)
        cleanup->function(cleanup->argument);
    for (tm_arena_block *block = arena->blocks; block != NULL;) {
        tm_arena_block *next = block->next;
#ifdef TM_HOSTILE
        memset(block->data, 0xdd, block->size);
#endif
        free(block);
        block = next;
    }
    tm_arena_init(arena);
}

static _Noreturn void fail(tm_arena *arena) {
    if (!arena->has_recovery)
        __builtin_trap();
    longjmp(arena->recovery, 1);
}

/* A block with room for `bytes`, linked in; NULL when there is no memory. */
static tm_arena_block *add_block(tm_arena *arena, size_t bytes) {
    tm_arena_block *newest = arena->blocks;
    size_t size = newest == NULL ? FIRST_BLOCK : newest->size * 2;
    if (size > LAST_BLOCK)
        size = LAST_BLOCK;
    bool own = bytes > size / 4;
    if (own)
        size = bytes;
    size_t total;
    if (!tm_add_size(sizeof(tm_arena_block), size, &total))
        return NULL;
    tm_arena_block *block = calloc(1, total);
    if (block == NULL)
        return NULL;
    block->size = size;
    if (own && newest != NULL) {
        block->next = newest->next;
        newest->next = block;
    } else {
        block->next = newest;
        arena->blocks = block;
    }
    return block;
}

static void *try_alloc(tm_arena *arena, size_t bytes) {
    size_t rounded, total;
    if (!tm_add_size(bytes == 0 ? 1 : bytes, ALIGNMENT - 1, &rounded))
        return NULL;
    rounded &= ~(size_t)(ALIGNMENT - 1);
    if (!tm_add_size(arena->allocated, rounded, &total) || (arena->limit != 0 && total > arena->limit))
        return NULL;
#ifdef TM_HOSTILE
    rounded = bytes;
    tm_arena_block *block = add_block(arena, bytes);
#else
    tm_arena_block *block = arena->blocks;
    if (block == NULL || block->size - block->used < rounded)
        block = add_block(arena, rounded);
#endif
    if (block == NULL)
        return NULL;
    void *memory = block->data + block->used;
    block->used += rounded;
    arena->allocated = total;
    return memory;
}

void *tm_arena_alloc(tm_arena *arena, size_t bytes) {
    void *memory = try_alloc(arena, bytes);
    if (memory == NULL)
        fail(arena);
    return memory;
}

void *tm_arena_alloc_array(tm_arena *arena, size_t count, size_t size) {
    size_t bytes;
    if (!tm_mul_size(count, size, &bytes))
        fail(arena);
    return tm_arena_alloc(arena, bytes);
}

void *tm_arena_copy(tm_arena *arena, const void *data, size_t bytes) {
    void *memory = tm_arena_alloc(arena, bytes);
    if (bytes != 0)
        memcpy(memory, data, bytes);
    return memory;
}

char *tm_arena_string_n(tm_arena *arena, const char *text, size_t bytes) {
    size_t total;
    if (!tm_add_size(bytes, 1, &total))
        fail(arena);
    char *memory = tm_arena_alloc(arena, total);
    if (bytes != 0)
        memcpy(memory, text, bytes);
    return memory;
}

char *tm_arena_string(tm_arena *arena, const char *text) {
    return tm_arena_string_n(arena, text, strlen(text));
}

char *tm_arena_format_v(tm_arena *arena, const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0)
        fail(arena);
    size_t bytes = (size_t)length + 1;
    char *memory = tm_arena_alloc(arena, bytes);
    vsnprintf(memory, bytes, format, arguments);
    return memory;
}

char *tm_arena_format(tm_arena *arena, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *memory = tm_arena_format_v(arena, format, arguments);
    va_end(arguments);
    return memory;
}

/* Without memory for the record, the function runs at once: what it should release must not leak. */
void tm_arena_on_destroy(tm_arena *arena, void (*function)(void *), void *argument) {
    tm_arena_cleanup *cleanup = try_alloc(arena, sizeof *cleanup);
    if (cleanup == NULL) {
        function(argument);
        fail(arena);
    }
    cleanup->function = function;
    cleanup->argument = argument;
    cleanup->next = arena->cleanups;
    arena->cleanups = cleanup;
}
