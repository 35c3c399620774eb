/* SPDX-License-Identifier: Apache-2.0
 *
 * load.c: maps the model's file and turns its skeleton into protobuf-c's structures.
 *
 *     model.onnx --map--> bytes --tm_scan--> skeleton + chunks --protobuf-c--> Onnx__ModelProto
 *
 * protobuf-c gets an allocator that takes from a scratch arena and never frees: a refused message
 * leaves nothing behind, and all of it goes away in one step when the graph stands. The allocator
 * stops at the memory limit even if the scanner's estimate was too low. The file is mapped privately
 * and read-only, so untouched weights cost no memory.
 */
#include "frontend/load.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

tm_code tm_load_map(tm_arena *arena, tm_diagnostics *diagnostics, const char *path, const uint8_t **out_bytes,
                    size_t *out_size) {
    tm_place place = {.file = path, .node_index = -1};
    tm_file *file = tm_file_create(arena);
    file->descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file->descriptor < 0)
        return tm_report(diagnostics, TM_E_OPEN_INPUT, &place, NULL, "cannot open: %s", strerror(errno));
    struct stat status;
    if (fstat(file->descriptor, &status) != 0 || !S_ISREG(status.st_mode))
        return tm_report(diagnostics, TM_E_OPEN_INPUT, &place, "give the path of a model file",
                         "not a regular file");
    *out_size = (size_t)status.st_size;
    if (!tm_file_map(file, *out_size, out_bytes))
        return tm_report(diagnostics, TM_E_OPEN_INPUT, &place, NULL, "cannot map: %s", strerror(errno));
    return TM_OK;
}

/* ---- scratch ---- */

static void release(void *scratch) {
    tm_arena_deinit(scratch);
}

tm_arena *tm_scratch_create(tm_arena *arena) {
    tm_arena *scratch = TM_NEW(arena, tm_arena);
    tm_arena_init(scratch);
    scratch->limit = arena->limit;
    scratch->has_recovery = arena->has_recovery;
    memcpy(scratch->recovery, arena->recovery, sizeof scratch->recovery);
    tm_arena_on_destroy(arena, release, scratch);
    return scratch;
}

void tm_scratch_release(tm_arena *scratch) {
    tm_arena_deinit(scratch);
    tm_arena_init(scratch);
}

/* ---- protobuf-c ---- */

typedef struct budget {
    tm_arena *arena;
    size_t left;
} budget;

static void *budget_alloc(void *data, size_t bytes) {
    budget *b = data;
    if (bytes > b->left)
        return NULL;
    b->left -= bytes;
    return tm_arena_alloc(b->arena, bytes);
}

static void budget_free(void *data, void *memory) {
    (void)data;
    (void)memory;
}

tm_code tm_load_message(tm_arena *scratch, tm_diagnostics *diagnostics, const char *file,
                        const ProtobufCMessageDescriptor *root, const uint8_t *bytes, size_t size,
                        const tm_import_limits *limits, tm_loaded *out_loaded) {
    tm_scan_result scan;
    TM_TRY(tm_scan(scratch, diagnostics, file, root, bytes, size, limits, &scan));
    budget b = {scratch, (size_t)limits->memory_bytes};
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &b};
    *out_loaded =
        (tm_loaded){.bytes = bytes, .size = size, .chunks = scan.chunks, .chunk_count = scan.chunk_count};
    out_loaded->message = protobuf_c_message_unpack(root, &allocator, scan.skeleton_bytes, scan.skeleton);
    if (out_loaded->message != NULL)
        return TM_OK;
    tm_place place = {.file = file, .node_index = -1};
    if (b.left < (size_t)limits->memory_bytes / 2)
        return tm_report(diagnostics, TM_E_LIMIT, &place,
                         "if the file is trusted, raise the limit with --limit-memory-bytes=N",
                         "reading this file takes too much memory (limit %lld)",
                         (long long)limits->memory_bytes);
    return tm_report(diagnostics, TM_E_BAD_PROTOBUF, &place, NULL, "not a valid %s", root->short_name);
}
