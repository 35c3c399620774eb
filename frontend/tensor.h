/* SPDX-License-Identifier: Apache-2.0
 *
 * tensor.h: elements of tensors. See tensor.c, external.c and sparse.c.
 */
#ifndef TM_FRONTEND_TENSOR_H
#define TM_FRONTEND_TENSOR_H

#include "frontend/load.h"

#include "onnx.pb-c.h"

/* What decoding a tensor needs. Constants go to `arena`. */
typedef struct tm_tensor_reader {
    tm_arena *arena;
    tm_diagnostics *diagnostics;
    const tm_import_options *options;
    const tm_loaded *loaded;
    const char *folder; /* of external data; NULL: there is none, external data are refused */
    tm_map external;    /* location -> tm_external_file * */
    tm_mappings *mappings; /* of the model */
} tm_tensor_reader;

typedef struct tm_external_file {
    const uint8_t *bytes;
    size_t size;
} tm_external_file;

/* TensorProto to constant. Files a diagnostic at `place` with the tensor's name. */
TM_MUST_USE tm_code tm_read_tensor(tm_tensor_reader *reader, const Onnx__TensorProto *tensor,
                                   const tm_place *place, const tm_constant **out_constant);
TM_MUST_USE tm_code tm_read_sparse(tm_tensor_reader *reader, const Onnx__SparseTensorProto *sparse,
                                   const tm_place *place, const tm_constant **out_constant);
/* The bytes of an external tensor: `need` of them. */
TM_MUST_USE tm_code tm_read_external(tm_tensor_reader *reader, const Onnx__TensorProto *tensor,
                                     const tm_place *place, size_t need, const uint8_t **out_bytes);
/* Checks type and dims; gives count and bytes. */
TM_MUST_USE tm_code tm_tensor_layout(tm_tensor_reader *reader, const tm_place *place, int32_t data_type,
                                     size_t rank, const int64_t *dims, int64_t *out_count,
                                     int64_t *out_bytes);

#endif
