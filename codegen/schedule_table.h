/* SPDX-License-Identifier: Apache-2.0
 *
 * schedule_table.h: schedules that were measured, by region and level, as texts (docs/schedules.md); and what
 * a measurement has to know of the steps of an artifact.
 */
#ifndef TM_CODEGEN_SCHEDULE_TABLE_H
#define TM_CODEGEN_SCHEDULE_TABLE_H

#include "base/base.h"

struct tm_scheduled;

typedef struct tm_schedule_entry {
    const char *region;   /* its signature: "contract ?x384x1536 p48" */
    const char *level;    /* "v4" */
    const char *schedule; /* "8x3+4+1 u4 128x48 d192" */
    bool used;            /* set by the code generator: a region has it */
    bool refused; /* set by the code generator: a region would have it, but no such code can be made */
} tm_schedule_entry;

typedef struct tm_schedule_table {
    tm_schedule_entry *items;
    size_t count;
} tm_schedule_table;

/* By number of the step in an artifact with a profile: the region it is. */
typedef struct tm_schedule_steps {
    tm_arena *arena;
    TM_VECTOR(struct tm_scheduled *) list; /* NULL: none with a schedule */
} tm_schedule_steps;

#endif
