/* SPDX-License-Identifier: Apache-2.0
 *
 * tensor.c: TensorProto to tm_constant.
 *
 * ONNX has five ways to hold elements: raw_data, a typed list (float_data, int32_data, ...), external
 * data, string_data, or nothing for an empty tensor. Whatever can stay where it is does: a
 * constant's data points into the mapped file when the bytes there are already dense, little-endian
 * and aligned, as raw data, packed float_data and external data are, and strings are records that
 * point there too. The rest is copied once, to the arena or, where it is large, to a temporary file
 * (base/mapping.h), for example
 *
 *     int32_data of float16:  varints 15360, 16384  ->  00 3c 00 40
 *     int32_data of int4:     one varint for each byte of two elements
 *
 * The scanner has checked the chunks' wire format, so reading them cannot run past the end; counts
 * and ranges are checked here.
 */
#include "frontend/tensor.h"

#include <stdint.h>
#include <string.h>

static tm_code bad(tm_tensor_reader *reader, const tm_place *place, const char *what) {
    return tm_report(reader->diagnostics, TM_E_BAD_TENSOR, place, NULL, "%s", what);
}

tm_code tm_tensor_layout(tm_tensor_reader *reader, const tm_place *place, int32_t data_type, size_t rank,
                         const int64_t *dims, int64_t *out_count, int64_t *out_bytes) {
    if (data_type == TAMIS_TYPE_UNDEFINED)
        return bad(reader, place, "the tensor has no element type");
    if (data_type < 0 || data_type >= TAMIS_TYPE_COUNT)
        return tm_report(reader->diagnostics, TM_E_UNSUPPORTED_TYPE, place, NULL, "unknown element type %d",
                         (int)data_type);
    if (rank > TAMIS_MAX_RANK)
        return tm_report(reader->diagnostics, TM_E_UNSUPPORTED_FORM, place, NULL,
                         "the tensor has %zu dims; at most %d are supported", rank, TAMIS_MAX_RANK);
    int64_t count = 1;
    bool empty = false;
    for (size_t i = 0; i < rank; i++) {
        if (dims[i] < 0)
            return bad(reader, place, "the tensor has a negative dim");
        empty = empty || dims[i] == 0;
    }
    for (size_t i = 0; i < rank && !empty; i++)
        if (!tm_mul_i64(count, dims[i], &count))
            return bad(reader, place, "the product of the tensor's dims overflows");
    *out_count = empty ? 0 : count;
    int64_t limit = reader->options->limits.tensor_bytes;
    if (!tm_type_size((tamis_type)data_type, *out_count, out_bytes) || *out_bytes > limit)
        return tm_report(reader->diagnostics, TM_E_LIMIT, place,
                         "if the file is trusted, raise the limit with --limit-tensor-bytes=N",
                         "a tensor of %lld elements is too large (limit %lld bytes)", (long long)*out_count,
                         (long long)limit);
    return TM_OK;
}

/* ---- elements of typed lists ---- */

typedef struct element_reader {
    const tm_loaded *loaded;
    const tm_chunk *chunk, *last;
    size_t position, end;
} element_reader;

static const tm_chunk *chunks_of(const tm_loaded *loaded, const Onnx__TensorProto *tensor,
                                 size_t *out_count) {
    *out_count = tensor->has_chunk_count ? tensor->chunk_count : 0;
    return *out_count != 0 ? loaded->chunks + tensor->chunk_first : NULL;
}

static void element_reader_init(element_reader *r, const tm_loaded *loaded, const tm_chunk *chunks,
                                size_t count) {
    *r = (element_reader){.loaded = loaded, .chunk = chunks, .last = chunks + count};
    if (count != 0) {
        r->position = chunks->offset;
        r->end = chunks->offset + chunks->bytes;
    }
}

/* The next value's content: `width` bytes, or for width 0 a varint, for -1 a byte string. */
static bool element_next(element_reader *r, int width, uint64_t *out_value, size_t *out_offset) {
    while (r->chunk < r->last && r->position >= r->end) {
        r->chunk++;
        if (r->chunk < r->last) {
            r->position = r->chunk->offset;
            r->end = r->chunk->offset + r->chunk->bytes;
        }
    }
    if (r->chunk >= r->last)
        return false;
    const uint8_t *bytes = r->loaded->bytes;
    uint64_t tag;
    if (r->chunk->kind == TM_CHUNK_RUN && !tm_read_varint(bytes, r->end, &r->position, &tag))
        return false;
    if (width <= 0) {
        if (!tm_read_varint(bytes, r->end, &r->position, out_value))
            return false;
        *out_offset = r->position;
        if (width < 0)
            r->position += (size_t)*out_value;
        return true;
    }
    *out_offset = r->position;
    r->position += (size_t)width;
    return true;
}

/* How a type stands in its list: the field, the values for each element (complex: 2), the width of a
 * value on the wire (0: varint, -1: string), and the bytes a value fills. */
