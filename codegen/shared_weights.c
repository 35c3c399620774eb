/* SPDX-License-Identifier: Apache-2.0
 *
 * shared_weights.c: weights in a file of their own that several artifacts share (--weights-file).
 *
 *     header | constants, at multiples of 64 bytes | index: offset, size and hash of each
 *
 * A constant that the file has already, byte for byte as it is laid out, is used where it stands; others are
 * added at the end. So nothing moves, and artifacts compiled earlier stay right. All constants of an artifact
 * are addressed from the file's start, as they would be from the start of a weights section. The artifact
 * keeps a chain over the index entries up to its own: a file that grew otherwise is refused when it is
 * loaded.
 *
 * The file is written beside itself and renamed, under a lock on its folder, so that compilers at work at the
 * same time add one after the other, and a failure to write leaves the file as it was. A compilation that
 * fails later leaves its constants in the file, where the next attempt finds them.
 */
#include "codegen/codegen.h"
#include "codegen/plan.h"
#include "tamis/stored.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

typedef struct sharing {
    tm_plan *plan;
    const char *path, *partial;
    int folder;         /* locked, or -1 */
    const uint8_t *old; /* the file as it is, mapped, or NULL */
    size_t old_bytes;
    tm_weights_file header;
    TM_VECTOR(tm_weights_entry) index;
    size_t old_count;
    TM_VECTOR(const tm_constant *) added; /* those of index[old_count...] */
    tm_map places;                        /* hash as text -> number in the index, from 1 on */
    uint8_t *scratch;                     /* a constant as it is laid out */
    uint8_t *other;                       /* one to compare with it */
    XXH3_state_t *hash;                   /* of all constants */
} sharing;

/* Also runs when memory gives out. */
static void end(void *argument) {
    sharing *s = argument;
    if (s->old != NULL)
        munmap((void *)(uintptr_t)s->old, s->old_bytes);
    XXH3_freeState(s->hash);
    s->old = NULL;
    s->hash = NULL;
    if (s->folder >= 0) {
        unlink(s->partial);
        close(s->folder); /* and the lock goes */
    }
    s->folder = -1;
}

static tm_code cannot(const sharing *s, tm_code code, const char *what) {
    return tm_report(s->plan->model->diagnostics, code, NULL, NULL, "%s %s failed: %s", what, s->path,
                     strerror(errno));
}

static tm_code damaged(const sharing *s, const char *what) {
    return tm_report(
        s->plan->model->diagnostics, TM_E_CREATE_OUTPUT, NULL,
        "name another file with --weights-file, or delete this one and compile all its artifacts again",
        "%s is no weights file that can be added to: %s", s->path, what);
}

static const char *key_of(const sharing *s, uint64_t hash) {
    return tm_arena_format(s->plan->arena, "%016llx", (unsigned long long)hash);
}

static void note(sharing *s, const tm_weights_entry *entry) {
    tm_push(s->plan->arena, &s->index, *entry);
    tm_map_set(&s->places, key_of(s, entry->hash), (void *)(uintptr_t)s->index.count);
}

static tm_code read_index(sharing *s) {
    int64_t size = (int64_t)s->old_bytes;
    if (s->old_bytes < sizeof s->header)
        return damaged(s, "it is too short");
    memcpy(&s->header, s->old, sizeof s->header);
    if (s->header.magic != TM_WEIGHTS_FILE_MAGIC || s->header.version != TM_WEIGHTS_FILE_VERSION)
        return damaged(s, "its first bytes are others");
    if (s->header.bytes < (int64_t)sizeof s->header || s->header.bytes > size || s->header.count < 0 ||
        s->header.count != (size - s->header.bytes) / (int64_t)sizeof(tm_weights_entry) ||
        (size - s->header.bytes) % (int64_t)sizeof(tm_weights_entry) != 0)
        return damaged(s, "it was cut short");
    for (int64_t i = 0; i < s->header.count; i++) {
        tm_weights_entry entry;
        memcpy(&entry, s->old + s->header.bytes + i * (int64_t)sizeof entry, sizeof entry);
        if (entry.offset < (int64_t)sizeof s->header || entry.offset % TAMIS_ALIGNMENT != 0 ||
            entry.bytes < 0 || entry.offset > s->header.bytes - entry.bytes)
            return damaged(s, "its index is wrong");
        note(s, &entry);
    }
    s->old_count = s->index.count;
    return TM_OK;
}

