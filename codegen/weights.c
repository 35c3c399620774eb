/* SPDX-License-Identifier: Apache-2.0
 *
 * weights.c: the constants as an ELF object, streamed.
 *
 * LLVM's .incbin would hold them twice in memory, and constants as IR far more. So they never pass
 * through LLVM: this file writes a relocatable object with one read-only section, straight from the mapped
 * model, each constant at the offset the plan gave it:
 *
 *     ELF header | section bytes | symbol table | strings | section headers
 */
#include "codegen/codegen.h"
#include "codegen/plan.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

typedef struct writer {
    FILE *file;
    XXH3_state_t *hash;
    int64_t at; /* in the section */
    bool failed;
} writer;

static void put(writer *w, const void *data, size_t bytes) {
    if (bytes > 0 && fwrite(data, 1, bytes, w->file) != bytes)
        w->failed = true;
}

static void put_section(writer *w, const void *data, int64_t bytes) {
    put(w, data, (size_t)bytes);
    XXH3_64bits_update(w->hash, data, (size_t)bytes);
    w->at += bytes;
}

static void pad_section(writer *w, int64_t to) {
    static const char zeros[TAMIS_ALIGNMENT];
    while (w->at < to) {
        int64_t bytes = to - w->at < (int64_t)sizeof(zeros) ? to - w->at : (int64_t)sizeof(zeros);
        put_section(w, zeros, bytes);
    }
}

/* Panels of columns, row after row; the last panel's missing columns are zero. */
static void put_packed(writer *w, const tm_constant *constant) {
    const float *data = constant->data;
    int64_t rows = constant->dims[0], columns = constant->dims[1];
    float line[TM_PANEL_COLUMNS];
    for (int64_t first = 0; first < columns; first += constant->panel) {
        int64_t width = columns - first < constant->panel ? columns - first : constant->panel;
        for (int64_t row = 0; row < rows; row++) {
            memcpy(line, data + row * columns + first, (size_t)width * sizeof(float));
            memset(line + width, 0, (size_t)(constant->panel - width) * sizeof(float));
            put_section(w, line, constant->panel * (int64_t)sizeof(float));
        }
    }
}

static void put_constants(writer *w, const tm_plan *plan) {
    for (size_t i = 0; i < plan->values.count && !w->failed; i++) {
        const tm_plan_value *entry = &plan->values.items[i];
        if (entry->storage != TM_STORAGE_CONSTANT)
            continue;
        pad_section(w, entry->argument);
        if (entry->value->constant->panel != 0)
            put_packed(w, entry->value->constant);
        else
            put_section(w, entry->value->constant->data, entry->value->constant->bytes);
    }
    pad_section(w, plan->weights_bytes);
}

static void put_tables(writer *w, const char *symbol, int64_t section_bytes) {
    static const char names[] = "\0.rodata.tamis\0.symtab\0.strtab\0.shstrtab";
    Elf64_Sym symbols[2] = {{0}};
    symbols[1] = (Elf64_Sym){.st_name = 1,
                             .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT),
                             .st_other = STV_HIDDEN,
                             .st_shndx = 1,
                             .st_size = (Elf64_Xword)section_bytes};
    size_t symbol_name = strlen(symbol) + 1;
    uint64_t at = sizeof(Elf64_Ehdr) + (uint64_t)section_bytes;
    uint64_t symbols_at = (at + 7) & ~7ull;
    put(w, "\0\0\0\0\0\0\0", symbols_at - at);
    put(w, symbols, sizeof(symbols));
    put(w, "", 1);
    put(w, symbol, symbol_name);
    put(w, names, sizeof(names));
    uint64_t strings_at = symbols_at + sizeof(symbols), names_at = strings_at + 1 + symbol_name;
    uint64_t headers_at = (names_at + sizeof(names) + 7) & ~7ull;
    put(w, "\0\0\0\0\0\0\0", headers_at - names_at - sizeof(names));
    Elf64_Shdr headers[5] = {
        {0},
        {.sh_name = 1, .sh_type = SHT_PROGBITS, .sh_flags = SHF_ALLOC, .sh_offset = sizeof(Elf64_Ehdr),
         .sh_size = (Elf64_Xword)section_bytes, .sh_addralign = TAMIS_ALIGNMENT},
        {.sh_name = 15, .sh_type = SHT_SYMTAB, .sh_offset = symbols_at, .sh_size = sizeof(symbols), .sh_link = 3,
         .sh_info = 1, .sh_addralign = 8, .sh_entsize = sizeof(Elf64_Sym)},
        {.sh_name = 23, .sh_type = SHT_STRTAB, .sh_offset = strings_at, .sh_size = 1 + symbol_name, .sh_addralign = 1},
        {.sh_name = 31, .sh_type = SHT_STRTAB, .sh_offset = names_at, .sh_size = sizeof(names), .sh_addralign = 1}};
    put(w, headers, sizeof(headers));
    /* The header's place of the section headers is known only now. */
    Elf64_Off offset = headers_at;
    if (fseek(w->file, (long)offsetof(Elf64_Ehdr, e_shoff), SEEK_SET) != 0)
        w->failed = true;
    put(w, &offset, sizeof(offset));
}

tm_code tm_write_weights(const tm_plan *plan, const tm_target *target, const char *symbol, const char *path, uint64_t *out_hash) {
    tm_diagnostics *diagnostics = plan->model->diagnostics;
    writer w = {.file = fopen(path, "wb"), .hash = XXH3_createState()};
    if (w.file == NULL || w.hash == NULL) {
        XXH3_freeState(w.hash);
        if (w.file != NULL)
            fclose(w.file);
        return tm_report(diagnostics, TM_E_CREATE_OUTPUT, NULL, NULL, "cannot create %s: %s", path, strerror(errno));
    }
    XXH3_64bits_reset(w.hash);
    Elf64_Ehdr header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                         .e_type = ET_REL,
                         .e_machine = target->elf_machine,
                         .e_version = EV_CURRENT,
                         .e_flags = target->elf_flags,
                         .e_ehsize = sizeof(Elf64_Ehdr),
                         .e_shentsize = sizeof(Elf64_Shdr),
                         .e_shnum = 5,
                         .e_shstrndx = 4};
    put(&w, &header, sizeof(header));
    put_constants(&w, plan);
    *out_hash = XXH3_64bits_digest(w.hash);
    put_tables(&w, symbol, plan->weights_bytes);
    XXH3_freeState(w.hash);
    bool failed = fclose(w.file) != 0 || w.failed;
    return failed ? tm_report(diagnostics, TM_E_IO, NULL, NULL, "writing %s failed: %s", path, strerror(errno)) : TM_OK;
}
