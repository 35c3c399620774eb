/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect.h: what is in the weights of a model that could be stored, or computed, with less.
 *
 * Nothing is believed that a file says of itself: zeros, palettes, integers times scales, tables of sines,
 * copies and products of low rank are found in the values. Each finding holds exactly, or comes with its
 * error. Statistics of large tensors are of a part of them, spread over the whole; what holds "for all
 * elements" is looked at in all of them.
 */
#ifndef TM_COMPRESS_INSPECT_H
#define TM_COMPRESS_INSPECT_H

#include "ir/graph.h"

/* How a tensor could be kept. Bytes; negative: not for this tensor. */
typedef enum tm_forecast {
    TM_FORECAST_CODED,      /* as --weights=coded would: every bit comes back */
    TM_FORECAST_FLOAT16,    /* coded after rounding */
    TM_FORECAST_INT8,       /* a scale for each column */
    TM_FORECAST_INT8_CODED, /* and entropy coded */
    TM_FORECAST_INT4,       /* a scale for each 64 rows of a column */
    TM_FORECAST_PALETTE256, /* of all elements, with entropy coded numbers */
    TM_FORECAST_PALETTE16,
    TM_FORECAST_SLICES, /* without rows and columns of zeros */
    TM_FORECAST_RANK,   /* two factors that keep 99.9 % of the energy */
    TM_FORECAST_COUNT
} tm_forecast;
const char *tm_forecast_name(tm_forecast forecast); /* "int8, coded" */
const char *tm_forecast_key(tm_forecast forecast);  /* "int8_coded" */

typedef struct tm_tensor_report {
    const tm_constant *constant;
    const char *name;
    const char *reader; /* "MatMul '/layer/0/query'", or NULL */
    int64_t count, bytes;
    int64_t zeros, distinct; /* distinct: 65537 when there are more than 65536 */
    int64_t not_finite, subnormal;
    double least, most, rms;
    double outlier;       /* largest magnitude over rms */
    int64_t outliers;     /* elements beyond six rms */
    double word_bits;     /* entropy of the elements; of a part of large tensors, so at most 16 there */
    double exponent_bits; /* of the exponents of floats; negative: no float32 */
    double int8_bits;     /* of the elements rounded to int8 with a scale for each column */
    /* matrices: [rows, columns], all but the last axis (of convolutions: the first) are rows */
    int64_t rows, columns;
    int64_t zero_rows, zero_columns;
    double blocks_4x1, blocks_1x4; /* share of the zeros that stand in such blocks */
    const char *pattern;           /* "2:4 along rows", or NULL */
    int64_t rank;                  /* of the float32 numbers; -1: not computed */
    int64_t rank_99, rank_999;     /* singular values that hold 99 % and 99.9 % of the energy */
    bool sketched;                 /* the spectrum is that of a random projection */
    const char *generated;         /* formula, or NULL */
    double generated_error;        /* largest */
    const char *stored_as; /* what the values are: "integers times a scale for each column (int8)"; or NULL */
    const char *same_as, *relation; /* name of an earlier tensor, and "same bytes", "transposed", "times 2" */
    const char *claim;              /* what the file stores that it need not, or NULL */
    double forecast[TM_FORECAST_COUNT];
} tm_tensor_report;

/* A part of the graph that reads constants only. */
typedef struct tm_foldable_report {
    const char *output, *ops;           /* value that the rest reads; "MatMul, Mul, Add" */
    int64_t nodes, bytes_in, bytes_out; /* bytes_out: -1: not known before it is folded */
    bool adapter;                       /* W + scale * A B */
} tm_foldable_report;

/* Heads of an attention, or channels between two products, by the weights around them. */
typedef struct tm_axis_inspection {
    const char *name; /* of the product that reads them */
    int64_t slices, width;
    double *energy; /* by slice: of value times output product; of a channel's column times its row */
    int64_t *rank;  /* of heads: singular values that hold 99 % of it; -1: not found. NULL: channels */
    double *scores_energy; /* the same of queries times keys */
    int64_t *scores_rank;
    double total;             /* energy */
    int64_t weak_1, weak_10;  /* slices that together hold at most 1 % and 10 % of it, the weakest */
} tm_axis_inspection;

typedef struct tm_inspect_report {
    const char *model;
    int64_t file_bytes, bytes; /* of all constants */
    double seconds;
    TM_VECTOR(tm_tensor_report) tensors;
    TM_VECTOR(tm_foldable_report) foldable;
    TM_VECTOR(tm_axis_inspection) axes;
    double
        forecast[TM_FORECAST_COUNT]; /* of the model: where a way is not for a tensor, that stays as it is */
    double best;                     /* each tensor in its smallest exact form */
    int64_t duplicate_bytes, zero_bytes, generated_bytes;
    const char *no_spectrum; /* why there are no ranks, or NULL */
} tm_inspect_report;

/* Looks at an imported and inferred model. Texts and lists live in `arena`. */
void tm_inspect_weights(tm_arena *arena, const tm_model *model, int64_t file_bytes, tm_inspect_report *out);

void tm_inspect_text(const tm_inspect_report *report, tm_text *out);
void tm_inspect_json(const tm_inspect_report *report, tm_text *out);
void tm_inspect_html(const tm_inspect_report *report, tm_text *out);

/* ---- between the files ---- */

/* A constant's elements as floats: a matrix for everything of rank 2 and more. */
typedef struct tm_inspected {
    const float *data;
    int64_t count, rows, columns;
    int64_t row_step, column_step; /* in elements */
} tm_inspected;

/* inspect_values.c: statistics, entropies. inspect_pattern.c: zeros and their patterns, generated tables. */
void tm_inspect_statistics(tm_arena *scratch, const tm_inspected *x, tm_tensor_report *out);
void tm_inspect_patterns(tm_arena *arena, const tm_inspected *x, tm_tensor_report *out);
void tm_inspect_generated(tm_arena *arena, tm_arena *scratch, const tm_inspected *x, tm_tensor_report *out);
/* inspect_spectrum.c */
void tm_inspect_spectrum(tm_arena *scratch, const tm_inspected *x, tm_tensor_report *out);
/* inspect_forecast.c: after all of these */
void tm_inspect_forecast(tm_arena *arena, tm_arena *scratch, const tm_inspected *x, tm_tensor_report *out);
/* inspect_same.c */
void tm_inspect_duplicates(tm_arena *arena, tm_inspect_report *report);
/* inspect_fold.c */
void tm_inspect_foldable(tm_arena *arena, const tm_model *model, tm_inspect_report *report);
/* inspect_heads.c: needs tm_algebra_load */
void tm_inspect_axes(tm_arena *arena, const tm_model *model, tm_inspect_report *report);

#endif
