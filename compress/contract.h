/* SPDX-License-Identifier: Apache-2.0
 *
 * contract.h: one budget for several ways of compression together: slices that go, integers in place of
 * floats, and coarser constants in the artifact, in this order. What counts is the distance from the model as
 * it was given, whatever was done to it.
 *
 *     the whole budget to pruning  ->  what is left to the integers  ->  what is left to storage
 *     half of it to pruning        ->  ..
 *     nothing to pruning           ->  ..
 *
 * Each line is made, measured from end to end and timed. Of those that keep the budget the one that reaches
 * the goal of pruning and is the fastest is taken, or, where room is what is asked for, the smallest.
 */
#ifndef TM_COMPRESS_CONTRACT_H
#define TM_COMPRESS_CONTRACT_H

#include "compress/compress.h"
#include "compress/storage.h"

typedef struct tm_contract_options {
    const tm_compress_options *prune;    /* NULL: nothing is pruned */
    const tm_quantize_options *quantize; /* NULL: nothing becomes integers */
    bool storage;                        /* constants are rounded */
    const tm_quantize_options *measures; /* the budget, samples, threads: the same in all of them */
} tm_contract_options;

typedef enum tm_stage { TM_STAGE_PRUNE, TM_STAGE_QUANTIZE, TM_STAGE_STORAGE, TM_STAGES } tm_stage;

/* After a part of the way. */
typedef struct tm_stage_report {
    bool made;       /* false: it was not asked for */
    tm_divergence d; /* from the model as it was given */
    tm_divergence held_out; /* on samples that the repair of pruning did not see; rows 0: there are none */
    double use;      /* of the budget; 0 without one */
    double bytes;    /* of constants; of storage: coded */
    double ns;       /* of a call, one thread; 0: not measured */
} tm_stage_report;

typedef struct tm_contract_trial {
    double room, quantize_room; /* shares of the budget that pruning had, and of the rest that integers had */
    tm_stage_report stages[TM_STAGES];
    double ns_before;
    double flops;       /* share that is left; 0: not counted */
    bool fits, reaches; /* the budget; the goal of pruning */
} tm_contract_trial;

typedef struct tm_contract_report {
    const char *model, *goal; /* goal: "time" or "bytes" */
    TM_VECTOR(tm_contract_trial) trials;
    int chosen;
    double bytes_before;
    const char *budget, *refused; /* in words, or NULL */
    double seconds;
    tm_compress_report prune; /* of the chosen trial, as far as they were made */
    tm_quantize_report quantize;
    tm_storage_report storage;
} tm_contract_report;

/* The changed model is written to *out_path, a file in `folder`, which is read with *out_compile: the options
 * without what the file says already, and with the steps of storage. */
TM_MUST_USE tm_code tm_contract(tm_arena *arena, tm_diagnostics *diagnostics, const char *path,
                                const char *folder, const tamis_compile_options *compile,
                                const tm_contract_options *options, const tm_samples *samples,
                                const char **out_path, tamis_compile_options *out_compile,
                                tm_contract_report *out_report);

const char *tm_stage_name(tm_stage stage);
void tm_contract_report_json(const tm_contract_report *report, tm_text *out);

#endif
