/* SPDX-License-Identifier: Apache-2.0
 *
 * scan.h: the first look at foreign bytes. See scan.c for what it checks and makes.
 */
#ifndef TM_FRONTEND_SCAN_H
#define TM_FRONTEND_SCAN_H

#include "frontend/import.h"

#include <protobuf-c/protobuf-c.h>

/* Where a piece of a tensor's elements stands in the scanned bytes. */
typedef enum tm_chunk_kind {
    TM_CHUNK_BYTES,  /* raw_data */
    TM_CHUNK_PACKED, /* values of a packed field, one after the other */
    TM_CHUNK_RUN     /* one or more unpacked values of a field, each with its tag */
} tm_chunk_kind;

typedef struct tm_chunk {
    tm_chunk_kind kind;
    uint32_t field;
    size_t offset, bytes;
} tm_chunk;

typedef struct tm_scan_result {
    uint8_t *skeleton;
    size_t skeleton_bytes;
    tm_chunk *chunks;
    size_t chunk_count;
} tm_scan_result;

/* Walks `bytes` as a message of type `root`. Files a diagnostic for the first fault. */
TM_MUST_USE tm_code tm_scan(tm_arena *arena, tm_diagnostics *diagnostics, const char *file,
                            const ProtobufCMessageDescriptor *root, const uint8_t *bytes, size_t size,
                            const tm_import_limits *limits, tm_scan_result *out_result);

/* A varint at bytes[*position], before `end`; false when cut short or longer than 64 bits. */
TM_MUST_USE bool tm_read_varint(const uint8_t *bytes, size_t end, size_t *position, uint64_t *out_value);

#endif
