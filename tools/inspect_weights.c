/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect_weights.c: tamis inspect --compress MODEL.onnx: the model's weights as the file has them, before
 * any pass.
 */
#include "tools/inspect.h"

#include "compress/inspect.h"
#include "ir/infer.h"

#include <sys/stat.h>

tm_code tool_inspect_weights(tool *tool, const char *path, tool_compile *compile, bool json,
                             const char *html) {
    tm_model *model;
    tm_inspect_report report;
    tm_text text;
    struct stat status;
    if (html != NULL)
        TM_TRY(tool_can_create(tool, html));
    TM_TRY(tool_import(tool, path, compile, &model));
    TM_TRY(tm_infer(model));
    tm_inspect_weights(&tool->arena, model, stat(path, &status) == 0 ? (int64_t)status.st_size : 0, &report);
    tm_text_init(&text, &tool->arena);
    if (html != NULL) {
        tm_inspect_html(&report, &text);
        TM_TRY(tool_write_file(tool, html, tm_text_get(&text), text.size));
        tm_text_init(&text, &tool->arena);
    }
    if (json)
        tm_inspect_json(&report, &text);
    else
        tm_inspect_text(&report, &text);
    fputs(tm_text_get(&text), stdout);
    return TM_OK;
}
