/* SPDX-License-Identifier: Apache-2.0
 *
 * model_output.c: a changed model (quantised, compressed) as a model again: ONNX or text.
 */
#include "tools/quantize.h"

#include "frontend/export.h"
#include "ir/text.h"

#include <string.h>

static bool is_compiled(const char *path) {
    static const char *const suffixes[] = {".so", ".o", ".a", ".s", ".ll"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (tool_ends_with(path, suffixes[i]))
            return true;
    return false;
}

bool tool_model_output_option(tool_model_output *to, int id, const char *value) {
    switch (id - TOOL_MODEL_OUTPUT_FIRST) {
    case 0:
        to->path = value;
        return true;
    case 1:
        to->emit = value;
        return true;
    case 2:
        to->external_data = true;
        return true;
    default:
        return false;
    }
}

tm_code tool_model_output_check(tool *tool, tool_model_output *to) {
    if (to->path == NULL)
        return tool_report(tool, TM_E_USAGE, NULL, "-o FILE",
                           "the model that is made needs a file to be written to");
    if (to->emit == NULL)
        to->emit = tool_ends_with(to->path, ".ir") ? "ir" : tool_ends_with(to->path, ".onnx") ? "onnx" : "";
    if (strcmp(to->emit, "ir") != 0 && strcmp(to->emit, "onnx") != 0)
        return tool_report(
            tool, TM_E_USAGE, NULL,
            is_compiled(to->path) ? tm_arena_format(&tool->arena, "`tamis compile %s` makes artifacts",
                                                    strcmp(tool->verb, "quantize") == 0
                                                        ? "--quantize=FORM"
                                                        : "--prune=GOAL")
                                  : "end it in .onnx or .ir, or give --emit=onnx|ir",
            is_compiled(to->path) ? "-o %s: this command writes models, .onnx or .ir"
                                  : "-o %s: the name does not say what to make",
            to->path);
    return tool_can_create(tool, to->path);
}

tm_code tool_model_output_write(tool *tool, const tool_model_output *to, const tm_model *model) {
    TM_TRY(tool_can_create(tool, to->path));
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