typedef struct typed_layout {
    uint32_t field;
    int width;
    int stored;
    bool is_signed;
} typed_layout;

static typed_layout layout_of(tamis_type type) {
    switch (type) {
    case TAMIS_TYPE_FLOAT:
    case TAMIS_TYPE_COMPLEX64:
        return (typed_layout){4, 4, 4, false};
    case TAMIS_TYPE_DOUBLE:
    case TAMIS_TYPE_COMPLEX128:
        return (typed_layout){10, 8, 8, false};
    case TAMIS_TYPE_INT64:
        return (typed_layout){7, 0, 8, true};
    case TAMIS_TYPE_UINT64:
        return (typed_layout){11, 0, 8, false};
    case TAMIS_TYPE_UINT32:
        return (typed_layout){11, 0, 4, false};
    case TAMIS_TYPE_STRING:
        return (typed_layout){6, -1, 16, false};
    case TAMIS_TYPE_INT32:
        return (typed_layout){5, 0, 4, true};
    case TAMIS_TYPE_INT16:
        return (typed_layout){5, 0, 2, true};
    case TAMIS_TYPE_UINT16:
    case TAMIS_TYPE_FLOAT16:
    case TAMIS_TYPE_BFLOAT16:
        return (typed_layout){5, 0, 2, false};
    case TAMIS_TYPE_INT8:
    case TAMIS_TYPE_INT4:
    case TAMIS_TYPE_INT2:
        return (typed_layout){5, 0, 1, true};
    default:
        return (typed_layout){5, 0, 1, false};
    }
}

/* int32_data is a list of int32; its values must fit the storage of the type. */
static bool in_range(typed_layout layout, tamis_type type, uint64_t value) {
    if (layout.stored == 8)
        return true;
    if (layout.field == 11)
        return value <= UINT32_MAX;
    int64_t x = (int32_t)(uint32_t)value;
    int bits = layout.stored * 8;
    int64_t high = layout.is_signed && tm_type_bits(type) >= 8 ? ((int64_t)1 << (bits - 1)) - 1
                                                               : ((int64_t)1 << bits) - 1;
    int64_t low = layout.is_signed ? -((int64_t)1 << (bits - 1)) : 0;
    if (type == TAMIS_TYPE_BOOL)
        high = 1;
    return x >= low && x <= high;
}

static tm_code read_strings(tm_tensor_reader *reader, const tm_place *place, element_reader *r, int64_t count,
                            const void **out_data) {
    tamis_string *strings = TM_NEW_ARRAY(reader->arena, tamis_string, count);
    for (int64_t i = 0; i < count; i++) {
        uint64_t size;
        size_t offset;
        if (!element_next(r, -1, &size, &offset))
            return bad(reader, place, "the tensor has fewer strings than its dims say");
        strings[i] = (tamis_string){(const char *)reader->loaded->bytes + offset, (int64_t)size};
    }
    *out_data = strings;
    return TM_OK;
}

static bool is_aligned(const void *data, tamis_type type) {
    int bits = tm_type_bits(type);
    size_t alignment = bits >= 64 ? 8 : bits >= 8 ? (size_t)bits / 8 : 1;
    return (uintptr_t)data % alignment == 0;
}

/* Bool elements must be 0 or 1 for kernels; a file may hold any other byte for true. */
static const void *clean_bools(tm_tensor_reader *reader, const uint8_t *data, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i++) {
        if (data[i] <= 1)
            continue;
        uint8_t *copy = tm_arena_alloc(reader->arena, (size_t)bytes);
        for (int64_t k = 0; k < bytes; k++)
            copy[k] = data[k] != 0;
        return copy;
    }
    return data;
}

static const void *take_bytes(tm_tensor_reader *reader, tamis_type type, const uint8_t *data, int64_t bytes) {
    if (type == TAMIS_TYPE_BOOL)
        return clean_bools(reader, data, bytes);
    return is_aligned(data, type) ? data
                                  : tm_mappings_copy(reader->arena, reader->mappings, data, (size_t)bytes);
}

