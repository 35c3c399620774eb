/* SPDX-License-Identifier: Apache-2.0
 *
 * sparse.c: SparseTensorProto to a dense constant.
 *
 * The IR has dense constants only; sparse initializers and sparse_value attributes are rare and small,
 * and the limit on a tensor's bytes holds for the dense form. Indices are either flat or one row of
 * coordinates for each value:
 *
 *     dims [2, 3], values [7, 8], indices [1, 5]  or  [[0, 1], [1, 2]]   ->   0 7 0 / 0 0 8
 */
#include "frontend/tensor.h"

#include <string.h>

static tm_code bad(tm_tensor_reader *reader, const tm_place *place, const char *what) {
    return tm_report(reader->diagnostics, TM_E_BAD_TENSOR, place, NULL, "sparse tensor: %s", what);
}

/* Flat position of value i; -1 when an index is out of range. */
static int64_t position_of(const tm_constant *indices, int64_t i, const Onnx__SparseTensorProto *sparse,
                           int64_t count) {
    const int64_t *index = indices->data;
    if (indices->rank == 1)
        return index[i] >= 0 && index[i] < count ? index[i] : -1;
    int64_t rank = (int64_t)sparse->n_dims;
    int64_t position = 0;
    for (int64_t k = 0; k < rank; k++) {
        int64_t x = index[i * rank + k];
        if (x < 0 || x >= sparse->dims[k])
            return -1;
        position = position * sparse->dims[k] + x;
    }
    return position;
}

tm_code tm_read_sparse(tm_tensor_reader *reader, const Onnx__SparseTensorProto *sparse, const tm_place *place,
                       const tm_constant **out_constant) {
    if (sparse->values == NULL || sparse->indices == NULL)
        return bad(reader, place, "values or indices are missing");
    const tm_constant *values, *indices;
    TM_TRY(tm_read_tensor(reader, sparse->values, place, &values));
    TM_TRY(tm_read_tensor(reader, sparse->indices, place, &indices));
    int64_t count, bytes;
    TM_TRY(
        tm_tensor_layout(reader, place, (int32_t)values->type, sparse->n_dims, sparse->dims, &count, &bytes));
    int bits = tm_type_bits(values->type);
    if (bits % 8 != 0 || values->type == TAMIS_TYPE_STRING)
        return tm_report(reader->diagnostics, TM_E_UNSUPPORTED_TYPE, place, NULL, "sparse tensors of %s",
                         tm_type_text(values->type));
    int64_t stored = tm_constant_count(values);
    bool flat = indices->rank == 1 && indices->dims[0] == stored;
    bool rows =
        indices->rank == 2 && indices->dims[0] == stored && indices->dims[1] == (int64_t)sparse->n_dims;
    if (values->rank != 1 || indices->type != TAMIS_TYPE_INT64 || (!flat && !rows))
        return bad(reader, place, "the dims of values and indices do not fit");
    uint8_t *data = tm_arena_alloc(reader->arena, (size_t)bytes);
    size_t width = (size_t)bits / 8;
    for (int64_t i = 0; i < stored; i++) {
        int64_t position = position_of(indices, i, sparse, count);
        if (position < 0)
            return bad(reader, place, "an index is out of range");
        memcpy(data + (size_t)position * width, (const uint8_t *)values->data + (size_t)i * width, width);
    }
    const int64_t *dims = tm_arena_copy(reader->arena, sparse->dims, sparse->n_dims * sizeof *sparse->dims);
    *out_constant = tm_constant_create(reader->arena, values->type, (int)sparse->n_dims, dims, data);
    return TM_OK;
}
