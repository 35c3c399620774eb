/* SPDX-License-Identifier: Apache-2.0
 *
 * tamis quantize MODEL -o OUT: the quantised model as a model: what compile --quantize would compile.
 */
#include "tools/quantize.h"

static const tool_option options_table[] = {
    TOOL_MODEL_OUTPUT_OPTIONS, TOOL_QUANTIZE_OPTIONS, TOOL_COMPILE_OPTIONS, {NULL, TOOL_FLAG, 0}};

int tool_quantize_main(tool *tool, int argc, char **argv) {
    tool_compile compile;
    tool_compile_init(&compile);
    tool_quantize quantize = {.form = "int8"};
    tool_arguments arguments;
    tool_arguments_init(&arguments, tool, argc, argv, options_table);
    tool_model_output to = {0};
    tm_model *model;
    int id;
    while ((id = tool_arguments_next(&arguments)) > 0) {
        if (!tool_model_output_option(&to, id, arguments.value) &&
            !tool_quantize_option(&quantize, id, arguments.value) &&
            tool_compile_option(tool, &compile, id, arguments.value) != TM_OK)
            return tool_fail(tool);
    }
    if (id < 0 ||
        tool_arguments_single(&arguments, "one model", "tamis quantize MODEL.onnx -o OUT.onnx") != TM_OK ||
        tool_model_output_check(tool, &to) != TM_OK ||
        tool_compile_of_artifacts(tool, &compile, "a model that is written has none") != TM_OK ||
        tool_quantize_model(tool, arguments.names.items[0], &compile, &quantize, &model) != TM_OK ||
        tool_model_output_write(tool, &to, model) != TM_OK)
        return tool_fail(tool);
    return 0;
}
