/* SPDX-License-Identifier: Apache-2.0
 *
 * tamis opt FILE.ir|MODEL.onnx: runs the pipeline, or single passes, and prints the IR as text.
 *
 *     tamis opt a.ir --pass fold_constants --pass dead_code
 *     tamis opt m.onnx -O2 --print-after=recognize_gelu --opt-bisect-limit=12
 */
#include "tools/tool.h"

#include "ir/infer.h"
#include "ir/text.h"
#include "passes/passes.h"

#include <string.h>

enum { PASS = 1, OUTPUT, FULL, LIST, PRINT_REWRITES };

static const tool_option options_table[] = {{"--pass", TOOL_VALUE, PASS}, {"-o", TOOL_VALUE, OUTPUT},
                                            {"--full", TOOL_FLAG, FULL},  {"--list", TOOL_FLAG, LIST},
                                            {"--print-rewrites", TOOL_FLAG, PRINT_REWRITES},
                                            TOOL_COMPILE_OPTIONS,         {NULL, TOOL_FLAG, 0}};

static void list_passes(void) {
#define TM_PASS(name, level, reason) printf("%-28s -O%d  %s\n", #name, level, reason);
#include "passes/passes.def"
#undef TM_PASS
}

typedef TM_VECTOR(const char *) name_list;

static tm_code optimise(tool *tool, const char *path, tool_compile *compile, const name_list *passes,
                        const char *output, unsigned flags, bool log_rewrites) {
    tm_model *model;
    TM_TRY(tool_import(tool, path, compile, &model));
    const tamis_compile_options *given = tool_compile_get(compile);
    tm_pass_options options = {.level = given->level,
                               .strict_math = given->strict_math,
                               .without_integers = given->without_integers,
                               .factors = given->precision == TAMIS_PRECISION_BF16 ? TAMIS_TYPE_BFLOAT16
                                                                                   : TAMIS_TYPE_UNDEFINED,
                               .disabled = given->disabled_passes,
                               .disabled_count = given->disabled_pass_count,
                               .bisect_limit = given->bisect_limit,
                               .print_after = given->print_after,
                               .verify = true,
                               .log_rewrites = log_rewrites};
    tm_text log, text;
    tm_text_init(&log, &tool->arena);
    tm_text_init(&text, &tool->arena);
    if (passes->count == 0) {
        tm_code code = tm_passes_run(model, &options, &log);
        fputs(tm_text_get(&log), stderr);
        TM_TRY(code);
    }
    for (size_t i = 0; i < passes->count; i++)
        TM_TRY(tm_passes_run_one(model, passes->items[i], &options));
    tm_print_model(model, flags, &text);
    return tool_write_file(tool, output, tm_text_get(&text), text.size);
}

int tool_opt_main(tool *tool, int argc, char **argv) {
    tool_compile compile;
    tool_compile_init(&compile);
    tool_arguments arguments;
    tool_arguments_init(&arguments, tool, argc, argv, options_table);
    name_list passes = {0};
    const char *output = "-";
    unsigned flags = 0;
    bool full = false, log_rewrites = false;
    int id;
    while ((id = tool_arguments_next(&arguments)) > 0) {
        if (id == LIST) {
            list_passes();
            return 0;
        }
        if (id == PASS)
            tm_push(&tool->arena, &passes, arguments.value);
        else if (id == OUTPUT)
            output = arguments.value;
        else if (id == FULL)
            full = true;
        else if (id == PRINT_REWRITES)
            log_rewrites = true;
        else if (tool_compile_option(tool, &compile, id, arguments.value) != TM_OK)
            return tool_fail(tool);
    }
    if (id < 0)
        return tool_fail(tool);
    if (tool_arguments_single(&arguments, "one model", "tamis help opt") != TM_OK)
        return tool_fail(tool);
    const char *path = arguments.names.items[0];
    if (!full && !tool_ends_with(path, ".ir")) /* weights of real models are megabytes of hex */
        flags |= TM_PRINT_ELIDE;
    return optimise(tool, path, &compile, &passes, output, flags, log_rewrites) == TM_OK ? 0
                                                                                         : tool_fail(tool);
}
