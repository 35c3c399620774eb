/* SPDX-License-Identifier: Apache-2.0
 *
 * palette.h: weights as entries of a small table, in forms that the standard has:
 *
 *     %w: f32[k, n]   ->   %i: i32[k, n] = Cast(%numbers: u8[k, n])
 *                          %w' = Gather(%palette: f32[16], %i)
 *
 * With a palette for each group of columns, Add(%i, %first) says where the column's palette begins. Rows of a
 * table that Gather reads are looked up as numbers first. A compiled model has the weights of products as
 * float32, in the artifact as numbers again if they are coded (codegen/store.h), and looks rows of tables up
 * when it runs.
 */
#ifndef TM_COMPRESS_PALETTE_H
#define TM_COMPRESS_PALETTE_H

#include "quantize/quantize.h"

typedef struct tm_palette_options {
    int entries;             /* of a palette: 2 to 256 */
    int64_t group;           /* output channels that share one; 0: all */
    const char *const *keep; /* parts of names of layers that stay */
    size_t keep_count;
    tm_quantize_options measures; /* budget, samples, threads */
} tm_palette_options;

/* "16,group=32,keep=head" */
TM_MUST_USE tm_code tm_palette_parse(tm_arena *arena, tm_diagnostics *diagnostics, const char *text,
                                     tm_palette_options *out);

typedef struct tm_palette_report {
    int64_t layers, changed;
    double error; /* root of the mean square of what the weights lose over that of the weights */
    int64_t bytes_before, bytes; /* of all constants */
    int64_t samples;
    tm_divergence whole;
    const char *refused; /* why the model is as it was, or NULL */
} tm_palette_report;

/* The model of a file with palettes, in `arena`; as it was if the budget does not allow them. `samples` may
 * be NULL. */
TM_MUST_USE tm_code tm_palette(tm_arena *arena, tm_diagnostics *diagnostics, const char *path,
                               const char *folder, const tamis_compile_options *compile,
                               const tm_palette_options *options, const tm_samples *samples,
                               tm_model **out_model, tm_palette_report *out_report);

/* palette_means.c: the `entries` values with the least square error of their nearest, in ascending order.
 * Zero is one of them if one element in a hundred is zero. */
void tm_palette_fit(tm_arena *scratch, const float *x, int64_t count, int64_t stride, int64_t run,
                    int entries, float *out_palette);
/* The nearest entry. */
int tm_palette_nearest(const float *palette, int entries, float x);

#endif
