/* SPDX-License-Identifier: Apache-2.0
 *
 * header.c: the C header that goes with an object or archive: names, sizes and the two typed functions.
 *
 *     int64_t t2_workspace_bytes(int64_t N);
 *     int32_t t2_run(void *workspace, int64_t N, const float *x, float *y);
 *
 * Coded weights are a second argument of the run, and have a function that makes them. emit_entry.c emits the
 * same functions; the order of the symbols is that of tm_plan_input_symbols. Names of the model become C
 * identifiers that are not reserved words and differ: an output may have the name of an input or of a dim.
 */
#include "codegen/codegen.h"
#include "codegen/plan.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A C identifier from a foreign name; prefix and index where that gives none or a reserved word. */
static const char *identifier(tm_arena *arena, const char *name, const char *prefix, size_t index) {
    static const char *const reserved[] = {
        "int",       "float",     "double",        "char",        "long",         "short",
        "void",      "if",        "else",          "for",         "do",           "while",
        "return",    "case",      "switch",        "default",     "auto",         "const",
        "static",    "struct",    "union",         "enum",        "register",     "signed",
        "unsigned",  "volatile",  "inline",        "restrict",    "workspace",    "weights",      "class",
        "new",       "delete",    "this",          "template",    "bool",         "break",
        "continue",  "goto",      "sizeof",        "extern",      "typedef",      "asm",
        "typeof",    "true",      "false",         "nullptr",     "private",      "public",
        "protected", "virtual",   "friend",        "namespace",   "using",        "operator",
        "try",       "catch",     "throw",         "typename",    "typeid",       "export",
        "explicit",  "mutable",   "and",           "or",          "not",          "xor",
        "bitand",    "bitor",     "compl",         "and_eq",      "or_eq",        "not_eq",
        "xor_eq",    "constexpr", "static_assert", "alignas",     "alignof",      "thread_local",
        "decltype",  "noexcept",  "const_cast",    "static_cast", "dynamic_cast", "reinterpret_cast",
        "wchar_t",   "char16_t",  "char32_t",      "int8_t",      "int16_t",      "int32_t",
        "int64_t",   "uint8_t",   "uint16_t",      "uint32_t",    "uint64_t",     "linux",
        "unix"};
    char *text = tm_arena_string(arena, name);
    bool usable = isalpha((unsigned char)text[0]) || text[0] == '_';
    for (char *c = text; *c != 0; c++)
        if (!isalnum((unsigned char)*c) && *c != '_') {
            *c = '_';
            usable = usable && strlen(text) < 64;
        }
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
        usable = usable && strcmp(text, reserved[i]) != 0;
    return usable ? text : tm_arena_format(arena, "%s%zu", prefix, index);
}

static const char *c_type(tamis_type type) {
    switch (type) {
    case TAMIS_TYPE_FLOAT:
        return "float";
    case TAMIS_TYPE_DOUBLE:
        return "double";
    case TAMIS_TYPE_INT64:
        return "int64_t";
    case TAMIS_TYPE_INT32:
        return "int32_t";
    case TAMIS_TYPE_INT16:
        return "int16_t";
    case TAMIS_TYPE_INT8:
        return "int8_t";
    case TAMIS_TYPE_UINT64:
        return "uint64_t";
    case TAMIS_TYPE_UINT32:
        return "uint32_t";
    case TAMIS_TYPE_UINT16:
    case TAMIS_TYPE_FLOAT16:
    case TAMIS_TYPE_BFLOAT16:
        return "uint16_t";
    case TAMIS_TYPE_UINT8:
    case TAMIS_TYPE_BOOL:
        return "uint8_t";
    default:
        return "void";
    }
}

static void add_port(tm_text *text, const tm_value *value, const char *role) {
    tm_text_add(text, " *   %-6s ", role);
    tm_text_add_escaped(text, value->name, strlen(value->name));
    tm_text_add(text, ": %s[", tm_type_text(value->type));
    for (int i = 0; i < value->rank; i++) {
        if (i > 0)
            tm_text_add(text, ", ");
        tm_dim_print(value->dims[i], text);
    }
    tm_text_add(text, "]\n");
}

/* A foreign name may hold the end of the comment, and so put code into the header. */
static void close_off(char *comment) {
    for (char *c = comment; *c != 0; c++)
        if ((c[0] == '*' && c[1] == '/') || (c[0] == '/' && c[1] == '*'))
            *(c[0] == '/' ? c : c + 1) = '|';
}

typedef struct names {
    tm_arena *arena;
    const char **symbol_names;
    size_t symbol_count;
    TM_VECTOR(const char *) taken;
} names;

static bool is_taken(const names *n, const char *text) {
    for (size_t i = 0; i < n->taken.count; i++)
        if (strcmp(n->taken.items[i], text) == 0)
            return true;
    return false;
}

static const char *parameter(names *n, const char *name, const char *prefix, size_t index) {
    const char *text = identifier(n->arena, name, prefix, index);
    if (is_taken(n, text))
        text = tm_arena_format(n->arena, "%s%zu", prefix, index);
    while (is_taken(n, text))
        text = tm_arena_format(n->arena, "%s_", text);
    tm_push(n->arena, &n->taken, text);
    return text;
}

