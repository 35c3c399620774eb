/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect.h: the longer parts of `tamis inspect`.
 */
#ifndef TM_TOOLS_INSPECT_H
#define TM_TOOLS_INSPECT_H

#include "tools/tool.h"

#include <elf.h>

/* inspect_weights.c: --compress: what is in the weights of a model; a page in `html` unless that is NULL. */
TM_MUST_USE tm_code tool_inspect_weights(tool *tool, const char *path, tool_compile *compile, bool json,
                                         const char *html);
/* inspect_size.c: --size: what the bytes are of an artifact, or of what a model would be compiled to. */
TM_MUST_USE tm_code tool_inspect_size(tool *tool, const char *path, tool_compile *compile, bool json);

/* inspect_symbols.c: what has a name and a size. */
typedef struct tool_part {
    const char *name;
    int64_t bytes;
} tool_part;
typedef TM_VECTOR(tool_part) tool_parts;
void tool_parts_add(tool *tool, tool_parts *to, const char *name, int64_t bytes);
/* Functions and tables that the file itself names, or that the linker's map names; it must be of the file. */
void tool_symbols_of_file(tool *tool, const char *file, size_t size, const Elf64_Ehdr *header,
                          tool_parts *to);
TM_MUST_USE tm_code tool_symbols_of_map(tool *tool, const char *path, const char *file, size_t size,
                                        const Elf64_Ehdr *header, tool_parts *to);
/* The regions among them, each with all of its functions: "3 contract MatMul /dense/MatMul". */
void tool_regions_of(tool *tool, const tool_parts *symbols, tool_parts *to);
/* Section i; a name in a table of strings, "" where there is none. */
Elf64_Shdr tool_elf_section(const char *file, const Elf64_Ehdr *header, int i);
const char *tool_elf_name(const char *file, size_t size, const Elf64_Shdr *strings, uint32_t offset);

#endif
