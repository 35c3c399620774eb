/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole files, folders and temporary folders for the command.
 *
 * Output files are written beside their place under another name and then renamed, so that a reader never
 * sees half a file and a failure leaves the old one. Temporary folders stand in one folder of the command,
 * and those of the library do by TMPDIR. The arena removes them, with all that is in them, when the command ends;
 * interrupt.c does when a signal ends it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tools/tool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool tool_is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool tool_exists(const char *path) {
    return access(path, F_OK) == 0;
}

bool tool_ends_with(const char *text, const char *suffix) {
    size_t size = strlen(text), suffix_size = strlen(suffix);
    return size >= suffix_size && strcmp(text + size - suffix_size, suffix) == 0;
}

const char *tool_base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static tm_code read_all(tool *tool, int descriptor, const char *path, char **out_data, size_t *out_bytes) {
    tm_text text;
    tm_text_init(&text, &tool->arena);
    char buffer[65536];
    for (;;) {
        ssize_t got = read(descriptor, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return tool_report(tool, TM_E_IO, path, NULL, "reading failed: %s", strerror(errno));
        if (got == 0)
            break;
        tm_text_add_bytes(&text, buffer, (size_t)got);
    }
    *out_data = text.size > 0 ? text.data : tm_arena_string(&tool->arena, "");
    *out_bytes = text.size;
    return TM_OK;
}

static bool is_input(const tool *tool, struct tool_input file) {
    for (size_t i = 0; i < tool->inputs.count; i++)
        if (tool->inputs.items[i].device == file.device && tool->inputs.items[i].number == file.number)
            return true;
    return false;
}

static bool identify(const char *path, struct tool_input *out) {
    struct stat info;
    bool regular = stat(path, &info) == 0 && S_ISREG(info.st_mode);
    if (regular)
        *out = (struct tool_input){(uint64_t)info.st_dev, (uint64_t)info.st_ino};
    return regular;
}

static void add_input(tool *tool, struct tool_input file) {
    if (!is_input(tool, file))
        tm_push(&tool->arena, &tool->inputs, file);
}

void tool_reads(tool *tool, const char *path) {
    struct tool_input file;
    if (identify(path, &file))
        add_input(tool, file);
}

void tool_reads_too(tool *tool, const struct tool *part) {
    for (size_t i = 0; i < part->inputs.count; i++)
        add_input(tool, part->inputs.items[i]);
}

static tm_code refuse_inputs(tool *tool, const char *path) {
    struct tool_input file;
    if (!identify(path, &file) || !is_input(tool, file))
        return TM_OK;
    return tool_report(tool, TM_E_USAGE, path, "give the output another name",
                       "it is an input of the command, which would be lost");
}

tm_code tool_read_file(tool *tool, const char *path, char **out_data, size_t *out_bytes) {
    if (strcmp(path, "-") == 0)
        return read_all(tool, STDIN_FILENO, "<stdin>", out_data, out_bytes);
    tool_reads(tool, path);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return tool_report(tool, TM_E_OPEN_INPUT, path, NULL, "cannot open: %s", strerror(errno));
    struct stat info;
    tm_code code;
    if (fstat(descriptor, &info) == 0 && S_ISREG(info.st_mode)) {
        size_t size = (size_t)info.st_size, used = 0;
        char *data = tm_arena_alloc(&tool->arena, size + 1);
        ssize_t got = 1;
        while (used < size && got > 0) {
            got = read(descriptor, data + used, size - used);
            if (got > 0)
                used += (size_t)got;
        }
        *out_data = data;
        *out_bytes = used;
        code =
            got < 0 ? tool_report(tool, TM_E_IO, path, NULL, "reading failed: %s", strerror(errno)) : TM_OK;
    } else {
        code = read_all(tool, descriptor, path, out_data, out_bytes);
    }
    close(descriptor);
    return code;
}

static bool write_all(int descriptor, const char *data, size_t bytes) {
    while (bytes > 0) {
        ssize_t wrote = write(descriptor, data, bytes);
        if (wrote < 0 && errno != EINTR)
            return false;
        if (wrote > 0) {
            data += wrote;
            bytes -= (size_t)wrote;
        }
    }
    return true;
}

/* A device or a pipe is written to, never replaced by a file. */
static tm_code write_special(tool *tool, const char *path, const void *data, size_t bytes) {
    int descriptor = open(path, O_WRONLY | O_CLOEXEC);
    if (descriptor < 0)
        return tool_report(tool, TM_E_CREATE_OUTPUT, path, NULL, "cannot open: %s", strerror(errno));
    bool written = write_all(descriptor, data, bytes);
    int failure = errno;
    close(descriptor);
    return written ? TM_OK
                   : tool_report(tool, TM_E_IO, path, NULL, "writing failed: %s", strerror(failure));
}

tm_code tool_write_file(tool *tool, const char *path, const void *data, size_t bytes) {
    struct stat status;
    if (strcmp(path, "-") == 0) {
        fflush(stdout);
        if (!write_all(STDOUT_FILENO, data, bytes))
            return tool_report(tool, TM_E_IO, "<stdout>", NULL, "writing failed: %s", strerror(errno));
        return TM_OK;
    }
    if (stat(path, &status) == 0 && !S_ISREG(status.st_mode))
        return write_special(tool, path, data, bytes);
    TM_TRY(refuse_inputs(tool, path));
    char *temporary = tm_arena_format(&tool->arena, "%s.%d.part", path, (int)getpid());
    tool_interrupt_output(path);
    int descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor < 0)
        return tool_report(tool, TM_E_CREATE_OUTPUT, path, NULL, "cannot create: %s", strerror(errno));
    bool written = write_all(descriptor, data, bytes);
    int failure = errno;
    if (close(descriptor) != 0 && written) {
        written = false;
        failure = errno;
    }
    if (!written) {
        unlink(temporary);
        return tool_report(tool, TM_E_IO, path, NULL, "writing failed: %s", strerror(failure));
    }
    if (rename(temporary, path) != 0) {
        failure = errno;
        unlink(temporary);
        return tool_report(tool, TM_E_CREATE_OUTPUT, path, NULL, "cannot create: %s", strerror(failure));
    }
    return TM_OK;
}

