/* SPDX-License-Identifier: Apache-2.0
 *
 * strip.c: a linked shared object without its section headers (-Os).
 *
 * A loader goes by the program headers; sections are for linkers and for looking at the file. They, their
 * names and the linker's comment stand behind all segments, so the file is cut there:
 *
 *     ELF header | program headers | segments | .comment | names | section headers     1 KB of a small
 * artifact ^ cut
 */
#include "codegen/codegen.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The end of the last segment's bytes; -1: this is not what the linker writes. */
static long end_of_segments(FILE *file, const Elf64_Ehdr *header) {
    uint64_t end = 0;
    if (header->e_phentsize != sizeof(Elf64_Phdr) || fseek(file, (long)header->e_phoff, SEEK_SET) != 0)
        return -1;
    for (int i = 0; i < header->e_phnum; i++) {
        Elf64_Phdr segment;
        if (fread(&segment, sizeof segment, 1, file) != 1)
            return -1;
        uint64_t last = segment.p_filesz > 0 ? segment.p_offset + segment.p_filesz : 0;
        end = last > end ? last : end;
    }
    return (long)end;
}

static bool strip(FILE *file) {
    Elf64_Ehdr header;
    if (fread(&header, sizeof header, 1, file) != 1)
        return false;
    long end = end_of_segments(file, &header);
    header.e_shoff = 0;
    header.e_shnum = header.e_shstrndx = 0;
    return end > 0 && fseek(file, 0, SEEK_SET) == 0 && fwrite(&header, sizeof header, 1, file) == 1 &&
           fflush(file) == 0 && ftruncate(fileno(file), end) == 0;
}

tm_code tm_strip_headers(tm_model *model, const char *path) {
    FILE *file = fopen(path, "r+b");
    bool failed = file == NULL || !strip(file);
    int reason = errno;
    if (file != NULL)
        failed |= fclose(file) != 0;
    return failed ? tm_report(model->diagnostics, TM_E_IO, NULL, NULL,
                              "cutting section headers off %s failed: %s", path, strerror(reason))
                  : TM_OK;
}
