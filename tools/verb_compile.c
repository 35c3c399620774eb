/* SPDX-License-Identifier: Apache-2.0
 *
 * tamis compile MODEL -o OUT: the compiler library's one call, with the command's options. What goes wrong
 * is printed as the library words it; --json puts the diagnostics on stdout as JSON.
 */
#include "compiler/internal.h"
#include "tools/contract.h"
#include "tools/storage.h"
#include "tools/tool.h"

#include <string.h>

enum { OUTPUT = 1, EMIT, NAME, JSON, TUNE, SIZE, EXTERNAL_DATA };

static const tool_option options_table[] = {{"-o", TOOL_VALUE, OUTPUT},   {"--emit", TOOL_VALUE, EMIT},
                                            {"--name", TOOL_VALUE, NAME}, {"--json", TOOL_FLAG, JSON},
                                            {"--tune", TOOL_MAYBE, TUNE}, {"--size", TOOL_VALUE, SIZE},
                                            {"--external-data", TOOL_FLAG, EXTERNAL_DATA},
                                            TOOL_QUANTIZE_OPTIONS,        TOOL_COMPRESS_OPTIONS,
                                            TOOL_COMPILE_OPTIONS,
                                            {NULL, TOOL_FLAG, 0}};

static const struct {
    const char *name, *suffix;
    tamis_emit emit;
    bool text;
} forms[] = {{"so", ".so", TAMIS_EMIT_SO, false},    {"obj", ".o", TAMIS_EMIT_OBJ, false},
             {"lib", ".a", TAMIS_EMIT_LIB, false},   {"asm", ".s", TAMIS_EMIT_ASM, true},
             {"llvm", ".ll", TAMIS_EMIT_LLVM, true}, {"ir", ".ir", TAMIS_EMIT_IR, true},
             {"onnx", ".onnx", TAMIS_EMIT_ONNX, false}};
enum { FORM_COUNT = sizeof forms / sizeof *forms };

static int find_form(const char *name) {
    for (int i = 0; i < FORM_COUNT; i++)
        if (strcmp(forms[i].name, name) == 0)
            return i;
    return -1;
}

/* The form that the output's name asks for; a shared object when no name is given. -1: none, reported. */
static int form_of_output(tool *tool, const char *output) {
    for (int i = 0; output != NULL && i < FORM_COUNT; i++)
        if (tool_ends_with(output, forms[i].suffix))
            return i;
    if (output == NULL)
        return 0;
    tm_text hint;
    tm_text_init(&hint, &tool->arena);
    tm_text_add(&hint, "end it in ");
    for (int i = 0; i < FORM_COUNT; i++)
        tm_text_add(&hint, "%s%s (%s)", i == 0 ? "" : i + 1 < FORM_COUNT ? ", " : " or ", forms[i].suffix,
                    forms[i].name);
    tm_text_add(&hint, ", or give the form: --emit=so");
    tool_report(tool, TM_E_USAGE, NULL, tm_text_get(&hint), "-o %s: the name does not say what to make",
                output);
    return -1;
}

static const char *default_output(tool *tool, const char *model, int form) {
    if (strcmp(model, "-") == 0 || forms[form].emit == TAMIS_EMIT_ONNX) /* whose name would be the model's */
        return NULL;
    const char *base = tool_base_name(model);
    const char *dot = strrchr(base, '.');
    return tm_arena_format(&tool->arena, "%.*s%s",
                           dot != NULL && dot != base ? (int)(dot - base) : (int)strlen(base), base,
                           forms[form].suffix);
}

/* What is done to the model before it is compiled. */
typedef struct changes {
    tool_quantize quantize;
    tool_compress compress;
} changes;

/* The command line. */
typedef struct request {
    tool_compile compile;
    changes changes;
    const char *model, *output;
    const char *schedules; /* --tune=FILE, or NULL */
    tool_sizes sizes;
    int form; /* -1: by the output's name */
    bool json, tune;
} request;

static bool are_any(const changes *changes) {
    return changes->quantize.form != NULL || changes->compress.prune != NULL ||
           changes->compress.palette != NULL || changes->compress.tokens != NULL;
}

