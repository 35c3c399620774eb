/* SPDX-License-Identifier: Apache-2.0
 *
 * tune.c: tamis compile --tune: the library measures (compiler/tune.c), with the runtime that this command is
 * linked with; here are the file's name, progress on stderr, and the words about what went wrong.
 */
#include "tools/tool.h"

#include "tamis/tune.h"

#include <string.h>

static void show_progress(void *user, const char *line) {
    (void)user;
    fprintf(stderr, "tune: %s\n", line);
}

/* MODEL.tune.json beside MODEL.onnx. */
const char *tool_tune_file(tool *tool, const char *model) {
    size_t size = strlen(model), suffix = tool_ends_with(model, ".onnx") ? strlen(".onnx") : 0;
    return tm_arena_format(&tool->arena, "%.*s.tune.json", (int)(size - suffix), model);
}

int tool_tune(tool *tool, const char *model, const char *file, tool_compile *compile,
              const tool_sizes *sizes) {
    static const tamis_tune_runtime runtime = TAMIS_TUNE_RUNTIME;
    tamis_tune_options options;
    tamis_result *result = NULL;
    tamis_tune_options_init(&options);
    options.runtime = &runtime;
    options.sizes = sizes->list.items;
    options.size_count = sizes->list.count;
    options.other_size = sizes->fallback;
    options.progress = show_progress;
    if (tool_can_create(tool, file) != TM_OK || tool_temporaries(tool) != TM_OK)
        return tool_fail(tool);
    if (strcmp(model, "-") == 0) {
        char *data;
        size_t bytes;
        if (tool_read_file(tool, model, &data, &bytes) != TM_OK)
            return tool_fail(tool);
        tamis_tune_memory(data, bytes, file, tool_compile_get(compile), &options, &result);
    } else {
        tamis_tune_file(model, file, tool_compile_get(compile), &options, &result);
    }
    if (result == NULL) {
        tool_report(tool, TM_E_OUT_OF_MEMORY, model, NULL, "--tune failed");
        return tool_fail(tool);
    }
    fputs(tamis_result_warnings(result), stderr);
    fputs(tamis_result_text(result), stderr);
    int exit_code = tamis_result_exit_code(result);
    tamis_result_destroy(result);
    return exit_code;
}
