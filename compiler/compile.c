/* SPDX-License-Identifier: Apache-2.0
 *
 * compile.c: the public compile call: import, passes, code generation, with one arena for all of it.
 *
 *     file -> tm_import -> tm_passes_run -> tm_codegen -> artifact
 *
 * Running out of memory anywhere below jumps back to here; the arena's end closes files, mappings and LLVM
 * objects.
 */
#include "tamis/compiler.h"

#include "codegen/codegen.h"
#include "compiler/internal.h"
#include "frontend/export.h"
#include "frontend/import.h"
#include "ir/infer.h"
#include "ir/text.h"
#include "passes/passes.h"
#include "passes/slots.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

void tamis_compile_options_init(tamis_compile_options *options) {
    *options = (tamis_compile_options){.emit = TAMIS_EMIT_SO, .level = 2, .bisect_limit = -1};
}

void tm_import_options_of(const tamis_compile_options *options, tm_import_options *out_import) {
    tm_import_options_init(out_import);
    tm_import_limits *limits = &out_import->limits;
    const struct {
        int64_t *to;
        int64_t from;
    } pairs[] = {{&limits->depth, options->limit_depth},
                 {&limits->nodes, options->limit_nodes},
                 {&limits->initializers, options->limit_initializers},
                 {&limits->file_bytes, options->limit_file_bytes},
                 {&limits->tensor_bytes, options->limit_tensor_bytes},
                 {&limits->memory_bytes, options->limit_memory_bytes},
                 {&limits->name_bytes, options->limit_name_bytes}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
        if (pairs[i].from > 0)
            *pairs[i].to = pairs[i].from;
    out_import->external_folder = options->external_folder;
    out_import->allow_links_in = options->allow_links_in;
}

tm_code tm_apply_dim_facts(tm_model *model, const tamis_dim_fact *facts, size_t count) {
    for (size_t i = 0; i < count; i++) {
        tm_symbol *symbol = tm_dims_find_symbol(model->dims, facts[i].name);
        if (symbol == NULL || symbol->origin != TM_SYMBOL_INPUT)
            return tm_report(model->diagnostics, TM_E_USAGE, NULL,
                             "`tamis inspect` lists the dims of the inputs", "--dim: no input has a dim '%s'",
                             facts[i].name);
        if (facts[i].low < 0 || facts[i].low > facts[i].high)
            return tm_report(model->diagnostics, TM_E_USAGE, NULL, NULL,
                             "--dim %s: the range is empty or negative", facts[i].name);
        for (size_t k = 0; k < i; k++)
            if (strcmp(facts[k].name, facts[i].name) == 0 &&
                (facts[k].low != facts[i].low || facts[k].high != facts[i].high))
                return tm_report(model->diagnostics, TM_E_USAGE, NULL, NULL,
                                 "--dim %s is given twice, with different values", facts[i].name);
        tm_symbol_set_range(symbol, facts[i].low, facts[i].high);
    }
    return TM_OK;
}

static const char *artifact_name(tm_arena *arena, const char *output) {
    const char *slash = strrchr(output, '/');
    char *name = tm_arena_format(arena, "%s", slash != NULL ? slash + 1 : output);
    char *dot = strchr(name, '.');
    if (dot != NULL)
        *dot = 0;
    for (char *c = name; *c != 0; c++)
        if (!isalnum((unsigned char)*c))
            *c = '_';
    return isalpha((unsigned char)name[0]) ? name : tm_arena_format(arena, "model_%s", name);
}

/* A device or a pipe is written to, a file made beside its place and moved there. */
tm_code tm_write_text(tm_diagnostics *diagnostics, const char *output, const tm_text *text) {
    struct stat status;
    bool to_stdout = strcmp(output, "-") == 0;
    bool special = to_stdout || (stat(output, &status) == 0 && !S_ISREG(status.st_mode));
    const char *partial =
        special ? output : tm_arena_format(diagnostics->arena, "%s.%d.part", output, (int)getpid());
    FILE *file = to_stdout ? stdout : fopen(partial, "wb");
    if (file == NULL)
        return tm_report(diagnostics, TM_E_CREATE_OUTPUT, NULL, NULL, "cannot create %s: %s", output,
                         strerror(errno));
    bool written = fwrite(text->data, 1, text->size, file) == text->size;
    written &= to_stdout ? fflush(file) == 0 : fclose(file) == 0;
    if (written && (special || rename(partial, output) == 0))
        return TM_OK;
    if (!special)
        unlink(partial);
    return tm_report(diagnostics, TM_E_IO, NULL, NULL, "writing %s failed", output);
}

static bool is_identifier(const char *name) {
    for (const char *c = name; *c != 0; c++)
        if (!isalnum((unsigned char)*c) && *c != '_')
            return false;
    return isalpha((unsigned char)name[0]) || name[0] == '_';
}

static tm_storage_options storage_of(const tamis_compile_options *options) {
    static const tm_storage_kind kinds[] = {TM_STORAGE_EXACT, TM_STORAGE_FLOAT16, TM_STORAGE_BFLOAT16};
    bool steps = options->storage_step_count > 0;
    return (tm_storage_options){.coded = options->coded_weights || options->storage != TAMIS_STORAGE_EXACT ||
                                         steps,
                                .kind = steps ? TM_STORAGE_STEPS : kinds[options->storage],
                                .steps = options->storage_steps,
                                .step_count = (int64_t)options->storage_step_count};
}

tm_code tm_check_options(tm_diagnostics *diagnostics, const tamis_compile_options *options) {
    bool so = options->emit == TAMIS_EMIT_SO, onnx = options->emit == TAMIS_EMIT_ONNX;
    if (onnx && options->slot_count > 0)
        return tm_report(diagnostics, TM_E_USAGE, NULL, "compile to a shared object, .so",
                         "--slot: slots are of artifacts; ONNX has none");
    if (options->weights_file != NULL && (!so || storage_of(options).coded))
        return tm_report(diagnostics, TM_E_USAGE, NULL, "compile to a shared object with --weights=mapped",
                         "--weights-file: %s",
                         so ? "coded weights are in the artifact" : "it is for shared objects");
    if (onnx || options->emit == TAMIS_EMIT_IR)
        return TM_OK;
    if (options->name != NULL && !is_identifier(options->name))
        return tm_report(diagnostics, TM_E_USAGE, NULL, "symbols of the artifact have the name in them",
                         "--name: '%s' is not a C identifier", options->name);
    if (options->profile && (options->emit == TAMIS_EMIT_OBJ || options->emit == TAMIS_EMIT_LIB))
        return tm_report(diagnostics, TM_E_USAGE, NULL, "compile to a shared object (.so)",
                         "--profile: objects and archives have no profile");
    return TM_OK;
}

static tm_code optimize(tm_model *model, const tamis_compile_options *options, tm_text *log) {
    bool onnx = options->emit == TAMIS_EMIT_ONNX;
    tm_pass_options passes = {.level = onnx && options->level == 0 ? -1 : options->level,
                              .onnx_forms = onnx,
                              .disabled = options->disabled_passes,
                              .disabled_count = options->disabled_pass_count,
                              .bisect_limit = options->bisect_limit,
                              .print_after = options->print_after,
                              .factors = options->precision == TAMIS_PRECISION_BF16 ? TAMIS_TYPE_BFLOAT16
                                                                                    : TAMIS_TYPE_UNDEFINED,
                              .strict_math = options->strict_math,
                              .without_integers = options->without_integers,
#ifndef NDEBUG
                              .verify = true
#endif
    };
    TM_TRY(tm_apply_dim_facts(model, options->dims, options->dim_count));
    TM_TRY(tm_slots_mark(model, options->slots, options->slot_count));
    return tm_passes_run(model, &passes, log);
}

/* Of a model that has something unsupported: what inference and a look at the kernels find besides. */
static tm_code report_rest(tm_model *model, const tamis_compile_options *options, tm_code code) {
    if (model == NULL || tm_apply_dim_facts(model, options->dims, options->dim_count) != TM_OK)
        return code;
    (void)tm_infer(model);
    (void)tm_report_missing_kernels(model);
    return code;
}

/* With schedules from a file, where one is given; those who tune bring their own. */
static tm_code generate_code(tm_model *model, const char *output, const tamis_compile_options *options,
                             tm_codegen_options *codegen, tm_text *warnings) {
    if (options->schedules == NULL || codegen->schedules != NULL)
        return tm_codegen(model, codegen, output);
    tm_schedule_table table;
    TM_TRY(tm_schedules_read(model->arena, model->diagnostics, options->schedules, codegen->target.target,
                             &table, warnings));
    codegen->schedules = &table;
    TM_TRY(tm_codegen(model, codegen, output));
    tm_schedules_warn(&table, options->schedules, &codegen->target, warnings);
    return TM_OK;
}

static tm_code generate(tm_model *model, const char *output, const tamis_compile_options *options,
                        uint64_t hash, tm_tuning *tuning, tm_text *warnings) {
    if (options->map != NULL && options->emit > TAMIS_EMIT_LIB)
        return tm_report(model->diagnostics, TM_E_USAGE, NULL,
                         "compile to a shared object, object or archive",
                         "--map: what is not linked has no map");
    if (options->emit == TAMIS_EMIT_IR) {
        tm_text text;
        tm_text_init(&text, model->arena);
        tm_print_model(model, 0, &text);
        return tm_write_text(model->diagnostics, output, &text);
    }
    if (options->emit == TAMIS_EMIT_ONNX) {
        tm_export_options export;
        tm_export_options_init(&export);
        export.external_data = options->external_data;
        return tm_export_model(model, &export, output);
    }
    bool shared = options->weights_file != NULL && tuning == NULL;
    static const tm_emit_kind kinds[] = {TM_EMIT_SO, TM_EMIT_OBJ, TM_EMIT_LIB, TM_EMIT_ASM, TM_EMIT_LLVM};
    tm_codegen_options codegen = {.emit = kinds[options->emit],
                                  .level = options->level,
                                  .small = options->small,
                                  .name = options->name != NULL ? options->name
                                                                : artifact_name(model->arena, output),
                                  .data_folder = tm_data_folder(model->arena),
                                  .model_hash = hash,
                                  .strict_math = options->strict_math,
                                  .symbols = options->symbols,
                                  .map = tuning == NULL ? options->map : NULL,
                                  .precision = options->precision == TAMIS_PRECISION_BF16 ? "bf16" : "f32",
                                  .storage = storage_of(options),
                                  .weights_file = shared ? options->weights_file : NULL,
                                  .profile = options->profile,
                                  .schedules = tuning != NULL ? tuning->schedules : NULL,
                                  .steps = tuning != NULL ? tuning->steps : NULL};
    const tm_target *machine = tm_target_find(options->target);
    const char *cpu =
        options->cpu == NULL && options->small && machine != NULL ? machine->levels[0].name : options->cpu;
    TM_TRY(tm_target_choose(model->diagnostics, options->target, cpu, tm_graph_units(model->main),
                            &codegen.target));
    if (tuning != NULL)
        tuning->target = codegen.target;
    return generate_code(model, output, options, &codegen, warnings);
}

/* Of the bytes that the model was imported from. */
static uint64_t hash_source(const tm_model *model) {
    const size_t piece = (size_t)1 << 20;
    const char *bytes = model->source;
    XXH3_state_t *hash = XXH3_createState();
    if (hash == NULL)
        return XXH3_64bits(bytes, model->source_bytes);
    XXH3_64bits_reset(hash);
    for (size_t at = 0; at < model->source_bytes; at += piece) {
        size_t size = model->source_bytes - at < piece ? model->source_bytes - at : piece;
        XXH3_64bits_update(hash, bytes + at, size);
        tm_mappings_note_read(model->mappings, size);
    }
    uint64_t digest = XXH3_64bits_digest(hash);
    XXH3_freeState(hash);
    return digest;
}

tm_code tm_compile_model(tm_model *model, const char *output, const tamis_compile_options *options,
                         tm_tuning *tuning, tm_text *log, tm_text *warnings) {
    TM_TRY(tm_check_options(model->diagnostics, options));
    if (options->emit != TAMIS_EMIT_IR)
        tm_codegen_begin(model->arena);
    tm_code code = optimize(model, options, log);
    bool runs = options->emit != TAMIS_EMIT_IR && options->emit != TAMIS_EMIT_ONNX;
    tm_code missing = runs ? tm_report_missing_kernels(model) : TM_OK;
    TM_TRY(code);
    TM_TRY(missing);
    return generate(model, output, options, hash_source(model), tuning, warnings);
}

typedef struct request {
    const tm_source *from;
    const char *output;
    const tamis_compile_options *options;
    tm_tuning *tuning;
} request;

static tm_code compile(tamis_result *result, void *argument) {
    const request *r = argument;
    const tm_source *from = r->from;
    const tamis_compile_options *options = r->options;
    tm_import_options import;
    tm_import_options_of(options, &import);
    tm_model *model = NULL;
    tm_code code = from->path != NULL
                       ? tm_import_file(&result->arena, &result->diagnostics, from->path, &import, &model)
                       : tm_import_memory(&result->arena, &result->diagnostics, "<memory>", from->data,
                                          from->bytes, &import, &model);
    if (code != TM_OK)
        return report_rest(model, options, code);
    return tm_compile_model(model, r->output, options, r->tuning, &result->log, &result->warnings);
}

static void put_json(void *list) {
    json_object_put(list);
}

static void finish(tamis_result *result) {
    tm_text text;
    tm_text_init(&text, &result->arena);
    json_object *list = json_object_new_array();
    tm_arena_on_destroy(&result->arena, put_json, list);
    for (size_t i = 0; i < result->diagnostics.list.count; i++) {
        const tm_diagnostic *d = &result->diagnostics.list.items[i];
        tm_diagnostic_print(d, &text);
        json_object *item = json_object_new_object();
        json_object_object_add(item, "code", json_object_new_int((int)d->code));
        json_object_object_add(item, "message", json_object_new_string(d->message != NULL ? d->message : ""));
        if (d->place.node != NULL)
            json_object_object_add(item, "node", json_object_new_string(d->place.node));
        if (d->place.op != NULL)
            json_object_object_add(item, "op", json_object_new_string(d->place.op));
        if (d->hint != NULL)
            json_object_object_add(item, "hint", json_object_new_string(d->hint));
        json_object_array_add(list, item);
    }
    result->text = tm_arena_string(&result->arena, tm_text_get(&text));
    result->json =
        tm_arena_string(&result->arena, json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN));
}

