/* SPDX-License-Identifier: Apache-2.0
 *
 * export.c: constants to serialised TensorProto and SequenceProto, for results in files.
 *
 * Elements go to raw_data, strings to string_data. The message is built on the caller's arena and packed
 * into one buffer there; protobuf-c's pack functions neither allocate nor fail.
 */
#include "frontend/import.h"

#include "onnx.pb-c.h"

static void fill_tensor(tm_arena *arena, const char *name, const tm_constant *constant,
                        Onnx__TensorProto *out) {
    onnx__tensor_proto__init(out);
    out->name = name != NULL ? tm_arena_string(arena, name) : NULL;
    out->has_data_type = 1;
    out->data_type = (int32_t)constant->type;
    out->n_dims = (size_t)constant->rank;
    out->dims = tm_arena_copy(arena, constant->dims, out->n_dims * sizeof *out->dims);
    if (constant->type != TAMIS_TYPE_STRING) {
        out->has_raw_data = 1;
        out->raw_data = (ProtobufCBinaryData){(size_t)constant->bytes, (uint8_t *)(uintptr_t)constant->data};
        return;
    }
    const tamis_string *strings = constant->data;
    out->n_string_data = (size_t)tm_constant_count(constant);
    out->string_data = TM_NEW_ARRAY(arena, ProtobufCBinaryData, out->n_string_data);
    for (size_t i = 0; i < out->n_string_data; i++)
        out->string_data[i] =
            (ProtobufCBinaryData){(size_t)strings[i].size, (uint8_t *)(uintptr_t)strings[i].data};
}

static void pack(tm_arena *arena, const ProtobufCMessage *message, void **out_data, size_t *out_bytes) {
    *out_bytes = protobuf_c_message_get_packed_size(message);
    uint8_t *data = tm_arena_alloc(arena, *out_bytes);
    protobuf_c_message_pack(message, data);
    *out_data = data;
}

tm_code tm_export_tensor(tm_arena *arena, const char *name, const tm_constant *constant, void **out_data,
                         size_t *out_bytes) {
    Onnx__TensorProto tensor;
    fill_tensor(arena, name, constant, &tensor);
    pack(arena, &tensor.base, out_data, out_bytes);
    return TM_OK;
}

tm_code tm_export_sequence(tm_arena *arena, const char *name, tamis_type type, const tm_constant *const *list,
                           int64_t count, void **out_data, size_t *out_bytes) {
    (void)type; /* each tensor says its own; an empty sequence has none in SequenceProto */
    Onnx__SequenceProto sequence;
    onnx__sequence_proto__init(&sequence);
    sequence.name = name != NULL ? tm_arena_string(arena, name) : NULL;
    sequence.has_elem_type = 1;
    sequence.elem_type = 1; /* SequenceProto.DataType.TENSOR */
    sequence.n_tensor_values = (size_t)count;
    sequence.tensor_values = tm_arena_alloc_array(arena, (size_t)count, sizeof *sequence.tensor_values);
    Onnx__TensorProto *tensors = TM_NEW_ARRAY(arena, Onnx__TensorProto, count);
    for (int64_t i = 0; i < count; i++) {
        fill_tensor(arena, NULL, list[i], &tensors[i]);
        sequence.tensor_values[i] = &tensors[i];
    }
    pack(arena, &sequence.base, out_data, out_bytes);
    return TM_OK;
}
