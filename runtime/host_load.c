/* SPDX-License-Identifier: Apache-2.0
 *
 * From an artifact to a tamis_model: opens the shared object, finds `tamis_artifact`, checks it.
 *
 * Why the ELF header is read before dlopen: dlopen's words for a file of another machine ("wrong ELF
 * class") do not say what was expected, and it runs the constructors of any library it is
 * given; and of a file that is cut short it maps pages that are not there, so that the process dies of a bus
 * error. Every refusal here names the field, what was expected, what was found, and what to do.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runtime/runtime_internal.h"
#include "tamis/stored.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__x86_64__)
#define HOST_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define HOST_MACHINE EM_AARCH64
#elif defined(__riscv)
#define HOST_MACHINE EM_RISCV
#else
#error "tamis has no runtime for this machine"
#endif

static const char *const recompile = "compile the model again with this version of tamis";

static const char *machine_name(unsigned machine, char *buffer, size_t bytes) {
    switch (machine) {
    case EM_X86_64:
        return "x86-64";
    case EM_AARCH64:
        return "aarch64";
    case EM_RISCV:
        return "riscv64";
    case EM_386:
        return "i386";
    case EM_ARM:
        return "arm";
    default:
        snprintf(buffer, bytes, "machine %u", machine);
        return buffer;
    }
}

static int refuse(tamis_error *error, const char *path, const char *field, const char *expected,
                  const char *found, const char *hint) {
    return tm_host_fail(error, TM_HOST_ARTIFACT,
                        "%s: artifact refused: %s\n    expected %s\n    found    %s\n    hint: %s", path,
                        field, expected, found, hint);
}

static int refuse_number(tamis_error *error, const char *path, const char *field, uint64_t expected,
                         uint64_t found) {
    char expected_text[32], found_text[32];
    snprintf(expected_text, sizeof expected_text, "%llu", (unsigned long long)expected);
    snprintf(found_text, sizeof found_text, "%llu", (unsigned long long)found);
    return refuse(error, path, field, expected_text, found_text, recompile);
}

static bool lies_within(uint64_t offset, uint64_t bytes, uint64_t file_bytes) {
    return bytes <= file_bytes && offset <= file_bytes - bytes;
}

/* What is looked at before anything is mapped: one read of most files. */
typedef struct start {
    union {
        Elf64_Ehdr header;
        uint8_t bytes[1024];
    };
    size_t count;
    uint64_t file_bytes;
} start;

static int read_start(const char *path, start *out, tamis_error *error) {
    struct stat status;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t count = -1;
    if (file >= 0 && fstat(file, &status) == 0)
        count = pread(file, out->bytes, sizeof out->bytes, 0);
    int reason = errno;
    if (file >= 0)
        close(file);
    if (count < 0)
        return tm_host_fail(error, TM_HOST_OPEN, "%s: cannot open: %s", path, strerror(reason));
    out->count = (size_t)count;
    out->file_bytes = (uint64_t)status.st_size;
    return 0;
}

/* Has the file all bytes that its program and section headers promise? Our program
 * headers follow the header. */
static bool is_whole(const start *file) {
    const Elf64_Ehdr *header = &file->header;
    if (header->e_shnum > 0 &&
        !lies_within(header->e_shoff, (uint64_t)header->e_shnum * header->e_shentsize, file->file_bytes))
        return false;
    if (header->e_phnum > 0 && header->e_phentsize != sizeof(Elf64_Phdr))
        return false;
    if (!lies_within(header->e_phoff, (uint64_t)header->e_phnum * sizeof(Elf64_Phdr), file->count))
        return false;
    for (int i = 0; i < header->e_phnum; i++) {
        Elf64_Phdr segment;
        memcpy(&segment, file->bytes + header->e_phoff + (size_t)i * sizeof segment, sizeof segment);
        if (segment.p_type != PT_NULL && !lies_within(segment.p_offset, segment.p_filesz, file->file_bytes))
            return false;
    }
    return true;
}

