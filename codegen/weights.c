/* SPDX-License-Identifier: Apache-2.0
 *
 * weights.c: the constants, streamed from the mapped model into the artifact.
 *
 * LLVM's .incbin would hold them twice in memory, and constants as IR far more; and a linker maps what it
 * reads and what it writes. So they pass through neither. For an object or archive, this file writes a
 * relocatable object with one read-only section:
 *
 *     ELF header | section bytes | symbol table | strings | section headers
 *
 * For a shared object with large weights the section is hollow (SHT_NOBITS): the linker gives it addresses,
 * in a segment of its own without bytes in the file; afterwards the bytes are streamed to the file's end and
 * the segment is pointed there. Each constant stands at the offset the plan gave it.
 *
 * Weights of some MiB are read once in each run, and each page of theirs has to be looked up in the tables of
 * pages then, which takes twice as long in a virtual machine. So their segment is aligned for large pages,
 * and the file is written in pieces that are such pages: Linux keeps a piece as one page, and maps it as one,
 * where the file system can. Elsewhere it is the same file.
 *
 * What was read of the model's file goes back to the system on the way (base/mapping.h).
 */
#include "codegen/codegen.h"
#include "codegen/plan.h"
#include "codegen/store.h"
#include "ir/bits.h"
#include "ir/sparse.h"
#include "ir/tiles.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#define SECTION ".tamis.weights"
#define PIECE ((int64_t)1 << 20)
#define LARGE_PAGE ((int64_t)2 << 20)

typedef struct writer {
    FILE *file;      /* NULL: only the hash is wanted, or */
    uint8_t *memory; /* the bytes, here */
    XXH3_state_t *hash;
    tm_mappings *mappings; /* or NULL */
    int64_t at;            /* in the section */
    int64_t place;         /* of the section in a file that is written by large pages; 0: not so */
    bool failed;
} writer;

static void put(writer *w, const void *data, size_t bytes) {
    if (bytes > 0 && fwrite(data, 1, bytes, w->file) != bytes)
        w->failed = true;
}

/* Each large page of the file is written at once: the file's buffer has room for it. */
static void put_pages(writer *w, const char *data, int64_t bytes) {
    int64_t at = w->place + w->at;
    while (bytes > 0) {
        int64_t left = LARGE_PAGE - at % LARGE_PAGE, part = bytes < left ? bytes : left;
        put(w, data, (size_t)part);
        if (part == left && fflush(w->file) != 0)
            w->failed = true;
        data += part;
        at += part;
        bytes -= part;
    }
}

static void put_section(writer *w, const void *data, int64_t bytes) {
    if (w->memory != NULL) {
        memcpy(w->memory + w->at, data, (size_t)bytes);
    } else {
        if (w->place > 0)
            put_pages(w, data, bytes);
        else if (w->file != NULL)
            put(w, data, (size_t)bytes);
        XXH3_64bits_update(w->hash, data, (size_t)bytes);
    }
    w->at += bytes;
}

static void pad_section(writer *w, int64_t to) {
    static const char zeros[TAMIS_ALIGNMENT];
    while (w->at < to) {
        int64_t bytes = to - w->at < (int64_t)sizeof(zeros) ? to - w->at : (int64_t)sizeof(zeros);
        put_section(w, zeros, bytes);
    }
}

