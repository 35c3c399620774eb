/* SPDX-License-Identifier: Apache-2.0
 *
 * stored.h: how coded weights stand in an artifact (compile --weights=coded). The compiler writes them, the
 * artifact's own unpack() reads them back once, when it is loaded; both include this file, so that their
 * models of the data cannot differ.
 *
 *     tm_stored_header | raw bytes | range-coded stream
 *
 * The stream is a list of records, one for each constant in the order of its place, and says how to make it:
 *
 *     PLAIN    its elements
 *     WIDEN    elements of float16 or bfloat16, widened to float32
 *     PALETTE  bytes that number entries of a table, for each `chunk` of elements a table of its own
 *     LINEAR   integers times a scale: one of all, or one for each column and block of rows
 *     RANGE    start + step * (i / inner % count): fills, counts, positions
 *     SINES    sin and cos of row * frequency, maybe rounded, and what is to be added to the bits
 *
 * Numbers of a record are bytes with seven bits each, low ones first, the last below 128. What does not
 * shrink (low bytes of mantissas, tables) stands in the raw bytes.
 *
 * Elements are coded byte by byte, each in two halves, each half by the frequencies of its sixteen values,
 * which both sides adapt as they go: no tables are stored, so weights of a few hundred elements shrink too.
 * The highest byte of an element is coded in one of four contexts, by whether the element before and the one
 * a row above are zero: zeros that stand together in blocks or rows cost nearly nothing. A float is turned
 * left by its sign's bit first, so that its exponent is one byte.
 *
 * Why not an entropy coder with stored tables, and a library: the decoder is about 2 KB in an artifact of 40,
 * and a table for each of twenty small tensors costs more than it saves.
 */
#ifndef TAMIS_STORED_H
#define TAMIS_STORED_H

#include "tamis/artifact.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tm_stored_header {
    uint64_t check; /* from tm_stored_check on over what follows the header */
    uint32_t records;
    uint32_t reserved;
    uint64_t raw_bytes, stream_bytes;
} tm_stored_header;

typedef enum tm_stored_form {
    TM_STORED_PLAIN = 0,
    TM_STORED_WIDEN = 1,
    TM_STORED_PALETTE = 2,
    TM_STORED_LINEAR = 3,
    TM_STORED_RANGE = 4,
    TM_STORED_SINES = 5
} tm_stored_form;

/* How elements are coded, first number of their list: */
enum {
    TM_STORED_TURN = 8,   /* bits turned left by one; the low three bits: log2 of the bytes of an element */
    TM_STORED_SKIP = 16,  /* of an element whose highest byte is zero nothing more is there: it is zero */
    TM_STORED_FRESH = 32, /* frequencies start anew */
    TM_STORED_MASK = 64   /* times this: which bytes are coded; the others are raw */
};

/* Columns of a table of sines: which frequency, sine or cosine. */
typedef enum tm_stored_sines {
    TM_STORED_SINES_PAIRS = 0,   /* sin f0, cos f0, sin f1, cos f1, ... */
    TM_STORED_SINES_HALVES = 1,  /* sin f0, sin f1, ..., cos f0, cos f1, ... */
    TM_STORED_COSINES_FIRST = 2, /* cos f0, cos f1, ..., sin f0, sin f1, ... */
    TM_STORED_COSINES_TWICE = 3, /* cos f0, cos f1, ..., cos f0, cos f1, ... */
    TM_STORED_SINES_TWICE = 4,   /* the same of sin */
    TM_STORED_COSINES = 5,       /* cos f0, cos f1, ... */
    TM_STORED_SINES_ONLY = 6,
    TM_STORED_COSINES_PAIRS = 7, /* cos f0, cos f0, cos f1, cos f1, ... */
    TM_STORED_SINES_SAME = 8,    /* sin f0, sin f0, ... */
    TM_STORED_SINES_COUNT = 9
} tm_stored_sines;

/* What elements of a table of sines are rounded to. */
enum tm_stored_rounding {
    TM_STORED_FLOAT32 = 0,
    TM_STORED_FLOAT16 = 1,
    TM_STORED_BFLOAT16 = 2,
    TM_STORED_WIDENED = 4 /* added to a narrow one: they are float32 again */
};