static tm_code compile_changed(tool *tool, const char *path, const char *output, tool_compile *compile,
                               const changes *changes) {
    tm_model *model;
    tm_text log, warnings;
    tamis_compile_options options;
    bool contract = tool_contract_wanted(&changes->compress, &changes->quantize);
    tm_text_init(&log, &tool->arena);
    tm_text_init(&warnings, &tool->arena);
    if (contract)
        TM_TRY(tool_contract_model(tool, path, compile, &changes->compress, &changes->quantize, &model,
                                   &options));
    else
        TM_TRY(changes->quantize.form == NULL
                   ? tool_compress_model(tool, path, compile, &changes->compress, &changes->quantize, &model)
                   : tool_quantize_model(tool, path, compile, &changes->quantize, &model));
    if (!contract)
        options = *tool_compile_get(compile);
    TM_TRY(tool_can_create(tool, output)); /* samples may have the same name */
    tm_code code = tm_compile_model(model, output, &options, NULL, &log, &warnings);
    fputs(tm_text_get(&warnings), stderr);
    fputs(tm_text_get(&log), stderr);
    return code;
}

/* Text forms may go to stdout: the library writes files, so by way of a temporary one. */
static int compile_to_stdout(tool *tool, const char *model, tool_compile *compile, const changes *changes,
                             int form) {
    const char *folder;
    char *data;
    size_t bytes;
    if (tool_temporary_folder(tool, &folder) != TM_OK)
        return tool_fail(tool);
    const char *output = tm_arena_format(&tool->arena, "%s/model%s", folder, forms[form].suffix);
    if (compile->options.name == NULL)
        compile->options.name = "model";
    if ((are_any(changes) ? compile_changed(tool, model, output, compile, changes)
                          : tool_compile_to(tool, model, output, compile, NULL)) != TM_OK ||
        tool_read_file(tool, output, &data, &bytes) != TM_OK ||
        tool_write_file(tool, "-", data, bytes) != TM_OK)
        return tool_fail(tool);
    return 0;
}

static int compile_file(tool *tool, const char *model, const char *output, tool_compile *compile, bool json) {
    tamis_result *result = NULL;
    const tamis_compile_options *options = tool_compile_get(compile);
    if (strcmp(model, "-") == 0) {
        char *data;
        size_t bytes;
        if (tool_read_file(tool, model, &data, &bytes) != TM_OK)
            return tool_fail(tool);
        tamis_compile_memory(data, bytes, output, options, &result);
    } else {
        tamis_compile_file(model, output, options, &result);
    }
    if (result == NULL) {
        tool_report(tool, TM_E_OUT_OF_MEMORY, model, NULL, "compilation failed");
        return tool_fail(tool);
    }
    if (json)
        puts(tamis_result_json(result));
    else
        fputs(tamis_result_text(result), stderr);
    fputs(tamis_result_warnings(result), stderr);
    fputs(tamis_result_log(result), stderr);
    int exit_code = tamis_result_exit_code(result);
    tamis_result_destroy(result);
    return exit_code;
}

/* Measures schedules, which the compilation uses then. */
static int tune_first(tool *tool, const char *model, const char *file, tool_compile *compile,
                      const tool_sizes *sizes) {
    if (compile->options.schedules != NULL) {
        tool_report(tool, TM_E_USAGE, NULL, "--tune measures and writes a file, --schedules reads one",
                    "--tune and --schedules exclude each other");
        return tool_fail(tool);
    }
    if (file == NULL && strcmp(model, "-") == 0) {
        tool_report(tool, TM_E_USAGE, NULL, "--tune=FILE.json", "--tune needs a file to write to");
        return tool_fail(tool);
    }
    if (file == NULL)
        file = tool_tune_file(tool, model);
    int exit_code = tool_tune(tool, model, file, compile, sizes);
    compile->options.schedules = file;
    return exit_code;
}

static tm_code take_option(tool *tool, request *r, int id, const char *value) {
    switch (id) {
    case OUTPUT:
        r->output = value;
        return TM_OK;
    case NAME:
        r->compile.options.name = value;
        return TM_OK;
    case JSON:
        r->json = true;
        return TM_OK;
    case EXTERNAL_DATA:
        r->compile.options.external_data = true;
        return TM_OK;
    case TUNE:
        r->tune = true;
        r->schedules = value;
        return TM_OK;
    case SIZE:
        return tool_sizes_add(tool, &r->sizes, value);
    case EMIT:
        r->form = find_form(value);
        return r->form >= 0 ? TM_OK
                            : tool_report(tool, TM_E_USAGE, NULL, "so, obj, lib, asm, llvm, ir or onnx",
                                          "--emit: unknown form '%s'", value);
    default:
        if (tool_quantize_option(&r->changes.quantize, id, value) ||
            tool_compress_option(&r->changes.compress, id, value))
            return TM_OK;
        return tool_compile_option(tool, &r->compile, id, value);
    }
}

