/* SPDX-License-Identifier: Apache-2.0
 *
 * Values outside of a model: read from and written to .pb (TensorProto, SequenceProto, OptionalProto,
 * MapProto, as the ONNX backend tests store them), .npy and .npz, described and printed.
 *
 *     folder    input_0.pb input_1.pb ...       by position
 *     folder    x.npy mask.npy                  by the port's name
 *     a.npz     x mask                          by the port's name
 */
#include "tools/tool.h"

#include <string.h>

tool_value tool_value_of(const tm_constant *constant) {
    return (tool_value){.kind = TAMIS_KIND_TENSOR, .type = constant->type, .tensor = constant};
}

bool tool_value_fit(tool *tool, const tool_port *port, tool_value *value) {
    if (port->form.kind == TAMIS_KIND_TENSOR)
        return true;
    if (port->form.kind == TAMIS_KIND_MAP || port->form.item != TAMIS_KIND_TENSOR)
        return false;
    tool_value *items = tm_arena_copy(&tool->arena, value, sizeof *value);
    *value = port->form;
    value->type = items[0].type;
    value->count = 1;
    value->items = items;
    return true;
}

bool tool_value_absent(const tool_port *port, tool_value *out_value) {
    *out_value = port->form;
    return port->form.kind == TAMIS_KIND_OPTIONAL;
}

static tm_code parse_value(tool *tool, const char *path, const tool_port *port, const char *data,
                           size_t bytes, tool_value *out) {
    const tm_constant *constant = NULL;
    if (!tool_ends_with(path, ".npy"))
        return tm_import_datum(&tool->arena, &tool->diagnostics, path, &port->form, data, bytes, out);
    TM_TRY(tool_npy_parse(tool, path, port->form.type, data, bytes, &constant));
    *out = tool_value_of(constant);
    if (!tool_value_fit(tool, port, out))
        return tool_report(tool, TM_E_BAD_DATA, path, "give it as a .pb file", "'%s' is not one tensor",
                           port->name);
    return TM_OK;
}

tm_code tool_value_read(tool *tool, const char *path, const tool_port *port, tool_value *out_value) {
    char *data;
    size_t bytes;
    TM_TRY(tool_read_file(tool, path, &data, &bytes));
    return parse_value(tool, path, port, data, bytes, out_value);
}

static tm_code print_value(tool *tool, const char *path, const char *name, const tool_value *value,
                           tm_text *out) {
    if (tool_ends_with(path, ".npy")) {
        while (value->kind != TAMIS_KIND_TENSOR && value->kind != TAMIS_KIND_MAP && value->count == 1)
            value = &value->items[0];
        if (value->kind != TAMIS_KIND_TENSOR)
            return tool_report(tool, TM_E_USAGE, path, "write it to a .pb file", "'%s' is not one tensor",
                               name);
        tool_npy_print(tool, value->tensor, out);
        return TM_OK;
    }
    void *data = NULL;
    size_t bytes = 0;
    tm_export_datum(&tool->arena, name, value, &data, &bytes);
    tm_text_add_bytes(out, data, bytes);
    return TM_OK;
}

tm_code tool_value_write(tool *tool, const char *path, const char *name, const tool_value *value) {
    tm_text text;
    tm_text_init(&text, &tool->arena);
    TM_TRY(print_value(tool, path, name, value, &text));
    return tool_write_file(tool, path, tm_text_get(&text), text.size);
}

static tm_code read_npz(tool *tool, const char *path, const tool_port *ports, int count,
                        tool_value *out_values, bool *out_have) {
    char *data;
    size_t bytes, entry_count = 0;
    tool_zip_entry *entries = NULL;
    TM_TRY(tool_read_file(tool, path, &data, &bytes));
    TM_TRY(tool_zip_parse(tool, path, data, bytes, &entries, &entry_count));
    for (int i = 0; i < count; i++) {
        const char *wanted = tm_arena_format(&tool->arena, "%s.npy", ports[i].name);
        for (size_t k = 0; k < entry_count; k++) {
            if (strcmp(entries[k].name, wanted) != 0)
                continue;
            const char *place = tm_arena_format(&tool->arena, "%s:%s", path, wanted);
            TM_TRY(tool_zip_unpack(tool, path, &entries[k]));
            TM_TRY(parse_value(tool, place, &ports[i], entries[k].data, entries[k].bytes, &out_values[i]));
            out_have[i] = true;
            break;
        }
    }
    return TM_OK;
}

tm_code tool_values_read(tool *tool, const char *path, const char *prefix, const tool_port *ports, int count,
                         tool_value *out_values, bool *out_have) {
    for (int i = 0; i < count; i++)
        out_have[i] = false;
    if (!tool_is_folder(path))
        return read_npz(tool, path, ports, count, out_values, out_have);
    for (int i = 0; i < count; i++) {
        const char *candidates[] = {tm_arena_format(&tool->arena, "%s/%s_%d.pb", path, prefix, i),
                                    tm_arena_format(&tool->arena, "%s/%s.npy", path, ports[i].name),
                                    tm_arena_format(&tool->arena, "%s/%s.pb", path, ports[i].name)};
        for (size_t k = 0; k < sizeof candidates / sizeof *candidates && !out_have[i]; k++) {
            if (!tool_exists(candidates[k]))
                continue;
            TM_TRY(tool_value_read(tool, candidates[k], &ports[i], &out_values[i]));
            out_have[i] = true;
        }
    }
    return TM_OK;
}

