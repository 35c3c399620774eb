/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect_size.c: tamis inspect --size OUT.so: what the bytes of an artifact are.
 *
 *     sections     as the ELF headers name them, with headers and padding between them as rests; after -Os,
 * which leaves none, segments tables       of the artifact, which lie in .rodata and .data.rel.ro symbols
 * functions and tables by name, the largest first: of an artifact compiled with -g
 *
 * The file was loaded before, which checked that its headers stay within it.
 */
#include "tools/inspect.h"

#include <elf.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

typedef struct part {
    const char *name;
    int64_t bytes;
} part;
typedef TM_VECTOR(part) parts;

static int by_size(const void *a, const void *b) {
    const part *x = a, *y = b;
    return x->bytes != y->bytes ? (x->bytes < y->bytes) - (x->bytes > y->bytes) : strcmp(x->name, y->name);
}

static void add(tool *tool, parts *to, const char *name, int64_t bytes) {
    tm_push(&tool->arena, to, (part){name, bytes});
}

static bool within(int64_t at, int64_t bytes, size_t size) {
    return at >= 0 && bytes >= 0 && at <= (int64_t)size && bytes <= (int64_t)size - at;
}

/* A name in a table of strings of the file; "" where there is none. */
static const char *name_at(const char *file, size_t size, const Elf64_Shdr *strings, uint32_t offset) {
    if (!within((int64_t)strings->sh_offset, (int64_t)strings->sh_size, size) || offset >= strings->sh_size ||
        file[strings->sh_offset + strings->sh_size - 1] != 0)
        return "";
    return file + strings->sh_offset + offset;
}

static Elf64_Shdr header_at(const char *file, const Elf64_Ehdr *header, int i) {
    Elf64_Shdr section;
    memcpy(&section, file + header->e_shoff + (uint64_t)i * sizeof section, sizeof section);
    return section;
}

static void add_sections(tool *tool, const char *file, size_t size, const Elf64_Ehdr *header, parts *to) {
    Elf64_Shdr names = header_at(file, header, header->e_shstrndx);
    int64_t rest = (int64_t)size;
    for (int i = 1; i < header->e_shnum; i++) {
        Elf64_Shdr section = header_at(file, header, i);
        if (section.sh_type == SHT_NOBITS)
            continue;
        add(tool, to, name_at(file, size, &names, section.sh_name), (int64_t)section.sh_size);
        rest -= (int64_t)section.sh_size;
    }
    int64_t headers = (int64_t)header->e_shnum * header->e_shentsize;
    int64_t starts = (int64_t)header->e_ehsize + (int64_t)header->e_phnum * header->e_phentsize;
    add(tool, to, "section headers", headers);
    add(tool, to, "ELF and program headers", starts);
    /* Large weights lie behind the file's end, in a segment whose section has no bytes. */
    for (int i = 0; i < header->e_phnum; i++) {
        Elf64_Phdr segment;
        memcpy(&segment, file + header->e_phoff + (uint64_t)i * sizeof segment, sizeof segment);
        if (segment.p_type == PT_LOAD && segment.p_offset > header->e_shoff) {
            add(tool, to, ".tamis.weights (behind)", (int64_t)segment.p_filesz);
            rest -= (int64_t)segment.p_filesz;
        }
    }
    add(tool, to, "padding", rest - headers - starts);
}

/* Of a file without section headers: a segment's bytes by what may be done with them. Those within others are
 * left out. */
static void add_segments(tool *tool, const char *file, const Elf64_Ehdr *header, int64_t size, parts *to) {
    int64_t rest = size;
    for (int i = 0; i < header->e_phnum; i++) {
        Elf64_Phdr segment;
        memcpy(&segment, file + header->e_phoff + (uint64_t)i * sizeof segment, sizeof segment);
        if (segment.p_type != PT_LOAD || segment.p_filesz == 0)
            continue;
        add(tool, to,
            tm_arena_format(&tool->arena, "segment %d: read%s%s", i,
                            (segment.p_flags & PF_W) != 0 ? ", write" : "",
                            (segment.p_flags & PF_X) != 0 ? ", execute" : ""),
            (int64_t)segment.p_filesz);
        rest -= (int64_t)segment.p_filesz;
    }
    add(tool, to, "padding", rest);
}

