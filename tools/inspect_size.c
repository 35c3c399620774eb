/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect_size.c: tamis inspect --size OUT.so|OUT.o|MODEL.onnx: what the bytes of an artifact are.
 *
 *     sections   as the ELF headers name them, headers, padding; after -Os, which leaves none, segments
 *     tables     of the artifact, which lie in .rodata and .data.rel.ro; objects are not loaded for it
 *     regions    and symbols: functions and tables by name, see inspect_symbols.c
 *
 * A model is compiled into a temporary file, with a map, and that is measured. An artifact was loaded before
 * it is looked at, which checked that its headers stay within it.
 */
#include "tools/inspect.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

static int by_size(const void *a, const void *b) {
    const tool_part *x = a, *y = b;
    return x->bytes != y->bytes ? (x->bytes < y->bytes) - (x->bytes > y->bytes) : strcmp(x->name, y->name);
}

static void add_sections(tool *tool, const char *file, size_t size, const Elf64_Ehdr *header,
                         tool_parts *to) {
    Elf64_Shdr names = tool_elf_section(file, header, header->e_shstrndx);
    int64_t rest = (int64_t)size;
    for (int i = 1; i < header->e_shnum; i++) {
        Elf64_Shdr section = tool_elf_section(file, header, i);
        if (section.sh_type == SHT_NOBITS)
            continue;
        tool_parts_add(tool, to, tool_elf_name(file, size, &names, section.sh_name),
                       (int64_t)section.sh_size);
        rest -= (int64_t)section.sh_size;
    }
    int64_t headers = (int64_t)header->e_shnum * header->e_shentsize;
    int64_t starts = (int64_t)header->e_ehsize + (int64_t)header->e_phnum * header->e_phentsize;
    tool_parts_add(tool, to, "section headers", headers);
    tool_parts_add(tool, to, "ELF and program headers", starts);
    /* Large weights lie behind the file's end, in a segment whose section has no bytes. */
    for (int i = 0; i < header->e_phnum; i++) {
        Elf64_Phdr segment;
        memcpy(&segment, file + header->e_phoff + (uint64_t)i * sizeof segment, sizeof segment);
        if (segment.p_type == PT_LOAD && segment.p_offset > header->e_shoff) {
            tool_parts_add(tool, to, ".tamis.weights (behind)", (int64_t)segment.p_filesz);
            rest -= (int64_t)segment.p_filesz;
        }
    }
    tool_parts_add(tool, to, "padding", rest - headers - starts);
}

/* Of a file without section headers: a segment's bytes by what may be done with them. Those within others are
 * left out. */
static void add_segments(tool *tool, const char *file, const Elf64_Ehdr *header, int64_t size,
                         tool_parts *to) {
    int64_t rest = size;
    for (int i = 0; i < header->e_phnum; i++) {
        Elf64_Phdr segment;
        memcpy(&segment, file + header->e_phoff + (uint64_t)i * sizeof segment, sizeof segment);
        if (segment.p_type != PT_LOAD || segment.p_filesz == 0)
            continue;
        tool_parts_add(tool, to,
                       tm_arena_format(&tool->arena, "segment %d: read%s%s", i,
                                       (segment.p_flags & PF_W) != 0 ? ", write" : "",
                                       (segment.p_flags & PF_X) != 0 ? ", execute" : ""),
                       (int64_t)segment.p_filesz);
        rest -= (int64_t)segment.p_filesz;
    }
    tool_parts_add(tool, to, "padding", rest);
}

static int64_t ports_bytes(const tamis_port *ports, int32_t count) {
    int64_t bytes = 0;
    for (int32_t i = 0; i < count; i++)
        bytes += (int64_t)sizeof *ports + ports[i].rank * 16 + (int64_t)strlen(ports[i].name) + 1;
    return bytes;
}

static void add_tables(tool *tool, const tamis_artifact *a, tool_parts *to) {
    int64_t names = 0;
    for (int32_t i = 0; i < a->node_count; i++)
        names += (int64_t)strlen(a->node_names + names) + 1;
    tool_parts_add(tool, to, "values", a->value_count * (int64_t)sizeof *a->value_infos);
    tool_parts_add(tool, to, "dims", a->dims_count * 8);
    tool_parts_add(tool, to, "names of nodes", names);
    tool_parts_add(tool, to, "manifest", a->manifest != NULL ? (int64_t)strlen(a->manifest) + 1 : 0);
    tool_parts_add(tool, to, "inputs and outputs",
                   ports_bytes(a->inputs, a->input_count) + ports_bytes(a->outputs, a->output_count));
    tool_parts_add(tool, to, "weights", a->stored_bytes);
    if (a->weights_bytes != a->stored_bytes)
        tool_parts_add(tool, to, "weights when loaded, in memory", a->weights_bytes);
}

static void print(const char *title, tool_parts *list, bool sorted, int64_t total) {
    if (sorted)
        qsort(list->items, list->count, sizeof *list->items, by_size);
    printf("%s:\n", title);
    for (size_t i = 0; i < list->count; i++)
        printf("  %10lld  %5.1f %%  %s\n", (long long)list->items[i].bytes,
               total > 0 ? 100 * (double)list->items[i].bytes / (double)total : 0, list->items[i].name);
}

