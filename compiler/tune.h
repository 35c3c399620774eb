/* SPDX-License-Identifier: Apache-2.0
 *
 * tune.h: between the search for schedules (tune.c) and the measurement of two artifacts (tune_measure.c).
 */
#ifndef TM_COMPILER_TUNE_H
#define TM_COMPILER_TUNE_H

#include "codegen/llvm/schedule.h"
#include "compiler/internal.h"
#include "tamis/tune.h"

typedef TM_VECTOR(tm_schedule_trial) tm_tune_trials;

/* A region that is measured; equal ones count as one. */
typedef struct tm_tuned {
    const tm_scheduled *region;
    const char *level;    /* as tables name it */
    tm_schedule schedule; /* the best so far */
    double share;         /* its time, as a part of the default's */
    tm_tune_trials trials;
} tm_tuned;

typedef struct tm_tune {
    tm_arena *arena;
    tm_diagnostics *diagnostics;
    const tm_source *source;
    const tamis_compile_options *options; /* for one level, with a profile */
    const tamis_tune_options *tune;
    tamis_tune_runtime runtime; /* a copy: artifacts are unloaded by it at the latest with the arena */
    const char *folder; /* for artifacts */
    int artifacts;      /* made so far */
    TM_VECTOR(tm_tuned) regions;
} tm_tune;

/* An artifact that runs, with its steps' regions. */
typedef struct tm_tune_artifact {
    tm_tune *owner;
    const char *path;
    tamis_model *model;
    tamis_session *session;
    tamis_profiler profiler;
    int *region_of_step; /* index of tm_tune.regions; -1: none */
    size_t step_count;
    double begin;    /* of the step that runs */
    double *seconds; /* by region, of the last run */
} tm_tune_artifact;

/* Times of two artifacts by region: medians over rounds. */
typedef struct tm_tune_times {
    double a, b;
    bool faster; /* b, by more than the noise */
    double ratio;
} tm_tune_times;

/* Compiles with a table (NULL: the cost model's choices) into the folder; adds the regions that are new. */
TM_MUST_USE tm_code tm_tune_compile(tm_tune *t, tm_schedule_table *table, tm_tune_artifact *out);
/* Loads it. TM_E_CPU without a diagnostic: this machine does not have the level. */
TM_MUST_USE tm_code tm_tune_load(tm_tune_artifact *artifact);
void tm_tune_unload(tm_tune_artifact *artifact); /* and removes the file */
/* Runs both alternately; by region in `out`. *out_same: are the answers equal to the bit? */
TM_MUST_USE tm_code tm_tune_compare(tm_tune *t, tm_tune_artifact *a, tm_tune_artifact *b, tm_tune_times *out,
                                    bool *out_same);
/* Is b faster than a by more than noise? Of ratios b / a in `rounds` rounds, which are sorted. */
bool tm_tune_is_faster(double *ratios, size_t rounds, double *out_median);

#endif