/* To nearest, ties to even; NaN stays NaN. */
static uint16_t round_to_bf16(uint32_t bits) {
    bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
    return (uint16_t)(is_nan ? bits >> 16 | 0x40u : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static uint16_t bf16_element(const tm_constant *constant, int64_t i) {
    if (constant->type == TAMIS_TYPE_BFLOAT16)
        return ((const uint16_t *)constant->data)[i];
    uint32_t bits;
    memcpy(&bits, (const char *)constant->data + 4 * i, 4);
    return round_to_bf16(bits);
}

/* The element as it is stored: bfloat16 rounded, bytes signed. */
static void put_element(const tm_constant *constant, int64_t i, uint8_t *to) {
    if (constant->stored == TAMIS_TYPE_INT8) {
        *to = ((const uint8_t *)constant->data)[i] ^ (constant->type == TAMIS_TYPE_UINT8 ? 0x80 : 0);
        return;
    }
    uint16_t narrow = bf16_element(constant, i);
    memcpy(to, &narrow, sizeof(narrow));
}

/* Panels of columns as tiles, see ir/tiles.h; what the matrix does not have is zero. */
static void put_tiles(writer *w, const tm_constant *constant) {
    int64_t rows = constant->dims[0], columns = constant->dims[1], depth = tm_tile_depth(constant->stored);
    int64_t bytes = TM_TILE_BYTES / depth, group = 4 / bytes;
    uint8_t step[2 * TM_TILE_TOTAL];
    for (int64_t first = 0; first < columns; first += TM_TILE_PANEL)
        for (int64_t row = 0; row < rows; row += depth) {
            memset(step, 0, sizeof(step));
            for (int64_t k = 0; k < depth && row + k < rows; k++)
                for (int64_t c = 0; c < TM_TILE_PANEL && first + c < columns; c++)
                    put_element(constant, (row + k) * columns + first + c,
                                step + c / TM_TILE_ROWS * TM_TILE_TOTAL + k / group * TM_TILE_BYTES +
                                    c % TM_TILE_ROWS * 4 + k % group * bytes);
            put_section(w, step, sizeof(step));
        }
}

/* `width` neighbours of row `row`, from column `first` of a group on. */
static void gather_line(const tm_constant *constant, tm_panels panels, int64_t group, int64_t first,
                        int64_t row, int64_t width, float *line) {
    const float *data = constant->data;
    if (constant->rank == 2) {
        memcpy(line, data + row * panels.columns + first, (size_t)width * sizeof(float));
        return;
    }
    int64_t channels = constant->dims[1], taps = channels > 0 ? panels.rows / channels : 0;
    if (constant->panel_channels_last)
        row = row % channels * taps + row / channels;
    data += (group * panels.columns + first) * panels.rows + row;
    for (int64_t i = 0; i < width; i++)
        line[i] = data[i * panels.rows];
}

/* Panels of columns, row after row; missing columns of a group's last panel are zero. */
static void put_packed(writer *w, const tm_constant *constant) {
    tm_panels panels = tm_constant_panels(constant);
    float line[TM_PANEL_COLUMNS];
    for (int64_t group = 0; group < panels.groups; group++)
        for (int64_t first = 0; first < panels.columns; first += constant->panel) {
            int64_t width = panels.columns - first;
            width = width < constant->panel ? width : constant->panel;
            memset(line + width, 0, (size_t)(constant->panel - width) * sizeof(float));
            for (int64_t row = 0; row < panels.rows; row++) {
                gather_line(constant, panels, group, first, row, width, line);
                put_section(w, line, constant->panel * (int64_t)sizeof(float));
            }
        }
}

/* Weights of few bits with their scales, see ir/bits.h. */
static void put_bits(writer *w, const tm_constant *constant) {
    tm_bits_form form = tm_bits_form_of(constant);
    uint8_t step[TM_BITS_MOST_BYTES];
    for (int64_t panel = 0; panel < form.panels; panel++)
        for (int64_t i = 0; i < form.steps; i++)
            put_section(w, step, tm_bits_pack(constant, &form, panel, i, step));
}

static void note_read(const writer *w, int64_t bytes) {
    if (w->mappings != NULL)
        tm_mappings_note_read(w->mappings, (size_t)bytes);
}

/* Elements as they are, of which there may be as many as in most of the model. */
static void put_in_pieces(writer *w, const char *data, int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += PIECE) {
        int64_t size = bytes - at < PIECE ? bytes - at : PIECE;
        put_section(w, data + at, size);
        note_read(w, size);
    }
}

static void put_constant(writer *w, const tm_constant *constant) {
    if (constant->bits != NULL)
        put_bits(w, constant);
    else if (constant->sparse != NULL)
        put_section(w, constant->sparse->data, constant->sparse->bytes);
    else if (tm_type_is_tiled(constant->stored))
        put_tiles(w, constant);
    else if (constant->panel != 0)
        put_packed(w, constant);
    else
        put_in_pieces(w, constant->data, constant->bytes);
}

void tm_lay_out_constant(const tm_constant *constant, uint8_t *to) {
    writer w = {.memory = to};
    put_constant(&w, constant);
}

static void put_pieces(writer *w, const tm_pieces *pieces) {
    for (size_t i = 0; i < pieces->list.count; i++) {
        size_t bytes;
        const uint8_t *data = tm_pieces_get(pieces, i, &bytes);
        put_section(w, data, (int64_t)bytes);
    }
}

static void put_constants(writer *w, const tm_plan *plan) {
    if (plan->shared != NULL)
        return;
    if (plan->coded != NULL) {
        put_section(w, &plan->coded->header, sizeof plan->coded->header);
        put_pieces(w, &plan->coded->raw);
        put_pieces(w, &plan->coded->stream);
        return;
    }
    for (size_t i = 0; i < plan->values.count && !w->failed; i++) {
        const tm_plan_value *entry = &plan->values.items[i];
        if (entry->storage != TM_STORAGE_CONSTANT || entry->shares)
            continue;
        pad_section(w, entry->argument);
        put_constant(w, entry->constant);
        if (entry->constant->panel != 0 || entry->constant->bits != NULL)
            note_read(w, entry->constant->bytes);
    }
    pad_section(w, plan->weights_bytes);
}

static void put_tables(writer *w, const char *symbol, int64_t section_bytes, bool hollow) {
    static const char names[] = "\0" SECTION "\0.symtab\0.strtab\0.shstrtab";
    Elf64_Sym symbols[2] = {{0}};
    symbols[1] = (Elf64_Sym){.st_name = 1,
                             .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT),
                             .st_other = STV_HIDDEN,
                             .st_shndx = 1,
                             .st_size = (Elf64_Xword)section_bytes};
    size_t symbol_name = strlen(symbol) + 1;
    uint64_t at = sizeof(Elf64_Ehdr) + (hollow ? 0 : (uint64_t)section_bytes);
    uint64_t symbols_at = (at + 7) & ~7ull;
    put(w, "\0\0\0\0\0\0\0", symbols_at - at);
    put(w, symbols, sizeof(symbols));
    put(w, "", 1);
    put(w, symbol, symbol_name);
    put(w, names, sizeof(names));
    uint64_t strings_at = symbols_at + sizeof(symbols), names_at = strings_at + 1 + symbol_name;
    uint64_t headers_at = (names_at + sizeof(names) + 7) & ~7ull;
    put(w, "\0\0\0\0\0\0\0", headers_at - names_at - sizeof(names));
    Elf64_Shdr headers[5] = {{0},
                             {.sh_name = 1,
                              .sh_type = hollow ? SHT_NOBITS : SHT_PROGBITS,
                              .sh_flags = SHF_ALLOC,
                              .sh_offset = sizeof(Elf64_Ehdr),
                              .sh_size = (Elf64_Xword)section_bytes,
                              .sh_addralign = TAMIS_ALIGNMENT},
                             {.sh_name = 16,
                              .sh_type = SHT_SYMTAB,
                              .sh_offset = symbols_at,
                              .sh_size = sizeof(symbols),
                              .sh_link = 3,
                              .sh_info = 1,
                              .sh_addralign = 8,
                              .sh_entsize = sizeof(Elf64_Sym)},
                             {.sh_name = 24,
                              .sh_type = SHT_STRTAB,
                              .sh_offset = strings_at,
                              .sh_size = 1 + symbol_name,
                              .sh_addralign = 1},
                             {.sh_name = 32,
                              .sh_type = SHT_STRTAB,
                              .sh_offset = names_at,
                              .sh_size = sizeof(names),
                              .sh_addralign = 1}};
    put(w, headers, sizeof(headers));
    /* The header's place of the section headers is known only now. */
    Elf64_Off offset = headers_at;
    if (fseek(w->file, (long)offsetof(Elf64_Ehdr, e_shoff), SEEK_SET) != 0)
        w->failed = true;
    put(w, &offset, sizeof(offset));
}