/* Functions of one name, which lie in several files, are one entry. */
static json_object *to_json(const tool_parts *list) {
    json_object *object = json_object_new_object(), *have;
    for (size_t i = 0; i < list->count; i++) {
        int64_t bytes = list->items[i].bytes;
        if (json_object_object_get_ex(object, list->items[i].name, &have))
            bytes += json_object_get_int64(have);
        json_object_object_add(object, list->items[i].name, json_object_new_int64(bytes));
    }
    return object;
}

typedef struct report {
    tool_parts sections, tables, regions, symbols;
} report;

static void show_json(const char *path, size_t size, const report *r) {
    json_object *root = json_object_new_object();
    json_object_object_add(root, "file", json_object_new_string(path));
    json_object_object_add(root, "bytes", json_object_new_int64((int64_t)size));
    json_object_object_add(root, "sections", to_json(&r->sections));
    json_object_object_add(root, "tables", to_json(&r->tables));
    json_object_object_add(root, "regions", to_json(&r->regions));
    json_object_object_add(root, "symbols", to_json(&r->symbols));
    puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(root);
}

static void show(const char *path, size_t size, report *r) {
    printf("file: %s\nbytes: %zu\n", path, size);
    print("sections", &r->sections, true, (int64_t)size);
    if (r->tables.count > 0)
        print("tables, in these sections", &r->tables, false, (int64_t)size);
    if (r->regions.count > 0)
        print("regions, with all their functions", &r->regions, true, (int64_t)size);
    if (r->symbols.count > 0)
        print("symbols", &r->symbols, true, (int64_t)size);
    else
        printf("symbols: none; --map=FILE reads what `tamis compile --map=FILE` wrote\n");
}

/* The file's headers: of an object only here, and of an artifact before, when it was loaded. */
static bool is_whole(const Elf64_Ehdr *header, size_t size) {
    return header->e_type == ET_REL && header->e_shentsize == sizeof(Elf64_Shdr) && header->e_shnum > 0 &&
           header->e_shstrndx < header->e_shnum && header->e_shoff <= size &&
           (uint64_t)header->e_shnum * sizeof(Elf64_Shdr) <= size - header->e_shoff;
}

/* Of an artifact that is loaded, or of an object, which is not. */
static tm_code measure(tool *tool, const char *path, const char *map, const tamis_artifact *artifact,
                       report *out, size_t *out_size) {
    char *file;
    Elf64_Ehdr header;
    TM_TRY(tool_read_file(tool, path, &file, out_size));
    if (*out_size < sizeof header)
        return tool_report(tool, TM_E_ARTIFACT, path, NULL, "this is no artifact");
    memcpy(&header, file, sizeof header);
    if (artifact == NULL && !is_whole(&header, *out_size))
        return tool_report(tool, TM_E_ARTIFACT, path, NULL, "the object is damaged");
    if (header.e_shnum > 0 && header.e_shstrndx < header.e_shnum)
        add_sections(tool, file, *out_size, &header, &out->sections);
    else
        add_segments(tool, file, &header, (int64_t)*out_size, &out->sections);
    if (artifact != NULL)
        add_tables(tool, artifact, &out->tables);
    if (map != NULL)
        TM_TRY(tool_symbols_of_map(tool, map, file, *out_size, &header, &out->symbols));
    else
        tool_symbols_of_file(tool, file, *out_size, &header, &out->symbols);
    tool_regions_of(tool, &out->symbols, &out->regions);
    return TM_OK;
}

/* What `tamis compile` would make of the model, with a map. */
static tm_code compile_for_size(tool *tool, const char *path, tool_compile *compile,
                                const char **out_artifact) {
    const char *folder, *name = strcmp(path, "-") == 0 ? "model" : tool_base_name(path);
    const char *dot = strrchr(name, '.');
    TM_TRY(tool_temporary_folder(tool, &folder));
    int length = dot != NULL && dot != name ? (int)(dot - name) : (int)strlen(name);
    *out_artifact = tm_arena_format(&tool->arena, "%s/%.*s.so", folder, length, name);
    if (compile->options.map == NULL)
        compile->options.map = tm_arena_format(&tool->arena, "%s/map", folder);
    return tool_compile_to(tool, path, *out_artifact, compile, NULL);
}

tm_code tool_inspect_size(tool *tool, const char *path, tool_compile *compile, bool json) {
    const char *artifact = path;
    tamis_model *loaded = NULL;
    tamis_error error;
    report found = {0};
    size_t size;
    if (!tool_is_artifact(path))
        TM_TRY(compile_for_size(tool, path, compile, &artifact));
    bool is_object = artifact == path && tool_ends_with(path, ".o");
    if (!is_object && tamis_model_load(artifact, &loaded, &error) != 0)
        return tool_report(tool, (tm_code)error.code, NULL, NULL, "%s", error.message);
    tm_code code = measure(tool, artifact, compile->options.map,
                           loaded != NULL ? tamis_model_artifact(loaded) : NULL, &found, &size);
    if (code == TM_OK && json)
        show_json(path, size, &found);
    else if (code == TM_OK)
        show(path, size, &found);
    tamis_model_destroy(loaded);
    return code;
}