static int check_elf(const char *path, tamis_error *error) {
    start file;
    memset(&file, 0, sizeof file);
    int code = read_start(path, &file, error);
    if (code != 0)
        return code;
    const Elf64_Ehdr header = file.header;
    size_t bytes = file.count;
    if (bytes < EI_NIDENT || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
        return refuse(error, path, "file type", "an ELF shared object made by `tamis compile`",
                      "another kind of file", "an .onnx file has to be compiled first");
    if (header.e_ident[EI_CLASS] != ELFCLASS64)
        return refuse(error, path, "ELF class", "64 bit", "not 64 bit",
                      "compile for this machine (--target)");
    if (header.e_ident[EI_DATA] != ELFDATA2LSB)
        return refuse(error, path, "byte order", "little endian", "big endian",
                      "compile for this machine (--target)");
    if (bytes < sizeof header)
        return refuse(error, path, "ELF header", "64 bytes", "a file that is cut short",
                      "copy the file again");
    if (header.e_machine != HOST_MACHINE) {
        char expected[32], found[32];
        return refuse(error, path, "machine", machine_name(HOST_MACHINE, expected, sizeof expected),
                      machine_name(header.e_machine, found, sizeof found),
                      "compile for this machine (--target)");
    }
    if (header.e_type != ET_DYN)
        return refuse(error, path, "ELF type", "shared object",
                      header.e_type == ET_REL ? "relocatable object" : "another",
                      "link the object into a program, or compile with --emit=so");
    if (!is_whole(&file))
        return refuse(error, path, "file size", "all bytes that the ELF headers name",
                      "a file that is cut short or damaged",
                      "copy the file again, or compile the model again");
    return 0;
}

static int check_artifact(const tamis_artifact *artifact, const char *path, int32_t *out_level,
                          tamis_error *error) {
    if (artifact == NULL)
        return refuse(error, path, "tamis_artifact()", "a description", "NULL", recompile);
    if (artifact->magic != TAMIS_MAGIC)
        return refuse_number(error, path, "magic", TAMIS_MAGIC, artifact->magic);
    if (artifact->abi_version != TAMIS_ABI_VERSION)
        return refuse_number(error, path, "abi_version", TAMIS_ABI_VERSION, artifact->abi_version);
    if (artifact->struct_bytes != sizeof *artifact)
        return refuse_number(error, path, "struct_bytes", sizeof *artifact, artifact->struct_bytes);
    *out_level = artifact->cpu_level();
    if (*out_level < 0)
        return tm_host_fail(error, TM_HOST_CPU,
                            "%s: artifact refused: the CPU lacks a feature\n    expected %s or better\n"
                            "    found    a lesser CPU\n    hint: compile with a lower -mcpu",
                            path, artifact->level_count > 0 ? artifact->levels[0] : artifact->target);
    return 0;
}

/* Decodes coded weights, once for all sessions. */
static int unpack(tamis_model *model, const char *path, tamis_error *error) {
    const tamis_artifact *artifact = model->artifact;
    size_t bytes = ((size_t)artifact->weights_bytes + TAMIS_ALIGNMENT - 1) & ~(size_t)(TAMIS_ALIGNMENT - 1);
    if (artifact->unpack == NULL)
        return 0;
    model->weights = aligned_alloc(TAMIS_ALIGNMENT, bytes);
    if (model->weights == NULL)
        return tm_host_fail(error, TM_HOST_OUT_OF_MEMORY, "out of memory: %zu bytes for weights", bytes);
    if (artifact->unpack(artifact, model->weights) == 0)
        return 0;
    return refuse(error, path, "coded weights", "the check value that they were written with", "another",
                  "the file is damaged: copy it again, or compile the model again");
}

/* Do the entries of the index up to this artifact's last one say what they said when it was compiled? */
static bool index_agrees(int file, const tm_weights_file *header, const tamis_artifact *artifact) {
    enum { BATCH = 128 };
    tm_weights_entry entries[BATCH];
    uint64_t chain = TM_WEIGHTS_FILE_MAGIC;
    for (int64_t at = 0; at < artifact->weights_file_count;) {
        int64_t left = artifact->weights_file_count - at, count = left < BATCH ? left : BATCH;
        ssize_t bytes = (ssize_t)((size_t)count * sizeof *entries);
        if (pread(file, entries, (size_t)bytes, (off_t)(header->bytes + at * (int64_t)sizeof *entries)) !=
            bytes)
            return false;
        for (int64_t i = 0; i < count; i++)
            chain = tm_weights_chain(chain, &entries[i]);
        at += count;
    }
    return chain == artifact->weights_file_id;
}

static const char *const move_together =
    "keep it beside the artifact, or compile the model again with --weights-file";

static int map_file(tamis_model *model, int file, const char *path, tamis_error *error) {
    const tamis_artifact *artifact = model->artifact;
    struct stat status;
    tm_weights_file header;
    if (pread(file, &header, sizeof header, 0) != sizeof header || fstat(file, &status) != 0 ||
        header.magic != TM_WEIGHTS_FILE_MAGIC || header.version != TM_WEIGHTS_FILE_VERSION)
        return refuse(error, path, "weights file", "the header of one", "something else", move_together);
    if (header.bytes < artifact->weights_bytes || header.bytes > status.st_size ||
        header.count < artifact->weights_file_count || !index_agrees(file, &header, artifact))
        return refuse(error, path, "weights file", "the constants that the artifact was compiled with",
                      "others", move_together);
    if (artifact->weights_bytes == 0)
        return 0;
    void *map = mmap(NULL, (size_t)artifact->weights_bytes, PROT_READ, MAP_SHARED, file, 0);
    if (map == MAP_FAILED)
        return tm_host_fail(error, TM_HOST_OUT_OF_MEMORY, "mapping %s failed: %s", path, strerror(errno));
    model->weights = map;
    model->mapped_bytes = artifact->weights_bytes;
    return 0;
}

/* Maps the file beside the artifact that has the weights: its pages are shared by all who do. */
static int map_weights(tamis_model *model, const char *path, tamis_error *error) {
    char name[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int folder = slash != NULL ? (int)(slash + 1 - path) : 0;
    int length = snprintf(name, sizeof name, "%.*s%s", folder, path, model->artifact->weights_file);
    errno = ENAMETOOLONG;
    int file =
        length > 0 && (size_t)length < sizeof name ? open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
    if (file < 0)
        return tm_host_fail(error, TM_HOST_OPEN,
                            "%s: its weights are in %s, which cannot be opened: %s\n    hint: %s", path, name,
                            strerror(errno), move_together);
    int code = map_file(model, file, name, error);
    close(file);
    return code;
}

static void release_weights(tamis_model *model) {
    if (model->mapped_bytes > 0)
        munmap(model->weights, (size_t)model->mapped_bytes);
    else
        free(model->weights);
}

static int create(const tamis_artifact *artifact, void *library, const char *path, tamis_model **out_model,
                  tamis_error *error) {
    int32_t level = 0;
    int code = check_artifact(artifact, path, &level, error);
    if (code != 0)
        return code;
    tamis_model *model = calloc(1, sizeof *model);
    if (model == NULL)
        return tm_host_fail(error, TM_HOST_OUT_OF_MEMORY, "out of memory");
    model->artifact = artifact;
    model->library = library;
    model->level = level;
    code = artifact->weights_file != NULL ? map_weights(model, path, error) : unpack(model, path, error);
    if (code == 0) {
        *out_model = model;
        return 0;
    }
    release_weights(model);
    free(model);
    return code;
}

int tamis_model_load(const char *path, tamis_model **out_model, tamis_error *out_error) {
    *out_model = NULL;
    int code = check_elf(path, out_error);
    if (code != 0)
        return code;
    char here[PATH_MAX + 2]; /* a path without a slash would be searched in the library folders */
    bool bare = strchr(path, '/') == NULL;
    if (bare)
        snprintf(here, sizeof here, "./%s", path);
    void *library = dlopen(bare ? here : path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *reason = dlerror();
        return refuse(out_error, path, "loading", "a shared object that loads",
                      reason != NULL ? reason : "a failure", recompile);
    }
    tamis_artifact_function function;
    void *symbol = dlsym(library, "tamis_artifact");
    memcpy(&function, &symbol, sizeof function);
    if (symbol == NULL)
        code = refuse(out_error, path, "symbol", "tamis_artifact", "a library without it",
                      "compile the model with `tamis compile`");
    else
        code = create(function(), library, path, out_model, out_error);
    if (code != 0)
        dlclose(library);
    return code;
}

int tamis_model_create(const tamis_artifact *artifact, tamis_model **out_model, tamis_error *out_error) {
    *out_model = NULL;
    return create(artifact, NULL,
                  artifact != NULL && artifact->magic == TAMIS_MAGIC ? artifact->name : "artifact", out_model,
                  out_error);
}

void tamis_model_destroy(tamis_model *model) {
    if (model == NULL)
        return;
    if (model->library != NULL)
        dlclose(model->library);
    release_weights(model);
    free(model);
}

const tamis_artifact *tamis_model_artifact(const tamis_model *model) {
    return model->artifact;
}

static int find_port(const tamis_port *ports, int32_t count, const char *name) {
    for (int32_t i = 0; i < count; i++)
        if (strcmp(ports[i].name, name) == 0)
            return i;
    return -1;
}

int tamis_model_find_slot(const tamis_model *model, const char *name) {
    return find_port(model->artifact->weight_slots, model->artifact->weight_slot_count, name);
}

int tamis_model_find_input(const tamis_model *model, const char *name) {
    return find_port(model->artifact->inputs, model->artifact->input_count, name);
}

int tamis_model_find_output(const tamis_model *model, const char *name) {
    return find_port(model->artifact->outputs, model->artifact->output_count, name);
}
