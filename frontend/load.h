/* SPDX-License-Identifier: Apache-2.0
 *
 * load.h: files and byte ranges to protobuf messages. See load.c.
 */
#ifndef TM_FRONTEND_LOAD_H
#define TM_FRONTEND_LOAD_H

#include "frontend/scan.h"

/* A message and the bytes that its tensors point into. */
typedef struct tm_loaded {
    const uint8_t *bytes;
    size_t size;
    const tm_chunk *chunks;
    size_t chunk_count;
    ProtobufCMessage *message;
} tm_loaded;

/* Maps a regular file for as long as the arena lives. */
TM_MUST_USE tm_code tm_load_map(tm_arena *arena, tm_diagnostics *diagnostics, const char *path,
                                const uint8_t **out_bytes, size_t *out_size);
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
/* Scans and unpacks; the message lives in `scratch`. */
TM_MUST_USE tm_code tm_load_message(tm_arena *scratch, tm_diagnostics *diagnostics, const char *file,
                                    const ProtobufCMessageDescriptor *root, const uint8_t *bytes, size_t size,
                                    const tm_import_limits *limits, tm_loaded *out_loaded);

/* A second arena for what import needs only while it runs. It shares the fate of `arena`: when memory
 * is out, it jumps to arena's recovery point, and when arena is destroyed, so is it. */
tm_arena *tm_scratch_create(tm_arena *arena);
void tm_scratch_release(tm_arena *scratch); /* frees its memory early */

#endif
