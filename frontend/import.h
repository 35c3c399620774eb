/* SPDX-License-Identifier: Apache-2.0
 *
 * import.h: from the bytes of model.onnx to a tm_model. The only door to protobuf.
 */
#ifndef TM_FRONTEND_IMPORT_H
#define TM_FRONTEND_IMPORT_H

#include "ir/graph.h"

typedef struct tm_import_limits {
    int64_t depth;        /* nesting of protobuf messages and graphs; --limit-depth */
    int64_t nodes;        /* nodes in all graphs, after inlining; --limit-nodes */
    int64_t initializers; /* --limit-initializers */
    int64_t file_bytes;   /* model file; --limit-file-bytes */
    int64_t tensor_bytes; /* one tensor, unpacked; --limit-tensor-bytes */
    int64_t memory_bytes; /* heap of the import, weights not counted; --limit-memory-bytes */
    int64_t name_bytes;   /* one name; --limit-name-bytes */
} tm_import_limits;

typedef struct tm_import_options {
    tm_import_limits limits;
    const char *external_folder; /* NULL: the model's folder */
    const char *allow_links_in;  /* folder in which links in external data are followed, or NULL; --allow-links */
} tm_import_options;

void tm_import_options_init(tm_import_options *options); /* defaults: depth 64, ... */

/* Imports a file (mapped; stays mapped as long as the arena lives). Files every unsupported op
 * before it gives up. The result is normalised (one form per op, opset `since` of the op table), functions
 * inlined, graphs sorted, names unique, but not yet inferred. */
TM_MUST_USE tm_code tm_import_file(tm_arena *arena, tm_diagnostics *diagnostics, const char *path,
                                   const tm_import_options *options, tm_model **out_model);
/* The same from memory (borrowed, must outlive the arena's use). `name` is for messages. */
TM_MUST_USE tm_code tm_import_memory(tm_arena *arena, tm_diagnostics *diagnostics, const char *name, const void *data,
                                     size_t bytes, const tm_import_options *options, tm_model **out_model);

/* A serialised TensorProto, SequenceProto or OptionalProto (backend-test data), by the expected kind.
 * Sequences come back as a list; an empty optional as count 0. */
TM_MUST_USE tm_code tm_import_tensor(tm_arena *arena, tm_diagnostics *diagnostics, const char *name, const void *data,
                                     size_t bytes, const tm_constant **out_constant);
TM_MUST_USE tm_code tm_import_sequence(tm_arena *arena, tm_diagnostics *diagnostics, const char *name, tamis_kind kind, const void *data,
                                       size_t bytes, const tm_constant ***out_list, int64_t *out_count);
/* The reverse, for `tamis run --outputs`: serialises a tensor, a sequence of tensors. */
TM_MUST_USE tm_code tm_export_tensor(tm_arena *arena, const char *name, const tm_constant *constant, void **out_data, size_t *out_bytes);
TM_MUST_USE tm_code tm_export_sequence(tm_arena *arena, const char *name, tamis_type type, const tm_constant *const *list, int64_t count, void **out_data, size_t *out_bytes);

#endif