tm_code tool_can_create(tool *tool, const char *path) {
    const char *slash = strrchr(path, '/');
    const char *folder = slash == NULL   ? "."
                         : slash == path ? "/"
                                         : tm_arena_string_n(&tool->arena, path, (size_t)(slash - path));
    if (access(folder, W_OK | X_OK) != 0)
        return tool_report(tool, TM_E_CREATE_OUTPUT, path, NULL, "cannot create: %s", strerror(errno));
    if (tool_is_folder(path))
        return tool_report(tool, TM_E_CREATE_OUTPUT, path, NULL, "is a folder");
    tool_interrupt_output(path);
    return refuse_inputs(tool, path);
}

tm_code tool_make_folder(tool *tool, const char *path) {
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return tool_report(tool, TM_E_CREATE_OUTPUT, path, NULL, "cannot create the folder: %s",
                           strerror(errno));
    if (!tool_is_folder(path))
        return tool_report(tool, TM_E_CREATE_OUTPUT, path, NULL, "is not a folder");
    return TM_OK;
}

typedef struct temporary {
    pid_t owner;
    char path[];
} temporary;

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *position) {
    (void)info;
    (void)kind;
    (void)position;
    remove(path);
    return 0;
}

/* Child processes inherit the arena; the folder is the maker's to remove. */
static void remove_temporary(void *argument) {
    const temporary *folder = argument;
    if (folder->owner == getpid())
        nftw(folder->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static tm_code make_temporary(tool *tool, const char *pattern, const char **out_path) {
    temporary *folder = tm_arena_alloc(&tool->arena, sizeof *folder + strlen(pattern) + 1);
    memcpy(folder->path, pattern, strlen(pattern) + 1);
    folder->owner = getpid();
    if (mkdtemp(folder->path) == NULL)
        return tool_report(tool, TM_E_CREATE_OUTPUT, pattern, "set TMPDIR to a folder that can be written",
                           "cannot create a temporary folder: %s", strerror(errno));
    tm_arena_on_destroy(&tool->arena, remove_temporary, folder);
    *out_path = folder->path;
    return TM_OK;
}

tm_code tool_temporaries(tool *tool) {
    const char *base = getenv("TMPDIR");
    if (tool->temporaries != NULL)
        return TM_OK;
    TM_TRY(make_temporary(
        tool, tm_arena_format(&tool->arena, "%s/tamis-XXXXXX", base != NULL && base[0] != 0 ? base : "/tmp"),
        &tool->temporaries));
    tool_interrupt_folder(tool->temporaries);
    setenv("TMPDIR", tool->temporaries, 1);
    return TM_OK;
}

tm_code tool_temporary_folder(tool *tool, const char **out_path) {
    TM_TRY(tool_temporaries(tool));
    return make_temporary(tool, tm_arena_format(&tool->arena, "%s/XXXXXX", tool->temporaries), out_path);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

tm_code tool_list_folder(tool *tool, const char *path, const char ***out_names, size_t *out_count) {
    DIR *entries = opendir(path);
    if (entries == NULL)
        return tool_report(tool, TM_E_OPEN_INPUT, path, NULL, "cannot open the folder: %s", strerror(errno));
    TM_VECTOR(const char *) names = {0};
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            tm_push(&tool->arena, &names, tm_arena_string(&tool->arena, entry->d_name));
    closedir(entries);
    if (names.count > 0)
        qsort(names.items, names.count, sizeof *names.items, by_name);
    *out_names = names.items;
    *out_count = names.count;
    return TM_OK;
}
