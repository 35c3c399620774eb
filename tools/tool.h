/* SPDX-License-Identifier: Apache-2.0
 *
 * tool.h: what the files of the `tamis` command share. One file a verb (verb_*.c); below them
 *
 *   options.c   the command line            files.c    whole files, temporary folders
 *   interrupt.c leaves nothing behind when a signal ends the command
 *   values.c    tensors from and to files   npy.c      NumPy's .npy     zip.c  and .npz
 *   engine.c    runs a model: compiled, loaded, or by the evaluator
 *   compare.c   expected against found
 *
 * Results go to stdout, diagnostics and progress to stderr. Every verb returns the exit code.
 */
#ifndef TM_TOOL_H
#define TM_TOOL_H

#include "base/base.h"
#include "frontend/import.h"
#include "ir/graph.h"
#include "tamis/compiler.h"
#include "tamis/runtime.h"

#include <stdio.h>

/* A file, whatever names and links lead to it. */
struct tool_input {
    uint64_t device, number;
};

/* One run of the command. The arena's recovery point is main's. */
typedef struct tool {
    tm_arena arena;
    tm_diagnostics diagnostics;
    const char *verb;
    /* diagnostics of a compilation that failed, as the library words them, or NULL */
    const char *compiler_text;
    tm_code compiler_code;
    const char *temporaries; /* the folder of all temporary folders, or NULL: not made yet */
    TM_VECTOR(struct tool_input) inputs; /* files that were read or will be: never written over */
} tool;

typedef struct tool_verb {
    const char *name;
    const char *summary;
    int (*run)(tool *tool, int argc, char **argv); /* arguments after the verb */
    const char *help;
} tool_verb;

extern const tool_verb tool_verbs[]; /* ends with a NULL name */

int tool_compile_main(tool *tool, int argc, char **argv);
int tool_quantize_main(tool *tool, int argc, char **argv);
int tool_compress_main(tool *tool, int argc, char **argv);
int tool_run_main(tool *tool, int argc, char **argv);
int tool_check_main(tool *tool, int argc, char **argv);
int tool_verify_main(tool *tool, int argc, char **argv);
int tool_bench_main(tool *tool, int argc, char **argv);
int tool_inspect_main(tool *tool, int argc, char **argv);
int tool_opt_main(tool *tool, int argc, char **argv);
int tool_targets_main(tool *tool, int argc, char **argv);
int tool_explain_main(tool *tool, int argc, char **argv);

/* Prints all diagnostics filed so far on stderr,
 * forgets them, and returns the exit code of the first error. */
int tool_fail(tool *tool);
/* Files a diagnostic about a file (or NULL) and returns its code. */
tm_code tool_report(tool *tool, tm_code code, const char *file, const char *hint, const char *format, ...)
    TM_PRINTF(5, 6);

/* ---- options.c ---- */

typedef enum tool_form {
    TOOL_FLAG,  /* --json */
    TOOL_VALUE, /* --dim N=1, --dim=N=1, -o FILE, -oFILE */
    TOOL_JOINED, /* -O2, -mcpu=LEVEL: the value follows without a space */
    TOOL_MAYBE   /* --tune, --tune=FILE: there may be none (NULL) */
} tool_form;

typedef struct tool_option {
    const char *name; /* with dashes */
    tool_form form;
    int id; /* > 0 */
} tool_option;

typedef struct tool_arguments {
    tool *tool;
    int argc, at;
    char **argv;
    const tool_option *options;    /* ends with a NULL name */
    const char *value;             /* of the option just found */
    bool plain;                    /* after "--" */
    TM_VECTOR(const char *) names; /* arguments that are no options */
} tool_arguments;

void tool_arguments_init(tool_arguments *arguments, tool *tool, int argc, char **argv,
                         const tool_option *options);
/* The id of the next option, 0 at the end, -1 after a fault that was filed. */
int tool_arguments_next(tool_arguments *arguments);
/* Is there exactly one argument that is no option? Else E_USAGE filed: "one model is needed, not 2". */
TM_MUST_USE tm_code tool_arguments_single(const tool_arguments *arguments, const char *what,
                                          const char *hint);
/* An integer within bounds, or E_USAGE filed. */
TM_MUST_USE tm_code tool_parse_integer(tool *tool, const char *what, const char *text, int64_t low,
                                       int64_t high, int64_t *out);
TM_MUST_USE tm_code tool_parse_number(tool *tool, const char *what, const char *text, double *out);
/* A finite number of 0 or more. */
TM_MUST_USE tm_code tool_parse_tolerance(tool *tool, const char *what, const char *text, double *out);

