/* SPDX-License-Identifier: Apache-2.0
 *
 * passes.h: the pass driver. passes/passes.def is the pipeline; pipeline.c runs it.
 */
#ifndef TM_PASSES_H
#define TM_PASSES_H

#include "ir/graph.h"

typedef struct tm_pass_options {
    int level;                   /* -O0..-O3; -1: no pass, only inference */
    const char *const *disabled; /* pass names */
    size_t disabled_count;
    int64_t bisect_limit;        /* -1: none */
    const char *print_after;     /* pass name or NULL */
    bool verify;                 /* run the verifier after each pass */
    tamis_type factors;          /* that float32 products round their factors to: BFLOAT16, or UNDEFINED */
    bool onnx_forms;             /* only passes whose results ONNX has operators for */
    bool strict_math;            /* only rewrites that are equal for NaN and infinity too */
    bool without_integers;       /* quantised models compute in floats */
    bool log_rewrites;           /* a line of the log for each rewrite: its number and pass */
} tm_pass_options;

typedef struct tm_pass_context {
    tm_model *model;
    const tm_pass_options *options;
    const char *pass;       /* running */
    int64_t rewrites;       /* all passes so far */
    bool changed;           /* set by tm_pass_allow */
    tm_text *log;           /* print_after, log_rewrites */
} tm_pass_context;

/* May the pass do one more rewrite? Counts it. Ask only when a rewrite is about to happen. */
bool tm_pass_allow(tm_pass_context *context);

/* Runs inference, then the pipeline (repeating the graph rewrites until nothing changes,
 * at most 4 rounds). */
TM_MUST_USE tm_code tm_passes_run(tm_model *model, const tm_pass_options *options, tm_text *log);
/* One pass by name, for tests: runs inference before and after. E_USAGE when there is none. */
TM_MUST_USE tm_code tm_passes_run_one(tm_model *model, const char *name, const tm_pass_options *options);

#define TM_PASS(name, level, reason) tm_code tm_pass_##name(tm_pass_context *context);
#include "passes/passes.def"
#undef TM_PASS

#endif
