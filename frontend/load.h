/* SPDX-License-Identifier: Apache-2.0
 *
 * load.h: files and byte ranges to protobuf messages. See load.c.
 */
#ifndef TM_FRONTEND_LOAD_H
#define TM_FRONTEND_LOAD_H

#include "base/mapping.h"
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
/* Scans and unpacks; the message lives in `scratch`. */
TM_MUST_USE tm_code tm_load_message(tm_arena *scratch, tm_diagnostics *diagnostics, const char *file,
                                    const ProtobufCMessageDescriptor *root, const uint8_t *bytes, size_t size,
                                    const tm_import_limits *limits, tm_loaded *out_loaded);

/* A second arena for what import needs only while it runs. It shares the fate of `arena`: when memory
 * is out, it jumps to arena's recovery point, and when arena is destroyed, so is it. */
tm_arena *tm_scratch_create(tm_arena *arena);
void tm_scratch_release(tm_arena *scratch); /* frees its memory early */

#endif
