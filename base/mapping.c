/* SPDX-License-Identifier: Apache-2.0
 *
 * mapping.c: large data that is in files, not in memory.
 *
 * Pages that were read through a mapping count as memory of the process until the file is unmapped, although
 * nobody may look at them again: a model whose weights are read once, from front to end, would be in memory
 * as a whole. Whoever reads much says so as it goes along:
 *
 *     read 3 MiB, note; read 2 MiB, note -> 5 MiB are more than the 4 MiB that may stay: all pages go back
 *
 * The next read of such a page finds it in the system's cache of files, 16 pages at a time, so reading all of
 * a file twice costs about what it costs once. What was read is not kept account of: giving all back walks
 * over what is there only.
 *
 * Weights that cannot be used where they stand, because they are not aligned there or were computed, are
 * copied. Large copies go to a temporary file without a name, which is mapped in windows: memory that a run
 * of the compiler needs once or twice is the system's to keep or to write out. Where there is no such file,
 * or no room in it, they go to the arena.
 *
 *     file    | copy | copy  .... | copy     ....
 *     windows [ 64 MiB            ][ 64 MiB       ]     may reach beyond the file's end
 */
#include "base/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    MOST_READ = 4 << 20,
    PIECE = 1 << 20,
    SMALL = 1 << 20,       /* files whose pages may as well stay */
    SMALL_COPY = 64 << 10, /* of which a model may have many */
    WINDOW = 64 << 20,
    ALIGNMENT = 64
};

/* ---- files ---- */

static void release_file(void *argument) {
    tm_file *file = argument;
    if (file->descriptor >= 0)
        close(file->descriptor);
    if (file->mapped > 0)
        munmap(file->address, file->mapped);
    *file = (tm_file){.descriptor = -1};
}

tm_file *tm_file_create(tm_arena *arena) {
    tm_file *file = TM_NEW(arena, tm_file);
    file->descriptor = -1;
    tm_arena_on_destroy(arena, release_file, file);
    return file;
}

bool tm_file_map(tm_file *file, size_t size, const uint8_t **out_bytes) {
    static const uint8_t nothing[16];
    void *address = size > 0 ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, file->descriptor, 0) : NULL;
    int error = errno;
    close(file->descriptor);
    file->descriptor = -1;
    errno = error;
    if (address == MAP_FAILED)
        return false;
    file->address = address;
    file->mapped = size;
    *out_bytes = size > 0 ? address : nothing;
    return true;
}

/* ---- pages ---- */

void tm_mappings_add(tm_arena *arena, tm_mappings *mappings, const void *address, size_t bytes) {
    if (bytes >= SMALL)
        tm_push(arena, &mappings->list, (tm_mapping){address, bytes});
}

void tm_mappings_release(const tm_mappings *mappings) {
    for (size_t i = 0; i < mappings->list.count; i++)
        (void)madvise((void *)(uintptr_t)mappings->list.items[i].address, mappings->list.items[i].bytes,
                      MADV_DONTNEED);
}

void tm_mappings_note_read(tm_mappings *mappings, size_t bytes) {
    mappings->read += bytes;
    if (mappings->read < MOST_READ)
        return;
    mappings->read = 0;
    tm_mappings_release(mappings);
}

/* ---- copies ---- */

/* Opens the file where there is none yet. */
static bool open_copies(tm_arena *arena, tm_mappings *mappings) {
    if (mappings->copies != NULL)
        return true;
    const char *folder = getenv("TMPDIR");
    char *path =
        tm_arena_format(arena, "%s/tamis-XXXXXX", folder != NULL && folder[0] != 0 ? folder : "/tmp");
    tm_file *file = tm_file_create(arena);
    file->descriptor = mkostemp(path, O_CLOEXEC);
    if (file->descriptor < 0)
        return false;
    unlink(path);
    mappings->copies = file;
    return true;
}

/* A window of the file that holds `bytes` from the file's end on. */
static bool open_window(tm_arena *arena, tm_mappings *mappings, size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t from = (mappings->copied + page - 1) / page * page, size = bytes > WINDOW ? bytes : WINDOW;
    tm_file *file = tm_file_create(arena);
    void *address = mmap(NULL, size, PROT_READ, MAP_SHARED, mappings->copies->descriptor, (off_t)from);
    if (address == MAP_FAILED)
        return false;
    file->address = address;
    file->mapped = size;
    tm_mappings_add(arena, mappings, address, size);
    mappings->window = address;
    mappings->copied = mappings->window_from = from;
    mappings->window_to = from + size;
    return true;
}

static bool write_copy(tm_mappings *mappings, const uint8_t *data, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        size_t size = bytes - at < PIECE ? bytes - at : PIECE;
        ssize_t done = pwrite(mappings->copies->descriptor, data + at, size, (off_t)(mappings->copied + at));
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        at += (size_t)done;
        tm_mappings_note_read(mappings, (size_t)done);
    }
    return true;
}

const void *tm_mappings_copy(tm_arena *arena, tm_mappings *mappings, const void *data, size_t bytes) {
    if (bytes >= SMALL_COPY && !mappings->full) {
        mappings->copied = (mappings->copied + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
        mappings->full =
            !open_copies(arena, mappings) ||
            (mappings->copied + bytes > mappings->window_to && !open_window(arena, mappings, bytes)) ||
            !write_copy(mappings, data, bytes);
        if (mappings->full && mappings->copies != NULL) /* others need the room */
            (void)!ftruncate(mappings->copies->descriptor, (off_t)mappings->copied);
        if (!mappings->full) {
            const void *copy = mappings->window + (mappings->copied - mappings->window_from);
            mappings->copied += bytes;
            return copy;
        }
    }
    const void *copy = tm_arena_copy(arena, data, bytes);
    tm_mappings_note_read(mappings, bytes);
    return copy;
}