int tm_result_make(tm_code (*work)(tamis_result *result, void *argument), void *argument,
                   tamis_result **out_result) {
    tamis_result *result = calloc(1, sizeof(*result));
    *out_result = result;
    if (result == NULL)
        return TM_E_OUT_OF_MEMORY;
    tm_arena_init(&result->arena);
    result->text = "error E0001: out of memory\n";
    result->json = "[{\"code\": 1, \"message\": \"out of memory\"}]";
    if (setjmp(result->arena.recovery) != 0) {
        tm_arena_deinit(&result->arena);
        tm_arena_init(&result->arena);
        tm_text_init(&result->log, &result->arena);
        tm_text_init(&result->warnings, &result->arena);
        if (result->written) {
            result->text = "";
            result->json = "[]";
            return 0;
        }
        result->code = TM_E_OUT_OF_MEMORY;
        return (int)result->code;
    }
    result->arena.has_recovery = true;
    tm_diagnostics_init(&result->diagnostics, &result->arena);
    tm_text_init(&result->log, &result->arena);
    tm_text_init(&result->warnings, &result->arena);
    result->code = work(result, argument);
    result->written = result->code == TM_OK;
    finish(result);
    return (int)result->code;
}

int tm_compile(const tm_source *from, const char *output, const tamis_compile_options *options,
               tm_tuning *tuning, tamis_result **out_result) {
    request r = {from, output, options, tuning};
    return tm_result_make(compile, &r, out_result);
}

int tamis_compile_file(const char *model, const char *output, const tamis_compile_options *options,
                       tamis_result **out_result) {
    return tm_compile(&(tm_source){.path = model}, output, options, NULL, out_result);
}

int tamis_compile_memory(const void *model, size_t bytes, const char *output,
                         const tamis_compile_options *options, tamis_result **out_result) {
    return tm_compile(&(tm_source){.data = model, .bytes = bytes}, output, options, NULL, out_result);
}

void tamis_result_destroy(tamis_result *result) {
    if (result == NULL)
        return;
    tm_arena_deinit(&result->arena);
    free(result);
}

const char *tamis_result_text(const tamis_result *result) {
    return result->text;
}

const char *tamis_result_log(const tamis_result *result) {
    return tm_text_get(&result->log);
}

const char *tamis_result_warnings(const tamis_result *result) {
    return tm_text_get(&result->warnings);
}

const char *tamis_result_json(const tamis_result *result) {
    return result->json;
}

int tamis_result_exit_code(const tamis_result *result) {
    return tm_code_exit(result->code);
}