static void name_symbols(names *n, const tm_plan *plan) {
    tm_symbol **symbols = tm_plan_input_symbols(plan, &n->symbol_count);
    n->symbol_names = TM_NEW_ARRAY(n->arena, const char *, n->symbol_count + 1);
    for (size_t i = 0; i < n->symbol_count; i++)
        n->symbol_names[i] = parameter(n, symbols[i]->name, "dim", i);
}

static void add_functions(tm_text *text, names *n, const tm_plan *plan, const char *name) {
    const tm_graph *graph = plan->model->main;
    tm_text_add(text,
                "/* Bytes of workspace for these dims; negative: minus the error code. */\n"
                "int64_t %s_workspace_bytes(",
                name);
    for (size_t i = 0; i < n->symbol_count; i++)
        tm_text_add(text, "%sint64_t %s", i > 0 ? ", " : "", n->symbol_names[i]);
    tm_text_add(text,
                "%s);\n\n"
                "/* Runs the model on the calling thread; 0 or an error code. "
                "The workspace is aligned to 64 bytes. */\n",
                n->symbol_count == 0 ? "void" : "");
    tm_text_add(text, "int32_t %s_run(void *workspace%s", name,
                plan->coded != NULL ? ", const void *weights" : "");
    for (size_t i = 0; i < n->symbol_count; i++)
        tm_text_add(text, ", int64_t %s", n->symbol_names[i]);
    for (size_t i = 0; i < graph->inputs.count; i++)
        tm_text_add(text, ", const %s *%s", c_type(graph->inputs.items[i]->type),
                    parameter(n, graph->inputs.items[i]->name, "input", i));
    for (size_t i = 0; i < graph->outputs.count; i++)
        tm_text_add(text, ", %s *%s", c_type(graph->outputs.items[i]->type),
                    parameter(n, graph->outputs.items[i]->name, "output", i));
    tm_text_add(text, ");\n");
    if (plan->coded != NULL)
        tm_text_add(
            text,
            "\n/* Writes the weights that %s_run reads, once for all runs, to memory aligned to 64 bytes; 0, or an "
            "error\n * code when the file is damaged. */\n#define %s_WEIGHTS_BYTES %lld\n"
            "int32_t %s_unpack(void *weights);\n",
            name, name, (long long)plan->weights_bytes, name);
}

/* Can the model be called with plain arrays? */
static bool plain(const tm_plan *plan) {
    const tm_graph *graph = plan->model->main;
    for (size_t i = 0; i < graph->inputs.count; i++)
        if (graph->inputs.items[i]->kind != TAMIS_KIND_TENSOR)
            return false;
    for (size_t i = 0; i < graph->outputs.count; i++) {
        const tm_plan_value *entry = &plan->values.items[tm_plan_frame(plan, graph->outputs.items[i])];
        if (plan->values.items[entry->root].storage != TM_STORAGE_OUTPUT)
            return false;
    }
    return true;
}

tm_code tm_write_header(const tm_plan *plan, const tm_codegen_options *options, const char *path) {
    tm_model *model = plan->model;
    const tm_graph *graph = model->main;
    names n = {.arena = model->arena};
    name_symbols(&n, plan);
    tm_text text;
    tm_text_init(&text, model->arena);
    tm_text_add(&text, "/* Made by tamis from an ONNX model: do not edit.\n *\n");
    for (size_t i = 0; i < graph->inputs.count; i++)
        add_port(&text, graph->inputs.items[i], "input");
    for (size_t i = 0; i < graph->outputs.count; i++)
        add_port(&text, graph->outputs.items[i], "output");
    close_off(text.data + 2);
    tm_text_add(&text, " */\n#ifndef TAMIS_MODEL_%s_H\n#define TAMIS_MODEL_%s_H\n\n#include <stdint.h>\n\n",
                options->name, options->name);
    tm_text_add(&text, "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
    if (plain(plan))
        add_functions(&text, &n, plan, options->name);
    else
        tm_text_add(&text, "/* Some outputs have sizes that depend on data, or are sequences: "
                           "use tamis/runtime.h. */\n");
    tm_text_add(&text,
                "\n/* The artifact, for tamis_model_create() of tamis/runtime.h. */\nstruct tamis_artifact;\n"
                "const struct tamis_artifact *tamis_artifact_%s(void);\n\n",
                options->name);
    tm_text_add(&text, "#ifdef __cplusplus\n}\n#endif\n#endif\n");
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        return tm_report(model->diagnostics, TM_E_CREATE_OUTPUT, NULL, NULL, "cannot create %s: %s", path,
                         strerror(errno));
    bool failed = fwrite(text.data, 1, text.size, file) != text.size;
    failed |= fclose(file) != 0;
    return failed ? tm_report(model->diagnostics, TM_E_IO, NULL, NULL, "writing %s failed", path) : TM_OK;
}
