/* SPDX-License-Identifier: Apache-2.0
 *
 * unpack.h: what support_unpack.c shares with support_unpack_sines.c: the state of unpacking coded weights.
 */
#ifndef TM_RUNTIME_UNPACK_H
#define TM_RUNTIME_UNPACK_H

#include "tamis/stored.h"

typedef struct tm_unpacker {
    const uint8_t *raw, *stream; /* what comes next */
    uint32_t range, code;
    tm_stored_models models;
} tm_unpacker;

/* A table of sines is made only where a model has one: its code stays out of other artifacts. */
typedef void tm_unpack_table(tm_unpacker *u, uint8_t *to, int64_t count);

int64_t tm_unpack_number(tm_unpacker *u);
/* `count` elements, as the list of their coding says; of one number less than 2^40. */
void tm_unpack_elements(tm_unpacker *u, uint8_t *to, int64_t count, int64_t columns);
int32_t tm_unpack_all(const tamis_artifact *artifact, uint8_t *memory, tm_unpack_table *sines);

#endif