static void add_symbols(tool *tool, const char *file, size_t size, const Elf64_Ehdr *header, parts *to) {
    for (int i = 1; i < header->e_shnum; i++) {
        Elf64_Shdr section = header_at(file, header, i);
        if (section.sh_type != SHT_SYMTAB || section.sh_link >= header->e_shnum ||
            !within((int64_t)section.sh_offset, (int64_t)section.sh_size, size))
            continue;
        Elf64_Shdr strings = header_at(file, header, (int)section.sh_link);
        for (uint64_t k = 1; k < section.sh_size / sizeof(Elf64_Sym); k++) {
            Elf64_Sym symbol;
            memcpy(&symbol, file + section.sh_offset + k * sizeof symbol, sizeof symbol);
            int kind = ELF64_ST_TYPE(symbol.st_info);
            if (symbol.st_shndx != SHN_UNDEF && symbol.st_size > 0 &&
                (kind == STT_FUNC || kind == STT_OBJECT))
                add(tool, to, name_at(file, size, &strings, symbol.st_name), (int64_t)symbol.st_size);
        }
    }
}

static int64_t ports_bytes(const tamis_port *ports, int32_t count) {
    int64_t bytes = 0;
    for (int32_t i = 0; i < count; i++)
        bytes += (int64_t)sizeof *ports + ports[i].rank * 16 + (int64_t)strlen(ports[i].name) + 1;
    return bytes;
}

static void add_tables(tool *tool, const tamis_artifact *a, parts *to) {
    int64_t names = 0;
    for (int32_t i = 0; i < a->node_count; i++)
        names += (int64_t)strlen(a->node_names + names) + 1;
    add(tool, to, "values", a->value_count * (int64_t)sizeof *a->value_infos);
    add(tool, to, "dims", a->dims_count * 8);
    add(tool, to, "names of nodes", names);
    add(tool, to, "manifest", a->manifest != NULL ? (int64_t)strlen(a->manifest) + 1 : 0);
    add(tool, to, "inputs and outputs",
        ports_bytes(a->inputs, a->input_count) + ports_bytes(a->outputs, a->output_count));
    add(tool, to, "weights", a->stored_bytes);
    add(tool, to, "weights when loaded", a->weights_bytes);
}

static void print(const char *title, parts *list, bool sorted, int64_t total) {
    if (sorted)
        qsort(list->items, list->count, sizeof *list->items, by_size);
    printf("%s:\n", title);
    for (size_t i = 0; i < list->count; i++)
        printf("  %10lld  %5.1f %%  %s\n", (long long)list->items[i].bytes,
               total > 0 ? 100 * (double)list->items[i].bytes / (double)total : 0, list->items[i].name);
}

static json_object *to_json(const parts *list) {
    json_object *object = json_object_new_object();
    for (size_t i = 0; i < list->count; i++)
        json_object_object_add(object, list->items[i].name, json_object_new_int64(list->items[i].bytes));
    return object;
}

static void show(const char *path, size_t size, parts *sections, parts *tables, parts *symbols, bool json) {
    if (json) {
        json_object *root = json_object_new_object();
        json_object_object_add(root, "file", json_object_new_string(path));
        json_object_object_add(root, "bytes", json_object_new_int64((int64_t)size));
        json_object_object_add(root, "sections", to_json(sections));
        json_object_object_add(root, "tables", to_json(tables));
        json_object_object_add(root, "symbols", to_json(symbols));
        puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
        json_object_put(root);
        return;
    }
    printf("file: %s\nbytes: %zu\n", path, size);
    print("sections", sections, true, (int64_t)size);
    print("tables, in these sections", tables, false, (int64_t)size);
    if (symbols->count > 0)
        print("symbols", symbols, true, (int64_t)size);
    else
        printf("symbols: none; compile with -g to see functions by name\n");
}

tm_code tool_inspect_size(tool *tool, const char *path, bool json) {
    tamis_model *loaded;
    tamis_error error;
    char *file;
    size_t size;
    parts sections = {0}, tables = {0}, symbols = {0};
    if (tamis_model_load(path, &loaded, &error) != 0)
        return tool_report(tool, (tm_code)error.code, NULL, NULL, "%s", error.message);
    tm_code code = tool_read_file(tool, path, &file, &size);
    if (code == TM_OK) {
        Elf64_Ehdr header;
        memcpy(&header, file, sizeof header);
        if (header.e_shnum > 0 && header.e_shstrndx < header.e_shnum)
            add_sections(tool, file, size, &header, &sections);
        else
            add_segments(tool, file, &header, (int64_t)size, &sections);
        add_tables(tool, tamis_model_artifact(loaded), &tables);
        add_symbols(tool, file, size, &header, &symbols);
        show(path, size, &sections, &tables, &symbols, json);
    }
    tamis_model_destroy(loaded);
    return code;
}