static tm_code cannot(const tm_plan *plan, tm_code code, const char *what, const char *path) {
    return tm_report(plan->model->diagnostics, code, NULL, NULL, "%s %s failed: %s", what, path,
                     strerror(errno));
}

/* Streams all constants through the writer; the hash of the section, or an error. */
static tm_code stream(const tm_plan *plan, writer *w, const char *path, uint64_t *out_hash) {
    w->hash = XXH3_createState();
    if (w->hash == NULL)
        return cannot(plan, TM_E_OUT_OF_MEMORY, "hashing the weights for", path);
    XXH3_64bits_reset(w->hash);
    w->mappings = plan->model->mappings;
    put_constants(w, plan);
    if (out_hash != NULL)
        *out_hash = XXH3_64bits_digest(w->hash);
    XXH3_freeState(w->hash);
    return w->failed ? cannot(plan, TM_E_IO, "writing", path) : TM_OK;
}

tm_code tm_write_weights(const tm_plan *plan, const tm_target *target, const char *symbol, bool hollow,
                         const char *path, uint64_t *out_hash) {
    writer hasher = {0};
    if (hollow)
        TM_TRY(stream(plan, &hasher, path, out_hash));
    writer w = {.file = fopen(path, "wb")};
    if (w.file == NULL)
        return cannot(plan, TM_E_CREATE_OUTPUT, "creating", path);
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
    tm_code code = hollow ? TM_OK : stream(plan, &w, path, out_hash);
    put_tables(&w, symbol, tm_plan_stored_bytes(plan), hollow);
    bool failed = fclose(w.file) != 0 || w.failed;
    return code == TM_OK && failed ? cannot(plan, TM_E_IO, "writing", path) : code;
}