static tm_code read_typed(tm_tensor_reader *reader, const tm_place *place, tamis_type type,
                          const tm_chunk *chunks, size_t chunk_count, int64_t count, int64_t bytes,
                          const void **out_data) {
    typed_layout layout = layout_of(type);
    size_t wire_bytes = 0; /* cannot overflow: chunks are disjoint parts of the file */
    for (size_t i = 0; i < chunk_count; i++) {
        wire_bytes += chunks[i].bytes;
        if (chunks[i].field != layout.field)
            return bad(reader, place, "the tensor's elements are in a list for another element type");
    }
    if (wire_bytes < (size_t)(bytes / layout.stored)) /* before memory is taken for them */
        return bad(reader, place, "the tensor has fewer elements than its dims say");
    element_reader r;
    element_reader_init(&r, reader->loaded, chunks, chunk_count);
    uint64_t value = 0;
    size_t offset;
    if (layout.width < 0) {
        TM_TRY(read_strings(reader, place, &r, count, out_data));
    } else {
        const uint8_t *source = reader->loaded->bytes + chunks[0].offset;
        if (layout.width > 0 && chunk_count == 1 && chunks[0].kind == TM_CHUNK_PACKED) {
            if (chunks[0].bytes != (size_t)bytes)
                return bad(reader, place,
                           "the tensor's list of elements does not have as many as its dims say");
            *out_data = take_bytes(reader, type, source, bytes);
            return TM_OK;
        }
        int64_t values = bytes / layout.stored;
        uint8_t *data = tm_arena_alloc(reader->arena, (size_t)bytes);
        for (int64_t i = 0; i < values; i++) {
            if (!element_next(&r, layout.width, &value, &offset))
                return bad(reader, place, "the tensor has fewer elements than its dims say");
            if (layout.width == 0 && !in_range(layout, type, value))
                return bad(reader, place, "an element is out of range for the tensor's type");
            const void *from = layout.width == 0 ? (const void *)&value : reader->loaded->bytes + offset;
            memcpy(data + i * layout.stored, from, (size_t)layout.stored);
        }
        *out_data = data;
    }
    if (element_next(&r, layout.width, &value, &offset))
        return bad(reader, place, "the tensor has more elements than its dims say");
    return TM_OK;
}

/* ---- bytes ---- */

static tm_code read_raw(tm_tensor_reader *reader, const tm_place *place, tamis_type type,
                        const tm_chunk *chunk, int64_t bytes, const void **out_data) {
    if (type == TAMIS_TYPE_STRING)
        return bad(reader, place, "strings cannot be in raw_data");
    if (chunk->bytes != (size_t)bytes) {
        const char *expected = tm_arena_format(reader->arena, "%lld bytes", (long long)bytes);
        const char *found = tm_arena_format(reader->arena, "%zu bytes", chunk->bytes);
        return tm_report_mismatch(reader->diagnostics, TM_E_BAD_TENSOR, place, NULL, expected, found,
                                  "raw_data does not fit the tensor's type and dims");
    }
    *out_data = take_bytes(reader, type, reader->loaded->bytes + chunk->offset, bytes);
    return TM_OK;
}

/* Finds the elements, wherever they are. */
static tm_code read_data(tm_tensor_reader *reader, const tm_place *place, const Onnx__TensorProto *tensor,
                         int64_t count, int64_t bytes, const void **out_data) {
    tamis_type type = (tamis_type)tensor->data_type;
    size_t chunk_count;
    const tm_chunk *chunks = chunks_of(reader->loaded, tensor, &chunk_count);
    if (tensor->segment != NULL)
        return bad(reader, place, "tensors in segments are not allowed in models");
    if (tensor->has_data_location && tensor->data_location == 1) {
        const uint8_t *data;
        if (type == TAMIS_TYPE_STRING)
            return bad(reader, place, "strings cannot be external data");
        TM_TRY(tm_read_external(reader, tensor, place, (size_t)bytes, &data));
        *out_data = take_bytes(reader, type, data, bytes);
        return TM_OK;
    }
    const tm_chunk *raw = NULL;
    size_t filled = 0;
    for (size_t i = 0; i < chunk_count; i++) {
        if (chunks[i].kind == TM_CHUNK_BYTES)
            raw = &chunks[i];
        else
            filled += chunks[i].bytes != 0;
    }
    if (raw != NULL && filled != 0)
        return bad(reader, place, "the tensor has raw_data and a list of elements");
    if (raw != NULL)
        return read_raw(reader, place, type, raw, bytes, out_data);
    *out_data = "";
    if (filled != 0)
        return read_typed(reader, place, type, chunks, chunk_count, count, bytes, out_data);
    return count == 0 ? TM_OK : bad(reader, place, "the tensor has no elements");
}

tm_code tm_read_tensor(tm_tensor_reader *reader, const Onnx__TensorProto *tensor, const tm_place *place,
                       const tm_constant **out_constant) {
    tm_place here = *place;
    if (tensor->name != NULL && tensor->name[0] != 0)
        here.tensor = tensor->name;
    int64_t count, bytes;
    TM_TRY(tm_tensor_layout(reader, &here, tensor->data_type, tensor->n_dims, tensor->dims, &count, &bytes));
    const void *data;
    TM_TRY(read_data(reader, &here, tensor, count, bytes, &data));
    const int64_t *dims = tm_arena_copy(reader->arena, tensor->dims, tensor->n_dims * sizeof *tensor->dims);
    *out_constant =
        tm_constant_create(reader->arena, (tamis_type)tensor->data_type, (int)tensor->n_dims, dims, data);
    return TM_OK;
}
