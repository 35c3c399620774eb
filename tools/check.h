/* SPDX-License-Identifier: Apache-2.0
 *
 * check.h: the parts of `tamis check`: finding folders, one case in a child, many children at once.
 *
 *   verb_check.c   options, printing      check_case.c   one case      check_jobs.c   processes
 */
#ifndef TM_TOOL_CHECK_H
#define TM_TOOL_CHECK_H

#include "tools/tool.h"

typedef enum check_status {
    CHECK_PASS,
    CHECK_FAIL,
    CHECK_UNSUPPORTED,
    CHECK_CRASH,
    CHECK_STATUS_COUNT
} check_status;

typedef struct check_case {
    const char *path; /* folder */
    const char *name; /* for people */
    check_status status;
    const char *detail;
    double seconds;
} check_case;

typedef struct check_options {
    bool evaluate, pin_dims, strict;
    const char *outputs; /* folder for what was found, or NULL */
    bool has_rtol, has_atol;
    tool_tolerance tolerance; /* where given */
    int threads;
    int64_t jobs;
    int64_t timeout; /* seconds a case may take */
    tool_compile *compile;
} check_options;

/* Runs one case in this process and writes "\001STATUS\tDETAIL\n" on stdout. */
void check_run_case(tool *tool, const check_case *item, const check_options *options);

typedef void (*check_report)(void *context, check_case *done);
/* Runs all cases, each in a child process; calls report for each in order. */
TM_MUST_USE tm_code check_run_all(tool *tool, check_case *cases, size_t count, const check_options *options,
                                  check_report report, void *context);

const char *check_status_text(check_status status);

#endif