/* The constants that slots name go into others, of other names, when weights change. */
static tm_code refuse_slots(tool *tool, const request *r) {
    const changes *c = &r->changes;
    const char *change = c->quantize.form != NULL      ? "--quantize"
                         : c->compress.prune != NULL   ? "--prune"
                         : c->compress.palette != NULL ? "--palette"
                                                       : NULL;
    if (r->compile.slots.count == 0 || change == NULL)
        return TM_OK;
    return tool_report(tool, TM_E_USAGE, NULL,
                       tm_arena_format(&tool->arena,
                                       "write the changed model first (`tamis %s %s -o CHANGED.onnx`), "
                                       "then compile that with --slot and its names",
                                       c->quantize.form != NULL ? "quantize" : "compress", r->model),
                       "--slot and %s exclude each other: the weights that slots name are replaced by "
                       "others",
                       change);
}

/* It measures a model that is quantised already, twice. */
static tm_code refuse_faster(tool *tool, const request *r) {
    if (!r->compile.choose_integers)
        return TM_OK;
    if (are_any(&r->changes))
        return tool_report(tool, TM_E_USAGE, NULL, "write the changed model as ONNX first, then give that",
                           "--integers=faster is for models that are quantised already");
    return strcmp(r->model, "-") != 0 ? TM_OK
                                      : tool_report(tool, TM_E_USAGE, NULL, "give the model's file",
                                                    "--integers=faster compiles twice");
}

/* The form and the output; do the options fit together? Before any work. */
static tm_code check(tool *tool, request *r) {
    r->form = r->form >= 0 ? r->form : form_of_output(tool, r->output);
    if (r->form < 0)
        return TM_E_USAGE;
    tamis_emit emit = r->compile.options.emit = forms[r->form].emit;
    if (r->output == NULL)
        r->output = default_output(tool, r->model, r->form);
    bool to_stdout = r->output != NULL && strcmp(r->output, "-") == 0;
    if (r->output == NULL || (to_stdout && !forms[r->form].text))
        return tool_report(tool, TM_E_USAGE, NULL, "-o FILE", "%s needs a file to write to",
                           forms[r->form].name);
    r->changes.compress.chooses_storage = r->compile.choose_storage;
    TM_TRY(tm_check_options(&tool->diagnostics, tool_compile_get(&r->compile)));
    TM_TRY(refuse_slots(tool, r));
    TM_TRY(refuse_faster(tool, r));
    TM_TRY(tool_compress_check(tool, &r->changes.compress, &r->changes.quantize));
    if (!to_stdout)
        TM_TRY(tool_can_create(tool, r->output));
    return emit == TAMIS_EMIT_IR || emit == TAMIS_EMIT_ONNX ? TM_OK : tool_temporaries(tool);
}

static int make(tool *tool, request *r) {
    if (r->tune) {
        int exit_code = tune_first(tool, r->model, r->schedules, &r->compile, &r->sizes);
        if (exit_code != 0)
            return exit_code;
    }
    if (r->compile.choose_integers && tool_choose_integers(tool, r->model, &r->compile, &r->sizes) != TM_OK)
        return tool_fail(tool);
    if (r->compile.choose_storage && !tool_contract_wanted(&r->changes.compress, &r->changes.quantize) &&
        tool_choose_storage(tool, r->model, &r->compile, &r->changes.quantize) != TM_OK)
        return tool_fail(tool);
    if (strcmp(r->output, "-") == 0)
        return compile_to_stdout(tool, r->model, &r->compile, &r->changes, r->form);
    if (!are_any(&r->changes))
        return compile_file(tool, r->model, r->output, &r->compile, r->json);
    tm_code code = compile_changed(tool, r->model, r->output, &r->compile, &r->changes);
    return code == TM_OK ? 0 : tool_fail(tool);
}

int tool_compile_main(tool *tool, int argc, char **argv) {
    request r = {.form = -1, .sizes = {.fallback = 4}};
    tool_compile_init(&r.compile);
    tool_arguments arguments;
    tool_arguments_init(&arguments, tool, argc, argv, options_table);
    int id;
    while ((id = tool_arguments_next(&arguments)) > 0)
        if (take_option(tool, &r, id, arguments.value) != TM_OK)
            return tool_fail(tool);
    if (id < 0 ||
        tool_arguments_single(&arguments, "one model", "tamis compile MODEL.onnx -o OUT.so") != TM_OK)
        return tool_fail(tool);
    r.model = arguments.names.items[0];
    return check(tool, &r) == TM_OK ? make(tool, &r) : tool_fail(tool);
}
