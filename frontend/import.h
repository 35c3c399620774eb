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
    /* folder in which links in external data are followed, or NULL; --allow-links */
    const char *allow_links_in;
} tm_import_options;

void tm_import_options_init(tm_import_options *options); /* defaults: depth 64, ... */

/* Imports a file (mapped; stays mapped as long as the arena lives). Files every unsupported op
 * before it gives up: *out_model is then the model with untyped values in place of what is not supported, so
 * that tm_infer can find what else there is; after other errors it is NULL. The result is normalised (one
 * form per op, opset `since` of the op table), functions inlined, graphs sorted, names unique, but not yet
 * inferred. */
TM_MUST_USE tm_code tm_import_file(tm_arena *arena, tm_diagnostics *diagnostics, const char *path,
                                   const tm_import_options *options, tm_model **out_model);
/* The same from memory (borrowed, must outlive the arena's use). `name` is for messages. */
TM_MUST_USE tm_code tm_import_memory(tm_arena *arena, tm_diagnostics *diagnostics, const char *name,
                                     const void *data, size_t bytes, const tm_import_options *options,
                                     tm_model **out_model);

/* A value outside of a model. A sequence has its items, an optional none or one, a map two tensors: its keys
 * [n] and its values [n, ...]. */
typedef struct tm_datum {
    tamis_kind kind, item; /* as in tm_value */
    tamis_type type, key;
    const tm_constant *tensor; /* of kind TENSOR */
    int64_t count;
    const struct tm_datum *items;
} tm_datum;

/* A serialised TensorProto, SequenceProto, OptionalProto or MapProto (backend-test data), by the form (kind,
 * item, type, key) of what is expected. */
TM_MUST_USE tm_code tm_import_datum(tm_arena *arena, tm_diagnostics *diagnostics, const char *name,
                                    const tm_datum *expected, const void *data, size_t bytes,
                                    tm_datum *out_datum);
TM_MUST_USE tm_code tm_import_tensor(tm_arena *arena, tm_diagnostics *diagnostics, const char *name,
                                     const void *data, size_t bytes, const tm_constant **out_constant);
/* The reverse, for `tamis run --outputs`. */
void tm_export_datum(tm_arena *arena, const char *name, const tm_datum *datum, void **out_data,
                     size_t *out_bytes);

#endif