/* Options of compilation, shared by the verbs that compile. */
enum { TOOL_COMPILE_FIRST = 1000 };
#define TOOL_COMPILE_OPTIONS                                                                                 \
    {"-O", TOOL_JOINED, TOOL_COMPILE_FIRST}, {"--target", TOOL_VALUE, TOOL_COMPILE_FIRST + 1},               \
        {"-mcpu", TOOL_VALUE, TOOL_COMPILE_FIRST + 2}, {"--dim", TOOL_VALUE, TOOL_COMPILE_FIRST + 3},        \
        {"--math", TOOL_VALUE, TOOL_COMPILE_FIRST + 4}, {"--precision", TOOL_VALUE, TOOL_COMPILE_FIRST + 5}, \
        {"--disable", TOOL_VALUE, TOOL_COMPILE_FIRST + 6},                                                   \
        {"--opt-bisect-limit", TOOL_VALUE, TOOL_COMPILE_FIRST + 7},                                          \
        {"--print-after", TOOL_VALUE, TOOL_COMPILE_FIRST + 8},                                               \
        {"--external-folder", TOOL_VALUE, TOOL_COMPILE_FIRST + 9},                                           \
        {"--allow-links", TOOL_VALUE, TOOL_COMPILE_FIRST + 10},                                              \
        {"--limit-depth", TOOL_VALUE, TOOL_COMPILE_FIRST + 11},                                              \
        {"--limit-nodes", TOOL_VALUE, TOOL_COMPILE_FIRST + 12},                                              \
        {"--limit-initializers", TOOL_VALUE, TOOL_COMPILE_FIRST + 13},                                       \
        {"--limit-file-bytes", TOOL_VALUE, TOOL_COMPILE_FIRST + 14},                                         \
        {"--limit-tensor-bytes", TOOL_VALUE, TOOL_COMPILE_FIRST + 15},                                       \
        {"--limit-memory-bytes", TOOL_VALUE, TOOL_COMPILE_FIRST + 16},                                       \
        {"--limit-name-bytes", TOOL_VALUE, TOOL_COMPILE_FIRST + 17},                                         \
        {"--profile", TOOL_FLAG, TOOL_COMPILE_FIRST + 18}, {"-g", TOOL_FLAG, TOOL_COMPILE_FIRST + 19},       \
        {"--schedules", TOOL_VALUE, TOOL_COMPILE_FIRST + 20},                                                \
        {"--weights", TOOL_VALUE, TOOL_COMPILE_FIRST + 21},                                                  \
        {"--storage", TOOL_VALUE, TOOL_COMPILE_FIRST + 22}, {"--slot", TOOL_VALUE, TOOL_COMPILE_FIRST + 23}, \
        {"--weights-file", TOOL_VALUE, TOOL_COMPILE_FIRST + 24},                                            \
        {"--integers", TOOL_VALUE, TOOL_COMPILE_FIRST + 25}, {"--map", TOOL_VALUE, TOOL_COMPILE_FIRST + 26}

typedef struct tool_compile {
    tamis_compile_options options;
    bool choose_storage;  /* --storage=auto */
    bool choose_integers; /* --integers=faster */
    TM_VECTOR(tamis_dim_fact) dims;
    TM_VECTOR(const char *) disabled, slots;
} tool_compile;

void tool_compile_init(tool_compile *compile);
/* Takes an option with id >= TOOL_COMPILE_FIRST. */
TM_MUST_USE tm_code tool_compile_option(tool *tool, tool_compile *compile, int id, const char *value);
/* E_USAGE where an option was given that only artifacts have; `what`: why there is none here. */
TM_MUST_USE tm_code tool_compile_of_artifacts(tool *tool, const tool_compile *compile, const char *what);
/* The options with dims and disabled passes filled in. */
const tamis_compile_options *tool_compile_get(tool_compile *compile);
/* Imports a model (`-`: from stdin) and applies the --dim facts; not yet inferred. A .ir file is parsed. */
TM_MUST_USE tm_code tool_import(tool *tool, const char *path, tool_compile *compile, tm_model **out_model);

/* ---- files.c ---- */

/* The whole file in the arena, NUL-terminated; "-" is stdin. */
TM_MUST_USE tm_code tool_read_file(tool *tool, const char *path, char **out_data, size_t *out_bytes);
/* Notes that a file is read (one that is there), so that nothing is written over it. tool_read_file does so
 * by itself. */
