/* SPDX-License-Identifier: Apache-2.0
 *
 * storage.h: to how few bits the constants of an artifact may be rounded where they are kept, under a budget
 * of divergence (compile --storage=auto).
 *
 * Constants become multiples of a step, one for each constant, and are entropy coded (codegen/store.h); they
 * are float32 again when the artifact is loaded, so code and speed are those of float.
 */
#ifndef TM_COMPRESS_STORAGE_H
#define TM_COMPRESS_STORAGE_H

#include "quantize/quantize.h"

typedef struct tm_storage_report {
    int64_t places, rounded;   /* constants in the artifact; those that are rounded */
    int64_t samples, trials;   /* runs over the samples */
    double exact_bytes, bytes; /* coded: as they are, rounded */
    double bits;               /* mean of the rounded elements, coded */
    tm_divergence whole;
    double seconds;
} tm_storage_report;

/* `measures`: the budget (one is needed), samples, threads. The steps live in `arena`. */
TM_MUST_USE tm_code tm_storage_choose(tm_arena *arena, tm_diagnostics *diagnostics, const char *path,
                                      const char *folder, const tamis_compile_options *compile,
                                      const tm_quantize_options *measures, const tm_samples *samples,
                                      const float **out_steps, size_t *out_count,
                                      tm_storage_report *out_report);

#endif
