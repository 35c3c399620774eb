/* SPDX-License-Identifier: Apache-2.0
 *
 * diagnostics.c: files what went wrong and where, and prints it.
 *
 * The function that finds a fault calls tm_report and returns its code; nobody prints on the way up.
 * The list keeps the order of filing, so one run can show all unsupported nodes. Printed form:
 *
 *     model.onnx:main/Loop_3.body:node 3:Add '/layer/Add':tensor 'x': error E0111: dims do not fit
 *         expected [batch,4]
 *         found    [batch,5]
 *         hint: check the exporter's axis
 *
 * and for IR text `case.ir:12:7: error E0113: ...`. Parts of a place that are unknown are left out.
 * All strings are copied, for a diagnostic may outlive the parser's or importer's buffers.
 */
#include "base/base.h"

#include <inttypes.h>
#include <string.h>

void tm_diagnostics_init(tm_diagnostics *diagnostics, tm_arena *arena) {
    *diagnostics = (tm_diagnostics){.arena = arena};
}

static const char *copy_or_null(tm_arena *arena, const char *text) {
    return text != NULL ? tm_arena_string(arena, text) : NULL;
}

static tm_place copy_place(tm_arena *arena, const tm_place *place) {
    if (place == NULL)
        return (tm_place){.node_index = -1};
    tm_place copy = *place;
    copy.file = copy_or_null(arena, place->file);
    copy.path = copy_or_null(arena, place->path);
    copy.op = copy_or_null(arena, place->op);
    copy.node = copy_or_null(arena, place->node);
    copy.tensor = copy_or_null(arena, place->tensor);
    return copy;
}

static tm_code file_diagnostic(tm_diagnostics *diagnostics, tm_code code, const tm_place *place,
                               const char *hint, const char *expected, const char *found,
                               const char *message) {
    tm_arena *arena = diagnostics->arena;
    tm_diagnostic diagnostic = {
        .code = code,
        .place = copy_place(arena, place),
        .message = message,
        .expected = copy_or_null(arena, expected),
        .found = copy_or_null(arena, found),
        .hint = copy_or_null(arena, hint),
    };
    tm_push(arena, &diagnostics->list, diagnostic);
    return code;
}

tm_code tm_report(tm_diagnostics *diagnostics, tm_code code, const tm_place *place, const char *hint,
                  const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const char *message = tm_arena_format_v(diagnostics->arena, format, arguments);
    va_end(arguments);
    return file_diagnostic(diagnostics, code, place, hint, NULL, NULL, message);
}

tm_code tm_report_mismatch(tm_diagnostics *diagnostics, tm_code code, const tm_place *place, const char *hint,
                           const char *expected, const char *found, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const char *message = tm_arena_format_v(diagnostics->arena, format, arguments);
    va_end(arguments);
    return file_diagnostic(diagnostics, code, place, hint, expected, found, message);
}

static void add_escaped(tm_text *out, const char *before, const char *name, const char *after) {
    tm_text_add(out, "%s", before);
    tm_text_add_escaped(out, name, strlen(name));
    tm_text_add(out, "%s", after);
}

static void add_line(tm_text *out, const char *label, const char *text) {
    if (text == NULL)
        return;
    tm_text_add(out, "    %s ", label);
    tm_text_add_printable(out, text, strlen(text));
    tm_text_add(out, "\n");
}

/* A node index counts only where a node is meant: a place made from zeros has index 0 too. */
static void add_place(tm_text *out, const tm_place *place) {
    bool named = place->node != NULL && place->node[0] != 0;
    if (place->file != NULL)
        add_escaped(out, "", place->file, ":");
    if (place->line > 0)
        tm_text_add(out, "%" PRId64 ":", place->line);
    if (place->line > 0 && place->column > 0)
        tm_text_add(out, "%" PRId64 ":", place->column);
    if (place->path != NULL)
        add_escaped(out, "", place->path, ":");
    if (place->node_index >= 0 && (place->op != NULL || place->node != NULL))
        tm_text_add(out, "node %" PRId64 ":", place->node_index);
    if (place->op != NULL)
        add_escaped(out, "", place->op, named ? " " : ":");
    if (named)
        add_escaped(out, "'", place->node, "':");
    if (place->tensor != NULL)
        add_escaped(out, "tensor '", place->tensor, "':");
}

void tm_diagnostic_print(const tm_diagnostic *diagnostic, tm_text *out) {
    size_t start = out->size;
    add_place(out, &diagnostic->place);
    tm_text_add(out, "%serror E%04d: ", out->size > start ? " " : "", (int)diagnostic->code);
    tm_text_add_printable(out, diagnostic->message, strlen(diagnostic->message));
    tm_text_add(out, "\n");
    add_line(out, "expected", diagnostic->expected);
    add_line(out, "found   ", diagnostic->found);
    add_line(out, "hint:", diagnostic->hint);
}