void tool_reads(tool *tool, const char *path);
void tool_reads_too(tool *tool, const struct tool *part); /* all that the part has read */
/* Writes a file whole or not at all; "-" is stdout. A file that is read is refused. */
TM_MUST_USE tm_code tool_write_file(tool *tool, const char *path, const void *data, size_t bytes);
/* May the file be created? Asked before long work, so that it is not in vain. */
TM_MUST_USE tm_code tool_can_create(tool *tool, const char *path);
TM_MUST_USE tm_code tool_make_folder(tool *tool, const char *path); /* fine when it exists */
/* From now on all temporary folders, the library's too, stand in one of the command's own. */
TM_MUST_USE tm_code tool_temporaries(tool *tool);
/* A new private folder; it and all files in it go away with the arena. */
TM_MUST_USE tm_code tool_temporary_folder(tool *tool, const char **out_path);
bool tool_is_folder(const char *path);
bool tool_exists(const char *path);
bool tool_ends_with(const char *text, const char *suffix);
const char *tool_base_name(const char *path); /* after the last slash */
/* Names of the entries of a folder, sorted, without . and .. */
TM_MUST_USE tm_code tool_list_folder(tool *tool, const char *path, const char ***out_names,
                                     size_t *out_count);

/* ---- interrupt.c ---- */

/* From now on a signal that ends the command removes its temporary folder and files that are under way. */
void tool_interrupt_init(void);
void tool_interrupt_folder(const char *path); /* the temporary one */
void tool_interrupt_output(const char *path); /* a file that will be made, beside its place first */

/* ---- npy.c, zip.c ---- */

/* Parses .npy bytes; the data are borrowed where they need no change. `type` is what the reader expects:
 * it tells apart what NumPy stores alike (bf16 as 2-byte records, 4-bit integers one a byte);
 * UNDEFINED takes the file's own type. */
TM_MUST_USE tm_code tool_npy_parse(tool *tool, const char *file, tamis_type type, const char *data,
                                   size_t bytes, const tm_constant **out);
/* The header of an array, of which the first bytes are known: all of its bytes (0: no array), and what it
 * says. */
typedef struct tool_npy {
    tamis_type type; /* UNDEFINED: none of ONNX's */
    int rank;
    int64_t dims[TAMIS_MAX_RANK];
    int64_t item; /* bytes of an element; of strings: characters */
    bool fortran; /* with rank > 1: the first axis runs fastest */
} tool_npy;
size_t tool_npy_header_bytes(const char *data, size_t bytes);
TM_MUST_USE tm_code tool_npy_header(tool *tool, const char *file, const char *data, size_t bytes,
                                    tool_npy *out);
void tool_npy_print(tool *tool, const tm_constant *constant, tm_text *out);

/* Entries are unpacked one by one, when they are wanted: a directory may name the same bytes many times. */
typedef struct tool_zip_entry {
    const char *name;
    const char *data;
    size_t bytes;
    size_t packed; /* bytes in the file */
    bool deflated; /* `data` are the packed bytes */
    uint32_t checksum; /* CRC-32 of `bytes` bytes; not of entries to be written */
} tool_zip_entry;
TM_MUST_USE tm_code tool_zip_parse(tool *tool, const char *file, const char *data, size_t bytes,
                                   tool_zip_entry **out_entries, size_t *out_count);
/* Makes `data` the entry's bytes, which have its checksum. */
TM_MUST_USE tm_code tool_zip_unpack(tool *tool, const char *file, tool_zip_entry *entry);
TM_MUST_USE tm_code tool_zip_print(tool *tool, const char *file, const tool_zip_entry *entries, size_t count,
                                   tm_text *out);

/* ---- values.c ---- */

typedef tm_datum tool_value; /* a tensor, or a tree of them */

typedef struct tool_port {
    const char *name;
    tm_datum form;           /* kind, item, type, key */
    int rank;                /* -1 unknown */
    const char *const *dims; /* texts */
} tool_port;

/* One value from FILE.pb or FILE.npy. */
TM_MUST_USE tm_code tool_value_read(tool *tool, const char *path, const tool_port *port,
                                    tool_value *out_value);
TM_MUST_USE tm_code tool_value_write(tool *tool, const char *path, const char *name, const tool_value *value);
/* All inputs from a folder of input_N.pb (or NAME.npy) or from an .npz with the ports' names. `have` says
 * which were found. */
TM_MUST_USE tm_code tool_values_read(tool *tool, const char *path, const char *prefix, const tool_port *ports,
                                     int count, tool_value *out_values, bool *out_have);
TM_MUST_USE tm_code tool_values_write(tool *tool, const char *path, const char *prefix,
                                      const tool_port *ports, int count, const tool_value *values);
