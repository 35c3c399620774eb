/* SPDX-License-Identifier: Apache-2.0
 *
 * mapping.h: mapped files that are read now and then, without staying in memory.
 */
#ifndef TM_BASE_MAPPING_H
#define TM_BASE_MAPPING_H

#include "base/base.h"

/* A file that the arena closes and unmaps; made before the file is opened, so that no lack of memory can come
 * in between. */
typedef struct tm_file {
    int descriptor; /* -1: not open */
    void *address;
    size_t mapped;
} tm_file;
tm_file *tm_file_create(tm_arena *arena);
/* Maps `size` bytes of the open file and closes it. False with errno set when that fails. */
TM_MUST_USE bool tm_file_map(tm_file *file, size_t size, const uint8_t **out_bytes);

typedef struct tm_mapping {
    const void *address; /* at the start of a page */
    size_t bytes;
} tm_mapping;

/* What large data points into. Starts as zeros. */
typedef struct tm_mappings {
    TM_VECTOR(tm_mapping) list;
    size_t read;     /* bytes that were noted since pages went back */
    tm_file *copies; /* the temporary file, or NULL */
    size_t copied;   /* bytes in it */
    const uint8_t *window; /* its newest part that is mapped, and where that ends in the file */
    size_t window_from, window_to;
    bool full; /* it cannot be made, or not go on */
} tm_mappings;

/* Only what was mapped from a file and is never written to through the mapping. The owner unmaps it. */
void tm_mappings_add(tm_arena *arena, tm_mappings *mappings, const void *address, size_t bytes);
/* Gives the pages of all back; what points there stays right. */
void tm_mappings_release(const tm_mappings *mappings);
/* Says that about so many bytes were read, here or elsewhere: gives pages back when they add up. */
void tm_mappings_note_read(tm_mappings *mappings, size_t bytes);
/* A copy that lives as long as the arena, at a multiple of 64: of large data in a temporary file, else in the
 * arena. What it reads is noted. */
const void *tm_mappings_copy(tm_arena *arena, tm_mappings *mappings, const void *data, size_t bytes)
    __attribute__((returns_nonnull));

#endif
