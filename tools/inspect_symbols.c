/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect_symbols.c: functions and tables of an artifact by name, and regions, which are functions by number.
 *
 *     tm_region_3_contract MatMul /dense/MatMul              the entry: picks the level
 *     tm_region_3_contract MatMul /dense/MatMul_v4           a body, for each level
 *     tm_region_3_contract MatMul /dense/MatMul_v4_finish    what a body calls
 *
 * Names come from the file's own table of symbols, which objects and what is compiled with -g have, or from
 * the map that the linker wrote (compile --map), so that what is shipped needs none. A line of a map:
 *
 *     VMA LMA Size Align Out     In      Symbol      numbers, then a name whose column says what it is
 *
 * Of symbols at one place, which are equal functions that the linker folded, the first has the bytes.
 */
#include "tools/inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "tm_region_"
/* Spaces before a symbol's name; 9 before a part of a section, 1 before a section. */
#define SYMBOL_COLUMN 17

void tool_parts_add(tool *tool, tool_parts *to, const char *name, int64_t bytes) {
    tm_push(&tool->arena, to, (tool_part){name, bytes});
}

static bool within(uint64_t at, uint64_t bytes, size_t size) {
    return at <= size && bytes <= size - at;
}

const char *tool_elf_name(const char *file, size_t size, const Elf64_Shdr *strings, uint32_t offset) {
    if (!within(strings->sh_offset, strings->sh_size, size) || offset >= strings->sh_size ||
        file[strings->sh_offset + strings->sh_size - 1] != 0)
        return "";
    return file + strings->sh_offset + offset;
}

Elf64_Shdr tool_elf_section(const char *file, const Elf64_Ehdr *header, int i) {
    Elf64_Shdr section;
    memcpy(&section, file + header->e_shoff + (uint64_t)i * sizeof section, sizeof section);
    return section;
}

void tool_symbols_of_file(tool *tool, const char *file, size_t size, const Elf64_Ehdr *header,
                          tool_parts *to) {
    for (int i = 1; i < header->e_shnum; i++) {
        Elf64_Shdr section = tool_elf_section(file, header, i);
        if (section.sh_type != SHT_SYMTAB || section.sh_link >= header->e_shnum ||
            !within(section.sh_offset, section.sh_size, size))
            continue;
        Elf64_Shdr strings = tool_elf_section(file, header, (int)section.sh_link);
        for (uint64_t k = 1; k < section.sh_size / sizeof(Elf64_Sym); k++) {
            Elf64_Sym symbol;
            memcpy(&symbol, file + section.sh_offset + k * sizeof symbol, sizeof symbol);
            int kind = ELF64_ST_TYPE(symbol.st_info);
            if (symbol.st_shndx != SHN_UNDEF && symbol.st_size > 0 &&
                (kind == STT_FUNC || kind == STT_OBJECT))
                tool_parts_add(tool, to, tool_elf_name(file, size, &strings, symbol.st_name),
                               (int64_t)symbol.st_size);
        }
    }
}

/* ---- maps ---- */

typedef struct map_line {
    uint64_t address, bytes;
    int spaces;
    const char *name; /* to the end of the line */
    int length;
} map_line;

/* False: it is no such line. */
static bool read_line(const char *text, int length, map_line *out) {
    uint64_t load;
    long align;
    int end = 0;
    char numbers[80] = "";
    memcpy(numbers, text, (size_t)(length < 79 ? length : 79));
    if (sscanf(numbers, "%" SCNx64 " %" SCNx64 " %" SCNx64 " %ld%n", &out->address, &load, &out->bytes,
               &align, &end) != 4)
        return false;
    out->spaces = (int)strspn(text + end, " ");
    out->name = text + end + out->spaces;
    out->length = length - end - out->spaces;
    return out->length > 0;
}

/* Is this the end of the code in the file? */
static bool ends_code(const char *file, size_t size, const Elf64_Ehdr *header, uint64_t end) {
    for (int i = 0; i < header->e_phnum; i++) {
        Elf64_Phdr segment;
        if (!within(header->e_phoff + (uint64_t)i * sizeof segment, sizeof segment, size))
            return false;
        memcpy(&segment, file + header->e_phoff + (uint64_t)i * sizeof segment, sizeof segment);
        if (segment.p_type == PT_LOAD && (segment.p_flags & PF_X) != 0)
            return segment.p_vaddr + segment.p_memsz == end;
    }
    return header->e_phnum == 0; /* an object */
}

tm_code tool_symbols_of_map(tool *tool, const char *path, const char *file, size_t size,
                            const Elf64_Ehdr *header, tool_parts *to) {
    char *text;
    size_t bytes;
    TM_TRY(tool_read_file(tool, path, &text, &bytes));
    uint64_t code_end = 0, last = UINT64_MAX;
    for (const char *line = text; line < text + bytes;) {
        int length = (int)strcspn(line, "\n");
        map_line found = {0};
        bool is_line = read_line(line, length, &found);
        if (is_line && found.spaces == SYMBOL_COLUMN && found.bytes > 0) {
            tool_parts_add(tool, to, tm_arena_format(&tool->arena, "%.*s", found.length, found.name),
                           found.address == last ? 0 : (int64_t)found.bytes);
            last = found.address;
        } else if (is_line && found.spaces == 1 &&
                   (strncmp(found.name, ".text\n", 6) == 0 || strncmp(found.name, ".plt\n", 5) == 0)) {
            code_end = found.address + found.bytes;
        }
        line += length + 1;
    }
    if (code_end == 0 || !ends_code(file, size, header, code_end))
        return tool_report(tool, TM_E_USAGE, path, "compile it again with --map",
                           "this is not the map of that artifact");
    return TM_OK;
}

/* ---- regions ---- */

typedef struct region_part {
    long number;
    tool_part part;
} region_part;

static int by_region(const void *a, const void *b) {
    const region_part *x = a, *y = b;
    size_t m = strlen(x->part.name), n = strlen(y->part.name);
    return x->number != y->number ? (x->number > y->number) - (x->number < y->number) : (m > n) - (m < n);
}

void tool_regions_of(tool *tool, const tool_parts *symbols, tool_parts *to) {
    TM_VECTOR(region_part) list = {0};
    for (size_t i = 0; i < symbols->count; i++) {
        const char *name = symbols->items[i].name, *digits = name + sizeof PREFIX - 1;
        if (strncmp(name, PREFIX, sizeof PREFIX - 1) == 0 && digits[0] >= '0' && digits[0] <= '9')
            tm_push(&tool->arena, &list, (region_part){strtol(digits, NULL, 10), symbols->items[i]});
    }
    if (list.count > 0)
        qsort(list.items, list.count, sizeof *list.items, by_region);
    for (size_t i = 0; i < list.count; i++) {
        if (i > 0 && list.items[i].number == list.items[i - 1].number) {
            to->items[to->count - 1].bytes += list.items[i].part.bytes;
            continue;
        }
        char *name =
            tm_arena_string(&tool->arena, list.items[i].part.name + sizeof PREFIX - 1); /* the entry's */
        name[strspn(name, "0123456789")] = ' ';
        tool_parts_add(tool, to, name, list.items[i].part.bytes);
    }
}
