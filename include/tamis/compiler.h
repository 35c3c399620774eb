/* SPDX-License-Identifier: Apache-2.0
 *
 * compiler.h: the compiler as a library (libtamis). One call turns a model into an artifact:
 *
 *     tamis_compile_options options;
 *     tamis_compile_options_init(&options);
 *     tamis_result *result = NULL;
 *     if (tamis_compile_file("model.onnx", "model.so", &options, &result) != 0)
 *         fputs(tamis_result_text(result), stderr);
 *     tamis_result_destroy(result);
 *
 * Nothing here prints, exits or keeps global state. Calls are safe from several threads at once.
 */
#ifndef TAMIS_COMPILER_H
#define TAMIS_COMPILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TAMIS_VERSION "0.1.0"

typedef enum tamis_emit {
    TAMIS_EMIT_SO,   /* shared object with header fields to load (default) */
    TAMIS_EMIT_OBJ,  /* one relocatable object, and a C header beside it */
    TAMIS_EMIT_LIB,  /* static archive, and a C header beside it */
    TAMIS_EMIT_ASM,  /* assembly text of the module */
    TAMIS_EMIT_LLVM, /* LLVM IR text of the module */
    TAMIS_EMIT_IR,   /* tamis IR text after the passes */
    TAMIS_EMIT_ONNX  /* the model as ONNX: at level 0 as it was imported, above after the passes that keep its
                        operators standard */
} tamis_emit;

/* What products of float32 round their factors to; sums stay float32. docs/precision.md has the bounds. */
typedef enum tamis_precision {
    TAMIS_PRECISION_F32, /* nothing (default) */
    TAMIS_PRECISION_BF16 /* bfloat16 */
} tamis_precision;

/* What constants of float32 are rounded to where they are kept. They are read as float32 all the same. */
typedef enum tamis_storage {
    TAMIS_STORAGE_EXACT,   /* nothing (default) */
    TAMIS_STORAGE_FLOAT16, /* those that lie in its range */
    TAMIS_STORAGE_BFLOAT16
} tamis_storage;

/* A fact about an input dim: NAME=LOW..HIGH, pinned when equal. */
typedef struct tamis_dim_fact {
    const char *name;
    int64_t low, high;
} tamis_dim_fact;

typedef struct tamis_compile_options {
    tamis_emit emit;
    int level;          /* -O0..-O3; 2 */
    bool small; /* -Os: code for size: the lowest level alone if `cpu` is NULL, nothing in the file that
                   loading does not need */
    const char *target; /* NULL: this machine; "x86_64-linux-gnu", "aarch64-linux-gnu", "riscv64-linux-gnu" */
    const char *cpu;    /* comma-separated levels, lowest first; NULL: the target's default list */
    const char *name;   /* of the entry function and symbols; NULL: from the output file's name */
    const tamis_dim_fact *dims;
    size_t dim_count;
    bool strict_math;   /* --math=strict */
    tamis_precision precision; /* --precision */
    bool without_integers; /* --integers=float: quantised models compute in floats, less their rounding */
    bool coded_weights; /* --weights=coded: small in the artifact, decoded when it is loaded */
    tamis_storage storage; /* --storage; other than exact the weights are coded */
    const float *storage_steps; /* or, for each constant in the artifact's order, what it is rounded to
                                   multiples of; 0: exact */
    size_t storage_step_count;
    /* --slot: names or patterns of constants that stay replaceable (docs/slots.md) */
    const char *const *slots;
    size_t slot_count;
    /* --weights-file: a file beside the output that has the weights, or gets them */
    const char *weights_file;
    bool symbols;       /* -g: symbols stay, regions are named after their nodes; lines in NAME.nodes */
    const char *map;    /* --map: gets the linker's list of all symbols with their sizes, regions named as
                           with -g; or NULL. The artifact's bytes are the same without it */
    bool profile;       /* --profile: the artifact can tell of its steps, see profile.h */
    const char *schedules; /* file that tamis_tune_file wrote (tune.h), or NULL: the cost model chooses */
    bool external_data; /* TAMIS_EMIT_ONNX: weights in a file beside the output, OUTPUT.data */
    const char *const *disabled_passes;
    size_t disabled_pass_count;
    int64_t bisect_limit;    /* rewrites before the passes stop; -1: no limit */
    const char *print_after; /* pass name, or NULL: its IR goes to the result's log */
    const char *external_folder;
    const char *allow_links_in;
    /* import limits; 0: default */
    int64_t limit_depth, limit_nodes, limit_initializers, limit_file_bytes, limit_tensor_bytes,
        limit_memory_bytes, limit_name_bytes;
} tamis_compile_options;

void tamis_compile_options_init(tamis_compile_options *options);

/* Outcome: diagnostics and figures. */
typedef struct tamis_result tamis_result;

/* Returns 0 or the error number (see `tamis explain`). *out_result is set in both cases (NULL only
 * when memory for it is lacking) and owned by the caller. `output` is written whole or not at all. */
int tamis_compile_file(const char *model, const char *output, const tamis_compile_options *options,
                       tamis_result **out_result);
int tamis_compile_memory(const void *model, size_t bytes, const char *output,
                         const tamis_compile_options *options, tamis_result **out_result);
void tamis_result_destroy(tamis_result *result);
const char *tamis_result_text(
    const tamis_result *result); /* all diagnostics, one after the other; "" if none */
const char *tamis_result_log(const tamis_result *result);  /* what print_after asked for */
const char *tamis_result_warnings(
    const tamis_result *result);                           /* lines about what was passed over; "" if none */
const char *tamis_result_json(const tamis_result *result); /* diagnostics as JSON */
int tamis_result_exit_code(const tamis_result *result);    /* process exit code of the outcome */

#ifdef __cplusplus
}
#endif
#endif