static tm_code open_file(sharing *s, const char *folder) {
    struct stat status;
    s->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->folder < 0 || flock(s->folder, LOCK_EX) != 0)
        return cannot(s, TM_E_CREATE_OUTPUT, "locking the folder of");
    s->header = (tm_weights_file){
        .magic = TM_WEIGHTS_FILE_MAGIC, .version = TM_WEIGHTS_FILE_VERSION, .bytes = sizeof s->header};
    int file = open(s->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (file < 0)
        return errno == ENOENT ? TM_OK : cannot(s, TM_E_CREATE_OUTPUT, "opening");
    void *map = MAP_FAILED;
    if (fstat(file, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0)
        map = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (map == MAP_FAILED)
        return damaged(s, "it is empty, or no regular file");
    s->old = map;
    s->old_bytes = (size_t)status.st_size;
    return read_index(s);
}

/* The bytes of number `known` of the index. */
static const uint8_t *bytes_of(sharing *s, size_t known) {
    if (known <= s->old_count)
        return s->old + s->index.items[known - 1].offset;
    tm_lay_out_constant(s->added.items[known - 1 - s->old_count], s->other);
    return s->other;
}

/* Where the bytes in `scratch` stand: in the file, or among what is added, or at its end. */
static int64_t place(sharing *s, const tm_constant *constant, int64_t bytes, uint64_t hash) {
    size_t known = (size_t)(uintptr_t)tm_map_get(&s->places, key_of(s, hash));
    if (known > 0 && s->index.items[known - 1].bytes == bytes) {
        const tm_weights_entry *entry = &s->index.items[known - 1];
        if (memcmp(bytes_of(s, known), s->scratch, (size_t)bytes) == 0)
            return entry->offset;
    }
    tm_weights_entry entry = {.offset =
                                  (s->header.bytes + TAMIS_ALIGNMENT - 1) & ~(int64_t)(TAMIS_ALIGNMENT - 1),
                              .bytes = bytes,
                              .hash = hash};
    s->header.bytes = entry.offset + bytes;
    note(s, &entry);
    tm_push(s->plan->arena, &s->added, constant);
    return entry.offset;
}

static void place_all(sharing *s) {
    tm_plan *plan = s->plan;
    int64_t largest = 0;
    for (size_t i = 0; i < plan->values.count; i++) {
        const tm_constant *constant = plan->values.items[i].constant;
        if (constant != NULL && constant->type != TAMIS_TYPE_STRING &&
            tm_constant_stored_bytes(constant) > largest)
            largest = tm_constant_stored_bytes(constant);
    }
    s->scratch = tm_arena_alloc(plan->arena, (size_t)largest + 1);
    s->other = tm_arena_alloc(plan->arena, (size_t)largest + 1);
    TM_VECTOR(int64_t) moved = {0}; /* new places by the order of the old ones */
    TM_VECTOR(int64_t) places = {0};
    for (size_t i = 0; i < plan->values.count; i++) {
        tm_plan_value *entry = &plan->values.items[i];
        if (entry->storage != TM_STORAGE_CONSTANT)
            continue;
        if (entry->shares) { /* the first of them came before */
            for (size_t k = 0; k < moved.count; k++)
                if (moved.items[k] == entry->argument) {
                    entry->argument = places.items[k];
                    break;
                }
            continue;
        }
        int64_t bytes = tm_constant_stored_bytes(entry->constant), was = entry->argument;
        tm_lay_out_constant(entry->constant, s->scratch);
        tm_mappings_note_read(plan->model->mappings, (size_t)bytes);
        XXH3_64bits_update(s->hash, s->scratch, (size_t)bytes);
        entry->argument =
            bytes > 0 ? place(s, entry->constant, bytes, XXH3_64bits(s->scratch, (size_t)bytes)) : 0;
        if (bytes > 0) {
            tm_push(plan->arena, &moved, was);
            tm_push(plan->arena, &places, entry->argument);
        }
    }
}

static bool put(FILE *file, const void *data, size_t bytes) {
    return bytes == 0 || fwrite(data, 1, bytes, file) == bytes;
}

static tm_code write_file(sharing *s) {
    static const uint8_t zeros[TAMIS_ALIGNMENT];
    size_t old =
        s->old != NULL ? (size_t)((const tm_weights_file *)(const void *)s->old)->bytes : sizeof s->header;
    int64_t at = (int64_t)old;
    s->header.count = (int64_t)s->index.count;
    FILE *file = fopen(s->partial, "wb");
    if (file == NULL)
        return cannot(s, TM_E_CREATE_OUTPUT, "creating");
    bool fine = put(file, &s->header, sizeof s->header) &&
                put(file, s->old != NULL ? s->old + sizeof s->header : NULL, old - sizeof s->header);
    for (size_t i = s->old_count; i < s->index.count && fine; i++) {
        const tm_weights_entry *entry = &s->index.items[i];
        tm_lay_out_constant(s->added.items[i - s->old_count], s->scratch);
        fine = put(file, zeros, (size_t)(entry->offset - at)) && put(file, s->scratch, (size_t)entry->bytes);
        at = entry->offset + entry->bytes;
    }
    fine = fine && put(file, s->index.items, s->index.count * sizeof *s->index.items);
    fine = fclose(file) == 0 && fine;
    if (!fine)
        return cannot(s, TM_E_IO, "writing");
    return rename(s->partial, s->path) == 0 ? TM_OK : cannot(s, TM_E_CREATE_OUTPUT, "creating");
}

tm_code tm_share_weights(tm_plan *plan, const char *name, const char *output, uint64_t *out_hash) {
    tm_model *model = plan->model;
    if (name[0] == 0 || strchr(name, '/') != NULL)
        return tm_report(model->diagnostics, TM_E_USAGE, NULL, "it stands in the folder of the artifact",
                         "--weights-file: '%s' is not the name of a file without a folder", name);
    const char *slash = strrchr(output, '/');
    if (strcmp(name, slash != NULL ? slash + 1 : output) == 0)
        return tm_report(model->diagnostics, TM_E_USAGE, NULL, "name another file with --weights-file",
                         "--weights-file: %s is the artifact itself", output);
    const char *folder =
        slash != NULL ? tm_arena_string_n(model->arena, output, (size_t)(slash + 1 - output)) : "./";
    sharing *s = TM_NEW(model->arena, sharing);
    s->plan = plan;
    s->folder = -1;
    s->path = tm_arena_format(model->arena, "%s%s", folder, name);
    s->partial = tm_arena_format(model->arena, "%s.%d.part", s->path, (int)getpid());
    tm_map_init(&s->places, model->arena);
    tm_arena_on_destroy(model->arena, end, s);
    tm_code code = open_file(s, folder);
    s->hash = XXH3_createState();
    if (s->hash == NULL && code == TM_OK)
        code = cannot(s, TM_E_OUT_OF_MEMORY, "hashing the weights for");
    if (code == TM_OK) {
        XXH3_64bits_reset(s->hash);
        place_all(s);
        *out_hash = XXH3_64bits_digest(s->hash);
        if (s->added.count > 0)
            code = write_file(s);
    }
    tm_shared_weights *shared = TM_NEW(model->arena, tm_shared_weights);
    *shared =
        (tm_shared_weights){.name = name, .count = (int64_t)s->index.count, .id = TM_WEIGHTS_FILE_MAGIC};
    for (size_t i = 0; i < s->index.count; i++)
        shared->id = tm_weights_chain(shared->id, &s->index.items[i]);
    plan->shared = shared;
    plan->weights_bytes = s->header.bytes;
    end(s);
    return code;
}
