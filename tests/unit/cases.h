/* SPDX-License-Identifier: Apache-2.0
 *
 * cases.h: tests as files. A runner scans a folder of the source tree and compares what the code makes of
 * each case with the file beside it; with TAMIS_UPDATE=1 in the environment it writes that file instead,
 * and the change is reviewed as a diff.
 */
#ifndef TM_TESTS_CASES_H
#define TM_TESTS_CASES_H

#include "base/base.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef TM_SOURCE_DIR
#define TM_SOURCE_DIR "."
#endif

static inline const char *case_path(tm_arena *arena, const char *folder, const char *name) {
    return tm_arena_format(arena, "%s/%s/%s", TM_SOURCE_DIR, folder, name);
}

static inline bool case_ends_with(const char *name, const char *end) {
    size_t size = strlen(name), end_size = strlen(end);
    return size > end_size && strcmp(name + size - end_size, end) == 0;
}

/* The name without its end, which it must have. */
static inline const char *case_stem(tm_arena *arena, const char *name, const char *end) {
    return tm_arena_string_n(arena, name, strlen(name) - strlen(end));
}

static inline int case_compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names in a folder, sorted; "." and ".." left out. NULL-terminated; empty when there is no folder. */
static inline const char **case_list(tm_arena *arena, const char *folder) {
    TM_VECTOR(const char *) names = {0};
    DIR *directory = opendir(tm_arena_format(arena, "%s/%s", TM_SOURCE_DIR, folder));
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;)
        if (entry->d_name[0] != '.')
            tm_push(arena, &names, (const char *)tm_arena_string(arena, entry->d_name));
    if (directory != NULL)
        closedir(directory);
    if (names.count > 0)
        qsort(names.items, names.count, sizeof *names.items, case_compare_names);
    tm_push(arena, &names, NULL);
    return names.items;
}

/* NULL when there is no such file. */
static inline const char *case_read(tm_arena *arena, const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return NULL;
    tm_text text;
    char chunk[4096];
    tm_text_init(&text, arena);
    for (size_t bytes; (bytes = fread(chunk, 1, sizeof chunk, file)) > 0;)
        tm_text_add_bytes(&text, chunk, bytes);
    fclose(file);
    return tm_text_get(&text);
}

/* Compares with the file, or writes it. Returns whether the case is right; says so when it is not. */
static inline bool case_check(tm_arena *arena, const char *path, const char *text) {
    const char *update = getenv("TAMIS_UPDATE");
    const char *want = case_read(arena, path);
    if (want != NULL && strcmp(want, text) == 0)
        return true;
    if (update != NULL && strcmp(update, "1") == 0) {
        FILE *file = fopen(path, "wb");
        bool written = file != NULL && fwrite(text, 1, strlen(text), file) == strlen(text);
        return file != NULL && fclose(file) == 0 && written;
    }
    printf("%s differs (TAMIS_UPDATE=1 rewrites it).\n--- wanted\n%s--- found\n%s---\n", path,
           want != NULL ? want : "(no file)\n", text);
    return false;
}

static inline const char *case_diagnostics(tm_arena *arena, const tm_diagnostics *diagnostics) {
    tm_text text;
    tm_text_init(&text, arena);
    for (size_t i = 0; i < diagnostics->list.count; i++)
        tm_diagnostic_print(&diagnostics->list.items[i], &text);
    return tm_text_get(&text);
}

#endif
