/* SPDX-License-Identifier: Apache-2.0
 *
 * store.h: constants in few bytes. What a constant looks like decides how it is coded (include/tamis/stored.h
 * has the forms), not what the model says of it: weights of a quantised model that were unpacked, a table
 * that an exporter computed, a palette that was written out are all found again by their values.
 *
 *     values  --tm_form_find-->  form and its numbers  --tm_form_put-->  coder
 *
 * A form is exact: it gives back every bit. Rounding, where it is asked for, is done to the values before.
 */
#ifndef TM_CODEGEN_STORE_H
#define TM_CODEGEN_STORE_H

#include "codegen/coder.h"
#include "ir/graph.h"

/* Elements in the order in which the weights section holds them. */
typedef struct tm_stored_values {
    const void *data;
    tamis_type type;
    int64_t count;
    int size;        /* bytes of an element; 1 for packed ones, whose `count` is bytes */
    int64_t columns; /* next to each other */
    int64_t rows;    /* of the same columns: a panel, or all */
    bool is_table;   /* not packed for products: rows of a table */
} tm_stored_values;

typedef struct tm_form {
    tm_stored_form form;
    double bytes; /* about what it takes */
    /* WIDEN */
    bool brain; /* bfloat16 */
    const uint16_t *narrow;
    /* PALETTE: a table of `entries` values for each `chunk` elements, and bytes that number them */
    int64_t entries, chunk;
    const uint8_t *table, *indices;
    /* LINEAR */
    int64_t scale_count, columns, rows, block;
    const float *scales;
    bool narrow_scales;   /* float16 has them exactly */
    const void *integers; /* int8 or int16 */
    int integer_size;
    /* RANGE */
    int64_t start, step, inner, length;
    /* SINES */
    int kind, rounding; /* tm_stored_sines, tm_stored_rounding */
    bool single;        /* angles are rounded to float32 */
    const double *frequencies;
    int64_t frequency_count;
    const int8_t *rest; /* what is added to the bits, or NULL */
} tm_form;

/* store_form.c: the form that takes least. What it finds lives in `arena`. */
tm_form tm_form_find(tm_arena *arena, const tm_coder *coder, const tm_stored_values *values);
void tm_form_put(tm_coder *coder, const tm_stored_values *values, const tm_form *form);

/* store_sines.c: is it a table of sines? At most `most_ulps` away in each element (127), of narrow types two.
 */
bool tm_form_find_sines(tm_arena *arena, const tm_stored_values *values, int most_ulps, tm_form *out);
/* store_linear.c: is it integers times scales? */
bool tm_form_find_linear(tm_arena *arena, const tm_stored_values *values, tm_form *out);
/* store_range.c: does it count, or repeat one value? */
bool tm_form_find_range(const tm_stored_values *values, tm_form *out);
/* store_palette.c: are there at most 256 values, of all or of each chunk of columns * rows elements? */
bool tm_form_find_palette(tm_arena *arena, const tm_stored_values *values, tm_form *out);
/* Number of distinct elements, `most` + 1 when there are more; sizes 1 to 8. */
int64_t tm_count_distinct(tm_arena *arena, const void *data, int64_t count, int size, int64_t most);

/* store.c: how weights are to be kept. */
typedef enum tm_storage_kind {
    TM_STORAGE_EXACT,
    TM_STORAGE_FLOAT16, /* float32 rounded to float16, where it is near enough */
    TM_STORAGE_BFLOAT16,
    TM_STORAGE_STEPS /* float32 rounded to multiples of a step for each constant */
} tm_storage_kind;

typedef struct tm_storage_options {
    bool coded;
    tm_storage_kind kind;
    const float *steps; /* by the constant's place among those that are stored; 0: exact */
    int64_t step_count;
} tm_storage_options;

/* All of them, coded. */
typedef struct tm_coded {
    tm_stored_header header;
    tm_pieces raw, stream;
    int64_t bytes;
    bool has_sines;
} tm_coded;

struct tm_plan;
/* Rounds stored float32 values in place as the kind says. False: it leaves them as they are, since too much
 * would be lost (numbers beyond float16's range). */
bool tm_storage_round(tm_storage_kind kind, float step, float *values, int64_t count);
/* What an entry of the plan holds, as it is stored, in the arena; false: it is no constant that is stored, or
 * shares the place of another. */
bool tm_plan_values(const struct tm_plan *plan, size_t entry, tm_arena *arena, tm_stored_values *out);
/* weights.c: writes a constant as the weights section holds it, tm_constant_stored_bytes of it. */
void tm_lay_out_constant(const tm_constant *constant, uint8_t *to);
/* Codes all constants of the plan: plan->coded. */
void tm_plan_code(struct tm_plan *plan, const tm_storage_options *options);

#endif
