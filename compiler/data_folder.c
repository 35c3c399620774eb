/* SPDX-License-Identifier: Apache-2.0
 *
 * data_folder.c: finds the kernel archives that belong to this compiler.
 *
 * They stand in lib/tamis beside the folder of the command, or beside the shared library, or two folders up
 * from a Python extension, so that a build tree, an installation and a copied one all work.
 */
#include "compiler/internal.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef TM_DATA_DIR
#define TM_DATA_DIR "/usr/lib/tamis"
#endif

const char *tm_data_folder(tm_arena *arena) {
    const char *given = getenv("TAMIS_DATA_DIR");
    if (given != NULL && given[0] != 0)
        return tm_arena_string(arena, given);
    Dl_info info;
    char executable[4096];
    ssize_t length = readlink("/proc/self/exe", executable, sizeof(executable) - 1);
    const char *bases[2] = {"", ""};
    if (dladdr((void *)(uintptr_t)&tm_data_folder, &info) != 0 && info.dli_fname != NULL)
        bases[0] = info.dli_fname;
    if (length > 0) {
        executable[length] = 0;
        bases[1] = executable;
    }
    static const char *const near[] = {"../lib/tamis", "tamis", "../../lib/tamis", "../../../lib/tamis"};
    for (int b = 0; b < 2; b++) {
        const char *self = bases[b];
        const char *slash = strrchr(self, '/');
        if (slash == NULL)
            continue;
        for (size_t i = 0; i < sizeof(near) / sizeof(near[0]); i++) {
            const char *folder = tm_arena_format(arena, "%.*s/%s", (int)(slash - self), self, near[i]);
            const char *probe = tm_arena_format(arena, "%s/x86_64-linux-gnu", folder);
            if (access(probe, R_OK) == 0)
                return folder;
        }
    }
    return TM_DATA_DIR;
}