tm_code tool_values_write(tool *tool, const char *path, const char *prefix, const tool_port *ports, int count,
                          const tool_value *values) {
    if (!tool_ends_with(path, ".npz")) {
        TM_TRY(tool_make_folder(tool, path));
        for (int i = 0; i < count; i++)
            TM_TRY(tool_value_write(tool, tm_arena_format(&tool->arena, "%s/%s_%d.pb", path, prefix, i),
                                    ports[i].name, &values[i]));
        return TM_OK;
    }
    tool_zip_entry *entries = TM_NEW_ARRAY(&tool->arena, tool_zip_entry, count > 0 ? count : 1);
    for (int i = 0; i < count; i++) {
        tm_text text;
        tm_text_init(&text, &tool->arena);
        entries[i].name = tm_arena_format(&tool->arena, "%s.npy", ports[i].name);
        TM_TRY(print_value(tool, entries[i].name, ports[i].name, &values[i], &text));
        entries[i].data = tm_text_get(&text);
        entries[i].bytes = text.size;
    }
    tm_text archive;
    tm_text_init(&archive, &tool->arena);
    TM_TRY(tool_zip_print(tool, path, entries, (size_t)count, &archive));
    return tool_write_file(tool, path, tm_text_get(&archive), archive.size);
}

static void describe_tensor(const tm_constant *constant, tm_text *out) {
    tm_text_add(out, "%s[", tm_type_text(constant->type));
    for (int i = 0; i < constant->rank; i++)
        tm_text_add(out, i > 0 ? ", %lld" : "%lld", (long long)constant->dims[i]);
    tm_text_add(out, "]");
}

void tool_value_describe(const tool_value *value, tm_text *out) {
    if (value->kind == TAMIS_KIND_TENSOR) {
        describe_tensor(value->tensor, out);
        return;
    }
    if (value->kind == TAMIS_KIND_MAP) {
        tm_text_add(out, "map of %lld: %s to %s",
                    value->count > 1 ? (long long)value->items[0].tensor->dims[0] : 0,
                    tm_type_text(value->key), tm_type_text(value->type));
        return;
    }
    tm_text_add(out, "%s of %lld", value->kind == TAMIS_KIND_SEQUENCE ? "sequence" : "optional",
                (long long)value->count);
    for (int64_t i = 0; i < value->count && i < 4; i++) {
        tm_text_add(out, i > 0 ? ", " : ": ");
        tool_value_describe(&value->items[i], out);
    }
    if (value->count > 4)
        tm_text_add(out, ", ...");
}

static void print_element(const tm_constant *constant, int64_t i, tm_text *out) {
    double number = 0;
    int64_t integer = 0;
    if (constant->type == TAMIS_TYPE_STRING) {
        const tamis_string *string = (const tamis_string *)constant->data + i;
        tm_text_add(out, "\"");
        tm_text_add_escaped(out, string->data, (size_t)string->size);
        tm_text_add(out, "\"");
    } else if (constant->type == TAMIS_TYPE_COMPLEX64) {
        const float *pair = (const float *)constant->data + 2 * i;
        tm_text_add(out, "%.9g%+.9gj", (double)pair[0], (double)pair[1]);
    } else if (constant->type == TAMIS_TYPE_COMPLEX128) {
        const double *pair = (const double *)constant->data + 2 * i;
        tm_text_add(out, "%.17g%+.17gj", pair[0], pair[1]);
    } else if (tm_constant_int(constant, i, &integer)) {
        if (constant->type == TAMIS_TYPE_BOOL)
            tm_text_add(out, integer != 0 ? "true" : "false");
        else if (constant->type == TAMIS_TYPE_UINT64)
            tm_text_add(out, "%llu", (unsigned long long)integer);
        else
            tm_text_add(out, "%lld", (long long)integer);
    } else if (tm_constant_double(constant, i, &number)) {
        tm_text_add(out, constant->type == TAMIS_TYPE_DOUBLE ? "%.17g" : "%.9g", number);
    }
}

static void print_tensor(const tm_constant *tensor, int64_t limit, tm_text *out) {
    int64_t count = tm_constant_count(tensor);
    for (int64_t i = 0; i < count && i < limit; i++) {
        tm_text_add(out, " ");
        print_element(tensor, i, out);
    }
    tm_text_add(out, count > limit ? " ... (%lld elements)\n" : "\n", (long long)count);
}

/* "  item 0 keys: 1 2 3": where the tensor stands, then its elements. */
static void print_items(const tool_value *value, const char *place, int64_t limit, tm_text *out) {
    static const char *const parts[] = {"keys", "values"};
    if (value->kind == TAMIS_KIND_TENSOR) {
        tm_text_add(out, " %s:", place);
        print_tensor(value->tensor, limit, out);
        return;
    }
    for (int64_t i = 0; i < value->count; i++) {
        char inner[64];
        if (value->kind == TAMIS_KIND_MAP && i < 2)
            snprintf(inner, sizeof inner, "%s %s", place, parts[i]);
        else
            snprintf(inner, sizeof inner, "%s item %lld", place, (long long)i);
        print_items(&value->items[i], inner, limit, out);
    }
}

void tool_value_print(const tool_value *value, int64_t limit, tm_text *out) {
    if (value->kind == TAMIS_KIND_TENSOR) {
        tm_text_add(out, " ");
        print_tensor(value->tensor, limit, out);
    } else {
        print_items(value, "", limit, out);
    }
}