static inline int64_t tm_stored_sines_frequencies(int kind, int64_t columns) {
    return kind == TM_STORED_COSINES || kind == TM_STORED_SINES_ONLY ? columns : (columns + 1) / 2;
}
static inline int64_t tm_stored_sines_column(int kind, int64_t columns, int64_t c, int *out_cosine) {
    int64_t half = (columns + 1) / 2;
    *out_cosine =
        kind == TM_STORED_SINES_PAIRS    ? (int)(c & 1)
        : kind == TM_STORED_SINES_HALVES ? c >= half
        : kind == TM_STORED_COSINES_FIRST
            ? c < half
            : kind == TM_STORED_COSINES_TWICE || kind == TM_STORED_COSINES || kind == TM_STORED_COSINES_PAIRS;
    if (kind == TM_STORED_SINES_PAIRS || kind == TM_STORED_COSINES_PAIRS || kind == TM_STORED_SINES_SAME)
        return c / 2;
    return kind == TM_STORED_COSINES || kind == TM_STORED_SINES_ONLY ? c : c % half;
}

/* The scale of element i of a constant whose columns are `columns` wide in groups of `rows` rows, with one
 * for each column and `block` rows. */
static inline int64_t tm_stored_scale(int64_t i, int64_t columns, int64_t rows, int64_t block) {
    int64_t row = i / columns, blocks = (rows + block - 1) / block;
    return (row / rows * blocks + row % rows / block) * columns + i % columns;
}

static inline uint64_t tm_stored_mix(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
}

/* Over the index of a weights file that several artifacts share, entry by entry. */
static inline uint64_t tm_weights_chain(uint64_t chain, const tm_weights_entry *entry) {
    return tm_stored_mix(tm_stored_mix(tm_stored_mix(chain, (uint64_t)entry->offset), (uint64_t)entry->bytes),
                         entry->hash);
}

/* The check value before the first word of what follows the header, in words of eight bytes, the last filled
 * up with zeros. */
static inline uint64_t tm_stored_check(const tm_stored_header *header) {
    return tm_stored_mix(header->raw_bytes + header->stream_bytes, header->raw_bytes << 32 ^ header->records);
}

/* ---- frequencies of sixteen values: sums[i] is the share of values up to i, of 65536 ---- */

typedef struct tm_stored_model {
    uint16_t sums[16];
} tm_stored_model;

#define TM_STORED_BITS 15 /* of a share as it is coded */

/* The share of values up to i as it is coded: none is nothing. */
static inline uint32_t tm_stored_share(const tm_stored_model *model, int i) {
    uint32_t sum = model->sums[i] >> 1;
    return sum - (sum >> 7) + (uint32_t)(16 * (i + 1));
}

/* `seen`: how many values the model has taken in; it learns fast at first. */
static inline void tm_stored_learn(tm_stored_model *model, int value, int seen) {
    int rate = seen < 2 ? 3 : seen < 6 ? 4 : seen < 16 ? 5 : seen < 48 ? 6 : seen < 400 ? 7 : 8;
    for (int i = 0; i < 16; i++) { /* the last sum stays what it is; sixteen make a vector */
        uint16_t sum = model->sums[i];
        model->sums[i] = (uint16_t)(i >= value ? sum + ((65535 - sum) >> rate) : sum - (sum >> rate));
    }
}

/* Models of a byte of an element: the high half, and the low half for each high one. */
typedef struct tm_stored_byte {
    tm_stored_model models[17];
    uint16_t seen[17];
} tm_stored_byte;

/* Byte 7 - k of an element has models[k]; the highest one in a context has 8 + context - 1, or 0. The last
 * one is that of a record's numbers. */
#define TM_STORED_BYTES 12
typedef struct tm_stored_models {
    tm_stored_byte bytes[TM_STORED_BYTES];
} tm_stored_models;

static inline void tm_stored_begin(tm_stored_byte *byte) {
    for (int m = 0; m < 17; m++) {
        byte->seen[m] = 0;
        for (int i = 0; i < 16; i++)
            byte->models[m].sums[i] = (uint16_t)(i < 15 ? 4096 * (i + 1) : 65535);
    }
}

/* runtime/support_unpack.c and support_unpack_sines.c: unpack() of artifacts, without and with tables of
 * sines. */
int32_t tm_unpack(const tamis_artifact *artifact, void *memory);
int32_t tm_unpack_sines(const tamis_artifact *artifact, void *memory);

#ifdef __cplusplus
}
#endif
#endif
