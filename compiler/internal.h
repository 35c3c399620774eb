/* SPDX-License-Identifier: Apache-2.0
 *
 * internal.h: pieces of the compile call that the command uses too.
 */
#ifndef TM_COMPILER_INTERNAL_H
#define TM_COMPILER_INTERNAL_H

#include "codegen/schedule_table.h"
#include "codegen/target.h"
#include "frontend/import.h"
#include "ir/graph.h"
#include "ir/text.h"
#include "tamis/compiler.h"

#include <json-c/json.h>

struct tamis_result {
    tm_arena arena; /* of the diagnostics and texts */
    tm_diagnostics diagnostics;
    tm_text log, warnings;
    tm_code code;
    bool written; /* the output stands: only the words about it are still to be made */
    const char *text, *json;
};

/* A model: a file, or bytes where `path` is NULL. */
typedef struct tm_source {
    const char *path;
    const void *data;
    size_t bytes;
} tm_source;

/* What is measured when schedules are tuned. */
typedef struct tm_tuning {
    tm_schedule_table *schedules; /* instead of a file's */
    tm_schedule_steps *steps;     /* filled, where there is a profile */
    tm_target_choice target;      /* filled: the levels of the artifact */
} tm_tuning;

/* The public call; `tuning` may be NULL. */
int tm_compile(const tm_source *from, const char *output, const tamis_compile_options *options,
               tm_tuning *tuning, tamis_result **out_result);
/* Runs `work` with a new result whose arena it may use:
 * memory that gives out ends it with E_OUT_OF_MEMORY. */
int tm_result_make(tm_code (*work)(tamis_result *result, void *argument), void *argument,
                   tamis_result **out_result);
/* Writes a text file whole or not at all; "-" is stdout. */
TM_MUST_USE tm_code tm_write_text(tm_diagnostics *diagnostics, const char *path, const tm_text *text);

/* Folder of the kernel archives: TAMIS_DATA_DIR, lib/tamis near this library, or where it was built for. */
const char *tm_data_folder(tm_arena *arena);
/* The limits and folders of the importer that the options ask for. */
void tm_import_options_of(const tamis_compile_options *options, tm_import_options *out_import);
/* Narrows and pins symbols of inputs; before inference. */
TM_MUST_USE tm_code tm_apply_dim_facts(tm_model *model, const tamis_dim_fact *facts, size_t count);
/* Do the options fit together? E_USAGE filed. tm_compile_model asks; so may who has long work before it. */
TM_MUST_USE tm_code tm_check_options(tm_diagnostics *diagnostics, const tamis_compile_options *options);
/* The passes and the generation of code, of a model that was imported: what tamis_compile_file does after the
 * import. `tuning` may be NULL. What print_after asks for goes to the log. */
TM_MUST_USE tm_code tm_compile_model(tm_model *model, const char *output,
                                     const tamis_compile_options *options, tm_tuning *tuning, tm_text *log,
                                     tm_text *warnings);

/* Files E_UNSUPPORTED_TYPE for every node that has neither generated code nor a kernel for its types. */
TM_MUST_USE tm_code tm_report_missing_kernels(const tm_model *model);


/* ---- schedule_file.c ---- */

/* An alternative that was tried, and its time as a part of the default's. */
typedef struct tm_schedule_trial {
    const char *schedule;
    double ratio;
} tm_schedule_trial;

/* One entry of a file of schedules. */
typedef struct tm_schedule_record {
    const char *region, *level, *schedule, *chosen_by_default;
    double default_seconds, seconds; /* of all calls in one run */
    const tm_schedule_trial *trials;
    size_t trial_count;
} tm_schedule_record;
TM_MUST_USE tm_code tm_schedules_write(tm_arena *arena, tm_diagnostics *diagnostics, const char *path,
                                       const tm_target *target, const tamis_dim_fact *sizes,
                                       size_t size_count, const tm_schedule_record *records, size_t count);
/* The table in a file, or E_BAD_SCHEDULES. A file for another target gives an empty one, with a warning. */
TM_MUST_USE tm_code tm_schedules_read(tm_arena *arena, tm_diagnostics *diagnostics, const char *path,
                                      const tm_target *target, tm_schedule_table *out_table,
                                      tm_text *warnings);
/* Names the entries that no region of the model had, or that code cannot be made for. */
void tm_schedules_warn(const tm_schedule_table *table, const char *path, const tm_target_choice *target,
                       tm_text *warnings);

/* ---- random.c ---- */

/* Floats in -1..1, integers 0 or 1; the same for the same seed, which goes on. Not for strings. */
void tm_random_fill(tamis_type type, void *data, int64_t count, uint64_t *seed);
uint64_t tm_random_next(uint64_t *seed);

#endif
