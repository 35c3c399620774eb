/* SPDX-License-Identifier: Apache-2.0
 *
 * codegen.h: from an optimised model to an artifact.
 *
 *     model --plan--> storage --emit--> LLVM module --> module.o \
 *       constants ------------------> weights.o (own ELF writer) --> ld.lld --> model.so
 *       kernels: libkernels.a of the target's lowest level      /
 */
#ifndef TM_CODEGEN_H
#define TM_CODEGEN_H

#include "codegen/schedule_table.h"
#include "codegen/store.h"
#include "codegen/target.h"
#include "ir/graph.h"

typedef enum tm_emit_kind { TM_EMIT_SO, TM_EMIT_OBJ, TM_EMIT_LIB, TM_EMIT_ASM, TM_EMIT_LLVM } tm_emit_kind;

typedef struct tm_codegen_options {
    tm_emit_kind emit;
    int level; /* -O0..-O3 */
    bool small; /* -Os */
    tm_target_choice target;
    const char *name;        /* C identifier: tamis_artifact_NAME, NAME_run */
    const char *data_folder; /* where the kernel archives are: <folder>/<triple>/<level>/libkernels.a */
    uint64_t model_hash;
    bool strict_math;
    /* -g: symbols stay; each region has functions of its own, named after its first node; line numbers, and
     * the list of nodes that they count (lines.h) beside the artifact: NAME.nodes */
    bool symbols;
    const char *map; /* a file for the linker's map, in which regions have names as with -g; or NULL */
    const char *precision; /* for the manifest: "f32", "bf16" */
    tm_storage_options storage; /* of the weights */
    const char *weights_file;   /* in the output's folder: has the weights, or gets them; or NULL */
    bool profile; /* the driver tells a profiler of each step: tamis/profile.h */
    tm_schedule_table *schedules; /* instead of the cost model's; or NULL */
    tm_schedule_steps *steps;     /* filled when there is a profile; or NULL */
} tm_codegen_options;

/* TM_UNIT_*: those that make a difference to the region, and to any region of the graph. */
unsigned tm_region_units(const tm_node *region);
unsigned tm_graph_units(const tm_graph *graph);

/* Writes the artifact (and for obj and lib the header beside it) whole or not at all. The model must be
 * inferred and verified; it is changed (Copy nodes). */
TM_MUST_USE tm_code tm_codegen(tm_model *model, const tm_codegen_options *options, const char *output);

/* llvm/module.c: starts to load LLVM, which takes as long as import and passes, in a thread that is joined
 * with the arena's end at the latest. For a caller who is going to call tm_codegen. */
void tm_codegen_begin(tm_arena *arena);

/* ---- parts, between the files of codegen/ ---- */
struct tm_plan;
struct tm_lines;

/* weights.c: an ELF relocatable object with the constants, at their planned offsets, in a read-only section
 * under the hidden symbol `symbol`; streams from the constants; sets the xxh3 of the section. Hollow: the
 * section has a size but no bytes, for tm_fill_weights to put into the linked file. */
TM_MUST_USE tm_code tm_write_weights(const struct tm_plan *plan, const tm_target *target, const char *symbol,
                                     bool hollow, const char *path, uint64_t *out_hash);
/* Weights from this size on go around the linker; below, their own segment would cost more than it saves. */
#define TM_LARGE_WEIGHTS ((int64_t)4 << 20)
/* strip.c: takes the section headers, and what only they lead to, off a linked shared object. */
TM_MUST_USE tm_code tm_strip_headers(tm_model *model, const char *path);
/* Streams the constants to the end of the linked file and points the hollow segment there. */
TM_MUST_USE tm_code tm_fill_weights(const struct tm_plan *plan, const char *path);
/* shared_weights.c: the constants find their places in the file of that name in the output's folder, which
 * gets those that it lacks; sets the xxh3 of all. */
TM_MUST_USE tm_code tm_share_weights(struct tm_plan *plan, const char *name, const char *output,
                                     uint64_t *out_hash);
/* header.c */
TM_MUST_USE tm_code tm_write_header(const struct tm_plan *plan, const tm_codegen_options *options,
                                    const char *path);
/* link.c */
const char *tm_object_path(tm_arena *arena, const char *module, int number); /* of the module's objects */
TM_MUST_USE tm_code tm_link(tm_model *model, const tm_codegen_options *options, const char *module,
                            int objects, const char *weights, bool hollow, const char *map,
                            const char *output);
/* llvm/module.c: writes the module as object files (tm_object_path), or as one text of asm or LLVM; with
 * numbers of lines unless these are NULL (lines.h). */
TM_MUST_USE tm_code tm_emit_module(tm_model *model, const struct tm_plan *plan,
                                   const tm_codegen_options *options, uint64_t weights_hash,
                                   const struct tm_lines *lines, const char *path, int *out_objects);

#endif