/* "f32[2, 3]", "sequence of 3: f32[2], f32[3], ..." */
void tool_value_describe(const tool_value *value, tm_text *out);
/* The elements, at most `limit` of them. */
void tool_value_print(const tool_value *value, int64_t limit, tm_text *out);
/* A tensor as a value. */
tool_value tool_value_of(const tm_constant *constant);
/* The same for a port of another kind: an optional or a sequence of it. False where a tensor is no such
 * value. */
bool tool_value_fit(tool *tool, const tool_port *port, tool_value *value);
/* Is the value of the port optional? Then *out_value is one without an element. */
bool tool_value_absent(const tool_port *port, tool_value *out_value);

/* ---- engine.c ---- */

typedef struct tool_engine {
    tool *tool;
    int input_count, output_count;
    tool_port *inputs, *outputs;
    tm_model *model;     /* evaluator */
    tamis_model *loaded; /* compiled */
    tamis_session *session;
    tamis_adapter *adapter; /* NULL until a slot is set */
} tool_engine;

typedef struct tool_engine_options {
    bool evaluate; /* by the evaluator */
    int threads;
    bool strict;
    uint64_t seed;
} tool_engine_options;

bool tool_is_artifact(const char *path); /* an ELF file */
/* Loads an artifact, or compiles a model into a temporary one (or imports it for the evaluator). */
TM_MUST_USE tm_code tool_engine_create(tool *tool, const char *path, tool_compile *compile,
                                       const tool_engine_options *options, tool_engine *out_engine);
void tool_engine_destroy(tool_engine *engine);
/* Outputs are borrowed: valid until the next run. */
TM_MUST_USE tm_code tool_engine_run(tool_engine *engine, const tool_value *inputs, tool_value *out_outputs);
/* A value as callers of the runtime describe it; elements are borrowed. */
tamis_tensor tool_value_given(tool *tool, const tool_value *value);
/* Sets the inputs of a compiled engine only (for timing of repeated runs). */
TM_MUST_USE tm_code tool_engine_bind(tool_engine *engine, const tool_value *inputs);
/* Weights from a file in the place of a slot of a compiled engine. */
TM_MUST_USE tm_code tool_engine_set_slot(tool_engine *engine, int slot, const tool_value *value,
                                         const char *file);
/* Ports of an artifact; of a model's graph. */
tool_port *tool_artifact_ports(tool *tool, const tamis_port *from, int32_t count);
tool_port *tool_model_ports(tool *tool, tm_value *const *values, size_t count);
/* Compiles `model` into `output`. What --print-after asked for is in *out_log (NULL: not wanted). A failure
 * is kept in tool->compiler_text for tool_fail. */
TM_MUST_USE tm_code tool_compile_to(tool *tool, const char *model, const char *output, tool_compile *compile,
                                    const char **out_log);

/* ---- random.c ---- */

/* Sizes that symbolic dims take in random inputs: --size NAME=N. */
typedef struct tool_sizes {
    TM_VECTOR(tamis_dim_fact) list;
    int64_t fallback; /* of dims that are not named */
} tool_sizes;
TM_MUST_USE tm_code tool_sizes_add(tool *tool, tool_sizes *sizes, const char *text); /* "NAME=N" or "N" */
/* Inputs from files where `path` is not NULL, else random ones. */
TM_MUST_USE tm_code tool_make_inputs(tool_engine *engine, const char *path, const tool_sizes *sizes,
                                     uint64_t seed, tool_value *out_values);

/* ---- integers.c ---- */

/* Measures whether the quantised model is faster in floats on this machine; the options say so then. */
TM_MUST_USE tm_code tool_choose_integers(tool *tool, const char *model, tool_compile *compile,
                                         const tool_sizes *sizes);

/* ---- tune.c ---- */

/* Where --tune writes when no file is named. */
const char *tool_tune_file(tool *tool, const char *model);
/* Measures schedules on this machine and writes them; the exit code. */
int tool_tune(tool *tool, const char *model, const char *file, tool_compile *compile,
              const tool_sizes *sizes);

/* ---- compare.c ---- */

typedef struct tool_tolerance {
    double rtol, atol;
    double of_largest; /* a share of the largest finite expected magnitude of the tensor, allowed besides */
} tool_tolerance;

/* What --precision allows besides rtol and atol: rounded factors err by a share of what is summed. */
double tool_precision_tolerance(const tamis_compile_options *options);

typedef struct tool_difference {
    int64_t wrong, total; /* elements */
    double max_absolute, max_relative;
    char first[160]; /* where and what, or a difference of form */
} tool_difference;

/* |found - expected| <= atol + rtol * |expected|; NaN equals NaN; integers and the like exactly. */
bool tool_compare(const tool_value *found, const tool_value *expected, const tool_tolerance *tolerance,
                  tool_difference *out);

#endif