/* Finds the segment that holds the hollow section alone, and gives it a place at the end of the file. */
static bool make_room(FILE *file, int64_t bytes, int64_t *out_offset) {
    Elf64_Ehdr header;
    Elf64_Phdr segment;
    if (fread(&header, sizeof(header), 1, file) != 1 || fseek(file, 0, SEEK_END) != 0)
        return false;
    int64_t end = ftell(file);
    for (int i = 0; i < header.e_phnum; i++) {
        long at = (long)(header.e_phoff + (uint64_t)i * sizeof(segment));
        if (fseek(file, at, SEEK_SET) != 0 || fread(&segment, sizeof(segment), 1, file) != 1)
            return false;
        if (segment.p_type != PT_LOAD || segment.p_filesz != 0 || segment.p_memsz < (Elf64_Xword)bytes)
            continue;
        segment.p_align = (Elf64_Xword)LARGE_PAGE;
        /* A segment's offset and address agree modulo its alignment. */
        int64_t align = (int64_t)segment.p_align, phase = (int64_t)(segment.p_vaddr % segment.p_align);
        *out_offset = (end + align - 1 - phase) / align * align + phase;
        segment.p_offset = (Elf64_Off)*out_offset;
        segment.p_filesz = segment.p_memsz = (Elf64_Xword)bytes;
        return fseek(file, at, SEEK_SET) == 0 && fwrite(&segment, sizeof(segment), 1, file) == 1;
    }
    return false;
}

tm_code tm_fill_weights(const tm_plan *plan, const char *path) {
    int64_t bytes = tm_plan_stored_bytes(plan);
    if (bytes == 0)
        return TM_OK;
    char *buffer = tm_arena_alloc(plan->model->arena, (size_t)LARGE_PAGE);
    writer w = {.file = fopen(path, "r+b")};
    if (w.file == NULL)
        return cannot(plan, TM_E_CREATE_OUTPUT, "opening", path);
    (void)setvbuf(w.file, buffer, _IOFBF, (size_t)LARGE_PAGE);
    int64_t room = 0;
    tm_code code = TM_OK;
    if (!make_room(w.file, bytes, &room))
        code = tm_report(plan->model->diagnostics, TM_E_LINK, NULL, NULL,
                         "the linker left no section " SECTION " in %s", path);
    else if (fseek(w.file, (long)room, SEEK_SET) != 0)
        code = cannot(plan, TM_E_IO, "writing", path);
    else {
        w.place = room;
        code = stream(plan, &w, path, NULL);
    }
    if (fclose(w.file) != 0 && code == TM_OK)
        code = cannot(plan, TM_E_IO, "writing", path);
    return code;
}
