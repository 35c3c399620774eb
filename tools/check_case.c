/* SPDX-License-Identifier: Apache-2.0
 *
 * One ONNX backend-test folder: model.onnx, test_data_set_K/{input,output}_N.pb, and maybe a data.json
 * or system.json with rtol and atol. Compiles (or evaluates) the model once, runs every data set, compares
 * all outputs.
 *
 * Runs in a child process of `tamis check`, so it may crash; the answer is one line on stdout.
 */
#include "tools/check.h"

#include "ir/infer.h"

#include <json-c/json.h>
#include <string.h>

const char *check_status_text(check_status status) {
    static const char *const texts[CHECK_STATUS_COUNT] = {"pass", "FAIL", "unsupported", "crash"};
    return texts[status];
}

static void answer(tool *tool, check_status status, const char *detail) {
    tm_text text;
    tm_text_init(&text, &tool->arena);
    size_t size = strcspn(detail, "\n");
    tm_text_add_escaped(&text, detail, size < 400 ? size : 400);
    printf("\n\001%s\t%s\n", check_status_text(status), tm_text_get(&text));
    fflush(stdout);
}

/* Answers with the first diagnostic of this process. */
static void answer_error(tool *tool, const char *what) {
    tm_text text;
    tm_text_init(&text, &tool->arena);
    tm_code code = TM_E_INTERNAL;
    if (tool->compiler_text != NULL) {
        code = tool->compiler_code;
        tm_text_add(&text, "%s", tool->compiler_text);
    } else if (tool->diagnostics.list.count > 0) {
        const tm_diagnostic *diagnostic = &tool->diagnostics.list.items[0];
        code = diagnostic->code;
        tm_diagnostic_print(diagnostic, &text);
    } else {
        tm_text_add(&text, "a failure without a message");
    }
    const char *message = tm_text_get(&text);
    const char *newline = strchr(message, '\n');
    const char *second = newline != NULL && newline[1] == ' ' ? newline + 1 : ""; /* "    expected ..." */
    const char *error = strstr(message, "model.onnx:");
    if (error != NULL && (newline == NULL || error < newline))
        message = error + strlen("model.onnx:");
    answer(tool, tm_code_exit(code) == 69 ? CHECK_UNSUPPORTED : CHECK_FAIL,
           tm_arena_format(&tool->arena, "%s%.*s %.*s", what, (int)strcspn(message, "\n"), message,
                           (int)strcspn(second, "\n"), second));
}

/* A number of the JSON object, if it is there; tolerances are 0 or more. */
static bool read_number(json_object *root, const char *key, double *out) {
    json_object *number;
    if (!json_object_object_get_ex(root, key, &number))
        return true;
    *out = json_object_get_double(number);
    return (json_object_is_type(number, json_type_double) || json_object_is_type(number, json_type_int)) &&
           *out >= 0;
}

static tm_code read_tolerance(const char *path, tool *tool, const check_options *options,
                              tool_tolerance *out) {
    *out = (tool_tolerance){.rtol = 1e-3, /* those of ONNX's own runner */
                            .atol = 1e-7,
                            .of_largest = tool_precision_tolerance(&options->compile->options)};
    static const char *const files[] = {"data.json",
                                        "system.json"}; /* ONNX's own, and that of model collections */
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const char *file = tm_arena_format(&tool->arena, "%s/%s", path, files[i]);
        if (!tool_exists(file))
            continue;
        json_object *root = json_object_from_file(file);
        bool valid = json_object_is_type(root, json_type_object) && read_number(root, "rtol", &out->rtol) &&
                     read_number(root, "atol", &out->atol);
        json_object_put(root);
        if (!valid)
            return tool_report(tool, TM_E_BAD_DATA, file, NULL,
                               "not a JSON object whose rtol and atol are numbers of 0 or more");
    }
    if (options->has_rtol)
        out->rtol = options->tolerance.rtol;
    if (options->has_atol)
        out->atol = options->tolerance.atol;
    return TM_OK;
}

static tm_code read_inputs(tool *tool, const char *set, const tool_port *ports, int count, tool_value *out) {
    bool *have = TM_NEW_ARRAY(&tool->arena, bool, count + 1);
    TM_TRY(tool_values_read(tool, set, "input", ports, count, out, have));
    for (int i = 0; i < count; i++) {
        if (!have[i] && !tool_value_absent(&ports[i], &out[i]))
            return tool_report(tool, TM_E_BAD_DATA, set, NULL, "no data for input %d '%s'", i, ports[i].name);
    }
    return TM_OK;
}

