/* SPDX-License-Identifier: Apache-2.0
 *
 * profile.h: the profile of `tamis bench`: times of the steps of an artifact, collected over many runs.
 */
#ifndef TM_TOOL_PROFILE_H
#define TM_TOOL_PROFILE_H

#include "tools/tool.h"

#include "tamis/profile.h"

#include <json-c/json.h>

/* A step over all runs. A run may come to it many times, in a loop. */
typedef struct tool_profile_row {
    const tamis_step *step;
    TM_VECTOR(double) seconds; /* of each run */
    int64_t calls, flops, bytes; /* of the last run */
} tool_profile_row;

typedef struct tool_profile_event {
    const tamis_step *step;
    double begin, end;
    int64_t flops, bytes;
} tool_profile_event;

typedef struct tool_profile {
    tool *tool;
    tamis_profiler profiler;
    TM_VECTOR(tool_profile_row) rows;     /* by number of the step; those that never ran have no step */
    TM_VECTOR(tool_profile_event) events; /* of the last run */
    size_t runs;
    int threads;
    double peak; /* flops a second of one core */
} tool_profile;

/* After init a session of the model tells the profile of its steps; before each run tool_profile_begin. */
TM_MUST_USE tm_code tool_profile_init(tool_profile *profile, tool_engine *engine, int threads);
void tool_profile_begin(tool_profile *profile);
/* Seconds from an unknown point, by the clock of the events. */
double tool_profile_now(void);

/* A table, the slowest step first; median times of a run. */
void tool_profile_print(tool_profile *profile, tm_text *out);
json_object *tool_profile_json(tool_profile *profile);
/* The last run in the format that chrome://tracing and Perfetto read. */
TM_MUST_USE tm_code tool_profile_write_trace(tool_profile *profile, const char *path);

/* peak.c: multiply-adds of float32 of one core, two flops each, a second. */
double tool_peak_flops(void);

#endif
