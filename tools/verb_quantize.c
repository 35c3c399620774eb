/* SPDX-License-Identifier: Apache-2.0
 *
 * tamis quantize MODEL -o OUT: the quantised model as a model: what compile --quantize would compile.
 */
#include "tools/quantize.h"

#include "frontend/export.h"
#include "ir/text.h"

#include <string.h>

enum { OUTPUT = 1, EMIT, EXTERNAL_DATA };

static const tool_option options_table[] = {
    {"-o", TOOL_VALUE, OUTPUT}, {"--emit", TOOL_VALUE, EMIT}, {"--external-data", TOOL_FLAG, EXTERNAL_DATA},
    TOOL_QUANTIZE_OPTIONS,      TOOL_COMPILE_OPTIONS,         {NULL, TOOL_FLAG, 0}};

typedef struct output {
    const char *path;
    const char *emit; /* "onnx" or "ir"; NULL: by the name */
    bool external_data;
} output;

static tm_code check_output(tool *tool, output *to) {
    if (to->path == NULL)
        return tool_report(tool, TM_E_USAGE, NULL, "-o FILE",
                           "a quantised model needs a file to be written to");
    if (to->emit == NULL)
        to->emit = tool_ends_with(to->path, ".ir") ? "ir" : tool_ends_with(to->path, ".onnx") ? "onnx" : "";
    if (strcmp(to->emit, "ir") != 0 && strcmp(to->emit, "onnx") != 0)
        return tool_report(tool, TM_E_USAGE, NULL, "end it in .onnx or .ir, or give --emit=onnx|ir",
                           "-o %s: the name does not say what to make", to->path);
    return tool_can_create(tool, to->path);
}

static tm_code write_model(tool *tool, const output *to, const tm_model *model) {
    if (strcmp(to->emit, "onnx") == 0) {
        tm_export_options options;
        tm_export_options_init(&options);
        options.external_data = to->external_data;
        return tm_export_model(model, &options, to->path);
    }
    tm_text text;
    tm_text_init(&text, &tool->arena);
    tm_print_model(model, 0, &text);
    return tool_write_file(tool, to->path, tm_text_get(&text), text.size);
}

int tool_quantize_main(tool *tool, int argc, char **argv) {
    tool_compile compile;
    tool_compile_init(&compile);
    tool_quantize quantize = {.form = "int8"};
    tool_arguments arguments;
    tool_arguments_init(&arguments, tool, argc, argv, options_table);
    output to = {0};
    tm_model *model;
    int id;
    while ((id = tool_arguments_next(&arguments)) > 0) {
        if (id == OUTPUT)
            to.path = arguments.value;
        else if (id == EMIT)
            to.emit = arguments.value;
        else if (id == EXTERNAL_DATA)
            to.external_data = true;
        else if (!tool_quantize_option(&quantize, id, arguments.value) &&
                 tool_compile_option(tool, &compile, id, arguments.value) != TM_OK)
            return tool_fail(tool);
    }
    if (id < 0 ||
        tool_arguments_single(&arguments, "one model", "tamis quantize MODEL.onnx -o OUT.onnx") != TM_OK ||
        check_output(tool, &to) != TM_OK ||
        tool_quantize_model(tool, arguments.names.items[0], &compile, &quantize, &model) != TM_OK ||
        write_model(tool, &to, model) != TM_OK)
        return tool_fail(tool);
    return 0;
}