/* Facts that pin every symbolic input dim to the size it has in the data set. */
static tm_code pin_dims(tool *tool, const char *model_path, const char *set, tool_compile *compile) {
    tm_model *model;
    TM_TRY(tool_import(tool, model_path, compile, &model));
    const tm_graph *graph = model->main;
    int count = (int)graph->inputs.count;
    tool_value *inputs = TM_NEW_ARRAY(&tool->arena, tool_value, count + 1);
    TM_TRY(read_inputs(tool, set, tool_model_ports(tool, graph->inputs.items, graph->inputs.count), count,
                       inputs));
    for (int i = 0; i < count; i++) {
        const tm_value *value = graph->inputs.items[i];
        if (value->kind != TAMIS_KIND_TENSOR || inputs[i].tensor->rank != value->rank)
            continue;
        for (int d = 0; d < value->rank; d++) {
            if (value->dims[d]->kind != TM_DIM_SYMBOL)
                continue;
            int64_t size = inputs[i].tensor->dims[d];
            tm_push(&tool->arena, &compile->dims, (tamis_dim_fact){value->dims[d]->symbol->name, size, size});
        }
    }
    return TM_OK;
}

/* Writes what was found to OUTPUTS/NAME/SET/output_N.pb; NAME may have slashes. */
static tm_code keep_outputs(tool_engine *engine, const char *name, const char *set, const char *outputs,
                            const tool_value *values) {
    tool *tool = engine->tool;
    const char *path = tm_arena_format(&tool->arena, "%s/%s/%s", outputs, name, set);
    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/'))
        TM_TRY(tool_make_folder(tool, tm_arena_string_n(&tool->arena, path, (size_t)(slash - path))));
    return tool_values_write(tool, path, "output", engine->outputs, engine->output_count, values);
}

/* Compares one data set; false after an answer was given. */
static bool run_set(tool_engine *engine, const check_case *item, const char *set,
                    const tool_tolerance *tolerance, const char *kept) {
    tool *tool = engine->tool;
    const char *path = item->path;
    tool_value *inputs = TM_NEW_ARRAY(&tool->arena, tool_value, engine->input_count + 1);
    tool_value *outputs = TM_NEW_ARRAY(&tool->arena, tool_value, engine->output_count + 1);
    tool_value *expected = TM_NEW_ARRAY(&tool->arena, tool_value, engine->output_count + 1);
    bool *have = TM_NEW_ARRAY(&tool->arena, bool, engine->output_count + 1);
    const char *folder = tm_arena_format(&tool->arena, "%s/%s", path, set);
    if (read_inputs(tool, folder, engine->inputs, engine->input_count, inputs) != TM_OK ||
        tool_values_read(tool, folder, "output", engine->outputs, engine->output_count, expected, have) !=
            TM_OK) {
        answer_error(tool, "");
        return false;
    }
    if (tool_engine_run(engine, inputs, outputs) != TM_OK) {
        answer_error(tool, "run: ");
        return false;
    }
    if (kept != NULL && keep_outputs(engine, item->name, set, kept, outputs) != TM_OK) {
        answer_error(tool, "");
        return false;
    }
    for (int i = 0; i < engine->output_count; i++) {
        tool_difference difference;
        if (!have[i] || tool_compare(&outputs[i], &expected[i], tolerance, &difference))
            continue;
        answer(tool, CHECK_FAIL,
               tm_arena_format(&tool->arena,
                               "set %s output %d '%s': %lld of %lld wrong, max abs %.3g rel %.3g; %s",
                               set + strlen("test_data_set_"), i, engine->outputs[i].name,
                               (long long)difference.wrong, (long long)difference.total,
                               difference.max_absolute, difference.max_relative, difference.first));
        return false;
    }
    return true;
}

void check_run_case(tool *tool, const check_case *item, const check_options *options) {
    const char *path = item->path;
    const char *model = tm_arena_format(&tool->arena, "%s/model.onnx", path);
    const char **names;
    size_t count = 0, sets = 0;
    tool_tolerance tolerance;
    tool_engine engine;
    tool_engine_options engine_options = {
        .evaluate = options->evaluate, .threads = options->threads, .strict = options->strict};
    if (read_tolerance(path, tool, options, &tolerance) != TM_OK ||
        tool_list_folder(tool, path, &names, &count) != TM_OK) {
        answer_error(tool, "");
        return;
    }
    for (size_t i = 0; i < count; i++)
        if (strncmp(names[i], "test_data_set_", strlen("test_data_set_")) == 0)
            names[sets++] = names[i];
    if (options->pin_dims && sets > 0 &&
        pin_dims(tool, model, tm_arena_format(&tool->arena, "%s/%s", path, names[0]), options->compile) !=
            TM_OK) {
        answer_error(tool, "");
        return;
    }
    if (options->pin_dims && sets > 1)
        sets = 1;
    if (tool_engine_create(tool, model, options->compile, &engine_options, &engine) != TM_OK) {
        answer_error(tool, "");
        return;
    }
    bool good = true;
    for (size_t i = 0; i < sets && (good || options->outputs != NULL); i++)
        good = run_set(&engine, item, names[i], &tolerance, options->outputs) && good;
    if (good && sets == 0)
        answer(tool, CHECK_FAIL, "no test_data_set_K in the folder");
    else if (good)
        answer(tool, CHECK_PASS, "");
    tool_engine_destroy(&engine);
}
